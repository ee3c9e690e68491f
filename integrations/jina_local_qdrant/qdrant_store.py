"""Points in a Qdrant collection, through any client: server, `path=`, `:memory:`, or a proxy."""

from __future__ import annotations

import warnings
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, Self, TypeVar

from qdrant_client import models

from jina_local_qdrant.clients import check_client, is_local, lock_of, patient
from jina_local_qdrant.collection_config import (
    COARSE,
    FULL,
    collection_config,
    named_vectors,
    search_params,
    stored_vectors,
)
from jina_local_qdrant.errors import AccessRefusedError, StoreRefusedError
from jina_local_qdrant.layout import LAYOUT_KEY, CollectionLayout
from jina_local_qdrant.point_requests import POINTS_AT_ONCE, write_points
from jina_local_qdrant.store import (
    CollectionDescription,
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

    from jina_local_qdrant.retries import RetryPolicy

__all__ = ["QdrantStore"]

_INDEXED = {"doc_id": "keyword", "doc_hash": "keyword", "chunk_index": "integer"}
_GRAPH_LINKS = 16  # Qdrant's own default, which a bulk ingestion sets to none
_INEFFECTIVE_LOCALLY = ("quantization", "storage", "payload_indexes", "shards", "replicas", "bulk")

T = TypeVar("T")


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
        self.is_local = is_local(client)
        self._client = client
        self._retrier = patient(retries)
        self._lock = lock_of(client) if self.is_local else None
        self._last_seen: models.CollectionInfo | None = None

    @classmethod
    def open(
        cls, client: QdrantClient, collection: str, retries: RetryPolicy | None = None
    ) -> Self:
        """A store of the collection that a name stands for now: it stays with it.

        Args:
            client: Anything that has the methods of `QdrantClient`.
            collection: Name of the collection, or an alias, which may later move to another one.
            retries: How long a server that does not answer is asked again.

        Raises:
            InvalidOptionError: If it is no client, or an asynchronous one.
        """
        check_client(client)
        store = cls(client, collection, retries)
        store.collection = store._aliases().get(collection, collection)
        return store

    def exclusive(self) -> AbstractContextManager[object]:
        """Keeps other writers on the same local client out."""
        return self._lock or nullcontext()

    # The collection

    def exists(self) -> bool:
        """Whether the collection is there."""
        return self._call(
            "asking for the collection", lambda: self._client.collection_exists(self.collection)
        )

    def description(self) -> CollectionDescription | None:
        """What the collection is now; `None` if it is not there."""
        if self._last_seen is None and not self.exists():
            return None
        try:
            return _described(self._info())
        except StoreRefusedError:  # of a collection that was deleted, too, in words that differ
            return _described(self._info()) if self.exists() else None

    def metadata(self) -> dict[str, Any]:
        """The collection's metadata; empty if it has none."""
        return _described(self._info()).metadata

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
        return _described(self._info()).size

    def distance(self) -> str:
        """What the full vectors are compared by."""
        return _described(self._info()).distance

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
        """The layout of the collection, as it was when it was looked at last."""
        metadata = _described(self._last_seen or self._info()).metadata
        return CollectionLayout.from_dict(metadata.get(LAYOUT_KEY) or {})

    def close(self) -> None:
        """Nothing: the client is the caller's."""

    # Reading

    def retrieve(
        self, ids: Sequence[str], keys: Sequence[str] | None = None
    ) -> dict[str, dict[str, Any]]:
        """Payloads by id, for the ids that are there; all keys if `keys` is `None`."""
        found: dict[str, dict[str, Any]] = {}
        for part in in_parts(ids, POINTS_AT_ONCE):
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
                    limit=POINTS_AT_ONCE,
                    offset=offset,
                    with_payload=_selected(keys),
                    with_vectors=vectors,
                ),
            )
            for record in records:
                stored = stored_vectors(record.vector)
                yield StoredPoint(str(record.id), record.payload or {}, *stored)
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
        write_points(structs, self._upsert, is_local=self.is_local)

    def _upsert(self, points: list[models.PointStruct]) -> None:
        self._call(
            "writing points", lambda: self._client.upsert(self.collection, points, wait=True)
        )

    def set_payload(self, ids: Sequence[str], payload: dict[str, Any]) -> None:
        """Replace these payload keys of these points."""
        for part in in_parts(ids, POINTS_AT_ONCE):
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
        for part in in_parts(ids, POINTS_AT_ONCE):
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
        self._last_seen = self._call(
            "reading the collection", lambda: self._client.get_collection(self.collection)
        )
        return self._last_seen

    def _aliases(self) -> dict[str, str]:
        """Which collection each alias stands for; empty where nobody may or can say."""
        ask = getattr(self._client, "get_aliases", None)
        if ask is None:
            return {}
        try:
            found = self._call("reading aliases", ask)
        except AccessRefusedError:
            return {}
        return {alias.alias_name: alias.collection_name for alias in found.aliases}

    def _call(self, what: str, function: Callable[[], T]) -> T:
        with self.exclusive():
            return self._retrier.call(f"{what} ({self.collection!r})", function)


def _selected(keys: Sequence[str] | None) -> bool | list[str]:
    return True if keys is None else list(keys)


def _described(info: models.CollectionInfo) -> CollectionDescription:
    metadata = dict(info.config.metadata or {})
    vectors = info.config.params.vectors
    params = vectors.get(FULL) if isinstance(vectors, dict) else vectors
    if params is None:
        return CollectionDescription(metadata, 0, "nothing")
    distance = str(models.Distance(params.distance).value)
    return CollectionDescription(metadata, int(params.size), distance)


def _scored(point: models.ScoredPoint) -> ScoredPoint:
    return ScoredPoint(str(point.id), float(point.score), point.payload or {})
