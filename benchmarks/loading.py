"""Memory of loading a checkpoint of the published size, against the weights that stay.

The promise is a peak of at most 1.2 times the resident weights. Each dtype is loaded in a process
of its own; memory is what the operating system counts for it, less what it was before. The
tokenizer's vocabulary is counted by itself: it is the same whatever the weights.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.full_size import full_size_checkpoint
from benchmarks.machine import peak_bytes

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["measure"]

_DTYPES = ("float32", "bfloat16")
_BLOCK = 512  # columns: FBGEMM keeps whole blocks of a weight


def measure() -> dict[str, dict[str, float]]:
    """Gigabytes and seconds of one load per dtype."""
    with full_size_checkpoint() as folder:
        return {dtype: _load_in_a_process(folder, dtype) for dtype in _DTYPES}


def _load_in_a_process(folder: Path, dtype: str) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.loading", str(folder), dtype]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    result: dict[str, float] = json.loads(done.stdout)
    return result


def _load(folder: Path, dtype: str) -> dict[str, float]:
    import torch

    from jina_local import Engine
    from jina_local.checkpoint import open_checkpoint
    from jina_local.encoder import load_encoder
    from jina_local.tokens import read_tokenizer

    Engine.load("demo", device="cpu", dtype=dtype).embed(["warm up the libraries"])
    bare = _resident_bytes()
    tokenizer = read_tokenizer(folder)
    before = _resident_bytes()
    start = time.perf_counter()
    encoder = load_encoder(open_checkpoint(folder), torch.device("cpu"), getattr(torch, dtype))
    seconds = time.perf_counter() - start
    peak = peak_bytes()
    weights = sum(_tensor_bytes(encoder))
    del tokenizer
    return {
        "file_gb": round((folder / "model.safetensors").stat().st_size / 1e9, 3),
        "tokenizer_gb": round((before - bare) / 1e9, 3),
        "weights_gb": round(weights / 1e9, 3),
        "peak_gb": round((peak - before) / 1e9, 3),
        "peak_over_weights": round((peak - before) / weights, 3),
        "seconds": round(seconds, 2),
    }


def _tensor_bytes(part: object) -> Iterator[int]:
    """Bytes of every tensor in the encoder's tree of dataclasses and tuples."""
    import torch

    from jina_local.products import NarrowedProduct

    if isinstance(part, NarrowedProduct):
        n_out, n_in = part.weight.shape
        n_kept = -(-n_in // _BLOCK) * _BLOCK
        yield torch.float16.itemsize * n_out * n_kept + part.rest.nbytes
    elif isinstance(part, torch.Tensor):
        yield part.nbytes  # prepacked weights have no storage to ask
    elif isinstance(part, tuple):
        for item in part:
            yield from _tensor_bytes(item)
    elif is_dataclass(part):
        for field in fields(part):
            yield from _tensor_bytes(getattr(part, field.name))


def _resident_bytes() -> int:
    import psutil

    return int(psutil.Process().memory_info().rss)


if __name__ == "__main__":
    print(json.dumps(_load(Path(sys.argv[1]), sys.argv[2])))
