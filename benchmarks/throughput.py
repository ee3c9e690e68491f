"""Tokens per second of jina-local and of its peers on the same random weights of published size.

Every contender runs in a process of its own, loads the same folder, has to agree with the vectors
of transformers in float32 before it is timed, and is timed between two measurements of the
machine's own limit, so that a busy minute does not decide. Tokens are those of the texts with
`<s>`, `</s>` and the instruction, whatever padding a contender adds.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.contenders import INSTRUCTION, TASK, Contender, contenders_for
from benchmarks.machine import forget_peak, multiplies_bfloat16, peak_bytes
from benchmarks.matmul_limit import matmul_flops, synchronize
from benchmarks.throughput_texts import Workload, make_workloads

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from benchmarks.contenders import Embed

__all__ = ["LEAST_COSINE", "Clock", "Plan", "measure", "native_checkpoint", "plan_for"]

LEAST_COSINE = {"float32": 0.99999, "bfloat16": 0.99, "float16": 0.99}
_ROOT = Path(__file__).parent.parent
_SECONDS_AT_MOST = 400  # of one contender; what takes longer is named as such
_SHORT_SPIN = {"GOMP_SPINCOUNT": "2000"}  # or a second job on the machine slows all of them tenfold
_QUERY = "how are embeddings of long documents computed in their context"


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is measured.

    Attributes:
        device: Where.
        n_layers: 24 as published; fewer for a dry run.
        width: D; 1024 as published.
        texts: Mixed passages.
        longest: Tokens of the longest text.
        repeats: Timed passes over each workload.
        queries: Timed single queries.
        peers_read_long: Whether the others run the longest texts as well.
        only: Names with dtypes of the contenders that take part; all if there are none.
    """

    device: str
    n_layers: int = 24
    width: int = 1024
    texts: int = 24
    longest: int = 8192
    repeats: int = 3
    queries: int = 20
    peers_read_long: bool = False
    only: tuple[str, ...] = ()


def plan_for(device: str) -> Plan:
    """What is measured on a device in minutes."""
    if device == "cpu":
        return Plan(device, repeats=2)
    return Plan(device, texts=1536, repeats=5, queries=200, peers_read_long=True)


def measure(plan: Plan | None = None) -> dict[str, object]:
    """Rates, shares of the limit, fidelity and memory of every contender."""
    plan = plan or plan_for("cpu")
    with native_checkpoint(plan) as folder:
        workloads = _write_workloads(folder, plan)
        return {
            "plan": asdict(plan),
            "tokens": {one.name: one.tokens for one in workloads},
            "contenders": [
                _in_a_process(folder, plan, i) for i in range(len(contenders_for(plan.device)))
            ],
            "own": _in_a_process(folder, plan, None),
        }


@contextmanager
def native_checkpoint(plan: Plan) -> Iterator[Path]:
    """A native checkpoint with its adapters, gone at the end."""
    sys.path.insert(0, str(_ROOT / "tests"))
    import torch

    from support.checkpoints import FULL_SIZE, SPELLINGS, random_weights, write_native
    from support.tiny_tokenizers import write_tokenizer

    is_full = plan.width == FULL_SIZE.hidden_size
    config = replace(
        FULL_SIZE,
        n_layers=plan.n_layers,
        hidden_size=plan.width,
        n_heads=plan.width // 64,
        intermediate_size=4 * plan.width,
        vocab_size=FULL_SIZE.vocab_size if is_full else 2000,
    )
    with TemporaryDirectory(prefix="jina-local-") as name:
        folder = Path(name)
        weights = random_weights(config, dtype=torch.bfloat16)
        write_native(folder, config, weights, SPELLINGS["hub"], prompts=config.task_instructions)
        del weights
        write_tokenizer(folder, model_max_length=config.max_positions, vocab_size=config.vocab_size)
        yield folder


def _write_workloads(folder: Path, plan: Plan) -> list[Workload]:
    """What is embedded, and the vectors that transformers gives for a part of it."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    workloads = make_workloads(
        lambda text: len(tokenizer.encode(INSTRUCTION + text).ids),
        texts=plan.texts,
        longest=plan.longest,
    )
    (folder / "workloads.json").write_text(json.dumps([asdict(one) for one in workloads]))
    return workloads


def _read_workloads(folder: Path) -> list[Workload]:
    found = json.loads((folder / "workloads.json").read_text())
    return [Workload(one["name"], tuple(one["texts"]), one["tokens"]) for one in found]


def _in_a_process(folder: Path, plan: Plan, index: int | None) -> dict[str, Any]:
    """What one contender, or what only jina-local can do, gives; or why it gives nothing."""
    what = "own" if index is None else str(index)
    command = [sys.executable, "-m", "benchmarks.throughput", str(folder), json.dumps(asdict(plan))]
    contender = None if index is None else contenders_for(plan.device)[index]
    named = {} if contender is None else {"name": contender.name, "dtype": contender.dtype}
    if contender is not None and plan.only and contender.full_name not in plan.only:
        return {**named, "skipped": "not asked for"}
    if contender is not None and (missing := contender.missing()):
        return {**named, "skipped": f"not installed: {', '.join(missing)}"}
    try:
        done = subprocess.run(
            [*command, what],
            capture_output=True,
            text=True,
            check=True,
            timeout=_SECONDS_AT_MOST,
            env={**os.environ, **_SHORT_SPIN},
            cwd=_ROOT,
        )
    except subprocess.TimeoutExpired:
        return {**named, "skipped": f"took more than {_SECONDS_AT_MOST} s"}
    except subprocess.CalledProcessError as error:
        last = (error.stderr.strip().splitlines() or [f"exit code {error.returncode}"])[-1]
        return {**named, "skipped": last[:300]}
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return {**named, **result}


def _measure_contender(folder: Path, plan: Plan, contender: Contender) -> dict[str, Any]:
    if contender.dtype == "bfloat16" and not multiplies_bfloat16(plan.device):
        return {"skipped": "this processor has no bfloat16 instructions"}
    embed = contender.load(folder, plan.device)
    workloads = _read_workloads(folder)
    resident = peak_bytes()
    long = workloads[-1]
    cosine = _worst_cosine(folder, embed(workloads[1].texts[:8]))
    result: dict[str, Any] = {"worst_cosine": cosine, "loaded_gb": round(resident / 1e9, 2)}
    if cosine < LEAST_COSINE[contender.dtype]:
        return {**result, "skipped": "its vectors are others"}
    reads_long = plan.peers_read_long or contender.name == "jina-local"
    timed = workloads if reads_long else workloads[:-1]
    clock = Clock(plan, contender.dtype)
    for workload in timed:
        forget_peak()
        repeats = 1 if workload is long and plan.device == "cpu" else plan.repeats
        seconds, share = clock.time(lambda: embed(workload.texts), workload.tokens, repeats)  # noqa: B023
        result[workload.name] = {
            "tokens_per_second": round(workload.tokens / seconds),
            "share_of_limit": round(share, 3),
            "peak_gb": round(peak_bytes() / 1e9, 2),
        }
    result["one_query_ms"] = _latency(embed, plan)
    return result


def _measure_own(folder: Path, plan: Plan) -> dict[str, Any]:
    """Mixed tasks against one, late chunking against plain, and what tokenization costs."""
    from jina_local import ChunkedText, Engine

    dtype = "float32" if plan.device == "cpu" else "bfloat16"
    engine = Engine.load(folder, device=plan.device, dtype=dtype)
    texts = list(_read_workloads(folder)[1].texts)
    modes = [TASK, "separation", "classification", "text-matching", "retrieval.query"]
    # instructions of other tasks are longer or none: all get none here
    tasks = [modes[i % len(modes)] for i in range(len(texts))]
    document = " ".join(texts)[: 3 * min(plan.longest, 2000)]
    texts, tasks = texts[: max(12, plan.texts // 2)], tasks[: max(12, plan.texts // 2)]
    spans = [(i, min(i + 600, len(document))) for i in range(0, len(document), 600)]
    n_documents = max(1, plan.texts // 24)
    pairs: dict[str, tuple[Callable[[], object], Callable[[], object]]] = {
        "mixed_tasks_over_one_task": (
            lambda: engine.embed(texts, task=tasks, instruction=False),
            lambda: engine.embed(texts, task=TASK, instruction=False),
        ),
        "late_chunks_over_whole_document": (
            lambda: engine.embed_chunks([ChunkedText(document, spans)] * n_documents),
            lambda: engine.embed([document] * n_documents, task=TASK),
        ),
    }
    ratios = {name: _ratio(first, second, plan) for name, (first, second) in pairs.items()}
    start = time.perf_counter()
    for text in texts:
        engine.tokenize(text)
    tokenizing = time.perf_counter() - start
    start = time.perf_counter()
    engine.embed(texts, task=TASK)
    return {
        **ratios,
        "tokenizing_share_of_embedding": round(tokenizing / (time.perf_counter() - start), 4),
    }


def _ratio(first: Callable[[], object], second: Callable[[], object], plan: Plan) -> float:
    """Seconds of one over seconds of the other, in turns."""
    first()
    second()
    ratios = []
    for _ in range(max(3, plan.repeats)):
        seconds = []
        for work in (first, second):
            synchronize(plan.device)
            start = time.perf_counter()
            work()
            seconds.append(time.perf_counter() - start)
        ratios.append(seconds[0] / seconds[1])
    return round(statistics.median(ratios), 3)


class Clock:
    """Times passes between measurements of the machine's limit."""

    def __init__(self, plan: Plan, dtype: str) -> None:
        self._plan = plan
        self._dtype = dtype

    def time(self, work: Callable[[], object], tokens: int, repeats: int) -> tuple[float, float]:
        """Median seconds, and median share of the limit."""
        flops = 2 * 12 * self._plan.width**2 * self._plan.n_layers * tokens
        seconds, shares = [], []
        before = self._limit()
        for _ in range(repeats):
            synchronize(self._plan.device)
            start = time.perf_counter()
            work()
            seconds.append(time.perf_counter() - start)
            after = self._limit()
            shares.append(flops / seconds[-1] / ((before + after) / 2))
            before = after
        return statistics.median(seconds), statistics.median(shares)

    def _limit(self) -> float:
        return matmul_flops(self._plan.device, self._dtype, self._plan.width)


def _latency(embed: Embed, plan: Plan) -> dict[str, float]:
    milliseconds = []
    for _ in range(plan.queries):
        start = time.perf_counter()
        embed([_QUERY])
        milliseconds.append(1000 * (time.perf_counter() - start))
    p50, p99 = np.percentile(milliseconds, [50, 99])
    return {"p50": round(float(p50), 1), "p99": round(float(p99), 1)}


def _worst_cosine(folder: Path, vectors: np.ndarray) -> float:
    """Against the first contender that ran: transformers in float32."""
    path = folder / "reference.npy"
    if not path.exists():
        np.save(path, vectors)
    return round(float((np.load(path) * vectors).sum(axis=1).min()), 7)


def main() -> None:
    """One contender, in a process of its own."""
    folder, plan, what = Path(sys.argv[1]), Plan(**json.loads(sys.argv[2])), sys.argv[3]
    if what == "own":
        result = _measure_own(folder, plan)
    else:
        result = _measure_contender(folder, plan, contenders_for(plan.device)[int(what)])
    print(json.dumps(result))


if __name__ == "__main__":
    main()
