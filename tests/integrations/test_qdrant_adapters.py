"""Collections know the adapters that they were made with, and refuse an engine with others."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from qdrant_client import QdrantClient, models

from jina_local import Engine
from jina_local_qdrant import EmbeddingSpec, JinaQdrant
from jina_local_qdrant.errors import FingerprintMismatchError
from jina_local_qdrant.migration import AliasSearch, Migration, PayloadFields
from support.random_adapters import saved_adapter

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.checkpoints import Checkpoint

QUERY, PASSAGE = "retrieval.query", "retrieval.passage"
SPEC = EmbeddingSpec(dimensions=32, late_chunking=False, chunk_tokens=None)
TEXTS = [
    "Bread is baked of flour, water and salt.",
    "A mast carries the sails of a ship.",
    "Snow falls in winter.",
]
ASKED = "What carries the sails?"


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One adapter with two instructions, and another one."""
    root = tmp_path_factory.mktemp("adapters")
    return {
        "first": saved_adapter(root / "first", 2, instruction="First: "),
        "reworded": saved_adapter(root / "reworded", 2, instruction="Second: "),
        "second": saved_adapter(root / "second", 3, instruction="First: "),
    }


WAYS: dict[str, dict[str, str]] = {
    "the-models": {},
    "query": {QUERY: "first"},
    "reworded-query": {QUERY: "reworded"},
    "other-query": {QUERY: "second"},
    "passage": {PASSAGE: "first"},
    "reworded-passage": {PASSAGE: "reworded"},
    "both": {QUERY: "first", PASSAGE: "second"},
}


@pytest.fixture(scope="module")
def engines(tiny: Checkpoint, folders: dict[str, Path]) -> Iterator[dict[str, Engine]]:
    loaded = {
        name: Engine.load(
            tiny.folder,
            device="cpu",
            adapters={task: folders[folder] for task, folder in adapters.items()},
        )
        for name, adapters in WAYS.items()
    }
    yield loaded
    for engine in loaded.values():
        engine.close()


@pytest.fixture(scope="module")
def client(engines: dict[str, Engine]) -> Iterator[QdrantClient]:
    """A collection for each way, each made with its engine."""
    client = QdrantClient(":memory:")
    documents = [{"id": f"{i}", "text": text} for i, text in enumerate(TEXTS)]
    for name, engine in engines.items():
        JinaQdrant(client, name, engine, SPEC).ingest(documents)
    yield client
    client.close()


def stored(client: QdrantClient, collection: str) -> np.ndarray:
    points, _ = client.scroll(collection, with_vectors=True, with_payload=True)
    points.sort(key=lambda point: str((point.payload or {})["doc_id"]))
    return np.array([point.vector for point in points])


@pytest.mark.parametrize("way", WAYS)
def test_both_sides_have_the_engines_adapters(
    way: str, client: QdrantClient, engines: dict[str, Engine]
) -> None:
    engine = engines[way]
    documents = engine.embed_documents(TEXTS, dimensions=32).vectors
    np.testing.assert_allclose(stored(client, way), documents, atol=1e-5, rtol=0)
    query = engine.embed_queries([ASKED], dimensions=32).vectors[0]
    hits = JinaQdrant(client, way, engine, SPEC).search(ASKED, limit=3)
    found = {hit.doc_id: hit.score for hit in hits}
    expected = {f"{i}": float(score) for i, score in enumerate(documents @ query)}
    assert found == pytest.approx(expected, abs=1e-5)


def different_fields(message: str) -> set[str]:
    lines = message.splitlines()[1:]
    return {line.strip().partition(":")[0] for line in lines}


@pytest.mark.parametrize(
    ("made", "opened", "named"),
    [
        ("the-models", "query", {"query", "weights"}),
        ("query", "the-models", {"query", "weights"}),
        ("query", "other-query", {"query", "weights"}),
        ("query", "reworded-query", {"query"}),
        ("the-models", "passage", {"document", "weights"}),
        ("passage", "the-models", {"document", "weights"}),
        ("passage", "reworded-passage", {"document"}),
        ("both", "query", {"document", "weights"}),
        ("query", "passage", {"query", "document", "weights"}),
    ],
)
def test_an_engine_with_other_adapters_is_refused_by_what_differs(
    made: str, opened: str, named: set[str], client: QdrantClient, engines: dict[str, Engine]
) -> None:
    with pytest.raises(FingerprintMismatchError, match="made in another way") as refused:
        JinaQdrant(client, made, engines[opened], SPEC)
    assert different_fields(str(refused.value)) == {*named, "fingerprint"}


@pytest.mark.parametrize("way", WAYS)
def test_the_same_adapters_are_the_same_way_of_embedding(
    way: str, client: QdrantClient, tiny: Checkpoint, folders: dict[str, Path]
) -> None:
    """Loaded again, added one after the other, and with more tasks beside them."""
    adapters = {task: folders[folder] for task, folder in WAYS[way].items()}
    with Engine.load(tiny.folder, device="cpu") as plain:
        engine = plain.add_adapter("more", folders["second"])
        for task in reversed(list(adapters)):
            engine = engine.add_adapter(task, adapters[task])
        opened = JinaQdrant(client, way, engine, SPEC)
        assert opened.ingest([{"id": "0", "text": TEXTS[0]}]).skipped == 1
        assert opened.verify().ok
        engine.close()


def test_who_names_a_task_is_told_how_to_get_their_adapter_in(
    client: QdrantClient, engines: dict[str, Engine]
) -> None:
    task: Any = "mine"
    with pytest.raises(TypeError, match=r"adapters=\{'retrieval\.query': folder\}"):
        JinaQdrant(client, "the-models", engines["the-models"], SPEC, task=task)


# Collections that were moved, which are searched by their alias


@pytest.fixture(scope="module")
def moved(engines: dict[str, Engine]) -> Iterator[QdrantClient]:
    """A collection that was embedded anew with an adapter for queries."""
    client = QdrantClient(":memory:")
    params = models.VectorParams(size=4, distance=models.Distance.COSINE)
    client.create_collection("old", vectors_config=params)
    points = [
        models.PointStruct(id=i, vector=np.eye(4)[i].tolist(), payload={"text": text})
        for i, text in enumerate(TEXTS)
    ]
    client.upsert("old", points)
    fields = PayloadFields(text="text")
    migration = Migration(client, "old", "new", engines["query"], SPEC, fields=fields)
    migration.run()
    assert migration.verify().ok
    yield client
    client.close()


def test_a_moved_collection_is_asked_with_the_adapter_that_it_was_made_for(
    moved: QdrantClient, engines: dict[str, Engine]
) -> None:
    hits = AliasSearch(moved, "new", engines["query"]).search(ASKED)
    query = engines["query"].embed_queries([ASKED], dimensions=32).vectors[0]
    documents = engines["query"].embed_documents(TEXTS, dimensions=32).vectors
    expected = {i: float(score) for i, score in enumerate(documents @ query)}
    assert {hit.id: hit.score for hit in hits} == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("way", ["the-models", "other-query", "reworded-query", "both"])
def test_a_moved_collection_refuses_queries_of_another_adapter(
    way: str, moved: QdrantClient, engines: dict[str, Engine]
) -> None:
    """Also where only its instruction is another one, which no weights show."""
    with pytest.raises(FingerprintMismatchError, match="'new'"):
        AliasSearch(moved, "new", engines[way]).search(ASKED)
