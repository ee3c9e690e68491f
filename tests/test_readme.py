"""The README is true: its code runs as it stands, and prints what is printed below it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from support.command_line import CommandLine
from support.fences import fences, run_commands, run_fences

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def test_code_prints_what_is_printed_below_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert len([fence for fence in fences(ROOT / "README.md") if fence.info == "python"]) >= 3
    run_fences(ROOT / "README.md")


@pytest.mark.parametrize("document", ["README.md", "docs/verifying.md"])
def test_commands_print_what_is_printed_below_them(
    document: str, monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    monkeypatch.chdir(ROOT)
    assert run_commands(ROOT / document, CommandLine(monkeypatch, capfdbinary)) >= 2


def test_links_to_files_lead_somewhere() -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", README):
        assert (ROOT / target).exists(), target


def test_every_module_of_the_core_is_in_the_pipeline_table_or_helps_one_that_is() -> None:
    helpers = {
        "__init__",
        "__about__",
        "chunks_command",
        "cli",
        "compare_command",
        "devices",
        "errors",
        "export_command",
        "files",
        "fingerprint",
        "forks",
        "inputs",
        "lazy_exports",
        "pictures",
        "similarity_plot",
        "splitting",
        "verify_command",
    }
    modules = {path.stem for path in (ROOT / "core" / "jina_local").glob("*.py")} - helpers
    named = {name.removesuffix(".py") for name in re.findall(r"`(\w+\.py)`", README)}
    assert modules == named & modules
    assert named <= modules | helpers


def test_the_licence_of_the_weights_comes_before_the_first_command() -> None:
    assert README.index("CC BY-NC 4.0") < README.index("```")


def test_make_targets_in_the_documents_exist() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for document in ("README.md", "CONTRIBUTING.md"):
        named = set(re.findall(r"(?:`|\$ )make ([a-z]+)", (ROOT / document).read_text()))
        assert named
        assert named <= targets
