"""The ids of many texts in one array are those of each text, and take little more than that."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jina_local.text_ids import TextIds, TextIdsList

TEXTS = st.lists(
    st.tuples(st.lists(st.integers(0, 250_001), max_size=9), st.integers(1, 3)), max_size=20
)


@given(drawn=TEXTS)
def test_every_text_comes_back_as_it_was_put_in(drawn: list[tuple[list[int], int]]) -> None:
    texts = [
        TextIds(np.array([0] * n_prefix + body + [2], dtype=np.int32), n_prefix, 1)
        for body, n_prefix in drawn
    ]
    found = TextIdsList(iter(texts))
    assert len(found) == len(texts)
    assert found.lengths.tolist() == [len(text) for text in texts]
    for one, text in zip(found, texts, strict=True):
        assert one.ids.tolist() == text.ids.tolist()
        assert one.ids.dtype == np.int32
        assert (one.n_prefix, one.n_suffix, one.body) == (text.n_prefix, 1, text.body)
    if texts:
        assert found[-1].ids.tolist() == texts[-1].ids.tolist()
        assert [one.ids.tolist() for one in found[1:]] == [text.ids.tolist() for text in texts[1:]]
    with pytest.raises(IndexError):
        found[len(texts)]


def test_an_index_takes_no_copy() -> None:
    found = TextIdsList([TextIds(np.arange(5, dtype=np.int32), 1, 1)] * 3)
    assert not found[1].ids.flags.owndata
    assert np.shares_memory(found[1].ids, found[1].ids)
