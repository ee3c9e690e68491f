"""Milliseconds of one query at a time, on the processor: plain and prepacked weights, and a peer.

Random weights of the published size; each way in a process of its own, checked against
transformers first. See `benchmarks.throughput`.
"""

from __future__ import annotations

from benchmarks.throughput import Plan
from benchmarks.throughput import measure as measure_throughput

__all__ = ["measure"]

_WAYS = (
    "transformers + PEFT, float32",
    "jina-local, float32",
    "jina-local, prepacked, float32",
    "onnxruntime, sorted by length, float32",
)


def measure() -> dict[str, object]:
    """What each way takes at the median and at worst of a hundred."""
    plan = Plan("cpu", texts=8, longest=64, queries=100, only=_WAYS, single_queries_only=True)
    rows = measure_throughput(plan)["contenders"]
    return {
        f"{row['name']}, {row['dtype']}": row.get("one_query_ms", row.get("skipped"))
        for row in rows  # type: ignore[attr-defined]
        if row.get("skipped") != "not asked for"
    }
