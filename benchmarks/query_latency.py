"""Milliseconds of one query of 20 tokens on the processor, with narrowed and with plain weights.

Random weights of the published size, float32, both in one process and in turns.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.full_size import full_size_checkpoint
from benchmarks.other_products import with_products

if TYPE_CHECKING:
    from jina_local import Engine

__all__ = ["measure"]

_QUESTION = "how are embeddings of long documents computed in their context"
_TOKENS = 20
_ROUNDS, _IN_A_ROW = 8, 8


def measure() -> dict[str, object]:
    """Both at the median and at the 99th percentile, and one over the other."""
    from jina_local import Engine
    from jina_local.products import PlainProduct

    with full_size_checkpoint() as folder:
        engine = Engine.load(folder, device="cpu", dtype="float32")
    query = _query(engine)
    engines = {"plain": with_products(engine, PlainProduct), "narrowed": engine}
    taken: dict[str, list[float]] = {name: [] for name in engines}
    ratios = []
    for _ in range(_ROUNDS):
        medians = {}
        for name, engine in engines.items():
            some = _milliseconds(engine, query)
            taken[name] += some
            medians[name] = np.median(some)
        ratios.append(medians["narrowed"] / medians["plain"])
    percentiles = {name: np.percentile(some, [50, 99]) for name, some in taken.items()}
    return {
        "tokens": int(engine.embed_queries([query]).token_counts[0]),
        **{
            f"{name}, ms": {"p50": round(float(p50), 1), "p99": round(float(p99), 1)}
            for name, (p50, p99) in percentiles.items()
        },
        "narrowed over plain": {
            "median": round(float(np.median(ratios)), 2),
            "least": round(float(min(ratios)), 2),
            "most": round(float(max(ratios)), 2),
        },
    }


def _query(engine: Engine) -> str:
    """A question of 20 tokens at most, with `<s>`, its instruction and `</s>`."""
    words = _QUESTION.split()
    while engine.embed_queries([" ".join(words)]).token_counts[0] > _TOKENS:
        words.pop()
    return " ".join(words)


def _milliseconds(engine: Engine, query: str) -> list[float]:
    engine.embed_queries([query])
    found = []
    for _ in range(_IN_A_ROW):
        start = time.perf_counter()
        engine.embed_queries([query])
        found.append(1000 * (time.perf_counter() - start))
    return found
