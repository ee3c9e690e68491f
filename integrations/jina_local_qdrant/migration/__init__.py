"""Moving a live collection to jina-embeddings-v3, or to other settings of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jina_local.lazy_exports import lazy_exports

if TYPE_CHECKING:
    from jina_local_qdrant.migration.alias_search import AliasSearch
    from jina_local_qdrant.migration.checking import MigrationCheck
    from jina_local_qdrant.migration.dual_writer import DualWriter
    from jina_local_qdrant.migration.fields import HAYSTACK, LLAMA_INDEX, PayloadFields
    from jina_local_qdrant.migration.lifecycle import finalize, rollback
    from jina_local_qdrant.migration.migration import Migration
    from jina_local_qdrant.migration.moving import MoveReport
    from jina_local_qdrant.migration.planning import MigrationPlan

__all__ = [
    "HAYSTACK",
    "LLAMA_INDEX",
    "AliasSearch",
    "DualWriter",
    "Migration",
    "MigrationCheck",
    "MigrationPlan",
    "MoveReport",
    "PayloadFields",
    "finalize",
    "rollback",
]

__getattr__, __dir__ = lazy_exports(
    __name__,
    {  # `finalize` and `rollback` are called where no model is
        "HAYSTACK": "fields",
        "LLAMA_INDEX": "fields",
        "AliasSearch": "alias_search",
        "DualWriter": "dual_writer",
        "Migration": "migration",
        "MigrationCheck": "checking",
        "MigrationPlan": "planning",
        "MoveReport": "moving",
        "PayloadFields": "fields",
        "finalize": "lifecycle",
        "rollback": "lifecycle",
    },
)
