"""Haystack: late chunking into Milvus Lite, a file, and a pipeline that comes back from YAML.

    pip install '.[haystack]' milvus-haystack milvus-lite
    python examples/haystack_milvus.py [--model MODEL] [--file FILE] [QUESTION]

The default model is a small one for trying things out, and not jina-embeddings-v3.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from haystack import Pipeline
from haystack.components.converters import TextFileToDocument
from haystack.components.preprocessors import DocumentSplitter
from haystack.components.writers import DocumentWriter
from milvus_haystack import MilvusDocumentStore, MilvusEmbeddingRetriever

from haystack_integrations.components.embedders.jina_local import (
    JinaLocalDocumentEmbedder,
    JinaLocalTextEmbedder,
)

FILES = sorted(Path(__file__).parent.glob("*.txt"))


def main() -> None:
    """Index the text files of this folder and search them."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--model", default="demo", help="a folder, a name on the hub, or demo")
    parser.add_argument("--file", type=Path, help="of Milvus Lite; a temporary one by default")
    parser.add_argument("question", nargs="?", default="Which trams climb the streets of Lisbon?")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        file = arguments.file or Path(folder) / "milvus.db"
        index_and_search(arguments.model, file, arguments.question)


def index_and_search(model: str, file: Path, question: str) -> None:
    """Write the chunks to a file, anew, and search it."""
    store = MilvusDocumentStore(connection_args={"uri": str(file)}, drop_old=True)

    index = Pipeline()
    index.add_component("converter", TextFileToDocument())
    index.add_component("splitter", DocumentSplitter(split_by="line", split_length=1))
    index.add_component("embedder", JinaLocalDocumentEmbedder(model=model, late_chunking=True))
    index.add_component("writer", DocumentWriter(store))
    index.connect("converter.documents", "splitter.documents")
    index.connect("converter.documents", "embedder.source_documents")  # the context of the chunks
    index.connect("splitter.documents", "embedder.documents")
    index.connect("embedder.documents", "writer.documents")
    result = index.run({"converter": {"sources": FILES}})
    print(result["writer"]["documents_written"], "chunks of", len(FILES), "files")
    index.close()

    query = Pipeline()
    query.add_component("text_embedder", JinaLocalTextEmbedder(model=model))
    query.add_component("retriever", MilvusEmbeddingRetriever(document_store=store, top_k=3))
    query.connect("text_embedder.embedding", "retriever.query_embedding")
    written = query.dumps()
    store.client.close()

    # Haystack loads from its own namespaces alone: those of other packages have to be named.
    query = Pipeline.loads(written, allowed_modules=["milvus_haystack"])
    found = query.run({"text_embedder": {"text": question}})
    print(question)
    for hit in found["retriever"]["documents"]:  # Milvus's scores are from 0 to 1
        print(f"{hit.score:.2f}  {str(hit.content).strip()}")
    query.close()


if __name__ == "__main__":
    main()
