"""Clients and proxies of clients: which are local, and which are no clients for a helper."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import mock

import pytest
from qdrant_client import AsyncQdrantClient, QdrantClient

from jina_local.errors import InvalidOptionError
from jina_local_qdrant import AsyncJinaQdrant, EmbeddingSpec, JinaQdrant
from jina_local_qdrant.clients import is_local, lock_of
from support.crashing import CrashingClient, Fault, ServerLike

if TYPE_CHECKING:
    from jina_local import Engine

SPEC = EmbeddingSpec(dimensions=8)
DOCUMENTS = [{"id": f"d{number}", "text": f"alpha number {number}"} for number in range(300)]


class Proxy:
    """As most people write one."""

    def __init__(self, client: Any) -> None:
        self._client = client

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)


class OtherProxy(Proxy):
    """Whose client has another name, and which passes private names on."""

    def __init__(self, client: Any) -> None:
        self.client = client

    def __getattr__(self, name: str) -> Any:
        return getattr(self.client, name)


class Endless:
    """Has attributes of any name, each of which has."""

    def __getattr__(self, name: str) -> Any:
        return Endless()


# Local or not


@pytest.mark.parametrize("kind", [QdrantClient, AsyncQdrantClient])
def test_a_proxy_of_a_local_client_is_local_and_has_its_lock(kind: Any) -> None:
    client = kind(":memory:")
    proxies: list[Any] = [Proxy(client), Proxy(Proxy(client)), Proxy(OtherProxy(Proxy(client)))]
    proxies += [OtherProxy(client), CrashingClient(client, Fault())]
    for proxy in [client, *proxies]:
        assert is_local(proxy)
        assert lock_of(proxy) is lock_of(client)
    assert lock_of(kind(":memory:")) is not lock_of(client)


def test_what_says_nothing_or_no_end_is_not_local() -> None:
    circle: Any = Proxy(None)
    circle._client = circle
    server = QdrantClient(url="http://127.0.0.1:9", check_compatibility=False)
    clients: list[Any] = [Endless(), circle, mock.Mock(), ServerLike(QdrantClient(":memory:"))]
    for client in [*clients, server, Proxy(server), Proxy(None)]:
        assert not is_local(client)
    server.close()


def test_writing_through_a_proxy_into_a_folder_takes_turns(engine: Engine, tmp_path: Path) -> None:
    """Threads that write local Qdrant at once break it."""
    client = QdrantClient(path=str(tmp_path))
    proxy: Any = Proxy(client)
    index = JinaQdrant(proxy, "docs", engine, SPEC)
    with index.store.exclusive():
        assert lock_of(client)._is_owned()  # type: ignore[attr-defined]
    assert index.ingest(DOCUMENTS).embedded == len(DOCUMENTS)
    assert JinaQdrant(client, "docs", engine, SPEC).verify(sample=5, deep=True).ok
    client.close()


# The right kind


class Wrapped:
    """An asynchronous proxy whose methods are no coroutine functions: they return awaitables."""

    def __init__(self, client: AsyncQdrantClient) -> None:
        self._client = client

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._client, name)
        return lambda *args, **options: asyncio.ensure_future(method(*args, **options))


@pytest.mark.parametrize("given", [None, 7, Path("index"), {"path": "index"}, object()])
def test_what_is_no_client_is_refused(engine: Engine, given: Any) -> None:
    with pytest.raises(InvalidOptionError, match=r"client is .*; give .*QdrantClient.*'edge:FOLD"):
        JinaQdrant(given, "docs", engine)
    with pytest.raises(InvalidOptionError, match=r"client is .*; give .*QdrantClient"):
        JinaQdrant.adopt(given, "docs", engine)
    for call in (AsyncJinaQdrant.open, AsyncJinaQdrant.adopt):
        with pytest.raises(InvalidOptionError, match=r"client is .*; give .*AsyncQdrantClient"):
            asyncio.run(call(given, "docs", engine))


@pytest.mark.parametrize("proxy", [lambda client: client, Proxy, OtherProxy])
def test_an_asynchronous_client_is_refused_where_nothing_awaits(engine: Engine, proxy: Any) -> None:
    client = proxy(AsyncQdrantClient(":memory:"))
    with pytest.raises(InvalidOptionError, match=r"asynchronous: give a QdrantClient, or open it"):
        JinaQdrant(client, "docs", engine)
    with pytest.raises(InvalidOptionError, match="AsyncJinaQdrant"):
        JinaQdrant.adopt(client, "docs", engine)


@pytest.mark.parametrize("proxy", [lambda client: client, Proxy, OtherProxy])
def test_a_blocking_client_is_refused_on_an_event_loop(engine: Engine, proxy: Any) -> None:
    fault = Fault()
    client: Any = proxy(CrashingClient(QdrantClient(":memory:"), fault))
    for call in (AsyncJinaQdrant.open, AsyncJinaQdrant.adopt):
        fault.calls.clear()
        with pytest.raises(InvalidOptionError, match="block the event loop: give an AsyncQdrantC"):
            asyncio.run(call(client, "docs", engine))
        assert fault.calls == ["get_aliases"]


@pytest.mark.parametrize("proxy", [Proxy, OtherProxy, Wrapped])
def test_a_proxy_of_an_asynchronous_client_works(engine: Engine, proxy: Any) -> None:
    async def main() -> None:
        client = proxy(AsyncQdrantClient(":memory:"))
        index = await AsyncJinaQdrant.open(client, "docs", engine, SPEC)
        assert (await index.ingest(DOCUMENTS[:3])).embedded == 3
        assert await index.search("alpha")

    asyncio.run(main())
