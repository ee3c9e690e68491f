"""Searches by an alias: a query is compared with vectors of its own model, before, after, between.

The old model of these tests knows every text by its place in a list; no two of its vectors are
alike, and it has as many dimensions as the new one, so that nothing but the model tells them apart.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from qdrant_client import QdrantClient, models

from jina_local import Engine
from jina_local.errors import InvalidOptionError, InvalidTextsError
from jina_local_qdrant import CollectionLayout, EmbeddingSpec, JinaQdrant
from jina_local_qdrant.errors import (
    CollectionNotFoundError,
    FingerprintMismatchError,
    UnmanagedCollectionError,
)
from jina_local_qdrant.migration import AliasSearch, Migration, PayloadFields
from support.checkpoints import TinyConfig, write_tiny

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

OLD, NEW, ALIAS = "old", "new", "live"
SPEC = EmbeddingSpec(dimensions=8, late_chunking=False)
FIELDS = PayloadFields(text="text")
TEXTS = [
    "Bread is baked of flour, water and salt.",
    "A mast carries the sails of a ship.",
    "Snow falls in winter.",
    "The moon is round.",
]


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """A tiny engine, that has seen no other model's vectors."""
    config = TinyConfig(hidden_size=16, n_layers=1, n_heads=2, intermediate_size=32)
    folder = tmp_path_factory.mktemp("quick")
    write_tiny(folder, config=config, delta_factor=100.0)
    with Engine.load(folder, device="cpu") as loaded:
        yield loaded


@pytest.fixture(scope="module")
def shared() -> Iterator[QdrantClient]:
    client = QdrantClient(":memory:")
    yield client
    client.close()


@pytest.fixture
def client(shared: QdrantClient) -> QdrantClient:
    """An empty client; to make one takes long."""
    for one in shared.get_collections().collections:
        shared.delete_collection(one.name)
    return shared


def old_model(text: str) -> list[float]:
    """Another model of as many dimensions: a text's own axis."""
    return np.eye(8)[TEXTS.index(text)].tolist()


def make_old(client: QdrantClient, *, vector: str | None = None) -> None:
    params = models.VectorParams(size=8, distance=models.Distance.COSINE)
    client.create_collection(OLD, vectors_config=params if vector is None else {vector: params})
    points = [
        models.PointStruct(
            id=i,
            vector=old_model(text) if vector is None else {vector: old_model(text)},
            payload={"text": text, "even": i % 2 == 0},
        )
        for i, text in enumerate(TEXTS)
    ]
    client.upsert(OLD, points)


def migrated(client: Any, engine: Engine) -> Migration:
    """A migration that is ready to be switched."""
    migration = Migration(client, OLD, NEW, engine, SPEC, fields=FIELDS)
    migration.run()
    assert migration.verify().ok
    return migration


def let_name(client: QdrantClient, collection: str) -> None:
    create = models.CreateAlias(collection_name=collection, alias_name=ALIAS)
    client.update_collection_aliases([models.CreateAliasOperation(create_alias=create)])


def by_hand(engine: Engine, query: str, dimensions: int | None = 8) -> dict[int, float]:
    """The cosine of a query to each text, in the engine's space."""
    (wanted,) = engine.embed_queries([query], dimensions=dimensions).vectors
    scores = engine.embed_documents(TEXTS, dimensions=dimensions).vectors @ wanted
    return dict(enumerate(scores.tolist()))


def by_old(query: str) -> dict[int, float]:
    return {i: float(text == query) for i, text in enumerate(TEXTS)}


def scores(points: list[models.ScoredPoint]) -> dict[Any, float]:
    return {point.id: point.score for point in points}


class Calls:
    """A client before each of whose requests something else can happen."""

    def __init__(self, client: QdrantClient, hook: Callable[[str], None]) -> None:
        self.__client, self.__hook = client, hook

    def __getattr__(self, name: str) -> Any:
        value = getattr(self.__client, name)
        if name.startswith("_") or not callable(value):
            return value

        def called(*args: Any, **kwargs: Any) -> Any:
            self.__hook(name)
            return value(*args, **kwargs)

        return called


# Before, after, between


@pytest.mark.parametrize("vector", [None, "dense"])
def test_the_old_model_before_the_switch_the_engine_after_it_the_old_one_again_after_a_rollback(
    client: QdrantClient, quick: Engine, vector: str | None
) -> None:
    make_old(client, vector=vector)
    let_name(client, OLD)
    search = AliasSearch(client, ALIAS, quick, old=old_model, old_vector=vector)
    migration = migrated(client, quick)
    for query in TEXTS:
        assert scores(search.search(query)) == pytest.approx(by_old(query), abs=1e-6)
    migration.switch(ALIAS)
    for query in TEXTS:
        assert scores(search.search(query)) == pytest.approx(by_hand(quick, query), abs=1e-6)
    migration.rollback()
    for query in TEXTS:
        assert scores(search.search(query)) == pytest.approx(by_old(query), abs=1e-6)


def test_a_switch_during_a_search_never_compares_vectors_of_two_models(
    client: QdrantClient, quick: Engine
) -> None:
    """Whichever request of the search the switch comes before: the answer is that of before or
    that of after, whole."""
    make_old(client)
    query = TEXTS[1]
    answers = [by_old(query), by_hand(quick, query)]
    let_name(client, OLD)
    migration = migrated(client, quick)
    seen = []
    for number in range(20):
        calls: list[str] = []

        def hook(name: str, calls: list[str] = calls, number: int = number) -> None:
            if len(calls) == number:
                migration.switch(ALIAS)
            calls.append(name)

        search = AliasSearch(Calls(client, hook), ALIAS, quick, old=old_model)
        found = scores(search.search(query))
        seen.append([found == pytest.approx(answer, abs=1e-6) for answer in answers].index(True))
        if number >= len(calls):
            break
        assert calls[-1] == "query_points"
        migration.rollback()
        migration.verify(sample=1)
    assert seen[0] == 1, "a switch before the first request is seen"
    assert seen[-2:] == [0, 0], "a switch before the last request, or after it, is not seen"


def test_a_search_says_what_limit_filter_and_threshold_say(
    client: QdrantClient, quick: Engine
) -> None:
    make_old(client)
    migrated(client, quick).switch(ALIAS)
    search = AliasSearch(client, ALIAS, quick)
    query = "what is baked?"
    expected = by_hand(quick, query)
    best = sorted(expected, key=lambda i: -expected[i])
    found = search.search(query)
    assert [point.id for point in found] == best
    assert [(point.payload or {})["text"] for point in found] == [TEXTS[i] for i in best]
    assert [point.id for point in search.search(query, limit=2)] == best[:2]
    even = models.FieldCondition(key="even", match=models.MatchValue(value=True))
    even_ones = search.search(query, filter=models.Filter(must=[even]))
    assert [point.id for point in even_ones] == [i for i in best if i % 2 == 0]
    above = search.search(query, score_threshold=(expected[best[0]] + expected[best[1]]) / 2)
    assert [point.id for point in above] == best[:1]


# Collections of this helper


@pytest.mark.parametrize(
    "layout",
    [CollectionLayout(), CollectionLayout(coarse_dimensions=8), CollectionLayout(bulk=True)],
    ids=["plain", "coarse", "bulk"],
)
@pytest.mark.filterwarnings("ignore:.*no effect in this store:UserWarning")
@pytest.mark.parametrize("dimensions", [None, 12])
@pytest.mark.parametrize("name", [ALIAS, "docs"])
def test_a_collection_of_this_helper_is_searched_with_its_own_dimensions(
    client: QdrantClient,
    quick: Engine,
    layout: CollectionLayout,
    dimensions: int | None,
    name: str,
) -> None:
    """By its full vectors, which give the scores that the helper's own search gives; by an alias
    or by its name."""
    spec = EmbeddingSpec(dimensions=dimensions, chunk_tokens=None, late_chunking=False)
    index = JinaQdrant(client, "docs", quick, spec, layout=layout)
    index.ingest([{"id": str(i), "text": text} for i, text in enumerate(TEXTS)])
    let_name(client, "docs")
    found = AliasSearch(client, name, quick).search("what is baked?")
    expected = by_hand(quick, "what is baked?", dimensions)
    actual = {int((point.payload or {})["doc_id"]): point.score for point in found}
    assert actual == pytest.approx(expected, abs=1e-6)
    hits = index.search("what is baked?")
    assert [hit.doc_id for hit in hits] == [(point.payload or {})["doc_id"] for point in found]


def test_a_collection_with_several_vectors_is_searched_by_the_one_that_was_made_anew(
    client: QdrantClient, quick: Engine
) -> None:
    """Another vector of as many dimensions stays in the collection, and is not the one compared."""
    params = models.VectorParams(size=8, distance=models.Distance.COSINE)
    client.create_collection(OLD, vectors_config={"dense": params, "title": params})
    client.upsert(
        OLD,
        [
            models.PointStruct(
                id=i,
                vector={"dense": old_model(text), "title": old_model(text)},
                payload={"text": text},
            )
            for i, text in enumerate(TEXTS)
        ],
    )
    migration = Migration(client, OLD, NEW, quick, SPEC, fields=FIELDS, vector="dense")
    migration.run()
    migration.verify()
    migration.switch(ALIAS)
    search = AliasSearch(client, ALIAS, quick, old=old_model, old_vector="title")
    found = scores(search.search(TEXTS[0]))
    assert found == pytest.approx(by_hand(quick, TEXTS[0]), abs=1e-6)


# Refusals


def test_a_name_of_nothing_is_refused(client: QdrantClient, quick: Engine) -> None:
    search = AliasSearch(client, "nowhere", quick, old=old_model)
    with pytest.raises(CollectionNotFoundError, match="no alias and no collection 'nowhere'"):
        search.search(TEXTS[0])


def test_vectors_of_an_unknown_model_are_refused_unless_it_is_given(
    client: QdrantClient, quick: Engine
) -> None:
    make_old(client)
    let_name(client, OLD)
    with pytest.raises(UnmanagedCollectionError, match=r"'old' does not say.*give old="):
        AliasSearch(client, ALIAS, quick).search(TEXTS[0])


def test_vectors_of_another_model_of_this_package_are_refused(
    client: QdrantClient, quick: Engine, engine: Engine
) -> None:
    """Also where the other model's vectors have as many dimensions."""
    JinaQdrant(client, "docs", engine, EmbeddingSpec(dimensions=8)).ingest(
        [{"id": "a", "text": TEXTS[0]}]
    )
    let_name(client, "docs")
    search = AliasSearch(client, ALIAS, quick, old=old_model)
    with pytest.raises(FingerprintMismatchError, match="other ones than those of") as raised:
        search.search(TEXTS[0])
    assert repr(quick.source) in str(raised.value)
    assert repr(engine.source) in str(raised.value)


@pytest.mark.parametrize("limit", [0, -1, True, 2.5, "3"])
def test_a_limit_that_cannot_be_meant_is_refused_before_anything_is_asked(
    client: QdrantClient, quick: Engine, limit: Any
) -> None:
    asked: list[str] = []
    search = AliasSearch(Calls(client, asked.append), ALIAS, quick, old=old_model)
    with pytest.raises(InvalidOptionError, match="limit"):
        search.search(TEXTS[0], limit=limit)
    assert asked == []


@pytest.mark.parametrize("query", [None, 3])
def test_a_query_that_is_no_text_is_refused(
    client: QdrantClient, quick: Engine, query: Any
) -> None:
    make_old(client)
    migrated(client, quick).switch(ALIAS)
    with pytest.raises(InvalidTextsError):
        AliasSearch(client, ALIAS, quick).search(query)
