"""[sequences] → packed batches: no padding, no batch dimension, positions that restart.

A batch is a run of sequences laid end to end. `cu_seqlens` marks where each begins; everything
after this stage works on `(T, …)` and never sees a padding token.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from jina_local.devices import on_device

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import torch

    from jina_local.sequences import PooledSequence

__all__ = ["PackedBatch", "pack", "split_by_tokens"]


@dataclass(frozen=True, slots=True, eq=False)
class PackedBatch:
    """N sequences laid end to end, T tokens in all.

    Attributes:
        ids: Token ids, int64 (T,).
        positions: Position of each token in its own sequence, int64 (T,).
        adapters: Adapter of each token's task, int64 (T,); `NO_ADAPTER` for the base model.
        cu_seqlens: Start of each sequence, and T at the end, int32 (N+1,).
        lengths: Tokens of each sequence, on the host.
    """

    ids: torch.Tensor
    positions: torch.Tensor
    adapters: torch.Tensor
    cu_seqlens: torch.Tensor
    lengths: tuple[int, ...]


def pack(sequences: Sequence[PooledSequence], device: torch.device) -> PackedBatch:
    """Lay sequences end to end.

    Args:
        sequences: N ≥ 1 sequences.
        device: Where the batch goes.
    """
    lengths = np.array([len(sequence) for sequence in sequences])
    starts = np.concatenate([[0], np.cumsum(lengths)])
    ids = np.concatenate([sequence.ids for sequence in sequences]).astype(np.int64)
    positions = np.arange(starts[-1]) - np.repeat(starts[:-1], lengths)
    adapters = np.repeat([sequence.adapter for sequence in sequences], lengths)
    return PackedBatch(
        ids=on_device(ids, device),
        positions=on_device(positions, device),
        adapters=on_device(adapters, device),
        cu_seqlens=on_device(starts.astype(np.int32), device),
        lengths=tuple(int(length) for length in lengths),
    )


def split_by_tokens(
    sequences: Sequence[PooledSequence], max_tokens: int
) -> Iterator[list[PooledSequence]]:
    """Groups of similar length, longest first, each of at most `max_tokens` tokens.

    A sequence longer than `max_tokens` is a group of its own: it is never cut here.
    """
    group: list[PooledSequence] = []
    n_tokens = 0
    for sequence in sorted(sequences, key=len, reverse=True):
        if group and n_tokens + len(sequence) > max_tokens:
            yield group
            group, n_tokens = [], 0
        group.append(sequence)
        n_tokens += len(sequence)
    if group:
        yield group
