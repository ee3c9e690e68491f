"""Pooled vectors → what a store would keep of them, and what it could tell from that.

Dimensions are cut and vectors normalized by `jina_local.vectors.to_vectors`, from pooled vectors
that were computed once: cutting a pooled vector is what the engine does for `dimensions=`.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

import numpy as np

from jina_local.errors import DimensionsError, InvalidOptionError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Encoding", "bytes_per_vector", "check_encodings", "comparable", "cut"]

_BITS = 8


class Encoding(StrEnum):
    """How a dimension is stored."""

    float32 = "float32"
    int8 = "int8"
    binary = "binary"


def bytes_per_vector(dimensions: int, encoding: Encoding) -> int:
    """What one vector takes, without ids, ranges and whatever an index adds."""
    bits = {Encoding.float32: 32, Encoding.int8: 8, Encoding.binary: 1}[encoding]
    return dimensions * bits // _BITS


def check_encodings(
    dimensions: Sequence[int], encodings: Sequence[Encoding], width: int
) -> tuple[int, ...]:
    """The dimensions, largest first.

    Raises:
        DimensionsError: If one is not in 1…width.
        InvalidOptionError: If there is none of either, or if bits of a dimension fill no bytes.
    """
    if not dimensions or not encodings:
        msg = "give at least one dimension and one encoding"
        raise InvalidOptionError(msg)
    for size in dimensions:
        if not 1 <= size <= width:
            msg = f"dimensions {size} is outside of 1…{width}, the model's width"
            raise DimensionsError(msg)
        if Encoding.binary in encodings and size % _BITS:
            msg = (
                f"dimensions {size} is no multiple of 8, and binary packs 8 dimensions into a "
                "byte: choose another number, or leave out the encoding binary"
            )
            raise InvalidOptionError(msg)
    return tuple(sorted(set(dimensions), reverse=True))


def cut(pooled: np.ndarray, dimensions: int) -> np.ndarray:
    """Pooled vectors (N, D) at a Matryoshka dimension: unit vectors, float32 (N, d)."""
    import torch

    from jina_local.vectors import to_vectors

    return to_vectors(torch.from_numpy(pooled), dimensions)


def comparable(
    queries: np.ndarray, documents: np.ndarray, encoding: Encoding
) -> tuple[np.ndarray, np.ndarray]:
    """Encode both sides and decode them: a store would rank by the product of the two.

    * float32: nothing is lost; the product is the cosine.
    * int8: each dimension in 256 steps between its smallest and largest value in the documents;
      queries are clipped to these. The product is that of the decoded values.
    * binary: one bit per dimension. The product is d minus twice the Hamming distance.

    Args:
        queries: Unit vectors (Q, d).
        documents: Unit vectors (S, d).
        encoding: How both are stored.

    Returns:
        float32 (Q, d) and (S, d).

    Raises:
        InvalidOptionError: If a dimension has one value in all documents, and is to be int8.
    """
    from jina_local.vectors import int8_ranges, to_int8, to_ubinary

    if encoding is Encoding.float32:
        return queries, documents
    if encoding is Encoding.binary:
        return _signs(to_ubinary(queries)), _signs(to_ubinary(documents))
    ranges = int8_ranges(documents)
    return (
        _decoded(to_int8(queries, ranges), ranges),
        _decoded(to_int8(documents, ranges), ranges),
    )


def _signs(packed: np.ndarray) -> np.ndarray:
    """Bits as -1 and 1."""
    return np.unpackbits(packed, axis=1).astype(np.float32) * 2 - 1


def _decoded(codes: np.ndarray, ranges: np.ndarray) -> np.ndarray:
    low, high = ranges
    values: np.ndarray = (codes.astype(np.float32) + 128) / 255 * (high - low) + low
    return values
