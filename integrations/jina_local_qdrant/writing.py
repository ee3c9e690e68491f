"""The order of writes that makes an interrupted run visible to the next one.

A document's first chunk, its head, is the commit mark: it carries the hashes by which the next run
knows the document as complete and unchanged. The head is made invalid before anything else of the
document changes, and written last. Chunks are written in ascending order and deleted in descending
order, so that as long as there is any chunk beside the head, there is a head or a chunk 1 to find
the others by.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from jina_local_qdrant.errors import ConcurrentWriteError, StoreRefusedError
from jina_local_qdrant.payload import (
    HEAD_KEYS,
    chunk_payloads,
    doc_filter,
    metadata_keys,
    point_id,
)
from jina_local_qdrant.store import Point

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from jina_local_qdrant.documents import CheckedDocument, PreparedDocument
    from jina_local_qdrant.embedding import EmbeddedDocument
    from jina_local_qdrant.store import Store

__all__ = ["DocumentWriter"]

_BEING_WRITTEN = {"doc_hash": None, "meta_hash": None}


@dataclass(frozen=True, slots=True)
class DocumentWriter:
    """Writes and deletes documents.

    Attributes:
        store: Where to.
        fp: The fingerprint's beginning, carried by every point.
        tenant: The tenant, if the helper has one.
    """

    store: Store
    fp: str
    tenant: str | None

    def write(
        self, documents: Sequence[PreparedDocument], embedded: Sequence[EmbeddedDocument]
    ) -> int:
        """Replace documents by these versions.

        Returns:
            Chunks written.

        Raises:
            ConcurrentWriteError: If another process wrote one of them in between.
        """
        heads, others = [], []
        for document, chunks in zip(documents, embedded, strict=True):
            head, *rest = self._points(document, chunks)
            heads.append(head)
            others += rest
        new_ids = {point.id for point in (*heads, *others)}
        with self.store.exclusive():
            old = self._old_points([document.doc_id for document in documents])
            old_heads = [head.id for head in heads if old.get(head.id) == 0]
            self._set_payload(old_heads, _BEING_WRITTEN)
            self.store.upsert(others)
            self._delete({id_: index for id_, index in old.items() if id_ not in new_ids})
            self.store.upsert(heads)
            self._refuse_mixtures({d.doc_id: _Version.of(d, len(d.spans)) for d in documents})
        return len(heads) + len(others)

    def write_metadata(self, document: CheckedDocument) -> bool:
        """Replace the metadata of a document whose text is unchanged.

        Returns:
            Whether it could be: not if it is no longer there, whole and with this text, and then
            nothing is changed.

        Raises:
            ConcurrentWriteError: If another process wrote it in between.
        """
        with self.store.exclusive():
            ids = self._whole(document)
            if not ids:
                return False
            self._set_payload(ids[:1], {"meta_hash": None})
            self._set_payload(ids[1:], metadata_keys(document))
            self._set_payload(ids[:1], metadata_keys(document))
            self._refuse_mixtures({document.doc_id: _Version.of(document, len(ids))})
        return True

    def delete(self, doc_ids: Sequence[str]) -> int:
        """Delete documents with all that is left of them; the number of points."""
        with self.store.exclusive():
            old = self._scan(doc_ids)
            heads = [id_ for id_, index in old.items() if not index]
            self.store.delete(heads)
            self._delete({id_: index for id_, index in old.items() if index})
        return len(old)

    def _points(self, document: PreparedDocument, chunks: EmbeddedDocument) -> list[Point]:
        payloads = chunk_payloads(document, chunks.token_counts, fp=self.fp, tenant=self.tenant)
        return [
            Point(point_id(document.doc_id, index, self.tenant), vector, payload)
            for index, (vector, payload) in enumerate(zip(chunks.vectors, payloads, strict=True))
        ]

    def _old_points(self, doc_ids: Sequence[str]) -> dict[str, int]:
        """Every point of these documents that is there, with its chunk's number.

        A server finds them by its index. Where a filter looks at every point, only documents are
        looked for that left something to find them by.
        """
        if not self.store.is_local:
            return self._scan(doc_ids)
        marks = {
            point_id(doc_id, index, self.tenant): doc_id for doc_id in doc_ids for index in (0, 1)
        }
        found = self.store.retrieve(list(marks), keys=["doc_id"])
        return self._scan(list(dict.fromkeys(marks[id_] for id_ in found)))

    def _whole(self, document: CheckedDocument) -> list[str]:
        """The points of a document, if all are there and of its text; otherwise none."""
        head = point_id(document.doc_id, 0, self.tenant)
        n_chunks = self.store.retrieve([head], ["n_chunks"]).get(head, {}).get("n_chunks")
        if not isinstance(n_chunks, int):
            return []
        ids = [point_id(document.doc_id, index, self.tenant) for index in range(n_chunks)]
        keys = ("n_chunks", "doc_hash", "fp")
        found = self.store.retrieve(ids, keys)
        expected = (n_chunks, document.doc_hash, self.fp)
        versions = [tuple(found.get(id_, {}).get(key) for key in keys) for id_ in ids]
        return ids if all(version == expected for version in versions) else []

    def _set_payload(self, ids: Sequence[str], payload: dict[str, Any]) -> None:
        """Replace payload keys of points that were there a moment ago."""
        try:
            self.store.set_payload(ids, payload)
        except StoreRefusedError as error:
            missing = set(ids) - self.store.retrieve(ids, []).keys()
            if not missing:
                raise
            msg = (
                f"{len(missing)} points, as {min(missing)!r}, were deleted by another process at "
                "the same time: let one process own a document, and ingest again"
            )
            raise ConcurrentWriteError(msg) from error

    def _scan(self, doc_ids: Sequence[str]) -> dict[str, int]:
        if not doc_ids:
            return {}
        points = self.store.scan(doc_filter(doc_ids, self.tenant), keys=["chunk_index"])
        indexes = ((point.id, point.payload.get("chunk_index")) for point in points)
        return {id_: index for id_, index in indexes if isinstance(index, int)}

    def _delete(self, points: dict[str, int]) -> None:
        """Delete points from the last chunk to the first."""
        self.store.delete(sorted(points, key=lambda id_: points[id_], reverse=True))

    def _refuse_mixtures(self, written: Mapping[str, _Version]) -> None:
        """Two processes on one server may write one document at once: then no version is whole.

        Whoever is last finds what the other did. A document that is not whole loses its commit
        mark, so that the next run writes it again. (One case stays open: the other process has
        taken the mark away, has not written yet, and is killed while it writes.)
        """
        if self.store.is_local:
            return
        found: dict[str, list[object]] = {doc_id: [] for doc_id in written}
        for point in self.store.scan(doc_filter(list(written), self.tenant), keys=HEAD_KEYS):
            keys = ("chunk_index", "doc_hash", "meta_hash")
            found[point.payload["doc_id"]].append(tuple(point.payload.get(key) for key in keys))
        mixed = [doc_id for doc_id in written if not written[doc_id].is_all_of(found[doc_id])]
        if mixed:
            heads = self.store.retrieve([point_id(doc_id, 0, self.tenant) for doc_id in mixed], [])
            self._set_payload(list(heads), _BEING_WRITTEN)
            msg = (
                f"document {mixed[0]!r}"
                + (f" and {len(mixed) - 1} others were" if len(mixed) > 1 else " was")
                + " written by another process at the same time: let one process own a document, "
                "and ingest again"
            )
            raise ConcurrentWriteError(msg)


@dataclass(frozen=True, slots=True)
class _Version:
    """What the chunks of a document carry when all of them are of one version."""

    n_chunks: int
    doc_hash: str
    meta_hash: str

    @classmethod
    def of(cls, document: CheckedDocument | PreparedDocument, n_chunks: int) -> _Version:
        return cls(n_chunks, document.doc_hash, document.meta_hash)

    def is_all_of(self, chunks: Sequence[object]) -> bool:
        """Whether these (index, doc_hash, meta_hash) are this version, whole and nothing else."""
        whole = {(index, self.doc_hash, self.meta_hash) for index in range(self.n_chunks)}
        return len(chunks) == self.n_chunks and set(chunks) == whole
