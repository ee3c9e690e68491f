"""Attention over packed sequences, behind one signature.

A backend takes q, k and v of all tokens and the batch that says where sequences begin, and never
lets one sequence see another. `choose_attention` is the only place that knows which backend runs
where.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import groupby
from typing import TYPE_CHECKING

import torch
from torch.nn import functional as F

if TYPE_CHECKING:
    from jina_local.packing import PackedBatch

__all__ = ["Attention", "choose_attention", "sdpa_attention"]

Attention = Callable[[torch.Tensor, torch.Tensor, torch.Tensor, "PackedBatch"], torch.Tensor]
"""(q, k, v, batch) → context; each tensor (T, H, D/H), no mask, scale (D/H)^-½."""


def choose_attention(device: torch.device) -> Attention:
    """The attention backend for a device."""
    del device  # every device has SDPA; varlen kernels for CUDA plug in here
    return sdpa_attention


def sdpa_attention(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, batch: PackedBatch
) -> torch.Tensor:
    """PyTorch's scaled dot-product attention, one call per run of equally long sequences.

    Batches are sorted by length, so that sequences of equal length are neighbours and share a
    call without padding.

    Args:
        q: Rotated queries, (T, H, D/H).
        k: Rotated keys, (T, H, D/H).
        v: Values, (T, H, D/H).
        batch: Where sequences begin.

    Returns:
        (T, H, D/H).
    """
    context = torch.empty_like(q)
    start = 0
    for length, run in groupby(batch.lengths):
        n = len(list(run))
        tokens = slice(start, start + n * length)
        q_run, k_run, v_run = (
            x[tokens].view(n, length, *x.shape[1:]).transpose(1, 2) for x in (q, k, v)
        )
        attended = F.scaled_dot_product_attention(q_run, k_run, v_run)  # (n, H, length, D/H)
        context[tokens] = attended.transpose(1, 2).flatten(0, 1)
        start = tokens.stop
    return context
