"""What the ways of computing an adapter cost, at v3's width, for texts of one task and of five."""

from __future__ import annotations

import random
import statistics
import time
from typing import TYPE_CHECKING

from benchmarks.adapter_ways import ways_of
from benchmarks.full_size import full_size_checkpoint
from benchmarks.machine import multiplies_bfloat16

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["measure"]

_LAYERS = 4
_TEXTS = 48
_MOST_WORDS = 50
_REPEATS = 5


def measure() -> dict[str, object]:
    """Seconds of every way, over those of `augmented` with texts of one task, in each dtype.

    Bfloat16 is left out where the processor has no instructions for it: its seconds would say
    nothing about processors that have.
    """
    from jina_local import Engine

    texts = _texts()
    results: dict[str, object] = {"layers": _LAYERS, "texts": _TEXTS}
    with full_size_checkpoint(_LAYERS) as folder:
        for dtype in ("float32", "bfloat16"):
            if dtype == "bfloat16" and not multiplies_bfloat16("cpu"):
                results[dtype] = "skipped: this processor has no bfloat16 instructions"
                continue
            with Engine.load(folder, device="cpu", dtype=dtype) as engine:
                tasks = list(engine.tasks)
                chosen = {
                    "one task": [tasks[0]] * len(texts),
                    "five tasks": [tasks[i % len(tasks)] for i in range(len(texts))],
                }
                runs = {
                    f"{name}, {mix}": _timed(lambda way=way, used=used: way(texts, used))
                    for name, way in ways_of(engine).items()
                    for mix, used in chosen.items()
                }
                seconds = _in_turns(runs)
            least = seconds["augmented, one task"]
            results[dtype] = {name: round(some / least, 3) for name, some in seconds.items()}
    return results


def _timed(work: Callable[[], object]) -> Callable[[], float]:
    def run() -> float:
        start = time.perf_counter()
        work()
        return time.perf_counter() - start

    return run


def _in_turns(runs: dict[str, Callable[[], float]]) -> dict[str, float]:
    """Median seconds of each; every round has them in another order."""
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    names = list(runs)
    for turn in range(_REPEATS + 1):
        random.Random(turn).shuffle(names)  # noqa: S311 - a seeded order
        for name in names:
            taken = runs[name]()
            if turn:  # the first is to get warm
                seconds[name].append(taken)
    return {name: statistics.median(some) for name, some in seconds.items()}


def _texts() -> list[str]:
    choose = random.Random(0)  # noqa: S311 - a seeded choice of words
    letters = "abcdefghijklmnopqrstuvwxyz"
    words = ["".join(choose.choices(letters, k=choose.randint(2, 8))) for _ in range(500)]
    return [
        " ".join(choose.choices(words, k=choose.randint(1, _MOST_WORDS))) for _ in range(_TEXTS)
    ]
