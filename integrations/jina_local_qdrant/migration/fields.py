"""Where in the payload of a point its text is, and of which document it is which part."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from jina_local.errors import InvalidOptionError

__all__ = ["HAYSTACK", "LLAMA_INDEX", "PRESETS", "ChunkFields", "PayloadFields", "value_at"]


class ChunkFields(NamedTuple):
    """What a payload says of its chunk.

    Attributes:
        text: Its text; `None` if there is none.
        document: Its document; `None` if it is one of its own.
        order: Its place among the document's chunks.
        previous: Id of the point before it.
        start: Where it starts in the document, in characters; a hint, as splitters are wrong.
        overlaps: Whether it repeats the end of the chunk before it.
    """

    text: str | None
    document: str | int | None
    order: int | None
    previous: str | None
    start: int | None
    overlaps: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class PayloadFields:
    """Names of payload fields; `meta.title` is the field `title` of the field `meta`.

    On the way to a field, a string is read as JSON.

    Attributes:
        text: The chunk's text.
        document: What all chunks of a document have in common, a string or an integer. Points
            without it are documents of their own.
        order: The chunk's place among those of its document, an integer.
        previous: Id of the chunk before it; where these make one chain, `order` is not asked.
        start: Where the chunk starts in its document, in characters.
        overlaps: Whether chunks repeat the end of the one before, or a field that is set if so.
        no_document: What `document` holds where there is none.
    """

    text: str
    document: str | None = None
    order: str | None = None
    previous: str | None = None
    start: str | None = None
    overlaps: bool | str = False
    no_document: str | None = None

    def check(self) -> None:
        """Refuse names of fields that are none.

        Raises:
            InvalidOptionError: If one is not a non-empty string, or is given without the others
                that it needs.
        """
        names = {"text": self.text, "document": self.document, "order": self.order}
        names |= {"previous": self.previous, "start": self.start}
        for name, path in names.items():
            if (path is None and name != "text") or (isinstance(path, str) and path.strip(".")):
                continue
            msg = f"{name} is {path!r}; give the name of a payload field"
            raise InvalidOptionError(msg)
        if not isinstance(self.overlaps, bool | str):
            msg = f"overlaps is {self.overlaps!r}; give True, False or the name of a payload field"
            raise InvalidOptionError(msg)
        if self.document is None and (self.order or self.previous or self.start):
            msg = "order, previous and start say where in a document a chunk is: give document, too"
            raise InvalidOptionError(msg)

    @property
    def can_group(self) -> bool:
        """Whether chunks can be put together to documents again."""
        return self.document is not None and bool(self.order or self.previous)

    def read(self, payload: Mapping[str, Any]) -> ChunkFields:
        """What a payload says of its chunk.

        Raises:
            InvalidOptionError: If the document is neither a string nor an integer.
        """
        text = value_at(payload, self.text)
        document = self._value(payload, self.document)
        if document == self.no_document:
            document = None
        if isinstance(document, bool) or not isinstance(document, str | int | None):
            msg = (
                f"payload field {self.document!r} is {document!r:.60}; documents are told apart by "
                "a string or an integer"
            )
            raise InvalidOptionError(msg)
        overlaps = self.overlaps
        if isinstance(overlaps, str):
            overlaps = bool(value_at(payload, overlaps))
        previous = self._value(payload, self.previous)
        return ChunkFields(
            text=text if isinstance(text, str) else None,
            document=document,
            order=_integer(self._value(payload, self.order)),
            previous=None if previous is None else str(previous),
            start=_integer(self._value(payload, self.start)),
            overlaps=overlaps,
        )

    @staticmethod
    def _value(payload: Mapping[str, Any], path: str | None) -> Any:  # noqa: ANN401 - JSON
        return None if path is None else value_at(payload, path)


HAYSTACK = PayloadFields(
    text="content",
    document="meta.source_id",
    order="meta.split_id",
    start="meta.split_idx_start",
    overlaps="meta._split_overlap",
)
"""What qdrant-haystack writes of documents that a splitter has cut."""

LLAMA_INDEX = PayloadFields(
    text="_node_content.text",
    document="ref_doc_id",
    order="_node_content.start_char_idx",
    previous="_node_content.relationships.2.node_id",
    start="_node_content.start_char_idx",
    overlaps=True,
    no_document="None",
)
"""What llama-index-vector-stores-qdrant writes of nodes."""

PRESETS = {"haystack": HAYSTACK, "llama-index": LLAMA_INDEX}


def value_at(payload: Mapping[str, Any], path: str) -> Any:  # noqa: ANN401 - JSON
    """The value of a field; `None` if there is none."""
    found: Any = payload
    for key in path.split("."):
        if isinstance(found, str):
            try:
                found = json.loads(found)
            except (ValueError, RecursionError):
                return None
        if not isinstance(found, Mapping):
            return None
        found = found.get(key)
    return found


def _integer(value: object) -> int | None:
    """Integers, also such as some stores write as floats."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None
