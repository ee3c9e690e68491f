"""Collections that other frameworks' stores wrote move, and stay readable by those stores.

The stores themselves write, with vectors of another model and size, and read afterwards. What they
read is equal but for the vectors, and those are what embedding the chunks of the true sources
gives: the sources themselves are in no collection, and are put together from their chunks.
"""

from __future__ import annotations

import contextlib
import json
import uuid
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from qdrant_client import QdrantClient

from jina_local import ChunkedText, Engine
from jina_local_qdrant import EmbeddingSpec
from jina_local_qdrant.migration import Migration
from support.checkpoints import TinyConfig, write_tiny
from support.crashing import quick_folder

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

haystack = pytest.importorskip("haystack")
pytest.importorskip("haystack_integrations.document_stores.qdrant")
pytest.importorskip("llama_index.vector_stores.qdrant")

from haystack.components.preprocessors import DocumentSplitter  # noqa: E402
from haystack.dataclasses import SparseEmbedding  # noqa: E402
from haystack_integrations.document_stores.qdrant import QdrantDocumentStore  # noqa: E402
from llama_index.core import Document  # noqa: E402
from llama_index.core.node_parser import SentenceSplitter  # noqa: E402
from llama_index.core.schema import TextNode  # noqa: E402
from llama_index.core.vector_stores import VectorStoreQuery  # noqa: E402
from llama_index.core.vector_stores.types import VectorStoreQueryMode  # noqa: E402
from llama_index.vector_stores.qdrant import QdrantVectorStore  # noqa: E402

OLD, NEW, ALIAS = "old", "new", "live"
OLD_SIZE, NEW_SIZE = 12, 8
SPEC = EmbeddingSpec(dimensions=NEW_SIZE)
QUERY = "Which city is on the river?"


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """The least engine there is."""
    config = TinyConfig(hidden_size=16, n_layers=1, n_heads=2, intermediate_size=32)
    folder = tmp_path_factory.mktemp("quick")
    write_tiny(folder, config=config, delta_factor=100.0)
    with Engine.load(folder, device="cpu") as loaded:
        yield loaded


@pytest.fixture
def folder() -> Iterator[Path]:
    with quick_folder() as found:
        yield found / "qdrant"


def source(number: int, paragraphs: int, alike: int) -> str:
    """A text of which so many paragraphs, one after the other, are the same."""
    told = [
        f"The river {i // alike} of {number} is a state. It is a city! Is it a city? It is a city!"
        for i in range(paragraphs)
    ]
    return "\n\n".join(told) + f" So much for {number}."


PARAGRAPHS = (5, 2, 7)
SOURCES = [source(number, paragraphs, 2) for number, paragraphs in enumerate(PARAGRAPHS)]
ALIKE = [source(number, paragraphs, 3) for number, paragraphs in enumerate(PARAGRAPHS)]
"""In which looking for a chunk finds another one: nothing but honest offsets tells them apart."""
ALONE = ["A text that nobody has split.", "Ein Text, den niemand zerteilt hat: ÄÖÜ 😀."]


def some_vector(name: str) -> list[float]:
    """A vector of some other model."""
    rng = np.random.default_rng(uuid.uuid5(uuid.NAMESPACE_OID, name).int)
    return [float(value) for value in rng.normal(size=OLD_SIZE)]


def some_sparse(name: str) -> tuple[list[int], list[float]]:
    number = len(name) % 7
    return [number, number + 3], [0.5, 0.25]


def migrate(client: QdrantClient, engine: Engine) -> Migration:
    """All steps to the switch, the payload fields found out by themselves."""
    migration = Migration(client, OLD, NEW, engine, SPEC)
    plan = migration.plan()
    assert (plan.refusals, plan.blank) == ((), 0)
    migration.run()
    check = migration.verify(sample=100)
    assert check.ok, check.problems()
    migration.switch(ALIAS)
    return migration


def payloads(client: QdrantClient, collection: str) -> dict[Any, Any]:
    points, _ = client.scroll(collection, limit=1000)
    return {point.id: point.payload for point in points}


def dense(client: QdrantClient) -> dict[str, np.ndarray]:
    """The new vector of each point."""
    points, _ = client.scroll(NEW, limit=1000, with_vectors=True)
    vectors = {str(point.id): point.vector for point in points}
    return {
        key: np.asarray(vector["text-dense"] if isinstance(vector, dict) else vector)
        for key, vector in vectors.items()
    }


def embedded(
    engine: Engine, sources: Mapping[str, str], places: Mapping[str, tuple[str, int, int]]
) -> dict[str, np.ndarray]:
    """What the vector of each chunk is in the context of its source.

    Args:
        engine: Embeds.
        sources: Texts.
        places: Of each chunk, the source and from where to where it is in it.
    """
    found = {}
    for name, text in sources.items():
        chunks = {key: place[1:] for key, place in places.items() if place[0] == name}
        ordered = sorted(chunks, key=lambda key: chunks[key])
        spans = [chunks[key] for key in ordered]
        (result,) = engine.embed_chunks([ChunkedText(text, spans)], dimensions=NEW_SIZE)
        found |= dict(zip(ordered, result.vectors, strict=True))
    return found


def assert_vectors(actual: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    assert actual.keys() == expected.keys()
    for key, vector in expected.items():
        np.testing.assert_allclose(actual[key], vector, atol=1e-5)


def by_score(engine: Engine, vectors: dict[str, np.ndarray]) -> tuple[list[float], np.ndarray]:
    """A query's vector, and the scores of all chunks from the best on."""
    (query,) = engine.embed_queries([QUERY], dimensions=NEW_SIZE).vectors
    return query.tolist(), np.sort([float(vector @ query) for vector in vectors.values()])[::-1]


# haystack


@contextlib.contextmanager
def haystack_store(folder: Path, index: str, *, sparse: bool) -> Iterator[QdrantDocumentStore]:
    """The store over a folder, which it has for itself."""
    store = QdrantDocumentStore(
        path=str(folder),
        index=index,
        embedding_dim=OLD_SIZE if index == OLD else NEW_SIZE,
        use_sparse_embeddings=sparse,
        return_embedding=True,
        progress_bar=False,
    )
    try:
        yield store
    finally:
        store.close()


def haystack_chunks(*, sparse: bool, **options: Any) -> tuple[list[Any], dict[str, str]]:
    """Chunks of all sources and documents that were not split, as they are written."""
    documents = [
        haystack.Document(
            content=text, meta={"nested": {"number": i, "none": None}, "list": [1, 2]}
        )
        for i, text in enumerate(ALIKE)
    ]
    chunks = DocumentSplitter(**options).run(documents)["documents"]
    chunks += [haystack.Document(content=text, meta={"alone": True}) for text in ALONE]
    written = [
        replace(
            chunk,
            embedding=some_vector(chunk.id),
            sparse_embedding=SparseEmbedding(*some_sparse(chunk.id)) if sparse else None,
        )
        for chunk in chunks
    ]
    return written, {document.id: document.content for document in documents}


def without_vector(document: Any) -> dict[str, Any]:
    return json.loads(json.dumps({**document.to_dict(flatten=False), "embedding": None}))


SPLITS = {
    "words": {"split_by": "word", "split_length": 9},
    "words, overlapping": {"split_by": "word", "split_length": 9, "split_overlap": 3},
    "periods, overlapping": {"split_by": "period", "split_length": 2, "split_overlap": 1},
    "passages": {"split_by": "passage", "split_length": 1},
    "passages, overlapping": {"split_by": "passage", "split_length": 2, "split_overlap": 1},
}


@pytest.mark.parametrize("sparse", [False, True], ids=["dense", "hybrid"])
@pytest.mark.parametrize("split", SPLITS)
def test_the_haystack_store_reads_its_documents_with_new_vectors(
    quick: Engine, folder: Path, split: str, sparse: bool
) -> None:
    """By the new collection's name, and by the alias."""
    chunks, sources = haystack_chunks(sparse=sparse, **SPLITS[split])
    with haystack_store(folder, OLD, sparse=sparse) as store:
        assert store.write_documents(chunks) == len(chunks)
        before = {document.id: document for document in store.filter_documents()}
    assert len(before) == len(chunks) > len(SOURCES) + len(ALONE)

    client = QdrantClient(path=str(folder))
    migrate(client, quick)
    assert payloads(client, NEW) == payloads(client, OLD)
    client.close()

    places = {}
    for document in before.values():
        name = document.meta.get("source_id", document.id)
        start = document.meta.get("split_idx_start", 0)
        places[document.id] = (name, start, start + len(document.content))
        text = sources.setdefault(name, document.content)
        assert text[start : start + len(document.content)] == document.content
    expected = embedded(quick, sources, places)
    query, scores = by_score(quick, expected)

    for index in (NEW, ALIAS):
        with haystack_store(folder, index, sparse=sparse) as store:
            after = {document.id: document for document in store.filter_documents()}
            by_id = store.get_documents_by_id([chunks[0].id])
            found = store._query_by_embedding(query, top_k=5, return_embedding=True)
        assert after.keys() == before.keys()
        for name, document in before.items():
            assert without_vector(after[name]) == without_vector(document)
        assert_vectors({key: np.asarray(one.embedding) for key, one in after.items()}, expected)
        assert without_vector(by_id[0]) == without_vector(before[chunks[0].id])
        assert [document.score for document in found] == pytest.approx(scores[:5], abs=1e-5)
        for document in found:
            assert document.content == before[document.id].content


def test_haystack_documents_that_say_no_place_are_put_together_by_what_they_share(
    quick: Engine, folder: Path
) -> None:
    """As older versions wrote them: with overlaps, and without the place of a chunk."""
    text = " ".join(f"Number {i} is a state of its own." for i in range(12))
    splitter = DocumentSplitter(**SPLITS["words, overlapping"])
    chunks = splitter.run([haystack.Document(content=text)])["documents"]
    places = {}
    for chunk in chunks:
        start = chunk.meta.pop("split_idx_start")
        places[chunk.id] = ("", start, start + len(chunk.content))
    with haystack_store(folder, OLD, sparse=False) as store:
        store.write_documents([replace(one, embedding=some_vector(one.id)) for one in chunks])
    client = QdrantClient(path=str(folder))
    migrate(client, quick)
    client.close()
    with haystack_store(folder, NEW, sparse=False) as store:
        after = {one.id: np.asarray(one.embedding) for one in store.filter_documents()}
    assert_vectors(after, embedded(quick, {"": text}, places))


# llama-index


def llama_store(client: QdrantClient, collection: str, *, hybrid: bool) -> QdrantVectorStore:
    def sparse(texts: Sequence[str]) -> tuple[list[list[int]], list[list[float]]]:
        indexes, values = zip(*(some_sparse(text) for text in texts), strict=True)
        return list(indexes), list(values)

    return QdrantVectorStore(
        collection,
        client=client,
        enable_hybrid=hybrid,
        sparse_doc_fn=sparse if hybrid else None,
        sparse_query_fn=sparse if hybrid else None,
    )


def llama_nodes(overlap: int) -> tuple[list[TextNode], dict[str, str]]:
    documents = [
        Document(id_=str(uuid.UUID(int=i)), text=text, metadata={"number": i, "name": "ä"})
        for i, text in enumerate(SOURCES)
    ]
    splitter = SentenceSplitter(
        chunk_size=80,
        chunk_overlap=overlap,
        id_func=lambda i, document: str(uuid.uuid5(uuid.NAMESPACE_OID, f"{document.node_id}/{i}")),
    )
    nodes: list[Any] = list(splitter.get_nodes_from_documents(documents))
    for i, text in enumerate(ALONE):
        nodes += [
            TextNode(id_=str(uuid.UUID(int=100 + i)), text=text),
            Document(id_=str(uuid.UUID(int=200 + i)), text=text, metadata={"whole": True}),
        ]
    for node in nodes:
        node.embedding = some_vector(node.node_id)
    return nodes, {document.node_id: document.text for document in documents}


def in_place(nodes: Sequence[TextNode], text: str) -> dict[str, tuple[str, int, int]]:
    """Where chunks are that overlap nowhere, whatever they say themselves."""
    places, end = {}, 0
    for node in nodes:
        start = text.index(node.text, end)
        end = start + len(node.text)
        places[node.node_id] = ("", start, end)
    return places


def contents(nodes: Sequence[Any]) -> dict[str, Any]:
    return {node.node_id: {**node.to_dict(), "embedding": None} for node in nodes}


@pytest.fixture
def client() -> Iterator[QdrantClient]:
    client = QdrantClient(":memory:")
    yield client
    client.close()


no_index_here = pytest.mark.filterwarnings("ignore:Payload indexes have no effect:UserWarning")


@no_index_here
@pytest.mark.parametrize("hybrid", [False, True], ids=["dense", "hybrid"])
@pytest.mark.parametrize("overlap", [0, 20])
def test_the_llama_index_store_reads_its_nodes_with_new_vectors(
    quick: Engine, client: QdrantClient, overlap: int, hybrid: bool
) -> None:
    """By the new collection's name, and by the alias; nodes, their relations and all."""
    nodes, sources = llama_nodes(overlap)
    old = llama_store(client, OLD, hybrid=hybrid)
    old.add(nodes)
    before = contents(old.get_nodes())
    assert len(before) == len(nodes) > 2 * len(SOURCES) + 2 * len(ALONE)
    migrate(client, quick)
    assert payloads(client, NEW) == payloads(client, OLD)

    places = {}
    for node in nodes:
        name = node.ref_doc_id or node.node_id
        start = getattr(node, "start_char_idx", None) or 0
        places[node.node_id] = (name, start, start + len(node.text))
        text = sources.setdefault(name, node.text)
        assert text[start : start + len(node.text)] == node.text
    expected = embedded(quick, sources, places)
    assert_vectors(dense(client), expected)
    query, scores = by_score(quick, expected)

    for collection in (NEW, ALIAS):
        store = llama_store(client, collection, hybrid=hybrid)
        assert contents(store.get_nodes()) == before
        assert contents(store.get_nodes([nodes[0].node_id])) == contents(nodes[:1])
        found = store.query(VectorStoreQuery(query_embedding=query, similarity_top_k=5))
        assert found.similarities == pytest.approx(scores[:5], abs=1e-5)
        assert contents(found.nodes or []) == {key: before[key] for key in found.ids or []}
        if hybrid:
            for mode in (VectorStoreQueryMode.SPARSE, VectorStoreQueryMode.HYBRID):
                asked = VectorStoreQuery(
                    query_str=nodes[0].text, query_embedding=query, mode=mode, similarity_top_k=5
                )
                assert store.query(asked).ids


@no_index_here
def test_nodes_that_say_a_wrong_place_are_put_together_as_they_follow_each_other(
    quick: Engine, client: QdrantClient
) -> None:
    """As older versions wrote them: they took a text's first occurrence for its place, so a short
    last chunk that is somewhere in the first one came before all that is between."""
    text = SOURCES[0] + " It is a city!"
    document = Document(id_=str(uuid.UUID(int=7)), text=text)
    nodes: list[Any] = list(
        SentenceSplitter(
            chunk_size=80,
            chunk_overlap=0,
            id_func=lambda i, _: str(uuid.uuid5(uuid.NAMESPACE_OID, f"node {i}")),
        ).get_nodes_from_documents([document])
    )
    for node in nodes:
        node.start_char_idx = text.find(node.text)
        node.end_char_idx = node.start_char_idx + len(node.text)
        node.embedding = some_vector(node.node_id)
    starts = [node.start_char_idx for node in nodes]
    assert len(set(starts)) == len(starts)
    assert starts != sorted(starts)
    store = llama_store(client, OLD, hybrid=False)
    store.add(nodes)
    before = contents(store.get_nodes())
    migrate(client, quick)
    assert contents(llama_store(client, NEW, hybrid=False).get_nodes()) == before
    assert_vectors(dense(client), embedded(quick, {"": text}, in_place(nodes, text)))


@no_index_here
def test_nodes_between_which_one_is_missing_are_put_together_by_their_places(
    quick: Engine, client: QdrantClient
) -> None:
    """What was between them is not known, and a space stands for it."""
    nodes, _ = llama_nodes(0)
    first, gone, *others = [node for node in nodes if node.ref_doc_id == str(uuid.UUID(int=2))]
    left = [first, *others]
    store = llama_store(client, OLD, hybrid=False)
    store.add([first, gone, *others])
    store.delete_nodes([gone.node_id])
    migrate(client, quick)
    text = " ".join(node.text for node in left)
    assert_vectors(dense(client), embedded(quick, {"": text}, in_place(left, text)))
    assert contents(llama_store(client, NEW, hybrid=False).get_nodes()).keys() == {
        node.node_id for node in left
    }
