"""The commands that this integration adds to `jina-local`: demo, index and search.

Imported whenever the command line starts, so everything heavy is imported inside.
"""

from __future__ import annotations

import json
import sys
import time
from dataclasses import asdict
from pathlib import Path  # noqa: TC003 - typer reads it from the signatures
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from jina_local.cli import (
    DeviceOption,
    DimensionsOption,
    DtypeOption,
    JsonOption,
    ModelOption,
    progress_bar,
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

    client = open_client(location)
    record = recorded(client, collection)
    spec = EmbeddingSpec(dimensions=record["dimensions"], chunk_tokens=record["chunk_tokens"])
    with Engine.load(model or record["model"], device=device, dtype=dtype) as engine:
        hits = JinaQdrant(client, collection, engine, spec).search(query, limit=limit)
    if as_json:
        sys.stdout.write(json.dumps([asdict(hit) for hit in hits], ensure_ascii=False) + "\n")
        return
    Console(highlight=False).print(_hits_table([query], [hits]))


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
    console.print(_hits_table(DEMO_QUESTIONS, answers))
    console.print(f"{milliseconds:.0f} ms per question, embedding and exact search together.\n")
    console.print(_next_steps(to), soft_wrap=True)


def _ingest(helper: JinaQdrant, documents: Sequence[Document]) -> tuple[IngestReport, float]:
    start = time.perf_counter()
    with progress_bar() as bar:
        step = bar.add_task("indexing", total=len(documents))
        report = helper.ingest(
            documents, progress=lambda finished: bar.update(step, completed=finished)
        )
    return report, time.perf_counter() - start


def _summary(report: IngestReport, seconds: float) -> str:
    if not report.embedded:
        return f"All {report.documents} documents were there already, unchanged."
    return (
        f"{report.embedded} documents embedded and stored in {seconds:.1f} s, {report.skipped} "
        f"unchanged: {report.chunks} vectors ({report.chunks / seconds:.0f} per second), "
        f"{report.tokens} tokens ({report.tokens / seconds:.0f} per second)."
    )


_SHOWN_CHARACTERS = 120


def _hits_table(queries: Sequence[str], answers: Sequence[Sequence[Hit]]) -> Table:
    table = Table("score", "found", "text", show_lines=False, pad_edge=False)
    for number, (query, hits) in enumerate(zip(queries, answers, strict=True)):
        if number:
            table.add_section()
        table.add_row("", "", f"[bold]{_escaped(query)}[/]")
        for hit in hits:
            text = " ".join(hit.text.split())
            shown = text[:_SHOWN_CHARACTERS] + "…" * (len(text) > _SHOWN_CHARACTERS)
            table.add_row(f"{hit.score:.3f}", _escaped(hit.doc_id), _escaped(shown))
    return table


def _escaped(text: str) -> str:
    from rich.markup import escape

    return escape(text)


def _next_steps(to: str) -> str:
    where = f"--collection {DEMO_COLLECTION}"
    lines: list[tuple[str, Any]] = [
        ("Ask it yourself", f'jina-local search "sort a list of words" --in {to} {where}'),
        ("Index a folder", "jina-local index FOLDER --to my-index --collection docs"),
        ("With the real model", "jina-local index FOLDER … --model jinaai/jina-embeddings-v3"),
    ]
    commands = "\n".join(f"  {what + ':':<21}{command}" for what, command in lines)
    return (
        f"{commands}\n\nThe real model is a download of 1.1 GB; its weights are licensed CC BY-NC "
        "4.0 (no commercial use)."
    )
