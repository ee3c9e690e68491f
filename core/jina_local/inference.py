"""Sequences → pooled vectors: the forward passes, one packed batch after the other."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import torch

from jina_local.packing import pack, split_by_tokens
from jina_local.pooling import RowMeans

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from jina_local.loading import LoadedModel
    from jina_local.sequences import PooledSequence

__all__ = ["pooled_vectors"]


def pooled_vectors(
    model: LoadedModel,
    sequences: Sequence[PooledSequence],
    n_rows: int,
    batch_tokens: int,
    progress: Callable[[int], None] | None = None,
) -> torch.Tensor:
    """Run every sequence and pool the tokens of each output row into one mean.

    Args:
        model: A loaded model.
        sequences: All windows of all texts.
        n_rows: N output rows, each of them pooled from at least one token.
        batch_tokens: The most tokens per forward pass; a longer sequence gets a pass of its own.
        progress: Called after each pass with the number of texts finished so far.

    Returns:
        float32 (N, D) on the host.
    """
    means = RowMeans(n_rows, model.checkpoint.config.width)
    waiting = Counter(sequence.item for sequence in sequences)
    finished = 0
    for group in split_by_tokens(sequences, batch_tokens):
        # a caller's autocast would round what has to be exact
        with torch.inference_mode(), torch.autocast(model.device.type, enabled=False):
            means.add(model.encoder(pack(group, model.device)), group)
        for sequence in group:
            waiting[sequence.item] -= 1
            finished += not waiting[sequence.item]
        if progress is not None:
            progress(finished)
    with torch.inference_mode():
        return means.means()
