"""A text longer than the model → windows, each of which the model takes whole.

Every window is well formed: it gets the text's prefix (`<s>` and instruction) and suffix (`</s>`)
around its own slice of the text. Windows are cut between chunks: a chunk that fits is pooled from
one window, with a margin of context on both sides that is attended to and not pooled. At the ends
of the text there is no margin to have, and the room goes to the chunks. A chunk longer than a
window is cut anywhere and pooled from several. Text that no chunk and no margin needs is in no
window.

Cost. A window of L tokens spends L·(1 + L/6D) times what one token costs in the layers' products
(12·D² multiplications; attention adds 2·L·D), and of its L tokens at least L - 2·margin are new. So
windows of L cost (1 + L/6D) · L/(L - 2·margin) per token of the text: at D = 1024 and a margin of
512, 2.7 for L = 2048, 2.2 for 4096 and 2.7 for 8192.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from jina_local.errors import InvalidOptionError

__all__ = ["DEFAULT_MARGIN", "Piece", "Window", "margin_for", "plan_windows"]

DEFAULT_MARGIN = 512


class Piece(NamedTuple):
    """A run of tokens that one window pools for one chunk.

    Attributes:
        chunk: Index of the chunk.
        start: Its first token, among the text's own.
        stop: One past its last token.
    """

    chunk: int
    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class Window:
    """A slice of the text's own tokens, without prefix and suffix.

    Attributes:
        start: First token that is attended to.
        stop: One past the last token that is attended to.
        pieces: What is pooled, in the order of the chunks.
    """

    start: int
    stop: int
    pieces: tuple[Piece, ...]


def margin_for(capacity: int, margin: int = DEFAULT_MARGIN) -> int:
    """The margin that windows of this many text tokens have room for: at most a quarter."""
    return min(margin, capacity // 4)


def plan_windows(n_tokens: int, spans: np.ndarray, capacity: int, margin: int) -> list[Window]:
    """The fewest windows that hold every chunk, of as equal length as the chunks allow.

    Args:
        n_tokens: Tokens of the text, without prefix and suffix.
        spans: First token and one past the last of each chunk, int64 (S, 2).
        capacity: Text tokens that fit into one window.
        margin: Tokens of context on each side of a chunk.

    Returns:
        Windows in order; their pieces are every token of every chunk, once. A text that fits is
        one window. A chunk that fits only with smaller margins has a window of its own.

    Raises:
        InvalidOptionError: If the margins leave no room for a chunk.
    """
    lengths = spans[:, 1] - spans[:, 0]
    if n_tokens <= capacity:
        return [Window(0, n_tokens, _whole(spans, np.arange(len(spans))))]
    if margin < 0 or capacity <= 2 * margin:
        msg = (
            f"windows of {capacity} text tokens have no room for margins of {margin} on both "
            f"sides; use a margin of 0…{(capacity - 1) // 2}"
        )
        raise InvalidOptionError(msg)
    begins, ends = np.maximum(spans[:, 0] - margin, 0), np.minimum(spans[:, 1] + margin, n_tokens)
    is_long = lengths > capacity
    is_wide = ~is_long & (ends - begins > capacity)
    fitting, long = np.flatnonzero(~is_long & ~is_wide), np.flatnonzero(is_long)
    cuts = _cut(_places_to_cut(spans[fitting], spans[long]), n_tokens, capacity, margin)
    windows = []
    for start, stop in pairwise(cuts):
        inside = fitting[(start <= spans[fitting, 0]) & (spans[fitting, 0] < stop)]
        pieces = (*_whole(spans, inside), *_overlaps(spans, long, start, stop))
        first, last = min(piece.start for piece in pieces), max(piece.stop for piece in pieces)
        window = (max(first - margin, 0), min(last + margin, n_tokens))
        windows.append(Window(*window, tuple(sorted(pieces))))
    for start, stop in np.unique(spans[is_wide], axis=0).tolist():
        chunks = np.flatnonzero((spans == (start, stop)).all(axis=1))
        window = _centred(start, stop, n_tokens, capacity)
        windows.append(Window(*window, _whole(spans, chunks)))
    return sorted(windows, key=lambda window: (window.start, window.stop))


@dataclass(frozen=True, slots=True, eq=False)
class _Places:
    """Where windows may be cut.

    Attributes:
        positions: Tokens at which a window may begin, in order, and the end of everything.
        reach: For each position, the end of all chunks, or parts of long ones, that lie or begin
            before it: what the windows before it have to hold.
    """

    positions: np.ndarray
    reach: np.ndarray


def _places_to_cut(fitting: np.ndarray, long: np.ndarray) -> _Places:
    """The starts of fitting chunks, and any place in a long one that is in no fitting one.

    Args:
        fitting: Chunks that must not be cut, (S, 2).
        long: Chunks that have to be, (S, 2).
    """
    end = max(int(spans[:, 1].max(initial=0)) for spans in (fitting, long))
    free = np.zeros(end + 1, dtype=np.int64)
    for start, stop in long.tolist():
        free[start:stop] = 1
    for start, stop in fitting.tolist():
        free[start + 1 : stop] = 0
    free[fitting[:, 0]] = 1
    positions = np.append(np.flatnonzero(free), end)
    furthest = np.zeros(end + 1, dtype=np.int64)
    np.maximum.at(furthest, np.minimum(fitting[:, 0] + 1, end), fitting[:, 1])
    reach = np.maximum.accumulate(furthest)[positions]
    for start, stop in long.tolist():
        begun = positions > start
        reach[begun] = np.maximum(reach[begun], np.minimum(positions[begun], stop))
    return _Places(positions, reach)


def _cut(places: _Places, n_tokens: int, capacity: int, margin: int) -> list[int]:
    """Positions at which windows begin, and the end: the fewest windows, balanced.

    Going backwards shows the first place from which so many windows are enough. Going forwards,
    each window then takes an equal share of what is left, as nearly as it may be cut there.
    """
    if len(places.positions) == 1:  # every chunk has a window of its own
        return []
    begins = np.maximum(places.positions - margin, 0)
    stops = np.minimum(places.reach + margin, n_tokens)
    enough = [len(begins) - 1]  # for 0, 1, 2, … windows
    while enough[-1] > 0:
        enough.append(int(np.searchsorted(begins, stops[enough[-1]] - capacity)))
    here, cuts = 0, [0]
    for n_left in range(len(enough) - 1, 0, -1):
        seams = 2 * margin * (n_left - 1)
        share = -(-(stops[-1] - begins[here] + seams) // n_left)
        most = begins[here] + capacity
        nearest = _nearest(stops, min(begins[here] + share, most), most)
        here = max(nearest, enough[n_left - 1], here + 1)
        cuts.append(here)
    return [int(places.positions[cut]) for cut in cuts]


def _nearest(values: np.ndarray, wanted: int, most: int) -> int:
    """Index of the value nearest to the wanted one and at most `most`; values ascend."""
    below = int(np.searchsorted(values, wanted, side="right")) - 1
    above = min(below + 1, len(values) - 1)
    is_nearer_above = values[above] - wanted < wanted - values[below]
    return above if is_nearer_above and values[above] <= most else below


def _whole(spans: np.ndarray, chunks: np.ndarray) -> tuple[Piece, ...]:
    rows = zip(chunks.tolist(), spans[chunks].tolist(), strict=True)
    return tuple(Piece(chunk, start, stop) for chunk, (start, stop) in rows)


def _overlaps(spans: np.ndarray, chunks: np.ndarray, start: int, stop: int) -> list[Piece]:
    """What lies of some chunks between two cuts."""
    clipped = zip(chunks.tolist(), spans[chunks].clip(start, stop).tolist(), strict=True)
    return [Piece(chunk, first, last) for chunk, (first, last) in clipped if first < last]


def _centred(start: int, stop: int, n_tokens: int, capacity: int) -> tuple[int, int]:
    """A full window with as much context before a chunk as after it, where there is as much."""
    room = capacity - (stop - start)
    before = min(room // 2, start)
    after = min(room - before, n_tokens - stop)
    before = min(room - after, start)
    return start - before, stop + after
