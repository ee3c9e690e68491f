"""How sure is a mean over questions? Percentile bootstrap (Efron 1979) over the questions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

__all__ = ["CONFIDENCE", "RESAMPLES", "Estimate", "resampled_weights", "with_interval"]

CONFIDENCE = 0.95
RESAMPLES = 2000
_SEED = 20240919


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean over questions with its interval.

    Attributes:
        mean: The mean.
        low: Lower end of the 95 % interval.
        high: Upper end.
    """

    mean: float
    low: float
    high: float


def resampled_weights(n_questions: int) -> np.ndarray:
    """How much each question weighs in each resample, float32 (2000, Q); the same on every run.

    One matrix serves everything that is measured on the same questions: only so is the interval
    of a difference that of paired questions.
    """
    generator = np.random.default_rng(_SEED)
    shares = np.full(n_questions, 1 / n_questions)
    drawn = generator.multinomial(n_questions, shares, size=RESAMPLES)
    weights: np.ndarray = (drawn / n_questions).astype(np.float32)
    return weights


def with_interval(values: np.ndarray, weights: np.ndarray) -> Estimate:
    """The mean of one value per question, and where 95 % of the resamples' means lie.

    Args:
        values: One per question, (Q,); for two ways compared, the differences.
        weights: From `resampled_weights`, (B, Q).
    """
    tail = 100 * (1 - CONFIDENCE) / 2
    low, high = np.percentile(weights @ values, [tail, 100 - tail])
    return Estimate(float(values.mean()), float(low), float(high))
