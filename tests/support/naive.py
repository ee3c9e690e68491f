"""What the model computes, as formulas: merged weights, one text at a time, float64.

This is the forward pass of the specification and nothing else; it reads no file and shares no code
with the engine or with transformers.

Shapes: T tokens, D hidden width, H heads.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

from support.weights import QKV, adapter, base, modules

if TYPE_CHECKING:
    from collections.abc import Sequence

    from support.weights import TinyConfig, Weights


def naive_hidden_states(
    config: TinyConfig, weights: Weights, ids: Sequence[int], task: str | None
) -> torch.Tensor:
    """The last hidden state of one text, (T, D) float64."""
    w = merged(config, weights, task)
    cos, sin = _rotation(config, len(ids))
    x = w["word.weight"][list(ids)] + w["token_type.weight"][0]  # (T, D)
    x = _norm(config, w, "embedding_norm", x)
    for i in range(config.n_layers):
        layer = f"layers.{i}"
        q, k, v = (_heads(config, _linear(w, f"{layer}.{part}", x)) for part in QKV)  # (H, T, D/H)
        q, k = q * cos + _rotate_half(q) * sin, k * cos + _rotate_half(k) * sin
        scores = q @ k.mT / math.sqrt(config.head_dim)  # (H, T, T)
        a = scores.softmax(dim=-1) @ v  # (H, T, D/H)
        a = _linear(w, f"{layer}.attention_output", a.transpose(0, 1).flatten(1))  # (T, D)
        x = _norm(config, w, f"{layer}.attention_norm", x + a)
        h = _linear(w, f"{layer}.fc2", _gelu(config, _linear(w, f"{layer}.fc1", x)))  # (T, D)
        x = _norm(config, w, f"{layer}.output_norm", x + h)
    return x


def merged(config: TinyConfig, weights: Weights, task: str | None) -> Weights:
    """The base weights with the adapter of `task` added, float64."""
    result = {name: tensor.double() for name, tensor in base(weights).items()}
    if task is not None:
        factors = {name: tensor.double() for name, tensor in adapter(weights, task).items()}
        for module in modules(config):
            delta = config.scale * factors[f"{module}.left"] @ factors[f"{module}.right"]
            result[f"{module}.weight"] = result[f"{module}.weight"] + delta
    return result


def _linear(w: Weights, module: str, x: torch.Tensor) -> torch.Tensor:
    return x @ w[f"{module}.weight"].T + w[f"{module}.bias"]


def _norm(config: TinyConfig, w: Weights, norm: str, x: torch.Tensor) -> torch.Tensor:
    centred = x - x.mean(dim=-1, keepdim=True)
    variance = centred.square().mean(dim=-1, keepdim=True)
    unit = centred / (variance + config.layer_norm_eps).sqrt()
    return unit * w[f"{norm}.weight"] + w[f"{norm}.bias"]


def _gelu(config: TinyConfig, x: torch.Tensor) -> torch.Tensor:
    if config.hidden_act == "gelu":
        return x * (1 + torch.erf(x / math.sqrt(2))) / 2
    return x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))) / 2


def _heads(config: TinyConfig, x: torch.Tensor) -> torch.Tensor:
    """(T, D) → (H, T, D/H); head h is the h-th run of D/H columns."""
    return x.view(len(x), config.n_heads, config.head_dim).transpose(0, 1)


def _rotation(config: TinyConfig, length: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Cosine and sine for positions 0 … T-1, (T, D/H) each. Angles are float32, as specified."""
    powers = torch.arange(0, config.head_dim, 2) / config.head_dim
    angles = torch.arange(length)[:, None] * (1 / config.rope_base**powers)  # (T, D/2H)
    both = torch.cat([angles, angles], dim=1).double()
    return both.cos(), both.sin()


def _rotate_half(x: torch.Tensor) -> torch.Tensor:
    first, second = x.chunk(2, dim=-1)
    return torch.cat([-second, first], dim=-1)
