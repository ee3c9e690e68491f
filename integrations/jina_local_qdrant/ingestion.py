"""Documents → points: reading, embedding and writing at the same time, in bounded memory.

The caller's thread reads, checks and cuts; one thread embeds; others write. A few batches are under
way at any moment. An error or Ctrl-C lets the writes that have begun come to their end, but not
wait for a store that is away.
"""

from __future__ import annotations

import hashlib
import threading
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from jina_local.errors import (
    InvalidOptionError,
    InvalidSpansError,
    InvalidTextsError,
    JinaLocalError,
    NonFiniteVectorError,
    TextTooLongError,
)
from jina_local_qdrant.documents import (
    CheckedDocument,
    PreparedDocument,
    check_document,
)
from jina_local_qdrant.embedding import EmbeddedDocument, embed_documents_of
from jina_local_qdrant.errors import (
    AccessRefusedError,
    ConcurrentWriteError,
    DuplicateIdError,
    InvalidDocumentError,
    StoreRefusedError,
)
from jina_local_qdrant.interruption import interruption, work_until
from jina_local_qdrant.payload import HEAD_KEYS, point_id

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from jina_local import Engine
    from jina_local_qdrant.spec import EmbeddingSpec
    from jina_local_qdrant.splitting import DocumentSplitter
    from jina_local_qdrant.writing import DocumentWriter

__all__ = ["DeadLetter", "IngestReport", "Ingestion", "OnError"]

OnError = Literal["raise", "dead_letter"]

_DOCUMENTS_AT_ONCE = 128
_CHARACTERS_AT_ONCE = 2**18
_BATCHES_UNDER_WAY = 3
_WRITERS = 4
_ERRORS_OF_DOCUMENTS = (
    InvalidSpansError,
    InvalidTextsError,
    NonFiniteVectorError,
    TextTooLongError,
)


@dataclass(frozen=True, slots=True)
class IngestReport:
    """What an ingestion did; `documents` is the sum of the next four.

    Attributes:
        documents: Documents read.
        embedded: Documents that were new, whose text or spans had changed, or that were no longer
            there whole.
        updated: Documents of which only the metadata had changed.
        skipped: Documents that were there already, unchanged.
        failed: Documents that were given up, where that is allowed.
        chunks: Chunks written.
        tokens: Tokens embedded.
    """

    documents: int = 0
    embedded: int = 0
    updated: int = 0
    skipped: int = 0
    failed: int = 0
    chunks: int = 0
    tokens: int = 0

    def __add__(self, other: IngestReport) -> IngestReport:
        names = ("documents", "embedded", "updated", "skipped", "failed", "chunks", "tokens")
        return IngestReport(**{name: getattr(self, name) + getattr(other, name) for name in names})


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A document that was given up.

    Attributes:
        number: Its place in the source.
        doc_id: Its id, if it has one.
        kind: Name of the error's class.
        error: The error's message.
    """

    number: int
    doc_id: str | None
    kind: str
    error: str


@dataclass(frozen=True, slots=True, eq=False)
class _Batch:
    """Documents that were looked up together.

    Attributes:
        to_embed: New ones, and those whose text changed.
        to_update: Those of which only the metadata changed.
        report: What is known of the batch so far.
    """

    to_embed: list[PreparedDocument]
    to_update: list[CheckedDocument]
    report: IngestReport


@dataclass(frozen=True, slots=True, eq=False)
class _Outcome:
    """What became of a batch."""

    report: IngestReport
    dead: tuple[DeadLetter, ...] = ()

    def __add__(self, other: _Outcome) -> _Outcome:
        return _Outcome(self.report + other.report, (*self.dead, *other.dead))


@dataclass(frozen=True, slots=True)
class Ingestion:
    """One run over a source.

    Attributes:
        engine: What embeds.
        spec: How.
        splitter: What cuts documents that bring no spans.
        writer: What writes them.
        on_error: Whether a document that cannot be ingested ends the run: `raise`, or `dead_letter`
            to go on.
        dead_letters: Called with each document that was given up.
        progress: Called after each batch with the report so far.
        reembed: Whether what is unchanged is embedded again.
    """

    engine: Engine
    spec: EmbeddingSpec
    splitter: DocumentSplitter
    writer: DocumentWriter
    on_error: OnError
    dead_letters: Callable[[DeadLetter], None] | None
    progress: Callable[[IngestReport], None] | None
    reembed: bool

    def __post_init__(self) -> None:
        """Refuse what cannot be run."""
        if self.on_error not in ("raise", "dead_letter"):
            msg = f"on_error is {self.on_error!r}; give 'raise' or 'dead_letter'"
            raise InvalidOptionError(msg)

    def run(self, documents: Iterable[object]) -> IngestReport:
        """Ingest all documents of a source."""
        total = IngestReport()
        interrupted = interruption() or threading.Event()
        n_writers = 1 if self.writer.store.is_local else _WRITERS
        with (
            ThreadPoolExecutor(
                n_writers, "jina-local-write", initializer=work_until, initargs=(interrupted,)
            ) as writers,
            ThreadPoolExecutor(1, "jina-local-embed") as embedders,
        ):
            under_way: deque[Future[Future[_Outcome]]] = deque()
            try:
                for batch in self._batches(documents):
                    if len(under_way) == _BATCHES_UNDER_WAY:
                        total = self._finished(under_way.popleft(), total)
                    under_way.append(embedders.submit(self._embed, batch, writers))
                while under_way:
                    total = self._finished(under_way.popleft(), total)
            except BaseException:
                writers.shutdown(wait=False, cancel_futures=True)  # what has begun goes on
                interrupted.set()
                raise
            finally:
                embedders.shutdown(wait=True, cancel_futures=True)
        return total

    def _finished(self, batch: Future[Future[_Outcome]], so_far: IngestReport) -> IngestReport:
        outcome = batch.result().result()
        total = so_far + outcome.report
        for letter in outcome.dead:
            self._report(letter)
        if self.progress is not None:
            self.progress(total)
        return total

    # Reading

    def _batches(self, documents: Iterable[object]) -> Iterator[_Batch]:
        n_failed = 0
        waiting: list[CheckedDocument] = []
        n_characters = 0
        for document in self._checked(documents):
            if document is None:
                n_failed += 1
                continue
            waiting.append(document)
            n_characters += len(document.text)
            if len(waiting) == _DOCUMENTS_AT_ONCE or n_characters >= _CHARACTERS_AT_ONCE:
                yield self._looked_up(waiting, n_failed)
                waiting, n_characters, n_failed = [], 0, 0
        if waiting or n_failed:
            yield self._looked_up(waiting, n_failed)

    def _checked(self, documents: Iterable[object]) -> Iterator[CheckedDocument | None]:
        """Each document, or `None` for one that was given up."""
        seen: set[bytes] = set()
        for number, given in enumerate(documents):
            try:
                document = check_document(given, number)
                digest = hashlib.blake2b(document.doc_id.encode(), digest_size=16).digest()
                if digest in seen:
                    msg = (
                        f"document id {document.doc_id!r} comes twice, the second time as document "
                        f"{number}; it would replace the first"
                    )
                    raise DuplicateIdError(msg)
                seen.add(digest)
            except InvalidDocumentError as error:
                doc_id = given.get("id") if isinstance(given, dict) else None
                self._report(self._dead(number, doc_id, error))
                yield None
            else:
                yield document

    def _looked_up(self, documents: Sequence[CheckedDocument], n_failed: int) -> _Batch:
        """Compare documents with what is there, and cut those that are new or changed."""
        writer = self.writer
        ids = [point_id(document.doc_id, 0, writer.tenant) for document in documents]
        heads = writer.store.retrieve(ids, keys=HEAD_KEYS)
        to_embed: list[PreparedDocument] = []
        to_update: list[CheckedDocument] = []
        n_skipped = 0
        for document, id_ in zip(documents, ids, strict=True):
            head = heads.get(id_, {})
            is_there = head.get("doc_hash") == document.doc_hash and head.get("fp") == writer.fp
            if self.reembed or not is_there:
                to_embed.append(self._prepared(document))
            elif head.get("meta_hash") != document.meta_hash:
                to_update.append(document)
            else:
                n_skipped += 1
        n_read = len(documents) + n_failed
        report = IngestReport(documents=n_read, skipped=n_skipped, failed=n_failed)
        return _Batch(to_embed, to_update, report)

    def _prepared(self, document: CheckedDocument) -> PreparedDocument:
        spans: Sequence[tuple[int, int]] | None = document.spans
        if spans is None:
            spans = self.splitter.spans(
                {"id": document.doc_id, "text": document.text, "metadata": document.metadata}
            )
        return PreparedDocument.of(document, spans)

    # Embedding and writing

    def _embed(self, batch: _Batch, writers: ThreadPoolExecutor) -> Future[_Outcome]:
        outcome = _Outcome(batch.report)
        documents = batch.to_embed
        try:
            embedded = self._vectors(documents)
        except _ERRORS_OF_DOCUMENTS:
            documents, embedded, dead = self._embed_one_by_one(documents)
            outcome += _Outcome(IngestReport(failed=len(dead)), dead)
        return writers.submit(self._write, outcome, documents, embedded, batch.to_update)

    def _embed_one_by_one(
        self, documents: Sequence[PreparedDocument]
    ) -> tuple[list[PreparedDocument], list[EmbeddedDocument], tuple[DeadLetter, ...]]:
        """Find out which documents of a batch cannot be embedded."""
        good, results, dead = [], [], []
        for document in documents:
            try:
                results += self._vectors([document])
                good.append(document)
            except _ERRORS_OF_DOCUMENTS as error:
                named = type(error)(_of_document(error, document))
                named.__cause__ = error
                dead.append(self._dead(document.number, document.doc_id, named))
        return good, results, tuple(dead)

    def _vectors(self, documents: Sequence[PreparedDocument]) -> list[EmbeddedDocument]:
        if not documents:
            return []
        texts = [(document.text, document.spans) for document in documents]
        return embed_documents_of(self.engine, self.spec, texts)

    def _write(
        self,
        outcome: _Outcome,
        documents: Sequence[PreparedDocument],
        embedded: Sequence[EmbeddedDocument],
        to_update: Sequence[CheckedDocument],
    ) -> _Outcome:
        outcome += self._write_texts(documents, embedded)
        for document in to_update:
            outcome += self._write_metadata(document)
        return outcome

    def _write_metadata(self, document: CheckedDocument) -> _Outcome:
        """Write metadata alone, or the whole document if it is no longer there as looked up."""
        try:
            if self.writer.write_metadata(document):
                return _Outcome(IngestReport(updated=1))
        except AccessRefusedError:
            raise
        except (StoreRefusedError, ConcurrentWriteError) as error:
            letter = self._dead(document.number, document.doc_id, error)
            return _Outcome(IngestReport(failed=1), (letter,))
        good, embedded, dead = self._embed_one_by_one([self._prepared(document)])
        return _Outcome(IngestReport(failed=len(dead)), dead) + self._write_texts(good, embedded)

    def _write_texts(
        self, documents: Sequence[PreparedDocument], embedded: Sequence[EmbeddedDocument]
    ) -> _Outcome:
        """Write documents together, or in halves where one of them is refused."""
        if not documents:
            return _Outcome(IngestReport())
        try:
            n_chunks = self.writer.write(documents, embedded)
        except AccessRefusedError:  # no document can help that
            raise
        except (StoreRefusedError, ConcurrentWriteError) as error:
            if self.on_error == "raise":
                raise
            if len(documents) == 1:
                letter = self._dead(documents[0].number, documents[0].doc_id, error)
                return _Outcome(IngestReport(failed=1), (letter,))
            half = len(documents) // 2
            first = self._write_texts(documents[:half], embedded[:half])
            return first + self._write_texts(documents[half:], embedded[half:])
        n_tokens = sum(one.tokens for one in embedded)
        return _Outcome(IngestReport(embedded=len(documents), chunks=n_chunks, tokens=n_tokens))

    def _dead(self, number: int, doc_id: object, error: JinaLocalError) -> DeadLetter:
        """What is said of a document that is given up, where that is allowed."""
        if self.on_error == "raise":
            raise error
        known = doc_id if isinstance(doc_id, str) else None
        return DeadLetter(number, known, type(error).__name__, str(error))

    def _report(self, letter: DeadLetter) -> None:
        if self.dead_letters is not None:
            self.dead_letters(letter)


def _of_document(error: JinaLocalError, document: PreparedDocument) -> str:
    """What is wrong with a document that was embedded alone, where it is "document 0"."""
    words, name = str(error), f"document {document.doc_id!r} (number {document.number})"
    rest = words.removeprefix("document 0")
    return f"{name}: {words}" if rest == words else f"{name}{rest}"
