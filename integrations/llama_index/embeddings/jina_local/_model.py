"""Which model an embedding class wants, and its share of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from jina_local.lazy_engine import LazyEngine

if TYPE_CHECKING:
    from jina_local import Engine

__all__ = ["ModelPlace", "ModelShare"]


@dataclass(frozen=True, slots=True)
class ModelPlace:
    """Which model, where. The arguments of `Engine.load`.

    Attributes:
        adapters: Name, folder and id of each of the user's own. Other files are another place, so
            that the engine always has the adapters that a cache's key names.
    """

    source: str
    revision: str | None
    device: str | None
    dtype: str
    cache_folder: str | None
    local_files_only: bool
    max_batch_tokens: int | None
    adapters: tuple[tuple[str, str, str | None], ...]

    def load(self) -> Engine:
        """An engine over the process's one set of weights."""
        from jina_local import shared_engine

        return shared_engine(
            self.source,
            revision=self.revision,
            device=self.device or "auto",
            dtype=self.dtype,
            local_files_only=self.local_files_only,
            cache_dir=self.cache_folder,
            batch_tokens=self.max_batch_tokens,
            adapters={name: folder for name, folder, _ in self.adapters},
        )


class ModelShare:
    """The engine for the place that is wanted, which may change; pickles have none."""

    def __init__(self) -> None:
        self._held: tuple[ModelPlace, LazyEngine] | None = None

    def at(self, place: ModelPlace) -> LazyEngine:
        """The engine of a place; one of another place is let go."""
        held = self._held
        if held is not None and held[0] == place:
            return held[1]
        self.close()
        self._held = place, LazyEngine(place.load)
        return self._held[1]

    def close(self) -> None:
        """Let go of the model; its memory is free when nobody else in the process uses it."""
        if self._held is not None:
            self._held[1].close()

    def __reduce__(self) -> tuple[type[ModelShare], tuple[()]]:
        return ModelShare, ()
