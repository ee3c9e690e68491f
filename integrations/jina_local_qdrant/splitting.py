"""A document → spans of at most so many tokens, cut at headings, paragraphs and sentences."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from jina_local.errors import InvalidOptionError, MissingExtraError

if TYPE_CHECKING:
    from semantic_text_splitter import MarkdownSplitter, TextSplitter

    from jina_local_qdrant.documents import Document

__all__ = ["Splitter", "check_chunk_tokens", "make_splitter"]

Span = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Splitter:
    """Cuts documents into chunks, each an exact slice of the document's text.

    Attributes:
        text: Splits plain text; `None` leaves every document whole.
        markdown: Splits Markdown along its structure.
    """

    text: TextSplitter | None
    markdown: MarkdownSplitter | None

    def spans(self, document: Document) -> list[Span]:
        """Start and end of each chunk in order, in code points; at least one.

        The white space between two chunks belongs to neither; nothing else is left out, and
        nothing comes twice. Markdown is known by the ending of `path` in the metadata.
        """
        text = document["text"]
        splitter = self.markdown if _is_markdown(document) else self.text
        if splitter is None:
            return [(0, len(text))]
        spans = [
            (start, start + len(chunk))
            for start, chunk in splitter.chunk_indices(text)
            if chunk.strip()
        ]
        return spans or [(0, len(text))]


def make_splitter(tokenizer_json: str, chunk_tokens: int | None) -> Splitter:
    """A splitter that counts the tokens of a model.

    Args:
        tokenizer_json: The model's tokenizer.json, its content.
        chunk_tokens: The most tokens in a chunk, not counting those that the model puts around
            every text; `None` for whole documents. A single character is never split, however
            many tokens it has.

    Raises:
        InvalidOptionError: If `chunk_tokens` is not a positive integer, or `tokenizer_json` is not
            a tokenizer.
        MissingExtraError: If `semantic-text-splitter` is not installed.
    """
    check_chunk_tokens(chunk_tokens)
    if chunk_tokens is None:
        return Splitter(None, None)
    from semantic_text_splitter import MarkdownSplitter, TextSplitter

    try:  # a tokenizer that truncates would count long chunks as short ones
        settings = json.loads(tokenizer_json) | {"truncation": None, "padding": None}
        counting = json.dumps(settings, ensure_ascii=False)
        return Splitter(
            TextSplitter.from_huggingface_tokenizer_str(counting, chunk_tokens),
            MarkdownSplitter.from_huggingface_tokenizer_str(counting, chunk_tokens),
        )
    except Exception as error:  # the library raises nothing narrower
        msg = f"tokenizer_json is not the content of a tokenizer.json: {error}"
        raise InvalidOptionError(msg) from error


def check_chunk_tokens(chunk_tokens: int | None) -> None:
    """Refuse a size that cannot be split to, without reading a tokenizer.

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
        msg = "splitting needs semantic-text-splitter: pip install 'jina-local[qdrant]'"
        raise MissingExtraError(msg) from error


def _is_markdown(document: Document) -> bool:
    return str(document.get("metadata", {}).get("path", "")).lower().endswith(".md")
