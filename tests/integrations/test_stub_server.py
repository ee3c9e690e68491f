"""A server in every kind of trouble: what the helper does to it, and what is there in the end."""

from __future__ import annotations

import os
import random
import uuid
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from qdrant_client import QdrantClient, models

from jina_local_qdrant import Document, EmbeddingSpec, JinaQdrant
from jina_local_qdrant.errors import StoreRefusedError, StoreUnavailableError, TooLargeError
from jina_local_qdrant.layout import CollectionLayout
from jina_local_qdrant.qdrant_store import QdrantStore
from jina_local_qdrant.retries import Retrier, RetryPolicy
from jina_local_qdrant.store import Point, SearchRequest, Store
from support.stub_qdrant import TOO_LARGE, Fault, StubQdrant, running

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from jina_local import Engine

SIZE = 4
POLICY = RetryPolicy(attempts=4)
SPEC = EmbeddingSpec(chunk_tokens=24)


@pytest.fixture(scope="module")
def shared_stub() -> Iterator[StubQdrant]:
    with running() as server:
        yield server


@pytest.fixture(scope="module")
def client(shared_stub: StubQdrant) -> Iterator[QdrantClient]:
    connected = shared_stub.client()
    yield connected
    connected.close()


@pytest.fixture
def stub(shared_stub: StubQdrant) -> StubQdrant:
    """A server that nobody has used."""
    shared_stub.reset()
    return shared_stub


@dataclass
class Rig:
    """A store over a server, and one over a local collection that has no trouble."""

    stub: StubQdrant
    store: QdrantStore
    oracle: QdrantStore
    naps: list[float] = field(default_factory=list)

    def assert_same_points(self) -> None:
        """What is in the server is what is in the oracle."""
        assert_same_points(self.store, self.oracle)


@pytest.fixture
def rig(stub: StubQdrant, client: QdrantClient) -> Iterator[Rig]:
    local = QdrantClient(":memory:")
    made = Rig(stub, QdrantStore(client, "docs"), QdrantStore(local, "docs"))
    for store in (made.store, made.oracle):
        store._retrier = Retrier(POLICY, sleep=made.naps.append)
        store.create(size=SIZE, layout=CollectionLayout(), metadata={"a": {"b": 1}})
        store.upsert([point(n) for n in range(6)])
    stub.requests.clear()
    yield made
    local.close()


def point(number: int, word: str = "old") -> Point:
    vector = np.random.default_rng(number).normal(size=SIZE).astype(np.float32)
    payload = {
        "doc_id": f"d{number % 3}",
        "chunk_index": number,
        "word": word,
        "text": "x" * number,
    }
    return Point(point_name(number), vector / np.linalg.norm(vector), payload)


def point_name(number: int) -> str:
    return str(uuid.UUID(int=number))


def points_of(store: Store) -> dict[str, tuple[dict[str, Any], Any]]:
    """Every point: id → payload and vector."""
    return {found.id: (found.payload, found.vector) for found in store.scan(vectors=True)}


def assert_same_points(store: Store, oracle: Store) -> None:
    mine, right = points_of(store), points_of(oracle)
    assert {key: payload for key, (payload, _) in mine.items()} == {
        key: payload for key, (payload, _) in right.items()
    }
    for key, (_, vector) in mine.items():
        assert vector == pytest.approx(right[key][1], abs=1e-5)


def search(store: QdrantStore, group_by: str | None = None) -> list[str]:
    request = SearchRequest(point(9).vector, limit=3, group_by=group_by)
    (hits,) = store.search([request])
    return [f"{hit.id} {hit.score:.2f}" for hit in hits]


OPERATIONS: dict[str, Callable[[QdrantStore], object]] = {
    "upsert": lambda store: store.upsert([point(2, "new"), point(7, "new")]),
    "delete": lambda store: store.delete([point_name(1), point_name(2)]),
    "set_payload": lambda store: store.set_payload(
        [point_name(3)], {"word": "new", "doc_id": None}
    ),
    "retrieve": lambda store: store.retrieve([point_name(4), point_name(99)]),
    "scroll": lambda store: [found.id for found in store.scan()],
    "query_batch": search,
    "query_groups": lambda store: search(store, group_by="doc_id"),
    "count": lambda store: store.count(),
    "exists": lambda store: store.exists(),
    "info": lambda store: store.metadata(),
    "update": lambda store: store.set_metadata("a", {"c": 2}),
}
WRITES = {"upsert", "delete", "set_payload", "update"}


def answer(status: int, *headers: tuple[str, str], **options: Any) -> Fault:
    return Fault("answer", status=status, headers=headers, **options)


PASSING = {
    "429 with a wait": answer(429, ("Retry-After", "7"), error="Rate limit exceeded"),
    "429 without a wait": answer(429, error="Rate limit exceeded"),
    "429 with a date": answer(429, ("Retry-After", "Wed, 21 Oct 2015 07:28:00 GMT")),
    "408": answer(408),
    "500": answer(500),
    "502 of a proxy, and done": answer(502, is_done=True),
    "503": answer(503),
    "503 with a wait": answer(503, ("Retry-After", "7")),
    "silence": Fault("silence"),
    "connection closed": Fault("drop"),
    "connection closed, and done": Fault("drop", is_done=True),
    "answer cut short": Fault("cut"),
    "answer cut short, and done": Fault("cut", is_done=True),
}
REFUSALS = {status: answer(status, error="words") for status in (400, 401, 403, 404, 409, 422)}


# One fault, one operation


@pytest.mark.parametrize("fault", PASSING.values(), ids=PASSING.keys())
@pytest.mark.parametrize("operation", OPERATIONS)
def test_trouble_that_passes_is_not_noticed(rig: Rig, operation: str, fault: Fault) -> None:
    rig.stub.faults.append(replace(fault, operation=operation))
    run = OPERATIONS[operation]
    assert run(rig.store) == run(rig.oracle)
    assert [request.fault is None for request in rig.stub.sent(operation)] == [False, True]
    first, second = rig.stub.sent(operation)
    assert (first.body, first.parameters) == (second.body, second.parameters)
    (nap,) = rig.naps
    if ("Retry-After", "7") in fault.headers:
        assert nap == 7.0
    else:
        assert 0 <= nap <= POLICY.first_wait
    rig.stub.faults.clear()
    rig.assert_same_points()
    assert rig.store.metadata() == rig.oracle.metadata()


@pytest.mark.parametrize("fault", REFUSALS.values(), ids=REFUSALS.keys())
@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_refusal_is_raised_after_one_request(rig: Rig, operation: str, fault: Fault) -> None:
    rig.stub.faults.append(replace(fault, operation=operation))
    with pytest.raises(StoreRefusedError, match=f"'docs'.*{fault.status} .*: words; "):
        OPERATIONS[operation](rig.store)
    assert len(rig.stub.sent(operation)) == 1
    assert rig.naps == []
    rig.assert_same_points()


@pytest.mark.parametrize("kind", ["answer", "silence", "drop", "cut"])
@pytest.mark.parametrize("operation", OPERATIONS)
def test_trouble_that_stays_is_raised_in_the_end(rig: Rig, operation: str, kind: Any) -> None:
    rig.stub.faults += [Fault(kind, operation)] * 9
    with pytest.raises(StoreUnavailableError, match=r"'docs'.* tried 4 times"):
        OPERATIONS[operation](rig.store)
    assert len(rig.stub.sent(operation)) == 4
    assert len(rig.naps) == 3
    rig.stub.faults.clear()
    rig.assert_same_points()


@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_wait_that_is_too_long_is_refused(rig: Rig, operation: str) -> None:
    rig.stub.faults.append(answer(429, ("Retry-After", "3600"), operation=operation))
    with pytest.raises(StoreUnavailableError, match="asks to wait 3600 s"):
        OPERATIONS[operation](rig.store)
    assert len(rig.stub.sent(operation)) == 1
    assert rig.naps == []


@pytest.mark.parametrize("operation", sorted(OPERATIONS.keys() - {"upsert"}))
def test_what_cannot_be_split_is_too_large(rig: Rig, operation: str) -> None:
    rig.stub.faults.append(answer(413, operation=operation))
    with pytest.raises(TooLargeError, match="413"):
        OPERATIONS[operation](rig.store)
    assert len(rig.stub.sent(operation)) == 1


def test_a_server_that_is_not_there_is_named(rig: Rig) -> None:
    with running() as gone:
        store = QdrantStore(gone.client(), "docs")
    store._retrier = Retrier(POLICY, sleep=rig.naps.append)
    with pytest.raises(StoreUnavailableError, match=r"tried 4 times.*ConnectError"):
        store.count()
    assert len(rig.naps) == 3


def test_writes_wait_until_they_are_done(rig: Rig) -> None:
    for operation in ("upsert", "delete", "set_payload"):
        OPERATIONS[operation](rig.store)
        assert [request.parameters["wait"] for request in rig.stub.sent(operation)] == ["true"]


def test_a_collection_whose_creation_was_not_answered_is_created(
    stub: StubQdrant, client: QdrantClient
) -> None:
    store = QdrantStore(client, "docs")
    store._retrier = Retrier(POLICY, sleep=lambda _seconds: None)
    stub.faults.append(Fault("drop", "create", is_done=True))
    store.create(size=SIZE, layout=CollectionLayout(), metadata={"a": 1})
    assert store.metadata() == {"a": 1}
    assert {request.body["field_name"] for request in stub.sent("index")} >= {"doc_id", "doc_hash"}


# Too large


def halves(size: int, limit: int) -> list[int]:
    """The sizes of the requests by which so many points are written in halves."""
    if size <= limit:
        return [size]
    return [size, *halves(size // 2, limit), *halves(size - size // 2, limit)]


@pytest.mark.parametrize("refusal", TOO_LARGE.values(), ids=TOO_LARGE.keys())
@pytest.mark.parametrize("limit", [1, 3, 19, 20])
def test_what_is_too_large_is_written_in_halves(
    rig: Rig, limit: int, refusal: tuple[int, str]
) -> None:
    rig.stub.largest_upsert, rig.stub.refusal = limit, refusal
    points = [point(n, "new") for n in range(20)]
    rig.store.upsert(points)
    rig.oracle.upsert(points)
    sizes = [len(request.body["points"]) for request in rig.stub.sent("upsert")]
    assert sizes == halves(20, limit)
    assert rig.naps == []
    rig.assert_same_points()


def test_a_point_that_is_too_large_is_named(rig: Rig) -> None:
    rig.stub.longest_text = 4
    with pytest.raises(TooLargeError, match=r"'d2', chunk 5.*413"):
        rig.store.upsert([point(n) for n in range(6)])
    sizes = [len(request.body["points"]) for request in rig.stub.sent("upsert")]
    assert sizes == [6, 3, 3, 1, 2, 1, 1]


# A whole ingestion


def document(number: int, n_paragraphs: int, word: str = "states") -> Document:
    paragraphs = [f"Some {word} of Germany, number {i} of {number}." for i in range(n_paragraphs)]
    return {"id": f"d{number}", "text": "\n\n".join(paragraphs), "metadata": {"n": number}}


FIRST = [document(number, 1 + number % 5) for number in range(12)]
SECOND = [
    *(document(number, 1 + number % 4, "cities") for number in range(6)),
    {**FIRST[6], "metadata": {"n": None, "new": True}},
    *FIRST[7:],
]


def luck(seed: int, rate: float = 0.2, n_requests: int = 2000) -> list[Fault | None]:
    """What befalls requests: nothing to most."""
    chance = random.Random(seed)  # noqa: S311 - not a secret
    return [
        chance.choice(list(PASSING.values())) if chance.random() < rate else None
        for _ in range(n_requests)
    ]


def opened(client: QdrantClient, engine: Engine, naps: list[float] | None = None) -> JinaQdrant:
    index = JinaQdrant(client, "docs", engine, SPEC)
    assert isinstance(index.store, QdrantStore)
    policy = RetryPolicy(attempts=20, total_seconds=1e6)
    index.store._retrier = Retrier(policy, sleep=(naps if naps is not None else []).append)
    return index


def work(index: JinaQdrant) -> list[object]:
    """Everything there is to do with a collection; what came of it."""
    return [
        index.ingest(FIRST),
        index.ingest(SECOND),
        index.delete(["d11", "d10"]),
        index.count(),
        index.count_documents(),
        [hit.id for hit in index.search("Which cities?", limit=5)],
        [index.get(f"d{number}") for number in range(12)],
    ]


@pytest.mark.parametrize("seed", range(3))
def test_bad_luck_changes_nothing(
    stub: StubQdrant, client: QdrantClient, engine: Engine, seed: int
) -> None:
    naps: list[float] = []
    index = opened(client, engine, naps)
    stub.faults += luck(seed)
    done = work(index)
    n_faults = sum(request.fault is not None for request in stub.requests)
    assert n_faults >= 8
    assert len(naps) == n_faults
    stub.faults.clear()
    local = opened(QdrantClient(":memory:"), engine)
    assert done == work(local)
    assert_same_points(index.store, local.store)


def test_an_ingestion_that_gave_up_is_finished_by_the_next(
    stub: StubQdrant, client: QdrantClient, engine: Engine
) -> None:
    """Whichever write it was at which the server went away."""
    whole = opened(QdrantClient(":memory:"), engine)
    whole.ingest(FIRST)
    whole.ingest(SECOND)
    given_up = 0
    for n_answered in range(0, 40, 3):
        stub.backend.delete_collection("docs")
        opened(client, engine).ingest(FIRST)
        index = opened(client, engine)
        stub.faults += [None] * n_answered + [Fault("drop")] * 400
        try:
            index.ingest(SECOND)
        except StoreUnavailableError:
            given_up += 1
        stub.faults.clear()
        assert opened(client, engine).ingest(SECOND).failed == 0
        assert_same_points(index.store, whole.store)
    assert given_up >= 3


def test_a_document_that_is_being_written_is_not_there(
    stub: StubQdrant, client: QdrantClient, engine: Engine
) -> None:
    """A server removes a payload key that is set to null."""
    index = opened(client, engine)
    index.ingest(FIRST)
    stub.faults += [Fault("answer", "upsert", status=400)] * 9
    with pytest.raises(StoreRefusedError):
        index.ingest([document(4, 5, "cities")])
    assert index.count_documents() == len(FIRST) - 1
    assert index.get("d4") is None
    stub.faults.clear()
    assert index.ingest([document(4, 5, "cities")]).embedded == 1
    assert index.count_documents() == len(FIRST)


def test_a_document_that_is_too_large_is_named_or_given_up(
    stub: StubQdrant, client: QdrantClient, engine: Engine
) -> None:
    index = JinaQdrant(client, "docs", engine, EmbeddingSpec(chunk_tokens=None))
    stub.longest_text = 180
    with pytest.raises(TooLargeError, match=r"document 'd4', chunk 0"):
        index.ingest(FIRST[:6])
    letters: list[Any] = []
    report = index.ingest(FIRST[:6], on_error="dead_letter", dead_letters=letters.append)
    too_large = [d for d in FIRST[:6] if len(d["text"]) > 180]
    assert [letter.doc_id for letter in letters] == [d["id"] for d in too_large]
    assert {letter.kind for letter in letters} == {"TooLargeError"}
    assert report.failed == len(too_large) > 0
    assert index.count_documents() == 6 - len(too_large)


@pytest.mark.parametrize("status", [401, 403, 404])
def test_what_no_document_can_help_ends_an_ingestion(
    stub: StubQdrant, client: QdrantClient, engine: Engine, status: int
) -> None:
    """A key that may not write, a collection that was deleted: no reason to give documents up."""
    index = opened(client, engine)
    index.ingest(FIRST[:1])
    stub.faults += [answer(status, operation="upsert", error="words of the server")] * 400
    letters: list[Any] = []
    with pytest.raises(StoreRefusedError, match="words of the server"):
        index.ingest(FIRST, on_error="dead_letter", dead_letters=letters.append)
    assert letters == []


# A real server does the same


@pytest.fixture(params=["rest", "grpc"])
def server(request: pytest.FixtureRequest) -> Iterator[QdrantClient]:
    url = os.environ["QDRANT_URL"]
    connected = QdrantClient(url=url, prefer_grpc=request.param == "grpc", timeout=60)
    yield connected
    connected.close()


def do_everything(client: QdrantClient, engine: Engine, name: str) -> None:
    index = JinaQdrant(client, name, engine, SPEC)
    local = opened(QdrantClient(":memory:"), engine)
    assert work(index) == work(local)
    assert_same_points(index.store, local.store)
    assert index.ingest(SECOND[:10]).skipped == 10
    again = JinaQdrant(client, name, engine, SPEC)
    assert again.count() == local.count()
    third = models.FieldCondition(key="meta.n", match=models.MatchValue(value=3))
    (hit,) = again.search(
        "Which?", filter=models.Filter(must=[third]), group_by_document=True, score_threshold=-1
    )
    assert hit.doc_id == "d3"


def test_the_stub_does_everything(stub: StubQdrant, client: QdrantClient, engine: Engine) -> None:
    do_everything(client, engine, "docs")
    assert {request.fault for request in stub.requests} == {None}


@pytest.mark.server
def test_a_server_does_everything(server: QdrantClient, engine: Engine) -> None:
    name = f"jina-local-test-{uuid.uuid4()}"
    try:
        do_everything(server, engine, name)
    finally:
        server.delete_collection(name)


@pytest.mark.server
def test_a_server_and_the_stub_word_refusals_alike(
    stub: StubQdrant, server: QdrantClient, client: QdrantClient
) -> None:
    """The stub is of use as far as it answers as a server does."""
    assert stub.requests == []
    name = f"jina-local-test-{uuid.uuid4()}"
    for opened_client in (server, client):
        store = QdrantStore(opened_client, name, RetryPolicy(attempts=2, first_wait=0.0))
        with pytest.raises(StoreRefusedError, match=r"404|NOT_FOUND"):
            store.count()
        store.create(size=SIZE, layout=CollectionLayout(), metadata={})
        try:
            store.upsert([point(1)])
            with pytest.raises(StoreRefusedError, match=r"404|NOT_FOUND"):
                store.set_payload([point_name(77)], {"word": "new"})
            store.set_payload([point_name(1)], {"word": None})
            assert "word" not in store.retrieve([point_name(1)])[point_name(1)]
            store.delete([point_name(77)])
        finally:
            opened_client.delete_collection(name)
