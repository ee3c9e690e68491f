"""A group of chunks with their metadata → the text that is embedded, and the spans in it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from jina_local.late_texts import LateText, late_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from haystack import Document

    from haystack_integrations.components.embedders.jina_local._grouping import SourceGroup

__all__ = ["DocumentText"]


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

    def late(self, documents: Sequence[Document], group: SourceGroup) -> LateText | None:
        """The text of a group with the spans of its documents; `None` if none has any context.

        Prefix, suffix and metadata that all documents share are context: they are there once and no
        vector's part. Metadata that differs stands before its chunk and is part of its vector.
        """
        return late_text(
            group.text,
            dict(zip(group.members, group.spans, strict=True)),
            lambda i: self.lines(documents[i]),
            separator=self.separator,
            prefix=self.prefix,
            suffix=self.suffix,
        )
