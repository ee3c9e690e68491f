"""LlamaIndex: files into Qdrant with late chunking, and questions to them.

    pip install '.[llama-index]' llama-index-vector-stores-qdrant
    python examples/llama_index_qdrant.py [--model MODEL] [--files FOLDER] [--path FOLDER]
        [QUESTION ...]

The default model is a small one for trying things out, and not jina-embeddings-v3.
Without a path, Qdrant forgets. With one, files that have not changed are not embedded again.
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path

from llama_index.core import SimpleDirectoryReader, VectorStoreIndex
from llama_index.core.ingestion import IngestionPipeline
from llama_index.core.node_parser import SentenceSplitter
from llama_index.core.storage.docstore import SimpleDocumentStore
from llama_index.embeddings.jina_local import JinaV3Embedding
from llama_index.vector_stores.qdrant import QdrantVectorStore
from qdrant_client import QdrantClient

EXAMPLES = Path(__file__).parent


def main() -> None:
    """Index text files and search them."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--model", default="demo", help="a folder, a name on the hub, or demo")
    parser.add_argument("--files", type=Path, default=EXAMPLES, help="folder with .txt files")
    parser.add_argument("--path", type=Path, help="folder for what is indexed")
    parser.add_argument("--chunk-size", type=int, default=50, help="in tokens of tiktoken")
    parser.add_argument("questions", nargs="*", metavar="QUESTION")
    arguments = parser.parse_args()
    questions = arguments.questions or ["Which trams climb the streets of Lisbon?"]

    embed_model = JinaV3Embedding(model=arguments.model, late_chunking=True)
    splitter = SentenceSplitter(chunk_size=arguments.chunk_size, chunk_overlap=0)
    documents = SimpleDirectoryReader(
        arguments.files,
        required_exts=[".txt"],
        recursive=True,
        filename_as_id=True,  # the docstore knows files by their ids
        file_metadata=lambda path: {"file_name": Path(path).name},  # else paths are embedded
    ).load_data()

    docstore, known, client = SimpleDocumentStore(), None, QdrantClient(":memory:")
    if arguments.path:
        folder = arguments.path / re.sub(r"\W+", "-", arguments.model)  # one index per model
        client = QdrantClient(path=str(folder))
        known = folder / "documents.json"
        if known.exists():
            docstore = SimpleDocumentStore.from_persist_path(str(known))

    store = QdrantVectorStore("texts", client=client)
    pipeline = IngestionPipeline(
        transformations=[splitter, embed_model],
        vector_store=store,
        docstore=docstore,
        docstore_strategy="upserts_and_delete",
    )
    nodes = pipeline.run(documents=documents)
    if known:
        docstore.persist(str(known))
    print(len(nodes), "new chunks of", len({node.ref_doc_id for node in nodes}), "files")

    index = VectorStoreIndex.from_vector_store(store, embed_model=embed_model)
    retriever = index.as_retriever(similarity_top_k=3)  # a query engine needs a language model
    for question in questions:
        print(question)
        for hit in retriever.retrieve(question):
            text = " ".join(hit.text.split())
            print(f"{hit.score:.2f}  {hit.metadata['file_name']}: {text}")

    client.close()


if __name__ == "__main__":
    main()
