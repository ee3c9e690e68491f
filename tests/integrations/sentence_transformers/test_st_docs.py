"""docs/sentence-transformers.md is true: its code runs, and prints what is printed below it."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("sentence_transformers", reason="sentence-transformers is not installed")

from support.fences import fences, run_fences

DOCUMENT = Path(__file__).parents[3] / "docs" / "sentence-transformers.md"


def test_code_prints_what_is_printed_below_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert len([fence for fence in fences(DOCUMENT) if fence.info == "python"]) >= 3
    run_fences(DOCUMENT)
