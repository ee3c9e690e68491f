"""The command line: `jina-local`.

Exit codes: 0 done; 1 an error, whose message is on standard error; 2 wrong usage; 130 Ctrl-C.
A command that has more of them says so in its help.
Results go to standard output, everything else to standard error, so that pipes stay clean.

Integrations add commands, and groups of them, through the entry-point group `jina_local.commands`;
their modules are imported here and must stay as light as this one.
"""

from __future__ import annotations

import json
import os
import sys
from contextlib import contextmanager
from enum import StrEnum
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, Any, NoReturn

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from jina_local.__about__ import __version__
from jina_local.errors import (
    InvalidOptionError,
    JinaLocalError,
    ModelNotFoundError,
    UnknownTaskError,
)
from jina_local.files import written_whole

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from jina_local.checkpoint import Checkpoint
    from jina_local.engine import Engine
    from jina_local.results import Embeddings
    from jina_local.source import ModelSource
    from jina_local.tokens import TextTokenizer

__all__ = [
    "LICENCE_NOTE",
    "DeviceOption",
    "DimensionsOption",
    "DtypeOption",
    "JsonOption",
    "ModelOption",
    "build_app",
    "error_console",
    "main",
    "progress",
    "read_lines",
    "read_text",
    "task_named",
]

COMMAND_GROUP = "jina_local.commands"
LICENCE_NOTE = "The weights of jina-embeddings-v3 are licensed CC BY-NC 4.0: no commercial use."

ModelOption = Annotated[
    str,
    typer.Option(
        "--model",
        "-m",
        envvar="JINA_LOCAL_MODEL",
        help=f"Folder, hub id (jinaai/jina-embeddings-v3) or 'demo'. {LICENCE_NOTE}",
    ),
]
DimensionsOption = Annotated[
    int | None,
    typer.Option(
        "--dimensions", "-d", help="Matryoshka dimension; the model's width if not given."
    ),
]
DeviceOption = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")]
DtypeOption = Annotated[str, typer.Option(help="auto, float32, bfloat16 or float16.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON on standard output.")]


class Overflow(StrEnum):
    """What happens to a text that is longer than the model."""

    error = "error"
    truncate = "truncate"
    window = "window"


def main() -> NoReturn:
    """Run the command line and exit."""
    # GNU OpenMP spins at barriers, which on a busy machine makes everything several times slower.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        build_app()(prog_name="jina-local")
    except (JinaLocalError, OSError) as error:  # OSError: a disk that is full, a forbidden folder
        message = Text.assemble(("error:", "bold red"), f" {error}")  # no markup in what was given
        error_console().print(message, soft_wrap=True)
        sys.exit(1)
    sys.exit(0)


def build_app() -> typer.Typer:
    """The application with the commands of this package and of every integration."""
    # which take the options that are defined here
    from jina_local.chunks_command import chunks
    from jina_local.compare_command import compare
    from jina_local.export_command import export
    from jina_local.verify_command import verify

    app = typer.Typer(
        name="jina-local",
        help="jina-embeddings-v3 on your own machine.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
    )
    app.callback()(_options)
    app.command()(embed)
    app.command()(info)
    app.command()(chunks)
    app.command()(compare)
    app.command()(verify)
    app.add_typer(export, name="export")
    for entry in sorted(entry_points(group=COMMAND_GROUP), key=lambda entry: entry.name):
        command = _load_command(entry)
        if isinstance(command, typer.Typer):
            app.add_typer(command, name=entry.name)
        else:
            app.command(entry.name)(command)
    return app


def error_console() -> Console:
    """Where everything goes that is not a result."""
    return Console(stderr=True, highlight=False)


@contextmanager
def progress(description: str, total: int) -> Iterator[Callable[[int], None] | None]:
    """A bar on standard error that leaves no trace when it is done; nothing if nobody watches.

    Yields:
        What to call with the number finished so far.
    """
    console = error_console()
    if not console.is_terminal:
        yield None
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as bar:
        step = bar.add_task(description, total=total)
        yield lambda finished: bar.update(step, completed=finished)


def embed(
    source: Annotated[
        str, typer.Argument(metavar="[FILE]", help="One text per line; '-' is standard input.")
    ] = "-",
    *,
    output: Annotated[
        str,
        typer.Option("--output", "-o", help="FILE.npy, FILE.jsonl, or '-' for JSON lines here."),
    ] = "-",
    task: Annotated[
        str,
        typer.Option("--task", "-t", help="query, document, one of the model's tasks, or none."),
    ] = "document",
    model: ModelOption = "demo",
    dimensions: DimensionsOption = None,
    on_overflow: Annotated[
        Overflow | None, typer.Option(help="For texts longer than the model.")
    ] = None,
    device: DeviceOption = "auto",
    dtype: DtypeOption = "auto",
) -> None:
    """Embed the lines of a file: vectors as .npy or JSON lines."""
    writer = _writer_for(output)
    texts = read_lines(source)
    from jina_local.engine import Engine

    with Engine.load(model, device=device, dtype=dtype) as engine:
        used = task_named(engine, task)
        with progress("embedding", total=len(texts)) as report:
            embeddings = engine.embed(
                texts,
                task=used,
                dimensions=dimensions,
                on_overflow=on_overflow.value if on_overflow else None,
                progress=report,
            )
    writer(embeddings)
    windowed, cut = int((embeddings.windows > 1).sum()), int(embeddings.truncated.sum())
    error_console().print(
        f"{len(embeddings)} texts, {embeddings.token_counts.sum()} tokens → "
        f"{embeddings.vectors.shape[1]} dimensions; {windowed} in windows, {cut} truncated"
    )


def task_named(engine: Engine, name: str) -> str | None:
    """The task that a name on the command line stands for: a task, a role, or `none`.

    Raises:
        UnknownTaskError: If it stands for nothing.
    """
    from jina_local.tasks import ROLE_TASKS

    names: dict[str, str | None] = dict(ROLE_TASKS.items())
    names |= {"none": None, **{name: name for name in engine.tasks}}
    if name not in names:
        msg = f"unknown task {name!r}: give one of {', '.join(names)}"
        raise UnknownTaskError(msg)
    return names[name]


def info(
    model: Annotated[str, typer.Argument(help="Folder, hub id, or 'demo'.")],
    *,
    weights_id: Annotated[
        bool, typer.Option("--weights-id", help="Also hash the weights, which reads them all.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """What a checkpoint is: layout, sizes, tasks with their instructions, licence."""
    from jina_local.checkpoint import open_checkpoint
    from jina_local.fingerprint import weights_id as hash_weights
    from jina_local.source import resolve_source
    from jina_local.tokens import read_tokenizer

    source = resolve_source(model)
    checkpoint = open_checkpoint(source.folder)
    facts = _facts(source, checkpoint, read_tokenizer(source.folder))
    if weights_id:
        facts["weights id"] = hash_weights(checkpoint)
    if as_json:
        sys.stdout.write(json.dumps(facts, indent=2, ensure_ascii=False) + "\n")
        return
    table = Table("", "", title=source.name, show_header=False, title_justify="left")
    for name, value in facts.items():
        if isinstance(value, dict):
            for i, (key, text) in enumerate(value.items()):
                table.add_row("" if i else name, f"{key}  {text!r}")
        else:
            table.add_row(
                name, ", ".join(map(str, value)) if isinstance(value, list) else str(value)
            )
    Console(highlight=False, markup=False, emoji=False).print(table)


def _facts(source: ModelSource, checkpoint: Checkpoint, tokenizer: TextTokenizer) -> dict[str, Any]:
    from jina_local.recognition import UNKNOWN_WEIGHTS, recognise

    config = checkpoint.config
    return {
        "model": "demo model of jina-local: English only, not jina-embeddings-v3"
        if source.is_demo
        else "jina-embeddings-v3 architecture",
        "licence": "Apache-2.0; see NOTICE for the training texts"
        if source.is_demo
        else "as the folder says. " + LICENCE_NOTE,
        "weights": recognise(checkpoint) or UNKNOWN_WEIGHTS,
        "folder": str(source.folder),
        "layout": checkpoint.layout,
        "layers": config.n_layers,
        "width": config.width,
        "heads": config.n_heads,
        "vocabulary": config.vocab_size,
        "max tokens": tokenizer.max_tokens,
        "trained dimensions": list(config.matryoshka_dimensions),
        "tasks and instructions": {
            str(task.name): task.instruction for task in checkpoint.tasks.tasks
        },
    }


def _print_version(wanted: bool) -> None:
    if wanted:
        sys.stdout.write(f"jina-local {__version__}\n")
        raise typer.Exit


def _options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Print version."),
    ] = False,
) -> None:
    """Take the options that belong to no command."""


def _load_command(entry: EntryPoint) -> Callable[..., None] | typer.Typer:
    try:
        command: Callable[..., None] | typer.Typer = entry.load()
    except ImportError as error:
        reason = str(error)

        def unavailable() -> None:
            msg = f"`jina-local {entry.name}` cannot be loaded: {reason}"
            raise JinaLocalError(msg)

        unavailable.__doc__ = f"Not available: {reason}"
        return unavailable
    return command


def read_text(source: str, wanted: str = "a text file, or '-' for standard input") -> str:
    """The text of a file, or of standard input for `-`.

    Args:
        source: Name of a file.
        wanted: What the message asks for if there is none.

    Raises:
        ModelNotFoundError: If there is no such file.
        InvalidOptionError: If it is not UTF-8.
    """
    path = Path(source)
    if source != "-" and (not path.exists() or path.is_dir()):  # a named pipe is fine
        msg = f"no file {source!r}: give {wanted}"
        raise ModelNotFoundError(msg)
    content = sys.stdin.buffer.read() if source == "-" else path.read_bytes()
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        msg = f"{source!r} is not UTF-8 at byte {error.start}: convert it first"
        raise InvalidOptionError(msg) from error


def read_lines(source: str) -> list[str]:
    """The lines of a file, or of standard input for `-`.

    Raises:
        ModelNotFoundError: If there is no such file.
        InvalidOptionError: If it is not UTF-8.
    """
    text = read_text(source)
    lines = text.removesuffix("\n").split("\n") if text else []  # str.splitlines cuts at U+2028 too
    return [line.removesuffix("\r") for line in lines]


def _writer_for(output: str) -> Callable[[Embeddings], None]:
    path = Path(output)
    if output != "-" and path.suffix not in (".npy", ".jsonl"):
        msg = f"output {output!r} ends in neither .npy nor .jsonl, and is not '-'"
        raise InvalidOptionError(msg)
    if output != "-" and path.is_dir():
        msg = f"output {output!r} is a folder"
        raise InvalidOptionError(msg)
    if output != "-" and not path.absolute().parent.is_dir():
        msg = f"there is no folder {str(path.absolute().parent)!r} for the output"
        raise InvalidOptionError(msg)

    def write(embeddings: Embeddings) -> None:
        if output == "-":
            _write_json_lines(embeddings, sys.stdout.buffer)
            sys.stdout.flush()
            return
        with written_whole(path) as file:
            if path.suffix == ".npy":
                import numpy as np

                np.save(file, embeddings.vectors)
            else:
                _write_json_lines(embeddings, file)

    return write


def _write_json_lines(embeddings: Embeddings, file: IO[bytes]) -> None:
    for record in _records(embeddings):
        file.write(json.dumps(record).encode() + b"\n")


def _records(embeddings: Embeddings) -> Iterator[dict[str, Any]]:
    for row in range(len(embeddings)):
        yield {
            "index": row,
            "tokens": int(embeddings.token_counts[row]),
            "truncated": bool(embeddings.truncated[row]),
            "windows": int(embeddings.windows[row]),
            "embedding": [float(f"{value:.9g}") for value in embeddings.vectors[row]],
        }
