"""What goes in comes out: vectors in context, documents as they were, failures by name."""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import httpx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from qdrant_client import QdrantClient, models
from qdrant_client.http.exceptions import UnexpectedResponse

from jina_local import ChunkedText
from jina_local.errors import InvalidOptionError
from jina_local_qdrant import CollectionLayout, DeadLetter, EmbeddingSpec, IngestReport, JinaQdrant
from jina_local_qdrant.documents import CheckedDocument, PreparedDocument, check_document
from jina_local_qdrant.errors import (
    AccessRefusedError,
    ConcurrentWriteError,
    InvalidDocumentError,
    StoreRefusedError,
    UnmanagedCollectionError,
)
from jina_local_qdrant.layout import LAYOUT_KEY
from jina_local_qdrant.payload import chunk_payloads, point_id, rebuild
from support.crashing import ServerLike

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from jina_local import Engine

SMALL = EmbeddingSpec(chunk_tokens=12)
TEXT = "Berlin is the capital of Germany.\n\nIts inhabitants are many. The city is also a state."
SPANS = [(0, 33), (35, 60), (61, len(TEXT)), (35, len(TEXT))]


@pytest.fixture
def client() -> QdrantClient:
    return QdrantClient(":memory:")


def vectors_of(client: QdrantClient, doc_id: str, n: int, name: str | None = None) -> np.ndarray:
    ids = [point_id(doc_id, index) for index in range(n)]
    points = client.retrieve("docs", ids, with_vectors=True)
    by_id: dict[str, Any] = {str(point.id): point.vector for point in points}
    return np.array([by_id[id_][name] if name else by_id[id_] for id_ in ids])


# Vectors


def test_chunks_are_embedded_in_the_context_of_their_document(
    client: QdrantClient, engine: Engine
) -> None:
    index = JinaQdrant(client, "docs", engine, SMALL)
    report = index.ingest(
        [{"id": "a", "text": TEXT, "spans": SPANS}, {"id": "b", "text": "Other."}]
    )
    (late,) = engine.embed_chunks([ChunkedText(TEXT, SPANS)])
    assert vectors_of(client, "a", 4) == pytest.approx(late.vectors, abs=1e-5)
    (other,) = engine.embed_chunks([ChunkedText("Other.", [(0, 6)])])
    assert report.tokens == late.tokens + other.tokens


def test_without_late_chunking_each_chunk_is_embedded_alone(
    client: QdrantClient, engine: Engine
) -> None:
    spec = EmbeddingSpec(chunk_tokens=12, late_chunking=False)
    JinaQdrant(client, "docs", engine, spec).ingest([{"id": "a", "text": TEXT, "spans": SPANS}])
    alone = engine.embed_documents([TEXT[start:end] for start, end in SPANS]).vectors
    assert vectors_of(client, "a", 4) == pytest.approx(alone, abs=1e-5)


def test_coarse_vectors_are_normalized_prefixes_and_are_searched_first(
    client: QdrantClient, engine: Engine
) -> None:
    layout = CollectionLayout(coarse_dimensions=8)
    index = JinaQdrant(client, "docs", engine, SMALL, layout=layout)
    index.ingest([{"id": str(i), "text": f"Text number {i}."} for i in range(300)])
    full, coarse = vectors_of(client, "7", 1, "full")[0], vectors_of(client, "7", 1, "coarse")[0]
    assert coarse == pytest.approx(full[:8] / np.linalg.norm(full[:8]), abs=1e-5)
    found = index.search("number 7", limit=3)
    query = engine.embed_queries(["number 7"]).vectors[0]
    points, _ = client.scroll("docs", limit=300, with_vectors=True)
    stored: list[Any] = [point.vector for point in points]
    first = np.argsort([-np.dot(vectors["coarse"], query[:8]) for vectors in stored])[:100]
    rescored = sorted((float(np.dot(stored[i]["full"], query)) for i in first), reverse=True)
    assert [hit.score for hit in found] == pytest.approx(rescored[:3], abs=1e-5)
    again = JinaQdrant(client, "docs", engine, SMALL).search("number 7", limit=3)
    assert [hit.id for hit in again] == [hit.id for hit in found]
    # local Qdrant's sums depend on where numpy has put the vectors
    assert [hit.score for hit in again] == pytest.approx([hit.score for hit in found], abs=1e-6)


# Documents


@dataclass
class Note:
    id: str
    text: str
    metadata: dict[str, Any] | None = None


def test_dataclasses_are_documents(client: QdrantClient, engine: Engine) -> None:
    index = JinaQdrant(client, "docs", engine)
    index.ingest([Note("a", "One."), Note("b", "Two.", {"n": 2})])
    assert index.get("a") == {"id": "a", "text": "One.", "metadata": {}}
    assert index.get("b") == {"id": "b", "text": "Two.", "metadata": {"n": 2}}
    assert index.get("c") is None


@given(st.text(min_size=1, max_size=60), st.data())
@settings(max_examples=100)
def test_a_document_is_rebuilt_exactly_from_its_chunks(text: str, data: st.DataObject) -> None:
    edge = st.integers(0, len(text))
    pairs = data.draw(st.lists(st.tuples(edge, edge).map(sorted).map(tuple), min_size=1))
    checked = check_document({"id": "a", "text": text, "spans": pairs}, 0)
    assert checked.spans is not None
    document = PreparedDocument.of(checked, checked.spans)
    payloads = chunk_payloads(document, np.ones(len(pairs), np.int64), fp="f", tenant=None)
    assert rebuild(data.draw(st.permutations(payloads))) == (text, pairs)


@pytest.mark.parametrize(
    ("spans", "message"),
    [
        ([(0, 99)], "document 'a': span 0 is .0, 99"),
        ([(3, 2)], "document 'a': span 0 is .3, 2"),
        ([], "document 'a': the document has no chunks"),
        ([(0, True)], "document 'a': span 0 is"),
    ],
)
def test_bad_spans_are_named(
    client: QdrantClient, engine: Engine, spans: Any, message: str
) -> None:
    with pytest.raises(InvalidDocumentError, match=message):
        JinaQdrant(client, "docs", engine).ingest([{"id": "a", "text": "Text.", "spans": spans}])


def test_other_spans_are_another_version(client: QdrantClient, engine: Engine) -> None:
    index = JinaQdrant(client, "docs", engine)
    index.ingest([{"id": "a", "text": TEXT}])
    assert index.ingest([{"id": "a", "text": TEXT, "spans": SPANS}]).embedded == 1
    assert index.ingest([{"id": "a", "text": TEXT, "spans": SPANS}]).skipped == 1
    assert index.count() == len(SPANS)


def test_reembedding_embeds_what_is_unchanged(client: QdrantClient, engine: Engine) -> None:
    index = JinaQdrant(client, "docs", engine)
    index.ingest([{"id": "a", "text": TEXT}])
    assert index.ingest([{"id": "a", "text": TEXT}], reembed=True).embedded == 1


def test_hashes_tell_text_from_metadata() -> None:
    def hashes(**changes: Any) -> tuple[str, str]:
        document: CheckedDocument = check_document(
            {"id": "a", "text": "x", "metadata": {"n": 1}} | changes, 0
        )
        return document.doc_hash, document.meta_hash

    text, meta = hashes()
    assert hashes(metadata={"n": 2})[0] == text
    assert hashes(metadata={"n": 2})[1] != meta
    assert hashes(text="y") == (hashes(text="y")[0], meta)
    assert hashes(text="y")[0] != text


# Streams


def test_an_endless_source_is_read_a_few_batches_ahead(
    client: QdrantClient, engine: Engine
) -> None:
    class EnoughError(Exception):
        pass

    n_read = 0

    def endless() -> Iterator[dict[str, str]]:
        nonlocal n_read
        for n_read in itertools.count():
            yield {"id": str(n_read), "text": f"Text {n_read}."}

    def stop(report: IngestReport) -> None:
        if report.documents >= 256:
            raise EnoughError

    index = JinaQdrant(client, "docs", engine)
    with pytest.raises(EnoughError):
        index.ingest(endless(), progress=stop)
    assert n_read <= 256 + 4 * 128
    assert index.count() >= 256
    assert index.verify(sample=0).ok


def test_an_interrupted_source_leaves_what_was_written(
    client: QdrantClient, engine: Engine
) -> None:
    def interrupted() -> Iterator[dict[str, str]]:
        for i in range(300):
            yield {"id": str(i), "text": f"Text {i}."}
        raise KeyboardInterrupt

    index = JinaQdrant(client, "docs", engine)
    with pytest.raises(KeyboardInterrupt):
        index.ingest(interrupted())
    assert index.verify(sample=0).ok
    report = index.ingest({"id": str(i), "text": f"Text {i}."} for i in range(300))
    assert report.skipped == index.count() - report.chunks
    assert index.count() == 300


# Failures


BAD: list[Any] = [
    {"id": "a", "text": "Fine."},
    {"id": "b"},
    "no document",
    {"id": "a", "text": "Again."},
    {"id": "c", "text": "\u200b"},  # the tokenizer drops all of it
    {"id": "d", "text": "Fine, too."},
    {"text": "No id."},
]


def test_dead_letters_name_what_was_given_up(client: QdrantClient, engine: Engine) -> None:
    letters: list[DeadLetter] = []
    index = JinaQdrant(client, "docs", engine)
    report = index.ingest(BAD, on_error="dead_letter", dead_letters=letters.append)
    named = [(letter.number, letter.doc_id, letter.kind) for letter in letters]
    given_up = [
        (1, "b", "InvalidDocumentError"),
        (2, None, "InvalidDocumentError"),
        (3, "a", "DuplicateIdError"),
        (6, None, "InvalidDocumentError"),
    ]
    assert [letter for letter in named if letter[1] != "c"] == given_up
    assert report.failed == len(letters)
    assert report.documents == len(BAD)
    assert report.documents == report.embedded + report.updated + report.skipped + report.failed
    assert all(letter.error for letter in letters)
    assert index.get("a") is not None
    assert index.get("d") is not None


def test_one_document_that_cannot_be_embedded_does_not_cost_its_neighbours(
    client: QdrantClient, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    from jina_local.errors import NonFiniteVectorError
    from jina_local_qdrant import ingestion

    embed = ingestion.embed_documents_of

    def fail_on_two(engine: Engine, spec: EmbeddingSpec, documents: Any) -> Any:
        if any(text == "Text 2." for text, _ in documents):
            msg = "NaN"
            raise NonFiniteVectorError(msg)
        return embed(engine, spec, documents)

    monkeypatch.setattr(ingestion, "embed_documents_of", fail_on_two)
    documents = [{"id": str(i), "text": f"Text {i}."} for i in range(5)]
    letters: list[DeadLetter] = []
    index = JinaQdrant(client, "docs", engine)
    report = index.ingest(documents, on_error="dead_letter", dead_letters=letters.append)
    assert (report.embedded, report.failed, report.documents) == (4, 1, 5)
    assert [letter.doc_id for letter in letters] == ["2"]
    with pytest.raises(NonFiniteVectorError):
        index.ingest(documents)


@pytest.mark.parametrize(
    ("error", "said", "late_chunking"),
    [
        (None, r"\) has no tokens: its characters are white space", True),
        ("document 0: too long", r"\): too long$", True),
        ("text 0 is too long", r"\): text 0 is too long$", False),
    ],
)
def test_what_cannot_be_embedded_is_named_by_its_id_and_place_in_the_source(
    client: QdrantClient,
    engine: Engine,
    monkeypatch: pytest.MonkeyPatch,
    error: str | None,
    said: str,
    *,
    late_chunking: bool,
) -> None:
    """Not by its place in a batch, as the engine does."""
    from jina_local.errors import InvalidSpansError, TextTooLongError
    from jina_local_qdrant import ingestion

    bad = "\u200b\ufeff"  # the tokenizer drops all of it
    if error is not None:
        embed = ingestion.embed_documents_of

        def fail_on_bad(engine: Engine, spec: EmbeddingSpec, documents: Any) -> Any:
            if any(text == bad for text, _ in documents):
                raise TextTooLongError(error)
            return embed(engine, spec, documents)

        monkeypatch.setattr(ingestion, "embed_documents_of", fail_on_bad)
    documents = [{"id": str(i), "text": f"Text {i}."} for i in range(140)]
    documents[135]["text"] = bad  # in the second batch
    index = JinaQdrant(client, "docs", engine, EmbeddingSpec(late_chunking=late_chunking))
    pattern = r"^document '135' \(number 135" + said
    with pytest.raises(InvalidSpansError if error is None else TextTooLongError, match=pattern):
        index.ingest(documents)
    letters: list[DeadLetter] = []
    report = index.ingest(documents, on_error="dead_letter", dead_letters=letters.append)
    assert (report.failed, index.count_documents()) == (1, 139)
    ((number, doc_id, words),) = [(one.number, one.doc_id, one.error) for one in letters]
    assert (number, doc_id) == (135, "135")
    assert re.search(pattern, words)


def test_without_context_a_text_of_no_tokens_is_embedded_as_an_empty_one(
    client: QdrantClient, engine: Engine
) -> None:
    index = JinaQdrant(client, "docs", engine, EmbeddingSpec(late_chunking=False))
    index.ingest([{"id": "a", "text": "\u200b"}, {"id": "b", "text": ""}])
    assert vectors_of(client, "a", 1) == pytest.approx(vectors_of(client, "b", 1), abs=1e-5)


@pytest.mark.parametrize("on_error", ["ignore", "skip", None, True])
@pytest.mark.parametrize("place", ["memory", "edge"])
def test_on_error_is_one_of_two_and_nothing_is_created_before(
    client: QdrantClient, engine: Engine, tmp_path: Path, on_error: Any, place: str
) -> None:
    index = JinaQdrant(client if place == "memory" else f"edge:{tmp_path}", "docs", engine)
    with pytest.raises(InvalidOptionError, match=r"on_error is .*'raise' or 'dead_letter'"):
        index.ingest([], on_error=on_error)
    assert not index.store.exists()
    index.close()


# Metadata alone


class Changed:
    """A client before whose next `set_payload` something else happens, or that refuses some."""

    def __init__(self, client: Any) -> None:
        self.__client = client
        self.before: list[Any] = []
        self.refused: list[Any] = []

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        if name == "set_payload":
            return self.__set_payload
        return getattr(self.__client, name)

    def __set_payload(self, collection: str, payload: dict[str, Any], **options: Any) -> Any:
        if self.before:
            self.before.pop()()
        if payload.get("meta") in self.refused:
            raise ValueError("I do not like this metadata")
        return self.__client.set_payload(collection, payload, **options)


THREE = [{"id": name, "text": TEXT, "spans": SPANS, "metadata": {"n": 1}} for name in "abc"]
LATER = [{**document, "metadata": {"n": 2}} for document in THREE]


def test_metadata_that_a_store_refuses_is_a_dead_letter(
    client: QdrantClient, engine: Engine
) -> None:
    server: Any = Changed(ServerLike(client))
    index = JinaQdrant(server, "docs", engine)
    index.ingest(THREE)
    server.refused.append({"n": 3})
    mixed = [LATER[0], {**THREE[1], "metadata": {"n": 3}}, LATER[2]]
    with pytest.raises(StoreRefusedError, match="I do not like this metadata"):
        index.ingest(mixed)
    letters: list[DeadLetter] = []
    report = index.ingest(mixed, on_error="dead_letter", dead_letters=letters.append)
    assert [(one.number, one.doc_id, one.kind) for one in letters] == [
        (1, "b", "StoreRefusedError")
    ]
    assert (report.updated + report.skipped, report.failed, report.documents) == (2, 1, 3)
    assert [index.get(name) for name in "ac"] == [LATER[0], LATER[2]]
    assert index.ingest(LATER).updated == 1
    assert index.verify(sample=3).ok


@pytest.mark.parametrize("place", ["memory", "server", "edge"])
@pytest.mark.parametrize("chunk", range(len(SPANS)))
def test_a_document_with_a_chunk_missing_is_embedded_again_when_its_metadata_changes(
    client: QdrantClient, engine: Engine, tmp_path: Path, place: str, chunk: int
) -> None:
    where: Any = {"memory": client, "server": ServerLike(client), "edge": f"edge:{tmp_path}"}[place]
    index = JinaQdrant(where, "docs", engine)
    index.ingest(THREE)
    index.store.delete([point_id("b", chunk)])
    report = index.ingest(LATER)
    assert (report.embedded, report.updated, report.chunks) == (1, 2, len(SPANS))
    assert [index.get(name) for name in "abc"] == LATER
    assert index.verify(sample=3, deep=True).ok
    assert index.ingest(LATER).skipped == 3
    index.close()


@pytest.mark.parametrize("payload", [{"doc_hash": "f" * 64}, {"fp": "0" * 16}, {"n_chunks": 9}])
@pytest.mark.parametrize("chunk", [0, 2])
def test_a_document_with_a_chunk_of_another_version_is_embedded_again_too(
    client: QdrantClient, engine: Engine, payload: dict[str, Any], chunk: int
) -> None:
    index = JinaQdrant(client, "docs", engine)
    index.ingest(THREE)
    index.store.set_payload([point_id("b", chunk)], payload)
    report = index.ingest(LATER)
    assert (report.embedded, report.updated) == (1, 2)
    assert index.verify(sample=3, deep=True).ok


def test_a_chunk_that_goes_while_metadata_is_written_is_a_concurrent_write(
    client: QdrantClient, engine: Engine
) -> None:
    """A server answers 404, as it does to every request for a collection that is not there."""
    server: Any = Changed(ServerLike(client))
    index = JinaQdrant(server, "docs", engine)
    for chunk in range(len(SPANS)):
        index.ingest(THREE)
        server.before.append(lambda chunk=chunk: client.delete("docs", [point_id("b", chunk)]))
        letters: list[DeadLetter] = []
        report = index.ingest(LATER[1:], on_error="dead_letter", dead_letters=letters.append)
        assert (report.updated, report.failed) == (1, 1)
        ((doc_id, kind, said),) = [(one.doc_id, one.kind, one.error) for one in letters]
        assert (doc_id, kind) == ("b", "ConcurrentWriteError")
        assert point_id("b", chunk) in said
        index.ingest(LATER)
        assert [index.get(name) for name in "abc"] == LATER
        assert index.verify(sample=3, deep=True).ok


def test_a_head_that_goes_while_a_text_is_written_is_a_concurrent_write(
    client: QdrantClient, engine: Engine
) -> None:
    server: Any = Changed(ServerLike(client))
    index = JinaQdrant(server, "docs", engine)
    index.ingest(THREE)
    new = [{"id": name, "text": "Other."} for name in "abc"]
    server.before.append(lambda: client.delete("docs", [point_id("b", 0)]))
    report = index.ingest(new, on_error="dead_letter")
    assert (report.embedded, report.failed) == (3, 0)  # each half by itself, and all of it there
    server.before.append(lambda: client.delete("docs", [point_id("b", 0)]))
    with pytest.raises(ConcurrentWriteError, match=point_id("b", 0)):
        index.ingest(THREE)
    index.ingest(THREE)
    assert [index.get(name) for name in "abc"] == THREE
    assert index.verify(sample=3, deep=True).ok


def test_a_key_that_may_not_write_is_no_dead_letter(client: QdrantClient, engine: Engine) -> None:
    def refuse() -> None:
        raise UnexpectedResponse(403, "Forbidden", b"read only", httpx.Headers())

    server: Any = Changed(ServerLike(client))
    index = JinaQdrant(server, "docs", engine)
    index.ingest(THREE)
    server.before.append(refuse)
    with pytest.raises(AccessRefusedError, match="check the API key"):
        index.ingest(LATER, on_error="dead_letter")


# Tenants and layouts


def test_tenants_see_their_own_documents_only(client: QdrantClient, engine: Engine) -> None:
    layout = CollectionLayout(tenants=True)
    acme, other = (
        JinaQdrant(client, "docs", engine, layout=layout, tenant=name) for name in ("acme", "other")
    )
    acme.ingest([{"id": "a", "text": "Berlin."}, {"id": "b", "text": "Paris."}])
    other.ingest([{"id": "a", "text": "Rome."}])
    assert (acme.count(), other.count()) == (2, 1)
    assert {hit.text for hit in acme.search("city")} == {"Berlin.", "Paris."}
    is_a = models.Filter(
        must=[models.FieldCondition(key="doc_id", match=models.MatchValue(value="a"))]
    )
    assert [hit.text for hit in other.search("city", filter=is_a)] == ["Rome."]
    assert acme.delete("a") == 1
    assert other.get("a") is not None
    assert acme.get("a") is None
    with pytest.raises(InvalidOptionError, match="shared by tenants"):
        JinaQdrant(client, "docs", engine)


def test_a_tenant_needs_a_collection_with_tenants(client: QdrantClient, engine: Engine) -> None:
    JinaQdrant(client, "docs", engine).ingest([{"id": "a", "text": "Berlin."}])
    with pytest.raises(InvalidOptionError, match="tenant is 'acme', but the collection has no"):
        JinaQdrant(client, "docs", engine, tenant="acme")
    with pytest.raises(InvalidOptionError, match="tenant is ''"):
        JinaQdrant(client, "other", engine, tenant="")


def test_options_without_effect_are_named(client: QdrantClient, engine: Engine) -> None:
    layout = CollectionLayout(quantization="int8", bulk=True, shards=2)
    index = JinaQdrant(client, "docs", engine, layout=layout)
    with pytest.warns(UserWarning, match="quantization, shards, bulk: no effect") as caught:
        index.ingest([{"id": "a", "text": "Berlin."}])
    assert [warning.filename for warning in caught] == [__file__]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"quantization": "int4"}, "quantization is 'int4'; give one of 'none', 'int8'"),
        ({"storage": "float64"}, "storage is 'float64'"),
        ({"coarse_dimensions": 64}, r"coarse_dimensions is 64; give an integer in 1…63"),
        ({"coarse_dimensions": True}, "coarse_dimensions is True"),
        ({"payload_indexes": {"meta.n": "number"}}, r"payload_indexes\['meta.n'\] is 'number'"),
        ({"shards": 0}, "shards is 0"),
        ({"bulk": 1}, "bulk is 1; give True or False"),
    ],
)
def test_layouts_that_cannot_be_are_refused(
    client: QdrantClient, engine: Engine, options: Any, message: str
) -> None:
    with pytest.raises(InvalidOptionError, match=message):
        JinaQdrant(client, "docs", engine, layout=CollectionLayout(**options))
    assert not client.collection_exists("docs")


# Searches


def test_filters_thresholds_and_groups(client: QdrantClient, engine: Engine) -> None:
    index = JinaQdrant(client, "docs", engine, SMALL)
    documents = [
        {"id": str(i), "text": f"{TEXT}\n\nNumber {i}.", "metadata": {"even": not i % 2}}
        for i in range(6)
    ]
    index.ingest(documents)
    all_hits = index.search("the capital", limit=100)
    assert len(all_hits) == index.count() > 6
    even = models.Filter(
        must=[models.FieldCondition(key="meta.even", match=models.MatchValue(value=True))]
    )
    found = index.search("the capital", limit=100, filter=even)
    assert [hit.id for hit in found] == [hit.id for hit in all_hits if hit.metadata["even"]]
    least = all_hits[4].score
    found = index.search("the capital", limit=100, score_threshold=least - 1e-6)
    assert {hit.id for hit in found} >= {hit.id for hit in all_hits[:5]}
    assert all(hit.score >= least - 1e-6 for hit in found)
    best: dict[str, float] = {}
    for hit in all_hits:
        best.setdefault(hit.doc_id, hit.score)
    groups = index.search("the capital", limit=4, group_by_document=True)
    assert len({hit.doc_id for hit in groups}) == 4
    assert [hit.score for hit in groups] == pytest.approx(sorted(best.values())[::-1][:4], abs=1e-5)


def test_a_filter_is_a_filter(client: QdrantClient, engine: Engine) -> None:
    index = JinaQdrant(client, "docs", engine)
    index.ingest([{"id": "a", "text": "Berlin."}])
    with pytest.raises(InvalidOptionError, match=r"filter is a dict; give a qdrant_client.models"):
        index.search("x", filter={"must": []})  # type: ignore[arg-type]


def test_a_point_of_somebody_else_is_named_when_it_is_found(
    client: QdrantClient, engine: Engine
) -> None:
    index = JinaQdrant(client, "docs", engine)
    index.ingest([{"id": "a", "text": "Berlin."}])
    foreign = models.PointStruct(id=7, vector=[1.0] * engine.dimension, payload={"text": "Rome."})
    client.upsert("docs", [foreign])
    with pytest.raises(UnmanagedCollectionError, match=r"point 7 .* no chunk_index, doc_id, meta;"):
        index.search("x")


@pytest.mark.filterwarnings("ignore:bulk")  # no effect locally, and said
@pytest.mark.parametrize("place", ["memory", "edge"])
def test_a_finished_bulk_ingestion_is_recorded_as_finished(
    client: QdrantClient, engine: Engine, tmp_path: Path, place: str
) -> None:
    where = client if place == "memory" else f"edge:{tmp_path}"
    index = JinaQdrant(where, "docs", engine, layout=CollectionLayout(bulk=True))
    index.ingest([{"id": "a", "text": "Berlin."}])
    assert index.store.metadata()[LAYOUT_KEY]["bulk"] is True
    index.finish_bulk()
    assert index.store.metadata()[LAYOUT_KEY]["bulk"] is False
    index.close()
