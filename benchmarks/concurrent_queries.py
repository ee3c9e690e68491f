"""Queries that several threads ask Haystack's text embedder for: shared passes against turns.

`alone` is one thread, where nothing can be shared: what it costs to be able to. `together` is
queries per second of several threads, each of which asks for its next query when it has the last.
"""

from __future__ import annotations

import statistics
import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["measure"]

_THREADS = (1, 4, 16)
_QUERIES = 400
_PAIRS = 5


def measure() -> dict[str, object]:
    """Queries per second, each way in turn, and their ratio."""
    from haystack_integrations.components.embedders.jina_local import JinaLocalTextEmbedder
    from jina_local import shared_engine

    embedder = JinaLocalTextEmbedder(model="demo")
    embedder.warm_up()
    engine = shared_engine("demo")
    turns = threading.Lock()

    def shared(text: str) -> None:
        embedder.run(text)

    def in_turn(text: str) -> None:
        with turns:
            engine.embed(
                [text], task=embedder.task, normalize=embedder.normalize_embeddings
            ).vectors.tolist()

    results: dict[str, object] = {}
    for n_threads in _THREADS:
        pairs = [(_rate(in_turn, n_threads), _rate(shared, n_threads)) for _ in range(_PAIRS)]
        results[f"{n_threads} threads"] = {
            "in turn, queries/s": round(statistics.median(turn for turn, _ in pairs)),
            "shared passes, queries/s": round(statistics.median(both for _, both in pairs)),
            "ratio": round(statistics.median(both / turn for turn, both in pairs), 2),
        }
    embedder.close()
    engine.close()
    return results


def _rate(ask: Callable[[str], None], n_threads: int) -> float:
    def work(first: int) -> None:
        for number in range(first, _QUERIES, n_threads):
            ask(f"how do I read file number {number} line by line?")

    threads = [threading.Thread(target=work, args=(first,)) for first in range(n_threads)]
    begin = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return _QUERIES / (time.perf_counter() - begin)
