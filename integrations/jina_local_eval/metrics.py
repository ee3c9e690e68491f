"""Scores of documents → how well one question was answered: recall, reciprocal rank, nDCG.

Relevance is binary. With s the score of each document and R relevant documents:

* recall@k: the share of the R that are among the k best.
* MRR: 1 / the rank of the best relevant document, over the whole ranking, which is trec_eval's
  `recip_rank`; averaged over questions it is the mean reciprocal rank.
* nDCG@10: the sum of 1 / log2(1 + rank) over the relevant documents among the 10 best, divided by
  what the best order would give (Järvelin and Kekäläinen 2002; trec_eval's `ndcg_cut_10`).

Documents with equal scores have no order, and bits and BM25 give many of them. Each metric is the
mean over all orders of the tied documents (McSherry and Najork 2008), so that neither the order of
the files nor their names decide; trec_eval orders them by name. Where nothing ties, both agree.
"""

from __future__ import annotations

import numpy as np

__all__ = ["CUTS", "METRICS", "NDCG", "question_metrics"]

CUTS = (1, 5, 10)
_DEPTH = 10
NDCG = f"nDCG@{_DEPTH}"
METRICS = (*(f"recall@{k}" for k in CUTS), "MRR", NDCG)

_GAINS = np.concatenate([[0.0], np.cumsum(1 / np.log2(np.arange(2, _DEPTH + 2)))])
"""Sum of the discounts of the best 0…10 ranks, (11,)."""


def question_metrics(scores: np.ndarray, relevant: np.ndarray) -> np.ndarray:
    """Every metric of one question.

    Args:
        scores: Higher is better, (N,), without NaN.
        relevant: Which documents answer the question, their R ≥ 1 different indices, (R,).

    Returns:
        The values of `METRICS`, each in 0…1, float64.
    """
    of_relevant = scores[relevant]
    above = (scores[:, None] > of_relevant).sum(axis=0)  # documents that are surely better, (R,)
    tied = (scores[:, None] == of_relevant).sum(axis=0)  # the document itself and its equals, (R,)
    recalls = [float((np.clip(k - above, 0, tied) / tied).mean()) for k in CUTS]
    gained = _GAINS[np.minimum(above + tied, _DEPTH)] - _GAINS[np.minimum(above, _DEPTH)]
    best = int(above.argmin())
    n_equal = int((above == above[best]).sum())
    return np.array(
        [
            *recalls,
            _reciprocal_rank(int(above[best]), int(tied[best]), n_equal),
            float((gained / tied).sum()) / _GAINS[min(len(relevant), _DEPTH)],
        ]
    )


def _reciprocal_rank(n_above: int, n_tied: int, n_relevant: int) -> float:
    """Mean of 1 / rank of the first relevant document over all orders of the tied ones.

    Args:
        n_above: Documents before all of the tied ones.
        n_tied: Documents that tie.
        n_relevant: How many of these are relevant, at least one.
    """
    places = np.arange(n_tied - n_relevant + 1)  # other documents before the first relevant one
    still_none = np.cumprod(1 - n_relevant / (n_tied - places))
    first_here = -np.diff(still_none, prepend=1.0)
    return float((first_here / (n_above + places + 1)).sum())
