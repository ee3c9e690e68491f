"""A group of chunks with their metadata → the text that is embedded, and the spans in it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from jina_local.annotating import annotated

if TYPE_CHECKING:
    from collections.abc import Sequence

    from haystack import Document

    from haystack_integrations.components.embedders.jina_local._grouping import SourceGroup
    from jina_local import ChunkedText

__all__ = ["DocumentText"]

Span = tuple[int, int]


@dataclass(frozen=True, slots=True)
class DocumentText:
    """What is embedded of a document.

    Attributes:
        prefix: Before every text.
        suffix: After every text.
        meta_fields: Metadata that is embedded, too.
        separator: Between metadata and content.
    """

    prefix: str
    suffix: str
    meta_fields: Sequence[str]
    separator: str

    def lines(self, document: Document) -> list[str]:
        """The metadata that is embedded."""
        values = (document.meta.get(name) for name in self.meta_fields)
        return [str(value) for value in values if value is not None]

    def has_nothing(self, document: Document) -> bool:
        """Whether there is nothing to embed."""
        return document.content is None and not self.lines(document)

    def plain(self, document: Document) -> str:
        """The text of a document on its own."""
        body = self.separator.join([*self.lines(document), document.content or ""])
        return self.prefix + body + self.suffix

    def late(
        self, documents: Sequence[Document], group: SourceGroup
    ) -> tuple[ChunkedText, list[int]] | None:
        """The text of a group, and the documents that its spans are, in the order of the spans.

        Prefix, suffix and metadata that all documents share are context: they are there once and no
        vector's part. Metadata that differs stands before its chunk and is part of its vector.

        Returns:
            `None` if no document has a place in the text, or one is all of it: then there is no
            context, and it is embedded on its own.
        """
        placed = [
            (i, span)
            for i, span in zip(group.members, group.spans, strict=True)
            if span is not None and group.text[slice(*span)].strip()
        ]
        if not placed or (len(placed) == 1 and _is_all(group.text, placed[0][1])):
            return None
        chunked = annotated(
            group.text,
            [span for _, span in placed],
            [self.lines(documents[i]) for i, _ in placed],
            separator=self.separator,
            prefix=self.prefix,
            suffix=self.suffix,
        )
        return chunked, [i for i, _ in placed]


def _is_all(text: str, span: Span) -> bool:
    start, stop = span
    return not (text[:start] + text[stop:]).strip()
