"""Make documents of the target what they are in the source.

One step is all there is: `Mover.bring`. It reads documents on both sides, embeds those that differ,
takes their old points out of the target and inserts the new ones. Whoever calls it, however often,
and wherever it was interrupted, the source is right and the target follows:

- A document is embedded whole, since late chunking gives every chunk the context of all others. So
  if anything of it differs, all of its points are taken out before the first is inserted: points
  of two versions are never together, not even after a crash.
- A document's first point is taken out first and inserted last: while it is missing, everyone sees
  that the document is not done, whatever half of the others a request has reached.
- Points are inserted only where there is none. Who brings an old version cannot overwrite what
  another process has brought meanwhile.
- A `DualWriter` notes a document in the journal before it writes the source. Who brings looks into
  the journal after writing, and reads noted documents again. So of two that bring one document,
  whoever has read the older version finds out. (One case stays open: it is killed before it does,
  between two insertions into which the other's fell.)
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from jina_local_qdrant.embedding import embed_documents_of
from jina_local_qdrant.errors import ConcurrentWriteError
from jina_local_qdrant.migration.origins import (
    DocumentRef,
    IncompleteDocumentError,
    Origin,
    SourceDocument,
    group_points,
)
from jina_local_qdrant.store import in_parts

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from qdrant_client import models

    from jina_local import Engine
    from jina_local_qdrant.embedding import EmbeddedDocument
    from jina_local_qdrant.migration.journal import Journal
    from jina_local_qdrant.migration.points import AnyPoint, PointId, Points
    from jina_local_qdrant.migration.target import TargetWriter
    from jina_local_qdrant.spec import EmbeddingSpec

__all__ = ["MoveReport", "Mover"]

_TRIES = 10
_SECONDS_OF_A_WRITE = 0.05


@dataclass(frozen=True, slots=True)
class MoveReport:
    """What was done.

    Attributes:
        visited: Points of the source that were looked at.
        unchanged: Those of them that were in the target already.
        documents: Documents that were embedded.
        written: Points that were written into the target.
        deleted: Points that were deleted from the target.
        tokens: Tokens that were embedded.
    """

    visited: int = 0
    unchanged: int = 0
    documents: int = 0
    written: int = 0
    deleted: int = 0
    tokens: int = 0

    def __add__(self, other: MoveReport) -> MoveReport:
        names = ("visited", "unchanged", "documents", "written", "deleted", "tokens")
        return MoveReport(**{name: getattr(self, name) + getattr(other, name) for name in names})

    @property
    def changed(self) -> bool:
        """Whether the target is another one now."""
        return bool(self.written or self.deleted)


@dataclass(frozen=True, slots=True)
class Mover:
    """Brings documents from one collection into another.

    Attributes:
        source: The old collection, which is only read.
        target: The new one.
        journal: The migration's notes.
        origin: How points make documents.
        engine: What embeds.
        spec: How.
        writer: Makes the target's points.
        documents_at_once: Documents that are embedded and written together.
    """

    source: Points
    target: Points
    journal: Journal
    origin: Origin
    engine: Engine
    spec: EmbeddingSpec
    writer: TargetWriter
    documents_at_once: int

    def refuse_blank(self) -> None:
        """Look at every text of the source.

        Raises:
            MigrationRefusedError: If one is missing or blank.
        """
        for point in self.source.scan(self.origin.visited):
            if self.origin.is_migrated(point):
                self.origin.check_text(point)

    def follow_source(self, points: Sequence[AnyPoint]) -> MoveReport:
        """Bring the documents of some of the source's points, unless they are there.

        Args:
            points: Points as the origin visits them.
        """
        points = [point for point in points if self.origin.is_migrated(point)]
        missing = self.disagreeing(points, self.target)
        report = MoveReport(visited=len(points), unchanged=len(points) - len(missing))
        return report + self.bring(map(self.origin.ref, missing))

    def follow_target(self, points: Sequence[AnyPoint]) -> MoveReport:
        """Bring the documents of some of the target's points, unless the source has them so.

        What is not in the source any more is deleted.
        """
        return self.bring(map(self.origin.ref, self.disagreeing(points, self.source)))

    def bring(self, refs: Iterable[DocumentRef]) -> MoveReport:
        """Make documents of the target what they are in the source.

        Raises:
            MigrationRefusedError: If points of the source make no document.
            ConcurrentWriteError: If they change faster than they can be brought.
        """
        report = MoveReport()
        for part in in_parts(list(dict.fromkeys(refs)), self.documents_at_once):
            report += self._bring_part(part)
        return report

    def read(
        self, points: Points, refs: Sequence[DocumentRef]
    ) -> dict[DocumentRef, list[AnyPoint]]:
        """The points of some documents, on either side."""
        if not refs:
            return {}
        vectors = self.writer.shape.others if points is self.source else ()
        found = points.scan(self.origin.filter(refs), vectors=vectors)
        migrated = [point for point in found if self.origin.is_migrated(point)]
        grouped = group_points(self.origin, migrated)
        return {ref: grouped[ref] for ref in refs if ref in grouped}

    def disagreeing(self, points: Sequence[AnyPoint], other: Points) -> list[AnyPoint]:
        """Points of one side that the other side does not have so."""
        counterparts = {point.id: self.origin.counterpart(point) for point in points}
        there = other.read(list(dict.fromkeys(counterparts.values())))
        return [
            point
            for point in points
            if (found := there.get(counterparts[point.id])) is None
            or not self.origin.agrees(point, found)
        ]

    def _bring_part(self, refs: Sequence[DocumentRef]) -> MoveReport:
        report = MoveReport()
        waiting = list(refs)
        for attempt in range(_TRIES):
            try:
                documents = self._documents(waiting)
            except IncompleteDocumentError:
                if attempt == _TRIES - 1:
                    raise
                time.sleep(_SECONDS_OF_A_WRITE)
                continue
            report += self._write(waiting, documents)
            waiting = self.journal.marked_among(waiting)
            now = self.read(self.source, waiting)
            waiting = [ref for ref in waiting if _differs(documents.get(ref), now.get(ref))]
            if not waiting:
                return report
        msg = (
            f"document {waiting[0].name!r} was written anew whenever it had been brought, "
            f"{_TRIES} times: pause what writes it, and run again"
        )
        raise ConcurrentWriteError(msg)

    def _documents(self, refs: Sequence[DocumentRef]) -> dict[DocumentRef, SourceDocument]:
        return {
            ref: self.origin.document(ref, points)
            for ref, points in self.read(self.source, refs).items()
        }

    def _write(
        self, refs: Sequence[DocumentRef], documents: dict[DocumentRef, SourceDocument]
    ) -> MoveReport:
        there = {
            ref: {point.id: point for point in points}
            for ref, points in self.read(self.target, refs).items()
        }
        changed = [
            document
            for ref, document in documents.items()
            if not self.origin.holds(document, there.get(ref, {}))
        ]
        embedded = self._embedded(changed)
        changed_refs = {document.ref for document in changed}
        old = [
            point_id
            for ref, points in there.items()
            if ref in changed_refs or ref not in documents
            for point_id in points
        ]
        heads = {document.ids[0] for document in changed}.intersection(old)
        for ref, gone in there.items():
            if ref not in documents:
                heads.add(self.origin.counterpart(next(iter(gone.values()))))
        self.target.delete([*heads])
        self.target.delete([point_id for point_id in old if point_id not in heads])
        points = [
            self._points(document, chunks)
            for document, chunks in zip(changed, embedded, strict=True)
        ]
        self.target.insert([point for _, *others in points for point in others])
        self.target.insert([head for head, *_ in points])
        return MoveReport(
            documents=len(changed),
            written=sum(map(len, points)),
            deleted=len(set(old).difference(point.id for some in points for point in some)),
            tokens=sum(chunks.tokens for chunks in embedded),
        )

    def _embedded(self, documents: Sequence[SourceDocument]) -> list[EmbeddedDocument]:
        if not documents:
            return []
        texts = [(document.text, document.spans) for document in documents]
        return embed_documents_of(self.engine, self.spec, texts)

    def _points(
        self, document: SourceDocument, chunks: EmbeddedDocument
    ) -> list[models.PointStruct]:
        """A document's points, the first of which is written last: it says that all are there."""
        old: dict[PointId, AnyPoint] = {point.id: point for point in document.points}
        payloads = self.origin.payloads(document, chunks.token_counts)
        return [
            self.writer.point(point_id, vector, payload, old.get(point_id))
            for point_id, vector, payload in zip(
                document.ids, chunks.vectors, payloads, strict=True
            )
        ]


def _differs(document: SourceDocument | None, points: Sequence[AnyPoint] | None) -> bool:
    if document is None or points is None:
        return not (document is None and points is None)
    before = {point.id: point.payload for point in document.points}
    return before != {point.id: point.payload for point in points}
