"""What `jina-local migrate` prints: a plan to decide on, what a step did, what the next one is."""

from __future__ import annotations

import json
import shlex
import sys
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from jina_local_qdrant.inspect_commands import counted
from jina_local_qdrant.json_log import per_second
from jina_local_qdrant.migrate_opening import in_options

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from jina_local_qdrant.migration.checking import MigrationCheck
    from jina_local_qdrant.migration.migration import Migration
    from jina_local_qdrant.migration.moving import MoveReport
    from jina_local_qdrant.migration.planning import MigrationPlan
    from jina_local_qdrant.migration.points import Points

__all__ = [
    "after_check",
    "after_switch",
    "check_lines",
    "command",
    "plan_lines",
    "plan_table",
    "run_line",
    "say",
    "say_json",
    "say_table",
]

_SHOWN = 5
_DIGITS = 2
_ALMOST_ALL = 0.9995


def say(lines: Sequence[str]) -> None:
    """Print lines on standard output; a terminal, not we, may wrap them."""
    console = Console(highlight=False, markup=False, emoji=False)
    for line in lines:
        console.print(line, soft_wrap=True)


def say_json(content: object) -> None:
    """Print JSON on standard output."""
    sys.stdout.write(json.dumps(content, ensure_ascii=False) + "\n")


def say_table(table: Table) -> None:
    """Print a table on standard output."""
    Console(highlight=False, markup=False, emoji=False).print(table)


def command(step: str, location: str, target: str, more: str = "") -> str:
    """What to type for a step."""
    words = shlex.join(["jina-local", "migrate", step, "--in", location, "--to", target])
    return f"{words} {more}".rstrip()


# The plan


def plan_table(plan: MigrationPlan, migration: Migration) -> Table:
    """A plan, with everything that a person needs to decide on it."""
    table = Table(
        show_header=False,
        title=f"Plan: {plan.source!r} → {plan.target!r}",
        title_justify="left",
    )
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in _rows(plan, migration):
        table.add_row(name, value)
    return table


def _rows(plan: MigrationPlan, migration: Migration) -> Iterator[tuple[str, str]]:
    record, spec = migration.record, migration.spec
    yield "points", f"{plan.points:,}, counted"
    yield "written by", plan.origin
    yield from _where(plan, record.get("payload"), together=spec.late_chunking)
    yield "payload fields", _fields(plan)
    yield "model", f"{record['model']}, {record['dtype']} on {record['device']}"
    chunks = f", of at most {spec.chunk_tokens} tokens" if spec.chunk_tokens else ""
    how = "in the context of their document" if spec.late_chunking else "each alone"
    yield "chunks", f"embedded {how}{chunks}"
    if plan.tokens is None or plan.seconds is None:
        yield "tokens, time", "unknown: there is no text to measure with"
    else:
        yield "tokens", f"about {_rounded(plan.tokens)}"
        yield "time", f"{_duration(plan.seconds)} of embedding on this machine"
    old, new = plan.dimensions
    yield "dimensions", f"{old} → {new}"
    before, after = plan.vector_bytes
    yield "vectors take", f"{_bytes(before)} → {_bytes(after)}; both are there until finalize"
    yield "carried over", "; ".join(plan.carried)
    yield "lost", "; ".join(plan.lost) or "nothing"


def _where(
    plan: MigrationPlan, payload: dict[str, Any] | None, *, together: bool
) -> Iterator[tuple[str, str]]:
    if payload is None:
        return
    yield "text in", payload["text"]
    yield "without a text", _without_text(plan)
    if together and payload["document"]:
        order = payload["order"] or payload["previous"]
        yield "documents", f"points of the same {payload['document']}, ordered by {order}"
    else:
        yield "documents", "every point is one"


def _without_text(plan: MigrationPlan) -> str:
    looked_at = f"with blank ones {plan.blank} of {plan.sampled} looked at"
    if plan.without_text is None:
        return f"{looked_at}; the store cannot count them"
    return f"{plan.without_text:,} of all; {looked_at}"


def _fields(plan: MigrationPlan) -> str:
    names = [
        name if number == plan.sampled else f"{name} ({number} of {plan.sampled})"
        for name, number in plan.payload_fields.items()
    ]
    return ", ".join(names) or "none"


def plan_lines(plan: MigrationPlan, run: str) -> list[str]:
    """What follows from a plan, and what to type next.

    Args:
        plan: The plan.
        run: The command that carries it out.
    """
    lines = [f"Advice: {one}." for one in plan.advice]
    if not plan.refusals:
        return [*lines, "Nothing is written yet.", f"Next: {run}"]
    lines.append("It cannot be run as it is:")
    lines += [f"  {in_options(one)}" for one in plan.refusals[:_SHOWN]]
    if len(plan.refusals) > _SHOWN:
        lines.append(f"  and {len(plan.refusals) - _SHOWN} more like these (--json has them all)")
    return [*lines, "Nothing is written. Next: mend this, and plan again."]


# What steps did


def run_line(report: MoveReport, seconds: float, migration: Migration) -> str:
    """What a run did, in a sentence."""
    noun = "point" if "payload" in migration.record else "document"
    source, target = migration.source.collection, migration.target.collection
    if not report.changed:
        if not report.visited:
            return f"{source!r} has nothing to bring to {target!r}."
        there = "is" if report.visited == 1 else "are"
        return (
            f"{counted(report.visited, noun)} of {source!r} {there} in {target!r} already, "
            "unchanged."
        )
    parts = [f"{counted(report.documents, 'document')} embedded"]
    parts.append(f"{counted(report.written, 'point')} written to {target!r}")
    if report.deleted:
        parts.append(f"{report.deleted} deleted there")
    rate = per_second(report.tokens, seconds)
    return (
        f"{', '.join(parts)} in {seconds:.1f} s: {counted(report.tokens, 'token')} "
        f"({rate:.0f} per second)."
    )


def check_lines(check: MigrationCheck, migration: Migration) -> list[str]:
    """What a check found, in plain sentences."""
    source, target = migration.source.collection, migration.target.collection
    counts = (
        f"{counted(check.source_points, 'point')} in {source!r}, "
        f"{counted(check.target_points, 'point')} in {target!r}"
    )
    problems = check.problems()
    if problems:
        lines = [f"Not as it should be: {counts}."]
        lines += [f"  {in_options(one)}" for one in problems]
    else:
        lines = [f"Verified: {counts}, and every document is in both as it should be."]
    if check.left_out:
        lines.append(f"{counted(check.left_out, 'point')} without a text left out, as asked for.")
    if check.worst_cosine is not None:
        lines.append(
            f"{counted(check.sampled, 'document')} embedded again: the lowest cosine of a stored "
            f"vector to the new one is {check.worst_cosine:.4f}."
        )
    if check.still_indexing:
        lines.append(
            f"The store still builds the graph of {target!r}: searches are slow until it is done."
        )
    return lines


def after_check(
    check: MigrationCheck, state: dict[str, Any], migration: Migration, location: str
) -> list[str]:
    """What to type after a check, as the journal has it."""
    source, target = migration.source, migration.target.collection
    if state["switched"]:
        return [
            f"Alias {state['alias']!r} names {target!r} already: what was written to it since is "
            "in it only.",
            *after_switch(location, source.collection, target),
        ]
    again = f"Next: {command('run', location, target)}"
    if not check.ok:
        return [again]
    if not state["verified"]:
        return ["The last run was cut short and has not come to its end.", again]
    alias = state["alias"] or _alias_of(source)
    more = f"--alias {shlex.quote(alias)}" if alias else "--alias ALIAS"
    lines = [f"Next: {command('switch', location, target, more)}"]
    if not alias:
        lines.append(
            f"ALIAS is a new name, which searches use from then on in place of "
            f"{source.collection!r}."
        )
    return lines


def after_switch(location: str, source: str, target: str) -> list[str]:
    """The two ways on after a switch."""
    delete = f"--delete {shlex.quote(source)}"
    return [
        f"To undo it: {command('rollback', location, target)}",
        "Next, when all is well; there is no way back after it: "
        + command("finalize", location, target, delete),
    ]


def _alias_of(source: Points) -> str | None:
    """The name that searches use for the source today, if it is an alias."""
    found = source.call("reading the aliases", source.client.get_aliases)
    names = [one.alias_name for one in found.aliases if one.collection_name == source.collection]
    return names[0] if len(names) == 1 else None


# Numbers for people


def _rounded(number: int) -> str:
    """To two digits: more would be a lie."""
    if number < 10**_DIGITS:
        return str(number)
    power = 10 ** (len(str(number)) - _DIGITS)
    return f"{round(number / power) * power:,}"


def _duration(seconds: float) -> str:
    units = (("second", 1.0), ("minute", 60.0), ("hour", 3600.0), ("day", 86400.0))
    if seconds < 1:
        return "less than a second"
    name, size = next((unit for unit in reversed(units) if seconds >= 2 * unit[1]), units[0])
    return f"about {counted(round(seconds / size), name)}"


def _bytes(number: int) -> str:
    size = float(number)
    for unit in ("bytes", "kB", "MB", "GB"):
        if size < 1000:  # noqa: PLR2004 - the next unit
            return f"{size:.0f} {unit}" if unit == "bytes" else f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:,.3g} TB"
