"""Chunks with places in a text → the text that is embedded, and which chunk each span of it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from jina_local.annotating import annotated

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from jina_local.chunked_text import ChunkedText
    from jina_local.splitting import Span

__all__ = ["LateText", "in_batches", "late_text"]


@dataclass(frozen=True, slots=True)
class LateText:
    """A text and its chunks.

    Attributes:
        text: The text with the spans of its chunks.
        members: Which chunk each span is, by the caller's numbers.
    """

    text: ChunkedText
    members: tuple[int, ...]


def late_text(
    text: str,
    places: Mapping[int, Span | None],
    lines: Callable[[int], Sequence[str]],
    *,
    separator: str = "\n",
    prefix: str = "",
    suffix: str = "",
    share: bool = True,
) -> LateText | None:
    """A text that gives its chunks context, or `None` if there is no chunk with any.

    Args:
        text: The text.
        places: Where each chunk is, by the caller's numbers; `None` for one that is nowhere.
        lines: What is said of a chunk; see `annotated`, also for the other arguments.
        separator: Behind each line.
        prefix: Before the text, as context.
        suffix: Behind the text.
        share: Whether what all chunks share is said once, as context.

    Returns:
        `None` if no chunk with text has a place, or one is all of the text: then there is no
        context, and it is embedded on its own.
    """
    spans = {
        i: span
        for i, span in places.items()
        if span is not None and text[span[0] : span[1]].strip()
    }
    if not spans or (len(spans) == 1 and _is_all(text, *spans.values())):
        return None
    chunked = annotated(
        text,
        list(spans.values()),
        [lines(i) for i in spans],
        separator=separator,
        prefix=prefix,
        suffix=suffix,
        share=share,
    )
    return LateText(chunked, tuple(spans))


def in_batches(texts: Sequence[LateText], size: int) -> Iterator[list[LateText]]:
    """Texts with at most so many chunks together; one that has more comes alone and whole."""
    batch: list[LateText] = []
    n_chunks = 0
    for one in texts:
        if batch and n_chunks + len(one.members) > size:
            yield batch
            batch, n_chunks = [], 0
        batch.append(one)
        n_chunks += len(one.members)
    if batch:
        yield batch


def _is_all(text: str, span: Span) -> bool:
    start, stop = span
    return not (text[:start] + text[stop:]).strip()
