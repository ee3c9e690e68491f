"""Lines about chunks, such as their metadata, put where the model sees them.

What all chunks of a text share is context: it is there once, in the header, and no vector's part.
What differs stands before its chunk, and is part of the chunk's vector.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING

from jina_local.chunked_text import ChunkedText

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jina_local.splitting import Span

__all__ = ["annotated"]


def annotated(
    text: str,
    spans: Sequence[Span],
    lines: Sequence[Sequence[str]],
    *,
    separator: str = "\n",
    prefix: str = "",
    suffix: str = "",
    share: bool = True,
) -> ChunkedText:
    """A text with lines about its chunks.

    Args:
        text: The text.
        spans: S chunks in it.
        lines: What is said of each chunk.
        separator: Behind each line.
        prefix: What the header begins with.
        suffix: What stands behind the text.
        share: Whether what all chunks share is put into the header, if there are several.
    """
    shared = _shared(lines) if share else []
    own = ["".join(one + separator for one in some if one not in shared) for some in lines]
    longer, moved = _with_insertions(text, spans, own)
    header = prefix + "".join(one + separator for one in shared)
    return ChunkedText(longer + suffix, moved, header or None)


def _shared(lines: Sequence[Sequence[str]]) -> list[str]:
    """Lines that every chunk has, in their order; none if there is only one chunk."""
    if len(lines) < 2:  # noqa: PLR2004 - one shares nothing
        return []
    return [one for one in lines[0] if all(one in others for others in lines)]


def _with_insertions(
    text: str, spans: Sequence[Span], insertions: Sequence[str]
) -> tuple[str, list[Span]]:
    """The text with something before each span, which then is part of the span."""
    order = sorted(range(len(spans)), key=lambda i: (spans[i][0], -spans[i][1]))
    pieces: list[str] = []
    starts: dict[int, int] = {}
    places: list[int] = []
    shifts = [0]
    for i in order:
        start = spans[i][0]
        pieces += [text[places[-1] if places else 0 : start], insertions[i]]
        starts[i] = start + shifts[-1]
        places.append(start)
        shifts.append(shifts[-1] + len(insertions[i]))
    pieces.append(text[places[-1] if places else 0 :])
    ends = [
        max(stop + shifts[bisect_left(places, stop)], starts[i] + len(insertions[i]))
        for i, (_, stop) in enumerate(spans)  # an empty chunk ends before what is put there
    ]
    return "".join(pieces), [(starts[i], end) for i, end in enumerate(ends)]
