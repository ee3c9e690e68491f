"""Options that several commands of this integration take."""

from __future__ import annotations

from typing import Annotated

import typer

__all__ = [
    "CollectionOption",
    "InOption",
    "MovedModelOption",
    "TenantOption",
    "ToOption",
]

_PLACES = "a folder, edge:FOLDER for Qdrant's embedded engine, or the URL of a Qdrant server"

CollectionOption = Annotated[
    str, typer.Option("--collection", "-c", help="Name of the collection.", show_default=False)
]
ToOption = Annotated[
    str,
    typer.Option(
        "--to",
        metavar="LOCATION",
        help=f"Where the index is: {_PLACES}, which is sent the key in QDRANT_API_KEY.",
    ),
]
InOption = Annotated[
    str, typer.Option("--in", metavar="LOCATION", help=f"Where the index is: {_PLACES}.")
]
TenantOption = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="Whose documents, in a collection shared by tenants."),
]
MovedModelOption = Annotated[
    str | None,
    typer.Option("--model", "-m", help="Where the collection's model is now, if it moved."),
]
