"""Moving a live collection to jina-embeddings-v3, or to other settings of it."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

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

_LAZY = {  # `finalize` and `rollback` are called where no model is
    "HAYSTACK": "jina_local_qdrant.migration.fields",
    "LLAMA_INDEX": "jina_local_qdrant.migration.fields",
    "AliasSearch": "jina_local_qdrant.migration.alias_search",
    "DualWriter": "jina_local_qdrant.migration.dual_writer",
    "Migration": "jina_local_qdrant.migration.migration",
    "MigrationCheck": "jina_local_qdrant.migration.checking",
    "MigrationPlan": "jina_local_qdrant.migration.planning",
    "MoveReport": "jina_local_qdrant.migration.moving",
    "PayloadFields": "jina_local_qdrant.migration.fields",
    "finalize": "jina_local_qdrant.migration.lifecycle",
    "rollback": "jina_local_qdrant.migration.lifecycle",
}


def __getattr__(name: str) -> object:
    if name in _LAZY:
        return getattr(importlib.import_module(_LAZY[name]), name)
    msg = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(msg)


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(__all__))
