"""Retrieval measures, and BM25 to compare with."""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

BM25_K, BM25_B = 1.5, 0.75


TIE = 1e-6  # cosines closer than this differ by rounding only


@dataclass(frozen=True, slots=True)
class Ranking:
    """How high the wanted passages rank; equal scores count as if drawn in random order."""

    recall_at_1: float
    recall_at_10: float
    mean_reciprocal_rank: float

    @classmethod
    def of(cls, scores: np.ndarray, wanted: Sequence[int] | None = None) -> Ranking:
        """Measures scores (queries, passages); query i wants passage ``wanted[i]``, or i."""
        index = np.arange(len(scores)) if wanted is None else np.asarray(wanted)
        own = scores[np.arange(len(scores)), index][:, None]
        better = (scores > own + TIE).sum(1)
        equal = (np.abs(scores - own) <= TIE).sum(1)  # the wanted passage among them
        harmonic = np.cumsum([0, *(1 / rank for rank in range(1, scores.shape[1] + 1))])
        return cls(
            float(np.mean(np.clip(1 - better, 0, equal) / equal)),
            float(np.mean(np.clip(10 - better, 0, equal) / equal)),
            float(np.mean((harmonic[better + equal] - harmonic[better]) / equal)),
        )

    def __str__(self) -> str:
        return (
            f"R@1 {self.recall_at_1:.3f} R@10 {self.recall_at_10:.3f} "
            f"MRR {self.mean_reciprocal_rank:.3f}"
        )


def words(text: str) -> list[str]:
    """Returns lower-case words and numbers."""
    return re.findall(r"[a-z0-9]+", text.lower())


def bm25_scores(queries: Sequence[str], passages: Sequence[str]) -> np.ndarray:
    """Returns BM25 scores, (queries, passages)."""
    counts = [Counter(words(passage)) for passage in passages]
    lengths = np.array([count.total() for count in counts])
    postings: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for index, count in enumerate(counts):
        for word, times in count.items():
            postings[word].append((index, times))
    length_factor = BM25_K * (1 - BM25_B + BM25_B * lengths / lengths.mean())  # (passages,)
    scores = np.zeros((len(queries), len(passages)))
    for row, query in enumerate(queries):
        for word in set(words(query)):
            n_with = len(postings.get(word, ()))
            rarity = math.log(1 + (len(passages) - n_with + 0.5) / (n_with + 0.5))
            for index, times in postings.get(word, ()):
                gain = times * (BM25_K + 1) / (times + length_factor[index])
                scores[row, index] += rarity * gain
    return scores
