"""A random checkpoint of the published size: 1.14 GB, 492 bfloat16 tensors, made on the spot."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["full_size_checkpoint"]


@contextmanager
def full_size_checkpoint() -> Iterator[Path]:
    """A folder with the checkpoint, gone at the end."""
    sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
    from support.checkpoints import write_full_size

    with TemporaryDirectory(prefix="jina-local-") as folder:
        write_full_size(Path(folder))
        yield Path(folder)
