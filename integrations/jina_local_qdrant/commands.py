"""The commands that this integration adds to `jina-local`: demo, index and search.

Imported whenever the command line starts, so everything heavy is imported inside.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from jina_local.cli import (
    DeviceOption,
    DimensionsOption,
    DtypeOption,
    JsonOption,
    ModelOption,
    progress,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jina_local_qdrant.collection import Hit, IngestReport, JinaQdrant
    from jina_local_qdrant.documents import Document

__all__ = ["demo", "index", "search"]

DEMO_COLLECTION = "python-stdlib"
DEMO_QUESTIONS = (
    "read a CSV file with a header",
    "run a command and capture its output",
    "compare two lists of lines",
    "pick a random element from a list",
    "undo the changes a test made to a dictionary",
)

CollectionOption = Annotated[
    str, typer.Option("--collection", "-c", help="Name of the collection.")
]
LocationOption = Annotated[
    str, typer.Option("--to", help="Folder of the index, or URL of a Qdrant server.")
]


def index(
    paths: Annotated[
        list[Path],
        typer.Argument(help="Files and folders: .txt .md .rst .html .py, and .jsonl with `text`."),
    ],
    *,
    to: LocationOption,
    collection: CollectionOption,
    model: ModelOption = "demo",
    dimensions: DimensionsOption = None,
    chunk_tokens: Annotated[int, typer.Option(help="The most tokens of a chunk.")] = 256,
    device: DeviceOption = "auto",
    dtype: DtypeOption = "auto",
    as_json: JsonOption = False,
) -> None:
    """Embed documents as passages into a Qdrant collection; unchanged ones are skipped."""
    from jina_local.engine import Engine
    from jina_local_qdrant.collection import JinaQdrant
    from jina_local_qdrant.locations import open_client
    from jina_local_qdrant.readers import read_documents
    from jina_local_qdrant.spec import EmbeddingSpec

    documents = list(read_documents(paths))
    spec = EmbeddingSpec(dimensions=dimensions, chunk_tokens=chunk_tokens)
    with Engine.load(model, device=device, dtype=dtype) as engine:
        spec.check(engine)  # before a folder is made
        helper = JinaQdrant(open_client(to), collection, engine, spec)
        report, seconds = _ingest(helper, documents)
    if as_json:
        sys.stdout.write(json.dumps(asdict(report) | {"seconds": round(seconds, 3)}) + "\n")
        return
    Console(highlight=False).print(_summary(report, seconds), soft_wrap=True)


def search(
    query: Annotated[str, typer.Argument(help="A question, in your own words.")],
    *,
    location: Annotated[
        str, typer.Option("--in", help="Folder of the index, or URL of a Qdrant server.")
    ],
    collection: CollectionOption,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="The most hits.")] = 5,
    model: Annotated[
        str | None,
        typer.Option("--model", "-m", help="Where the collection's model is now, if it moved."),
    ] = None,
    device: DeviceOption = "auto",
    dtype: DtypeOption = "auto",
    as_json: JsonOption = False,
) -> None:
    """Embed a question as a query and print the best chunks."""
    from jina_local.engine import Engine
    from jina_local_qdrant.collection import JinaQdrant
    from jina_local_qdrant.locations import open_client, recorded
    from jina_local_qdrant.spec import EmbeddingSpec

    client = open_client(location, create=False)
    record = recorded(client, collection)
    spec = EmbeddingSpec(dimensions=record["dimensions"], chunk_tokens=record["chunk_tokens"])
    revision = None if model else record.get("revision")
    source = model or record["model"]
    with Engine.load(source, revision=revision, device=device, dtype=dtype) as engine:
        hits = JinaQdrant(client, collection, engine, spec).search(query, limit=limit)
    if as_json:
        sys.stdout.write(json.dumps([asdict(hit) for hit in hits], ensure_ascii=False) + "\n")
        return
    _print_hits(Console(highlight=False), hits)


def demo(
    *,
    to: LocationOption = "jina-local-demo",
    model: ModelOption = "demo",
    device: DeviceOption = "auto",
    dtype: DtypeOption = "auto",
) -> None:
    """Index the documentation of Python's standard library and answer a few questions."""
    from jina_local.engine import Engine
    from jina_local_qdrant.collection import JinaQdrant
    from jina_local_qdrant.locations import open_client
    from jina_local_qdrant.stdlib_docs import stdlib_passages

    console = Console(highlight=False)
    passages = list(stdlib_passages())
    version = ".".join(map(str, sys.version_info[:3]))
    console.print(f"The standard library of Python {version}: {len(passages)} passages.")
    with Engine.load(model, device=device, dtype=dtype) as engine:
        helper = JinaQdrant(open_client(to), DEMO_COLLECTION, engine)
        report, seconds = _ingest(helper, passages)
        console.print(_summary(report, seconds), soft_wrap=True)
        start = time.perf_counter()
        answers = helper.search_batch(DEMO_QUESTIONS, limit=3)
        milliseconds = 1000 * (time.perf_counter() - start) / len(DEMO_QUESTIONS)
    for question, hits in zip(DEMO_QUESTIONS, answers, strict=True):
        console.print(f"\n[bold]{question}[/]")
        _print_hits(console, hits)
    console.print(f"\n{milliseconds:.0f} ms per question, embedding and exact search together.\n")
    console.print(_next_steps(to), soft_wrap=True)


def _ingest(helper: JinaQdrant, documents: Sequence[Document]) -> tuple[IngestReport, float]:
    start = time.perf_counter()
    with progress("indexing", total=len(documents)) as finished:
        report = helper.ingest(documents, progress=finished)
    return report, time.perf_counter() - start


def _summary(report: IngestReport, seconds: float) -> str:
    if not report.embedded:
        return f"All {report.documents} documents were there already, unchanged."
    return (
        f"{report.embedded} documents embedded and stored in {seconds:.1f} s, {report.skipped} "
        f"unchanged: {report.chunks} vectors ({report.chunks / seconds:.0f} per second), "
        f"{report.tokens} tokens ({report.tokens / seconds:.0f} per second)."
    )


_ID_WIDTH = 28


def _print_hits(console: Console, hits: Sequence[Hit]) -> None:
    """One line per hit: score, document, and as much of the text as fits."""
    table = Table.grid(padding=(0, 2), expand=True)
    id_width = min(_ID_WIDTH, max((len(hit.doc_id) for hit in hits), default=0))
    table.add_column(width=len("0.000"))
    table.add_column(width=id_width, no_wrap=True, overflow="ellipsis")
    table.add_column(ratio=1, no_wrap=True, overflow="ellipsis")
    for hit in hits:
        table.add_row(f"{hit.score:.3f}", Text(hit.doc_id), Text(_one_line(hit)))
    console.print(table if hits else "nothing found")


def _one_line(hit: Hit) -> str:
    """The chunk without line breaks, and without a title that only repeats the document's id."""
    title, _, body = hit.text.partition("\n\n")
    shown = body if body and title.startswith(hit.doc_id) else hit.text
    return " ".join(shown.split())


def _next_steps(to: str) -> str:
    command = _this_command()
    where = f"--collection {DEMO_COLLECTION}"
    lines = (
        ("Ask it yourself", f'{command} search "sort a list of words" --in {to} {where}'),
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
