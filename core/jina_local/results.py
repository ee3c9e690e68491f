"""What embedding gives back: vectors, and what happened to each text or chunk."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

__all__ = ["ChunkEmbeddings", "Embeddings"]


@dataclass(frozen=True, slots=True, eq=False)
class Embeddings:
    """Vectors of N texts, and what happened to each text.

    Attributes:
        vectors: float32 (N, d); row i is text i.
        token_counts: Tokens that each vector was made from, `<s>`, `</s>` and instruction
            included, int64 (N,). Tokens that several windows share count once.
        truncated: Whether the end of the text was cut off, bool (N,).
        windows: Windows that each text was run in; 1 unless it was longer than the model,
            int64 (N,).
    """

    vectors: np.ndarray
    token_counts: np.ndarray
    truncated: np.ndarray
    windows: np.ndarray

    def __len__(self) -> int:
        return len(self.vectors)


@dataclass(frozen=True, slots=True, eq=False)
class ChunkEmbeddings:
    """Vectors of the S chunks of one document, and what happened to each chunk.

    Attributes:
        vectors: float32 (S, d); row i is span i.
        token_counts: Tokens that each vector is the mean of, with `<s>`, instruction and `</s>`
            where they count, int64 (S,).
        fell_back: Whether the chunk held no token, so that its vector is that of the nearest one,
            bool (S,). Blank chunks, chunks inside of one token, and chunks that were cut off.
        combined: Whether the chunk was longer than what a window holds of the text, so that its
            vector is the mean over tokens of several windows, bool (S,).
        truncated: Whether tokens of the chunk were cut off, bool (S,).
        windows: Windows that the document was run in.
        tokens: Tokens of the document, once each, with `<s>`, instruction, header and `</s>`, and
            without those that were cut off.
    """

    vectors: np.ndarray
    token_counts: np.ndarray
    fell_back: np.ndarray
    combined: np.ndarray
    truncated: np.ndarray
    windows: int
    tokens: int

    def __len__(self) -> int:
        return len(self.vectors)
