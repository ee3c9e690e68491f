"""`jina-local ARGUMENTS` in this process."""

from __future__ import annotations

import io
import json
import sys
from dataclasses import dataclass
from typing import Any

import pytest

from jina_local.cli import main

__all__ = ["CommandLine", "Finished", "assert_refused"]


@dataclass(frozen=True, slots=True)
class Finished:
    code: object
    stdout: str
    stderr: str

    @property
    def json(self) -> Any:
        """What was printed, as JSON."""
        return json.loads(self.stdout)

    @property
    def record(self) -> dict[str, Any]:
        """The one object that was printed as JSON, in one line."""
        assert self.stdout.count("\n") == 1
        record: dict[str, Any] = self.json
        return record


class CommandLine:
    """Runs commands 80 columns wide, where nobody watches."""

    def __init__(
        self, monkeypatch: pytest.MonkeyPatch, capture: pytest.CaptureFixture[bytes]
    ) -> None:
        for name in ("JINA_LOCAL_MODEL", "FORCE_COLOR", "TTY_COMPATIBLE"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("COLUMNS", "80")
        self._monkeypatch = monkeypatch
        self._capture = capture

    def __call__(self, *arguments: object, stdin: bytes = b"") -> Finished:
        self._monkeypatch.setattr(sys, "argv", ["jina-local", *map(str, arguments)])
        wrapped = io.TextIOWrapper(io.BytesIO(stdin), encoding="utf-8")
        self._monkeypatch.setattr(sys, "stdin", wrapped)
        self._capture.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = self._capture.readouterr()
        return Finished(ended.value.code, out.decode(), err.decode())


def assert_refused(finished: Finished, *parts: str) -> None:
    """Exit code 1, nothing on standard output, and one message on standard error."""
    assert finished.code == 1
    assert finished.stdout == ""
    assert finished.stderr.startswith("error: "), finished.stderr
    assert "Traceback" not in finished.stderr
    for part in parts:
        assert part in finished.stderr
