"""The same helper on an event loop, which it never blocks."""

from __future__ import annotations

import asyncio
import inspect
import threading
from typing import TYPE_CHECKING, Any

import pytest
from qdrant_client import AsyncQdrantClient, QdrantClient, models

from jina_local.errors import InvalidOptionError
from jina_local_qdrant import (
    AsyncJinaQdrant,
    CollectionLayout,
    EmbeddingSpec,
    IngestReport,
    JinaQdrant,
    embedding,
)
from jina_local_qdrant.errors import (
    CollectionNotFoundError,
    EmptySourceError,
    FingerprintMismatchError,
    InvalidDocumentError,
    StoreRefusedError,
    UnmanagedCollectionError,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
    from pathlib import Path

    from jina_local import Engine

SPEC = EmbeddingSpec(chunk_tokens=30)
DOCUMENTS: list[dict[str, Any]] = [
    {"id": "bread", "text": "Flour, water and salt; knead, wait, bake.", "metadata": {"n": 1}},
    {"id": "boats", "text": "A sloop has one mast, a ketch has two."},
    {"id": "long", "text": "\n\n".join(f"Paragraph {i} about nothing much." for i in range(20))},
]
MANY = [{"id": f"{i:04}", "text": f"text {i}"} for i in range(1000)]


@pytest.fixture(params=["memory", "folder", "edge"])
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], Any]:
    """Makes a client, on the event loop that it belongs to."""
    if request.param == "edge":
        pytest.importorskip("qdrant_edge")
        return lambda: f"edge:{tmp_path / 'edge'}"
    if request.param == "memory":
        return lambda: AsyncQdrantClient(":memory:")
    return lambda: AsyncQdrantClient(path=str(tmp_path / "db"))


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> Iterator[None]:
    """An awaited call ends after its thread's work; idle threads go with the helper."""
    yield
    names = [thread.name for thread in threading.enumerate()]
    assert not [name for name in names if name.startswith(("jina-local-embed", "jina-local-write"))]


def run(main: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(main)


async def closed(client: Any, index: AsyncJinaQdrant) -> None:
    await index.close()
    if not isinstance(client, str):
        await client.close()


async def streamed(documents: list[dict[str, Any]]) -> AsyncIterator[dict[str, Any]]:
    for document in documents:
        await asyncio.sleep(0)
        yield document


async def state(client: AsyncQdrantClient) -> list[Any]:
    points, _ = await client.scroll("docs", limit=10_000, with_vectors=True)
    return [(point.id, point.payload, pytest.approx(point.vector, abs=1e-5)) for point in points]


def sync_state(client: QdrantClient) -> list[Any]:
    points, _ = client.scroll("docs", limit=10_000, with_vectors=True)
    return [(point.id, point.payload, point.vector) for point in points]


# The same as the synchronous one

PUBLIC = sorted(name for name in vars(JinaQdrant) if not name.startswith("_"))


@pytest.mark.parametrize("name", PUBLIC)
def test_methods_have_the_same_parameters(name: str) -> None:
    ours, theirs = getattr(AsyncJinaQdrant, name), getattr(JinaQdrant, name)
    if isinstance(theirs, property):
        assert isinstance(ours, property)
        return
    assert inspect.iscoroutinefunction(ours)
    assert parameters(ours) == parameters(theirs)


def test_open_has_the_parameters_of_the_constructor() -> None:
    assert parameters(AsyncJinaQdrant.open) == parameters(JinaQdrant)


def parameters(function: Any) -> list[Any]:
    found = inspect.signature(function).parameters.values()
    return [(one.name, one.kind, one.default) for one in found]


def test_it_writes_and_finds_the_same(engine: Engine) -> None:
    plain = QdrantClient(":memory:")
    expected = JinaQdrant(plain, "docs", engine, SPEC)
    expected_report = expected.ingest(DOCUMENTS)

    async def main() -> None:
        client = AsyncQdrantClient(":memory:")
        index = await AsyncJinaQdrant.open(client, "docs", engine, SPEC)
        assert await index.ingest(DOCUMENTS) == expected_report
        assert sync_state(plain) == await state(client)
        queries = ["masts", "a loaf"]
        assert ids(await index.search_batch(queries)) == ids(expected.search_batch(queries))
        assert ids([await index.search("masts", limit=2, group_by_document=True)]) == ids(
            [expected.search("masts", limit=2, group_by_document=True)]
        )
        assert await index.get("long") == expected.get("long")
        assert await index.get("nothing") is None
        assert await index.count() == expected.count()
        assert await index.count_documents() == expected.count_documents() == 3
        assert await index.verify(sample=9, deep=True) == expected.verify(sample=9, deep=True)
        assert (await index.sync(DOCUMENTS)) == expected.sync(DOCUMENTS)
        assert await index.delete("long") == expected.delete("long")
        assert sync_state(plain) == await state(client)
        await index.finish_bulk()
        assert (index.record, index.fingerprint) == (expected.record, expected.fingerprint)
        assert (index.spec, index.engine, index.tenant) == (SPEC, engine, None)
        await closed(client, index)

    run(main())


def ids(found: list[list[Any]]) -> list[list[str]]:
    return [[hit.id for hit in hits] for hits in found]


def test_it_works_in_every_store(opened: Callable[[], Any], engine: Engine) -> None:
    async def main() -> None:
        client = opened()
        index = await AsyncJinaQdrant.open(client, "docs", engine, SPEC)
        with pytest.raises(CollectionNotFoundError):
            await index.search("x")
        assert (await index.ingest(streamed(DOCUMENTS))).embedded == 3
        assert (await index.ingest(DOCUMENTS)).skipped == 3
        assert (await index.search("masts", limit=1))[0].text
        assert (await index.verify(sample=9, deep=True)).ok
        report = await index.sync(
            streamed(DOCUMENTS[:2]), delete_missing=True, max_delete_fraction=0.5
        )
        assert report.deleted_documents == 1
        await closed(client, index)

    run(main())


def test_it_may_be_used_from_one_event_loop_after_another(engine: Engine) -> None:
    client = AsyncQdrantClient(":memory:")
    index = run(AsyncJinaQdrant.open(client, "docs", engine, SPEC))
    assert run(index.ingest(DOCUMENTS)).embedded == 3
    assert run(index.ingest(streamed(DOCUMENTS))).skipped == 3
    assert run(index.search("masts", limit=1))


def test_many_searches_run_at_once_beside_an_ingestion(engine: Engine) -> None:
    async def main() -> None:
        index = await AsyncJinaQdrant.open(AsyncQdrantClient(":memory:"), "docs", engine, SPEC)
        await index.ingest(DOCUMENTS)
        (alone,) = await index.search("masts", limit=1)
        ingesting = asyncio.create_task(index.ingest(streamed(MANY[:200])))
        found = await asyncio.gather(*(index.search("masts", limit=1) for _ in range(50)))
        assert all(len(hits) == 1 for hits in found)
        assert (await ingesting).embedded == 200
        assert alone.doc_id in {document["id"] for document in DOCUMENTS}

    run(main())


def test_adopting(engine: Engine) -> None:
    async def main() -> None:
        client = AsyncQdrantClient(":memory:")
        index = await AsyncJinaQdrant.open(client, "docs", engine, SPEC)
        await index.ingest(DOCUMENTS)
        size = models.VectorParams(size=engine.dimension, distance=models.Distance.COSINE)
        await client.create_collection("copy", vectors_config=size)
        points, _ = await client.scroll("docs", limit=1000, with_vectors=True)
        copies: list[Any] = [
            models.PointStruct(id=p.id, vector=p.vector, payload=p.payload)  # type: ignore[arg-type]
            for p in points
        ]
        await client.upsert("copy", copies)
        with pytest.raises(UnmanagedCollectionError):
            await AsyncJinaQdrant.open(client, "copy", engine, SPEC)
        adopted = await AsyncJinaQdrant.adopt(client, "copy", engine, SPEC)
        assert (await adopted.ingest(DOCUMENTS)).skipped == 3

    run(main())


# Documents and callbacks


def test_an_asynchronous_source_is_not_read_far_ahead(engine: Engine) -> None:
    """A billion documents: what is under way is bounded, and the first error ends and closes it."""
    read = 0
    is_closed = False

    async def endless() -> AsyncIterator[dict[str, Any]]:
        nonlocal read, is_closed
        try:
            while True:
                read += 1
                yield {"id": str(read), "text": "x"} if read != 1000 else {"id": "bad"}
        finally:
            is_closed = True

    async def main() -> None:
        index = await AsyncJinaQdrant.open(AsyncQdrantClient(":memory:"), "docs", engine, SPEC)
        with pytest.raises(InvalidDocumentError, match="'bad' has a text of type NoneType"):
            await index.ingest(endless())
        assert is_closed

    run(main())
    assert 1000 <= read <= 1000 + 2 * 64 + 1


def test_a_source_is_read_by_one_task_and_closed(engine: Engine) -> None:
    """So that time limits and connections may be held open across documents."""
    events: list[str] = []

    async def source() -> AsyncIterator[dict[str, Any]]:
        task = asyncio.current_task()
        try:
            async with asyncio.timeout(600):
                for document in DOCUMENTS:
                    assert asyncio.current_task() is task
                    yield document
                    await asyncio.sleep(0)
            yield {"id": "bread", "text": "again"}
        finally:
            assert asyncio.current_task() is task
            events.append("closed")

    async def main() -> None:
        index = await AsyncJinaQdrant.open(AsyncQdrantClient(":memory:"), "docs", engine, SPEC)
        with pytest.raises(InvalidDocumentError, match="'bread' comes twice"):
            await index.ingest(source())
        events.append("raised")

    run(main())
    assert events == ["closed", "raised"]


def test_callbacks_run_on_the_event_loop_and_may_be_asynchronous(engine: Engine) -> None:
    letters, reports, threads = [], [], set()

    async def main() -> None:
        index = await AsyncJinaQdrant.open(AsyncQdrantClient(":memory:"), "docs", engine, SPEC)

        async def progress(report: IngestReport) -> None:
            await index.count()  # the helper may be used meanwhile
            threads.add(threading.current_thread())
            reports.append(report)

        def dead_letter(letter: Any) -> None:
            threads.add(threading.current_thread())
            letters.append(letter.doc_id)

        report = await index.ingest(
            streamed([*MANY[:200], {"id": "bad"}]),
            on_error="dead_letter",
            dead_letters=dead_letter,
            progress=progress,
        )
        assert reports[-1] == report

    run(main())
    assert letters == ["bad"]
    assert len(reports) == 2
    assert threads == {threading.main_thread()}


# Errors


async def broken_source() -> AsyncIterator[dict[str, Any]]:
    yield DOCUMENTS[0]
    raise OSError("the disk is gone")


def test_errors_arrive_unchanged(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        client = AsyncQdrantClient(":memory:")
        index = await AsyncJinaQdrant.open(client, "docs", engine, SPEC)
        await index.ingest(DOCUMENTS)
        with pytest.raises(FingerprintMismatchError, match="chunk_tokens: 30 in"):
            await AsyncJinaQdrant.open(client, "docs", engine, EmbeddingSpec(chunk_tokens=99))
        with pytest.raises(InvalidOptionError, match="limit is 0"):
            await index.search("x", limit=0)
        for call in (index.ingest, index.sync):
            with pytest.raises(InvalidDocumentError, match="give a list of documents"):
                await call(DOCUMENTS[0])
            with pytest.raises(OSError, match="the disk is gone"):
                await call(broken_source())
        with pytest.raises(EmptySourceError):
            await index.sync(streamed([]), delete_missing=True)
        with pytest.raises(TypeError, match="task is not chosen here"):
            await index.ingest(DOCUMENTS, task="retrieval.query")  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="task is not chosen here"):
            await index.search("x", task="retrieval.passage")  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="task is not chosen here"):
            await AsyncJinaQdrant.open(client, "docs", engine, SPEC, task="x")  # type: ignore[arg-type]
        monkeypatch.setattr(index._index.store, "exists", lambda: True)
        await client.delete_collection("docs")
        with pytest.raises(StoreRefusedError, match="refused"):
            await index.count()

    run(main())


def test_an_error_of_a_callback_ends_the_ingestion(engine: Engine) -> None:
    def progress(report: IngestReport) -> None:
        raise KeyError(report.documents)

    async def main() -> None:
        index = await AsyncJinaQdrant.open(AsyncQdrantClient(":memory:"), "docs", engine, SPEC)
        with pytest.raises(KeyError):
            await index.ingest(DOCUMENTS, progress=progress)
        assert (await index.ingest(DOCUMENTS)).skipped == 3

    run(main())


def test_what_local_qdrant_ignores_is_said(engine: Engine) -> None:
    async def main() -> None:
        index = await AsyncJinaQdrant.open(
            AsyncQdrantClient(":memory:"),
            "docs",
            engine,
            SPEC,
            layout=CollectionLayout(quantization="int8"),
        )
        with pytest.warns(UserWarning, match="quantization"):
            await index.ingest(DOCUMENTS)

    run(main())


# The event loop is free, and cancelling is safe


class Gate:
    """Holds the engine's calls until it is opened."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.is_reached = threading.Event()
        self.is_open = threading.Event()
        self.calls = 0
        embed = embedding._plain

        def held(*args: Any) -> Any:
            self.calls += 1
            self.is_reached.set()
            assert self.is_open.wait(60)
            return embed(*args)

        patch.setattr(embedding, "_plain", held)


async def reached(event: threading.Event) -> None:
    while not event.is_set():
        await asyncio.sleep(0.001)


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Gate:
    return Gate(monkeypatch)


PLAIN = EmbeddingSpec(chunk_tokens=30, late_chunking=False)


def test_the_event_loop_is_free_while_the_engine_works(engine: Engine, gate: Gate) -> None:
    """A fact, not a time: it ticks while the engine is held, and opens the gate itself."""

    async def main() -> int:
        index = await AsyncJinaQdrant.open(AsyncQdrantClient(":memory:"), "docs", engine, PLAIN)
        ingesting = asyncio.create_task(index.ingest(DOCUMENTS))
        await reached(gate.is_reached)
        ticks = 0
        while ticks < 5:
            await asyncio.sleep(0)
            assert not ingesting.done()
            ticks += 1
        assert await index.count() == 0  # other calls are answered meanwhile
        gate.is_open.set()
        assert (await ingesting).embedded == 3
        return ticks

    assert run(main()) == 5


def test_cancelling_waits_for_the_thread_and_leaves_what_can_be_resumed(
    engine: Engine, gate: Gate
) -> None:
    async def main() -> None:
        client = AsyncQdrantClient(":memory:")
        index = await AsyncJinaQdrant.open(client, "docs", engine, PLAIN)
        ingesting = asyncio.create_task(index.ingest(MANY))
        await reached(gate.is_reached)
        for _ in range(3):
            ingesting.cancel()
            await asyncio.sleep(0)
        assert not ingesting.done()  # the engine is still at work
        gate.is_open.set()
        with pytest.raises(asyncio.CancelledError):
            await ingesting
        assert not busy_threads()
        there = await index.count()
        assert there < len(MANY)
        report = await index.ingest(MANY)
        assert (report.skipped, report.embedded) == (there, len(MANY) - there)
        assert (await index.verify(sample=5, deep=True)).ok

    run(main())


def busy_threads() -> list[str]:
    names = [thread.name for thread in threading.enumerate()]
    return [name for name in names if name.startswith(("jina-local-embed", "jina-local-write"))]


def test_a_source_that_waits_forever_can_be_cancelled(engine: Engine) -> None:
    events: list[str] = []

    async def stuck() -> AsyncIterator[dict[str, Any]]:
        try:
            for document in DOCUMENTS:
                yield document
            events.append("waiting")
            await asyncio.Event().wait()
        finally:
            events.append("closed")

    async def main() -> None:
        index = await AsyncJinaQdrant.open(AsyncQdrantClient(":memory:"), "docs", engine, SPEC)
        for call in (index.ingest, index.sync):
            events.clear()
            task = asyncio.create_task(call(stuck()))
            while not events:
                await asyncio.sleep(0.001)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert events == ["waiting", "closed"]
        assert (await index.ingest(DOCUMENTS)).documents == 3

    run(main())


def test_a_slow_iterable_is_left_at_the_next_document(engine: Engine) -> None:
    is_reading = threading.Event()
    go_on = threading.Event()
    read = []

    def slow() -> Iterator[dict[str, Any]]:
        for document in MANY:
            read.append(document)
            yield document
            is_reading.set()
            assert go_on.wait(60)

    async def main() -> None:
        index = await AsyncJinaQdrant.open(AsyncQdrantClient(":memory:"), "docs", engine, SPEC)
        task = asyncio.create_task(index.ingest(slow()))
        await reached(is_reading)
        task.cancel()
        await asyncio.sleep(0)
        go_on.set()
        with pytest.raises(asyncio.CancelledError):
            await task

    run(main())
    assert len(read) == 2


def test_a_time_limit_is_a_cancellation(engine: Engine) -> None:
    async def never() -> AsyncIterator[dict[str, Any]]:
        await asyncio.Event().wait()
        yield {}

    async def main() -> None:
        index = await AsyncJinaQdrant.open(AsyncQdrantClient(":memory:"), "docs", engine, SPEC)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(index.ingest(never()), timeout=0.01)
        assert (await index.ingest(DOCUMENTS)).embedded == 3

    run(main())


class StuckClient:
    """A proxy whose reads are never answered while it is stuck."""

    def __init__(self, client: AsyncQdrantClient) -> None:
        self.client = client
        self.is_stuck = False
        self.events: list[str] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self.client, name)

    async def scroll(self, *args: Any, **options: Any) -> Any:
        if self.is_stuck:
            self.events.append("asked")
            try:
                await asyncio.Event().wait()
            finally:
                self.events.append("given up")
        return await self.client.scroll(*args, **options)


def test_a_cancelled_call_gives_its_request_up_and_makes_no_other(engine: Engine) -> None:
    async def main() -> None:
        client = StuckClient(AsyncQdrantClient(":memory:"))
        proxy: Any = client
        index = await AsyncJinaQdrant.open(proxy, "docs", engine, SPEC)
        await index.ingest(DOCUMENTS)
        for call in (index.verify, lambda: index.get("long"), lambda: index.delete("long")):
            client.is_stuck = True
            client.events.clear()
            task = asyncio.create_task(call())
            while not client.events:
                await asyncio.sleep(0.001)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert client.events == ["asked", "given up"]
            client.is_stuck = False
            assert (await index.verify(sample=1)).ok

    run(main())


def test_a_callback_that_waits_forever_can_be_cancelled(engine: Engine) -> None:
    """As one that puts reports into a full queue whose reader was cancelled first."""

    async def main() -> None:
        index = await AsyncJinaQdrant.open(AsyncQdrantClient(":memory:"), "docs", engine, SPEC)
        is_called = asyncio.Event()

        async def stuck(_: Any) -> None:
            is_called.set()
            await asyncio.Event().wait()

        bad = [*DOCUMENTS, {"id": "bad"}]
        calls = (
            index.ingest(DOCUMENTS, progress=stuck),
            index.sync(DOCUMENTS, progress=stuck),
            index.ingest(bad, on_error="dead_letter", dead_letters=stuck),
        )
        for call in calls:
            is_called.clear()
            task = asyncio.create_task(call)
            await is_called.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        assert (await index.ingest(DOCUMENTS)).documents == 3

    run(main())


def test_threads_go_with_the_helper(engine: Engine) -> None:
    """Nothing has to be closed for a program to end, or for threads to."""
    import gc

    async def main() -> list[threading.Thread]:
        index = await AsyncJinaQdrant.open(AsyncQdrantClient(":memory:"), "docs", engine, SPEC)
        await index.ingest(DOCUMENTS)
        return [one for one in threading.enumerate() if one.name.startswith("jina-local-async")]

    before = set(threading.enumerate())
    threads = [thread for thread in run(main()) if thread not in before]
    assert threads
    gc.collect()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()
