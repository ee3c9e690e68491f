"""What late chunking costs: against one plain pass, per window size, and in memory.

Time is compared within one run, in turn, and the median of the ratios is kept. The widths are
those of v3 with 2 of its 24 layers, so that a table takes minutes; what is left out grows in
proportion. Memory is that of a process of its own, with the demo model.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.full_size import full_size_checkpoint
from benchmarks.machine import GIVE_FREED_MEMORY_BACK, peak_bytes

if TYPE_CHECKING:
    from collections.abc import Callable

    from jina_local import ChunkedText, Engine

__all__ = ["measure"]

_SENTENCE = "The quick brown fox jumps over the lazy dog, and the dog does not mind at all. "
_LAYERS = 2
_CHUNK_TOKENS = 256
_PAIRS = 5
_WINDOWS = (1024, 2048, 4096, 8192)
_LONG = 32_000
_MEMORY_TOKENS = (50_000, 200_000)
_MEMORY_CHUNKS = 1000


def measure() -> dict[str, object]:
    """Ratios, a table of window sizes, and megabytes."""
    from jina_local import Engine

    with full_size_checkpoint(n_layers=_LAYERS) as folder, Engine.load(folder) as engine:
        return {
            "device": f"{engine.device}, {engine.dtype}",
            "one window against one plain pass": {
                str(tokens): _against_one_pass(engine, tokens) for tokens in (512, 2048, 8000)
            },
            "windows": _windows(engine),
            "memory": _memory(),
        }


def _against_one_pass(engine: Engine, tokens: int) -> dict[str, float]:
    """Seconds of a document embedded whole and as chunks of 256 tokens, and their ratio."""
    document = _document(engine, tokens, _CHUNK_TOKENS)
    pairs = [
        (
            _seconds(lambda: engine.embed_documents([document.text])),
            _seconds(lambda: engine.embed_chunks([document])),
        )
        for _ in range(1 + _PAIRS)
    ][1:]
    return {
        "whole": round(statistics.median(whole for whole, _ in pairs), 3),
        "late": round(statistics.median(late for _, late in pairs), 3),
        "ratio": round(statistics.median(late / whole for whole, late in pairs), 3),
    }


def _windows(engine: Engine) -> dict[str, object]:
    """Seconds for one long document, per window size, over those of its chunks alone."""
    document = _document(engine, _LONG, _CHUNK_TOKENS)
    texts = [document.text[start:stop] for start, stop in document.spans]
    alone = _seconds(lambda: engine.embed_documents(texts))
    table = {}
    for size in _WINDOWS:
        seconds = _seconds(lambda size=size: engine.embed_chunks([document], window_tokens=size))  # type: ignore[misc]
        margin = min(512, size // 4)
        table[str(size)] = {
            "seconds": round(seconds, 1),
            "times the chunks alone": round(seconds / alone, 2),
            "by the formula": round(
                _formula(size, margin, engine.dimension)
                / _formula(_CHUNK_TOKENS, 0, engine.dimension),
                2,
            ),
        }
    return {"tokens": _LONG, "chunks alone, seconds": round(alone, 1), "late": table}


def _formula(window: int, margin: int, width: int) -> float:
    """Cost per token of the text; see `jina_local.windows`."""
    return (1 + window / (6 * width)) * window / (window - 2 * margin)


def _document(engine: Engine, tokens: int, chunk_tokens: int) -> ChunkedText:
    """A text of about so many tokens, in chunks of equal length."""
    from jina_local import ChunkedText

    per_sentence = int(engine.embed_documents([_SENTENCE * 9]).token_counts[0]) / 9
    text = _SENTENCE * round(tokens / per_sentence)
    edges = np.linspace(0, len(text), 1 + max(1, tokens // chunk_tokens)).astype(int).tolist()
    return ChunkedText(text, list(pairwise(edges)))


def _seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def _memory() -> dict[str, object]:
    """Peak memory of one document in 1000 chunks, less what is the document's own."""
    runs = {str(tokens): _memory_in_a_process(tokens) for tokens in _MEMORY_TOKENS}
    small, large = runs.values()
    return {**runs, "ratio": round(large["peak_mb"] / small["peak_mb"], 3)}


def _memory_in_a_process(tokens: int) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.late_cost", str(tokens)]
    environment = {**os.environ, **GIVE_FREED_MEMORY_BACK}
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    result: dict[str, float] = json.loads(done.stdout)
    return result


def _embed_long(tokens: int) -> dict[str, float]:
    """Beyond the text, 32 bytes per token for ids and offsets, and the vectors."""
    import psutil

    from jina_local import Engine

    with Engine.load("demo", device="cpu") as engine:
        document = _document(engine, tokens, tokens // _MEMORY_CHUNKS)
        engine.embed_chunks([replace(document, text="warm up", spans=[(0, 7)])])
        before = psutil.Process().memory_info().rss
        start = time.perf_counter()
        (chunks,) = engine.embed_chunks([document])
        seconds = time.perf_counter() - start
    peak = peak_bytes() - before
    own = len(document.text) + 32 * chunks.tokens + chunks.vectors.nbytes
    return {
        "tokens": chunks.tokens,
        "windows": chunks.windows,
        "chunks": len(chunks),
        "seconds": round(seconds, 1),
        "peak_mb": round((peak - own) / 1e6, 1),
    }


if __name__ == "__main__":
    print(json.dumps(_embed_long(int(sys.argv[1]))))
