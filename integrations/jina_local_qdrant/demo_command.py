"""`jina-local demo`: the documentation of Python's standard library, indexed and searched.

Imported whenever the command line starts, so everything heavy is imported inside.
"""

# ruff: noqa: TC001 - typer reads annotations at run time

from __future__ import annotations

import os
import shlex
import shutil
import sys
import time
from contextlib import closing
from pathlib import Path

from rich.console import Console

from jina_local.cli import DeviceOption, DtypeOption, ModelOption
from jina_local_qdrant.command_options import ToOption
from jina_local_qdrant.index_report import summary
from jina_local_qdrant.ingest_display import ingest_watched
from jina_local_qdrant.search_command import print_hits

__all__ = ["demo"]

DEMO_COLLECTION = "python-stdlib"
DEMO_QUESTIONS = (
    "read a CSV file with a header",
    "run a command and capture its output",
    "compare two lists of lines",
    "pick a random element from a list",
    "undo the changes a test made to a dictionary",
)


def demo(
    *,
    to: ToOption = "jina-local-demo",
    model: ModelOption = "demo",
    device: DeviceOption = "auto",
    dtype: DtypeOption = "auto",
) -> None:
    """Index the documentation of Python, and answer a few questions."""
    from jina_local_qdrant.locations import check_place, is_edge, open_place

    check_place(to, DEMO_COLLECTION, create=True)
    from jina_local.engine import Engine
    from jina_local_qdrant.collection import JinaQdrant
    from jina_local_qdrant.stdlib_docs import stdlib_passages
    from jina_local_qdrant.syncing import SyncReport

    console = Console(highlight=False)
    passages = list(stdlib_passages())
    version = ".".join(map(str, sys.version_info[:3]))
    console.print(f"The standard library of Python {version}: {len(passages)} passages.")
    with (
        Engine.load(model, device=device, dtype=dtype) as engine,
        open_place(to) as client,
        closing(JinaQdrant(client, DEMO_COLLECTION, engine)) as helper,
    ):
        report, seconds = ingest_watched(
            lambda progress: SyncReport(helper.ingest(passages, progress=progress)),
            lambda: len(passages),
        )
        console.print(summary(report.ingested, seconds), soft_wrap=True)
        if is_edge(to):
            helper.finish_bulk()
        start = time.perf_counter()
        answers = helper.search_batch(DEMO_QUESTIONS, limit=3)
        milliseconds = 1000 * (time.perf_counter() - start) / len(DEMO_QUESTIONS)
    for question, hits in zip(DEMO_QUESTIONS, answers, strict=True):
        console.print(f"\n[bold]{question}[/]")
        print_hits(console, hits)
    console.print(f"\n{milliseconds:.0f} ms per question, embedding and search together.\n")
    console.print(_next_steps(to), soft_wrap=True)


def _next_steps(to: str) -> str:
    command = _this_command()
    where = f"--in {shlex.quote(to)} --collection {DEMO_COLLECTION}"
    lines = (
        ("Ask it yourself", f'{command} search "sort a list of words" {where}'),
        ("Index a folder", f"{command} index FOLDER --to my-index --collection docs"),
        ("With the real model", f"{command} index FOLDER … --model jinaai/jina-embeddings-v3"),
    )
    commands = "\n".join(f"{what}:\n  {line}" for what, line in lines)
    return (
        f"{commands}\n\nThe real model is a download of 1.1 GB; its weights are licensed "
        "CC BY-NC 4.0 (no commercial use)."
    )


def _this_command() -> str:
    """How to call this command line again from here: by name if it is on the path."""
    here = Path(sys.argv[0]).resolve()
    found = shutil.which(here.name)
    if found and Path(found).resolve() == here:
        return here.name
    return os.path.relpath(here) if here.is_relative_to(Path.cwd()) else str(here)
