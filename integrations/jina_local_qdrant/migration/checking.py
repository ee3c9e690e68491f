"""Whether the target holds what the source holds, with the vectors that embedding gives."""

from __future__ import annotations

import hashlib
import heapq
import json
import math
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from qdrant_client import models

from jina_local_qdrant.embedding import embed_documents_of
from jina_local_qdrant.errors import FingerprintMismatchError
from jina_local_qdrant.layout import METADATA_KEY
from jina_local_qdrant.sampling import LEAST_COSINE
from jina_local_qdrant.spec import refuse_differences
from jina_local_qdrant.store import in_parts
from jina_local_qdrant.survey import Finding

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from jina_local_qdrant.migration.moving import Mover
    from jina_local_qdrant.migration.origins import DocumentRef
    from jina_local_qdrant.migration.points import AnyPoint, Points

__all__ = ["MigrationCheck", "check_migration"]

_DOCUMENTS_AT_ONCE = 8


@dataclass(frozen=True, slots=True)
class MigrationCheck:
    """Source and target, compared.

    Attributes:
        source_points: Points of the source.
        left_out: Those of them without a text, which stay behind because that was asked for.
        target_points: Points of the target, counted exactly by the store.
        behind: Documents that the target does not have as the source has them.
        extra: Documents of the target that the source does not have.
        without_vector: Points of the target without a vector, counted exactly by the store.
        record: What differs between how the target says that it was made and how it should be.
        sampled: Documents that were embedded again.
        worst_cosine: The lowest similarity of a vector of theirs to the one that embedding gives;
            -1 if one is missing or not finite; `None` if nothing was compared.
        worst_document: The document that it is part of.
        still_indexing: Whether the store is still building its graph.
    """

    source_points: int
    left_out: int
    target_points: int
    behind: Finding = field(default_factory=Finding)
    extra: Finding = field(default_factory=Finding)
    without_vector: int = 0
    record: str = ""
    sampled: int = 0
    worst_cosine: float | None = None
    worst_document: str | None = None
    still_indexing: bool = False

    @property
    def ok(self) -> bool:
        """Whether searches can be sent to the target."""
        return not self.problems()

    def problems(self) -> list[str]:
        """What is wrong and what to do about it, a line for each; empty if nothing is."""
        lines = []
        if self.behind:
            lines.append(
                f"{self.behind.number} documents are not in the new collection as they are in the "
                f"old one: run the migration again ({self.behind})"
            )
        if self.extra:
            lines.append(
                f"{self.extra.number} documents are in the new collection only: run the migration "
                f"again, which deletes them ({self.extra})"
            )
        if self.without_vector:
            lines.append(
                f"{self.without_vector} points of the new collection have no vector: delete the "
                "new collection and its journal, and begin again"
            )
        if self.record:
            lines.append(self.record)
        if self.worst_cosine is not None and self.worst_cosine < LEAST_COSINE:
            lines.append(
                f"a vector of document {self.worst_document!r} has cosine {self.worst_cosine:.4f} "
                f"to the one that embedding its text gives, less than {LEAST_COSINE}: something "
                "else has written into the new collection; delete it and begin again"
            )
        if not self.sampled and not self.behind and self.source_points > self.left_out:
            lines.append("no document was embedded again: verify again when nothing is written")
        return lines

    def as_dict(self) -> dict[str, Any]:
        """JSON values, with the verdict first."""
        return {"ok": self.ok, "problems": self.problems(), **asdict(self)}

    def as_json(self) -> str:
        """The content of a report file."""
        return json.dumps(self.as_dict(), indent=2, ensure_ascii=False) + "\n"


def check_migration(mover: Mover, record: Mapping[str, Any], *, sample: int) -> MigrationCheck:
    """Compare every document of source and target, and embed some of them again.

    Args:
        mover: Knows source and target.
        record: How the target's vectors should have been made.
        sample: Documents that are embedded again, always the same ones.
    """
    origin = mover.origin
    n_source = n_left_out = 0
    behind: dict[DocumentRef, None] = {}
    chosen: dict[DocumentRef, str] = {}
    for points in _pages(mover.source, origin.visited):
        migrated = [point for point in points if origin.is_migrated(point)]
        n_source += len(points)
        n_left_out += len(points) - len(migrated)
        behind |= dict.fromkeys(
            origin.ref(point) for point in mover.disagreeing(migrated, mover.target)
        )
        chosen = _smallest(sample, chosen, (origin.ref(point) for point in migrated))
    extra: dict[DocumentRef, None] = {}
    for points in _pages(mover.target, None):
        found = mover.disagreeing(points, mover.source)
        extra |= {ref: None for ref in map(origin.ref, found) if ref not in behind}
    only_there = set(mover.read(mover.source, list(extra)))
    behind |= dict.fromkeys(ref for ref in extra if ref in only_there)
    behind |= dict.fromkeys(origin.incomplete(mover.target.scan()))
    cosines = _cosines(mover, [ref for ref in chosen if ref not in behind])
    worst = min(cosines, key=lambda ref: cosines[ref], default=None)
    info = mover.target.info()
    return MigrationCheck(
        source_points=mover.source.count(),
        left_out=n_left_out,
        target_points=mover.target.count(),
        behind=_finding(behind),
        extra=_finding(ref for ref in extra if ref not in only_there),
        without_vector=_without_vector(mover.target, mover.writer.vectors),
        record=_differences(mover.target, info, record),
        sampled=len(cosines),
        worst_cosine=None if worst is None else cosines[worst],
        worst_document=None if worst is None else str(worst.name),
        still_indexing=info.status != models.CollectionStatus.GREEN,
    )


def _pages(points: Points, wanted: models.Filter | None) -> Iterable[list[AnyPoint]]:
    offset = None
    while True:
        page, offset = points.page(offset, wanted)
        yield page
        if offset is None:
            return


def _smallest(
    number: int, chosen: dict[DocumentRef, str], refs: Iterable[DocumentRef]
) -> dict[DocumentRef, str]:
    """Those of all documents so far that come first in an order that no name knows."""
    both = chosen | {ref: hashlib.sha256(json.dumps(ref).encode()).hexdigest() for ref in refs}
    return {ref: both[ref] for ref in heapq.nsmallest(number, both, key=lambda ref: both[ref])}


def _cosines(mover: Mover, refs: list[DocumentRef]) -> dict[DocumentRef, float]:
    """The lowest similarity of a stored vector of each document to the one that embedding gives."""
    name = mover.writer.vector
    cosines: dict[DocumentRef, float] = {}
    for part in in_parts(refs, _DOCUMENTS_AT_ONCE):
        documents = [
            mover.origin.document(ref, points)
            for ref, points in mover.read(mover.source, part).items()
        ]
        texts = [(document.text, document.spans) for document in documents]
        for document, fresh in zip(
            documents, embed_documents_of(mover.engine, mover.spec, texts), strict=True
        ):
            stored = mover.target.read(document.ids, vectors=[name])
            cosines[document.ref] = min(
                _cosine(stored[id_].vectors.get(name) if id_ in stored else None, vector)
                for id_, vector in zip(document.ids, fresh.vectors, strict=True)
            )
    return cosines


def _cosine(stored: Any, fresh: np.ndarray) -> float:  # noqa: ANN401 - of either form
    wide = np.asarray([] if stored is None else stored, dtype=np.float64)
    if wide.shape != fresh.shape:
        return -1.0
    cosine = float(wide @ fresh.astype(np.float64)) / (float(np.linalg.norm(wide)) or 1.0)
    return cosine if math.isfinite(cosine) else -1.0


def _finding(refs: Iterable[DocumentRef]) -> Finding:
    return Finding.of(str(ref.name) for ref in refs)


def _without_vector(target: Points, vectors: tuple[str, ...]) -> int:
    conditions: list[Any] = [models.HasVectorCondition(has_vector=name) for name in vectors]
    missing = models.Filter(should=[models.Filter(must_not=[one]) for one in conditions])
    return target.count(missing)


def _differences(target: Points, info: models.CollectionInfo, record: Mapping[str, Any]) -> str:
    stored = (info.config.metadata or {}).get(METADATA_KEY)
    try:
        refuse_differences(
            target.collection, stored if isinstance(stored, dict) else {}, dict(record)
        )
    except FingerprintMismatchError as error:
        return str(error)
    return ""
