"""The implementation under test, run on token ids the way the engine runs it on texts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from jina_local.checkpoint import open_checkpoint
from jina_local.encoder import Encoder, load_encoder
from jina_local.packing import pack
from jina_local.pooling import RowMeans
from jina_local.sequences import PooledSequence, PooledSpan
from jina_local.vectors import to_vectors

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from jina_local.tasks import TaskTable

__all__ = ["Ours"]


class Ours:
    """A checkpoint folder, loaded; hidden states and vectors of id lists, packed as one batch."""

    def __init__(
        self, folder: Path, *, dtype: torch.dtype = torch.float32, device: str = "cpu"
    ) -> None:
        checkpoint = open_checkpoint(folder)
        self.device = torch.device(device)
        self.tasks: TaskTable = checkpoint.tasks
        self.encoder: Encoder = load_encoder(checkpoint, self.device, dtype)

    def hidden_states(
        self, batch: Sequence[Sequence[int]], tasks: Sequence[str | None]
    ) -> list[torch.Tensor]:
        """Hidden states of each text, (T_i, D), from one packed forward pass."""
        sequences = self._sequences(batch, tasks)
        with torch.inference_mode():
            hidden = self.encoder(pack(sequences, self.device))
        return list(torch.split(hidden, [len(sequence) for sequence in sequences]))

    def vectors(self, batch: Sequence[Sequence[int]], tasks: Sequence[str | None]) -> np.ndarray:
        """Unit vectors of each text, (N, D), from one packed forward pass."""
        sequences = self._sequences(batch, tasks)
        with torch.inference_mode():
            hidden = self.encoder(pack(sequences, self.device))
            means = RowMeans(len(sequences), hidden.shape[1])
            means.add(hidden, sequences)
            return to_vectors(means.means(), hidden.shape[1])

    def _sequences(
        self, batch: Sequence[Sequence[int]], tasks: Sequence[str | None]
    ) -> list[PooledSequence]:
        return [
            PooledSequence(
                ids=np.array(ids, dtype=np.int32),
                adapter=self.tasks.find(task).adapter,
                item=row,
                spans=(PooledSpan(row, 0, len(ids)),),
            )
            for row, (ids, task) in enumerate(zip(batch, tasks, strict=True))
        ]
