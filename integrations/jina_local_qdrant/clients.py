"""What has to be known of a Qdrant client beside its methods."""

from __future__ import annotations

import inspect
import logging
import threading
import weakref
from typing import TYPE_CHECKING

from jina_local.errors import InvalidOptionError
from jina_local_qdrant.retries import Retrier, RetryPolicy

if TYPE_CHECKING:
    from qdrant_client import QdrantClient

__all__ = ["check_async_client", "check_client", "is_local", "lock_of", "patient"]

_logger = logging.getLogger("jina_local")

_PROXIES_AT_MOST = 16
_locks: weakref.WeakKeyDictionary[object, threading.RLock] = weakref.WeakKeyDictionary()
_locks_guard = threading.Lock()


def check_client(client: object) -> None:
    """Refuse what is no blocking client.

    Raises:
        InvalidOptionError: If it has not the methods of one, or has those of an asynchronous one.
    """
    _check_methods(client, "QdrantClient")
    if inspect.iscoroutinefunction(getattr(client, "get_collection", None)):
        msg = (
            f"client is {client!r}, which is asynchronous: give a QdrantClient, or open it with "
            "AsyncJinaQdrant.open"
        )
        raise InvalidOptionError(msg)


def check_async_client(client: object) -> None:
    """Refuse what is no client at all; that methods are asynchronous shows when one is called.

    Raises:
        InvalidOptionError: If it has not the methods of one.
    """
    _check_methods(client, "AsyncQdrantClient")


def _check_methods(client: object, wanted: str) -> None:
    if not callable(getattr(client, "get_collection", None)):
        msg = (
            f"client is {client!r}; give a client, such as {wanted}(path=…) or {wanted}(url=…), or "
            "'edge:FOLDER'"
        )
        raise InvalidOptionError(msg)


def is_local(client: QdrantClient) -> bool:
    """Whether a client keeps its points in this process."""
    return _local(client) is not None


def lock_of(client: QdrantClient) -> threading.RLock:
    """One lock for all proxies of one local client."""
    with _locks_guard:
        return _locks.setdefault(_local(client), threading.RLock())


def patient(retries: RetryPolicy | None) -> Retrier:
    """Repeats requests as a policy says, and logs that it does."""
    return Retrier(retries or RetryPolicy(), on_retry=_log_retry)


def _local(client: object) -> object | None:
    """The local Qdrant that a client, or a proxy of one, keeps; `None` if it has a server.

    Most proxies keep what they stand for in `_client`, as clients do with what does their work.
    """
    for _ in range(_PROXIES_AT_MOST):  # some have attributes of any name, without an end
        if type(client).__name__.endswith("QdrantLocal"):
            return client
        client = getattr(client, "_client", None)
    return None


def _log_retry(happened: str, wait: float) -> None:
    _logger.warning("%s; trying again in %.1f s", happened, wait)
