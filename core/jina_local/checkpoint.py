"""A checkpoint folder → canonical tensors, whatever its layout and spelling.

Strict in both directions: every tensor that the architecture needs must be there in its shape, and
every tensor that is there must be understood. All of it is checked from the files' headers before
any weight is read.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch

from jina_local.adapter_files import (
    FolderAdapter,
    LowRank,
    StackedAdapters,
    open_folder_adapter,
    task_folders,
)
from jina_local.adapter_folders import PEFT_WEIGHTS
from jina_local.config import ModelConfig, read_instructions, read_model_config
from jina_local.errors import CheckpointError
from jina_local.names import adapter_shapes, base_shapes, is_original, stores_qkv_apart
from jina_local.stored import (
    FileStamp,
    StoredTensor,
    by_canonical_name,
    check_tensors,
    model_files,
    stored_tensors,
)
from jina_local.tasks import NO_ADAPTER, Task, TaskTable

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from jina_local.adapter_store import Adapter

__all__ = ["Checkpoint", "open_checkpoint"]


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A checked checkpoint, its weights still on disk.

    Attributes:
        folder: Where it is.
        layout: "original" or "native".
        config: The numbers of its architecture.
        tasks: Its tasks with their instructions, in the order of its adapters.
        files: Every weight file that it is made of, as it was when it was checked.
        added: Adapters from elsewhere by task; they come before its own of the same name.
        own: The checkpoint without them; `None` if there are none.
    """

    folder: Path
    layout: str
    config: ModelConfig
    tasks: TaskTable
    files: tuple[FileStamp, ...]
    base: Mapping[str, StoredTensor]
    adapters: StackedAdapters | tuple[FolderAdapter, ...]
    added: Mapping[str, Adapter] = field(default_factory=dict)
    own: Checkpoint | None = None

    def tensor(self, name: str, device: str = "cpu") -> torch.Tensor:
        """A tensor of the base model by its canonical name, in the dtype it is stored in."""
        if name in self.base:
            return self.base[name].read(device)
        layer, _, kind = name.rpartition("qkv.")
        return torch.cat([self.base[f"{layer}{part}.{kind}"].read(device) for part in "qkv"])

    def adapter_scale(self, task: Task) -> float | None:
        """Alpha / rank of a task's adapter; `None` for the base model."""
        if task.adapter == NO_ADAPTER:
            return None
        added = self.added.get(task.name or "")
        if added is not None:
            return added.scale
        if isinstance(self.adapters, StackedAdapters):
            return self.adapters.scale
        return self.adapters[task.adapter].scale

    def low_ranks(self, module: str) -> list[LowRank]:
        """The update of a module's weight by each task, in the order of `tasks`."""
        if self.own is not None:
            updates = dict(zip(self.own.tasks.names, self.own.low_ranks(module), strict=True))
            updates |= {name: self._added_update(name, module) for name in self.added}
            return list(updates.values())
        if isinstance(self.adapters, StackedAdapters):
            return self.adapters.low_ranks(module)
        return [adapter.low_rank(module) for adapter in self.adapters]

    def _added_update(self, task: str, module: str) -> LowRank:
        """The update by an added adapter; of rank 0 where it leaves the module as it is."""
        adapter = self.added[task]
        if module in adapter.updates:
            return adapter.updates[module]
        rows, columns = base_shapes(self.config, qkv_apart=False)[f"{module}.weight"]
        return LowRank(torch.zeros(rows, 0), torch.zeros(0, columns), adapter.scale)


def open_checkpoint(folder: Path) -> Checkpoint:
    """Find out what a folder holds and check all of it, reading no weights.

    Raises:
        ModelNotFoundError: If config.json or weights are missing.
        CheckpointError: If names, shapes, adapters or instructions are not as they must be.
    """
    config = read_model_config(folder)
    files = model_files(folder)
    stored = [tensor for path in files for tensor in stored_tensors(path)]
    if is_original(tensor.key for tensor in stored):
        return _open_original(folder, config, files, stored)
    return _open_native(folder, config, files, stored)


def _open_original(
    folder: Path, config: ModelConfig, files: list[Path], stored: list[StoredTensor]
) -> Checkpoint:
    rank, alpha = config.lora_rank, config.lora_alpha
    if not (config.task_names and rank and alpha):
        msg = f"{folder}/config.json needs lora_adaptations, lora_rank and lora_alpha"
        raise CheckpointError(msg)
    tensors = by_canonical_name(stored, folder)
    shapes = adapter_shapes(config, rank, layout="original", qkv_apart=False)
    check_tensors(tensors, base_shapes(config, qkv_apart=False) | shapes, folder)
    instructions = read_instructions(folder, config, config.task_names, is_original=True)
    return Checkpoint(
        folder=folder,
        layout="original",
        config=config,
        tasks=TaskTable.from_instructions(instructions),
        files=tuple(map(FileStamp.of, files)),
        base={name: tensor for name, tensor in tensors.items() if name not in shapes},
        adapters=StackedAdapters(tensors, alpha / rank, len(config.task_names)),
    )


def _open_native(
    folder: Path, config: ModelConfig, files: list[Path], stored: list[StoredTensor]
) -> Checkpoint:
    base = by_canonical_name(stored, folder)
    check_tensors(base, base_shapes(config, qkv_apart=stores_qkv_apart(base)), folder)
    folders = task_folders(folder, config)
    instructions = read_instructions(folder, config, tuple(folders), is_original=False)
    adapters = tuple(open_folder_adapter(path, config) for path in folders.values())
    return Checkpoint(
        folder=folder,
        layout="native",
        config=config,
        tasks=TaskTable.from_instructions(instructions),
        files=tuple(
            FileStamp.of(path)
            for path in [*files, *(home / PEFT_WEIGHTS for home in folders.values())]
        ),
        base=base,
        adapters=adapters,
    )
