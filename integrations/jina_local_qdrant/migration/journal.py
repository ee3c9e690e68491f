"""What a migration remembers: a small collection without vectors, beside the target.

It is where the target is, so that processes on several machines share it, and every note is a
point of its own, so that none overwrites another's.
"""

from __future__ import annotations

import json
import uuid
from typing import TYPE_CHECKING, Any

from qdrant_client import models

from jina_local_qdrant.errors import MigrationRefusedError, StoreRefusedError
from jina_local_qdrant.migration.origins import DocumentRef
from jina_local_qdrant.migration.points import Points

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from qdrant_client import QdrantClient

    from jina_local_qdrant.retries import RetryPolicy

__all__ = ["Journal"]

_NAMESPACE = uuid.UUID("0c9d5a36-3a0c-5f0b-9b56-2d2f4c7d5f10")
_STATE_ID = str(uuid.uuid5(_NAMESPACE, "state"))
_VERSION = 1


class Journal:
    """The notes of one migration.

    Args:
        client: The client of source and target.
        target: Name of the target.
        retries: How long a server that does not answer is asked again.
    """

    def __init__(
        self, client: QdrantClient, target: str, retries: RetryPolicy | None = None
    ) -> None:
        self._points = Points(client, f"{target}-migration", retries)
        self._target = target

    @property
    def collection(self) -> str:
        """The name of the collection that holds the notes."""
        return self._points.collection

    def state(self) -> dict[str, Any] | None:
        """What is known of the migration; `None` if it has not begun.

        Raises:
            MigrationRefusedError: If another version of this package has begun it, or something
                else is where its notes should be.
        """
        if not self._points.exists():
            return None
        found = self._points.read([_STATE_ID]).get(_STATE_ID)
        if found is None:
            self._check_empty()
            return None
        state: dict[str, Any] = json.loads(found.payload["state"])
        if state.get("version") != _VERSION:
            msg = (
                f"the migration to {self._target!r} was begun by another version of jina-local "
                f"(its journal, {self.collection!r}, has version {state.get('version')!r}, not "
                f"{_VERSION}): finish it with that version, or delete both collections"
            )
            raise MigrationRefusedError(msg)
        return state

    def _check_empty(self) -> None:
        if self._points.count():
            msg = (
                f"collection {self.collection!r} is where a migration to {self._target!r} keeps "
                "its notes, and it holds points of something else: choose another name for the "
                "new collection"
            )
            raise MigrationRefusedError(msg)

    def begin(self, state: dict[str, Any]) -> dict[str, Any]:
        """Write down what will not change."""
        if not self._points.exists():
            try:
                self._points.call(
                    "creating the journal",
                    lambda: self._points.client.create_collection(
                        self.collection, vectors_config={}
                    ),
                )
            except StoreRefusedError:  # it is there after a try whose answer was lost
                if not self._points.exists():
                    raise
        state = {"version": _VERSION, **state}
        self._write(state)
        return state

    def update(self, changes: Mapping[str, Any]) -> dict[str, Any]:
        """Replace some keys of the state; one process at a time."""
        state = {**(self.state() or {}), **changes}
        self._write(state)
        return state

    def mark(self, refs: Iterable[DocumentRef]) -> None:
        """Note documents that are about to be written or deleted in the source."""
        points = [_mark(ref) for ref in refs]
        if points:
            self._points.replace(points)

    def marked(self) -> Iterator[DocumentRef]:
        """All documents that were noted."""
        for point in self._points.scan():
            if "ref" in point.payload:
                yield DocumentRef(*json.loads(point.payload["ref"]))

    def marked_among(self, refs: Sequence[DocumentRef]) -> list[DocumentRef]:
        """Those of some documents that were noted."""
        by_id = {_id(ref): ref for ref in refs}
        found = self._points.read(list(by_id))
        return [ref for id_, ref in by_id.items() if id_ in found]

    def remove(self) -> None:
        """Forget everything."""
        self._points.delete_collection()

    def _write(self, state: dict[str, Any]) -> None:
        content = {"state": json.dumps(state)}  # as JSON, for stores drop what is null
        self._points.replace([models.PointStruct(id=_STATE_ID, vector={}, payload=content)])


def _mark(ref: DocumentRef) -> models.PointStruct:
    return models.PointStruct(id=_id(ref), vector={}, payload={"ref": json.dumps(ref)})


def _id(ref: DocumentRef) -> str:
    return str(uuid.uuid5(_NAMESPACE, json.dumps(ref)))
