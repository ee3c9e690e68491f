"""What a point carries beside its vector, and how documents are found and rebuilt from it."""

from __future__ import annotations

import json
import uuid
from typing import TYPE_CHECKING, Any

from qdrant_client import models

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np

    from jina_local_qdrant.documents import CheckedDocument, PreparedDocument

__all__ = [
    "HEAD_KEYS",
    "chunk_payloads",
    "doc_filter",
    "is_ours",
    "metadata_keys",
    "point_id",
    "rebuild",
    "tenant_filter",
    "written_heads",
]

_NAMESPACE = uuid.UUID("5b0a2f0e-6d0e-5c7f-9a3e-2f4f6f0c7a11")

HEAD_KEYS = ("doc_id", "chunk_index", "n_chunks", "doc_hash", "meta_hash", "fp")
"""What tells whether a document is complete and unchanged."""


def point_id(doc_id: str, chunk_index: int, tenant: str | None = None) -> str:
    """The id of a chunk's point: the same in every run and every collection."""
    return str(uuid.uuid5(_NAMESPACE, json.dumps([tenant, doc_id, chunk_index])))


def chunk_payloads(
    document: PreparedDocument, token_counts: np.ndarray, *, fp: str, tenant: str | None
) -> list[dict[str, Any]]:
    """One payload per chunk; the first also says what is between the chunks.

    Args:
        document: A document with its spans.
        token_counts: Tokens of each chunk, int64 (S,).
        fp: The fingerprint's beginning.
        tenant: The tenant, if the helper has one.
    """
    shared: dict[str, Any] = {
        "n_chunks": len(document.spans),
        "doc_hash": document.doc_hash,
        "fp": fp,
        **metadata_keys(document),
    }
    if tenant is not None:
        shared["tenant"] = tenant
    payloads = []
    for index, (start, end) in enumerate(document.spans):
        payload = {
            "doc_id": document.doc_id,
            "chunk_index": index,
            "text": document.text[start:end],
            "start": start,
            "end": end,
            "n_tokens": int(token_counts[index]),
            **shared,
        }
        payloads.append(payload)
    payloads[0] |= {"gaps": _gaps(document), "length": len(document.text)}
    return payloads


def metadata_keys(document: CheckedDocument | PreparedDocument) -> dict[str, Any]:
    """The payload keys that a change of metadata alone replaces."""
    return {"meta": document.metadata, "meta_hash": document.meta_hash}


def rebuild(chunks: Sequence[Mapping[str, Any]]) -> tuple[str, list[tuple[int, int]]]:
    """A document's text and spans, from the payloads of all of its chunks.

    Args:
        chunks: Payloads in any order.
    """
    ordered = sorted(chunks, key=lambda payload: payload["chunk_index"])
    head = ordered[0]
    characters = [" "] * head["length"]
    for start, text in (*head["gaps"], *((chunk["start"], chunk["text"]) for chunk in ordered)):
        characters[start : start + len(text)] = text
    return "".join(characters), [(chunk["start"], chunk["end"]) for chunk in ordered]


def is_ours(payload: Mapping[str, Any]) -> bool:
    """Whether a point says which chunk of which document it is."""
    index, n_chunks = payload.get("chunk_index"), payload.get("n_chunks")
    return (
        isinstance(payload.get("doc_id"), str)
        and isinstance(payload.get("tenant"), str | None)
        and isinstance(index, int)
        and isinstance(n_chunks, int)
        and index >= 0
        and n_chunks > 0
    )


def _gaps(document: PreparedDocument) -> list[list[Any]]:
    """The stretches of a document that are in no chunk, each with where it starts."""
    gaps, end = [], 0
    for start, stop in [*sorted(document.spans), (len(document.text), len(document.text))]:
        if start > end:
            gaps.append([end, document.text[end:start]])
        end = max(end, stop)
    return gaps


def doc_filter(doc_ids: Sequence[str], tenant: str | None = None) -> models.Filter:
    """All points of some documents, whatever an interrupted run left behind."""
    condition = models.FieldCondition(key="doc_id", match=models.MatchAny(any=list(doc_ids)))
    return models.Filter(must=[condition, *_tenant_conditions(tenant)])


def tenant_filter(tenant: str | None) -> models.Filter | None:
    """All points of a tenant; `None`, for no filter, without one."""
    conditions = _tenant_conditions(tenant)
    return models.Filter(must=[*conditions]) if conditions else None


def written_heads(tenant: str | None = None) -> models.Filter:
    """The first chunk of each document of which the last chunk to be written is there."""
    is_head = models.FieldCondition(key="chunk_index", match=models.MatchValue(value=0))
    being_written = models.IsEmptyCondition(is_empty=models.PayloadField(key="doc_hash"))
    return models.Filter(must=[is_head, *_tenant_conditions(tenant)], must_not=[being_written])


def _tenant_conditions(tenant: str | None) -> list[models.FieldCondition]:
    if tenant is None:
        return []
    return [models.FieldCondition(key="tenant", match=models.MatchValue(value=tenant))]
