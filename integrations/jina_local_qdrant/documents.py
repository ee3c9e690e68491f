"""What is ingested: a text with an id, and anything the caller wants to find beside it again."""

from __future__ import annotations

from typing import Any, NotRequired, TypedDict

__all__ = ["Document"]


class Document(TypedDict):
    """One text to index.

    Attributes:
        id: Names the document; ingesting the same id again replaces it.
        text: What is embedded and shown.
        metadata: JSON values, stored and returned as they are.
    """

    id: str
    text: str
    metadata: NotRequired[dict[str, Any]]
