"""Writes that go on while a collection moves: into the old one, and from there into the new one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import is_dataclass
from typing import TYPE_CHECKING, Protocol

from jina_local_qdrant.documents import check_iterable
from jina_local_qdrant.errors import InvalidDocumentError
from jina_local_qdrant.migration.moving import MoveReport

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from jina_local_qdrant.migration.migration import Migration

__all__ = ["DualWriter", "OldWriter"]

_DOCUMENTS_AT_ONCE = 64


class OldWriter(Protocol):
    """What writes the old collection, with its own model: a `JinaQdrant`, or code of yours."""

    def ingest(self, documents: list[object], /) -> object:
        """Write documents, replacing those of the same ids."""

    def delete(self, doc_ids: list[str], /) -> object:
        """Delete documents."""


class DualWriter:
    """Ingest and delete in both collections of a migration.

    The old collection stays the one that is right: documents are written there first, by what has
    always written them, and then made the same in the new one. Before anything is written, the
    documents are noted in the migration's journal, and brought again before the switch. So it is
    safe to kill this at any moment, and to use it while the migration runs elsewhere.

    Args:
        migration: The migration; it may run in another process.
        old: Writes the old collection.
    """

    def __init__(self, migration: Migration, old: OldWriter) -> None:
        self._migration = migration
        self._old = old
        self._tenant: str | None = getattr(old, "tenant", None)

    def ingest(self, documents: Iterable[object]) -> MoveReport:
        """Write documents into both collections.

        Args:
            documents: What the old writer takes: mappings or objects with an `id`, by which the
                payloads of their points name the document, or which is a point's id.

        Returns:
            What was done in the new collection.

        Raises:
            InvalidDocumentError: If a document has no id.
            MigrationRefusedError: If the migration has not begun, or is finished.
        """
        self._migration.check_under_way()
        report = MoveReport()
        for part in _parts(check_iterable(documents)):
            ids = [_id(document) for document in part]
            self._migration.note(ids, self._tenant)
            self._old.ingest(part)
            report += self._migration.follow(ids, self._tenant)
        return report

    def delete(self, doc_ids: str | Sequence[str]) -> MoveReport:
        """Delete documents from both collections.

        Returns:
            What was done in the new collection.

        Raises:
            MigrationRefusedError: If the migration has not begun, or is finished.
        """
        self._migration.check_under_way()
        ids = [doc_ids] if isinstance(doc_ids, str) else list(doc_ids)
        self._migration.note(ids, self._tenant)
        self._old.delete(ids)
        return self._migration.follow(ids, self._tenant)


def _parts(documents: Iterable[object]) -> Iterator[list[object]]:
    part: list[object] = []
    for document in documents:
        part.append(document)
        if len(part) == _DOCUMENTS_AT_ONCE:
            yield part
            part = []
    if part:
        yield part


def _id(document: object) -> str | int:
    content = document if isinstance(document, Mapping) else {"id": getattr(document, "id", None)}
    found = content.get("id")
    if isinstance(found, bool) or not isinstance(found, str | int) or found == "":
        kind = "dataclass" if is_dataclass(document) else type(document).__name__
        msg = f"a {kind} has id {found!r}; an id is a non-empty string, or a point's integer"
        raise InvalidDocumentError(msg)
    return found
