"""Throughput on one CUDA device, in one call of minutes: `python -m benchmarks gpu`."""

from __future__ import annotations

from benchmarks.throughput import measure as measure_throughput
from benchmarks.throughput import plan_for

__all__ = ["measure"]


def measure() -> dict[str, object]:
    """The same as `throughput`, on `cuda`."""
    import torch

    if not torch.cuda.is_available():
        message = (
            "there is no CUDA device: `python -m benchmarks throughput` measures the processor"
        )
        raise SystemExit(message)
    return measure_throughput(plan_for("cuda"))
