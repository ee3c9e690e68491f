"""Filters of the Qdrant client for Qdrant's embedded engine."""

from __future__ import annotations

from typing import Any

import numpy as np
from qdrant_client import models

from jina_local.errors import InvalidOptionError
from jina_local_qdrant.edge_engine import qdrant_edge as edge

__all__ = ["edge_filter"]

_TAKEN = (
    "MatchValue, MatchAny, MatchExcept, MatchText, Range, DatetimeRange, is_null, is_empty, "
    "HasIdCondition, Filter"
)


def edge_filter(given: models.Filter | None) -> edge.Filter | None:
    """The same filter for the engine; `None`, for no filter, for `None`.

    Args:
        given: Of `must`, `should`, `must_not` and `min_should`, with conditions on values, texts,
            numbers, times, missing values and ids.

    Raises:
        InvalidOptionError: If there is a condition that is not translated, such as one on places.
    """
    return None if given is None else _filter(given)


def _filter(given: models.Filter) -> edge.Filter:
    return edge.Filter(
        must=_conditions(given.must),
        should=_conditions(given.should),
        must_not=_conditions(given.must_not),
        min_should=_min_should(given.min_should),
    )


def _min_should(given: models.MinShould | None) -> edge.MinShould | None:
    if given is None:
        return None
    return edge.MinShould([_condition(one) for one in given.conditions], given.min_count)


def _conditions(given: Any) -> list[edge.ConditionType] | None:  # noqa: ANN401 - one, many or none
    if given is None:
        return None
    return [_condition(one) for one in (given if isinstance(given, list) else [given])]


def _condition(given: object) -> edge.ConditionType:
    match given:
        case models.FieldCondition():
            return _field(given)
        case models.IsNullCondition():
            return edge.IsNullCondition(given.is_null.key)
        case models.IsEmptyCondition():
            return edge.IsEmptyCondition(given.is_empty.key)
        case models.HasIdCondition():
            return edge.HasIdCondition({*given.has_id})
        case models.Filter():
            return _filter(given)
        case _:
            raise _untranslated(given)


def _field(given: models.FieldCondition) -> edge.FieldCondition:
    """A condition on one payload key.

    Of two conditions in one, Qdrant's engines disagree on which count, and so neither is guessed.
    """
    asked = given.model_dump(exclude={"key"}, exclude_none=True)
    if len(asked) != 1:
        msg = (
            f"the condition on {given.key!r} asks for {sorted(asked) or 'nothing'}: give one "
            "FieldCondition for each thing that is asked"
        )
        raise InvalidOptionError(msg)
    if given.match is not None:
        return edge.FieldCondition(given.key, match=_match(given.match))
    if isinstance(given.range, models.Range):
        return edge.FieldCondition(given.key, range=edge.RangeFloat(**given.range.model_dump()))
    if isinstance(given.range, models.DatetimeRange):
        times = given.range.model_dump(exclude_none=True)
        bounds = {name: time.isoformat() for name, time in times.items()}
        return edge.FieldCondition(given.key, range=edge.RangeDateTime(**bounds))
    if given.is_null is not None:
        return edge.FieldCondition(given.key, is_null=given.is_null)
    if given.is_empty is not None:
        return edge.FieldCondition(given.key, is_empty=given.is_empty)
    raise _untranslated(given)


def _match(given: object) -> edge.MatchType:
    match given:
        case models.MatchValue(value=bool(value)):
            # The engine takes Python's True for the number 1, and NumPy's for what it is.
            return edge.MatchValue(np.bool_(value))  # type: ignore[arg-type]
        case models.MatchValue():
            return edge.MatchValue(given.value)
        case models.MatchAny():
            return edge.MatchAny(given.any)
        case models.MatchExcept():
            return edge.MatchExcept(given.except_)
        case models.MatchText():
            return edge.MatchText(given.text)
        case _:
            raise _untranslated(given)


def _untranslated(given: object) -> InvalidOptionError:
    msg = f"filters of an edge store have no {type(given).__name__} ({given}); give {_TAKEN}"
    return InvalidOptionError(msg)
