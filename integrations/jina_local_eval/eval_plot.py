"""A picture of an evaluation: nDCG@10 by dimension, and by what a vector takes to store."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jina_local.pictures import drawable, drawn
from jina_local_eval.bootstrap import CONFIDENCE, resampled_weights, with_interval
from jina_local_eval.encodings import Encoding
from jina_local_eval.metrics import METRICS, NDCG

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.axes import Axes

    from jina_local_eval.evaluation import Arm, Evaluation, Way

__all__ = ["draw_evaluation"]

_MAIN = METRICS.index(NDCG)
_COLORS = {  # of Okabe and Ito: colour-blind people tell them apart
    Encoding.float32: "#0072b2",
    Encoding.int8: "#009e73",
    Encoding.binary: "#d55e00",
}
_MARKERS = {Encoding.float32: "o", Encoding.int8: "s", Encoding.binary: "^"}
_GRAY = "#7a7a7a"
_LEGEND_PAD = 1.5  # of its letters' height: it is placed by the card's edge, over the margin


def draw_evaluation(path: Path, evaluation: Evaluation, *, name: str, model: str) -> None:
    """Draw it, and write the whole picture or nothing.

    Args:
        path: A name that `check_plot` has found good; a file of this name is replaced.
        evaluation: What was measured.
        name: Of the questions.
        model: What they were embedded with, in a few words.
    """
    with drawn(path, size=(8.0, 4.2)) as figure:
        by_dimension, by_bytes = figure.subplots(1, 2, sharey=True)
        _draw(by_dimension, evaluation, [arm.dimensions for arm in evaluation.arms])
        _draw(by_bytes, evaluation, [arm.vector_bytes for arm in evaluation.arms])
        by_dimension.set_xlabel("dimensions")
        by_bytes.set_xlabel("bytes per chunk's vector")
        by_dimension.set_ylabel(f"{NDCG}, mean over {evaluation.n_questions} questions")
        title = f"plain against late chunking, {evaluation.n_documents} documents"
        figure.suptitle(f"{_short(name, 30)}: {title}", x=0.012, horizontalalignment="left")
        by_dimension.set_title(_short(model, 70), loc="left", fontsize=8.5)
        handles, labels = by_dimension.get_legend_handles_labels()
        figure.legend(
            handles,
            labels,
            loc="outside lower center",
            ncols=4,
            borderaxespad=_LEGEND_PAD,
        )


def _draw(axes: Axes, evaluation: Evaluation, positions: list[int]) -> None:
    """One line per way and encoding, BM25 as a level line, and how sure the first line is."""
    place = dict(zip(map(id, evaluation.arms), positions, strict=True))
    encodings = list(dict.fromkeys(arm.encoding for arm in evaluation.arms))
    weights = resampled_weights(evaluation.n_questions)
    first = _line(evaluation, "late", encodings[0])
    estimates = [with_interval(arm.values[:, _MAIN], weights) for arm in first]
    axes.fill_between(
        [place[id(arm)] for arm in first],
        [one.low for one in estimates],
        [one.high for one in estimates],
        color=_COLORS[encodings[0]],
        alpha=0.12,
        linewidth=0,
        label=f"{CONFIDENCE:.0%} interval, late, {encodings[0]}",
    )
    for encoding in encodings:
        ways: tuple[Way, Way] = ("late", "plain")
        for way in ways:
            arms = _line(evaluation, way, encoding)
            axes.plot(
                [place[id(arm)] for arm in arms],
                [arm.values[:, _MAIN].mean() for arm in arms],
                color=_COLORS[encoding],
                marker=_MARKERS[encoding],
                markersize=5,
                markerfacecolor=_COLORS[encoding] if way == "late" else "white",
                linestyle="-" if way == "late" else "--",
                linewidth=1.6,
                label=f"{way}, {encoding}",
            )
    for floor, style in zip(evaluation.floors, (":", "-."), strict=True):
        level = floor.values[:, _MAIN].mean()
        axes.axhline(level, color=_GRAY, linestyle=style, linewidth=1.2, label=floor.name)
    _scale(axes, sorted(set(positions)))


def _short(text: str, most: int) -> str:
    line = drawable(text)
    return line if len(line) <= most else f"{line[: most - 1]}…"


def _line(evaluation: Evaluation, way: Way, encoding: Encoding) -> list[Arm]:
    return [arm for arm in evaluation.arms if (arm.way, arm.encoding) == (way, encoding)]


def _scale(axes: Axes, positions: list[int]) -> None:
    """Doubling is one step to the right; labels where there is room for one."""
    axes.set_xscale("log", base=2)
    shown = [positions[0]]
    for position in positions[1:]:
        if position >= shown[-1] * (positions[-1] / positions[0]) ** (1 / 9):
            shown.append(position)
    axes.set_xticks(shown, [f"{position:,}" for position in shown])
    axes.minorticks_off()
    axes.margins(x=0.06)
    axes.grid(axis="y")
    axes.spines["left"].set_visible(False)
