"""Haystack components over the jina-local engine."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jina_local.lazy_exports import lazy_exports

if TYPE_CHECKING:
    from haystack_integrations.components.embedders.jina_local.document_embedder import (
        JinaLocalDocumentEmbedder,
    )
    from haystack_integrations.components.embedders.jina_local.text_embedder import (
        JinaLocalTextEmbedder,
    )

__all__ = ["JinaLocalDocumentEmbedder", "JinaLocalTextEmbedder"]

__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        "JinaLocalDocumentEmbedder": "document_embedder",
        "JinaLocalTextEmbedder": "text_embedder",
    },
)
