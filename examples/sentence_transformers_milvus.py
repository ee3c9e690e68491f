"""Milvus Lite, a file: what takes any sentence-transformers model takes the loaded one.

    pip install '.[sentence-transformers]' pymilvus milvus-lite
    python examples/sentence_transformers_milvus.py [--model MODEL] [--file FILE] [QUESTION]

The default model is a small one for trying things out, and not jina-embeddings-v3.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from pymilvus import MilvusClient

from jina_local_sentence_transformers import load

FILES = sorted(Path(__file__).parent.glob("*.txt"))
COLLECTION = "lines"


def main() -> None:
    """Index the lines of the text files of this folder and search them."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--model", default="demo", help="a folder, a name on the hub, or demo")
    parser.add_argument("--file", type=Path, help="of Milvus Lite; a temporary one by default")
    parser.add_argument("question", nargs="?", default="Which trams climb the streets of Lisbon?")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        file = arguments.file or Path(folder) / "milvus.db"
        index_and_search(arguments.model, file, arguments.question)


def index_and_search(source: str, file: Path, question: str) -> None:
    """Write the lines to a file, anew, and search it."""
    model = load(source)
    lines = [line for path in FILES for line in path.read_text(encoding="utf-8").splitlines()]
    vectors = model.encode_document(lines)
    client = MilvusClient(str(file))
    client.drop_collection(COLLECTION)
    client.create_collection(COLLECTION, dimension=vectors.shape[1], metric_type="COSINE")
    rows = zip(lines, vectors, strict=True)
    client.insert(
        COLLECTION,
        [{"id": id_, "vector": vector, "text": text} for id_, (text, vector) in enumerate(rows)],
    )
    print(len(lines), "lines of", len(FILES), "files")

    (found,) = client.search(
        COLLECTION, model.encode_query([question]), limit=3, output_fields=["text"]
    )
    print(question)
    for hit in found:
        print(f"{hit['distance']:.2f}  {hit['entity']['text']}")
    client.close()


if __name__ == "__main__":
    main()
