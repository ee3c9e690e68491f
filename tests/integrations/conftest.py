"""The command line, for the tests of its commands."""

from __future__ import annotations

import io
import json
import sys
from dataclasses import dataclass
from typing import Any, Protocol

import pytest

from jina_local.cli import main


@dataclass(frozen=True, slots=True)
class Finished:
    code: object
    stdout: str
    stderr: str

    @property
    def json(self) -> Any:
        return json.loads(self.stdout)


class Cli(Protocol):
    def __call__(self, *arguments: object, code: int = 0) -> Finished: ...


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]) -> Cli:
    """`jina-local ARGUMENTS` in this process, which must end with a code."""
    for name in ("JINA_LOCAL_MODEL", "FORCE_COLOR", "TTY_COMPATIBLE", "QDRANT_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("COLUMNS", "80")

    def run(*arguments: object, code: int = 0) -> Finished:
        monkeypatch.setattr(sys, "argv", ["jina-local", *map(str, arguments)])
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(), encoding="utf-8"))
        capfdbinary.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capfdbinary.readouterr()
        finished = Finished(ended.value.code, out.decode(), err.decode())
        assert finished.code == code, finished
        assert "Traceback" not in finished.stderr
        return finished

    return run
