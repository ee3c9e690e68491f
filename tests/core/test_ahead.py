"""The next item is made while one is in use; order, errors and laziness are as without that."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jina_local.ahead import made_ahead

if TYPE_CHECKING:
    from collections.abc import Iterator

TIMEOUT = 60


@given(st.lists(st.integers()))
def test_what_is_made_comes_in_the_order_of_the_items(items: list[int]) -> None:
    assert list(made_ahead(items, lambda item: item * 2)) == [item * 2 for item in items]


def test_the_next_item_is_made_while_one_is_in_use() -> None:
    """Using the first waits for the second to be made: one after the other would never end."""
    made = [threading.Event() for _ in range(3)]

    def make(item: int) -> int:
        made[item].set()
        return item

    for item in made_ahead(range(3), make):
        assert all(event.wait(TIMEOUT) for event in made[: item + 2])


def test_items_are_taken_one_ahead_and_by_the_caller() -> None:
    taken: list[int] = []
    threads: set[int] = set()

    def source() -> Iterator[int]:
        for item in range(5):
            taken.append(item)
            threads.add(threading.get_ident())
            yield item

    for item in made_ahead(source(), str):
        assert len(taken) <= int(item) + 2
    assert threads == {threading.get_ident()}


@pytest.mark.parametrize("bad", [0, 1, 3])
def test_an_error_comes_in_its_turn(bad: int) -> None:
    def make(item: int) -> int:
        if item == bad:
            raise ZeroDivisionError(item)
        return item

    results = made_ahead(range(5), make)
    assert [next(results) for _ in range(bad)] == list(range(bad))
    with pytest.raises(ZeroDivisionError, match=str(bad)):
        next(results)


def test_one_item_costs_no_thread() -> None:
    (thread,) = made_ahead([0], lambda _: threading.current_thread())
    assert thread is threading.current_thread()


def test_no_thread_is_left_when_the_caller_stops_early() -> None:
    before = threading.active_count()
    results = made_ahead(range(100), str)
    assert [next(results), next(results)] == ["0", "1"]
    results.close()  # type: ignore[attr-defined]
    assert threading.active_count() == before
