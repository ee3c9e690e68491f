"""A check and its verdict: what was expected, what came, and what a failure usually means.

A check that cannot be run here says so by `SkippedCheckError`; an error that the engine raises on
purpose is a failure of the check that met it, and of no other.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from jina_local.errors import JinaLocalError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "Check",
    "Outcome",
    "SkippedCheckError",
    "Tolerance",
    "Verdict",
    "compare_numbers",
    "distance_outcome",
    "run_check",
]

Status = Literal["ok", "failed", "skipped"]


class SkippedCheckError(Exception):
    """The check cannot say anything about this model; the message says why."""


class Tolerance(NamedTuple):
    """How far a number may be from the expected one: absolute + relative · |expected|."""

    absolute: float
    relative: float


class Outcome(NamedTuple):
    """What a check found.

    Attributes:
        is_ok: Whether it holds.
        expected: What should have come, in a few characters.
        got: What came, in a few characters.
        tolerance: How far apart the two may be; empty where they must be equal.
        finding: What this failure shows about its cause, if it shows anything.
    """

    is_ok: bool
    expected: str
    got: str
    tolerance: str = ""
    finding: str = ""


@dataclass(frozen=True, slots=True)
class Check:
    """One row of a verification before it is run.

    Attributes:
        group: What it belongs to.
        name: What is checked, unique in its group.
        meaning: What a failure usually means.
        source: Where the expected value was published; empty if it needs no publication.
        run: Finds out.
    """

    group: str
    name: str
    meaning: str
    source: str
    run: Callable[[], Outcome]


@dataclass(frozen=True, slots=True)
class Verdict:
    """One row of a verification.

    Attributes:
        group: What it belongs to.
        name: What was checked.
        status: `ok`, `failed` or `skipped`.
        expected: What should have come.
        got: What came.
        tolerance: How far apart the two may be; empty where they must be equal.
        reason: Why it was skipped, or what this failure shows about its cause.
        meaning: What a failure of this row usually means.
        source: Where the expected value was published.
    """

    group: str
    name: str
    status: Status
    expected: str
    got: str
    tolerance: str
    reason: str
    meaning: str
    source: str


def run_check(check: Check) -> Verdict:
    """Run one check; whatever the engine refuses on purpose is a failure that says so."""
    status: Status
    try:
        outcome = check.run()
        status = "ok" if outcome.is_ok else "failed"
    except SkippedCheckError as error:
        outcome, status = Outcome(False, "", "", finding=str(error)), "skipped"
    except JinaLocalError as error:
        outcome, status = Outcome(False, "", "an error", finding=str(error)), "failed"
    return Verdict(
        group=check.group,
        name=check.name,
        status=status,
        expected=outcome.expected,
        got=outcome.got,
        tolerance=outcome.tolerance,
        reason=outcome.finding,
        meaning=check.meaning,
        source=check.source,
    )


def compare_numbers(
    got: np.ndarray, expected: np.ndarray, tolerance: Tolerance, *, finding: str = ""
) -> Outcome:
    """Hold numbers against numbers, and show the pair that is furthest apart for its tolerance.

    Args:
        got: Any shape.
        expected: The same shape.
        tolerance: For each number.
        finding: What a difference shows.
    """
    if got.shape != expected.shape:
        return Outcome(False, f"shape {expected.shape}", f"shape {got.shape}", finding=finding)
    allowed = tolerance.absolute + tolerance.relative * np.abs(expected)
    excess = np.abs(got - expected) / allowed
    worst = np.unravel_index(np.argmax(excess), excess.shape)  # the first NaN, if there is one
    is_ok = bool(excess[worst] <= 1)
    return Outcome(
        is_ok,
        f"{expected[worst]:.4f}",
        f"{got[worst]:.4f}",
        f"{allowed[worst]:.1e}",
        "" if is_ok else finding,
    )


def distance_outcome(left: np.ndarray, right: np.ndarray, allowed: float) -> Outcome:
    """Hold vectors against vectors by the norm of the difference of their directions.

    Args:
        left: (N, d), not zero.
        right: (N, d), not zero.
        allowed: The largest distance that rounding explains.
    """
    apart = np.linalg.norm(_directions(left) - _directions(right), axis=1).max()
    return Outcome(bool(apart <= allowed), "0", f"{apart:.1e}", f"{allowed:.0e}")


def _directions(vectors: np.ndarray) -> np.ndarray:
    wide = vectors.astype(np.float64)
    return np.asarray(wide / np.linalg.norm(wide, axis=1, keepdims=True))
