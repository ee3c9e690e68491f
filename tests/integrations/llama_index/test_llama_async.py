"""Event loops beside a model: they beat while it works, and questions are not behind documents."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import pytest

pytest.importorskip("llama_index.core")

from llama_index.core import VectorStoreIndex
from llama_index.core.ingestion import IngestionPipeline
from llama_index.embeddings.jina_local import JinaLateChunkSplitter, JinaV3Embedding

from jina_local import Engine, sharing
from jina_local.errors import InvalidTextsError
from support.llama import (
    assert_same,
    by_text,
    demo_embedding,
    documents_about,
    sentence_splitter,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

# core 0.13 calls it itself when something is inserted
pytestmark = pytest.mark.filterwarnings(
    "ignore:Call to deprecated method get_doc_id:DeprecationWarning"
)

PATIENCE = 60
"""Seconds after which what waits for ever is ended; nothing is measured by it."""

DOCUMENTS = documents_about("trams", "bread")
TEXTS = [one.text for one in DOCUMENTS]
TEXT = "retrieval.passage"
QUERY = "retrieval.query"


class Gate:
    """Holds an engine's work in its thread until it is opened, and takes note of it.

    Attributes:
        begun: Tasks and threads of what has begun, in order.
        n_most: How much was under way at once, at most.
    """

    def __init__(
        self, patch: pytest.MonkeyPatch, *, holds: tuple[str, ...] = (TEXT, QUERY)
    ) -> None:
        self.loop = asyncio.get_running_loop()
        self.has_begun = asyncio.Event()
        self.is_open = threading.Event()
        self.holds = holds
        self.begun: list[tuple[str, threading.Thread]] = []
        self.n_now = self.n_most = 0
        self.lock = threading.Lock()
        for name in ("embed", "embed_chunks"):
            patch.setattr(Engine, name, self._held(getattr(Engine, name)))

    def _held(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(engine: Engine, texts: Any, **options: Any) -> Any:
            task = options["task"]
            with self.lock:
                self.begun.append((task, threading.current_thread()))
                self.n_now += 1
                self.n_most = max(self.n_most, self.n_now)
            try:
                self.loop.call_soon_threadsafe(self.has_begun.set)
                if task in self.holds:
                    assert self.is_open.wait(PATIENCE), "the event loop stands still"
                return function(engine, texts, **options)
            finally:
                with self.lock:
                    self.n_now -= 1

        return call

    async def open_after(self, beats: int) -> int:
        """Open once the loop has beaten so often since the first work began."""
        await self.has_begun.wait()
        for _ in range(beats):
            await asyncio.sleep(0)
        self.is_open.set()
        return beats


def nodes() -> Any:
    return sentence_splitter()(documents_about("trams", "bread"))


async def from_documents(model: JinaV3Embedding) -> Any:
    index = VectorStoreIndex([], embed_model=model, transformations=[sentence_splitter()])
    for one in documents_about("trams", "bread"):
        await index.ainsert(one)


LATE: dict[str, Callable[[JinaV3Embedding], Coroutine[Any, Any, Any]]] = {
    "acall": lambda model: model.acall(nodes()),
    "alate_embed_nodes": lambda model: model.alate_embed_nodes(nodes()),
    "arun": lambda model: IngestionPipeline(
        transformations=[sentence_splitter(), model], disable_cache=True
    ).arun(documents=documents_about("trams", "bread")),
    "late splitter": lambda model: JinaLateChunkSplitter(
        splitter=sentence_splitter(), embed_model=model
    ).acall(documents_about("trams", "bread")),
    "ainsert": from_documents,
}
PLAIN: dict[str, Callable[[JinaV3Embedding], Coroutine[Any, Any, Any]]] = {
    "aget_text_embedding": lambda model: model.aget_text_embedding(TEXTS[0]),
    "aget_text_embedding_batch": lambda model: model.aget_text_embedding_batch(TEXTS),
    "aget_query_embedding": lambda model: model.aget_query_embedding("trams"),
    "aget_agg_embedding_from_queries": lambda model: model.aget_agg_embedding_from_queries(
        ["trams", "bread"]
    ),
    "plain acall": lambda model: model.acall(nodes()),
}


@pytest.mark.parametrize("way", [*LATE, *PLAIN])
def test_the_loop_beats_while_the_engine_works(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The engine is held until the loop has beaten: were it in the loop, nobody would open."""
    model = demo_embedding(late_chunking=way in LATE)

    async def run() -> int:
        gate = Gate(monkeypatch)
        _, beats = await asyncio.gather((LATE | PLAIN)[way](model), gate.open_after(100))
        assert gate.begun
        assert all(thread is not threading.main_thread() for _, thread in gate.begun)
        return beats

    assert asyncio.run(run()) == 100


@pytest.mark.parametrize("way", ["aget_text_embedding", "aget_query_embedding"])
def test_the_loop_beats_while_the_model_is_loaded(
    way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An embedding model that nobody has used loads in the thread, too."""
    model = demo_embedding(max_batch_tokens=4096)
    has_begun, may_end = asyncio.Event(), threading.Event()
    load = sharing.shared_engine

    async def run() -> int:
        loop = asyncio.get_running_loop()

        def held(*args: Any, **options: Any) -> Engine:
            loop.call_soon_threadsafe(has_begun.set)
            assert may_end.wait(PATIENCE), "the event loop stands still"
            return load(*args, **options)

        monkeypatch.setattr("jina_local.shared_engine", held)
        embedding = asyncio.create_task(getattr(model, way)("trams"))
        await has_begun.wait()
        beats = 0
        while beats < 100:
            await asyncio.sleep(0)
            beats += 1
        assert not embedding.done()
        may_end.set()
        await embedding
        return beats

    assert asyncio.run(run()) == 100
    model.release()


@pytest.mark.parametrize("way", [way for way in LATE | PLAIN if "quer" not in way])
def test_questions_do_not_wait_for_documents(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = demo_embedding(late_chunking=way in LATE)
    expected = model.get_query_embedding("trams")

    async def run() -> None:
        gate = Gate(monkeypatch, holds=(TEXT,))
        work = asyncio.create_task((LATE | PLAIN)[way](model))
        try:
            await gate.has_begun.wait()
            found = await asyncio.wait_for(model.aget_query_embedding("trams"), PATIENCE)
            assert not work.done()
        finally:
            gate.is_open.set()
        await work
        assert found == expected

    asyncio.run(run())


def test_documents_go_through_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of all embedding models and all loops of a process, one after the other."""
    models = [demo_embedding(late_chunking=late, dimensions=16) for late in (False, True)]

    async def all_ways() -> None:
        await asyncio.gather(
            *(LATE[way](models[1]) for way in LATE if way != "ainsert"),
            *(PLAIN[way](models[0]) for way in PLAIN if "quer" not in way),
        )

    async def run() -> Gate:
        gate = Gate(monkeypatch)
        gate.is_open.set()
        others = [threading.Thread(target=lambda: asyncio.run(all_ways())) for _ in range(3)]
        for other in others:
            other.start()
        await all_ways()
        for other in others:
            await asyncio.to_thread(other.join)
        return gate

    gate = asyncio.run(run())
    assert len(gate.begun) >= 4 * 7
    assert gate.n_most == 1
    assert len({thread for _, thread in gate.begun}) == 1


current: ContextVar[str] = ContextVar("current", default="nobody")


@pytest.mark.parametrize("way", [*LATE, *PLAIN])
def test_the_thread_has_the_context_of_who_asks(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of each of several that ask at once; and what it sets is nobody else's."""
    model = demo_embedding(late_chunking=way in LATE)
    seen: list[str] = []

    def noting(call: Callable[..., Any]) -> Callable[..., Any]:
        def noted(*args: Any, **options: Any) -> Any:
            seen.append(current.get())
            current.set("changed")
            return call(*args, **options)

        return noted

    for name in ("embed", "embed_chunks"):
        monkeypatch.setattr(Engine, name, noting(getattr(Engine, name)))

    async def ask(name: str) -> None:
        current.set(name)
        await (LATE | PLAIN)[way](model)
        assert current.get() == name

    async def run() -> None:
        await asyncio.gather(*(asyncio.create_task(ask(name)) for name in "abc"))

    asyncio.run(run())
    assert set(seen) >= set("abc")
    assert set(seen) <= {*"abc", "changed"}
    assert "nobody" not in seen


def test_async_and_sync_give_the_same_vectors_bit_for_bit() -> None:
    model = demo_embedding(late_chunking=True)
    plain = demo_embedding()

    async def run() -> Any:  # the sync ones inside of a running loop
        return (
            await plain.aget_text_embedding_batch(TEXTS) == plain.get_text_embedding_batch(TEXTS),
            await plain.aget_query_embedding("a") == plain.get_query_embedding("a"),
            await model.alate_embed_nodes(nodes()) == model.late_embed_nodes(nodes()),
            by_text(await model.acall(nodes())) == by_text(model(nodes())),
        )

    assert asyncio.run(run()) == (True, True, True, True)


def test_an_error_reaches_who_asked_and_the_thread_goes_on() -> None:
    model = demo_embedding()

    async def run() -> list[float]:
        broken: Any = ["a", None]
        with pytest.raises(InvalidTextsError):
            await model.aget_text_embedding_batch(broken)
        with pytest.raises(InvalidTextsError):
            await model.aget_text_embedding(broken[1])
        return await model.aget_text_embedding("a")

    assert asyncio.run(run()) == model.get_text_embedding("a")


def test_who_gives_up_waiting_holds_nobody_else_up(monkeypatch: pytest.MonkeyPatch) -> None:
    model = demo_embedding()

    async def run() -> list[float]:
        gate = Gate(monkeypatch)
        first = asyncio.create_task(model.aget_text_embedding("a"))
        await gate.has_begun.wait()
        never_begun = asyncio.create_task(model.aget_text_embedding("b"))
        third = asyncio.create_task(model.aget_text_embedding("c"))
        await asyncio.sleep(0)
        for one in (first, never_begun):
            one.cancel()
            with pytest.raises(asyncio.CancelledError):
                await one
        gate.is_open.set()
        return await third

    expected = model.get_text_embedding("c")
    assert_same(asyncio.run(run()), expected)


IN_A_FORK = """
import asyncio, multiprocessing, sys, threading
from llama_index.core.schema import NodeRelationship, RelatedNodeInfo, TextNode
from support.llama import demo_embedding

model, late = demo_embedding(), demo_embedding(late_chunking=True)

def nodes():
    source = {NodeRelationship.SOURCE: RelatedNodeInfo(node_id="s")}
    return [TextNode(text=f"Sentence {i}.", relationships=source) for i in range(3)]

async def embed():
    plain, query = await asyncio.gather(
        model.aget_text_embedding_batch(["a", "b"]), model.aget_query_embedding("a")
    )
    chunks = await late.alate_embed_nodes(nodes())
    return [*plain, query, *chunks]

def names():
    return sorted({one.name for one in threading.enumerate() if "jina-local" in one.name})

def child(channel):
    before = names()
    channel.send((before, asyncio.run(embed()), names()))

here = asyncio.run(embed())
assert names() == ["jina-local-nodes_0"], names()
for _ in range(2):
    mine, yours = multiprocessing.Pipe()
    process = multiprocessing.get_context("fork").Process(target=child, args=(yours,), daemon=True)
    process.start()
    assert mine.poll(60), "the child hangs"
    before, there, after = mine.recv()
    process.join()
    assert (before, after) == ([], ["jina-local-nodes_0"]), (before, after)
    worst = max(abs(x - y) for a, b in zip(here, there) for x, y in zip(a, b))
    assert worst < 1e-6, worst
assert asyncio.run(embed()) == here
print("same")
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
def test_a_forked_process_has_a_thread_of_its_own() -> None:
    done = subprocess.run(
        [sys.executable, "-c", IN_A_FORK],
        env=os.environ
        | {
            "PYTHONPATH": os.pathsep.join(sys.path),
            "OMP_NUM_THREADS": "1",
            "HF_HUB_OFFLINE": "1",
        },
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["same"]
