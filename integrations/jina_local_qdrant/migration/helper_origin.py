"""Points of this helper: documents are rebuilt, and cut anew if chunks are to have another size."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from qdrant_client import models

from jina_local_qdrant.documents import (
    Document,
    PreparedDocument,
    as_ingested,
    check_document,
)
from jina_local_qdrant.errors import InvalidDocumentError, MigrationRefusedError
from jina_local_qdrant.migration.origins import (
    DocumentRef,
    IncompleteDocumentError,
    SourceDocument,
)
from jina_local_qdrant.payload import chunk_payloads, doc_filter, point_id, rebuild
from jina_local_qdrant.store import StoredPoint
from jina_local_qdrant.survey import Survey

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import numpy as np

    from jina_local_qdrant.migration.points import AnyPoint, PointId
    from jina_local_qdrant.splitting import DocumentSplitter

__all__ = ["HelperOrigin"]


@dataclass(frozen=True, slots=True)
class HelperOrigin:
    """See `Origin`: documents are rebuilt, and cut anew if chunks are to have another size.

    Attributes:
        splitter: Cuts documents that brought no spans; `None` keeps the chunks as they are.
        fp: The beginning of the target's fingerprint, carried by every point.
    """

    splitter: DocumentSplitter | None
    fp: str
    visited: models.Filter = field(
        default_factory=lambda: models.Filter(
            must=[models.FieldCondition(key="chunk_index", match=models.MatchValue(value=0))]
        )
    )

    def ref(self, point: AnyPoint) -> DocumentRef:
        """The document that the point is a chunk of."""
        doc_id = point.payload.get("doc_id")
        if not isinstance(doc_id, str):
            msg = f"point {point.id!r} was not written by this helper: move it elsewhere first"
            raise MigrationRefusedError(msg)
        return DocumentRef("document", doc_id, point.payload.get("tenant"))

    def is_migrated(self, point: AnyPoint) -> bool:  # noqa: ARG002 - every one is
        """Always."""
        return True

    def check_text(self, point: AnyPoint) -> None:
        """Nothing: this helper ingests blank texts, too."""

    def refs_of_id(self, doc_id: str | int, tenant: str | None) -> list[DocumentRef]:
        """The tenant's document of this id."""
        return [DocumentRef("document", doc_id, tenant)]

    def filter(self, refs: Iterable[DocumentRef]) -> models.Filter:
        """All points of some documents."""
        names: dict[str | None, list[str]] = defaultdict(list)
        for ref in refs:
            names[ref.tenant].append(str(ref.name))
        return models.Filter(should=[doc_filter(of, tenant) for tenant, of in names.items()])

    def counterpart(self, point: AnyPoint) -> PointId:
        """The first chunk of the same document."""
        ref = self.ref(point)
        return point_id(str(ref.name), 0, ref.tenant)

    def agrees(self, point: AnyPoint, counterpart: AnyPoint) -> bool:
        """Whether they are of the same version of the document, and it is whole."""
        return _version(point) == _version(counterpart) and None not in _version(point)

    def document(self, ref: DocumentRef, points: Sequence[AnyPoint]) -> SourceDocument:
        """The document as it was ingested, with the chunks that it will have."""
        points = sorted(points, key=lambda point: point.payload.get("chunk_index") or 0)
        head = points[0].payload
        whole = head.get("chunk_index") == 0 and head.get("n_chunks") == len(points)
        if not whole or len({_version(point) for point in points} | {(None, None)}) != 2:  # noqa: PLR2004
            msg = (
                f"document {ref.name!r} is not complete in the source, which an interrupted "
                "ingestion leaves behind: ingest it again there, or delete it"
            )
            raise IncompleteDocumentError(msg)
        prepared = self._prepared(ref, points)
        return SourceDocument(
            ref=ref,
            text=prepared.text,
            spans=prepared.spans,
            ids=tuple(
                point_id(str(ref.name), index, ref.tenant) for index in range(len(prepared.spans))
            ),
            points=tuple(points),
            prepared=prepared,
        )

    def payloads(self, document: SourceDocument, token_counts: np.ndarray) -> list[dict[str, Any]]:
        """This helper's payloads, with the target's fingerprint."""
        if document.prepared is None:
            msg = "only documents of this helper have this helper's payloads"
            raise TypeError(msg)
        return chunk_payloads(
            document.prepared, token_counts, fp=self.fp, tenant=document.ref.tenant
        )

    def holds(self, document: SourceDocument, found: Mapping[PointId, AnyPoint]) -> bool:
        """Whether they are its chunks, of this version and made in the target's way."""
        wanted = {_version(point) for point in document.points}
        return found.keys() == set(document.ids) and all(
            {_version(point)} == wanted and point.payload.get("fp") == self.fp
            for point in found.values()
        )

    def incomplete(self, points: Iterable[AnyPoint]) -> list[DocumentRef]:
        """Those that have not the chunks that their first one promises."""
        survey = Survey(self.fp, size=0)
        for point in points:
            survey.add(StoredPoint(str(point.id), point.payload, None), is_deep=False)
        found = survey.keys(lambda document: document.is_foreign or not document.is_complete)
        return [DocumentRef("document", key.doc_id, key.tenant) for key in found]

    def _prepared(self, ref: DocumentRef, points: Sequence[AnyPoint]) -> PreparedDocument:
        head = points[0].payload
        try:
            text, spans = rebuild([point.payload for point in points])
            rebuilt = Document(id=str(ref.name), text=text, metadata=head["meta"], spans=spans)
            checked = check_document(as_ingested(rebuilt, head["doc_hash"]), 0)
        except (InvalidDocumentError, LookupError, TypeError) as error:
            msg = f"document {ref.name!r} cannot be rebuilt from its chunks: {error}"
            raise MigrationRefusedError(msg) from error
        if checked.doc_hash != head["doc_hash"]:
            msg = (
                f"the text of document {ref.name!r} is not the one that was ingested; it was "
                "changed by something else: ingest it again in the source"
            )
            raise MigrationRefusedError(msg)
        if checked.spans is not None or self.splitter is None:
            return PreparedDocument.of(checked, spans)
        uncut = Document(id=checked.doc_id, text=text, metadata=checked.metadata)
        return PreparedDocument.of(checked, self.splitter.spans(uncut))


def _version(point: AnyPoint) -> tuple[object, object]:
    return point.payload.get("doc_hash"), point.payload.get("meta_hash")
