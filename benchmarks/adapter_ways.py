"""Three ways of computing an adapter, put together from one engine's weights.

`augmented` is what the engine does: base and update are one product, summed before rounding.
`side path` adds the update to the rounded result. `merged` is one copy of the weights per task,
with the update rounded into it; a batch of several tasks is one batch per task then.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.machine import multiplies_bfloat16
from benchmarks.other_products import LINEARS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import torch

    from jina_local import Engine
    from jina_local.adapters import ColumnMasks

__all__ = ["ways_of"]


def ways_of(engine: Engine) -> dict[str, Callable[..., np.ndarray]]:
    """Embedding under one task per text, (texts, tasks) → vectors (N, D), in each of the ways."""
    from jina_local import Engine

    tasks = list(engine.tasks)

    model = engine._model  # noqa: SLF001 - its parts are put together in other ways here
    layers = model.encoder.layers
    beside = Engine(
        replace(model, encoder=replace(model.encoder, layers=tuple(map(_beside, layers))))
    )
    merged = {
        task: Engine(
            replace(
                model,
                encoder=replace(model.encoder, layers=tuple(_merged(layer, i) for layer in layers)),
            )
        )
        for i, task in enumerate(tasks)
    }

    def one_batch_per_task(texts: Sequence[str], mixed: Sequence[str]) -> np.ndarray:
        rows = np.empty((len(texts), engine.dimension), dtype=np.float32)
        for task in tasks:
            own = [i for i, one in enumerate(mixed) if one == task]
            rows[own] = merged[task].embed([texts[i] for i in own], task=task).vectors
        return rows

    return {
        "augmented": lambda texts, mixed: engine.embed(texts, task=mixed).vectors,
        "side path": lambda texts, mixed: beside.embed(texts, task=mixed).vectors,
        "merged": one_batch_per_task,
    }


class _Linear:
    """A linear of the encoder with its adapter computed in another way."""

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor, room: int) -> None:
        self._weight = weight
        self._bias = bias
        self._room = room

    @property
    def n_augmented(self) -> int:
        """Columns that the encoder keeps memory for."""
        return self._weight.shape[1]

    def update(self, x: torch.Tensor, masks: ColumnMasks) -> torch.Tensor | None:
        """What the adapter adds, if it is not in the weight."""
        del x, masks

    def __call__(self, x: torch.Tensor, masks: ColumnMasks, scratch: object) -> torch.Tensor:
        """(T, n_in or more) → (T, n_out)."""
        del scratch
        inner = x[:, : self._weight.shape[1]]
        y = _linear(inner, self._weight, self._bias)
        update = self.update(inner, masks)
        return y if update is None else y + update

    def gelu(self, x: torch.Tensor, masks: ColumnMasks, scratch: object) -> torch.Tensor:
        """GELU of it, with the room that the next linear would use."""
        from torch.nn import functional as F

        return F.pad(F.gelu(self(x, masks, scratch)), (0, self._room))

    def added(self, x: torch.Tensor, masks: ColumnMasks, residual: torch.Tensor) -> torch.Tensor:
        """Sum with the residual."""
        return residual + self(x, masks, None)


def _linear(
    x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None
) -> torch.Tensor:
    """x·Wᵀ + b; in 16 bits summed in float32 and rounded once, on processors without them, too."""
    from torch.nn import functional as F

    if x.dtype == weight.dtype and x.device.type == "cpu" and not multiplies_bfloat16("cpu"):
        wide = F.linear(x.float(), weight.float(), None if bias is None else bias.float())
        return wide.to(x.dtype)
    return F.linear(x, weight, bias)


class _SidePath(_Linear):
    def __init__(self, linear: object, room: int) -> None:
        parts = _Parts(linear)
        super().__init__(parts.weight, parts.bias, room)
        self._down, self._up, self._owners = parts.down, parts.up, parts.owners

    def update(self, x: torch.Tensor, masks: ColumnMasks) -> torch.Tensor:
        ranks = len(self._down)
        mine = masks.of(self._owners)[:, :ranks]
        return _linear(_linear(x, self._down) * mine, self._up)


class _Parts:
    """Weight, bias and adapters of one of the engine's linears, taken apart again."""

    def __init__(self, linear: object) -> None:
        n_in = linear.down.shape[1]  # type: ignore[attr-defined]
        augmented = linear.product.weight  # type: ignore[attr-defined]
        self.owners = linear.owners  # type: ignore[attr-defined]
        ranks = sum(owner >= 0 for owner in self.owners)
        self.weight = augmented[:, :n_in].contiguous()
        self.up = augmented[:, n_in : n_in + ranks].contiguous()
        self.bias = augmented[:, n_in + ranks].contiguous()
        self.down = linear.down[:ranks]  # type: ignore[attr-defined]

    def merged(self, task: int) -> torch.Tensor:
        """The weight with one task's update, rounded to its dtype."""
        own = [i for i, owner in enumerate(self.owners) if owner == task]
        update = self.up[:, own].float() @ self.down[own].float()
        return (self.weight.float() + update).to(self.weight.dtype)


def _beside(layer: object) -> object:
    return replace(layer, **{name: _SidePath(getattr(layer, name), 0) for name in LINEARS})  # type: ignore[type-var]


def _merged(layer: object, task: int) -> object:
    def one(name: str) -> _Linear:
        parts = _Parts(getattr(layer, name))
        return _Linear(parts.merged(task), parts.bias, 0)

    return replace(layer, **{name: one(name) for name in LINEARS})  # type: ignore[type-var]
