"""A text longer than the model → windows, each of which the model takes whole.

Every window is well formed: it gets the text's prefix (`<s>` and instruction) and suffix (`</s>`)
around its own slice of the text. A chunk is long if a window cannot hold it, wide if a window holds
it but not the margins too, and fitting otherwise. A fitting chunk is pooled from one window, with a
margin of context on both sides that is attended to and not pooled. At the ends of the text there is
no margin to have, and the room goes to the chunks. A wide chunk is in the middle of a window of its
own, from which the fitting chunks are pooled that lie inside with their margins: the children of a
parent that fills a window cost no windows but at its edges. All other windows are cut between
fitting chunks, and a long chunk is pooled from as many of those as it reaches into. Text that no
chunk and no margin needs is in no window.

Cost. A window of L tokens spends L·(1 + L/6D) times what one token costs in the layers' products
(12·D² multiplications; attention adds 2·L·D), and of its L tokens about L - 2·margin are new where
chunks are short. So windows of L cost about (1 + L/6D) · L/(L - 2·margin) per token of the text: at
D = 1024 and a margin of 512, 2.7 for L = 2048, 2.2 for 4096 and 2.7 for 8192.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from jina_local.errors import InvalidOptionError
from jina_local.late_options import DEFAULT_MARGIN

__all__ = ["DEFAULT_MARGIN", "Piece", "Window", "margin_for", "plan_windows"]


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
    """Windows that hold every chunk: one per wide chunk, and the fewest for what is left.

    Args:
        n_tokens: Tokens of the text, without prefix and suffix.
        spans: First token and one past the last of each chunk, int64 (S, 2).
        capacity: Text tokens that fit into one window.
        margin: Tokens of context on each side of a chunk.

    Returns:
        Windows in order; their pieces are every token of every chunk, once. A text that fits is
        one window. Wide chunks over the same tokens share one. The others are of as equal length
        as the chunks allow.

    Raises:
        InvalidOptionError: If the margins leave no room for a chunk.
    """
    if n_tokens <= capacity:
        return [Window(0, n_tokens, _whole(spans, np.arange(len(spans))))]
    if margin < 0 or capacity <= 2 * margin:
        msg = (
            f"windows of {capacity} text tokens have no room for margins of {margin} on both "
            f"sides; use a margin of 0…{(capacity - 1) // 2}"
        )
        raise InvalidOptionError(msg)
    room = _Room(n_tokens, capacity, margin)
    is_long = spans[:, 1] - spans[:, 0] > capacity
    begins, ends = room.with_margins(spans)
    is_fitting = ends - begins <= capacity
    long, fitting = np.flatnonzero(is_long), np.flatnonzero(is_fitting)
    wide = np.flatnonzero(~is_long & ~is_fitting)
    windows, is_inside = _full_windows(spans, wide, fitting, room)
    windows += _cut_windows(spans, fitting[~is_inside], long, room)
    return sorted(windows, key=lambda window: (window.start, window.stop))


@dataclass(frozen=True, slots=True)
class _Room:
    """What windows of a text may hold; see `plan_windows`."""

    n_tokens: int
    capacity: int
    margin: int

    def with_margins(self, spans: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Starts and ends of spans (S, 2) with as much context as they need, each (S,)."""
        return (
            np.maximum(spans[:, 0] - self.margin, 0),
            np.minimum(spans[:, 1] + self.margin, self.n_tokens),
        )

    def around(self, pieces: list[Piece]) -> Window:
        """The window that holds some pieces and their margins."""
        first, last = min(piece.start for piece in pieces), max(piece.stop for piece in pieces)
        window = max(first - self.margin, 0), min(last + self.margin, self.n_tokens)
        return Window(*window, tuple(pieces))

    def centred(self, start: int, stop: int) -> tuple[int, int]:
        """A full window with as much context before a chunk as after it, where there is as much."""
        unused = self.capacity - (stop - start)
        before = min(unused // 2, start)
        after = min(unused - before, self.n_tokens - stop)
        before = min(unused - after, start)
        return start - before, stop + after


def _full_windows(
    spans: np.ndarray, wide: np.ndarray, fitting: np.ndarray, room: _Room
) -> tuple[list[Window], np.ndarray]:
    """A window around each wide chunk, which pools all that lies inside with its margins.

    Args:
        spans: All chunks, (S, 2).
        wide: Indices of those that fill a window without their margins, (W,).
        fitting: Indices of those that fit with their margins, (F,).
        room: What windows may hold.

    Returns:
        The windows, and whether each fitting chunk is pooled from one of them, bool (F,).
    """
    if not len(wide):
        return [], np.zeros(len(fitting), dtype=bool)
    distinct, homes = np.unique(spans[wide], axis=0, return_inverse=True)
    bounds = np.array([room.centred(start, stop) for start, stop in distinct.tolist()])
    by_start = np.argsort(bounds[:, 0], kind="stable")  # and by end: all have the same length
    begins, ends = room.with_margins(spans[fitting])
    places = np.searchsorted(bounds[by_start, 0], begins, side="right") - 1
    latest = by_start[places]
    is_inside = (places >= 0) & (ends <= bounds[latest, 1])
    groups = _grouped(
        np.concatenate([wide, fitting[is_inside]]),
        np.concatenate([homes.reshape(-1), latest[is_inside]]),
        len(bounds),
    )
    windows = [
        Window(start, stop, _whole(spans, np.sort(chunks)))
        for (start, stop), chunks in zip(bounds.tolist(), groups, strict=True)
    ]
    return windows, is_inside


def _cut_windows(
    spans: np.ndarray, fitting: np.ndarray, long: np.ndarray, room: _Room
) -> list[Window]:
    """The fewest windows for fitting and long chunks, given by their indices."""
    cuts = _cut(_places_to_cut(spans[fitting], spans[long]), room)
    homes = np.searchsorted(cuts, spans[fitting, 0], side="right") - 1
    groups = _grouped(fitting, homes, len(cuts) - 1)
    pieces = [list(_whole(spans, chunks)) for chunks in groups]
    for chunk, (start, stop) in zip(long.tolist(), spans[long].tolist(), strict=True):
        for window in range(bisect_right(cuts, start) - 1, bisect_left(cuts, stop)):
            part = max(start, cuts[window]), min(stop, cuts[window + 1])
            pieces[window].append(Piece(chunk, *part))
    return [room.around(sorted(own)) for own in pieces]


def _grouped(members: np.ndarray, homes: np.ndarray, n_homes: int) -> list[np.ndarray]:
    """The members of each home, in the order given."""
    order = np.argsort(homes, kind="stable")
    ends = np.searchsorted(homes[order], np.arange(1, n_homes + 1))
    return np.split(members[order], ends)[:n_homes]


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
    free = _is_covered(long[:, 0], long[:, 1], end) & ~_is_covered(
        fitting[:, 0] + 1, fitting[:, 1], end
    )
    free[fitting[:, 0]] = True
    positions = np.append(np.flatnonzero(free), end)
    in_long = np.minimum(positions, _furthest_end(long, end)[positions])
    return _Places(positions, np.maximum(in_long, _furthest_end(fitting, end)[positions]))


def _is_covered(starts: np.ndarray, stops: np.ndarray, end: int) -> np.ndarray:
    """Whether each of the first tokens is between a start and its stop, bool (end,)."""
    steps = np.bincount(starts, minlength=end + 1) - np.bincount(stops, minlength=end + 1)
    covered: np.ndarray = np.cumsum(steps)[:end] > 0
    return covered


def _furthest_end(spans: np.ndarray, end: int) -> np.ndarray:
    """The largest end of the spans that start before each token, int64 (end + 1,)."""
    furthest = np.zeros(end + 1, dtype=np.int64)
    np.maximum.at(furthest, spans[:, 0] + 1, spans[:, 1])
    return np.maximum.accumulate(furthest)


def _cut(places: _Places, room: _Room) -> list[int]:
    """Positions at which windows begin, and the end: the fewest windows, balanced.

    Going backwards shows the first place from which so many windows are enough. Going forwards,
    each window then takes an equal share of what is left, as nearly as it may be cut there.
    """
    begins = np.maximum(places.positions - room.margin, 0)
    stops = np.minimum(places.reach + room.margin, room.n_tokens)
    enough = [len(begins) - 1]  # for 0, 1, 2, … windows
    while enough[-1] > 0:
        enough.append(int(np.searchsorted(begins, stops[enough[-1]] - room.capacity)))
    here, cuts = 0, [0]
    for n_left in range(len(enough) - 1, 0, -1):
        seams = 2 * room.margin * (n_left - 1)
        share = -(-(stops[-1] - begins[here] + seams) // n_left)
        most = begins[here] + room.capacity
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
