"""`jina-local compare`: what another dtype, another size or another model does to vectors.

Imported whenever the command line starts, so everything heavy is imported inside.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from jina_local.cli import JsonOption, progress, read_lines
from jina_local.errors import InvalidOptionError, InvalidTextsError

if TYPE_CHECKING:
    import numpy as np

    from jina_local.comparison import Comparison

__all__ = ["compare"]

_FILES = (".npy", ".npz")
_KEYS = ("dtype", "device", "dimensions", "task", "revision")
_FORMATS = {"cosine": "{:.6f}", "overlap": "{:.3f}"}
_CONTROLS = {*range(0x20), *range(0x7F, 0xA0)}


@dataclass(frozen=True, slots=True)
class _Side:
    """One of the two things that are compared.

    Attributes:
        name: As it was given.
        source: A file of vectors, or what `Engine.load` takes.
        options: Of the model.
    """

    name: str
    source: str
    options: dict[str, str]

    @property
    def is_file(self) -> bool:
        """Whether it is saved vectors."""
        return self.source.lower().endswith(_FILES) and not Path(self.source).is_dir()


@dataclass(frozen=True, slots=True, eq=False)
class _Compared:
    """All that is printed.

    Attributes:
        sides: A and B.
        n_texts: How many texts there are.
        texts: The texts, if they are known.
        comparison: The numbers.
        n_worst: How many of the worst texts are shown.
    """

    sides: tuple[_Side, _Side]
    n_texts: int
    texts: list[str] | None
    comparison: Comparison
    n_worst: int

    def worst(self) -> list[dict[str, Any]]:
        """The texts that moved most; what is not known of them is `None`."""
        numbers = self.comparison
        return [
            {
                "row": row,
                "cosine": None if numbers.cosines is None else float(numbers.cosines[row]),
                "overlap": float(numbers.overlaps[row]) if numbers.n_neighbours else None,
                "text": None if self.texts is None else self.texts[row],
            }
            for row in numbers.worst(self.n_worst)
        ]

    def record(self) -> dict[str, Any]:
        """All of it as JSON values."""
        names = {"a": self.sides[0].name, "b": self.sides[1].name, "texts": self.n_texts}
        return {**names, **self.comparison.record(), "worst": self.worst()}


def compare(
    a: Annotated[
        str,
        typer.Argument(
            metavar="A", help="MODEL, MODEL@dtype=bfloat16,dimensions=256, or FILE.npy or .npz."
        ),
    ],
    b: Annotated[str, typer.Argument(metavar="B", help="The same, for the other side.")],
    *,
    texts: Annotated[
        str | None,
        typer.Option(help="One text per line; '-' is standard input. Not needed for two files."),
    ] = None,
    task: Annotated[
        str, typer.Option("--task", "-t", help="query, document, a task, or none; see also @task=.")
    ] = "document",
    neighbours: Annotated[
        int, typer.Option("--neighbours", "-k", min=1, help="How many nearest texts are compared.")
    ] = 10,
    worst: Annotated[int, typer.Option(min=0, help="How many of the worst texts are shown.")] = 3,
    as_json: JsonOption = False,
) -> None:
    """Compare the vectors of the same texts: two models, dtypes, sizes or saved files.

    After @ come dtype, device, dimensions, task and revision. Cosines need equal dimensions;
    neighbours are compared in any case: of each text, the nearest others in A and in B.
    """
    left, right = _side(a), _side(b)
    if texts is None and not (left.is_file and right.is_file):
        msg = "a model needs --texts: a file with one text per line"
        raise typer.BadParameter(msg)
    lines = None if texts is None else _lines(texts)
    from jina_local.comparison import compare_vectors

    # what is cheap and may be refused comes first
    order = sorted({"a": left, "b": right}.items(), key=lambda side: not side[1].is_file)
    vectors = {key: _vectors(side, lines, task) for key, side in order}
    comparison = compare_vectors(vectors["a"], vectors["b"], n_neighbours=neighbours)
    compared = _Compared((left, right), len(vectors["a"]), lines, comparison, worst)
    if as_json:
        sys.stdout.write(json.dumps(compared.record(), ensure_ascii=False) + "\n")
    else:
        _print(Console(highlight=False), compared)


# Reading


def _side(given: str) -> _Side:
    source, mark, options = given.rpartition("@")
    if not mark or ("=" not in options and Path(given).exists()):
        return _Side(given, given, {})
    pairs = dict(part.partition("=")[::2] for part in options.split(","))
    unknown = [key for key, value in pairs.items() if key not in _KEYS or not value]
    if unknown:
        msg = f"{given!r}: after @ come {', '.join(f'{key}=…' for key in _KEYS)}, not {unknown}"
        raise InvalidOptionError(msg)
    side = _Side(given, source, pairs)
    if side.is_file:
        msg = f"{given!r}: saved vectors are compared as they are and take no options"
        raise InvalidOptionError(msg)
    return side


def _lines(source: str) -> list[str]:
    lines = read_lines(source)  # blank ones, too: `jina-local embed` has vectors of them
    if not lines:
        msg = f"{source!r} holds no text: give one per line"
        raise InvalidTextsError(msg)
    return lines


def _vectors(side: _Side, texts: list[str] | None, task: str) -> np.ndarray:
    if side.is_file or texts is None:
        from jina_local.comparison import read_vectors

        vectors = read_vectors(Path(side.source))
        if texts is not None and len(texts) != len(vectors):
            msg = f"{side.name!r} has {len(vectors)} vectors for {len(texts)} texts"
            raise InvalidOptionError(msg)
        return vectors
    from jina_local.cli import task_named
    from jina_local.engine import Engine

    options = side.options
    dimensions = _dimensions(options)
    with Engine.load(
        side.source,
        revision=options.get("revision"),
        device=options.get("device", "auto"),
        dtype=options.get("dtype", "auto"),
    ) as engine:
        name = task_named(engine, options.get("task", task))
        with progress(f"embedding with {side.name}", total=len(texts)) as report:
            return engine.embed(texts, task=name, dimensions=dimensions, progress=report).vectors


def _dimensions(options: dict[str, str]) -> int | None:
    given = options.get("dimensions")
    if given is None:
        return None
    if not given.isdecimal():
        msg = f"dimensions={given!r} is not a whole number"
        raise InvalidOptionError(msg)
    return int(given)


# Printing


def _print(console: Console, compared: _Compared) -> None:
    comparison, record = compared.comparison, compared.record()
    for mark, side, size in zip("AB", compared.sides, comparison.dimensions, strict=True):
        console.print(Text(f"{mark}  {side.name}: {compared.n_texts} vectors, {size} dimensions"))
    console.print()
    console.print(_distributions(comparison, record))
    if comparison.cosines is None:
        console.print("\nno cosines: vectors of different dimensions have none")
    if not comparison.n_neighbours:
        console.print("\nno neighbours: there is only one text")
    if record["worst"]:
        console.print("\nfurthest apart")
        console.print(_cases(record["worst"]))


def _distributions(comparison: Comparison, record: dict[str, Any]) -> Table:
    table = _table("", "mean", "median", "10 % below", "1 % below", "worst")
    shared = f"shared of {comparison.n_neighbours} nearest"
    for kind, name in (("cosine", "cosine"), ("overlap", shared)):
        if record[kind] is not None:
            values = record[kind].values()
            table.add_row(name, *(_FORMATS[kind].format(value) for value in values))
    return table


def _cases(worst: list[dict[str, Any]]) -> Table:
    columns = {"cosine": "cosine", "shared": "overlap"}
    known = {name: key for name, key in columns.items() if worst[0][key] is not None}
    table = _table("row", *known, expand=True)
    table.add_column("text", ratio=1, no_wrap=True, overflow="ellipsis")
    for one in worst:
        numbers = (_FORMATS[key].format(one[key]) for key in known.values())
        table.add_row(str(one["row"] + 1), *numbers, Text(_one_line(one["text"] or "")))
    return table


def _table(*columns: str, expand: bool = False) -> Table:
    table = Table(
        box=SIMPLE_HEAD, padding=(0, 1, 0, 0), expand=expand, show_edge=False, pad_edge=False
    )
    for name in columns:
        table.add_column(name, justify="right" if name else "left", no_wrap=True)
    return table


def _one_line(text: str) -> str:
    """Without what would steer a terminal."""
    return " ".join("".join(" " if ord(c) in _CONTROLS else c for c in text).split())
