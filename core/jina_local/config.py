"""What the checkpoint says of itself: config.json and its instructions, checked and frozen."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from jina_local.errors import CheckpointError, ModelNotFoundError
from jina_local.tasks import V3_INSTRUCTIONS

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

__all__ = ["ModelConfig", "read_instructions", "read_json", "read_model_config"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelConfig:
    """The numbers that fix the forward pass.

    Attributes:
        vocab_size: Rows of the word table.
        width: D, the size of a hidden state.
        n_layers: Number of encoder layers.
        n_heads: H, heads of each attention.
        ffn_width: Size between the two linears of the feed-forward part.
        layer_norm_eps: Epsilon of every LayerNorm.
        rope_base: Base of the rotary frequencies.
        task_names: `lora_adaptations`, in order; empty if the config does not list them.
        lora_rank: Rank of each adapter, if the config says so.
        lora_alpha: Numerator of the adapters' scale, if the config says so.
        task_instructions: Instruction of each task, if the config has them.
        matryoshka_dimensions: The sizes that the model was trained for; any other works too.
        truncate_dim: The size that `encode` cuts to unless told otherwise.
        bos_token_id: What every text begins with, if the config says so.
        eos_token_id: What every text ends with, if the config says so.
    """

    vocab_size: int
    width: int
    n_layers: int
    n_heads: int
    ffn_width: int
    layer_norm_eps: float
    rope_base: float
    task_names: tuple[str, ...]
    lora_rank: int | None
    lora_alpha: float | None
    task_instructions: Mapping[str, str] | None
    matryoshka_dimensions: tuple[int, ...]
    truncate_dim: int | None
    bos_token_id: int | None
    eos_token_id: int | None

    @property
    def head_width(self) -> int:
        """D / H."""
        return self.width // self.n_heads


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file.

    Raises:
        ModelNotFoundError: If there is no such file.
        CheckpointError: If it does not hold a JSON object.
    """
    if not path.is_file():
        msg = f"{path.parent} has no {path.name}: it is not a complete checkpoint folder"
        raise ModelNotFoundError(msg)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        msg = f"{path} is not valid JSON ({error}): download it again"
        raise CheckpointError(msg) from error
    if not isinstance(content, dict):
        msg = f"{path} holds a JSON {type(content).__name__}, not an object"
        raise CheckpointError(msg)
    return content


def read_model_config(folder: Path) -> ModelConfig:
    """Read and check `config.json`.

    Raises:
        ModelNotFoundError: If the folder has no config.json.
        CheckpointError: If a number is missing or describes an architecture other than v3's.
    """
    path = folder / "config.json"
    raw = read_json(path)
    _refuse_other_architectures(raw, path)
    given = {key for key, value in raw.items() if value is not None}
    config = ModelConfig(
        vocab_size=_integer(raw, "vocab_size", path),
        width=_integer(raw, "hidden_size", path),
        n_layers=_integer(raw, "num_hidden_layers", path),
        n_heads=_integer(raw, "num_attention_heads", path),
        ffn_width=_integer(raw, "intermediate_size", path),
        layer_norm_eps=_number(raw, "layer_norm_eps", path),
        rope_base=_rope_base(raw, path),
        task_names=_items(raw, "lora_adaptations", str, path),
        lora_rank=_integer(raw, "lora_rank", path) if "lora_rank" in given else None,
        lora_alpha=_number(raw, "lora_alpha", path) if "lora_alpha" in given else None,
        task_instructions=_mapping(raw, "task_instructions", path) or None,
        matryoshka_dimensions=_items(raw, "matryoshka_dimensions", int, path),
        truncate_dim=_integer(raw, "truncate_dim", path) if "truncate_dim" in given else None,
        bos_token_id=raw.get("bos_token_id"),
        eos_token_id=raw.get("eos_token_id"),
    )
    if config.width % config.n_heads or config.head_width % 2:
        msg = (
            f"{path}: hidden_size {config.width} cannot be split into "
            f"{config.n_heads} heads of even width"
        )
        raise CheckpointError(msg)
    for key in ("rotary_emb_dim", "head_dim"):
        if raw.get(key) not in (None, config.head_width):
            msg = f"{path}: {key} is {raw[key]!r}; only whole heads, {config.head_width} wide"
            raise CheckpointError(msg)
    if len(set(config.task_names)) != len(config.task_names):
        msg = f"{path}: lora_adaptations names a task twice: {list(config.task_names)}"
        raise CheckpointError(msg)
    return config


def read_instructions(
    folder: Path, config: ModelConfig, task_names: tuple[str, ...], *, is_original: bool
) -> dict[str, str]:
    """The instruction of each task, in the order of `task_names`.

    The original layout carries them in config.json. The native layout may carry them as
    sentence-transformers prompts; otherwise, and only for the five published tasks, the published
    instructions hold.

    Raises:
        CheckpointError: If the instructions of a task cannot be known.
    """
    found = dict(config.task_instructions or {})
    origin = "task_instructions in config.json"
    if not is_original:
        prompts = _sentence_transformers_prompts(folder)
        if any(name in prompts for name in task_names):
            found, origin = prompts, "prompts in config_sentence_transformers.json"
        elif not found and set(task_names) == set(V3_INSTRUCTIONS):
            found, origin = dict(V3_INSTRUCTIONS), "the published instructions"
    if not found:
        msg = (
            f"{folder} does not say which instructions its tasks {list(task_names)} were trained "
            "with: config.json needs task_instructions, with an empty string where there is none"
        )
        raise CheckpointError(msg)
    unknown = [name for name in task_names if not isinstance(found.get(name), str)]
    if unknown or (is_original and set(found) != set(task_names)):
        msg = (
            f"{folder}: {origin} are for {sorted(found)}, but the adapters are for "
            f"{list(task_names)}; every task needs its instruction, possibly empty"
        )
        raise CheckpointError(msg)
    return {name: found[name] for name in task_names}


def _sentence_transformers_prompts(folder: Path) -> dict[str, str]:
    path = folder / "config_sentence_transformers.json"
    return _mapping(read_json(path), "prompts", path) if path.is_file() else {}


def _integer(raw: Mapping[str, Any], key: str, path: Path) -> int:
    value = raw.get(key)
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        msg = f"{path}: {key} is {value!r}, not a positive integer"
        raise CheckpointError(msg)
    return value


def _number(raw: Mapping[str, Any], key: str, path: Path) -> float:
    value = raw.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
        msg = f"{path}: {key} is {value!r}, not a positive number"
        raise CheckpointError(msg)
    return float(value)


def _items(raw: Mapping[str, Any], key: str, kind: type, path: Path) -> tuple[Any, ...]:
    value = raw.get(key) or []
    if not isinstance(value, list) or not all(isinstance(item, kind) for item in value):
        msg = f"{path}: {key} is {value!r}, not a list of {kind.__name__}"
        raise CheckpointError(msg)
    return tuple(value)


def _mapping(raw: Mapping[str, Any], key: str, path: Path) -> dict[str, Any]:
    value = raw.get(key) or {}
    if not isinstance(value, dict):
        msg = f"{path}: {key} is {value!r}, not a JSON object"
        raise CheckpointError(msg)
    return value


_ROPE_KEYS = ("rope_type", "type", "rope_theta")


def _rope_base(raw: Mapping[str, Any], path: Path) -> float:
    rope = _mapping(raw, "rope_parameters", path) or _mapping(raw, "rope_scaling", path)
    kind = rope.get("rope_type", rope.get("type", "default"))  # `type` until transformers 4.43
    if kind != "default":
        msg = f"{path}: rope_type {kind!r} is not implemented, only 'default', as v3 has it"
        raise CheckpointError(msg)
    if unknown := {k: v for k, v in rope.items() if k not in _ROPE_KEYS and v not in (None, 1)}:
        msg = f"{path}: rope_parameters has {unknown}; only rope_theta is implemented"
        raise CheckpointError(msg)
    for source, key in ((raw, "rotary_emb_base"), (rope, "rope_theta"), (raw, "rope_theta")):
        if source.get(key) is not None:
            return _number(source, key, path)
    if raw.get("model_type") == "jina_embeddings_v3":
        return 20000.0  # the native class's own default, which its config.json may leave out
    msg = f"{path}: rotary_emb_base is missing, and a guess would give wrong vectors"
    raise CheckpointError(msg)


# Keys whose other values mean a forward pass that this package does not implement.
_ARCHITECTURE: Mapping[str, tuple[Any, ...]] = {
    "position_embedding_type": (None, "rotary"),
    "hidden_act": ("gelu",),
    "emb_pooler": (None, "mean"),
    "rotary_emb_interleaved": (None, False),
    "rotary_emb_scale_base": (None,),
    "rotary_emb_fraction": (None, 1, 1.0),
    "partial_rotary_factor": (None, 1, 1.0),
    "use_rslora": (None, False),
    "parallel_block": (None, False),
    "use_rms_norm": (None, False),
}


def _refuse_other_architectures(raw: Mapping[str, Any], path: Path) -> None:
    for key, accepted in _ARCHITECTURE.items():
        if raw.get(key) not in accepted:
            msg = f"{path}: {key} is {raw.get(key)!r}; jina-embeddings-v3 has {accepted[-1]!r}"
            raise CheckpointError(msg)
