"""Questions → hits: embedded as queries, and as nothing else."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from qdrant_client import models

from jina_local.errors import InvalidOptionError
from jina_local.inputs import check_integer
from jina_local_qdrant.errors import UnmanagedCollectionError
from jina_local_qdrant.payload import tenant_filter
from jina_local_qdrant.store import ScoredPoint, SearchRequest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jina_local import Engine
    from jina_local_qdrant.store import Store

__all__ = ["Hit", "search"]

_CANDIDATES_PER_HIT = 10
_LEAST_CANDIDATES = 100


@dataclass(frozen=True, slots=True)
class Hit:
    """One chunk that a search found.

    Attributes:
        id: The point's id.
        score: Cosine similarity to the query.
        doc_id: The document that it is part of.
        chunk_index: Its number in the document.
        text: The chunk.
        metadata: The document's.
    """

    id: str
    score: float
    doc_id: str
    chunk_index: int
    text: str
    metadata: dict[str, Any]


def search(
    store: Store,
    engine: Engine,
    queries: Sequence[str],
    *,
    dimensions: int | None,
    tenant: str | None,
    limit: int,
    filter: models.Filter | None,  # noqa: A002 - Qdrant's word
    score_threshold: float | None,
    group_by_document: bool,
    has_coarse_vectors: bool,
) -> list[list[Hit]]:
    """The best chunks for each query, all queries embedded in one pass; see `JinaQdrant.search`."""
    check_integer("limit", limit, 1)
    if filter is not None and not isinstance(filter, models.Filter):
        msg = f"filter is a {type(filter).__name__}; give a qdrant_client.models.Filter, or None"
        raise InvalidOptionError(msg)
    embeddings = engine.embed_queries(queries, dimensions=dimensions)
    wanted = _both(filter, tenant_filter(tenant))
    coarse_limit = max(_CANDIDATES_PER_HIT * limit, _LEAST_CANDIDATES)
    requests = [
        SearchRequest(
            vector=vector,
            limit=limit,
            filter=wanted,
            score_threshold=score_threshold,
            group_by="doc_id" if group_by_document else None,
            coarse_limit=coarse_limit if has_coarse_vectors else None,
        )
        for vector in embeddings.vectors
    ]
    found = store.search(requests)
    # a point that is deleted between being scored and being read comes without payload
    return [[_hit(point) for point in points if point.payload] for points in found]


def _both(one: models.Filter | None, other: models.Filter | None) -> models.Filter | None:
    if one is None or other is None:
        return one or other
    return models.Filter(must=[one, other])


def _hit(point: ScoredPoint) -> Hit:
    payload = point.payload
    if missing := sorted({"doc_id", "chunk_index", "text", "meta"} - payload.keys()):
        msg = (
            f"point {point.id} was found and was not written by this helper: its payload has no "
            f"{', '.join(missing)}; `verify` lists such points, and deleting them is up to you"
        )
        raise UnmanagedCollectionError(msg)
    return Hit(
        id=point.id,
        score=point.score,
        doc_id=payload["doc_id"],
        chunk_index=payload["chunk_index"],
        text=payload["text"],
        metadata=payload["meta"],
    )
