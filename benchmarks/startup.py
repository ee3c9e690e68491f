"""What importing costs, and how long the command line takes to say what it can do."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from pathlib import Path

__all__ = ["measure"]

_RUNS = 5
_COMMAND_LINE = str(Path(sys.executable).parent / "jina-local")


def measure() -> dict[str, float]:
    """Median seconds of whole processes, in turn: a bare interpreter, the import, `--help`."""
    commands = {
        "python": [sys.executable, "-c", "pass"],
        "import jina_local": [sys.executable, "-c", "import jina_local"],
        "import Engine (with torch)": [sys.executable, "-c", "from jina_local import Engine"],
        "jina-local --help": [_COMMAND_LINE, "--help"],
    }
    seconds: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(1 + _RUNS):
        for name, command in commands.items():
            start = time.perf_counter()
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
            seconds[name].append(time.perf_counter() - start)
    return {name: round(statistics.median(runs[1:]), 3) for name, runs in seconds.items()}
