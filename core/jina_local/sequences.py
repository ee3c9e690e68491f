"""Windows of a text → sequences for the encoder, each with the spans that are pooled from it.

`edges` accounting, as the hosted API does it: `<s>` and the instruction count towards the chunks
that begin first, `</s>` towards those that end last, and for each chunk at most once. The whole
text as one chunk, without a header, is the ordinary embedding: the same code, and the same numbers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jina_local.spans import TokenSpans
    from jina_local.text_ids import TextIds
    from jina_local.windows import Piece, Window

__all__ = ["PooledSequence", "PooledSpan", "whole_sequence", "window_sequences"]


class PooledSpan(NamedTuple):
    """Tokens of a sequence that count towards an output row.

    Attributes:
        row: The output row.
        start: First token.
        stop: One past the last token.
    """

    row: int
    start: int
    stop: int


@dataclass(frozen=True, slots=True, eq=False)
class PooledSequence:
    """One sequence for the encoder and what is pooled from it.

    Attributes:
        ids: Token ids, int32 (t,).
        adapter: The adapter of its task.
        item: Index of the text or document that it is a window of.
        spans: Its pooled spans; they may overlap.
    """

    ids: np.ndarray
    adapter: int
    item: int
    spans: tuple[PooledSpan, ...]

    def __len__(self) -> int:
        return len(self.ids)


def whole_sequence(text: TextIds, *, adapter: int, row: int) -> PooledSequence:
    """A text that needs no windows, all of it pooled: what `window_sequences` makes of it.

    Args:
        text: The ids of a text that the model takes whole.
        adapter: The adapter of its task.
        row: Its output row, and its index.
    """
    return PooledSequence(text.ids, adapter, row, (PooledSpan(row, 0, len(text)),))


def window_sequences(
    text: TextIds,
    windows: Sequence[Window],
    chunks: TokenSpans,
    *,
    header: np.ndarray,
    adapter: int,
    item: int,
    first_row: int,
) -> list[PooledSequence]:
    """One sequence per window: prefix, header, the window's slice of the text, suffix.

    Args:
        text: The ids of a text, possibly longer than the model takes.
        windows: Its windows; see `plan_windows`.
        chunks: Its S chunks.
        header: Ids that are attended to in every window and never pooled, int32 (h,).
        adapter: The adapter of its task.
        item: Index of the text.
        first_row: Output row of its first chunk.
    """
    body = text.ids[text.body]
    beginning = np.concatenate([text.ids[: text.n_prefix], header])
    suffix = text.ids[text.body.stop :]
    sequences = []
    for window in windows:
        ids = np.concatenate([beginning, body[window.start : window.stop], suffix])
        layout = _Layout(text.n_prefix, len(beginning) - window.start, len(ids) - len(suffix))
        spans = tuple(
            PooledSpan(first_row + piece.chunk, start, stop)
            for piece in window.pieces
            for start, stop in layout.pooled(piece, chunks, len(ids))
        )
        sequences.append(PooledSequence(ids, adapter, item, spans))
    return sequences


class _Layout(NamedTuple):
    """Where the parts of one sequence lie.

    Attributes:
        n_prefix: Tokens of `<s>` and instruction.
        shift: What turns an index among the text's tokens into one in the sequence.
        suffix_start: Index of `</s>`.
    """

    n_prefix: int
    shift: int
    suffix_start: int

    def pooled(self, piece: Piece, chunks: TokenSpans, n_tokens: int) -> list[tuple[int, int]]:
        """The runs of tokens that a piece pools, with the chunk's share of prefix and suffix."""
        runs = [(piece.start + self.shift, piece.stop + self.shift)]
        if chunks.begins[piece.chunk] and piece.start == chunks.spans[piece.chunk, 0]:
            runs.insert(0, (0, self.n_prefix))
        if chunks.ends[piece.chunk] and piece.stop == chunks.spans[piece.chunk, 1]:
            runs.append((self.suffix_start, n_tokens))
        return _joined(runs)


def _joined(runs: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Runs in order, with neighbours that touch made one: summed as one, to the last bit."""
    joined = runs[:1]
    for start, stop in runs[1:]:
        if start == joined[-1][1]:
            joined[-1] = (joined[-1][0], stop)
        else:
            joined.append((start, stop))
    return joined
