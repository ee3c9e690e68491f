"""One set of weights per process for everyone who asks for the same model.

Integrations hold many embedders over one model. They get their engines here: each holder has an
engine of its own to close, and the weights go when the last one is closed or collected.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from jina_local.devices import check_dtype, resolve_device, resolve_dtype
from jina_local.engine import Engine
from jina_local.inputs import check_integer
from jina_local.loading import LoadedModel, load_model
from jina_local.own_adapters import adapter_stamps, check_adapters
from jina_local.source import resolve_source
from jina_local.widths import width_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

__all__ = ["shared_engine"]

_Key = tuple[Hashable, ...]


@dataclass(slots=True, eq=False)
class _Entry:
    """A model with its number of holders; loading happens under its own lock."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    model: LoadedModel | None = None
    holders: int = 0


class _Registry:
    """Reference-counted models by key."""

    def __init__(self) -> None:
        self._lock = threading.RLock()  # collecting garbage may release while this thread acquires
        self._entries: dict[_Key, _Entry] = {}
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._renew_locks)

    def acquire(self, key: _Key) -> _Entry:
        """The entry of a key, with one holder more."""
        with self._lock:
            entry = self._entries.get(key) or _Entry()
            entry.holders += 1
            self._entries[key] = entry
            return entry

    def release(self, key: _Key, entry: _Entry) -> None:
        """One holder less; the last one takes the model along."""
        with self._lock:
            entry.holders -= 1
            if not entry.holders and self._entries.get(key) is entry:
                del self._entries[key]

    def _renew_locks(self) -> None:
        """In a forked process nobody is left to open what another thread had locked."""
        self._lock = threading.RLock()
        for entry in self._entries.values():
            entry.lock = threading.Lock()


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
    batch_tokens: int | None = None,
    adapters: Mapping[str, str | Path] | None = None,
) -> Engine:
    """An engine over weights that are shared with every other holder in the process.

    Weights are shared between calls that find the same folder or snapshot for the same device and
    dtype, with the same adapters in the same files; the first one loads while the others wait. Each
    call returns an engine of its own, and closing it (or losing it) lets go of one share. The
    arguments are those of `Engine.load`, and `batch_tokens` is the engine's own.
    """
    if batch_tokens is not None:
        check_integer("batch_tokens", batch_tokens, 1)
    added = check_adapters(adapters)
    stamps = adapter_stamps(added)
    place = resolve_device(device)
    check_dtype(dtype)
    found = resolve_source(
        source,
        revision=revision,
        local_files_only=local_files_only,
        cache_dir=cache_dir,
        token=token,
    )
    precision = resolve_dtype(dtype, place, width_of(found))
    key = (found.folder, str(place), str(precision), stamps)
    entry = _registry.acquire(key)
    try:
        with entry.lock:
            if entry.model is None:
                entry.model = load_model(found, device=place, dtype=precision, adapters=added)
            model = entry.model
    except BaseException:
        _registry.release(key, entry)
        raise
    return Engine(model, batch_tokens=batch_tokens, on_close=lambda: _registry.release(key, entry))
