"""Pipelines from documents to hits, with the demo model and the stores that Haystack people use."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from haystack import Document, Pipeline
from haystack.components.preprocessors import (
    DocumentCleaner,
    EmbeddingBasedDocumentSplitter,
    MarkdownHeaderSplitter,
)
from haystack.components.retrievers import (
    InMemoryEmbeddingRetriever,
    MultiQueryEmbeddingRetriever,
)
from haystack.components.writers import DocumentWriter
from haystack.core.errors import DeserializationError
from haystack.document_stores.in_memory import InMemoryDocumentStore

from haystack_integrations.components.embedders.jina_local import (
    JinaLocalDocumentEmbedder,
    JinaLocalTextEmbedder,
)
from jina_local import ChunkedText, Engine, sharing
from jina_local.errors import EngineClosedError
from support.milvus import milvus

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("_demo_stays")

SOURCES = [
    "# Lisbon\nThe city lies on seven hills.\n\n## Trams\nThey are yellow, and climb steep roads.",
    "# Bread\nKnead the dough.\n\n## Baking\nHalf an hour in a hot oven.",
    "# Boats\nA sloop has one mast.\n\n## Sails\nA spinnaker is set before the wind.",
]
FIRST = {  # what is found first, by what is asked
    "the yellow trams of Lisbon": "They are yellow",
    "how long in the hot oven": "in a hot oven",
    "which sail of a boat is for the wind behind": "spinnaker",
}


def documents() -> list[Document]:
    return [Document(content=text) for text in SOURCES]


@dataclass(frozen=True)
class Place:
    """Somewhere to keep documents.

    Attributes:
        kind: What.
        folder: Where it may put files.
    """

    kind: str
    folder: Path

    @property
    def allowed(self) -> dict[str, Any]:
        """What loading YAML has to be told; nothing for what is in Haystack's namespaces."""
        return {"allowed_modules": ["milvus_haystack"]} if self.kind == "milvus" else {}

    def store(self, dim: int) -> Any:
        if self.kind == "in-memory":
            return InMemoryDocumentStore(index=str(self.folder))
        if self.kind == "milvus":
            from milvus_haystack import MilvusDocumentStore

            return MilvusDocumentStore(connection_args={"uri": str(self.folder / "milvus.db")})
        from haystack_integrations.document_stores.qdrant import QdrantDocumentStore

        where = {"path": str(self.folder)} if self.kind == "path" else {"location": ":memory:"}
        return QdrantDocumentStore(**where, embedding_dim=dim)

    def retriever(self, store: Any) -> Any:
        if self.kind == "in-memory":
            return InMemoryEmbeddingRetriever(store, top_k=2)
        if self.kind == "milvus":
            from milvus_haystack import MilvusEmbeddingRetriever

            return MilvusEmbeddingRetriever(document_store=store, top_k=2)
        from haystack_integrations.components.retrievers.qdrant import QdrantEmbeddingRetriever

        return QdrantEmbeddingRetriever(document_store=store, top_k=2)

    def leave(self, store: Any) -> None:
        """Let others open it; the server of a Milvus file stays until its process is told to."""
        if self.kind == "milvus":
            from milvus_lite.server_manager import server_manager_instance

            store.client.close()
            server_manager_instance.release_server(str(self.folder / "milvus.db"))


KINDS = ["in-memory", ":memory:", "path"]


@pytest.fixture(params=[*KINDS, pytest.param("milvus", marks=milvus)])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    return Place(request.param, tmp_path)


@pytest.fixture(params=KINDS)
def async_place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    return Place(request.param, tmp_path)


@pytest.fixture
def embedder() -> Iterator[JinaLocalDocumentEmbedder]:
    made = JinaLocalDocumentEmbedder(model="demo", late_chunking=True, progress_bar=False)
    yield made
    made.close()


@pytest.fixture
def text_embedder() -> Iterator[JinaLocalTextEmbedder]:
    made = JinaLocalTextEmbedder(model="demo")
    yield made
    made.close()


def indexing(embedder: JinaLocalDocumentEmbedder, store: Any) -> Pipeline:
    """Headers are cut off, so that only the cleaned sources have all of the context."""
    pipeline = Pipeline()
    pipeline.add_component("cleaner", DocumentCleaner(remove_extra_whitespaces=False))
    pipeline.add_component("splitter", MarkdownHeaderSplitter(keep_headers=False))
    pipeline.add_component("embedder", embedder)
    pipeline.add_component("writer", DocumentWriter(store))
    pipeline.connect("cleaner.documents", "splitter.documents")
    pipeline.connect("cleaner.documents", "embedder.source_documents")
    pipeline.connect("splitter.documents", "embedder.documents")
    pipeline.connect("embedder.documents", "writer.documents")
    return pipeline


def searching(embedder: JinaLocalTextEmbedder, retriever: Any) -> Pipeline:
    pipeline = Pipeline()
    pipeline.add_component("text_embedder", embedder)
    pipeline.add_component("retriever", retriever)
    pipeline.connect("text_embedder.embedding", "retriever.query_embedding")
    return pipeline


def check_hits(hits: dict[str, list[str]]) -> None:
    """The first hit of each question is the right one, and there is a second one."""
    assert hits.keys() == FIRST.keys()
    for question, contents in hits.items():
        assert len(contents) == 2
        assert FIRST[question] in contents[0], question


def contents(result: dict[str, Any]) -> list[str]:
    return [hit.content for hit in result["retriever"]["documents"]]


def test_questions_find_their_documents(
    place: Place, embedder: JinaLocalDocumentEmbedder, text_embedder: JinaLocalTextEmbedder
) -> None:
    store = place.store(embedder.embedding_dim)
    index = indexing(embedder, store)
    query = searching(text_embedder, place.retriever(store))
    result = index.run({"cleaner": {"documents": documents()}})
    assert result["writer"] == {"documents_written": 6}
    assert result["embedder"]["meta"]["late_chunking"] == {
        "sources": 3,
        "windows": 3,
        "unmapped": 0,
    }
    check_hits({one: contents(query.run({"text_embedder": {"text": one}})) for one in FIRST})
    query.close()
    index.close()
    place.leave(store)


def test_questions_find_their_documents_without_blocking(
    async_place: Place, embedder: JinaLocalDocumentEmbedder, text_embedder: JinaLocalTextEmbedder
) -> None:
    store = async_place.store(embedder.embedding_dim)
    index = indexing(embedder, store)
    query = searching(text_embedder, async_place.retriever(store))

    async def run() -> dict[str, list[str]]:
        result = await index.run_async({"cleaner": {"documents": documents()}})
        assert result["writer"] == {"documents_written": 6}
        inputs = ({"text_embedder": {"text": question}} for question in FIRST)
        found = await asyncio.gather(*map(query.run_async, inputs))
        await query.close_async()
        await index.close_async()
        return dict(zip(FIRST, map(contents, found), strict=True))

    check_hits(asyncio.run(run()))


def test_stored_vectors_are_those_of_chunks_in_their_source(
    embedder: JinaLocalDocumentEmbedder, tmp_path: Path, demo: Engine
) -> None:
    store = Place("in-memory", tmp_path).store(embedder.embedding_dim)
    indexing(embedder, store).run({"cleaner": {"documents": documents()}})
    found = {one.content: one.embedding for one in store.filter_documents()}
    assert len(found) == 6
    for text in DocumentCleaner(remove_extra_whitespaces=False).run(documents())["documents"]:
        mine = sorted((text.content.find(chunk), chunk) for chunk in found if chunk in text.content)
        chunks = [chunk for _, chunk in mine]
        spans = [(start, start + len(chunk)) for start, chunk in mine]
        (late,) = demo.embed_chunks([ChunkedText(text.content, spans)])
        np.testing.assert_allclose([found[one] for one in chunks], late.vectors, atol=1e-5)


IN_A_FRESH_PROCESS = """
import json, sys
from haystack import Pipeline
from haystack.dataclasses import Document
given = json.load(sys.stdin)
index = Pipeline.loads(given["index"], **given["allowed"])
index.run({"cleaner": {"documents": [Document(content=text) for text in given["sources"]]}})
store = index.get_component("writer").document_store
is_kept = given["kind"] != ":memory:"
if is_kept:
    index.close()
    client = getattr(store, "_client", None)
    if client is not None:  # Haystack 3.0 closes no stores
        client.close()
query = Pipeline.loads(given["query"], **given["allowed"])
if not is_kept:  # this is no place that another store can open
    query.get_component("retriever")._document_store = store
found = {
    question: query.run({"text_embedder": {"text": question}})["retriever"]["documents"]
    for question in given["questions"]
}
query.close()
print(json.dumps({question: [hit.content for hit in hits] for question, hits in found.items()}))
"""


def test_yaml_runs_in_a_fresh_process(
    place: Place, embedder: JinaLocalDocumentEmbedder, text_embedder: JinaLocalTextEmbedder
) -> None:
    store = place.store(embedder.embedding_dim)
    given = {
        "kind": place.kind,
        "index": indexing(embedder, store).dumps(),
        "query": searching(text_embedder, place.retriever(store)).dumps(),
        "allowed": place.allowed,
        "sources": SOURCES,
        "questions": list(FIRST),
    }
    place.leave(store)
    done = subprocess.run(
        [sys.executable, "-c", IN_A_FRESH_PROCESS],
        input=json.dumps(given),
        env=os.environ | {"HAYSTACK_TELEMETRY_ENABLED": "false", "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    check_hits(json.loads(done.stdout))


@milvus
def test_milvus_is_outside_the_namespaces_that_yaml_may_name(
    tmp_path: Path, text_embedder: JinaLocalTextEmbedder
) -> None:
    place = Place("milvus", tmp_path)
    store = place.store(text_embedder.embedding_dim)
    written = searching(text_embedder, place.retriever(store)).dumps()
    place.leave(store)
    with pytest.raises(DeserializationError, match="milvus_haystack"):
        Pipeline.loads(written)


def test_a_pipeline_closes_its_models_and_loads_them_again(
    embedder: JinaLocalDocumentEmbedder, text_embedder: JinaLocalTextEmbedder, tmp_path: Path
) -> None:
    place = Place("in-memory", tmp_path)
    store = place.store(embedder.embedding_dim)
    pipelines = [
        indexing(embedder, store),
        searching(text_embedder, place.retriever(store)),
    ]

    def loaded() -> list[bool]:
        return [one._access.is_loaded for one in (embedder, text_embedder)]

    question = next(iter(FIRST))
    asked = {"text_embedder": {"text": question}}
    assert loaded() == [False, False]
    for pipeline in pipelines:
        asyncio.run(pipeline.warm_up_async())
    assert loaded() == [True, True]
    engines = [one._access.engine() for one in (embedder, text_embedder)]
    pipelines[0].run({"cleaner": {"documents": documents()}})
    before = pipelines[1].run(asked)
    for pipeline in (*pipelines, *pipelines):
        pipeline.close()
    assert loaded() == [False, False]
    for engine in engines:
        with pytest.raises(EngineClosedError):
            engine.embed(["a"])
    after = pipelines[1].run(asked)
    assert loaded() == [False, True]
    assert contents(after) == contents(before)
    asyncio.run(pipelines[1].close_async())
    assert loaded() == [False, False]


def test_several_questions_at_once_find_what_each_finds_alone(
    embedder: JinaLocalDocumentEmbedder,
    text_embedder: JinaLocalTextEmbedder,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store = Place("in-memory", tmp_path).store(embedder.embedding_dim)
    indexing(embedder, store).run({"cleaner": {"documents": documents()}})
    retriever = InMemoryEmbeddingRetriever(store, top_k=1)
    alone = {
        question: retriever.run(text_embedder.run(question)["embedding"])["documents"][0]
        for question in FIRST
    }
    meeting = threading.Barrier(len(FIRST), timeout=60)
    run = text_embedder.run

    def run_together(text: str) -> dict[str, Any]:
        meeting.wait()
        return run(text)

    monkeypatch.setattr(text_embedder, "run", run_together)
    several = MultiQueryEmbeddingRetriever(
        retriever=retriever, query_embedder=text_embedder, max_workers=len(FIRST)
    )
    found = {one.content: one for one in several.run(list(FIRST))["documents"]}
    assert len(found) == len(FIRST)
    for question, one in alone.items():
        assert FIRST[question] in str(one.content)
        assert found[one.content].score == pytest.approx(one.score, abs=1e-5)


class Sentences:
    """What the splitter uses NLTK for, without its data: a sentence ends with a full stop."""

    def split_sentences(self, text: str) -> list[dict[str, Any]]:
        ends = [match.end() for match in re.finditer(r"\. ", text)]
        spans = zip([0, *ends], [*ends, len(text)], strict=True)
        return [{"sentence": text[a:b], "start": a, "end": b} for a, b in spans if a < b]


TOPICS = (
    "The tram climbs the hill. The trams of the city are yellow. The tram stops on the hill. ",
    "Knead the dough for the bread. The bread needs flour. Bake the dough in the oven. ",
)


def test_the_embedder_nests_in_a_splitter(
    embedder: JinaLocalDocumentEmbedder, tmp_path: Path
) -> None:
    inner = JinaLocalDocumentEmbedder(model="demo", task="text-matching", progress_bar=False)
    splitter = EmbeddingBasedDocumentSplitter(
        document_embedder=inner, sentences_per_group=1, percentile=0.8, min_length=10
    )
    store = Place("in-memory", tmp_path).store(embedder.embedding_dim)
    pipeline = Pipeline()
    pipeline.add_component("splitter", splitter)
    pipeline.add_component("embedder", embedder)
    pipeline.add_component("writer", DocumentWriter(store))
    pipeline.connect("splitter.documents", "embedder.documents")
    pipeline.connect("embedder.documents", "writer.documents")
    loaded = Pipeline.loads(pipeline.dumps())
    nested = loaded.get_component("splitter")
    mine = nested.document_embedder
    assert (mine.model, mine.task, mine.progress_bar) == ("demo", "text-matching", False)
    nested.sentence_splitter = Sentences()
    result = loaded.run(
        {"splitter": {"documents": [Document(content="".join(TOPICS))]}},
        include_outputs_from={"embedder"},
    )
    embedded = result["embedder"]["documents"]
    assert [one.content.strip() for one in embedded] == [topic.strip() for topic in TOPICS]
    assert {len(one.embedding) for one in embedded} == {embedder.embedding_dim}
    loaded.close()
    assert not mine._access.is_loaded


class Held:
    """Work that ends only after the event loop has beaten five times since it began."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.has_begun = asyncio.Event()
        self.may_end = threading.Event()
        self.n_beats = 0

    def __call__(self) -> None:
        self.loop.call_soon_threadsafe(self.has_begun.set)
        assert self.may_end.wait(timeout=20), "the event loop stands still"

    async def beat(self) -> None:
        await self.has_begun.wait()
        while self.n_beats < 5:
            await asyncio.sleep(0)
            self.n_beats += 1
        self.may_end.set()


def beats_during(
    work: Callable[[], Coroutine[Any, Any, Any]],
    owner: Any,
    name: str,
    monkeypatch: pytest.MonkeyPatch,
) -> int:
    """Beats of the event loop while some work is inside of a function that it calls."""
    function = getattr(owner, name)

    async def run() -> int:
        held = Held()

        def call(*args: Any, **kwargs: Any) -> Any:
            held()
            return function(*args, **kwargs)

        beating = asyncio.create_task(held.beat())
        with monkeypatch.context() as patch:
            patch.setattr(owner, name, call)
            await work()
        beating.cancel()
        return held.n_beats

    return asyncio.run(run())


def one_component(component: Any) -> Pipeline:
    pipeline = Pipeline()
    pipeline.add_component("embedder", component)
    return pipeline


TEXT = {"text": "Where do trams climb?"}
DOCUMENTS = {"documents": documents()}
Embedder = JinaLocalTextEmbedder | JinaLocalDocumentEmbedder

WAYS: dict[str, Callable[[Embedder, dict[str, Any]], Coroutine[Any, Any, Any]]] = {
    "warm_up_async": lambda embedder, _: embedder.warm_up_async(),
    "run_async": lambda embedder, inputs: embedder.run_async(**inputs),
    "Pipeline.warm_up_async": lambda embedder, _: one_component(embedder).warm_up_async(),
    "Pipeline.run_async": lambda embedder, inputs: one_component(embedder).run_async(
        {"embedder": inputs}
    ),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", ["text", "documents"])
def test_the_event_loop_beats_while_a_model_is_loaded(
    kind: str, way: str, own_model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_text = kind == "text"
    embedder = (JinaLocalTextEmbedder if is_text else JinaLocalDocumentEmbedder)(model=own_model)
    inputs = TEXT if is_text else DOCUMENTS

    def work() -> Coroutine[Any, Any, Any]:
        return WAYS[way](embedder, inputs)

    assert beats_during(work, sharing, "load_model", monkeypatch) >= 5
    embedder.close()


@pytest.mark.parametrize("way", [way for way in WAYS if "run" in way])
@pytest.mark.parametrize(
    ("kind", "name"), [("text", "embed"), ("documents", "embed"), ("late", "embed_chunks")]
)
def test_the_event_loop_beats_while_texts_are_embedded(
    kind: str, name: str, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    chunks = [Document(content=text, meta={"source_id": "one"}) for text in SOURCES]
    embedder: Embedder
    if kind == "text":
        embedder, inputs = JinaLocalTextEmbedder(model="demo"), TEXT
    else:
        embedder = JinaLocalDocumentEmbedder(model="demo", late_chunking=kind == "late")
        inputs = {"documents": chunks}
    embedder.warm_up()

    def work() -> Coroutine[Any, Any, Any]:
        return WAYS[way](embedder, inputs)

    assert beats_during(work, Engine, name, monkeypatch) >= 5
    embedder.close()
