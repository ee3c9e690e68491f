"""A picture of how similar the chunks of a document are to a query, embedded late and plain.

A few chunks are rows with the beginnings of their texts; many are steps along the document.
"""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from jina_local.pictures import LATE_COLOR, PLAIN_COLOR, drawable, drawn

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import numpy as np
    from matplotlib.axes import Axes

__all__ = ["draw_similarities"]

_MOST_ROWS = 12
_WIDTH, _HEIGHT = 8.0, 3.6  # inches
_BESIDES_ROWS, _ROOM_OF_A_ROW = 1.5, 0.3  # of the height, until it is reached
_LABEL_CHARACTERS = 42
_TITLE_CHARACTERS = 66
_TITLE_LINES = 2


@dataclass(frozen=True, slots=True)
class _Series:
    """How one way of embedding looks: apart in colour, in form and in weight.

    Where both ways agree, the plain mark is a ring around the late one.
    """

    label: str
    color: str
    fill: str
    dot: float
    star: float
    line: float
    layer: int


_LATE = _Series("late", LATE_COLOR, LATE_COLOR, dot=34, star=110, line=3.2, layer=4)
_PLAIN = _Series("plain", PLAIN_COLOR, "white", dot=62, star=260, line=1.6, layer=3)


def draw_similarities(
    path: Path,
    *,
    query: str,
    model: str,
    text: str,
    spans: Sequence[tuple[int, int]],
    late: np.ndarray,
    plain: np.ndarray,
) -> None:
    """Draw late and plain similarity of each chunk, and write the whole picture or nothing.

    Args:
        path: A name that `check_plot` has found good; a file of this name is replaced.
        query: What the chunks were compared to.
        model: What they were embedded with, in a few words.
        text: The document.
        spans: Start and end of each of the S chunks in it.
        late: Similarity of each chunk embedded within the document, (S,).
        plain: Similarity of each chunk embedded alone, (S,).
    """
    height = min(_HEIGHT, _BESIDES_ROWS + _ROOM_OF_A_ROW * len(spans))
    with drawn(path, size=(_WIDTH, height)) as figure:
        axes = figure.add_subplot()
        _draw_titles(axes, query, model)
        if len(spans) <= _MOST_ROWS:
            _draw_rows(axes, [text[start:stop] for start, stop in spans], late, plain)
        else:
            _draw_steps(axes, spans, late, plain)
            axes.set_xlim(0, len(text))
        _draw_legend(axes)


def _draw_titles(axes: Axes, query: str, model: str) -> None:
    """The query, and on a line of its own the model."""
    options: dict[str, Any] = {"max_lines": _TITLE_LINES, "placeholder": " …"}
    lines = textwrap.wrap(drawable(query), _TITLE_CHARACTERS, **options)
    title = axes.figure.suptitle("\n".join([*lines, ""]), x=0.012, horizontalalignment="left")
    subtitle = axes.annotate(drawable(model), (0, 0), xycoords=title, annotation_clip=False)
    subtitle.set_in_layout(False)  # the title's last line keeps its place


def _draw_rows(axes: Axes, chunks: Sequence[str], late: np.ndarray, plain: np.ndarray) -> None:
    """Chunks from top to bottom, each a row with its number and the beginning of its text."""
    rows = range(len(chunks))
    axes.hlines(rows, plain, late, color="#a6a6a6", linewidth=1.4, zorder=2)
    for series, values in ((_LATE, late), (_PLAIN, plain)):
        best = int(values.argmax())
        others = [row for row in rows if row != best]
        axes.scatter(values[others], others, s=series.dot, label=series.label, **_mark(series))
        _draw_best(axes, series, values[best], best)
    axes.set_ylim(len(chunks) - 0.4, -0.6)
    labels = [f"{_label(chunk)}  {number:>2}" for number, chunk in enumerate(chunks, start=1)]
    axes.set_yticks(rows, labels)
    axes.grid(axis="both")
    axes.spines["left"].set_visible(False)
    axes.set_xlabel("cosine similarity to the query")


def _draw_steps(
    axes: Axes, spans: Sequence[tuple[int, int]], late: np.ndarray, plain: np.ndarray
) -> None:
    """Chunks from left to right, each as long as its text."""
    order = sorted(range(len(spans)), key=spans.__getitem__)
    edges = [edge for chunk in order for edge in spans[chunk]]
    starts, stops = zip(*((start, max(start + 1, stop)) for start, stop in spans), strict=True)
    for series, values in ((_LATE, late), (_PLAIN, plain)):
        look: dict[str, Any] = {"color": series.color, "zorder": series.layer}
        axes.plot(edges, values[order].repeat(2), linewidth=0.5, alpha=0.6, **look)
        axes.hlines(
            values,
            starts,
            stops,
            linewidth=series.line,
            label=series.label,
            capstyle="round",
            **look,
        )
        best = int(values.argmax())
        _draw_best(axes, series, (starts[best] + stops[best]) / 2, values[best])
    axes.grid(axis="y")
    axes.spines["left"].set_visible(False)
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.set_xlabel("position in the document, in characters")
    axes.set_ylabel("cosine similarity to the query")


def _draw_best(axes: Axes, series: _Series, x: float, y: float) -> None:
    axes.scatter(x, y, marker="*", s=series.star, **_mark(series))


def _mark(series: _Series) -> dict[str, Any]:
    return {
        "facecolor": series.fill,
        "edgecolor": series.color,
        "linewidth": 1.6,
        "clip_on": False,
        "zorder": series.layer,
    }


def _draw_legend(axes: Axes) -> None:
    axes.scatter([], [], marker="*", s=_LATE.star, color="#8c8c8c", label="most similar")
    axes.legend(loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=3)


def _label(chunk: str) -> str:
    line = drawable(chunk)
    if len(line) <= _LABEL_CHARACTERS:
        return line
    cut = line[: _LABEL_CHARACTERS - 2]
    words, _, _ = cut.rpartition(" ")
    return f"{words} …" if 2 * len(words) > len(cut) else f"{cut}…"
