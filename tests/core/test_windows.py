"""A text longer than the model is covered once, with context on both sides of every seam."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jina_local.errors import InvalidOptionError
from jina_local.sequences import whole_sequence, window_sequences
from jina_local.spans import whole_text_span
from jina_local.text_ids import TextIds
from jina_local.windows import Piece, Window, margin_for, plan_windows

Span = tuple[int, int]
NO_HEADER = np.empty(0, dtype=np.int32)


def whole(n_tokens: int, capacity: int, margin: int) -> list[Window]:
    """The windows of a text that is one chunk."""
    return plan_windows(n_tokens, np.array([[0, n_tokens]]), capacity, margin)


@st.composite
def plans(draw: st.DrawFn) -> tuple[int, int, int]:
    margin = draw(st.integers(0, 30))
    capacity = draw(st.integers(2 * margin + 1, 2 * margin + 100))
    return draw(st.integers(0, 2000)), capacity, margin


# The whole text


@given(plans())
def test_cores_partition_the_text(plan: tuple[int, int, int]) -> None:
    n_tokens = plan[0]
    cores = [window.pieces for window in whole(*plan)]
    assert all(len(pieces) == 1 for pieces in cores)
    assert cores[0][0].start == 0
    assert cores[-1][0].stop == n_tokens
    assert all(left.stop == right.start for (left,), (right,) in pairwise(cores))
    assert all(piece.start < piece.stop for (piece,) in cores) or n_tokens == 0


@given(plans())
def test_every_window_fits_and_has_its_margins(plan: tuple[int, int, int]) -> None:
    n_tokens, capacity, margin = plan
    windows = whole(*plan)
    for i, window in enumerate(windows):
        (core,) = window.pieces
        assert 0 <= window.start <= core.start
        assert core.stop <= window.stop <= n_tokens
        assert window.stop - window.start <= capacity
        assert core.start - window.start == (margin if i else 0)
        assert window.stop - core.stop == (margin if i < len(windows) - 1 else 0)


@given(plans())
def test_windows_are_balanced_and_no_fewer_would_do(plan: tuple[int, int, int]) -> None:
    n_tokens, capacity, margin = plan
    windows = whole(*plan)
    lengths = [window.stop - window.start for window in windows]
    assert max(lengths) - min(lengths) <= 1
    fewer = len(windows) - 1
    if fewer == 1:
        assert n_tokens > capacity
    elif fewer > 1:
        assert n_tokens + 2 * margin * (fewer - 1) > fewer * capacity


def test_a_text_that_fits_is_one_window() -> None:
    assert whole(100, 100, 25) == [Window(0, 100, (Piece(0, 0, 100),))]
    assert whole(0, 100, 25) == [Window(0, 0, (Piece(0, 0, 0),))]


def test_margins_that_leave_no_core_are_refused() -> None:
    with pytest.raises(InvalidOptionError, match=r"windows of 10 .* margins of 5 .* 0…4"):
        whole(11, 10, 5)


def test_the_default_margin_is_512_and_never_more_than_a_quarter_of_a_window() -> None:
    assert margin_for(8192) == 512
    assert margin_for(8192, 100) == 100
    for capacity in range(1, 300):
        assert margin_for(capacity) == capacity // 4


@given(plans(), st.integers(1, 12))
def test_pooled_tokens_of_all_windows_are_the_text_once(
    plan: tuple[int, int, int], n_prefix: int
) -> None:
    """`<s>` and instruction count in the first window only, `</s>` in the last only."""
    n_tokens = plan[0]
    ids = np.arange(n_prefix + n_tokens + 1, dtype=np.int32)  # every token is its own id
    text = TextIds(ids, n_prefix=n_prefix, n_suffix=1)
    sequences = window_sequences(
        text,
        whole(*plan),
        whole_text_span(n_tokens),
        header=NO_HEADER,
        adapter=3,
        item=4,
        first_row=5,
    )
    pooled = [s.ids[span.start : span.stop] for s in sequences for span in s.spans]
    assert np.array_equal(np.concatenate(pooled), ids)
    for sequence in sequences:
        assert np.array_equal(sequence.ids[:n_prefix], ids[:n_prefix])
        assert sequence.ids[-1] == ids[-1]
        assert (np.diff(sequence.ids[n_prefix:-1]) == 1).all()
        assert (sequence.adapter, sequence.item) == (3, 4)
        assert [span.row for span in sequence.spans] == [5]


@given(st.integers(0, 40), st.integers(1, 12), st.integers(0, 40))
def test_a_text_that_fits_is_the_one_window_that_would_be_made_of_it(
    n_tokens: int, n_prefix: int, room: int
) -> None:
    ids = np.arange(n_prefix + n_tokens + 1, dtype=np.int32)
    text = TextIds(ids, n_prefix=n_prefix, n_suffix=1)
    plan = whole(n_tokens, n_tokens + room, 0)
    (window,) = window_sequences(
        text, plan, whole_text_span(n_tokens), header=NO_HEADER, adapter=3, item=5, first_row=5
    )
    found = whole_sequence(text, adapter=3, row=5)
    assert np.array_equal(found.ids, window.ids)
    assert (found.adapter, found.item) == (window.adapter, window.item)
    assert found.spans == window.spans


# Chunks


@st.composite
def chunk_plans(draw: st.DrawFn) -> tuple[int, list[Span], int, int]:
    """A text with chunks of every kind: neighbours, gaps, overlaps, nests, short, wide, long."""
    margin = draw(st.integers(0, 12))
    capacity = draw(st.integers(2 * margin + 1, 2 * margin + 40))
    n_tokens = draw(st.integers(1, 400))
    longest = draw(st.sampled_from([1, 5, capacity, n_tokens]))
    starts = draw(st.lists(st.integers(0, n_tokens - 1), min_size=1, max_size=25))
    spans = [(start, min(start + draw(st.integers(1, longest)), n_tokens)) for start in starts]
    return n_tokens, spans, capacity, margin


def with_margins(span: Span, n_tokens: int, margin: int) -> Span:
    return max(span[0] - margin, 0), min(span[1] + margin, n_tokens)


def length(span: Span) -> int:
    return span[1] - span[0]


def is_wide(span: Span, n_tokens: int, capacity: int, margin: int) -> bool:
    """Whether a window holds the chunk, but not with its margins."""
    return length(span) <= capacity < length(with_margins(span, n_tokens, margin))


def full_window(span: Span, n_tokens: int, capacity: int) -> Span:
    """A window with a chunk in its middle, pushed inside of the text."""
    start = span[0] - (capacity - length(span)) // 2
    start = min(max(start, 0), n_tokens - capacity)
    return start, start + capacity


@st.composite
def mixed_plans(draw: st.DrawFn) -> tuple[int, list[Span], int, int]:
    """Parents that nearly fill a window, or more than fill it, with children and strangers."""
    margin = draw(st.integers(1, 8))
    capacity = draw(st.integers(4 * margin, 4 * margin + 30))
    n_tokens = draw(st.integers(capacity + 1, 8 * capacity))
    parent = st.integers(capacity - 2 * margin, capacity + draw(st.sampled_from([0, 0, 9])))
    sizes = st.one_of(parent, st.integers(1, capacity // 2), st.integers(1, capacity // 2))
    starts = draw(st.lists(st.integers(0, n_tokens - 1), min_size=1, max_size=25))
    spans = [(start, min(start + draw(sizes), n_tokens)) for start in starts]
    return n_tokens, draw(st.permutations([*spans, *spans[:2]])), capacity, margin


PLANS = st.one_of(chunk_plans(), mixed_plans())


@settings(max_examples=300)
@given(PLANS)
def test_every_chunk_that_fits_is_in_one_window_and_every_other_in_parts(
    plan: tuple[int, list[Span], int, int],
) -> None:
    n_tokens, spans, capacity, margin = plan
    windows = plan_windows(n_tokens, np.array(spans), capacity, margin)
    pieces = [piece for window in windows for piece in window.pieces]
    for chunk, (start, stop) in enumerate(spans):
        own = sorted((p.start, p.stop) for p in pieces if p.chunk == chunk)
        assert (own[0][0], own[-1][1]) == (start, stop)
        assert all(left[1] == right[0] for left, right in pairwise(own))
        assert all(first < last for first, last in own)
        if stop - start <= capacity:
            assert len(own) == 1


@settings(max_examples=300)
@given(PLANS)
def test_every_window_fits_and_every_chunk_has_its_margins(
    plan: tuple[int, list[Span], int, int],
) -> None:
    n_tokens, spans, capacity, margin = plan
    for window in plan_windows(n_tokens, np.array(spans), capacity, margin):
        assert 0 <= window.start < window.stop <= n_tokens
        assert window.stop - window.start <= capacity
        assert window.pieces
        first = min(piece.start for piece in window.pieces)
        last = max(piece.stop for piece in window.pieces)
        assert window.start <= first
        assert last <= window.stop
        wide = {
            spans[piece.chunk]
            for piece in window.pieces
            if is_wide(spans[piece.chunk], n_tokens, capacity, margin)
        }
        if n_tokens <= capacity:
            assert (window.start, window.stop) == (0, n_tokens)
        elif wide:  # one chunk in the middle, and others only with their margins
            (middle,) = wide
            before, after = middle[0] - window.start, window.stop - middle[1]
            assert window.stop - window.start == capacity
            assert abs(before - after) <= 1 or window.start == 0 or window.stop == n_tokens
            for other in {spans[piece.chunk] for piece in window.pieces} - wide:
                start, stop = with_margins(other, n_tokens, margin)
                assert window.start <= start < stop <= window.stop
        else:
            assert (window.start, window.stop) == with_margins((first, last), n_tokens, margin)


@settings(max_examples=300)
@given(PLANS)
def test_one_window_per_wide_chunk_and_no_fewer_would_do_for_the_rest(
    plan: tuple[int, list[Span], int, int],
) -> None:
    """Filling each window with the chunks that begin next, as far as they fit, is the least."""
    n_tokens, all_spans, capacity, margin = plan
    spans = [span for span in all_spans if length(span) <= capacity]
    if not spans:
        return
    if n_tokens <= capacity:
        assert len(plan_windows(n_tokens, np.array(spans), capacity, margin)) == 1
        return
    wide = {span for span in spans if is_wide(span, n_tokens, capacity, margin)}
    full = [full_window(span, n_tokens, capacity) for span in wide]
    rest = [with_margins(span, n_tokens, margin) for span in sorted({*spans} - wide)]
    rest = [
        (start, stop)
        for start, stop in rest
        if not any(first <= start < stop <= last for first, last in full)
    ]
    needed, begin = 0, None
    for start, stop in rest:
        if begin is None or stop - begin > capacity:
            needed, begin = needed + 1, start
    windows = plan_windows(n_tokens, np.array(spans), capacity, margin)
    assert len(windows) == len(wide) + needed


def test_children_of_parents_that_fill_a_window_are_not_run_again() -> None:
    """Ten parents of a window each: only children at their edges need windows of their own."""
    parents = [(start, start + 100) for start in range(0, 1000, 100)]
    children = [(start, start + 10) for start in range(0, 1000, 10)]
    windows = plan_windows(1000, np.array([*parents, *children]), 100, 10)
    assert len(windows) == 10 + 9
    assert sum(window.stop - window.start for window in windows) == 10 * 100 + 9 * 40


@given(st.integers(1, 9), st.integers(1, 150), st.integers(20, 80), st.integers(0, 5))
def test_windows_over_equal_chunks_have_equal_shares_as_nearly_as_chunks_allow(
    size: int, n_chunks: int, capacity: int, margin: int
) -> None:
    spans = [(start, start + size) for start in range(0, n_chunks * size, size)]
    windows = plan_windows(n_chunks * size, np.array(spans), capacity, margin)
    lengths = [window.stop - window.start for window in windows]
    share = (n_chunks * size + 2 * margin * (len(windows) - 1)) / len(windows)
    assert all(abs(length - share) < 2 * size for length in lengths)


def test_text_that_no_chunk_needs_is_not_run() -> None:
    windows = plan_windows(1_000_000, np.array([[500_000, 500_010]]), 100, 20)
    assert windows == [Window(499_980, 500_030, (Piece(0, 500_000, 500_010),))]


def test_chunks_of_a_long_parent_stay_whole_and_the_parent_is_the_sum_of_the_windows() -> None:
    parent, children = (0, 100), [(i, i + 10) for i in range(0, 100, 10)]
    windows = plan_windows(100, np.array([parent, *children]), 36, 4)
    for window in windows:
        (part,) = (piece for piece in window.pieces if piece.chunk == 0)
        inside = [piece for piece in window.pieces if piece.chunk != 0]
        assert (part.start, part.stop) == (inside[0].start, inside[-1].stop)
