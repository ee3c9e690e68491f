"""Queries that arrive while another one is being embedded are embedded together, next.

Nobody waits for company: a query that finds the model free is run at once. Those that come while it
runs would have to wait in any case, and then cost one pass instead of one each.
"""

from __future__ import annotations

import threading
from concurrent.futures import Future
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["Coalescer"]

R = TypeVar("R")


class Coalescer(Generic[R]):
    """Lets threads share passes of a function over lists.

    Args:
        run: Results of several texts, in order.
    """

    def __init__(self, run: Callable[[list[str]], Sequence[R]]) -> None:
        self._run = run
        self._lock = threading.Lock()
        self._waiting: list[tuple[str, Future[R | None]]] = []
        self._is_running = False

    def result(self, text: str) -> R:
        """The result of one text; raises what it alone raises."""
        mine: Future[R | None] = Future()
        with self._lock:
            if self._is_running:
                self._waiting.append((text, mine))
            else:
                self._is_running = True
                mine.set_result(None)
        try:
            given = mine.result()
        except BaseException:
            self._leave(mine)
            raise
        if given is not None:
            return given
        return self._lead(text)

    def __reduce__(self) -> tuple[type[Coalescer[R]], tuple[Callable[[list[str]], Sequence[R]]]]:
        """A copy of its own: nobody waits for it yet."""
        return type(self), (self._run,)

    def _lead(self, text: str) -> R:
        """Run a text with all that wait, and let the first that came meanwhile lead on."""
        with self._lock:
            followers, self._waiting = self._waiting, []
        try:
            results = self._results([text, *(one for one, _ in followers)])
        except BaseException:  # this thread was interrupted, and not those that wait
            with self._lock:
                self._waiting[:0] = followers
            raise
        finally:
            self._hand_over()
        first, *others = results
        for (_, future), result in zip(followers, others, strict=True):
            _settle(future, result)
        if isinstance(first, Exception):
            raise first
        return first

    def _results(self, texts: list[str]) -> list[R | Exception]:
        """One result or error per text: one that cannot be embedded fails alone."""
        try:
            return list(self._run(texts))
        except Exception as error:  # noqa: BLE001 - each thread raises its own
            if len(texts) == 1:
                return [error]
        return [result for text in texts for result in self._results([text])]

    def _hand_over(self) -> None:
        with self._lock:
            if not self._waiting:
                self._is_running = False
                return
            _, future = self._waiting.pop(0)
            future.set_result(None)  # under the lock: `_leave` sees either both or neither

    def _leave(self, mine: Future[R | None]) -> None:
        """Stop waiting; who was to lead on lets the next one do so."""
        with self._lock:
            self._waiting = [(text, future) for text, future in self._waiting if future is not mine]
            is_leader = mine.done() and mine.exception() is None and mine.result() is None
        if is_leader:
            self._hand_over()


def _settle(future: Future[R | None], result: R | Exception) -> None:
    if isinstance(result, Exception):
        future.set_exception(result)
    else:
        future.set_result(result)
