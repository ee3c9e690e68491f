"""Padded batches. The recipe pads; the library it made this model for does not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from .settings import PAD_ID

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from torch import Tensor


def by_length(
    lengths: Sequence[int], max_tokens: int = 8192, slack: float = 1.3
) -> Iterator[list[int]]:
    """Yields batches of indices of similar length, shortest first.

    Args:
        lengths: tokens per row, (N,).
        max_tokens: padded tokens per batch, reckoned with the batch's shortest row.
        slack: the most a batch may exceed ``max_tokens`` by, reckoned with its longest row.
    """
    order = sorted(range(len(lengths)), key=lengths.__getitem__)
    start = 0
    while start < len(order):
        size = max(1, max_tokens // max(lengths[order[start]], 1))
        batch = order[start : start + size]
        while len(batch) > 1 and lengths[batch[-1]] * len(batch) > max_tokens * slack:
            batch.pop()
        yield batch
        start += len(batch)


def pad_rows(
    rows: Sequence[Sequence[int] | np.ndarray], pad_id: int = PAD_ID
) -> tuple[Tensor, Tensor | None]:
    """Pads token ids on the right.

    Returns:
        Ids (B, L), and a mask (B, L) of ones and zeros, or None if no row needed padding.
    """
    longest = max(len(row) for row in rows)
    ids = torch.full((len(rows), longest), pad_id, dtype=torch.long)
    mask = torch.zeros(len(rows), longest, dtype=torch.long)
    for index, row in enumerate(rows):
        ids[index, : len(row)] = torch.as_tensor(np.asarray(row, dtype=np.int64))
        mask[index, : len(row)] = 1
    return ids, None if bool(mask.all()) else mask


def mean_pool(hidden: Tensor, mask: Tensor | None) -> Tensor:
    """Averages over all tokens of a row, in float32: (B, L, D), (B, L) → (B, D)."""
    hidden = hidden.float()
    if mask is None:
        return hidden.mean(1)
    weights = mask.float()[..., None]
    return (hidden * weights).sum(1) / weights.sum(1)


def segment_means(hidden: Tensor, segments: Tensor, n_segments: int) -> tuple[Tensor, Tensor]:
    """Averages tokens by segment.

    Args:
        hidden: (..., D).
        segments: the segment of each token, (...), -1 for none.
        n_segments: S.

    Returns:
        Means (S, D), zero for a segment without tokens, and token counts (S,).
    """
    inside = segments >= 0
    index = segments[inside]
    sums = torch.zeros(n_segments, hidden.shape[-1]).index_add(0, index, hidden[inside])
    counts = torch.zeros(n_segments).index_add(0, index, torch.ones(len(index)))
    return sums / counts.clamp(min=1)[:, None], counts
