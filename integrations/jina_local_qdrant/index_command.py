"""`jina-local index`: files into a collection.

Exit codes: 0 done; 1 an error; 2 wrong usage; 3 done, but documents were given up; 4 done, but
`--verify` found something wrong; 130 Ctrl-C. Imported whenever the command line starts, so
everything heavy is imported inside.
"""

# ruff: noqa: TC001, TC003 - typer reads annotations at run time

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from jina_local.cli import (
    DeviceOption,
    DimensionsOption,
    DtypeOption,
    JsonOption,
    ModelOption,
)
from jina_local_qdrant.command_options import CollectionOption, TenantOption, ToOption
from jina_local_qdrant.index_report import Outcome, tell
from jina_local_qdrant.ingest_display import ingest_watched, messages
from jina_local_qdrant.json_log import JsonLog

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from jina_local_qdrant.collection import JinaQdrant
    from jina_local_qdrant.dead_letters import DeadLetterFile
    from jina_local_qdrant.documents import Document
    from jina_local_qdrant.ingestion import IngestReport
    from jina_local_qdrant.syncing import SyncReport

__all__ = ["index"]

_SAMPLE = 20


class QuantizationName(StrEnum):
    """See `CollectionLayout.quantization`."""

    none = "none"
    int8 = "int8"
    turbo = "turbo"
    binary = "binary"


class StorageName(StrEnum):
    """See `CollectionLayout.storage`."""

    float32 = "float32"
    float16 = "float16"


def index(
    paths: Annotated[
        list[Path],
        typer.Argument(help="Files and folders: .txt .md .rst .html .py, and .jsonl with `text`."),
    ],
    *,
    to: ToOption,
    collection: CollectionOption,
    model: ModelOption = "demo",
    dimensions: DimensionsOption = None,
    chunk_tokens: Annotated[int, typer.Option(help="The most tokens of a chunk.")] = 256,
    late_chunking: Annotated[
        bool,
        typer.Option(
            "--late-chunking/--no-late-chunking",
            help="Embed chunks in the context of their document, or each alone.",
        ),
    ] = True,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume/--no-resume", help="Skip what is unchanged, or embed everything again."
        ),
    ] = True,
    sync: Annotated[
        bool,
        typer.Option("--sync", help="Also delete documents that are not in PATHS any more."),
    ] = False,
    max_delete_fraction: Annotated[
        float,
        typer.Option(min=0.0, max=1.0, help="The largest share of documents that --sync deletes."),
    ] = 0.2,
    dead_letters: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.jsonl",
            help="Give documents up that cannot be read or ingested, list them here, and go on.",
        ),
    ] = None,
    verify: Annotated[
        bool,
        typer.Option(
            "--verify", help=f"Check the collection afterwards; embed {_SAMPLE} documents again."
        ),
    ] = False,
    tenant: TenantOption = None,
    quantization: Annotated[
        QuantizationName, typer.Option(help="Also keep compressed vectors, and search them first.")
    ] = QuantizationName.none,
    storage: Annotated[
        StorageName, typer.Option(help="What vectors are stored in.")
    ] = StorageName.float32,
    coarse_dimensions: Annotated[
        int | None,
        typer.Option(help="Also store this many leading dimensions, and search them first."),
    ] = None,
    bulk: Annotated[
        bool,
        typer.Option("--bulk", help="Build the graph of a new collection after the vectors."),
    ] = False,
    device: DeviceOption = "auto",
    dtype: DtypeOption = "auto",
    log_json: Annotated[
        bool,
        typer.Option("--log-json", help="JSON lines on standard error, one per batch; no bar."),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Embed documents as passages into a Qdrant collection.

    May be interrupted at any moment and run again: what is there already, unchanged, is skipped.
    How a collection is made is chosen when it is made: --dimensions, --chunk-tokens,
    --late-chunking, --quantization, --storage, --coarse-dimensions, --bulk and whether it has
    tenants.

    Exit codes: 0 done; 1 an error; 2 wrong usage; 3 done, but documents were given up (see
    --dead-letters); 4 done, but --verify found something wrong; 130 Ctrl-C.
    """
    _refuse_combinations(sync=sync, resume=resume, has_dead_letters=dead_letters is not None)
    log = JsonLog() if log_json else None
    with messages(log), ExitStack() as stack:
        from jina_local_qdrant.dead_letters import DeadLetterFile
        from jina_local_qdrant.index_opening import Opening
        from jina_local_qdrant.layout import CollectionLayout
        from jina_local_qdrant.locations import check_place
        from jina_local_qdrant.readers import count_documents, read_documents

        check_place(to, collection, create=True)
        letters = None if dead_letters is None else DeadLetterFile(dead_letters, paths)
        documents = read_documents(
            paths, given_up=None if letters is None else letters.add_unreadable
        )
        layout = CollectionLayout(
            quantization=quantization.value,
            storage=storage.value,
            coarse_dimensions=coarse_dimensions,
            tenants=tenant is not None,
            bulk=bulk,
        )
        opening = Opening(to, collection, layout, tenant, model, device, dtype)
        helper = stack.enter_context(
            opening.opened(dimensions, chunk_tokens, late_chunking=late_chunking)
        )
        if letters is not None:
            stack.enter_context(letters)
        way = _Way(letters, resume, max_delete_fraction if sync else None)
        report, seconds = ingest_watched(
            lambda progress: way.ingest(helper, documents, progress),
            lambda: count_documents(paths),
            log=log,
            resumes=resume,
        )
        opening.finish(helper)
        outcome = Outcome(report, seconds, None if letters is None else letters.count, sync)
        if verify:
            outcome = replace(outcome, verified=helper.verify(sample=_SAMPLE))
        tell(outcome, dead_letters, log, as_json=as_json)
    raise typer.Exit(outcome.code)


def _refuse_combinations(*, sync: bool, resume: bool, has_dead_letters: bool) -> None:
    if sync and has_dead_letters:
        msg = (
            "--sync and --dead-letters exclude each other: what cannot be read is not in PATHS, "
            "and would be deleted"
        )
        raise typer.BadParameter(msg)
    if sync and not resume:
        msg = "--sync and --no-resume exclude each other: run `index --no-resume`, then --sync"
        raise typer.BadParameter(msg)


@dataclass(frozen=True, slots=True)
class _Way:
    """How documents are ingested; `max_delete_fraction` is `None` where none are deleted."""

    letters: DeadLetterFile | None
    resume: bool
    max_delete_fraction: float | None

    def ingest(
        self,
        helper: JinaQdrant,
        documents: Iterable[Document],
        progress: Callable[[IngestReport], None],
    ) -> SyncReport:
        from jina_local_qdrant.syncing import SyncReport

        if self.max_delete_fraction is not None:
            return helper.sync(
                documents,
                delete_missing=True,
                max_delete_fraction=self.max_delete_fraction,
                progress=progress,
            )
        report = helper.ingest(
            documents,
            on_error="raise" if self.letters is None else "dead_letter",
            dead_letters=None if self.letters is None else self.letters.add,
            progress=progress,
            reembed=not self.resume,
        )
        return SyncReport(report)
