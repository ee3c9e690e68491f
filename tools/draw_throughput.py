"""A measurement of throughput as a Markdown table on standard output, and as a picture.

python tools/draw_throughput.py benchmarks/results/in_turns.json throughput.png
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jina_local.pictures import LATE_COLOR, check_plot, drawn

if TYPE_CHECKING:
    from collections.abc import Iterator

_MIXED = "mixed passages"
_GRAY = "#8a8a8a"


def main() -> None:
    """Read one file and write the other."""
    record = json.loads(Path(sys.argv[1]).read_text())
    for line in _table(record["results"]):
        print(line)
    picture = Path(sys.argv[2])
    check_plot(picture)
    _draw(picture, record)


def _table(results: dict[str, Any]) -> Iterator[str]:
    workloads = list(results["tokens"])
    yield f"| tokens/s (share of the machine's limit) | {' | '.join(workloads)} | one query, ms |"
    yield "|---|" + "---:|" * (len(workloads) + 1)
    for row in results["contenders"]:
        name = f"{row['name']}, {row['dtype']}"
        if "skipped" in row:
            yield f"| {name} | {row['skipped']} |" + " |" * len(workloads)
            continue
        cells = [_cell(row.get(workload)) for workload in workloads]
        yield f"| {name} | {' | '.join(cells)} | {row['one_query_ms']['p50']:.0f} |"


def _cell(measured: dict[str, float] | None) -> str:
    if measured is None:
        return ""
    return f"{measured['tokens_per_second']:,} ({measured['share_of_limit']:.0%})"


def _draw(path: Path, record: dict[str, Any]) -> None:
    rows = [row for row in record["results"]["contenders"] if "skipped" not in row]
    rows.sort(key=lambda row: row[_MIXED]["tokens_per_second"])
    rates = [row[_MIXED]["tokens_per_second"] for row in rows]
    own = [row["name"] == "jina-local" for row in rows]
    with drawn(path, size=(8.0, 0.42 * len(rows) + 1.1)) as figure:
        axes = figure.subplots()
        bars = axes.barh(
            [f"{row['name']}, {row['dtype']}" for row in rows],
            rates,
            color=[LATE_COLOR if is_own else _GRAY for is_own in own],
            height=0.66,
        )
        axes.bar_label(bars, [f"{rate:,}" for rate in rates], padding=4, fontsize=8)
        axes.set_xlim(0, max(rates) * 1.1)
        axes.set_xlabel("tokens per second on mixed passages", loc="right")
        axes.grid(axis="x")
        machine = record["machine"]
        place = machine["gpu"] or f"{machine['cores']} cores of {machine['processor']}"
        figure.suptitle(
            f"Random weights of the published size on {place}", x=0.012, horizontalalignment="left"
        )


if __name__ == "__main__":
    main()
