"""How far bfloat16 vectors are from float32 ones, on a random checkpoint of the published size."""

from __future__ import annotations

import random
import time

import numpy as np

from benchmarks.full_size import full_size_checkpoint

__all__ = ["measure"]

_LENGTHS = (3, 6, 12, 24, 48)


def measure() -> dict[str, object]:
    """Cosines over texts of many lengths under every task and none, and the speed of each dtype."""
    from jina_local import Engine

    with full_size_checkpoint() as folder:
        vectors, tokens_per_second, tasks = {}, {}, []
        for dtype in ("float32", "bfloat16"):
            with Engine.load(folder, device="cpu", dtype=dtype) as engine:
                texts = _texts()
                modes = [None, *engine.tasks]
                tasks = [modes[i % len(modes)] for i in range(len(texts))]
                start = time.perf_counter()
                embeddings = engine.embed(texts, task=tasks)
                seconds = time.perf_counter() - start
                vectors[dtype] = embeddings.vectors
                tokens_per_second[dtype] = round(embeddings.token_counts.sum() / seconds)
    cosines = (vectors["float32"] * vectors["bfloat16"]).sum(axis=1)
    return {
        "texts": len(cosines),
        "mean_cosine": round(float(cosines.mean()), 7),
        "worst_cosine": round(float(cosines.min()), 7),
        "tokens_per_second": tokens_per_second,
        "mean_cosine_of_two_texts": _mean_cosine_of_two(vectors["float32"]),
    }


def _mean_cosine_of_two(vectors: np.ndarray) -> float:
    cosines = vectors @ vectors.T
    return round(float(cosines[np.triu_indices(len(vectors), k=1)].mean()), 4)


def _texts() -> list[str]:
    choose = random.Random(0)  # noqa: S311 - a seeded choice of words
    letters = "abcdefghijklmnopqrstuvwxyz"
    words = ["".join(choose.choices(letters, k=choose.randint(2, 8))) for _ in range(500)]
    return [
        " ".join(choose.choices(words, k=length)) for length in _LENGTHS for _ in range(6)
    ]  # every mode
