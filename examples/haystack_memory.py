"""Haystack: late chunking into an InMemoryDocumentStore, and a search.

    pip install '.[haystack]'
    python examples/haystack_memory.py [--model MODEL] [QUESTION]

The default model is a small one for trying things out, and not jina-embeddings-v3.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from haystack import Pipeline
from haystack.components.converters import TextFileToDocument
from haystack.components.preprocessors import DocumentSplitter
from haystack.components.retrievers import InMemoryEmbeddingRetriever
from haystack.components.writers import DocumentWriter
from haystack.document_stores.in_memory import InMemoryDocumentStore

from haystack_integrations.components.embedders.jina_local import (
    JinaLocalDocumentEmbedder,
    JinaLocalTextEmbedder,
)

FILES = sorted(Path(__file__).parent.glob("*.txt"))


def main() -> None:
    """Index the text files of this folder and search them."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--model", default="demo", help="a folder, a name on the hub, or demo")
    parser.add_argument("question", nargs="?", default="Which trams climb the streets of Lisbon?")
    arguments = parser.parse_args()

    store = InMemoryDocumentStore()

    index = Pipeline()
    index.add_component("converter", TextFileToDocument())
    index.add_component("splitter", DocumentSplitter(split_by="line", split_length=1))
    index.add_component(
        "embedder", JinaLocalDocumentEmbedder(model=arguments.model, late_chunking=True)
    )
    index.add_component("writer", DocumentWriter(store))
    index.connect("converter.documents", "splitter.documents")
    index.connect("converter.documents", "embedder.source_documents")  # the context of the chunks
    index.connect("splitter.documents", "embedder.documents")
    index.connect("embedder.documents", "writer.documents")

    query = Pipeline()
    query.add_component("text_embedder", JinaLocalTextEmbedder(model=arguments.model))
    query.add_component("retriever", InMemoryEmbeddingRetriever(store, top_k=3))
    query.connect("text_embedder.embedding", "retriever.query_embedding")

    result = index.run({"converter": {"sources": FILES}})
    print(result["writer"]["documents_written"], "chunks of", len(FILES), "files")
    found = query.run({"text_embedder": {"text": arguments.question}})
    print(arguments.question)
    for hit in found["retriever"]["documents"]:
        print(f"{hit.score:.2f}  {str(hit.content).strip()}")

    query.close()
    index.close()


if __name__ == "__main__":
    main()
