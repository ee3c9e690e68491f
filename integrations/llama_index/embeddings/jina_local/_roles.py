"""A cache of vectors that knows whose vectors they are.

LlamaIndex keys `embeddings_cache` by the text alone, so that a query is given the vector of a
passage with the same words, and one model that of another.
"""

from __future__ import annotations

from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from llama_index.core.storage.kvstore.types import BaseKVStore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["RoleCache", "as_query"]

_COLLECTION = "embeddings"

_role: ContextVar[str] = ContextVar("jina_local_role", default="text")


@contextmanager
def as_query() -> Iterator[None]:
    """What is embedded meanwhile are queries."""
    token = _role.set("query")
    try:
        yield
    finally:
        _role.reset(token)


class RoleCache(BaseKVStore):
    """A view of a store with the role, and what else vectors depend on, before every key.

    Args:
        store: The store itself, which may be shared.
        settings: Names what vectors depend on besides text and role.
    """

    def __init__(self, store: BaseKVStore, settings: Callable[[], str]) -> None:
        self.store = store
        self._settings = settings

    def put(self, key: str, val: dict[str, Any], collection: str = _COLLECTION) -> None:
        """Keep a vector."""
        self.store.put(self._own(key), val, collection)

    async def aput(self, key: str, val: dict[str, Any], collection: str = _COLLECTION) -> None:
        """Keep a vector."""
        await self.store.aput(self._own(key), val, collection)

    def get(self, key: str, collection: str = _COLLECTION) -> dict[str, Any] | None:
        """The vector of a text, if there is one."""
        return self.store.get(self._own(key), collection)

    async def aget(self, key: str, collection: str = _COLLECTION) -> dict[str, Any] | None:
        """The vector of a text, if there is one."""
        return await self.store.aget(self._own(key), collection)

    def get_all(self, collection: str = _COLLECTION) -> dict[str, dict[str, Any]]:
        """All that is in the store, by its own keys."""
        return self.store.get_all(collection)

    async def aget_all(self, collection: str = _COLLECTION) -> dict[str, dict[str, Any]]:
        """All that is in the store, by its own keys."""
        return await self.store.aget_all(collection)

    def delete(self, key: str, collection: str = _COLLECTION) -> bool:
        """Forget a vector; whether there was one."""
        return self.store.delete(self._own(key), collection)

    async def adelete(self, key: str, collection: str = _COLLECTION) -> bool:
        """Forget a vector; whether there was one."""
        return await self.store.adelete(self._own(key), collection)

    def __reduce__(self) -> tuple[Callable[[BaseKVStore], BaseKVStore], tuple[BaseKVStore]]:
        """The store alone: who gets it makes a view of its own."""
        return _same, (self.store,)

    def _own(self, key: str) -> str:
        return f"{self._settings()}|{_role.get()}|{key}"


def _same(store: BaseKVStore) -> BaseKVStore:
    return store
