"""Character spans of a text → the tokens that each of them holds.

A token belongs to the chunk that holds its first character that is no white space, so that a token
across the seam of two chunks is in exactly one of them. Where a tokenizer counts the space before a
word as part of its token makes no difference. A token without any such character belongs where the
next one does, and at the end of the text where the previous one does. A chunk that holds no token
falls back to the one over its first character, white space included, or else to the nearest.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from jina_local.errors import CheckpointError, InvalidSpansError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jina_local.tokens import TokenizedText

__all__ = ["TokenSpans", "token_spans", "whole_text_span"]

_BEYOND_WHITE_SPACE = 0x3001  # the first code point after all of them


@dataclass(frozen=True, slots=True, eq=False)
class TokenSpans:
    """The tokens of S chunks of one text, as spans of its own tokens.

    Attributes:
        spans: First token and one past the last of each chunk, without prefix and suffix,
            int64 (S, 2). Of a chunk that fell back, the token that stands for it.
        fell_back: Whether no token is the chunk's own, bool (S,).
        truncated: Whether tokens of the chunk were cut off with the end of the text, bool (S,).
        begins: Whether the chunk takes `<s>` and the instruction: of the chunks with a token of
            their own, none begins earlier; bool (S,).
        ends: Whether the chunk takes `</s>`: of the chunks with a token of their own, none ends
            later in what is left of the text; bool (S,).
    """

    spans: np.ndarray
    fell_back: np.ndarray
    truncated: np.ndarray
    begins: np.ndarray
    ends: np.ndarray

    def __len__(self) -> int:
        return len(self.spans)

    def token_counts(self, n_prefix: int, n_suffix: int) -> np.ndarray:
        """Tokens of each chunk with its share of prefix and suffix, int64 (S,)."""
        counts: np.ndarray = self.spans[:, 1] - self.spans[:, 0]
        counts += self.begins * n_prefix + self.ends * n_suffix
        return counts


def whole_text_span(n_tokens: int) -> TokenSpans:
    """One chunk that is the whole text, prefix and suffix included."""
    yes, no = np.ones(1, dtype=bool), np.zeros(1, dtype=bool)
    spans = np.array([[0, n_tokens]], dtype=np.int64)
    return TokenSpans(spans, fell_back=no, truncated=no, begins=yes, ends=yes)


def token_spans(
    text: str,
    tokenized: TokenizedText,
    spans: Sequence[tuple[int, int]],
    *,
    n_kept: int,
    edges: bool,
    name: str,
) -> TokenSpans:
    """The tokens of each chunk.

    Args:
        text: The text.
        tokenized: Its tokens.
        spans: S spans of characters.
        n_kept: Tokens of the text, counted from its beginning, that are not cut off; at least one.
        edges: Whether prefix and suffix count towards the outermost chunks.
        name: What messages call the text.

    Raises:
        InvalidSpansError: If the text has no token that is more than white space.
        CheckpointError: If the tokenizer's offsets run backwards.
    """
    content = np.flatnonzero(~_is_white_space(text)).astype(np.int32)
    bounds = tokenized.body_offsets
    whole = np.array(spans, dtype=np.int64).reshape(-1, 2)
    trimmed = _trimmed(whole, content)
    held = np.searchsorted(_first_characters(bounds, content, name), trimmed)  # (S, 2)
    truncated = (held[:, 1] > n_kept) & (held[:, 0] < held[:, 1])
    kept = np.minimum(held, n_kept)
    fell_back = kept[:, 0] == kept[:, 1]
    nearest = _nearest_tokens(whole[fell_back, 0], bounds[:n_kept])
    kept[fell_back] = np.stack([nearest, nearest + 1], axis=1)
    if n_kept < len(bounds):
        end = bounds[:n_kept, 1].max()
        trimmed[:, 1] = np.where(truncated, end, np.minimum(trimmed[:, 1], end))
    begins, ends = _outermost(trimmed, ~fell_back & edges)
    return TokenSpans(kept, fell_back, truncated, begins, ends)


def _is_white_space(text: str) -> np.ndarray:
    """What `str.isspace` says of each character, bool (n,)."""
    code_points = np.frombuffer(text.encode("utf-32-le"), dtype="<u4")
    is_space: np.ndarray = _white_space()[np.minimum(code_points, _BEYOND_WHITE_SPACE)]
    return is_space


@cache
def _white_space() -> np.ndarray:
    """Whether each code point is white space, up to one that stands for all beyond."""
    return np.array([chr(code).isspace() for code in range(_BEYOND_WHITE_SPACE + 1)])


def _first_characters(bounds: np.ndarray, content: np.ndarray, name: str) -> np.ndarray:
    """Where each token counts as being: its first character that is no white space.

    Args:
        bounds: Start and end of each token in the text, (t, 2).
        content: Positions of all characters that are no white space, in order; at least one.
        name: What messages call the text.
    """
    places = np.searchsorted(content, bounds[:, 0])
    candidates = content[np.minimum(places, len(content) - 1)]
    is_blank = (candidates < bounds[:, 0]) | (candidates >= bounds[:, 1])
    if is_blank.all():
        msg = f"{name} has no tokens: its characters are white space to the tokenizer, or nothing"
        raise InvalidSpansError(msg)
    n_tokens = len(bounds)
    here_or_next = np.where(is_blank, n_tokens, np.arange(n_tokens))
    here_or_next = np.minimum.accumulate(here_or_next[::-1])[::-1]
    last = np.flatnonzero(~is_blank)[-1]
    first_characters: np.ndarray = candidates[np.minimum(here_or_next, last)]
    if (np.diff(first_characters) < 0).any():
        msg = "the tokenizer's offsets run backwards: its chunks of a text cannot be found"
        raise CheckpointError(msg)
    return first_characters


def _trimmed(spans: np.ndarray, content: np.ndarray) -> np.ndarray:
    """Spans without the white space at their ends; empty where there is nothing else."""
    places = np.searchsorted(content, spans)  # content before each edge
    is_blank = places[:, 0] == places[:, 1]
    starts = content[np.minimum(places[:, 0], len(content) - 1)]
    stops = content[np.maximum(places[:, 1], 1) - 1] + 1
    trimmed = np.stack([starts, stops], axis=1).astype(np.int64)
    trimmed[is_blank] = spans[is_blank, :1]
    return trimmed


def _nearest_tokens(characters: np.ndarray, bounds: np.ndarray) -> np.ndarray:
    """The token over each character, or else the nearest one; the earliest of several.

    Args:
        characters: Positions in the text, (c,).
        bounds: Start and end of each token in the text, (t, 2); starts never decrease.

    Returns:
        Indices of tokens, int64 (c,).
    """
    starts, furthest = bounds[:, 0], np.maximum.accumulate(bounds[:, 1])
    after = np.searchsorted(starts, characters, side="right")  # the first that starts beyond
    reached = furthest[np.maximum(after, 1) - 1]
    before = np.searchsorted(furthest, np.minimum(reached, characters + 1))
    behind = np.maximum(characters + 1 - reached, 0)
    ahead = starts[np.minimum(after, len(starts) - 1)] - characters
    is_before = (after > 0) & ((after == len(starts)) | (behind <= ahead))
    return np.where(is_before, before, after)


def _outermost(trimmed: np.ndarray, candidates: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Which of the candidates have the smallest start, and which the largest end."""
    if not candidates.any():
        return candidates, candidates
    begins = candidates & (trimmed[:, 0] == trimmed[candidates, 0].min())
    ends = candidates & (trimmed[:, 1] == trimmed[candidates, 1].max())
    return begins, ends
