"""The name table: every spelling of a jina-embeddings-v3 tensor → one canonical name.

Two layouts are in use, and each in several spellings: the original one (fused attention weights,
`parametrizations`) and the native one of transformers with PEFT adapter folders (fused or split
attention weights, with or without prefixes). The rules below are applied in order to a stored
name; what comes out is the canonical name that the rest of the package uses:

    word.weight  token_type.weight  embedding_norm.{weight,bias}
    layers.N.{qkv,out,fc1,fc2}.{weight,bias}  layers.N.{attention_norm,mlp_norm}.{weight,bias}
    <module>.lora_A  <module>.lora_B     for word, token_type and the four linears of a layer
    layers.N.{q,k,v}.…                   the parts of qkv where they are stored apart
    pooler.…                             never used for embeddings; ignored
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Iterable

    from jina_local.config import ModelConfig

__all__ = [
    "EMBEDDINGS",
    "LINEARS",
    "adapter_shapes",
    "base_shapes",
    "canonical_name",
    "is_ignored",
    "is_original",
    "linear_modules",
    "stores_qkv_apart",
]

EMBEDDINGS = ("word", "token_type")
LINEARS = ("qkv", "out", "fc1", "fc2")

_ORIGINAL_MARK = ".parametrizations.weight.original"

_RULES: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"^base_model\.model\.", ""),
        (r"^roberta\.", ""),
        (r"^encoder\.layers\.", "layers."),
        (r"^embeddings\.word_embeddings\.", "word."),
        (r"^embeddings\.token_type_embeddings\.", "token_type."),
        (r"^(emb_ln|embeddings\.LayerNorm)\.", "embedding_norm."),
        (r"^(layers\.\d+)\.(mixer|self_attn|mlp)\.", r"\1."),
        (r"^(layers\.\d+)\.Wqkv\.", r"\1.qkv."),
        (r"^(layers\.\d+)\.([qkv])_proj\.", r"\1.\2."),
        (r"^(layers\.\d+)\.(out_proj|o_proj)\.", r"\1.out."),
        (r"^(layers\.\d+)\.(norm1|post_attention_layernorm)\.", r"\1.attention_norm."),
        (r"^(layers\.\d+)\.(norm2|post_mlp_layernorm)\.", r"\1.mlp_norm."),
        (r"\.parametrizations\.weight\.original$", ".weight"),
        (r"\.parametrizations\.weight\.0\.(lora_[AB])$", r".\1"),
        (r"\.lora_(?:embedding_)?([AB])(\.[^.]+)??(\.weight)?$", r".lora_\1"),
    )
)


def canonical_name(stored: str) -> str:
    """The canonical name of a stored tensor."""
    for pattern, replacement in _RULES:
        stored = pattern.sub(replacement, stored)
    return stored


def is_original(stored_names: Iterable[str]) -> bool:
    """Whether these names are of the original layout; `model_type` says nothing about it."""
    return any(name.endswith(_ORIGINAL_MARK) for name in stored_names)


def is_ignored(name: str) -> bool:
    """Whether a canonical name is of the pooler, which no embedding uses."""
    return name.startswith("pooler.")


def stores_qkv_apart(names: Iterable[str]) -> bool:
    """Whether canonical names hold q, k and v as three tensors."""
    return any(re.match(r"layers\.\d+\.[qkv]\.", name) for name in names)


def linear_modules(config: ModelConfig) -> list[str]:
    """Canonical names of all linears, in order."""
    return [f"layers.{i}.{linear}" for i in range(config.n_layers) for linear in LINEARS]


def base_shapes(config: ModelConfig, *, qkv_apart: bool) -> dict[str, tuple[int, ...]]:
    """Canonical name → shape of every tensor outside the adapters, in canonical order."""
    width = config.width
    shapes: dict[str, tuple[int, ...]] = {
        "word.weight": (config.vocab_size, width),
        "token_type.weight": (1, width),
        "embedding_norm.weight": (width,),
        "embedding_norm.bias": (width,),
    }
    for i in range(config.n_layers):
        for linear, (n_out, n_in) in _linear_shapes(config, qkv_apart=qkv_apart).items():
            shapes[f"layers.{i}.{linear}.weight"] = (n_out, n_in)
            shapes[f"layers.{i}.{linear}.bias"] = (n_out,)
        for norm in ("attention_norm", "mlp_norm"):
            shapes[f"layers.{i}.{norm}.weight"] = (width,)
            shapes[f"layers.{i}.{norm}.bias"] = (width,)
    return shapes


def adapter_shapes(
    config: ModelConfig,
    rank: int,
    *,
    layout: Literal["original", "native"],
    qkv_apart: bool,
) -> dict[str, tuple[int, ...]]:
    """Canonical name → shape of the stored adapter tensors.

    The original layout stacks all tasks in dimension 0; the native one has a file for each. For
    embeddings the two layouts are transposes of each other.
    """
    stack = (len(config.task_names),) if layout == "original" else ()
    shapes: dict[str, tuple[int, ...]] = {}
    for module, rows in (("word", config.vocab_size), ("token_type", 1)):
        down, up = (rows, rank), (rank, config.width)
        if layout == "native":
            down, up = down[::-1], up[::-1]
        shapes[f"{module}.lora_A"] = stack + down
        shapes[f"{module}.lora_B"] = stack + up
    for i in range(config.n_layers):
        for linear, (n_out, n_in) in _linear_shapes(config, qkv_apart=qkv_apart).items():
            shapes[f"layers.{i}.{linear}.lora_A"] = (*stack, rank, n_in)
            shapes[f"layers.{i}.{linear}.lora_B"] = (*stack, n_out, rank)
    return shapes


def _linear_shapes(config: ModelConfig, *, qkv_apart: bool) -> dict[str, tuple[int, int]]:
    """(outputs, inputs) of the linears of one layer."""
    width, ffn_width = config.width, config.ffn_width
    qkv = dict.fromkeys("qkv", (width, width)) if qkv_apart else {"qkv": (3 * width, width)}
    return {**qkv, "out": (width, width), "fc1": (ffn_width, width), "fc2": (width, ffn_width)}
