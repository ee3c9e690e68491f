"""Task LoRA: how a task changes the weights.

All adapters of a module lie side by side: R stacked ranks, each column owned by one task. A mask
per token keeps the columns of the token's own task, so that one batch mixes tasks freely and one
copy of the weights serves them all. A linear runs as one product over augmented inputs,

    y = [x | mask · (x Aᵀ) | 1] · [W | s·B | b]ᵀ

in which base, update and bias are summed in the product's accumulator and rounded once. An
embedding gathers rows and never builds an adapted table. The algebra is that of the original
checkpoint: W + s·B·A for linears, W + s·A·B for embeddings, s = alpha / rank.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn import functional as F

from jina_local.devices import on_device

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from jina_local.adapter_files import LowRank
    from jina_local.products import Product

__all__ = ["AdaptedEmbedding", "AdaptedLinear", "ColumnMasks", "Owners", "stack_low_ranks"]

Owners = tuple[int, ...]
"""The task that owns each of R stacked columns; `_PADDING` for none, `_EVERYONE` for the bias."""

_PADDING = -2  # not NO_ADAPTER, so that a token without adapter owns no column either
_EVERYONE = -3
_RANK_MULTIPLE = 32  # stacked ranks are padded to this, for the sake of the product's kernels


def stack_low_ranks(updates: Sequence[LowRank]) -> tuple[torch.Tensor, torch.Tensor, Owners]:
    """The updates of one weight by all tasks, side by side.

    Args:
        updates: One per task, in order; their ranks may differ.

    Returns:
        left (rows, R) times scale, right (R, columns), both in float32, and the columns' owners:
        first the tasks, then everyone, for the bias, then nobody.
    """
    lefts = [update.left.float() * update.scale for update in updates]
    rights = [update.right.float() for update in updates]
    owners = [task for task, left in enumerate(lefts) for _ in range(left.shape[1])]
    padding = -(len(owners) + 1) % _RANK_MULTIPLE
    left = F.pad(torch.cat(lefts, dim=1), (0, 1 + padding))
    right = F.pad(torch.cat(rights), (0, 0, 0, 1 + padding))
    return left, right, (*owners, _EVERYONE, *[_PADDING] * padding)


class ColumnMasks:
    """For the tokens of one batch, which stacked columns belong to their tasks.

    Args:
        adapters: Adapter of each token's task, (T,).
        dtype: What the masks are multiplied with.
    """

    def __init__(self, adapters: torch.Tensor, dtype: torch.dtype) -> None:
        self._adapters = adapters
        self._dtype = dtype
        self._masks: dict[Owners, torch.Tensor] = {}

    def of(self, owners: Owners) -> torch.Tensor:
        """Ones where a token's task owns a column, (T, R)."""
        if owners not in self._masks:
            columns = on_device(np.array(owners), self._adapters.device)
            mine = (self._adapters[:, None] == columns) | (columns == _EVERYONE)
            self._masks[owners] = mine.to(self._dtype)
        return self._masks[owners]


@dataclass(frozen=True, slots=True, eq=False)
class AdaptedLinear:
    """A linear with the adapters of all tasks.

    Inputs are (T, n_in), or (T, n_in + R) with room for the update in the last R columns, which
    saves copying them.

    Attributes:
        product: By [W | s·B | b], (n_out, n_in + R); the bias is one of the R columns.
        down: A of all tasks, (R, n_in).
        one: 1 for the bias's column, else 0, (R,).
        owners: The task of each of the R columns.
    """

    product: Product
    down: torch.Tensor
    one: torch.Tensor
    owners: Owners

    @classmethod
    def build(
        cls,
        weight: torch.Tensor,
        bias: torch.Tensor,
        updates: Sequence[LowRank],
        *,
        product: Callable[[torch.Tensor], Product],
        dtype: torch.dtype,
        room: int = 0,
    ) -> AdaptedLinear:
        """Put a weight (n_out, n_in) and its updates into their compute form, on its device.

        Args:
            weight: W.
            bias: b, (n_out,).
            updates: One per task, in order.
            product: What makes a product of the augmented weight.
            dtype: What it computes in.
            room: Columns of zeros after the outputs, where the next linear puts its update.
        """
        left, right, owners = stack_low_ranks(updates)
        n_out, n_in = weight.shape
        augmented = weight.new_zeros((n_out + room, n_in + len(owners)), dtype=dtype)
        augmented[:n_out, :n_in] = weight
        augmented[:n_out, n_in:] = left
        augmented[:n_out, n_in + owners.index(_EVERYONE)] = bias
        one = torch.tensor([owner == _EVERYONE for owner in owners])
        return cls(
            product=product(augmented),
            down=right.to(weight.device, dtype),
            one=one.to(weight.device, dtype),
            owners=owners,
        )

    @property
    def rank(self) -> int:
        """R, the columns that an input may have room for."""
        return len(self.owners)

    @property
    def n_augmented(self) -> int:
        """n_in + R."""
        return self.down.shape[1] + self.rank

    def __call__(self, x: torch.Tensor, masks: ColumnMasks, scratch: torch.Tensor) -> torch.Tensor:
        """(T, n_in) → (T, n_out), laid into `scratch` where that pays."""
        return self.product(self._augment(x, masks), scratch)

    def gelu(self, x: torch.Tensor, masks: ColumnMasks, scratch: torch.Tensor) -> torch.Tensor:
        """(T, n_in) → gelu of (T, n_out + room), with zeros in the room."""
        return self.product.gelu(self._augment(x, masks), scratch)

    def added(self, x: torch.Tensor, masks: ColumnMasks, residual: torch.Tensor) -> torch.Tensor:
        """(T, n_in) and residual (T, n_out), which may be overwritten, → their sum (T, n_out)."""
        return self.product.added(self._augment(x, masks), residual)

    def _augment(self, x: torch.Tensor, masks: ColumnMasks) -> torch.Tensor:
        """[x | mask · (x Aᵀ) | 1], (T, n_in + R)."""
        n_in = self.down.shape[1]
        update = F.linear(x[:, :n_in], self.down, self.one) * masks.of(self.owners)
        if x.shape[1] == n_in:
            return torch.cat([x, update], dim=1)
        x[:, n_in:] = update
        return x


@dataclass(frozen=True, slots=True, eq=False)
class AdaptedEmbedding:
    """The word table plus the constant token type, with the adapters of all tasks.

    The table keeps the dtype it is stored in where that is the smaller one: gathered rows become
    float32 exactly.

    Attributes:
        table: Word table, (V, D).
        down: A of all tasks for each word, (V, R).
        up: s·B of all tasks, float32 (R, D).
        token_type: The one token type under each task, and under none in the last row,
            float32 (n_tasks + 1, D).
        owners: The task of each of the R columns.
    """

    table: torch.Tensor
    down: torch.Tensor
    up: torch.Tensor
    token_type: torch.Tensor
    owners: Owners

    @classmethod
    def build(
        cls,
        table: torch.Tensor,
        word_updates: Sequence[LowRank],
        token_type: torch.Tensor,
        token_type_updates: Sequence[LowRank],
        dtype: torch.dtype,
    ) -> AdaptedEmbedding:
        """Put word table (V, D), token type (1, D) and their updates into compute form."""
        device = table.device
        smaller = min(table.dtype, dtype, key=lambda d: d.itemsize)
        down = torch.cat([update.left for update in word_updates], dim=1)
        up = torch.cat([update.right.float() * update.scale for update in word_updates])
        owners = [task for task, update in enumerate(word_updates) for _ in update.right]
        base = token_type[0].float().cpu()
        types = [base + u.scale * (u.left[0].float() @ u.right.float()) for u in token_type_updates]
        return cls(
            table=table.to(smaller),
            down=down.to(device, min(down.dtype, dtype, key=lambda d: d.itemsize)),
            up=up.to(device),
            token_type=torch.stack([*types, base]).to(device),
            owners=tuple(owners),
        )

    def __call__(self, ids: torch.Tensor, adapters: torch.Tensor) -> torch.Tensor:
        """Ids (T,) and adapters (T,) → embeddings, float32 (T, D)."""
        words = F.embedding(ids, self.table).float()
        columns = on_device(np.array(self.owners), ids.device)
        mine = adapters[:, None] == columns  # (T, R)
        update = (F.embedding(ids, self.down).float() * mine) @ self.up
        return words + update + self.token_type[adapters]  # NO_ADAPTER = -1 is the last row
