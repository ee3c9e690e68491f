"""Work that ends early, by Ctrl-C or because nobody awaits it, waits for no store that is away."""

from __future__ import annotations

import time
from contextvars import ContextVar
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import threading

__all__ = ["interruption", "is_interrupted", "pause", "work_until"]

_interruption: ContextVar[threading.Event | None] = ContextVar("_interruption", default=None)


def work_until(interrupted: threading.Event) -> None:
    """Let an event end the waits of this thread, or of the context that it runs in.

    Args:
        interrupted: Set when nobody wants the work any more.
    """
    _interruption.set(interrupted)


def interruption() -> threading.Event | None:
    """What ends the waits of this thread; `None` where only Ctrl-C does."""
    return _interruption.get()


def is_interrupted() -> bool:
    """Whether nobody wants the work of this thread any more."""
    interrupted = interruption()
    return interrupted is not None and interrupted.is_set()


def pause(seconds: float) -> None:
    """Wait so many seconds, or until the work is interrupted."""
    interrupted = interruption()
    if interrupted is None:
        time.sleep(seconds)
    else:
        interrupted.wait(seconds)
