"""What goes in comes out: vectors in context, documents as they were, failures by name."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from qdrant_client import QdrantClient, models

from jina_local import ChunkedText
from jina_local.errors import InvalidOptionError
from jina_local_qdrant import CollectionLayout, DeadLetter, EmbeddingSpec, IngestReport, JinaQdrant
from jina_local_qdrant.documents import CheckedDocument, PreparedDocument, check_document
from jina_local_qdrant.errors import InvalidDocumentError, UnmanagedCollectionError
from jina_local_qdrant.layout import LAYOUT_KEY
from jina_local_qdrant.payload import chunk_payloads, point_id, rebuild

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
    assert JinaQdrant(client, "docs", engine, SMALL).search("number 7", limit=3) == found


# Documents


@dataclass
class Note:
    id: str
    text: str
    metadata: dict[str, Any] | None = None


def test_dataclasses_are_documents(client: QdrantClient, engine: Engine) -> None:
    index = JinaQdrant(client, "docs", engine)
    index.ingest([Note("a", "One."), Note("b", "Two.", {"n": 2})])
    assert index.get("a") == {"id": "a", "text": "One.", "metadata": {}, "spans": [(0, 4)]}
    assert index.get("b") == {"id": "b", "text": "Two.", "metadata": {"n": 2}, "spans": [(0, 4)]}
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


@pytest.mark.parametrize("on_error", ["ignore", None, True])
def test_on_error_is_one_of_two(client: QdrantClient, engine: Engine, on_error: Any) -> None:
    with pytest.raises(InvalidOptionError, match=r"on_error is .*'raise' or 'dead_letter'"):
        JinaQdrant(client, "docs", engine).ingest([], on_error=on_error)


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
