"""What callers pass in, checked before any work is done."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from typing import TypeGuard

import numpy as np

from jina_local.errors import DimensionsError, InvalidOptionError, InvalidTextsError

__all__ = [
    "check_choice",
    "check_dimensions",
    "check_encodable",
    "check_flag",
    "check_integer",
    "check_max_length",
    "check_max_tokens",
    "check_normalization",
    "check_progress",
    "check_supported",
    "check_texts",
    "is_list_like",
]


def check_texts(texts: Sequence[str]) -> list[str]:
    """The texts as a list of strings.

    Raises:
        InvalidTextsError: If it is one string, no sequence, or holds something else.
    """
    if isinstance(texts, str | bytes | Mapping | Set):
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


def is_list_like(value: object) -> TypeGuard[Iterable[object]]:
    """Whether something may stand for a list: items in an order, and no string of any kind."""
    return isinstance(value, Iterable) and not isinstance(
        value, str | bytes | bytearray | Mapping | Set
    )


def check_encodable(text: str, name: str) -> str:
    """The text itself.

    Args:
        text: A text.
        name: What the message calls it.

    Raises:
        InvalidTextsError: If it cannot be encoded in UTF-8 (a lone surrogate).
    """
    try:
        text.encode()
    except UnicodeEncodeError as error:
        msg = (
            f"{name} holds a lone surrogate ({error.object[error.start]!r} at "
            f"{error.start}), which is not text: decode it properly, or replace it"
        )
        raise InvalidTextsError(msg) from error
    return text


def check_integer(name: str, value: int, smallest: int, largest: int | None = None) -> int:
    """The value as an `int`.

    Raises:
        InvalidOptionError: If it is not an integer in smallest…largest.
    """
    try:
        number = operator.index(value)
    except TypeError:
        number = smallest - 1
    is_inside = smallest <= number and (largest is None or number <= largest)
    if isinstance(value, bool | np.bool_) or not is_inside:
        allowed = f"of at least {smallest}" if largest is None else f"in {smallest}…{largest}"
        msg = f"{name} is {value!r}; give an integer {allowed}"
        raise InvalidOptionError(msg)
    return number


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


def check_max_length(max_length: int | None, limit: int) -> int:
    """The most tokens per text: the model's limit if `None`.

    Raises:
        InvalidOptionError: If it is not an integer with room for `<s>`, `</s>` and a token.
    """
    if max_length is None:
        return limit
    if isinstance(max_length, bool) or not isinstance(max_length, int) or max_length < 3:  # noqa: PLR2004
        msg = f"max_length is {max_length!r}; give an integer of at least 3: <s>, a token, </s>"
        raise InvalidOptionError(msg)
    return max_length


def check_max_tokens(max_tokens: int | None, limit: int) -> int:
    """The most tokens of a text or window: the model's limit if `None`.

    Raises:
        InvalidOptionError: If it is not an integer in 3…limit: `<s>`, a token and `</s>`.
    """
    return limit if max_tokens is None else check_integer("max_tokens", max_tokens, 3, limit)


def check_normalization(*, normalize: bool, legacy: bool) -> None:
    """Refuse what is not a bool, and `legacy` without normalizing, which means nothing.

    Raises:
        InvalidOptionError: If an option is not as it must be.
    """
    check_flag("normalize", normalize)
    check_flag("legacy", legacy)
    if legacy and not normalize:
        msg = "legacy=True is an order of cutting and normalizing; it needs normalize=True"
        raise InvalidOptionError(msg)


def check_flag(name: str, value: object) -> None:
    """Refuse what is not a bool.

    Raises:
        InvalidOptionError: If it is something else, even if it is 0 or 1.
    """
    if not isinstance(value, bool):
        msg = f"{name} is {value!r}; give True or False"
        raise InvalidOptionError(msg)


def check_choice(name: str, value: object, choices: tuple[object, ...]) -> None:
    """Refuse a value that is none of its choices.

    Raises:
        InvalidOptionError: If so.
    """
    if value not in choices:
        msg = f"{name} is {value!r}; give one of {', '.join(map(repr, choices))}"
        raise InvalidOptionError(msg)


def check_progress(progress: Callable[[int], None] | None) -> None:
    """Refuse what cannot be called.

    Raises:
        InvalidOptionError: If it is neither a function nor `None`.
    """
    if progress is not None and not callable(progress):
        msg = f"progress is {progress!r:.40}; give a function of one number, or None"
        raise InvalidOptionError(msg)


def check_supported(options: Mapping[str, tuple[object, object]]) -> None:
    """Refuse options that have one supported value: name → (given, supported).

    Raises:
        InvalidOptionError: If a given value is not the supported one.
    """
    for name, (given, supported) in options.items():
        if given != supported:
            msg = f"{name}={given!r} is not supported here, only {name}={supported!r}"
            raise InvalidOptionError(msg)
