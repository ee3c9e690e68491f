"""Documents into Qdrant as passages, questions out of it as queries.

    from qdrant_client import QdrantClient
    from jina_local import Engine
    from jina_local_qdrant import JinaQdrant

    index = JinaQdrant(QdrantClient(path="index"), "docs", Engine.load("demo"))
    index.ingest([{"id": "a", "text": "The csv module reads tabular data."}])
    hits = index.search("parse a spreadsheet export")

There is no task to choose, and so none to get wrong.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jina_local_qdrant.async_collection import AsyncJinaQdrant
    from jina_local_qdrant.collection import JinaQdrant
    from jina_local_qdrant.documents import Document
    from jina_local_qdrant.ingestion import DeadLetter, IngestReport
    from jina_local_qdrant.layout import CollectionLayout
    from jina_local_qdrant.migration.alias_search import AliasSearch
    from jina_local_qdrant.migration.dual_writer import DualWriter
    from jina_local_qdrant.migration.fields import PayloadFields
    from jina_local_qdrant.migration.migration import Migration
    from jina_local_qdrant.retries import RetryPolicy
    from jina_local_qdrant.searching import Hit
    from jina_local_qdrant.spec import EmbeddingSpec
    from jina_local_qdrant.syncing import SyncReport
    from jina_local_qdrant.verification import VerifyReport

__all__ = [
    "AliasSearch",
    "AsyncJinaQdrant",
    "CollectionLayout",
    "DeadLetter",
    "Document",
    "DualWriter",
    "EmbeddingSpec",
    "Hit",
    "IngestReport",
    "JinaQdrant",
    "Migration",
    "PayloadFields",
    "RetryPolicy",
    "SyncReport",
    "VerifyReport",
]

_LAZY = {
    "AliasSearch": "jina_local_qdrant.migration.alias_search",
    "AsyncJinaQdrant": "jina_local_qdrant.async_collection",
    "CollectionLayout": "jina_local_qdrant.layout",
    "DeadLetter": "jina_local_qdrant.ingestion",
    "Document": "jina_local_qdrant.documents",
    "DualWriter": "jina_local_qdrant.migration.dual_writer",
    "EmbeddingSpec": "jina_local_qdrant.spec",
    "Hit": "jina_local_qdrant.searching",
    "IngestReport": "jina_local_qdrant.ingestion",
    "JinaQdrant": "jina_local_qdrant.collection",
    "Migration": "jina_local_qdrant.migration.migration",
    "PayloadFields": "jina_local_qdrant.migration.fields",
    "RetryPolicy": "jina_local_qdrant.retries",
    "SyncReport": "jina_local_qdrant.syncing",
    "VerifyReport": "jina_local_qdrant.verification",
}


def __getattr__(name: str) -> object:
    if name in _LAZY:
        return getattr(importlib.import_module(_LAZY[name]), name)
    msg = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(msg)


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(__all__))
