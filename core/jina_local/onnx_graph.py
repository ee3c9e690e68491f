"""A checkpoint and one task → the whole model as a plain module that a graph can be made of.

The encoder of the engine is packed, mixes tasks and works in place. This one is the same function
written for export: padded batches (N, T) with a mask, one task whose updates are part of the
weights, rotary positions computed inside, pooled, cut and normalized at the end.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn import functional as F

from jina_local.tasks import NO_ADAPTER

if TYPE_CHECKING:
    from jina_local.checkpoint import Checkpoint
    from jina_local.tasks import Task

__all__ = ["ExportedModel"]


class ExportedModel(nn.Module):
    """Ids and mask → unit vectors.

    Args:
        checkpoint: Where the weights come from.
        task: Whose updates are merged into them.
        dimensions: d, what vectors are cut to before they get unit length.
        dtype: What weights are kept and computed in; pooling is float32.
        table_dtype: What the word table is kept in.
    """

    table: torch.Tensor
    frequencies: torch.Tensor

    def __init__(
        self,
        checkpoint: Checkpoint,
        task: Task,
        *,
        dimensions: int,
        dtype: torch.dtype,
        table_dtype: torch.dtype,
    ) -> None:
        super().__init__()
        merged = _Merged(checkpoint, task)
        config = checkpoint.config
        self.dtype = dtype
        self.dimensions = dimensions
        table = merged.weight("word")
        self.register_buffer("table", (table + merged.weight("token_type")).to(table_dtype))
        self.embedding_norm = _norm(merged, "embedding_norm", torch.float32)
        self.layers = nn.ModuleList(
            _Layer(merged, f"layers.{i}", config.n_heads, dtype) for i in range(config.n_layers)
        )
        pair = torch.arange(0, config.head_width, 2, dtype=torch.float32)
        self.register_buffer("frequencies", 1.0 / (config.rope_base ** (pair / config.head_width)))

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """Embed a padded batch.

        Args:
            input_ids: int64 (N, T).
            attention_mask: 1 for tokens, 0 for padding, int64 (N, T).

        Returns:
            float32 (N, d).
        """
        words = F.embedding(input_ids, self.table).float()
        x = self.embedding_norm(words).to(self.dtype)
        positions = torch.arange(input_ids.shape[1], device=input_ids.device).float()
        angles = positions[:, None] * self.frequencies  # (T, D/2H)
        cos, sin = angles.cos().to(self.dtype), angles.sin().to(self.dtype)
        lowest = torch.finfo(self.dtype).min
        bias = (1 - attention_mask)[:, None, None, :].to(self.dtype) * lowest
        for layer in self.layers:
            x = layer(x, cos, sin, bias)
        counted = attention_mask[:, :, None].float()
        mean = (x.float() * counted).sum(1) / counted.sum(1).clamp(min=1.0)
        cut: torch.Tensor = mean[:, : self.dimensions]
        length: torch.Tensor = cut.square().sum(1, keepdim=True).sqrt()
        return cut / length.clamp(min=1e-12)


class _Merged:
    """Weights of one task, float32, by canonical name."""

    def __init__(self, checkpoint: Checkpoint, task: Task) -> None:
        self.checkpoint = checkpoint
        self._adapter = task.adapter

    def weight(self, module: str) -> torch.Tensor:
        weight = self.checkpoint.tensor(f"{module}.weight").float()
        if self._adapter == NO_ADAPTER:
            return weight
        update = self.checkpoint.low_ranks(module)[self._adapter]
        return torch.addmm(weight, update.left.float(), update.right.float(), alpha=update.scale)


class _Linear(nn.Module):
    """x Wᵀ + b, the weight transposed once, so that quantization finds a constant factor."""

    weight: torch.Tensor
    bias: torch.Tensor

    def __init__(self, merged: _Merged, name: str, dtype: torch.dtype) -> None:
        super().__init__()
        bias = merged.checkpoint.tensor(f"{name}.bias")
        self.register_buffer("weight", merged.weight(name).T.contiguous().to(dtype))
        self.register_buffer("bias", bias.to(dtype))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.matmul(x, self.weight) + self.bias


class _Layer(nn.Module):
    def __init__(self, merged: _Merged, name: str, n_heads: int, dtype: torch.dtype) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.qkv = _Linear(merged, f"{name}.qkv", dtype)
        self.out = _Linear(merged, f"{name}.out", dtype)
        self.attention_norm = _norm(merged, f"{name}.attention_norm", dtype)
        self.fc1 = _Linear(merged, f"{name}.fc1", dtype)
        self.fc2 = _Linear(merged, f"{name}.fc2", dtype)
        self.mlp_norm = _norm(merged, f"{name}.mlp_norm", dtype)

    def forward(
        self, x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor, bias: torch.Tensor
    ) -> torch.Tensor:
        """(N, T, D), cos and sin (T, D/2H), bias (N, 1, 1, T) → (N, T, D)."""
        n, t, width = x.shape
        qkv = self.qkv(x).view(n, t, 3, self.n_heads, width // self.n_heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)  # (N, H, T, D/H)
        q = _turned(q * (width // self.n_heads) ** -0.5, cos, sin)
        scores = torch.matmul(q, _turned(k, cos, sin).transpose(2, 3)) + bias
        context = torch.matmul(scores.softmax(3), v).transpose(1, 2).reshape(n, t, width)
        x = self.attention_norm(x + self.out(context))
        y: torch.Tensor = self.mlp_norm(x + self.fc2(F.gelu(self.fc1(x))))
        return y


def _turned(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """Rotary positions over the halves of a head; see `jina_local.rotary` for the source."""
    first, second = x.chunk(2, dim=3)
    return torch.cat([first * cos - second * sin, second * cos + first * sin], dim=3)


def _norm(merged: _Merged, name: str, dtype: torch.dtype) -> nn.LayerNorm:
    checkpoint = merged.checkpoint
    norm = nn.LayerNorm(checkpoint.config.width, checkpoint.config.layer_norm_eps, dtype=dtype)
    with torch.no_grad():
        norm.weight.copy_(checkpoint.tensor(f"{name}.weight"))
        norm.bias.copy_(checkpoint.tensor(f"{name}.bias"))
    return norm.requires_grad_(False)
