"""What no model is needed for: BM25, as bm25s has it by default, as the floor of a comparison."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from jina_local.errors import MissingExtraError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["bm25_scores", "check_bm25"]


def check_bm25() -> None:
    """Refuse before any work.

    Raises:
        MissingExtraError: If bm25s is not installed.
    """
    try:
        import bm25s  # noqa: F401
    except ModuleNotFoundError as error:
        if error.name != "bm25s":
            raise
        msg = "BM25 as the floor needs bm25s: pip install 'jina-local[eval]'"
        raise MissingExtraError(msg) from error


def bm25_scores(queries: Sequence[str], texts: Sequence[str]) -> np.ndarray:
    """BM25 of every text for every query: float32 (Q, N).

    Words are lower-cased runs of at least two letters or digits without English stop words, so
    that in languages written without spaces the floor is lower than it need be. A query or a
    text without words scores 0.
    """
    words = _words(texts)
    scores = np.zeros((len(queries), len(texts)), dtype=np.float32)
    if not any(words):
        return scores
    import bm25s

    retriever = bm25s.BM25()
    retriever.index(words, show_progress=False)
    for row, asked in enumerate(_words(queries)):
        if asked:
            scores[row] = retriever.get_scores(asked)
    return scores


def _words(texts: Sequence[str]) -> list[list[str]]:
    import bm25s

    words: list[list[str]] = bm25s.tokenize(list(texts), return_ids=False, show_progress=False)
    return words
