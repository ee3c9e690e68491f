"""jina-embeddings-v3 on this machine, for LlamaIndex.

`JinaV3Embedding` is an embedding model: queries as queries, nodes as passages, with late chunking
on request. `JinaLateChunkSplitter` is a node parser that splits and embeds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from jina_local.lazy_exports import lazy_exports

if TYPE_CHECKING:
    from llama_index.embeddings.jina_local._doubts import LateChunkingWarning
    from llama_index.embeddings.jina_local.base import JinaV3Embedding
    from llama_index.embeddings.jina_local.splitter import JinaLateChunkSplitter

__all__ = ["JinaLateChunkSplitter", "JinaV3Embedding", "LateChunkingWarning"]

__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        "JinaLateChunkSplitter": "splitter",
        "JinaV3Embedding": "base",
        "LateChunkingWarning": "_doubts",
    },
)
