"""Tokens per second of each dtype, and of float32 left to PyTorch, on the processor, in turns.

At v3's width with 4 of its 24 layers, mixed passages, random weights, one process.
"""

from __future__ import annotations

import time
from contextlib import ExitStack

import numpy as np

from benchmarks.full_size import full_size_checkpoint
from benchmarks.other_products import with_products
from benchmarks.throughput_texts import make_workloads

__all__ = ["measure"]

_LAYERS, _TEXTS, _ROUNDS = 4, 12, 5
_DTYPES = ("float32", "bfloat16", "float16")


def measure() -> dict[str, object]:
    """Rates at the median, and over float32's of the same round: median, least and most."""
    from jina_local import Engine
    from jina_local.products import PlainProduct

    with full_size_checkpoint(_LAYERS) as folder, ExitStack() as stack:
        engines = {
            dtype: stack.enter_context(Engine.load(folder, device="cpu", dtype=dtype))
            for dtype in _DTYPES
        }
        engines["float32, plain"] = with_products(engines["float32"], PlainProduct)
        count = engines["float32"].tokenize
        workload = make_workloads(lambda text: len(count(text)), texts=_TEXTS, longest=512)[1]
        rates: dict[str, list[float]] = {name: [] for name in engines}
        for turn in range(_ROUNDS + 1):
            for name, engine in engines.items():
                start = time.perf_counter()
                tokens = engine.embed(list(workload.texts)).token_counts.sum()
                if turn:  # the first is to get warm
                    rates[name].append(tokens / (time.perf_counter() - start))
    base = np.array(rates["float32"])
    return {
        name: {
            "tokens_per_second": round(float(np.median(some))),
            "over_float32": [round(float(f(some / base)), 2) for f in (np.median, np.min, np.max)],
        }
        for name, some in rates.items()
    }
