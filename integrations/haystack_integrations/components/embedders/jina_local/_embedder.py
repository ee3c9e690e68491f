"""What the two embedders do alike: being written down, loading the model, and letting go of it."""

from __future__ import annotations

import asyncio
import inspect
from typing import TYPE_CHECKING, Any, Self

from haystack import default_from_dict, default_to_dict

from haystack_integrations.components.embedders.jina_local._model import ModelSettings
from jina_local.adapter_folders import check_adapter_folders
from jina_local.lazy_engine import LazyEngine

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

__all__ = ["Embedder"]


class Embedder:
    """An embedder whose constructor keeps every argument under its own name."""

    def _prepare(self, adapters: Mapping[str, str | Path] | None) -> None:
        """Check what the constructor has kept, and this last argument.

        No constructor itself: Haystack makes another class of a component, which breaks `super()`.

        Raises:
            ValueError: If an option is outside its allowed set.
        """
        self.adapters = check_adapter_folders(adapters) or None
        self._settings = ModelSettings.of(self)
        self._settings.check()
        self._access = LazyEngine(self._settings.load)

    @property
    def embedding_dim(self) -> int:
        """Length of the embeddings, for the document store; known before the model is loaded."""
        return self._settings.embedding_dim

    def to_dict(self) -> dict[str, Any]:
        """The component as JSON values; tokens are named by their environment variables."""
        names = inspect.signature(type(self).__init__).parameters
        values = {name: getattr(self, name) for name in names if name != "self"}
        return default_to_dict(self, **values)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        """The inverse of `to_dict`."""
        return default_from_dict(cls, data)

    def warm_up(self) -> None:
        """Load the model; `run` does so, too."""
        self._access.engine()

    async def warm_up_async(self) -> None:
        """Load the model in a thread."""
        await asyncio.to_thread(self.warm_up)

    def close(self) -> None:
        """Let go of the model; its memory is free when no other component uses it."""
        self._access.close()

    def _get_telemetry_data(self) -> dict[str, Any]:
        """What Haystack sends of a component, unless its telemetry is off: never a path."""
        return {"model": self._settings.public_name}
