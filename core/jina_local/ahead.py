"""While one item is in use, the next one is made in a thread."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

__all__ = ["made_ahead"]

T = TypeVar("T")
R = TypeVar("R")


def made_ahead(items: Iterable[T], make: Callable[[T], R]) -> Iterator[R]:
    """What is made of each item, in order.

    For work that leaves Python alone, such as waiting for a device: the next item is made
    meanwhile. Items are taken by the caller's thread, at most one before its turn, and one item
    alone costs no thread.

    Args:
        items: If they end with an error, it is raised at once, before what was already made.
        make: Called for one item at a time. Its error is raised when the item's turn comes.
    """
    source = iter(items)
    for first in source:  # once, or not at all
        made = make(first)
        with ThreadPoolExecutor(1, "jina-local-ahead") as thread:
            for item in source:
                coming = thread.submit(make, item)
                yield made
                made = coming.result()
        yield made
