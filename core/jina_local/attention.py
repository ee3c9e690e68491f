"""Attention over packed sequences, behind one signature.

A backend takes q, k and v of all tokens and the batch that says where sequences begin, and never
lets one sequence see another. `choose_attention` is the only place that knows which backend runs
where.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from importlib import import_module
from itertools import groupby
from math import prod

import numpy as np
import torch
from torch.nn import functional as F

from jina_local.packing import PackedBatch, pack
from jina_local.sequences import PooledSequence
from jina_local.tasks import NO_ADAPTER

__all__ = ["Attention", "choose_attention", "sdpa_attention", "varlen_attention"]

Attention = Callable[[torch.Tensor, torch.Tensor, torch.Tensor, PackedBatch], torch.Tensor]
"""(q, k, v, batch) → context; each tensor (T, H, D/H), no mask, scale (D/H)^-½."""

VarlenKernel = Callable[..., torch.Tensor]
"""Called with q, k and v (T, H, D/H), the starts of queries and of keys, int32 (N+1,), and the
longest sequence of each: what flash-attn and PyTorch have in common."""

_VARLEN_KERNELS = (
    ("flash_attn", "flash_attn_varlen_func"),
    ("torch.nn.attention.varlen", "varlen_attn"),
)
_VARLEN_DTYPES = (torch.bfloat16, torch.float16)
_VARLEN_CAPABILITY = (8, 0)  # Ampere
_VARLEN_HEAD_WIDTHS = range(8, 257, 8)
_SAMPLE_HEADS = 2
_MOST_DIFFERENCE = 0.02  # of values of at most one, in bfloat16

_logger = logging.getLogger("jina_local")


def choose_attention(device: torch.device, dtype: torch.dtype, head_width: int) -> Attention:
    """The attention backend for a device: kernels for packed sequences where they run, else SDPA.

    flash-attn comes first where it is installed, then the kernel that PyTorch has of its own. A
    kernel is tried before it is trusted: one that fails or says something else is left alone, with
    a warning in the log.
    """
    fits = dtype in _VARLEN_DTYPES and head_width in _VARLEN_HEAD_WIDTHS
    if device.type != "cuda" or not fits:
        return sdpa_attention
    if torch.cuda.get_device_capability(device) < _VARLEN_CAPABILITY:
        return sdpa_attention
    for module, name in _VARLEN_KERNELS:
        kernel = _imported(module, name)
        if kernel is None:
            continue
        fault = _fault(varlen_attention(kernel), *_sample(device, dtype, head_width))
        if not fault:
            return varlen_attention(kernel)
        _logger.warning("%s.%s is not used for attention: %s", module, name, fault)
    return sdpa_attention


def _imported(module: str, name: str) -> VarlenKernel | None:
    try:
        kernel: VarlenKernel = getattr(import_module(module), name)
    except (ImportError, AttributeError):
        return None
    return kernel


def _fault(attention: Attention, qkv: torch.Tensor, batch: PackedBatch) -> str:
    """Why a backend is not to be trusted; empty if it says what SDPA says."""
    q, k, v = qkv.unbind(1)
    try:
        found = attention(q, k, v, batch)
    except (AssertionError, RuntimeError, TypeError, ValueError) as error:
        return f"{type(error).__name__}: {error}"
    difference = float((found.float() - sdpa_attention(q, k, v, batch).float()).abs().max())
    return "" if difference <= _MOST_DIFFERENCE else f"its results differ by {difference:.2g}"


def _sample(
    device: torch.device, dtype: torch.dtype, head_width: int
) -> tuple[torch.Tensor, PackedBatch]:
    """q, k and v (T, 3, H, D/H) of sequences that leave no room for one another."""
    sequences = [
        PooledSequence(np.zeros(length, dtype=np.int32), NO_ADAPTER, item, ())
        for item, length in enumerate((70, 1, 33, 2))
    ]
    batch = pack(sequences, device)
    shape = (len(batch.ids), 3, _SAMPLE_HEADS, head_width)
    qkv = torch.arange(prod(shape), device="cpu").sin().view(shape)
    return qkv.to(device, dtype), batch


def varlen_attention(kernel: VarlenKernel) -> Attention:
    """Attention with a kernel for packed sequences: one call for a whole batch."""

    def attention(
        q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, batch: PackedBatch
    ) -> torch.Tensor:
        starts, longest = batch.cu_seqlens, max(batch.lengths)
        return kernel(q, k, v, starts, starts, longest, longest)

    return attention


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
