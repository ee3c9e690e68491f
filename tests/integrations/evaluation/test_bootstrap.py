"""Intervals of means over questions."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from jina_local_eval.bootstrap import RESAMPLES, resampled_weights, with_interval


def test_every_resample_draws_as_many_questions_and_every_run_draws_the_same() -> None:
    weights = resampled_weights(37)
    assert weights.shape == (RESAMPLES, 37)
    assert weights.sum(axis=1) == pytest.approx(np.ones(RESAMPLES), abs=1e-5)
    assert np.rint(weights * 37) == pytest.approx(weights * 37, abs=1e-4)
    assert np.array_equal(weights, resampled_weights(37))


@pytest.mark.parametrize("n_questions", [12, 48, 400])
def test_intervals_are_those_of_scipy(n_questions: int) -> None:
    """Up to what 2000 resamples leave to chance, a few per cent of the width."""
    values = np.random.default_rng(n_questions).beta(0.5, 0.3, size=n_questions)
    found = with_interval(values, resampled_weights(n_questions))
    expected = stats.bootstrap(
        (values,),
        np.mean,
        n_resamples=20_000,
        confidence_level=0.95,
        method="percentile",
        rng=np.random.default_rng(1),
    ).confidence_interval
    slack = 0.06 * (expected.high - expected.low)
    assert found.mean == pytest.approx(values.mean(), abs=1e-12)
    assert (found.low, found.high) == pytest.approx(tuple(expected), abs=slack)


def test_differences_are_paired() -> None:
    """Each question a little better: sure, however different questions are from each other."""
    plain = np.random.default_rng(0).uniform(size=50)
    weights = resampled_weights(50)
    alone = with_interval(plain, weights)
    better = with_interval((plain + 0.01) - plain, weights)
    assert alone.high - alone.low > 0.1
    assert (better.low, better.high) == pytest.approx((0.01, 0.01), abs=1e-6)
