"""Threads that come while a pass is held open share the next one, and nobody is forgotten."""

from __future__ import annotations

import copy
import pickle
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from jina_local import Engine

pytest.importorskip("haystack")

from haystack.utils import ComponentDevice
from hypothesis import given, settings
from hypothesis import strategies as st

from haystack_integrations.components.embedders.jina_local import (
    JinaLocalTextEmbedder,
    _coalescing,
)
from haystack_integrations.components.embedders.jina_local._coalescing import Coalescer

if TYPE_CHECKING:
    from collections.abc import Iterator

TIMEOUT = 60  # seconds after which a lost wake-up fails instead of hanging


class BadTextError(Exception):
    """A text that cannot be embedded."""


class Passes:
    """A function over lists whose first call is held open.

    Attributes:
        batches: The texts of each call.
        reached: Set when the first call is under way.
        open: To be set for it to end.
        interrupted: Calls, by number, that are interrupted as by Ctrl-C.
    """

    def __init__(self, *, interrupted: tuple[int, ...] = ()) -> None:
        self.batches: list[list[str]] = []
        self.reached = threading.Event()
        self.open = threading.Event()
        self.interrupted = interrupted

    def __call__(self, texts: list[str]) -> list[str]:
        number = len(self.batches)
        self.batches.append(texts)
        self.reached.set()
        assert self.open.wait(TIMEOUT)
        if number in self.interrupted:
            raise KeyboardInterrupt
        bad = [text for text in texts if "bad" in text]
        if bad:
            raise BadTextError(", ".join(bad))
        return [text.upper() for text in texts]


class Queue:
    """Threads that ask a coalescer one after the other, in a known order."""

    asked = threading.Semaphore(0)

    def __init__(self, coalescer: Any, pool: ThreadPoolExecutor) -> None:
        self.coalescer = coalescer
        self.pool = pool

    def ask(self, text: str) -> Future[str]:
        """Ask from a thread; returns when it waits, or leads."""
        answer = self.pool.submit(self.coalescer.result, text)
        assert self.asked.acquire(timeout=TIMEOUT)
        return answer


class Announcing(Future[Any]):
    """Says when somebody waits for it: then its text is queued."""

    def result(self, timeout: float | None = None) -> Any:
        Queue.asked.release()
        return super().result(timeout)


@pytest.fixture(autouse=True)
def _announced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_coalescing, "Future", Announcing)
    monkeypatch.setattr(Queue, "asked", threading.Semaphore(0))


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(16) as threads:
        yield threads


def answer(future: Future[str]) -> str | type[BaseException]:
    error = future.exception(TIMEOUT)
    return future.result() if error is None else type(error)


def test_one_alone_is_run_at_once_and_alone() -> None:
    passes = Passes()
    passes.open.set()
    coalescer = Coalescer(passes)
    assert [coalescer.result("a"), coalescer.result("b")] == ["A", "B"]
    assert passes.batches == [["a"], ["b"]]


@given(texts=st.lists(st.sampled_from(["a", "b", "bad 1", "bad 2", ""]), min_size=1, max_size=10))
@settings(max_examples=25)
def test_those_that_come_during_a_pass_share_the_next(texts: list[str]) -> None:
    """Each gets its own row, and a text that cannot be embedded fails alone."""
    passes = Passes()
    with ThreadPoolExecutor(len(texts) + 1) as pool:
        queue = Queue(Coalescer(passes), pool)
        first = queue.ask("first")
        assert passes.reached.wait(TIMEOUT)
        others = [queue.ask(text) for text in texts]
        passes.open.set()
        assert first.result(TIMEOUT) == "FIRST"
        expected = [BadTextError if "bad" in text else text.upper() for text in texts]
        assert [answer(other) for other in others] == expected
        for text, other in zip(texts, others, strict=True):
            assert "bad" not in text or str(other.exception()) == text
    assert passes.batches[:2] == [["first"], texts]
    again = [[text] for text in texts] if len(texts) > 1 and BadTextError in expected else []
    assert passes.batches[2:] == again


def test_a_first_text_that_fails_does_not_stop_the_others(pool: ThreadPoolExecutor) -> None:
    passes = Passes()
    queue = Queue(Coalescer(passes), pool)
    first = queue.ask("bad")
    assert passes.reached.wait(TIMEOUT)
    others = [queue.ask(text) for text in "xyz"]
    passes.open.set()
    assert answer(first) is BadTextError
    assert [answer(one) for one in others] == ["X", "Y", "Z"]
    assert passes.batches == [["bad"], ["x", "y", "z"]]


@pytest.mark.parametrize("interrupted", [(0,), (1,), (0, 1)])
def test_whose_pass_is_interrupted_is_alone_in_that(
    interrupted: tuple[int, ...], pool: ThreadPoolExecutor
) -> None:
    """Ctrl-C ends the thread that it hits; those that waited for its pass go on without it."""
    passes = Passes(interrupted=interrupted)
    queue = Queue(Coalescer(passes), pool)
    first = queue.ask("a")
    assert passes.reached.wait(TIMEOUT)
    others = [queue.ask(text) for text in "xyz"]
    passes.open.set()
    found = [answer(one) for one in (first, *others)]
    expected = ["A", "X", "Y", "Z"]
    for number in interrupted:
        assert found[number] is KeyboardInterrupt
        expected[number] = found[number]
    assert found == expected
    assert queue.coalescer.result("later") == "LATER"


@pytest.mark.parametrize("chosen", [False, True], ids=["while-waiting", "chosen-to-lead"])
def test_who_stops_waiting_is_missed_by_nobody(
    chosen: bool, pool: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C in a thread that waits: the pass that it was to lead is led by the next one."""
    passes = Passes()
    queue = Queue(Coalescer(passes), pool)
    first = queue.ask("a")
    assert passes.reached.wait(TIMEOUT)

    class Interrupted(Announcing):
        is_first_call = True

        def result(self, timeout: float | None = None) -> Any:
            if not self.is_first_call:  # who cleans up looks at it, too
                return super().result(timeout)
            self.is_first_call = False
            if chosen:
                super().result(timeout)
            else:
                Queue.asked.release()
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(_coalescing, "Future", Interrupted)
        gone = queue.ask("gone")
    others = [queue.ask(text) for text in "xy"]
    passes.open.set()
    assert [answer(one) for one in (first, gone, *others)] == ["A", KeyboardInterrupt, "X", "Y"]
    assert passes.batches == [["a"], ["x", "y"]]
    assert queue.coalescer.result("later") == "LATER"


def test_many_threads_and_texts_lose_no_wake_up(pool: ThreadPoolExecutor) -> None:
    passes = Passes()
    passes.open.set()
    coalescer = Coalescer(passes)
    together = threading.Barrier(8)

    def work(thread: int) -> int:
        together.wait(TIMEOUT)
        for i in range(200):
            text = f"t{thread} {i}"
            if i % 7 == 3:
                with pytest.raises(BadTextError, match=f"^bad {text}$"):
                    coalescer.result(f"bad {text}")
            else:
                assert coalescer.result(text) == text.upper()
        return thread

    running = [pool.submit(work, thread) for thread in range(8)]
    assert [one.result(TIMEOUT) for one in running] == list(range(8))
    assert not coalescer._is_running
    assert not coalescer._waiting


def test_copies_wait_for_nobody(pool: ThreadPoolExecutor) -> None:
    coalescer = Coalescer(sorted)
    for copied in (copy.deepcopy(coalescer), pickle.loads(pickle.dumps(coalescer))):  # noqa: S301
        assert copied.result("a") == "a"
        assert copied._lock is not coalescer._lock
    passes = Passes()
    queue = Queue(Coalescer(passes), pool)
    first = queue.ask("a")
    assert passes.reached.wait(TIMEOUT)
    other = Coalescer(sorted)
    assert other.result("b") == "b"
    passes.open.set()
    assert first.result(TIMEOUT) == "A"


def test_a_query_is_the_same_alone_and_with_others(
    own_model: str, pool: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Vector, usage and all."""
    embedder: Any = JinaLocalTextEmbedder(model=own_model, device=ComponentDevice.from_str("cpu"))
    texts = [f"query number {i}" + " and more" * i for i in range(5)]
    alone = [embedder.run(text) for text in texts]
    sizes: list[int] = []
    reached, open_ = threading.Event(), threading.Event()
    embed = Engine.embed

    def held(self: Engine, texts: Any, **options: Any) -> Any:
        sizes.append(len(texts))
        reached.set()
        assert open_.wait(TIMEOUT)
        return embed(self, texts, **options)

    monkeypatch.setattr(Engine, "embed", held)
    monkeypatch.setattr(Queue, "asked", threading.Semaphore(0))

    def ask(text: str) -> Future[Any]:
        running = pool.submit(embedder.run, text)
        assert Queue.asked.acquire(timeout=TIMEOUT)
        return running

    first = ask(texts[0])
    assert reached.wait(TIMEOUT)
    others = [ask(text) for text in texts[1:]]
    open_.set()
    found = [one.result(TIMEOUT) for one in (first, *others)]
    assert sizes == [1, 4]
    assert [one["meta"] for one in found] == [one["meta"] for one in alone]
    for one, other in zip(found, alone, strict=True):
        np.testing.assert_allclose(one["embedding"], other["embedding"], rtol=0, atol=2e-6)
