"""Writes during a migration: whatever falls between whichever requests, the new collection follows.

A migration and a writer are two processes that take turns at every request, in an order that
Hypothesis chooses; both may be killed before any request. After that: one run, a check, the
switch, and the new collection is what ingesting the old one's documents anew would give.
"""

from __future__ import annotations

import contextlib
import threading
import uuid
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from qdrant_client import QdrantClient, models

from jina_local import ChunkedText, Engine
from jina_local_qdrant import EmbeddingSpec, JinaQdrant
from jina_local_qdrant.errors import (
    ConcurrentWriteError,
    InvalidDocumentError,
    MigrationRefusedError,
)
from jina_local_qdrant.migration import DualWriter, Migration, PayloadFields, moving
from support.checkpoints import TinyConfig, write_tiny
from support.crashing import CrashError, CrashingClient, Fault, ServerLike

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from support.crashing import State

OLD, NEW, ALIAS = "old", "new", "live"
BEFORE = EmbeddingSpec(chunk_tokens=24)
AFTER = EmbeddingSpec(chunk_tokens=40, dimensions=8)
FIELDS = PayloadFields(text="text", document="doc", order="no")
IDS = ("a", "b", "c", "d", "e")
MAX_CHUNKS = 4
MAX_CALLS = 60
MANY = 10_000
MAY_BE_RAISED = (ConcurrentWriteError, MigrationRefusedError)  # half written, or ever anew


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """The least engine there is: thousands of forward passes in a minute."""
    config = TinyConfig(hidden_size=16, n_layers=1, n_heads=2, intermediate_size=32)
    folder = tmp_path_factory.mktemp("quick")
    write_tiny(folder, config=config, delta_factor=100.0)
    with Engine.load(folder, device="cpu") as loaded:
        yield loaded


@pytest.fixture(scope="module", autouse=True)
def _no_waiting() -> Iterator[None]:
    """Who waits for a half-written document goes on at once: whose turn it is, a list says."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(moving, "_SECONDS_OF_A_WRITE", 0)
        yield


@pytest.fixture(scope="module")
def clients() -> Iterator[tuple[QdrantClient, QdrantClient]]:
    """One for both collections, and one for what the new collection should be."""
    both = QdrantClient(":memory:"), QdrantClient(":memory:")
    yield both
    for client in both:
        client.close()


# Clients


class SmallPages:
    """A client that gives two points a page: five documents are as many pages as thousands."""

    def __init__(self, client: Any) -> None:
        self.__client = client

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__client, name)

    def scroll(self, *args: Any, limit: int = 10, **kwargs: Any) -> Any:
        return self.__client.scroll(*args, limit=min(limit, 2), **kwargs)


class KilledAtTarget:
    """A client whose process is killed before it makes the new collection."""

    def __init__(self, client: Any) -> None:
        self.__client = client

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__client, name)

    def create_collection(self, name: str, **kwargs: Any) -> Any:
        if name == NEW:
            raise CrashError
        return self.__client.create_collection(name, **kwargs)


class Turns:
    """Two processes of which one goes on at a time, chosen before every request.

    Args:
        order: Who makes how many requests in a row; at its end everyone goes on to their end.
    """

    def __init__(self, order: Sequence[tuple[int, int]]) -> None:
        self._order = iter([who for who, number in order for _ in range(number)])
        self._changed = threading.Condition()
        self._alive = {0, 1}
        self._now = 0

    def request(self, me: int, method: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        with self._changed:
            chosen = next(self._order, me)
            self._now = chosen if chosen in self._alive else me
            self._changed.notify_all()
            self._wait(me)
        return method(*args, **kwargs)

    def _wait(self, me: int) -> None:
        assert self._changed.wait_for(lambda: self._now == me, timeout=60)

    def together(self, *jobs: Callable[[], object]) -> None:
        """Run two jobs; an error of one is raised when both have ended."""
        errors: list[BaseException] = []

        def process(me: int, job: Callable[[], object]) -> None:
            try:
                with self._changed:
                    self._wait(me)
                job()
            except BaseException as error:  # noqa: BLE001 - raised in the thread that waits
                errors.append(error)
            finally:
                with self._changed:
                    self._alive.discard(me)
                    self._now = min(self._alive, default=me)
                    self._changed.notify_all()

        threads = [threading.Thread(target=process, args=pair) for pair in enumerate(jobs)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for error in errors:
            raise error


class InTurn:
    """A client each of whose requests waits for its turn."""

    def __init__(self, client: Any, turns: Turns, me: int) -> None:
        self.__client, self.__turns, self.__me = client, turns, me

    def __getattr__(self, name: str) -> Any:
        value = getattr(self.__client, name)
        if name.startswith("_") or not callable(value):
            return value
        return partial(self.__turns.request, self.__me, value)


# Old collections


class Place(Protocol):
    """Who writes the old collection, and what the new one should be."""

    def document(self, doc_id: str, chunks: int, word: str, year: int) -> Mapping[str, Any]:
        """A document of so many chunks."""

    def old(self, client: Any) -> Any:
        """What writes the old collection."""

    def migration(self, client: Any) -> Migration:
        """The migration, begun or not."""

    def expected(self, client: QdrantClient) -> State:
        """What the new collection of this old one should be, not made by a migration."""


def sentences(doc_id: str, chunks: int, word: str) -> list[str]:
    return [f"The {word} number {i} of {doc_id} is one of the states." for i in range(chunks)]


@dataclass(frozen=True, slots=True)
class Helper:
    """Written by `JinaQdrant`, for a tenant if there is one."""

    engine: Engine
    other: QdrantClient
    tenant: str | None = None

    def document(self, doc_id: str, chunks: int, word: str, year: int) -> Mapping[str, Any]:
        text = "\n\n".join(sentences(doc_id, chunks, word))
        return {"id": doc_id, "text": text, "metadata": {"year": year}}

    def old(self, client: Any) -> JinaQdrant:
        return JinaQdrant(client, OLD, self.engine, BEFORE, tenant=self.tenant)

    def migration(self, client: Any) -> Migration:
        return Migration(client, OLD, NEW, self.engine, AFTER, documents_at_once=2)

    def expected(self, client: QdrantClient) -> State:
        points, _ = client.scroll(OLD, limit=1000)
        owners = {(p.payload.get("tenant"), p.payload["doc_id"]) for p in points if p.payload}
        self.other.delete_collection(NEW)
        for tenant in sorted({tenant for tenant, _ in owners}, key=str):
            old = JinaQdrant(client, OLD, self.engine, BEFORE, tenant=tenant)
            new = JinaQdrant(self.other, NEW, self.engine, AFTER, tenant=tenant)
            new.ingest(
                [old.get(name) for owner, name in sorted(owners, key=str) if owner == tenant]
            )
        return state(self.other) if owners else {}


@dataclass(frozen=True, slots=True)
class ByHand:
    """Written by a few lines over a plain client, in more than one request."""

    engine: Engine

    def document(self, doc_id: str, chunks: int, word: str, year: int) -> Mapping[str, Any]:
        return {"id": doc_id, "chunks": sentences(doc_id, chunks, word), "year": year}

    def old(self, client: Any) -> Plain:
        if not client.collection_exists(OLD):
            config = models.VectorParams(size=3, distance=models.Distance.DOT)
            client.create_collection(OLD, vectors_config=config)
        return Plain(client)

    def migration(self, client: Any) -> Migration:
        return Migration(client, OLD, NEW, self.engine, AFTER, fields=FIELDS, documents_at_once=2)

    def expected(self, client: QdrantClient) -> State:
        points, _ = client.scroll(OLD, limit=1000)
        documents: dict[str, list[Any]] = {}
        for point in sorted(points, key=lambda point: (point.payload or {})["no"]):
            documents.setdefault((point.payload or {})["doc"], []).append(point)
        found: State = {}
        for chunks in documents.values():
            texts = [point.payload["text"] for point in chunks]
            starts = np.cumsum([0, *(len(text) + 1 for text in texts)]).tolist()
            spans = [(start, start + len(text)) for start, text in zip(starts, texts, strict=False)]
            (embedded,) = self.engine.embed_chunks(
                [ChunkedText(" ".join(texts), spans)], dimensions=AFTER.dimensions
            )
            for point, vector in zip(chunks, embedded.vectors, strict=True):
                found[str(point.id)] = (point.payload, vector)
        return found


@dataclass(frozen=True, slots=True)
class Plain:
    """Somebody's own writer: all chunks in one request, then those that are too many."""

    client: Any

    def ingest(self, documents: list[Any], /) -> None:
        for document in documents:
            points = [
                models.PointStruct(
                    id=self._id(document["id"], i),
                    vector=[1.0, 2.0, float(i)],
                    payload={
                        "text": text,
                        "doc": document["id"],
                        "no": i,
                        "meta": {"year": document["year"]},
                    },
                )
                for i, text in enumerate(document["chunks"])
            ]
            self.client.upsert(OLD, points, wait=True)
            self._delete([self._id(document["id"], i) for i in range(len(points), MAX_CHUNKS)])

    def delete(self, doc_ids: list[str], /) -> None:
        self._delete([self._id(doc_id, i) for doc_id in doc_ids for i in range(MAX_CHUNKS)])

    def _delete(self, ids: list[Any]) -> None:
        if ids:
            self.client.delete(OLD, models.PointIdsList(points=ids), wait=True)

    @staticmethod
    def _id(doc_id: str, number: int) -> int | str:
        name = uuid.uuid5(uuid.NAMESPACE_OID, f"{doc_id}/{number}")
        return str(name) if number % 2 else name.int % 2**60


KINDS: dict[str, Callable[[Engine, QdrantClient], tuple[Place, ...]]] = {
    "helper": lambda engine, other: (Helper(engine, other),),
    "tenants": lambda engine, other: (Helper(engine, other, "x"), Helper(engine, other, "y")),
    "by hand": lambda engine, _: (ByHand(engine),),
}


# What happens


@dataclass(frozen=True, slots=True)
class Write:
    """One use of a `DualWriter`.

    Attributes:
        doc_id: Which document.
        chunks: Of how many chunks it is then; none if it is deleted.
        word: What it is about then.
        year: Its metadata.
        owner: Which of the writers, if there are several tenants.
        killed_at: Number of the request beside those of the old writer before which the writer is
            killed, for good; `None` if it is not.
        cut_at: The same of the old writer's requests; the write is then repeated.
        is_alone: Whether the old writer alone writes, as by who does not know of the migration.
    """

    doc_id: str
    chunks: int
    word: str = "city"
    year: int = 1
    owner: int = 0
    killed_at: int | None = None
    cut_at: int | None = None
    is_alone: bool = False

    def on(self, places: Sequence[Place], client: Any) -> bool:
        """Write, as a process does that has only just started; whether it was killed."""
        place = places[self.owner % len(places)]
        killed, cut = Fault(), Fault()
        try:
            self._once(place, client, killed, cut)
        except CrashError:
            if cut.struck:  # who leaves a document half written in the old collection writes again
                self._once(place, client, Fault(), Fault(), is_again=True)
        return killed.struck

    def _once(
        self, place: Place, client: Any, killed: Fault, cut: Fault, *, is_again: bool = False
    ) -> None:
        with contextlib.suppress(*MAY_BE_RAISED):  # it is noted, and brought before the switch
            old = place.old(CrashingClient(client, cut))
            migration = place.migration(CrashingClient(client, killed))
            writer = old if self.is_alone else DualWriter(migration, old)
            for fault, number in ((killed, self.killed_at), (cut, self.cut_at)):
                if number is not None and not is_again:
                    fault.at = len(fault.calls) + number
            if self.chunks:
                writer.ingest([place.document(self.doc_id, self.chunks, self.word, self.year)])
            else:
                writer.delete([self.doc_id])


def all_of(writes: Sequence[Write], places: Sequence[Place], client: Any) -> None:
    for write in writes:
        write.on(places, client)


def begin(places: Sequence[Place], client: Any) -> None:
    """An old collection with some documents of each owner."""
    for one in client.get_collections().collections:
        client.delete_collection(one.name)
    for place in places:
        old = place.old(client)
        old.ingest([place.document(name, 1 + i % 3, "river", 0) for i, name in enumerate("abcd")])


def migrate(place: Place, client: Any, killed_at: int | None) -> None:
    """Begin the migration or go on with it, and be killed or not."""
    fault = Fault(killed_at)
    with contextlib.suppress(CrashError, *MAY_BE_RAISED):
        place.migration(CrashingClient(client, fault)).run()


def state(client: QdrantClient) -> State:
    points, _ = client.scroll(NEW, limit=1000, with_vectors=True)
    return {
        str(point.id): (point.payload or {}, np.asarray(point.vector, dtype=np.float32))
        for point in points
    }


def assert_same(actual: State, expected: State) -> None:
    """The same points: ids, payloads, and vectors to 1e-6."""
    assert {key: payload for key, (payload, _) in actual.items()} == {
        key: payload for key, (payload, _) in expected.items()
    }
    for key, (_, vector) in expected.items():
        np.testing.assert_allclose(actual[key][1], vector, atol=1e-6)


def switch(place: Place, client: Any) -> None:
    with contextlib.suppress(*MAY_BE_RAISED):
        place.migration(client).switch(ALIAS)


def named(client: QdrantClient) -> list[str]:
    return [one.collection_name for one in client.get_aliases().aliases]


# Interleaved


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """What happens between the beginning of a migration and its end.

    Attributes:
        first: Number of the request before which the first run is killed, if it is.
        runs: The same of runs that take turns with writes.
        writes: What is written meanwhile.
        turns: Who makes how many requests, run (0) or writer (1).
        later: What is written between the last run and the switch.
        during: What is written while the switch is made.
        switch_turns: Who makes how many requests then.
    """

    first: int | None
    runs: Sequence[int | None]
    writes: Sequence[Write]
    turns: Sequence[tuple[int, int]]
    later: Sequence[Write]
    during: Sequence[Write]
    switch_turns: Sequence[tuple[int, int]]


WHAT: dict[str, st.SearchStrategy[Any]] = {
    "doc_id": st.sampled_from(IDS),
    "chunks": st.integers(0, MAX_CHUNKS),
    "word": st.sampled_from(("river", "city")),
    "year": st.integers(0, 1),
    "owner": st.integers(0, 1),
}
WHOLE = st.builds(Write, **WHAT)
WRITES = (
    WHOLE
    | st.builds(Write, **WHAT, killed_at=st.integers(0, 12))
    | st.builds(Write, **WHAT, cut_at=st.integers(0, 8))
)
KILLED = st.none() | st.integers(0, MAX_CALLS)
TURNS = st.lists(st.tuples(st.integers(0, 1), st.integers(1, 24)), max_size=24)
STORIES = st.builds(
    Story,
    first=KILLED,
    runs=st.lists(KILLED, max_size=2),
    writes=st.lists(WRITES | st.builds(Write, **WHAT, is_alone=st.just(True)), max_size=6),
    turns=TURNS,
    later=st.lists(WRITES, max_size=2),
    during=st.lists(WHOLE, max_size=2),
    switch_turns=TURNS,
)


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=15)
@given(story=STORIES)
def test_whatever_is_written_meanwhile_is_right_after_the_switch(
    quick: Engine, clients: tuple[QdrantClient, QdrantClient], kind: str, story: Story
) -> None:
    """No write is lost, doubled or mixed with another, and no deleted document comes back."""
    real, other = clients
    places = KINDS[kind](quick, other)
    client = SmallPages(ServerLike(real))
    begin(places, client)
    migrate(places[0], client, story.first)

    turns = Turns(story.turns)
    of_run, of_writer = InTurn(client, turns, 0), InTurn(client, turns, 1)
    turns.together(
        lambda: [migrate(places[0], of_run, killed_at) for killed_at in story.runs],
        partial(all_of, story.writes, places, of_writer),
    )

    migration = places[0].migration(client)
    migration.run()
    if any(write.is_alone for write in story.writes):  # perhaps where the run had been already
        migration.run()
    assert not migration.run().changed
    check = migration.verify(sample=2)
    assert check.ok, check.problems()
    assert_same(state(real), places[0].expected(real))

    all_of(story.later, places, client)
    turns = Turns(story.switch_turns)
    of_switch, of_writer = InTurn(client, turns, 0), InTurn(client, turns, 1)
    turns.together(
        partial(switch, places[0], of_switch),
        partial(all_of, story.during, places, of_writer),
    )
    if named(real) != [NEW]:  # refused, since a document stayed half written all the time
        switch(places[0], client)
    assert named(real) == [NEW]
    assert_same(state(real), places[0].expected(real))


@pytest.mark.parametrize("kind", ["helper", "by hand"])
@pytest.mark.parametrize(
    "write", [Write("b", 4), Write("c", 1), Write("d", 0)], ids=["more", "fewer", "none"]
)
def test_a_writer_killed_before_any_request_loses_nothing(
    quick: Engine, clients: tuple[QdrantClient, QdrantClient], kind: str, write: Write
) -> None:
    """What it has written into the old collection is in the new one after the switch, no run
    in between; and what it has not is in neither."""
    real, other = clients
    places = KINDS[kind](quick, other)
    for number in range(MAX_CALLS):
        begin(places, real)
        migration = places[0].migration(real)
        migration.run()
        assert migration.verify(sample=1).ok
        was_killed = replace(write, killed_at=number).on(places, real)
        migration.switch(ALIAS)
        assert_same(state(real), places[0].expected(real))
        if not was_killed:
            break
    assert number > 5


FIRST = (Write("b", 2), Write("c", 4), Write("e", 3))
SECOND = (Write("b", 4, year=2), Write("a", 0), Write("c", 1), Write("e", 2, "river"))


@pytest.mark.parametrize("kind", ["helper", "by hand"])
@pytest.mark.parametrize("step", ["first run", "later run", "switch"])
def test_writes_between_any_two_requests_of_a_step_are_in_the_new_collection(
    quick: Engine, clients: tuple[QdrantClient, QdrantClient], kind: str, step: str
) -> None:
    """Also between reading a document and writing it."""
    real, other = clients
    places = KINDS[kind](quick, other)
    client = ServerLike(real)  # a local client's lock would not let them take turns

    def prepare() -> None:
        begin(places, client)
        if step != "first run":
            places[0].migration(client).run()
            all_of(FIRST, places, client)
        if step == "switch":
            assert places[0].migration(client).verify(sample=1).ok

    def go(client: Any) -> None:
        migration = places[0].migration(client)
        if step == "switch":
            migration.switch(ALIAS)
        else:
            migration.run()

    prepare()
    alone = Fault()
    go(CrashingClient(client, alone))
    earliest = alone.calls.count("create_collection") and 1 + max(
        i for i, name in enumerate(alone.calls) if name == "create_collection"
    )
    assert len(alone.calls) > earliest + 15
    for number in range(earliest, len(alone.calls), 1 if kind == "by hand" else 4):
        prepare()
        turns = Turns([(0, number), (1, MANY)])
        of_step, of_writer = InTurn(client, turns, 0), InTurn(client, turns, 1)
        turns.together(partial(go, of_step), partial(all_of, SECOND, places, of_writer))
        assert_same(state(real), places[0].expected(real))


# Refusals


def test_a_document_without_an_id_is_refused_before_anything_is_written(
    quick: Engine, clients: tuple[QdrantClient, QdrantClient]
) -> None:
    real, other = clients
    (place,) = KINDS["by hand"](quick, other)
    begin([place], real)
    place.migration(real).run()
    before = state(real)
    writer = DualWriter(place.migration(real), place.old(real))
    for wrong in (None, "", True, 1.5):
        with pytest.raises(InvalidDocumentError, match="non-empty string") as raised:
            writer.ingest([place.document("a", 1, "city", 5), {"id": wrong, "chunks": []}])
        assert repr(wrong) in str(raised.value)
    assert_same(state(real), before)
    assert_same(before, place.expected(real))


@pytest.mark.parametrize("when", ["before it has begun", "before there is a target", "finished"])
def test_writing_is_refused_before_anything_is_written_when_no_migration_is_under_way(
    quick: Engine, clients: tuple[QdrantClient, QdrantClient], when: str
) -> None:
    """What is not under way has nowhere to write to; the old writer alone is used then."""
    real, other = clients
    (place,) = KINDS["helper"](quick, other)
    begin([place], real)
    migration = place.migration(real)
    message = "run the migration again" if "target" in when else "run one first"
    if "target" in when:
        with pytest.raises(CrashError):
            place.migration(KilledAtTarget(real)).run()
    if when == "finished":
        migration.run()
        migration.verify(sample=1)
        migration.switch(ALIAS)
        migration.finalize()
    old = place.old(real)
    writer = DualWriter(migration, old)
    for what in (
        lambda: writer.ingest([place.document("a", 3, "city", 5)]),
        lambda: writer.delete("a"),
    ):
        with pytest.raises(MigrationRefusedError, match=message):
            what()
    assert old.get("a") == place.document("a", 1, "river", 0)
