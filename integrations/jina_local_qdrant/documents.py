"""What is ingested: a text with an id, and anything the caller wants to find beside it again."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, is_dataclass
from typing import Any, NotRequired, TypedDict

from jina_local.chunked_text import check_spans
from jina_local.errors import InvalidSpansError
from jina_local.fingerprint import canonical_hash
from jina_local_qdrant.errors import InvalidDocumentError
from jina_local_qdrant.splitting import is_markdown

__all__ = [
    "CheckedDocument",
    "Document",
    "PreparedDocument",
    "as_ingested",
    "check_document",
    "check_ids",
    "check_iterable",
]

Span = tuple[int, int]
_FIELDS = ("id", "text", "metadata", "spans")

# What every store takes and gives back as it is: Qdrant's embedded engine writes metadata of more
# than 124 levels and cannot open the collection again, and makes floats of larger integers.
_LEVELS = 100
_SMALLEST, _LARGEST = -(2**63), 2**64 - 1


class Document(TypedDict):
    """One text to index.

    Attributes:
        id: Names the document; ingesting the same id again replaces it.
        text: What is embedded and shown.
        metadata: JSON values, stored and returned as they are: at most 100 levels of them, with
            strings as keys and integers in -2**63…2**64-1.
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
        metadata: A copy of its metadata.
        spans: Its chunks, if the caller gave them.
        doc_hash: Changes with the text and the given spans; without these, also with whether it is
            cut as Markdown.
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


def check_ids(doc_ids: object) -> list[str]:
    """Ids of documents; one may come alone.

    Raises:
        InvalidDocumentError: If it is no string and no collection of strings.
    """
    if isinstance(doc_ids, str):
        return [doc_ids]
    if isinstance(doc_ids, bytes | Mapping) or not isinstance(doc_ids, Iterable):
        msg = f"the id of a document is {doc_ids!r:.40}; give a string, or a list of strings"
        raise InvalidDocumentError(msg)
    checked = []
    for doc_id in doc_ids:
        if not isinstance(doc_id, str):
            msg = f"the id of a document is {doc_id!r:.40}; give strings"
            raise InvalidDocumentError(msg)
        checked.append(doc_id)
    return checked


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
    copied = _copied(metadata, doc_id)
    return CheckedDocument(
        number=number,
        doc_id=doc_id,
        text=text,
        metadata=copied,
        spans=checked_spans,
        doc_hash=_doc_hash(doc_id, text, checked_spans, copied),
        meta_hash=_hash(copied, doc_id),
    )


def as_ingested(document: Document, doc_hash: object) -> Document:
    """A document with spans only if it brought them, which its hash tells.

    Args:
        document: Rebuilt from its chunks, with their spans.
        doc_hash: What its chunks carry.
    """
    doc_id, text, metadata = document["id"], document["text"], document.get("metadata", {})
    if doc_hash == _doc_hash(doc_id, text, None, metadata):
        return Document(id=doc_id, text=text, metadata=metadata)
    return document


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


def _copied(metadata: dict[str, Any], doc_id: str) -> dict[str, Any]:
    """What is stored: the caller may change theirs while it waits."""
    try:
        _check_values(metadata, f"document {doc_id!r}", "metadata", 1)
        text = json.dumps(metadata, allow_nan=False, ensure_ascii=False)
        copied: dict[str, Any] = json.loads(text)
    except InvalidDocumentError:
        raise
    except (TypeError, ValueError, RecursionError) as error:
        raise _not_json(doc_id, error) from error
    return copied


def _check_values(value: object, owner: str, name: str, level: int) -> None:
    """Refuse what is JSON, but not the same in every store.

    Args:
        value: A value in the metadata of a document.
        owner: What messages call the document.
        name: What messages call the value.
        level: How many lists and dicts it is in, counting itself.
    """
    if isinstance(value, int) and not _SMALLEST <= value <= _LARGEST:
        msg = (
            f"{owner} has {name:.200} = {value!r:.40}; give an integer in -2**63…2**64-1, or a "
            "string"
        )
        raise InvalidDocumentError(msg)
    if not isinstance(value, dict | list | tuple):
        return
    if level > _LEVELS:
        msg = f"{owner} has metadata of more than {_LEVELS} levels; give fewer dicts within dicts"
        raise InvalidDocumentError(msg)
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, item in items:
        if isinstance(value, dict) and not isinstance(key, str):
            msg = f"{owner} has the key {key!r:.40} in {name:.200}; give strings as keys"
            raise InvalidDocumentError(msg)
        _check_values(item, owner, f"{name}[{key!r}]", level + 1)


def _doc_hash(
    doc_id: str, text: str, spans: tuple[Span, ...] | None, metadata: dict[str, Any]
) -> str:
    content: dict[str, Any] = {"id": doc_id, "text": text, "spans": spans}
    if spans is None and is_markdown(metadata):
        content["markdown"] = True
    return _hash(content, doc_id)


def _hash(content: Mapping[str, Any], doc_id: str) -> str:
    try:
        return canonical_hash(content)
    except (TypeError, ValueError) as error:
        raise _not_json(doc_id, error) from error


def _not_json(doc_id: str, error: Exception) -> InvalidDocumentError:
    msg = f"document {doc_id!r} is not JSON, of which all text must be UTF-8: {error}"
    return InvalidDocumentError(msg)
