"""Points in a folder, kept by Qdrant's embedded engine: no server, and one process at a time.

The engine has a graph, compressed vectors and a log of what was written, so that it takes far more
points than local Qdrant, and what was acknowledged outlives the process being killed. It builds the
graph when it is asked to: see `EdgeStore.finish_bulk`.
"""

from __future__ import annotations

import copy
import re
import threading
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from jina_local.errors import InvalidOptionError
from jina_local_qdrant.collection_config import COARSE, coarse_vector, stored_vectors
from jina_local_qdrant.edge_config import FULL, edge_search_params
from jina_local_qdrant.edge_engine import qdrant_edge as edge
from jina_local_qdrant.edge_engine import refusals
from jina_local_qdrant.edge_filters import edge_filter
from jina_local_qdrant.edge_folder import EdgeFolder, EdgeRecord, add_indexes
from jina_local_qdrant.errors import StoreRefusedError
from jina_local_qdrant.layout import CollectionLayout
from jina_local_qdrant.store import (
    COSINE,
    CollectionDescription,
    Point,
    ScoredPoint,
    SearchRequest,
    StoredPoint,
    check_points,
    in_parts,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from contextlib import AbstractContextManager

    from qdrant_client import models

__all__ = ["EdgeStore"]

_POINTS_AT_ONCE = 512
_NAME = re.compile(r"\w[\w.-]*")
_NAME_BYTES = 200
_GROUP_KEY = re.compile(r"[\w-]+(\.[\w-]+)*")
_INEFFECTIVE = ("shards", "replicas", "bulk")


class EdgeStore:
    """See `Store`.

    One thread writes at a time, and others wait for it; any number read meanwhile.

    Args:
        folder: Where collections are, each in a folder of its name.
        collection: Name of the collection: letters, digits, `_`, `-` and `.`.

    Raises:
        InvalidOptionError: If the name is no name for a folder.
        IndexInUseError: If the collection is open in another store or process.
        StoreRefusedError: If what is in the folder cannot be opened.
    """

    def __init__(self, folder: Path, collection: str) -> None:
        if not _NAME.fullmatch(collection) or len(collection.encode()) > _NAME_BYTES:
            msg = (
                f"collection is {collection!r}, which is no name for a folder: give letters, "
                f"digits, '_', '-' and '.', no '-' or '.' first, at most {_NAME_BYTES} bytes"
            )
            raise InvalidOptionError(msg)
        self.collection = collection
        self.is_local = True
        self._writing = threading.RLock()
        self._folder = EdgeFolder(Path(folder) / collection)

    def exclusive(self) -> AbstractContextManager[object]:
        """Keeps other threads that write out."""
        return self._writing

    # The collection

    def exists(self) -> bool:
        """Whether the collection is there."""
        with self._writing:
            return self._folder.open_if_there()

    def description(self) -> CollectionDescription | None:
        """What the collection is now; `None` if it is not there.

        Raises:
            StoreRefusedError: If this store was closed.
        """
        with self._writing:
            self._folder.refuse_closed()
            if not self._folder.open_if_there():
                return None
            return CollectionDescription(self.metadata(), self.vector_size(), self.distance())

    def metadata(self) -> dict[str, Any]:
        """The collection's metadata; empty if it has none."""
        return copy.deepcopy(self._folder.record.metadata)

    def set_metadata(self, key: str, value: Any) -> None:  # noqa: ANN401 - JSON
        """Replace one key of the metadata."""
        with self._writing:
            self._folder.replace_metadata({**self._folder.record.metadata, key: value})

    def create(self, *, size: int, layout: CollectionLayout, metadata: dict[str, Any]) -> None:
        """Create the collection, its record first and its indexes before data."""
        layout.check(size)
        with self._writing:
            self._folder.create(EdgeRecord(size, layout, metadata))

    def create_indexes(self, layout: CollectionLayout) -> None:
        """Create the payload indexes that are missing, over the points that are there."""
        with self._writing, refusals("creating indexes"):
            add_indexes(self._folder.shard, layout)

    def distance(self) -> str:
        """Edge collections of this helper are compared by cosine."""
        return COSINE

    def vector_size(self) -> int:
        """d, of the full vectors."""
        return self._folder.record.size

    def finish_bulk(self) -> None:
        """Build the graph and the compressed vectors, over everything that has none yet.

        The engine does so at no other time. Until then searches compare with every vector, which
        is exact, and slow beyond some 100 000 points.
        """
        with self._writing, refusals("building the graph"):
            self._folder.shard.optimize()

    def ineffective(self, layout: CollectionLayout) -> list[str]:
        """What a store of one shard, without a graph during writing, does nothing with."""
        default = CollectionLayout()
        return [name for name in _INEFFECTIVE if getattr(layout, name) != getattr(default, name)]

    def close(self) -> None:
        """Write everything out and let others open the collection; again is fine."""
        with self._writing:
            self._folder.close()

    # Reading

    def retrieve(
        self, ids: Sequence[str], keys: Sequence[str] | None = None
    ) -> dict[str, dict[str, Any]]:
        """Payloads by id, for the ids that are there; all keys if `keys` is `None`."""
        shard, found = self._folder.shard, {}
        with refusals("reading points"):
            for part in in_parts(ids, _POINTS_AT_ONCE):
                for record in shard.retrieve([*part], _selected(keys), False):
                    found[str(record.id)] = record.payload or {}
        return found

    def scan(
        self,
        filter: models.Filter | None = None,  # noqa: A002 - Qdrant's word
        *,
        keys: Sequence[str] | None = None,
        vectors: bool = False,
    ) -> Iterator[StoredPoint]:
        """All points that satisfy a filter, a page at a time, ordered by id."""
        offset: edge.PointId | None = None
        while True:
            with refusals("reading points"):
                request = edge.ScrollRequest(
                    offset=offset,
                    limit=_POINTS_AT_ONCE,
                    filter=edge_filter(filter),
                    with_payload=_selected(keys),
                    with_vector=vectors,
                )
                records, offset = self._folder.shard.scroll(request)
            for record in records:
                stored = stored_vectors(record.vector, FULL)
                yield StoredPoint(str(record.id), record.payload or {}, *stored)
            if offset is None:
                return

    def count(self, filter: models.Filter | None = None) -> int:  # noqa: A002
        """Points that satisfy a filter, counted exactly."""
        with refusals("counting points"):
            request = edge.CountRequest(exact=True, filter=edge_filter(filter))
            return self._folder.shard.count(request)

    def search(self, requests: Sequence[SearchRequest]) -> list[list[ScoredPoint]]:
        """The best points for each request, best first.

        Waits for a write to end: a point that is being replaced is not there for a moment.
        """
        for request in requests:
            self._check_query(request)
        with self._writing, refusals("searching"):
            plain = [request for request in requests if request.group_by is None]
            queries = [self._query(request, request.limit, payload=True) for request in plain]
            batch = iter(self._folder.shard.query_batch(edge.QueryBatchRequest(queries)))
            return [
                [_scored(point, point.payload) for point in next(batch)]
                if request.group_by is None
                else self._search_groups(request, request.group_by)
                for request in requests
            ]

    def _check_query(self, request: SearchRequest) -> None:
        expected = (self._folder.record.size,)
        if request.vector.shape != expected or not np.isfinite(request.vector).all():
            msg = (
                f"the query has shape {request.vector.shape} and norm "
                f"{np.linalg.norm(request.vector)}; give finite numbers of shape {expected}"
            )
            raise StoreRefusedError(msg)
        if request.group_by is not None and not _GROUP_KEY.fullmatch(request.group_by):
            msg = f"group_by is {request.group_by!r}; give a payload key such as 'meta.lang'"
            raise InvalidOptionError(msg)

    def _query(
        self, request: SearchRequest, limit: int, *, payload: bool | list[str], exact: bool = False
    ) -> edge.QueryRequest:
        layout = self._folder.record.layout
        params = edge_search_params(layout, exact=exact)
        vector = np.ascontiguousarray(request.vector, dtype=np.float32)
        chosen = edge_filter(request.filter)
        prefetches = []
        if layout.coarse_dimensions and request.coarse_limit and not request.group_by:
            prefix = edge.Query.Nearest(_listed(vector[: layout.coarse_dimensions]), COARSE)
            candidates = max(request.coarse_limit, request.limit)
            prefetches = [edge.Prefetch(candidates, prefix, params=params, filter=chosen)]
        return edge.QueryRequest(
            limit=limit,
            query=edge.Query.Nearest(_listed(vector), FULL),
            prefetches=prefetches,
            with_payload=payload,
            filter=chosen,
            score_threshold=request.score_threshold,
            params=params,
        )

    def _search_groups(self, request: SearchRequest, key: str) -> list[ScoredPoint]:
        """The best point for each value of a payload key, as Qdrant's servers group.

        Asks for more and more points until enough values are among them, or there are no more. A
        graph may give up before the last point, and so only the first try relies on one. Nobody
        knows how many coarse candidates that takes, and so there are none, as in local Qdrant.
        """
        limit, exact = 4 * request.limit, False
        while True:
            query = self._query(request, limit, payload=[key], exact=exact)
            points = self._folder.shard.query(query)
            best: dict[str | int, edge.ScoredPoint] = {}
            for point in points:
                for value in _group_values(point.payload or {}, key):
                    best.setdefault(value, point)
            if len(best) >= request.limit or (exact and len(points) < limit):
                break
            limit, exact = 4 * limit, True
        chosen = list(best.values())[: request.limit]
        payloads = self.retrieve([str(point.id) for point in chosen])
        return [_scored(point, payloads.get(str(point.id))) for point in chosen]

    # Writing

    def upsert(self, points: Sequence[Point]) -> None:
        """Write points, or replace those of the same id; checked before anything is written."""
        shard, record = self._folder.shard, self._folder.record
        check_points(points, record.size)
        with self._writing, refusals("writing points"):
            coarse = record.layout.coarse_dimensions
            converted = [_converted(point, coarse) for point in points]
            for part in in_parts(converted, _POINTS_AT_ONCE):
                shard.update(edge.UpdateOperation.upsert_points(part))

    def set_payload(self, ids: Sequence[str], payload: dict[str, Any]) -> None:
        """Replace these payload keys of these points; a key that becomes `None` is taken away.

        Raises:
            StoreRefusedError: If one of the points is not there; none is changed then.
        """
        shard = self._folder.shard
        with self._writing, refusals("writing payloads"):
            missing = {_canonical(name) for name in ids} - self.retrieve(ids, keys=[]).keys()
            if missing:
                msg = f"writing payloads: {len(missing)} points are not there, as {min(missing)}"
                raise StoreRefusedError(msg)
            for part in in_parts(ids, _POINTS_AT_ONCE):
                shard.update(edge.UpdateOperation.set_payload([*part], payload))

    def delete(self, ids: Sequence[str]) -> None:
        """Delete points; ids that are not there are fine."""
        shard = self._folder.shard
        with self._writing, refusals("deleting points"):
            checked = [_canonical(name) for name in ids]
            for part in in_parts(checked, _POINTS_AT_ONCE):
                shard.update(edge.UpdateOperation.delete_points([*part]))


def _canonical(name: str) -> str:
    return str(uuid.UUID(name))


def _selected(keys: Sequence[str] | None) -> bool | list[str]:
    return True if keys is None else list(keys)


def _listed(vector: np.ndarray) -> list[float]:
    """An array, which the engine takes as it is."""
    return vector  # type: ignore[return-value]


def _converted(point: Point, coarse: int | None) -> edge.Point:
    vector = np.ascontiguousarray(point.vector, dtype=np.float32)
    if coarse is None:
        return edge.Point(_canonical(point.id), _listed(vector), point.payload)
    prefix = coarse_vector(vector, coarse)
    vectors: dict[str, edge.NamedVector] = {FULL: _listed(vector), COARSE: _listed(prefix)}
    return edge.Point(_canonical(point.id), vectors, point.payload)


def _group_values(payload: dict[str, Any], key: str) -> list[str | int]:
    """The values that a point is grouped by: texts and whole numbers, or a list of nothing else."""
    value: Any = payload
    for name in key.split("."):
        value = value.get(name) if isinstance(value, dict) else None
    values = value if isinstance(value, list) else [value]
    return values if all(type(one) in (str, int) for one in values) else []


def _scored(point: edge.ScoredPoint, payload: dict[str, Any] | None) -> ScoredPoint:
    return ScoredPoint(str(point.id), float(point.score), payload or {})
