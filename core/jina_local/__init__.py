"""jina-embeddings-v3 on your own machine.

    from jina_local import Engine

    engine = Engine.load("demo")
    documents = engine.embed_documents(["Ships that pass in the night."])
    queries = engine.embed_queries(["When do ships meet?"])

Importing this package loads neither torch nor any framework; the first `Engine.load` does.

Shapes in docstrings: T packed tokens, N sequences or texts, S spans, D the model's width,
H heads, d output dimensions (d ≤ D), R stacked adapter ranks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from jina_local.__about__ import __version__
from jina_local.errors import JinaLocalError
from jina_local.lazy_exports import lazy_exports

if TYPE_CHECKING:
    from jina_local.adapter_store import Adapter, read_adapter, save_adapter
    from jina_local.chunked_text import ChunkedText
    from jina_local.engine import Engine
    from jina_local.results import ChunkEmbeddings, Embeddings
    from jina_local.sharing import shared_engine

__all__ = [
    "Adapter",
    "ChunkEmbeddings",
    "ChunkedText",
    "Embeddings",
    "Engine",
    "JinaLocalError",
    "__version__",
    "read_adapter",
    "save_adapter",
    "shared_engine",
]

__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        "Adapter": "adapter_store",
        "ChunkEmbeddings": "results",
        "ChunkedText": "chunked_text",
        "Embeddings": "results",
        "Engine": "engine",
        "read_adapter": "adapter_store",
        "save_adapter": "adapter_store",
        "shared_engine": "sharing",
    },
)
