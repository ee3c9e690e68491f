"""[TokenizedText] → sequences for the encoder: what happens to texts longer than the model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from jina_local.errors import InvalidOptionError, TextTooLongError
from jina_local.sequences import PooledSequence, window_sequences
from jina_local.spans import whole_text_span
from jina_local.tasks import ROLE_TASKS, Task
from jina_local.windows import margin_for, plan_windows

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jina_local.tokens import TokenizedText

__all__ = ["OnOverflow", "PreparedTexts", "check_overflow", "default_overflow", "prepare_texts"]

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
    texts: Sequence[TokenizedText],
    tasks: Sequence[Task],
    overflows: Sequence[OnOverflow],
    max_tokens: int,
) -> PreparedTexts:
    """Cut or window what is too long, or refuse it before anything is done.

    Args:
        texts: N tokenized texts.
        tasks: N tasks.
        overflows: For each text, what happens if it is too long.
        max_tokens: The most tokens that the model takes.

    Raises:
        TextTooLongError: If a text is too long whose overflow is `error`.
    """
    _refuse_too_long(texts, overflows, max_tokens)
    sequences: list[PooledSequence] = []
    token_counts = np.empty(len(texts), dtype=np.int64)
    truncated = np.zeros(len(texts), dtype=bool)
    windows = np.empty(len(texts), dtype=np.int64)
    for row, (text, task, overflow) in enumerate(zip(texts, tasks, overflows, strict=True)):
        capacity = max_tokens - text.n_prefix - text.n_suffix
        if len(text) > max_tokens and capacity < 1:
            msg = (
                f"text {row}: {text.n_prefix + text.n_suffix} tokens of instruction and specials "
                f"leave no room for the text in {max_tokens}; use a larger limit"
            )
            raise TextTooLongError(msg)
        used = text.truncated(max_tokens) if overflow == "truncate" else text
        whole = whole_text_span(used.n_body)
        plan = plan_windows(used.n_body, whole.spans, capacity, margin_for(capacity))
        sequences += window_sequences(
            used, plan, whole, header=_NO_HEADER, adapter=task.adapter, item=row, first_row=row
        )
        token_counts[row] = len(used)
        truncated[row] = used is not text
        windows[row] = len(plan)
    return PreparedTexts(sequences, token_counts, truncated, windows)


def _refuse_too_long(
    texts: Sequence[TokenizedText], overflows: Sequence[OnOverflow], max_tokens: int
) -> None:
    too_long = [
        row
        for row, (text, overflow) in enumerate(zip(texts, overflows, strict=True))
        if overflow == "error" and len(text) > max_tokens
    ]
    if too_long:
        msg = (
            f"text {too_long[0]} has {len(texts[too_long[0]])} tokens with its instruction, "
            f"and the model takes {max_tokens}"
            + (f" ({len(too_long)} texts are too long)" if len(too_long) > 1 else "")
            + "; shorten it, or say on_overflow='truncate' or on_overflow='window'"
        )
        raise TextTooLongError(msg)


def default_overflow(task: Task) -> OnOverflow:
    """An over-long query is a mistake; anything else is run in windows."""
    return "error" if task.name == ROLE_TASKS["query"] else "window"


def check_overflow(on_overflow: OnOverflow | None) -> None:
    """Refuse anything but the three ways and `None`.

    Raises:
        InvalidOptionError: If it is something else.
    """
    if on_overflow is not None and on_overflow not in _OVERFLOWS:
        choices = ", ".join(map(repr, _OVERFLOWS))
        msg = f"on_overflow is {on_overflow!r}; give {choices}, or None for the role's default"
        raise InvalidOptionError(msg)
