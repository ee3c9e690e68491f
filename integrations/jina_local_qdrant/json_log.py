"""What a command does as JSON lines on standard error, for whoever collects logs."""

from __future__ import annotations

import json
import logging
import sys
import time
import warnings
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from jina_local_qdrant.ingestion import IngestReport

__all__ = ["JsonLog", "per_second", "shown_warnings"]


class JsonLog:
    """Lines of `{"time": …, "event": …}` and what belongs to the event; each is written at once.

    Events are `batch` (totals of the run so far), `warning`, `error`, `interrupted`, `report`.
    """

    def __init__(self) -> None:
        self._start = time.perf_counter()

    def write(self, event: str, fields: Mapping[str, object]) -> None:
        """Write a line."""
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        line = json.dumps({"time": now, "event": event, **fields}, ensure_ascii=False, default=str)
        sys.stderr.write(line + "\n")
        sys.stderr.flush()

    def start(self) -> None:
        """Count seconds from now."""
        self._start = time.perf_counter()

    def batch(self, so_far: IngestReport) -> None:
        """Write how far an ingestion is."""
        seconds = time.perf_counter() - self._start
        rates = {
            "seconds": round(seconds, 3),
            "tokens_per_second": round(per_second(so_far.tokens, seconds), 1),
            "points_per_second": round(per_second(so_far.chunks, seconds), 1),
        }
        self.write("batch", {**asdict(so_far), **rates})

    def warning(self, message: str) -> None:
        """Write a warning."""
        self.write("warning", {"message": message})

    @contextmanager
    def instead_of_text(self) -> Iterator[None]:
        """Also write what this process logs, and its warnings, as lines."""
        handler = _Handler(self)
        logger = logging.getLogger()
        logger.addHandler(handler)
        try:
            with shown_warnings(self.warning):
                yield
        finally:
            logger.removeHandler(handler)


class _Handler(logging.Handler):
    def __init__(self, log: JsonLog) -> None:
        super().__init__(logging.WARNING)
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        self._log.warning(record.getMessage())


@contextmanager
def shown_warnings(show: Callable[[str], None]) -> Iterator[None]:
    """Show warnings by their message alone, without the line of code that they come from."""

    def show_message(message: Warning | str, *_: object) -> None:
        show(str(message))

    with warnings.catch_warnings():
        warnings.showwarning = show_message  # type: ignore[assignment]
        yield


def per_second(amount: int, seconds: float) -> float:
    """A rate; 0 where no time went by."""
    return amount / seconds if seconds > 0 else 0.0
