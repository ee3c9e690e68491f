"""Metrics of one question: the textbook's, and under ties the mean over all orders."""

from __future__ import annotations

import math
from itertools import pairwise, permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jina_local_eval.metrics import CUTS, METRICS, NDCG, question_metrics


def of_one_order(order: list[int], relevant: set[int]) -> list[float]:
    """The metrics by their definitions, for documents in a definite order."""
    ranks = [rank for rank, document in enumerate(order, start=1) if document in relevant]
    recalls = [sum(rank <= k for rank in ranks) / len(relevant) for k in CUTS]
    gained = sum(1 / math.log2(1 + rank) for rank in ranks if rank <= 10)
    ideal = sum(1 / math.log2(1 + rank) for rank in range(1, min(len(relevant), 10) + 1))
    return [*recalls, 1 / min(ranks), gained / ideal]


def over_all_orders(scores: list[int], relevant: set[int]) -> np.ndarray:
    """Mean over every order that does not contradict the scores."""
    orders = [
        list(order)
        for order in permutations(range(len(scores)))
        if all(scores[a] >= scores[b] for a, b in pairwise(order))
    ]
    return np.mean([of_one_order(order, relevant) for order in orders], axis=0)


@given(st.data())
def test_ties_count_as_the_mean_over_all_their_orders(data: st.DataObject) -> None:
    scores = data.draw(st.lists(st.integers(0, 2), min_size=1, max_size=6))
    relevant = data.draw(st.sets(st.integers(0, len(scores) - 1), min_size=1))
    found = question_metrics(np.array(scores, dtype=np.float32), np.array(sorted(relevant)))
    assert found == pytest.approx(over_all_orders(scores, relevant), abs=1e-12)


@given(st.data())
def test_without_ties_they_are_those_of_the_order(data: st.DataObject) -> None:
    order = data.draw(st.permutations(range(30)))
    relevant = data.draw(st.sets(st.integers(0, 29), min_size=1, max_size=15))
    scores = np.empty(30, dtype=np.float32)
    scores[order] = -np.arange(30)
    found = question_metrics(scores, np.array(sorted(relevant)))
    assert found == pytest.approx(of_one_order(order, relevant), abs=1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_ndcg_is_that_of_scikit_learn_with_ties(seed: int) -> None:
    metrics = pytest.importorskip("sklearn.metrics", reason="needs scikit-learn as the oracle")
    generator = np.random.default_rng(seed)
    scores = generator.integers(0, 8, size=60).astype(np.float64)
    relevant = generator.choice(60, size=seed + 1, replace=False)
    truth = np.zeros(60)
    truth[relevant] = 1
    expected = metrics.ndcg_score([truth], [scores], k=10)
    found = question_metrics(scores, relevant)[METRICS.index(NDCG)]
    assert found == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_all_are_those_of_trec_eval_without_ties(seed: int) -> None:
    pytrec_eval = pytest.importorskip("pytrec_eval", reason="comes with mteb: extra eval")
    names = [*(f"recall_{k}" for k in CUTS), "recip_rank", "ndcg_cut_10"]
    generator = np.random.default_rng(seed)
    scores = generator.permutation(60).astype(np.float64)
    relevant = generator.choice(60, size=3 * seed + 1, replace=False)
    evaluator = pytrec_eval.RelevanceEvaluator({"q": {str(i): 1 for i in relevant}}, set(names))
    expected = evaluator.evaluate({"q": {str(i): float(scores[i]) for i in range(60)}})["q"]
    found = question_metrics(scores, relevant)
    assert found == pytest.approx([expected[name] for name in names], abs=1e-9)


def test_many_ties_are_as_good_as_chance() -> None:
    """All documents of no word in common, as BM25 has them."""
    found = question_metrics(np.zeros(100_000, dtype=np.float32), np.array([70_000]))
    harmonic = math.log(100_000) + np.euler_gamma
    assert found[:3] == pytest.approx([k / 100_000 for k in CUTS])
    assert found[3] == pytest.approx(harmonic / 100_000, rel=1e-4)
