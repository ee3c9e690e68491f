"""A bar on standard error with a line of its own for rates, for what takes minutes."""

from __future__ import annotations

from abc import abstractmethod
from contextlib import contextmanager
from typing import TYPE_CHECKING, Generic, TypeVar

from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

from jina_local.cli import error_console

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from rich.console import Console, RenderableType
    from rich.progress import Task

__all__ = ["INTERRUPTED", "TwoLineBar", "watched"]

INTERRUPTED = 130
"""The exit code after Ctrl-C."""

R = TypeVar("R")


class TwoLineBar(Progress, Generic[R]):
    """Things done and time left in one line, rates in another; leaves no trace when it is done.

    Args:
        console: Where it is shown.
        things: What is counted.
        total: How many there are.
        done: How many of them were done before.
    """

    def __init__(self, console: Console, things: str, total: int, done: int = 0) -> None:
        super().__init__(
            BarColumn(bar_width=None),
            TextColumn("{task.completed:,.0f} of {task.total:,.0f} {task.description}"),
            _TimeLeft(),
            console=console,
            transient=True,
            expand=True,
        )
        self._step = self.add_task(things, total=total, completed=done)

    @abstractmethod
    def show(self, so_far: R) -> None:
        """Take note of a report."""

    @abstractmethod
    def rates(self) -> str:
        """The second line."""

    def get_renderables(self) -> Iterable[RenderableType]:
        """The two lines."""
        yield from super().get_renderables()
        yield Text(self.rates(), style="dim")


class _TimeLeft(TimeRemainingColumn):
    """Nothing while it is not known."""

    def render(self, task: Task) -> Text:
        if task.time_remaining is None:
            return Text()
        return super().render(task).append(" left")


@contextmanager
def watched(make: Callable[[Console], TwoLineBar[R]]) -> Iterator[Callable[[R], None] | None]:
    """A bar while something runs; nothing if nobody watches.

    Args:
        make: Makes the bar; called only if somebody watches.

    Yields:
        What to call with each report.
    """
    console = error_console()
    if not console.is_terminal:
        yield None
        return
    with make(console) as bar:
        yield bar.show
