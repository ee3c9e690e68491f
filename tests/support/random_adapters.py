"""Adapters with random values that nobody can overlook, for the tiny model."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from jina_local.adapter_files import LowRank
from jina_local.adapter_store import Adapter, save_adapter
from support.checkpoints import TINY

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["random_adapter", "saved_adapter"]


def random_adapter(rank: int, *, modules: str = "all", blocks: bool = False) -> Adapter:
    """An adapter of the task "mine", another one for each rank.

    Args:
        rank: Of every update.
        modules: Kinds of modules, such as "qkv"; or "all".
        blocks: Whether q, k and v have factors of their own.
    """
    generator = torch.Generator().manual_seed(rank)

    def update(rows: int, columns: int, r: int = rank) -> LowRank:
        left, right = (
            torch.randn(shape, generator=generator) * 0.2 for shape in ((rows, r), (r, columns))
        )
        return LowRank(left, right, 0.5)

    wide, inner = TINY.hidden_size, TINY.intermediate_size
    updates = {"word": update(TINY.vocab_size, wide), "token_type": update(1, wide)}
    for i in range(TINY.n_layers):
        qkv = update(3 * wide, wide)
        if blocks:
            parts = [update(wide, wide) for _ in range(3)]
            left = torch.block_diag(*(part.left for part in parts))  # type: ignore[no-untyped-call]
            qkv = LowRank(left, torch.cat([part.right for part in parts]), 0.5)
        updates |= {f"layers.{i}.qkv": qkv, f"layers.{i}.out": update(wide, wide)}
        updates |= {f"layers.{i}.fc1": update(inner, wide), f"layers.{i}.fc2": update(wide, inner)}
    if modules != "all":
        updates = {name: update for name, update in updates.items() if name.endswith(modules)}
    return Adapter(task="mine", instruction="Do: ", updates=updates)


def saved_adapter(folder: Path, rank: int = 2, *, instruction: str = "Do: ") -> Path:
    """A folder with such an adapter and an instruction of its own."""
    save_adapter(random_adapter(rank).named("mine", instruction), folder)
    return folder
