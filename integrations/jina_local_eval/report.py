"""What an evaluation says, as JSON and as tables that fit 80 columns."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from jina_local_eval.bootstrap import CONFIDENCE, RESAMPLES, resampled_weights, with_interval
from jina_local_eval.metrics import METRICS, NDCG

if TYPE_CHECKING:
    import numpy as np
    from rich.console import Console

    from jina_local_eval.bootstrap import Estimate
    from jina_local_eval.evaluation import Evaluation

__all__ = ["FEW_QUESTIONS", "headline_table", "print_report", "record", "storage_table"]

FEW_QUESTIONS = 20
_MAIN = METRICS.index(NDCG)
_LEGEND = f"""\
[low high]: {CONFIDENCE:.0%} interval of the mean, from {RESAMPLES} resamples of the questions; for
late - plain, of the same questions for both. *: the interval leaves out 0,
which one in twenty does by chance."""


def record(evaluation: Evaluation, *, name: str, model: str, chunk_tokens: int) -> dict[str, Any]:
    """Everything that was measured, for machines."""
    weights = resampled_weights(evaluation.n_questions)
    return {
        "set": name,
        "model": model,
        "questions": evaluation.n_questions,
        "documents": evaluation.n_documents,
        "chunks": evaluation.n_chunks,
        "chunk_tokens": chunk_tokens,
        "documents_in_windows": evaluation.n_windowed,
        "confidence": CONFIDENCE,
        "resamples": RESAMPLES,
        "floors": [
            {"name": floor.name, "metrics": _metrics(floor.values, weights)}
            for floor in evaluation.floors
        ],
        "arms": [
            {
                "way": arm.way,
                "dimensions": arm.dimensions,
                "encoding": str(arm.encoding),
                "vector_bytes": arm.vector_bytes,
                "metrics": _metrics(arm.values, weights),
            }
            for arm in evaluation.arms
        ],
        "late_minus_plain": [
            {
                "dimensions": late.dimensions,
                "encoding": str(late.encoding),
                "metrics": _metrics(late.values - plain.values, weights),
            }
            for plain, late in evaluation.pairs()
        ],
    }


def print_report(console: Console, evaluation: Evaluation, *, name: str, model: str) -> None:
    """The tables with what to know about them."""
    console.print(Text(f"{name}: {model}", style="bold"), soft_wrap=True)
    console.print(
        f"{evaluation.n_questions} questions, {evaluation.n_documents} documents in "
        f"{evaluation.n_chunks} chunks, {evaluation.n_windowed} longer than the model",
        soft_wrap=True,
    )
    console.print(headline_table(evaluation))
    console.print(storage_table(evaluation))
    console.print(_LEGEND, style="dim", markup=False, soft_wrap=True)
    if evaluation.n_questions < FEW_QUESTIONS:
        console.print(
            f"Fewer than {FEW_QUESTIONS} questions: intervals are rough, and real ones wider."
        )


def headline_table(evaluation: Evaluation) -> Table:
    """Every metric at the largest dimension and the first encoding, with BM25."""
    weights = resampled_weights(evaluation.n_questions)
    plain, late = next(evaluation.pairs())
    table = _table(f"{plain.dimensions} dimensions, {plain.encoding}")
    table.add_column("", no_wrap=True)
    for metric in METRICS:
        table.add_column(metric, justify="right", no_wrap=True)
    rows = [(floor.name, floor.values) for floor in evaluation.floors]
    rows += [("plain", plain.values), ("late", late.values)]
    for label, values in rows:
        table.add_row(label, *(_two_lines(values[:, i], weights) for i in range(len(METRICS))))
    difference = late.values - plain.values
    cells = (_two_lines(difference[:, i], weights, signed=True) for i in range(len(METRICS)))
    table.add_row("late - plain", *cells)
    return table


def storage_table(evaluation: Evaluation) -> Table:
    """Quality of plain and late by dimension and encoding, and what a vector takes."""
    weights = resampled_weights(evaluation.n_questions)
    table = _table(f"{NDCG} by dimensions and encoding")
    for column in ("dims", "encoding", "bytes"):
        table.add_column(column, justify="left" if column == "encoding" else "right", no_wrap=True)
    for column in ("plain", "late", "late - plain"):
        table.add_column(column, justify="right", no_wrap=True)
    for plain, late in evaluation.pairs():
        pair = (plain.values[:, _MAIN], late.values[:, _MAIN])
        table.add_row(
            str(plain.dimensions),
            str(plain.encoding),
            f"{plain.vector_bytes:,}",
            *(_one_line(with_interval(values, weights)) for values in pair),
            _one_line(with_interval(pair[1] - pair[0], weights), signed=True),
        )
    return table


def _table(title: str) -> Table:
    return Table(
        title=title,
        title_justify="left",
        title_style="bold",
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        show_edge=False,
        pad_edge=False,
    )


def _metrics(values: np.ndarray, weights: np.ndarray) -> dict[str, list[float]]:
    """Mean, low and high of each metric."""
    estimates = [with_interval(values[:, i], weights) for i in range(len(METRICS))]
    return {
        metric: [round(number, 6) for number in (one.mean, one.low, one.high)]
        for metric, one in zip(METRICS, estimates, strict=True)
    }


def _two_lines(values: np.ndarray, weights: np.ndarray, *, signed: bool = False) -> Text:
    estimate = with_interval(values, weights)
    return Text.assemble(
        _mean(estimate, signed=signed), "\n", (_interval(estimate, signed=signed), "dim")
    )


def _one_line(estimate: Estimate, *, signed: bool = False) -> Text:
    return Text.assemble(
        _mean(estimate, signed=signed), " ", (_interval(estimate, signed=signed), "dim")
    )


def _mean(estimate: Estimate, *, signed: bool) -> str:
    if not signed:
        return f"{estimate.mean:.3f}"
    is_clear = estimate.low > 0 or estimate.high < 0
    return f"{'*' if is_clear else ''}{estimate.mean:+.3f}"


def _interval(estimate: Estimate, *, signed: bool) -> str:
    """Such as `.41 .65`, in brackets; without the zero before the point."""
    form = "+.2f" if signed else ".2f"
    ends = (f"{end:{form}}".replace("0.", ".", 1) for end in (estimate.low, estimate.high))
    return f"[{' '.join(ends)}]"
