"""A whole model → a checkpoint folder in the native layout, which transformers reads as well."""

from __future__ import annotations

import json
import re
import shutil
from typing import TYPE_CHECKING, Any

from safetensors.torch import save

from jina_local.adapter_store import save_adapter
from jina_local.files import written_whole

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import torch

    from jina_local.adapter_store import Adapter
    from jina_local.checkpoint import Checkpoint

__all__ = ["task_folder", "write_native"]

_TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json")

_STORED: tuple[tuple[str, str], ...] = (
    (r"^word\.", "embeddings.word_embeddings."),
    (r"^token_type\.", "embeddings.token_type_embeddings."),
    (r"^embedding_norm\.", "emb_ln."),
    (r"^layers\.", "encoder.layers."),
    (r"\.qkv\.", ".mixer.Wqkv."),
    (r"\.out\.", ".mixer.out_proj."),
    (r"\.(fc[12])\.", r".mlp.\1."),
    (r"\.attention_norm\.", ".norm1."),
    (r"\.mlp_norm\.", ".norm2."),
)
"""Canonical name → what `save_pretrained` of transformers writes; `jina_local.names` reads it."""


def task_folder(folder: Path, task: str) -> Path:
    """Where the native layout keeps a task's adapter."""
    return folder / task.replace(".", "_").replace("-", "_")


def write_native(
    folder: Path,
    origin: Checkpoint,
    base: Mapping[str, torch.Tensor],
    adapters: Sequence[Adapter],
) -> None:
    """Write config.json, weights, adapters and tokenizer.

    The pooler, which no embedding uses, is left out.

    Args:
        folder: Is there; what it holds of these files is written over.
        origin: The checkpoint that the model was made from, for its config and tokenizer.
        base: The weights that all tasks share, by canonical name.
        adapters: One for each task, in order.
    """
    for adapter in adapters:
        save_adapter(adapter, task_folder(folder, adapter.task))
    for name in _TOKENIZER_FILES:
        if (origin.folder / name).is_file() and origin.folder.resolve() != folder.resolve():
            shutil.copyfile(origin.folder / name, folder / name)
    with written_whole(folder / "model.safetensors") as file:
        stored = {_stored_name(name): tensor.contiguous() for name, tensor in base.items()}
        file.write(save(stored, metadata={"format": "pt"}))
    with written_whole(folder / "config.json") as file:
        text = json.dumps(_config(origin, adapters), indent=2, ensure_ascii=False)
        file.write(f"{text}\n".encode())


def _stored_name(canonical: str) -> str:
    for pattern, replacement in _STORED:
        canonical = re.sub(pattern, replacement, canonical)
    return canonical


def _config(origin: Checkpoint, adapters: Sequence[Adapter]) -> dict[str, Any]:
    config = origin.config
    return {
        "architectures": ["JinaEmbeddingsV3Model"],
        "attention_probs_dropout_prob": 0.0,
        "bos_token_id": config.bos_token_id,
        "dtype": "float32",
        "eos_token_id": config.eos_token_id,
        "hidden_act": "gelu",
        "hidden_dropout_prob": 0.0,
        "hidden_size": config.width,
        "intermediate_size": config.ffn_width,
        "layer_norm_eps": config.layer_norm_eps,
        "lora_adaptations": [adapter.task for adapter in adapters],
        "matryoshka_dimensions": list(config.matryoshka_dimensions),
        "model_type": "jina_embeddings_v3",
        "num_attention_heads": config.n_heads,
        "num_hidden_layers": config.n_layers,
        "pad_token_id": 1,
        "rope_parameters": {"rope_theta": config.rope_base, "rope_type": "default"},
        "task_instructions": {adapter.task: adapter.instruction for adapter in adapters},
        "truncate_dim": config.truncate_dim,
        "type_vocab_size": 1,
        "vocab_size": config.vocab_size,
    }
