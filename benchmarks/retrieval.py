"""The demo model on the standard library's documentation, against BM25.

48 questions with the module that answers each (`stdlib_questions.json`), written before anything
was run. A question counts as answered at k if one of its k best passages is of that module or of
one inside it (`multiprocessing.pool` is of `multiprocessing`).
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import bm25s

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jina_local_qdrant import Document

__all__ = ["measure"]

_CUTS = (1, 10)


def measure() -> dict[str, object]:
    """Recall at 1 and 10 of the demo, as `make demo` indexes and searches, and of BM25."""
    from jina_local_eval.stdlib_set import STDLIB_QUESTIONS
    from jina_local_qdrant.stdlib_docs import stdlib_passages

    questions = json.loads(STDLIB_QUESTIONS.read_text())
    passages = list(stdlib_passages())
    queries = [question["question"] for question in questions]
    wanted = [question["modules"] for question in questions]
    return {
        "questions": len(questions),
        "passages": len(passages),
        "demo model": _recall(_demo_modules(passages, queries), wanted),
        "BM25": _recall(_bm25_modules(passages, queries), wanted),
    }


def _demo_modules(passages: Sequence[Document], queries: Sequence[str]) -> list[list[str]]:
    """The modules of the best chunks for each query."""
    from qdrant_client import QdrantClient

    from jina_local import Engine
    from jina_local_qdrant import JinaQdrant

    with Engine.load("demo", device="cpu") as engine:
        index = JinaQdrant(QdrantClient(":memory:"), "python-stdlib", engine)
        index.ingest(passages)
        answers = index.search_batch(queries, limit=max(_CUTS))
    return [[hit.metadata["module"] for hit in hits] for hits in answers]


def _bm25_modules(passages: Sequence[Document], queries: Sequence[str]) -> list[list[str]]:
    """The modules of the best passages for each query."""
    retriever = bm25s.BM25()
    texts = [passage["text"] for passage in passages]
    retriever.index(bm25s.tokenize(texts, show_progress=False), show_progress=False)
    tokens = bm25s.tokenize(list(queries), show_progress=False)
    found, _ = retriever.retrieve(tokens, k=max(_CUTS), show_progress=False)
    return [[passages[i]["metadata"]["module"] for i in best] for best in found]


def _recall(found: Sequence[Sequence[str]], wanted: Sequence[Sequence[str]]) -> dict[str, float]:
    """The share of questions with an accepted module among the best k."""
    pairs = list(zip(found, wanted, strict=True))
    return {
        f"recall@{k}": round(
            sum(any(_is_of(module, accepted) for module in best[:k]) for best, accepted in pairs)
            / len(pairs),
            3,
        )
        for k in _CUTS
    }


def _is_of(module: str, accepted: Sequence[str]) -> bool:
    return any(module == name or module.startswith(f"{name}.") for name in accepted)
