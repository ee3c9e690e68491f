"""What an ingestion did, in words, as JSON and as an exit code."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from rich.console import Console

from jina_local_qdrant.inspect_commands import (
    NOT_VERIFIED,
    counted,
    verification_as_dict,
    verification_lines,
)
from jina_local_qdrant.json_log import per_second

if TYPE_CHECKING:
    from pathlib import Path

    from jina_local_qdrant.ingestion import IngestReport
    from jina_local_qdrant.json_log import JsonLog
    from jina_local_qdrant.syncing import SyncReport
    from jina_local_qdrant.verification import VerifyReport

__all__ = ["Outcome", "summary", "tell"]

_GIVEN_UP = 3


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run did.

    Attributes:
        report: What became of the documents.
        seconds: How long that took.
        given_up: Documents, files and lines that were given up; `None` where that ends the run.
        is_synced: Whether documents that are no longer there were deleted.
        verified: What checking the collection found, if it was checked.
    """

    report: SyncReport
    seconds: float
    given_up: int | None
    is_synced: bool
    verified: VerifyReport | None = None

    @property
    def code(self) -> int:
        """The exit code."""
        if self.verified is not None and not self.verified.ok:
            return NOT_VERIFIED
        return _GIVEN_UP if self.given_up else 0

    def as_dict(self) -> dict[str, Any]:
        """JSON values."""
        content = asdict(self.report.ingested) | {"seconds": round(self.seconds, 3)}
        if self.given_up is not None:
            content["dead_letters"] = self.given_up
        if self.is_synced:
            content["deleted_documents"] = self.report.deleted_documents
            content["deleted_chunks"] = self.report.deleted_chunks
        if self.verified is not None:
            content["verified"] = verification_as_dict(self.verified)
        return content


def tell(outcome: Outcome, letters: Path | None, log: JsonLog | None, *, as_json: bool) -> None:
    """Print what a run did, on standard output, and as the last line of its log."""
    if log is not None:
        log.write("report", outcome.as_dict())
    if as_json:
        sys.stdout.write(json.dumps(outcome.as_dict(), ensure_ascii=False) + "\n")
        return
    console = Console(highlight=False, markup=False, emoji=False)
    console.print(summary(outcome.report.ingested, outcome.seconds), soft_wrap=True)
    if outcome.is_synced:
        console.print(
            f"{counted(outcome.report.deleted_documents, 'document')} no longer there deleted "
            f"({counted(outcome.report.deleted_chunks, 'vector')}).",
            soft_wrap=True,
        )
    if outcome.given_up:
        console.print(f"{outcome.given_up} given up, listed in {letters}.", soft_wrap=True)
    if outcome.verified is not None:
        for line in verification_lines(outcome.verified):
            console.print(line, soft_wrap=True)


def summary(report: IngestReport, seconds: float) -> str:
    """What an ingestion did, in a sentence or two."""
    if not report.documents:
        return "There is no document to ingest."
    if report.skipped == report.documents:
        return f"All {report.documents} documents were there already, unchanged."
    parts = [f"{counted(report.embedded, 'document')} embedded and stored in {seconds:.1f} s"]
    if report.updated:
        parts.append(f"{report.updated} with only new metadata")
    parts.append(f"{report.skipped} unchanged")
    if not report.embedded:
        return ", ".join(parts) + "."
    return (
        f"{', '.join(parts)}: {counted(report.chunks, 'vector')} "
        f"({per_second(report.chunks, seconds):.0f} per second), "
        f"{counted(report.tokens, 'token')} "
        f"({per_second(report.tokens, seconds):.0f} per second)."
    )
