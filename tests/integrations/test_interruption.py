"""Ctrl-C, an error and a cancelled task end an ingestion, and wait for no store that is away."""

from __future__ import annotations

import asyncio
import gc
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from qdrant_client import AsyncQdrantClient, QdrantClient
from qdrant_client.http.exceptions import UnexpectedResponse

from jina_local_qdrant import AsyncJinaQdrant, EmbeddingSpec, JinaQdrant, ingestion
from jina_local_qdrant.interruption import interruption
from jina_local_qdrant.qdrant_store import QdrantStore
from jina_local_qdrant.retries import Retrier, RetryPolicy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from jina_local import Engine

SPEC = EmbeddingSpec(dimensions=8)
BATCH = ingestion._DOCUMENTS_AT_ONCE
PATIENCE = 20.0


def documents(count: int) -> list[dict[str, Any]]:
    return [{"id": f"d{number}", "text": f"alpha {number}"} for number in range(count)]


@dataclass
class Naps:
    """Waits of a retrier: as long as it takes to be interrupted, and whether they were."""

    begun: threading.Event = field(default_factory=threading.Event)
    interrupted: list[bool] = field(default_factory=list)

    def take(self, _seconds: float) -> None:
        self.begun.set()
        end = interruption()
        self.interrupted.append(end is not None and end.wait(PATIENCE))
        assert self.interrupted[-1]


class Down:
    """A server's client one of whose methods finds the server down."""

    def __init__(self, client: QdrantClient | AsyncQdrantClient, method: str) -> None:
        self._wrapped = client
        self.method = method
        self.calls = 0

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        method = getattr(self._wrapped, name)
        return self._refused(name, method)

    def _refused(self, name: str, method: Callable[..., Any]) -> Callable[..., Any]:
        def called(*args: Any, **options: Any) -> Any:
            if name == self.method:
                self.calls += 1
                raise UnexpectedResponse(503, "Service Unavailable", b"down", httpx.Headers())
            return method(*args, **options)

        return called


def opened(client: Any, engine: Engine, naps: Naps) -> JinaQdrant:
    index = JinaQdrant(client, "docs", engine, SPEC)
    tire(index, naps)
    return index


def tire(index: JinaQdrant, naps: Naps) -> None:
    assert isinstance(index.store, QdrantStore)
    index.store._retrier = Retrier(RetryPolicy(), sleep=naps.take)


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> Iterator[None]:
    yield
    names = [thread.name for thread in threading.enumerate()]
    assert not [name for name in names if name.startswith(("jina-local-embed", "jina-local-write"))]


# In a thread


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError])
def test_what_ends_an_ingestion_ends_the_waits_of_its_writers(
    engine: Engine, error: type[BaseException]
) -> None:
    naps = Naps()
    client = Down(QdrantClient(":memory:"), "upsert")
    index = opened(client, engine, naps)

    def source() -> Iterator[dict[str, Any]]:
        yield from documents(BATCH)
        assert naps.begun.wait(PATIENCE)
        raise error

    with pytest.raises(error):
        index.ingest(source())
    assert naps.interrupted == [True]
    assert client.calls == 1  # no try more
    client.method = "nothing"
    assert index.ingest(documents(BATCH)).embedded == BATCH


def test_a_writer_that_fails_ends_the_waits_of_the_others(engine: Engine) -> None:
    """Two batches: the first is refused while the second waits for the server."""
    naps = Naps()

    class Picky(Down):
        def _refused(self, name: str, method: Callable[..., Any]) -> Callable[..., Any]:
            def called(_collection: str, points: Any, **_options: Any) -> Any:
                if points[0].payload["doc_id"] == "d0":
                    assert naps.begun.wait(PATIENCE)
                    raise UnexpectedResponse(400, "Bad Request", b"refused", httpx.Headers())
                self.calls += 1
                raise UnexpectedResponse(503, "Service Unavailable", b"down", httpx.Headers())

            return called if name == "upsert" else method

    client = Picky(QdrantClient(":memory:"), "upsert")
    index = opened(client, engine, naps)
    with pytest.raises(ValueError, match="refused"):
        index.ingest(documents(2 * BATCH))
    assert naps.interrupted == [True]
    assert client.calls == 1


def test_a_write_that_has_begun_is_finished_and_a_queued_one_dropped(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    local = QdrantClient(":memory:")  # one writer at a time
    is_writing = threading.Event()

    class Held:
        def __getattr__(self, name: str) -> Any:
            return getattr(local, name)

        def upsert(self, *args: Any, **options: Any) -> Any:
            is_writing.set()
            end = interruption()
            assert end is not None
            assert end.wait(PATIENCE)
            return local.upsert(*args, **options)

    is_queued = threading.Event()
    embed = ingestion.embed_documents_of
    calls: list[int] = []

    def counted(*args: Any) -> Any:
        if len(calls) == 2:  # the second batch waits for the writer
            is_queued.set()
        calls.append(1)
        return embed(*args)

    monkeypatch.setattr(ingestion, "embed_documents_of", counted)

    def source() -> Iterator[dict[str, Any]]:
        yield from documents(3 * BATCH)
        assert is_writing.wait(PATIENCE)
        assert is_queued.wait(PATIENCE)
        raise KeyboardInterrupt

    client: Any = Held()
    index = JinaQdrant(client, "docs", engine, SPEC)
    with pytest.raises(KeyboardInterrupt):
        index.ingest(source())
    assert local.count("docs").count == BATCH
    index = JinaQdrant(local, "docs", engine, SPEC)
    report = index.ingest(documents(3 * BATCH))
    assert (report.skipped, report.embedded) == (BATCH, 2 * BATCH)
    assert index.verify(sample=3).ok


def test_after_an_ingestion_that_was_ended_the_next_waits_again(engine: Engine) -> None:
    naps = Naps()
    client = Down(QdrantClient(":memory:"), "upsert")
    index = opened(client, engine, naps)
    for run in (1, 2):
        naps.begun.clear()
        with pytest.raises(OSError, match="gone"):
            index.ingest(_broken(naps))
        assert naps.interrupted == [True] * run
        assert client.calls == run
    assert interruption() is None


def _broken(naps: Naps) -> Iterator[dict[str, Any]]:
    yield from documents(BATCH)
    assert naps.begun.wait(PATIENCE)
    raise OSError("the disk is gone")


# On an event loop


@pytest.mark.parametrize(
    ("method", "call"),
    [
        ("upsert", lambda index: index.ingest(documents(3))),
        ("upsert", lambda index: index.sync(documents(3))),
        ("retrieve", lambda index: index.ingest(documents(3))),
        ("get_collection", lambda index: index.ingest(documents(3))),
        ("count", lambda index: index.count()),
        ("scroll", lambda index: index.verify()),
        ("query_batch_points", lambda index: index.search("alpha")),
    ],
)
def test_a_cancelled_call_waits_for_no_store(engine: Engine, method: str, call: Any) -> None:
    naps = Naps()
    complaints: list[dict[str, Any]] = []

    async def main() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: complaints.append(context))
        client: Any = Down(AsyncQdrantClient(":memory:"), "nothing")
        index = await AsyncJinaQdrant.open(client, "docs", engine, SPEC)
        await index.ingest([{"id": "there", "text": "beta"}])
        tire(index._index, naps)
        client.method = method
        task = asyncio.create_task(call(index))
        while not naps.begun.is_set():
            await asyncio.sleep(0.001)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert client.calls == 1
        client.method = "nothing"
        assert (await index.ingest(documents(3))).embedded == 3
        del task
        gc.collect()
        await asyncio.sleep(0)

    asyncio.run(main())
    assert naps.interrupted == [True]
    assert complaints == []
