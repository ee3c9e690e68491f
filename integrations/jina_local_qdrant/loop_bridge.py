"""Blocking code in a thread, whose calls of asynchronous functions run on the event loop.

The event loop is never blocked: it waits for the thread as for any other thing, and the thread
waits for the loop.
"""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import threading
from collections.abc import AsyncGenerator, AsyncIterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from jina_local.errors import InvalidOptionError
from jina_local_qdrant.interruption import work_until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator

__all__ = ["LoopBridge", "LoopClient"]

T = TypeVar("T")

_THREADS = 32  # of our own: the loop's are needed to look up hosts while ours wait for the loop
_ITEMS_AHEAD = 64


class _Operation:
    """One call that somebody awaits, until it is cancelled; lives on the event loop."""

    def __init__(self) -> None:
        self.is_cancelled = False
        self.interrupted = threading.Event()
        self._tasks: set[asyncio.Task[Any]] = set()

    def cancel(self) -> None:
        """Give up what the event loop does for it; the thread ends at its next step."""
        self.is_cancelled = True
        self.interrupted.set()
        for task in self._tasks:
            task.cancel()

    def refuse_cancelled(self) -> None:
        """Nobody waits for what comes next.

        Raises:
            CancelledError: If it was cancelled.
        """
        if self.is_cancelled:
            raise asyncio.CancelledError

    async def called(self, function: Callable[[], Any]) -> Any:  # noqa: ANN401 - of any function
        """What calling, and awaiting, a function gives, unless it is cancelled meanwhile."""
        self.refuse_cancelled()
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - coroutines run in tasks
        self._tasks.add(task)
        try:
            result = function()
            return await result if inspect.isawaitable(result) else result
        finally:
            self._tasks.discard(task)


_operation: contextvars.ContextVar[_Operation] = contextvars.ContextVar("_operation")


class LoopBridge:
    """Between one event loop, the one that used it last, and threads."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._threads = ThreadPoolExecutor(_THREADS, "jina-local-async")

    async def run(self, function: Callable[[], T]) -> T:
        """Run blocking code in a thread.

        When the awaiting task is cancelled, so is what the event loop does for the thread, and the
        thread waits for no store any more. The task ends only after the thread did.

        Args:
            function: The code.
        """
        self._loop = asyncio.get_running_loop()
        operation = _Operation()
        context = contextvars.copy_context()
        context.run(_operation.set, operation)
        context.run(work_until, operation.interrupted)
        work = self._threads.submit(context.run, function)
        ending = asyncio.wrap_future(work)
        try:
            return await asyncio.shield(ending)
        except asyncio.CancelledError:
            operation.cancel()
            work.cancel()  # if no thread has begun with it
            await _ended(ending)
            if not ending.cancelled():
                ending.exception()  # nobody else will look at it
            raise

    async def run_over(
        self,
        items: Iterable[object] | AsyncIterable[object],
        function: Callable[[Iterable[object]], T],
    ) -> T:
        """Run blocking code over items, of which asynchronous ones are read on the event loop.

        Args:
            items: Those of an iterable are read in the thread.
            function: The code.
        """
        if not isinstance(items, AsyncIterable):
            return await self.run(lambda: function(_until_cancelled(items)))
        async with _reading(items) as incoming:
            return await self.run(lambda: function(_until_cancelled(incoming.items(self))))

    def call(self, function: Callable[[], Any]) -> Any:  # noqa: ANN401 - what awaiting it gives
        """From a thread: the result of a function that is called, and awaited, on the event loop.

        Raises:
            CancelledError: If nobody awaits what this thread does any more.
        """
        operation = _operation.get(None) or _Operation()  # threads that the code starts have none
        return self._called(operation, function)

    def callback(
        self, function: Callable[[T], Awaitable[None] | None] | None
    ) -> Callable[[T], None] | None:
        """From a thread: a callback for any thread, that runs on the event loop; `None` for none.

        It is cancelled with the call that this thread works for.
        """
        if function is None:
            return None
        operation = _operation.get()
        return lambda item: self._called(operation, lambda: function(item))

    def _called(self, operation: _Operation, function: Callable[[], Any]) -> Any:  # noqa: ANN401
        return asyncio.run_coroutine_threadsafe(operation.called(function), self._loop).result()


class LoopClient:
    """An asynchronous client for use in threads: every method runs on the event loop.

    Args:
        bridge: Leads to the loop.
        client: Its attributes are ours; methods return what awaiting them gives.

    Raises:
        InvalidOptionError: By a method that has nothing to await.
    """

    def __init__(self, bridge: LoopBridge, client: object) -> None:
        self._bridge = bridge
        self._wrapped = client

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - the client's
        attribute = getattr(self._wrapped, name)
        if not callable(attribute):
            return attribute
        return lambda *args, **options: self._bridge.call(
            lambda: self._awaitable(attribute(*args, **options))
        )

    def _awaitable(self, result: object) -> object:
        if not inspect.isawaitable(result):
            msg = (
                f"client is {self._wrapped!r}, whose methods block the event loop: give an "
                "AsyncQdrantClient, or use JinaQdrant"
            )
            raise InvalidOptionError(msg)
        return result


async def _ended(future: asyncio.Future[Any]) -> None:
    """Wait, however often the waiting task is cancelled."""
    while not future.done():
        try:
            await asyncio.wait([future])
        except asyncio.CancelledError:
            continue


def _until_cancelled(items: Iterable[object]) -> Iterator[object]:
    operation = _operation.get()
    for item in items:
        operation.refuse_cancelled()
        yield item


# Asynchronous items


@dataclass(frozen=True, slots=True)
class _End:
    """After the last item.

    Attributes:
        error: What ended them early.
    """

    error: BaseException | None = None


class _Incoming:
    """Items that were read on the event loop and wait for the thread."""

    def __init__(self) -> None:
        self._queue: asyncio.Queue[object] = asyncio.Queue()
        self._room = asyncio.Semaphore(_ITEMS_AHEAD)

    async def read(self, source: AsyncIterable[object]) -> None:
        """Read all items, in one task from the first to the last, and not far ahead."""
        try:
            async for item in source:
                await self._room.acquire()
                self._queue.put_nowait(item)
        except Exception as error:  # noqa: BLE001 - raised where the items are used
            self._queue.put_nowait(_End(error))
        except asyncio.CancelledError:
            self._queue.put_nowait(_End(asyncio.CancelledError()))
            raise
        else:
            self._queue.put_nowait(_End())
        finally:
            if isinstance(source, AsyncGenerator):
                await source.aclose()

    def items(self, bridge: LoopBridge) -> Iterator[object]:
        """From a thread: the items."""
        while True:
            for item in bridge.call(self._some):
                if isinstance(item, _End):
                    if item.error is not None:
                        raise item.error
                    return
                yield item

    async def _some(self) -> list[object]:
        """At least one item, and what else is there."""
        some = [await self._queue.get()]
        while not self._queue.empty():
            some.append(self._queue.get_nowait())
        for _ in some:
            self._room.release()
        return some


@asynccontextmanager
async def _reading(source: AsyncIterable[object]) -> AsyncIterator[_Incoming]:
    incoming = _Incoming()
    reader = asyncio.create_task(incoming.read(source))
    try:
        yield incoming
    finally:
        reader.cancel()
        await _ended(reader)
