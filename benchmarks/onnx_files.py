"""Latency and memory of exported files against the engine, one thread each.

A random model of v3's width with 2 of its 24 layers, so that it takes minutes. One text at a time;
each way runs in a process of its own, and memory is what the operating system counts at most, less
what the process had before it loaded the model.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.full_size import full_size_checkpoint
from benchmarks.machine import GIVE_FREED_MEMORY_BACK, forget_peak, peak_bytes

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["measure"]

_TASK = "separation"
_TOKENS = (16, 128, 1000)
_ROUNDS = 5
_PRECISIONS = ("float32", "int8")
_LAYERS = 2


def measure() -> dict[str, dict[str, float]]:
    """Milliseconds per text by its tokens, and megabytes, of every way."""
    found: dict[str, dict[str, float]] = {}
    with full_size_checkpoint(n_layers=_LAYERS) as model, TemporaryDirectory() as home:
        found["engine float32"] = _in_a_process("engine", model)
        for precision in _PRECISIONS:
            folder = Path(home) / precision
            export = _in_a_process("export", model, folder, precision)
            ran = _in_a_process("file", folder)
            size = sum(path.stat().st_size for path in folder.iterdir()) / 1e6
            found[f"onnx {precision}"] = ran | export | {"file MB": round(size)}
    return found


def _in_a_process(way: str, *arguments: str | Path) -> dict[str, float]:
    one_thread = {"OMP_NUM_THREADS": "1", **GIVE_FREED_MEMORY_BACK}
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.onnx_files", way, *map(str, arguments)],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | one_thread,
    )
    result: dict[str, float] = json.loads(done.stdout)
    return result


def _latencies(embed: Callable[[list[int]], object]) -> dict[str, float]:
    generator = np.random.default_rng(0)
    found = {}
    for tokens in _TOKENS:
        ids = [0, *generator.integers(4, 8000, tokens - 2).tolist(), 2]
        embed(ids)
        seconds = []
        for _ in range(_ROUNDS):
            start = time.perf_counter()
            embed(ids)
            seconds.append(time.perf_counter() - start)
        found[f"{tokens} tokens, ms"] = round(1000 * median(seconds), 1)
    return found


def _engine(folder: str) -> dict[str, float]:
    sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
    from support.ours import Ours

    forget_peak()
    before = peak_bytes()
    ours = Ours(Path(folder))
    latencies = _latencies(lambda ids: ours.vectors([ids], [_TASK]))
    return latencies | {"peak MB": round((peak_bytes() - before) / 1e6)}


def _file(folder: str) -> dict[str, float]:
    import onnxruntime

    forget_peak()
    before = peak_bytes()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(f"{folder}/model.onnx", options)

    def embed(ids: list[int]) -> object:
        row = np.array([ids])
        return session.run(None, {"input_ids": row, "attention_mask": np.ones_like(row)})

    return _latencies(embed) | {"peak MB": round((peak_bytes() - before) / 1e6)}


def _export(model: str, folder: str, precision: str) -> dict[str, float]:
    import torch

    from jina_local.loading import load_model
    from jina_local.onnx_export import export_onnx
    from jina_local.source import resolve_source

    forget_peak()
    before = peak_bytes()
    loaded = load_model(resolve_source(model), device=torch.device("cpu"), dtype=torch.float32)
    start = time.perf_counter()
    parity = export_onnx(loaded, folder, task=_TASK, precision=precision)  # type: ignore[arg-type]
    return {
        "export s": round(time.perf_counter() - start, 1),
        "export peak MB": round((peak_bytes() - before) / 1e6),
        "largest difference": parity.largest_difference,
        "smallest cosine": parity.smallest_cosine,
    }


if __name__ == "__main__":
    print(
        json.dumps(
            {"engine": _engine, "file": _file, "export": _export}[sys.argv[1]](*sys.argv[2:])
        )
    )
