"""Options of `jina-local migrate`.

What is not given is `None`: a migration that was begun goes on with its settings of then.
"""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from jina_local.cli import LICENCE_NOTE
from jina_local_qdrant.index_command import QuantizationName, StorageName

__all__ = [
    "AliasOption",
    "BulkOption",
    "ChunkTokensOption",
    "DeleteOption",
    "DimensionsOption",
    "DocumentOption",
    "FieldsOption",
    "FromOption",
    "LateChunkingOption",
    "LeaveOutOption",
    "LocationOption",
    "ModelOption",
    "OrderOption",
    "OverlapsOption",
    "PresetName",
    "PreviousOption",
    "QuantizationOption",
    "RecordedModelOption",
    "ReportOption",
    "SampleOption",
    "StartOption",
    "StorageOption",
    "TargetOption",
    "TextOption",
    "VectorOption",
]


class PresetName(StrEnum):
    """Stores whose payload fields are known."""

    haystack = "haystack"
    llama_index = "llama-index"


LocationOption = Annotated[
    str,
    typer.Option(
        "--in",
        metavar="LOCATION",
        help="Where both collections are: a folder, or the URL of a Qdrant server, which is sent "
        "the key in QDRANT_API_KEY.",
    ),
]
TargetOption = Annotated[
    str, typer.Option("--to", metavar="NEW", help="Name of the new collection.")
]
FromOption = Annotated[
    str | None,
    typer.Option(
        "--from", metavar="OLD", help="Name of the old collection, or an alias of it; only read."
    ),
]
ModelOption = Annotated[
    str | None,
    typer.Option(
        "--model",
        "-m",
        envvar="JINA_LOCAL_MODEL",
        help=f"Folder, hub id (jinaai/jina-embeddings-v3) or 'demo', the default. {LICENCE_NOTE}",
    ),
]
RecordedModelOption = Annotated[
    str | None,
    typer.Option("--model", "-m", help="Where the migration's model is now, if it moved."),
]
DimensionsOption = Annotated[
    int | None,
    typer.Option(
        "--dimensions",
        "-d",
        help="Matryoshka dimension. Default: that of a collection of this helper, or else the "
        "model's width.",
    ),
]
LateChunkingOption = Annotated[
    bool | None,
    typer.Option(
        "--late-chunking/--no-late-chunking",
        help="Embed chunks in the context of their document, the default, or each alone.",
    ),
]
ChunkTokensOption = Annotated[
    int | None,
    typer.Option(
        help="The most tokens of a chunk; as they are if not given. Only for collections of this "
        "helper: chunks of others stay as they are.",
    ),
]
FieldsOption = Annotated[
    PresetName | None,
    typer.Option(
        help="Whose Qdrant store wrote the payloads; also found out by itself. For others name "
        "the fields that follow; meta.title is field title of field meta.",
    ),
]
TextOption = Annotated[
    str | None, typer.Option("--text", metavar="FIELD", help="Payload field of the text.")
]
DocumentOption = Annotated[
    str | None,
    typer.Option(
        "--document", metavar="FIELD", help="What all chunks of a document have in common."
    ),
]
OrderOption = Annotated[
    str | None,
    typer.Option("--order", metavar="FIELD", help="The chunk's number in its document."),
]
PreviousOption = Annotated[
    str | None,
    typer.Option(
        "--previous", metavar="FIELD", help="Id of the chunk before it, where there is no number."
    ),
]
StartOption = Annotated[
    str | None,
    typer.Option(
        "--start", metavar="FIELD", help="Where it starts in the document, in characters."
    ),
]
OverlapsOption = Annotated[
    str | None,
    typer.Option(
        "--overlaps",
        metavar="FIELD",
        help="Set if it repeats the end of the chunk before it; 'always' if all do.",
    ),
]
VectorOption = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="Which vector is made anew, if there are several."),
]
QuantizationOption = Annotated[
    QuantizationName | None,
    typer.Option(help="Also keep compressed vectors, and search them first."),
]
StorageOption = Annotated[StorageName | None, typer.Option(help="What vectors are stored in.")]
LeaveOutOption = Annotated[
    bool | None,
    typer.Option(
        "--leave-out-blank", help="Leave points without a text behind, instead of refusing them."
    ),
]
BulkOption = Annotated[
    bool | None,
    typer.Option("--bulk", help="Build the graph of the new collection after the vectors."),
]
SampleOption = Annotated[
    int, typer.Option(min=1, help="Documents that are embedded again and compared.")
]
ReportOption = Annotated[
    Path | None, typer.Option(metavar="FILE.json", help="Also write what was found into a file.")
]
AliasOption = Annotated[str, typer.Option(metavar="NAME", help="The name that searches use.")]
DeleteOption = Annotated[
    str | None,
    typer.Option(metavar="OLD", help="Name of the old collection, to delete it; it stays if not."),
]
