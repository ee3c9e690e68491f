"""Fixtures for all tests: a quiet machine, a tiny random checkpoint, the demo engine."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
import torch
from hypothesis import HealthCheck, settings

from jina_local import Engine
from support.checkpoints import TINY, Checkpoint, write_tiny

if TYPE_CHECKING:
    from collections.abc import Iterator

# Tests run in parallel on machines with few cores, where threads within a process only collide.
torch.set_num_threads(1)
# Shared machines stall: no deadline. The examples are drawn from the test alone, the same each run.
settings.register_profile(
    "jina-local",
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
settings.load_profile("jina-local")

WHY_SKIPPED = {
    "gpu": "needs a CUDA device",
    "server": "needs a Qdrant server, named by QDRANT_URL",
    "slow": "takes minutes: set JINA_LOCAL_SLOW",
    "weights": "needs the real checkpoint, named by JINA_LOCAL_WEIGHTS",
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what this machine cannot run, and say why."""
    available = {
        "gpu": torch.cuda.is_available(),
        "server": "QDRANT_URL" in os.environ,
        "slow": "JINA_LOCAL_SLOW" in os.environ,
        "weights": "JINA_LOCAL_WEIGHTS" in os.environ,
    }
    for item in items:
        for marker, reason in WHY_SKIPPED.items():
            if item.get_closest_marker(marker) and not available[marker]:
                item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep the user's cache out of the tests, and the tests out of the user's cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    """A random checkpoint in the original layout whose adapters nobody can overlook."""
    return write_tiny(tmp_path_factory.mktemp("tiny"), config=TINY, delta_factor=100.0)


@pytest.fixture(scope="session")
def engine(tiny: Checkpoint) -> Iterator[Engine]:
    """An engine over the tiny checkpoint, in float32."""
    with Engine.load(tiny.folder, device="cpu") as loaded:
        yield loaded


@pytest.fixture(scope="session")
def demo() -> Iterator[Engine]:
    """The demo model, in float32."""
    with Engine.load("demo", device="cpu") as loaded:
        yield loaded
