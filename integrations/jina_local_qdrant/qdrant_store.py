"""Points in a Qdrant collection, through any client: server, `path=`, `:memory:`, or a proxy."""

from __future__ import annotations

import logging
import threading
import warnings
import weakref
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, TypeVar

from qdrant_client import models

from jina_local_qdrant.collection_config import (
    COARSE,
    FULL,
    collection_config,
    full_vector,
    named_vectors,
    search_params,
)
from jina_local_qdrant.errors import StoreRefusedError, TooLargeError
from jina_local_qdrant.layout import LAYOUT_KEY, CollectionLayout
from jina_local_qdrant.retries import Retrier, RetryPolicy
from jina_local_qdrant.store import (
    Point,
    ScoredPoint,
    SearchRequest,
    StoredPoint,
    check_points,
    in_parts,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from contextlib import AbstractContextManager

    from qdrant_client import QdrantClient

__all__ = ["QdrantStore"]

_POINTS_AT_ONCE = 256
_BYTES_AT_ONCE = 8 * 2**20
_INDEXED = {"doc_id": "keyword", "doc_hash": "keyword", "chunk_index": "integer"}
_GRAPH_LINKS = 16  # Qdrant's own default, which a bulk ingestion sets to none
_INEFFECTIVE_LOCALLY = ("quantization", "storage", "payload_indexes", "shards", "replicas", "bulk")

T = TypeVar("T")

_logger = logging.getLogger("jina_local")

_locks: weakref.WeakKeyDictionary[object, threading.RLock] = weakref.WeakKeyDictionary()
_locks_guard = threading.Lock()


class QdrantStore:
    """See `Store`.

    Local Qdrant is not made for threads, so that all stores of one local client take turns.

    Args:
        client: Anything that has the methods of `QdrantClient`.
        collection: Name of the collection.
        retries: How long a server that does not answer is asked again.
    """

    def __init__(
        self, client: QdrantClient, collection: str, retries: RetryPolicy | None = None
    ) -> None:
        self.collection = collection
        self.is_local = _is_local(client)
        self._client = client
        self._retrier = Retrier(retries or RetryPolicy(), on_retry=_log_retry)
        self._lock = _lock_of(client) if self.is_local else None
        self._layout: CollectionLayout | None = None

    def exclusive(self) -> AbstractContextManager[object]:
        """Keeps other writers on the same local client out."""
        return self._lock or nullcontext()

    # The collection

    def exists(self) -> bool:
        """Whether the collection is there."""
        return self._call(
            "asking for the collection", lambda: self._client.collection_exists(self.collection)
        )

    def metadata(self) -> dict[str, Any]:
        """The collection's metadata; empty if it has none."""
        return dict(self._info().config.metadata or {})

    def set_metadata(self, key: str, value: Any) -> None:  # noqa: ANN401 - JSON
        """Replace one key of the metadata."""
        self._call(
            "writing the collection's metadata",
            lambda: self._client.update_collection(self.collection, metadata={key: value}),
        )

    def create(self, *, size: int, layout: CollectionLayout, metadata: dict[str, Any]) -> None:
        """Create the collection, its metadata in the same call and its indexes before data."""
        config = collection_config(size, layout)
        try:
            self._call(
                "creating the collection",
                lambda: self._client.create_collection(
                    self.collection,
                    vectors_config=config.vectors,
                    quantization_config=config.quantization,
                    hnsw_config=config.hnsw,
                    shard_number=layout.shards,
                    replication_factor=layout.replicas,
                    metadata=metadata,
                ),
            )
        except StoreRefusedError:  # it may be there after a try whose answer was lost
            if not self.exists() or self.metadata() != metadata:
                raise
        self.create_indexes(layout)

    def create_indexes(self, layout: CollectionLayout) -> None:
        """Create the payload indexes; those that are there already stay."""
        indexes: dict[str, Any] = {**_INDEXED, **layout.payload_indexes}
        if layout.tenants:
            indexes["tenant"] = models.KeywordIndexParams(
                type=models.KeywordIndexType.KEYWORD, is_tenant=True
            )
        for key, kind in indexes.items():
            self._create_index(key, kind)

    def vector_size(self) -> int:
        """d, of the full vectors; 0 if there are none."""
        params = self._vector_params()
        return 0 if params is None else int(params.size)

    def distance(self) -> str:
        """What the full vectors are compared by."""
        params = self._vector_params()
        return "nothing" if params is None else str(models.Distance(params.distance).value)

    def _vector_params(self) -> models.VectorParams | None:
        vectors = self._info().config.params.vectors
        return vectors.get(FULL) if isinstance(vectors, dict) else vectors

    def finish_bulk(self) -> None:
        """Build the graph that a bulk ingestion left out."""
        self._call(
            "switching the graph on",
            lambda: self._client.update_collection(
                self.collection, hnsw_config=models.HnswConfigDiff(m=_GRAPH_LINKS)
            ),
        )

    def ineffective(self, layout: CollectionLayout) -> list[str]:
        """What local Qdrant takes and does nothing with."""
        if not self.is_local:
            return []
        default = CollectionLayout().as_dict()
        given = layout.as_dict()
        return [name for name in _INEFFECTIVE_LOCALLY if given[name] != default[name]]

    def layout(self) -> CollectionLayout:
        """The layout that the collection was created with."""
        if self._layout is None:
            self._layout = CollectionLayout.from_dict(self.metadata().get(LAYOUT_KEY) or {})
        return self._layout

    def close(self) -> None:
        """Nothing: the client is the caller's."""

    # Reading

    def retrieve(
        self, ids: Sequence[str], keys: Sequence[str] | None = None
    ) -> dict[str, dict[str, Any]]:
        """Payloads by id, for the ids that are there; all keys if `keys` is `None`."""
        found: dict[str, dict[str, Any]] = {}
        for part in in_parts(ids, _POINTS_AT_ONCE):
            records = self._call(
                "reading points",
                lambda part=part: self._client.retrieve(  # type: ignore[misc]
                    self.collection, part, with_payload=_selected(keys), with_vectors=False
                ),
            )
            found |= {str(record.id): record.payload or {} for record in records}
        return found

    def scan(
        self,
        filter: models.Filter | None = None,  # noqa: A002 - Qdrant's word
        *,
        keys: Sequence[str] | None = None,
        vectors: bool = False,
    ) -> Iterator[StoredPoint]:
        """All points that satisfy a filter, a page at a time, ordered by id."""
        offset = None
        while True:
            records, offset = self._call(
                "reading points",
                lambda offset=offset: self._client.scroll(  # type: ignore[misc]
                    self.collection,
                    scroll_filter=filter,
                    limit=_POINTS_AT_ONCE,
                    offset=offset,
                    with_payload=_selected(keys),
                    with_vectors=vectors,
                ),
            )
            for record in records:
                yield StoredPoint(str(record.id), record.payload or {}, full_vector(record.vector))
            if offset is None:
                return

    def count(self, filter: models.Filter | None = None) -> int:  # noqa: A002
        """Points that satisfy a filter, counted exactly."""
        counted = self._call(
            "counting points",
            lambda: self._client.count(self.collection, count_filter=filter, exact=True),
        )
        return int(counted.count)

    def search(self, requests: Sequence[SearchRequest]) -> list[list[ScoredPoint]]:
        """The best points for each request, best first."""
        points = iter(self._search_points([one for one in requests if not one.group_by]))
        return [
            self._search_groups(request) if request.group_by else next(points)
            for request in requests
        ]

    def _search_points(self, requests: Sequence[SearchRequest]) -> list[list[ScoredPoint]]:
        if not requests:
            return []
        queries = [
            models.QueryRequest(with_payload=True, limit=request.limit, **self._query(request))
            for request in requests
        ]
        responses = self._call(
            "searching", lambda: self._client.query_batch_points(self.collection, queries)
        )
        return [[_scored(point) for point in response.points] for response in responses]

    def _search_groups(self, request: SearchRequest) -> list[ScoredPoint]:
        query = self._query(request)
        query["query_filter"] = query.pop("filter")
        query["search_params"] = query.pop("params")
        response = self._call(
            "searching",
            lambda: self._client.query_points_groups(
                self.collection,
                group_by=request.group_by or "",
                group_size=1,
                limit=request.limit,
                with_payload=True,
                **query,
            ),
        )
        return [_scored(group.hits[0]) for group in response.groups if group.hits]

    def _query(self, request: SearchRequest) -> dict[str, Any]:
        layout = self.layout()
        vector = request.vector.tolist()
        query: dict[str, Any] = {
            "query": vector,
            "filter": request.filter,
            "score_threshold": request.score_threshold,
            "params": None if self.is_local else search_params(layout),
            "using": FULL if layout.coarse_dimensions else None,
        }
        if layout.coarse_dimensions and request.coarse_limit:
            query["prefetch"] = models.Prefetch(
                query=vector[: layout.coarse_dimensions],
                using=COARSE,
                limit=max(request.coarse_limit, request.limit),
                filter=request.filter,
                params=query["params"],
            )
        return query

    # Writing

    def upsert(self, points: Sequence[Point]) -> None:
        """Write points, or replace those of the same id; checked before anything is written."""
        check_points(points, self.vector_size())
        coarse = self.layout().coarse_dimensions
        structs = [
            models.PointStruct(
                id=point.id, vector=named_vectors(point.vector, coarse), payload=point.payload
            )
            for point in points
        ]
        is_free = self.is_local  # of limits on the size of a request
        for part in in_parts(structs, _POINTS_AT_ONCE) if is_free else _requests(structs):
            self._upsert(part)

    def _upsert(self, points: list[models.PointStruct]) -> None:
        """Write points, in halves where a server finds them too large together."""
        try:
            self._call(
                "writing points", lambda: self._client.upsert(self.collection, points, wait=True)
            )
        except TooLargeError as error:
            if len(points) == 1:
                payload = points[0].payload or {}
                msg = (
                    f"document {payload.get('doc_id')!r}, chunk {payload.get('chunk_index')}: one "
                    f"point is too large for the server ({error}); use smaller chunks or less "
                    "metadata"
                )
                raise TooLargeError(msg) from error
            half = len(points) // 2
            self._upsert(points[:half])
            self._upsert(points[half:])

    def set_payload(self, ids: Sequence[str], payload: dict[str, Any]) -> None:
        """Replace these payload keys of these points."""
        for part in in_parts(ids, _POINTS_AT_ONCE):
            try:
                self._call(
                    "writing payloads",
                    lambda part=part: self._client.set_payload(  # type: ignore[misc]
                        self.collection, payload, points=part, wait=True
                    ),
                )
            except KeyError as error:  # what local Qdrant says
                msg = f"writing payloads ({self.collection!r}): there is no point {error}"
                raise StoreRefusedError(msg) from error

    def delete(self, ids: Sequence[str]) -> None:
        """Delete points; ids that are not there are fine."""
        for part in in_parts(ids, _POINTS_AT_ONCE):
            selector = models.PointIdsList(points=[*part])
            self._call(
                "deleting points",
                lambda selector=selector: self._client.delete(  # type: ignore[misc]
                    self.collection, selector, wait=True
                ),
            )

    def _create_index(self, key: str, kind: Any) -> None:  # noqa: ANN401 - a name or parameters
        with warnings.catch_warnings():  # local Qdrant warns that it needs no index
            warnings.simplefilter("ignore", UserWarning)
            self._call(
                f"creating the index on {key}",
                lambda: self._client.create_payload_index(self.collection, key, kind, wait=True),
            )

    def _info(self) -> models.CollectionInfo:
        return self._call(
            "reading the collection", lambda: self._client.get_collection(self.collection)
        )

    def _call(self, what: str, function: Callable[[], T]) -> T:
        with self.exclusive():
            return self._retrier.call(f"{what} ({self.collection!r})", function)


def _is_local(client: QdrantClient) -> bool:
    return type(getattr(client, "_client", None)).__name__.endswith("QdrantLocal")


def _lock_of(client: QdrantClient) -> threading.RLock:
    """One lock for all proxies of one local client."""
    with _locks_guard:
        return _locks.setdefault(client._client, threading.RLock())  # noqa: SLF001 - no other name


def _requests(points: Sequence[models.PointStruct]) -> Iterator[list[models.PointStruct]]:
    """Points for one request each: servers limit bytes, and a cut connection says no reason."""
    part: list[models.PointStruct] = []
    n_bytes = 0
    for point in points:
        size = len(point.model_dump_json())
        if part and (n_bytes + size > _BYTES_AT_ONCE or len(part) == _POINTS_AT_ONCE):
            yield part
            part, n_bytes = [], 0
        part.append(point)
        n_bytes += size
    if part:
        yield part


def _log_retry(happened: str, wait: float) -> None:
    _logger.warning("%s; trying again in %.1f s", happened, wait)


def _selected(keys: Sequence[str] | None) -> bool | list[str]:
    return True if keys is None else list(keys)


def _scored(point: models.ScoredPoint) -> ScoredPoint:
    return ScoredPoint(str(point.id), float(point.score), point.payload or {})
