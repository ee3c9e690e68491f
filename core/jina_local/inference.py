"""Sequences → pooled vectors: the forward passes, one packed batch after the other."""

from __future__ import annotations

from collections import Counter, deque
from typing import TYPE_CHECKING

import torch

from jina_local.errors import DeviceMemoryError
from jina_local.forks import compute_alone_after_fork, refuse_lost_device
from jina_local.packing import pack, split_by_tokens
from jina_local.pooling import RowMeans

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from jina_local.loading import LoadedModel
    from jina_local.sequences import PooledSequence
    from jina_local.token_budget import TokenBudget

__all__ = ["pooled_vectors"]


def pooled_vectors(
    model: LoadedModel,
    sequences: Sequence[PooledSequence],
    n_rows: int,
    budget: TokenBudget,
    progress: Callable[[int], None] | None = None,
) -> torch.Tensor:
    """Run every sequence and pool the tokens of each output row into one mean.

    A pass that runs out of memory is split, and later ones are made no larger than what fits.

    Args:
        model: A loaded model.
        sequences: All windows of all texts.
        n_rows: N output rows, each of them pooled from at least one token.
        budget: How many tokens a pass may have; shrinks when memory runs out.
        progress: Called after each pass with the number of texts finished so far.

    Returns:
        float32 (N, D) on the host.

    Raises:
        DeviceMemoryError: If there is no memory for one sequence alone.
        ForkedProcessError: If the model is on a device that this process lost by being forked.
    """
    compute_alone_after_fork()
    refuse_lost_device(model)
    means = RowMeans(n_rows, model.checkpoint.config.width)
    unfinished = Counter(sequence.item for sequence in sequences)
    finished = 0
    groups = deque(split_by_tokens(sequences, budget.tokens))
    while groups:
        group = groups.popleft()
        if not _add(means, model, group):
            budget.shrink(sum(map(len, group)))
            _free_memory(model, group)
            left = [sequence for one in (group, *groups) for sequence in one]
            groups = deque(split_by_tokens(left, budget.tokens))
            continue
        for sequence in group:
            unfinished[sequence.item] -= 1
            finished += not unfinished[sequence.item]
        if progress is not None:
            progress(finished)
    with torch.inference_mode():
        return means.means()


def _add(means: RowMeans, model: LoadedModel, group: list[PooledSequence]) -> bool:
    """Run a batch and add it to the means; `False` if memory ran out, and nothing was added."""
    try:
        # a caller's autocast would round what has to be exact
        with torch.inference_mode(), torch.autocast(model.device.type, enabled=False):
            means.add(model.encoder(pack(group, model.device)), group)
    except (MemoryError, RuntimeError) as error:
        if not _is_out_of_memory(error):
            raise
        return False
    return True


def _is_out_of_memory(error: Exception) -> bool:
    """Whether memory ran out; only CUDA has a type of its own for that."""
    kinds = (MemoryError, torch.OutOfMemoryError)
    signs = ("DefaultCPUAllocator", "out of memory")
    return isinstance(error, kinds) or any(sign in str(error) for sign in signs)


def _free_memory(model: LoadedModel, group: list[PooledSequence]) -> None:
    """Give back what is kept for later, unless even that cannot help."""
    if len(group) == 1:
        msg = (
            f"there is no memory on {model.device} for one text of {len(group[0])} tokens: free "
            "some, use another device or a smaller dtype, or give a smaller limit of tokens per "
            "text or window"
        )
        raise DeviceMemoryError(msg)
    if model.device.type == "cuda":
        torch.cuda.empty_cache()
