"""Two sets of vectors of the same texts → how far apart they are, and where most.

Cosines say how much a vector moved, and need equal dimensions. Neighbours say what that does to a
search, and do not: each text is a query for the nearest of the others, once in each set.
"""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from jina_local.errors import InvalidOptionError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["PERCENTILES", "Comparison", "compare_vectors", "read_vectors"]

PERCENTILES = (50, 10, 1)
_ROWS_AT_ONCE = 1024
_MATRIX = 2


@dataclass(frozen=True, slots=True, eq=False)
class Comparison:
    """N texts in two sets of vectors.

    Attributes:
        dimensions: d of each set.
        cosines: Cosine between the two vectors of each text, float64 (N,); `None` if the sets have
            different dimensions.
        n_neighbours: k; 0 if there is one text only.
        overlaps: Share of the k nearest other texts that both sets agree on, float64 (N,); empty
            if k is 0.
    """

    dimensions: tuple[int, int]
    cosines: np.ndarray | None
    n_neighbours: int
    overlaps: np.ndarray

    def worst(self, n_rows: int) -> list[int]:
        """The rows that moved most: by cosine, else by neighbours."""
        measure = self.overlaps if self.cosines is None else self.cosines
        return [int(row) for row in measure.argsort(kind="stable")[:n_rows]]

    def record(self) -> dict[str, Any]:
        """The numbers as JSON values."""
        return {
            "dimensions": list(self.dimensions),
            "cosine": None if self.cosines is None else _distribution(self.cosines),
            "neighbours": self.n_neighbours,
            "overlap": _distribution(self.overlaps) if self.n_neighbours else None,
        }


def compare_vectors(left: np.ndarray, right: np.ndarray, *, n_neighbours: int) -> Comparison:
    """Compare two sets of vectors of the same texts, row by row.

    Args:
        left: (N, d), not zero.
        right: (N, e), not zero.
        n_neighbours: k, lowered to N - 1 if that is less.

    Raises:
        InvalidOptionError: If the two have different numbers of rows, or none.
    """
    if len(left) != len(right) or not len(left):
        msg = f"A has {len(left)} vectors and B has {len(right)}: give the same texts to both"
        raise InvalidOptionError(msg)
    one, other = _directions(left), _directions(right)
    k = min(n_neighbours, len(one) - 1)
    same_width = one.shape[1] == other.shape[1]
    return Comparison(
        dimensions=(one.shape[1], other.shape[1]),
        cosines=(one * other).sum(axis=1) if same_width else None,
        n_neighbours=k,
        overlaps=_overlaps(one, other, k) if k else np.empty(0),
    )


def read_vectors(path: Path) -> np.ndarray:
    """Vectors (N, d) from a .npy file, or from the only array, or `vectors`, of a .npz file.

    Raises:
        InvalidOptionError: If the file holds something else, NaN, infinity or a zero vector.
    """
    try:
        with path.open("rb") as file:  # which numpy would leave open behind a broken archive
            content = np.load(file, allow_pickle=False)
            vectors = content if isinstance(content, np.ndarray) else _only_array(content, path)
    except InvalidOptionError:
        raise
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        msg = f"{str(path)!r} cannot be read as numpy arrays: {error}"
        raise InvalidOptionError(msg) from error
    if vectors.ndim != _MATRIX or vectors.dtype.kind not in "fiu" or not vectors.size:
        what = f"{vectors.dtype} of shape {vectors.shape}"
        msg = f"{str(path)!r} holds {what}, not vectors: floats of shape (texts, dimensions)"
        raise InvalidOptionError(msg)
    bad = ~np.isfinite(vectors).all(axis=1) | ~vectors.any(axis=1)
    if bad.any():
        msg = f"{str(path)!r}: row {int(bad.argmax())} is zero or not finite; it has no direction"
        raise InvalidOptionError(msg)
    return vectors


def _only_array(content: np.lib.npyio.NpzFile, path: Path) -> np.ndarray:
    with content:
        names = ["vectors"] if "vectors" in content.files else content.files
        if len(names) != 1:
            msg = f"{str(path)!r} holds the arrays {names}: name one of them 'vectors'"
            raise InvalidOptionError(msg)
        array: np.ndarray = content[names[0]]
        return array


def _directions(vectors: np.ndarray) -> np.ndarray:
    wide = vectors.astype(np.float64)
    return np.asarray(wide / np.linalg.norm(wide, axis=1, keepdims=True))


def _overlaps(left: np.ndarray, right: np.ndarray, k: int) -> np.ndarray:
    shares = []
    for start in range(0, len(left), _ROWS_AT_ONCE):
        rows = np.arange(start, min(start + _ROWS_AT_ONCE, len(left)))
        pairs = zip(_nearest(left, rows, k), _nearest(right, rows, k), strict=True)
        shares += [len(np.intersect1d(one, other)) / k for one, other in pairs]
    return np.array(shares)


def _nearest(vectors: np.ndarray, rows: np.ndarray, k: int) -> np.ndarray:
    """The k nearest others of some rows, in no order, (n, k)."""
    similarity = vectors[rows] @ vectors.T
    similarity[np.arange(len(rows)), rows] = -np.inf
    return np.argpartition(-similarity, k - 1, axis=1)[:, :k]


def _distribution(values: np.ndarray) -> dict[str, float]:
    ranks = {f"p{p}": float(np.percentile(values, p)) for p in PERCENTILES}
    return {"mean": float(values.mean()), **ranks, "worst": float(values.min())}
