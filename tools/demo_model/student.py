"""The student: jina-embeddings-v3's architecture, 4 layers of width 256, and its five adapters.

Post-norm, rotary positions (θ = 20 000, halves rotated), fused query/key/value, GELU, mean pooling.
Shapes: B texts, L padded tokens, D = 256 width, H = 8 heads, V = 8 704 pieces.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .batching import by_length, mean_pool, pad_rows
from .settings import END_ID, TASKS, VOCABULARY_SIZE, WIDTH

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy as np
    from tokenizers import Tokenizer

EMBEDDING = "embedding"
LINEARS = ("Wqkv", "out_proj", "fc1", "fc2")
MASKED_SCORE = -1e4  # added to the attention scores of padding


@dataclass(frozen=True, slots=True)
class Shape:
    """The architecture's numbers."""

    vocabulary: int = VOCABULARY_SIZE
    width: int = WIDTH
    inner_width: int = 1024
    layers: int = 4
    heads: int = 8
    rotary_base: float = 20_000.0
    norm_epsilon: float = 1e-5
    lora_rank: int = 4


class LowRankUpdate(nn.Module):
    """One task's change to one weight, zero until it is trained.

    A linear layer's is ``B A / r``, with A (r, inputs) and B (outputs, r); the embedding table's is
    ``A B / r``, with A (V, r) and B (r, D).
    """

    def __init__(self, weight: Tensor, *, rank: int, of_embedding: bool) -> None:
        super().__init__()
        rows, columns = weight.shape
        self._rank, self._of_embedding = rank, of_embedding
        if of_embedding:
            self.lora_A = nn.Parameter(torch.zeros(rows, rank))
            self.lora_B = nn.Parameter(torch.randn(rank, columns) * 0.02 * rank)
        else:
            self.lora_A = nn.Parameter(torch.randn(rank, columns) / columns**0.5)
            self.lora_B = nn.Parameter(torch.zeros(rows, rank))

    def forward(self) -> Tensor:
        """Returns the update, shaped like the weight."""
        a, b = self.lora_A, self.lora_B
        product = torch.mm(a, b) if self._of_embedding else torch.mm(b, a)
        return product / self._rank


class EncoderLayer(nn.Module):
    """The weights of one layer; ``Student`` computes with them."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.Wqkv = nn.Linear(shape.width, 3 * shape.width)
        self.out_proj = nn.Linear(shape.width, shape.width)
        self.norm1 = nn.LayerNorm(shape.width, shape.norm_epsilon)
        self.fc1 = nn.Linear(shape.width, shape.inner_width)
        self.fc2 = nn.Linear(shape.inner_width, shape.width)
        self.norm2 = nn.LayerNorm(shape.width, shape.norm_epsilon)


def rotate(heads: Tensor, angles: Tensor) -> Tensor:
    """Turns each pair of dimensions (i, i + d/2) by its angle: (B, H, L, d), (L, d/2)."""
    both_halves = torch.cat([angles, angles], -1)
    cosine, sine = both_halves.cos().to(heads.dtype), both_halves.sin().to(heads.dtype)
    first, second = heads.chunk(2, -1)
    return heads * cosine + torch.cat([-second, first], -1) * sine


def attend(query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None) -> Tensor:
    """Softmax attention, (B, H, L, d) each; ``bias`` (B, 1, 1, L) is added to the scores.

    The explicit form is for training: the backward pass of PyTorch's fused CPU attention took 43 %
    of a step, and writing it out doubled the throughput.
    """
    if not torch.is_grad_enabled():
        return F.scaled_dot_product_attention(query, key, value, attn_mask=bias)
    scores = (query * query.shape[-1] ** -0.5) @ key.transpose(-1, -2)
    if bias is not None:
        scores = scores + bias
    return torch.matmul(scores.softmax(-1), value)


class Student(nn.Module):
    """The encoder. A ``task`` adds that adapter's updates; None is the base model."""

    def __init__(self, shape: Shape | None = None) -> None:
        super().__init__()
        self.shape = shape = shape or Shape()
        self.embedding = nn.Embedding(shape.vocabulary, shape.width)
        self.token_type = nn.Parameter(torch.zeros(1, shape.width))
        self.embedding_norm = nn.LayerNorm(shape.width, shape.norm_epsilon)
        self.layers = nn.ModuleList(EncoderLayer(shape) for _ in range(shape.layers))
        self.adapters = nn.ModuleDict()
        for module in self.modules():
            if isinstance(module, (nn.Linear, nn.Embedding)):
                nn.init.normal_(module.weight, std=0.02)
            if isinstance(module, nn.Linear):
                nn.init.zeros_(module.bias)

    def encoder_layers(self) -> list[EncoderLayer]:
        """Returns the layers, first to last."""
        return [cast("EncoderLayer", layer) for layer in self.layers]

    def adapted_weights(self) -> Iterator[tuple[str, Tensor]]:
        """Yields the name and value of each weight that adapters change."""
        yield EMBEDDING, self.embedding.weight
        for index, layer in enumerate(self.encoder_layers()):
            for name in LINEARS:
                yield f"{index}_{name}", getattr(layer, name).weight

    def add_adapters(self) -> None:
        """Adds five adapters that change nothing yet."""
        for task in TASKS:
            updates = {
                name: LowRankUpdate(
                    weight, rank=self.shape.lora_rank, of_embedding=name == EMBEDDING
                )
                for name, weight in self.adapted_weights()
            }
            self.adapters[adapter_key(task)] = nn.ModuleDict(updates)

    def adapter(self, task: str) -> nn.ModuleDict:
        """Returns the updates of one task, by weight name."""
        return cast("nn.ModuleDict", self.adapters[adapter_key(task)])

    def update(self, task: str, name: str) -> LowRankUpdate:
        """Returns one task's update of one weight."""
        return cast("LowRankUpdate", self.adapter(task)[name])

    def rotary_angles(self, length: int) -> Tensor:
        """Returns the angle of each position and dimension pair, (L, d/2) float32."""
        head_width = self.shape.width // self.shape.heads
        exponents = torch.arange(0, head_width, 2).float() / head_width
        return torch.outer(torch.arange(length).float(), 1 / self.shape.rotary_base**exponents)

    def self_attention(self, fused: Tensor, bias: Tensor | None) -> Tensor:
        """Attends with rotary positions: fused queries, keys and values (B, L, 3D) → (B, L, D)."""
        batch, length = fused.shape[:2]
        heads = fused.view(batch, length, 3, self.shape.heads, -1)
        query, key, value = heads.permute(2, 0, 3, 1, 4).unbind(0)
        angles = self.rotary_angles(length)
        attended = attend(rotate(query, angles), rotate(key, angles), value, bias)
        return attended.transpose(1, 2).reshape(batch, length, self.shape.width)

    def forward(
        self,
        ids: Tensor,
        mask: Tensor | None = None,
        task: str | None = None,
        dtype: torch.dtype = torch.bfloat16,
    ) -> Tensor:
        """Encodes padded texts.

        Args:
            ids: (B, L).
            mask: (B, L), zero at padding; None if there is none.
            task: whose adapter to use.
            dtype: what layers compute in; weights, updates and embeddings stay float32.

        Returns:
            Hidden states (B, L, D) of that dtype.
        """
        table = self._adapted(EMBEDDING, self.embedding.weight, task)
        hidden = self._norm(F.embedding(ids, table) + self.token_type, self.embedding_norm)
        hidden = hidden.to(dtype)
        bias = None
        if mask is not None:
            padding = mask[:, None, None] == 0  # (B, 1, 1, L)
            bias = torch.zeros(padding.shape).masked_fill(padding, MASKED_SCORE).to(dtype)
        for index, layer in enumerate(self.encoder_layers()):
            attended = self.self_attention(self._linear(hidden, index, "Wqkv", task), bias)
            projected = self._linear(attended, index, "out_proj", task)
            hidden = self._norm(hidden + projected, layer.norm1)
            inner = F.gelu(self._linear(hidden, index, "fc1", task))
            hidden = self._norm(hidden + self._linear(inner, index, "fc2", task), layer.norm2)
        return hidden

    def _adapted(self, name: str, weight: Tensor, task: str | None) -> Tensor:
        return weight if task is None else weight + self.update(task, name)()

    def _linear(self, inputs: Tensor, index: int, name: str, task: str | None) -> Tensor:
        linear = getattr(self.layers[index], name)
        weight = self._adapted(f"{index}_{name}", linear.weight, task)
        return F.linear(inputs, weight.to(inputs.dtype), linear.bias.to(inputs.dtype))

    def _norm(self, hidden: Tensor, norm: nn.LayerNorm) -> Tensor:
        weight, bias = norm.weight.to(hidden.dtype), norm.bias.to(hidden.dtype)
        return F.layer_norm(hidden, norm.normalized_shape, weight, bias, norm.eps)


def adapter_key(task: str) -> str:
    """Returns a task's module name, which must not contain dots."""
    return task.replace(".", "_")


def token_rows(tokenizer: Tokenizer, texts: Sequence[str], max_length: int) -> list[list[int]]:
    """Returns token ids; a longer text is cut, and ends with the end token all the same."""
    rows = [encoding.ids for encoding in tokenizer.encode_batch(list(texts))]
    return [row if len(row) <= max_length else [*row[: max_length - 1], END_ID] for row in rows]


@torch.no_grad()
def embed(
    student: Student,
    tokenizer: Tokenizer,
    texts: Sequence[str],
    task: str | None = None,
    *,
    max_length: int = 512,
    dtype: torch.dtype = torch.bfloat16,
) -> np.ndarray:
    """Returns unit vectors, (N, D) float32."""
    rows = token_rows(tokenizer, texts, max_length)
    pooled = torch.zeros(len(rows), student.shape.width)
    for batch in by_length([len(row) for row in rows]):
        ids, mask = pad_rows([rows[index] for index in batch])
        pooled[batch] = mean_pool(student(ids, mask, task, dtype), mask)
    return F.normalize(pooled, dim=-1).numpy()
