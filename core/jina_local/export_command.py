"""`jina-local export`: a model for other runtimes.

Imported whenever the command line starts, so everything heavy is imported inside.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from jina_local.cli import (
    LICENCE_NOTE,
    DimensionsOption,
    JsonOption,
    error_console,
    task_named,
)

__all__ = ["export"]

export = typer.Typer(help="Write a model for other runtimes.", no_args_is_help=True)


@export.callback()
def _group() -> None:
    """Write a model for other runtimes."""  # without this the one command would have no name


class _Precision(StrEnum):
    """What the file computes in."""

    float32 = "float32"
    float16 = "float16"
    int8 = "int8"


@export.command("onnx")
def onnx(
    model: Annotated[str, typer.Argument(help=f"Folder, hub id, or 'demo'. {LICENCE_NOTE}")],
    *,
    output: Annotated[
        str, typer.Option("--output", "-o", help="A folder that is not there yet, or empty.")
    ],
    task: Annotated[
        str,
        typer.Option(
            help="Task whose adapter is merged: a task, 'query', 'document', or 'none' for the "
            "base model. One file has one task."
        ),
    ],
    dimensions: DimensionsOption = None,
    dtype: Annotated[
        _Precision,
        typer.Option(help="int8: linears quantized, the word table in float16."),
    ] = _Precision.float32,
    adapter: Annotated[
        list[str] | None,
        typer.Option(help="NAME=FOLDER: an adapter of your own, for --task NAME. Repeatable."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Write one task as ONNX: ids and mask in, pooled unit vectors out.

    The file is run and held against the engine before it is kept: float32 within 1e-5 of every
    component, the others by their cosine. The instruction is in the file's metadata and goes before
    the text; docs/onnx.md has the few lines that do it.

    Exit code 0: written. 1: an error, or vectors further off than that, and nothing is written.
    """
    import torch

    from jina_local.engine import Engine
    from jina_local.loading import load_model
    from jina_local.onnx_export import check_export, export_onnx
    from jina_local.source import resolve_source

    folder = Path(output)
    check_export(folder)
    added = _adapters(adapter or [])
    loaded = load_model(
        resolve_source(model), device=torch.device("cpu"), dtype=torch.float32, adapters=added
    )
    parity = export_onnx(
        loaded,
        folder,
        task=task_named(Engine(loaded), task),
        dimensions=dimensions,
        precision=dtype.value,
    )
    if as_json:
        record = asdict(parity) | {"folder": str(parity.folder)}
        sys.stdout.write(json.dumps(record, ensure_ascii=False) + "\n")
    else:
        outcome = f"wrote {output}" if parity.is_ok else f"wrote nothing to {output}"
        error_console().print(
            f"{outcome}: over {parity.n_texts} texts, the largest difference from the engine is "
            f"{parity.largest_difference:.1e}, the smallest cosine {parity.smallest_cosine:.6f} "
            f"(asked for: {parity.allowed})",
            markup=False,
            soft_wrap=True,
        )
    raise typer.Exit(0 if parity.is_ok else 1)


def _adapters(given: list[str]) -> dict[str, str]:
    """NAME=FOLDER, each name once."""
    pairs = [one.partition("=") for one in given]
    names = [name for name, _, _ in pairs]
    for name, equals, folder in pairs:
        if not (name and equals and folder) or names.count(name) > 1:
            msg = f"--adapter takes NAME=FOLDER, each name once, not {given}"
            raise typer.BadParameter(msg)
    return {name: folder for name, _, folder in pairs}
