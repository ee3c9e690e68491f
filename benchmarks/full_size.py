"""A random checkpoint of the published size: 1.14 GB, 492 bfloat16 tensors, made on the spot."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["full_size_checkpoint"]


@contextmanager
def full_size_checkpoint(n_layers: int = 24, width: int = 1024) -> Iterator[Path]:
    """A folder with the checkpoint, gone at the end.

    Args:
        n_layers: 24 as published, or fewer.
        width: D; 1024 as published, or another multiple of 64.
    """
    sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
    from support.checkpoints import FULL_SIZE, write_full_size

    with TemporaryDirectory(prefix="jina-local-") as folder:
        config = replace(
            FULL_SIZE,
            n_layers=n_layers,
            hidden_size=width,
            n_heads=width // 64,
            intermediate_size=4 * width,
        )
        write_full_size(Path(folder), config=config)
        yield Path(folder)
