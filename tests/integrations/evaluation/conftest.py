"""Commands as pyproject.toml declares them, whatever was installed when."""

from __future__ import annotations

import tomllib
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path

import pytest

from jina_local import cli as command_line

ROOT = Path(__file__).parents[3]


@pytest.fixture(autouse=True)
def _commands(monkeypatch: pytest.MonkeyPatch) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    (group,) = project["entry-points"]
    found = EntryPoints(
        EntryPoint(name, value, group) for name, value in project["entry-points"][group].items()
    )
    monkeypatch.setattr(command_line, "entry_points", lambda *, group: found.select(group=group))
