"""A Qdrant collection whose every vector was made the same, recorded way.

Documents can only be embedded as passages and queries only as queries. Point ids are computed from
document id and chunk number, so that ingesting again replaces and never duplicates. A document's
first chunk is its commit mark: it is made invalid before any other chunk changes, and written last.
"""

from __future__ import annotations

import json
import uuid
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import TYPE_CHECKING, Any

from jina_local.errors import InvalidOptionError, MissingExtraError
from jina_local.fingerprint import canonical_hash
from jina_local_qdrant.errors import (
    CollectionNotFoundError,
    DuplicateIdError,
    InvalidDocumentError,
    UnmanagedCollectionError,
)
from jina_local_qdrant.spec import METADATA_KEY, EmbeddingSpec, refuse_differences
from jina_local_qdrant.splitting import DocumentSplitter, make_splitter

try:
    from qdrant_client import models
except ModuleNotFoundError as error:
    if error.name != "qdrant_client":
        raise
    msg = "the Qdrant helper needs qdrant-client: pip install 'jina-local[qdrant]'"
    raise MissingExtraError(msg) from error

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from qdrant_client import QdrantClient

    from jina_local import Engine
    from jina_local_qdrant.documents import Document

__all__ = ["Hit", "IngestReport", "JinaQdrant", "point_id"]

_NAMESPACE = uuid.UUID("5b0a2f0e-6d0e-5c7f-9a3e-2f4f6f0c7a11")
_DOCUMENTS_AT_ONCE = 128
_POINTS_AT_ONCE = 256


@dataclass(frozen=True, slots=True)
class IngestReport:
    """What an ingestion did.

    Attributes:
        documents: Documents read.
        embedded: Documents that were new or had changed.
        skipped: Documents that were there already, unchanged.
        chunks: Chunks written.
        tokens: Tokens embedded.
    """

    documents: int = 0
    embedded: int = 0
    skipped: int = 0
    chunks: int = 0
    tokens: int = 0


@dataclass(frozen=True, slots=True)
class Hit:
    """One chunk that a search found.

    Attributes:
        id: The point's id.
        score: Cosine similarity to the query.
        doc_id: The document that it is part of.
        chunk_index: Its number in the document.
        text: The chunk.
        metadata: The document's.
    """

    id: str
    score: float
    doc_id: str
    chunk_index: int
    text: str
    metadata: dict[str, Any]


@dataclass(frozen=True, slots=True)
class _Chunk:
    """A chunk of a document on its way into the collection."""

    doc_id: str
    index: int
    payload: dict[str, Any]

    @property
    def point_id(self) -> str:
        return point_id(self.doc_id, self.index)


def point_id(doc_id: str, chunk_index: int) -> str:
    """The id of a chunk's point: the same in every run and every collection."""
    return str(uuid.uuid5(_NAMESPACE, json.dumps([None, doc_id, chunk_index])))


class JinaQdrant:
    """Ingest documents and search them, with the right adapter and prompt on each side.

    Args:
        client: Any Qdrant client: server, `path=` or `:memory:`.
        collection: Name of the collection; `ingest` creates it.
        engine: The engine that embeds.
        spec: How vectors are made; recorded in the collection and checked at every opening.

    Raises:
        UnmanagedCollectionError: If the collection exists and carries no record.
        FingerprintMismatchError: If it was made with another model or another spec.
    """

    def __init__(
        self,
        client: QdrantClient,
        collection: str,
        engine: Engine,
        spec: EmbeddingSpec | None = None,
    ) -> None:
        self._client = client
        self._collection = collection
        self._engine = engine
        self._spec = spec or EmbeddingSpec()
        self._spec.check(engine)
        self._record = self._spec.record(engine)
        self._is_checked = False
        self._check_collection()

    @property
    def fingerprint(self) -> str:
        """Names the way in which the collection's vectors are made."""
        return str(self._record["fingerprint"])

    def count(self) -> int:
        """Chunks in the collection, counted exactly."""
        self._refuse_missing()
        return int(self._client.count(self._collection, exact=True).count)

    def ingest(
        self, documents: Iterable[Document], *, progress: Callable[[int], None] | None = None
    ) -> IngestReport:
        """Embed documents as passages and write them; what is there unchanged is skipped.

        Args:
            documents: Mappings with `id`, `text` and optional `metadata` (JSON values).
            progress: Called with the number of documents finished so far.

        Raises:
            InvalidDocumentError: If a document has no id or text, or an id comes twice.
        """
        self._create_collection()
        report = IngestReport()
        checked = _checked(documents)
        while batch := list(islice(checked, _DOCUMENTS_AT_ONCE)):
            report = self._ingest_batch(batch, report)
            if progress is not None:
                progress(report.documents)
        return report

    def search(self, query: str, *, limit: int = 10) -> list[Hit]:
        """The chunks most similar to a query, best first."""
        return self.search_batch([query], limit=limit)[0]

    def search_batch(self, queries: Sequence[str], *, limit: int = 10) -> list[list[Hit]]:
        """The best chunks for each of several queries, embedded in one pass.

        Raises:
            CollectionNotFoundError: If nothing was ingested yet.
            InvalidOptionError: If `limit` is below 1.
        """
        self._refuse_missing()
        if limit < 1:
            msg = f"limit is {limit}; ask for at least one hit"
            raise InvalidOptionError(msg)
        embeddings = self._engine.embed_queries(queries, dimensions=self._spec.dimensions)
        requests = [
            models.QueryRequest(query=vector.tolist(), limit=limit, with_payload=True)
            for vector in embeddings.vectors
        ]
        if not requests:
            return []
        responses = self._client.query_batch_points(self._collection, requests)
        return [[_hit(point) for point in response.points] for response in responses]

    @cached_property
    def _splitter(self) -> DocumentSplitter:
        """Made when something is ingested: it reads the whole tokenizer, and searches need none."""
        return make_splitter(self._engine.tokenizer_json, self._spec.chunk_tokens)

    # Opening

    def _check_collection(self) -> bool:
        """Whether the collection exists; if so, its vectors are made as ours are."""
        if not self._client.collection_exists(self._collection):
            self._is_checked = False
        elif not self._is_checked:
            metadata = self._client.get_collection(self._collection).config.metadata or {}
            if METADATA_KEY not in metadata:
                msg = (
                    f"collection {self._collection!r} was not made by this helper and does not say "
                    "how its vectors were made: choose another name, or delete it first"
                )
                raise UnmanagedCollectionError(msg)
            refuse_differences(self._collection, metadata[METADATA_KEY], self._record)
            self._is_checked = True
        return self._is_checked

    def _create_collection(self) -> None:
        if self._check_collection():
            return
        size = int(self._record["dimensions"])
        self._client.create_collection(
            self._collection,
            vectors_config=models.VectorParams(size=size, distance=models.Distance.COSINE),
            metadata={METADATA_KEY: self._record},
        )
        with warnings.catch_warnings():  # local Qdrant warns that it needs no index
            warnings.simplefilter("ignore", UserWarning)
            self._client.create_payload_index(
                self._collection, "doc_id", models.PayloadSchemaType.KEYWORD
            )
        self._is_checked = True

    def _refuse_missing(self) -> None:
        if not self._check_collection():
            msg = f"there is no collection {self._collection!r} yet: ingest documents first"
            raise CollectionNotFoundError(msg)

    # Writing

    def _ingest_batch(self, batch: Sequence[Document], so_far: IngestReport) -> IngestReport:
        stored = self._stored_heads([document["id"] for document in batch])
        changed = [
            (document, doc_hash)
            for document in batch
            if (doc_hash := _hash(document)) != stored.get(document["id"])
        ]
        chunks = [chunk for item in changed for chunk in self._chunks(*item)]
        texts = [chunk.payload["text"] for chunk in chunks]
        embeddings = self._engine.embed_documents(texts, dimensions=self._spec.dimensions)
        points = [
            models.PointStruct(id=chunk.point_id, vector=vector.tolist(), payload=chunk.payload)
            for chunk, vector in zip(chunks, embeddings.vectors, strict=True)
        ]
        self._write(points, chunks, [document["id"] for document, _ in changed])
        return IngestReport(
            documents=so_far.documents + len(batch),
            embedded=so_far.embedded + len(changed),
            skipped=so_far.skipped + len(batch) - len(changed),
            chunks=so_far.chunks + len(chunks),
            tokens=so_far.tokens + int(embeddings.token_counts.sum()),
        )

    def _write(
        self,
        points: Sequence[models.PointStruct],
        chunks: Sequence[_Chunk],
        doc_ids: Sequence[str],
    ) -> None:
        """Replace the chunks of documents so that the next run sees a crash at any moment."""
        if not doc_ids:
            return
        old = self._stored_chunks(doc_ids)
        old_heads = _point_ids(old & {chunk.point_id for chunk in chunks if not chunk.index})
        surplus = _point_ids(old - {chunk.point_id for chunk in chunks})
        if old_heads.points:
            self._client.set_payload(
                self._collection, {"doc_hash": None}, points=old_heads, wait=True
            )
        self._upsert([p for p, chunk in zip(points, chunks, strict=True) if chunk.index])
        if surplus.points:
            self._client.delete(self._collection, surplus, wait=True)
        self._upsert([p for p, chunk in zip(points, chunks, strict=True) if not chunk.index])

    def _stored_heads(self, doc_ids: Sequence[str]) -> dict[str, str | None]:
        """Document id → the hash of what is there completely."""
        ids = [point_id(doc_id, 0) for doc_id in doc_ids]
        records = self._client.retrieve(self._collection, ids, with_payload=["doc_id", "doc_hash"])
        payloads = [record.payload or {} for record in records]
        return {payload["doc_id"]: payload.get("doc_hash") for payload in payloads}

    def _stored_chunks(self, doc_ids: Sequence[str]) -> set[str]:
        """Ids of all points of these documents, whatever an interrupted run left behind."""
        condition = models.FieldCondition(key="doc_id", match=models.MatchAny(any=list(doc_ids)))
        found: set[str] = set()
        offset = None
        while True:
            records, offset = self._client.scroll(
                self._collection,
                scroll_filter=models.Filter(must=[condition]),
                limit=_POINTS_AT_ONCE,
                offset=offset,
                with_payload=False,
            )
            found |= {str(record.id) for record in records}
            if offset is None:
                return found

    def _chunks(self, document: Document, doc_hash: str) -> Iterator[_Chunk]:
        text = document["text"]
        spans = self._splitter.spans(document)
        for index, (start, end) in enumerate(spans):
            payload = {
                "doc_id": document["id"],
                "chunk_index": index,
                "n_chunks": len(spans),
                "text": text[start:end],
                "start": start,
                "end": end,
                "doc_hash": doc_hash,
                "fp": self.fingerprint[:16],
                "meta": document.get("metadata", {}),
            }
            yield _Chunk(document["id"], index, payload)

    def _upsert(self, points: Sequence[models.PointStruct]) -> None:
        for start in range(0, len(points), _POINTS_AT_ONCE):
            part = points[start : start + _POINTS_AT_ONCE]
            self._client.upsert(self._collection, part, wait=True)


_FIELDS = ("id", "text", "metadata")


def _checked(documents: Iterable[Document]) -> Iterator[Document]:
    if isinstance(documents, str | Mapping):
        msg = f"documents is a {type(documents).__name__}; give a list of documents, even for one"
        raise InvalidDocumentError(msg)
    seen: set[str] = set()
    for number, document in enumerate(documents):
        _check_document(document, number)
        if document["id"] in seen:
            msg = f"document id {document['id']!r} comes twice; the second would replace the first"
            raise DuplicateIdError(msg)
        seen.add(document["id"])
        yield document


def _check_document(document: Document, number: int) -> None:
    if not isinstance(document, Mapping):
        msg = f"document {number} is a {type(document).__name__}; give a dict with id and text"
        raise InvalidDocumentError(msg)
    if unknown := sorted(set(document) - set(_FIELDS)):
        msg = f"document {number} has unknown fields {unknown}; put them into metadata"
        raise InvalidDocumentError(msg)
    doc_id, text = document.get("id"), document.get("text")
    metadata = document.get("metadata", {})
    if not isinstance(doc_id, str) or not doc_id:
        msg = f"document {number} has id {doc_id!r}; an id is a non-empty string"
        raise InvalidDocumentError(msg)
    if not isinstance(text, str):
        msg = f"document {doc_id!r} has a text of type {type(text).__name__}, not a string"
        raise InvalidDocumentError(msg)
    if not isinstance(metadata, dict):
        msg = f"document {doc_id!r} has metadata of type {type(metadata).__name__}, not a dict"
        raise InvalidDocumentError(msg)


def _hash(document: Document) -> str:
    content = {key: document.get(key) for key in _FIELDS}
    try:
        return canonical_hash(content)
    except (TypeError, ValueError) as error:
        msg = f"document {document['id']!r} is not JSON, of which all text must be UTF-8: {error}"
        raise InvalidDocumentError(msg) from error


def _point_ids(ids: set[str]) -> models.PointIdsList:
    return models.PointIdsList(points=[*sorted(ids)])


def _hit(point: models.ScoredPoint) -> Hit:
    payload = point.payload or {}
    return Hit(
        id=str(point.id),
        score=point.score,
        doc_id=payload["doc_id"],
        chunk_index=payload["chunk_index"],
        text=payload["text"],
        metadata=payload["meta"],
    )
