"""Places to keep a collection, whose k-th call is a crash, and what is in them afterwards.

A crash is a `CrashError`, a type that the helper cannot know, raised at one of the calls that the
helper makes to what keeps its points:

    before   the call never happens, and neither does any later one: the process was killed
    after    the call happens, its answer is lost, and no later one happens
    once     the call never happens; later ones do: one failure of a kind nobody has heard of
    torn     the first half of what the call should write is written, and no later call happens
    holes    the same with every other point, as from a server with several shards
"""

from __future__ import annotations

import contextlib
import json
import shutil
import sys
import tempfile
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

import httpx
import numpy as np
import pytest
import qdrant_edge
from qdrant_client import QdrantClient, models
from qdrant_client.http.exceptions import UnexpectedResponse

from jina_local_qdrant import JinaQdrant
from jina_local_qdrant.errors import StoreRefusedError
from jina_local_qdrant.store import Point

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from jina_local import Engine
    from jina_local_qdrant import Document, EmbeddingSpec

__all__ = [
    "COLLECTION",
    "ClientPlace",
    "CrashError",
    "CrashingClient",
    "Fault",
    "How",
    "Place",
    "ServerLike",
    "State",
    "assert_same_state",
    "by_document",
    "lies",
    "make_place",
    "quick_folder",
    "version_key",
]

COLLECTION = "docs"

How = Literal["before", "after", "once", "torn", "holes"]
State = dict[str, tuple[dict[str, Any], np.ndarray]]
"""Every point: id → payload and vector (d,)."""

VersionKey = tuple[str, str, str]
"""Document, hash of its text, hash of its metadata."""


class CrashError(Exception):
    """The process ends here."""


# Faults


@dataclass(slots=True)
class Fault:
    """What goes wrong, and a count of calls that goes on when nothing does.

    Attributes:
        at: Number of the call that fails, from 0; `None` for none.
        how: In which way.
        calls: Name of every call so far.
        done: The calls that happened, whole: name, positional and named arguments.
        struck: Whether it has failed.
    """

    at: int | None = None
    how: How = "before"
    calls: list[str] = field(default_factory=list)
    done: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = field(default_factory=list)
    struck: bool = False
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def call(self, name: str, method: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Call a method, or not."""
        with self._lock:
            number = len(self.calls)
            self.calls.append(name)
            if self.struck and self.how != "once":
                msg = f"call {number}, {name}, of a process that is dead"
                raise CrashError(msg)
            if number != self.at:
                self.done.append((name, args, kwargs))
        if number != self.at:
            return method(*args, **kwargs)
        if self.how in ("torn", "holes"):
            half = slice(1, None, 2) if self.how == "holes" else None
            _call_half(half, name, method, args, kwargs)
        elif self.how == "after":
            method(*args, **kwargs)
        self.struck = True
        msg = f"{self.how}, at call {number}, {name}"
        raise CrashError(msg)


_WRITES = ("upsert", "delete", "set_payload")


def _call_half(
    half: slice | None,
    name: str,
    method: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> None:
    """A write of some of the points, if it is of several; otherwise nothing."""
    if name not in _WRITES:
        return
    halves = [_half(value, half) for value in (*args, *kwargs.values())]
    if not any(shorter for _, shorter in halves):
        return
    values = [value for value, _ in halves]
    named = dict(zip(kwargs, values[len(args) :], strict=True))
    method(*values[: len(args)], **named)


def _half(value: Any, half: slice | None) -> tuple[Any, bool]:
    points = getattr(value, "points", value)
    if not isinstance(points, list) or len(points) < 2:
        return value, False
    some = points[half or slice(len(points) // 2)]
    return (some if points is value else value.model_copy(update={"points": some})), True


# Clients


class CrashingClient:
    """A client whose public methods are called through a fault; all else is the client's."""

    def __init__(self, client: Any, fault: Fault | _Current) -> None:
        self.__client = client
        self.__fault = fault

    def __getattr__(self, name: str) -> Any:
        value = getattr(self.__client, name)
        if name.startswith("_") or not callable(value):
            return value
        return partial(self.__fault.call, name, value)


class ServerLike:
    """A local client as a server looks from outside.

    One call happens at a time, nothing private is there, and what it refuses is a response.
    """

    def __init__(self, client: QdrantClient) -> None:
        self.__client = client
        self.__lock = threading.RLock()

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return partial(self.__locked, getattr(self.__client, name))

    def __locked(self, method: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        with self.__lock:
            try:
                return method(*args, **kwargs)
            except KeyError as error:
                raise _response(404, f"Not found: No point with id {error}") from error
            except ValueError as error:
                code = 409 if "already exists" in str(error) else 400
                raise _response(code, str(error)) from error


def _response(code: int, message: str) -> UnexpectedResponse:
    content = json.dumps({"status": {"error": message}}).encode()
    return UnexpectedResponse(code, message, content, httpx.Headers())


# Places


Operation = Callable[[JinaQdrant], Any]


class Place(Protocol):
    """Where one collection is kept, so that processes can come and go."""

    def start(self, documents: Sequence[Document]) -> None:
        """Have exactly these documents, as an uninterrupted ingestion leaves them."""

    def run(self, operation: Operation, fault: Fault | None = None) -> Any:
        """Do something with the collection, as a process does that has only just started."""

    def reopen(self) -> None:
        """Let go of everything and read it again, as after the end of a process."""

    def state(self) -> State:
        """What is there, seen without a fault; nothing if there is no collection."""

    def close(self) -> None:
        """Let go of everything."""


class ClientPlace:
    """Behind a Qdrant client.

    Args:
        engine: Embeds.
        spec: Of the collection.
        folder: Where it is; `None` for memory, which outlives processes as a server does.
        wrap: Changes the client before faults do.
        wrong: Changes the client after faults do.
    """

    def __init__(
        self,
        engine: Engine,
        spec: EmbeddingSpec,
        folder: Path | None = None,
        *,
        wrap: Callable[[Any], Any] = lambda client: client,
        wrong: Callable[[Any], Any] = lambda client: client,
    ) -> None:
        self._engine, self._spec, self._folder = engine, spec, folder
        self._wrap, self._wrong = wrap, wrong
        self._real = self._open()
        self._started: dict[str, tuple[Any, list[models.PointStruct]]] = {}

    def _open(self) -> QdrantClient:
        return QdrantClient(path=str(self._folder)) if self._folder else QdrantClient(":memory:")

    def start(self, documents: Sequence[Document]) -> None:
        self._real.delete_collection(COLLECTION)
        if not documents:
            return
        if repr(documents) in self._started:
            config, points = self._started[repr(documents)]
            self._real.create_collection(
                COLLECTION, vectors_config=config.params.vectors, metadata=config.metadata
            )
            self._real.upsert(COLLECTION, points)
            return
        JinaQdrant(self._real, COLLECTION, self._engine, self._spec).ingest(documents)
        points = [
            models.PointStruct(id=key, vector=vector.tolist(), payload=payload)
            for key, (payload, vector) in self.state().items()
        ]
        self._started[repr(documents)] = (self._real.get_collection(COLLECTION).config, points)

    def run(self, operation: Operation, fault: Fault | None = None) -> Any:
        client = self._wrap(self._real)
        if fault is not None:
            client = CrashingClient(client, fault)
        return operation(JinaQdrant(self._wrong(client), COLLECTION, self._engine, self._spec))

    def reopen(self) -> None:
        if self._folder:
            self._real.close()
            self._real = self._open()

    def state(self) -> State:
        if not self._real.collection_exists(COLLECTION):
            return {}
        points, _ = self._real.scroll(COLLECTION, limit=10_000, with_vectors=True)
        return {str(point.id): (point.payload or {}, _vector(point.vector)) for point in points}

    def close(self) -> None:
        self._real.close()


class _Current:
    """The fault that calls go through now, if there is one."""

    def __init__(self) -> None:
        self.fault: Fault | None = None

    def call(self, name: str, method: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        if self.fault is None:
            return method(*args, **kwargs)
        return self.fault.call(name, method, *args, **kwargs)


class EdgePlace:
    """In a folder, through `edge:`. The calls that may crash are those of its shards.

    Args:
        engine: Embeds.
        spec: Of the collection.
        folder: Where it is.
    """

    def __init__(self, engine: Engine, spec: EmbeddingSpec, folder: Path) -> None:
        self._engine, self._spec, self._folder = engine, spec, folder
        self._current = _Current()
        self._index: JinaQdrant | None = None
        self._shards: list[Any] = []
        self._started: dict[str, State] = {}

    def start(self, documents: Sequence[Document]) -> None:
        started = self._started.get(repr(documents))
        if started is None or self._index is None or not self._index.store.exists():
            self.close()
            shutil.rmtree(self._folder, ignore_errors=True)
            if documents:
                self.run(lambda index: index.ingest(documents))
                self._started[repr(documents)] = self.state()
            return
        store = self._index.store
        store.delete([*self.state()])
        points = [Point(key, vector, payload) for key, (payload, vector) in started.items()]
        store.upsert(points)

    def run(self, operation: Operation, fault: Fault | None = None) -> Any:
        self._current.fault = fault
        try:
            with _crashing_shards(self._current, self._shards):
                return operation(self._opened())
        except StoreRefusedError as error:
            if isinstance(error.__cause__, CrashError):  # whatever an engine raises is a refusal
                raise error.__cause__ from None
            raise
        finally:
            self._current.fault = None

    def _opened(self) -> JinaQdrant:
        if self._index is None:
            location = f"edge:{self._folder}"
            self._index = JinaQdrant(location, COLLECTION, self._engine, self._spec)
        return self._index

    def reopen(self) -> None:
        self.close()

    def state(self) -> State:
        with _crashing_shards(self._current, self._shards):
            store = self._opened().store
        if not store.exists():
            return {}
        points = store.scan(vectors=True)
        return {point.id: (point.payload, _vector(point.vector)) for point in points}

    def close(self) -> None:
        if self._index is not None:
            self._index.store.close()
            self._index = None
        for shard in self._shards:  # of a store that nobody got
            with contextlib.suppress(Exception):
                shard.close()
        self._shards.clear()


@contextlib.contextmanager
def _crashing_shards(current: _Current, shards: list[Any]) -> Iterator[None]:
    """Every shard that is opened meanwhile is called through a fault for as long as it lives."""
    real = qdrant_edge.EdgeShard

    def made(how: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        shard = how(*args, **kwargs)
        shards.append(shard)
        return CrashingClient(shard, current)

    class Crashing:
        @staticmethod
        def create(*args: Any, **kwargs: Any) -> Any:
            return current.call("create", partial(made, real.create), *args, **kwargs)

        @staticmethod
        def load(*args: Any, **kwargs: Any) -> Any:
            return current.call("load", partial(made, real.load), *args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        for module in (qdrant_edge, *_own_modules()):
            for name in [name for name, value in vars(module).items() if value is real]:
                patch.setattr(module, name, Crashing)
        yield


def _own_modules() -> list[Any]:
    import jina_local_qdrant.edge_store  # noqa: F401 - so that it is among them

    own = [name for name in sys.modules if name.startswith("jina_local_qdrant.")]
    return [sys.modules[name] for name in own]


def _vector(vector: Any) -> np.ndarray:
    return np.asarray(vector, dtype=np.float32)


def make_place(kind: str, engine: Engine, spec: EmbeddingSpec, folder: Path) -> Place:
    """An empty place: `memory`, `server`, `folder` or `edge`.

    Args:
        kind: Which.
        engine: Embeds.
        spec: Of the collection.
        folder: One that is not there, for the kinds that need it.
    """
    if kind == "edge":
        return EdgePlace(engine, spec, folder)
    if kind == "server":
        return ClientPlace(engine, spec, wrap=ServerLike)
    return ClientPlace(engine, spec, folder if kind == "folder" else None)


@contextlib.contextmanager
def quick_folder() -> Iterator[Path]:
    """A folder that is thrown away, in memory if the machine has one there: a disk that waits for
    every write makes a hundred crashes slow."""
    memory = Path("/dev/shm")  # noqa: S108 - a fresh folder in it
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
        yield Path(folder)


# What must be true


def assert_same_state(actual: State, expected: State, context: str = "") -> None:
    """Two states have the same points: ids, payloads, and vectors to 1e-6."""
    missing = [_name(expected[key]) for key in expected.keys() - actual.keys()]
    orphans = [_name(actual[key]) for key in actual.keys() - expected.keys()]
    assert (sorted(missing), sorted(orphans)) == ([], []), (
        f"missing {missing} or orphans {orphans}; {context}"
    )
    for key, (payload, vector) in expected.items():
        assert actual[key][0] == payload, f"another payload; {context}"
        assert actual[key][1] == pytest.approx(vector, abs=1e-6), f"another vector; {context}"


def _name(point: tuple[dict[str, Any], np.ndarray]) -> str:
    payload, _ = point
    return f"{payload['doc_id']} chunk {payload['chunk_index']}"


def by_document(state: State) -> dict[str, State]:
    """The points of each document."""
    documents: dict[str, State] = {}
    for key, (payload, vector) in state.items():
        documents.setdefault(payload["doc_id"], {})[key] = (payload, vector)
    return documents


def version_key(state: State) -> VersionKey | None:
    """The version of a document that its first chunk claims is there; `None` if it claims none."""
    for payload, _ in state.values():
        if payload["chunk_index"] == 0:
            doc_hash, meta_hash = payload.get("doc_hash"), payload.get("meta_hash")
            if doc_hash is None or meta_hash is None:  # some stores keep no key that is null
                return None
            return payload["doc_id"], doc_hash, meta_hash
    return None


def lies(state: State, versions: Mapping[VersionKey, State]) -> list[str]:
    """The documents that look complete and unchanged, and are not the version they claim to be.

    Args:
        state: What is there.
        versions: Every version of every document, each as an uninterrupted run writes it.
    """
    found = []
    for doc_id, points in by_document(state).items():
        key = version_key(points)
        if key is None:
            continue
        try:
            assert_same_state(points, versions[key])
        except (AssertionError, KeyError):
            found.append(doc_id)
    return found
