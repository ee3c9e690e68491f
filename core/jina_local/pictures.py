"""What all our pictures share: how they look, and that a file holds all of one or is not there.

Each is a white card with a margin, to be read on a light page and on a dark one.

No display is needed, no font but the one that comes with matplotlib, and what the user has
configured for other pictures does not change these.
"""

from __future__ import annotations

import re
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from jina_local.errors import InvalidOptionError, MissingExtraError
from jina_local.files import written_whole

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from matplotlib.figure import Figure

__all__ = ["LATE_COLOR", "PLAIN_COLOR", "check_plot", "drawable", "drawn"]

LATE_COLOR, PLAIN_COLOR = "#0072b2", "#e69f00"
"""Of Okabe and Ito: colour-blind people tell them apart."""
_FORMATS: Mapping[str, dict[str, Any]] = {  # and what says when the file was written
    ".png": {},
    ".svg": {"Date": None},
    ".pdf": {"CreationDate": None},
}
_FONT = "DejaVu Sans"
_INK, _FAINT = "#222222", "#d9d9d9"
_MARGIN = 0.16  # inches on every side, in white
_STYLE: Mapping[str, Any] = {
    "axes.axisbelow": True,
    "axes.edgecolor": _FAINT,
    "axes.labelcolor": _INK,
    "axes.labelsize": 9,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "figure.constrained_layout.use": True,
    "figure.dpi": 150,
    "figure.facecolor": "white",
    "figure.titlesize": 11,
    "figure.titleweight": "bold",
    "font.family": _FONT,
    "font.size": 9,
    "grid.color": _FAINT,
    "grid.linewidth": 0.6,
    "legend.borderaxespad": 0.1,
    "legend.fontsize": 8.5,
    "legend.frameon": False,
    "svg.hashsalt": "jina-local",  # the same picture is the same file
    "text.color": _INK,
    "text.parse_math": False,  # a dollar is a dollar
    "xtick.labelcolor": _INK,
    "xtick.labelsize": 8,
    "xtick.major.size": 0,
    "ytick.labelcolor": _INK,
    "ytick.labelsize": 8,
    "ytick.major.size": 0,
}


def check_plot(path: Path, *, install: str = "jina-local[chunks]") -> None:
    """Refuse a picture that cannot be, before anything is computed for it.

    Args:
        path: The name that it is to have.
        install: What to install where matplotlib is missing.

    Raises:
        InvalidOptionError: If the name has another ending, or there is no such folder.
        MissingExtraError: If matplotlib is not installed.
    """
    if path.suffix.lower() not in _FORMATS:
        msg = f"plot {str(path)!r} ends in none of {', '.join(_FORMATS)}"
        raise InvalidOptionError(msg)
    if path.is_dir():
        msg = f"plot {str(path)!r} is a folder"
        raise InvalidOptionError(msg)
    if not path.absolute().parent.is_dir():
        msg = f"there is no folder {str(path.absolute().parent)!r} for the plot"
        raise InvalidOptionError(msg)
    try:
        import matplotlib  # noqa: F401
    except ModuleNotFoundError as error:
        if error.name != "matplotlib":
            raise
        msg = f"a plot needs matplotlib: pip install '{install}'"
        raise MissingExtraError(msg) from error


@contextmanager
def drawn(path: Path, *, size: tuple[float, float]) -> Iterator[Figure]:
    """A figure to draw on, which is written whole once the block ends without an exception.

    Args:
        path: A name that `check_plot` has found good; a file of this name is replaced.
        size: Width and height in inches, with the margin.
    """
    from matplotlib import style
    from matplotlib.figure import Figure
    from matplotlib.transforms import Bbox

    suffix = path.suffix.lower()
    with style.context(["default", dict(_STYLE)]):
        inner = Bbox.from_bounds(0, 0, size[0] - 2 * _MARGIN, size[1] - 2 * _MARGIN)
        figure = Figure(figsize=inner.size)
        yield figure
        with written_whole(path) as file:
            figure.savefig(
                file,
                format=suffix[1:],
                metadata=_FORMATS[suffix],
                bbox_inches=inner.padded(_MARGIN),
            )


def drawable(text: str) -> str:
    """One line of what the font has; an ellipsis stands for what it lacks, such as Chinese."""
    from matplotlib.font_manager import FontProperties, findfont, get_font

    fonts = [FontProperties(family=_FONT, weight=weight) for weight in ("normal", "bold")]
    known, known_in_bold = (get_font(findfont(font)).get_charmap() for font in fonts)
    line = " ".join(text.split())
    shown = "".join(c if ord(c) in known and ord(c) in known_in_bold else "\0" for c in line)
    return re.sub("\0[\0\u200d\ufe0f]*", "…", shown)  # emoji are joined by invisible characters
