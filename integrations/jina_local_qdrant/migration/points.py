"""The points of one collection of any origin, through a client, with retries."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from qdrant_client import models

from jina_local_qdrant.clients import is_local, patient
from jina_local_qdrant.point_requests import POINTS_AT_ONCE, write_points
from jina_local_qdrant.store import in_parts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from qdrant_client import QdrantClient

    from jina_local_qdrant.retries import RetryPolicy

__all__ = ["AnyPoint", "PointId", "Points"]

PointId = int | str
T = TypeVar("T")


@dataclass(frozen=True, slots=True, eq=False)
class AnyPoint:
    """A point as it is stored.

    Attributes:
        id: Its id.
        payload: Its payload.
        vectors: The vectors that were asked for, by name; the one without a name is `""`.
    """

    id: PointId
    payload: dict[str, Any]
    vectors: dict[str, Any]


class Points:
    """One collection.

    Args:
        client: Anything that has the methods of `QdrantClient`.
        collection: Name of the collection, not an alias.
        retries: How long a server that does not answer is asked again.
    """

    def __init__(
        self, client: QdrantClient, collection: str, retries: RetryPolicy | None = None
    ) -> None:
        self.client = client
        self.collection = collection
        self._retrier = patient(retries)

    def call(self, what: str, function: Callable[[], T]) -> T:
        """The result of a request that is repeated until it is answered; see `Retrier.call`."""
        return self._retrier.call(f"{what} ({self.collection!r})", function)

    # The collection

    def exists(self) -> bool:
        """Whether the collection, or an alias of this name, is there."""
        return self.call(
            "asking for the collection", lambda: self.client.collection_exists(self.collection)
        )

    def info(self) -> models.CollectionInfo:
        """What the collection says of itself."""
        return self.call(
            "reading the collection", lambda: self.client.get_collection(self.collection)
        )

    def metadata(self) -> dict[str, Any]:
        """The collection's metadata; empty if it has none."""
        return dict(self.info().config.metadata or {})

    # Reading

    def page(
        self,
        offset: PointId | None,
        filter: models.Filter | None = None,  # noqa: A002 - Qdrant's word
        *,
        vectors: Sequence[str] = (),
        limit: int = POINTS_AT_ONCE,
    ) -> tuple[list[AnyPoint], PointId | None]:
        """Points in the order of their ids, and the id at which the next page begins."""
        records, following = self.call(
            "reading points",
            lambda: self.client.scroll(
                self.collection,
                scroll_filter=filter,
                limit=limit,
                offset=offset,
                with_payload=True,
                with_vectors=_wanted(vectors),
            ),
        )
        return [_point(record) for record in records], following  # type: ignore[return-value]

    def scan(
        self,
        filter: models.Filter | None = None,  # noqa: A002
        *,
        vectors: Sequence[str] = (),
    ) -> Iterator[AnyPoint]:
        """All points that satisfy a filter, in the order of their ids."""
        offset: PointId | None = None
        while True:
            points, offset = self.page(offset, filter, vectors=vectors)
            yield from points
            if offset is None:
                return

    def read(
        self, ids: Sequence[PointId], *, vectors: Sequence[str] = ()
    ) -> dict[PointId, AnyPoint]:
        """Points by id, for the ids that are there."""
        found: dict[PointId, AnyPoint] = {}
        for part in in_parts(list(ids), POINTS_AT_ONCE):
            records = self.call(
                "reading points",
                lambda part=part: self.client.retrieve(  # type: ignore[misc]
                    self.collection, part, with_payload=True, with_vectors=_wanted(vectors)
                ),
            )
            found |= {point.id: point for point in map(_point, records)}
        return found

    def count(self, filter: models.Filter | None = None) -> int:  # noqa: A002
        """Points that satisfy a filter, counted exactly."""
        counted = self.call(
            "counting points",
            lambda: self.client.count(self.collection, count_filter=filter, exact=True),
        )
        return int(counted.count)

    # Writing

    def insert(self, points: Sequence[models.PointStruct]) -> None:
        """Write points whose ids are not there; the others stay as they are."""
        write_points(
            points,
            lambda part: self.call(
                "writing points",
                lambda: self.client.upsert(
                    self.collection,
                    part,
                    wait=True,
                    update_mode=models.UpdateMode.INSERT_ONLY,
                ),
            ),
            is_local=is_local(self.client),
        )

    def replace(self, points: Sequence[models.PointStruct]) -> None:
        """Write points, or replace those of the same id."""
        self.call(
            "writing points",
            lambda: self.client.upsert(self.collection, list(points), wait=True),
        )

    def delete(self, ids: Sequence[PointId]) -> None:
        """Delete points; ids that are not there are fine."""
        for part in in_parts(list(ids), POINTS_AT_ONCE):
            selector = models.PointIdsList(points=[*part])
            self.call(
                "deleting points",
                lambda selector=selector: self.client.delete(  # type: ignore[misc]
                    self.collection, selector, wait=True
                ),
            )

    def delete_collection(self) -> None:
        """Delete the collection with all its points."""
        self.call("deleting the collection", lambda: self.client.delete_collection(self.collection))


def _wanted(vectors: Sequence[str]) -> bool | list[str]:
    """What to ask for: the vector without a name has none to be asked by."""
    return True if "" in vectors else list(vectors) or False


def _point(record: models.Record) -> AnyPoint:
    vector = record.vector
    vectors: dict[str, Any] = vector if isinstance(vector, dict) else {}
    if isinstance(vector, list):
        vectors = {"": vector}
    return AnyPoint(_id(record.id), record.payload or {}, vectors)


def _id(point_id: object) -> PointId:
    return point_id if isinstance(point_id, int) else str(point_id)
