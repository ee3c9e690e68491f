"""What a list of texts a hundred times as long takes more of, beside itself and its results.

In a process of its own, at v3's width with one of its 24 layers (a pass through one takes as much
memory as through all), passes of 2,000 tokens. Counted is the peak above what was
there before the call, less ids and results, which there are as many of as there are texts.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from benchmarks.full_size import full_size_checkpoint
from benchmarks.machine import GIVE_FREED_MEMORY_BACK, forget_peak, peak_bytes

__all__ = ["measure"]

_FEW, _MANY = 200, 20_000
_BYTES_PER_ID = 4


def measure() -> dict[str, float]:
    """Megabytes of both, and how many times as much the long list takes."""
    import os

    command = [sys.executable, "-m", "benchmarks.memory_growth"]
    done = subprocess.run(
        command,
        check=True,
        capture_output=True,
        text=True,
        cwd=Path(__file__).parent.parent,
        env={**os.environ, **GIVE_FREED_MEMORY_BACK},
    )
    result: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return result


def _measure() -> dict[str, float]:
    from jina_local import Engine

    taken: dict[int, float] = {}
    with full_size_checkpoint(n_layers=1) as folder:
        engine = Engine.load(folder, device="cpu", dtype="float32")
    for n in (_FEW, _MANY):
        texts = [f"Passage {i}: trams climb the {i % 97} hills of the old town." for i in range(n)]
        engine.embed_documents(texts[:_FEW])
        before = _resident_bytes()
        forget_peak()
        found = engine.embed_documents(texts)
        reported = (found.vectors, found.token_counts, found.truncated, found.windows)
        own = sum(one.nbytes for one in reported) + _BYTES_PER_ID * int(found.token_counts.sum())
        taken[n] = (peak_bytes() - before - own) / 1e6
        del found
    return {
        f"mb_of_{_FEW}_texts": round(taken[_FEW], 1),
        f"mb_of_{_MANY}_texts": round(taken[_MANY], 1),
        "times": round(taken[_MANY] / taken[_FEW], 2),
        "bytes_per_further_text": round(1e6 * (taken[_MANY] - taken[_FEW]) / (_MANY - _FEW)),
    }


def _resident_bytes() -> int:
    fields = Path("/proc/self/statm").read_text().split()
    return 4096 * int(fields[1])


if __name__ == "__main__":
    print(json.dumps(_measure()))
