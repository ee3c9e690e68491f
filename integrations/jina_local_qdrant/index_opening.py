"""Opening a collection to ingest into: what can be refused is refused before a model is loaded."""

from __future__ import annotations

from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from jina_local_qdrant.layout import LAYOUT_KEY, METADATA_KEY, check_tenant
from jina_local_qdrant.locations import is_edge, is_there, open_place, stored_metadata
from jina_local_qdrant.recorded_index import check_layout, check_tenant_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qdrant_client import QdrantClient

    from jina_local_qdrant.collection import JinaQdrant
    from jina_local_qdrant.layout import CollectionLayout

__all__ = ["Opening"]


@dataclass(frozen=True, slots=True)
class Opening:
    """Where a collection is, or will be, and with which model.

    Attributes:
        to: URL, folder or `edge:FOLDER`.
        collection: Its name.
        layout: How it is stored if it is new.
        tenant: Whose documents come, if it has tenants.
        model: Folder, hub id or `demo`.
        device: Where to run it.
        dtype: What to compute in.
    """

    to: str
    collection: str
    layout: CollectionLayout
    tenant: str | None
    model: str
    device: str
    dtype: str

    @contextmanager
    def opened(
        self, dimensions: int | None, chunk_tokens: int, *, late_chunking: bool
    ) -> Iterator[JinaQdrant]:
        """The collection, opened before the model is loaded if its place is there.

        If not, the place is made when everything else is checked.

        Args:
            dimensions: See `EmbeddingSpec`.
            chunk_tokens: See `EmbeddingSpec`.
            late_chunking: See `EmbeddingSpec`.
        """
        check_tenant(self.tenant)
        with ExitStack() as stack:
            client = None
            if is_there(self.to):
                client = stack.enter_context(open_place(self.to))
                self._check(client)
            from jina_local.engine import Engine
            from jina_local_qdrant.collection import JinaQdrant
            from jina_local_qdrant.spec import EmbeddingSpec

            spec = EmbeddingSpec(
                dimensions=dimensions, chunk_tokens=chunk_tokens, late_chunking=late_chunking
            )
            engine = stack.enter_context(
                Engine.load(self.model, device=self.device, dtype=self.dtype)
            )
            spec.check(engine)
            self.layout.check(dimensions or engine.dimension)
            if client is None:
                client = stack.enter_context(open_place(self.to))
            helper = JinaQdrant(
                client, self.collection, engine, spec, layout=self.layout, tenant=self.tenant
            )
            yield stack.enter_context(closing(helper))

    def _check(self, client: QdrantClient | str) -> None:
        metadata = stored_metadata(client, self.collection)
        if metadata is not None and METADATA_KEY in metadata:  # if not, the helper says what to do
            check_layout(self.collection, metadata, self.layout)
            check_tenant_of(self.collection, metadata, self.tenant)

    def finish(self, helper: JinaQdrant) -> None:
        """Build the graph, where nothing else does."""
        if not helper.store.exists():
            return
        layout = helper.store.metadata().get(LAYOUT_KEY) or {}
        if is_edge(self.to) or (layout.get("bulk") and not helper.store.is_local):
            helper.finish_bulk()
