"""A collection made the same as a source: what is new or changed is ingested, the rest deleted."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING

from jina_local.errors import InvalidOptionError
from jina_local.inputs import check_flag
from jina_local_qdrant.documents import check_iterable
from jina_local_qdrant.errors import EmptySourceError, TooManyDeletionsError
from jina_local_qdrant.payload import tenant_filter

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from jina_local_qdrant.collection import JinaQdrant
    from jina_local_qdrant.ingestion import IngestReport

__all__ = ["SyncReport", "sync"]

_DELETED_AT_ONCE = 128


@dataclass(frozen=True, slots=True)
class SyncReport:
    """What a synchronization did.

    Attributes:
        ingested: What came from the source.
        deleted_documents: Documents that were there and did not come.
        deleted_chunks: Points that were deleted with them.
    """

    ingested: IngestReport
    deleted_documents: int = 0
    deleted_chunks: int = 0


def sync(
    index: JinaQdrant,
    documents: Iterable[object],
    *,
    delete_missing: bool,
    max_delete_fraction: float,
    progress: Callable[[IngestReport], None] | None,
) -> SyncReport:
    """Ingest a complete source, then delete what was there before and is not in it.

    Keeps 100 bytes per document. Nothing is deleted before the whole source was ingested, nor what
    another process ingests meanwhile.

    Args:
        index: The collection.
        documents: All documents that should be there.
        delete_missing: Whether others are deleted, with whatever interrupted runs left of them.
        max_delete_fraction: The largest share, 0…1, of the documents that were there before that
            may be deleted.
        progress: Called after each batch with the report so far.

    Raises:
        InvalidOptionError: If an option is outside its allowed set.
        EmptySourceError: If the source has no document and missing ones would be deleted.
        TooManyDeletionsError: If more would be deleted than allowed.
    """
    check_flag("delete_missing", delete_missing)
    _check_fraction(max_delete_fraction)
    source = check_iterable(documents)
    if not delete_missing:
        return SyncReport(index.ingest(source, progress=progress))
    before = {_digest(doc_id) for doc_id in _stored_ids(index)}
    came: set[bytes] = set()
    ingested = index.ingest(_remembered(_not_empty(source), came), progress=progress)
    missing = before - came
    _check_deletions(len(missing), len(before), max_delete_fraction)
    return SyncReport(ingested, len(missing), _delete(index, missing))


def _not_empty(documents: Iterable[object]) -> Iterator[object]:
    """The same documents, of which the first is read now."""
    remaining = iter(documents)
    for first in remaining:
        return chain([first], remaining)
    msg = (
        "the source has no document, so that everything would be deleted: see whether it is "
        "the right one; to empty a collection, delete it"
    )
    raise EmptySourceError(msg)


def _remembered(documents: Iterable[object], came: set[bytes]) -> Iterator[object]:
    """The same documents; the digests of their ids are added to `came`."""
    for document in documents:
        if isinstance(document, Mapping):
            doc_id = document.get("id")
        else:
            doc_id = getattr(document, "id", None)
        if isinstance(doc_id, str):  # ingestion says what is wrong with others
            came.add(_digest(doc_id))
        yield document


def _stored_ids(index: JinaQdrant) -> Iterator[str]:
    """The document's id of every point of ours."""
    if not index.store.exists():
        return
    for point in index.store.scan(tenant_filter(index.tenant), keys=["doc_id"]):
        doc_id = point.payload.get("doc_id")
        if isinstance(doc_id, str):
            yield doc_id


def _delete(index: JinaQdrant, missing: set[bytes]) -> int:
    """Delete documents by the digests of their ids; the number of points."""
    if not missing:
        return 0
    found = {doc_id for doc_id in _stored_ids(index) if _digest(doc_id) in missing}
    doc_ids = sorted(found)
    return sum(
        index.delete(doc_ids[start : start + _DELETED_AT_ONCE])
        for start in range(0, len(doc_ids), _DELETED_AT_ONCE)
    )


def _digest(doc_id: str) -> bytes:
    return hashlib.blake2b(doc_id.encode(errors="surrogatepass"), digest_size=16).digest()


def _check_fraction(fraction: float) -> None:
    is_number = isinstance(fraction, int | float) and not isinstance(fraction, bool)
    if not is_number or math.isnan(fraction) or not 0 <= fraction <= 1:
        msg = f"max_delete_fraction is {fraction!r}; give a number in 0…1"
        raise InvalidOptionError(msg)


def _check_deletions(n_missing: int, n_before: int, most: float) -> None:
    if n_missing and n_missing / n_before > most:
        msg = (
            f"{n_missing} of {n_before} documents are missing from the source, more than "
            f"max_delete_fraction = {most:g} allows: nothing was deleted, all that came was "
            f"ingested; if they should go, sync with max_delete_fraction of at least "
            f"{math.ceil(1000 * n_missing / n_before) / 1000:g}"
        )
        raise TooManyDeletionsError(msg)
