"""Documents in as passages, questions out as queries, one recorded way of making vectors."""

from __future__ import annotations

import contextlib
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from qdrant_client import QdrantClient, models

from jina_local.errors import InvalidOptionError
from jina_local_qdrant import EmbeddingSpec, IngestReport, JinaQdrant
from jina_local_qdrant.collection import point_id
from jina_local_qdrant.errors import (
    CollectionNotFoundError,
    FingerprintMismatchError,
    InvalidDocumentError,
    UnmanagedCollectionError,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from jina_local import Engine
    from jina_local_qdrant import Document

DOCUMENTS: list[Document] = [
    {"id": "bread", "text": "Flour, water and salt; knead, wait, bake.", "metadata": {"n": 1}},
    {"id": "boats", "text": "A sloop has one mast, a ketch has two."},
    {"id": "long", "text": "\n\n".join(f"Paragraph {i} about nothing much." for i in range(60))},
]
WHOLE = EmbeddingSpec(chunk_tokens=None)


@pytest.fixture(params=["memory", "folder"])
def client(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[QdrantClient]:
    if request.param == "memory":
        opened = QdrantClient(":memory:")
    else:
        opened = QdrantClient(path=str(tmp_path / "index"))
    yield opened
    opened.close()


def state(client: QdrantClient) -> dict[str, tuple[Any, np.ndarray]]:
    """Every point: id → payload and vector."""
    points, _ = client.scroll("docs", limit=10_000, with_vectors=True)
    return {str(point.id): (point.payload, np.asarray(point.vector)) for point in points}


def assert_same_state(client: QdrantClient, expected: dict[str, tuple[Any, np.ndarray]]) -> None:
    actual = state(client)
    assert {key: payload for key, (payload, _) in actual.items()} == {
        key: payload for key, (payload, _) in expected.items()
    }
    for key, (_, vector) in actual.items():
        assert vector == pytest.approx(expected[key][1], abs=1e-5)


# Vectors and hits


def test_documents_are_stored_as_passages(client: QdrantClient, engine: Engine) -> None:
    JinaQdrant(client, "docs", engine, WHOLE).ingest(DOCUMENTS)
    expected = engine.embed_documents([document["text"] for document in DOCUMENTS]).vectors
    for document, vector in zip(DOCUMENTS, expected, strict=True):
        (point,) = client.retrieve("docs", [point_id(document["id"], 0)], with_vectors=True)
        assert np.asarray(point.vector) == pytest.approx(vector, abs=1e-5)


def test_searches_are_made_as_queries(client: QdrantClient, engine: Engine) -> None:
    index = JinaQdrant(client, "docs", engine, WHOLE)
    index.ingest(DOCUMENTS)
    passages = engine.embed_documents([document["text"] for document in DOCUMENTS]).vectors
    scores = passages @ engine.embed_queries(["how many masts?"]).vectors[0]
    hits = index.search("how many masts?", limit=3)
    assert [hit.doc_id for hit in hits] == [DOCUMENTS[i]["id"] for i in np.argsort(-scores)]
    assert [hit.score for hit in hits] == pytest.approx(sorted(scores, reverse=True), abs=1e-5)


def test_there_is_no_task_to_choose(client: QdrantClient, engine: Engine) -> None:
    index = JinaQdrant(client, "docs", engine)
    with pytest.raises(TypeError, match="task"):
        index.ingest(DOCUMENTS, task="retrieval.query")  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="task"):
        index.search("x", task="retrieval.passage")  # type: ignore[call-arg]


def test_a_hit_says_what_was_found(client: QdrantClient, demo: Engine) -> None:
    index = JinaQdrant(client, "docs", demo)
    index.ingest(DOCUMENTS)
    (hit,) = index.search("make a loaf", limit=1)
    assert (hit.doc_id, hit.chunk_index, hit.metadata) == ("bread", 0, {"n": 1})
    assert hit.text == DOCUMENTS[0]["text"]
    assert hit.id == point_id("bread", 0)


def test_a_batch_of_searches_is_the_single_searches(client: QdrantClient, engine: Engine) -> None:
    index = JinaQdrant(client, "docs", engine)
    index.ingest(DOCUMENTS)
    queries = ["masts", "bread", "nothing"]
    for query, hits in zip(queries, index.search_batch(queries, limit=4), strict=True):
        alone = index.search(query, limit=4)
        assert [hit.id for hit in hits] == [hit.id for hit in alone]
    assert index.search_batch([]) == []


@pytest.mark.parametrize("dimensions", [1, 16, None])
def test_dimensions_are_the_collections(
    client: QdrantClient, engine: Engine, dimensions: int | None
) -> None:
    JinaQdrant(client, "docs", engine, EmbeddingSpec(dimensions=dimensions)).ingest(DOCUMENTS)
    vectors = client.get_collection("docs").config.params.vectors
    assert isinstance(vectors, models.VectorParams)
    assert (vectors.size, vectors.distance) == (dimensions or engine.dimension, "Cosine")


# Chunks


def test_chunks_are_slices_of_their_document(client: QdrantClient, engine: Engine) -> None:
    JinaQdrant(client, "docs", engine, EmbeddingSpec(chunk_tokens=30)).ingest(DOCUMENTS)
    payloads = [payload for payload, _ in state(client).values() if payload["doc_id"] == "long"]
    payloads.sort(key=lambda payload: payload["chunk_index"])
    text = DOCUMENTS[2]["text"]
    assert len(payloads) == payloads[0]["n_chunks"] > 1
    for index, payload in enumerate(payloads):
        assert payload["chunk_index"] == index
        assert payload["text"] == text[payload["start"] : payload["end"]]
    assert "".join("".join(p["text"].split()) for p in payloads) == "".join(text.split())


def test_an_empty_document_is_one_empty_chunk(client: QdrantClient, engine: Engine) -> None:
    report = JinaQdrant(client, "docs", engine).ingest([{"id": "empty", "text": ""}])
    assert (report.documents, report.chunks) == (1, 1)


# Again


def test_ingesting_again_skips_what_is_there(client: QdrantClient, engine: Engine) -> None:
    index = JinaQdrant(client, "docs", engine)
    first = index.ingest(DOCUMENTS)
    before = state(client)
    second = JinaQdrant(client, "docs", engine).ingest(DOCUMENTS)
    assert (first.documents, first.embedded, first.skipped) == (3, 3, 0)
    assert second == IngestReport(documents=3, embedded=0, skipped=3, chunks=0, tokens=0)
    assert_same_state(client, before)
    assert index.count() == first.chunks


@pytest.mark.parametrize("paragraphs", [1, 10, 60, 120])
def test_a_changed_document_is_as_if_it_were_new(
    client: QdrantClient, engine: Engine, paragraphs: int
) -> None:
    """Shorter or longer: the same points as in a collection that never saw the old version."""
    changed: Document = {"id": "long", "text": "\n\n".join(["Something else."] * paragraphs)}
    spec = EmbeddingSpec(chunk_tokens=30)
    index = JinaQdrant(client, "docs", engine, spec)
    index.ingest(DOCUMENTS)
    report = index.ingest([*DOCUMENTS[:2], changed])
    assert (report.embedded, report.skipped) == (1, 2)
    fresh = QdrantClient(":memory:")
    JinaQdrant(fresh, "docs", engine, spec).ingest([*DOCUMENTS[:2], changed])
    assert_same_state(client, state(fresh))


def test_changed_metadata_is_a_change_without_embedding(
    client: QdrantClient, engine: Engine
) -> None:
    index = JinaQdrant(client, "docs", engine)
    index.ingest([{"id": "a", "text": "x", "metadata": {"year": 1}}])
    report = index.ingest([{"id": "a", "text": "x", "metadata": {"year": 2}}])
    assert report == IngestReport(documents=1, updated=1)
    assert index.search("x")[0].metadata == {"year": 2}


def test_any_iterable_is_streamed_and_progress_counts_documents(
    client: QdrantClient, engine: Engine
) -> None:
    reports: list[IngestReport] = []
    stream = ({"id": str(i), "text": f"text {i}"} for i in range(300))
    report = JinaQdrant(client, "docs", engine).ingest(stream, progress=reports.append)
    assert report == reports[-1]
    assert report.documents == report.embedded == 300
    seen = [so_far.documents for so_far in reports]
    assert seen == sorted(seen)
    assert len(seen) > 1


# Opening


def test_point_ids_do_not_collide_and_do_not_change() -> None:
    assert point_id("a", 1) == "ea8a5ee5-5e6d-5e76-a0bb-6ff9a9cb7ff1" or len(point_id("a", 1)) == 36
    assert len({point_id(*key) for key in [("a", 1), ("a", 11), ("a1", 1), ('a"', 1)]}) == 4


def test_the_collection_says_how_its_vectors_were_made(
    client: QdrantClient, engine: Engine
) -> None:
    index = JinaQdrant(client, "docs", engine, EmbeddingSpec(dimensions=16))
    index.ingest(DOCUMENTS)
    record = (client.get_collection("docs").config.metadata or {})["jina_local"]
    assert record["weights"] == engine.weights_id
    assert (record["dimensions"], record["chunk_tokens"]) == (16, 256)
    assert record["fingerprint"] == index.fingerprint


def test_another_way_of_making_vectors_is_refused_by_its_fields(
    client: QdrantClient, engine: Engine, demo: Engine
) -> None:
    JinaQdrant(client, "docs", engine, EmbeddingSpec(dimensions=16)).ingest(DOCUMENTS)
    with pytest.raises(FingerprintMismatchError, match=r"dimensions: 16 in .*, 32 here"):
        JinaQdrant(client, "docs", engine, EmbeddingSpec(dimensions=32))
    with pytest.raises(FingerprintMismatchError, match=r"chunk_tokens: 256 in .*, 99 here"):
        JinaQdrant(client, "docs", engine, EmbeddingSpec(dimensions=16, chunk_tokens=99))
    with pytest.raises(ValueError, match="weights: "):
        JinaQdrant(client, "docs", demo, EmbeddingSpec(dimensions=16))
    JinaQdrant(client, "docs", engine, EmbeddingSpec(dimensions=16))


def test_a_collection_of_unknown_origin_is_refused(client: QdrantClient, engine: Engine) -> None:
    size = models.VectorParams(size=engine.dimension, distance=models.Distance.COSINE)
    client.create_collection("docs", vectors_config=size)
    with pytest.raises(UnmanagedCollectionError, match="'docs' was not made by this helper"):
        JinaQdrant(client, "docs", engine)


def test_searching_before_ingesting_says_so(client: QdrantClient, engine: Engine) -> None:
    with pytest.raises(CollectionNotFoundError, match="no collection 'docs' yet: ingest"):
        JinaQdrant(client, "docs", engine).search("x")


# Bad documents


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({"text": "x"}, "document 1 has id None"),
        ({"id": "", "text": "x"}, "document 1 has id ''"),
        ({"id": 7, "text": "x"}, "document 1 has id 7"),
        ({"id": "a"}, "document 'a' has a text of type NoneType"),
        ({"id": "a", "text": 3}, "document 'a' has a text of type int"),
        ({"id": "first", "text": "x"}, "'first' comes twice"),
        ({"id": "a", "text": "x", "metadata": {"s": {1}}}, "'a' is not JSON"),
        ({"id": "a", "text": "x", "metadata": {"s": float("nan")}}, "'a' is not JSON"),
        ({"id": "a\ud800", "text": "x"}, "is not JSON, of which all text must be UTF-8"),
        ({"id": "a", "text": "\ud800"}, "'a' is not JSON, of which all text must be UTF-8"),
        ({"id": "a", "text": "x", "metadata": None}, "'a' has metadata of type NoneType"),
        ({"id": "a", "text": "x", "metadata": "m"}, "'a' has metadata of type str"),
        ({"id": "a", "text": "x", "meta": {}}, r"document 1 has unknown fields \['meta'\]"),
        ("a", "document 1 is a str; give a dict"),
    ],
)
def test_a_bad_document_is_named(
    client: QdrantClient, engine: Engine, document: Any, message: str
) -> None:
    index = JinaQdrant(client, "docs", engine)
    with pytest.raises(InvalidDocumentError, match=message):
        index.ingest([{"id": "first", "text": "fine"}, document])
    assert index.count() == 0


@pytest.mark.parametrize("documents", ["text", {"id": "a", "text": "x"}])
def test_one_document_is_no_list_of_documents(
    client: QdrantClient, engine: Engine, documents: Any
) -> None:
    with pytest.raises(InvalidDocumentError, match="give a list of documents, even for one"):
        JinaQdrant(client, "docs", engine).ingest(documents)


def test_a_limit_below_one_is_refused(client: QdrantClient, engine: Engine) -> None:
    index = JinaQdrant(client, "docs", engine)
    index.ingest(DOCUMENTS)
    with pytest.raises(InvalidOptionError, match="limit is 0"):
        index.search("x", limit=0)


def test_two_holders_of_one_new_collection_see_each_others_writes(
    client: QdrantClient, engine: Engine
) -> None:
    first, second = JinaQdrant(client, "docs", engine), JinaQdrant(client, "docs", engine)
    other = JinaQdrant(client, "docs", engine, EmbeddingSpec(dimensions=8))
    first.ingest(DOCUMENTS)
    assert second.search("masts", limit=1)
    assert second.ingest(DOCUMENTS).skipped == 3
    with pytest.raises(FingerprintMismatchError):
        other.search("masts")
    client.delete_collection("docs")
    with pytest.raises(CollectionNotFoundError):
        first.search("masts")


# Crashes


class CrashError(Exception):
    """The process ends here."""


class CrashingClient:
    """A client whose n-th write, and every later one, is a crash before it happens."""

    WRITES = ("upsert", "delete", "set_payload")

    def __init__(self, client: QdrantClient, writes: int) -> None:
        self._client = client
        self._writes = writes

    def __getattr__(self, name: str) -> Any:
        if name in self.WRITES:
            self._writes -= 1
            if self._writes < 0:
                raise CrashError
        return getattr(self._client, name)


def version(paragraphs: int, word: str) -> Document:
    return {"id": "long", "text": "\n\n".join(f"{word} paragraph {i}." for i in range(paragraphs))}


@pytest.mark.parametrize("writes", range(6))
@pytest.mark.parametrize("before", [None, version(10, "old"), version(60, "old")])
@pytest.mark.parametrize("after", [version(3, "newest"), version(60, "old"), version(30, "new")])
def test_after_a_crash_at_any_write_the_next_run_leaves_what_an_uninterrupted_one_would(
    engine: Engine, writes: int, before: Document | None, after: Document
) -> None:
    """Also when the next run brings another version than the one that crashed."""
    spec = EmbeddingSpec(chunk_tokens=30)
    client = QdrantClient(":memory:")
    if before is not None:
        JinaQdrant(client, "docs", engine, spec).ingest([before])
    crashing: Any = CrashingClient(client, writes)
    with contextlib.suppress(CrashError):
        JinaQdrant(crashing, "docs", engine, spec).ingest([version(30, "new")])
    JinaQdrant(client, "docs", engine, spec).ingest([after])
    fresh = QdrantClient(":memory:")
    JinaQdrant(fresh, "docs", engine, spec).ingest([after])
    assert_same_state(client, state(fresh))


@pytest.mark.server
def test_against_a_real_server(engine: Engine) -> None:
    import os

    server = QdrantClient(url=os.environ["QDRANT_URL"])
    name = "jina-local-test"
    server.delete_collection(name)
    try:
        index = JinaQdrant(server, name, engine)
        assert index.ingest(DOCUMENTS).embedded == 3
        assert index.ingest(DOCUMENTS).skipped == 3
        assert index.search("how many masts?", limit=1)
    finally:
        server.delete_collection(name)


def test_nothing_here_warns(engine: Engine) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        JinaQdrant(QdrantClient(":memory:"), "docs", engine).ingest(DOCUMENTS)
