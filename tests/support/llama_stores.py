"""Places where LlamaIndex people keep nodes, and what has to be in them.

`Place` opens a vector store of some kind, and opens it again. What has to be in it, and what has to
be found there, `Oracle` says with nothing but the engine and the true places of nodes.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from llama_index.core import (
    Document,
    StorageContext,
    VectorStoreIndex,
    load_index_from_storage,
)
from llama_index.core.vector_stores import SimpleVectorStore
from llama_index.core.vector_stores.types import BasePydanticVectorStore, VectorStoreQueryResult
from llama_index.core.vector_stores.utils import metadata_dict_to_node, node_to_metadata_dict
from llama_index.vector_stores.qdrant import QdrantVectorStore
from qdrant_client import AsyncQdrantClient, QdrantClient

from jina_local import ChunkedText
from support.llama import in_index, sentence_splitter

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    import numpy as np
    from llama_index.core.schema import BaseNode, TextNode
    from llama_index.core.vector_stores.types import VectorStoreQuery

    from jina_local import Engine

__all__ = [
    "FIRST",
    "SOURCES",
    "Embedded",
    "Key",
    "Oracle",
    "Place",
    "document",
    "documents",
    "in_points",
]

SOURCES = {
    "lisbon": "Lisbon lies on seven hills at the mouth of the Tagus. It was the capital of a sea "
    "empire. The yellow trams climb its steep roads. They were built a hundred years ago.",
    "bread": "Flour, water and salt make a dough. Knead it for ten minutes and let it rest. "
    "Bake it half an hour in a hot oven. The crust has to be brown.",
    "boats": "A sloop has one mast. A ketch has two of them, and the second is shorter. "
    "The spinnaker is a sail that is set before the wind. It is large and light.",
}
FIRST = {  # what is found first, by what is asked
    "trams that climb roads": "The yellow trams",
    "how long in the hot oven": "in a hot oven",
    "which sail of a boat is for the wind behind": "spinnaker",
}

Key = tuple[str | None, str]
"""Source and text of a node."""


def document(topic: str, text: str) -> Document:
    """A document whose metadata is for filters, and not embedded."""
    hidden = ["topic"]
    return Document(
        text=text,
        id_=topic,
        metadata={"topic": topic},
        excluded_embed_metadata_keys=hidden,
        excluded_llm_metadata_keys=hidden,
    )


def documents() -> list[Document]:
    """Some documents, each with several nodes."""
    return [document(topic, text) for topic, text in SOURCES.items()]


@dataclass(frozen=True)
class Oracle:
    """What the engine makes of documents.

    Attributes:
        engine: Embeds.
        dimensions: Of vectors.
        late: Whether chunks are embedded in their document.
    """

    engine: Engine
    dimensions: int
    late: bool

    def vectors(self, sources: Iterable[Document], **splitting: Any) -> dict[Key, np.ndarray]:
        """Of each node of some documents, its vector."""
        found: dict[Key, np.ndarray] = {}
        for source in sources:
            nodes: list[Any] = sentence_splitter(**splitting)([source])
            spans = [(node.start_char_idx, node.end_char_idx) for node in nodes]
            texts = [source.text[start:stop] for start, stop in spans]
            assert texts == [node.text for node in nodes]
            if self.late:
                (made,) = self.engine.embed_chunks(
                    [ChunkedText(source.text, spans)], dimensions=self.dimensions
                )
                rows = made.vectors
            else:
                rows = self.engine.embed_documents(texts, dimensions=self.dimensions).vectors
            found |= {(source.node_id, text): row for text, row in zip(texts, rows, strict=True)}
        return found

    def ranking(self, question: str, vectors: dict[Key, np.ndarray]) -> list[tuple[str, float]]:
        """Texts and scores, the best first."""
        (query,) = self.engine.embed_queries([question], dimensions=self.dimensions).vectors
        scores = [(key[1], float(vector @ query)) for key, vector in vectors.items()]
        return sorted(scores, key=lambda pair: -pair[1])


@dataclass
class Embedded:
    """What engines were asked for since `clear`, wherever it was embedded.

    Attributes:
        documents: Texts that were embedded on their own, and documents with their chunks.
        queries: Texts that were embedded as queries.
    """

    documents: list[str] = field(default_factory=list)
    queries: list[str] = field(default_factory=list)

    def watch(self, engine: type[Engine], patch: Callable[[Any, str, Any], None]) -> None:
        """Take note of what an engine does."""
        embed, embed_chunks = engine.embed, engine.embed_chunks

        def noted(self_: Engine, texts: Sequence[str], **options: Any) -> Any:
            is_query = options.get("task") == "retrieval.query"
            (self.queries if is_query else self.documents).extend(texts)
            return embed(self_, texts, **options)

        def noted_chunks(self_: Engine, texts: Sequence[ChunkedText], **options: Any) -> Any:
            self.documents.extend(text.text for text in texts)
            return embed_chunks(self_, texts, **options)

        patch(engine, "embed", noted)
        patch(engine, "embed_chunks", noted_chunks)

    def clear(self) -> None:
        """Forget it."""
        self.documents.clear()
        self.queries.clear()


class MilvusStore(BasePydanticVectorStore):
    """The least store over Milvus' own client: nodes are rows, and filters are equalities."""

    stores_text: bool = True
    flat_metadata: bool = True
    file: str
    dim: int
    _client: Any = None

    def model_post_init(self, context: object) -> None:
        from pymilvus import MilvusClient

        super().model_post_init(context)
        self._client = MilvusClient(self.file)
        if not self._client.has_collection("docs"):
            self._client.create_collection(
                "docs", dimension=self.dim, metric_type="IP", id_type="string", max_length=64
            )
        self._client.load_collection("docs")

    @property
    def client(self) -> Any:
        return self._client

    def add(self, nodes: Sequence[BaseNode], **_: Any) -> list[str]:
        rows = [
            {
                "id": node.node_id,
                "vector": node.get_embedding(),
                "ref": node.ref_doc_id,
                "node": json.dumps(node_to_metadata_dict(node, flat_metadata=True)),
                **node.metadata,
            }
            for node in nodes
        ]
        self._client.insert("docs", rows)
        return [node.node_id for node in nodes]

    def delete(self, ref_doc_id: str, **_: Any) -> None:
        self._client.delete("docs", filter=f"ref == {json.dumps(ref_doc_id)}")

    def query(self, query: VectorStoreQuery, **_: Any) -> VectorStoreQueryResult:
        wanted = query.filters.filters if query.filters else []
        (hits,) = self._client.search(
            "docs",
            data=[query.query_embedding],
            limit=query.similarity_top_k,
            filter=" and ".join(f"{one.key} == {json.dumps(one.value)}" for one in wanted),
            output_fields=["node"],
        )
        return VectorStoreQueryResult(
            nodes=[metadata_dict_to_node(json.loads(hit["entity"]["node"])) for hit in hits],
            similarities=[hit["distance"] for hit in hits],
            ids=[hit["id"] for hit in hits],
        )

    def rows(self) -> list[tuple[TextNode, list[float]]]:
        """All nodes with their vectors."""
        found = self._client.query("docs", filter="id != ''", output_fields=["vector", "node"])
        return [(metadata_dict_to_node(json.loads(one["node"])), one["vector"]) for one in found]

    def close(self) -> None:
        """Let others open the file; its server stays until it is told to go."""
        from milvus_lite.server_manager import server_manager_instance

        self._client.close()
        server_manager_instance.release_server(self.file)


def in_points(points: Iterable[Any]) -> dict[Key, list[float]]:
    """The vectors of nodes in Qdrant."""
    return _by_key([(metadata_dict_to_node(point.payload), point.vector) for point in points])


def _by_key(pairs: Sequence[tuple[Any, list[float]]]) -> dict[Key, list[float]]:
    found = {(node.ref_doc_id, node.text): list(vector) for node, vector in pairs}
    assert len(found) == len(pairs), "a node is there twice"
    return found


@dataclass
class Place:
    """Somewhere to keep nodes.

    Attributes:
        kind: What.
        folder: Where it may put files.
    """

    kind: str
    folder: Path

    def store(self, dim: int) -> Any:
        """A vector store; one that was here before, if this place outlives stores."""
        if self.kind == "simple":
            return SimpleVectorStore()
        if self.kind == "milvus":
            return MilvusStore(file=str(self.folder / "milvus.db"), dim=dim)
        where = {"path": str(self.folder)} if "path" in self.kind else {"location": ":memory:"}
        if "async" in self.kind:
            return QdrantVectorStore("docs", aclient=AsyncQdrantClient(**where))
        return QdrantVectorStore("docs", client=QdrantClient(**where))

    def index(self, embed_model: Any, transformations: Sequence[Any]) -> VectorStoreIndex:
        """An empty index."""
        context = StorageContext.from_defaults(vector_store=self.store(embed_model.embedding_dim))
        return VectorStoreIndex(
            [],
            storage_context=context,
            embed_model=embed_model,
            transformations=list(transformations),
        )

    def reopened(
        self, index: VectorStoreIndex, embed_model: Any, transformations: Sequence[Any]
    ) -> VectorStoreIndex:
        """The index as somebody else finds it, with another embedding model."""
        options = {"embed_model": embed_model, "transformations": list(transformations)}
        if self.kind == "simple":
            index.storage_context.persist(persist_dir=str(self.folder))
            context = StorageContext.from_defaults(persist_dir=str(self.folder))
            return load_index_from_storage(context, **options)
        store = index.vector_store
        if "memory" not in self.kind:
            self.leave(index)
            store = self.store(embed_model.embedding_dim)
        elif "async" in self.kind:
            store = QdrantVectorStore("docs", aclient=store._aclient)
        else:
            store = QdrantVectorStore("docs", client=store.client)
        return VectorStoreIndex.from_vector_store(store, **options)

    def stored(self, index: VectorStoreIndex) -> dict[Key, list[float]]:
        """All vectors of a store that is read without an event loop."""
        if self.kind == "simple":
            return in_index(index)
        if self.kind == "milvus":
            return _by_key(index.vector_store.rows())
        points, _ = index.vector_store.client.scroll("docs", limit=1000, with_vectors=True)
        return in_points(points)

    def leave(self, index: VectorStoreIndex) -> None:
        """Let others open what is kept here."""
        if self.kind == "milvus":
            index.vector_store.close()
        elif self.kind in (":memory:", "path"):
            index.vector_store.client.close()
