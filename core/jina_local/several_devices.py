"""One queue of work over several engines, such as one per GPU, with results in order."""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from queue import SimpleQueue
from typing import TYPE_CHECKING, TypeVar

from jina_local.errors import InvalidOptionError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from jina_local.engine import Engine

__all__ = ["over_engines"]

T = TypeVar("T")
R = TypeVar("R")

_AHEAD = 2  # items per engine that are taken before their turn, so that none waits for the reader


def over_engines(
    engines: Sequence[Engine], items: Iterable[T], work: Callable[[Engine, T], R]
) -> Iterator[R]:
    """Results of some work on each item, in order; an engine takes the next item when it is free.

        engines = [Engine.load(MODEL, device=f"cuda:{i}") for i in range(2)]
        for found in over_engines(engines, batches, lambda engine, texts: engine.embed(texts)):
            ...

    Items are taken a few at a time, from any source and however many there are. Engines may be on
    different devices; if their dtypes differ, so do their vectors, by what the dtypes allow.

    Args:
        engines: One or more.
        items: What the work is done on, such as lists of texts or of `ChunkedText`.
        work: Called in a thread with an engine that nobody else uses meanwhile, and an item.

    Raises:
        InvalidOptionError: If there is no engine.
    """
    if not engines:
        msg = "engines is empty; give at least one"
        raise InvalidOptionError(msg)
    return _results(engines, items, work)


def _results(
    engines: Sequence[Engine], items: Iterable[T], work: Callable[[Engine, T], R]
) -> Iterator[R]:
    free: SimpleQueue[Engine] = SimpleQueue()
    for engine in engines:
        free.put(engine)

    def run(item: T) -> R:
        engine = free.get()
        try:
            return work(engine, item)
        finally:
            free.put(engine)

    waiting: deque[Future[R]] = deque()
    with ThreadPoolExecutor(len(engines), "jina-local-device") as pool:
        try:
            for item in items:
                waiting.append(pool.submit(run, item))
                if len(waiting) >= _AHEAD * len(engines):
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
