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

from typing import TYPE_CHECKING

from jina_local.lazy_exports import lazy_exports

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

__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        "AliasSearch": "migration.alias_search",
        "AsyncJinaQdrant": "async_collection",
        "CollectionLayout": "layout",
        "DeadLetter": "ingestion",
        "Document": "documents",
        "DualWriter": "migration.dual_writer",
        "EmbeddingSpec": "spec",
        "Hit": "searching",
        "IngestReport": "ingestion",
        "JinaQdrant": "collection",
        "Migration": "migration.migration",
        "PayloadFields": "migration.fields",
        "RetryPolicy": "retries",
        "SyncReport": "syncing",
        "VerifyReport": "verification",
    },
)
