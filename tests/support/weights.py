"""Random weights of the jina-embeddings-v3 architecture, under neutral names.

No file layout and no oracle decides what these names are, so all of them can be checked against
one another.

Base:
    {module}.weight          (rows, columns)  `modules(config)` lists the modules and these shapes
    {module}.bias            (rows,)          every module but the two embeddings
    {norm}.weight, .bias     (D,)             `norms(config)` lists the norms
Adapters, one for each task and module: adapted weight = weight + scale · left @ right
    {task}/{module}.left     (rows, r)
    {task}/{module}.right    (r, columns)

Shapes: V vocabulary, D hidden width, F feed-forward width, r rank, K tasks.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import torch

from support.tiny_tokenizers import VOCAB_SIZE

if TYPE_CHECKING:
    from collections.abc import Mapping

Weights = dict[str, torch.Tensor]

TASKS = ("retrieval.query", "retrieval.passage", "separation", "classification", "text-matching")
INSTRUCTIONS = {
    "retrieval.query": "Represent the query for retrieving evidence documents: ",
    "retrieval.passage": "Represent the document for retrieval: ",
    "separation": "",
    "classification": "",
    "text-matching": "",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class TinyConfig:
    """The numbers of a checkpoint; the defaults are v3's wherever they cost nothing.

    Attributes:
        vocab_size: V, the rows of the word table and the ids of the tokenizer.
        hidden_size: D.
        n_layers: Post-norm encoder blocks.
        n_heads: Attention heads, each `hidden_size // n_heads` wide; the width must be even.
        intermediate_size: F.
        hidden_act: `gelu` (exact, with erf) or, to make a wrong model, `gelu_pytorch_tanh`.
        rope_base: The base θ of the rotary embedding.
        layer_norm_eps: Of every layer norm.
        max_positions: The longest input in tokens, specials included.
        tasks: In the order of the adapter banks.
        rank: r of every adapter.
        alpha: Every adapter is scaled by `alpha / rank`.
        task_instructions: What is put before each text, by task.
        matryoshka_dimensions: Widths that embeddings may be cut to.
    """

    vocab_size: int = VOCAB_SIZE
    hidden_size: int = 64
    n_layers: int = 2
    n_heads: int = 4
    intermediate_size: int = 256
    hidden_act: Literal["gelu", "gelu_pytorch_tanh"] = "gelu"
    rope_base: float = 20000.0
    layer_norm_eps: float = 1e-5
    max_positions: int = 8194
    tasks: tuple[str, ...] = TASKS
    rank: int = 4
    alpha: int = 1
    task_instructions: Mapping[str, str] = field(default_factory=lambda: dict(INSTRUCTIONS))
    matryoshka_dimensions: tuple[int, ...] = (8, 16, 32, 64)

    @property
    def head_dim(self) -> int:
        """Width of one attention head."""
        return self.hidden_size // self.n_heads

    @property
    def scale(self) -> float:
        """What the product of an adapter's factors is multiplied by."""
        return self.alpha / self.rank


PUBLISHED_WIDTH = 1024
TINY = TinyConfig()
FULL_SIZE = TinyConfig(
    vocab_size=250002,
    hidden_size=PUBLISHED_WIDTH,
    n_layers=24,
    n_heads=16,
    intermediate_size=4096,
    matryoshka_dimensions=(32, 64, 128, 256, 512, 768, 1024),
)

EMBEDDINGS = ("word", "token_type")
QKV = ("query", "key", "value")


def modules(config: TinyConfig) -> dict[str, tuple[int, int]]:
    """Every module with an adapter, and the shape (rows, columns) of its weight."""
    wide, inner = config.hidden_size, config.intermediate_size
    shapes = {"word": (config.vocab_size, wide), "token_type": (1, wide)}
    for i in range(config.n_layers):
        shapes |= {f"layers.{i}.{part}": (wide, wide) for part in (*QKV, "attention_output")}
        shapes |= {f"layers.{i}.fc1": (inner, wide), f"layers.{i}.fc2": (wide, inner)}
    return shapes | {"pooler": (wide, wide)}


def norms(config: TinyConfig) -> list[str]:
    """Every layer norm, in the order of the forward pass."""
    layers = range(config.n_layers)
    after = [f"layers.{i}.{part}" for i in layers for part in ("attention_norm", "output_norm")]
    return ["embedding_norm", *after]


def random_weights(
    config: TinyConfig,
    seed: int = 0,
    *,
    weight_std: float = 0.03,
    delta_mean: float = 1.5e-4,
    delta_factor: float = 1.0,
    split_adapters: bool = False,
    dtype: torch.dtype = torch.float32,
) -> Weights:
    """Weights that do to their inputs what the published ones do; the same for the same arguments.

    Standard deviation and mean are those of a model as wide as the published one, 1024. A narrower
    one gets larger elements, by √(1024 / D), and so matrices of the same gain. With small elements
    attention would be flat, GELU linear, and a test blind to a wrong rotation or activation.

    Args:
        config: Shapes and tasks.
        seed: Of the random numbers.
        weight_std: Standard deviation of the base weights at width 1024. Biases have 0.02, layer
            norms 1 ± 0.05, whatever the width.
        delta_mean: Mean of |scale · left @ right| over each adapted weight, at width 1024.
        delta_factor: Multiplies `delta_mean`. At 1 an adapter hides in the rounding of bfloat16, at
            100 it is half as large as the weights, and no test can overlook it.
        split_adapters: Query, key and value adapters share their right factor, as those of a model
            with a fused projection do; with this they have three different ones, as when
            trained after splitting.
        dtype: The weights are rounded to it.
    """
    generator = torch.Generator().manual_seed(seed)
    gain = math.sqrt(PUBLISHED_WIDTH / config.hidden_size)
    weights: Weights = {}
    for name, shape in _base_shapes(config).items():
        weights[name] = _random_base(name, shape, weight_std * gain, generator)
    for task in config.tasks:
        for group in _adapter_groups(config, split_adapters=split_adapters):
            mean = delta_mean * delta_factor * gain
            weights |= _random_adapter(config, task, group, mean, generator)
    return {name: tensor.to(dtype) for name, tensor in weights.items()}


def _base_shapes(config: TinyConfig) -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {}
    for module, (rows, columns) in modules(config).items():
        shapes[f"{module}.weight"] = (rows, columns)
        if module not in EMBEDDINGS:
            shapes[f"{module}.bias"] = (rows,)
    for norm in norms(config):
        shapes |= {f"{norm}.{part}": (config.hidden_size,) for part in ("weight", "bias")}
    return shapes


def _random_base(
    name: str, shape: tuple[int, ...], weight_std: float, generator: torch.Generator
) -> torch.Tensor:
    noise = torch.randn(shape, generator=generator)
    if name.endswith("norm.weight"):
        return 1 + 0.05 * noise
    return noise * (0.02 if name.endswith(".bias") else weight_std)


def _adapter_groups(config: TinyConfig, *, split_adapters: bool) -> list[tuple[str, ...]]:
    """The modules, grouped by the right factor that they share."""
    names = list(modules(config))
    if split_adapters:
        return [(name,) for name in names]
    qkv = [tuple(f"layers.{i}.{part}" for part in QKV) for i in range(config.n_layers)]
    return qkv + [(name,) for name in names if name.rpartition(".")[2] not in QKV]


def _random_adapter(
    config: TinyConfig,
    task: str,
    group: tuple[str, ...],
    mean: float,
    generator: torch.Generator,
) -> Weights:
    """Factors for the stacked modules of `group`, whose product has the given mean size."""
    shapes = [modules(config)[module] for module in group]
    rows = [rows for rows, _ in shapes]
    left = torch.randn(sum(rows), config.rank, generator=generator)
    right = torch.randn(config.rank, shapes[0][1], generator=generator)
    factor = math.sqrt(mean / (config.scale * left @ right).abs().mean())
    lefts = torch.split(left * factor, rows)
    return {f"{task}/{m}.left": part for m, part in zip(group, lefts, strict=True)} | {
        f"{task}/{m}.right": right * factor for m in group
    }


def blank_weights(config: TinyConfig) -> Weights:
    """Weights that have names and shapes but no values."""
    weights = {name: _blank(*shape) for name, shape in _base_shapes(config).items()}
    for task in config.tasks:
        for group in _adapter_groups(config, split_adapters=False):
            right = _blank(config.rank, modules(config)[group[0]][1])
            for module in group:
                weights[f"{task}/{module}.left"] = _blank(modules(config)[module][0], config.rank)
                weights[f"{task}/{module}.right"] = right
    return weights


def _blank(*shape: int) -> torch.Tensor:
    return torch.empty(shape, device="meta")


def base(weights: Weights) -> Weights:
    """The weights without the adapters."""
    return {name: tensor for name, tensor in weights.items() if "/" not in name}


def adapter(weights: Weights, task: str) -> Weights:
    """The factors of one task, as `{module}.left` and `{module}.right`."""
    start = f"{task}/"
    return {k.removeprefix(start): tensor for k, tensor in weights.items() if k.startswith(start)}


def fuse(tensors: Weights) -> Weights:
    """The same tensors with `query`, `key` and `value` of each layer as one module `qkv`.

    Works on base weights, `qkv.weight` (3D, D) and `qkv.bias` (3D,), and on what `adapter` returns,
    `qkv.left` (3D, r) and `qkv.right` (r, D).

    Raises:
        ValueError: The adapters have different right factors, so rank r cannot hold them.
    """
    result: Weights = {}
    for name, tensor in tensors.items():
        module, _, suffix = name.rpartition(".")
        layer, _, part = module.rpartition(".")
        if part not in QKV:
            result[name] = tensor
        elif part == QKV[0]:
            parts = [tensors[f"{layer}.{part}.{suffix}"] for part in QKV]
            result[f"{layer}.qkv.{suffix}"] = (
                _same(parts) if suffix == "right" else torch.cat(parts)
            )
    return result


def _same(tensors: list[torch.Tensor]) -> torch.Tensor:
    first, *others = tensors
    if not all(other is first or torch.equal(other, first) for other in others):
        msg = "query, key and value adapters with different right factors cannot be fused"
        raise ValueError(msg)
    return first
