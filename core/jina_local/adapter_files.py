"""Adapter files of both layouts → the low-rank update of one weight by one task.

The original layout stacks all tasks in one tensor per module; the native one keeps a PEFT folder
for each task.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from jina_local.adapter_folders import PEFT_SETTINGS, PEFT_WEIGHTS
from jina_local.config import read_json
from jina_local.errors import CheckpointError
from jina_local.names import EMBEDDINGS, adapter_shapes, stores_qkv_apart
from jina_local.stored import StoredTensor, by_canonical_name, check_tensors, stored_tensors
from jina_local.tasks import V3_INSTRUCTIONS

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from jina_local.config import ModelConfig

__all__ = [
    "FolderAdapter",
    "LowRank",
    "StackedAdapters",
    "open_folder_adapter",
    "open_peft_folder",
    "task_folders",
]

_PART_OF_QKV = re.compile(r"(layers\.\d+)\.[qkv]$")


@dataclass(frozen=True, slots=True)
class LowRank:
    """The update of one weight by one task: `weight + scale * left @ right`.

    Attributes:
        left: (rows of the weight, r).
        right: (r, columns of the weight).
        scale: alpha / rank.
    """

    left: torch.Tensor
    right: torch.Tensor
    scale: float


@dataclass(frozen=True, slots=True)
class StackedAdapters:
    """The original layout: one tensor per module, with the tasks in dimension 0."""

    tensors: Mapping[str, StoredTensor]
    scale: float
    n_tasks: int

    def low_ranks(self, module: str) -> list[LowRank]:
        """The update of one module by each task, in order."""
        a = self.tensors[f"{module}.lora_A"].read()
        b = self.tensors[f"{module}.lora_B"].read()
        left, right = (a, b) if module in EMBEDDINGS else (b, a)
        return [LowRank(left[task], right[task], self.scale) for task in range(self.n_tasks)]


@dataclass(frozen=True, slots=True)
class FolderAdapter:
    """The native layout: a PEFT folder for one task."""

    tensors: Mapping[str, StoredTensor]
    scale: float

    @property
    def modules(self) -> tuple[str, ...]:
        """Canonical names of the modules with an update; q, k and v are parts of qkv."""
        stems = (name.rpartition(".lora_")[0] for name in self.tensors)
        return tuple(dict.fromkeys(_PART_OF_QKV.sub(r"\1.qkv", stem) for stem in stems))

    def low_rank(self, module: str) -> LowRank:
        """The update of one module."""
        if f"{module}.lora_A" not in self.tensors:
            return self._fused_qkv(module)
        a = self.tensors[f"{module}.lora_A"].read()
        b = self.tensors[f"{module}.lora_B"].read()
        if module in EMBEDDINGS:
            return LowRank(a.T.contiguous(), b.T.contiguous(), self.scale)
        return LowRank(b, a, self.scale)

    def _fused_qkv(self, module: str) -> LowRank:
        """One update for the fused weight from those of q, k and v.

        Published adapters hold three copies of one lora_A. Where the three differ, the exact fused
        form is the block form: lora_A stacked, lora_B on the diagonal. Of parts that the adapter
        does not have, lora_B is zero.
        """
        parts = [module.removesuffix("qkv") + part for part in "qkv"]
        stored = [part for part in parts if f"{part}.lora_A" in self.tensors]
        downs_of = {part: self.tensors[f"{part}.lora_A"].read() for part in stored}
        ups_of = {part: self.tensors[f"{part}.lora_B"].read() for part in stored}
        downs = [downs_of.get(part, downs_of[stored[0]]) for part in parts]
        ups = [ups_of.get(part, torch.zeros_like(ups_of[stored[0]])) for part in parts]
        if torch.equal(downs[0], downs[1]) and torch.equal(downs[0], downs[2]):
            return LowRank(torch.cat(ups), downs[0], self.scale)
        diagonal = torch.block_diag(*ups)  # type: ignore[no-untyped-call] # torch has no annotation
        return LowRank(diagonal, torch.cat(downs), self.scale)


def task_folders(folder: Path, config: ModelConfig) -> dict[str, Path]:
    """Task name → PEFT folder, whose name has `_` where the task's has `.` or `-`.

    Raises:
        CheckpointError: If a task of the config has no folder, or there is none at all.
    """
    present = {
        path.parent.name: path.parent for path in sorted(folder.glob("*/adapter_config.json"))
    }
    folder_names = {
        name: name.replace(".", "_").replace("-", "_")
        for name in config.task_names or tuple(V3_INSTRUCTIONS)
    }
    if not config.task_names and set(present) != set(folder_names.values()):
        folder_names = {name: name for name in present}
    _refuse_doubtful_folders(folder, present, folder_names)
    missing = [name for name in folder_names.values() if name not in present]
    if missing or not folder_names:
        msg = (
            f"{folder} has no adapters for {missing or 'any task'}: the native layout keeps each "
            f"in a folder with adapter_config.json; found {sorted(present)}"
        )
        raise CheckpointError(msg)
    return {task: present[name] for task, name in folder_names.items()}


def _refuse_doubtful_folders(
    folder: Path, present: Mapping[str, Path], folder_names: Mapping[str, str]
) -> None:
    """Every adapter folder belongs to exactly one task."""
    wanted = list(folder_names.values())
    shared = sorted({name for name in wanted if wanted.count(name) > 1})
    unclaimed = sorted(set(present) - set(wanted))
    if shared or unclaimed:
        msg = (
            f"{folder}: adapter folders {shared or unclaimed} belong to "
            f"{'several tasks' if shared else 'no task'}; config.json lists {list(folder_names)} "
            "in lora_adaptations, and each needs one folder of its own"
        )
        raise CheckpointError(msg)


# PEFT settings that leave the update `scale * B @ A` as it is, whatever their value.
_HARMLESS_PEFT_KEYS = frozenset(
    {
        "auto_mapping",
        "base_model_name_or_path",
        "inference_mode",
        "lora_alpha",
        "lora_dropout",
        "megatron_core",
        "peft_version",
        "qalora_group_size",
        "r",
        "revision",
        "target_modules",
        "task_type",
    }
)


# Settings with values that change the update, and the values that do not.
_PLAIN_LORA: Mapping[str, tuple[object, ...]] = {
    "bias": ("none",),
    "init_lora_weights": (True, "gaussian"),  # others change the base weights too
    "peft_type": ("LORA",),
}


def open_folder_adapter(folder: Path, config: ModelConfig) -> FolderAdapter:
    """Check one PEFT folder, reading no weights.

    Raises:
        CheckpointError: If its settings or tensors are not those of a plain LoRA adapter.
    """
    adapter, rank = open_peft_folder(folder)
    apart = stores_qkv_apart(adapter.tensors)
    shapes = adapter_shapes(config, rank, layout="native", qkv_apart=apart)
    check_tensors(adapter.tensors, shapes, folder)
    return adapter


def open_peft_folder(folder: Path) -> tuple[FolderAdapter, int]:
    """The adapter in a PEFT folder and its rank, reading no weights and checking no tensors.

    Raises:
        ModelNotFoundError: If there is no adapter_config.json.
        CheckpointError: If its settings are not those of a plain LoRA adapter.
    """
    path = folder / PEFT_SETTINGS
    settings = read_json(path)
    rank, alpha = settings.get("r"), settings.get("lora_alpha")
    _refuse_peft_features(settings, path)
    if not (
        isinstance(rank, int)
        and rank >= 1
        and isinstance(alpha, int | float)
        and math.isfinite(alpha)
    ):
        msg = f"{path}: r={rank!r} and lora_alpha={alpha!r} do not make a scale"
        raise CheckpointError(msg)
    weights = folder / PEFT_WEIGHTS
    if not weights.is_file():
        msg = f"{folder} has no {PEFT_WEIGHTS}: download the folder again"
        raise CheckpointError(msg)
    tensors = by_canonical_name(stored_tensors(weights), folder)
    return FolderAdapter(tensors, alpha / rank), rank


def _refuse_peft_features(settings: dict[str, Any], path: Path) -> None:
    in_use = {
        key: value
        for key, value in settings.items()
        if value and key not in _HARMLESS_PEFT_KEYS and value not in _PLAIN_LORA.get(key, ())
    }
    if in_use:
        msg = (
            f"{path} uses PEFT features that are not implemented: {in_use}; "
            "save the adapter again as plain LoRA"
        )
        raise CheckpointError(msg)
