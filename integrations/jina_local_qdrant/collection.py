"""A Qdrant collection whose every vector was made the same, recorded way.

Documents can only be embedded as passages and queries only as queries. This class composes; the
work is in the modules that it imports.
"""

from __future__ import annotations

import warnings
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Self

from jina_local.errors import MissingExtraError
from jina_local_qdrant.documents import Document, check_ids, check_iterable
from jina_local_qdrant.errors import CollectionNotFoundError
from jina_local_qdrant.layout import LAYOUT_KEY, CollectionLayout, check_tenant
from jina_local_qdrant.spec import (
    METADATA_KEY,
    EmbeddingSpec,
    checked_record,
    refuse_differences,
    vector_description,
)
from jina_local_qdrant.splitting import DocumentSplitter, make_splitter

try:
    from qdrant_client import models  # noqa: TC002 - says what is not installed
except ModuleNotFoundError as error:
    if error.name != "qdrant_client":
        raise
    msg = "the Qdrant helper needs qdrant-client: pip install 'jina-local[qdrant]'"
    raise MissingExtraError(msg) from error

from jina_local_qdrant.ingestion import DeadLetter, Ingestion, IngestReport, OnError
from jina_local_qdrant.locations import open_store
from jina_local_qdrant.payload import doc_filter, point_id, tenant_filter, written_heads
from jina_local_qdrant.sampling import rebuild_document
from jina_local_qdrant.searching import Hit, search
from jina_local_qdrant.store import COSINE
from jina_local_qdrant.syncing import SyncReport, sync
from jina_local_qdrant.verification import VerifyReport, adopt_record, verify
from jina_local_qdrant.writing import DocumentWriter

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from qdrant_client import QdrantClient

    from jina_local import Engine
    from jina_local_qdrant.retries import RetryPolicy
    from jina_local_qdrant.store import Store

__all__ = ["Hit", "IngestReport", "JinaQdrant", "point_id"]

_FP_LENGTH = 16
_NO_TASK = (
    "task is not chosen here: documents are always embedded as retrieval.passage and queries as "
    "retrieval.query, because vectors of two tasks cannot be searched together; give an adapter of "
    "your own the place of one of them, Engine.load(..., adapters={'retrieval.query': folder}), "
    "and for another task use Engine.embed"
)


class JinaQdrant:
    """Ingest documents and search them, with the right adapter and prompt on each side.

    Args:
        client: Any Qdrant client (server, `path=`, `:memory:`), or `edge:FOLDER` for Qdrant's
            embedded engine.
        collection: Name of the collection; `ingest` creates it. Of an alias, the collection that
            it names at this moment: if the alias moves, the helper stays with that collection
            until it is opened again.
        engine: The engine that embeds.
        spec: How vectors are made; recorded in the collection and checked at every opening.
        layout: How a new collection stores them; an existing one keeps its own.
        tenant: Whose documents these are, in a collection that is shared by tenants.
        retries: How long a server that does not answer is asked again.
        task: Not taken; the error says why.

    Raises:
        UnmanagedCollectionError: If the collection exists and carries no record.
        FingerprintMismatchError: If it was made with another model or another spec.
    """

    def __init__(
        self,
        client: QdrantClient | str,
        collection: str,
        engine: Engine,
        spec: EmbeddingSpec | None = None,
        *,
        layout: CollectionLayout | None = None,
        tenant: str | None = None,
        retries: RetryPolicy | None = None,
        task: None = None,
    ) -> None:
        _refuse_task(task)
        self.spec = spec or EmbeddingSpec()
        self.spec.check(engine)
        self.engine = engine
        self.record = self.spec.record(engine)
        self.tenant = check_tenant(tenant)
        self._layout = layout or CollectionLayout(tenants=tenant is not None)
        self._layout.check(self.record["dimensions"])
        self.store: Store = open_store(client, collection, retries)
        self._name = collection
        try:
            self._check_collection()
        except BaseException:
            self.store.close()
            raise

    @property
    def fingerprint(self) -> str:
        """Names the way in which the collection's vectors are made."""
        return str(self.record["fingerprint"])

    # Documents in

    def ingest(
        self,
        documents: Iterable[object],
        *,
        on_error: OnError = "raise",
        dead_letters: Callable[[DeadLetter], None] | None = None,
        progress: Callable[[IngestReport], None] | None = None,
        reembed: bool = False,
        task: None = None,
    ) -> IngestReport:
        """Embed documents as passages and write them; what is there unchanged is skipped.

        May be interrupted at any moment, by `kill -9` too, and run again: the next run ends where
        an uninterrupted one would have. Until then a search can find chunks of the old and of the
        new version of a document.

        Args:
            documents: Mappings or dataclasses with `id`, `text`, and optional `metadata` (JSON
                values) and `spans`. Any iterable; read in bounded memory, but for 100 bytes per
                document that find an id that comes twice.
            on_error: For documents that cannot be ingested: `raise`, or `dead_letter` to go on.
            dead_letters: Called with each document that was given up.
            progress: Called after each batch with the report so far.
            reembed: Also embed what is unchanged.
            task: Not taken; the error says why.

        Raises:
            InvalidOptionError: If `on_error` is outside its allowed set.
            InvalidDocumentError: If a document is not as `Document` says, or an id comes twice.
            StoreUnavailableError: If the store gives no answer, after every retry.
            StoreRefusedError: If the store refuses a document.
            ConcurrentWriteError: If another process ingested the same document at the same time.
        """
        _refuse_task(task)
        source = check_iterable(documents)
        ingestion = Ingestion(
            engine=self.engine,
            spec=self.spec,
            splitter=self._splitter,
            writer=self._writer,
            on_error=on_error,
            dead_letters=dead_letters,
            progress=progress,
            reembed=reembed,
        )
        self._create_collection()
        return ingestion.run(source)

    def sync(
        self,
        documents: Iterable[object],
        *,
        delete_missing: bool = False,
        max_delete_fraction: float = 0.2,
        progress: Callable[[IngestReport], None] | None = None,
    ) -> SyncReport:
        """Ingest a complete source, and delete documents that are no longer in it.

        Args:
            documents: All documents that should be there; see `ingest`.
            delete_missing: Whether what is not among them is deleted.
            max_delete_fraction: The largest share of the documents that may be deleted.
            progress: Called after each batch with the report so far.

        Raises:
            EmptySourceError: If the source has no document and missing ones would be deleted.
            TooManyDeletionsError: If more would be deleted than allowed.
        """
        return sync(
            self,
            documents,
            delete_missing=delete_missing,
            max_delete_fraction=max_delete_fraction,
            progress=progress,
        )

    def delete(self, doc_ids: str | Sequence[str]) -> int:
        """Delete documents, with whatever an interrupted run left of them.

        Returns:
            Points deleted.

        Raises:
            InvalidDocumentError: If an id is no string.
        """
        checked = check_ids(doc_ids)
        self._refuse_missing()
        return self._writer.delete(checked)

    def finish_bulk(self) -> None:
        """Build the graph that a bulk ingestion left out."""
        self._refuse_missing()
        self.store.finish_bulk()
        self._layout = replace(self._layout, bulk=False)
        self.store.set_metadata(LAYOUT_KEY, self._layout.as_dict())

    # Documents out

    def search(
        self,
        query: str,
        *,
        limit: int = 10,
        filter: models.Filter | None = None,  # noqa: A002 - Qdrant's word
        score_threshold: float | None = None,
        group_by_document: bool = False,
        task: None = None,
    ) -> list[Hit]:
        """The chunks most similar to a query, best first; see `search_batch`."""
        (hits,) = self.search_batch(
            [query],
            limit=limit,
            filter=filter,
            score_threshold=score_threshold,
            group_by_document=group_by_document,
            task=task,
        )
        return hits

    def search_batch(
        self,
        queries: Sequence[str],
        *,
        limit: int = 10,
        filter: models.Filter | None = None,  # noqa: A002
        score_threshold: float | None = None,
        group_by_document: bool = False,
        task: None = None,
    ) -> list[list[Hit]]:
        """The best chunks for each of several queries, embedded in one pass.

        Args:
            queries: Questions.
            limit: The most hits for each.
            filter: What hits must satisfy; metadata is under `meta`, as in `meta.lang`.
            score_threshold: Only hits with a cosine similarity above it.
            group_by_document: Only the best chunk of each document.
            task: Not taken; the error says why.

        Raises:
            CollectionNotFoundError: If nothing was ingested yet.
            UnmanagedCollectionError: If a point was found that something else has written.
            InvalidOptionError: If an option is outside its allowed set.
        """
        _refuse_task(task)
        self._refuse_missing()
        return search(
            self.store,
            self.engine,
            queries,
            dimensions=self.spec.dimensions,
            tenant=self.tenant,
            limit=limit,
            filter=filter,
            score_threshold=score_threshold,
            group_by_document=group_by_document,
            has_coarse_vectors=self._layout.coarse_dimensions is not None,
        )

    def get(self, doc_id: str) -> Document | None:
        """A document as it was ingested, rebuilt from its chunks; `None` if it is not complete.

        Raises:
            InvalidDocumentError: If the id is no string.
        """
        (checked,) = check_ids([doc_id])
        self._refuse_missing()
        points = self.store.scan(doc_filter([checked], self.tenant))
        return rebuild_document(checked, (point.payload for point in points))

    def count(self) -> int:
        """Chunks in the collection, counted exactly."""
        self._refuse_missing()
        return self.store.count(tenant_filter(self.tenant))

    def count_documents(self) -> int:
        """Documents whose last chunk to be written is there, counted exactly."""
        self._refuse_missing()
        return self.store.count(written_heads(self.tenant))

    def verify(self, *, sample: int = 20, deep: bool = False) -> VerifyReport:
        """Check that every document is complete and that vectors are what embedding gives.

        Args:
            sample: Documents that are embedded again and compared.
            deep: Also read every vector.
        """
        self._refuse_missing()
        return verify(
            self.store,
            self.engine,
            self.spec,
            fingerprint=self.fingerprint,
            tenant=self.tenant,
            sample=sample,
            deep=deep,
        )

    @classmethod
    def adopt(
        cls,
        client: QdrantClient | str,
        collection: str,
        engine: Engine,
        spec: EmbeddingSpec | None = None,
        *,
        sample: int = 20,
        tenant: str | None = None,
    ) -> Self:
        """Take over a collection that carries no record, once a sample was embedded again.

        Raises:
            UnmanagedCollectionError: If its points do not have this helper's payload.
            VerificationError: If its vectors are not what this engine and spec give.
        """
        chosen = spec or EmbeddingSpec()
        chosen.check(engine)
        store = open_store(client, collection, None)
        try:
            record = chosen.record(engine)
            adopt_record(store, engine, chosen, record, sample=sample, tenant=tenant)
        finally:
            store.close()
        return cls(client, collection, engine, chosen, tenant=tenant)

    def close(self) -> None:
        """Let go of what this helper opened itself; a client stays open."""
        self.store.close()

    # Opening

    @cached_property
    def _splitter(self) -> DocumentSplitter:
        """Made when something is ingested: it reads the whole tokenizer, and searches need none."""
        return make_splitter(self.engine.tokenizer_json, self.spec.chunk_tokens)

    @property
    def _writer(self) -> DocumentWriter:
        return DocumentWriter(self.store, self.fingerprint[:_FP_LENGTH], self.tenant)

    def _check_collection(self) -> bool:
        """Whether the collection exists; if so, its vectors are made as ours are.

        Asked before everything that is done, since others may delete and make it meanwhile.
        """
        found = self.store.description()
        if found is None:
            self._refuse_lost()
            return False
        record = checked_record(self.store.collection, found.metadata)
        stored = vector_description(found.size, found.distance)
        wanted = vector_description(self.record["dimensions"], COSINE)
        refuse_differences(
            self.store.collection,
            {**record, "vectors": stored},
            {**self.record, "vectors": wanted},
        )
        layout = CollectionLayout.from_dict(found.metadata.get(LAYOUT_KEY) or {})
        layout.check_tenant(self.tenant)
        self._layout = layout
        return True

    def _create_collection(self) -> None:
        with self.store.exclusive():  # two threads may begin at once
            if self._check_collection():
                self.store.create_indexes(self._layout)
            else:
                self._create_new_collection()

    def _create_new_collection(self) -> None:
        self._layout.check_tenant(self.tenant)
        if ineffective := self.store.ineffective(self._layout):
            msg = f"{', '.join(ineffective)}: no effect in this store, which has no server"
            warnings.warn(msg, UserWarning, stacklevel=4)
        self.store.create(
            size=self.record["dimensions"],
            layout=self._layout,
            metadata={METADATA_KEY: self.record, LAYOUT_KEY: self._layout.as_dict()},
        )

    def _refuse_lost(self) -> None:
        """Refuse to make a collection again that nobody would find by the alias any more."""
        if self.store.collection != self._name:
            msg = (
                f"collection {self.store.collection!r} is gone, which alias {self._name!r} named: "
                f"open {self._name!r} again"
            )
            raise CollectionNotFoundError(msg)

    def _refuse_missing(self) -> None:
        if not self._check_collection():
            msg = f"there is no collection {self.store.collection!r} yet: ingest documents first"
            raise CollectionNotFoundError(msg)


def _refuse_task(task: object) -> None:
    if task is not None:
        raise TypeError(_NO_TASK)
