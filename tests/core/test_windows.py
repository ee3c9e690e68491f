"""A text longer than the model is covered once, with context on both sides of every seam."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jina_local.errors import InvalidOptionError
from jina_local.spans import whole_text_sequences
from jina_local.tokens import TokenizedText
from jina_local.windows import Window, margin_for, plan_windows


@st.composite
def plans(draw: st.DrawFn) -> tuple[int, int, int]:
    margin = draw(st.integers(0, 30))
    capacity = draw(st.integers(2 * margin + 1, 2 * margin + 100))
    return draw(st.integers(0, 2000)), capacity, margin


@given(plans())
def test_cores_partition_the_text(plan: tuple[int, int, int]) -> None:
    n_tokens, capacity, margin = plan
    cores = [(w.core_start, w.core_stop) for w in plan_windows(n_tokens, capacity, margin)]
    assert cores[0][0] == 0
    assert cores[-1][1] == n_tokens
    assert all(stop == start for (_, stop), (start, _) in pairwise(cores))
    assert all(start < stop for start, stop in cores) or n_tokens == 0


@given(plans())
def test_every_window_fits_and_has_its_margins(plan: tuple[int, int, int]) -> None:
    n_tokens, capacity, margin = plan
    windows = plan_windows(n_tokens, capacity, margin)
    for i, window in enumerate(windows):
        assert 0 <= window.start <= window.core_start
        assert window.core_stop <= window.stop <= n_tokens
        assert window.stop - window.start <= capacity
        assert window.core_start - window.start == (margin if i else 0)
        assert window.stop - window.core_stop == (margin if i < len(windows) - 1 else 0)


@given(plans())
def test_windows_are_balanced_and_no_fewer_would_do(plan: tuple[int, int, int]) -> None:
    n_tokens, capacity, margin = plan
    windows = plan_windows(n_tokens, capacity, margin)
    lengths = [window.stop - window.start for window in windows]
    assert max(lengths) - min(lengths) <= 1
    fewer = len(windows) - 1
    if fewer == 1:
        assert n_tokens > capacity
    elif fewer > 1:
        assert n_tokens + 2 * margin * (fewer - 1) > fewer * capacity


def test_a_text_that_fits_is_one_window() -> None:
    assert plan_windows(100, 100, 25) == [Window(0, 100, 0, 100)]
    assert plan_windows(0, 100, 25) == [Window(0, 0, 0, 0)]


def test_margins_that_leave_no_core_are_refused() -> None:
    with pytest.raises(InvalidOptionError, match=r"windows of 10 .* margins of 5 .* 0…4"):
        plan_windows(11, 10, 5)


def test_the_default_margin_is_512_and_never_more_than_half_a_window() -> None:
    assert margin_for(8192) == 512
    for capacity in range(1, 300):
        assert 2 * margin_for(capacity) < capacity


@given(plans(), st.integers(1, 12))
def test_pooled_tokens_of_all_windows_are_the_text_once(
    plan: tuple[int, int, int], n_prefix: int
) -> None:
    """`<s>` and instruction count in the first window only, `</s>` in the last only."""
    n_tokens, capacity, margin = plan
    ids = np.arange(n_prefix + n_tokens + 1, dtype=np.int32)  # every token is its own id
    text = TokenizedText(ids, np.zeros((len(ids), 2), np.int32), n_prefix=n_prefix, n_suffix=1)
    windows = plan_windows(n_tokens, capacity, margin)
    sequences = whole_text_sequences(text, windows, adapter=3, row=5)
    pooled = np.concatenate([s.ids[s.start : s.stop] for s in sequences])
    assert np.array_equal(pooled, ids)
    for sequence in sequences:
        assert np.array_equal(sequence.ids[:n_prefix], ids[:n_prefix])
        assert sequence.ids[-1] == ids[-1]
        assert (np.diff(sequence.ids[n_prefix:-1]) == 1).all()
        assert (sequence.adapter, sequence.row) == (3, 5)
