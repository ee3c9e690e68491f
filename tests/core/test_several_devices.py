"""Several engines work off one queue, and nobody sees that from the results."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from jina_local import Engine
from jina_local.errors import InvalidOptionError
from jina_local.several_devices import over_engines
from jina_local.token_budget import default_tokens, tokens_that_fit

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.checkpoints import Checkpoint

TEXTS = [[f"text {i} of batch {n}" for i in range(3)] for n in range(7)]


@pytest.fixture(scope="module")
def engines(tiny: Checkpoint) -> Iterator[list[Engine]]:
    made = [Engine.load(tiny.folder, device="cpu", dtype="float32") for _ in range(3)]
    yield made
    for engine in made:
        engine.close()


@settings(max_examples=20, deadline=None)
@given(n_engines=st.integers(1, 3), n_items=st.integers(0, 40))
def test_results_come_in_the_order_of_their_items(
    engines: list[Engine], n_engines: int, n_items: int
) -> None:
    found = over_engines(engines[:n_engines], range(n_items), lambda _, item: item * item)
    assert list(found) == [item * item for item in range(n_items)]


def test_vectors_are_those_of_one_engine(engines: list[Engine]) -> None:
    found = over_engines(engines, TEXTS, lambda engine, texts: engine.embed(texts).vectors)
    for vectors, texts in zip(found, TEXTS, strict=True):
        np.testing.assert_allclose(vectors, engines[0].embed(texts).vectors, atol=1e-6)


def test_all_engines_work_at_the_same_time_and_none_for_two(engines: list[Engine]) -> None:
    together = threading.Barrier(3, timeout=60)
    busy: set[Engine] = set()

    def work(engine: Engine, item: int) -> int:
        assert engine not in busy
        busy.add(engine)
        together.wait()  # breaks unless three are at work
        busy.remove(engine)
        return item

    assert list(over_engines(engines, range(9), work)) == list(range(9))


def test_items_are_taken_a_few_at_a_time(engines: list[Engine]) -> None:
    taken: list[int] = []

    def endless() -> Iterator[int]:
        while True:
            taken.append(len(taken))
            yield taken[-1]

    results = over_engines(engines, endless(), lambda _, item: item)
    assert [next(results) for _ in range(5)] == [0, 1, 2, 3, 4]
    results.close()  # type: ignore[attr-defined]
    assert len(taken) <= 5 + 2 * len(engines)


def test_an_error_comes_in_its_place_and_ends_the_rest(engines: list[Engine]) -> None:
    def work(_: Engine, item: int) -> int:
        if item == 3:
            message = "item 3"
            raise RuntimeError(message)
        return item

    results = over_engines(engines, range(20), work)
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(RuntimeError, match="item 3"):
        next(results)


def test_no_engine_is_refused_at_the_call() -> None:
    with pytest.raises(InvalidOptionError, match="engines is empty; give at least one"):
        over_engines([], [], lambda _, item: item)


@given(
    free=st.integers(0, 2**40),
    width=st.sampled_from([64, 256, 1024]),
    dtype=st.sampled_from([torch.float32, torch.bfloat16]),
)
def test_passes_take_at_most_half_of_the_free_memory_and_never_none(
    free: int, width: int, dtype: torch.dtype
) -> None:
    tokens = tokens_that_fit(free, width, dtype)
    assert tokens >= 256
    assert tokens == 256 or tokens * 16 * width * dtype.itemsize <= free / 2


def test_a_processor_gets_what_was_measured_to_be_fast() -> None:
    assert default_tokens(torch.device("cpu"), 1024, torch.float32) == 2000
