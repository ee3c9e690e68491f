"""index, search and demo: what a newcomer types, and what they see."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from jina_local import JinaLocalError
from jina_local.cli import _load_command
from jina_local_qdrant.locations import open_client, recorded

if TYPE_CHECKING:
    from collections.abc import Sequence

COMMAND_LINE = Path(sys.executable).parent / "jina-local"


def run(*arguments: str | Path, code: int = 0) -> subprocess.CompletedProcess[str]:
    command: Sequence[str | Path] = [COMMAND_LINE, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stderr
    return done


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("docs")
    (root / "bread.md").write_text("# Bread\n\nFlour, water and salt; knead, wait, bake.\n")
    (root / "boats.txt").write_text("A sloop has one mast, a ketch has two.\n")
    (root / "more.jsonl").write_text('{"id": "cats", "text": "Cats purr.", "metadata": {"n": 9}}\n')
    return root


@pytest.fixture(scope="module")
def index(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    where = tmp_path_factory.mktemp("index")
    report = run("index", folder, "--to", where, "--collection", "docs", "--json")
    assert json.loads(report.stdout)["embedded"] == 3
    assert "not jina-embeddings-v3" in report.stderr
    return where


def test_indexing_again_embeds_nothing(folder: Path, index: Path) -> None:
    report = json.loads(run("index", folder, "--to", index, "-c", "docs", "--json").stdout)
    assert (report["documents"], report["embedded"], report["skipped"]) == (3, 0, 3)
    shown = run("index", folder, "--to", index, "-c", "docs").stdout
    assert shown == "All 3 documents were there already, unchanged.\n"


def test_searching_prints_hits_best_first(index: Path) -> None:
    found = run("search", "masts of a ketch", "--in", index, "-c", "docs", "--limit", "2").stdout
    assert found.splitlines()[0].split()[1] == "boats.txt"
    assert len(found.splitlines()) == 2
    assert all(len(line) <= 80 for line in found.splitlines())


def test_searching_as_json(index: Path) -> None:
    hits = json.loads(run("search", "pets", "--in", index, "-c", "docs", "--json").stdout)
    assert hits[0]["doc_id"] == "cats"
    assert hits[0]["metadata"] == {"n": 9, "path": "more.jsonl"}
    assert [hit["score"] for hit in hits] == sorted((hit["score"] for hit in hits), reverse=True)


def test_the_collection_remembers_its_model_and_dimensions(folder: Path, tmp_path: Path) -> None:
    run("index", folder, "--to", tmp_path, "-c", "small", "--dimensions", "32")
    assert recorded(open_client(str(tmp_path)), "small")["dimensions"] == 32


def test_searching_finds_the_recorded_dimensions_by_itself(folder: Path, tmp_path: Path) -> None:
    run("index", folder, "--to", tmp_path, "-c", "small", "--dimensions", "32")
    assert "boats.txt" in run("search", "ships", "--in", tmp_path, "-c", "small").stdout


def test_another_dimension_for_an_existing_collection_is_refused(folder: Path, index: Path) -> None:
    done = run("index", folder, "--to", index, "-c", "docs", "--dimensions", "32", code=1)
    assert "dimensions: 256 in the collection, 32 here" in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("search", "x", "--in", "nowhere", "-c", "docs"), "no index at 'nowhere'"),
        (("index", "nowhere", "--to", "t", "-c", "docs"), "no such file or folder: 'nowhere'"),
        (("index", "x.pdf", "--to", "t", "-c", "docs"), "'x.pdf' is of type '.pdf'; readable are"),
    ],
)
def test_errors_are_one_message_and_write_nothing(
    arguments: tuple[str, ...], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x.pdf").write_text("x")
    done = run(*arguments, code=1)
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    assert {path.name for path in tmp_path.iterdir()} == {"x.pdf"}


def test_an_unknown_collection_lists_those_that_are_there(index: Path) -> None:
    done = run("search", "x", "--in", index, "-c", "nope", code=1)
    assert "no collection 'nope' here; there are ['docs']" in done.stderr


def test_options_are_checked_before_a_folder_is_made(folder: Path, tmp_path: Path) -> None:
    for option in (("--dimensions", "0"), ("--chunk-tokens", "0")):
        run("index", folder, "--to", tmp_path / "new", "-c", "docs", *option, code=1)
    assert not (tmp_path / "new").exists()


def test_an_index_that_is_open_elsewhere_says_so(index: Path) -> None:
    client = open_client(str(index))
    try:
        done = run("search", "x", "--in", index, "-c", "docs", code=1)
    finally:
        client.close()
    assert "is open in another process: close it, or use a server" in done.stderr


def test_a_server_that_does_not_answer_says_so(folder: Path) -> None:
    done = run("index", folder, "--to", "http://127.0.0.1:9", "-c", "docs", code=1)
    assert "no Qdrant server answers at 'http://127.0.0.1:9'" in done.stderr


WITHOUT = """
import sys
sys.modules[{package!r}] = None
from jina_local.cli import main
sys.argv = ["jina-local", *{arguments!r}]
main()
"""


@pytest.mark.parametrize("package", ["qdrant_client", "semantic_text_splitter"])
def test_without_the_extra_a_command_says_what_to_install(
    package: str, folder: Path, tmp_path: Path
) -> None:
    arguments = ["index", str(folder), "--to", str(tmp_path / "new"), "-c", "docs"]
    code = WITHOUT.format(package=package, arguments=arguments)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "pip install 'jina-local[qdrant]'" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "new").exists()


def test_a_command_that_cannot_be_imported_says_so_when_it_is_called() -> None:
    """Another distribution's broken command does not take the others along."""
    entry = EntryPoint("broken", "no_such_module:command", "jina_local.commands")
    command = _load_command(entry)
    with pytest.raises(JinaLocalError, match="`jina-local broken` cannot be loaded: No module"):
        command()
