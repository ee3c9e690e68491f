"""The benchmarks run: what measures a GPU is tried on the processor, with a model of one layer."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from support.checkpoints import Checkpoint

ROOT = Path(__file__).parent.parent


def test_throughput_is_measured_of_vectors_that_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    throughput = importlib.import_module("benchmarks.throughput")
    names = ("transformers + PEFT, sorted by length, float32", "jina-local, float32")
    plan = throughput.Plan(
        "cpu", n_layers=1, width=64, texts=2, longest=48, repeats=1, queries=2, only=names
    )
    results = throughput.measure(plan)
    rows = {f"{row['name']}, {row['dtype']}": row for row in results["contenders"]}
    for name, row in rows.items():
        if name not in names:
            assert row["skipped"]
            continue
        assert row["worst_cosine"] > 0.99999
        for workload, tokens in results["tokens"].items():
            if workload in row:
                assert tokens > 0
                assert row[workload]["tokens_per_second"] > 0
    assert len(rows["jina-local, float32"]) > len(rows[names[0]])  # the long document
    assert set(results["own"]) == {
        "late_chunks_over_whole_document",
        "mixed_tasks_over_one_task",
        "tokenizing_share_of_embedding",
    }


def test_transformers_is_measured_in_turns_with_the_engine(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.syspath_prepend(str(ROOT))
    in_turns = importlib.import_module("benchmarks.in_turns")
    ours, theirs = "jina-local, float32", "transformers + PEFT, sorted by length, float32"
    plan = importlib.import_module("benchmarks.throughput").Plan(
        "cpu", n_layers=1, width=64, texts=2, longest=48, only=(ours, theirs)
    )
    found = in_turns.measure(plan)
    names = {f"{one['name']}, {one['dtype']}" for one in found["contenders"]}
    assert {ours, theirs} == names
    assert set(found["times_as_fast"]) == names - {ours}
    timed = {"queries of 20 tokens", "mixed passages", "passages of 512 tokens", "one query, ms"}
    for ratios in found["times_as_fast"].values():
        assert set(ratios) == timed
        assert all(0 < one["least"] <= one["median"] <= one["most"] for one in ratios.values())
    for one in found["contenders"]:
        assert one["worst_cosine"] > 0.99999
        assert one["one_query_ms"]["p50"] > 0
        assert one["mixed passages"]["tokens_per_second"] > 0


def test_what_a_text_costs_beside_the_encoder_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT))
    host_cost = importlib.import_module("benchmarks.host_cost")
    found = host_cost.measure(texts=12, tokens=2000)
    assert set(found) == {"queries of 20 tokens", "mixed passages", "passages of 512 tokens"}
    for cost in found.values():
        assert cost["tokenizing, µs per text"] > 0
        assert 0 < cost["share of the device's rate"] < 1


def test_a_gpu_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine has CUDA")
    monkeypatch.syspath_prepend(str(ROOT))
    with pytest.raises(SystemExit, match="no CUDA device"):
        importlib.import_module("benchmarks.gpu").measure()


def test_fidelity_is_measured_of_every_dtype_and_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT))
    fidelity = importlib.import_module("benchmarks.fidelity")
    small = fidelity.Workload(
        width=64, texts=6, longest=60, n_layers=1, dtypes=("float32", "bfloat16", "float16")
    )
    found = fidelity.measure({"small": small})["small"]
    assert found["tokens"]["shortest"] >= 1
    for dtype, least in (("float32", 1 - 1e-6), ("bfloat16", 0.999), ("float16", 0.9999)):
        assert set(found[dtype]) == {"augmented", "side path", "merged"}
        for cosines in found[dtype].values():
            assert least <= cosines["worst"] <= cosines["mean"] <= 1 + 1e-6


def test_onnx_files_are_measured_beside_the_engine(
    tiny: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    for package in ("onnx", "onnxruntime", "onnxscript"):
        pytest.importorskip(package, reason="needs jina-local[onnx]")
    monkeypatch.syspath_prepend(str(ROOT))
    onnx_files = importlib.import_module("benchmarks.onnx_files")
    plan = onnx_files.Plan(
        model=str(tiny.folder),
        vocab=20,
        tokens=(4,),
        batch=(3, 3, 9),
        repeats=1,
        turns=1,
        precisions=("float32",),
    )
    results = onnx_files.measure(plan)
    timed = {"4 tokens, ms", "3 texts of 3 to 9 tokens, ms", "peak MB"}
    assert set(results) == {"engine float32", "onnx float32"}
    assert set(results["engine float32"]) == timed
    assert set(results["onnx float32"]) >= timed | {"file MB", "export s"}
    assert results["onnx float32"]["largest difference"] <= 1e-5


def test_the_table_about_onnx_is_what_was_measured() -> None:
    """Each cell, the machine, versions and commit are those of the JSON, if there is one yet."""
    document = (ROOT / "docs" / "onnx.md").read_text(encoding="utf-8")
    path = ROOT / "benchmarks" / "results" / "onnx_files.json"
    if not path.exists():
        assert "has not been measured yet (`python -m benchmarks onnx_files`)" in document
        return
    record = json.loads(path.read_text())
    lines = [line for line in document.splitlines() if line.startswith("|")]
    head = next(row for line in lines if "file MB" in (row := cells(line)))
    rows = {row[0]: row[1:] for row in map(cells, lines) if row[0] in record["results"]}
    assert set(rows) == set(record["results"])
    for name, row in rows.items():
        measured = record["results"][name]
        expected = [f"{measured[key]:,g}" if key in measured else "" for key in head[1:]]
        assert row == expected, name
    machine = record["machine"]
    prose = " ".join(document.split())
    for fact in (
        f"{machine['cores']} cores of an {machine['processor']}",
        f"commit {machine['commit']}",
        f"torch {machine['packages']['torch'].partition('+')[0]}",
        f"onnxruntime {machine['packages']['onnxruntime']}",
        f"`{record['command']}`",
    ):
        assert fact in prose, fact


def cells(line: str) -> list[str]:
    """The cells of a row of a table."""
    return [cell.strip() for cell in line.strip("|").split("|")]


def kept(name: str) -> Any:
    """A benchmark's record in `benchmarks/results/`."""
    return json.loads((ROOT / "benchmarks" / "results" / f"{name}.json").read_text())


def test_the_readmes_table_of_speed_is_what_was_measured() -> None:
    """Rates of all contenders in turns; memory of each in a process of its own."""
    record, alone = kept("in_turns"), kept("throughput")
    measured = {row["name"]: row for row in record["results"]["contenders"]}
    memory = {row["name"]: row["mixed passages"] for row in _run(alone)}
    named = {
        "onnxruntime, adapter merged, sorted by length": "onnxruntime, sorted by length",
        "transformers + PEFT, in order": "transformers + PEFT",
    }
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    prose = " ".join(readme.split())
    for one in (record, alone):
        assert f"{one['command']}`, commit {one['machine']['commit']}" in prose
    _, table = readme.split("| tokens per second (share) |")
    lines = table.partition("\n\n")[0].splitlines()[2:]
    rows = {row[0]: row[1:] for row in map(cells, lines)}
    assert {named.get(name, name) for name in rows} == set(measured)
    for name, row in rows.items():
        one = measured[named.get(name, name)]
        rates = [
            f"{one[workload]['tokens_per_second']} ({100 * one[workload]['share_of_limit']:.0f} %)"
            if workload in one
            else ""
            for workload in record["results"]["tokens"]
        ]
        latency = f"{one['one_query_ms']['p50']:.0f} ms"
        peak = f"{memory[named.get(name, name)]['peak_gb']:.1f} GB"
        assert row == [*rates, latency, peak], name
    for peer, ratios in record["results"]["times_as_fast"].items():
        mixed = ratios["mixed passages"]
        expected = f"{mixed['median']} times ({mixed['least']} to {mixed['most']})"
        assert expected in prose, peer


def _run(record: Any) -> list[Any]:
    return [row for row in record["results"]["contenders"] if "skipped" not in row]


def test_the_page_about_speed_has_the_numbers_that_were_measured() -> None:
    def results(name: str) -> Any:
        return kept(name)["results"]

    page = " ".join((ROOT / "docs" / "speed.md").read_text(encoding="utf-8").split())
    modes, growth = results("adapter_modes")["float32"], results("memory_growth")
    latency, shares = results("query_latency"), results("time_shares")["shares"]
    expected = [
        *(
            f"| {way} | {modes[f'{way}, one task']:.2f} | {modes[f'{way}, five tasks']:.2f} |"
            for way in ("augmented", "side path", "merged")
        ),
        f"20,000 texts take {growth['times']:.2f} times what 200 take",
        f"{latency['narrowed, ms']['p50']:.0f} ms instead of {latency['plain, ms']['p50']:.0f}",
        f"{latency['narrowed over plain']['median']:.2f} times as long",
        f"linears {100 * shares['products']:.1f} %, attention {100 * shares['attention']:.1f} %",
    ]
    speed = {name: one["over_float32"][0] for name, one in results("dtype_speed").items()}
    expected += [
        f"bfloat16 at {speed['bfloat16']:.2f} and float16 at {speed['float16']:.2f} times",
        f"mixed passages {speed['float32, plain']:.2f} times as long",
    ]
    for one in results("host_cost").values():
        *micros, rate, share = list(one.values())[1:]
        costs = " | ".join(f"{cost:.0f}" for cost in micros)
        expected.append(f"| {costs} | {rate:,} | {100 * share:.0f} % |")
    expected.append(f"a question of {latency['tokens']} tokens")
    for measured in results("fidelity").values():
        for dtype in {"bfloat16", "float16"} & set(measured):
            ways = [measured[dtype][way] for way in ("augmented", "side path", "merged")]
            expected.append(" | ".join(f"{one['worst']:.6f}" for one in ways))
            assert measured[dtype]["augmented"]["worst"] >= 0.9995
    missing = [one for one in expected if one not in page]
    assert not missing
