"""Where the time of a forward pass goes: the share of each kind of operation, at v3's full size."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from benchmarks.full_size import full_size_checkpoint
from benchmarks.throughput_texts import make_workloads

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["measure"]

_TEXTS = 14  # mixed passages, about one pass of 2,000 tokens
_TURNS = 2
_KINDS = {
    "products": (
        *("aten::mm", "aten::addmm", "aten::addmm_"),
        *("mkldnn::_linear_pointwise", "quantized::linear_dynamic_fp16"),
    ),
    "attention": ("aten::_scaled_dot_product_flash_attention_for_cpu",),
    "GELU": ("aten::gelu", "aten::gelu_"),
    "LayerNorm": ("aten::native_layer_norm",),
}


def measure() -> dict[str, object]:
    """Shares of the operations' own time, in float32 on the processor."""
    from torch.profiler import ProfilerActivity, profile

    from jina_local import Engine

    with full_size_checkpoint() as folder:
        engine = Engine.load(folder, device="cpu", dtype="float32")
    workloads = make_workloads(lambda text: len(engine.tokenize(text)), texts=_TEXTS, longest=512)
    texts = list(workloads[1].texts)
    tasks = [random.Random(i).choice(engine.tasks) for i in range(len(texts))]  # noqa: S311
    engine.embed(texts, task=tasks)
    with profile(activities=[ProfilerActivity.CPU]) as profiled:
        for _ in range(_TURNS):
            found = engine.embed(texts, task=tasks)
    own = {event.key: event.self_cpu_time_total for event in profiled.key_averages()}
    return {
        "tokens": int(found.token_counts.sum()),
        "seconds": round(sum(own.values()) / _TURNS / 1e6, 2),
        "shares": _shares(own),
    }


def _shares(own: dict[str, float]) -> dict[str, float]:
    everything = sum(own.values())
    shares = {kind: _sum(own, names) / everything for kind, names in _KINDS.items()}
    shares["all else"] = 1 - sum(shares.values())
    return {kind: round(share, 3) for kind, share in shares.items()}


def _sum(own: dict[str, float], names: Iterable[str]) -> float:
    return sum(own.get(name, 0.0) for name in names)
