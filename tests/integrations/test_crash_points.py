"""A crash at any call, then the same again: what is there is what an uninterrupted run leaves.

And no crash leaves a document that looks complete and is not, since the next run would skip it.
"""

from __future__ import annotations

import contextlib
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from qdrant_client import QdrantClient

from jina_local import Engine
from jina_local_qdrant import Document, EmbeddingSpec, IngestReport, JinaQdrant
from jina_local_qdrant.errors import CollectionNotFoundError
from support.checkpoints import TinyConfig, write_tiny
from support.crashing import (
    COLLECTION,
    ClientPlace,
    CrashError,
    CrashingClient,
    Fault,
    How,
    Place,
    ServerLike,
    State,
    assert_same_state,
    lies,
    make_place,
    quick_folder,
    version_key,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from support.crashing import VersionKey

SPEC = EmbeddingSpec(chunk_tokens=24)
MAX_CALLS = 200


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """The least engine there is: thousands of forward passes in a minute."""
    config = TinyConfig(hidden_size=16, n_layers=1, n_heads=2, intermediate_size=32)
    folder = tmp_path_factory.mktemp("quick")
    write_tiny(folder, config=config, delta_factor=100.0)
    with Engine.load(folder, device="cpu") as loaded:
        yield loaded


def document(doc_id: str, chunks: int, word: str, year: int = 1) -> Document:
    """A document of so many chunks, different in each from one with another word."""
    paragraphs = [f"The {word} number {i} is one of the states of Germany." for i in range(chunks)]
    return {"id": doc_id, "text": "\n\n".join(paragraphs), "metadata": {"year": year}}


A1, A2, A5 = document("a", 1, "city"), document("a", 2, "river"), document("a", 5, "bridge")
B1, B3 = document("b", 1, "city"), document("b", 3, "river")
C2 = document("c", 2, "city")
A2_LATER, B3_LATER = document("a", 2, "river", 2), document("b", 3, "river", 2)
C2_LATER = document("c", 2, "city", 2)
A5_LATER = document("a", 5, "bridge", 2)
ALL = (A1, A2, A5, B1, B3, C2, A2_LATER, B3_LATER, C2_LATER, A5_LATER)
EXPECTED_CHUNKS = (1, 2, 5, 1, 3, 2, 2, 3, 2, 5)


@pytest.fixture(scope="module")
def versions(quick: Engine) -> dict[VersionKey, State]:
    """Every version of every document as an ingestion of nothing else writes it."""
    found = {}
    for version in ALL:
        with place_of("memory", quick) as place:
            place.start([version])
            state = place.state()
        key = version_key(state)
        assert key is not None
        found[key] = state
    return found


@pytest.fixture(scope="module")
def state_of(versions: Mapping[VersionKey, State]) -> Callable[[Sequence[Document]], State]:
    """What a collection of these documents is."""
    points = dict(zip(map(repr, ALL), versions.values(), strict=True))

    def merged(documents: Sequence[Document]) -> State:
        return {k: v for document in documents for k, v in points[repr(document)].items()}

    return merged


def test_the_versions_are_of_as_many_chunks_as_they_say(versions: dict[Any, State]) -> None:
    assert [len(state) for state in versions.values()] == list(EXPECTED_CHUNKS)
    assert len(versions) == len(ALL)


@contextlib.contextmanager
def place_of(kind: str, engine: Engine) -> Iterator[Place]:
    with quick_folder() as folder:
        place = make_place(kind, engine, SPEC, folder / "index")
        try:
            yield place
        finally:
            place.close()


# Scenarios


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """What was there, what is interrupted, and what is run after that.

    Attributes:
        before: Documents that were ingested before.
        interrupted: Documents that are ingested, or ids that are deleted, when the crash comes.
        then: The same of the run after the crash; that of the crash if `None`.
        after: The documents that are there in the end.
    """

    before: tuple[Document, ...] = ()
    interrupted: tuple[Document, ...] | tuple[str, ...]
    then: tuple[Document, ...] | tuple[str, ...] | None = None
    after: tuple[Document, ...]


SCENARIOS = {
    "fresh": Scenario(interrupted=(A5, B1, C2), after=(A5, B1, C2)),
    "fewer chunks": Scenario(before=(A5, B3, C2), interrupted=(A2, B1, C2), after=(A2, B1, C2)),
    "more chunks": Scenario(before=(A2, B1, C2), interrupted=(A5, B3, C2), after=(A5, B3, C2)),
    "metadata only": Scenario(
        before=(A2, B3, C2),
        interrupted=(A2_LATER, B3_LATER, C2),
        after=(A2_LATER, B3_LATER, C2),
    ),
    "text and metadata": Scenario(
        before=(A5, B3, C2),
        interrupted=(A2_LATER, B3_LATER, C2_LATER),
        after=(A2_LATER, B3_LATER, C2_LATER),
    ),
    "delete": Scenario(before=(A5, B1, C2), interrupted=("a", "b"), after=(C2,)),
    "aborted, then shorter": Scenario(
        interrupted=(A5, B3, C2), then=(A2, B1, C2), after=(A2, B1, C2)
    ),
    "aborted deletion, then shorter": Scenario(
        before=(A5, B3, C2), interrupted=("a", "b"), then=(A1, B1, C2), after=(A1, B1, C2)
    ),
    "aborted, then deleted": Scenario(interrupted=(A5, B3, C2), then=("a", "b", "c"), after=()),
    "text reverted": Scenario(
        before=(A5, B1, C2), interrupted=(A2, B3, C2), then=(A5, B1, C2), after=(A5, B1, C2)
    ),
    "metadata reverted": Scenario(
        before=(A2, B3, C2),
        interrupted=(A2_LATER, B3_LATER, C2_LATER),
        then=(A2, B3, C2),
        after=(A2, B3, C2),
    ),
}


def operation(what: tuple[Document, ...] | tuple[str, ...]) -> Callable[[JinaQdrant], Any]:
    """Ingest documents, or delete those of these ids."""

    def delete(index: JinaQdrant) -> int:
        try:
            return index.delete([str(doc_id) for doc_id in what])
        except CollectionNotFoundError:  # the crash came before there was one
            return 0

    if what and isinstance(what[0], str):
        return delete
    return lambda index: index.ingest([*what])


def crash_everywhere(
    scenario: Scenario,
    how: How,
    place: Place,
    versions: Mapping[VersionKey, State],
    expected: State,
) -> int:
    """Crash at every call in turn and check what is left and what becomes of it.

    Returns:
        The number of calls of an uninterrupted run.
    """
    for number in range(MAX_CALLS):
        fault = Fault(number, how)
        _crash(place, scenario, fault, versions, expected)
        if not fault.struck:
            assert len(fault.calls) == number
            return number
    raise AssertionError


def _crash(
    place: Place,
    scenario: Scenario,
    fault: Fault,
    versions: Mapping[VersionKey, State],
    expected: State,
) -> None:
    """Crash at one call, or, if there are not so many, do not."""
    place.start(scenario.before)
    context = "no crash"
    try:
        place.run(operation(scenario.interrupted), fault)
        assert not fault.struck, f"the error was swallowed: {fault.calls[fault.at or 0]}"
    except CrashError as crash:
        context = f"{crash}, of {fault.calls}"
    place.reopen()
    lying = lies(place.state(), versions)
    assert not lying, f"{lying} are lies; {context}"
    then = scenario.interrupted if scenario.then is None else scenario.then
    place.run(operation(then))
    assert_same_state(place.state(), expected, context)
    again = place.run(operation(then))
    if isinstance(again, IngestReport):
        assert (again.embedded, again.updated, again.skipped) == (0, 0, len(then)), context
    else:
        assert again == 0, context
    assert_same_state(place.state(), expected, context)


EVERYWHERE = (
    "fresh",
    "fewer chunks",
    "more chunks",
    "metadata only",
    "delete",
    "aborted, then shorter",
    "text reverted",
)
ELSEWHERE = tuple(name for name in SCENARIOS if name not in EVERYWHERE)
CASES = [(name, kind) for name in EVERYWHERE for kind in ("memory", "server", "folder", "edge")]
CASES += [(name, "memory") for name in ELSEWHERE]


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_a_crash_before_any_call(
    name: str,
    kind: str,
    quick: Engine,
    versions: dict[VersionKey, State],
    state_of: Callable[[Sequence[Document]], State],
) -> None:
    scenario = SCENARIOS[name]
    with place_of(kind, quick) as place:
        calls = crash_everywhere(scenario, "before", place, versions, state_of(scenario.after))
    assert calls >= 3  # look, write something, and mark it


@pytest.mark.parametrize(
    "name",
    ["fewer chunks", "metadata only", "aborted, then shorter", "aborted deletion, then shorter"],
)
@pytest.mark.parametrize(
    ("kind", "how"),
    [("memory", "torn"), ("server", "holes"), ("server", "once"), ("server", "after")],
)
def test_half_a_write_or_one_failure_or_an_answer_that_is_lost_at_any_call(
    *,
    name: str,
    kind: str,
    how: How,
    quick: Engine,
    versions: dict[VersionKey, State],
    state_of: Callable[[Sequence[Document]], State],
) -> None:
    scenario = SCENARIOS[name]
    with place_of(kind, quick) as place:
        crash_everywhere(scenario, how, place, versions, state_of(scenario.after))


def test_a_shard_that_was_made_and_did_not_say_so(
    quick: Engine,
    versions: dict[VersionKey, State],
    state_of: Callable[[Sequence[Document]], State],
) -> None:
    scenario = SCENARIOS["fresh"]
    with place_of("edge", quick) as place:
        crash_everywhere(scenario, "after", place, versions, state_of(scenario.after))


@pytest.mark.parametrize("kind", ["memory", "server"])
@pytest.mark.parametrize("seed", range(2))
def test_crash_after_crash_after_crash(
    seed: int,
    kind: str,
    quick: Engine,
    versions: dict[VersionKey, State],
    state_of: Callable[[Sequence[Document]], State],
) -> None:
    """Any version over any other, ingested or deleted, whatever was left by those before."""
    rng = random.Random(seed)  # noqa: S311 - the same tests each time
    hows: list[How] = ["before", "after", "once", "torn"]
    history: list[str] = []
    with place_of(kind, quick) as place:
        for step in range(24):
            groups = ((A1, A2, A5, A5_LATER), (B1, B3), (C2, C2_LATER))
            chosen = [rng.choice(group) for group in groups]
            subset = [doc for doc in chosen if rng.random() < 0.8] or chosen
            ids = tuple(doc["id"] for doc in subset)
            wanted: Any = ids if rng.random() < 0.2 else tuple(subset)
            try:
                place.run(operation(wanted), Fault(rng.randrange(16), rng.choice(hows)))
            except CrashError as crash:
                history.append(f"{wanted}: {crash}")
            assert (lies(place.state(), versions), history) == ([], history)
            if step % 6 == 5:
                place.run(operation(tuple(chosen)))
                assert_same_state(place.state(), state_of(chosen), str(history))
                assert place.run(operation(tuple(chosen))).skipped == len(chosen)


def test_indexes_are_there_before_data_and_after_every_crash(quick: Engine) -> None:
    """Also after a crash between the creation of the collection and that of its last index."""

    def indexes(fault: Fault) -> list[str]:
        made = [(args, kwargs) for name, args, kwargs in fault.done if "payload_index" in name]
        return [
            kwargs["field_name"] if "field_name" in kwargs else args[1] for args, kwargs in made
        ]

    uninterrupted = Fault()
    client: Any = ServerLike(QdrantClient(":memory:"))
    JinaQdrant(CrashingClient(client, uninterrupted), COLLECTION, quick, SPEC).ingest([A2])  # type: ignore[arg-type]
    names = uninterrupted.calls
    wanted = {"doc_id", "doc_hash", "chunk_index"}
    assert wanted <= set(indexes(uninterrupted))
    last_index = max(i for i, name in enumerate(names) if name == "create_payload_index")
    assert names.index("create_collection") < last_index < names.index("upsert")
    for number in range(names.index("create_collection"), names.index("upsert") + 1):
        client = ServerLike(QdrantClient(":memory:"))
        crashed, resumed = Fault(number), Fault()
        with pytest.raises(CrashError):
            JinaQdrant(CrashingClient(client, crashed), COLLECTION, quick, SPEC).ingest([A2])  # type: ignore[arg-type]
        JinaQdrant(CrashingClient(client, resumed), COLLECTION, quick, SPEC).ingest([A2])  # type: ignore[arg-type]
        made = {*indexes(crashed), *indexes(resumed)}
        assert made == set(indexes(uninterrupted)), f"crash before {names[number]}"


# Controls: protocols that are wrong, which all of the above must notice


class MarkerFirst:
    """A client that lets through no chunk of a batch before the first chunks have passed."""

    def __init__(self, client: Any) -> None:
        self.__client = client
        self.__held: list[tuple[tuple[Any, ...], dict[str, Any]]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__client, name)

    def upsert(self, *args: Any, **kwargs: Any) -> None:
        points = kwargs["points"] if "points" in kwargs else args[1]
        if all(point.payload["chunk_index"] for point in points):
            self.__held.append((args, kwargs))
            return
        self.__client.upsert(*args, **kwargs)
        while self.__held:
            held_args, held_kwargs = self.__held.pop(0)
            self.__client.upsert(*held_args, **held_kwargs)


class Without:
    """A client that does not do one thing, and says that it did."""

    def __init__(self, client: Any, name: str) -> None:
        self.__client = client
        self.__name = name

    def __getattr__(self, name: str) -> Any:
        return (lambda *_, **__: None) if name == self.__name else getattr(self.__client, name)


@pytest.mark.parametrize(
    ("wrong", "name", "complaint"),
    [
        (MarkerFirst, "fresh", "are lies"),
        (MarkerFirst, "fewer chunks", "are lies"),
        (MarkerFirst, "more chunks", "are lies"),
        (lambda client: Without(client, "set_payload"), "fewer chunks", "are lies"),
        (lambda client: Without(client, "delete"), "fewer chunks", "or orphans .*a chunk"),
    ],
    ids=["marker first", "marker first", "marker first", "marker not taken away", "no deletion"],
)
def test_a_wrong_protocol_is_noticed(
    *,
    wrong: Callable[[Any], Any],
    name: str,
    complaint: str,
    quick: Engine,
    versions: dict[VersionKey, State],
    state_of: Callable[[Sequence[Document]], State],
) -> None:
    scenario = SCENARIOS[name]
    place = ClientPlace(quick, SPEC, wrong=wrong)
    with pytest.raises(AssertionError, match=complaint):
        crash_everywhere(scenario, "before", place, versions, state_of(scenario.after))


def test_the_control_is_right_when_nothing_crashes(
    quick: Engine, state_of: Callable[[Sequence[Document]], State]
) -> None:
    """So that the crash is what the control fails at."""
    place = ClientPlace(quick, SPEC, wrong=MarkerFirst)
    for documents in ((A5, B3, C2), (A2, B1, C2)):
        place.run(operation(documents))
        assert_same_state(place.state(), state_of(documents))
