"""The figures that notebooks share: white cards with margins, for light and for dark pages.

Every function draws one figure and gives it back as a PNG that the notebook shows, sharp on screens
of high resolution, with a description for those who do not see it.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import PIL.Image
from IPython.display import Image
from matplotlib import style
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from matplotlib.transforms import Bbox

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import numpy as np
    from matplotlib.axes import Axes

__all__ = ["COLORS", "HALO", "along", "before_and_after", "drawn", "heat_maps", "ink_on"]

COLORS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9")
"""Of Okabe and Ito: colour-blind people tell them apart. Late is the first, plain the second."""
HALO = withStroke(linewidth=3, foreground="white")
"""Around letters that may lie on a line."""
Interval = tuple[float, float, float]
"""A mean, and the low and the high end of its interval."""

_INK, _FAINT = "#222222", "#d9d9d9"
_DARK = 0.68  # from here on a shade of blue is better written on in white
_MARGIN = 0.16  # inches on every side, in white
_MOST_COLUMNS = 8  # of a table that stands beside another
_DPI, _SHARPNESS = 100, 1.6  # dots per inch of the page, and how many more the picture has
_STYLE: Mapping[str, Any] = {
    "axes.axisbelow": True,
    "axes.edgecolor": _FAINT,
    "axes.facecolor": "white",
    "axes.labelcolor": _INK,
    "axes.labelsize": 10,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlesize": 11,
    "axes.titlelocation": "left",
    "figure.constrained_layout.use": True,
    "figure.facecolor": "white",
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "grid.color": _FAINT,
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "text.color": _INK,
    "text.parse_math": False,  # a dollar is a dollar
    "xtick.labelcolor": _INK,
    "xtick.labelsize": 9,
    "ytick.labelcolor": _INK,
    "ytick.labelsize": 9,
}


def drawn(draw: Callable[[Figure], None], *, size: tuple[float, float], description: str) -> Image:
    """A figure in the style of all notebooks, as a picture to show.

    Args:
        draw: Draws on the empty figure that it is given.
        size: Width and height in inches, with the margin; 8 fill a page.
        description: What there is to see, in a sentence.
    """
    with style.context(["default", dict(_STYLE)]):
        inner = Bbox.from_bounds(0, 0, size[0] - 2 * _MARGIN, size[1] - 2 * _MARGIN)
        figure = Figure(figsize=inner.size)
        draw(figure)
        file = io.BytesIO()
        card = inner.padded(_MARGIN)
        figure.savefig(file, format="png", dpi=_SHARPNESS * _DPI, bbox_inches=card)
    return Image(_smaller(file), width=round(size[0] * _DPI), alt=description)


def _smaller(png: io.BytesIO) -> bytes:
    """The same picture in 128 colours, in a third of the bytes."""
    file = io.BytesIO()
    with PIL.Image.open(png) as picture:
        picture.convert("RGB").quantize(128).save(file, format="png", optimize=True)
    return file.getvalue()


def ink_on(shade: float) -> str:
    """The colour of letters that are read on a cell, by its place on the scale of blues, 0 to 1."""
    return "white" if shade > _DARK else _INK


def heat_maps(
    scores: Mapping[str, np.ndarray],
    *,
    rows: Sequence[str],
    columns: Sequence[str],
    row_label: str,
    column_label: str,
    description: str,
) -> Image:
    """Tables of cosine similarities, on one scale of colours: side by side, or stacked if wide.

    Args:
        scores: Titles and similarities, (R, C) each.
        rows: R labels.
        columns: C labels.
        row_label: What the rows are.
        column_label: What the columns are.
        description: What there is to see, in a sentence.
    """
    lowest = min(float(table.min()) for table in scores.values())
    highest = max(float(table.max()) for table in scores.values())

    is_wide = len(columns) > _MOST_COLUMNS
    grid = (len(scores), 1) if is_wide else (1, len(scores))

    def draw(figure: Figure) -> None:
        panels = figure.subplots(*grid, sharex=True, sharey=True, squeeze=False).ravel()
        for axes, (title, table) in zip(panels, scores.items(), strict=True):
            image = axes.imshow(table, cmap="Blues", vmin=lowest, vmax=highest, aspect="auto")
            _write_scores(axes, table, lowest, highest)
            axes.set_title(title)
            axes.set_xticks(range(len(columns)), columns)
            axes.set_yticks(range(len(rows)), rows)
            axes.tick_params(length=0)
            axes.spines[:].set_visible(False)
            if not is_wide or axes is panels[-1]:
                axes.set_xlabel(column_label)
            if is_wide or axes is panels[0]:
                axes.set_ylabel(row_label)
        figure.colorbar(image, ax=list(panels), label="cosine similarity", pad=0.02)

    height = 1.3 + grid[0] * (0.3 + 0.42 * len(rows))
    return drawn(draw, size=(8.0, height), description=description)


def _write_scores(axes: Axes, table: np.ndarray, lowest: float, highest: float) -> None:
    """The numbers in their cells; the best of each row in bold."""
    for row, values in enumerate(table):
        for column, value in enumerate(values):
            axes.text(
                column,
                row,
                f"{value:.2f}",
                horizontalalignment="center",
                verticalalignment="center",
                color=ink_on((value - lowest) / (highest - lowest or 1.0)),
                fontsize=9,
                fontweight="bold" if column == values.argmax() else "normal",
            )


def along(
    edges: np.ndarray,
    series: Mapping[str, np.ndarray],
    *,
    x_label: str,
    y_label: str,
    description: str,
    marks: Sequence[float] = (),
) -> Image:
    """Values of the stretches of a document, from its beginning to its end.

    Args:
        edges: Where the S stretches begin, and where the last one ends, (S + 1,).
        series: Labels and values, (S,) each.
        x_label: What the edges are, with their unit.
        y_label: What the values are, with their unit.
        description: What there is to see, in a sentence.
        marks: Places to mark with a dashed line.
    """

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        for color, (label, values) in zip(COLORS, series.items(), strict=False):
            axes.stairs(values, edges, baseline=None, color=color, linewidth=1.8, label=label)
        for mark in marks:
            axes.axvline(mark, color="#8c8c8c", linewidth=1.0, linestyle="--")
        axes.set_xlim(edges[0], edges[-1])
        axes.xaxis.set_major_formatter("{x:,.0f}")
        axes.grid(axis="y")
        axes.set_xlabel(x_label)
        axes.set_ylabel(y_label)
        axes.legend(loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=len(series))

    return drawn(draw, size=(8.0, 3.2), description=description)


def before_and_after(
    metrics: Mapping[str, tuple[Interval, Interval, Interval]], *, description: str
) -> Image:
    """Metrics of two models with their intervals, and beside them what the second one gains.

    Args:
        metrics: Labels, and for each before, after and gain: mean, low and high end.
        description: What there is to see, in a sentence.
    """

    def draw(figure: Figure) -> None:
        both, gains = figure.subplots(1, 2, sharey=True, width_ratios=[3, 2])
        rows = range(len(metrics))
        before, after, gain = zip(*metrics.values(), strict=True)
        _estimates(both, [row - 0.16 for row in rows], before, color=COLORS[1], label="before")
        _estimates(both, [row + 0.16 for row in rows], after, color=COLORS[0], label="after")
        _estimates(gains, rows, gain, color=COLORS[2], form="+.3f")
        gains.axvline(0, color="#7a7a7a", linewidth=1.0, linestyle=":")
        both.set_yticks(rows, list(metrics))
        both.set_ylim(len(metrics) - 0.5, -0.6)
        both.set_xlabel("mean over the questions, with 95 % interval")
        gains.set_xlabel("after - before, question by question")
        both.legend(loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=2)
        for axes in (both, gains):
            axes.tick_params(axis="y", length=0)
            axes.spines["left"].set_visible(False)
            axes.margins(x=0.2)
            axes.grid(axis="x")

    return drawn(draw, size=(8.0, 1.4 + 0.5 * len(metrics)), description=description)


def _estimates(
    axes: Axes,
    places: Sequence[float],
    estimates: Sequence[Interval],
    *,
    color: str,
    label: str | None = None,
    form: str = ".3f",
) -> None:
    """Points with the lines of their intervals, and the numbers above."""
    for place, (mean, low, high) in zip(places, estimates, strict=True):
        axes.plot([low, high], [place, place], color=color, linewidth=2.2, alpha=0.55)
        axes.plot(mean, place, "o", color=color, markersize=6, label=label)
        axes.annotate(
            f"{mean:{form}}",
            (high, place),
            (5, 0),
            textcoords="offset points",
            verticalalignment="center",
            fontsize=8.5,
        )
        label = None
