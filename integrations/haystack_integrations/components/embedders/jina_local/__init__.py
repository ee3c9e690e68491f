"""Haystack components over the jina-local engine."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from haystack_integrations.components.embedders.jina_local.document_embedder import (
        JinaLocalDocumentEmbedder,
    )
    from haystack_integrations.components.embedders.jina_local.text_embedder import (
        JinaLocalTextEmbedder,
    )

__all__ = ["JinaLocalDocumentEmbedder", "JinaLocalTextEmbedder"]

_MODULES = {
    "JinaLocalDocumentEmbedder": "document_embedder",
    "JinaLocalTextEmbedder": "text_embedder",
}


def __getattr__(name: str) -> object:
    if name in _MODULES:
        return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
    msg = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(msg)


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(__all__))
