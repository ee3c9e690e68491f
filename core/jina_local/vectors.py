"""Pooled → vectors: truncate, THEN normalize, here and nowhere else; and their encodings.

A Matryoshka vector is the normalized prefix of the pooled vector. Cutting after normalizing gives
vectors that are not of unit length: the reference did so until its release notes recorded the fix
(discussion 60, fixed in 83 of the original repository), and `legacy=True` still does, for indexes
that were built before.
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn import functional as F

from jina_local.errors import InvalidOptionError, NonFiniteVectorError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "from_base64",
    "int8_ranges",
    "to_base64",
    "to_binary",
    "to_int8",
    "to_ubinary",
    "to_vectors",
]


def to_vectors(
    pooled: torch.Tensor,
    dimensions: int,
    *,
    normalize: bool = True,
    legacy: bool = False,
    name: str = "row",
    rows: Sequence[int] | np.ndarray | None = None,
) -> np.ndarray:
    """Cut pooled vectors to a Matryoshka dimension and give them unit length.

    Args:
        pooled: (N, D), float32.
        dimensions: d, at most D.
        normalize: Whether vectors get unit length.
        legacy: Normalize first and cut then, as the reference did before it was fixed.
        name: What messages call a row, in front of its number.
        rows: The number of each row in messages, (N,); counted from 0 if `None`.

    Returns:
        float32 (N, d).

    Raises:
        NonFiniteVectorError: If a row holds NaN or infinity, or is to be normalized and has no
            direction.
    """
    numbers = range(len(pooled)) if rows is None else rows
    _refuse_rows(~torch.isfinite(pooled).all(dim=1), "NaN or infinity", name, numbers)
    if legacy and normalize:
        cut = F.normalize(pooled, dim=1)[:, :dimensions]
    elif normalize:
        cut = F.normalize(pooled[:, :dimensions], dim=1)
    else:
        cut = pooled[:, :dimensions]
    if normalize and not legacy:
        _refuse_rows(cut.norm(dim=1) < _NEARLY_ONE, "a vector without direction", name, numbers)
    return cut.numpy(force=True).copy()


_NEARLY_ONE = 0.99


def _refuse_rows(
    bad: torch.Tensor, what: str, name: str, numbers: Sequence[int] | np.ndarray
) -> None:
    if bad.any():
        rows = sorted(int(numbers[i]) for i in torch.nonzero(bad).flatten().tolist())
        msg = (
            f"the model gave {what} for {name} {rows[0]}"
            + (f" and {len(rows) - 1} others" if len(rows) > 1 else "")
            + ": check the weights with another dtype; float16 overflows where bfloat16 does not"
        )
        raise NonFiniteVectorError(msg)


def to_base64(vectors: np.ndarray) -> list[str]:
    """Each vector as base64 of little-endian float32, as the hosted API sends it."""
    _check_matrix(vectors)
    return [base64.b64encode(row.tobytes()).decode() for row in np.asarray(vectors, dtype="<f4")]


def from_base64(encoded: Sequence[str]) -> np.ndarray:
    """The inverse of `to_base64`: float32 (N, d)."""
    rows = [np.frombuffer(base64.b64decode(text), dtype="<f4") for text in encoded]
    return np.stack(rows).astype(np.float32) if rows else np.empty((0, 0), dtype=np.float32)


def to_ubinary(vectors: np.ndarray) -> np.ndarray:
    """One bit per dimension, set where the value is positive, first dimension in the highest bit.

    Args:
        vectors: (N, d) with d divisible by 8.

    Returns:
        uint8 (N, d / 8).

    Raises:
        InvalidOptionError: If d is not divisible by 8.

    Examples:
        >>> to_ubinary(np.float32([[0.5, -0.1, 0.2, -0.3, 0.4, -0.1, 0.3, -0.2]]))
        array([[170]], dtype=uint8)
    """
    _check_matrix(vectors)
    if vectors.shape[1] % 8:
        msg = f"binary encodings pack 8 dimensions into a byte; {vectors.shape[1]} is no multiple"
        raise InvalidOptionError(msg)
    return np.packbits(vectors > 0, axis=1)


def to_binary(vectors: np.ndarray) -> np.ndarray:
    """`to_ubinary` minus 128 (offset binary, as the hosted API has it): int8 (N, d / 8)."""
    return (to_ubinary(vectors).astype(np.int16) - 128).astype(np.int8)


def int8_ranges(vectors: np.ndarray) -> np.ndarray:
    """Smallest and largest value of each dimension over a sample: float32 (2, d)."""
    _check_matrix(vectors)
    if not len(vectors):
        msg = "ranges need at least one vector"
        raise InvalidOptionError(msg)
    return np.stack([vectors.min(axis=0), vectors.max(axis=0)]).astype(np.float32)


def to_int8(vectors: np.ndarray, ranges: np.ndarray) -> np.ndarray:
    """Each dimension scaled from its range to -128…127; values outside are clipped.

    Queries and documents must share their ranges, which is why there is no default.

    Args:
        vectors: (N, d).
        ranges: Smallest and largest value of each dimension, (2, d); see `int8_ranges`.

    Returns:
        int8 (N, d).

    Raises:
        InvalidOptionError: If the ranges are not (2, d), or a dimension's range is empty.
    """
    _check_matrix(vectors)
    if ranges.shape != (2, vectors.shape[1]):
        msg = f"ranges has shape {ranges.shape}; vectors need (2, {vectors.shape[1]})"
        raise InvalidOptionError(msg)
    low, high = ranges
    if not (high > low).all():
        empty = np.flatnonzero(~(high > low)).tolist()
        msg = f"the range of dimensions {empty[:8]} is empty: compute ranges over more vectors"
        raise InvalidOptionError(msg)
    steps: np.ndarray = np.rint((vectors - low) / (high - low) * 255.0 - 128.0)
    return steps.clip(-128, 127).astype(np.int8)


def _check_matrix(vectors: np.ndarray) -> None:
    if vectors.ndim != 2 or not np.isfinite(vectors).all():  # noqa: PLR2004 - (N, d)
        msg = f"encodings are of finite vectors (N, d), not of an array of shape {vectors.shape}"
        raise InvalidOptionError(msg)
