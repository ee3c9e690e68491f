"""Dimensions and encodings from vectors that were computed once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from jina_local import ChunkedText, Engine
from jina_local.errors import DimensionsError, InvalidOptionError
from jina_local_eval.encodings import (
    Encoding,
    bytes_per_vector,
    check_encodings,
    comparable,
    cut,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

TEXTS = ["Lisbon lies where the Tagus meets the sea.", "Its trams are yellow.", "Who pays?"]
ALL = tuple(Encoding)


@pytest.mark.parametrize("dimensions", [1, 8, 20, 32])
def test_cutting_once_is_the_engines_own_dimensions(engine: Engine, dimensions: int) -> None:
    """Bit for bit, for questions, for chunks alone and for chunks in their documents."""
    document = ChunkedText.from_chunks(TEXTS)
    for pooled, own in (
        (
            engine.embed_queries(TEXTS, normalize=False),
            engine.embed_queries(TEXTS, dimensions=dimensions),
        ),
        (
            engine.embed_documents(TEXTS, normalize=False),
            engine.embed_documents(TEXTS, dimensions=dimensions),
        ),
        (
            engine.embed_chunks([document], normalize=False)[0],
            engine.embed_chunks([document], dimensions=dimensions)[0],
        ),
    ):
        assert pooled.vectors.shape[1] == engine.dimension
        assert np.array_equal(cut(pooled.vectors, dimensions), own.vectors)


def units(seed: int, n: int, d: int) -> np.ndarray:
    vectors = np.random.default_rng(seed).normal(size=(n, d)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def test_bits_rank_by_hamming_distance() -> None:
    queries, documents = units(0, 3, 24), units(1, 9, 24)
    left, right = comparable(queries, documents, Encoding.binary)
    for i, query in enumerate(queries):
        for j, document in enumerate(documents):
            distance = sum((a > 0) != (b > 0) for a, b in zip(query, document, strict=True))
            assert left[i] @ right[j] == 24 - 2 * distance


def test_int8_is_off_by_half_a_step_and_clips_queries() -> None:
    queries, documents = units(0, 40, 16), units(1, 9, 16)
    left, right = comparable(queries, documents, Encoding.int8)
    low, high = documents.min(axis=0), documents.max(axis=0)
    half = (high - low) / 255 / 2 + 1e-6
    assert (np.abs(right - documents) <= half).all()
    assert (np.abs(left - queries.clip(low, high)) <= half).all()
    assert not np.array_equal(right, documents)


def test_float32_is_left_as_it_is() -> None:
    queries, documents = units(0, 3, 16), units(1, 9, 16)
    left, right = comparable(queries, documents, Encoding.float32)
    assert left is queries
    assert right is documents


@pytest.mark.parametrize("dimensions", [8, 256, 1024])
def test_sizes_are_those_of_the_arrays(dimensions: int) -> None:
    from jina_local.vectors import int8_ranges, to_int8, to_ubinary

    vectors = units(0, 5, dimensions)
    stored = {
        Encoding.float32: vectors,
        Encoding.int8: to_int8(vectors, int8_ranges(vectors)),
        Encoding.binary: to_ubinary(vectors),
    }
    for encoding, array in stored.items():
        assert bytes_per_vector(dimensions, encoding) == array.nbytes // len(vectors)


@pytest.mark.parametrize(
    ("dimensions", "encodings", "error", "part"),
    [
        ([0], ALL, DimensionsError, "0 is outside of 1…32"),
        ([33], ALL, DimensionsError, "33 is outside of 1…32"),
        ([16, 12], ALL, InvalidOptionError, "12 is no multiple of 8"),
        ([], ALL, InvalidOptionError, "at least one"),
        ([8], (), InvalidOptionError, "at least one"),
    ],
)
def test_what_cannot_be_is_refused(
    dimensions: Sequence[int], encodings: Sequence[Encoding], error: type[Exception], part: str
) -> None:
    with pytest.raises(error, match=part):
        check_encodings(dimensions, encodings, 32)


def test_dimensions_go_from_large_to_small_and_once() -> None:
    assert check_encodings([8, 32, 8], ALL, 32) == (32, 8)
    assert check_encodings([12], (Encoding.int8,), 32) == (12,)
