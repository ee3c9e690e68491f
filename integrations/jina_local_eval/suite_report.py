"""Published scores beside ours, as JSON and as a table that fits 80 columns."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from jina_local_eval.suites import Compared

__all__ = ["print_suite", "suite_record"]


def suite_record(rows: Sequence[Compared], *, suite: str, model: str, dtype: str) -> dict[str, Any]:
    """Everything, for machines."""
    return {
        "suite": suite,
        "model": model,
        "dtype": dtype,
        "right": sum(row.is_right for row in rows),
        "scores": [
            {
                "task": row.expected.task,
                "split": row.expected.split,
                "subset": row.expected.subset,
                "published": row.expected.score,
                "got": row.got,
                "difference": None if row.difference is None else round(row.difference, 6),
                "tolerance": row.tolerance,
                "right": row.is_right,
                "source": row.expected.source,
            }
            for row in rows
        ],
    }


def print_suite(
    console: Console, rows: Sequence[Compared], *, suite: str, model: str, dtype: str
) -> None:
    """One line per score."""
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False, pad_edge=False)
    table.add_column("task", overflow="fold")
    for name in ("published", "got", "diff.", "±", ""):
        table.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        got = "none" if row.got is None else f"{row.got:.4f}"
        table.add_row(
            _label(row),
            f"{row.expected.score:.4f}",
            got,
            "" if row.difference is None else f"{row.difference:+.4f}",
            f"{row.tolerance:.3f}",
            Text("ok") if row.is_right else Text("OFF", style="bold red"),
        )
    console.print(Text(f"{suite}: {model}, {dtype}", style="bold"), soft_wrap=True)
    console.print(table)
    for source in dict.fromkeys(row.expected.source.partition(", mteb ")[0] for row in rows):
        console.print(f"published: {source}", style="dim", soft_wrap=True)


def _label(row: Compared) -> str:
    """The task, with split and subset where they are not the usual ones."""
    parts = [part for part in (row.expected.split, row.expected.subset) if part != "default"]
    extra = [part for part in parts if part != "test"]
    return " ".join([row.expected.task, *extra])
