"""Write whole model folders: random weights in every layout, configuration files, a tokenizer.

`write_original` and `write_native` spell the same weights in two ways, so what they write must load
as the same model. `write_tiny` adds a tokenizer, `write_full_size` is for benchmarks.
"""

from __future__ import annotations

import json
import math
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import save_file

from support.configs import adapter_config, native_config, original_config, prompts_config
from support.spellings import (
    SPELLINGS,
    Spelling,
    adapter_folder,
    adapter_tensors,
    native_tensors,
    original_tensors,
)
from support.tiny_tokenizers import Layout, write_tokenizer
from support.weights import (
    FULL_SIZE,
    INSTRUCTIONS,
    TASKS,
    TINY,
    TinyConfig,
    Weights,
    blank_weights,
    random_weights,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

__all__ = [
    "FULL_SIZE",
    "INSTRUCTIONS",
    "SPELLINGS",
    "TASKS",
    "TINY",
    "Checkpoint",
    "Spelling",
    "TinyConfig",
    "Weights",
    "adapter_folder",
    "random_weights",
    "write_full_size",
    "write_native",
    "write_original",
    "write_tiny",
]


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A folder on disk, and what an oracle needs to know about it."""

    folder: Path
    config: TinyConfig
    weights: Weights


def write_original(
    folder: Path,
    config: TinyConfig,
    weights: Weights,
    *,
    prefix: str = "roberta.",
    shards: int = 1,
    dtype: torch.dtype | None = None,
) -> None:
    """Write `config.json` and the weights as `jinaai/jina-embeddings-v3` has them.

    Args:
        folder: Made if it does not exist.
        config: Goes into `config.json`.
        weights: From `random_weights`, without `split_adapters`.
        prefix: Of every tensor name; some re-uploads have none.
        shards: Above 1, tensors are dealt out in turn, so that a weight and its adapters lie in
            different files, and `model.safetensors.index.json` says which.
        dtype: Of the file; `None` is that of the weights.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tensors = _as_stored(original_tensors(config, weights, prefix), dtype)
    _write_json(folder / "config.json", original_config(config, _dtype_name(tensors)))
    if shards == 1:
        _save(folder / "model.safetensors", tensors)
    else:
        _write_shards(folder, tensors, shards)


def write_native(
    folder: Path,
    config: TinyConfig,
    weights: Weights,
    spelling: Spelling = SPELLINGS["hub"],
    *,
    dtype: torch.dtype | None = None,
    prompts: Mapping[str, str] | None = None,
) -> None:
    """Write `config.json`, the base file and one adapter folder per task.

    Args:
        folder: Made if it does not exist.
        config: Goes into `config.json`, except for instructions and dimensions, which the
            published one is not known to have.
        weights: From `random_weights`; those with `split_adapters` need `adapter_qkv="split"`.
        spelling: Of all names.
        dtype: Of base and adapters; `None` is that of the weights.
        prompts: Given, they go into `config_sentence_transformers.json`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tensors = _as_stored(native_tensors(config, weights, spelling), dtype)
    _write_json(folder / "config.json", native_config(config, spelling, _dtype_name(tensors)))
    _save(folder / "model.safetensors", tensors)
    for task in config.tasks:
        home = folder / adapter_folder(task)
        home.mkdir(exist_ok=True)
        _write_json(home / "adapter_config.json", adapter_config(config))
        tensors = _as_stored(adapter_tensors(config, weights, task, spelling), dtype)
        _save(home / "adapter_model.safetensors", tensors)
    if prompts is not None:
        _write_json(folder / "config_sentence_transformers.json", prompts_config(prompts))


def write_tiny(
    folder: Path,
    layout: str = "original",
    *,
    config: TinyConfig = TINY,
    seed: int = 0,
    weight_std: float = 0.03,
    delta_factor: float = 1.0,
    dtype: torch.dtype = torch.float32,
    tokenizer: Layout = "whitespace+metaspace",
) -> Checkpoint:
    """Write a complete model folder: random weights in one layout, and a tokenizer.

    Args:
        folder: Made if it does not exist.
        layout: `original` or a key of `SPELLINGS`.
        config: Sizes; the tokenizer gets `vocab_size` ids and `max_positions` as its limit.
        seed: As in `random_weights`.
        weight_std: As in `random_weights`.
        delta_factor: As in `random_weights`.
        dtype: Of the weights, in the file and in the result.
        tokenizer: Its pre-tokenizer.
    """
    weights = random_weights(
        config, seed, weight_std=weight_std, delta_factor=delta_factor, dtype=dtype
    )
    if layout == "original":
        write_original(folder, config, weights)
    else:
        prompts = config.task_instructions
        write_native(folder, config, weights, SPELLINGS[layout], prompts=prompts)
    write_tokenizer(
        folder,
        tokenizer,
        model_max_length=config.max_positions,
        vocab_size=config.vocab_size,
    )
    return Checkpoint(folder, config, weights)


def write_full_size(folder: Path, seed: int = 0, *, config: TinyConfig = FULL_SIZE) -> None:
    """Write a random model as large as v3: 492 bfloat16 tensors, 1.14 GB, in the original layout.

    For benchmarks: the values have the scale of the published ones, but repeat. They are written
    block by block and never lie in memory together. The tokenizer is filled up to `vocab_size`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    _write_json(folder / "config.json", original_config(config, "bfloat16"))
    blank = original_tensors(config, blank_weights(config))
    shapes = {name: tuple(tensor.shape) for name, tensor in blank.items()}
    with (folder / "model.safetensors").open("wb") as file:
        file.write(_safetensors_header(shapes))
        for block in _random_blocks(shapes, seed):
            file.write(block.view(torch.uint8).numpy().data)
    write_tokenizer(folder, model_max_length=config.max_positions, vocab_size=config.vocab_size)


def _write_shards(folder: Path, tensors: Weights, shards: int) -> None:
    names = list(tensors)
    weight_map: dict[str, str] = {}
    for k in range(shards):
        file = f"model-{k + 1:05d}-of-{shards:05d}.safetensors"
        _save(folder / file, {name: tensors[name] for name in names[k::shards]})
        weight_map |= dict.fromkeys(names[k::shards], file)
    total_size = sum(tensor.nbytes for tensor in tensors.values())
    index = {"metadata": {"total_size": total_size}, "weight_map": weight_map}
    _write_json(folder / "model.safetensors.index.json", index)


def _safetensors_header(shapes: Mapping[str, Sequence[int]]) -> bytes:
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    offset = 0
    for name, shape in shapes.items():
        end = offset + 2 * math.prod(shape)
        header[name] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text


def _random_blocks(shapes: Mapping[str, Sequence[int]], seed: int) -> Iterator[torch.Tensor]:
    """The values of all tensors in turn, bfloat16, cut from endless tapes of noise.

    Factors of rank 4 with a standard deviation of 0.02 make a mean delta of 1.5e-4.
    """
    length = 8_388_593  # a prime number, so that no two rows of the word table are the same
    noise = torch.randn(length, generator=torch.Generator().manual_seed(seed))
    weight, small, norm = ((a + b * noise).bfloat16() for a, b in ((0, 0.03), (0, 0.02), (1, 0.05)))
    start = 0
    for name, shape in shapes.items():
        tape = weight if name.endswith(".original") else small
        tape = norm if name.endswith(("norm1.weight", "norm2.weight", "emb_ln.weight")) else tape
        missing = math.prod(shape)
        while missing:
            block = tape[start : start + missing]
            yield block
            missing -= len(block)
            start = (start + len(block)) % length


def _as_stored(tensors: Weights, dtype: torch.dtype | None) -> Weights:
    """Contiguous tensors that share no memory, as safetensors wants them."""
    return {
        name: tensor.to(dtype or tensor.dtype).clone(memory_format=torch.contiguous_format)
        for name, tensor in tensors.items()
    }


def _dtype_name(tensors: Weights) -> str:
    return str(next(iter(tensors.values())).dtype).removeprefix("torch.")


def _save(path: Path, tensors: Weights) -> None:
    save_file(tensors, path, metadata={"format": "pt"})


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
