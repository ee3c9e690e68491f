"""PackedBatch → hidden states (T, D): jina-embeddings-v3 in plain PyTorch.

A post-norm bidirectional encoder (facts verified against the transformers-native
`JinaEmbeddingsV3Model` in the tests): sum of embeddings → LayerNorm → layers of

    x = LayerNorm(x + out(attention(rotate(qkv(x)))))
    x = LayerNorm(x + fc2(gelu(fc1(x))))

with exact (erf) GELU and rotary positions over the whole head width. Sums with the residual and
GELU happen inside the products, and wide results share one piece of memory per batch.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch.nn import functional as F

from jina_local.adapters import AdaptedEmbedding, AdaptedLinear, ColumnMasks
from jina_local.attention import Attention, choose_attention
from jina_local.products import choose_product
from jina_local.rotary import Rotary, pair_halves

if TYPE_CHECKING:
    from jina_local.checkpoint import Checkpoint
    from jina_local.packing import PackedBatch

__all__ = ["Encoder", "EncoderLayer", "ForwardPass", "LayerNorm", "load_encoder"]

_LOADING_THREADS = 2  # rearranging is slow on a processor; each thread holds a weight several times


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
class ForwardPass:
    """What the layers share while they compute one batch.

    Attributes:
        batch: The batch.
        rotary: Its positions.
        masks: Its tasks.
        scratch: Flat memory for one wide result at a time: qkv, which is dead after attention, and
            the inside of the feed-forward part, which is dead after it.
    """

    batch: PackedBatch
    rotary: Rotary
    masks: ColumnMasks
    scratch: torch.Tensor


@dataclass(frozen=True, slots=True, eq=False)
class EncoderLayer:
    """One layer.

    Attributes:
        qkv: Fused projections, D → 3D, with the dimensions of q and k in the order of `Rotary`.
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

    def __call__(self, x: torch.Tensor, shared: ForwardPass, attention: Attention) -> torch.Tensor:
        """(T, D), which is overwritten, → (T, D)."""
        masks, scratch = shared.masks, shared.scratch
        qkv = self.qkv(x, masks, scratch).view(len(x), 3, self.n_heads, -1)
        q, k = shared.rotary(qkv[:, :2]).unbind(1)  # (T, H, D/H)
        context = attention(q, k, qkv[:, 2], shared.batch)
        x = self.attention_norm(self.out.added(context.flatten(1), masks, residual=x))
        return self.mlp_norm(self.fc2.added(self.fc1.gelu(x, masks, scratch), masks, residual=x))

    @property
    def widest(self) -> int:
        """Columns of the widest result, which the scratch memory has to hold."""
        return max(3 * len(self.attention_norm.weight), self.fc2.n_augmented)


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
        shared = ForwardPass(
            batch=batch,
            rotary=Rotary.at(batch.positions, self.head_width, self.rope_base),
            masks=ColumnMasks(batch.adapters, self.dtype),
            scratch=x.new_empty(len(x) * max(layer.widest for layer in self.layers)),
        )
        for layer in self.layers:
            x = layer(x, shared, self.attention)
        return x


def load_encoder(
    checkpoint: Checkpoint,
    device: torch.device,
    dtype: torch.dtype,
    *,
    words: torch.Tensor | None = None,
) -> Encoder:
    """Read the weights straight to the device, each tensor once and in its stored dtype.

    The word table, the largest tensor, comes first, so that reading it and keeping it is the most
    memory that loading ever needs.

    Args:
        checkpoint: What to read.
        device: Where it goes.
        dtype: What it will compute in.
        words: The word table of an encoder of the same base, which is then shared.
    """
    config = checkpoint.config
    place = str(device) if device.type == "cuda" else "cpu"
    product = choose_product(device, dtype)

    def tensor(name: str) -> torch.Tensor:
        return checkpoint.tensor(name, place).to(device)

    def norm(name: str, norm_dtype: torch.dtype) -> LayerNorm:
        weight, bias = tensor(f"{name}.weight"), tensor(f"{name}.bias")
        return LayerNorm(weight.to(norm_dtype), bias.to(norm_dtype), config.layer_norm_eps)

    def linear(name: str, *, rows: torch.Tensor | None = None, room: int = 0) -> AdaptedLinear:
        weight, bias = tensor(f"{name}.weight"), tensor(f"{name}.bias")
        updates = checkpoint.low_ranks(name)
        if rows is not None:
            weight, bias = weight[rows], bias[rows]
            updates = [replace(update, left=update.left[rows]) for update in updates]
        return AdaptedLinear.build(weight, bias, updates, product=product, dtype=dtype, room=room)

    def layer(index: int) -> EncoderLayer:
        name = f"layers.{index}"
        with torch.inference_mode():  # of this thread
            fc2 = linear(f"{name}.fc2")
            return EncoderLayer(
                qkv=linear(f"{name}.qkv", rows=pair_halves(config.width, config.head_width)),
                out=linear(f"{name}.out"),
                attention_norm=norm(f"{name}.attention_norm", dtype),
                fc1=linear(f"{name}.fc1", room=fc2.rank),
                fc2=fc2,
                mlp_norm=norm(f"{name}.mlp_norm", dtype),
                n_heads=config.n_heads,
            )

    with torch.inference_mode(), ThreadPoolExecutor(_LOADING_THREADS) as threads:
        embedding = AdaptedEmbedding.build(
            tensor("word.weight") if words is None else words,
            checkpoint.low_ranks("word"),
            tensor("token_type.weight"),
            checkpoint.low_ranks("token_type"),
            dtype,
        )
        return Encoder(
            embedding=embedding,
            embedding_norm=norm("embedding_norm", torch.float32),
            layers=tuple(threads.map(layer, range(config.n_layers))),
            rope_base=config.rope_base,
            head_width=config.head_width,
            dtype=dtype,
            attention=choose_attention(device, dtype, config.head_width),
        )
