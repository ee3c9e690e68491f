"""What the tests of the LlamaIndex classes have in common."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np
from llama_index.core import Document
from llama_index.core.ingestion import IngestionPipeline
from llama_index.core.node_parser import SentenceSplitter
from llama_index.core.schema import MetadataMode
from llama_index.embeddings.jina_local import JinaV3Embedding

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from llama_index.core import VectorStoreIndex
    from llama_index.core.schema import BaseNode, TransformComponent

__all__ = [
    "assert_same",
    "by_text",
    "demo_embedding",
    "documents_about",
    "in_index",
    "ingest",
    "rows",
    "sentence_splitter",
    "sentences",
    "text_of",
]


def sentences(text: str) -> list[str]:
    """The sentences of a text; put together, they are the text."""
    return re.findall(r".+?(?:[.!?]\s+|。\s*|\Z)", text, flags=re.DOTALL)


def sentence_splitter(**options: Any) -> SentenceSplitter:
    """A sentence splitter that finds sentences without NLTK's data, which 0.13 downloads."""
    return SentenceSplitter(
        **{"chunk_size": 64, "chunk_overlap": 0, "chunking_tokenizer_fn": sentences} | options
    )


def demo_embedding(**options: Any) -> JinaV3Embedding:
    """An embedding model over the demo model, in float32."""
    return JinaV3Embedding(**{"model": "demo", "device": "cpu", "dtype": "float32"} | options)


def documents_about(*topics: str, n_sentences: int = 24) -> list[Document]:
    """One document about each topic, with an id and a name; no sentence of them is like another."""
    return [
        Document(
            text=" ".join(
                f"Sentence {i} about {topic} says that it has property {i * i}."
                for i in range(n_sentences)
            ),
            id_=f"document-{topic}",
            metadata={"file_name": f"{topic}.txt"},
        )
        for topic in topics
    ]


def ingest(
    documents: Sequence[Document], *transformations: TransformComponent
) -> Sequence[BaseNode]:
    """The nodes that a pipeline without a cache makes of documents."""
    pipeline = IngestionPipeline(transformations=list(transformations), disable_cache=True)
    return pipeline.run(documents=documents)


def text_of(node: BaseNode) -> str:
    """The text of a node without its metadata."""
    return node.get_content(metadata_mode=MetadataMode.NONE)


def rows(nodes: Iterable[BaseNode]) -> np.ndarray:
    """Their embeddings."""
    return np.array([node.embedding for node in nodes])


def by_text(nodes: Iterable[BaseNode]) -> dict[tuple[str | None, str], list[float]]:
    """The embeddings of nodes by their source and text, since every run gives them new ids."""
    listed = list(nodes)
    found = {(node.ref_doc_id, text_of(node)): list(node.embedding or ()) for node in listed}
    assert len(found) == len(listed), "two nodes of a document have one text"
    return found


def in_index(index: VectorStoreIndex) -> dict[tuple[str | None, str], list[float]]:
    """The embeddings in an index with a simple store, as `by_text` gives them."""
    stored = index.vector_store.data.embedding_dict
    nodes = index.docstore.docs
    assert stored.keys() == nodes.keys()
    return {(nodes[key].ref_doc_id, text_of(nodes[key])): list(stored[key]) for key in stored}


def assert_same(found: Any, expected: Any, atol: float = 1e-5) -> None:
    """Equal, but for what float32 leaves open; two mappings key by key."""
    if isinstance(expected, dict):
        assert found.keys() == expected.keys()
        found, expected = ([some[key] for key in expected] for some in (found, expected))
    np.testing.assert_allclose(found, expected, atol=atol, rtol=0)
