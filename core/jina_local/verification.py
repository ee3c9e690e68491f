"""Oracles → checks → verdicts: is this the published model, and are its vectors right here?"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from jina_local.engine import Engine
from jina_local.own_checks import own_checks
from jina_local.published_checks import published_checks, sizes_of
from jina_local.verdicts import Verdict, run_check

if TYPE_CHECKING:
    from collections.abc import Callable

    from jina_local.loading import LoadedModel
    from jina_local.oracles import OracleSet

__all__ = ["Verification", "verify"]


@dataclass(frozen=True, slots=True)
class Verification:
    """What became of all checks of one model.

    Attributes:
        source: What the model was loaded from.
        recognised: What its weights are, if they are known.
        dtype: What it computes in.
        device: Where it runs.
        mismatch: Why the published numbers were not tried; empty if they were.
        verdicts: One per check, in the order in which they were run.
    """

    source: str
    recognised: str | None
    dtype: str
    device: str
    mismatch: str
    verdicts: tuple[Verdict, ...]

    @property
    def is_ok(self) -> bool:
        """Whether nothing failed."""
        return not self.count("failed")

    def count(self, status: str) -> int:
        """How many rows have a status."""
        return sum(row.status == status for row in self.verdicts)

    def record(self) -> dict[str, Any]:
        """All of it as JSON values."""
        return {
            "model": self.source,
            "recognised": self.recognised,
            "dtype": self.dtype,
            "device": self.device,
            "mismatch": self.mismatch,
            "ok": self.is_ok,
            "rows": [asdict(row) for row in self.verdicts],
        }


def verify(
    model: LoadedModel,
    oracles: OracleSet | None,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> Verification:
    """Run every check, whatever became of the others.

    Args:
        model: A loaded model.
        oracles: Published numbers; `None` to check the engine against itself alone.
        progress: Called after each check with the number finished so far and that of all.
    """
    engine = Engine(model)
    checks = own_checks(engine, model)
    if oracles is not None:
        checks = [*published_checks(engine, model, oracles), *checks]
    verdicts = []
    for finished, check in enumerate(checks, 1):
        verdicts.append(run_check(check))
        if progress is not None:
            progress(finished, len(checks))
    return Verification(
        source=engine.source,
        recognised=engine.recognised,
        dtype=engine.dtype,
        device=engine.device,
        mismatch="" if oracles is None else _mismatch(model, oracles),
        verdicts=tuple(verdicts),
    )


def _mismatch(model: LoadedModel, oracles: OracleSet) -> str:
    """In what a model is not the one whose numbers are known; empty if it may be."""
    own = sizes_of(model)
    other = [
        f"{name} {own[name]} instead of {size}"
        for name, size in oracles.sizes.items()
        if own[name] != size
    ]
    if not other:
        return ""
    return (
        f"This is not {oracles.model}: {', '.join(other)}. Its published numbers say nothing about "
        "this model and were not tried."
    )
