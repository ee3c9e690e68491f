"""The demo model on the standard library's documentation, against BM25.

48 questions with the module that answers each (`stdlib_questions.json`), written before anything
was run. A question counts as answered at k if one of its k best passages is of that module.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import bm25s
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["measure"]

_QUESTIONS = Path(__file__).parent / "stdlib_questions.json"
_CUTS = (1, 10)


def measure() -> dict[str, object]:
    """Recall at 1 and 10 of the demo model, with and without its adapters, and of BM25."""
    from jina_local import Engine
    from jina_local_qdrant.stdlib_docs import stdlib_passages

    questions = json.loads(_QUESTIONS.read_text())
    passages = list(stdlib_passages())
    modules = [passage["metadata"]["module"] for passage in passages]
    texts = [passage["text"] for passage in passages]
    queries = [question["question"] for question in questions]
    wanted = [question["modules"] for question in questions]
    results: dict[str, object] = {"questions": len(questions), "passages": len(passages)}
    with Engine.load("demo", device="cpu") as engine:
        by_task = {
            "demo model, query → passage": ("retrieval.query", "retrieval.passage"),
            "demo model, no adapter": (None, None),
        }
        for name, (query_task, passage_task) in by_task.items():
            documents = engine.embed(texts, task=passage_task).vectors
            scores = engine.embed(queries, task=query_task).vectors @ documents.T
            results[name] = _recall(np.argsort(-scores, axis=1), modules, wanted)
    results["BM25"] = _recall(_bm25_ranking(texts, queries), modules, wanted)
    return results


def _bm25_ranking(texts: Sequence[str], queries: Sequence[str]) -> np.ndarray:
    retriever = bm25s.BM25()
    retriever.index(bm25s.tokenize(texts, show_progress=False), show_progress=False)
    tokens = bm25s.tokenize(list(queries), show_progress=False)
    found, _ = retriever.retrieve(tokens, k=max(_CUTS), show_progress=False)
    return np.asarray(found)


def _recall(
    ranking: np.ndarray, modules: Sequence[str], wanted: Sequence[Sequence[str]]
) -> dict[str, float]:
    return {
        f"recall@{k}": round(
            sum(
                any(modules[passage] in accepted for passage in best[:k])
                for best, accepted in zip(ranking, wanted, strict=True)
            )
            / len(wanted),
            3,
        )
        for k in _CUTS
    }
