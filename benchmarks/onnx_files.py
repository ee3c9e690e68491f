"""Latency and memory of exported files against the engine, one thread each.

A random model of v3's width with 2 of its 24 layers, so that it takes minutes. One text at a time,
and one batch of 32 mixed ones, which the engine packs and onnxruntime gets padded to the longest.
Each way runs in a process of its own, every way as often as the others, in turns; memory is what
the operating system counts at most, less what the process had before it loaded the model.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.full_size import full_size_checkpoint
from benchmarks.machine import GIVE_FREED_MEMORY_BACK, forget_peak, peak_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["Plan", "measure"]

_TASK = "separation"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is measured.

    Attributes:
        model: A checkpoint; a random one of v3's width if it is empty.
        n_layers: Of the random model.
        vocab: Ids are below.
        tokens: Of single texts.
        batch: Number of texts of the mixed batch, and tokens of its shortest and longest.
        repeats: How often each is timed in one process, after once for nothing.
        turns: Processes of each way.
        precisions: Of files.
    """

    model: str = ""
    n_layers: int = 2
    vocab: int = 8000
    tokens: Sequence[int] = (16, 128, 1000)
    batch: Sequence[int] = (32, 8, 256)
    repeats: int = 5
    turns: int = 2
    precisions: Sequence[str] = ("float32", "int8")

    def workloads(self) -> dict[str, list[list[int]]]:
        """Batches of token ids by what tables call them."""
        generator = np.random.default_rng(0)
        texts, shortest, longest = self.batch
        mixed = np.geomspace(shortest, longest, texts).round().astype(int)
        generator.shuffle(mixed)
        lengths = {f"{n} tokens, ms": [n] for n in self.tokens}
        lengths[f"{texts} texts of {shortest} to {longest} tokens, ms"] = mixed.tolist()
        return {
            name: [[0, *generator.integers(4, self.vocab, n - 2).tolist(), 2] for n in batch]
            for name, batch in lengths.items()
        }


def measure(plan: Plan | None = None) -> dict[str, dict[str, float]]:
    """Milliseconds by workload, and megabytes, of every way."""
    plan = plan or Plan()
    random_model = full_size_checkpoint(plan.n_layers)
    with nullcontext(Path(plan.model)) if plan.model else random_model as model:
        return _measured(plan, model)


def _measured(plan: Plan, model: Path) -> dict[str, dict[str, float]]:
    files: dict[str, dict[str, float]] = {}
    turns: dict[str, list[dict[str, list[float]]]] = {}
    with TemporaryDirectory() as home:
        ways = {"engine float32": ("engine", model)}
        for precision in plan.precisions:
            folder = Path(home) / precision
            name = f"onnx {precision}"
            ways[name] = ("file", folder)
            files[name] = _in_a_process("export", plan, model, folder, precision)
            size = sum(path.stat().st_size for path in folder.glob("model.onnx*"))
            files[name]["file MB"] = round(size / 1e6)
        for _ in range(plan.turns):
            for name, (way, folder) in ways.items():
                turns.setdefault(name, []).append(_in_a_process(way, plan, folder))
    results = {}
    for name, found in turns.items():
        middle = {key: median(chain(*(one[key] for one in found))) for key in found[0]}
        results[name] = {
            key: round(value, 1 if value < 100 else None) for key, value in middle.items()
        }
        results[name] |= files.get(name, {})
    return results


def _in_a_process(way: str, plan: Plan, *arguments: str | Path) -> Any:  # noqa: ANN401 - JSON
    one_thread = {"OMP_NUM_THREADS": "1", **GIVE_FREED_MEMORY_BACK}
    given = (way, json.dumps(asdict(plan)), *map(str, arguments))
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.onnx_files", *given],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | one_thread,
        cwd=Path(__file__).parent.parent,
    )
    return json.loads(done.stdout)


def _timed(
    plan: Plan, load: Callable[[], Callable[[list[list[int]]], object]]
) -> dict[str, list[float]]:
    """Every time of every workload, and the memory that all of it took."""
    forget_peak()
    before = peak_bytes()
    embed = load()
    found: dict[str, list[float]] = {}
    for name, batch in plan.workloads().items():
        embed(batch)
        for _ in range(plan.repeats):
            start = time.perf_counter()
            embed(batch)
            found.setdefault(name, []).append(1000 * (time.perf_counter() - start))
    return found | {"peak MB": [(peak_bytes() - before) / 1e6]}


def _engine(plan: Plan, folder: str) -> dict[str, list[float]]:
    sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
    from support.ours import Ours

    def load() -> Callable[[list[list[int]]], object]:
        ours = Ours(Path(folder))
        return lambda batch: ours.vectors(batch, [_TASK] * len(batch))

    return _timed(plan, load)


def _file(plan: Plan, folder: str) -> dict[str, list[float]]:
    import onnxruntime

    def load() -> Callable[[list[list[int]]], object]:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        session = onnxruntime.InferenceSession(f"{folder}/model.onnx", options)
        return lambda batch: session.run(None, _padded(batch))

    return _timed(plan, load)


def _padded(batch: list[list[int]]) -> dict[str, np.ndarray]:
    longest = max(map(len, batch))
    ids = np.ones((len(batch), longest), dtype=np.int64)
    mask = np.zeros_like(ids)
    for row, content in enumerate(batch):
        ids[row, : len(content)] = content
        mask[row, : len(content)] = 1
    return {"input_ids": ids, "attention_mask": mask}


def _export(plan: Plan, model: str, folder: str, precision: str) -> dict[str, float]:
    import torch

    from jina_local.loading import load_model
    from jina_local.onnx_export import export_onnx
    from jina_local.source import resolve_source

    del plan
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
    _way, _plan, *_arguments = sys.argv[1:]
    _ways: dict[str, Callable[..., object]]
    _ways = {"engine": _engine, "file": _file, "export": _export}
    print(json.dumps(_ways[_way](Plan(**json.loads(_plan)), *_arguments)))
