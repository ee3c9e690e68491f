"""jina-local against transformers in one process, in turns: a slow minute is slow for both.

Random weights of the published size, float32, mixed passages, transformers with PEFT and batches
sorted by length. `throughput` has more contenders, each in a process of its own.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.contenders import INSTRUCTION, contenders_for
from benchmarks.throughput import native_checkpoint, plan_for
from benchmarks.throughput_texts import make_workloads

if TYPE_CHECKING:
    from benchmarks.throughput import Plan

__all__ = ["measure"]

_NAMES = ("jina-local, float32", "transformers + PEFT, sorted by length, float32")
_ROUNDS = 5


def measure(plan: Plan | None = None) -> dict[str, object]:
    """Rates at the median, and how many times as fast jina-local was in each round."""
    from tokenizers import Tokenizer

    plan = plan or plan_for("cpu")
    contenders = {one.full_name: one for one in contenders_for(plan.device)}
    with native_checkpoint(plan) as folder:
        tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        engines = {name: contenders[name].load(folder, plan.device) for name in _NAMES}
    workload = make_workloads(
        lambda text: len(tokenizer.encode(INSTRUCTION + text).ids),
        texts=plan.texts,
        longest=min(512, plan.longest),
    )[1]
    rates: dict[str, list[float]] = {name: [] for name in _NAMES}
    vectors = {}
    for turn in range(_ROUNDS + 1):
        for name, embed in engines.items():
            start = time.perf_counter()
            vectors[name] = embed(workload.texts)
            if turn:  # the first is to get warm
                rates[name].append(workload.tokens / (time.perf_counter() - start))
    ours, theirs = (np.array(rates[name]) for name in _NAMES)
    return {
        "worst_cosine": round(
            float((vectors[_NAMES[0]] * vectors[_NAMES[1]]).sum(axis=1).min()), 7
        ),
        "tokens_per_second": {name: round(float(np.median(rates[name]))) for name in _NAMES},
        "times_as_fast": {
            "median": round(float(np.median(ours / theirs)), 2),
            "rounds": [round(float(ratio), 2) for ratio in ours / theirs],
        },
    }
