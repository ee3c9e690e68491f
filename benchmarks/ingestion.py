"""Ingestion end to end against the engine alone, memory over ten times the documents, and hits.

Everything is the standard library's documentation with the demo model. `rate` is chunks per second
of `JinaQdrant.ingest`, from texts to stored points; `engine` is that of `Engine.embed_chunks` on
the same documents with their chunks already known, in turn with it.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from contextlib import nullcontext
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from benchmarks.machine import GIVE_FREED_MEMORY_BACK, peak_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from contextlib import AbstractContextManager

    from jina_local import ChunkedText, Engine
    from jina_local_qdrant import CollectionLayout, Document, JinaQdrant

__all__ = ["measure"]

_STORES = ("memory", "folder", "edge")
_PAIRS = 3
_DOCUMENTS = 1000
_FEW, _MANY = 600, 6000  # more than are under way at once
_HITS = 10


def measure() -> dict[str, object]:
    """Rates per store, memory, and whether every store finds what brute force finds."""
    from jina_local import Engine
    from jina_local_qdrant.stdlib_docs import stdlib_passages

    documents = list(stdlib_passages())[:_DOCUMENTS]
    with Engine.load("demo", device="cpu") as engine:
        pairs = [_pair(engine, documents, "edge") for _ in range(_PAIRS)]
        return {
            "documents": len(documents),
            "edge against the engine": {
                "engine": round(statistics.median(engine for engine, _, _ in pairs)),
                "rate": round(statistics.median(rate for _, rate, _ in pairs)),
                "ratio": round(statistics.median(rate / engine for engine, rate, _ in pairs), 3),
            },
            "stores": {store: _rates(engine, documents[:_FEW], store) for store in _STORES},
            "same hits as brute force": {
                store: _same_hits(engine, documents, store) for store in ("memory", "edge")
            },
            "memory": _memory(),
        }


def _pair(engine: Engine, documents: list[Document], store: str) -> tuple[float, float, int]:
    """Chunks per second of the engine alone and of an ingestion, and the number of chunks."""
    chunked = list(_chunked(engine, documents))
    n_chunks = sum(len(document.spans) for document in chunked)
    alone = _seconds(lambda: engine.embed_chunks(chunked))
    with TemporaryDirectory() as folder:
        index = _index(engine, store, folder)
        seconds = _seconds(lambda: index.ingest(documents))
        index.close()
    return n_chunks / alone, n_chunks / seconds, n_chunks


def _rates(engine: Engine, documents: list[Document], store: str) -> dict[str, float]:
    engine_rate, rate, n_chunks = _pair(engine, documents, store)
    return {
        "chunks": n_chunks,
        "engine": round(engine_rate),
        "rate": round(rate),
        "ratio": round(rate / engine_rate, 3),
    }


def _same_hits(engine: Engine, documents: list[Document], store: str) -> float:
    """The share of questions whose ten hits are those of exact search over the engine's vectors."""
    import numpy as np

    from jina_local_eval.stdlib_set import STDLIB_QUESTIONS
    from jina_local_qdrant.payload import point_id

    chunked = list(_chunked(engine, documents))
    vectors = np.concatenate([one.vectors for one in engine.embed_chunks(chunked)])
    ids = [
        point_id(document["id"], index)
        for document, with_spans in zip(documents, chunked, strict=True)
        for index in range(len(with_spans.spans))
    ]
    questions = [question["question"] for question in json.loads(STDLIB_QUESTIONS.read_text())]
    scores = engine.embed_queries(questions).vectors @ vectors.T
    with TemporaryDirectory() as folder:
        index = _index(engine, store, folder)
        index.ingest(documents)
        found = index.search_batch(questions, limit=_HITS)
        index.close()
    same = [
        {hit.id for hit in hits} == {ids[i] for i in np.argsort(-row)[:_HITS]}
        for hits, row in zip(found, scores, strict=True)
    ]
    return round(sum(same) / len(same), 3)


def _chunked(engine: Engine, documents: list[Document]) -> Iterator[ChunkedText]:
    from jina_local import ChunkedText
    from jina_local_qdrant.splitting import make_splitter

    splitter = make_splitter(engine.tokenizer_json, 256)
    for document in documents:
        yield ChunkedText(document["text"], splitter.spans(document))


def _index(engine: Engine, store: str, folder: str) -> JinaQdrant:
    from qdrant_client import QdrantClient

    from jina_local_qdrant import JinaQdrant

    client = {
        "memory": lambda: QdrantClient(":memory:"),
        "folder": lambda: QdrantClient(path=f"{folder}/index"),
        "edge": lambda: f"edge:{folder}/index",
    }[store]()
    return JinaQdrant(client, "docs", engine)


def _seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def _memory() -> dict[str, object]:
    """Peak of a process that ingests short texts, beyond what it had before, for two numbers."""
    return {
        "a store that keeps nothing": _growth("nothing"),
        "edge, with its mapped files": _growth("edge"),
    }


def _growth(store: str) -> dict[str, float]:
    peaks = {n: _in_a_process(store, n) for n in (_FEW, _MANY)}
    return {
        **{f"{n} documents, MB": peak for n, peak in peaks.items()},
        "ratio": round(peaks[_MANY] / peaks[_FEW], 3),
    }


def _in_a_process(store: str, n_documents: int) -> float:
    command = [sys.executable, "-m", "benchmarks.ingestion", store, str(n_documents)]
    environment = {**os.environ, **GIVE_FREED_MEMORY_BACK}
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    return float(done.stdout)


def _ingest_many(store: str, n_documents: int) -> float:
    import psutil

    from jina_local import Engine

    with Engine.load("demo", device="cpu") as engine, TemporaryDirectory() as folder:
        index = _index(engine, "edge", folder)
        if store == "nothing":
            index.store.close()
            index.store = _Nothing()
        index.ingest([{"id": "warm up", "text": "A few words to begin with. " * 200}])
        before = psutil.Process().memory_info().rss
        index.ingest(
            {"id": str(i), "text": f"Document {i} is about the number {i}. " * 8}
            for i in range(n_documents)
        )
        index.close()
    return round((peak_bytes() - before) / 1e6, 1)


class _Nothing:
    """Takes all writes and keeps none, so that only what the helper keeps is seen."""

    collection = "docs"
    is_local = True

    def exclusive(self) -> AbstractContextManager[object]:
        return nullcontext()

    def description(self) -> None:
        return None

    def ineffective(self, _layout: CollectionLayout) -> list[str]:
        return []

    def retrieve(self, _ids: Sequence[str], **_keys: object) -> dict[str, dict[str, Any]]:
        return {}

    def _take(self, *given: object, **named: object) -> None:
        """Any write."""

    create = create_indexes = set_metadata = set_payload = upsert = delete = close = _take


if __name__ == "__main__":
    print(_ingest_many(sys.argv[1], int(sys.argv[2])))
