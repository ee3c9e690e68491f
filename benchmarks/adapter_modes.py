"""Three ways of computing an adapter, at v3's width: what they cost, and what they lose.

`augmented` is what the engine does: base and update are one product, summed before rounding.
`side path` adds the update to the rounded result. `merged` is one copy of the weights per task,
with the update rounded into it; a batch of several tasks is one batch per task then.
"""

from __future__ import annotations

import random
import statistics
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.full_size import full_size_checkpoint

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import torch

    from jina_local import Engine
    from jina_local.adapters import ColumnMasks

__all__ = ["measure"]

_LAYERS = 4
_TEXTS = 48
_LONGEST = 400
_REPEATS = 3


def measure() -> dict[str, object]:
    """Seconds relative to `augmented` in float32, and cosines to it in both dtypes."""
    from jina_local import Engine

    with full_size_checkpoint(_LAYERS) as folder:
        reference = None
        results: dict[str, object] = {"layers": _LAYERS, "texts": _TEXTS}
        for dtype in ("float32", "bfloat16"):
            engine = Engine.load(folder, device="cpu", dtype=dtype)
            tasks = list(engine.tasks)
            texts = _texts()
            mixed = [tasks[i % len(tasks)] for i in range(len(texts))]
            ways = _ways(engine, tasks)
            vectors = {name: way(texts, mixed) for name, way in ways.items()}
            if reference is None:
                reference = vectors["augmented"]
            seconds = _in_turns({name: _timed(way, texts, mixed) for name, way in ways.items()})
            results[dtype] = {
                name: {
                    "worst_cosine": round(float((vectors[name] * reference).sum(1).min()), 7),
                    "seconds_over_augmented": round(seconds[name] / seconds["augmented"], 3),
                }
                for name in ways
            }
    return results


def _ways(engine: Engine, tasks: Sequence[str]) -> dict[str, Callable[..., np.ndarray]]:
    """Embedding under one task per text in each of the three ways."""
    from jina_local import Engine

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
        from torch.nn import functional as F

        del scratch
        inner = x[:, : self._weight.shape[1]]
        y = F.linear(inner, self._weight, self._bias)
        update = self.update(inner, masks)
        return y if update is None else y + update

    def gelu(self, x: torch.Tensor, masks: ColumnMasks, scratch: object) -> torch.Tensor:
        """GELU of it, with the room that the next linear would use."""
        from torch.nn import functional as F

        return F.pad(F.gelu(self(x, masks, scratch)), (0, self._room))

    def added(self, x: torch.Tensor, masks: ColumnMasks, residual: torch.Tensor) -> torch.Tensor:
        """Sum with the residual."""
        return residual + self(x, masks, None)


class _SidePath(_Linear):
    def __init__(self, linear: object, room: int) -> None:
        parts = _Parts(linear)
        super().__init__(parts.weight, parts.bias, room)
        self._down, self._up, self._owners = parts.down, parts.up, parts.owners

    def update(self, x: torch.Tensor, masks: ColumnMasks) -> torch.Tensor:
        from torch.nn import functional as F

        ranks = len(self._down)
        mine = masks.of(self._owners)[:, :ranks]
        return F.linear(F.linear(x, self._down) * mine, self._up)


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


_LINEARS = ("qkv", "out", "fc1", "fc2")


def _beside(layer: object) -> object:
    return replace(layer, **{name: _SidePath(getattr(layer, name), 0) for name in _LINEARS})  # type: ignore[type-var]


def _merged(layer: object, task: int) -> object:
    def one(name: str) -> _Linear:
        parts = _Parts(getattr(layer, name))
        return _Linear(parts.merged(task), parts.bias, 0)

    return replace(layer, **{name: one(name) for name in _LINEARS})  # type: ignore[type-var]


def _timed(
    way: Callable[..., np.ndarray], texts: Sequence[str], mixed: Sequence[str]
) -> Callable[[], float]:
    def run() -> float:
        start = time.perf_counter()
        way(texts, mixed)
        return time.perf_counter() - start

    return run


def _in_turns(runs: dict[str, Callable[[], float]]) -> dict[str, float]:
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(_REPEATS):
        for name, run in runs.items():
            seconds[name].append(run())
    return {name: statistics.median(some) for name, some in seconds.items()}


def _texts() -> list[str]:
    choose = random.Random(0)  # noqa: S311 - a seeded choice of words
    letters = "abcdefghijklmnopqrstuvwxyz"
    words = ["".join(choose.choices(letters, k=choose.randint(2, 8))) for _ in range(500)]
    return [
        " ".join(choose.choices(words, k=choose.randint(1, _LONGEST // 8))) for _ in range(_TEXTS)
    ]
