"""Models over the tiny checkpoint: ours, and the published one's way with the same weights."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

    from jina_local import Engine
    from jina_local_sentence_transformers import JinaSentenceTransformer
    from support.checkpoints import Checkpoint


@pytest.fixture(scope="session")
def model(tiny: Checkpoint) -> JinaSentenceTransformer:
    """Ours, in float32. Not to be changed by a test."""
    from jina_local_sentence_transformers import load

    return load(tiny.folder, device="cpu")


@pytest.fixture(scope="session")
def published(tiny: Checkpoint, engine: Engine) -> SentenceTransformer:
    """The same weights as the published modules use them."""
    from support.published_st import published_model

    return published_model(tiny, engine)
