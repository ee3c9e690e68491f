"""`jina-local migrate`: a collection moves to other vectors, while searches go on.

Exit codes: 0 done; 1 an error; 2 wrong usage; 4 `verify` found something wrong; 130 Ctrl-C.
Imported whenever the command line starts, so everything heavy is imported inside; `rollback` and
`finalize` load no model and no torch.
"""

# ruff: noqa: TC001, TC003 - typer reads annotations at run time

from __future__ import annotations

import shlex
import sys
from dataclasses import asdict
from pathlib import Path

import typer

from jina_local.cli import DeviceOption, DtypeOption, JsonOption
from jina_local_qdrant.inspect_commands import NOT_VERIFIED
from jina_local_qdrant.migrate_display import run_watched, step
from jina_local_qdrant.migrate_opening import (
    RunsOn,
    in_options,
    open_begun,
    open_chosen,
    open_server,
)
from jina_local_qdrant.migrate_options import (
    AliasOption,
    DeleteOption,
    LocationOption,
    RecordedModelOption,
    ReportOption,
    SampleOption,
    TargetOption,
)
from jina_local_qdrant.migrate_report import (
    after_check,
    after_switch,
    check_lines,
    command,
    plan_lines,
    plan_table,
    run_line,
    say,
    say_json,
    say_table,
)
from jina_local_qdrant.migrate_settings import Asked, taking_settings

__all__ = ["migrate"]

migrate = typer.Typer(no_args_is_help=True, rich_markup_mode=None)


@migrate.callback()
def _about() -> None:
    """Move a collection to other vectors, while searches go on.

    Every text of it is embedded again, into a new collection beside the old one; what it was
    made with, and by whom, does not matter. In this order: plan, run, verify, switch, finalize;
    rollback undoes the switch. All of them may be interrupted and called again. The old
    collection is only read, until `finalize --delete` names it.

    Exit codes: 0 done; 1 an error; 2 wrong usage; 4 verify found something wrong; 130 Ctrl-C.
    """


# Before the switch


@migrate.command("plan")
@taking_settings
def plan(asked: Asked) -> None:
    """Say what a migration would do, and write nothing.

    A few documents are embedded to estimate how long all take. Exit codes: 0 it can be run; 1 an
    error, or it cannot be run as it is; 2 wrong usage.
    """
    with (
        step("nothing was written"),
        open_chosen(asked.location, asked.target, asked.chosen, asked.runs_on) as migration,
    ):
        found = migration.plan()
        if asked.as_json:
            say_json(found.as_dict() | {"refusals": [in_options(one) for one in found.refusals]})
        else:
            say_table(plan_table(found, migration))
            say(plan_lines(found, _run_with_these_options(asked)))
    raise typer.Exit(1 if found.refusals else 0)


def _run_with_these_options(asked: Asked) -> str:
    """What to type to carry out the plan that was just typed."""
    words = sys.argv
    if words[1:3] != ["migrate", "plan"]:
        return command("run", asked.location, asked.target, "…")
    return shlex.join(["jina-local", "migrate", "run", *words[3:]])


@migrate.command("run")
@taking_settings
def run(asked: Asked) -> None:
    """Fill the new collection; what is there already is not embedded again.

    May be interrupted at any moment. To go on, --in and --to are enough: all settings are those of
    the first run. Run again, it brings what has changed since.

    Exit codes: 0 done; 1 an error; 2 wrong usage; 130 Ctrl-C.
    """
    with (
        step(),
        open_chosen(asked.location, asked.target, asked.chosen, asked.runs_on) as migration,
    ):
        report, seconds = run_watched(migration)
        if asked.as_json:
            say_json(asdict(report) | {"seconds": round(seconds, 3)})
            return
        next_step = command("verify", asked.location, asked.target)
        say([run_line(report, seconds, migration), f"Next: {next_step}"])


@migrate.command()
def verify(
    *,
    location: LocationOption,
    target: TargetOption,
    sample: SampleOption = 20,
    report: ReportOption = None,
    model: RecordedModelOption = None,
    device: DeviceOption = "auto",
    dtype: DtypeOption = "auto",
    as_json: JsonOption = False,
) -> None:
    """Compare both collections, and embed some documents again.

    Every point of both is looked at. Exit codes: 0 searches can be switched; 1 an error; 2 wrong
    usage; 4 something is wrong, or the run has not come to its end.
    """
    _check_report(report)
    with (
        step("nothing was found out; the same command again begins anew"),
        open_begun(location, target, RunsOn(model=model, device=device, dtype=dtype)) as migration,
    ):
        from jina_local_qdrant.migration.journal import Journal
        from jina_local_qdrant.migration.lifecycle import begun

        check = migration.verify(sample=sample, report=report)
        state = begun(Journal(migration.source.client, target), target)
        if as_json:
            say_json(check.as_dict())
        else:
            say(
                [
                    *check_lines(check, migration),
                    *after_check(check, state, migration, location),
                ]
            )
    raise typer.Exit(0 if state["verified"] else NOT_VERIFIED)


def _check_report(report: Path | None) -> None:
    if report is not None and (report.is_dir() or not report.absolute().parent.is_dir()):
        msg = f"--report is {str(report)!r}: give a file in a folder that is there"
        raise typer.BadParameter(msg)


@migrate.command()
def switch(
    *,
    location: LocationOption,
    target: TargetOption,
    alias: AliasOption,
    model: RecordedModelOption = None,
    device: DeviceOption = "auto",
    dtype: DtypeOption = "auto",
    as_json: JsonOption = False,
) -> None:
    """Let an alias name the new collection, in one request.

    Only after `verify` has found everything right. What was written through a `DualWriter` since
    is brought once more before. Exit codes: 0 done; 1 an error; 2 wrong usage.
    """
    from jina_local_qdrant.locations import check_place

    check_place(location, alias, create=False)  # what is no name of a collection is none here
    with (
        step("the same command again ends it"),
        open_begun(location, target, RunsOn(model=model, device=device, dtype=dtype)) as migration,
    ):
        migration.switch(alias)
        source = migration.source.collection
    if as_json:
        say_json({"alias": alias, "collection": target})
        return
    say([f"Alias {alias!r} names {target!r} now.", *after_switch(location, source, target)])


# After the switch


@migrate.command()
def rollback(
    *, location: LocationOption, target: TargetOption, as_json: JsonOption = False
) -> None:
    """Let the alias name the old collection again.

    Loads no model. Exit codes: 0 done; 1 an error; 2 wrong usage.
    """
    with step("the same command again ends it"), open_server(location, target) as client:
        from jina_local_qdrant.migration import lifecycle
        from jina_local_qdrant.migration.journal import Journal

        journal = Journal(client, target)
        state = lifecycle.begun(journal, target)
        lifecycle.rollback(client, target)
    alias, source = state["alias"], state["source"]
    if as_json:
        say_json({"alias": alias, "collection": source})
        return
    again = command("run", location, target)
    say([f"Alias {alias!r} names {source!r} again.", f"Next, to try it once more: {again}"])


@migrate.command()
def finalize(
    *,
    location: LocationOption,
    target: TargetOption,
    delete: DeleteOption = None,
    as_json: JsonOption = False,
) -> None:
    """End the migration; there is no way back after it.

    The old collection is deleted only if --delete names it. Loads no model. Exit codes: 0 done; 1
    an error; 2 wrong usage.
    """
    with step("the same command again ends it"), open_server(location, target) as client:
        from jina_local_qdrant.migration import lifecycle
        from jina_local_qdrant.migration.journal import Journal

        journal = Journal(client, target)
        state = lifecycle.begun(journal, target)
        lifecycle.finalize(client, target, delete=delete)
    source = state["source"]
    if as_json:
        say_json({"collection": target, "old": source, "deleted": delete is not None})
        return
    old = "is deleted" if delete else "stays as it is"
    say(
        [
            f"The migration is finished: alias {state['alias']!r} names {target!r}, and {source!r} "
            f"{old}.",
            "Nothing is left to do.",
        ]
    )
