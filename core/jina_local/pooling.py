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
from torch.nn import functional as F

from jina_local.devices import on_device

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jina_local.sequences import PooledSequence

__all__ = ["RowMeans", "span_sums"]

_PIECE_TOKENS = 64  # that are summed one by one; a longer span is a sum of such sums
_ROWS_AWAY = 4096  # sums that may wait on the device: fetching them waits for it


def span_sums(hidden: torch.Tensor, spans: np.ndarray) -> torch.Tensor:
    """Sum of the hidden states in each span; a few operations, however many spans there are.

    Args:
        hidden: Hidden states of a packed batch, (T, D).
        spans: First token and one past the last, int64 (S, 2).

    Returns:
        float32 (S, D).
    """
    pieces, of_span = _pieces(spans)
    return _sums(_sums(hidden.float(), pieces), of_span)


def _pieces(spans: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The spans cut into short pieces, and which of these each span is made of."""
    n_pieces = -(-(spans[:, 1] - spans[:, 0]) // _PIECE_TOKENS)
    stops = np.cumsum(n_pieces)
    of_span = np.stack([stops - n_pieces, stops], axis=1)
    starts = np.repeat(spans[:, 0], n_pieces) + _PIECE_TOKENS * _counted_within(n_pieces)
    ends = np.minimum(starts + _PIECE_TOKENS, np.repeat(spans[:, 1], n_pieces))
    return np.stack([starts, ends], axis=1), of_span


def _sums(x: torch.Tensor, spans: np.ndarray) -> torch.Tensor:
    """Sum of the rows of x in each span, one row after the other."""
    lengths = spans[:, 1] - spans[:, 0]
    rows = np.repeat(spans[:, 0], lengths) + _counted_within(lengths)
    starts = np.cumsum(lengths) - lengths
    return F.embedding_bag(on_device(rows, x.device), x, on_device(starts, x.device), mode="sum")


def _counted_within(lengths: np.ndarray) -> np.ndarray:
    """0, 1, 2, … in each of several runs, laid end to end."""
    starts = np.cumsum(lengths) - lengths
    counted: np.ndarray = np.arange(lengths.sum()) - np.repeat(starts, lengths)
    return counted


class RowMeans:
    """Mean hidden state of each output row, gathered batch by batch.

    Sums stay on the device for a while: taking each one over at once would make the device wait
    for the next batch.

    Args:
        n_rows: N output rows.
        width: D.
    """

    def __init__(self, n_rows: int, width: int) -> None:
        self._sums = torch.zeros((n_rows, width), dtype=torch.float32, device="cpu")
        self._counts = torch.zeros((n_rows, 1), dtype=torch.float32, device="cpu")
        self._away: list[tuple[torch.Tensor, torch.Tensor]] = []

    def add(self, hidden: torch.Tensor, sequences: Sequence[PooledSequence]) -> None:
        """Count the pooled tokens of a batch towards their rows.

        Args:
            hidden: Hidden states of these sequences, laid end to end, (T, D).
            sequences: N sequences.
        """
        pooled: list[tuple[int, int, int]] = []  # row, start, stop
        first = 0
        for sequence in sequences:
            pooled += [(row, first + start, first + stop) for row, start, stop in sequence.spans]
            first += len(sequence)
        table = np.array(pooled, dtype=np.int64)
        rows, spans = torch.from_numpy(table[:, 0]), table[:, 1:]
        counts = torch.from_numpy(spans[:, 1:] - spans[:, :1]).float()
        self._away.append((rows, span_sums(hidden, spans)))
        self._counts.index_add_(0, rows, counts)
        if sum(len(rows) for rows, _ in self._away) > _ROWS_AWAY:
            self._fetch()

    def means(self) -> torch.Tensor:
        """Pooled vectors, float32 (N, D)."""
        self._fetch()
        return self._sums / self._counts

    def _fetch(self) -> None:
        for rows, sums in self._away:
            self._sums.index_add_(0, rows, sums.cpu())
        self._away.clear()
