"""[TextIds] → sequences for the encoder: what happens to texts longer than the model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NoReturn

import numpy as np

from jina_local.errors import InvalidOptionError, TextTooLongError
from jina_local.sequences import PooledSequence, whole_sequence, window_sequences
from jina_local.spans import whole_text_span
from jina_local.tasks import ROLE_TASKS, Task
from jina_local.windows import margin_for, plan_windows

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jina_local.text_ids import TextIds, TextIdsList

__all__ = [
    "OnOverflow",
    "PreparedTexts",
    "check_overflow",
    "default_overflow",
    "prepare_texts",
    "refuse_no_room",
    "refuse_too_long",
    "refuse_unfit_texts",
]

OnOverflow = Literal["error", "truncate", "window"]
"""What happens to a text with more tokens than the model takes."""

_NO_HEADER = np.empty(0, dtype=np.int32)
_OVERFLOWS: tuple[OnOverflow, ...] = ("error", "truncate", "window")


@dataclass(frozen=True, slots=True, eq=False)
class PreparedTexts:
    """N texts as sequences for the encoder, and what was done to each.

    Attributes:
        sequences: At least one per text.
        token_counts: Tokens that each vector is made from, int64 (N,).
        truncated: Whether the end of a text was cut off, bool (N,).
        windows: Sequences of each text, int64 (N,).
    """

    sequences: list[PooledSequence]
    token_counts: np.ndarray
    truncated: np.ndarray
    windows: np.ndarray


def prepare_texts(
    texts: Sequence[TextIds],
    tasks: Sequence[Task],
    overflows: Sequence[OnOverflow],
    max_tokens: int,
) -> PreparedTexts:
    """Cut or window what is too long, once `refuse_unfit_texts` has let all of it through.

    Args:
        texts: The ids of N texts.
        tasks: N tasks.
        overflows: For each text, what happens if it is too long.
        max_tokens: The most tokens that the model takes.
    """
    sequences: list[PooledSequence] = []
    token_counts = np.empty(len(texts), dtype=np.int64)
    truncated = np.zeros(len(texts), dtype=bool)
    windows = np.ones(len(texts), dtype=np.int64)
    for row, (text, task, overflow) in enumerate(zip(texts, tasks, overflows, strict=True)):
        used = text.truncated(max_tokens) if overflow == "truncate" else text
        token_counts[row] = len(used)
        truncated[row] = used is not text
        if len(used) <= max_tokens:
            sequences.append(whole_sequence(used, adapter=task.adapter, row=row))
            continue
        own = _windowed(used, adapter=task.adapter, row=row, max_tokens=max_tokens)
        windows[row] = len(own)
        sequences += own
    return PreparedTexts(sequences, token_counts, truncated, windows)


def _windowed(text: TextIds, *, adapter: int, row: int, max_tokens: int) -> list[PooledSequence]:
    """One sequence per window of a text that is pooled as one."""
    capacity = max_tokens - text.n_prefix - text.n_suffix
    whole = whole_text_span(text.n_body)
    plan = plan_windows(text.n_body, whole.spans, capacity, margin_for(capacity))
    return window_sequences(
        text, plan, whole, header=_NO_HEADER, adapter=adapter, item=row, first_row=row
    )


def refuse_no_room(name: str, n_around: int, limit: int) -> NoReturn:
    """Refuse a text of which no window would hold anything.

    Args:
        name: What the message calls the text.
        n_around: Tokens around the text in every window.
        limit: The most tokens of a window.

    Raises:
        TextTooLongError: Always.
    """
    msg = (
        f"{name}: {n_around} tokens of instruction and header, with specials, leave no room for "
        f"the text in {limit}; use a larger limit or a shorter header"
    )
    raise TextTooLongError(msg)


def refuse_too_long(name: str, n_tokens: int, limit: str, n_others: int = 0) -> NoReturn:
    """Refuse a text that is longer than a window.

    Args:
        name: What the message calls the text.
        n_tokens: Its tokens, with all that is around it.
        limit: What takes how many.
        n_others: Other texts that are too long.

    Raises:
        TextTooLongError: Always.
    """
    msg = (
        f"{name} has {n_tokens} tokens with all that is around it, and {limit}"
        + (f" ({n_others + 1} texts are too long)" if n_others else "")
        + "; shorten it, or say on_overflow='truncate' or on_overflow='window'"
    )
    raise TextTooLongError(msg)


def refuse_unfit_texts(
    texts: TextIdsList,
    overflows: Sequence[OnOverflow],
    max_tokens: int,
    rows: Sequence[int],
) -> None:
    """Refuse texts that are too long and may not be, or have no room beside their instruction.

    Args:
        texts: The ids of N texts.
        overflows: For each text, what happens if it is too long.
        max_tokens: The most tokens that the model takes.
        rows: What messages call each text.

    Raises:
        TextTooLongError: If there is one.
    """
    over = np.flatnonzero(texts.lengths > max_tokens).tolist()
    too_long = [i for i in over if overflows[i] == "error"]
    if too_long:
        first, *others = too_long
        limit = f"the model takes {max_tokens}"
        refuse_too_long(f"text {rows[first]}", len(texts[first]), limit, len(others))
    for i in over:
        n_around = texts[i].n_prefix + texts[i].n_suffix
        if n_around >= max_tokens:
            refuse_no_room(f"text {rows[i]}", n_around, max_tokens)


def default_overflow(task: Task) -> OnOverflow:
    """An over-long query is a mistake; anything else is run in windows."""
    return "error" if task.name == ROLE_TASKS["query"] else "window"


def check_overflow(on_overflow: OnOverflow | None, *, has_default: bool) -> None:
    """Refuse anything but the three ways, and `None` where there is no default for it.

    Raises:
        InvalidOptionError: If it is something else.
    """
    if on_overflow in _OVERFLOWS or (on_overflow is None and has_default):
        return
    *choices, last = map(repr, _OVERFLOWS)
    if has_default:
        choices, last = [*choices, last], "None for the role's default"
    msg = f"on_overflow is {on_overflow!r}; give {', '.join(choices)}, or {last}"
    raise InvalidOptionError(msg)
