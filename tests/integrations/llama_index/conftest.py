"""Fixtures for the tests of the LlamaIndex classes."""

from __future__ import annotations

import asyncio
import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from jina_local import shared_engine

if TYPE_CHECKING:
    from collections.abc import Iterator

    from jina_local import Engine


@pytest.fixture(scope="session", autouse=True)
def _no_download() -> Iterator[None]:
    """Splitters count tokens with a table that comes with LlamaIndex; processes inherit this."""
    spec = importlib.util.find_spec("llama_index.core")
    if spec is None or spec.origin is None:
        yield  # the tests are skipped
        return
    tables = Path(spec.origin).parent / "_static" / "tiktoken_cache"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TIKTOKEN_CACHE_DIR", str(tables))
        yield


@pytest.fixture(scope="session", autouse=True)
def _no_open_loop() -> None:
    """LlamaIndex takes the thread's event loop and never closes it; after a run there is none."""
    asyncio.run(asyncio.sleep(0))


@pytest.fixture(scope="session", autouse=True)
def shared_demo() -> Iterator[Engine]:
    """Somebody holds the demo model, so that embeddings which come and go do not load it anew."""
    with shared_engine("demo", device="cpu", dtype="float32") as engine:
        yield engine
