"""Qdrant: text files in with late chunking, questions to them, and a check of the index.

    pip install '.[qdrant]'
    python examples/qdrant_ingest.py [--model MODEL] [--files FOLDER] [--path FOLDER | --url URL]
        [QUESTION ...]

The default model is a small one for trying things out, and not jina-embeddings-v3.
Without a path and a URL, Qdrant runs in this process, and forgets. With one, files that have not
changed are not embedded again, and what was interrupted goes on.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from qdrant_client import QdrantClient

from jina_local import Engine
from jina_local_qdrant import Document, EmbeddingSpec, JinaQdrant

EXAMPLES = Path(__file__).parent


def main() -> int:
    """Index text files, search them, and check that the index is right."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--model", default="demo", help="a folder, a name on the hub, or demo")
    parser.add_argument("--files", type=Path, default=EXAMPLES, help="folder with .txt files")
    place = parser.add_mutually_exclusive_group()
    place.add_argument("--path", type=Path, help="folder for what is indexed")
    place.add_argument("--url", help="of a Qdrant server")
    parser.add_argument("--chunk-tokens", type=int, default=32, help="the most tokens of a chunk")
    parser.add_argument("questions", nargs="*", metavar="QUESTION")
    arguments = parser.parse_args()
    questions = arguments.questions or ["Which trams climb the streets of Lisbon?"]

    if arguments.path:
        client = QdrantClient(path=str(arguments.path))
    else:
        client = QdrantClient(url=arguments.url) if arguments.url else QdrantClient(":memory:")
    with Engine.load(arguments.model) as engine:
        index = JinaQdrant(
            client, "texts", engine, EmbeddingSpec(chunk_tokens=arguments.chunk_tokens)
        )
        report = index.sync(
            read_documents(arguments.files), delete_missing=True, max_delete_fraction=0.5
        )
        ingested = report.ingested
        print(f"{ingested.embedded} files embedded, {ingested.skipped} unchanged", end=", ")
        print(f"{report.deleted_documents} deleted: {index.count()} chunks")
        for question, hits in zip(questions, index.search_batch(questions, limit=3), strict=True):
            print(question)
            for hit in hits:
                print(f"{hit.score:.2f}  {hit.doc_id}: {' '.join(hit.text.split())}")
        checked = index.verify()
    print("\n".join(checked.problems()) or f"verified: {checked.documents} documents")
    client.close()
    return 0 if checked.ok else 1


def read_documents(folder: Path) -> list[Document]:
    """The text files of a folder; their names are their ids."""
    return [
        {
            "id": path.relative_to(folder).as_posix(),
            "text": path.read_text(encoding="utf-8"),
            "metadata": {"bytes": path.stat().st_size},
        }
        for path in sorted(folder.rglob("*.txt"))
    ]


if __name__ == "__main__":
    raise SystemExit(main())
