"""`JinaQdrant` for event loops: the same helper, in a thread, on an asynchronous client."""

from __future__ import annotations

from collections.abc import AsyncIterable
from typing import TYPE_CHECKING, Any, Self, cast

from jina_local_qdrant.clients import check_async_client
from jina_local_qdrant.collection import JinaQdrant
from jina_local_qdrant.documents import check_iterable
from jina_local_qdrant.loop_bridge import LoopBridge, LoopClient

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Sequence

    from qdrant_client import AsyncQdrantClient, QdrantClient, models

    from jina_local import Engine
    from jina_local_qdrant.documents import Document
    from jina_local_qdrant.ingestion import DeadLetter, IngestReport, OnError
    from jina_local_qdrant.layout import CollectionLayout
    from jina_local_qdrant.retries import RetryPolicy
    from jina_local_qdrant.searching import Hit
    from jina_local_qdrant.spec import EmbeddingSpec
    from jina_local_qdrant.syncing import SyncReport
    from jina_local_qdrant.verification import VerifyReport

__all__ = ["AsyncJinaQdrant"]


class AsyncJinaQdrant:
    """Ingest documents and search them without blocking the event loop; made by `open`.

    Every method is that of `JinaQdrant`, awaited. It runs in a thread, and its requests run on the
    event loop. Documents may also come from an asynchronous iterable; callbacks run on the event
    loop and may be asynchronous.

    Cancelling is safe at any moment: what the engine has begun comes to its end, then the task
    does, and no thread is left at work. What was written stays, and ingesting again goes on from
    there.

    A local client (`path=`, `:memory:`) does its own work on the event loop.

    Args:
        index: The helper, on a client that the bridge leads to the event loop.
        bridge: Runs it in threads.
    """

    def __init__(self, index: JinaQdrant, bridge: LoopBridge) -> None:
        self._index = index
        self._bridge = bridge

    @classmethod
    async def open(
        cls,
        client: AsyncQdrantClient | str,
        collection: str,
        engine: Engine,
        spec: EmbeddingSpec | None = None,
        *,
        layout: CollectionLayout | None = None,
        tenant: str | None = None,
        retries: RetryPolicy | None = None,
        task: None = None,
    ) -> Self:
        """Open a collection; see `JinaQdrant` for the arguments and errors."""
        bridge = LoopBridge()
        index = await bridge.run(
            lambda: JinaQdrant(
                _blocking(bridge, client),
                collection,
                engine,
                spec,
                layout=layout,
                tenant=tenant,
                retries=retries,
                task=task,
            )
        )
        return cls(index, bridge)

    @classmethod
    async def adopt(
        cls,
        client: AsyncQdrantClient | str,
        collection: str,
        engine: Engine,
        spec: EmbeddingSpec | None = None,
        *,
        sample: int = 20,
        tenant: str | None = None,
    ) -> Self:
        """Take over a collection that carries no record; see `JinaQdrant.adopt`."""
        bridge = LoopBridge()
        index = await bridge.run(
            lambda: JinaQdrant.adopt(
                _blocking(bridge, client), collection, engine, spec, sample=sample, tenant=tenant
            )
        )
        return cls(index, bridge)

    @property
    def engine(self) -> Engine:
        """What embeds."""
        return self._index.engine

    @property
    def spec(self) -> EmbeddingSpec:
        """How vectors are made."""
        return self._index.spec

    @property
    def tenant(self) -> str | None:
        """Whose documents these are, in a collection that is shared by tenants."""
        return self._index.tenant

    @property
    def record(self) -> dict[str, Any]:
        """What the collection says about how its vectors are made."""
        return self._index.record

    @property
    def fingerprint(self) -> str:
        """Names the way in which the collection's vectors are made."""
        return self._index.fingerprint

    # Documents in

    async def ingest(
        self,
        documents: Iterable[object] | AsyncIterable[object],
        *,
        on_error: OnError = "raise",
        dead_letters: Callable[[DeadLetter], Awaitable[None] | None] | None = None,
        progress: Callable[[IngestReport], Awaitable[None] | None] | None = None,
        reembed: bool = False,
        task: None = None,
    ) -> IngestReport:
        """Embed documents and write them; see `JinaQdrant.ingest`."""
        return await self._bridge.run_over(
            _checked(documents),
            lambda source: self._index.ingest(
                source,
                on_error=on_error,
                dead_letters=self._bridge.callback(dead_letters),
                progress=self._bridge.callback(progress),
                reembed=reembed,
                task=task,
            ),
        )

    async def sync(
        self,
        documents: Iterable[object] | AsyncIterable[object],
        *,
        delete_missing: bool = False,
        max_delete_fraction: float = 0.2,
        progress: Callable[[IngestReport], Awaitable[None] | None] | None = None,
    ) -> SyncReport:
        """Ingest a complete source and delete what is not in it; see `JinaQdrant.sync`."""
        return await self._bridge.run_over(
            _checked(documents),
            lambda source: self._index.sync(
                source,
                delete_missing=delete_missing,
                max_delete_fraction=max_delete_fraction,
                progress=self._bridge.callback(progress),
            ),
        )

    async def delete(self, doc_ids: str | Sequence[str]) -> int:
        """Delete documents; see `JinaQdrant.delete`."""
        return await self._bridge.run(lambda: self._index.delete(doc_ids))

    async def finish_bulk(self) -> None:
        """Build the graph that a bulk ingestion left out; see `JinaQdrant.finish_bulk`."""
        await self._bridge.run(self._index.finish_bulk)

    # Documents out

    async def search(
        self,
        query: str,
        *,
        limit: int = 10,
        filter: models.Filter | None = None,  # noqa: A002 - Qdrant's word
        score_threshold: float | None = None,
        group_by_document: bool = False,
        task: None = None,
    ) -> list[Hit]:
        """The chunks most similar to a query, best first; see `JinaQdrant.search`."""
        return await self._bridge.run(
            lambda: self._index.search(
                query,
                limit=limit,
                filter=filter,
                score_threshold=score_threshold,
                group_by_document=group_by_document,
                task=task,
            )
        )

    async def search_batch(
        self,
        queries: Sequence[str],
        *,
        limit: int = 10,
        filter: models.Filter | None = None,  # noqa: A002
        score_threshold: float | None = None,
        group_by_document: bool = False,
        task: None = None,
    ) -> list[list[Hit]]:
        """The best chunks for each of several queries; see `JinaQdrant.search_batch`."""
        return await self._bridge.run(
            lambda: self._index.search_batch(
                queries,
                limit=limit,
                filter=filter,
                score_threshold=score_threshold,
                group_by_document=group_by_document,
                task=task,
            )
        )

    async def get(self, doc_id: str) -> Document | None:
        """A document as it was ingested; see `JinaQdrant.get`."""
        return await self._bridge.run(lambda: self._index.get(doc_id))

    async def count(self) -> int:
        """Chunks in the collection, counted exactly."""
        return await self._bridge.run(self._index.count)

    async def count_documents(self) -> int:
        """Documents in the collection; see `JinaQdrant.count_documents`."""
        return await self._bridge.run(self._index.count_documents)

    async def verify(self, *, sample: int = 20, deep: bool = False) -> VerifyReport:
        """Check documents and vectors; see `JinaQdrant.verify`."""
        return await self._bridge.run(lambda: self._index.verify(sample=sample, deep=deep))

    async def close(self) -> None:
        """Let go of what this helper opened itself; a client stays open."""
        await self._bridge.run(self._index.close)


def _blocking(bridge: LoopBridge, client: AsyncQdrantClient | str) -> QdrantClient | str:
    if isinstance(client, str):
        return client
    check_async_client(client)
    return cast("QdrantClient", LoopClient(bridge, client))


def _checked(
    documents: Iterable[object] | AsyncIterable[object],
) -> Iterable[object] | AsyncIterable[object]:
    return documents if isinstance(documents, AsyncIterable) else check_iterable(documents)
