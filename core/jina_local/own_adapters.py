"""Adapters of the user's own → a checkpoint that has them.

A name that the checkpoint does not have becomes a task more, after its own. A name that it has
takes that task's place: this is how a fine-tuned `retrieval.passage` gets to everything that embeds
documents, and why its fingerprint is another one.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from jina_local.adapter_folders import files_as_they_are
from jina_local.adapter_store import Adapter, read_adapter, stored_instruction
from jina_local.errors import CheckpointError, InvalidOptionError
from jina_local.names import EMBEDDINGS, LINEARS, base_shapes, linear_modules
from jina_local.tasks import TaskTable, check_task_name

if TYPE_CHECKING:
    from jina_local.checkpoint import Checkpoint
    from jina_local.config import ModelConfig
    from jina_local.stored import FileStamp

__all__ = ["AdapterSource", "adapter_of", "adapter_stamps", "check_adapters", "with_adapters"]

AdapterSource = str | Path | Adapter
"""A PEFT folder, or an adapter in memory."""

_logger = logging.getLogger("jina_local")


def check_adapters(adapters: Mapping[str, AdapterSource] | None) -> dict[str, AdapterSource]:
    """Adapters by the names of their tasks.

    Raises:
        InvalidOptionError: If it is no mapping of names of tasks to folders or adapters.
    """
    if adapters is None:
        return {}
    if not isinstance(adapters, Mapping):
        msg = f"adapters is {adapters!r}, not names of tasks with folders: {{'my-task': 'folder'}}"
        raise InvalidOptionError(msg)
    for name, source in adapters.items():
        check_task_name(name)
        if not isinstance(source, str | Path | Adapter):
            msg = f"the adapter {name!r} is {source!r}, neither a folder nor an Adapter"
            raise InvalidOptionError(msg)
    return dict(adapters)


def with_adapters(
    checkpoint: Checkpoint, adapters: Mapping[str, AdapterSource], *, instruction: str | None = None
) -> Checkpoint:
    """The checkpoint with more tasks, or other ones in the place of its own.

    Args:
        checkpoint: May have added adapters already.
        adapters: By the names of their tasks. A folder's own task name does not matter.
        instruction: What holds in place of the instruction that came with an adapter. Where neither
            is given, the instruction of the task that is replaced holds, else an empty one, and
            the log says so.

    Raises:
        ModelNotFoundError: If there is no such folder.
        CheckpointError: If an adapter is not one of plain LoRA, or not of this model.
        InvalidOptionError: If a name is none.
    """
    sources = check_adapters(adapters)
    if not sources:
        return checkpoint
    own = checkpoint.own or checkpoint
    added = dict(checkpoint.added)
    for name, source in sources.items():
        added[name] = _adapter(checkpoint, name, source, instruction)
        _check_fit(added[name], checkpoint.config)
    instructions = {str(task.name): task.instruction for task in own.tasks.tasks}
    instructions |= {name: adapter.instruction for name, adapter in added.items()}
    return replace(own, tasks=TaskTable.from_instructions(instructions), own=own, added=added)


def adapter_of(checkpoint: Checkpoint, task: str | None) -> Adapter:
    """A task's adapter in tensors of its own.

    Raises:
        UnknownTaskError: If there is no such task.
        InvalidOptionError: If the task is `None`: the base model has no adapter.
        CheckpointError: If a file changed since the checkpoint was opened.
    """
    used = checkpoint.tasks.find(task)
    if used.name is None:
        msg = f"task is None, the base model, which has no adapter; {checkpoint.tasks.names} do"
        raise InvalidOptionError(msg)
    added = checkpoint.added.get(used.name)
    if added is not None:
        return added.copied()
    for stamp in checkpoint.files:
        stamp.refuse_change()
    modules = (*EMBEDDINGS, *linear_modules(checkpoint.config))
    updates = {module: checkpoint.low_ranks(module)[used.adapter] for module in modules}
    return Adapter(task=used.name, instruction=used.instruction, updates=updates).copied()


def adapter_stamps(
    adapters: Mapping[str, AdapterSource],
) -> tuple[tuple[str, tuple[FileStamp, ...]], ...]:
    """What tells adapters in folders from others: names and files as they are now.

    Raises:
        InvalidOptionError: If one is not in a folder.
    """
    return tuple((name, _stamps(name, source)) for name, source in adapters.items())


def _stamps(name: str, source: AdapterSource) -> tuple[FileStamp, ...]:
    if isinstance(source, Adapter):
        msg = (
            f"the adapter {name!r} is in memory, and shared weights are told apart by their files: "
            "save it with save_adapter and give the folder, or use Engine.load"
        )
        raise InvalidOptionError(msg)
    return files_as_they_are(source)


def _adapter(
    checkpoint: Checkpoint, name: str, source: AdapterSource, instruction: str | None
) -> Adapter:
    if isinstance(source, Adapter):
        return source.copied().named(name, instruction)  # the caller may go on training
    kept = stored_instruction(source) if instruction is None else instruction
    if kept is None and name in checkpoint.tasks.names:
        kept = checkpoint.tasks.find(name).instruction
        _logger.warning(
            "%s does not say which instruction its task was trained with: %r keeps the one of the "
            "task that it replaces, %r; give instruction=… if it has another",
            source,
            name,
            kept,
        )
    return read_adapter(source, task=name, instruction=kept)


_LISTED = 8


def _check_fit(adapter: Adapter, config: ModelConfig) -> None:
    """Every update has the shape of its weight, and no layer lacks one that others have."""
    shapes = base_shapes(config, qkv_apart=False)
    problems = [
        f"{module} is for {rows, columns}, not {wanted}"
        for module, update in adapter.updates.items()
        for rows, columns in [(update.left.shape[0], update.right.shape[1])]
        for wanted in [shapes.get(f"{module}.weight")]
        if wanted != (rows, columns)
    ]
    kinds = {module.rpartition(".")[2] for module in adapter.updates} & set(LINEARS)
    problems += [
        f"{module} is missing"
        for module in linear_modules(config)
        if module.rpartition(".")[2] in kinds and module not in adapter.updates
    ]
    if problems:
        msg = (
            f"the adapter {adapter.task!r} is not one of this model: "
            f"{'; '.join(problems[:_LISTED])}{'; …' * (len(problems) > _LISTED)}"
        )
        raise CheckpointError(msg)
