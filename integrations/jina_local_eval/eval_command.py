"""`jina-local eval`: quality on your own questions, or on the public suites of MTEB.

Imported whenever the command line starts, so everything heavy is imported inside.
"""

# ruff: noqa: TC003 - typer reads annotations at run time

from __future__ import annotations

import json
import sys
from contextlib import ExitStack
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from jina_local.cli import DeviceOption, DtypeOption, JsonOption, error_console, progress
from jina_local.errors import InvalidOptionError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from jina_local import Engine
    from jina_local_eval.encodings import Encoding
    from jina_local_eval.evaluation import PooledSet, Split
    from jina_local_eval.questions import QuestionSet

__all__ = ["evaluate"]

_CHUNK_TOKENS = 256
_HALVINGS = 4
_SMALLEST = 8
_ENCODINGS = "float32,int8,binary"
_SCORES_OFF = 4


class Suite(StrEnum):
    """Tasks of MTEB that are run together."""

    smoke = "smoke"
    rag = "rag"


def evaluate(
    model: Annotated[
        str,
        typer.Argument(
            metavar="[MODEL]", envvar="JINA_LOCAL_MODEL", help="Folder, hub id, or 'demo'."
        ),
    ] = "demo",
    *,
    questions: Annotated[
        str | None,
        typer.Option(
            "--questions",
            "-q",
            help='FILE.jsonl with lines of {"question": "…", "documents": ["id", …]}, or '
            "'stdlib', 48 questions about Python's standard library.",
        ),
    ] = None,
    documents: Annotated[
        list[Path] | None,
        typer.Option(
            help="Folder, file, or .jsonl with id and text; the id of a file is its path "
            "in the folder. May be given several times."
        ),
    ] = None,
    dimensions: Annotated[
        str | None,
        typer.Option(
            "--dimensions", "-d", help="Such as 1024,256.", show_default="the width, three halvings"
        ),
    ] = None,
    encodings: Annotated[
        str | None,
        typer.Option("--encodings", "-e", help="Such as float32,binary.", show_default=_ENCODINGS),
    ] = None,
    chunk_tokens: Annotated[
        int | None,
        typer.Option(min=1, help="The most tokens of a chunk.", show_default=str(_CHUNK_TOKENS)),
    ] = None,
    adapter: Annotated[
        list[str] | None,
        typer.Option(
            metavar="TASK=FOLDER",
            help="An adapter of your own in the place of retrieval.query or retrieval.passage. "
            "May be given once for each.",
        ),
    ] = None,
    plot: Annotated[
        Path | None, typer.Option(help="Also draw a picture: FILE.png, FILE.svg or FILE.pdf.")
    ] = None,
    suite: Annotated[
        Suite | None,
        typer.Option(help="Run tasks of MTEB instead, which downloads their data."),
    ] = None,
    results: Annotated[
        Path | None,
        typer.Option(help="Folder for mteb's results; a suite that was cut short goes on there."),
    ] = None,
    device: DeviceOption = "auto",
    dtype: DtypeOption = "auto",
    as_json: JsonOption = False,
) -> None:
    """How good the vectors are, on your own questions or on public ones.

    With --questions: plain chunks against late chunking, by dimension and encoding, with BM25 as
    the floor. A document is as good as its best chunk. With --suite: scores of MTEB tasks against
    those published for jina-embeddings-v3; exit code 4 if one is off.
    """
    if (questions is None) == (suite is None):
        msg = "give either --questions FILE or --suite smoke|rag"
        raise typer.BadParameter(msg)
    for name, value, is_for_questions in (
        ("--documents", documents, True),
        ("--dimensions", dimensions, True),
        ("--encodings", encodings, True),
        ("--chunk-tokens", chunk_tokens, True),
        ("--adapter", adapter, True),
        ("--plot", plot, True),
        ("--results", results, False),
    ):
        if value is not None and is_for_questions != (questions is not None):
            msg = f"{name} is for {'--questions' if is_for_questions else '--suite'}"
            raise typer.BadParameter(msg)
    if suite is not None:
        _evaluate_suite(model, suite, results, device=device, dtype=dtype, as_json=as_json)
    elif questions is not None:
        _evaluate_questions(
            model,
            questions,
            documents or [],
            dimensions=None if dimensions is None else _numbers(dimensions),
            encodings=_encodings(_ENCODINGS if encodings is None else encodings),
            chunk_tokens=chunk_tokens or _CHUNK_TOKENS,
            adapters=_adapters(adapter or []),
            plot=plot,
            device=device,
            dtype=dtype,
            as_json=as_json,
        )


# Questions


def _evaluate_questions(
    model: str,
    source: str,
    paths: Sequence[Path],
    *,
    dimensions: list[int] | None,
    encodings: list[Encoding],
    chunk_tokens: int,
    adapters: dict[str, str],
    plot: Path | None,
    device: str,
    dtype: str,
    as_json: bool,
) -> None:
    from jina_local.chunks_command import model_name
    from jina_local.pictures import check_plot
    from jina_local.splitting import check_chunk_tokens
    from jina_local_eval.bm25 import check_bm25

    check_bm25()
    check_chunk_tokens(chunk_tokens, install="jina-local[eval]")
    if plot is not None:
        check_plot(plot, install="jina-local[eval]")
    asked = _question_set(source, paths)
    from jina_local.engine import Engine
    from jina_local_eval.encodings import check_encodings
    from jina_local_eval.evaluation import evaluate as score
    from jina_local_eval.evaluation import split
    from jina_local_eval.report import print_report, record

    with Engine.load(model, device=device, dtype=dtype, adapters=adapters) as engine:
        sizes = check_encodings(
            _halvings(engine.dimension) if dimensions is None else dimensions,
            encodings,
            engine.dimension,
        )
        name = ", ".join(
            [model_name(engine), *(f"{task} of {adapters[task]}" for task in adapters)]
        )
        parts = split(engine, asked, chunk_tokens)
        pooled = _pooled(engine, asked, parts)
    found = score(asked, parts, pooled, dimensions=sizes, encodings=encodings)
    if plot is not None:
        from jina_local_eval.eval_plot import draw_evaluation

        draw_evaluation(plot, found, name=asked.name, model=name)
    if as_json:
        _write_json(record(found, name=asked.name, model=name, chunk_tokens=chunk_tokens))
    else:
        print_report(Console(highlight=False), found, name=asked.name, model=name)


def _question_set(source: str, paths: Sequence[Path]) -> QuestionSet:
    from jina_local_eval.questions import read_question_set
    from jina_local_eval.stdlib_set import STDLIB, stdlib_set

    if source == STDLIB:
        if paths:
            msg = f"--questions {STDLIB} brings its own documents: leave out --documents"
            raise typer.BadParameter(msg)
        return stdlib_set()
    if not paths:
        msg = "--questions FILE needs --documents: the folder or .jsonl that its ids are from"
        raise typer.BadParameter(msg)
    return read_question_set(source, paths)


def _pooled(engine: Engine, asked: QuestionSet, parts: Split) -> PooledSet:
    """Embed everything, with a bar for each step."""
    from jina_local_eval.evaluation import pool

    with ExitStack() as bars:

        def watch(what: str, total: int) -> Callable[[int], None] | None:
            bars.close()
            return bars.enter_context(progress(f"embedding {what}", total))

        return pool(engine, asked, parts, watch)


def _adapters(given: Sequence[str]) -> dict[str, str]:
    """Folders by the tasks that questions and documents are embedded as."""
    from jina_local.adapter_folders import check_adapter_folders
    from jina_local.tasks import ROLE_TASKS

    adapters: dict[str, str] = {}
    for one in given:
        task, _, folder = one.partition("=")
        if task not in ROLE_TASKS.values() or not folder or task in adapters:
            forms = " or ".join(f"{task}=FOLDER" for task in ROLE_TASKS.values())
            msg = f"--adapter is {one!r}: give {forms}, each once; nothing else is embedded here"
            raise InvalidOptionError(msg)
        adapters[task] = folder
    return check_adapter_folders(adapters)


def _numbers(given: str) -> list[int]:
    try:
        return [int(part) for part in given.split(",")]
    except ValueError as error:
        msg = f"--dimensions is {given!r}: give integers with commas between, such as 1024,256"
        raise InvalidOptionError(msg) from error


def _encodings(given: str) -> list[Encoding]:
    from jina_local_eval.encodings import Encoding

    names = list(dict.fromkeys(part.strip() for part in given.split(",")))
    if unknown := [name for name in names if name not in set(Encoding)]:
        msg = f"unknown encoding {unknown[0]!r}: give some of {_ENCODINGS}"
        raise InvalidOptionError(msg)
    return [Encoding(name) for name in names]


def _halvings(width: int) -> list[int]:
    """The width, a half of it, a quarter and an eighth, as far as these fill bytes with bits."""
    sizes = [width // 2**power for power in range(_HALVINGS)]
    return [sizes[0]] + [size for size in sizes[1:] if size % _SMALLEST == 0 and size]


# Suites


def _evaluate_suite(
    model: str, suite: Suite, results: Path | None, *, device: str, dtype: str, as_json: bool
) -> None:
    from jina_local.source import resolve_source
    from jina_local_eval.suites import check_mteb, compare, run_suite, suite_tasks

    check_mteb()
    if results is not None and results.exists() and not results.is_dir():
        msg = f"--results {str(results)!r} is no folder"
        raise InvalidOptionError(msg)
    if resolve_source(model).is_demo:
        msg = (
            "the demo model is not jina-embeddings-v3, and the suites' scores are not its own: "
            "name a folder with the real weights, or jinaai/jina-embeddings-v3"
        )
        raise InvalidOptionError(msg)
    from jina_local.chunks_command import model_name
    from jina_local.engine import Engine
    from jina_local_eval.suite_report import print_suite, suite_record

    expected = suite_tasks(suite)
    with Engine.load(model, device=device, dtype=dtype) as engine:
        name, used = model_name(engine), engine.dtype
        finished = run_suite(engine, expected, results)
    rows = compare(expected, finished.scores, dtype=used)
    for task, reason in finished.failures.items():
        error_console().print(f"{task} failed: {reason}", soft_wrap=True, markup=False)
    if as_json:
        _write_json(suite_record(rows, suite=suite, model=name, dtype=used))
    else:
        print_suite(Console(highlight=False), rows, suite=suite, model=name, dtype=used)
    if not all(row.is_right for row in rows):
        error_console().print("some scores are not the published ones; see the table")
        raise typer.Exit(_SCORES_OFF)


def _write_json(content: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(content, ensure_ascii=False) + "\n")
