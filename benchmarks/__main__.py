"""Run the benchmarks and keep their results: `python -m benchmarks [NAME …]`."""

from __future__ import annotations

import json
import sys
import time
from importlib import import_module
from pathlib import Path

from benchmarks.machine import describe_machine

_RESULTS = Path(__file__).parent / "results"
_BENCHMARKS = (
    "startup",
    "retrieval",
    "loading",
    "fidelity",
    "late_quality",
    "late_cost",
    "ingestion",
    "concurrent_queries",
    "throughput",
    "in_turns",
    "query_latency",
    "time_shares",
    "host_cost",
    "dtype_speed",
    "adapter_modes",
    "memory_growth",
)
_ON_REQUEST = ("gpu", "haystack_controls", "onnx_files")  # need what not every machine has


def main() -> None:
    """Run the named benchmarks, or all, and write one file for each."""
    names = sys.argv[1:] or list(_BENCHMARKS)
    if unknown := set(names) - {*_BENCHMARKS, *_ON_REQUEST}:
        message = f"unknown {sorted(unknown)}; there are {', '.join(_BENCHMARKS + _ON_REQUEST)}"
        raise SystemExit(message)
    machine = describe_machine()
    _RESULTS.mkdir(exist_ok=True)
    for name in names:
        start = time.perf_counter()
        results = import_module(f"benchmarks.{name}").measure()
        record = {"command": f"python -m benchmarks {name}", "machine": machine, "results": results}
        (_RESULTS / f"{name}.json").write_text(json.dumps(record, indent=2) + "\n")
        print(f"{name} ({time.perf_counter() - start:.0f} s)\n{json.dumps(results, indent=2)}")


if __name__ == "__main__":
    main()
