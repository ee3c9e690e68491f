"""Packing, adapters, pooling and vectors, each against its definition."""

from __future__ import annotations

import base64
import struct
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from torch.nn import functional as F

from jina_local.adapter_files import LowRank
from jina_local.adapters import AdaptedEmbedding, AdaptedLinear, ColumnMasks
from jina_local.errors import InvalidOptionError, NonFiniteVectorError
from jina_local.packing import PackedBatch, pack, split_by_tokens
from jina_local.pooling import RowMeans, span_sums
from jina_local.products import PlainProduct
from jina_local.sequences import PooledSequence, PooledSpan
from jina_local.tasks import NO_ADAPTER
from jina_local.vectors import (
    from_base64,
    int8_ranges,
    to_base64,
    to_binary,
    to_int8,
    to_ubinary,
    to_vectors,
)

CPU = torch.device("cpu")
LENGTHS = st.lists(st.integers(1, 40), min_size=1, max_size=12)


def sequences(lengths: list[int], adapter: int = 0) -> list[PooledSequence]:
    return [
        PooledSequence(
            ids=np.arange(100 * row, 100 * row + length, dtype=np.int32),
            adapter=adapter + row,
            item=row,
            spans=(PooledSpan(row, 0, length),),
        )
        for row, length in enumerate(lengths)
    ]


def batch_of(lengths: list[int]) -> PackedBatch:
    return pack(sequences(lengths), CPU)


# Packing


@given(LENGTHS)
def test_unpacking_a_batch_gives_back_its_sequences(lengths: list[int]) -> None:
    packed = sequences(lengths)
    batch = pack(packed, CPU)
    parts = np.split(batch.ids.numpy(), batch.cu_seqlens.numpy()[1:-1])
    assert all(np.array_equal(part, s.ids) for part, s in zip(parts, packed, strict=True))
    assert batch.cu_seqlens[-1] == len(batch.ids) == sum(batch.lengths)
    assert batch.positions.tolist() == [i for length in lengths for i in range(length)]
    assert batch.adapters.tolist() == [s.adapter for s in packed for _ in range(len(s))]


@given(LENGTHS, st.integers(1, 60))
def test_groups_hold_every_sequence_once_within_the_budget(lengths: list[int], budget: int) -> None:
    groups = list(split_by_tokens(sequences(lengths), budget))
    assert sorted(s.item for group in groups for s in group) == list(range(len(lengths)))
    assert all(sum(map(len, group)) <= budget or len(group) == 1 for group in groups)
    flat = [len(s) for group in groups for s in group]
    assert flat == sorted(flat, reverse=True)


# Adapters


def updates(rows: int, columns: int, ranks: list[int], scale: float) -> list[LowRank]:
    return [LowRank(torch.randn(rows, r), torch.randn(r, columns), scale) for r in ranks]


@pytest.mark.parametrize("room", [0, 8])
@pytest.mark.parametrize("ranks", [[4] * 5, [4, 12, 1], [4] * 8, [31], [1]])
def test_an_adapted_linear_is_the_merged_one_for_every_token(ranks: list[int], room: int) -> None:
    """Plain, through GELU and added to a residual; with and without room for the update."""
    torch.manual_seed(0)
    weight, bias = torch.randn(24, 16), torch.randn(24)
    low_ranks = updates(24, 16, ranks, scale=0.25)
    linear = AdaptedLinear.build(
        weight, bias, low_ranks, product=PlainProduct, dtype=torch.float32, room=room
    )
    adapters = torch.arange(-1, len(ranks)).repeat(3)
    masks = ColumnMasks(adapters, torch.float32)
    n_tokens = len(adapters)
    x, residual = torch.randn(n_tokens, 16), torch.randn(n_tokens, 24 + room)
    roomy = torch.cat([x, torch.full((n_tokens, linear.rank), torch.nan)], dim=1)
    y = linear(x, masks, torch.empty(n_tokens * (24 + room)))
    assert torch.equal(y, linear(roomy, masks, torch.empty(n_tokens * (24 + room))))
    assert torch.equal(y[:, 24:], torch.zeros(n_tokens, room))
    scratch = torch.empty(n_tokens * (24 + room))
    assert (linear.gelu(roomy, masks, scratch) - F.gelu(y)).abs().max() <= 1e-6
    assert (linear.added(x, masks, residual.clone()) - residual - y).abs().max() <= 1e-5
    for token, adapter in enumerate(adapters.tolist()):
        merged = weight.double()
        if adapter != NO_ADAPTER:
            update = low_ranks[adapter]
            merged = merged + update.scale * update.left.double() @ update.right.double()
        expected = F.linear(x[token].double(), merged, bias.double())
        assert (y[token, :24] - expected).abs().max() <= 1e-5


def test_an_adapted_embedding_is_the_merged_one_for_every_token() -> None:
    torch.manual_seed(0)
    table, token_type = torch.randn(50, 16), torch.randn(1, 16)
    words, types = updates(50, 16, [4, 4, 4], 0.25), updates(1, 16, [4, 4, 4], 0.25)
    embedding = AdaptedEmbedding.build(table, words, token_type, types, torch.float32)
    ids, adapters = torch.randint(0, 50, (12,)), torch.tensor([-1, 0, 1, 2] * 3)
    embedded = embedding(ids, adapters)
    for token, adapter in enumerate(adapters.tolist()):
        merged, kind = table, token_type
        if adapter != NO_ADAPTER:
            merged = table + words[adapter].scale * words[adapter].left @ words[adapter].right
            kind = token_type + types[adapter].scale * types[adapter].left @ types[adapter].right
        assert (embedded[token] - merged[ids[token]] - kind[0]).abs().max() <= 1e-5


def test_a_table_stored_in_bfloat16_stays_so_and_is_read_exactly() -> None:
    table = torch.randn(50, 16).bfloat16()
    none = updates(50, 16, [4], 0.0)
    embedding = AdaptedEmbedding.build(
        table, none, torch.zeros(1, 16), updates(1, 16, [4], 0.0), torch.float32
    )
    assert embedding.table.dtype == torch.bfloat16
    ids = torch.arange(50)
    assert torch.equal(embedding(ids, torch.zeros(50, dtype=torch.long)), table.float())


# Pooling


@given(st.lists(st.integers(1, 300), min_size=1, max_size=12))
def test_span_sums_are_sums_in_float32(lengths: list[int]) -> None:
    torch.manual_seed(0)
    hidden = torch.randn(sum(lengths), 4).bfloat16()
    stops = np.cumsum(lengths).tolist()
    spans = [(stop - length, stop) for stop, length in zip(stops, lengths, strict=True)]
    sums = span_sums(hidden, np.array(spans))
    for (start, stop), total in zip(spans, sums, strict=True):
        assert total.dtype == torch.float32
        assert (total - hidden[start:stop].double().sum(0)).abs().max() <= 1e-4


def test_sums_of_long_spans_lose_no_digits() -> None:
    """Adding so many up one by one would be off by several times as much."""
    torch.manual_seed(0)
    hidden = torch.rand(8192, 8)
    (total,) = span_sums(hidden, np.array([[0, 8192]]))
    exact = hidden.double().sum(0)
    assert ((total - exact).abs() / exact).max() <= 1e-6


def test_sums_wait_on_the_device_and_not_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jina_local.pooling._ROWS_AWAY", 3)
    means = RowMeans(8, 1)
    ids = np.zeros(2, dtype=np.int32)
    for first in range(0, 8, 2):
        spans = tuple(PooledSpan(first + i, i, i + 1) for i in range(2))
        hidden = torch.tensor([[float(first)], [first + 1.0]])
        means.add(hidden, [PooledSequence(ids, adapter=0, item=first, spans=spans)])
        assert sum(len(rows) for rows, _ in means._away) <= 3
    assert means.means().flatten().tolist() == list(range(8))


def test_a_row_pooled_in_parts_is_one_mean() -> None:
    hidden = torch.tensor([[1.0], [2.0], [30.0], [4.0], [50.0]])
    means = RowMeans(2, 1)
    ids = np.zeros(3, dtype=np.int32)
    spans = (PooledSpan(1, 0, 2), PooledSpan(0, 2, 3))
    means.add(hidden[:3], [PooledSequence(ids, adapter=0, item=0, spans=spans)])
    means.add(hidden[2:], [PooledSequence(ids, adapter=0, item=0, spans=(PooledSpan(1, 1, 2),))])
    assert means.means().flatten().tolist() == pytest.approx([30.0, (1 + 2 + 4) / 3])


@given(LENGTHS, st.randoms(use_true_random=False))
def test_rows_are_means_over_their_spans_wherever_these_lie(
    lengths: list[int], random: Any
) -> None:
    """Overlapping spans, several spans per row and several rows per sequence."""
    torch.manual_seed(0)
    hidden = torch.randn(sum(lengths), 4)
    n_rows, first = 5, 0
    parts: list[list[torch.Tensor]] = [[] for _ in range(n_rows)]
    packed = []
    for item, length in enumerate(lengths):
        spans = []
        for row in [*range(n_rows), *random.choices(range(n_rows), k=3)]:
            start = random.randrange(length)
            stop = random.randint(start + 1, length)
            spans.append(PooledSpan(row, start, stop))
            parts[row].append(hidden[first + start : first + stop])
        packed.append(PooledSequence(np.zeros(length, np.int32), 0, item, tuple(spans)))
        first += length
    means = RowMeans(n_rows, 4)
    means.add(hidden, packed)
    for row, mean in enumerate(means.means()):
        assert (mean - torch.cat(parts[row]).double().mean(0)).abs().max() <= 1e-6


# Vectors

POOLED = hnp.arrays(
    np.float32,
    st.tuples(st.integers(1, 5), st.just(16)),
    elements=st.floats(-10, 10, width=32).filter(lambda x: abs(x) > 1e-3),
)


@given(POOLED, st.integers(1, 16))
def test_vectors_are_truncated_and_then_normalized(pooled: np.ndarray, d: int) -> None:
    vectors = to_vectors(torch.from_numpy(pooled), d)
    prefix = pooled[:, :d].astype(np.float64)
    expected = prefix / np.linalg.norm(prefix, axis=1, keepdims=True)
    assert vectors.dtype == np.float32
    assert abs(vectors - expected).max() <= 1e-6


@given(POOLED, st.integers(1, 15))
def test_legacy_vectors_are_normalized_and_then_truncated(pooled: np.ndarray, d: int) -> None:
    tensor = torch.from_numpy(pooled)
    legacy = to_vectors(tensor, d, legacy=True)
    assert np.array_equal(legacy, to_vectors(tensor, 16)[:, :d])
    current = to_vectors(tensor, d)
    norms = np.linalg.norm(legacy, axis=1, keepdims=True)
    assert abs(legacy / norms - current).max() <= 1e-5


def test_without_normalizing_vectors_are_the_pooled_prefix() -> None:
    pooled = torch.randn(3, 16)
    assert np.array_equal(to_vectors(pooled, 5, normalize=False), pooled[:, :5].numpy())


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_what_is_not_finite_is_an_error_that_names_the_row(bad: float) -> None:
    pooled = torch.ones(4, 8)
    pooled[2, 7] = bad
    with pytest.raises(NonFiniteVectorError, match="row 2:"):
        to_vectors(pooled, 4)
    pooled[3, 0] = bad
    with pytest.raises(ArithmeticError, match="row 2 and 1 others"):
        to_vectors(pooled, 8)


@pytest.mark.parametrize("size", [0.0, 1e25])
def test_a_vector_without_direction_is_no_unit_vector(size: float) -> None:
    with pytest.raises(NonFiniteVectorError, match="a vector without direction for row 0"):
        to_vectors(torch.full((1, 4), size), 4)


@pytest.mark.parametrize("encode", [to_base64, to_ubinary, to_binary, int8_ranges])
def test_encodings_are_of_finite_matrices(encode: Any) -> None:
    for bad in (np.ones(8, np.float32), np.full((1, 8), np.nan, np.float32)):
        with pytest.raises(InvalidOptionError, match=r"finite vectors \(N, d\)"):
            encode(bad)


@given(POOLED)
def test_base64_is_little_endian_float32_and_comes_back(vectors: np.ndarray) -> None:
    encoded = to_base64(vectors)
    assert base64.b64decode(encoded[0])[:4] == struct.pack("<f", vectors[0, 0])
    assert np.array_equal(from_base64(encoded), vectors)


def test_base64_of_nothing_is_nothing() -> None:
    assert to_base64(np.empty((0, 4), np.float32)) == []
    assert len(from_base64([])) == 0


def test_binary_encodings_known_answer() -> None:
    """The first dimension is the highest bit; zero is not positive; binary is ubinary - 128."""
    vectors = np.array([[1, -1, 0, 1, -1, -1, -1, 1], [-1] * 8, [1] * 8], dtype=np.float32)
    assert to_ubinary(vectors).tolist() == [[0b10010001], [0], [255]]
    assert to_binary(vectors).tolist() == [[0b10010001 - 128], [-128], [127]]
    assert to_binary(vectors).dtype == np.int8


def test_binary_encodings_need_whole_bytes() -> None:
    with pytest.raises(InvalidOptionError, match="12 is no multiple"):
        to_ubinary(np.ones((1, 12), np.float32))


def test_int8_known_answer() -> None:
    ranges = np.array([[-1.0, 0.0], [1.0, 2.0]], dtype=np.float32)
    vectors = np.array([[-1.0, 0.0], [1.0, 2.0], [0.0, 1.0], [-9.0, 9.0]], dtype=np.float32)
    assert to_int8(vectors, ranges).tolist() == [[-128, -128], [127, 127], [0, 0], [-128, 127]]


@given(POOLED)
def test_int8_comes_back_within_half_a_step(vectors: np.ndarray) -> None:
    ranges = int8_ranges(np.concatenate([vectors, vectors + 1]))
    step = (ranges[1] - ranges[0]) / 255
    decoded = (to_int8(vectors, ranges) + 128.0) * step + ranges[0]
    assert (abs(decoded - vectors) <= step * 0.51 + 1e-5).all()


def test_int8_refuses_ranges_that_do_not_fit() -> None:
    vectors = np.ones((2, 3), np.float32)
    with pytest.raises(InvalidOptionError, match=r"ranges has shape \(3,\); vectors need \(2, 3\)"):
        to_int8(vectors, np.ones(3))
    with pytest.raises(InvalidOptionError, match=r"dimensions \[0, 1, 2\] is empty"):
        to_int8(vectors, int8_ranges(vectors))
