"""Collections that the helper has moved, searched through the stores that wrote them.

The old vectors are some other model's. Afterwards our embedders and the store of either framework
find the right document, and the vectors are those that our embedders make of the same chunks.
"""

from __future__ import annotations

import uuid
import zlib
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from qdrant_client import QdrantClient

pytest.importorskip("llama_index.core")
pytest.importorskip("llama_index.vector_stores.qdrant")
pytest.importorskip("haystack")
pytest.importorskip("haystack_integrations.document_stores.qdrant")

from haystack import Document as HaystackDocument
from haystack.components.preprocessors import DocumentSplitter
from haystack_integrations.components.retrievers.qdrant import QdrantEmbeddingRetriever
from haystack_integrations.document_stores.qdrant import QdrantDocumentStore
from llama_index.core import VectorStoreIndex
from llama_index.vector_stores.qdrant import QdrantVectorStore

from haystack_integrations.components.embedders.jina_local import (
    JinaLocalDocumentEmbedder,
    JinaLocalTextEmbedder,
)
from jina_local_qdrant import EmbeddingSpec
from jina_local_qdrant.migration import Migration
from jina_local_qdrant.migration.fields import HAYSTACK, LLAMA_INDEX
from support.llama import assert_same, demo_embedding, sentence_splitter
from support.llama_stores import FIRST, SOURCES, Oracle, document, documents, in_points

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from llama_index.core.schema import BaseNode

    from jina_local import Engine

pytestmark = [
    pytest.mark.filterwarnings("ignore:Payload indexes have no effect:UserWarning"),
    # core 0.13 calls it itself when something is inserted
    pytest.mark.filterwarnings("ignore:Call to deprecated method get_doc_id:DeprecationWarning"),
]

OLD, NEW, ALIAS = "old", "new", "live"
OLD_SIZE, NEW_SIZE = 12, 64
SPLITTING = {"chunk_size": 16}

late_or_not = pytest.mark.parametrize("late", [True, False], ids=["late", "plain"])


def some_vector(text: str) -> list[float]:
    """A vector of some other model."""
    return list(map(float, np.random.default_rng(zlib.crc32(text.encode())).normal(size=OLD_SIZE)))


def migrate(client: QdrantClient, engine: Engine, fields: Any, *, late: bool) -> None:
    spec = EmbeddingSpec(dimensions=NEW_SIZE, late_chunking=late)
    migration = Migration(client, OLD, NEW, engine, spec, fields=fields)
    migration.run()
    assert migration.verify(sample=100).ok
    migration.switch(ALIAS)


# haystack


def haystack_store(folder: Path, index: str) -> QdrantDocumentStore:
    return QdrantDocumentStore(
        path=str(folder),
        index=index,
        embedding_dim=OLD_SIZE if index == OLD else NEW_SIZE,
        return_embedding=True,
        progress_bar=False,
    )


@pytest.fixture
def haystack_embedder(late: bool) -> Iterator[JinaLocalDocumentEmbedder]:
    made = JinaLocalDocumentEmbedder(
        model="demo", dimensions=NEW_SIZE, late_chunking=late, dtype="float32", progress_bar=False
    )
    yield made
    made.close()


@pytest.fixture
def text_embedder() -> Iterator[JinaLocalTextEmbedder]:
    made = JinaLocalTextEmbedder(model="demo", dimensions=NEW_SIZE, dtype="float32")
    yield made
    made.close()


@late_or_not
@pytest.mark.parametrize("fields", [None, "haystack", HAYSTACK], ids=["found", "name", "preset"])
def test_a_moved_collection_is_searched_through_haystack(
    *,
    late: bool,
    fields: Any,
    tmp_path: Path,
    demo: Engine,
    haystack_embedder: JinaLocalDocumentEmbedder,
    text_embedder: JinaLocalTextEmbedder,
) -> None:
    sources = [
        HaystackDocument(content=text, meta={"topic": name}) for name, text in SOURCES.items()
    ]
    split = DocumentSplitter(split_by="period", split_length=1)
    chunks = split.run(sources)["documents"]
    store = haystack_store(tmp_path, OLD)
    store.write_documents([replace(one, embedding=some_vector(str(one.content))) for one in chunks])
    store.close()

    client = QdrantClient(path=str(tmp_path))
    migrate(client, demo, fields, late=late)
    client.close()

    # with their sources, which is what the engine was never given: it put them together
    options = {"source_documents": sources} if late else {}
    made = haystack_embedder.run(chunks, **options)["documents"]
    expected = {one.id: one.embedding for one in made}
    for index in (NEW, ALIAS):
        store = haystack_store(tmp_path, index)
        assert_same({one.id: one.embedding for one in store.filter_documents()}, expected)
        retriever = QdrantEmbeddingRetriever(document_store=store, top_k=len(chunks))
        for question, answer in FIRST.items():
            query = text_embedder.run(question)["embedding"]
            hits = retriever.run(query_embedding=query)["documents"]
            assert answer in hits[0].content
            scores = {one.id: float(np.dot(one.embedding, query)) for one in made}
            assert [hit.score for hit in hits] == pytest.approx(
                sorted(scores.values(), reverse=True), abs=1e-5
            )
            assert {hit.id: hit.score for hit in hits} == pytest.approx(scores, abs=1e-5)
        store.close()


# llama-index


def nodes() -> list[BaseNode]:
    return sentence_splitter(
        **SPLITTING,
        id_func=lambda i, source: str(uuid.uuid5(uuid.NAMESPACE_OID, f"{source.node_id}/{i}")),
    )(documents())


@late_or_not
@pytest.mark.parametrize(
    "fields", [None, "llama-index", LLAMA_INDEX], ids=["found", "name", "preset"]
)
def test_a_moved_collection_is_searched_through_llama_index(
    late: bool, fields: Any, demo: Engine
) -> None:
    client = QdrantClient(":memory:")
    old = nodes()
    for node in old:
        node.embedding = some_vector(node.get_content())
    QdrantVectorStore(OLD, client=client).add(old)
    migrate(client, demo, fields, late=late)

    model = demo_embedding(dimensions=NEW_SIZE, late_chunking=late)
    made = {(one.ref_doc_id, one.get_content()): one.embedding for one in model(nodes())}
    points, _ = client.scroll(NEW, limit=1000, with_vectors=True)
    assert_same(in_points(points), made)
    oracle = Oracle(demo, NEW_SIZE, late)
    assert_same(made, oracle.vectors(documents(), **SPLITTING))

    for collection in (NEW, ALIAS):
        index = VectorStoreIndex.from_vector_store(
            QdrantVectorStore(collection, client=client), embed_model=model
        )
        retriever = index.as_retriever(similarity_top_k=len(made))
        for question, answer in FIRST.items():
            hits = retriever.retrieve(question)
            assert answer in hits[0].get_content()
            ranking = oracle.ranking(question, oracle.vectors(documents(), **SPLITTING))
            assert [hit.get_content() for hit in hits] == [text for text, _ in ranking]
            scores = [score for _, score in ranking]
            assert [hit.score for hit in hits] == pytest.approx(scores, abs=1e-5)
    client.close()


@late_or_not
def test_documents_that_are_inserted_afterwards_are_among_those_that_were_moved(
    late: bool, demo: Engine
) -> None:
    client = QdrantClient(":memory:")
    old = nodes()
    for node in old:
        node.embedding = some_vector(node.get_content())
    QdrantVectorStore(OLD, client=client).add(old)
    migrate(client, demo, None, late=late)
    model = demo_embedding(dimensions=NEW_SIZE, late_chunking=late)
    index = VectorStoreIndex.from_vector_store(
        QdrantVectorStore(NEW, client=client),
        embed_model=model,
        transformations=[sentence_splitter(**SPLITTING), model],
    )
    new = document("cats", "Cats purr when they are at ease. A kitten drinks milk. It sleeps.")
    index.insert(new)
    index.delete_ref_doc("boats")
    left = [one for one in documents() if one.node_id != "boats"]
    oracle = Oracle(demo, NEW_SIZE, late)
    points, _ = client.scroll(NEW, limit=1000, with_vectors=True)
    assert_same(in_points(points), oracle.vectors([*left, new], **SPLITTING))
    (hit,) = index.as_retriever(similarity_top_k=1).retrieve("what does a kitten drink")
    assert hit.node.ref_doc_id == "cats"
    client.close()
