"""Chunks in reading order, without their document → a text that holds them all, and where.

Splitters hand on chunks, not documents, and what they say about places is worth little: offsets
are missing, count from a section or in a text before cleaning, or name the first occurrence of a
repeated paragraph. So an offset is a hint, used only where the characters bear it out, and every
span is exact by construction: `text[start:stop] == chunk`.

Two beliefs turn offsets into places. Each says where in the source the text so far ends: by the
latest offset, and by the last one that the text confirmed. A lie that nothing confirms spoils the
first belief until the next offset, and never the second, by which an honest offset is recognized
after any number of lies. Where the second is lost too, two honest offsets in a row suffice: the
earlier founds the first belief, and the later is confirmed by it.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from jina_local.errors import InvalidOptionError
from jina_local.inputs import check_integer, check_texts

__all__ = ["StitchedText", "longest_overlap", "stitch"]


@dataclass(frozen=True, slots=True)
class StitchedText:
    """A text rebuilt from its chunks.

    Attributes:
        text: What the chunks cover, each stretch once.
        spans: (start, stop) of each chunk in input order, in code points of the text. Starts never
            decrease.
        placed_by_offset: Whether the offset of the chunk was used: the text confirmed it, or it
            claims a gap, which nothing can confirm. The offset of the first chunk with text is
            used if it is a hint at all: that is where the text begins.
    """

    text: str
    spans: tuple[tuple[int, int], ...]
    placed_by_offset: tuple[bool, ...]


def stitch(
    chunks: Sequence[str],
    offsets: Sequence[int | None] | None = None,
    *,
    overlapping: Sequence[bool] | bool = False,
    least_overlap: int = 1,
) -> StitchedText:
    """Rebuild a text from its chunks, in time linear in their characters.

    A chunk goes, whichever is possible first,

    1. where its offset says, if that is not before the start of the chunk before it and the text
       there agrees with it: inside the text, over its end, or glued to its end;
    2. behind the text, if its offset lies beyond the end: what is missing becomes a separator;
    3. over the end of the text as far as its beginning repeats it, if it is said to overlap;
    4. behind the text and a separator.

    The separator is one space, and nothing where either side of the seam is white space already.
    An empty chunk is an empty span between its neighbours.

    Args:
        chunks: Texts in reading order; a chunk may lie inside the one before it.
        offsets: Where each chunk starts in the source, in code points from any origin. What is no
            integer, or negative, is no hint.
        overlapping: Whether a chunk repeats the end of the one before it, per chunk or for all. It
            counts for chunks without a usable offset.
        least_overlap: The fewest characters that count as repeated. Where chunks only may overlap,
            a letter or two that end one and begin the next say nothing.

    Raises:
        InvalidTextsError: If a chunk is not a string.
        InvalidOptionError: If there is not one offset, or one bool, per chunk, or `least_overlap`
            is no positive integer.

    Examples:
        >>> stitched = stitch(["Lisbon has hills.", "hills. It has trams."], [0, 11])
        >>> stitched.text
        'Lisbon has hills. It has trams.'
        >>> [stitched.text[start:stop] for start, stop in stitched.spans]
        ['Lisbon has hills.', 'hills. It has trams.']
    """
    check_integer("least_overlap", least_overlap, 1)
    texts = check_texts(chunks)
    hints = _checked_offsets(offsets, len(texts))
    repeats = _checked_overlapping(overlapping, len(texts))
    draft = _Draft(least_overlap)
    spans: list[tuple[int, int]] = []
    placed_by_offset: list[bool] = []
    for text, hint, overlaps in zip(texts, hints, repeats, strict=True):
        placed_by_offset.append(draft.add(text, hint, overlaps=overlaps) if text else False)
        start = draft.start if text else draft.length
        spans.append((start, start + len(text)))
    _move_empty_before_next(spans)
    return StitchedText("".join(draft.pieces), tuple(spans), tuple(placed_by_offset))


class _Draft:
    """The text so far.

    Attributes:
        least_overlap: The fewest characters that count as repeated.
        pieces: What it is joined from.
        length: Its characters.
        start: Where the chunk added last starts.
        tail: The chunk that reached the end last, which is the text from its start on. No chunk
            starts before it any more, so that nothing older is compared again.
        source_ends: Where in the source the text ends: by the latest offset and by the last
            confirmed one. The latest is first, for a gap that it knows of is not confirmed.
            Separators do not count, for nobody knows what they stand for.
    """

    __slots__ = ("least_overlap", "length", "pieces", "source_ends", "start", "tail")

    def __init__(self, least_overlap: int) -> None:
        self.least_overlap = least_overlap
        self.pieces: list[str] = []
        self.length = 0
        self.start = 0
        self.tail = ""
        self.source_ends: tuple[int, ...] = ()

    def add(self, chunk: str, hint: int | None, *, overlaps: bool) -> bool:
        """Place a chunk that has text; whether its offset was used."""
        if hint is not None and not self.pieces:
            self.source_ends = (hint,)
        starts = [] if hint is None else [self.length + hint - end for end in self.source_ends]
        confirmed = next((start for start in starts if self._agrees(chunk, start)), None)
        after_gap = any(start > self.length for start in starts)
        if confirmed is not None:
            start = confirmed
        else:
            start = self.length - (self._overlap(chunk) if overlaps and not after_gap else 0)
            if start == self.length:
                start += self._separate(chunk)
        n_new = self._put(chunk, start)
        ends = tuple(end + n_new for end in self.source_ends)
        if hint is not None:
            latest = hint + self.length - start
            ends = (latest, ends[-1] if ends and confirmed is None else latest)
        self.source_ends = ends
        return confirmed is not None or after_gap

    def _agrees(self, chunk: str, start: int) -> bool:
        """Whether the chunk can start there, character by character, without leaving a gap."""
        if not self.start <= start <= self.length:
            return False
        in_tail = start - (self.length - len(self.tail))
        if start + len(chunk) <= self.length:
            return self.tail.startswith(chunk, in_tail)
        return chunk.startswith(self.tail[in_tail:])

    def _overlap(self, chunk: str) -> int:
        """How much of the text from the latest start on is repeated by the chunk's beginning."""
        n_shared = min(self.length - self.start, len(chunk))
        shared = longest_overlap(self.tail[len(self.tail) - n_shared :], chunk[:n_shared])
        return shared if shared >= self.least_overlap else 0

    def _separate(self, chunk: str) -> int:
        """Put a separator at the end if the seam needs one; its length."""
        if not self.tail or self.tail[-1].isspace() or chunk[0].isspace():
            return 0
        self.pieces.append(" ")
        self.length += 1
        return 1

    def _put(self, chunk: str, start: int) -> int:
        """Write what the text does not have of a chunk; the number of characters."""
        new = chunk[self.length - start :]
        if new:
            self.pieces.append(new)
            self.length += len(new)
            self.tail = chunk
        self.start = start
        return len(new)


def longest_overlap(end: str, beginning: str) -> int:
    """The longest suffix of one string that is a prefix of the other, by the prefix function."""
    symbols = [*beginning, None, *end]  # None equals no character, so no border crosses it
    borders = [0] * len(symbols)
    for i in range(1, len(symbols)):
        border = borders[i - 1]
        while border and symbols[i] != symbols[border]:
            border = borders[border - 1]
        borders[i] = border + (symbols[i] == symbols[border])
    return borders[-1]


def _move_empty_before_next(spans: list[tuple[int, int]]) -> None:
    """An empty chunk was put at the end of the text; what follows may overlap that end."""
    for i in reversed(range(len(spans) - 1)):
        start, stop = spans[i]
        if start == stop:
            start = min(start, spans[i + 1][0])
            spans[i] = (start, start)


def _checked_offsets(offsets: Sequence[int | None] | None, n_chunks: int) -> list[int | None]:
    if offsets is None:
        return [None] * n_chunks
    _check_one_per_chunk("offsets", offsets, n_chunks)
    return [_hint(offset) for offset in offsets]


def _hint(offset: object) -> int | None:
    """The offset if it is a place, in any type of integer."""
    if isinstance(offset, bool | np.bool_):
        return None
    try:
        place = operator.index(offset)  # type: ignore[arg-type]
    except TypeError:
        return None
    return place if place >= 0 else None


def _checked_overlapping(overlapping: Sequence[bool] | bool, n_chunks: int) -> list[bool]:
    if isinstance(overlapping, bool | np.bool_):
        return [bool(overlapping)] * n_chunks
    _check_one_per_chunk("overlapping", overlapping, n_chunks)
    for index, value in enumerate(overlapping):
        if not isinstance(value, bool | np.bool_):
            msg = f"overlapping is {value!r:.40} for chunk {index}; give True or False"
            raise InvalidOptionError(msg)
    return [bool(value) for value in overlapping]


def _check_one_per_chunk(name: str, values: Sequence[object], n_chunks: int) -> None:
    if not isinstance(values, Sequence) or isinstance(values, str | bytes):
        msg = f"{name} is a {type(values).__name__}; give a list of {n_chunks}, one per chunk"
        raise InvalidOptionError(msg)
    if len(values) != n_chunks:
        msg = f"{name} has {len(values)} values for {n_chunks} chunks; give one per chunk"
        raise InvalidOptionError(msg)
