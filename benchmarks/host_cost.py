"""What a text costs beside the encoder: tokenizing it, packing it, pooling it, reporting on it.

With an encoder that only waits as long as a device of a known rate would take, in passes of a GPU's
size, and the tokenizer of the demo model (English, of the kind that v3 has, with fewer words). This
is about fast devices, which may wait for the processor; beside a processor's own encoder all of it
is nothing.
"""

from __future__ import annotations

import shutil
import time
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.full_size import full_size_checkpoint
from benchmarks.throughput_texts import make_workloads

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch

    from benchmarks.throughput_texts import Workload
    from jina_local.loading import LoadedModel
    from jina_local.packing import PackedBatch

__all__ = ["measure"]

_WIDTH = 64  # so that what is done on the device in earnest costs next to nothing here
_TOKENS_PER_PASS = 16_384
_DEVICE_RATE = 700_000  # tokens per second: somewhat more than half of what an H200 could do
_TEXTS = 5_000
_TOKENS = 2_000_000
_TURNS = 3
_TASK = "retrieval.passage"


def measure(texts: int = _TEXTS, tokens: int = _TOKENS) -> dict[str, object]:
    """Microseconds per text, and the rate that is left of a device's, for texts of three lengths.

    Args:
        texts: Different texts.
        tokens: Of all texts together, which are repeated to have so many.
    """
    model = _model_without_encoder()
    tokenizer, task = model.tokenizer, model.checkpoint.tasks.find(_TASK)
    workloads = make_workloads(
        lambda text: len(tokenizer.tokenizer.encode(task.instruction + text)),
        texts=texts,
        longest=512,
    )
    return {one.name: _cost(model, one, task.instruction, tokens) for one in workloads[:3]}


def _cost(
    model: LoadedModel, workload: Workload, instruction: str, tokens: int
) -> dict[str, float]:
    from jina_local import Engine

    copies = -(-tokens // workload.tokens)
    texts, n_tokens = workload.texts * copies, workload.tokens * copies
    waiting: Any = _Waiting(1 / _DEVICE_RATE)
    idle: Any = _Waiting(0.0)
    engines = {
        name: Engine(replace(model, encoder=encoder), batch_tokens=_TOKENS_PER_PASS)
        for name, encoder in (("idle", idle), ("waiting", waiting))
    }
    tokenizing = _seconds(partial(model.tokenizer.ids, texts, [instruction] * len(texts)))
    everything = _seconds(partial(engines["idle"].embed, texts, task=_TASK))
    rate = n_tokens / _seconds(partial(engines["waiting"].embed, texts, task=_TASK))
    return {
        "tokens per text": round(workload.tokens / len(workload.texts)),
        "tokenizing, µs per text": round(1e6 * tokenizing / len(texts), 1),
        "everything, µs per text": round(1e6 * everything / len(texts), 1),
        "tokens per second beside the device": round(rate),
        "share of the device's rate": round(rate / _DEVICE_RATE, 2),
    }


def _model_without_encoder() -> LoadedModel:
    from jina_local import Engine
    from jina_local.source import resolve_source

    demo = resolve_source("demo")
    with full_size_checkpoint(n_layers=1, width=_WIDTH) as folder:
        shutil.copy(demo.folder / "tokenizer.json", folder)
        return Engine.load(folder, device="cpu", dtype="float32")._model  # noqa: SLF001


class _Waiting:
    """An encoder that says the same of every token, after a while.

    Args:
        seconds: Per token.
    """

    def __init__(self, seconds: float) -> None:
        import torch

        self._seconds = seconds
        self._hidden = torch.ones(_TOKENS_PER_PASS, _WIDTH)

    def __call__(self, batch: PackedBatch) -> torch.Tensor:
        time.sleep(len(batch.ids) * self._seconds)
        return self._hidden[: len(batch.ids)]


def _seconds(work: Callable[[], object]) -> float:
    """At the median."""
    taken = []
    for _ in range(_TURNS):
        start = time.perf_counter()
        work()
        taken.append(time.perf_counter() - start)
    return float(np.median(taken))
