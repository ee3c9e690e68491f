"""`JinaLateChunkSplitter`: splits documents and embeds the chunks in the document itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llama_index.core.bridge.pydantic import Field, SerializeAsAny
from llama_index.core.node_parser import NodeParser, SentenceSplitter
from llama_index.embeddings.jina_local._nodes import with_embeddings
from llama_index.embeddings.jina_local.base import (
    JinaV3Embedding,  # noqa: TC002 - read at run time
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from llama_index.core.schema import BaseNode, Document

__all__ = ["JinaLateChunkSplitter"]


class JinaLateChunkSplitter(NodeParser):
    """Splits documents with any node parser, and embeds the nodes in the context of the document.

    Usage:

        from llama_index.embeddings.jina_local import JinaLateChunkSplitter, JinaV3Embedding

        embed_model = JinaV3Embedding(dimensions=512)
        splitter = JinaLateChunkSplitter(
            splitter=SentenceSplitter(chunk_overlap=0), embed_model=embed_model
        )
        index = VectorStoreIndex.from_documents(
            documents, transformations=[splitter], embed_model=embed_model
        )

    It has the documents at hand, where an embedding model that comes behind a splitter has to put
    them together from their chunks. What comes behind it, such as a metadata extractor, is not
    embedded. Do not list the embedding model as well: it would embed everything a second time.
    """

    splitter: SerializeAsAny[NodeParser] = Field(
        default_factory=lambda: SentenceSplitter(chunk_overlap=0),
        description="What documents are split with. Chunks in context need no overlap.",
    )
    embed_model: JinaV3Embedding = Field(description="What the chunks are embedded with.")

    @classmethod
    def class_name(cls) -> str:
        """The name that serialized instances are known by."""
        return "JinaLateChunkSplitter"

    def _parse_nodes(
        self, nodes: Sequence[BaseNode], show_progress: bool = False, **kwargs: object
    ) -> list[BaseNode]:
        del kwargs
        chunks = self._split(nodes, show_progress)
        vectors = self.embed_model.late_embed_nodes(
            chunks, sources=nodes, show_progress=show_progress
        )
        return with_embeddings(chunks, vectors)

    async def _aparse_nodes(
        self, nodes: Sequence[BaseNode], show_progress: bool = False, **kwargs: object
    ) -> list[BaseNode]:
        del kwargs
        chunks = self._split(nodes, show_progress)
        vectors = await self.embed_model.alate_embed_nodes(
            chunks, sources=nodes, show_progress=show_progress
        )
        return with_embeddings(chunks, vectors)

    def _split(self, nodes: Sequence[BaseNode], show_progress: bool) -> list[BaseNode]:
        return list(self.splitter(nodes, show_progress=show_progress))

    def _postprocess_parsed_nodes(
        self, nodes: list[BaseNode], parent_doc_map: Mapping[str, Document]
    ) -> list[BaseNode]:
        del parent_doc_map  # the splitter did this; again, it would link parents to their children
        return nodes
