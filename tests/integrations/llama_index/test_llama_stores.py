"""Indexes over the stores that LlamaIndex people use, with the demo model.

Whatever keeps them: nodes have the vectors of chunks in their true document, questions those of
queries, and so every store has the same ranking, which is the one that the engine says.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

pytest.importorskip("llama_index.core")
pytest.importorskip("llama_index.vector_stores.qdrant")

from llama_index.core import VectorStoreIndex
from llama_index.core.vector_stores import ExactMatchFilter, MetadataFilters
from llama_index.embeddings.jina_local import JinaLateChunkSplitter

from jina_local import Engine
from support.llama import assert_same, demo_embedding, sentence_splitter
from support.llama_stores import (
    FIRST,
    SOURCES,
    Embedded,
    Oracle,
    Place,
    document,
    documents,
)
from support.milvus import milvus

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from llama_index.core.schema import NodeWithScore
    from llama_index.embeddings.jina_local import JinaV3Embedding

pytestmark = [
    pytest.mark.filterwarnings("ignore:Payload indexes have no effect:UserWarning"),
    # core 0.13 calls it itself when something is inserted
    pytest.mark.filterwarnings("ignore:Call to deprecated method get_doc_id:DeprecationWarning"),
]

DIMENSIONS = 64
SPLITTING = {"chunk_size": 16}
KINDS = ["simple", ":memory:", "path", pytest.param("milvus", marks=milvus)]
ASYNC_KINDS = ["simple", "async, :memory:", "async, path"]


@pytest.fixture(params=KINDS)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    return Place(request.param, tmp_path)


@pytest.fixture
def embedded(monkeypatch: pytest.MonkeyPatch) -> Embedded:
    made = Embedded()
    made.watch(Engine, monkeypatch.setattr)
    return made


@pytest.fixture
def opened() -> Iterator[list[tuple[Place, VectorStoreIndex]]]:
    """What is closed at the end."""
    found: list[tuple[Place, VectorStoreIndex]] = []
    yield found
    for place, index in found:
        place.leave(index)


def embedding(*, late: bool = True) -> JinaV3Embedding:
    return demo_embedding(dimensions=DIMENSIONS, late_chunking=late)


def steps(embed_model: JinaV3Embedding) -> list[Any]:
    return [sentence_splitter(**SPLITTING), embed_model]


def filled(place: Place, *, late: bool = True) -> VectorStoreIndex:
    model = embedding(late=late)
    index = place.index(model, steps(model))
    for one in documents():
        index.insert(one)
    return index


def texts_and_scores(hits: Sequence[NodeWithScore]) -> tuple[list[str], list[float]]:
    return [hit.node.get_content() for hit in hits], [float(hit.score or 0) for hit in hits]


def check_ranking(hits: Sequence[NodeWithScore], expected: list[tuple[str, float]]) -> None:
    texts, scores = texts_and_scores(hits)
    assert texts == [text for text, _ in expected]
    assert scores == pytest.approx([score for _, score in expected], abs=1e-5)


@pytest.mark.parametrize("late", [False, True], ids=["plain", "late"])
def test_what_the_stores_are_compared_with_tells_right_from_wrong(demo: Engine, late: bool) -> None:
    oracle = Oracle(demo, DIMENSIONS, late)
    vectors = oracle.vectors(documents(), **SPLITTING)
    assert len(vectors) >= 3 * len(SOURCES)
    for question, answer in FIRST.items():
        ranking = oracle.ranking(question, vectors)
        assert answer in ranking[0][0]
        scores = [score for _, score in ranking]
        assert min(np.diff(scores[::-1])) > 1e-4, "rounding could change the ranking"
        (as_text,) = demo.embed_documents([question], dimensions=DIMENSIONS).vectors
        (as_query,) = demo.embed_queries([question], dimensions=DIMENSIONS).vectors
        assert float(as_text @ as_query) < 0.999, "the roles could not be told apart"


@pytest.mark.parametrize("late", [False, True], ids=["plain", "late"])
def test_every_store_has_the_vectors_and_the_ranking_of_the_engine(
    place: Place, demo: Engine, late: bool, opened: list[Any]
) -> None:
    oracle = Oracle(demo, DIMENSIONS, late)
    expected = oracle.vectors(documents(), **SPLITTING)
    index = filled(place, late=late)
    opened.append((place, index))
    assert_same(place.stored(index), expected)
    retriever = index.as_retriever(similarity_top_k=len(expected))
    for question in FIRST:
        check_ranking(retriever.retrieve(question), oracle.ranking(question, expected))


@pytest.mark.parametrize("kind", ASYNC_KINDS)
def test_async_stores_have_the_ranking_of_the_engine(
    kind: str, tmp_path: Path, demo: Engine
) -> None:
    place = Place(kind, tmp_path)
    oracle = Oracle(demo, DIMENSIONS, True)
    expected = oracle.vectors(documents(), **SPLITTING)

    async def run() -> list[list[NodeWithScore]]:
        model = embedding()
        index = place.index(model, steps(model))
        for one in documents():
            await index.ainsert(one)
        retriever = index.as_retriever(similarity_top_k=len(expected))
        found = await asyncio.gather(*map(retriever.aretrieve, FIRST))
        client = getattr(index.vector_store, "_aclient", None)
        if client is not None:
            await client.close()
        return found

    for question, hits in zip(FIRST, asyncio.run(run()), strict=True):
        check_ranking(hits, oracle.ranking(question, expected))


def test_an_index_that_is_opened_again_embeds_questions_only(
    place: Place, demo: Engine, embedded: Embedded, opened: list[Any]
) -> None:
    """By another embedding model of the same settings; and it goes on where the first one was."""
    oracle = Oracle(demo, DIMENSIONS, True)
    expected = oracle.vectors(documents(), **SPLITTING)
    index = filled(place)
    embedded.clear()
    model = embedding()
    again = place.reopened(index, model, steps(model))
    opened.append((place, again))
    found = again.as_retriever(similarity_top_k=len(expected)).retrieve(next(iter(FIRST)))
    assert (embedded.documents, embedded.queries) == ([], [next(iter(FIRST))])
    check_ranking(found, oracle.ranking(next(iter(FIRST)), expected))

    new = document("cats", "Cats purr when they are at ease. A kitten drinks milk. It sleeps.")
    again.insert(new)
    assert embedded.documents == [new.text]
    assert_same(place.stored(again), expected | oracle.vectors([new], **SPLITTING))


def test_filters_leave_the_ranking_of_what_they_let_through(
    place: Place, demo: Engine, opened: list[Any]
) -> None:
    oracle = Oracle(demo, DIMENSIONS, True)
    index = filled(place)
    opened.append((place, index))
    question, *_ = FIRST
    for one in documents():
        wanted = MetadataFilters(filters=[ExactMatchFilter(key="topic", value=one.node_id)])
        vectors = oracle.vectors([one], **SPLITTING)
        retriever = index.as_retriever(similarity_top_k=50, filters=wanted)
        check_ranking(retriever.retrieve(question), oracle.ranking(question, vectors))


def test_refreshing_embeds_the_document_that_changed(
    place: Place, demo: Engine, embedded: Embedded, opened: list[Any]
) -> None:
    model = embedding()
    index = place.index(model, steps(model))
    opened.append((place, index))
    assert index.refresh_ref_docs(documents()) == [True, True, True]
    changed = documents()
    changed[1] = document("bread", SOURCES["bread"] + " Rye bread is baked for longer.")
    embedded.clear()
    assert index.refresh_ref_docs(changed) == [False, True, False]
    assert (embedded.documents, embedded.queries) == ([changed[1].text], [])
    expected = Oracle(demo, DIMENSIONS, True).vectors(changed, **SPLITTING)
    assert_same(place.stored(index), expected)


def test_deleting_leaves_the_vectors_of_the_others(
    place: Place, demo: Engine, embedded: Embedded, opened: list[Any]
) -> None:
    index = filled(place)
    opened.append((place, index))
    embedded.clear()
    index.delete_ref_doc("bread", delete_from_docstore=True)
    assert embedded.documents == []
    left = [one for one in documents() if one.node_id != "bread"]
    assert_same(place.stored(index), Oracle(demo, DIMENSIONS, True).vectors(left, **SPLITTING))


ROADS: dict[str, Callable[[JinaV3Embedding], list[Any]]] = {
    "splitter, model": steps,
    "splitter": lambda _: [sentence_splitter(**SPLITTING)],
    "late splitter": lambda model: [
        JinaLateChunkSplitter(splitter=sentence_splitter(**SPLITTING), embed_model=model)
    ],
}


@pytest.mark.parametrize("road", ROADS)
def test_every_road_into_a_store_gives_the_same_index(
    place: Place, road: str, demo: Engine, opened: list[Any]
) -> None:
    model = embedding()
    index = VectorStoreIndex.from_documents(
        documents(),
        transformations=ROADS[road](model),
        embed_model=model,
        storage_context=place.index(model, []).storage_context,
    )
    opened.append((place, index))
    expected = Oracle(demo, DIMENSIONS, True).vectors(documents(), **SPLITTING)
    assert_same(place.stored(index), expected)
