"""Conditions such as `meta.lang=en` → a filter of the Qdrant client."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, NamedTuple

from jina_local.errors import InvalidOptionError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qdrant_client import models

__all__ = ["Condition", "make_filter", "parse_condition"]

_KEYS = (
    *("chunk_index", "doc_hash", "doc_id", "end", "fp", "length", "meta", "meta_hash", "n_chunks"),
    *("n_tokens", "start", "tenant", "text"),
)
_INT64 = 2**63


class Condition(NamedTuple):
    """A payload key and the value that it should have, or have among others in a list."""

    key: str
    value: str | int | float | bool


def parse_condition(text: str) -> Condition:
    """The condition that `KEY=VALUE` stands for.

    Args:
        text: A number, `true` and `false` are what they are in JSON, everything else is a string;
            so is what stands in double quotes.

    Raises:
        InvalidOptionError: If it is something else, or a key that no payload has.
    """
    key, is_equal, value = text.partition("=")
    if not is_equal or not key:
        msg = f"the filter is {text!r}; give KEY=VALUE, as in meta.lang=en"
        raise InvalidOptionError(msg)
    first = key.partition(".")[0].partition("[")[0]
    if first not in _KEYS:
        msg = (
            f"the filter is {text!r}, but no payload has the key {first!r}: metadata is under "
            f"meta, as in meta.{text}, and the other keys are {', '.join(_KEYS)}"
        )
        raise InvalidOptionError(msg)
    return Condition(key, _parse_value(value))


def _parse_value(text: str) -> str | int | float | bool:
    try:
        value = json.loads(text, parse_constant=str)
    except (ValueError, RecursionError):
        return text
    return value if isinstance(value, str | int | float) else text


def make_filter(conditions: Sequence[Condition]) -> models.Filter | None:
    """A filter that all conditions must satisfy; `None` for none."""
    if not conditions:
        return None
    from qdrant_client import models

    def field(condition: Condition) -> models.FieldCondition:
        key, value = condition
        if isinstance(value, float) or (not isinstance(value, str) and abs(value) >= _INT64):
            same = models.Range(gte=float(value), lte=float(value))  # floats have no MatchValue
            return models.FieldCondition(key=key, range=same)
        return models.FieldCondition(key=key, match=models.MatchValue(value=value))

    return models.Filter(must=[field(condition) for condition in conditions])
