"""`jina-local verify`: is this the published model, and are its vectors right on this machine?

Imported whenever the command line starts, so everything heavy is imported inside.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from jina_local.cli import DeviceOption, DtypeOption, JsonOption, progress

if TYPE_CHECKING:
    from collections.abc import Callable

    from jina_local.oracles import OracleSet
    from jina_local.verdicts import Verdict
    from jina_local.verification import Verification

__all__ = ["verify"]

_STYLES = {"ok": "green", "failed": "bold red", "skipped": "dim"}
_STEPS = 100  # of the progress bar


def verify(
    model: Annotated[str, typer.Argument(help="Folder, hub id, or 'demo'.")],
    *,
    only_engine: Annotated[
        bool,
        typer.Option(
            "--only-engine",
            help="No published numbers: what has to hold on any weights, such as a fine-tune's.",
        ),
    ] = False,
    oracles: Annotated[
        str | None,
        typer.Option(
            help="A file of the form of jina_local/oracles.json, with another model's numbers."
        ),
    ] = None,
    device: DeviceOption = "auto",
    dtype: DtypeOption = "auto",
    as_json: JsonOption = False,
) -> None:
    """Check a model against the published numbers of jina-embeddings-v3, and the engine on it.

    Digests of weights, token ids, hidden states of the base model and of all five tasks, vectors,
    and what has to hold on any weights: in float32 within rounding, in the others within theirs.

    Exit code 0: nothing failed. 1: something did, which includes that the model is another one.
    """
    if only_engine and oracles is not None:
        msg = "--only-engine takes no --oracles"
        raise typer.BadParameter(msg)
    from jina_local.devices import check_dtype, resolve_device, resolve_dtype
    from jina_local.loading import load_model
    from jina_local.source import resolve_source
    from jina_local.verification import verify as run_checks
    from jina_local.widths import width_of

    known = None if only_engine else _read(oracles)
    place = resolve_device(device)
    check_dtype(dtype)
    found = resolve_source(model)
    precision = resolve_dtype(dtype, place, width_of(found))
    loaded = load_model(found, device=place, dtype=precision)
    with progress("verifying", total=_STEPS) as report:
        result = run_checks(loaded, known, progress=report and _in_steps(report))
    if as_json:
        sys.stdout.write(json.dumps(result.record(), ensure_ascii=False) + "\n")
    else:
        _print(Console(highlight=False, markup=False, emoji=False), result)
    raise typer.Exit(0 if result.is_ok else 1)


def _read(oracles: str | None) -> OracleSet:
    from jina_local.oracles import published_oracles, read_oracles

    return published_oracles() if oracles is None else read_oracles(Path(oracles))


def _in_steps(report: Callable[[int], None]) -> Callable[[int, int], None]:
    """Checks are counted only once the model is there; the bar is there before."""
    return lambda finished, total: report(finished * _STEPS // total)


def _print(console: Console, result: Verification) -> None:
    console.print(f"{result.source}: {result.recognised or 'unknown weights'}", soft_wrap=True)
    console.print(f"{result.dtype} on {result.device}")
    if result.mismatch:
        console.print(Text(f"\n{result.mismatch}", style="bold"))
    shown = [row for row in result.verdicts if row.status != "skipped"]
    table = Table(
        box=SIMPLE_HEAD, padding=(0, 1, 0, 0), expand=True, show_edge=False, pad_edge=False
    )
    table.add_column("", no_wrap=True)
    table.add_column("check", ratio=1, overflow="fold")
    for name in ("expected", "got"):
        table.add_column(name, max_width=18, overflow="fold")
    table.add_column("±", no_wrap=True, justify="right")
    group = ""
    for row in shown:
        if row.group != group:
            group = row.group
            table.add_row("", Text(group, style="bold"))
        status = Text(row.status, style=_STYLES[row.status])
        table.add_row(status, f"  {row.name}", row.expected, row.got, row.tolerance)
    console.print()
    console.print(table)
    _print_failures(console, [row for row in result.verdicts if row.status == "failed"])
    _print_skipped(console, [row for row in result.verdicts if row.status == "skipped"])
    counts = ", ".join(f"{result.count(status)} {status}" for status in _STYLES)
    console.print(f"\n{len(result.verdicts)} checks: {counts}")


def _print_failures(console: Console, rows: list[Verdict]) -> None:
    """What each failure shows, and what failures of its kind usually mean, each meaning once."""
    by_meaning: dict[str, list[Verdict]] = {}
    for row in rows:
        by_meaning.setdefault(row.meaning, []).append(row)
    for meaning, alike in by_meaning.items():
        console.print()
        for row in alike:
            finding = f": {row.reason}" if row.reason else ""
            console.print(
                Text.assemble(("failed ", "bold red"), f"{row.group}, {row.name}{finding}")
            )
        console.print(f"  usually means: {meaning}.")


def _print_skipped(console: Console, rows: list[Verdict]) -> None:
    by_reason: dict[str, list[Verdict]] = {}
    for row in rows:
        by_reason.setdefault(row.reason, []).append(row)
    for reason, alike in by_reason.items():
        what = f"{alike[0].group}, {alike[0].name}" if len(alike) == 1 else f"{len(alike)} checks"
        console.print()
        console.print(Text.assemble(("skipped ", "dim"), f"{what}: {reason}"))
