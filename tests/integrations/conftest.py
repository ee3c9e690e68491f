"""The command line, for the tests of its commands."""

from __future__ import annotations

from typing import Protocol

import pytest

from support.command_line import CommandLine, Finished


class Cli(Protocol):
    def __call__(self, *arguments: object, code: int = 0) -> Finished: ...


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]) -> Cli:
    """`jina-local ARGUMENTS` in this process, which must end with a code."""
    monkeypatch.delenv("QDRANT_API_KEY", raising=False)
    jina_local = CommandLine(monkeypatch, capfdbinary)

    def run(*arguments: object, code: int = 0) -> Finished:
        finished = jina_local(*arguments)
        assert finished.code == code, finished
        assert "Traceback" not in finished.stderr
        return finished

    return run
