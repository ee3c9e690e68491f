"""Hidden states and spans → pooled vectors: float32 means over the tokens of each output row.

Each span is summed by itself, where the hidden states are; only sums leave the device. A row may be
pooled from several spans, of several sequences, in several batches: sums and counts add up, and one
division at the end gives one mean over all of its tokens. (Differences of running sums would be
fewer operations, and lose the digits that two long sums have in common.)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jina_local.sequences import PooledSequence

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
        rows: list[int] = []
        spans: list[tuple[int, int]] = []
        first = 0
        for sequence in sequences:
            rows += [span.row for span in sequence.spans]
            spans += [(first + span.start, first + span.stop) for span in sequence.spans]
            first += len(sequence)
        counts = np.array([[stop - start] for start, stop in spans], dtype=np.float32)
        places = torch.from_numpy(np.array(rows))
        self._sums.index_add_(0, places, span_sums(hidden, spans).cpu())
        self._counts.index_add_(0, places, torch.from_numpy(counts))

    def means(self) -> torch.Tensor:
        """Pooled vectors, float32 (N, D)."""
        return self._sums / self._counts
