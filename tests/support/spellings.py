"""How checkpoints spell the names of their tensors: the original layout and the native ones.

Every table maps a neutral module (see `support.weights`) to its name in a file; `{i}` stands for
the number of a layer. The functions turn neutral weights into the tensors of one file.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch

from support.weights import EMBEDDINGS, QKV, Weights, adapter, base, fuse, norms

if TYPE_CHECKING:
    from collections.abc import Mapping

    from support.weights import TinyConfig

HUB_NAMES = {
    "word": "embeddings.word_embeddings",
    "token_type": "embeddings.token_type_embeddings",
    "embedding_norm": "emb_ln",
    "layers.{i}.qkv": "encoder.layers.{i}.mixer.Wqkv",
    "layers.{i}.attention_output": "encoder.layers.{i}.mixer.out_proj",
    "layers.{i}.attention_norm": "encoder.layers.{i}.norm1",
    "layers.{i}.fc1": "encoder.layers.{i}.mlp.fc1",
    "layers.{i}.fc2": "encoder.layers.{i}.mlp.fc2",
    "layers.{i}.output_norm": "encoder.layers.{i}.norm2",
    "pooler": "pooler.dense",
}

TRANSFORMERS_NAMES = {
    "word": "embeddings.word_embeddings",
    "token_type": "embeddings.token_type_embeddings",
    "embedding_norm": "embeddings.LayerNorm",
    "layers.{i}.query": "layers.{i}.self_attn.q_proj",
    "layers.{i}.key": "layers.{i}.self_attn.k_proj",
    "layers.{i}.value": "layers.{i}.self_attn.v_proj",
    "layers.{i}.attention_output": "layers.{i}.self_attn.o_proj",
    "layers.{i}.attention_norm": "layers.{i}.post_attention_layernorm",
    "layers.{i}.fc1": "layers.{i}.mlp.fc1",
    "layers.{i}.fc2": "layers.{i}.mlp.fc2",
    "layers.{i}.output_norm": "layers.{i}.post_mlp_layernorm",
    "pooler": "pooler.dense",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Spelling:
    """How a native folder spells its names. A loader has to accept every mixture.

    Attributes:
        base_prefix: Before every name in `model.safetensors`.
        base_names: `hub` are the original's, with a fused `mixer.Wqkv`; `transformers` are those of
            the modules of `JinaEmbeddingsV3Model`, with `self_attn.q_proj`, `k_proj`, `v_proj`.
        pooler: Whether base and adapters have `pooler.dense`, which embeddings never use.
        adapter_prefix: Before every name in `adapter_model.safetensors`.
        adapter_layers: The list of layers.
        adapter_qkv: One adapter for each of `self_attn.q_proj`, `k_proj`, `v_proj`, or a single
            one for `mixer.Wqkv`.
        adapter_output: The projection after attention.
        adapter_infix: What follows `lora_A`: in memory, PEFT keeps the name of the adapter there.
            `{folder}` is replaced by the name of the adapter's folder.
        rope: Where `config.json` gives the base θ; `omitted` leaves it to the default, 20000.
    """

    base_prefix: Literal["", "roberta."] = ""
    base_names: Literal["hub", "transformers"] = "hub"
    pooler: bool = True
    adapter_prefix: Literal["", "roberta.", "base_model.model.", "base_model.model.roberta."] = ""
    adapter_layers: Literal["encoder.layers", "layers"] = "encoder.layers"
    adapter_qkv: Literal["split", "fused"] = "split"
    adapter_output: Literal["mixer.out_proj", "self_attn.o_proj"] = "mixer.out_proj"
    adapter_infix: Literal["", ".default", ".{folder}"] = ""
    rope: Literal["rope_parameters", "rope_theta", "omitted"] = "rope_parameters"


SPELLINGS: dict[str, Spelling] = {
    # the published folder, as far as it is known
    "hub": Spelling(base_prefix="roberta.", adapter_prefix="roberta."),
    "without prefixes": Spelling(rope="omitted"),
    # `save_pretrained` of transformers: the base in old names, the adapters in new ones
    "saved by transformers": Spelling(
        adapter_prefix="base_model.model.",
        adapter_layers="layers",
        adapter_output="self_attn.o_proj",
    ),
    # `state_dict()` of the model in memory, saved as it is
    "names in memory": Spelling(
        base_names="transformers",
        adapter_layers="layers",
        adapter_output="self_attn.o_proj",
        adapter_infix=".{folder}",
        rope="rope_theta",
    ),
    "names in memory, prefixed": Spelling(
        base_prefix="roberta.",
        base_names="transformers",
        adapter_prefix="base_model.model.roberta.",
        adapter_layers="layers",
        adapter_output="self_attn.o_proj",
        adapter_infix=".default",
    ),
    "half renamed": Spelling(
        base_prefix="roberta.",
        adapter_prefix="base_model.model.",
        adapter_output="self_attn.o_proj",
    ),
    "fused adapters": Spelling(
        base_prefix="roberta.",
        adapter_prefix="roberta.",
        adapter_qkv="fused",
    ),
    "no pooler": Spelling(
        base_names="transformers",
        pooler=False,
        adapter_prefix="base_model.model.roberta.",
        adapter_layers="layers",
    ),
}


def adapter_names(spelling: Spelling) -> dict[str, str]:
    """The table of an adapter file."""
    layer = f"{spelling.adapter_layers}.{{i}}"
    qkv = {"layers.{i}.qkv": f"{layer}.mixer.Wqkv"}
    if spelling.adapter_qkv == "split":
        qkv = {f"layers.{{i}}.{part}": f"{layer}.self_attn.{part[0]}_proj" for part in QKV}
    return {
        "word": "embeddings.word_embeddings",
        "token_type": "embeddings.token_type_embeddings",
        **qkv,
        "layers.{i}.attention_output": f"{layer}.{spelling.adapter_output}",
        "layers.{i}.fc1": f"{layer}.mlp.fc1",
        "layers.{i}.fc2": f"{layer}.mlp.fc2",
        "pooler": "pooler.dense",
    }


def adapter_folder(task: str) -> str:
    """The folder of a task's adapter, and its name in PEFT: `retrieval_query`."""
    return task.replace(".", "_").replace("-", "_")


def original_tensors(config: TinyConfig, weights: Weights, prefix: str = "roberta.") -> Weights:
    """The tensors of the original file: each weight, and beside it its adapters for all tasks.

    Shapes for a Linear: `lora_A` (K, r, columns), `lora_B` (K, rows, r). For an Embedding the
    letters change places: `lora_A` (K, rows, r), `lora_B` (K, r, columns).
    """
    source = fuse(base(weights))
    banks = [fuse(adapter(weights, task)) for task in config.tasks]
    tensors: Weights = {}
    for module, name in _per_layer(HUB_NAMES, config).items():
        weight = f"{prefix}{name}.weight"
        if module not in norms(config):
            left = torch.stack([bank[f"{module}.left"] for bank in banks])
            right = torch.stack([bank[f"{module}.right"] for bank in banks])
            a, b = (left, right) if module in EMBEDDINGS else (right, left)
            weight = f"{prefix}{name}.parametrizations.weight.original"
            tensors[f"{prefix}{name}.parametrizations.weight.0.lora_A"] = a
            tensors[f"{prefix}{name}.parametrizations.weight.0.lora_B"] = b
        tensors[weight] = source[f"{module}.weight"]
        if module not in EMBEDDINGS:
            tensors[f"{prefix}{name}.bias"] = source[f"{module}.bias"]
    return tensors


def native_tensors(config: TinyConfig, weights: Weights, spelling: Spelling) -> Weights:
    """The tensors of a native base file: `.weight` and `.bias` of every module, no adapters."""
    names, source = TRANSFORMERS_NAMES, base(weights)
    if spelling.base_names == "hub":
        names, source = HUB_NAMES, fuse(source)
    return {
        f"{spelling.base_prefix}{name}.{suffix}": source[f"{module}.{suffix}"]
        for module, name in _per_layer(names, config).items()
        for suffix in (("weight",) if module in EMBEDDINGS else ("weight", "bias"))
        if spelling.pooler or module != "pooler"
    }


def adapter_tensors(config: TinyConfig, weights: Weights, task: str, spelling: Spelling) -> Weights:
    """The tensors of a native adapter file.

    Shapes for a Linear: `lora_A.weight` (r, columns), `lora_B.weight` (rows, r). An Embedding has
    the factors transposed: `lora_embedding_A` (r, rows), `lora_embedding_B` (columns, r).
    """
    source = adapter(weights, task)
    if spelling.adapter_qkv == "fused":
        source = fuse(source)
    infix = spelling.adapter_infix.format(folder=adapter_folder(task))
    tensors: Weights = {}
    for module, name in _per_layer(adapter_names(spelling), config).items():
        left, right = source[f"{module}.left"], source[f"{module}.right"]
        stem = spelling.adapter_prefix + name
        if module in EMBEDDINGS:
            tensors[f"{stem}.lora_embedding_A{infix}"] = left.T
            tensors[f"{stem}.lora_embedding_B{infix}"] = right.T
        elif spelling.pooler or module != "pooler":
            tensors[f"{stem}.lora_A{infix}.weight"] = right
            tensors[f"{stem}.lora_B{infix}.weight"] = left
    return tensors


def _per_layer(names: Mapping[str, str], config: TinyConfig) -> dict[str, str]:
    """The table with one row per layer in place of each row with an `{i}`."""
    return {
        module.format(i=i): name.format(i=i)
        for module, name in names.items()
        for i in range(config.n_layers if "{i}" in module else 1)
    }
