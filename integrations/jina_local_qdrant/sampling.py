"""Documents of a collection, rebuilt and embedded again, against the vectors that it holds."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from itertools import groupby
from typing import TYPE_CHECKING, Any

import numpy as np

from jina_local_qdrant.documents import Document, as_ingested, check_document
from jina_local_qdrant.embedding import embed_documents_of
from jina_local_qdrant.errors import InvalidDocumentError
from jina_local_qdrant.payload import doc_filter, is_ours, rebuild
from jina_local_qdrant.survey import DocumentKey, Finding

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from jina_local import Engine
    from jina_local_qdrant.spec import EmbeddingSpec
    from jina_local_qdrant.store import Store, StoredPoint

__all__ = ["LEAST_COSINE", "SampleReport", "check_sample", "rebuild_document"]

LEAST_COSINE = 0.999
"""Below it, a stored vector is another one: storage in float16 and rounding cost less."""

_DOCUMENTS_AT_ONCE = 8


@dataclass(frozen=True, slots=True)
class SampleReport:
    """Documents that were rebuilt from the collection and embedded again.

    Attributes:
        documents: How many.
        worst_cosine: The lowest similarity of a stored vector to the one that embedding gives;
            -1 if one is missing or not finite; `None` if nothing was compared.
        worst_document: The document that it is part of.
        altered: Documents whose text or metadata is not what was ingested; not compared.
    """

    documents: int = 0
    worst_cosine: float | None = None
    worst_document: str | None = None
    altered: Finding = field(default_factory=Finding)


def check_sample(
    store: Store, engine: Engine, spec: EmbeddingSpec, keys: Iterable[DocumentKey]
) -> SampleReport:
    """Rebuild documents from the collection, embed them as ingestion does, and compare.

    Args:
        store: Where they are.
        engine: What embeds.
        spec: How.
        keys: Complete documents.
    """
    cosines: dict[DocumentKey, float] = {}
    altered: list[str] = []
    for documents in _read(store, sorted(keys, key=_tenant_first)):
        rebuilt = {key: _rebuilt(key, points) for key, points in documents.items()}
        whole = {key: document for key, document in rebuilt.items() if document is not None}
        altered += [key.doc_id for key in documents if key not in whole]
        embedded = embed_documents_of(engine, spec, list(whole.values()))
        for key, fresh in zip(whole, embedded, strict=True):
            stored = [point.vector for point in documents[key]]
            cosines[key] = min(map(_cosine, stored, fresh.vectors))
    n_documents = len(cosines) + len(altered)
    if not cosines:
        return SampleReport(documents=n_documents, altered=Finding.of(altered))
    worst = min(cosines, key=lambda key: cosines[key])
    return SampleReport(n_documents, cosines[worst], worst.doc_id, Finding.of(altered))


def rebuild_document(doc_id: str, payloads: Iterable[Mapping[str, Any]]) -> Document | None:
    """A document as it was ingested; `None` if it is not complete.

    Args:
        doc_id: Its id.
        payloads: All that are found by this id, in any order; some may be somebody else's.
    """
    chunks = [payload for payload in payloads if is_ours(payload)]
    head = next((chunk for chunk in chunks if not chunk["chunk_index"]), None)
    hashes = {(chunk.get("doc_hash"), chunk.get("meta_hash")) for chunk in chunks}
    if head is None or len(hashes) != 1 or None in hashes.pop():
        return None
    if len(chunks) != head["n_chunks"]:
        return None
    try:
        text, spans = rebuild(chunks)
        document = Document(id=doc_id, text=text, metadata=head["meta"], spans=spans)
    except (LookupError, TypeError):  # something else took parts of it away
        return None
    return as_ingested(document, head["doc_hash"])


def _read(
    store: Store, keys: Sequence[DocumentKey]
) -> Iterator[dict[DocumentKey, list[StoredPoint]]]:
    """A few documents of one tenant at a time, each with its points in the order of its chunks."""
    for tenant, of_tenant in groupby(keys, key=lambda key: key.tenant):
        remaining = list(of_tenant)
        while remaining:
            group, remaining = remaining[:_DOCUMENTS_AT_ONCE], remaining[_DOCUMENTS_AT_ONCE:]
            documents: dict[DocumentKey, list[StoredPoint]] = {key: [] for key in group}
            wanted = doc_filter([key.doc_id for key in group], tenant)
            for point in store.scan(wanted, vectors=True):
                key = DocumentKey(point.payload.get("tenant"), point.payload["doc_id"])
                if key in documents and is_ours(point.payload):
                    documents[key].append(point)
            for points in documents.values():
                points.sort(key=lambda point: point.payload["chunk_index"])
            yield documents


def _tenant_first(key: DocumentKey) -> tuple[str, str]:
    return key.tenant or "", key.doc_id


def _rebuilt(
    key: DocumentKey, points: Sequence[StoredPoint]
) -> tuple[str, list[tuple[int, int]]] | None:
    """Text and spans, if text and metadata still have their hashes."""
    try:
        text, spans = rebuild([point.payload for point in points])
        head = points[0].payload
        document = Document(id=key.doc_id, text=text, metadata=head["meta"], spans=spans)
        checked = check_document(as_ingested(document, head.get("doc_hash")), 0)
    except (InvalidDocumentError, LookupError, TypeError):
        return None
    is_text = head.get("doc_hash") == checked.doc_hash
    is_metadata = head.get("meta_hash") == checked.meta_hash
    return (text, spans) if is_text and is_metadata else None


def _cosine(stored: np.ndarray | None, fresh: np.ndarray) -> float:
    if stored is None or stored.shape != fresh.shape:
        return -1.0
    wide = stored.astype(np.float64)
    cosine = float(wide @ fresh.astype(np.float64)) / (float(np.linalg.norm(wide)) or 1.0)
    return cosine if math.isfinite(cosine) else -1.0
