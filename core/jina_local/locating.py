"""Chunks in reading order and the text they were cut from → where in that text each of them is.

Splitters say where a chunk starts, and are wrong: offsets count from a section, or name the first
occurrence of a repeated paragraph. And chunks are cleaned after the cut, so that their white space
is another one. So an offset is a hint that the text has to bear out, chunks are looked for in their
order, and one that is nowhere is said to be nowhere.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING

from jina_local.errors import InvalidOptionError
from jina_local.inputs import check_texts
from jina_local.stitching import longest_overlap

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jina_local.splitting import Span

__all__ = ["locate"]


def locate(
    text: str, chunks: Sequence[str], offsets: Sequence[int | None] | None = None
) -> list[Span | None]:
    """Find chunks in the text that they were cut from.

    A chunk is, whichever is found first,

    1. where its offset says, unless that is before the start of the chunk before it;
    2. where the chunk before it ends, or as far before that as both have characters in common;
    3. the next occurrence behind the end of the chunk before it, or behind its start;
    4. the next stretch with the same characters, white space aside.

    Args:
        text: The source.
        chunks: Texts in reading order.
        offsets: Where each chunk starts, in code points; what is no integer is no hint.

    Returns:
        (start, stop) of each chunk, `None` for one that is not found. An empty chunk is an empty
        span where the chunk before it ends.

    Raises:
        InvalidTextsError: If a chunk is not a string.
        InvalidOptionError: If there is not one offset per chunk.
    """
    texts = check_texts(chunks)
    hints = [None] * len(texts) if offsets is None else list(offsets)
    if len(hints) != len(texts):
        msg = f"offsets has {len(hints)} items for {len(texts)} chunks; give one per chunk"
        raise InvalidOptionError(msg)
    finder = _Finder(text)
    return [finder.find(chunk, hint) for chunk, hint in zip(texts, hints, strict=True)]


class _Finder:
    """Looks for one chunk after the other.

    Attributes:
        text: Where.
        start: Where the chunk found last starts.
        end: Where it ends.
        previous: That chunk.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        self.start = 0
        self.end = 0
        self.previous = ""
        self._squeezed: tuple[str, list[int]] | None = None

    def find(self, chunk: str, hint: object) -> Span | None:
        """Where a chunk is."""
        if not chunk:
            return (self.end, self.end)
        span = self._exact(chunk, hint) or self._without_white_space(chunk)
        if span is not None:
            self.start, self.end = span
            self.previous = chunk
        return span

    def _exact(self, chunk: str, hint: object) -> Span | None:
        offset = hint if isinstance(hint, int) and not isinstance(hint, bool) else -1
        if offset >= self.start and self.text.startswith(chunk, offset):
            return (offset, offset + len(chunk))
        repeated = chunk == self.previous
        common = 0 if repeated else longest_overlap(self.previous, chunk)
        for start in (self.end, max(self.start, self.end - common)):
            if self.text.startswith(chunk, start):
                return (start, start + len(chunk))
        for begin in (self.end, self.start + repeated):
            start = self.text.find(chunk, begin)
            if start >= 0:
                return (start, start + len(chunk))
        return None

    def _without_white_space(self, chunk: str) -> Span | None:
        wanted = "".join(chunk.split())
        if not wanted:
            return None
        if self._squeezed is None:
            places = [i for i, letter in enumerate(self.text) if not letter.isspace()]
            self._squeezed = "".join(self.text[i] for i in places), places
        squeezed, places = self._squeezed
        for begin in (self.end, self.start):
            at = squeezed.find(wanted, bisect_left(places, begin))
            if at >= 0:
                return (places[at], places[at + len(wanted) - 1] + 1)
        return None
