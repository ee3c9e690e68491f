"""Character spans of a text → the tokens that each of them holds.

A token belongs to the chunk that holds its first character that is no white space, so that a token
across the seam of two chunks is in exactly one of them. Where a tokenizer counts the space before a
word as part of its token makes no difference. A token without any such character belongs where the
next one does, and at the end of the text where the previous one does.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from jina_local.errors import CheckpointError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jina_local.tokens import TokenizedText

__all__ = ["WHITE_SPACE", "TokenSpans", "token_spans", "whole_text_span"]

WHITE_SPACE = "".join(
    map(chr, (*range(0x09, 0x0E), *range(0x1C, 0x21), 0x85, 0xA0, 0x1680))
) + "".join(map(chr, (*range(0x2000, 0x200B), 0x2028, 0x2029, 0x202F, 0x205F, 0x3000)))
"""What `str.isspace` calls white space."""


@dataclass(frozen=True, slots=True, eq=False)
class TokenSpans:
    """The tokens of S chunks of one text, as spans of its own tokens.

    Attributes:
        spans: First token and one past the last of each chunk, without prefix and suffix,
            int64 (S, 2). Of a chunk that fell back, the token that stands for it.
        fell_back: Whether no token is the chunk's own, bool (S,).
        truncated: Whether tokens of the chunk were cut off with the end of the text, bool (S,).
        begins: Whether the chunk begins where the text's first chunk does, and so takes `<s>` and
            the instruction, bool (S,).
        ends: Whether the chunk ends where the text's last chunk does, and so takes `</s>`,
            bool (S,).
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
) -> TokenSpans:
    """The tokens of each chunk.

    Args:
        text: The text.
        tokenized: Its tokens, with at least one that is not white space.
        spans: S spans of characters.
        n_kept: Tokens of the text, counted from its beginning, that are not cut off.
        edges: Whether prefix and suffix count towards the outermost chunks.

    Raises:
        CheckpointError: If the tokenizer's offsets run backwards.
    """
    is_content = ~np.isin(_code_points(text), _code_points(WHITE_SPACE))
    content = np.flatnonzero(is_content).astype(np.int32)  # characters that are no white space
    bounds = tokenized.body_offsets
    whole = np.array(spans, dtype=np.int64).reshape(-1, 2)
    trimmed = _trimmed(whole, content)
    held = np.searchsorted(_first_characters(bounds, content), trimmed)  # (S, 2)
    kept = np.minimum(held, n_kept)
    fell_back = kept[:, 0] == kept[:, 1]
    for chunk in np.flatnonzero(fell_back):  # few, if any
        nearest = _nearest_token(whole[chunk, 0], bounds[:n_kept])
        kept[chunk] = nearest, nearest + 1
    begins, ends = _outermost(trimmed, ~fell_back & edges)
    return TokenSpans(kept, fell_back, held[:, 1] > n_kept, begins, ends)


def _code_points(text: str) -> np.ndarray:
    return np.frombuffer(text.encode("utf-32-le"), dtype="<u4")


def _first_characters(bounds: np.ndarray, content: np.ndarray) -> np.ndarray:
    """Where each token counts as being: its first character that is no white space.

    Args:
        bounds: Start and end of each token in the text, (t, 2).
        content: Positions of all characters that are no white space, in order.
    """
    places = np.searchsorted(content, bounds[:, 0])
    candidates = content[np.minimum(places, len(content) - 1)]
    is_blank = (candidates < bounds[:, 0]) | (candidates >= bounds[:, 1])
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


def _nearest_token(character: int, bounds: np.ndarray) -> int:
    """The token over a character, or else the nearest one; the earliest of several.

    Args:
        character: A position in the text.
        bounds: Start and end of each token in the text, (t, 2).
    """
    distances = np.maximum(bounds[:, 0] - character, character - bounds[:, 1] + 1)
    return int(np.maximum(distances, 0).argmin())


def _outermost(trimmed: np.ndarray, candidates: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Which of the candidates have the smallest start, and which the largest end."""
    if not candidates.any():
        return candidates, candidates
    begins = candidates & (trimmed[:, 0] == trimmed[candidates, 0].min())
    ends = candidates & (trimmed[:, 1] == trimmed[candidates, 1].max())
    return begins, ends
