"""The settings of a migration on the command line, stated once for `plan` and `run`."""

# ruff: noqa: TC001 - typer reads annotations at run time

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Literal

import typer

from jina_local.cli import DeviceOption, DtypeOption, JsonOption
from jina_local_qdrant.migrate_opening import Chosen, RunsOn
from jina_local_qdrant.migrate_options import (
    BulkOption,
    ChunkTokensOption,
    DimensionsOption,
    DocumentOption,
    FieldsOption,
    FromOption,
    LateChunkingOption,
    LeaveOutOption,
    LocationOption,
    ModelOption,
    OrderOption,
    OverlapsOption,
    PresetName,
    PreviousOption,
    QuantizationOption,
    StartOption,
    StorageOption,
    TargetOption,
    TextOption,
    VectorOption,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from jina_local_qdrant.migration.fields import PayloadFields

__all__ = ["Asked", "taking_settings"]

_ALWAYS = "always"


@dataclass(frozen=True, slots=True)
class Asked:
    """What was typed: where, what, with which model, and whether the answer is JSON."""

    location: str
    target: str
    chosen: Chosen
    runs_on: RunsOn
    as_json: bool


def taking_settings(do: Callable[[Asked], None]) -> Callable[..., None]:
    """A command that takes all settings of a migration, with the help of `do`."""

    def called(
        *,
        location: LocationOption,
        source: FromOption = None,
        target: TargetOption,
        model: ModelOption = None,
        dimensions: DimensionsOption = None,
        late_chunking: LateChunkingOption = None,
        chunk_tokens: ChunkTokensOption = None,
        fields: FieldsOption = None,
        text: TextOption = None,
        document: DocumentOption = None,
        order: OrderOption = None,
        previous: PreviousOption = None,
        start: StartOption = None,
        overlaps: OverlapsOption = None,
        vector: VectorOption = None,
        quantization: QuantizationOption = None,
        storage: StorageOption = None,
        leave_out: LeaveOutOption = None,
        bulk: BulkOption = None,
        device: DeviceOption = "auto",
        dtype: DtypeOption = "auto",
        as_json: JsonOption = False,
    ) -> None:
        named = {"text": text, "document": document, "order": order, "previous": previous}
        named |= {"start": start, "overlaps": overlaps}
        spec = {"dimensions": dimensions, "late_chunking": late_chunking}
        spec |= {"chunk_tokens": chunk_tokens}
        layout = {"quantization": quantization, "storage": storage, "bulk": bulk}
        chosen = Chosen(
            source=source,
            spec=_given(spec),
            fields=_fields(fields, _given(named)),
            layout=_given(layout),
            vector=vector,
            leave_out=leave_out,
        )
        runs_on = RunsOn(model=model, device=device, dtype=dtype)
        do(Asked(location, target, chosen, runs_on, as_json))

    called.__doc__ = do.__doc__
    return called


def _given(options: Mapping[str, object]) -> dict[str, Any]:
    """Those that were given."""
    return {
        name: value.value if isinstance(value, StrEnum) else value
        for name, value in options.items()
        if value is not None
    }


def _fields(
    preset: PresetName | None, named: dict[str, Any]
) -> PayloadFields | Literal["haystack", "llama-index"] | None:
    if preset is not None and named:
        msg = f"--fields and --{next(iter(named))} exclude each other"
        raise typer.BadParameter(msg)
    if preset is not None:
        return preset.value
    if not named:
        return None
    if "text" not in named:
        msg = (
            f"--{next(iter(named))} names a payload field: name that of the text, too, with --text"
        )
        raise typer.BadParameter(msg)
    from jina_local_qdrant.migration.fields import PayloadFields

    overlaps = named.pop("overlaps", False)
    return PayloadFields(**named, overlaps=True if overlaps == _ALWAYS else overlaps)
