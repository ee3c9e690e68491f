"""Hidden states and spans → pooled vectors: float32 means over the tokens of each output row.

A row may be pooled from several sequences, in several batches: sums and counts add up, and one
division at the end gives one mean over all of its tokens.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jina_local.spans import PooledSequence

__all__ = ["RowMeans", "span_sums"]


def span_sums(hidden: torch.Tensor, spans: Sequence[tuple[int, int]]) -> torch.Tensor:
    """Sum of the hidden states in each span.

    Args:
        hidden: Hidden states of a packed batch, (T, D).
        spans: S pairs of first token and one past the last.

    Returns:
        float32 (S, D).
    """
    return torch.stack([hidden[start:stop].sum(0, dtype=torch.float32) for start, stop in spans])


class RowMeans:
    """Mean hidden state of each output row, gathered batch by batch.

    Args:
        n_rows: N output rows.
        width: D.
    """

    def __init__(self, n_rows: int, width: int) -> None:
        self._sums = torch.zeros((n_rows, width), dtype=torch.float32, device="cpu")
        self._counts = torch.zeros((n_rows, 1), dtype=torch.float32, device="cpu")

    def add(self, hidden: torch.Tensor, sequences: Sequence[PooledSequence]) -> None:
        """Count the pooled tokens of a batch towards their rows.

        Args:
            hidden: Hidden states of these sequences, laid end to end, (T, D).
            sequences: N sequences.
        """
        spans, first = [], 0
        for sequence in sequences:
            spans.append((first + sequence.start, first + sequence.stop))
            first += len(sequence)
        rows = torch.from_numpy(np.array([sequence.row for sequence in sequences]))
        counts = torch.from_numpy(np.array([[stop - start] for start, stop in spans], np.float32))
        self._sums.index_add_(0, rows, span_sums(hidden, spans).cpu())
        self._counts.index_add_(0, rows, counts)

    def means(self) -> torch.Tensor:
        """Pooled vectors, float32 (N, D)."""
        return self._sums / self._counts
