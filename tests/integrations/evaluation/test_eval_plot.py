"""The picture of an evaluation: labels that do not touch, whatever is measured."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from jina_local.pictures import drawn
from jina_local_eval.encodings import Encoding
from jina_local_eval.eval_plot import draw_evaluation
from jina_local_eval.evaluation import Arm, Evaluation, Floor, Way
from jina_local_eval.metrics import METRICS
from support.cards import MARGIN, white_margin

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    from matplotlib.figure import Figure


def evaluation(dimensions: Sequence[int], encodings: Sequence[Encoding]) -> Evaluation:
    generator = np.random.default_rng(0)
    shape = (30, len(METRICS))
    ways: tuple[Way, Way] = ("plain", "late")
    return Evaluation(
        n_questions=30,
        n_documents=5,
        n_chunks=9,
        n_windowed=0,
        floors=(
            Floor("BM25, documents", np.full(shape, 0.4)),
            Floor("BM25, chunks", np.full(shape, 0.3)),
        ),
        arms=tuple(
            Arm(way, size, encoding, generator.uniform(size=shape))
            for size in dimensions
            for encoding in encodings
            for way in ways
        ),
    )


@pytest.mark.parametrize(
    ("dimensions", "encodings"),
    [
        ((1024, 512, 256, 128), tuple(Encoding)),
        ((1024, 768, 512, 256, 128, 64, 32, 16, 8), tuple(Encoding)),
        ((1024, 1000, 992), tuple(Encoding)),
        ((256,), (Encoding.float32,)),
    ],
)
def test_labels_do_not_touch(
    dimensions: Sequence[int],
    encodings: Sequence[Encoding],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    figures: list[Figure] = []
    places: list[tuple[float, float]] = []  # of the legend and the labels above it, as drawn

    def keep_places(figure: Figure, event: Any) -> None:
        labels = [axes.xaxis.label.get_window_extent(event.renderer) for axes in figure.axes]
        legend = figure.legends[0].get_window_extent(event.renderer)
        places.append((legend.y1, min(label.y0 for label in labels)))

    def keeping(path: Path, *, size: tuple[float, float]) -> AbstractContextManager[Figure]:
        from contextlib import contextmanager

        @contextmanager
        def kept() -> Iterator[Figure]:
            with drawn(path, size=size) as figure:
                figures.append(figure)
                figure.canvas.mpl_connect("draw_event", lambda event: keep_places(figure, event))
                yield figure

        return kept()

    monkeypatch.setattr("jina_local_eval.eval_plot.drawn", keeping)
    path = tmp_path / "quality.png"
    draw_evaluation(path, evaluation(dimensions, encodings), name="q" * 90, model="模型 m" * 40)
    assert white_margin(path) >= MARGIN
    (figure,) = figures
    left, right = figure.axes
    assert (left.get_xlabel(), right.get_xlabel()) == ("dimensions", "bytes per chunk's vector")
    for axes in (left, right):
        labels = [label for label in axes.get_xticklabels() if label.get_text()]
        assert labels
        boxes = [label.get_window_extent() for label in labels]
        assert all(a.x1 + 2 < b.x0 for a, b in pairwise(boxes))
        assert boxes[-1].x1 <= figure.bbox.x1
    legend_top, labels_bottom = places[-1]
    assert legend_top < labels_bottom
    assert figure.texts == [] or figure._suptitle.get_window_extent().x1 <= figure.bbox.x1
