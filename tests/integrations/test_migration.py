"""A collection of another model, moved: what the new one holds; the old one is not touched.

The oracle is the definition. Documents' texts are made here, from the same sentences as the chunks,
and embedded by the engine with the spans that the chunks have in them.
"""

from __future__ import annotations

import json
import random
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from qdrant_client import QdrantClient, models

from jina_local import ChunkedText, Engine
from jina_local.errors import InvalidOptionError
from jina_local_qdrant import EmbeddingSpec, JinaQdrant
from jina_local_qdrant.layout import METADATA_KEY, CollectionLayout
from jina_local_qdrant.migration import Migration, PayloadFields
from jina_local_qdrant.migration.fields import value_at
from jina_local_qdrant.migration.points import Points
from support.checkpoints import TinyConfig, write_tiny
from support.crashing import ServerLike, quick_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

WIDTH, OLD_WIDTH, DIMENSIONS = 1024, 768, 512
FIELDS = PayloadFields(text="body.text", document="source.name", order="source.part")
SPEC = EmbeddingSpec(dimensions=DIMENSIONS)
WRITES = ("create", "update", "upsert", "delete", "set_", "overwrite", "clear", "batch", "upload")


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """As wide as v3, and as shallow as possible."""
    config = TinyConfig(
        hidden_size=WIDTH,
        n_layers=1,
        n_heads=4,
        intermediate_size=32,
        matryoshka_dimensions=(32, 256, DIMENSIONS, 768, WIDTH),
    )
    folder = tmp_path_factory.mktemp("wide")
    write_tiny(folder, config=config, delta_factor=100.0)
    with Engine.load(folder, device="cpu") as loaded:
        yield loaded


@pytest.fixture(params=["memory", "folder"])
def client(request: pytest.FixtureRequest) -> Iterator[QdrantClient]:
    with quick_folder() as folder:
        inside = request.param == "folder"
        opened = QdrantClient(path=str(folder)) if inside else QdrantClient(":memory:")
        yield opened
        opened.close()


# What is moved, and what it has to become


def sentences(name: str, n_chunks: int) -> list[str]:
    return [f"The {name} number {i} is one of the states of Germany." for i in range(n_chunks)]


DOCUMENTS = {name: sentences(name, n) for name, n in {"city": 4, "river": 1, "bridge": 3}.items()}
ALONE = {"letter": "A text that is part of no document."}


def old_points(
    documents: dict[str, list[str]], alone: dict[str, str], seed: int = 0
) -> list[models.PointStruct]:
    """Chunks in any order, with ids of both kinds that say nothing of the order."""
    rng = random.Random(seed)  # noqa: S311 - the same tests each time
    payloads: list[dict[str, Any]] = [
        {
            "body": {"text": text, "lang": ["en", {"script": "Latn"}]},
            "source": {"name": name, "part": i, "page": None, "score": 0.5},
            "tags": [],
            "is_public": i % 2 == 0,
        }
        for name, chunks in documents.items()
        for i, text in enumerate(chunks)
    ]
    payloads += [{"body": {"text": text}, "title": title} for title, text in alone.items()]
    rng.shuffle(payloads)
    old = np.random.default_rng(seed).normal(size=(len(payloads), OLD_WIDTH))
    return [
        models.PointStruct(
            id=1000 - i if i % 2 else f"{rng.getrandbits(32):08x}-0000-4000-8000-{i:012d}",
            vector=vector.tolist(),
            payload=payload,
        )
        for i, (vector, payload) in enumerate(zip(old, payloads, strict=True))
    ]


def expected_vectors(
    engine: Engine,
    points: Sequence[models.PointStruct],
    documents: dict[str, list[str]],
    spec: EmbeddingSpec,
) -> dict[Any, np.ndarray]:
    """By point: its chunk in the context of its document, which is its sentences and spaces."""
    found: dict[Any, np.ndarray] = {}
    for point in points:
        payload: Any = point.payload
        source = payload.get("source")
        text = payload["body"]["text"]
        if not spec.late_chunking:
            found[point.id] = engine.embed_documents([text], dimensions=spec.dimensions).vectors[0]
            continue
        chunks = documents[source["name"]] if source else [text]
        starts = np.cumsum([0, *(len(chunk) + 1 for chunk in chunks)]).tolist()
        spans = [(start, start + len(chunk)) for start, chunk in zip(starts, chunks, strict=False)]
        chunked = ChunkedText(" ".join(chunks), spans)
        [embedded] = engine.embed_chunks([chunked], dimensions=spec.dimensions)
        found[point.id] = embedded.vectors[source["part"] if source else 0]
    return found


def write_old(
    client: QdrantClient,
    points: Sequence[models.PointStruct],
    *,
    metadata: dict[str, Any] | None = None,
) -> None:
    client.create_collection(
        "old",
        vectors_config=models.VectorParams(size=OLD_WIDTH, distance=models.Distance.COSINE),
        metadata=metadata,
    )
    client.upsert("old", list(points))


def dump(client: Any, name: str) -> tuple[Any, dict[Any, tuple[Any, Any]]]:
    """All there is to see of a collection, to the last bit."""
    records, following = client.scroll(name, limit=10_000, with_vectors=True)
    assert following is None
    config = client.get_collection(name).config.model_dump()
    return config, {record.id: (record.payload, record.vector) for record in records}


def assert_vectors(actual: dict[Any, tuple[Any, Any]], expected: dict[Any, np.ndarray]) -> None:
    assert actual.keys() == expected.keys()
    for id_, vector in expected.items():
        assert np.allclose(actual[id_][1], vector, atol=1e-5), f"another vector at point {id_}"


# Acceptance line 1


@pytest.mark.parametrize("late", [True, False], ids=["late", "independent"])
def test_a_collection_of_another_model_moves_with_ids_and_payloads(
    wide: Engine, client: QdrantClient, *, late: bool
) -> None:
    """768 dimensions become 512: ids and payloads stay, vectors are those of embedding."""
    spec = EmbeddingSpec(dimensions=DIMENSIONS, late_chunking=late)
    points = old_points(DOCUMENTS, ALONE)
    write_old(client, points, metadata={"team": "search", "nested": {"a": [1]}})
    before = dump(client, "old")
    migration = Migration(client, "old", "new", wide, spec, fields=FIELDS)
    plan = migration.plan()
    assert (plan.points, plan.dimensions, plan.refusals) == (len(points), (OLD_WIDTH, 512), ())
    report = migration.run()
    assert (report.written, report.visited) == (len(points), len(points))
    assert migration.verify().problems() == []
    config, moved = dump(client, "new")
    assert {id_: payload for id_, (payload, _) in moved.items()} == {
        point.id: point.payload for point in points
    }
    assert_vectors(moved, expected_vectors(wide, points, DOCUMENTS, spec))
    assert config["params"]["vectors"]["size"] == DIMENSIONS
    assert config["metadata"]["team"] == "search"
    assert config["metadata"]["nested"] == {"a": [1]}
    assert config["metadata"][METADATA_KEY]["dimensions"] == DIMENSIONS
    assert dump(client, "old") == before
    migration.switch("live")
    migration.rollback()
    migration.verify()
    migration.switch("live")
    assert dump(client, "old") == before
    assert dump(client, "live")[1] == moved
    migration.finalize(delete="old")
    assert [one.name for one in client.get_collections().collections] == ["new"]
    assert dump(client, "live")[1] == moved


def test_context_makes_a_difference(wide: Engine) -> None:
    """The premise of the test above: late vectors are other ones."""
    points = old_points(DOCUMENTS, ALONE)
    late = expected_vectors(wide, points, DOCUMENTS, SPEC)
    alone = expected_vectors(wide, points, DOCUMENTS, EmbeddingSpec(late_chunking=False))
    several = [p.id for p in points if len(DOCUMENTS.get(_name(p), [])) > 1]
    assert len(several) == 7
    assert all(np.abs(late[id_] - alone[id_][:DIMENSIONS]).max() > 1e-4 for id_ in several)


def _name(point: models.PointStruct) -> str:
    payload: Any = point.payload
    name: str = payload.get("source", {}).get("name", "")
    return name


words = st.sampled_from(["city", "river", "state", "bridge", "Germany", "one"])
chunk_texts = st.lists(words, min_size=1, max_size=5).map(" ".join)


@settings(max_examples=25)
@given(data=st.data())
def test_any_documents_in_any_order_and_pages(engine: Engine, data: st.DataObject) -> None:
    """Wherever pages end and whatever ids chunks have, each gets the context of its document."""
    documents = data.draw(
        st.dictionaries(words, st.lists(chunk_texts, min_size=1, max_size=5), max_size=4)
    )
    alone = data.draw(st.dictionaries(st.sampled_from("xyz"), chunk_texts, max_size=2))
    points = old_points(documents, alone, seed=data.draw(st.integers(0, 99)))
    assume(points)
    spec = EmbeddingSpec(dimensions=16, late_chunking=data.draw(st.booleans()))
    client = QdrantClient(":memory:")
    write_old(client, points)
    before = dump(client, "old")
    at_once = data.draw(st.integers(1, 4))
    with pytest.MonkeyPatch.context() as patch:
        limits: Any = Points.page.__kwdefaults__
        patch.setitem(limits, "limit", data.draw(st.integers(1, 6)))
        migration = Migration(
            client, "old", "new", engine, spec, fields=FIELDS, documents_at_once=at_once
        )
        report = migration.run()
        assert migration.verify().problems() == []
        again = migration.run()
    n_documents = len(documents) + len(alone) if spec.late_chunking else len(points)
    assert (report.documents, report.written) == (n_documents, len(points))
    assert (again.documents, again.changed, again.unchanged) == (0, False, len(points))
    _, moved = dump(client, "new")
    assert {id_: payload for id_, (payload, _) in moved.items()} == {
        point.id: point.payload for point in points
    }
    assert_vectors(moved, expected_vectors(engine, points, documents, spec))
    assert dump(client, "old") == before


def test_overlapping_chunks_with_offsets_have_their_document_as_context(engine: Engine) -> None:
    """Chunks that repeat each other's ends are put together to the text that they were cut from."""
    text = " ".join(sentences("city", 4))
    spans = [(0, 80), (60, 150), (150, len(text))]
    client = QdrantClient(":memory:")
    write_old(
        client,
        [
            models.PointStruct(
                id=9 - i,
                vector=[1.0] * OLD_WIDTH,
                payload={"text": text[start:stop], "doc": 7, "no": float(i), "start": start},
            )
            for i, (start, stop) in enumerate(spans)
        ],
    )
    fields = PayloadFields(text="text", document="doc", order="no", start="start")
    Migration(client, "old", "new", engine, EmbeddingSpec(dimensions=16), fields=fields).run()
    [oracle] = engine.embed_chunks([ChunkedText(text, spans)], dimensions=16)
    _, moved = dump(client, "new")
    assert_vectors(moved, {9 - i: vector for i, vector in enumerate(oracle.vectors)})


@pytest.mark.parametrize("order", ["no", "previous", "several of one number"])
def test_chunks_are_put_in_order_by_number_or_by_what_is_before_them(
    engine: Engine, order: str
) -> None:
    """Where numbers do not tell chunks apart, what each says is before it does."""
    chunks = sentences("river", 3)
    client = QdrantClient(":memory:")
    ids = [30, 10, 20]
    payloads: list[dict[str, Any]] = [{"text": text, "doc": "d"} for text in chunks]
    for i, payload in enumerate(payloads):
        if order != "previous":
            payload["no"] = i if order == "no" else 0
        payload["before"] = None if i == 0 else str(ids[i - 1])
    write_old(
        client,
        [
            models.PointStruct(id=id_, vector=[1.0] * OLD_WIDTH, payload=payload)
            for id_, payload in zip(ids, payloads, strict=True)
        ],
    )
    previous = None if order == "no" else "before"
    fields = PayloadFields(text="text", document="doc", order="no", previous=previous)
    Migration(client, "old", "new", engine, EmbeddingSpec(dimensions=16), fields=fields).run()
    text = " ".join(chunks)
    spans = [(text.index(chunk), text.index(chunk) + len(chunk)) for chunk in chunks]
    [oracle] = engine.embed_chunks([ChunkedText(text, spans)], dimensions=16)
    _, moved = dump(client, "new")
    assert_vectors(moved, dict(zip(ids, oracle.vectors, strict=True)))


# What else a collection has


@pytest.mark.parametrize("named", [True, False], ids=["named", "unnamed"])
def test_other_vectors_are_carried(engine: Engine, client: QdrantClient, *, named: bool) -> None:
    """Images, sparse and multi-vectors are copied as they are, also where a point has not all."""
    old = models.VectorParams(size=OLD_WIDTH, distance=models.Distance.COSINE)
    dense = {
        "text": old,
        "image": models.VectorParams(size=4, distance=models.Distance.DOT),
        "late": models.VectorParams(
            size=2,
            distance=models.Distance.COSINE,
            multivector_config=models.MultiVectorConfig(
                comparator=models.MultiVectorComparator.MAX_SIM
            ),
        ),
    }
    client.create_collection(
        "old",
        vectors_config=dense if named else old,
        sparse_vectors_config={"bm25": models.SparseVectorParams(modifier=models.Modifier.IDF)},
    )
    points = old_points(DOCUMENTS, ALONE)
    for i, point in enumerate(points):
        vectors: dict[str, Any] = {"text" if named else "": point.vector}
        if i % 3:
            vectors["bm25"] = models.SparseVector(indices=[i, 99], values=[0.25, 2.0])
        if named and i % 2:
            vectors |= {"image": [i, 0.5, 0.0, -1.0], "late": [[1.0, 0.0], [0.6, 0.8]]}
        point.vector = vectors
    client.upsert("old", points)
    before = dump(client, "old")
    spec = EmbeddingSpec(dimensions=16)
    vector = "text" if named else None
    migration = Migration(client, "old", "new", engine, spec, fields=FIELDS, vector=vector)
    assert set(migration.plan().carried[-1].split(": ")[1].split(", ")) == (
        {"image", "late", "bm25"} if named else {"bm25"}
    )
    migration.run()
    assert migration.verify().problems() == []
    config, moved = dump(client, "new")
    expected = expected_vectors(engine, points, DOCUMENTS, spec)
    own = "text" if named else ""
    assert_vectors(
        {id_: (payload, _by_name(vector)[own]) for id_, (payload, vector) in moved.items()},
        expected,
    )
    for id_, (_, vector) in before[1].items():
        others = {name: of for name, of in _by_name(vector).items() if name != own}
        there = {name: of for name, of in _by_name(moved[id_][1]).items() if name != own}
        assert there.keys() == others.keys()
        assert there.get("bm25") == others.get("bm25")
        for name in ("image", "late"):
            assert np.allclose(there.get(name, 0), others.get(name, 0), atol=1e-6)
    params, old_params = config["params"], before[0]["params"]
    assert params["sparse_vectors"] == old_params["sparse_vectors"]
    if named:
        assert params["vectors"]["text"]["size"] == 16
        assert params["vectors"]["image"] == old_params["vectors"]["image"]
        assert params["vectors"]["late"] == old_params["vectors"]["late"]
    assert dump(client, "old") == before


def _by_name(vector: Any) -> dict[str, Any]:
    return vector if isinstance(vector, dict) else {"": vector}


class WithIndexes:
    """A client whose collections say which payload indexes they have, which local ones do not."""

    def __init__(self, client: QdrantClient) -> None:
        self._client = client._client
        self.__client = client
        self.made: dict[str, dict[str, Any]] = {}
        self.first_points: dict[str, set[str]] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__client, name)

    def create_payload_index(
        self, collection_name: str, field_name: str, field_schema: Any = None, **kwargs: Any
    ) -> Any:
        self.made.setdefault(collection_name, {})[field_name] = field_schema
        return self.__client.create_payload_index(
            collection_name, field_name, field_schema, **kwargs
        )

    def upsert(self, collection_name: str, *args: Any, **kwargs: Any) -> Any:
        self.first_points.setdefault(collection_name, set(self.made.get(collection_name, {})))
        return self.__client.upsert(collection_name, *args, **kwargs)

    def get_collection(self, collection_name: str) -> models.CollectionInfo:
        info = self.__client.get_collection(collection_name)
        schema = {
            key: models.PayloadIndexInfo(
                data_type=models.PayloadSchemaType(getattr(kind, "type", kind)),
                params=None if isinstance(kind, str) else kind,
                points=0,
            )
            for key, kind in self.made.get(collection_name, {}).items()
        }
        return info.model_copy(update={"payload_schema": schema})


INDEXES: dict[str, Any] = {
    "source.name": models.KeywordIndexParams(type=models.KeywordIndexType.KEYWORD, is_tenant=True),
    "source.part": models.PayloadSchemaType.INTEGER,
    "body.text": models.TextIndexParams(
        type=models.TextIndexType.TEXT, tokenizer=models.TokenizerType.WORD, lowercase=True
    ),
}


@pytest.mark.filterwarnings("ignore:Payload indexes have no effect")
def test_payload_indexes_are_carried_before_points_are(engine: Engine) -> None:
    """With their parameters: filters stay as quick as they were, from the first point on."""
    indexed: Any = WithIndexes(QdrantClient(":memory:"))
    write_old(indexed, old_points(DOCUMENTS, ALONE))
    for key, kind in INDEXES.items():
        indexed.create_payload_index("old", key, kind)
    spec = EmbeddingSpec(dimensions=16)
    migration = Migration(indexed, "old", "new", engine, spec, fields=FIELDS)
    assert any("body.text, source.name, source.part" in of for of in migration.plan().carried)
    migration.run()
    assert indexed.made["new"] == INDEXES
    assert indexed.first_points["new"] == set(INDEXES)


@pytest.mark.filterwarnings("ignore:Payload indexes have no effect")
def test_what_was_added_to_a_collection_of_ours_is_carried(engine: Engine) -> None:
    """Indexes and metadata that somebody gave a collection of this helper are theirs to keep."""
    indexed: Any = WithIndexes(QdrantClient(":memory:"))
    old = JinaQdrant(indexed, "old", engine, EmbeddingSpec(chunk_tokens=24))
    old.ingest([{"id": "a", "text": " ".join(sentences("city", 3)), "metadata": {"lang": "en"}}])
    indexed.create_payload_index("old", "meta.lang", models.PayloadSchemaType.KEYWORD)
    metadata = indexed.get_collection("old").config.metadata
    indexed.update_collection("old", metadata={**metadata, "team": "search"})
    Migration(indexed, "old", "new", engine, EmbeddingSpec(dimensions=16)).run()
    assert indexed.made["old"].items() <= indexed.made["new"].items()
    assert indexed.get_collection("new").config.metadata["team"] == "search"


def test_an_alias_may_be_given_as_the_source(engine: Engine) -> None:
    """The collection that it names today is what is moved, even when it names another later."""
    client = QdrantClient(":memory:")
    write_old(client, old_points(DOCUMENTS, {}))
    name = models.CreateAlias(collection_name="old", alias_name="live")
    client.update_collection_aliases([models.CreateAliasOperation(create_alias=name)])
    migration = Migration(client, "live", "new", engine, fields=FIELDS)
    migration.run()
    migration.verify()
    migration.switch("live")
    assert Migration.open(client, "new", engine).source.collection == "old"
    assert dump(client, "live") == dump(client, "new")


# plan


class ReadOnly:
    """A client that refuses to write."""

    def __init__(self, client: Any) -> None:
        self._client = getattr(client, "_client", None)
        self.__client = client

    def __getattr__(self, name: str) -> Any:
        if name.startswith(WRITES):
            msg = f"{name} writes"
            raise AssertionError(msg)
        return getattr(self.__client, name)


@pytest.mark.parametrize("ours", [False, True], ids=["foreign", "ours"])
def test_a_plan_writes_nothing_and_counts_exactly(engine: Engine, *, ours: bool) -> None:
    """What a plan says is what a run then does."""
    client = QdrantClient(":memory:")
    spec = EmbeddingSpec(dimensions=16, chunk_tokens=24)
    if ours:
        JinaQdrant(client, "old", engine, EmbeddingSpec(chunk_tokens=24)).ingest(
            [{"id": name, "text": " ".join(chunks)} for name, chunks in DOCUMENTS.items()]
        )
    else:
        write_old(client, old_points(DOCUMENTS, ALONE))
    before = dump(client, "old")
    refusing: Any = ReadOnly(client)
    fields = None if ours else FIELDS
    plan = Migration(refusing, "old", "new", engine, spec, fields=fields).plan()
    assert [one.name for one in client.get_collections().collections] == ["old"]
    assert dump(client, "old") == before
    assert plan.points == plan.sampled == client.count("old").count == len(before[1])
    assert (plan.without_text, plan.blank, plan.refusals, plan.lost) == (0, 0, (), ())
    assert plan.payload_fields == {
        key: sum(key in payload for payload, _ in before[1].values())
        for key in {key for payload, _ in before[1].values() for key in payload}
    }
    report = Migration(client, "old", "new", engine, spec, fields=fields).run()
    assert (plan.documents, plan.tokens) == (report.documents, report.tokens)
    assert plan.seconds is not None
    assert plan.seconds > 0
    assert json.loads(json.dumps(plan.as_dict()))["points"] == plan.points
    assert plan.origin == ("this helper" if ours else "named payload fields")


def test_a_plan_of_a_part_is_an_estimate_of_all(engine: Engine) -> None:
    """Points and points without text are counted in all; the rest is said of the sample."""
    client = QdrantClient(":memory:")
    texts = [*(["One city of Germany."] * 30), "", None]
    write_old(
        client,
        [
            models.PointStruct(id=i, vector=[1.0] * OLD_WIDTH, payload={"text": text})
            for i, text in enumerate(texts)
        ],
    )
    spec = EmbeddingSpec(late_chunking=False)
    fields = PayloadFields(text="text")
    plan = Migration(client, "old", "new", engine, spec, fields=fields).plan(sample=8)
    assert (plan.points, plan.sampled, plan.documents, plan.without_text) == (32, 8, 8, 2)
    assert len(plan.refusals) == 1
    assert "2 points have no text" in plan.refusals[0]
    one = int(engine.embed_documents(["One city of Germany."]).token_counts[0])
    assert plan.tokens == 32 * one
    left_out = Migration(
        client, "old", "new", engine, spec, fields=fields, without_text="leave_out"
    ).plan(sample=8)
    assert (left_out.refusals, left_out.lost) == ((), ("points without a text",))


@pytest.mark.parametrize(
    ("layout", "bytes_of_a_point"),
    [
        (CollectionLayout(), 16 * 4),
        (CollectionLayout(storage="float16"), 16 * 2),
        (CollectionLayout(quantization="int8"), 16 * (4 + 1)),
        (CollectionLayout(quantization="binary", storage="float16"), 16 * 2 + 16 // 8),
        (CollectionLayout(quantization="turbo"), 16 * 4 + 16 // 2),
    ],
    ids=["float32", "float16", "int8", "binary", "turbo"],
)
@pytest.mark.parametrize("quantized", [False, True], ids=["plain", "quantized"])
def test_storage_before_and_after(
    engine: Engine, layout: CollectionLayout, bytes_of_a_point: int, *, quantized: bool
) -> None:
    """By hand: numbers of a vector times their bytes, and the compressed copy."""
    client = QdrantClient(":memory:")
    points = old_points(DOCUMENTS, ALONE)
    write_old(client, points)
    seen: Any = Quantized(client) if quantized else client
    spec = EmbeddingSpec(dimensions=16)
    plan = Migration(seen, "old", "new", engine, spec, fields=FIELDS, layout=layout).plan()
    old = OLD_WIDTH * (5 if quantized else 4)
    assert plan.vector_bytes == (len(points) * old, len(points) * bytes_of_a_point)


class Quantized:
    """A client whose collections say that they have an int8 copy, which local ones have not."""

    def __init__(self, client: QdrantClient) -> None:
        self._client = client._client
        self.__client = client

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__client, name)

    def get_collection(self, collection_name: str) -> models.CollectionInfo:
        info = self.__client.get_collection(collection_name)
        scalar = models.ScalarQuantizationConfig(type=models.ScalarType.INT8)
        info.config.quantization_config = models.ScalarQuantization(scalar=scalar)
        return info


def test_a_plan_names_chunks_without_an_order_and_advises_an_index(engine: Engine) -> None:
    """What a run would refuse, and what would make it quicker on a server."""
    client = QdrantClient(":memory:")
    points = old_points(DOCUMENTS, ALONE)
    for point in points:
        if _name(point) == "bridge":
            assert point.payload is not None
            point.payload["source"]["part"] = 0
    write_old(client, points)
    server: Any = ServerLike(client)
    plan = Migration(server, "old", "new", engine, fields=FIELDS).plan()
    assert len(plan.refusals) == 1
    assert "document 'bridge' has 3 chunks" in plan.refusals[0]
    assert len(plan.advice) == 1
    assert "index on 'source.name'" in plan.advice[0]


def test_an_empty_collection_moves(engine: Engine) -> None:
    """There is nothing to say of it, and nothing wrong with it."""
    client = QdrantClient(":memory:")
    write_old(client, old_points({}, {"x": "text"}))
    client.delete("old", models.FilterSelector(filter=models.Filter()))
    migration = Migration(client, "old", "new", engine, fields=FIELDS)
    plan = migration.plan()
    assert (plan.points, plan.tokens, plan.seconds, plan.refusals) == (0, None, None, ())
    assert migration.run().visited == 0
    assert migration.verify().ok
    migration.switch("live")


# verify


def _replace_vector(client: QdrantClient, ids: list[Any]) -> None:
    other = [1.0] + [0.0] * 15
    client.update_vectors("new", [models.PointVectors(id=ids[0], vector=other)])


def _edit_record(client: QdrantClient, _: list[Any]) -> None:
    metadata: Any = client.get_collection("new").config.metadata
    record = {**metadata[METADATA_KEY], "dimensions": 32}
    client.update_collection("new", metadata={**metadata, METADATA_KEY: record})


DAMAGES: dict[str, tuple[Callable[[QdrantClient, list[Any]], object], str]] = {
    "a point is deleted": (
        lambda client, ids: client.delete("new", ids[:1]),
        "1 documents are not in the new collection as they are in the old one",
    ),
    "every point is deleted": (
        lambda client, ids: client.delete("new", ids),
        "documents are not in the new collection as they are in the old one",
    ),
    "a payload is changed": (
        lambda client, ids: client.set_payload("new", {"tags": ["x"]}, points=ids[:1]),
        "1 documents are not in the new collection as they are in the old one",
    ),
    "a text is changed": (
        lambda client, ids: client.set_payload("new", {"body": {"text": "x"}}, points=ids[:1]),
        "1 documents are not in the new collection as they are in the old one",
    ),
    "there is a point too many": (
        lambda client, _: client.upsert(
            "new", [models.PointStruct(id=7, vector=[1.0] * 16, payload={"body": {"text": "x"}})]
        ),
        "1 documents are in the new collection only",
    ),
    "a vector is replaced": (_replace_vector, "has cosine"),
    "a vector is gone": (
        lambda client, ids: client.upsert(
            "new",
            [models.PointStruct(id=ids[0], vector={}, payload=dump(client, "new")[1][ids[0]][0])],
        ),
        "1 points of the new collection have no vector",
    ),
    "the record is edited": (_edit_record, "dimensions: 32 in the collection, 16 here"),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_damage_is_found_and_said(engine: Engine, tmp_path: Path, name: str) -> None:
    """Whatever is done to the new collection by hand keeps searches away from it."""
    client = QdrantClient(":memory:")
    write_old(client, old_points(DOCUMENTS, ALONE))
    spec = EmbeddingSpec(dimensions=16)
    migration = Migration(client, "old", "new", engine, spec, fields=FIELDS)
    migration.run()
    assert migration.verify().ok
    damage, words_of_it = DAMAGES[name]
    before = dump(client, "new")
    damage(client, sorted(before[1], key=str))
    assert dump(client, "new") != before
    check = migration.verify(report=tmp_path / "report.json")
    assert not check.ok
    assert any(words_of_it in problem for problem in check.problems()), check.problems()
    report = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert (report["ok"], report["problems"]) == (False, check.problems())
    assert report == json.loads(json.dumps({**report, **asdict(check)}))
    with pytest.raises(ValueError, match="verify the migration first"):
        migration.switch("live")
    assert client.get_aliases().aliases == []


def test_damage_to_a_document_of_ours_is_found_in_any_chunk(engine: Engine) -> None:
    """Also when there are more documents than are embedded again, and it is no first chunk."""
    client = QdrantClient(":memory:")
    JinaQdrant(client, "old", engine, EmbeddingSpec(chunk_tokens=24)).ingest(
        [
            {"id": f"{name} {i}", "text": " ".join(sentences(name, 3))}
            for name in "abc"
            for i in range(4)
        ]
    )
    spec = EmbeddingSpec(dimensions=16, chunk_tokens=24)
    migration = Migration(client, "old", "new", engine, spec)
    migration.run()
    assert migration.verify(sample=1).ok
    _, points = dump(client, "new")
    for id_, (payload, vector) in points.items():
        if payload["chunk_index"] != 1:
            continue
        client.delete("new", [id_])
        check = migration.verify(sample=1)
        assert not check.ok, f"a missing chunk of {payload['doc_id']} is not found"
        migration.run()
        assert migration.verify(sample=1).ok, f"{payload['doc_id']} is not mended"
        assert np.allclose(dump(client, "new")[1][id_][1], vector, atol=1e-5)


@pytest.mark.parametrize(
    "name", ["a point is deleted", "a payload is changed", "there is a point too many"]
)
def test_what_a_check_tells_to_run_again_for_is_mended_by_it(engine: Engine, name: str) -> None:
    """Running again makes of it what a first run makes."""
    client = QdrantClient(":memory:")
    write_old(client, old_points(DOCUMENTS, ALONE))
    spec = EmbeddingSpec(dimensions=16)
    migration = Migration(client, "old", "new", engine, spec, fields=FIELDS)
    migration.run()
    whole = dump(client, "new")
    damage, _ = DAMAGES[name]
    damage(client, sorted(whole[1], key=str))
    migration.run()
    assert migration.verify().problems() == []
    config, mended = dump(client, "new")
    assert config == whole[0]
    assert {id_: payload for id_, (payload, _) in mended.items()} == {
        id_: payload for id_, (payload, _) in whole[1].items()
    }
    assert_vectors(mended, {id_: np.asarray(vector) for id_, (_, vector) in whole[1].items()})


def test_a_point_that_changes_its_document_takes_its_context_along(engine: Engine) -> None:
    """Its old document is embedded without it, its new one with it."""
    client = QdrantClient(":memory:")
    points = old_points(DOCUMENTS, ALONE)
    write_old(client, points)
    spec = EmbeddingSpec(dimensions=16)
    migration = Migration(client, "old", "new", engine, spec, fields=FIELDS)
    migration.run()
    moved = next(p for p in points if p.payload and p.payload.get("source", {}).get("part") == 3)
    assert moved.payload is not None
    moved.payload["source"] = {"name": "river", "part": 1}
    client.upsert("old", [moved])
    documents = {
        "city": DOCUMENTS["city"][:3],
        "river": [*DOCUMENTS["river"], DOCUMENTS["city"][3]],
        "bridge": DOCUMENTS["bridge"],
    }
    for _ in range(3):
        migration.run()
        if migration.verify().ok:
            break
    _, actual = dump(client, "new")
    assert_vectors(actual, expected_vectors(engine, points, documents, spec))


# Fields


keys = st.text("abc_", min_size=1, max_size=3)
leaves = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
json_values = st.recursive(
    leaves, lambda inner: st.lists(inner) | st.dictionaries(keys, inner), max_leaves=8
)
payloads_of = st.dictionaries(keys, json_values)


@given(path=st.lists(keys, min_size=1, max_size=4), value=json_values, data=st.data())
def test_a_value_is_found_where_it_was_put(path: list[str], value: Any, data: Any) -> None:
    """Also when any dict on the way was stored as JSON, and whatever is beside it."""
    content = value
    for depth, key in enumerate(reversed(path)):
        if depth and data.draw(st.booleans()):
            content = json.dumps(content)
        content = {**data.draw(payloads_of), key: content}
    assert value_at(content, ".".join(path)) == value


@given(payload=payloads_of, path=st.lists(keys, min_size=1, max_size=4))
def test_a_value_that_is_not_there_is_none(payload: dict[str, Any], path: list[str]) -> None:
    """No payload makes reading fail: whoever wrote it did not know of us."""
    expected: Any = payload
    for key in path:
        expected = _loaded(expected)
        expected = expected.get(key) if isinstance(expected, dict) else None
    assert value_at(payload, ".".join(path)) == expected


def _loaded(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except ValueError:
        return None


def test_json_that_is_nested_too_deeply_is_no_value() -> None:
    assert value_at({"a": "[" * 100_000}, "a.b") is None


@given(payload=payloads_of, paths=st.lists(keys, min_size=5, max_size=5))
def test_what_a_payload_says_of_its_chunk_has_the_right_types_or_is_refused(
    payload: dict[str, Any], paths: list[str]
) -> None:
    text, document, order, previous, start = paths
    fields = PayloadFields(
        text=text,
        document=document,
        order=order,
        previous=previous,
        start=start,
        overlaps=text,
        no_document="None",
    )
    fields.check()
    found = payload.get(document)
    if isinstance(found, bool) or not isinstance(found, str | int | None):
        with pytest.raises(InvalidOptionError, match=f"payload field '{document}' is"):
            fields.read(payload)
        return
    chunk = fields.read(payload)
    wanted = payload.get(text)
    assert chunk.text == (wanted if isinstance(wanted, str) else None)
    assert chunk.document == (None if found == "None" else found)
    assert chunk.overlaps == bool(wanted)
    for field, value in ((order, chunk.order), (start, chunk.start)):
        given_value = payload.get(field)
        is_number = isinstance(given_value, int | float) and not isinstance(given_value, bool)
        is_whole = is_number and float(given_value).is_integer()
        assert value == (given_value if is_whole else None)
        assert type(value) in (int, type(None))
    before = payload.get(previous)
    assert chunk.previous == (None if before is None else str(before))


def test_points_without_a_document_are_documents_of_their_own(engine: Engine) -> None:
    """What a store writes for "none" is not the name of one large document."""
    client = QdrantClient(":memory:")
    texts = ["The city.", "The river."]
    write_old(
        client,
        [
            models.PointStruct(
                id=i, vector=[1.0] * OLD_WIDTH, payload={"t": t, "doc": "None", "no": i}
            )
            for i, t in enumerate(texts)
        ],
    )
    fields = PayloadFields(text="t", document="doc", order="no", no_document="None")
    migration = Migration(client, "old", "new", engine, EmbeddingSpec(dimensions=16), fields=fields)
    assert migration.run().documents == 2
    _, moved = dump(client, "new")
    for i, text in enumerate(texts):
        [oracle] = engine.embed_chunks([ChunkedText(text, [(0, len(text))])], dimensions=16)
        assert np.allclose(moved[i][1], oracle.vectors[0], atol=1e-5)
