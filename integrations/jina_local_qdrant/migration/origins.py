"""How points of a collection of some origin make documents, and what becomes of them.

There are two origins: `HelperOrigin`, a collection that this helper wrote, of which whole documents
are known; and `PayloadOrigin`, any other one, of which payloads say what a chunk is part of.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol

from jina_local_qdrant.errors import MigrationRefusedError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import numpy as np
    from qdrant_client import models

    from jina_local_qdrant.documents import PreparedDocument
    from jina_local_qdrant.migration.points import AnyPoint, PointId

__all__ = [
    "DocumentRef",
    "IncompleteDocumentError",
    "Origin",
    "SourceDocument",
    "group_points",
]

Span = tuple[int, int]


class DocumentRef(NamedTuple):
    """What the points of one document are found by.

    Attributes:
        kind: "document": by the payload's name of it; "point": it is one point, of this id.
        name: The name or the id.
        tenant: Whose document, in a collection that is shared by tenants.
    """

    kind: Literal["document", "point"]
    name: str | int
    tenant: str | None = None


class IncompleteDocumentError(MigrationRefusedError):
    """A document that is being written at this moment, or was left half written."""


@dataclass(frozen=True, slots=True, eq=False)
class SourceDocument:
    """A document as it is in the source, with the points that it will be in the target.

    Attributes:
        ref: Which one.
        text: Its text.
        spans: Its chunks, (start, stop) in the text.
        ids: Id of each chunk's point in the target; the last one written is the first.
        origin: What makes the payloads.
        points: Its points in the source, in the order of the chunks if there are as many.
        prepared: The document as this helper ingests it, if it wrote the source.
    """

    ref: DocumentRef
    text: str
    spans: tuple[Span, ...]
    ids: tuple[PointId, ...]
    points: tuple[AnyPoint, ...]
    prepared: PreparedDocument | None = None


class Origin(Protocol):
    """What depends on who wrote the source.

    Attributes:
        visited: Of which points all documents are found; all points if `None`.
    """

    @property
    def visited(self) -> models.Filter | None:
        """See above."""

    def ref(self, point: AnyPoint) -> DocumentRef:
        """The document that a point is part of."""

    def is_migrated(self, point: AnyPoint) -> bool:
        """Whether a point is part of the migration at all."""

    def check_text(self, point: AnyPoint) -> None:
        """Refuse a point without a text.

        Raises:
            MigrationRefusedError: If it has none.
        """

    def refs_of_id(self, doc_id: str | int, tenant: str | None) -> list[DocumentRef]:
        """What documents a caller can mean by an id."""

    def filter(self, refs: Iterable[DocumentRef]) -> models.Filter:
        """All points of some documents."""

    def counterpart(self, point: AnyPoint) -> PointId:
        """The point of the other collection that tells whether this one is done."""

    def agrees(self, point: AnyPoint, counterpart: AnyPoint) -> bool:
        """Whether a point is done."""

    def document(self, ref: DocumentRef, points: Sequence[AnyPoint]) -> SourceDocument:
        """A document from all of its points.

        Raises:
            MigrationRefusedError: If they make no document.
        """

    def payloads(self, document: SourceDocument, token_counts: np.ndarray) -> list[dict[str, Any]]:
        """What each chunk's point in the target carries."""

    def holds(self, document: SourceDocument, found: Mapping[PointId, AnyPoint]) -> bool:
        """Whether these points of the target are the document, whole and nothing else."""

    def incomplete(self, points: Iterable[AnyPoint]) -> list[DocumentRef]:
        """The documents of which not everything is among all points of the target.

        Only those of which other points than the missing ones say so.
        """


def group_points(origin: Origin, points: Iterable[AnyPoint]) -> dict[DocumentRef, list[AnyPoint]]:
    """Points by document, in their order."""
    grouped: dict[DocumentRef, list[AnyPoint]] = defaultdict(list)
    for point in points:
        grouped[origin.ref(point)].append(point)
    return grouped
