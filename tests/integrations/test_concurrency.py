"""Two at once: processes on one folder, ingestions of one collection, searches meanwhile.

What holds: a folder has one process. Ingestions of different documents, or of the same versions,
leave what one after the other would. Of two versions of one document that are ingested at once
one is there whole, or an error was raised and the next ingestion repairs it. A search sees chunks
of the old or the new version of a document, and never anything else.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from qdrant_client import QdrantClient

from jina_local import Engine
from jina_local_qdrant import Document, EmbeddingSpec, Hit, JinaQdrant
from jina_local_qdrant.errors import ConcurrentWriteError, IndexInUseError, StoreRefusedError
from jina_local_qdrant.locations import open_client
from support.checkpoints import TinyConfig, write_tiny
from support.crashing import (
    COLLECTION,
    ServerLike,
    State,
    assert_same_state,
    by_document,
    lies,
    quick_folder,
    version_key,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from support.crashing import VersionKey

    Fresh = Callable[[Sequence[Document]], State]

COMMAND_LINE = Path(sys.executable).parent / "jina-local"
SPEC = EmbeddingSpec(chunk_tokens=24)
MAY_BE_RAISED = (ConcurrentWriteError, StoreRefusedError)  # such as that a point is gone
PATIENCE = 0.3  # seconds, for one who may have to wait for the other


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the least checkpoint there is."""
    folder = tmp_path_factory.mktemp("quick")
    config = TinyConfig(hidden_size=16, n_layers=1, n_heads=2, intermediate_size=32)
    write_tiny(folder, config=config, delta_factor=100.0)
    return folder


@pytest.fixture(scope="module")
def quick(model: Path) -> Iterator[Engine]:
    with Engine.load(model, device="cpu") as loaded:
        yield loaded


@pytest.fixture
def _impatient() -> Iterator[None]:
    """Threads take turns a thousand times as often as usual."""
    usual = sys.getswitchinterval()
    sys.setswitchinterval(5e-6)
    yield
    sys.setswitchinterval(usual)


@pytest.fixture(params=["memory", "server", "folder", "edge"])
def opened(request: pytest.FixtureRequest, quick: Engine) -> Iterator[Callable[[], JinaQdrant]]:
    """Opens one collection, each time anew if it can be open more than once in a process."""
    with quick_folder() as folder:
        yield from opened_in(folder, request.param, quick)


def opened_in(folder: Path, kind: str, quick: Engine) -> Iterator[Callable[[], JinaQdrant]]:
    if kind == "edge":
        only = JinaQdrant(f"edge:{folder}", COLLECTION, quick, SPEC)
        yield lambda: only
        only.store.close()
        return
    real = QdrantClient(path=str(folder)) if kind == "folder" else QdrantClient(":memory:")
    client: Any = ServerLike(real) if kind == "server" else real
    yield lambda: JinaQdrant(client, COLLECTION, quick, SPEC)
    real.close()


def document(number: int, chunks: int, word: str, year: int = 1) -> Document:
    paragraphs = [
        f"The {word} number {i} of {number} is a state of Germany." for i in range(chunks)
    ]
    return {"id": str(number), "text": "\n\n".join(paragraphs), "metadata": {"year": year}}


def state(index: JinaQdrant) -> State:
    return {
        point.id: (point.payload, point.vector)  # type: ignore[misc]
        for point in index.store.scan(vectors=True)
    }


@pytest.fixture(scope="module")
def fresh(quick: Engine) -> Iterator[Fresh]:
    """What a collection is that never had anything but some documents."""
    client = QdrantClient(":memory:")
    found: dict[str, State] = {}

    def state_of(documents: Sequence[Document]) -> State:
        if repr(documents) not in found:
            client.delete_collection(COLLECTION)
            index = JinaQdrant(client, COLLECTION, quick, SPEC)
            index.ingest(documents)
            found[repr(documents)] = state(index)
        return found[repr(documents)]

    yield state_of
    client.close()


def versions_of(fresh: Fresh, *sources: Sequence[Document]) -> dict[VersionKey, State]:
    """Every version of every document, from sources of which each has every document once."""
    found = {}
    for documents in sources:
        for points in by_document(fresh(documents)).values():
            key = version_key(points)
            assert key is not None
            found[key] = points
    return found


def together(*jobs: Callable[[], object]) -> list[BaseException | None]:
    """Run jobs in threads that start at once; the error of each, or `None`."""
    errors: list[BaseException | None] = [None] * len(jobs)
    start = threading.Barrier(len(jobs))

    def run(number: int) -> None:
        start.wait()
        try:
            jobs[number]()
        except BaseException as error:  # noqa: BLE001 - handed to the test
            errors[number] = error

    threads = [threading.Thread(target=run, args=(number,)) for number in range(len(jobs))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return errors


# Processes


# the client leaves the lock open that it did not get
@pytest.mark.filterwarnings("ignore:unclosed file.*lock:ResourceWarning")
def test_a_second_process_on_a_folder_is_told_so(
    quick: Engine, model: Path, tmp_path: Path
) -> None:
    texts = tmp_path / "texts"
    texts.mkdir()
    (texts / "a.txt").write_text("A sloop has one mast.")
    folder = tmp_path / "index"
    client = open_client(str(folder))
    try:
        index = JinaQdrant(client, COLLECTION, quick, SPEC)
        index.ingest([document(1, 3, "city")])
        with pytest.raises(IndexInUseError, match="open in another process"):
            open_client(str(folder))
        done = jina_local("index", texts, "--to", folder, "-c", COLLECTION, "--model", model)
        assert done.returncode != 0
        assert "is open in another process" in done.stderr
        assert "Traceback" not in done.stderr
        assert index.ingest([document(1, 3, "city")]).skipped == 1
    finally:
        client.close()
    open_client(str(folder)).close()


def jina_local(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([COMMAND_LINE, *arguments], capture_output=True, text=True, check=False)


OPEN_EDGE = """
import sys
from pathlib import Path
from jina_local_qdrant.edge_store import EdgeStore
from jina_local_qdrant.errors import IndexInUseError
try:
    print(EdgeStore(Path(sys.argv[1]), sys.argv[2]).count())
except IndexInUseError as error:
    print("in use:", error)
"""


def test_a_second_process_on_an_edge_folder_is_told_so(quick: Engine, tmp_path: Path) -> None:
    folder = tmp_path / "edge"
    index = JinaQdrant(f"edge:{folder}", COLLECTION, quick, SPEC)
    index.ingest([document(1, 3, "city")])
    command = [sys.executable, "-c", OPEN_EDGE, str(folder), COLLECTION]
    assert subprocess.check_output(command, text=True).startswith("in use:")
    with pytest.raises(IndexInUseError):
        JinaQdrant(f"edge:{folder}", COLLECTION, quick, SPEC).count()
    assert index.ingest([document(1, 3, "city")]).skipped == 1
    index.store.close()
    index = JinaQdrant(f"edge:{folder}", COLLECTION, quick, SPEC)
    assert index.count() == 3
    index.store.close()


@pytest.mark.slow
def test_of_two_commands_at_once_one_wins(model: Path, tmp_path: Path) -> None:
    """Or both, if the second began when the first was done."""
    texts = tmp_path / "texts"
    texts.mkdir()
    for number in range(30):
        (texts / f"{number}.txt").write_text(document(number, 5, "city")["text"])
    command = [COMMAND_LINE, "index", str(texts), "--to", str(tmp_path / "index")]
    command += ["-c", COLLECTION, "--model", str(model), "--chunk-tokens", "24", "--json"]
    both = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    printed = [process.communicate() for process in both]
    codes = [process.returncode for process in both]
    assert 0 in codes
    for code, (_, error) in zip(codes, printed, strict=True):
        assert code == 0 or "is open in another process" in error
        assert "Traceback" not in error
    client = QdrantClient(path=str(tmp_path / "index"))
    assert client.count(COLLECTION).count == 30 * 5
    client.close()


# Ingestions


@pytest.mark.usefixtures("_impatient")
def test_different_documents_at_once(opened: Callable[[], JinaQdrant], fresh: Fresh) -> None:
    """As if one ingestion came after the other, also when both want to create the collection."""
    documents = [document(number, 1 + number % 4, "city") for number in range(60)]
    first, second = opened(), opened()
    errors = together(lambda: first.ingest(documents[:30]), lambda: second.ingest(documents[30:]))
    assert errors == [None, None]
    assert_same_state(state(first), fresh(documents))
    assert opened().ingest(documents).skipped == 60


@pytest.mark.usefixtures("_impatient")
def test_the_same_versions_at_once(
    opened: Callable[[], JinaQdrant], fresh: Fresh, request: pytest.FixtureRequest
) -> None:
    """A server may be caught between the calls of one by the other, which then says so."""
    old = [document(number, 3, "river") for number in range(20)]
    new = [document(number, 1 + number % 4, "city") for number in range(20)]
    for documents in (old, new):
        first, second = opened(), opened()
        errors = together(lambda: first.ingest(documents), lambda: second.ingest(documents))  # noqa: B023
        if "server" in request.node.name and any(errors):
            assert all(error is None or type(error) is ConcurrentWriteError for error in errors)
            first.ingest(documents)
        else:
            assert errors == [None, None]
        assert_same_state(state(first), fresh(documents))
    assert opened().ingest(new).skipped == 20


@pytest.mark.usefixtures("_impatient")
@pytest.mark.parametrize("is_there", [False, True])
def test_two_versions_at_once(
    opened: Callable[[], JinaQdrant], fresh: Fresh, *, is_there: bool
) -> None:
    """One of them whole, or an error and an ingestion that repairs; no mixture that looks whole."""
    old = [document(number, 3, "bridge") for number in range(20)]
    ours = [document(number, 1 + number % 4, "city") for number in range(20)]
    theirs = [document(number, 4 - number % 4, "river") for number in range(20)]
    versions = versions_of(fresh, old, ours, theirs)
    if is_there:
        opened().ingest(old)
    for mine, other in ((ours, theirs), (theirs, ours)):
        first, second = opened(), opened()
        errors = together(lambda: first.ingest(mine), lambda: second.ingest(other))  # noqa: B023
        assert_one_or_an_error(first, errors, versions)
        first.ingest(mine)
        assert_same_state(state(first), fresh(mine))


def assert_one_or_an_error(
    index: JinaQdrant, errors: Sequence[BaseException | None], versions: dict[VersionKey, State]
) -> None:
    """Without an error every document is one of its versions, whole; with one, nothing lies.

    That is, nothing claims to be a version that it is not: its next ingestion repairs it. (A claim
    to the text of one version and the metadata of another is one that no ingestion would believe.)
    """
    found = state(index)
    raised = [error for error in errors if error is not None]
    assert all(isinstance(error, MAY_BE_RAISED) for error in raised), raised
    documents = by_document(found)
    if raised:
        found = {
            key: point
            for points in documents.values()
            if version_key(points) in versions
            for key, point in points.items()
        }
        assert lies(found, versions) == [], raised
        return
    assert set(documents) == {doc_id for doc_id, _, _ in versions}
    assert all(version_key(points) is not None for points in documents.values())
    assert lies(found, versions) == []


class Interrupted:
    """A client before whose k-th call something else happens, in another thread.

    The call waits until that is done, or for a while: the other may be waiting for this one.
    """

    def __init__(self, client: Any, number: int, other: Callable[[], object]) -> None:
        self.__client = client
        self.__left = number
        self.__other = other
        self.__lock = threading.Lock()
        self.thread: threading.Thread | None = None
        self.error: BaseException | None = None

    def __getattr__(self, name: str) -> Any:
        value = getattr(self.__client, name)

        def called(*args: Any, **kwargs: Any) -> Any:
            with self.__lock:
                self.__left -= 1
                if self.__left == -1:
                    self.thread = threading.Thread(target=self.__run)
                    self.thread.start()
                    self.thread.join(PATIENCE)
            return value(*args, **kwargs)

        return called

    def __run(self) -> None:
        try:
            self.__other()
        except BaseException as error:  # noqa: BLE001 - handed to the test
            self.error = error


OLD = [document(1, 3, "bridge"), document(2, 2, "bridge"), document(3, 1, "bridge")]
OURS = [document(1, 2, "city"), document(2, 3, "city"), document(3, 4, "city")]
THEIRS = [document(1, 4, "river"), document(2, 1, "river"), document(3, 3, "river")]
LATER = [document(1, 3, "bridge", 2), document(2, 2, "bridge", 2), document(3, 1, "bridge", 2)]
EVEN_LATER = [
    document(1, 3, "bridge", 3),
    document(2, 2, "bridge", 3),
    document(3, 1, "bridge", 3),
]


@pytest.mark.parametrize(
    ("before", "ours", "theirs"),
    [
        ([], OURS, THEIRS),
        (OLD, OURS, THEIRS),
        (OLD, THEIRS, OURS),
        (OLD, OURS, OURS),
        (OLD, LATER, EVEN_LATER),
        (OLD, LATER, THEIRS),
        (OLD, THEIRS, LATER),
    ],
    ids=[
        "new, ours first",
        "changed, ours first",
        "changed, theirs first",
        "the same",
        "only metadata",
        "our metadata, their text",
        "our text, their metadata",
    ],
)
def test_another_ingestion_between_any_two_calls(
    before: list[Document],
    ours: list[Document],
    theirs: list[Document],
    quick: Engine,
    fresh: Fresh,
) -> None:
    """A whole ingestion, as another process would do it on a server."""
    versions = versions_of(fresh, OLD, OURS, THEIRS, LATER, EVEN_LATER)
    states = {True: fresh(ours), False: fresh(theirs)}
    number, happened = 0, True
    real = QdrantClient(":memory:")
    client: Any = ServerLike(real)
    while happened:
        real.delete_collection(COLLECTION)
        if before:
            JinaQdrant(client, COLLECTION, quick, SPEC).ingest(before)
        other = JinaQdrant(client, COLLECTION, quick, SPEC)
        interrupted: Any = Interrupted(client, number, lambda: other.ingest(theirs))  # noqa: B023
        error: BaseException | None = None
        try:
            JinaQdrant(interrupted, COLLECTION, quick, SPEC).ingest(ours)
        except MAY_BE_RAISED as raised:
            error = raised
        if interrupted.thread is not None:
            interrupted.thread.join()
        happened = interrupted.thread is not None
        errors = [error, interrupted.error]
        if happened:
            assert_one_or_an_error(other, errors, versions)
        is_ours = number % 2 == 0
        other.ingest(ours if is_ours else theirs)
        assert_same_state(state(other), states[is_ours], f"call {number}")
        number += 1


@pytest.mark.parametrize("before", [[], OLD], ids=["new", "changed"])
def test_a_deletion_between_any_two_calls(
    before: list[Document], quick: Engine, fresh: Fresh
) -> None:
    versions = versions_of(fresh, OLD, OURS)
    expected = fresh(OURS)
    number, happened = 0, True
    real = QdrantClient(":memory:")
    client: Any = ServerLike(real)
    while happened:
        real.delete_collection(COLLECTION)
        JinaQdrant(client, COLLECTION, quick, SPEC).ingest(before or [document(9, 1, "city")])
        other = JinaQdrant(client, COLLECTION, quick, SPEC)
        interrupted: Any = Interrupted(client, number, lambda: other.delete(["1", "2", "3", "9"]))  # noqa: B023
        error: BaseException | None = None
        try:
            JinaQdrant(interrupted, COLLECTION, quick, SPEC).ingest(OURS)
        except MAY_BE_RAISED as raised:
            error = raised
        if interrupted.thread is not None:
            interrupted.thread.join()
            assert interrupted.error is None or isinstance(interrupted.error, MAY_BE_RAISED)
        happened = interrupted.thread is not None
        found = state(other)
        found = {key: point for key, point in found.items() if point[0]["doc_id"] != "9"}
        assert lies(found, versions) == [], number
        if error is None and interrupted.error is None:
            assert all(version_key(points) for points in by_document(found).values()), number
        other.ingest(OURS)
        other.delete("9")
        assert_same_state(state(other), expected, f"call {number}")
        number += 1


class Slow:
    """A client whose calls take a while, a different one each time: they mix with others'."""

    def __init__(self, client: Any, seed: int) -> None:
        self.__client = client
        self.__rng = random.Random(seed)  # noqa: S311 - the same tests each time

    def __getattr__(self, name: str) -> Any:
        time.sleep(self.__rng.random() * 0.003)
        return getattr(self.__client, name)


@pytest.mark.parametrize("seed", range(6))
def test_two_versions_at_once_on_a_slow_server(quick: Engine, fresh: Fresh, seed: int) -> None:
    versions = versions_of(fresh, OLD, OURS, THEIRS)
    client: Any = ServerLike(QdrantClient(":memory:"))
    if seed % 2:
        JinaQdrant(client, COLLECTION, quick, SPEC).ingest(OLD)
    first, second = (
        JinaQdrant(Slow(client, 2 * seed + i), COLLECTION, quick, SPEC)  # type: ignore[arg-type]
        for i in range(2)
    )
    errors = together(lambda: first.ingest(OURS), lambda: second.ingest(THEIRS))
    assert_one_or_an_error(first, errors, versions)
    first.ingest(OURS)
    assert_same_state(state(first), fresh(OURS))


def followed(index: JinaQdrant, other: Callable[[], object]) -> None:
    """Have something else happen after the next look-up, before anything is embedded or written."""
    retrieve: Any = index.store.retrieve

    def look_up(*args: Any, **kwargs: Any) -> Any:
        index.store.retrieve = retrieve  # type: ignore[method-assign]
        found = retrieve(*args, **kwargs)
        other()
        return found

    index.store.retrieve = look_up  # type: ignore[method-assign]


@pytest.mark.parametrize("ours", [LATER, OURS, [document(1, 3, "harbour")]], ids=["meta", "", "1"])
@pytest.mark.parametrize("theirs", [[1, 1, 1], [2, 4, 6], [3, 2, 1], None])
def test_what_was_looked_up_need_not_be_there_any_more(
    opened: Callable[[], JinaQdrant], fresh: Fresh, ours: list[Document], theirs: list[int] | None
) -> None:
    """Another ingestion, or a deletion, in this process: ours comes after it, whole."""
    index, other = opened(), opened()
    index.ingest(OLD)
    numbered = enumerate(theirs or (), start=1)
    changed = [document(number, chunks, "river") for number, chunks in numbered]

    def change() -> None:
        if changed:
            assert other.ingest(changed).embedded == 3
        else:
            assert other.delete(["1", "2", "3"]) == 6

    followed(index, change)
    report = index.ingest(ours)
    assert (report.embedded, report.updated) == (len(ours), 0)
    rest = [one for one in changed if one["id"] not in {mine["id"] for mine in ours}]
    assert_same_state(state(index), fresh([*ours, *rest]))
    assert opened().ingest(ours).skipped == len(ours)


# Searches


def chunks_of(found: State) -> set[tuple[str, int, str, str]]:
    return {
        (p["doc_id"], p["chunk_index"], p["text"], json.dumps(p["meta"])) for p, _ in found.values()
    }


def as_chunk(hit: Hit) -> tuple[str, int, str, str]:
    return (hit.doc_id, hit.chunk_index, hit.text, json.dumps(hit.metadata))


@pytest.mark.usefixtures("_impatient")
def test_a_search_meanwhile_sees_old_or_new_chunks_only(
    opened: Callable[[], JinaQdrant], fresh: Fresh
) -> None:
    old = [document(number, 1 + number % 4, "city") for number in range(20)]
    new = [document(number, 4 - number % 4, "river") for number in range(20)]
    later = [document(number, 4 - number % 4, "river", 2) for number in range(20)]
    possible: set[tuple[str, int, str, str]] = set()
    for documents in (old, new, later):
        possible |= chunks_of(fresh(documents))
    writer, reader = opened(), opened()
    writer.ingest(old)
    rounds: list[int] = []
    is_over = threading.Event()

    def write() -> None:
        try:
            for documents in (new, later, old, new):
                writer.ingest(documents)
                writer.delete(["3", "4"])
        finally:
            is_over.set()

    def read() -> None:
        while not is_over.is_set() or not rounds:
            hits = reader.search("Which city is a state of Germany?", limit=15)
            grouped = reader.search("Which river?", limit=5, group_by_document=True)
            for found in (hits, grouped):
                assert found
                assert {as_chunk(hit) for hit in found} <= possible
                scores = [hit.score for hit in found]
                assert scores == sorted(scores, reverse=True)
            assert len({hit.doc_id for hit in grouped}) == len(grouped)
            rounds.append(len(hits))

    assert together(write, read) == [None, None]
    assert rounds
