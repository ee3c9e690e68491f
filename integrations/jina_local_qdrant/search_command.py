"""`jina-local search`: a question to a collection.

Imported whenever the command line starts, so everything heavy is imported inside.
"""

# ruff: noqa: TC001 - typer reads annotations at run time

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from jina_local.cli import DeviceOption, DtypeOption, JsonOption
from jina_local.errors import InvalidOptionError
from jina_local_qdrant.command_options import (
    CollectionOption,
    InOption,
    MovedModelOption,
    TenantOption,
)
from jina_local_qdrant.search_filters import Condition, make_filter, parse_condition

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jina_local_qdrant.collection import Hit

__all__ = ["print_hits", "search"]

_ID_WIDTH = 28


def search(
    query: Annotated[str, typer.Argument(help="A question, in your own words.")],
    *,
    location: InOption,
    collection: CollectionOption,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="The most hits.")] = 5,
    filters: Annotated[
        list[str] | None,
        typer.Option(
            "--filter",
            "-f",
            metavar="KEY=VALUE",
            help="Only chunks with this in their payload, as in meta.lang=en; may be repeated. "
            'Numbers, true and false are no strings, unless in double quotes: meta.zip="01234".',
        ),
    ] = None,
    group_by_document: Annotated[
        bool, typer.Option("--group-by-document", help="Only the best chunk of each document.")
    ] = False,
    score_threshold: Annotated[
        float | None, typer.Option(help="The least cosine similarity of a hit.")
    ] = None,
    tenant: TenantOption = None,
    model: MovedModelOption = None,
    device: DeviceOption = "auto",
    dtype: DtypeOption = "auto",
    as_json: JsonOption = False,
) -> None:
    """Embed a question as a query and print the best chunks."""
    conditions = [_condition(text) for text in filters or []]
    from jina_local_qdrant.recorded_index import open_recorded

    with open_recorded(
        location, collection, tenant=tenant, model=model, device=device, dtype=dtype
    ) as helper:
        hits = helper.search(
            query,
            limit=limit,
            filter=make_filter(conditions),
            score_threshold=score_threshold,
            group_by_document=group_by_document,
        )
    if as_json:
        sys.stdout.write(json.dumps([asdict(hit) for hit in hits], ensure_ascii=False) + "\n")
        return
    print_hits(Console(highlight=False), hits)


def _condition(text: str) -> Condition:
    try:
        return parse_condition(text)
    except InvalidOptionError as error:
        raise typer.BadParameter(str(error), param_hint="--filter") from error


def print_hits(console: Console, hits: Sequence[Hit]) -> None:
    """One line per hit: score, document, and as much of the text as fits."""
    table = Table.grid(padding=(0, 2), expand=True)
    id_width = min(_ID_WIDTH, max((len(hit.doc_id) for hit in hits), default=0))
    table.add_column(width=max((len(_score(hit)) for hit in hits), default=0))
    table.add_column(width=id_width, no_wrap=True, overflow="ellipsis")
    table.add_column(ratio=1, no_wrap=True, overflow="ellipsis")
    for hit in hits:
        table.add_row(_score(hit), Text(hit.doc_id), Text(_one_line(hit)))
    console.print(table if hits else "nothing found")


def _score(hit: Hit) -> str:
    return f"{hit.score:.3f}"


def _one_line(hit: Hit) -> str:
    """The chunk without line breaks, and without a title that only repeats the document's id."""
    title, _, body = hit.text.partition("\n\n")
    shown = body if body and title.startswith(hit.doc_id) else hit.text
    return " ".join(shown.split())
