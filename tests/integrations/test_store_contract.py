"""What every store does, whatever it is: one suite over the embedded engine and local Qdrant."""

from __future__ import annotations

import math
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from qdrant_client import QdrantClient, models

from jina_local_qdrant import edge_store, point_requests, qdrant_store
from jina_local_qdrant.edge_store import EdgeStore
from jina_local_qdrant.errors import StoreRefusedError
from jina_local_qdrant.layout import LAYOUT_KEY, CollectionLayout
from jina_local_qdrant.qdrant_store import QdrantStore
from jina_local_qdrant.store import COSINE, CollectionDescription, Point, SearchRequest, Store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

KINDS = ["edge", "memory", "path"]
SIZE = 16
PLAIN = CollectionLayout()
COARSE = CollectionLayout(coarse_dimensions=4)
METADATA = {"record": {"size": SIZE, "model": "jïna"}}
Payload = dict[str, Any]


@dataclass
class Place:
    """Where a store can be opened, and opened again."""

    kind: str
    folder: Path
    _clients: list[QdrantClient] = field(default_factory=list)
    _stores: list[Store] = field(default_factory=list)

    def open(self) -> Store:
        store: Store
        if self.kind == "edge":
            store = EdgeStore(self.folder, "docs")
        else:
            client = (
                QdrantClient(":memory:")
                if self.kind == "memory"
                else QdrantClient(path=str(self.folder))
            )
            self._clients.append(client)
            store = QdrantStore(client, "docs")
        self._stores.append(store)
        return store

    def close(self) -> None:
        for store in self._stores:
            store.close()
        for client in self._clients:
            client.close()
        self._stores, self._clients = [], []


@pytest.fixture(params=KINDS)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    opened = Place(request.param, tmp_path / "index")
    yield opened
    opened.close()


@pytest.fixture
def store(place: Place) -> Store:
    """An empty collection."""
    return created(place.open())


def created(store: Store, layout: CollectionLayout = PLAIN) -> Store:
    metadata = {**METADATA, LAYOUT_KEY: layout.as_dict()}
    store.create(size=SIZE, layout=layout, metadata=metadata)
    return store


def name(number: int) -> str:
    """Ids whose order is not that of the numbers."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, str(number)))


def unit_vectors(count: int, seed: int = 0) -> np.ndarray:
    """Random unit vectors, float32 (count, SIZE)."""
    rows = np.random.default_rng(seed).normal(size=(count, SIZE))
    lengths: np.ndarray = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(rows / lengths, dtype=np.float32)


def points(payloads: Sequence[Payload], seed: int = 0) -> list[Point]:
    vectors = unit_vectors(len(payloads), seed)
    return [
        Point(name(number), vector, payload)
        for number, (vector, payload) in enumerate(zip(vectors, payloads, strict=True))
    ]


def numbered(count: int) -> list[Point]:
    return points([{"number": number} for number in range(count)])


def small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seven points at once, so that a few points are several batches."""
    monkeypatch.setattr(edge_store, "_POINTS_AT_ONCE", 7)
    monkeypatch.setattr(qdrant_store, "POINTS_AT_ONCE", 7)
    monkeypatch.setattr(point_requests, "POINTS_AT_ONCE", 7)


# The collection


def test_a_collection_is_there_once_it_is_created(place: Place) -> None:
    store = place.open()
    assert store.collection == "docs"
    assert store.is_local
    assert not store.exists()
    created(store)
    assert store.exists()
    assert store.vector_size() == SIZE
    assert store.count() == 0


@pytest.mark.parametrize("layout", [PLAIN, COARSE], ids=["plain", "coarse"])
def test_a_collection_says_what_it_is_now(place: Place, layout: CollectionLayout) -> None:
    store = place.open()
    assert store.description() is None
    created(store, layout)
    metadata = {**METADATA, LAYOUT_KEY: layout.as_dict()}
    assert store.description() == CollectionDescription(metadata, SIZE, COSINE)
    store.set_metadata("record", "edited")
    described = store.description()
    assert described is not None
    assert described.metadata["record"] == "edited"
    described.metadata["record"] = "changed by the caller"
    assert store.description() != described


def test_a_collection_is_not_created_over_another(store: Store) -> None:
    store.upsert(numbered(1))
    with pytest.raises(StoreRefusedError):
        store.create(size=SIZE, layout=PLAIN, metadata={"record": "another"})
    assert store.metadata()["record"] == METADATA["record"]
    assert store.count() == 1


@pytest.mark.parametrize(
    "ask",
    [
        lambda store: store.metadata(),
        lambda store: store.vector_size(),
        lambda store: store.count(),
        lambda store: store.retrieve([name(0)]),
        lambda store: list(store.scan()),
        lambda store: store.upsert(numbered(1)),
        lambda store: store.set_payload([name(0)], {"a": 1}),
        lambda store: store.delete([name(0)]),
        lambda store: store.search([SearchRequest(unit_vectors(1)[0], 1)]),
    ],
)
def test_without_a_collection_there_is_nothing_to_ask(
    place: Place, ask: Callable[[Store], object]
) -> None:
    with pytest.raises(StoreRefusedError):
        ask(place.open())


def test_metadata_is_replaced_key_by_key(store: Store) -> None:
    assert store.metadata()["record"] == METADATA["record"]
    store.set_metadata("other", {"a": [1, None, "ü"]})
    store.set_metadata("record", {"new": True})
    found = store.metadata()
    assert found["other"] == {"a": [1, None, "ü"]}
    assert found["record"] == {"new": True}
    found["other"]["a"] = "changed by the caller"
    assert store.metadata()["other"] == {"a": [1, None, "ü"]}


def test_what_was_written_is_there_when_it_is_opened_again(place: Place) -> None:
    if place.kind == "memory":
        pytest.skip("memory forgets")
    store = created(place.open(), COARSE)
    store.upsert(numbered(5))
    store.set_payload([name(1)], {"added": "ü"})
    store.delete([name(2)])
    store.set_metadata("key", "value")
    before = {point.id: point.payload for point in store.scan()}
    place.close()
    store = place.open()
    assert store.exists()
    assert store.vector_size() == SIZE
    assert store.metadata()["record"] == METADATA["record"]
    assert store.metadata()["key"] == "value"
    assert {point.id: point.payload for point in store.scan()} == before
    assert before[name(1)] == {"number": 1, "added": "ü"}
    request = SearchRequest(unit_vectors(5)[3], 1, coarse_limit=5)
    assert store.search([request])[0][0].id == name(3)


def test_indexes_can_be_made_again_and_added(store: Store) -> None:
    store.upsert(points([{"meta": {"lang": lang}} for lang in ("en", "de", "en")]))
    store.create_indexes(CollectionLayout(payload_indexes={"meta.lang": "keyword"}, tenants=True))
    store.create_indexes(PLAIN)
    condition = models.FieldCondition(key="meta.lang", match=models.MatchValue(value="en"))
    assert store.count(models.Filter(must=[condition])) == 2


def test_a_writer_keeps_others_out_but_not_itself(store: Store) -> None:
    with store.exclusive(), store.exclusive():
        store.upsert(numbered(1))
    assert store.count() == 1


# Writing and reading


def test_nothing_to_do_is_fine(store: Store) -> None:
    store.upsert([])
    store.set_payload([], {"a": 1})
    store.delete([])
    assert store.retrieve([]) == {}
    assert list(store.scan()) == []
    assert store.search([]) == []
    assert store.search([SearchRequest(unit_vectors(1)[0], 3)]) == [[]]
    assert store.search([SearchRequest(unit_vectors(1)[0], 3, group_by="number")]) == [[]]
    store.finish_bulk()


def test_retrieve_gives_the_payloads_of_what_is_there(store: Store) -> None:
    store.upsert(points([{"a": 1, "b": {"c": 2}}, {"a": 3}, {}]))
    names = [name(2), name(7), name(0), name(0)]
    assert store.retrieve(names) == {name(0): {"a": 1, "b": {"c": 2}}, name(2): {}}
    assert store.retrieve(names, keys=["b", "z"]) == {name(0): {"b": {"c": 2}}, name(2): {}}
    assert store.retrieve(names, keys=[]) == {name(0): {}, name(2): {}}


def test_points_are_replaced_whole(store: Store) -> None:
    store.upsert(points([{"old": 1}, {"kept": 1}], seed=1))
    store.upsert(points([{"new": 2}], seed=2))
    assert store.retrieve([name(0), name(1)]) == {name(0): {"new": 2}, name(1): {"kept": 1}}
    vectors = {point.id: point.vector for point in store.scan(vectors=True)}
    for number, expected in ((0, unit_vectors(1, seed=2)[0]), (1, unit_vectors(2, seed=1)[1])):
        vector = vectors[name(number)]
        assert vector is not None
        np.testing.assert_allclose(vector, expected, atol=1e-6)


def test_of_two_points_with_one_id_the_last_stays(store: Store) -> None:
    first, last = unit_vectors(2)
    store.upsert([Point(name(0), first, {"n": 1}), Point(name(0), last, {"n": 2})])
    (point,) = store.scan(vectors=True)
    assert point.payload == {"n": 2}
    assert point.vector is not None
    np.testing.assert_allclose(point.vector, last, atol=1e-6)


@pytest.mark.parametrize("layout", [PLAIN, COARSE], ids=["plain", "coarse"])
def test_scan_goes_through_everything_in_the_order_of_ids(
    place: Place, monkeypatch: pytest.MonkeyPatch, layout: CollectionLayout
) -> None:
    small_pages(monkeypatch)
    store = created(place.open(), layout)
    store.upsert(numbered(30))
    written = {point.id: point for point in numbered(30)}
    found = list(store.scan(vectors=True))
    assert [point.id for point in found] == sorted(written)
    for point in found:
        assert point.payload == written[point.id].payload
        assert point.vector is not None
        assert point.vector.dtype == np.float32
        np.testing.assert_allclose(point.vector, written[point.id].vector, atol=1e-6)
    assert all(point.vector is None for point in store.scan())
    assert all(point.payload == {} for point in store.scan(keys=[]))
    small = models.Filter(must=[models.FieldCondition(key="number", range=models.Range(lt=16))])
    assert [point.id for point in store.scan(small, keys=["number"])] == sorted(
        name(number) for number in range(16)
    )


def test_many_points_are_written_changed_and_deleted_in_parts(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_pages(monkeypatch)
    store.upsert(numbered(30))
    some = [name(number) for number in range(20)]
    assert len(store.retrieve(some)) == 20
    store.set_payload(some, {"changed": True})
    assert all(payload["changed"] for payload in store.retrieve(some).values())
    assert "changed" not in store.retrieve([name(20)])[name(20)]
    store.delete([*some, name(99)])
    assert store.count() == 10
    assert store.retrieve(some) == {}


def test_set_payload_replaces_top_level_keys_only(store: Store) -> None:
    store.upsert(points([{"kept": 1, "meta": {"a": 1, "b": 2}, "x": "old"}] * 2))
    store.set_payload([name(0)], {"meta": {"c": 3}, "x": ["new"]})
    assert store.retrieve([name(0), name(1)]) == {
        name(0): {"kept": 1, "meta": {"c": 3}, "x": ["new"]},
        name(1): {"kept": 1, "meta": {"a": 1, "b": 2}, "x": "old"},
    }


def test_a_key_that_is_set_to_none_is_none_or_gone_and_empty(store: Store) -> None:
    store.upsert(points([{"doc_hash": "a", "kept": 1}] * 2))
    store.set_payload([name(0)], {"doc_hash": None})
    payload = store.retrieve([name(0)])[name(0)]
    assert payload.get("doc_hash") is None
    assert payload["kept"] == 1
    empty = models.IsEmptyCondition(is_empty=models.PayloadField(key="doc_hash"))
    assert [point.id for point in store.scan(models.Filter(must=[empty]))] == [name(0)]


def test_delete_takes_what_is_there(store: Store) -> None:
    store.upsert(numbered(3))
    store.delete([name(0), name(7)])
    store.delete([name(0)])
    assert {point.id for point in store.scan()} == {name(1), name(2)}
    assert store.search([SearchRequest(unit_vectors(3)[0], 9)])[0][0].id != name(0)


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8"), max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(st.characters(codec="utf-8"), max_size=4), inner, max_size=3)
    ),
    max_leaves=8,
)
keys = st.text(st.characters(codec="utf-8"), min_size=1, max_size=6)


@settings(max_examples=60)
@given(payload=st.dictionaries(keys, json_values, max_size=4))
def test_payloads_come_back_as_they_were(store: Store, payload: Payload) -> None:
    store.upsert(points([payload]))
    assert same_json(store.retrieve([name(0)])[name(0)], payload)


def same_json(found: Any, given: Any) -> bool:
    """Equal and of equal types; numbers with a point up to the last bit, which edge may lose."""
    if type(found) is not type(given):
        return False
    if isinstance(given, dict):
        return found.keys() == given.keys() and all(same_json(found[k], given[k]) for k in given)
    if isinstance(given, list):
        return len(found) == len(given) and all(map(same_json, found, given))
    if isinstance(given, float):
        return bool(abs(found - given) <= math.ulp(given))
    return bool(found == given)


def test_any_characters_come_back_as_they_were(store: Store) -> None:
    text = "e\u0301 é \u0000 \u200f عربي 漢字 👩\u200d👩\u200d👧 \r\n\t \U0010ffff"
    store.upsert(points([{text: {text: [text, {text: text}]}}]))
    assert store.retrieve([name(0)])[name(0)] == {text: {text: [text, {text: text}]}}


# What is refused


def bad_points() -> dict[str, Point]:
    vector = unit_vectors(1)[0]
    with_nan, with_infinity = vector.copy(), vector.copy()
    with_nan[3], with_infinity[3] = math.nan, math.inf
    return {
        "nan": Point(name(9), with_nan, {}),
        "infinity": Point(name(9), with_infinity, {}),
        "short": Point(name(9), np.ones(1, np.float32), {}),
        "long": Point(name(9), np.append(vector, np.float32(0)), {}),
        "two rows": Point(name(9), np.stack([vector, vector]), {}),
        "not normalized": Point(name(9), vector * np.float32(1.01), {}),
        "zero": Point(name(9), vector * 0, {}),
        "no uuid": Point("docs/1", vector, {}),
    }


@pytest.mark.parametrize("reason", sorted(bad_points()))
def test_of_a_batch_with_a_bad_point_nothing_is_written(store: Store, reason: str) -> None:
    store.upsert(points([{"version": 1}]))
    with pytest.raises(StoreRefusedError):
        store.upsert([*points([{"version": 2}, {"version": 2}]), bad_points()[reason]])
    assert {point.id: point.payload for point in store.scan()} == {name(0): {"version": 1}}


def test_a_vector_may_be_nearly_of_length_one(store: Store) -> None:
    vector = unit_vectors(1)[0]
    store.upsert([Point(name(0), vector * np.float32(1.0009), {})])
    (found,) = store.search([SearchRequest(vector, 1)])[0]
    assert found.score == pytest.approx(1, abs=1e-5)


def test_a_query_of_another_size_is_refused(store: Store) -> None:
    store.upsert(numbered(2))
    with pytest.raises(StoreRefusedError):
        store.search([SearchRequest(np.ones(3, np.float32), 1)])


# Searching: the oracle compares with everything, in float64


@dataclass(frozen=True)
class Corpus:
    written: list[Point]
    store: Store

    def expected(
        self,
        request: SearchRequest,
        matches: Callable[[Payload], bool] = lambda _: True,
        group: str | None = None,
    ) -> list[tuple[str, float]]:
        found = [point for point in self.written if matches(point.payload)]
        if request.coarse_limit and group is None:
            length = 4
            candidates = max(request.coarse_limit, request.limit)
            found.sort(key=lambda point: -cosine(point.vector[:length], request.vector[:length]))
            found = found[:candidates]
        ranked = sorted(
            ((cosine(point.vector, request.vector), point) for point in found),
            key=lambda scored: -scored[0],
        )
        if request.score_threshold is not None:
            ranked = [scored for scored in ranked if scored[0] > request.score_threshold]
        if group is not None:
            best: dict[object, tuple[float, Point]] = {}
            for score, point in ranked:
                for value in values_of(point.payload, group):
                    best.setdefault(value, (score, point))
            ranked = list(best.values())
        return [(point.id, score) for score, point in ranked[: request.limit]]


def values_of(payload: Payload, key: str) -> list[object]:
    value: Any = payload
    for part in key.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return [one for one in (value if isinstance(value, list) else [value]) if one is not None]


def cosine(one: np.ndarray, other: np.ndarray) -> float:
    one, other = one.astype(np.float64), other.astype(np.float64)
    return float(one @ other / np.linalg.norm(one) / np.linalg.norm(other))


def assert_hits(store: Store, request: SearchRequest, expected: list[tuple[str, float]]) -> None:
    (hits,) = store.search([request])
    assert [hit.id for hit in hits] == [name for name, _ in expected]
    np.testing.assert_allclose(
        [hit.score for hit in hits], [score for _, score in expected], atol=1e-5
    )


@pytest.fixture(scope="module", params=KINDS)
def corpus(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Corpus]:
    """Sixty points with what they are filtered and grouped by, and coarse vectors: only to read."""
    place = Place(request.param, tmp_path_factory.mktemp("corpus") / "index")
    store = created(place.open(), COARSE)
    payloads = [
        {
            "number": number,
            "doc_id": f"doc-{number % 9}",
            "meta": {"lang": ["en", "de", "fr"][number % 3], "pages": [number % 4, 7]},
        }
        for number in range(60)
    ]
    del payloads[5]["doc_id"]
    written = points(payloads)
    store.upsert(written)
    yield Corpus(written, store)
    place.close()


QUERIES = unit_vectors(4, seed=99)


@pytest.mark.parametrize("limit", [1, 7, 60, 100])
def test_search_finds_what_is_nearest(corpus: Corpus, limit: int) -> None:
    requests = [SearchRequest(query, limit) for query in QUERIES]
    for request in requests:
        assert_hits(corpus.store, request, corpus.expected(request))
    together = corpus.store.search(requests)
    assert [[hit.id for hit in hits] for hits in together] == [
        [name for name, _ in corpus.expected(request)] for request in requests
    ]
    for hits in together:
        assert all(hit.payload in [point.payload for point in corpus.written] for hit in hits)


def test_search_keeps_to_a_filter(corpus: Corpus) -> None:
    german = models.FieldCondition(key="meta.lang", match=models.MatchValue(value="de"))
    for query in QUERIES:
        request = SearchRequest(query, 12, filter=models.Filter(must=[german]))
        expected = corpus.expected(request, lambda payload: payload["meta"]["lang"] == "de")
        assert len(expected) == 12
        assert_hits(corpus.store, request, expected)


def test_search_finds_what_is_above_the_threshold(corpus: Corpus) -> None:
    for query in QUERIES:
        (hits,) = corpus.store.search([SearchRequest(query, 20)])
        between = (hits[3].score + hits[4].score) / 2
        request = SearchRequest(query, 20, score_threshold=between)
        assert_hits(corpus.store, request, corpus.expected(request))
        assert len(corpus.expected(request)) == 4
        reached = SearchRequest(query, 20, score_threshold=hits[6].score)
        assert [hit.id for hit in corpus.store.search([reached])[0]] == [hit.id for hit in hits[:6]]
    assert corpus.store.search([SearchRequest(QUERIES[0], 5, score_threshold=1.5)]) == [[]]


@pytest.mark.parametrize("key", ["doc_id", "meta.lang", "number", "nothing"])
@pytest.mark.parametrize("limit", [1, 4, 50])
def test_groups_are_the_best_point_for_each_value(corpus: Corpus, key: str, limit: int) -> None:
    for query in QUERIES:
        request = SearchRequest(query, limit, group_by=key)
        assert_hits(corpus.store, request, corpus.expected(request, group=key))


def test_a_point_is_in_the_groups_of_all_of_its_values(corpus: Corpus) -> None:
    key = "meta.pages"
    for query in QUERIES:
        request = SearchRequest(query, 10, group_by=key)
        expected = corpus.expected(request, group=key)
        assert len(expected) == 5
        assert expected[0] == expected[1]
        assert_hits(corpus.store, request, expected)


def test_a_point_with_a_value_that_is_no_text_or_whole_number_is_in_no_group(store: Store) -> None:
    values: list[Any] = [True, 1, 1.5, "1", None, [2, True], [2, 3], {"a": 4}, [], [[5]]]
    written = points([{"key": value} for value in values])
    store.upsert(written)
    (hits,) = store.search([SearchRequest(QUERIES[0], 20, group_by="key")])
    in_groups = [name(values.index("1")), *[name(values.index([2, 3]))] * 2]
    assert sorted(hit.id for hit in hits) == sorted([name(1), *in_groups])


def test_groups_keep_to_filter_and_threshold(corpus: Corpus) -> None:
    chosen = models.Filter(
        must=[models.FieldCondition(key="number", range=models.Range(gte=20))],
    )
    request = SearchRequest(QUERIES[0], 9, filter=chosen, score_threshold=0.0, group_by="doc_id")
    expected = corpus.expected(request, lambda payload: payload["number"] >= 20, "doc_id")
    assert 1 < len(expected) <= 9
    assert_hits(corpus.store, request, expected)


def test_a_batch_may_mix_groups_and_plain_searches(corpus: Corpus) -> None:
    grouped = SearchRequest(QUERIES[0], 4, group_by="doc_id")
    plain = SearchRequest(QUERIES[1], 4)
    found = corpus.store.search([plain, grouped, plain])
    assert [[hit.id for hit in hits] for hits in found] == [
        [name for name, _ in expected]
        for expected in (
            corpus.expected(plain),
            corpus.expected(grouped, group="doc_id"),
            corpus.expected(plain),
        )
    ]


@pytest.mark.parametrize("coarse_limit", [3, 8, 60])
def test_coarse_candidates_are_ranked_by_the_full_vectors(
    corpus: Corpus, coarse_limit: int
) -> None:
    for query in QUERIES:
        request = SearchRequest(query, 5, coarse_limit=coarse_limit)
        assert_hits(corpus.store, request, corpus.expected(request))


def test_coarse_candidates_satisfy_the_filter(corpus: Corpus) -> None:
    german = models.FieldCondition(key="meta.lang", match=models.MatchValue(value="de"))
    request = SearchRequest(QUERIES[2], 5, filter=models.Filter(must=[german]), coarse_limit=8)
    expected = corpus.expected(request, lambda payload: payload["meta"]["lang"] == "de")
    assert len(expected) == 5
    assert_hits(corpus.store, request, expected)


def test_groups_are_found_among_all_points_and_not_among_coarse_candidates(corpus: Corpus) -> None:
    request = SearchRequest(QUERIES[3], 6, coarse_limit=6, group_by="doc_id")
    assert_hits(corpus.store, request, corpus.expected(request, group="doc_id"))


# Filters: each with what it means


FILTERED: list[Payload] = [
    {
        "word": "a",
        "count": 1,
        "text": "Hello big world",
        "yes": True,
        "size": 1.5,
        "at": "2026-01-01",
    },
    {
        "word": "b",
        "count": 2,
        "text": "hello",
        "yes": False,
        "size": -2.0,
        "at": ["2025-12-31T23:00:00-02:00"],
    },
    {"word": ["a", "b"], "count": 3, "text": "world wide", "yes": True, "size": 0.0},
    {"word": "", "count": 2**60, "text": "worldly", "size": 3.0, "at": "2025-12-31T23:59:59Z"},
    {"word": "ä", "count": [1, 5], "deep": {"key": "a", "list": [1, 2]}},
    {"word": None, "deep": {"key": None, "list": []}},
    {"word": []},
    {},
]


def value(payload: Payload, key: str) -> list[Any]:
    return values_of(payload, key)


def condition(key: str, match: Any = None, bounds: Any = None) -> Any:
    return models.FieldCondition(key=key, match=match, range=bounds)


A = condition("word", models.MatchValue(value="a"))
TWO = condition("count", models.MatchValue(value=2))
SMALL = condition("count", bounds=models.Range(lt=3))
FILTERS: dict[str, tuple[models.Filter, Callable[[Payload], bool]]] = {
    "nothing": (models.Filter(), lambda _: True),
    "no conditions": (models.Filter(must=[], should=[], must_not=[]), lambda _: True),
    "word": (models.Filter(must=[A]), lambda p: "a" in value(p, "word")),
    "one condition, no list": (models.Filter(must=A), lambda p: "a" in value(p, "word")),
    "empty word": (
        models.Filter(must=[condition("word", models.MatchValue(value=""))]),
        lambda p: "" in value(p, "word"),
    ),
    "number": (models.Filter(must=[TWO]), lambda p: 2 in value(p, "count")),
    "large number": (
        models.Filter(must=[condition("count", models.MatchValue(value=2**60))]),
        lambda p: 2**60 in value(p, "count"),
    ),
    "true": (
        models.Filter(must=[condition("yes", models.MatchValue(value=True))]),
        lambda p: p.get("yes") is True,
    ),
    "false": (
        models.Filter(must=[condition("yes", models.MatchValue(value=False))]),
        lambda p: p.get("yes") is False,
    ),
    "deep": (
        models.Filter(must=[condition("deep.key", models.MatchValue(value="a"))]),
        lambda p: "a" in value(p, "deep.key"),
    ),
    "any word": (
        models.Filter(must=[condition("word", models.MatchAny(any=["a", "ä"]))]),
        lambda p: bool({"a", "ä"} & set(value(p, "word"))),
    ),
    "any number": (
        models.Filter(must=[condition("count", models.MatchAny(any=[1, 2]))]),
        lambda p: bool({1, 2} & set(value(p, "count"))),
    ),
    "any of none": (
        models.Filter(must=[condition("word", models.MatchAny(any=[]))]),
        lambda _: False,
    ),
    "except words": (
        models.Filter(must=[condition("word", models.MatchExcept(**{"except": ["a", "ä"]}))]),
        lambda p: bool(set(value(p, "word")) - {"a", "ä"}),
    ),
    "except numbers": (
        models.Filter(must=[condition("count", models.MatchExcept(**{"except": [1, 2]}))]),
        lambda p: bool(set(value(p, "count")) - {1, 2}),
    ),
    "between": (
        models.Filter(must=[condition("count", bounds=models.Range(gte=2, lt=5))]),
        lambda p: any(2 <= number < 5 for number in value(p, "count")),
    ),
    "above": (
        models.Filter(must=[condition("size", bounds=models.Range(gt=0))]),
        lambda p: any(number > 0 for number in value(p, "size")),
    ),
    "up to": (
        models.Filter(must=[condition("size", bounds=models.Range(lte=0))]),
        lambda p: any(number <= 0 for number in value(p, "size")),
    ),
    "since": (
        models.Filter(
            must=[condition("at", bounds=models.DatetimeRange(gte=datetime(2026, 1, 1)))]
        ),
        lambda p: p.get("at") in ("2026-01-01", ["2025-12-31T23:00:00-02:00"]),
    ),
    "before": (
        models.Filter(
            must=[condition("at", bounds=models.DatetimeRange(lt=datetime(2026, 1, 1, tzinfo=UTC)))]
        ),
        lambda p: p.get("at") == "2025-12-31T23:59:59Z",
    ),
    "null": (
        models.Filter(
            must=[models.IsNullCondition(is_null=models.PayloadField(key="word"))],
        ),
        lambda p: "word" in p and p["word"] is None,
    ),
    "deep null": (
        models.Filter(
            must=[models.IsNullCondition(is_null=models.PayloadField(key="deep.key"))],
        ),
        lambda p: "deep" in p and p["deep"]["key"] is None,
    ),
    "empty": (
        models.Filter(
            must=[models.IsEmptyCondition(is_empty=models.PayloadField(key="word"))],
        ),
        lambda p: not value(p, "word"),
    ),
    "field is null": (
        models.Filter(must=[models.FieldCondition(key="word", is_null=True)]),
        lambda p: "word" in p and p["word"] is None,
    ),
    "field is not empty": (
        models.Filter(must=[models.FieldCondition(key="word", is_empty=False)]),
        lambda p: bool(value(p, "word")),
    ),
    "both": (
        models.Filter(must=[A, SMALL]),
        lambda p: "a" in value(p, "word") and any(n < 3 for n in value(p, "count")),
    ),
    "either": (
        models.Filter(should=[A, TWO]),
        lambda p: "a" in value(p, "word") or 2 in value(p, "count"),
    ),
    "neither": (
        models.Filter(must_not=[A, TWO]),
        lambda p: "a" not in value(p, "word") and 2 not in value(p, "count"),
    ),
    "either and not": (
        models.Filter(should=[A, TWO], must_not=[condition("yes", models.MatchValue(value=False))]),
        lambda p: ("a" in value(p, "word") or 2 in value(p, "count")) and p.get("yes") is not False,
    ),
    "both of two": (
        models.Filter(min_should=models.MinShould(conditions=[A, SMALL], min_count=2)),
        lambda p: "a" in value(p, "word") and any(n < 3 for n in value(p, "count")),
    ),
    "filter in filter": (
        models.Filter(must=[SMALL, models.Filter(should=[A, models.Filter(must_not=[TWO])])]),
        lambda p: (
            any(n < 3 for n in value(p, "count"))
            and ("a" in value(p, "word") or 2 not in value(p, "count"))
        ),
    ),
}
WORDS = {"hello": {0, 1}, "world": {0, 2}, "wor": set(), "hello big": {0}, "big hello": {0}}
INDEXES: dict[str, Any] = {
    "word": "keyword",
    "count": "integer",
    "yes": "bool",
    "size": "float",
    "at": "datetime",
    "text": "text",
    "deep.key": "keyword",
}


@pytest.fixture(params=[False, True], ids=["unindexed", "indexed"])
def filtered(request: pytest.FixtureRequest, place: Place) -> Store:
    layout = CollectionLayout(payload_indexes=INDEXES if request.param else {})
    store = created(place.open(), layout)
    store.upsert(points(FILTERED))
    return store


def test_filters_choose_what_they_say(filtered: Store) -> None:
    for title, (chosen, matches) in FILTERS.items():
        expected = {name(n) for n, payload in enumerate(FILTERED) if matches(payload)}
        assert {point.id for point in filtered.scan(chosen)} == expected, title
        assert filtered.count(chosen) == len(expected), title
        (hits,) = filtered.search([SearchRequest(QUERIES[0], 20, filter=chosen)])
        assert {hit.id for hit in hits} == expected, title


def test_texts_are_found_by_their_words(filtered: Store) -> None:
    """In lower case, which only an index makes of them; nowhere by parts of words."""
    payloads = [{"text": str(payload.get("text", "")).lower()} for payload in FILTERED]
    filtered.upsert(points(payloads))
    for words, expected in WORDS.items():
        chosen = models.Filter(must=[condition("text", models.MatchText(text=words))])
        found = {point.id for point in filtered.scan(chosen)}
        assert found >= {name(number) for number in expected}, words


def test_filters_choose_by_id(filtered: Store) -> None:
    ids: list[Any] = [name(1), name(3), name(99)]
    chosen = models.Filter(must=[models.HasIdCondition(has_id=ids)])
    assert {point.id for point in filtered.scan(chosen)} == {name(1), name(3)}
    others = models.Filter(must_not=[models.HasIdCondition(has_id=ids)])
    assert filtered.count(others) == len(FILTERED) - 2


# The same in all


def test_all_engines_give_the_same_hits(tmp_path: Path) -> None:
    """Random requests; the engines have nothing in common but what was written."""
    random = np.random.default_rng(5)
    payloads = [
        {"doc_id": f"d{random.integers(12)}", "number": int(random.integers(100))}
        for _ in range(150)
    ]
    places = [Place("edge", tmp_path / "edge"), Place("memory", tmp_path)]
    stores = [created(place.open(), COARSE) for place in places]
    for store in stores:
        store.upsert(points(payloads))
    for query in unit_vectors(40, seed=8):
        low = int(random.integers(80))
        request = SearchRequest(
            query,
            limit=int(random.integers(1, 30)),
            filter=models.Filter(must=[condition("number", bounds=models.Range(gte=low))]),
            score_threshold=float(random.uniform(-0.5, 0.3)),
            group_by="doc_id" if random.random() < 0.5 else None,
            coarse_limit=int(random.integers(1, 60)) if random.random() < 0.5 else None,
        )
        edge, other = (store.search([request])[0] for store in stores)
        assert [(hit.id, hit.payload) for hit in edge] == [(hit.id, hit.payload) for hit in other]
        np.testing.assert_allclose(
            [hit.score for hit in edge], [hit.score for hit in other], atol=1e-5
        )
    for place in places:
        place.close()
