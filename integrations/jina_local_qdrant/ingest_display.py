"""Ingesting under a bar or with a log, and what is said when it is cut short."""

from __future__ import annotations

import time
from collections import deque
from contextlib import contextmanager
from typing import TYPE_CHECKING

import typer
from rich.text import Text

from jina_local.cli import error_console
from jina_local.errors import JinaLocalError
from jina_local_qdrant.errors import StoreError
from jina_local_qdrant.json_log import JsonLog, shown_warnings
from jina_local_qdrant.two_line_bar import INTERRUPTED, TwoLineBar, watched

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rich.console import Console

    from jina_local_qdrant.ingestion import IngestReport
    from jina_local_qdrant.syncing import SyncReport

__all__ = ["ingest_watched", "messages"]

_RATE_SECONDS = 30.0
_BATCHES_KEPT = 1000


def ingest_watched(
    ingest: Callable[[Callable[[IngestReport], None]], SyncReport],
    total: Callable[[], int],
    *,
    log: JsonLog | None = None,
    resumes: bool = True,
) -> tuple[SyncReport, float]:
    """Ingest under a bar, or with a log; when it is cut short, say how to go on.

    Args:
        ingest: Ingests, and calls what it is given with the report so far.
        total: Counts the documents, for the bar.
        log: Where to write each batch, instead of showing a bar.
        resumes: Whether another run goes on where this one is cut short.

    Returns:
        The report and the seconds that it took.
    """
    done = 0

    def note(so_far: IngestReport) -> None:
        nonlocal done
        done = so_far.documents
        if show is not None:
            show(so_far)

    start = time.perf_counter()
    try:
        if log is not None:
            log.start()
            show: Callable[[IngestReport], None] | None = log.batch
            report = ingest(note)
        else:
            with watched(lambda console: _Display(console, total())) as show:
                report = ingest(note)
    except KeyboardInterrupt:
        _say_how_to_go_on("interrupted", done, log, resumes=resumes)
        raise typer.Exit(INTERRUPTED) from None
    except (StoreError, OSError):
        if done:
            _say_how_to_go_on("stopped by an error", done, log, resumes=resumes)
        raise
    return report, time.perf_counter() - start


def _say_how_to_go_on(why: str, done: int, log: JsonLog | None, *, resumes: bool) -> None:
    if log is not None:
        log.write("interrupted", {"reason": why, "documents": done})
        return
    again = "goes on from there" if resumes else "starts at the beginning"
    message = f"{why}: what is stored stays, and the same command again {again}"
    error_console().print(message, soft_wrap=True)


@contextmanager
def messages(log: JsonLog | None) -> Iterator[None]:
    """Warnings without code; all that goes to standard error as JSON lines if there is a log."""
    if log is None:
        with shown_warnings(_note):
            yield
        return
    with log.instead_of_text():
        try:
            yield
        except (JinaLocalError, OSError) as error:
            log.write("error", {"kind": type(error).__name__, "message": str(error)})
            raise typer.Exit(1) from error


def _note(message: str) -> None:
    error_console().print(Text(f"note: {message}"), soft_wrap=True)


class _Display(TwoLineBar["IngestReport"]):
    """Documents; chunks and rates."""

    def __init__(self, console: Console, total: int) -> None:
        self._chunks = 0
        # (seconds, tokens, chunks) at the end of each of the last batches
        self._marks = deque([(time.perf_counter(), 0, 0)], maxlen=_BATCHES_KEPT)
        super().__init__(console, "documents", total)

    def show(self, so_far: IngestReport) -> None:
        """Take note of a batch."""
        self._chunks = so_far.chunks
        self._marks.append((time.perf_counter(), so_far.tokens, so_far.chunks))
        while len(self._marks) > 2 and self._marks[1][0] < self._marks[-1][0] - _RATE_SECONDS:  # noqa: PLR2004
            self._marks.popleft()
        self.update(self._step, completed=so_far.documents)

    def rates(self) -> str:
        """Chunks so far, and rates of the last seconds."""
        start, end = self._marks[0], self._marks[-1]
        seconds = (end[0] - start[0]) or 1.0
        tokens, points = (end[1] - start[1]) / seconds, (end[2] - start[2]) / seconds
        return f"{self._chunks:,} chunks · {tokens:,.0f} tokens/s · {points:,.0f} points/s"
