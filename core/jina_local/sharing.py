"""One set of weights per process for everyone who asks for the same model.

Integrations hold many embedders over one model. They get their engines here: each holder has an
engine of its own to close, and the weights go when the last one is closed or collected.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from jina_local.devices import resolve_device, resolve_dtype
from jina_local.engine import Engine
from jina_local.loading import LoadedModel, load_model
from jina_local.source import resolve_source, source_key

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

__all__ = ["shared_engine"]

_Key = tuple[str, str, str]


@dataclass(slots=True, eq=False)
class _Entry:
    """A model with its number of holders; loading happens under its own lock."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    model: LoadedModel | None = None
    holders: int = 0


class _Registry:
    """Reference-counted models by key."""

    def __init__(self) -> None:
        self._lock = threading.RLock()  # a collected holder may release while another acquires
        self._entries: dict[_Key, _Entry] = {}

    def acquire(self, key: _Key, load: Callable[[], LoadedModel]) -> LoadedModel:
        """The model of a key, loaded by the first who asks while the others wait."""
        with self._lock:
            entry = self._entries.setdefault(key, _Entry())
            entry.holders += 1
        try:
            with entry.lock:
                if entry.model is None:
                    entry.model = load()
                return entry.model
        except BaseException:
            self.release(key)
            raise

    def release(self, key: _Key) -> None:
        """One holder less; the last one takes the model along."""
        with self._lock:
            entry = self._entries[key]
            entry.holders -= 1
            if not entry.holders:
                del self._entries[key]


_registry = _Registry()


def shared_engine(
    source: str | Path,
    *,
    revision: str | None = None,
    device: str = "auto",
    dtype: str = "auto",
    local_files_only: bool = False,
    cache_dir: str | Path | None = None,
    token: str | None = None,
) -> Engine:
    """An engine over weights that are shared with every other holder in the process.

    Weights are shared between calls with the same source, revision, device and dtype. Each call
    returns an engine of its own; closing it (or losing it) lets go of one share. Arguments are
    those of `Engine.load`.
    """
    place = resolve_device(device)
    precision = resolve_dtype(dtype, place)
    key = (source_key(source, revision), str(place), str(precision))

    def load() -> LoadedModel:
        found = resolve_source(
            source,
            revision=revision,
            local_files_only=local_files_only,
            cache_dir=cache_dir,
            token=token,
        )
        return load_model(found, device=place, dtype=precision)

    model = _registry.acquire(key, load)
    return Engine(model, on_close=lambda: _registry.release(key))
