"""What the helper needs of a place that keeps vectors, whatever it is.

A store keeps the points of one collection: `QdrantStore` over a Qdrant client, `EdgeStore` in a
folder. Every write waits until it is done, so that what comes after it may count on it.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import numpy as np

from jina_local_qdrant.errors import StoreRefusedError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from contextlib import AbstractContextManager

    from qdrant_client import models

    from jina_local_qdrant.layout import CollectionLayout

__all__ = [
    "COSINE",
    "CollectionDescription",
    "Point",
    "ScoredPoint",
    "SearchRequest",
    "Store",
    "StoredPoint",
    "check_points",
    "in_parts",
]

COSINE = "Cosine"

_UNIT_TOLERANCE = 1e-3

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class CollectionDescription:
    """What a collection says of itself at one moment.

    Attributes:
        metadata: Its metadata; empty if it has none.
        size: d, of the full vectors; 0 if there are none.
        distance: What they are compared by; `COSINE` in every collection of this helper.
    """

    metadata: dict[str, Any]
    size: int
    distance: str


@dataclass(frozen=True, slots=True, eq=False)
class Point:
    """A chunk to be written.

    Attributes:
        id: A UUID.
        vector: Unit vector, float32 (d,).
        payload: JSON values.
    """

    id: str
    vector: np.ndarray
    payload: dict[str, Any]


@dataclass(frozen=True, slots=True, eq=False)
class StoredPoint:
    """A point that is there.

    Attributes:
        id: Its id.
        payload: The payload keys that were asked for.
        vector: The full vector, float32 (d,), if it was asked for and is there.
        coarse: The coarse vector, float32 (c,), if vectors were asked for and it is there.
    """

    id: str
    payload: dict[str, Any]
    vector: np.ndarray | None
    coarse: np.ndarray | None = None


@dataclass(frozen=True, slots=True, eq=False)
class ScoredPoint:
    """A point that a search found.

    Attributes:
        id: Its id.
        score: Cosine similarity to the query.
        payload: Its payload.
    """

    id: str
    score: float
    payload: dict[str, Any]


@dataclass(frozen=True, slots=True, eq=False)
class SearchRequest:
    """One search.

    Attributes:
        vector: The query, float32 (d,).
        limit: The most points, or groups, to return.
        filter: What points must satisfy.
        score_threshold: Scores are above it.
        group_by: Payload key of which each value is returned once, with its best point.
        coarse_limit: Candidates that are found with the coarse vectors and rescored with the full
            ones; `None` where the collection has no coarse vectors.
    """

    vector: np.ndarray
    limit: int
    filter: models.Filter | None = None
    score_threshold: float | None = None
    group_by: str | None = None
    coarse_limit: int | None = None


class Store(Protocol):
    """The points of one collection.

    Attributes:
        collection: Its name.
        is_local: Whether it is in this process, where there is one writer at a time.
    """

    collection: str
    is_local: bool

    def exclusive(self) -> AbstractContextManager[object]:
        """Keeps other writers in this process out while several writes belong together."""

    def exists(self) -> bool:
        """Whether the collection is there."""

    def description(self) -> CollectionDescription | None:
        """What the collection is now; `None` if it is not there."""

    def metadata(self) -> dict[str, Any]:
        """The collection's metadata; empty if it has none."""

    def set_metadata(self, key: str, value: Any) -> None:  # noqa: ANN401 - JSON
        """Replace one key of the metadata."""

    def create(self, *, size: int, layout: CollectionLayout, metadata: dict[str, Any]) -> None:
        """Create the collection for unit vectors of `size` dimensions, its indexes before data."""

    def create_indexes(self, layout: CollectionLayout) -> None:
        """Create the payload indexes that are missing, as after a crash during `create`."""

    def vector_size(self) -> int:
        """d, of the full vectors; 0 if there are none."""

    def distance(self) -> str:
        """What the full vectors are compared by; `COSINE` in every collection of this helper."""

    def retrieve(
        self, ids: Sequence[str], keys: Sequence[str] | None = None
    ) -> dict[str, dict[str, Any]]:
        """Payloads by id, for the ids that are there; all keys if `keys` is `None`."""

    def scan(
        self,
        filter: models.Filter | None = None,  # noqa: A002 - Qdrant's word
        *,
        keys: Sequence[str] | None = None,
        vectors: bool = False,
    ) -> Iterator[StoredPoint]:
        """All points that satisfy a filter, a page at a time, ordered by id."""

    def upsert(self, points: Sequence[Point]) -> None:
        """Write points, or replace those of the same id; checked before anything is written."""

    def set_payload(self, ids: Sequence[str], payload: dict[str, Any]) -> None:
        """Replace these payload keys of these points."""

    def delete(self, ids: Sequence[str]) -> None:
        """Delete points; ids that are not there are fine."""

    def count(self, filter: models.Filter | None = None) -> int:  # noqa: A002
        """Points that satisfy a filter, counted exactly."""

    def search(self, requests: Sequence[SearchRequest]) -> list[list[ScoredPoint]]:
        """The best points for each request, best first."""

    def finish_bulk(self) -> None:
        """Build the graph that a bulk ingestion left out."""

    def ineffective(self, layout: CollectionLayout) -> list[str]:
        """Names of options of a layout that change nothing in this store."""

    def close(self) -> None:
        """Write out everything and let go of files and connections that the store opened."""


def check_points(points: Sequence[Point], size: int) -> None:
    """Refuse points of which no part may be written.

    Args:
        points: Points.
        size: d.

    Raises:
        StoreRefusedError: If an id is no UUID, or a vector has another size or type, is not finite
            or not of unit length.
    """
    for point in points:
        _check_id(point.id)
        name = f"{point.payload.get('doc_id')!r}, chunk {point.payload.get('chunk_index')}"
        if point.vector.shape != (size,):
            msg = f"the vector of {name} has shape {point.vector.shape}, the collection ({size},)"
            raise StoreRefusedError(msg)
        if point.vector.dtype.kind != "f":
            msg = f"the vector of {name} has dtype {point.vector.dtype}, not a float"
            raise StoreRefusedError(msg)
        norm = float(np.linalg.norm(point.vector.astype(np.float64)))
        if not abs(norm - 1.0) <= _UNIT_TOLERANCE:  # NaN is not
            msg = f"the vector of {name} has length {norm}, not 1: it was not normalized, or is NaN"
            raise StoreRefusedError(msg)


def in_parts(items: Sequence[T], size: int) -> Iterator[list[T]]:
    """Items in order, so many at a time."""
    for start in range(0, len(items), size):
        yield list(items[start : start + size])


def _check_id(point_id: str) -> None:
    try:
        uuid.UUID(point_id)
    except (ValueError, AttributeError, TypeError) as error:
        msg = f"the id of a point is {point_id!r}, not a UUID"
        raise StoreRefusedError(msg) from error
