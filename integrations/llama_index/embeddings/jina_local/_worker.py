"""One thread per process that embeds for event loops, so that no loop waits for a model.

One, since the engine batches better than threads that compete for it. The thread sees the context
variables of its caller, which carry tracing.
"""

from __future__ import annotations

import asyncio
import contextvars
import os
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["in_worker"]

R = TypeVar("R")


class _Worker:
    """A thread that is made when it is needed, and anew in a forked process."""

    def __init__(self) -> None:
        self._pool: ThreadPoolExecutor | None = None
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self.forget)

    def pool(self) -> ThreadPoolExecutor:
        """The thread."""
        if self._pool is None:
            self._pool = ThreadPoolExecutor(1, "jina-local-nodes")
        return self._pool

    def forget(self) -> None:
        """Threads do not survive a fork; waiting for one would never end."""
        self._pool = None


_worker = _Worker()


async def in_worker(work: Callable[[], R]) -> R:
    """The result of some work, done in the thread."""
    context = contextvars.copy_context()
    loop = asyncio.get_running_loop()
    return await loop.run_in_executor(_worker.pool(), lambda: context.run(work))
