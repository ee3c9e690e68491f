"""docs/sentence-transformers.md is true: its code runs, and prints what is printed below it."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

pytest.importorskip("sentence_transformers", reason="sentence-transformers is not installed")

import numpy as np

from support.fences import fences, run_fences
from support.milvus import milvus_lite

if TYPE_CHECKING:
    from jina_local import Engine

ROOT = Path(__file__).parents[3]
DOCUMENT = ROOT / "docs" / "sentence-transformers.md"


def test_code_prints_what_is_printed_below_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert len([fence for fence in fences(DOCUMENT) if fence.info == "python"]) >= 3
    run_fences(DOCUMENT)


def run_example(*arguments: str | Path) -> str:
    """What the example prints, in a process without a network for the hub."""
    done = subprocess.run(
        [sys.executable, ROOT / "examples" / "sentence_transformers_milvus.py", *arguments],
        env=os.environ | {"HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout


@milvus_lite
def test_the_example_with_milvus_lite_prints_what_the_document_says() -> None:
    (block,) = (fence for fence in fences(DOCUMENT) if fence.info == "console")
    command, _, output = block.content.partition("\n")
    assert shlex.split(command) == ["$", "python", "examples/sentence_transformers_milvus.py"]
    assert run_example() == output


@milvus_lite
def test_the_example_finds_what_the_engine_finds(tmp_path: Path, demo: Engine) -> None:
    """Again in a file that is there already."""
    question = "Where do they want to eat?"
    lines = [
        line
        for path in sorted((ROOT / "examples").glob("*.txt"))
        for line in path.read_text(encoding="utf-8").splitlines()
    ]
    (query,) = demo.embed_queries([question]).vectors
    scores = demo.embed_documents(lines).vectors @ query
    best = np.argsort(-scores)[:3]
    expected = [f"{scores[row]:.2f}  {lines[row]}" for row in best]
    for _ in range(2):
        printed = run_example("--file", tmp_path / "milvus.db", question).splitlines()
        assert printed == [f"{len(lines)} lines of 2 files", question, *expected]
