"""Fixtures for the tests of the Haystack components."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from jina_local import shared_engine

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.checkpoints import Checkpoint


@pytest.fixture(scope="session", autouse=True)
def _no_telemetry() -> Iterator[None]:
    """Haystack sends what pipelines do to its makers, unless told not to."""
    from haystack.telemetry import _telemetry

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_telemetry, "telemetry", None)
        patch.setenv("HAYSTACK_TELEMETRY_ENABLED", "false")
        yield


@pytest.fixture(scope="session")
def _demo_stays() -> Iterator[None]:
    """Somebody holds the demo model, so that embedders which come and go do not load it anew."""
    with shared_engine("demo", device="cpu"):
        yield


@pytest.fixture
def own_model(tiny: Checkpoint, tmp_path: Path) -> str:
    """A checkpoint that only one test knows, so that nobody else holds it."""
    return str(shutil.copytree(tiny.folder, tmp_path / "model"))
