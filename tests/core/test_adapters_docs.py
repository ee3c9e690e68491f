"""docs/adapters.md is true: its code runs as it stands, and prints what is printed below it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from support.fences import fences, run_fences

if TYPE_CHECKING:
    import pytest

DOCUMENT = Path(__file__).parents[2] / "docs" / "adapters.md"


def test_code_prints_what_is_printed_below_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert len([fence for fence in fences(DOCUMENT) if fence.info == "python"]) >= 5
    run_fences(DOCUMENT)
