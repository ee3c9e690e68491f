"""PackedBatch → hidden states (T, D): jina-embeddings-v3 in plain PyTorch.

A post-norm bidirectional encoder (facts verified against the transformers-native
`JinaEmbeddingsV3Model` in the tests): sum of embeddings → LayerNorm → layers of

    x = LayerNorm(x + out(attention(rotate(qkv(x)))))
    x = LayerNorm(x + fc2(gelu(fc1(x))))

with exact (erf) GELU and rotary positions over the whole head width, second half against first.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch.nn import functional as F

from jina_local.adapters import AdaptedEmbedding, AdaptedLinear, ColumnMasks
from jina_local.attention import Attention, choose_attention

if TYPE_CHECKING:
    from jina_local.checkpoint import Checkpoint
    from jina_local.packing import PackedBatch

__all__ = ["Encoder", "EncoderLayer", "LayerNorm", "Rotary", "load_encoder"]


@dataclass(frozen=True, slots=True, eq=False)
class LayerNorm:
    """LayerNorm over the width.

    Attributes:
        weight: (D,).
        bias: (D,).
        eps: Added to the variance.
    """

    weight: torch.Tensor
    bias: torch.Tensor
    eps: float

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """(T, D) → (T, D)."""
        return F.layer_norm(x, self.weight.shape, self.weight, self.bias, self.eps)


@dataclass(frozen=True, slots=True, eq=False)
class Rotary:
    """Cosines and sines of one batch's positions, float32 (T, 1, D/2H) each.

    The angles are those of RoFormer (arXiv 2104.09864, eq. 34) with the halves of a head paired
    instead of its neighbours, as the checkpoint was trained.
    """

    cos: torch.Tensor
    sin: torch.Tensor

    @classmethod
    def at(cls, positions: torch.Tensor, head_width: int, base: float) -> Rotary:
        """Tables for positions (T,)."""
        pair = torch.arange(0, head_width, 2, dtype=torch.float32, device=positions.device)
        frequencies = 1.0 / (base ** (pair / head_width))
        angles = positions.float()[:, None, None] * frequencies
        return cls(angles.cos(), angles.sin())

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Rotate queries or keys, (T, H, D/H) → (T, H, D/H), in float32, rounded once."""
        first, second = x.float().chunk(2, dim=-1)
        rotated = (first * self.cos - second * self.sin, second * self.cos + first * self.sin)
        return torch.cat(rotated, dim=-1).to(x.dtype)


@dataclass(frozen=True, slots=True, eq=False)
class EncoderLayer:
    """One layer.

    Attributes:
        qkv: Fused projections, D → 3D.
        out: Projection of the attended values, D → D.
        attention_norm: LayerNorm after attention.
        fc1: First linear of the feed-forward part.
        fc2: Second linear of the feed-forward part.
        mlp_norm: LayerNorm after the feed-forward part.
        n_heads: H.
    """

    qkv: AdaptedLinear
    out: AdaptedLinear
    attention_norm: LayerNorm
    fc1: AdaptedLinear
    fc2: AdaptedLinear
    mlp_norm: LayerNorm
    n_heads: int

    def __call__(
        self,
        x: torch.Tensor,
        batch: PackedBatch,
        rotary: Rotary,
        masks: ColumnMasks,
        attention: Attention,
    ) -> torch.Tensor:
        """(T, D) → (T, D)."""
        qkv = self.qkv(x, masks).view(len(x), 3, self.n_heads, -1)
        q, k, v = qkv.unbind(1)  # (T, H, D/H)
        context = attention(rotary(q), rotary(k), v, batch)
        x = self.attention_norm(x + self.out(context.flatten(1), masks))
        return self.mlp_norm(x + self.fc2(F.gelu(self.fc1(x, masks)), masks))


@dataclass(frozen=True, slots=True, eq=False)
class Encoder:
    """The whole model; holds weights and no other state, so threads may share it.

    Attributes:
        embedding: Words and token type.
        embedding_norm: LayerNorm over their sum.
        layers: Encoder layers, in order.
        rope_base: Base of the rotary frequencies.
        head_width: D / H.
        dtype: What hidden states are computed in.
        attention: The attention backend.
    """

    embedding: AdaptedEmbedding
    embedding_norm: LayerNorm
    layers: tuple[EncoderLayer, ...]
    rope_base: float
    head_width: int
    dtype: torch.dtype
    attention: Attention

    def __call__(self, batch: PackedBatch) -> torch.Tensor:
        """Hidden states of every token, (T, D), in the compute dtype."""
        embedded = self.embedding(batch.ids, batch.adapters)  # float32 (T, D)
        x = self.embedding_norm(embedded).to(self.dtype)
        rotary = Rotary.at(batch.positions, self.head_width, self.rope_base)
        masks = ColumnMasks(batch.adapters, self.dtype)
        for layer in self.layers:
            x = layer(x, batch, rotary, masks, self.attention)
        return x


def load_encoder(checkpoint: Checkpoint, device: torch.device, dtype: torch.dtype) -> Encoder:
    """Read the weights straight to the device, each tensor once and in its stored dtype.

    The word table, the largest tensor, comes first, so that reading it and keeping it is the most
    memory that loading ever needs.
    """
    config = checkpoint.config
    place = str(device) if device.type == "cuda" else "cpu"

    def tensor(name: str) -> torch.Tensor:
        return checkpoint.tensor(name, place).to(device)

    def norm(name: str, norm_dtype: torch.dtype) -> LayerNorm:
        weight, bias = tensor(f"{name}.weight"), tensor(f"{name}.bias")
        return LayerNorm(weight.to(norm_dtype), bias.to(norm_dtype), config.layer_norm_eps)

    def linear(name: str) -> AdaptedLinear:
        updates = checkpoint.low_ranks(name)
        return AdaptedLinear.build(tensor(f"{name}.weight"), tensor(f"{name}.bias"), updates, dtype)

    def layer(name: str) -> EncoderLayer:
        return EncoderLayer(
            qkv=linear(f"{name}.qkv"),
            out=linear(f"{name}.out"),
            attention_norm=norm(f"{name}.attention_norm", dtype),
            fc1=linear(f"{name}.fc1"),
            fc2=linear(f"{name}.fc2"),
            mlp_norm=norm(f"{name}.mlp_norm", dtype),
            n_heads=config.n_heads,
        )

    with torch.inference_mode():
        embedding = AdaptedEmbedding.build(
            tensor("word.weight"),
            checkpoint.low_ranks("word"),
            tensor("token_type.weight"),
            checkpoint.low_ranks("token_type"),
            dtype,
        )
        return Encoder(
            embedding=embedding,
            embedding_norm=norm("embedding_norm", torch.float32),
            layers=tuple(layer(f"layers.{i}") for i in range(config.n_layers)),
            rope_base=config.rope_base,
            head_width=config.head_width,
            dtype=dtype,
            attention=choose_attention(device),
        )
