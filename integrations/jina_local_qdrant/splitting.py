"""A document → spans of at most so many tokens; which documents are Markdown."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from jina_local import splitting

if TYPE_CHECKING:
    from jina_local_qdrant.documents import Document

__all__ = ["DocumentSplitter", "check_chunk_tokens", "is_markdown", "make_splitter"]

_INSTALL = "jina-local[qdrant]"


@dataclass(frozen=True, slots=True)
class DocumentSplitter:
    """Cuts documents into chunks, each an exact slice of the document's text.

    Attributes:
        splitter: Cuts their texts.
    """

    splitter: splitting.Splitter

    def spans(self, document: Document) -> list[tuple[int, int]]:
        """Start and end of each chunk in order; see `jina_local.splitting.Splitter.spans`.

        Markdown is known by the ending of `path` in the metadata.
        """
        markdown = is_markdown(document.get("metadata", {}))
        return self.splitter.spans(document["text"], markdown=markdown)


def make_splitter(tokenizer_json: str, chunk_tokens: int | None) -> DocumentSplitter:
    """A splitter that counts the tokens of a model; see `jina_local.splitting.make_splitter`."""
    return DocumentSplitter(splitting.make_splitter(tokenizer_json, chunk_tokens, install=_INSTALL))


def check_chunk_tokens(chunk_tokens: int | None) -> None:
    """Refuse a size that cannot be split to; see `jina_local.splitting.check_chunk_tokens`."""
    splitting.check_chunk_tokens(chunk_tokens, install=_INSTALL)


def is_markdown(metadata: object) -> bool:
    """Whether a document with this metadata is cut along the structure of Markdown."""
    return isinstance(metadata, dict) and str(metadata.get("path", "")).lower().endswith(".md")
