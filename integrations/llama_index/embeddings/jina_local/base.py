"""`JinaV3Embedding`: jina-embeddings-v3 on this machine, for LlamaIndex."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any, Self

from llama_index.core.bridge.pydantic import PrivateAttr
from llama_index.embeddings.jina_local._doubts import check_nodes, fall_back, warn_of_pipeline
from llama_index.embeddings.jina_local._events import reported
from llama_index.embeddings.jina_local._fields import EmbeddingFields
from llama_index.embeddings.jina_local._frames import nodes_of_the_caller
from llama_index.embeddings.jina_local._late_nodes import plain_text, plan_late
from llama_index.embeddings.jina_local._model import ModelShare
from llama_index.embeddings.jina_local._nodes import (
    text_of,
    texts_of_sources,
    with_embeddings,
)
from llama_index.embeddings.jina_local._roles import as_query
from llama_index.embeddings.jina_local._worker import in_worker
from tqdm import tqdm

from jina_local.inputs import check_integer, check_texts
from jina_local.late_texts import LateText, in_batches

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from llama_index.core.schema import BaseNode

    from jina_local import Engine
    from jina_local.lazy_engine import LazyEngine

__all__ = ["JinaV3Embedding"]

_logger = logging.getLogger(__name__)


class JinaV3Embedding(EmbeddingFields):
    """jina-embeddings-v3 on this machine: queries as queries, nodes as passages, in their context.

    Usage:

        from llama_index.embeddings.jina_local import JinaV3Embedding

        embed_model = JinaV3Embedding(dimensions=512, late_chunking=True)
        index = VectorStoreIndex.from_documents(
            documents,
            transformations=[SentenceSplitter(chunk_overlap=0), embed_model],
            embed_model=embed_model,
        )

    With `late_chunking`, nodes of one document are embedded in the context of all of it, whatever
    their order and `embed_batch_size`. A document is what its nodes cover; with
    `JinaLateChunkSplitter` it is the source itself.

    The weights of jina-embeddings-v3 are licensed CC BY-NC 4.0: not for commercial use.

    Any number of instances share one model in a process, whatever their tasks and dimensions, as
    long as they have the same `adapters`. It is loaded when it is first needed.
    """

    _share: ModelShare = PrivateAttr(default_factory=ModelShare)

    @classmethod
    def class_name(cls) -> str:
        """The name that serialized instances are known by."""
        return "JinaV3Embedding"

    # The model

    @property
    def engine(self) -> Engine:
        """The engine, loaded if it is not."""
        return self._lazy.engine()

    def release(self) -> None:
        """Let go of the model; it is loaded again when it is needed again."""
        self._share.close()

    def tokenize(self, text: str) -> list[int]:
        """Ids of a text, for splitters that count tokens: `SentenceSplitter(tokenizer=…)`."""
        return self._lazy.use(lambda engine: engine.tokenize(text))

    def __copy__(self) -> Self:
        # a holder of its own, whose cache goes by its own settings
        return type(self)(**{name: getattr(self, name) for name in type(self).model_fields})

    def __deepcopy__(self, memo: Mapping[int, Any] | None = None) -> Self:
        return self.__copy__()

    # Texts and queries on their own

    def get_query_embedding(self, query: str) -> list[float]:
        """The vector of a query."""
        with as_query():
            return super().get_query_embedding(query)

    async def aget_query_embedding(self, query: str) -> list[float]:
        """The vector of a query."""
        with as_query():
            return await super().aget_query_embedding(query)

    def get_text_embedding_batch(
        self, texts: list[str], show_progress: bool = False, **kwargs: object
    ) -> list[list[float]]:
        """Vectors of texts; in their context if `late_chunking` is on and an index asks."""
        check_texts(texts)
        nodes = self._nodes_behind(texts)
        if nodes is not None:
            return self.late_embed_nodes(nodes, show_progress=show_progress)
        return super().get_text_embedding_batch(texts, self._shows(show_progress), **kwargs)

    async def aget_text_embedding_batch(
        self, texts: list[str], show_progress: bool = False, **kwargs: object
    ) -> list[list[float]]:
        """Vectors of texts; in their context if `late_chunking` is on and an index asks."""
        check_texts(texts)
        nodes = self._nodes_behind(texts)
        if nodes is not None:
            return await self.alate_embed_nodes(nodes, show_progress=show_progress)
        return await super().aget_text_embedding_batch(texts, self._shows(show_progress), **kwargs)

    def _get_query_embedding(self, query: str) -> list[float]:
        return self._embed([query], self._query_task)[0]

    async def _aget_query_embedding(self, query: str) -> list[float]:
        return await asyncio.to_thread(self._get_query_embedding, query)  # not behind documents

    def _get_text_embedding(self, text: str) -> list[float]:
        return self._embed([text], self._text_task)[0]

    async def _aget_text_embedding(self, text: str) -> list[float]:
        return await in_worker(lambda: self._get_text_embedding(text))

    def _get_text_embeddings(self, texts: list[str]) -> list[list[float]]:
        return self._embed(texts, self._text_task)

    async def _aget_text_embeddings(self, texts: list[str]) -> list[list[float]]:
        return await in_worker(lambda: self._get_text_embeddings(texts))

    def _embed(self, texts: list[str], task: str | None) -> list[list[float]]:
        found = self._lazy.use(
            lambda engine: engine.embed(
                texts,
                task=task,
                dimensions=self.dimensions,
                normalize=self.normalize,
                max_tokens=self._limit(engine, "max_length"),
                on_overflow=self.on_overflow,
            )
        )
        _report_overflow(int(found.truncated.sum()), int((found.windows > 1).sum()))
        return [list(map(float, row)) for row in found.vectors]

    # Nodes in their context

    def __call__(self, nodes: Sequence[BaseNode], **kwargs: object) -> Sequence[BaseNode]:
        """Give nodes their embeddings, as a step of a pipeline or of an index."""
        shows = bool(kwargs.get("show_progress", False))
        if not self.late_chunking:
            return super().__call__(nodes, show_progress=shows)
        warn_of_pipeline(nodes)
        return with_embeddings(nodes, self.late_embed_nodes(nodes, show_progress=shows))

    async def acall(self, nodes: Sequence[BaseNode], **kwargs: object) -> Sequence[BaseNode]:
        """Give nodes their embeddings, as a step of a pipeline or of an index."""
        shows = bool(kwargs.get("show_progress", False))
        if not self.late_chunking:
            return await super().acall(nodes, show_progress=shows)
        warn_of_pipeline(nodes)
        return with_embeddings(nodes, await self.alate_embed_nodes(nodes, show_progress=shows))

    def late_embed_nodes(
        self,
        nodes: Sequence[BaseNode],
        *,
        sources: Sequence[BaseNode] = (),
        show_progress: bool = False,
    ) -> list[list[float]]:
        """Vectors of nodes in the context of their documents, whether `late_chunking` is on or not.

        Args:
            nodes: N nodes in any order, of any number of documents.
            sources: What they were cut from, where that is at hand: then it is the context, and not
                what the nodes give when they are put together.
            show_progress: Whether to show a bar.

        Returns:
            N vectors of d floats, in the order of the nodes.

        Raises:
            InvalidOptionError: If several nodes name no source and `late_chunking_fallback` is
                "raise".
        """
        check_nodes(nodes)
        fall_back(nodes, self.late_chunking_group_by, self.late_chunking_fallback)
        plan = plan_late(
            nodes,
            group_by=self.late_chunking_group_by,
            metadata=self.late_chunking_metadata,
            sources=texts_of_sources(sources),
        )
        results: dict[int, list[float]] = {}
        bar = tqdm(
            total=len(nodes), disable=not self._shows(show_progress), desc="Generating embeddings"
        )
        with bar:
            for batch in in_batches(plan.late, self.embed_batch_size):
                results |= self._embed_in_context(nodes, batch)
                bar.update(sum(len(one.members) for one in batch))
            alone = [plain_text(nodes[i], self.late_chunking_metadata) for i in plan.alone]
            vectors = super().get_text_embedding_batch(alone)
            results |= zip(plan.alone, vectors, strict=True)
            bar.update(len(alone))
        return [results[i] for i in range(len(nodes))]

    async def alate_embed_nodes(
        self,
        nodes: Sequence[BaseNode],
        *,
        sources: Sequence[BaseNode] = (),
        show_progress: bool = False,
    ) -> list[list[float]]:
        """`late_embed_nodes` in a thread."""
        return await in_worker(
            lambda: self.late_embed_nodes(nodes, sources=sources, show_progress=show_progress)
        )

    def _embed_in_context(
        self, nodes: Sequence[BaseNode], batch: list[LateText]
    ) -> dict[int, list[float]]:
        members = [i for one in batch for i in one.members]

        def embed() -> list[list[float]]:
            found = self._lazy.use(
                lambda engine: engine.embed_chunks(
                    [one.text for one in batch],
                    task=self._text_task,
                    dimensions=self.dimensions,
                    normalize=self.normalize,
                    window_tokens=self._limit(engine, "late_chunking_window")
                    or self._limit(engine, "max_length"),
                    on_overflow=self.on_overflow or "window",
                )
            )
            _report_overflow(sum(int(one.truncated.sum()) for one in found), 0)
            return [list(map(float, row)) for one in found for row in one.vectors]

        vectors = reported(self, [text_of(nodes[i]) for i in members], embed)
        return dict(zip(members, vectors, strict=True))

    def _nodes_behind(self, texts: Sequence[str]) -> list[BaseNode] | None:
        """The nodes of these texts, if they are to be embedded in their context and are known."""
        if not self.late_chunking:
            return None
        nodes = nodes_of_the_caller(texts)
        if nodes is None:
            fall_back(texts, None, self.late_chunking_fallback)
        return nodes

    @property
    def _lazy(self) -> LazyEngine:
        return self._share.at(self._place)

    def _limit(self, engine: Engine, name: str) -> int | None:
        """A limit of tokens, refused under its own name."""
        limit = getattr(self, name)
        return None if limit is None else check_integer(name, limit, 3, engine.max_tokens)

    def _shows(self, asked: bool) -> bool:
        return asked or self.show_progress


def _report_overflow(n_truncated: int, n_windowed: int) -> None:
    if n_truncated:
        _logger.warning(
            "%d texts are longer than the model takes: what is beyond was cut off, as "
            "on_overflow='truncate' asks for.",
            n_truncated,
        )
    if n_windowed:
        _logger.warning(
            "%d texts are longer than the model takes: they were run in overlapping windows, and "
            "their vectors are means over all of them.",
            n_windowed,
        )
