"""Whether Milvus Lite runs here: it needs a newer NumPy than we do, and says so when imported."""

from __future__ import annotations

import importlib

import pytest

__all__ = ["milvus", "milvus_lite"]


def _needs(*packages: str) -> pytest.MarkDecorator:
    """A mark for tests that need packages; the first part of a module's name is its package's."""
    try:
        for module in packages:
            importlib.import_module(module)
    except ImportError as error:
        names = " and ".join(one.partition(".")[0].replace("_", "-") for one in packages)
        return pytest.mark.skipif(True, reason=f"needs {names}: {error}")
    return pytest.mark.skipif(False, reason="Milvus Lite runs here")


milvus = _needs("milvus_haystack", "milvus_lite.server_manager")
milvus_lite = _needs("pymilvus", "milvus_lite.server_manager")
