"""A migration under a bar, and what is said when a step of it is cut short."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import typer

from jina_local.cli import error_console
from jina_local.errors import JinaLocalError
from jina_local_qdrant.ingest_display import messages
from jina_local_qdrant.migrate_opening import in_options
from jina_local_qdrant.two_line_bar import INTERRUPTED, TwoLineBar, watched

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import Console

    from jina_local_qdrant.migration.migration import Migration
    from jina_local_qdrant.migration.moving import MoveReport

__all__ = ["run_watched", "step"]

_GOES_ON = "what is written stays, and the same command again goes on from there"


@contextmanager
def step(when_interrupted: str = _GOES_ON) -> Iterator[None]:
    """One step of a migration: warnings without code, messages that name options.

    Args:
        when_interrupted: What Ctrl-C leaves behind.
    """
    with messages(None):
        try:
            yield
        except KeyboardInterrupt:
            error_console().print(f"interrupted: {when_interrupted}", soft_wrap=True)
            raise typer.Exit(INTERRUPTED) from None
        except JinaLocalError as error:
            message = in_options(str(error))
            if message == str(error):
                raise
            raise JinaLocalError(message) from error


def run_watched(migration: Migration) -> tuple[MoveReport, float]:
    """Fill the new collection under a bar; if an error ends it, say how to go on.

    Args:
        migration: What is run.

    Returns:
        What was done, and the seconds that it took.
    """
    so_far: MoveReport | None = None

    def note(report: MoveReport) -> None:
        nonlocal so_far
        so_far = report
        if show is not None:
            show(report)

    start = time.perf_counter()
    try:
        with watched(lambda console: _Display(console, migration)) as show:
            report = migration.run(note)
    except (JinaLocalError, OSError):
        if so_far is not None:
            error_console().print(f"stopped by an error: {_GOES_ON}", soft_wrap=True)
        raise
    return report, time.perf_counter() - start


class _Display(TwoLineBar["MoveReport"]):
    """Points, or documents of this helper; rates."""

    def __init__(self, console: Console, migration: Migration) -> None:
        from jina_local_qdrant.migration.journal import Journal
        from jina_local_qdrant.payload import written_heads

        self._by_document = "payload" not in migration.record
        counted = written_heads() if self._by_document else None
        total = migration.source.count(counted)
        state = Journal(migration.source.client, migration.target.collection).state()
        goes_on = state is not None and state["cursor"] is not None
        self._before = migration.target.count(counted) if goes_on else 0
        self._report: MoveReport | None = None
        noun = "documents" if self._by_document else "points"
        super().__init__(console, noun, total, min(self._before, total))
        # not shown: they are here for their speed
        self._tokens = self.add_task("", total=None, visible=False)
        self._points = self.add_task("", total=None, visible=False)

    def show(self, so_far: MoveReport) -> None:
        """Take note of a page of points."""
        self._report = so_far
        brought = so_far.documents if self._by_document else so_far.written
        # a document's points come together, before all of them are visited
        done = max(so_far.visited, self._before + brought)
        total = self.tasks[0].total or 0
        self.update(self._step, completed=min(done, total))
        self.update(self._tokens, completed=so_far.tokens)
        self.update(self._points, completed=so_far.written)

    def rates(self) -> str:
        """Documents so far, and rates of the last seconds."""
        if self._report is None:
            return ""
        tokens, points = (self.tasks[i].speed or 0.0 for i in (1, 2))
        return (
            f"{self._report.documents:,} documents embedded · {tokens:,.0f} tokens/s · "
            f"{points:,.0f} points/s"
        )
