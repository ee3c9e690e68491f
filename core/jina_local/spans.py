"""Which tokens are pooled: the spans of a text in each sequence that is run for it.

`edges` accounting, as the hosted API does it: `<s>` and the instruction belong to what the text
begins with, `</s>` to what it ends with, and each of them is pooled once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from jina_local.tokens import TokenizedText
    from jina_local.windows import Window

__all__ = ["PooledSequence", "whole_text_sequences"]


@dataclass(frozen=True, slots=True, eq=False)
class PooledSequence:
    """One sequence for the encoder and the part of it that is pooled.

    Attributes:
        ids: Token ids, int32 (t,).
        adapter: The adapter of its task.
        row: The output row that the pooled tokens count towards.
        start: First pooled token.
        stop: One past the last pooled token.
    """

    ids: np.ndarray
    adapter: int
    row: int
    start: int
    stop: int

    def __len__(self) -> int:
        return len(self.ids)


def whole_text_sequences(
    text: TokenizedText, windows: list[Window], *, adapter: int, row: int
) -> list[PooledSequence]:
    """One sequence per window, whose pooled tokens together are all tokens of the text, once.

    Args:
        text: A tokenized text, possibly longer than the model takes.
        windows: Its windows; see `plan_windows`.
        adapter: The adapter of its task.
        row: Its output row.
    """
    suffix_start = len(text) - text.n_suffix
    prefix, suffix = text.ids[: text.n_prefix], text.ids[suffix_start:]
    body = text.ids[text.n_prefix : suffix_start]
    sequences = []
    for window in windows:
        ids = np.concatenate([prefix, body[window.start : window.stop], suffix])
        shift = text.n_prefix - window.start
        is_first, is_last = window is windows[0], window is windows[-1]
        sequences.append(
            PooledSequence(
                ids=ids,
                adapter=adapter,
                row=row,
                start=0 if is_first else window.core_start + shift,
                stop=len(ids) if is_last else window.core_stop + shift,
            )
        )
    return sequences
