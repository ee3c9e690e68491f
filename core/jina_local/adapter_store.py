"""One task's adapter by itself: kept in a folder of PEFT's, read from one, given to an engine.

What is written loads in transformers (`model.load_adapter`) and in PEFT
(`PeftModel.from_pretrained`) over the transformers-native model. Both formats know no instruction,
so it lies beside them, in a file of its own that both ignore.
"""

from __future__ import annotations

import json
import logging
import math
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import save
from torch.nn import functional as F

from jina_local.adapter_files import LowRank, open_peft_folder
from jina_local.adapter_folders import INSTRUCTION_FILE, PEFT_SETTINGS, PEFT_WEIGHTS
from jina_local.config import read_json
from jina_local.errors import CheckpointError, InvalidOptionError
from jina_local.files import written_whole
from jina_local.names import EMBEDDINGS, LINEARS
from jina_local.stored import check_tensors
from jina_local.tasks import check_task_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

__all__ = ["INSTRUCTION_FILE", "Adapter", "read_adapter", "save_adapter", "stored_instruction"]

_logger = logging.getLogger("jina_local")
_MODULE = re.compile(rf"{'|'.join(EMBEDDINGS)}|layers\.\d+\.(?:{'|'.join(LINEARS)})")
_MATRIX = 2  # dimensions


@dataclass(frozen=True, slots=True, eq=False)
class Adapter:
    """What a task changes of the weights, and the instruction that goes with it.

    Attributes:
        task: The task's name.
        instruction: Text put before every input of this task, possibly empty.
        updates: Canonical module name (`word`, `token_type`, `layers.N.{qkv,out,fc1,fc2}`) → its
            update. Modules that are not in it stay as they are. All updates have one scale; their
            ranks may differ.

    Raises:
        InvalidOptionError: If it is not such an adapter.
    """

    task: str
    instruction: str
    updates: Mapping[str, LowRank]

    def __post_init__(self) -> None:
        check_task_name(self.task)
        if not isinstance(self.instruction, str):
            msg = f"instruction is {self.instruction!r}, not a string; '' is none"
            raise InvalidOptionError(msg)
        unknown = [name for name in self.updates if not _MODULE.fullmatch(name)]
        if unknown or not self.updates:
            msg = (
                f"an adapter for {unknown or 'nothing'}: modules are {list(EMBEDDINGS)} and "
                f"layers.N.x, where x is one of {list(LINEARS)}"
            )
            raise InvalidOptionError(msg)
        for name, update in self.updates.items():
            _check_update(name, update)
        scales = {update.scale for update in self.updates.values()}
        if len(scales) > 1 or not all(math.isfinite(scale) for scale in scales):
            msg = f"an adapter has one finite scale, not {sorted(scales)}"
            raise InvalidOptionError(msg)

    @property
    def scale(self) -> float:
        """What every update is multiplied with: alpha / rank."""
        return next(iter(self.updates.values())).scale

    @property
    def rank(self) -> int:
        """r, the rank of a PEFT folder with this adapter."""
        return max(left.shape[1] for _, left, _ in _stored_parts(self))

    def copied(self) -> Adapter:
        """The same values in tensors of its own, on the CPU and without gradients."""
        updates = {
            name: replace(
                update,
                left=update.left.detach().cpu().clone(),
                right=update.right.detach().cpu().clone(),
            )
            for name, update in self.updates.items()
        }
        return replace(self, updates=updates)

    def named(self, task: str, instruction: str | None = None) -> Adapter:
        """The same updates for another task; its instruction stays unless one is given."""
        kept = self.instruction if instruction is None else instruction
        return replace(self, task=task, instruction=kept)


def save_adapter(adapter: Adapter, folder: str | Path) -> None:
    """Write an adapter as a PEFT folder, and its task and instruction beside it.

    Values and dtype stay as they are. Updates of a smaller rank are filled up with zeros, because
    a PEFT folder has one rank.

    Args:
        adapter: What to write.
        folder: Made if it does not exist; an adapter that lies there is written over.

    Raises:
        InvalidOptionError: If some layers lack an update that others have, which a PEFT folder of
            plain LoRA cannot say.
    """
    _check_layers(adapter)
    home = Path(folder)
    home.mkdir(parents=True, exist_ok=True)
    rank = adapter.rank
    parts = list(_stored_parts(adapter))
    tensors: dict[str, torch.Tensor] = {}
    for stem, left, right in parts:
        missing = rank - left.shape[1]
        left, right = F.pad(left, (0, missing)), F.pad(right, (0, 0, 0, missing))  # noqa: PLW2901
        if stem.startswith("embeddings."):
            tensors[f"base_model.model.{stem}.lora_embedding_A"] = left.T
            tensors[f"base_model.model.{stem}.lora_embedding_B"] = right.T
        else:
            tensors[f"base_model.model.{stem}.lora_A.weight"] = right
            tensors[f"base_model.model.{stem}.lora_B.weight"] = left
    alpha = adapter.scale * rank
    settings = {
        "base_model_name_or_path": None,
        "bias": "none",
        "fan_in_fan_out": False,
        "inference_mode": True,
        "init_lora_weights": True,
        "lora_alpha": int(alpha) if alpha.is_integer() else alpha,
        "lora_dropout": 0.0,
        "peft_type": "LORA",
        "r": rank,
        "target_modules": sorted({stem.rpartition(".")[2] for stem, _, _ in parts}),
        "task_type": "FEATURE_EXTRACTION",
    }
    separate = {name: tensor.contiguous().clone() for name, tensor in tensors.items()}
    with written_whole(home / PEFT_WEIGHTS) as file:
        file.write(save(separate, metadata={"format": "pt"}))
    _write_json(home / PEFT_SETTINGS, settings)
    about = {"task": adapter.task, "instruction": adapter.instruction}
    _write_json(home / INSTRUCTION_FILE, about)


def read_adapter(
    folder: str | Path, *, task: str | None = None, instruction: str | None = None
) -> Adapter:
    """Read a PEFT folder of plain LoRA, written by `save_adapter` or by PEFT itself.

    Modules that PEFT was not told to adapt may be missing.

    Args:
        folder: Has adapter_config.json and adapter_model.safetensors.
        task: The task's name; the one that was saved with it, else the folder's, if `None`.
        instruction: The task's instruction; the one that was saved with it if `None`, else an
            empty one, which is said in the log.

    Raises:
        ModelNotFoundError: If there is no such folder.
        CheckpointError: If it is not a plain LoRA adapter of this architecture.
        InvalidOptionError: If the task's name is none.
    """
    home = Path(folder)
    opened, rank = open_peft_folder(home)
    if unknown := [name for name in opened.modules if not _MODULE.fullmatch(name)]:
        msg = f"{home} adapts what jina-embeddings-v3 does not have: {unknown[:8]}"
        raise CheckpointError(msg)
    check_tensors(opened.tensors, _paired_shapes(opened.tensors, rank), home)
    _refuse_gaps(opened.tensors, read_json(home / PEFT_SETTINGS).get("target_modules"), home)
    about = _read_about(home)
    kept = stored_instruction(home) if instruction is None else instruction
    name = task or about.get("task") or home.resolve().name
    if kept is None:
        _logger.warning(
            "%s does not say which instruction its task was trained with, as plain PEFT folders do "
            "not: %r is used without one; give instruction=… if it has one",
            home,
            name,
        )
    return Adapter(
        task=name,
        instruction=kept or "",
        updates={module: opened.low_rank(module) for module in opened.modules},
    )


def stored_instruction(folder: str | Path) -> str | None:
    """The instruction that was saved with an adapter; `None` if none was, as by plain PEFT.

    Raises:
        CheckpointError: If the file beside the adapter is not what `save_adapter` writes.
    """
    instruction = _read_about(Path(folder)).get("instruction")
    if instruction is not None and not isinstance(instruction, str):
        msg = f"{folder}/{INSTRUCTION_FILE}: instruction is {instruction!r}, not a string"
        raise CheckpointError(msg)
    return instruction


def _check_update(name: str, update: LowRank) -> None:
    left, right = update.left, update.right
    shapes = tuple(left.shape), tuple(right.shape)
    if not (left.ndim == right.ndim == _MATRIX and left.shape[1] == right.shape[0] >= 1):
        msg = f"{name}: left and right are (rows, r) and (r, columns), not {shapes}"
        raise InvalidOptionError(msg)
    if name.endswith(".qkv") and len(left) % 3:
        msg = f"{name}: left is of q, k and v above each other, not of {len(left)} rows"
        raise InvalidOptionError(msg)


def _check_layers(adapter: Adapter) -> None:
    """Every layer has the same updates."""
    of_layers = [name.split(".")[1:] for name in adapter.updates if "." in name]
    kinds = {kind for _, kind in of_layers}
    n_layers = max((int(layer) + 1 for layer, _ in of_layers), default=0)
    wanted = (f"layers.{i}.{kind}" for i in range(n_layers) for kind in sorted(kinds))
    if missing := [name for name in wanted if name not in adapter.updates]:
        msg = f"the adapter {adapter.task!r} lacks {missing[:8]}, which other layers have"
        raise InvalidOptionError(msg)


_PEFT_NAMES: Mapping[str, str] = {
    "word": "embeddings.word_embeddings",
    "token_type": "embeddings.token_type_embeddings",
    "out": "self_attn.o_proj",
    "fc1": "mlp.fc1",
    "fc2": "mlp.fc2",
}


_KINDS: Mapping[str, str] = {
    "word_embeddings": "word",
    "token_type_embeddings": "token_type",
    "q_proj": "q",
    "k_proj": "k",
    "v_proj": "v",
    "o_proj": "out",
    "fc1": "fc1",
    "fc2": "fc2",
}


def _stored_parts(adapter: Adapter) -> Iterator[tuple[str, torch.Tensor, torch.Tensor]]:
    """Name in the transformers-native model, left (rows, r) and right (r, columns)."""
    for module, update in adapter.updates.items():
        left, right = update.left.detach().cpu(), update.right.detach().cpu()
        layer, _, kind = module.rpartition(".")
        if kind == "qkv":
            names = [f"{layer}.self_attn.{part}_proj" for part in "qkv"]
            for name, (part_left, part_right) in zip(names, _qkv_parts(left, right), strict=True):
                yield name, part_left, part_right
        else:
            yield (f"{layer}.{_PEFT_NAMES[kind]}" if layer else _PEFT_NAMES[kind]), left, right


def _qkv_parts(left: torch.Tensor, right: torch.Tensor) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """One update for each of q, k and v: of a block form the blocks, else with one right."""
    lefts = left.chunk(3)
    rank, rest = divmod(left.shape[1], 3)
    if rest or not all(part.any() for part in lefts):
        return [(part, right) for part in lefts]
    blocks = [slice(i * rank, (i + 1) * rank) for i in range(3)]
    diagonal = [part[:, block] for part, block in zip(lefts, blocks, strict=True)]
    is_block = torch.equal(torch.block_diag(*diagonal), left)  # type: ignore[no-untyped-call]
    if not is_block:
        return [(part, right) for part in lefts]
    return [(part, right[block]) for part, block in zip(diagonal, blocks, strict=True)]


def _paired_shapes(tensors: Mapping[str, Any], rank: int) -> dict[str, tuple[int, ...]]:
    """A and B for every module that has one of them, with the rank where it has to be."""
    shapes: dict[str, tuple[int, ...]] = {}
    for name, tensor in tensors.items():
        stem, _, which = name.rpartition(".lora_")
        rank_first = which == "A"
        for other in "AB":
            shapes.setdefault(f"{stem}.lora_{other}", ())
        size = tensor.shape[1:] if rank_first else tensor.shape[:1]
        shapes[name] = (rank, *size) if rank_first else (*size, rank)
    return shapes


def _refuse_gaps(tensors: Iterable[str], targets: object, folder: Path) -> None:
    """What is adapted in one layer is so in all of them, and what is named is there."""
    stems = {name.rpartition(".lora_")[0] for name in tensors}
    of_layers = [stem.split(".")[1:] for stem in stems if "." in stem]
    kinds = {kind for _, kind in of_layers}
    n_layers = max((int(layer) + 1 for layer, _ in of_layers), default=0)
    wanted = {f"layers.{i}.{kind}" for i in range(n_layers) for kind in kinds}
    if missing := sorted(wanted - stems):
        msg = f"{folder} has nothing for {missing[:8]}, which it adapts in other layers"
        raise CheckpointError(msg)
    found = kinds | stems | (set("qkv") if "qkv" in kinds else set())
    named = targets if isinstance(targets, list) else []  # else a pattern, or PEFT's shorthand
    if missing := [name for name in named if name in _KINDS and _KINDS[name] not in found]:
        msg = f"{folder} has nothing for {missing}, which {PEFT_SETTINGS} names in target_modules"
        raise CheckpointError(msg)


def _read_about(folder: Path) -> dict[str, Any]:
    path = folder / INSTRUCTION_FILE
    return read_json(path) if path.is_file() else {}


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    with written_whole(path) as file:
        file.write((json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode())
