"""What is ingested: a text with an id, and anything the caller wants to find beside it again."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, is_dataclass
from typing import Any, NotRequired, TypedDict

from jina_local.chunked_text import check_spans
from jina_local.errors import InvalidSpansError
from jina_local.fingerprint import canonical_hash
from jina_local_qdrant.errors import InvalidDocumentError

__all__ = ["CheckedDocument", "Document", "PreparedDocument", "check_document", "check_iterable"]

Span = tuple[int, int]
_FIELDS = ("id", "text", "metadata", "spans")


class Document(TypedDict):
    """One text to index.

    Attributes:
        id: Names the document; ingesting the same id again replaces it.
        text: What is embedded and shown.
        metadata: JSON values, stored and returned as they are.
        spans: Start and end of each chunk in the text, in characters; cut by the collection's
            splitter if not given.
    """

    id: str
    text: str
    metadata: NotRequired[dict[str, Any]]
    spans: NotRequired[list[Span]]


@dataclass(frozen=True, slots=True, eq=False)
class CheckedDocument:
    """A document that can be ingested.

    Attributes:
        number: Its place in the source.
        doc_id: Its id.
        text: Its text.
        metadata: Its metadata.
        spans: Its chunks, if the caller gave them.
        doc_hash: Changes with the text and the given spans.
        meta_hash: Changes with the metadata.
    """

    number: int
    doc_id: str
    text: str
    metadata: dict[str, Any]
    spans: tuple[Span, ...] | None
    doc_hash: str
    meta_hash: str


@dataclass(frozen=True, slots=True, eq=False)
class PreparedDocument:
    """A document with its chunks; see `CheckedDocument`."""

    number: int
    doc_id: str
    text: str
    metadata: dict[str, Any]
    spans: tuple[Span, ...]
    doc_hash: str
    meta_hash: str

    @classmethod
    def of(cls, source: CheckedDocument, spans: Iterable[Span]) -> PreparedDocument:
        """A checked document with these chunks."""
        return cls(
            number=source.number,
            doc_id=source.doc_id,
            text=source.text,
            metadata=source.metadata,
            spans=tuple(spans),
            doc_hash=source.doc_hash,
            meta_hash=source.meta_hash,
        )


def check_iterable(documents: object) -> Iterable[object]:
    """Refuse what cannot be a collection of documents.

    Raises:
        InvalidDocumentError: If it is a string, one document, or nothing that can be iterated.
    """
    is_one = isinstance(documents, str | bytes | Mapping) or is_dataclass(documents)
    if is_one or not isinstance(documents, Iterable):
        msg = f"documents is a {type(documents).__name__}; give a list of documents, even for one"
        raise InvalidDocumentError(msg)
    return documents


def check_document(document: object, number: int) -> CheckedDocument:
    """A document as it can be ingested.

    Args:
        document: A mapping, or an instance of a dataclass, with `id`, `text` and optional
            `metadata` and `spans`; a dataclass's `None` is as if it were not given.
        number: Its place in the source.

    Raises:
        InvalidDocumentError: If something of it is missing or wrong.
    """
    content = _as_mapping(document, number)
    if unknown := sorted(map(str, set(content) - set(_FIELDS))):
        msg = f"document {number} has unknown fields {unknown}; put them into metadata"
        raise InvalidDocumentError(msg)
    doc_id, text = content.get("id"), content.get("text")
    metadata = content.get("metadata", {})
    if not isinstance(doc_id, str) or not doc_id:
        msg = f"document {number} has id {doc_id!r}; an id is a non-empty string"
        raise InvalidDocumentError(msg)
    if not isinstance(text, str):
        msg = f"document {doc_id!r} has a text of type {type(text).__name__}, not a string"
        raise InvalidDocumentError(msg)
    if not isinstance(metadata, dict):
        msg = f"document {doc_id!r} has metadata of type {type(metadata).__name__}, not a dict"
        raise InvalidDocumentError(msg)
    spans = content.get("spans")
    checked_spans = None if spans is None else _check_spans(spans, doc_id, len(text))
    return CheckedDocument(
        number=number,
        doc_id=doc_id,
        text=text,
        metadata=metadata,
        spans=checked_spans,
        doc_hash=_hash({"id": doc_id, "text": text, "spans": checked_spans}, doc_id),
        meta_hash=_hash(metadata, doc_id),
    )


def _as_mapping(document: object, number: int) -> Mapping[str, Any]:
    if isinstance(document, Mapping):
        return document
    if is_dataclass(document) and not isinstance(document, type):
        values = {field.name: getattr(document, field.name) for field in fields(document)}
        return {name: value for name, value in values.items() if value is not None}
    msg = f"document {number} is a {type(document).__name__}; give a dict with id and text"
    raise InvalidDocumentError(msg)


def _check_spans(spans: object, doc_id: str, n_characters: int) -> tuple[Span, ...]:
    try:
        return check_spans(spans, n_characters)
    except InvalidSpansError as error:
        msg = f"document {doc_id!r}: {error}"
        raise InvalidDocumentError(msg) from error


def _hash(content: Mapping[str, Any], doc_id: str) -> str:
    try:
        return canonical_hash(content)
    except (TypeError, ValueError) as error:
        msg = f"document {doc_id!r} is not JSON, of which all text must be UTF-8: {error}"
        raise InvalidDocumentError(msg) from error
