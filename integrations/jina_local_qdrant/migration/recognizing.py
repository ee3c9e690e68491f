"""Where in the payloads of a collection its texts are."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Literal

from jina_local.errors import InvalidOptionError
from jina_local_qdrant.errors import MigrationRefusedError
from jina_local_qdrant.migration.fields import PRESETS, PayloadFields, value_at

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from jina_local_qdrant.migration.points import AnyPoint, Points

__all__ = ["recognize_fields"]

_LOOKED_AT = 64
_MARKS = {"haystack": {"content", "meta", "blob"}, "llama-index": {"_node_content", "_node_type"}}
"""Fields that no other store writes together."""


def recognize_fields(
    source: Points, fields: PayloadFields | Literal["haystack", "llama-index"] | None
) -> PayloadFields:
    """The fields that were named, or those of the store that wrote the points.

    Args:
        source: The collection.
        fields: What the caller named.

    Raises:
        InvalidOptionError: If `fields` is no such thing.
        MigrationRefusedError: If no point has a text there, or nothing was named and the points
            are of no known store.
    """
    points, _ = source.page(None, limit=_LOOKED_AT)
    if fields is None:
        fields = _known_store(source, points)
    elif isinstance(fields, str):
        if fields not in PRESETS:
            msg = f"fields is {fields!r}; give one of {sorted(PRESETS)}, or PayloadFields(text=…)"
            raise InvalidOptionError(msg)
        fields = PRESETS[fields]
    fields.check()
    if points and not any(isinstance(value_at(one.payload, fields.text), str) for one in points):
        msg = (
            f"none of the first {len(points)} points of {source.collection!r} has a text in "
            f"payload field {fields.text!r}; {_texts(points)}"
        )
        raise MigrationRefusedError(msg)
    return fields


def _known_store(source: Points, points: Sequence[AnyPoint]) -> PayloadFields:
    for name, marks in _MARKS.items():
        if points and all(marks <= point.payload.keys() for point in points):
            return PRESETS[name]
    msg = (
        f"collection {source.collection!r} was written neither by this helper nor by a store that "
        f"is known: name the payload field of the text with PayloadFields(text=…); {_texts(points)}"
    )
    raise MigrationRefusedError(msg)


def _texts(points: Sequence[AnyPoint]) -> str:
    found = Counter(path for point in points for path in _strings(point.payload, ""))
    if not found:
        return "no payload field holds a string"
    names = ", ".join(f"{path!r} ({number})" for path, number in found.most_common(12))
    return f"fields with strings, and in how many of {len(points)} points: {names}"


def _strings(payload: Mapping[str, object], prefix: str) -> Iterator[str]:
    for name, value in payload.items():
        if isinstance(value, str):
            yield f"{prefix}{name}"
        elif isinstance(value, dict):
            yield from _strings(value, f"{prefix}{name}.")
