"""The width of a model, as far as it is known without loading it, its weights or torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jina_local.config import read_json
from jina_local.errors import JinaLocalError
from jina_local.source import resolve_source

if TYPE_CHECKING:
    from pathlib import Path

    from jina_local.source import ModelSource

__all__ = ["width_of", "width_without_loading"]


def width_without_loading(
    source: str, *, revision: str | None, cache_dir: str | Path | None, otherwise: int
) -> int:
    """D, from the config.json of a folder, of the bundled model or of a snapshot in the cache.

    Args:
        source: What `Engine.load` takes.
        revision: Branch, tag or commit on the hub.
        cache_dir: Where snapshots are kept.
        otherwise: The answer where there is no config.json to read on this machine.
    """
    try:
        found = resolve_source(
            source, revision=revision, local_files_only=True, cache_dir=cache_dir, token=None
        )
    except (JinaLocalError, OSError):
        return otherwise
    return width_of(found) or otherwise


def width_of(source: ModelSource) -> int:
    """D of a checkpoint on disk; 0 if its config.json does not say."""
    try:
        width = read_json(source.folder / "config.json").get("hidden_size")
    except (JinaLocalError, OSError):
        return 0
    return width if isinstance(width, int) and width > 0 else 0
