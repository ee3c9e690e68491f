"""A migration that ends at any moment, and goes on in another process.

Every process builds its own `Migration`; a crash may come before, after or amid any call of the
client, those of the constructor included. Afterwards everything is what an uninterrupted migration
leaves: points, payloads, vectors, the collection's settings and the journal.
"""

from __future__ import annotations

import copy
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from qdrant_client import QdrantClient, models

from jina_local import ChunkedText, Engine
from jina_local_qdrant import EmbeddingSpec, JinaQdrant
from jina_local_qdrant.errors import CollectionNotFoundError, MigrationRefusedError
from jina_local_qdrant.migration import Migration, MoveReport, PayloadFields, finalize
from jina_local_qdrant.migration.points import Points
from support.checkpoints import TinyConfig, write_tiny
from support.crashing import CrashError, CrashingClient, Fault, How

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

WRITES = (
    "create_collection",
    "delete_collection",
    "update_collection_aliases",
    "create_payload_index",
    "upsert",
    "delete",
)
FIELDS = PayloadFields(text="text", document="doc", order="no")
SPEC = EmbeddingSpec(dimensions=8, chunk_tokens=24)


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """The least engine there is: thousands of forward passes in a minute."""
    config = TinyConfig(hidden_size=16, n_layers=1, n_heads=2, intermediate_size=32)
    folder = tmp_path_factory.mktemp("quick")
    write_tiny(folder, config=config, delta_factor=100.0)
    with Engine.load(folder, device="cpu") as loaded:
        yield loaded


# Sources


def paragraphs(word: str, numbers: Sequence[int]) -> list[str]:
    return [f"The {word} number {i} is one of the states of Germany." for i in numbers]


Source = dict[str, list[str]]
"""Paragraphs of each document, of which each is a chunk."""

FIRST: Source = {
    "a": paragraphs("city", range(3)),
    "b": paragraphs("river", range(1)),
    "c": paragraphs("bridge", range(2)),
    "d": paragraphs("state", range(2)),
}
LATER: Source = {
    "a": paragraphs("city", range(2)),  # a chunk less
    "b": paragraphs("river", range(2)),  # a chunk more
    "d": paragraphs("state", [0, 7]),  # another text; c is gone
    "e": paragraphs("number", range(1)),
}


def write_foreign(client: QdrantClient, source: Source) -> None:
    """As some other program writes chunks; calling it again makes it this source."""
    if not client.collection_exists("old"):
        client.create_collection(
            "old",
            vectors_config=models.VectorParams(size=4, distance=models.Distance.COSINE),
            metadata={"team": "x"},
        )
    places = {"a": 0, "b": 1, "c": 2, "d": 3, "e": 4}
    points = [
        models.PointStruct(
            id=100 - 5 * i - places[name],  # chunks of all documents are mixed, the last is first
            vector=[1.0, i, 0.5, places[name]],
            payload={"text": text, "doc": name, "no": i, "nested": {"list": [i, None]}},
        )
        for name, chunks in source.items()
        for i, text in enumerate(chunks)
    ]
    client.delete("old", models.FilterSelector(filter=models.Filter()))
    client.upsert("old", points)


def write_ours(client: QdrantClient, source: Source, engine: Engine) -> None:
    """As this helper writes documents."""
    index = JinaQdrant(client, "old", engine, EmbeddingSpec(chunk_tokens=24))
    index.sync(
        [{"id": name, "text": "\n\n".join(of)} for name, of in source.items()],
        delete_missing=True,
        max_delete_fraction=1.0,
    )


@dataclass(slots=True)
class Counting:
    """An engine that keeps every text that it embeds."""

    engine: Engine
    calls: list[list[str]] = field(default_factory=list)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.engine, name)

    def embed_chunks(self, documents: Sequence[ChunkedText], **options: Any) -> Any:
        if documents:
            self.calls.append([document.text for document in documents])
        return self.engine.embed_chunks(documents, **options)

    def embed_documents(self, texts: Sequence[str], **options: Any) -> Any:
        if texts:
            self.calls.append(list(texts))
        return self.engine.embed_documents(texts, **options)

    @property
    def texts(self) -> Counter[str]:
        """How often each text was embedded."""
        return Counter(text for call in self.calls for text in call)


@dataclass(frozen=True, slots=True)
class World:
    """A server, which outlives processes, and how to start one.

    Attributes:
        kind: Who wrote the source.
        engine: Embeds.
        at_once: Documents that are embedded and written together.
        client: The server.
    """

    kind: str
    engine: Engine
    at_once: int
    client: QdrantClient = field(default_factory=lambda: QdrantClient(":memory:"))

    def copy(self) -> World:
        """Another server with the same collections and aliases."""
        other = QdrantClient(":memory:")
        ours: Any = self.client._client
        theirs: Any = other._client
        theirs.collections = copy.deepcopy(ours.collections)
        theirs.aliases = dict(ours.aliases)
        return World(self.kind, self.engine, self.at_once, other)

    def write(self, source: Source) -> None:
        """Make the old collection this source, without a `DualWriter`."""
        if self.kind == "ours":
            write_ours(self.client, source, self.engine)
        else:
            write_foreign(self.client, source)

    def migration(self, fault: Fault | None = None, engine: Any = None) -> Migration:
        """As a process builds it that has only just started."""
        client: Any = self.client if fault is None else CrashingClient(self.client, fault)
        return Migration(
            client,
            "old",
            "new",
            engine or self.engine,
            SPEC,
            fields=None if self.kind == "ours" else FIELDS,
            documents_at_once=self.at_once,
        )

    def state(self, name: str) -> Any:
        """All there is of a collection but the vectors, and the vectors."""
        if not self.client.collection_exists(name):
            return None, {}
        records, _ = self.client.scroll(name, limit=10_000, with_vectors=True)
        config = self.client.get_collection(name).config.model_dump()
        payloads = {record.id: record.payload for record in records}
        vectors: Any = {one.id: one.vector for one in records if isinstance(one.vector, list)}
        return (config, payloads), vectors

    def collections(self) -> list[str]:
        return sorted(one.name for one in self.client.get_collections().collections)

    def named(self, alias: str = "live") -> str | None:
        found = self.client.get_aliases().aliases
        return {one.alias_name: one.collection_name for one in found}.get(alias)


def assert_same(world: World, expected: World, context: str = "") -> None:
    """Two servers hold the same: source, target, journal and aliases."""
    assert world.collections() == expected.collections(), context
    assert world.named() == expected.named(), context
    for name in expected.collections():
        content, vectors = world.state(name)
        expected_content, expected_vectors = expected.state(name)
        assert content == expected_content, f"{name}; {context}"
        assert vectors.keys() == expected_vectors.keys(), f"{name}; {context}"
        for id_, vector in expected_vectors.items():
            assert np.allclose(vectors[id_], vector, atol=1e-6), f"{name} {id_}; {context}"


def is_same(world: World, expected: World) -> bool:
    try:
        assert_same(world, expected)
    except AssertionError:
        return False
    return True


@pytest.fixture(params=["ours", "foreign"])
def kind(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


def crash_points(calls: Sequence[str], how: How) -> list[int]:
    """Every call; or every one that writes, where that makes the difference."""
    return [i for i, name in enumerate(calls) if how == "before" or name in WRITES]


def crash(world: World, fault: Fault, step: Callable[[Migration], object], engine: Any) -> str:
    """Do a step as a process that crashes; what happened."""
    with pytest.raises(CrashError) as crashed:
        step(world.migration(fault, engine))
    return f"{crashed.value}, of {fault.calls}"


def calls_of(world: World, step: Callable[[Migration], object]) -> list[str]:
    """The calls of a step that nothing interrupts."""
    fault = Fault()
    step(world.migration(fault))
    return fault.calls


# run


@pytest.mark.parametrize("how", ["before", "after", "torn", "holes"])
@pytest.mark.parametrize("at_once", [1, 64])
def test_a_first_run_that_crashes_at_any_call(
    quick: Engine, kind: str, at_once: int, how: How, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is lost, and nothing is embedded twice but what was under way."""
    limits: Any = Points.page.__kwdefaults__
    monkeypatch.setitem(limits, "limit", 3)
    start = World(kind, quick, at_once)
    start.write(FIRST)
    source = start.state("old")
    expected = start.copy()
    calls = calls_of(expected, Migration.run)
    assert len(calls) > 20
    for number in crash_points(calls, how):
        world = start.copy()
        fault, engine = Fault(number, how), Counting(quick)
        context = crash(world, fault, Migration.run, engine)
        assert world.state("old") == source, context
        under_way = engine.calls[-1] if engine.calls else []
        world.migration(engine=engine).run()
        assert_same(world, expected, context)
        twice = {text for text, times in engine.texts.items() if times > 1}
        assert twice <= set(under_way), f"{twice} were embedded again; {context}"
        assert len(engine.texts) == len(FIRST)
        assert max(engine.texts.values()) <= 2
        assert len(twice) <= at_once


LATER_RUNS: dict[str, tuple[Source, ...]] = {
    "the source has changed": (FIRST, LATER, LATER),
    "the source has changed and changes back": (FIRST, LATER, FIRST),
    "the source has changed and changes once more": (LATER, FIRST, {"a": FIRST["a"][:1]}),
}


@pytest.mark.parametrize("how", ["before", "torn", "holes"])
@pytest.mark.parametrize("name", LATER_RUNS)
def test_a_later_run_that_crashes_at_any_call(
    quick: Engine, kind: str, name: str, how: How
) -> None:
    """Vectors are those of the documents as they are at last: no context of an older version."""
    before, interrupted, at_last = LATER_RUNS[name]
    expected = World(kind, quick, 64)
    expected.write(at_last)
    expected.migration().run()
    start = World(kind, quick, 64)
    start.write(before)
    start.migration().run()
    start.write(interrupted)
    for number in crash_points(calls_of(start.copy(), Migration.run), how):
        world = start.copy()
        context = crash(world, Fault(number, how), Migration.run, quick)
        world.write(at_last)
        world.migration().run()
        again = world.migration().run()
        assert not again.changed, context
        assert world.state("new")[0] == expected.state("new")[0], context
        assert world.migration().verify().problems() == [], context
        _assert_vectors(world, expected, context)


def _assert_vectors(world: World, expected: World, context: str) -> None:
    vectors, expected_vectors = world.state("new")[1], expected.state("new")[1]
    assert vectors.keys() == expected_vectors.keys(), context
    for id_, vector in expected_vectors.items():
        assert np.allclose(vectors[id_], vector, atol=1e-6), f"another vector at {id_}; {context}"


class StoppedError(Exception):
    """What a progress callback raises."""


@pytest.mark.parametrize("at_once", [1, 64])
def test_an_interruption_at_every_page(
    quick: Engine, kind: str, at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A callback that raises after every page ends the run there; nothing is embedded twice."""
    limits: Any = Points.page.__kwdefaults__
    monkeypatch.setitem(limits, "limit", 1)
    expected = World(kind, quick, at_once)
    expected.write(FIRST)
    pages: list[MoveReport] = []
    total = expected.migration().run(progress=pages.append)
    assert len(pages) == (len(FIRST) if kind == "ours" else sum(map(len, FIRST.values())))
    assert pages[-1].written == total.written
    world, engine = World(kind, quick, at_once), Counting(quick)
    world.write(FIRST)

    def stop(report: MoveReport) -> None:
        raise StoppedError(report)

    for _ in pages:
        with pytest.raises(StoppedError):
            world.migration(engine=engine).run(progress=stop)
    assert set(engine.texts.values()) == {1}
    last = world.migration(engine=engine).run()
    assert (last.documents, last.changed) == (0, False)
    assert_same(world, expected)
    assert (len(engine.texts), set(engine.texts.values())) == (len(FIRST), {1})


def test_a_crash_amid_the_payload_indexes(quick: Engine, kind: str) -> None:
    """The new collection has them all before it has points, wherever it was interrupted."""
    start = World(kind, quick, 64)
    start.write(FIRST)
    number = 0
    while True:
        indexed: Any = WithIndexes(start.copy().client)
        for key in ("meta.lang", "doc", "no"):
            indexed.create_payload_index("old", key, models.PayloadSchemaType.KEYWORD)
        fault = Fault(number)
        fields = None if kind == "ours" else FIELDS
        try:
            crashing: Any = CrashingClient(indexed, fault)
            Migration(crashing, "old", "new", quick, SPEC, fields=fields).run()
        except CrashError:
            pass
        Migration(indexed, "old", "new", quick, SPEC, fields=fields).run()
        assert {"meta.lang", "doc", "no"} <= indexed.made["new"], fault.calls
        assert indexed.at_first_point == indexed.made["new"], fault.calls
        if not fault.struck:
            return
        number += 1


class WithIndexes:
    """A client whose collections say which payload indexes they have, which local ones do not."""

    def __init__(self, client: QdrantClient) -> None:
        self._client = None  # as of a server, whose indexes have an effect
        self.__client = client
        self.made: dict[str, set[str]] = {}
        self.at_first_point: set[str] | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__client, name)

    def create_payload_index(
        self, collection_name: str, field_name: str, *_: Any, **__: Any
    ) -> None:
        self.made.setdefault(collection_name, set()).add(field_name)

    def upsert(self, collection_name: str, *args: Any, **kwargs: Any) -> Any:
        if collection_name == "new" and self.at_first_point is None:
            self.at_first_point = set(self.made.get("new", ()))
        return self.__client.upsert(collection_name, *args, **kwargs)

    def get_collection(self, collection_name: str) -> models.CollectionInfo:
        info = self.__client.get_collection(collection_name)
        kind = models.PayloadSchemaType.KEYWORD
        schema = {
            key: models.PayloadIndexInfo(data_type=kind, points=0)
            for key in sorted(self.made.get(collection_name, ()))
        }
        return info.model_copy(update={"payload_schema": schema})


# verify, switch, rollback and finalize


def verified(world: World) -> None:
    world.write(FIRST)
    migration = world.migration()
    migration.run()
    assert migration.verify().ok


def switched(world: World) -> None:
    verified(world)
    world.migration().switch("live")


def marked(world: World) -> None:
    """Verified, and then the source has changed and the journal says where."""
    verified(world)
    world.migration().note([*"abcde"])
    world.write(LATER)


def rolled_back(world: World) -> None:
    switched(world)
    world.migration().rollback()
    assert world.migration().verify().ok


STEPS: dict[str, tuple[Callable[[World], None], Callable[[Migration], object]]] = {
    "verify": (verified, lambda migration: migration.verify()),
    "switch": (verified, lambda migration: migration.switch("live")),
    "switch what was written meanwhile": (marked, lambda migration: migration.switch("live")),
    "switch after a rollback": (rolled_back, lambda migration: migration.switch("live")),
    "rollback": (switched, lambda migration: migration.rollback()),
}


@pytest.mark.parametrize("how", ["before", "after", "torn", "holes"])
@pytest.mark.parametrize("name", STEPS)
def test_a_step_that_crashes_at_any_call(quick: Engine, kind: str, name: str, how: How) -> None:
    """Done again it ends as if nothing had happened, and searches find a whole collection."""
    prepare, step = STEPS[name]
    start = World(kind, quick, 64)
    prepare(start)
    source = start.state("old")
    expected = start.copy()
    calls = calls_of(expected, step)
    assert expected.copy().migration().verify().problems() == []
    for number in crash_points(calls, how):
        world = start.copy()
        context = crash(world, Fault(number, how), step, quick)
        assert world.state("old") == source, context
        assert world.named() in (start.named(), expected.named()), context
        if world.named() == "new":
            assert_same_points(world, expected, context)
        if not is_same(world, expected):  # what is done need not be done again
            step(world.migration())
        assert_same(world, expected, context)


def assert_same_points(world: World, expected: World, context: str) -> None:
    (_, payloads), _ = world.state("new")
    (_, expected_payloads), _ = expected.state("new")
    assert payloads == expected_payloads, context


@pytest.mark.parametrize("how", ["before", "after"])
@pytest.mark.parametrize("delete", [None, "old"])
def test_a_finalize_that_crashes_at_any_call(
    quick: Engine, kind: str, how: How, delete: str | None
) -> None:
    """Done again it ends as if nothing had happened; searches go on all the time."""
    start = World(kind, quick, 64)
    switched(start)
    target = start.state("new")
    expected = start.copy()
    for number in crash_points(
        calls_of(expected, lambda migration: migration.finalize(delete=delete)), how
    ):
        world = start.copy()
        context = crash(world, Fault(number, how), lambda one: one.finalize(delete=delete), quick)
        assert world.state("live") == target, context
        if "new-migration" in world.collections():
            if "old" not in world.collections():
                with pytest.raises(MigrationRefusedError, match="interrupted there: end it with"):
                    Migration.open(world.client, "new", quick)
            finalize(world.client, "new", delete=delete)
        assert_same(world, expected, context)
        with pytest.raises((MigrationRefusedError, CollectionNotFoundError)):
            Migration.open(world.client, "new", quick)
