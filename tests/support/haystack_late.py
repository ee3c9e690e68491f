"""What the tests of late chunking in Haystack have in common."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
from haystack.utils import ComponentDevice

from haystack_integrations.components.embedders.jina_local import JinaLocalDocumentEmbedder

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from haystack import Document

    from jina_local import Engine

__all__ = ["alone", "assert_same", "embedding", "rows"]


@contextmanager
def embedding(model: Path, **options: Any) -> Iterator[JinaLocalDocumentEmbedder]:
    """An embedder with late chunking, which refuses chunks that are not in their source."""
    made = JinaLocalDocumentEmbedder(
        model=str(model),
        device=ComponentDevice.from_str("cpu"),
        progress_bar=False,
        **{"late_chunking": True, "late_chunking_fallback": "raise"} | options,
    )
    made.warm_up()
    try:
        yield made
    finally:
        made.close()


def rows(documents: Sequence[Document]) -> np.ndarray:
    """Their embeddings."""
    return np.array([one.embedding for one in documents])


def alone(engine: Engine, *texts: str) -> np.ndarray:
    """Vectors of texts without a context."""
    return engine.embed(texts, task="retrieval.passage").vectors


def assert_same(found: Any, expected: Any, atol: float = 1e-5) -> None:
    """Equal, but for what float32 leaves open."""
    np.testing.assert_allclose(found, expected, atol=atol, rtol=0)
