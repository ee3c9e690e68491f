"""The figures of notebooks 06, 08 and 09: quality against storage, scores of jobs, and speed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from figures import COLORS, HALO, drawn, ink_on
from matplotlib.colors import to_rgb

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from IPython.display import Image
    from matplotlib.figure import Figure

__all__ = ["bars", "quality_against_storage", "score_table"]

_MARKERS = "os^"
_DARKER = 0.65  # letters of a colour that is too light for them


def quality_against_storage(
    lines: Mapping[str, Sequence[tuple[int, int, float, float, float]]],
    *,
    levels: Mapping[str, float],
    y_label: str,
    description: str,
) -> Image:
    """Quality by what a vector takes to store, one line per encoding.

    Args:
        lines: For each encoding its points: dimensions, bytes per vector, quality, and the low
            and high end of its interval, which is drawn for the first encoding.
        levels: What to compare with, drawn as level lines.
        y_label: What the quality is.
        description: What there is to see, in a sentence.
    """

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        for color, marker, (label, points) in zip(COLORS, _MARKERS, lines.items(), strict=False):
            dimensions, sizes, quality, lows, highs = zip(*points, strict=True)
            if color == COLORS[0]:
                axes.fill_between(
                    sizes,
                    lows,
                    highs,
                    color=color,
                    alpha=0.12,
                    linewidth=0,
                    label=f"95 % interval of {label}",
                )
            axes.plot(sizes, quality, color=color, marker=marker, linewidth=1.8, label=label)
            for size, byte_count, value in zip(dimensions, sizes, quality, strict=True):
                axes.annotate(
                    f"{size}",
                    (byte_count, value),
                    (0, -15 if marker == _MARKERS[1] else 6),
                    textcoords="offset points",
                    horizontalalignment="center",
                    fontsize=9,
                    color=[_DARKER * part for part in to_rgb(color)],
                    path_effects=[HALO],
                )
        for label, value in levels.items():
            axes.axhline(value, color="#7a7a7a", linestyle=":", linewidth=1.4, label=label)
        every = sorted({byte_count for points in lines.values() for _, byte_count, *_ in points})
        axes.set_xscale("log", base=2)
        axes.set_xticks(every, [f"{byte_count:,}" for byte_count in every])
        axes.minorticks_off()
        axes.margins(x=0.06, y=0.12)
        axes.grid(axis="y")
        axes.set_xlabel("bytes per vector; numbers at the points are dimensions")
        axes.set_ylabel(y_label)
        axes.legend(loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=5, fontsize=9)

    return drawn(draw, size=(8.0, 4.0), description=description)


def score_table(
    table: np.ndarray,
    *,
    rows: Sequence[str],
    columns: Sequence[str],
    row_label: str,
    color_label: str,
    description: str,
) -> Image:
    """A table of scores from 0 to 1, the colour of each says how high it is.

    Args:
        table: (R, C).
        rows: R labels.
        columns: C labels.
        row_label: What the rows are.
        color_label: What the scores are.
        description: What there is to see, in a sentence.
    """

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        image = axes.imshow(table, cmap="Blues", vmin=0, vmax=1, aspect="auto")
        for (row, column), value in np.ndenumerate(table):
            axes.text(
                column,
                row,
                f"{value:.2f}",
                horizontalalignment="center",
                verticalalignment="center",
                color=ink_on(value),
            )
        axes.set_xticks(range(len(columns)), columns)
        axes.set_yticks(range(len(rows)), rows)
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
        axes.set_ylabel(row_label)
        figure.colorbar(image, ax=axes, label=color_label, pad=0.02)

    return drawn(draw, size=(8.0, 1.3 + 0.4 * len(rows)), description=description)


def bars(
    values: Mapping[str, Sequence[float]], *, title: str, x_label: str, description: str
) -> Image:
    """Medians of repeated measurements as bars, with their ranges as lines.

    Args:
        values: Labels and measurements, at least one each.
        title: What they were measured on.
        x_label: What the values are, with their unit.
        description: What there is to see, in a sentence.
    """
    medians = np.array([np.median(one) for one in values.values()])
    lows = np.array([min(one) for one in values.values()])
    highs = np.array([max(one) for one in values.values()])

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        places = range(len(values))
        axes.barh(places, medians, height=0.55, color=COLORS[0])
        axes.hlines(places, lows, highs, color="#222222", linewidth=1.6)
        for place, median, high in zip(places, medians, highs, strict=True):
            axes.annotate(
                f"{median:,.0f}",
                (high, place),
                (6, 0),
                textcoords="offset points",
                verticalalignment="center",
                path_effects=[HALO],
            )
        axes.set_yticks(places, list(values))
        axes.invert_yaxis()
        axes.tick_params(axis="y", length=0)
        axes.set_xlim(0, highs.max() * 1.14)
        axes.xaxis.set_major_formatter("{x:,.0f}")
        axes.grid(axis="x")
        axes.spines["left"].set_visible(False)
        axes.set_title(title)
        axes.set_xlabel(x_label)

    return drawn(draw, size=(8.0, 1.4 + 0.4 * len(values)), description=description)
