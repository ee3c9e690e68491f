"""A text → spans of its chunks: its lines, its paragraphs, or at most so many of a model's tokens.

Every way leaves out white space between chunks and nothing else, and takes nothing twice.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from jina_local.errors import InvalidOptionError, MissingExtraError

if TYPE_CHECKING:
    from semantic_text_splitter import MarkdownSplitter, TextSplitter

__all__ = ["Splitter", "check_chunk_tokens", "line_spans", "make_splitter", "paragraph_spans"]

Span = tuple[int, int]

_LINE = re.compile(r"\S(?:[^\n]*\S)?")  # str.splitlines cuts at U+2028 too


def line_spans(text: str) -> list[Span]:
    """The lines that are not blank, without the white space around them; none in a blank text."""
    return [match.span() for match in _LINE.finditer(text)]


def paragraph_spans(text: str) -> list[Span]:
    """The runs of lines between blank ones, without the white space around them."""
    spans: list[Span] = []
    for start, end in line_spans(text):
        if spans and text.count("\n", spans[-1][1], start) == 1:
            spans[-1] = (spans[-1][0], end)
        else:
            spans.append((start, end))
    return spans


@dataclass(frozen=True, slots=True, eq=False)
class Splitter:
    """Cuts texts at headings, paragraphs and sentences, into chunks of at most so many tokens.

    Attributes:
        tokenizer_json: The model's tokenizer.json, its content; large, and read only when a text
            is split, once for plain text and once for Markdown.
        chunk_tokens: The most tokens in a chunk; `None` leaves every text whole.
    """

    tokenizer_json: str = field(repr=False)
    chunk_tokens: int | None
    _readers: dict[bool, MarkdownSplitter | TextSplitter] = field(
        default_factory=dict, init=False, repr=False
    )

    def spans(self, text: str, *, markdown: bool) -> list[Span]:
        """Start and end of each chunk in order, in code points; at least one.

        The white space between two chunks belongs to neither; nothing else is left out, and
        nothing comes twice.

        Args:
            text: A text.
            markdown: Whether it is split along the structure of Markdown.

        Raises:
            InvalidOptionError: If `tokenizer_json` is not a tokenizer.
        """
        if self.chunk_tokens is None:
            return [(0, len(text))]
        if markdown not in self._readers:
            reader = _read(self.tokenizer_json, self.chunk_tokens, markdown=markdown)
            self._readers[markdown] = reader
        spans = [
            (start, start + len(chunk))
            for start, chunk in self._readers[markdown].chunk_indices(text)
            if chunk.strip()
        ]
        return spans or [(0, len(text))]


def make_splitter(
    tokenizer_json: str, chunk_tokens: int | None, *, install: str = "jina-local[chunks]"
) -> Splitter:
    """A splitter that counts the tokens of a model.

    Args:
        tokenizer_json: The model's tokenizer.json, its content.
        chunk_tokens: The most tokens in a chunk, not counting those that the model puts around
            every text; `None` for whole texts. A single character is never split, however many
            tokens it has.
        install: What to install where `semantic-text-splitter` is missing.

    Raises:
        InvalidOptionError: If `chunk_tokens` is not a positive integer.
        MissingExtraError: If `semantic-text-splitter` is not installed.
    """
    check_chunk_tokens(chunk_tokens, install=install)
    return Splitter(tokenizer_json, chunk_tokens)


def check_chunk_tokens(chunk_tokens: int | None, *, install: str = "jina-local[chunks]") -> None:
    """Refuse a size that cannot be split to, without reading a tokenizer.

    Args:
        chunk_tokens: The most tokens in a chunk; `None` for whole texts.
        install: What to install where `semantic-text-splitter` is missing.

    Raises:
        InvalidOptionError: If it is neither a positive integer nor `None`.
        MissingExtraError: If `semantic-text-splitter` is not installed.
    """
    if chunk_tokens is None:
        return
    if isinstance(chunk_tokens, bool) or not isinstance(chunk_tokens, int) or chunk_tokens < 1:
        msg = f"chunk_tokens is {chunk_tokens!r}; give a positive integer, or None for no splitting"
        raise InvalidOptionError(msg)
    try:
        import semantic_text_splitter  # noqa: F401
    except ModuleNotFoundError as error:
        if error.name != "semantic_text_splitter":
            raise
        msg = f"splitting by tokens needs semantic-text-splitter: pip install '{install}'"
        raise MissingExtraError(msg) from error


def _read(
    tokenizer_json: str, chunk_tokens: int, *, markdown: bool
) -> MarkdownSplitter | TextSplitter:
    from semantic_text_splitter import MarkdownSplitter, TextSplitter

    kind = MarkdownSplitter if markdown else TextSplitter
    try:  # a tokenizer that truncates would count long chunks as short ones
        settings = json.loads(tokenizer_json) | {"truncation": None, "padding": None}
        counting = json.dumps(settings, ensure_ascii=False)
        return kind.from_huggingface_tokenizer_str(counting, chunk_tokens)
    except Exception as error:  # the library raises nothing narrower
        msg = f"tokenizer_json is not the content of a tokenizer.json: {error}"
        raise InvalidOptionError(msg) from error
