"""What callers pass in, checked before any work is done."""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence

import numpy as np

from jina_local.errors import DimensionsError, InvalidOptionError, InvalidTextsError

__all__ = ["check_dimensions", "check_supported", "check_texts"]


def check_texts(texts: Sequence[str]) -> list[str]:
    """The texts as a list of strings.

    Raises:
        InvalidTextsError: If it is one string, no sequence, or holds something else.
    """
    if isinstance(texts, str | bytes | Mapping):
        msg = f"texts is a {type(texts).__name__}; give a list of strings, even for one text"
        raise InvalidTextsError(msg)
    try:
        checked = list(texts)
    except TypeError as error:
        msg = f"texts is a {type(texts).__name__}; give a list of strings"
        raise InvalidTextsError(msg) from error
    for index, text in enumerate(checked):
        if not isinstance(text, str):
            msg = f"text {index} is a {type(text).__name__} ({text!r:.40}), not a string"
            raise InvalidTextsError(msg)
    return checked


def check_dimensions(dimensions: int | None, width: int) -> int:
    """The Matryoshka dimension: the model's width if `None`.

    Raises:
        DimensionsError: If it is not an integer in 1…width.
    """
    if dimensions is None:
        return width
    try:
        size = operator.index(dimensions)
    except TypeError:
        size = 0
    if isinstance(dimensions, bool | np.bool_) or not 1 <= size <= width:
        msg = f"dimensions is {dimensions!r}; give an integer in 1…{width}, or None for {width}"
        raise DimensionsError(msg)
    return size


def check_supported(options: Mapping[str, tuple[object, object]]) -> None:
    """Refuse options that have one supported value: name → (given, supported).

    Raises:
        InvalidOptionError: If a given value is not the supported one.
    """
    for name, (given, supported) in options.items():
        if given != supported:
            msg = f"{name}={given!r} is not supported here, only {name}={supported!r}"
            raise InvalidOptionError(msg)
