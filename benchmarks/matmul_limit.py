"""The most that a machine multiplies: what shares of its limit are shares of."""

from __future__ import annotations

import statistics
import time

__all__ = ["matmul_flops", "synchronize"]

_WIDTH = 1024
_SHAPES = {"cpu": (2048, 1, 4), "cuda": (8192, 8, 8)}  # rows, and times the width
_REPEATS = 5


def matmul_flops(device: str, dtype: str, width: int = _WIDTH) -> float:
    """Operations per second of one large product into memory that is there.

    Args:
        device: Where.
        dtype: Of what.
        width: Of the model whose share is wanted; less than v3's for a dry run.
    """
    import torch

    rows, *times = _SHAPES[device.partition(":")[0]]
    inner, columns = (width * factor for factor in times)
    kind = getattr(torch, dtype)
    a = torch.randn(rows, inner, device=device).to(kind)
    b = torch.randn(columns, inner, device=device).to(kind).t()
    out = torch.empty(rows, columns, device=device, dtype=kind)
    torch.mm(a, b, out=out)
    seconds = []
    for _ in range(_REPEATS):
        synchronize(device)
        start = time.perf_counter()
        torch.mm(a, b, out=out)
        synchronize(device)
        seconds.append(time.perf_counter() - start)
    return 2 * rows * inner * columns / statistics.median(seconds)


def synchronize(device: str) -> None:
    """Wait for a device to finish what it was given."""
    import torch

    if device.startswith("cuda"):
        torch.cuda.synchronize()
