"""Qdrant's embedded engine, and its errors in our words."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from jina_local.errors import JinaLocalError, MissingExtraError
from jina_local_qdrant.errors import StoreRefusedError

try:
    import qdrant_edge
except ModuleNotFoundError as error:
    if error.name != "qdrant_edge":
        raise
    msg = "Qdrant in a folder needs qdrant-edge-py: pip install 'jina-local[edge]'"
    raise MissingExtraError(msg) from error

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["qdrant_edge", "refusals"]


@contextmanager
def refusals(what: str) -> Iterator[None]:
    """Raise whatever the engine, or the disk under it, raises as a refusal.

    Args:
        what: What is being done, for the message.

    Raises:
        StoreRefusedError: For anything that is not one of our own errors yet.
    """
    try:
        yield
    except JinaLocalError:
        raise
    except Exception as error:  # the engine raises nothing narrower
        reason = str(error).partition("\n")[0]
        msg = f"{what}: refused by Qdrant's embedded engine: {reason}"
        raise StoreRefusedError(msg) from error
