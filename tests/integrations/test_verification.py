"""Damage made by hand: every kind is found, under its own name, and nothing else is reported."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from qdrant_client import QdrantClient, models

from jina_local.errors import InvalidOptionError
from jina_local_qdrant import (
    CollectionLayout,
    EmbeddingSpec,
    JinaQdrant,
    VerifyReport,
    embedding,
    sampling,
)
from jina_local_qdrant.errors import (
    CollectionNotFoundError,
    FingerprintMismatchError,
    UnmanagedCollectionError,
    VerificationError,
)
from jina_local_qdrant.locations import open_store
from jina_local_qdrant.payload import point_id
from jina_local_qdrant.store import Point, StoredPoint
from jina_local_qdrant.survey import Survey

if TYPE_CHECKING:
    from pathlib import Path

    from jina_local import Engine

SPEC = EmbeddingSpec(chunk_tokens=30)
DOCUMENTS: list[dict[str, Any]] = [
    {"id": "bread", "text": "Flour, water and salt; knead, wait, bake.", "metadata": {"n": 1}},
    {"id": "long", "text": "\n\n".join(f"Paragraph {i} about nothing much." for i in range(20))},
    {"id": "spans", "text": "  one two  three ", "spans": [(2, 9), (11, 16)]},
    {"id": "empty", "text": ""},
    {"id": "blank", "text": " \n "},
]
N = len(DOCUMENTS)
FINDINGS = ("incomplete", "orphans", "mixed", "foreign", "unmanaged", "bad_vectors")
LONG = [point_id("long", i) for i in range(3)]

Damage = Callable[[QdrantClient], object]


@pytest.fixture
def client() -> QdrantClient:
    return QdrantClient(":memory:")


@pytest.fixture
def index(client: QdrantClient, engine: Engine) -> JinaQdrant:
    index = JinaQdrant(client, "docs", engine, SPEC)
    index.ingest(DOCUMENTS)
    return index


def found(report: VerifyReport) -> dict[str, tuple[str, ...]]:
    """The kinds of damage in a report, each with what it was found in."""
    findings = {name: getattr(report, name) for name in FINDINGS}
    findings["altered"] = report.sample.altered
    names = {name: finding.examples for name, finding in findings.items() if finding}
    if report.is_cosine_low:
        names["cosine"] = (str(report.sample.worst_document),)
    return names


# Clean


@pytest.mark.parametrize("where", ["memory", "folder", "edge"])
@pytest.mark.parametrize("late_chunking", [True, False])
@pytest.mark.parametrize("dimensions", [None, 8])
def test_a_clean_collection_is_ok(
    engine: Engine, tmp_path: Path, where: str, late_chunking: bool, dimensions: int | None
) -> None:
    spec = EmbeddingSpec(chunk_tokens=30, late_chunking=late_chunking, dimensions=dimensions)
    index = JinaQdrant(opened(where, tmp_path), "docs", engine, spec)
    n_chunks = index.ingest(DOCUMENTS).chunks
    for deep in (False, True):
        report = index.verify(sample=100, deep=deep)
        assert report.problems() == []
        assert report.ok
        assert found(report) == {}
        assert (report.documents, report.sampled) == (N, N)
        assert report.points == report.expected_points == n_chunks
        assert report.worst_cosine == pytest.approx(1.0, abs=1e-5)
    index.close()


def opened(where: str, folder: Path) -> Any:
    if where == "edge":
        pytest.importorskip("qdrant_edge")
        return f"edge:{folder / 'edge'}"
    return QdrantClient(":memory:") if where == "memory" else QdrantClient(path=str(folder / "db"))


def test_an_empty_collection_is_ok(client: QdrantClient, engine: Engine) -> None:
    index = JinaQdrant(client, "docs", engine, SPEC)
    index.ingest([])
    report = index.verify(deep=True)
    assert report.ok
    assert (report.documents, report.points, report.sampled) == (0, 0, 0)
    assert report.worst_cosine is None


def test_nothing_is_embedded_for_a_sample_of_none(index: JinaQdrant) -> None:
    report = index.verify(sample=0)
    assert (report.ok, report.sampled, report.worst_cosine) == (True, 0, None)


# Damaged


def payload_set(doc_id: str, chunk: int, **payload: object) -> Damage:
    return lambda client: client.set_payload("docs", payload, points=[point_id(doc_id, chunk)])


def deleted(doc_id: str, chunk: int) -> Damage:
    return lambda client: client.delete("docs", [point_id(doc_id, chunk)])


def key_deleted(doc_id: str, chunk: int, key: str) -> Damage:
    return lambda client: client.delete_payload("docs", [key], points=[point_id(doc_id, chunk)])


def vector_set(doc_id: str, chunk: int, change: Callable[[np.ndarray], np.ndarray]) -> Damage:
    def damage(client: QdrantClient) -> None:
        point = read(client, doc_id, chunk)
        vector = change(np.asarray(point.vector))
        changed = models.PointVectors(id=point.id, vector=vector.tolist())
        client.update_vectors("docs", [changed])

    return damage


def copied(doc_id: str, chunk: int, id_: str, **payload: object) -> Damage:
    """The same point once more, under another id."""

    def damage(client: QdrantClient) -> None:
        point = read(client, doc_id, chunk)
        vector: Any = point.vector
        new = models.PointStruct(
            id=id_, vector=vector, payload={**(point.payload or {}), **payload}
        )
        client.upsert("docs", [new])

    return damage


def nan_written(client: QdrantClient) -> None:
    """Past the checks of the client, as a fault of a disk or an engine would."""
    local: Any = client._client
    collection = local.collections["docs"]
    collection.vectors[""][collection.ids[LONG[1]]] = np.nan


def read(client: QdrantClient, doc_id: str, chunk: int) -> models.Record:
    (point,) = client.retrieve("docs", [point_id(doc_id, chunk)], with_vectors=True)
    return point


def n_long(client: QdrantClient) -> int:
    return int((read(client, "long", 0).payload or {})["n_chunks"])


def last_deleted(client: QdrantClient) -> None:
    deleted("long", n_long(client) - 1)(client)


def one_too_many(client: QdrantClient) -> None:
    n = n_long(client)
    copied("long", 1, point_id("long", n), chunk_index=n)(client)


def last_after_a_gap(client: QdrantClient) -> None:
    """As many chunks as there should be, with the right version, but not the right ones."""
    n = n_long(client)
    copied("long", 1, point_id("long", n), chunk_index=n)(client)
    deleted("long", 1)(client)


HEADS: Any = models.Filter(
    must=[models.FieldCondition(key="chunk_index", match=models.MatchValue(value=0))]
)
STRAY = str(uuid.UUID(int=7))
DAMAGES: dict[str, tuple[Damage, dict[str, tuple[str, ...]]]] = {
    "head deleted": (deleted("long", 0), {"orphans": ("long",)}),
    "only chunk deleted": (deleted("bread", 0), {}),
    "chunk deleted": (deleted("long", 1), {"incomplete": ("long",)}),
    "last chunk deleted": (last_deleted, {"incomplete": ("long",)}),
    "one chunk too many": (one_too_many, {"incomplete": ("long",)}),
    "gap and one too many": (last_after_a_gap, {"incomplete": ("long",)}),
    "copied to another id": (copied("long", 1, STRAY), {"incomplete": ("long",)}),
    "copied head": (copied("long", 0, STRAY), {"incomplete": ("long",)}),
    "being written": (payload_set("long", 0, doc_hash=None), {"incomplete": ("long",)}),
    "metadata being written": (payload_set("bread", 0, meta_hash=None), {"incomplete": ("bread",)}),
    "chunk of another text": (payload_set("long", 1, doc_hash="f" * 64), {"mixed": ("long",)}),
    "chunk of other metadata": (payload_set("long", 2, meta_hash="f" * 64), {"mixed": ("long",)}),
    "chunk without a version": (payload_set("long", 1, doc_hash=None), {"mixed": ("long",)}),
    "chunk of another length": (payload_set("long", 1, n_chunks=99), {"mixed": ("long",)}),
    "foreign head": (payload_set("long", 0, fp="0" * 16), {"foreign": ("long",)}),
    "foreign chunk": (payload_set("long", 2, fp="0" * 16), {"foreign": ("long",)}),
    "no fingerprint": (key_deleted("bread", 0, "fp"), {"foreign": ("bread",)}),
    "bare point": (
        lambda client: client.upsert(
            "docs", [models.PointStruct(id=STRAY, vector=[1.0] * 64, payload={})]
        ),
        {"unmanaged": (STRAY,)},
    ),
    "no chunk number": (copied("bread", 0, STRAY, chunk_index=None), {"unmanaged": (STRAY,)}),
    "text for a number": (copied("bread", 0, STRAY, n_chunks="1"), {"unmanaged": (STRAY,)}),
    "another text": (payload_set("long", 1, text="Something else."), {"altered": ("long",)}),
    "other metadata": (payload_set("bread", 0, meta={"n": 2}), {"altered": ("bread",)}),
    "gap lost": (key_deleted("spans", 0, "gaps"), {"altered": ("spans",)}),
    "gap changed": (payload_set("spans", 0, gaps=[[0, "xx"]]), {"altered": ("spans",)}),
    "spans moved": (payload_set("spans", 1, start=12, end=17), {"altered": ("spans",)}),
    "vector turned": (vector_set("long", 1, lambda v: np.roll(v, 1)), {"cosine": ("long",)}),
    "vector in float16": (vector_set("long", 1, lambda v: v.astype(np.float16)), {}),
    "vector a bit off": (vector_set("bread", 0, lambda v: v + 0.02), {"cosine": ("bread",)}),
    "vector zeroed": (
        vector_set("long", 1, lambda v: v * 0.0),
        {"bad_vectors": ("long",), "cosine": ("long",)},
    ),
    "vector not finite": (nan_written, {"bad_vectors": ("long",), "cosine": ("long",)}),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_every_kind_of_damage_is_found_and_nothing_else(
    client: QdrantClient, index: JinaQdrant, name: str
) -> None:
    damage, expected = DAMAGES[name]
    damage(client)
    report = index.verify(sample=100, deep=True)
    assert found(report) == expected
    assert report.ok == (not expected)
    assert len(report.problems()) == len(expected)
    for line, (subject,) in zip(report.problems(), expected.values(), strict=True):
        assert repr(subject) in line


@pytest.mark.parametrize("name", [name for name in DAMAGES if DAMAGES[name][1]])
def test_the_advice_repairs_the_damage(client: QdrantClient, index: JinaQdrant, name: str) -> None:
    """What `problems` says to do: delete orphans, ingest again with reembed=True."""
    DAMAGES[name][0](client)
    report = index.verify(sample=0)
    if report.unmanaged:
        client.delete("docs", list(report.unmanaged.examples))
    index.delete(report.orphans.examples)
    index.ingest(DOCUMENTS, reembed=True)
    assert index.verify(sample=100, deep=True).problems() == []


def test_vectors_are_read_only_if_asked(client: QdrantClient, index: JinaQdrant) -> None:
    nan_written(client)
    assert index.verify(sample=0).ok
    assert found(index.verify(sample=0, deep=True)) == {"bad_vectors": ("long",)}


def test_a_vector_that_is_not_finite_is_as_far_off_as_can_be(
    client: QdrantClient, index: JinaQdrant
) -> None:
    nan_written(client)
    assert index.verify(sample=100).worst_cosine == -1.0


def test_the_worst_cosine_is_that_of_the_stored_vector(
    client: QdrantClient, index: JinaQdrant
) -> None:
    before = np.asarray(read(client, "long", 1).vector)
    vector_set("long", 1, lambda v: np.roll(v, 1))(client)
    after = np.asarray(read(client, "long", 1).vector)
    assert index.verify(sample=100).worst_cosine == pytest.approx(before @ after, abs=1e-5)


def test_a_vector_missing_from_a_point_is_bad(client: QdrantClient, engine: Engine) -> None:
    layout = CollectionLayout(coarse_dimensions=4)
    index = JinaQdrant(client, "docs", engine, SPEC, layout=layout)
    index.ingest(DOCUMENTS)
    assert index.verify(sample=100, deep=True).ok
    client.delete_vectors("docs", ["full"], points=[LONG[1]])
    report = index.verify(sample=100, deep=True)
    assert found(report) == {"bad_vectors": ("long",), "cosine": ("long",)}
    assert report.worst_cosine == -1.0


# Coarse vectors


def coarse_set(change: Callable[[np.ndarray], np.ndarray]) -> Damage:
    def damage(client: QdrantClient) -> None:
        vectors: Any = read(client, "long", 1).vector
        changed = {"coarse": change(np.asarray(vectors["coarse"])).tolist()}
        client.update_vectors("docs", [models.PointVectors(id=LONG[1], vector=changed)])

    return damage


def coarse_nan(client: QdrantClient) -> None:
    local: Any = client._client
    collection = local.collections["docs"]
    collection.vectors["coarse"][collection.ids[LONG[1]]] = np.nan


BAD_COARSE: dict[str, Damage] = {
    "turned": coarse_set(lambda v: -v),
    "rolled": coarse_set(lambda v: np.roll(v, 1)),
    "a bit off": coarse_set(lambda v: v + 0.02),
    "zeroed": coarse_set(lambda v: v * 0.0),
    "not finite": coarse_nan,
    "missing": lambda client: client.delete_vectors("docs", ["coarse"], points=[LONG[1]]),
}


@pytest.mark.parametrize("name", BAD_COARSE)
def test_a_coarse_vector_that_is_not_the_beginning_of_its_full_one_is_bad(
    client: QdrantClient, engine: Engine, name: str
) -> None:
    """Searches begin with it, and what it misses is never found; no full vector tells."""
    layout = CollectionLayout(coarse_dimensions=8)
    index = JinaQdrant(client, "docs", engine, SPEC, layout=layout)
    index.ingest(DOCUMENTS)
    coarse_set(lambda v: v.astype(np.float16))(client)
    assert index.verify(sample=100, deep=True).ok
    BAD_COARSE[name](client)
    assert index.verify(sample=100).ok
    report = index.verify(sample=100, deep=True)
    assert found(report) == {"bad_vectors": ("long",)}
    (line,) = report.problems()
    assert "if coarse, not the beginning of its full one: ingest again" in line
    index.ingest(DOCUMENTS, reembed=True)
    assert index.verify(deep=True).ok


def test_a_coarse_vector_of_another_size_is_bad() -> None:
    """No store takes one; a layout that was edited may promise one."""
    survey = Survey("fp", 2, 1)
    payload = {"doc_id": "a", "chunk_index": 0, "n_chunks": 1}
    unit = np.array([0.6, 0.8])
    for coarse, is_bad in ((np.array([1.0]), False), (unit, True), (None, True)):
        survey.add(StoredPoint(STRAY, payload, unit, coarse), is_deep=True)
        assert bool(survey.finding(lambda document: document.has_bad_vector)) == is_bad


@pytest.mark.parametrize("storage", ["float32", "float16"])
def test_coarse_vectors_of_an_edge_folder_are_read_too(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, storage: Any
) -> None:
    edge_store = pytest.importorskip("jina_local_qdrant.edge_store")
    layout = CollectionLayout(coarse_dimensions=8, storage=storage)
    index = JinaQdrant(f"edge:{tmp_path}", "docs", engine, SPEC, layout=layout)
    index.ingest(DOCUMENTS)
    assert index.verify(sample=100, deep=True).ok
    real = edge_store.coarse_vector
    monkeypatch.setattr(edge_store, "coarse_vector", lambda v, n: -real(v, n))
    index.ingest(DOCUMENTS[:1], reembed=True)
    assert index.verify(sample=100).ok
    assert found(index.verify(sample=100, deep=True)) == {"bad_vectors": ("bread",)}
    index.close()


def test_counts_say_what_is_there_and_what_should_be(
    client: QdrantClient, index: JinaQdrant
) -> None:
    whole = index.verify()
    deleted("long", 1)(client)
    deleted("long", 2)(client)
    report = index.verify()
    assert report.documents == N - 1
    assert report.expected_points == whole.points
    assert report.points == whole.points - 2


def test_many_findings_are_counted_and_some_are_named(client: QdrantClient, engine: Engine) -> None:
    index = JinaQdrant(client, "docs", engine, SPEC)
    index.ingest({"id": f"{i:02}", "text": "x"} for i in range(30))
    heads = [point_id(f"{i:02}", 0) for i in range(25)]
    client.set_payload("docs", {"doc_hash": None}, points=[*heads])
    report = index.verify()
    assert report.incomplete.number == 25
    assert report.incomplete.examples == tuple(f"{i:02}" for i in range(20))
    (line,) = report.problems()
    assert line.startswith("25 documents incomplete: ingest again")
    assert line.endswith("'19' and 5 more)")


def test_several_kinds_of_damage_are_told_apart(client: QdrantClient, index: JinaQdrant) -> None:
    deleted("long", 0)(client)
    payload_set("bread", 0, meta_hash=None)(client)
    payload_set("spans", 1, doc_hash="0" * 64)(client)
    payload_set("empty", 0, fp="0" * 16)(client)
    expected = {"orphans": "long", "incomplete": "bread", "mixed": "spans", "foreign": "empty"}
    report = index.verify(sample=100, deep=True)
    assert found(report) == {name: (doc_id,) for name, doc_id in expected.items()}
    assert report.documents == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [({"sample": -1}, "sample is -1"), ({"sample": 1.5}, "sample is 1.5"), ({"deep": 1}, "deep")],
)
def test_wrong_options_are_refused(
    index: JinaQdrant, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(InvalidOptionError, match=message):
        index.verify(**options)


# The sample


def sampled_texts(index: JinaQdrant, sample: int, patch: pytest.MonkeyPatch) -> list[str]:
    texts: list[str] = []
    embed = embedding.embed_documents_of

    def recorded(engine: Engine, spec: EmbeddingSpec, documents: Any) -> Any:
        texts.extend(text for text, _ in documents)
        return embed(engine, spec, documents)

    with patch.context() as context:
        context.setattr(sampling, "embed_documents_of", recorded)
        assert index.verify(sample=sample).sampled == sample
    return texts


def test_the_sample_is_the_same_each_time_grows_and_is_not_the_first(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    documents = [{"id": f"{i:02}", "text": f"text {i:02}"} for i in range(40)]
    chosen = []
    for order in (documents, documents[::-1]):
        index = JinaQdrant(QdrantClient(":memory:"), "docs", engine, SPEC)
        index.ingest(order)
        chosen.append([set(sampled_texts(index, n, monkeypatch)) for n in (3, 10, 40)])
    assert chosen[0] == chosen[1]
    few, more, everything = chosen[0]
    assert few < more < everything == {document["text"] for document in documents}
    in_order = sorted(everything)
    assert more not in (set(in_order[:10]), set(in_order[-10:]))


def test_documents_that_are_not_complete_are_not_sampled(
    client: QdrantClient, index: JinaQdrant
) -> None:
    deleted("long", 1)(client)
    payload_set("bread", 0, doc_hash=None)(client)
    assert index.verify(sample=100).sampled == N - 2


def test_texts_are_read_for_the_sample_alone(index: JinaQdrant) -> None:
    asked: list[Any] = []
    scan = index.store.scan

    def recorded(*args: Any, keys: Any = None, **options: Any) -> Any:
        asked.append(keys)
        return scan(*args, keys=keys, **options)

    index.store.scan = recorded  # type: ignore[method-assign]
    index.verify(sample=0, deep=True)
    (keys,) = asked
    assert not {"text", "meta", "gaps"} & set(keys)


# Tenants


def test_tenants_are_verified_apart(client: QdrantClient, engine: Engine) -> None:
    ours, theirs = (JinaQdrant(client, "docs", engine, SPEC, tenant=name) for name in ("a", "b"))
    ours.ingest(DOCUMENTS)
    theirs.ingest(DOCUMENTS[:2])
    assert (ours.verify(sample=9).sampled, theirs.verify(sample=9).sampled) == (N, 2)
    client.delete("docs", [point_id("long", 1, "b")])
    assert ours.verify(sample=100, deep=True).ok
    assert found(theirs.verify(sample=100, deep=True)) == {"incomplete": ("long",)}


# Adopting


def without_record(
    index: JinaQdrant, client: QdrantClient, size: int | None = None, **config: Any
) -> None:
    """Collection "copy": the same points as "docs", and no metadata but the user's own."""
    params = models.VectorParams(
        size=size or index.record["dimensions"],
        distance=config.pop("distance", models.Distance.COSINE),
    )
    client.create_collection("copy", vectors_config=params, metadata={"owner": "somebody"})
    points, _ = client.scroll("docs", limit=10_000, with_vectors=True)
    if size is None:
        copies: list[Any] = [
            models.PointStruct(id=p.id, vector=p.vector, payload=p.payload)  # type: ignore[arg-type]
            for p in points
        ]
        client.upsert("copy", copies)


def metadata(client: QdrantClient) -> Any:
    return client.get_collection("copy").config.metadata


def state(client: QdrantClient, name: str) -> list[Any]:
    points, _ = client.scroll(name, limit=10_000, with_vectors=True)
    return [(point.id, point.payload, point.vector) for point in points]


def test_adopting_writes_the_record_and_nothing_else(
    client: QdrantClient, engine: Engine, index: JinaQdrant
) -> None:
    without_record(index, client)
    with pytest.raises(UnmanagedCollectionError):
        JinaQdrant(client, "copy", engine, SPEC)
    before = state(client, "copy")
    adopted = JinaQdrant.adopt(client, "copy", engine, SPEC)
    assert state(client, "copy") == before
    assert metadata(client) == {"owner": "somebody", "jina_local": index.record}
    assert adopted.verify(sample=100, deep=True).ok
    assert adopted.ingest(DOCUMENTS).skipped == N
    JinaQdrant(client, "copy", engine, SPEC)


@pytest.mark.parametrize("where", ["folder", "edge"])
def test_adopting_works_in_every_store(
    engine: Engine, index: JinaQdrant, tmp_path: Path, where: str
) -> None:
    client = opened(where, tmp_path)
    store = open_store(client, "copy", None)
    store.create(size=engine.dimension, layout=CollectionLayout(), metadata={})
    stored = index.store.scan(vectors=True)
    store.upsert(
        [Point(one.id, one.vector, one.payload) for one in stored if one.vector is not None]
    )
    store.close()
    adopted = JinaQdrant.adopt(client, "copy", engine, SPEC)
    assert adopted.verify(sample=100, deep=True).ok
    adopted.close()


def test_an_empty_collection_can_be_adopted(client: QdrantClient, engine: Engine) -> None:
    size = models.VectorParams(size=engine.dimension, distance=models.Distance.COSINE)
    client.create_collection("copy", vectors_config=size)
    assert JinaQdrant.adopt(client, "copy", engine, SPEC).ingest(DOCUMENTS).embedded == N


def test_documents_that_were_interrupted_are_no_hindrance(
    client: QdrantClient, engine: Engine, index: JinaQdrant
) -> None:
    payload_set("long", 0, doc_hash=None)(client)
    without_record(index, client)
    assert JinaQdrant.adopt(client, "copy", engine, SPEC).ingest(DOCUMENTS).embedded == 1


def test_a_tenants_collection_is_adopted_for_a_tenant(client: QdrantClient, engine: Engine) -> None:
    index = JinaQdrant(client, "docs", engine, SPEC, tenant="a")
    index.ingest(DOCUMENTS)
    JinaQdrant(client, "docs", engine, SPEC, tenant="b").ingest(DOCUMENTS)
    without_record(index, client)
    with pytest.raises(InvalidOptionError, match="shared by tenants"):
        JinaQdrant.adopt(client, "copy", engine, SPEC)
    assert metadata(client) == {"owner": "somebody"}
    adopted = JinaQdrant.adopt(client, "copy", engine, SPEC, tenant="b")
    assert adopted.ingest(DOCUMENTS).skipped == N
    assert adopted.verify(sample=100, deep=True).ok


def every_key_deleted(key: str) -> Damage:
    return lambda client: client.delete_payload("docs", [key], points=models.Filter())


REFUSALS: dict[str, tuple[Damage, type[Exception], str]] = {
    "no payload of ours": (
        every_key_deleted("doc_id"),
        UnmanagedCollectionError,
        r"missing: 'doc_id' \(\d+ points\)",
    ),
    "no hashes": (every_key_deleted("doc_hash"), UnmanagedCollectionError, "'doc_hash'"),
    "no gaps": (key_deleted("long", 0, "gaps"), UnmanagedCollectionError, r"'gaps' \(1 points\)"),
    "wrong type": (
        payload_set("long", 1, chunk_index="1"),
        UnmanagedCollectionError,
        LONG[1],
    ),
    "no document complete": (
        lambda client: client.set_payload("docs", {"doc_hash": None}, points=HEADS),
        VerificationError,
        f"no document of it is complete; {N} documents incomplete",
    ),
    "another vector": (
        vector_set("long", 1, lambda v: np.roll(v, 1)),
        VerificationError,
        r"a stored vector of document 'long' has cosine -?0\.\d{4} to the one that embedding",
    ),
    "another text": (
        payload_set("long", 1, text="Something else."),
        VerificationError,
        r"1 document changed since it was ingested: .*'long'",
    ),
    "another fingerprint": (
        payload_set("bread", 0, fp="0" * 16),
        FingerprintMismatchError,
        "documents 'bread' carry another fingerprint than [0-9a-f]{16}",
    ),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_adopting_refuses_what_it_cannot_vouch_for_and_writes_nothing(
    client: QdrantClient, engine: Engine, index: JinaQdrant, name: str
) -> None:
    damage, error, message = REFUSALS[name]
    damage(client)
    without_record(index, client)
    before = state(client, "copy")
    with pytest.raises(error, match=message):
        JinaQdrant.adopt(client, "copy", engine, SPEC, sample=100)
    assert metadata(client) == {"owner": "somebody"}
    assert repr(state(client, "copy")) == repr(before)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"size": 8}, "vectors of 8 dimensions, Cosine, the spec gives 64"),
        (
            {"distance": models.Distance.DOT},
            "vectors of 64 dimensions, Dot, the spec gives 64 dimensions, Cosine",
        ),
    ],
)
def test_adopting_refuses_vectors_that_cannot_be_ours(
    client: QdrantClient, engine: Engine, index: JinaQdrant, config: Any, message: str
) -> None:
    without_record(index, client, **config)
    with pytest.raises(FingerprintMismatchError, match=message):
        JinaQdrant.adopt(client, "copy", engine, SPEC)
    assert metadata(client) == {"owner": "somebody"}


@pytest.mark.parametrize(
    "spec",
    [EmbeddingSpec(chunk_tokens=30, late_chunking=False), EmbeddingSpec(chunk_tokens=31)],
)
def test_adopting_with_another_spec_is_refused(
    client: QdrantClient, engine: Engine, index: JinaQdrant, spec: EmbeddingSpec
) -> None:
    """Vectors tell late chunking apart; what a splitter cuts only the fingerprint knows."""
    without_record(index, client)
    error = VerificationError if not spec.late_chunking else FingerprintMismatchError
    with pytest.raises(error):
        JinaQdrant.adopt(client, "copy", engine, spec, sample=100)
    assert metadata(client) == {"owner": "somebody"}


def test_adopting_with_another_model_is_refused(
    client: QdrantClient, demo: Engine, index: JinaQdrant
) -> None:
    without_record(index, client)
    with pytest.raises(VerificationError, match="has cosine"):
        JinaQdrant.adopt(client, "copy", demo, EmbeddingSpec(chunk_tokens=30, dimensions=64))
    assert metadata(client) == {"owner": "somebody"}


def test_what_has_a_record_or_is_not_there_is_not_adopted(
    client: QdrantClient, engine: Engine, index: JinaQdrant
) -> None:
    with pytest.raises(InvalidOptionError, match=r"'docs' has a record .* open it with JinaQdrant"):
        JinaQdrant.adopt(client, "docs", engine, SPEC)
    with pytest.raises(CollectionNotFoundError, match="no collection 'nowhere' to adopt"):
        JinaQdrant.adopt(client, "nowhere", engine, SPEC)
    without_record(index, client)
    with pytest.raises(InvalidOptionError, match="sample is 0"):
        JinaQdrant.adopt(client, "copy", engine, SPEC, sample=0)
    assert metadata(client) == {"owner": "somebody"}
