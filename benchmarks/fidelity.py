"""How far the vectors of every dtype and way of computing adapters are from float32.

Twice: a random checkpoint of the published size with a few texts, and one of the same depth at a
eighth of its width with two thousand texts of 1 to 2,000 tokens. The reference adds each adapter
to its linear's result in float32, as PEFT does.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.adapter_ways import ways_of
from benchmarks.full_size import full_size_checkpoint
from benchmarks.throughput_texts import Writer

if TYPE_CHECKING:
    from jina_local import Engine

__all__ = ["Workload", "measure"]

_DTYPES = ("float32", "bfloat16")
_REFERENCE = "side path"


@dataclass(frozen=True, slots=True)
class Workload:
    """What is embedded.

    Attributes:
        width: D.
        texts: N, of any length from one token on, short ones more often than long ones.
        longest: Tokens of the longest text, about; `<s>`, `</s>` and instruction not counted.
        n_layers: 24 as published.
        dtypes: Which are measured.
    """

    width: int
    texts: int
    longest: int
    n_layers: int = 24
    dtypes: tuple[str, ...] = _DTYPES


_WORKLOADS = {
    "published size": Workload(width=1024, texts=40, longest=300),
    "an eighth of the width": Workload(width=128, texts=2000, longest=2000),
    "an eighth of the width, fewer texts": Workload(
        width=128, texts=200, longest=2000, dtypes=("float32", "float16")
    ),
}


def measure(workloads: dict[str, Workload] | None = None) -> dict[str, object]:
    """Cosines to the reference, under every task in turn."""
    return {name: _measure_one(workload) for name, workload in (workloads or _WORKLOADS).items()}


def _measure_one(workload: Workload) -> dict[str, object]:
    from jina_local import Engine

    found: dict[str, object] = {}
    with full_size_checkpoint(workload.n_layers, workload.width) as folder:
        reference = None
        for dtype in workload.dtypes:
            with Engine.load(folder, device="cpu", dtype=dtype) as engine:
                tasks = list(engine.tasks)
                texts = _texts(engine, workload)
                used = [tasks[i % len(tasks)] for i in range(len(texts))]
                vectors = {name: way(texts, used) for name, way in ways_of(engine).items()}
                tokens = [len(engine.tokenize(text)) for text in texts]
            if reference is None:
                reference = vectors[_REFERENCE]
                found["width"] = workload.width
                found["texts"] = len(texts)
                found["tokens"] = {
                    "shortest": min(tokens),
                    "longest": max(tokens),
                    "all": sum(tokens),
                }
                found["mean cosine of two texts"] = _mean_cosine_of_two(reference)
            cosines = {name: (rows * reference).sum(axis=1) for name, rows in vectors.items()}
            found[dtype] = {
                name: {
                    "worst": round(float(some.min()), 7),
                    "mean": round(float(some.mean()), 7),
                }
                for name, some in cosines.items()
            }
    return found


def _texts(engine: Engine, workload: Workload) -> list[str]:
    choose = random.Random(0)  # noqa: S311 - the same texts every time
    writer = Writer(choose, lambda text: len(engine.tokenize(text)))
    most = math.log(workload.longest)
    return [
        writer.text(round(math.exp(most * choose.random() ** 2))) for _ in range(workload.texts)
    ]


def _mean_cosine_of_two(vectors: np.ndarray) -> float:
    some = vectors[:200]
    cosines = some @ some.T
    return round(float(cosines[np.triu_indices(len(some), k=1)].mean()), 4)
