"""Points of any collection: payloads say what a chunk is part of, and stay as they are."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from qdrant_client import models

from jina_local.stitching import stitch
from jina_local_qdrant.errors import MigrationRefusedError
from jina_local_qdrant.migration.origins import DocumentRef, SourceDocument

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import numpy as np

    from jina_local_qdrant.migration.fields import ChunkFields, PayloadFields
    from jina_local_qdrant.migration.points import AnyPoint, PointId

__all__ = ["PayloadOrigin"]

_LEAST_OVERLAP = 16  # where chunks may overlap, and none says whether it does


@dataclass(frozen=True, slots=True)
class PayloadOrigin:
    """See `Origin`: points keep their ids and payloads.

    Attributes:
        fields: Where text, document and order are.
        together: Whether the chunks of a document are put together again.
        leaves_out: Whether points without a text stay behind.
    """

    fields: PayloadFields
    together: bool
    leaves_out: bool = False
    visited: None = None

    def ref(self, point: AnyPoint) -> DocumentRef:
        """The document that the payload names, or the point itself."""
        document = self.fields.read(point.payload).document if self.together else None
        if document is None:
            return DocumentRef("point", point.id)
        return DocumentRef("document", document)

    def is_migrated(self, point: AnyPoint) -> bool:
        """Whether a point has a text, if those without one are left out."""
        return not self.leaves_out or bool((self.fields.read(point.payload).text or "").strip())

    def check_text(self, point: AnyPoint) -> None:
        """Refuse a point without a text, or with a blank one."""
        self._text(point, self.fields.read(point.payload))

    def refs_of_id(
        self,
        doc_id: str | int,
        tenant: str | None,  # noqa: ARG002 - payloads of other origins know none
    ) -> list[DocumentRef]:
        """The document of this name, and the point of this id."""
        refs = [DocumentRef("document", doc_id)] if self.together else []
        return [*refs, DocumentRef("point", doc_id)] if _is_point_id(doc_id) else refs

    def filter(self, refs: Iterable[DocumentRef]) -> models.Filter:
        """All points of some documents."""
        refs = list(refs)
        ids: list[Any] = [ref.name for ref in refs if ref.kind == "point"]
        names = [ref.name for ref in refs if ref.kind == "document"]
        conditions: list[Any] = [models.HasIdCondition(has_id=ids)] if ids else []
        for values in (
            [name for name in names if isinstance(name, str)],
            [name for name in names if not isinstance(name, str)],
        ):
            if values:
                match = models.MatchAny(any=values)
                conditions.append(models.FieldCondition(key=self._document, match=match))
        return models.Filter(should=conditions)

    def counterpart(self, point: AnyPoint) -> PointId:
        """The point of the same id."""
        return point.id

    def agrees(self, point: AnyPoint, counterpart: AnyPoint) -> bool:
        """Whether the payloads are equal."""
        return point.payload == counterpart.payload

    def document(self, ref: DocumentRef, points: Sequence[AnyPoint]) -> SourceDocument:
        """The chunks in order, put together as far as they and their offsets say."""
        read = [(point, self.fields.read(point.payload)) for point in points]
        if ref.kind == "document" and len(points) > 1:
            read = _in_order(ref, self.fields, read)
        texts = [self._text(point, chunk) for point, chunk in read]
        stitched = stitch(
            texts,
            [chunk.start for _, chunk in read],
            overlapping=[chunk.overlaps for _, chunk in read],
            least_overlap=_LEAST_OVERLAP if self.fields.overlaps is True else 1,
        )
        return SourceDocument(
            ref=ref,
            text=stitched.text,
            spans=stitched.spans,
            ids=tuple(point.id for point, _ in read),
            points=tuple(point for point, _ in read),
        )

    def payloads(
        self,
        document: SourceDocument,
        token_counts: np.ndarray,  # noqa: ARG002 - they are not recorded
    ) -> list[dict[str, Any]]:
        """The payloads that the points have."""
        return [point.payload for point in document.points]

    def holds(self, document: SourceDocument, found: Mapping[PointId, AnyPoint]) -> bool:
        """Whether they are the same points, with the same payloads."""
        return found.keys() == set(document.ids) and all(
            found[point.id].payload == point.payload for point in document.points
        )

    def incomplete(
        self,
        points: Iterable[AnyPoint],  # noqa: ARG002 - see below
    ) -> list[DocumentRef]:
        """None: points of other origins do not know of each other."""
        return []

    @property
    def _document(self) -> str:
        return self.fields.document or ""

    def _text(self, point: AnyPoint, chunk: ChunkFields) -> str:
        if chunk.text is None or not chunk.text.strip():
            what = "no text" if chunk.text is None else "a blank text"
            msg = (
                f"point {point.id!r} has {what} in payload field {self.fields.text!r}: mend or "
                "delete it, or leave such points out with without_text='leave_out'"
            )
            raise MigrationRefusedError(msg)
        return chunk.text


def _in_order(
    ref: DocumentRef, fields: PayloadFields, read: list[tuple[AnyPoint, ChunkFields]]
) -> list[tuple[AnyPoint, ChunkFields]]:
    """Chunks by what each says is before it if that is one chain, or else by their numbers.

    Where stores write both, numbers are offsets that splitters got by looking for the text.
    """
    linked = _linked(read) if fields.previous is not None else None
    if linked is not None:
        return linked
    orders = [chunk.order for _, chunk in read]
    if None not in orders and len(set(orders)) == len(orders):
        return sorted(read, key=lambda pair: pair[1].order or 0)
    names = " and ".join(repr(path) for path in (fields.order, fields.previous) if path)
    msg = (
        f"document {ref.name!r} has {len(read)} chunks, which payload fields {names} do not put "
        f"into one order ({_shortened(orders)}): mend them, or ask for chunks without their "
        "context with EmbeddingSpec(late_chunking=False)"
    )
    raise MigrationRefusedError(msg)


def _linked(
    read: list[tuple[AnyPoint, ChunkFields]],
) -> list[tuple[AnyPoint, ChunkFields]] | None:
    """Chunks from the one that follows none of them on; `None` if that is no single chain."""
    by_id = {str(point.id): (point, chunk) for point, chunk in read}
    following = {chunk.previous: str(point.id) for point, chunk in read}
    firsts = [str(point.id) for point, chunk in read if chunk.previous not in by_id]
    if len(firsts) != 1 or len(following) != len(read):
        return None
    chain: list[str] = []
    at: str | None = firsts[0]
    while at is not None:
        chain.append(at)
        at = following.get(at)
    return [by_id[name] for name in chain] if len(chain) == len(read) else None


def _shortened(orders: Sequence[object]) -> str:
    shown = ", ".join(map(str, orders[:8]))
    return shown + ", …" if len(orders) > 8 else shown  # noqa: PLR2004 - enough to see it


def _is_point_id(name: str | int) -> bool:
    if isinstance(name, int):
        return name >= 0
    try:
        uuid.UUID(name)
    except ValueError:
        return False
    return True
