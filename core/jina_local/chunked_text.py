"""What late chunking starts from: a text with the character spans of its chunks."""

from __future__ import annotations

import operator
from dataclasses import dataclass, field
from itertools import accumulate
from typing import TYPE_CHECKING, Self

import numpy as np

from jina_local.errors import InvalidSpansError, InvalidTextsError
from jina_local.inputs import check_encodable, check_texts, is_list_like

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from jina_local.splitting import Span

__all__ = ["ChunkedText", "check_document", "check_documents", "check_spans"]


@dataclass(frozen=True, slots=True)
class ChunkedText:
    """One document and its chunks.

    Attributes:
        text: The whole document.
        spans: Start and end of each chunk in the text, in code points, the end exclusive. Spans may
            overlap, nest, repeat, leave gaps and come in any order; text in no span is context.
        header: Text that every window of the document begins with, such as its title or path. It
            is attended to and never part of a vector.
        tokenized_apart: Whether each chunk is tokenized on its own; see `from_chunks`. Such
            chunks follow each other, and nothing but white space is outside of them.

    Raises:
        InvalidTextsError: If text or header is not a string.
        InvalidSpansError: If the text is blank, if there is no span or something that is no span of
            the text, or if chunks that are tokenized apart overlap or leave out text.
    """

    text: str
    spans: Sequence[Span]
    header: str | None = None
    tokenized_apart: bool = field(default=False, kw_only=True)

    def __post_init__(self) -> None:
        _check_strings(self.text, self.header)
        object.__setattr__(self, "spans", check_spans(self.spans, len(self.text)))
        if not self.text or self.text.isspace():
            msg = f"the text is {'blank' if self.text else 'empty'}: there is nothing to embed"
            raise InvalidSpansError(msg)
        if self.tokenized_apart:
            _check_apart(self.text, self.spans)

    @classmethod
    def from_chunks(cls, chunks: Sequence[str], header: str | None = None) -> Self:
        """A document that is known as a list of chunks only, as the hosted API takes it.

        White space around a chunk is dropped, each chunk is tokenized on its own, and the tokens
        are laid end to end: no token is ever part of two chunks. Where words are separated by
        spaces this is the same as spans over the chunks joined by one space; in Chinese or Thai
        the seams become visible to the model, and spans over the real text are better.

        Args:
            chunks: Texts of one document, in reading order. The text of the result is these,
                joined by one space.
            header: See `ChunkedText`.

        Raises:
            InvalidTextsError: If `chunks` is not a list of strings.
            InvalidSpansError: If there is no text in them.

        Examples:
            >>> document = ChunkedText.from_chunks(["Lisbon has hills.", "The city has trams."])
            >>> document.text
            'Lisbon has hills. The city has trams.'
            >>> list(document.spans)
            [(0, 17), (18, 37)]
        """
        texts = check_texts(chunks)
        ends = accumulate(len(text) + 1 for text in texts)  # each followed by a space
        spans = [(end - len(text) - 1, end - 1) for text, end in zip(texts, ends, strict=True)]
        return cls(" ".join(texts), spans, header, tokenized_apart=True)

    def parts(self) -> list[Span]:
        """The spans that are tokenized each on its own, without white space around them."""
        if not self.tokenized_apart:
            return [(0, len(self.text))]
        stripped = [_without_white_space(self.text, *span) for span in self.spans]
        return [(start, stop) for start, stop in stripped if start < stop]


def check_documents(documents: Iterable[ChunkedText]) -> Iterable[ChunkedText]:
    """Refuse what cannot be a collection of documents.

    Raises:
        InvalidTextsError: If it is one document, or nothing that has items in an order.
    """
    if not is_list_like(documents):
        msg = f"documents is a {type(documents).__name__}; give a list of ChunkedText, even for one"
        raise InvalidTextsError(msg)
    return documents


def check_document(document: object, index: int) -> ChunkedText:
    """The document itself.

    Raises:
        InvalidTextsError: If it is something else than a document with chunks.
    """
    if not isinstance(document, ChunkedText):
        msg = (
            f"document {index} is a {type(document).__name__} ({document!r:.40}), not a "
            "ChunkedText: give its text and the spans of its chunks"
        )
        raise InvalidTextsError(msg)
    return document


def _check_strings(text: object, header: object) -> None:
    if not isinstance(text, str):
        msg = (
            f"the text is a {type(text).__name__} ({text!r:.40}), not a string; for a list of "
            "chunks use ChunkedText.from_chunks"
        )
        raise InvalidTextsError(msg)
    if header is not None and not isinstance(header, str):
        msg = f"the header is a {type(header).__name__} ({header!r:.40}), not a string or None"
        raise InvalidTextsError(msg)
    check_encodable(text, "the text")
    check_encodable(header or "", "the header")


def check_spans(spans: object, n_characters: int) -> tuple[Span, ...]:
    """The spans as pairs of integers.

    Args:
        spans: Pairs of start and end.
        n_characters: Length of their text.

    Raises:
        InvalidSpansError: If there is none, or one is no span of the text.
    """
    if not is_list_like(spans):
        msg = f"spans is a {type(spans).__name__}; give a list of (start, end) pairs"
        raise InvalidSpansError(msg)
    checked = tuple(_checked_span(span, i, n_characters) for i, span in enumerate(spans))
    if not checked:
        msg = "the document has no chunks; for the text as one chunk give [(0, len(text))]"
        raise InvalidSpansError(msg)
    return checked


def _checked_span(span: object, index: int, n_characters: int) -> Span:
    edges = list(span) if is_list_like(span) else []
    try:
        start, stop = map(operator.index, edges)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        edges = []
    if not edges or any(isinstance(edge, bool | np.bool_) for edge in edges):
        msg = f"span {index} is {span!r:.60}; give a pair of integers (start, end)"
        raise InvalidSpansError(msg)
    if not 0 <= start <= stop <= n_characters:
        msg = (
            f"span {index} is ({start}, {stop}); give 0 ≤ start ≤ end ≤ {n_characters}, "
            "the length of the text"
        )
        raise InvalidSpansError(msg)
    return start, stop


def _check_apart(text: str, spans: Sequence[Span]) -> None:
    """Refuse what tokenizing chunk by chunk would repeat or leave out."""
    position = 0
    for index, (start, stop) in enumerate([*spans, (len(text), len(text))]):
        if start < position:
            msg = f"chunks that are tokenized apart follow each other; span {index} goes back"
            raise InvalidSpansError(msg)
        if text[position:start].strip():
            msg = (
                f"chunks that are tokenized apart leave out nothing but white space; characters "
                f"{position} to {start} ({text[position:start]!r:.40}) are in none"
            )
            raise InvalidSpansError(msg)
        position = stop


def _without_white_space(text: str, start: int, stop: int) -> Span:
    chunk = text[start:stop]
    leading = len(chunk) - len(chunk.lstrip())
    return start + leading, start + max(leading, len(chunk.rstrip()))
