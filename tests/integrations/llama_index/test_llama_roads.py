"""Late chunking gives one vector per node, by whichever road the node reaches the model."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, Any

import pytest

pytest.importorskip("llama_index.core")
from llama_index.core import VectorStoreIndex
from llama_index.core.ingestion import IngestionPipeline
from llama_index.embeddings.jina_local import JinaLateChunkSplitter

from jina_local import ChunkedText, Engine
from support.llama import (
    assert_same,
    by_text,
    demo_embedding,
    documents_about,
    in_index,
    sentence_splitter,
    text_of,
)

# llama-index-core 0.13 calls its own deprecated method where it inserts a document
pytestmark = pytest.mark.filterwarnings(
    "ignore:Call to deprecated method get_doc_id:DeprecationWarning"
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from llama_index.core import Document
    from llama_index.core.schema import BaseNode
    from llama_index.embeddings.jina_local import JinaV3Embedding

Vectors = dict[tuple[str | None, str], list[float]]

SPLITTER = sentence_splitter(chunk_size=64, chunk_overlap=20)


def documents() -> list[Document]:
    return documents_about("whales", "moss", "quartz", n_sentences=16)


def shuffled_nodes() -> list[BaseNode]:
    nodes = SPLITTER(documents())
    random.Random(7).shuffle(nodes)  # noqa: S311 - an order, no secret
    return nodes


def built(model: JinaV3Embedding, *steps: Any, **options: Any) -> VectorStoreIndex:
    return VectorStoreIndex.from_documents(
        documents(), transformations=[SPLITTER, *steps], embed_model=model, **options
    )


def empty(model: JinaV3Embedding, *steps: Any) -> VectorStoreIndex:
    return VectorStoreIndex([], transformations=[SPLITTER, *steps], embed_model=model)


def with_vectors(nodes: list[BaseNode], vectors: list[list[float]]) -> Vectors:
    return {(n.ref_doc_id, text_of(n)): v for n, v in zip(nodes, vectors, strict=True)}


def pipeline(*steps: Any) -> IngestionPipeline:
    return IngestionPipeline(transformations=list(steps), disable_cache=True)


def exact(model: JinaV3Embedding) -> JinaLateChunkSplitter:
    return JinaLateChunkSplitter(splitter=SPLITTER, embed_model=model)


def insert(model: JinaV3Embedding, *steps: Any) -> Vectors:
    index = empty(model, *steps)
    for document in documents():
        index.insert(document)
    return in_index(index)


def insert_nodes(model: JinaV3Embedding) -> Vectors:
    index = empty(model)
    index.insert_nodes(shuffled_nodes())
    return in_index(index)


def refresh(model: JinaV3Embedding, *steps: Any) -> Vectors:
    index = empty(model, *steps)
    first, second, third = documents()
    for old in (first, documents_about("moss", n_sentences=3)[0]):
        index.insert(old)
    assert index.refresh_ref_docs([first, second, third]) == [False, True, True]
    return in_index(index)


def call(model: JinaV3Embedding) -> Vectors:
    nodes = shuffled_nodes()
    assert list(model(nodes)) == nodes
    return by_text(nodes)


def late_embed_nodes(model: JinaV3Embedding) -> Vectors:
    nodes = shuffled_nodes()
    found = with_vectors(nodes, model.late_embed_nodes(nodes))
    assert all(node.embedding is None for node in nodes)
    return found


async def arun(model: JinaV3Embedding) -> Vectors:
    return by_text(await pipeline(SPLITTER, model).arun(documents=documents()))


async def arun_exact(model: JinaV3Embedding) -> Vectors:
    return by_text(await pipeline(exact(model)).arun(documents=documents()))


async def acall(model: JinaV3Embedding) -> Vectors:
    return by_text(await model.acall(shuffled_nodes()))


async def alate_embed_nodes(model: JinaV3Embedding) -> Vectors:
    nodes = shuffled_nodes()
    return with_vectors(nodes, await model.alate_embed_nodes(nodes))


async def ainsert(model: JinaV3Embedding, *steps: Any) -> Vectors:
    index = empty(model, *steps)
    for document in documents():
        await index.ainsert(document)
    return in_index(index)


async def ainsert_nodes(model: JinaV3Embedding) -> Vectors:
    index = empty(model)
    await index.ainsert_nodes(shuffled_nodes())
    return in_index(index)


ROADS: dict[str, Callable[[JinaV3Embedding], Vectors]] = {
    "pipeline": lambda e: by_text(pipeline(SPLITTER, e).run(documents=documents())),
    "call": call,
    "late_embed_nodes": late_embed_nodes,
    "transformations": lambda e: in_index(built(e, e)),
    "embed_model": lambda e: in_index(built(e)),
    "embed_model, async": lambda e: in_index(built(e, use_async=True)),
    "nodes": lambda e: in_index(VectorStoreIndex(shuffled_nodes(), embed_model=e)),
    "nodes, async": lambda e: in_index(
        VectorStoreIndex(shuffled_nodes(), embed_model=e, use_async=True)
    ),
    "insert": insert,
    "insert, transformations": lambda e: insert(e, e),
    "insert_nodes": insert_nodes,
    "refresh": refresh,
    "refresh, transformations": lambda e: refresh(e, e),
    "splitter": lambda e: by_text(pipeline(exact(e)).run(documents=documents())),
    "splitter, index": lambda e: in_index(
        VectorStoreIndex.from_documents(documents(), transformations=[exact(e)], embed_model=e)
    ),
}
ASYNC_ROADS: dict[str, Callable[[JinaV3Embedding], Awaitable[Vectors]]] = {
    "arun": arun,
    "acall": acall,
    "alate_embed_nodes": alate_embed_nodes,
    "ainsert": ainsert,
    "ainsert, transformations": lambda e: ainsert(e, e),
    "ainsert_nodes": ainsert_nodes,
    "arun, splitter": arun_exact,
}


@pytest.fixture(scope="module")
def expected(shared_demo: Engine) -> Vectors:
    """What the engine gives for the places in the sources that the nodes were cut from."""
    found: Vectors = {}
    for source in documents():
        chunks = [text_of(node) for node in SPLITTER([source])]
        assert len(chunks) > 3
        assert all(source.text.count(chunk) == 1 for chunk in chunks)
        starts = [source.text.index(chunk) for chunk in chunks]
        spans = [(s, s + len(chunk)) for s, chunk in zip(starts, chunks, strict=True)]
        header = f"file_name: {source.metadata['file_name']}\n"
        (embedded,) = shared_demo.embed_chunks(
            [ChunkedText(source.text, spans, header)], task="retrieval.passage"
        )
        keys = [(source.node_id, chunk) for chunk in chunks]
        found |= {key: list(row) for key, row in zip(keys, embedded.vectors, strict=True)}
    return found


@pytest.fixture(params=[1, 3, 256])
def model(request: pytest.FixtureRequest) -> JinaV3Embedding:
    return demo_embedding(
        late_chunking=True, late_chunking_fallback="raise", embed_batch_size=request.param
    )


@pytest.mark.parametrize("road", ROADS)
def test_every_road_gives_the_vectors_of_the_true_spans(
    model: JinaV3Embedding, expected: Vectors, road: str
) -> None:
    assert_same(ROADS[road](model), expected)


@pytest.mark.parametrize("road", ASYNC_ROADS)
def test_every_async_road_gives_the_vectors_of_the_true_spans(
    model: JinaV3Embedding, expected: Vectors, road: str
) -> None:
    async def walk() -> Vectors:
        return await ASYNC_ROADS[road](model)

    assert_same(asyncio.run(walk()), expected)


@pytest.mark.parametrize("road", ROADS)
def test_every_road_leads_through_a_running_loop(expected: Vectors, road: str) -> None:
    async def notebook() -> Vectors:
        return ROADS[road](demo_embedding(late_chunking=True, late_chunking_fallback="raise"))

    assert_same(asyncio.run(notebook()), expected)


def test_roads_may_be_walked_at_the_same_time(expected: Vectors) -> None:
    model = demo_embedding(late_chunking=True, late_chunking_fallback="raise")

    async def crowd() -> list[Vectors]:
        return await asyncio.gather(*(road(model) for road in ASYNC_ROADS.values()))

    for found in asyncio.run(crowd()):
        assert_same(found, expected)


def test_async_is_sync_bit_for_bit() -> None:
    model = demo_embedding(late_chunking=True)
    assert asyncio.run(acall(model)) == call(model)
    assert asyncio.run(alate_embed_nodes(model)) == late_embed_nodes(model)


def test_without_late_chunking_nodes_are_embedded_on_their_own(
    shared_demo: Engine, expected: Vectors
) -> None:
    model = demo_embedding()
    nodes = model(shuffled_nodes())
    texts = [f"file_name: {n.metadata['file_name']}\n\n{text_of(n)}" for n in nodes]
    assert_same(
        [n.embedding for n in nodes], shared_demo.embed(texts, task="retrieval.passage").vectors
    )
    found = by_text(nodes)
    with pytest.raises(AssertionError, match="Not equal"):
        assert_same(found, expected, atol=1e-3)


def test_vectors_are_lists_of_python_floats() -> None:
    for row in late_embed_nodes(demo_embedding(late_chunking=True, dimensions=32)).values():
        assert type(row) is list
        assert {type(value) for value in row} == {float}
        assert len(row) == 32


@pytest.mark.parametrize("slab", [4, 2048])
def test_an_index_that_cuts_a_document_gives_the_context_of_its_slabs(
    expected: Vectors, slab: int
) -> None:
    """A limit of the road by `embed_model`, which is why `transformations` is the better one."""
    model = demo_embedding(late_chunking=True, late_chunking_fallback="raise")
    index = built(model, insert_batch_size=slab)
    if slab == 2048:
        assert_same(in_index(index), expected)
    else:
        with pytest.raises(AssertionError, match="Not equal"):
            assert_same(in_index(index), expected)
    assert_same(in_index(built(model, model, insert_batch_size=slab)), expected)
