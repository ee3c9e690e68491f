"""The page about the components is true, and the examples run: offline, as users start them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from inspect import signature
from pathlib import Path

import pytest
import yaml

import haystack_integrations.components.embedders.jina_local as package
from haystack_integrations.components.embedders.jina_local import (
    JinaLocalDocumentEmbedder,
    JinaLocalTextEmbedder,
)
from support.fences import fences, run_fences
from support.milvus import milvus

ROOT = Path(__file__).parents[3]
README = Path(package.__file__).with_name("README.md")
TEXT = README.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "wanted",
    [
        pytest.param({"python"}, id="without-milvus"),
        pytest.param({"python", "python milvus"}, id="with-milvus", marks=milvus),
    ],
)
def test_code_prints_what_is_printed_below_it(
    wanted: set[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    names = run_fences(README, wanted)
    if "milvus" in names:
        from milvus_lite.server_manager import server_manager_instance

        server_manager_instance.release_server("milvus.db")


def test_all_python_of_the_page_is_run() -> None:
    kinds = [fence.info for fence in fences(README)]
    assert {kind for kind in kinds if kind.startswith("python")} == {"python", "python milvus"}
    assert kinds.count("python") >= 6


def test_the_front_matter_is_that_of_an_integration_page() -> None:
    front = yaml.safe_load(TEXT.split("---\n")[1])
    assert list(front) == [
        *("layout", "name", "description", "authors", "pypi", "repo", "type", "report_issue"),
        *("version", "toc"),
    ]
    assert (front["layout"], front["type"], front["toc"]) == ("integration", "Model Provider", True)


def test_the_table_of_contents_names_the_sections() -> None:
    listed = re.findall(r"^- \[(.+)\]\(#(.+)\)$", TEXT, re.MULTILINE)
    assert [title for title, _ in listed] == re.findall(r"^## (.+)$", TEXT, re.MULTILINE)
    assert [anchor for _, anchor in listed] == [
        title.lower().replace(" ", "-") for title, _ in listed
    ]


@pytest.mark.parametrize("kind", [JinaLocalTextEmbedder, JinaLocalDocumentEmbedder])
def test_every_option_is_in_a_table(kind: type) -> None:
    rows = re.findall(r"^\| (`.+?) \| (.+?) \|", TEXT, re.MULTILINE)
    documented = {
        name: default for names, default in rows for name in re.findall(r"`(\w+)`", names)
    }
    for name, parameter in list(signature(vars(kind)["__init__"]).parameters.items())[1:]:
        if name in ("task", "token"):  # in words
            assert name in documented
        else:
            default = repr(parameter.default).replace("'", '"')
            assert documented[name] == f"`{default}`", name


def test_the_licence_of_the_weights_comes_before_the_first_command() -> None:
    assert TEXT.index("CC BY-NC 4.0") < TEXT.index("```")
    assert "CC BY-NC 4.0" in TEXT[TEXT.index("## License") :]


TRAMS = (
    "The city has kept its yellow trams, which still climb streets that are too steep for buses."
)


def run_example(name: str, *arguments: str | Path) -> list[str]:
    """The lines that an example prints, in an environment without a network for the hub."""
    done = subprocess.run(
        [sys.executable, "-W", "error::ResourceWarning", ROOT / "examples" / name, *arguments],
        env=os.environ | {"HF_HUB_OFFLINE": "1", "HAYSTACK_TELEMETRY_ENABLED": "false"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout.splitlines()


def check_output(lines: list[str], question: str, first: str) -> None:
    head, asked, *hits = lines
    assert (head, asked, len(hits)) == ("13 chunks of 2 files", question, 3)
    assert hits[0].endswith("  " + first)
    scores = [float(hit.split()[0]) for hit in hits]
    assert scores == sorted(scores, reverse=True)


@pytest.mark.parametrize(
    "name",
    ["haystack_memory.py", "haystack_qdrant.py", pytest.param("haystack_milvus.py", marks=milvus)],
)
def test_examples_find_the_trams(name: str) -> None:
    check_output(run_example(name), "Which trams climb the streets of Lisbon?", TRAMS)


def test_the_qdrant_example_searches_one_file() -> None:
    question = "Which trams climb the streets of Lisbon?"
    _, asked, *hits = run_example(
        "haystack_qdrant.py", "--model", "demo", "--only", "birthday.txt", question
    )
    chat = (ROOT / "examples" / "birthday.txt").read_text(encoding="utf-8").splitlines()
    assert (asked, len(hits)) == (question, 3)
    assert {hit.split("  ", 1)[1] for hit in hits} <= set(chat)
