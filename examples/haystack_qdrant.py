"""Haystack: late chunking into Qdrant, with filters and an event loop that is never blocked.

    pip install '.[haystack]' qdrant-haystack
    python examples/haystack_qdrant.py [--model MODEL] [--url URL] [--only FILE] [QUESTION]

The default model is a small one for trying things out, and not jina-embeddings-v3.
Without a URL, Qdrant runs in this process, and forgets.
"""

from __future__ import annotations

import argparse
import asyncio
from pathlib import Path

from haystack import Pipeline
from haystack.components.converters import TextFileToDocument
from haystack.components.preprocessors import DocumentSplitter
from haystack.components.writers import DocumentWriter
from haystack.document_stores.types import DuplicatePolicy
from haystack_integrations.components.retrievers.qdrant import QdrantEmbeddingRetriever
from haystack_integrations.document_stores.qdrant import QdrantDocumentStore

from haystack_integrations.components.embedders.jina_local import (
    JinaLocalDocumentEmbedder,
    JinaLocalTextEmbedder,
)

FILES = sorted(Path(__file__).parent.glob("*.txt"))


async def main() -> None:
    """Index the text files of this folder and search them."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--model", default="demo", help="a folder, a name on the hub, or demo")
    parser.add_argument("--url", help="of a Qdrant server")
    parser.add_argument("--only", metavar="FILE", help="search the chunks of one file")
    parser.add_argument("question", nargs="?", default="Which trams climb the streets of Lisbon?")
    arguments = parser.parse_args()

    embedder = JinaLocalDocumentEmbedder(model=arguments.model, late_chunking=True)
    store = QdrantDocumentStore(
        url=arguments.url,
        location=None if arguments.url else ":memory:",
        index="jina-local-example",
        embedding_dim=embedder.embedding_dim,
    )

    index = Pipeline()
    index.add_component("converter", TextFileToDocument())
    index.add_component("splitter", DocumentSplitter(split_by="line", split_length=1))
    index.add_component("embedder", embedder)
    index.add_component("writer", DocumentWriter(store, policy=DuplicatePolicy.OVERWRITE))
    index.connect("converter.documents", "splitter.documents")
    index.connect("converter.documents", "embedder.source_documents")  # the context of the chunks
    index.connect("splitter.documents", "embedder.documents")
    index.connect("embedder.documents", "writer.documents")

    query = Pipeline()
    query.add_component("text_embedder", JinaLocalTextEmbedder(model=arguments.model))
    query.add_component("retriever", QdrantEmbeddingRetriever(document_store=store, top_k=3))
    query.connect("text_embedder.embedding", "retriever.query_embedding")

    result = await index.run_async({"converter": {"sources": FILES}})
    print(result["writer"]["documents_written"], "chunks of", len(FILES), "files")
    filters = {"field": "meta.file_path", "operator": "==", "value": arguments.only}
    found = await query.run_async(
        {
            "text_embedder": {"text": arguments.question},
            "retriever": {"filters": filters if arguments.only else None},
        }
    )
    print(arguments.question)
    for hit in found["retriever"]["documents"]:
        print(f"{hit.score:.2f}  {str(hit.content).strip()}")

    await query.close_async()
    await index.close_async()


if __name__ == "__main__":
    asyncio.run(main())
