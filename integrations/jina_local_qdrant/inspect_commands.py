"""`jina-local inspect` and `jina-local verify-index`: what a collection is, and is it right.

Imported whenever the command line starts, so everything heavy is imported inside; `inspect` loads
no model and no torch.
"""

# ruff: noqa: TC001 - typer reads annotations at run time

from __future__ import annotations

import json
import sys
from contextlib import closing
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from jina_local.cli import DeviceOption, DtypeOption, JsonOption
from jina_local_qdrant.command_options import (
    CollectionOption,
    InOption,
    MovedModelOption,
    TenantOption,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from qdrant_client import QdrantClient

    from jina_local_qdrant.verification import VerifyReport

__all__ = [
    "NOT_VERIFIED",
    "counted",
    "inspect",
    "verification_as_dict",
    "verification_lines",
    "verify_index",
]

NOT_VERIFIED = 4
"""Exit code."""


def verify_index(
    *,
    location: InOption,
    collection: CollectionOption,
    tenant: TenantOption = None,
    model: MovedModelOption = None,
    sample: Annotated[
        int, typer.Option(min=0, help="Documents that are embedded again and compared.")
    ] = 20,
    deep: Annotated[bool, typer.Option("--deep", help="Also look at every vector.")] = False,
    device: DeviceOption = "auto",
    dtype: DtypeOption = "auto",
    as_json: JsonOption = False,
) -> None:
    """Check a collection: all documents whole, all vectors right.

    Every point is looked at, and some documents are embedded again and compared with what is
    stored. Exit codes: 0 all is right; 1 an error; 2 wrong usage; 4 something is wrong.
    """
    from jina_local_qdrant.recorded_index import open_recorded

    with open_recorded(
        location, collection, tenant=tenant, model=model, device=device, dtype=dtype
    ) as helper:
        report = helper.verify(sample=sample, deep=deep)
    if as_json:
        sys.stdout.write(json.dumps(verification_as_dict(report), ensure_ascii=False) + "\n")
    else:
        console = Console(highlight=False, markup=False, emoji=False)
        for line in verification_lines(report, deep=deep):
            console.print(line, soft_wrap=True)
    raise typer.Exit(0 if report.ok else NOT_VERIFIED)


def verification_as_dict(report: VerifyReport) -> dict[str, Any]:
    """A report as JSON values, with the verdict first."""
    return {"ok": report.ok, "problems": report.problems(), **asdict(report)}


def verification_lines(report: VerifyReport, *, deep: bool = False) -> list[str]:
    """What checking a collection found, in plain sentences."""
    problems = report.problems()
    counts = f"{counted(report.documents, 'document')} in {counted(report.points, 'vector')}"
    lines = [
        f"Verified: {counts}, every document complete."
        if not problems
        else f"Not as it should be: {counts}, but {counted(len(problems), 'kind')} of damage:"
    ]
    lines += [f"  {problem}" for problem in problems]
    if problems:
        lines.append("`jina-local index --no-resume` ingests with reembed=True.")
    if report.worst_cosine is not None:
        lines.append(
            f"{counted(report.sampled, 'document')} embedded again: the lowest cosine of a stored "
            f"vector to the new one is {report.worst_cosine:.4f}."
        )
    if deep and not report.bad_vectors:
        lines.append("Every vector has length 1.")
    return lines


def inspect(
    *,
    location: InOption,
    collection: Annotated[
        str | None, typer.Option("--collection", "-c", help="Only this one, with all its settings.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Show the collections of an index, or how one was made."""
    from jina_local_qdrant.errors import CollectionNotFoundError
    from jina_local_qdrant.locations import check_place, collection_names, open_place

    check_place(location, collection, create=False)
    console = Console(highlight=False, markup=False, emoji=False)
    with open_place(location, create=False) as client:
        names = collection_names(client)
        if collection is not None and collection not in names:
            msg = f"no collection {collection!r} here; there are {names}"
            raise CollectionNotFoundError(msg)
        chosen = names if collection is None else [collection]
        found = [_facts(client, name) for name in chosen]
    if as_json:
        content = found[0] if collection is not None else found
        sys.stdout.write(json.dumps(content, ensure_ascii=False) + "\n")
    elif collection is not None:
        console.print(_record_table(found[0]))
    else:
        console.print(_overview(found) if found else "There is no collection here.")


def _facts(client: QdrantClient | str, name: str) -> dict[str, Any]:
    """What a collection says of itself, and what is counted in it."""
    from jina_local_qdrant.layout import LAYOUT_KEY, METADATA_KEY
    from jina_local_qdrant.locations import open_store

    with closing(open_store(client, name, None)) as store:
        metadata = store.metadata()
        record = metadata.get(METADATA_KEY)
        facts: dict[str, Any] = {"collection": name, "points": store.count()}
        if not isinstance(record, dict):
            return facts | {"record": None}
        from jina_local_qdrant.payload import written_heads

        is_migrated = "payload" in record  # from elsewhere, and its documents are not known
        return facts | {
            "documents": None if is_migrated else store.count(written_heads()),
            "record": record,
            "layout": metadata.get(LAYOUT_KEY) or {},
        }


def _overview(found: list[dict[str, Any]]) -> Table:
    table = Table(box=None, pad_edge=False)
    for heading, justify in (
        *(("collection", "left"), ("documents", "right"), ("vectors", "right")),
        *(("dimensions", "right"), ("model", "left")),
    ):
        table.add_column(heading, justify=justify, overflow="fold")  # type: ignore[arg-type]
    for facts in found:
        record = facts["record"] or {}
        table.add_row(
            facts["collection"],
            str(facts.get("documents") if facts.get("documents") is not None else ""),
            str(facts["points"]),
            str(record.get("dimensions", "")),
            str(record.get("model", "not made by jina-local")),
        )
    return table


def _record_table(facts: Mapping[str, Any]) -> Table:
    table = Table(show_header=False, title=facts["collection"], title_justify="left")
    table.add_column()
    table.add_column(overflow="fold")
    record = facts["record"]
    if record is None:
        table.add_row("record", "none: not made by jina-local")
        table.add_row("points", str(facts["points"]))
        return table
    rows = {
        "documents": facts["documents"],
        "chunks": facts["points"],
        "model": record.get("model"),
        "revision": record.get("revision"),
        "dimensions": record.get("dimensions"),
        "chunk tokens": record.get("chunk_tokens") or "whole documents",
        "late chunking": _settings(record.get("late_chunking")) or "off",
        "layout": _settings(facts["layout"]) or "full float32 vectors",
        "created by": record.get("created_by"),
        "computed on": f"{record.get('device')}, {record.get('dtype')}",
        "weights": record.get("weights"),
        "fingerprint": record.get("fingerprint"),
    }
    for name, value in rows.items():
        if value is not None:
            table.add_row(name, str(value))
    return table


def _settings(content: object) -> str:
    """Those of some settings that are set."""
    if not isinstance(content, dict):
        return ""
    return ", ".join(
        f"{name.replace('_', ' ')} {value}" for name, value in content.items() if value
    )


def counted(number: int, noun: str) -> str:
    """`1 document`, `2 documents`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
