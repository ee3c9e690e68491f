"""Suites of MTEB tasks: run them, and set the scores beside published ones.

What is expected, where that is published, and how far off a score may be, is data in
`published_scores.json`. Running a suite downloads the data sets of its tasks from the Hugging Face
Hub. Tasks over millions of passages (MS MARCO, NQ, HotpotQA, FEVER, DBPedia in full) are left out.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jina_local.errors import MissingExtraError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from jina_local import Engine

__all__ = [
    "Compared",
    "Expected",
    "Finished",
    "check_mteb",
    "compare",
    "run_suite",
    "run_tasks",
    "suite_tasks",
]

_PUBLISHED = Path(__file__).parent / "published_scores.json"

Key = tuple[str, str, str]


@dataclass(frozen=True, slots=True)
class Expected:
    """A published main score.

    Attributes:
        task: Name of the task in mteb.
        split: Of its data.
        subset: Of its data, such as a language.
        kind: What a tolerance is for.
        score: The score.
        tolerances: How far off a score may be, by `float32` and `16 bits`.
        source: Where it is published, with the version of mteb if that is known.
    """

    task: str
    split: str
    subset: str
    kind: str
    score: float
    tolerances: Mapping[str, float]
    source: str

    @property
    def key(self) -> Key:
        """What names the score."""
        return self.task, self.split, self.subset


@dataclass(frozen=True, slots=True)
class Finished:
    """What came of a run.

    Attributes:
        scores: Main scores by task, split and subset.
        failures: What went wrong, by task; such as data that could not be downloaded.
    """

    scores: Mapping[Key, float]
    failures: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Compared:
    """A published score and ours.

    Attributes:
        expected: What is published.
        got: Ours; `None` if mteb gave none.
        tolerance: How far off ours may be.
    """

    expected: Expected
    got: float | None
    tolerance: float

    @property
    def difference(self) -> float | None:
        """Ours minus the published one."""
        return None if self.got is None else self.got - self.expected.score

    @property
    def is_right(self) -> bool:
        """Whether there is a score within the tolerance, either way."""
        return self.difference is not None and abs(self.difference) <= self.tolerance


def check_mteb() -> None:
    """Refuse before any work.

    Raises:
        MissingExtraError: If mteb is not installed.
    """
    try:
        import mteb  # noqa: F401
    except ModuleNotFoundError as error:
        if error.name != "mteb":
            raise
        msg = "suites need mteb: pip install 'jina-local[eval]'"
        raise MissingExtraError(msg) from error


def suite_tasks(suite: str) -> list[Expected]:
    """The published scores of one suite."""
    published = json.loads(_PUBLISHED.read_text(encoding="utf-8"))
    return [
        Expected(
            task=entry["task"],
            split=entry["split"],
            subset=entry["subset"],
            kind=entry["kind"],
            score=entry["score"],
            tolerances=published["tolerances"][entry["kind"]],
            source=published["sources"][entry["source"]]
            + (f", mteb {entry['mteb']}" if entry["mteb"] else ""),
        )
        for entry in published["scores"]
        if entry["suite"] == suite
    ]


def run_suite(engine: Engine, expected: Sequence[Expected], results: Path | None) -> Finished:
    """Run the tasks that scores are expected for, on no more of their data than is needed.

    Args:
        engine: The model.
        expected: What is run.
        results: Folder of mteb's results; what is in it from this model is not run again.
    """
    import mteb

    tasks = []
    for name in dict.fromkeys(one.task for one in expected):
        wanted = [one for one in expected if one.task == name]
        tasks.append(
            mteb.get_task(
                name,
                eval_splits=list(dict.fromkeys(one.split for one in wanted)),
                hf_subsets=list(dict.fromkeys(one.subset for one in wanted)),
            )
        )
    return run_tasks(engine, tasks, results)


def run_tasks(engine: Engine, tasks: Sequence[Any], results: Path | None) -> Finished:
    """Run tasks of mteb one after the other; one that fails does not stop the others.

    Args:
        engine: The model.
        tasks: Objects of mteb.
        results: See `run_suite`.
    """
    import mteb

    from jina_local_eval.mteb_encoder import MtebEncoder

    finished = mteb.evaluate(
        MtebEncoder(engine),
        list(tasks),
        cache=None if results is None else mteb.ResultCache(results),
        co2_tracker=False,
        raise_error=False,
    )
    scores = {
        (task.task_name, split, str(one["hf_subset"])): float(one["main_score"])
        for task in finished.task_results
        for split, subsets in task.scores.items()
        for one in subsets
    }
    failures = {one.task_name: one.exception for one in finished.exceptions or ()}
    return Finished(scores, failures)


def compare(
    expected: Sequence[Expected], got: Mapping[Key, float], *, dtype: str
) -> list[Compared]:
    """Each published score beside ours, in the order given.

    Args:
        expected: What is published.
        got: From `run_suite`.
        dtype: Of the engine.
    """
    precision = "float32" if dtype == "float32" else "16 bits"
    return [Compared(one, got.get(one.key), one.tolerances[precision]) for one in expected]
