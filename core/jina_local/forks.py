"""Models in forked processes, such as the workers of a pool."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import torch

from jina_local.errors import ForkedProcessError

if TYPE_CHECKING:
    from jina_local.loading import LoadedModel

__all__ = ["compute_alone_after_fork", "refuse_lost_device"]

_IMPORTED_BY = os.getpid()


def compute_alone_after_fork() -> None:
    """Let a forked process compute in one thread.

    OpenMP's threads stay behind in the parent, and a product that waits for them never ends.
    """
    if os.getpid() != _IMPORTED_BY and torch.get_num_threads() > 1:
        torch.set_num_threads(1)


def refuse_lost_device(model: LoadedModel) -> None:
    """Refuse a model on a device that this process lost by being forked.

    Raises:
        ForkedProcessError: If so.
    """
    if model.process != os.getpid() and model.device.type != "cpu":
        msg = (
            f"the model was loaded to {model.device} before this process was forked, and does not "
            "survive that: load it in the new process, or start processes by "
            "multiprocessing.get_context('spawn')"
        )
        raise ForkedProcessError(msg)
