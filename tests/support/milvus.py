"""Whether Milvus Lite runs here: it needs a newer NumPy than we do, and says so when imported."""

from __future__ import annotations

import importlib

import pytest

__all__ = ["milvus"]


def _why_not() -> str:
    try:
        for module in ("milvus_haystack", "milvus_lite.server_manager"):
            importlib.import_module(module)
    except ImportError as error:
        return f"needs milvus-haystack and milvus-lite: {error}"
    return ""


milvus = pytest.mark.skipif(bool(_why_not()), reason=_why_not() or "Milvus Lite runs here")
