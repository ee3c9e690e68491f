"""The benchmarks run: what measures a GPU is tried on the processor, with a model of one layer."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

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
    small = fidelity.Workload(width=64, texts=6, longest=60, n_layers=1)
    found = fidelity.measure({"small": small})["small"]
    assert found["tokens"]["shortest"] >= 1
    for dtype, least in (("float32", 1 - 1e-6), ("bfloat16", 0.999), ("float16", 0.9999)):
        assert set(found[dtype]) == {"augmented", "side path", "merged"}
        for cosines in found[dtype].values():
            assert least <= cosines["worst"] <= cosines["mean"] <= 1 + 1e-6
