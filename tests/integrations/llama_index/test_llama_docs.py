"""The page about the classes is true, and the example runs: offline, as users start it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

pytest.importorskip("llama_index.core")

import llama_index.core
import llama_index.embeddings.jina_local as package
from llama_index.core import Settings
from llama_index.embeddings.jina_local import JinaV3Embedding

from support.fences import fences, run_fences

ROOT = Path(__file__).parents[3]
README = Path(package.__file__).with_name("README.md")
EXAMPLE = ROOT / "examples" / "llama_index_qdrant.py"
TEXT = README.read_text(encoding="utf-8")
OF_LLAMA_INDEX = {"callback_manager", "rate_limiter"}  # the latter not in 0.13


@pytest.fixture(autouse=True)
def _bundled_sentences(monkeypatch: pytest.MonkeyPatch) -> None:
    """0.13 brings NLTK's data, and looks for it elsewhere; the page says so."""
    if llama_index.core.__version__.startswith("0.13."):
        monkeypatch.setenv("NLTK_DATA", str(Path(llama_index.core.__file__).parent))


def is_installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # a parent is missing too
        return False


HAS_QDRANT = is_installed("llama_index.vector_stores.qdrant")
qdrant = pytest.mark.skipif(not HAS_QDRANT, reason="needs llama-index-vector-stores-qdrant")


@pytest.mark.filterwarnings("ignore:Payload indexes have no effect in the local Qdrant")
def test_code_prints_what_is_printed_below_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("_embed_model", "_transformations"):  # the page sets them for the whole process
        monkeypatch.setattr(Settings, name, None)
    run_fences(README, {"python", "python qdrant"} if HAS_QDRANT else {"python"})


def test_all_python_of_the_page_is_run() -> None:
    kinds = [fence.info for fence in fences(README)]
    assert {kind for kind in kinds if kind.startswith("python")} == {"python", "python qdrant"}
    assert kinds.count("python") >= 8
    python = [fence for fence in fences(README) if fence.info.startswith("python")]
    assert all(fence.output for fence in python if "print(" in fence.content)


def options(heading: str) -> dict[str, str]:
    """Names and defaults of the first table below some words."""
    (table,) = re.findall(
        re.escape(heading) + r".*?\n\n(\|.+?)\n\n", TEXT[TEXT.index("## Options") :], re.DOTALL
    )
    return dict(re.findall(r"^\| `(\w+)` \| `(.+?)` \|", table, re.MULTILINE))


@pytest.mark.parametrize(
    ("heading", "at_run_time"),
    [("What vectors depend on", False), ("How it is run", True)],
)
def test_every_option_is_in_its_table(heading: str, at_run_time: bool) -> None:
    fields = JinaV3Embedding.model_fields
    assert options(heading) == {
        name: repr(field.default).replace("'", '"')
        for name, field in fields.items()
        if bool(field.exclude) == at_run_time and name not in OF_LLAMA_INDEX
    }


def test_options_that_vectors_depend_on_are_in_the_dictionary() -> None:
    assert options("What vectors depend on").keys() == (
        JinaV3Embedding(model="demo").to_dict().keys() - {"class_name"}
    )


def test_links_within_the_page_and_the_repository_lead_somewhere() -> None:
    headings = {
        re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-")
        for title in re.findall(r"^#+ (.+)$", TEXT, re.MULTILINE)
    }
    for target in re.findall(r"\]\((?!https?:)(.+?)\)", TEXT):
        if target.startswith("#"):
            assert target[1:] in headings
        else:
            assert (README.parent / target).is_file(), target


def test_the_licence_of_the_weights_comes_before_the_first_command() -> None:
    assert TEXT.index("CC BY-NC 4.0") < TEXT.index("```")
    assert "CC BY-NC 4.0" in TEXT[TEXT.index("## License") :]


def test_the_folder_for_worker_processes_has_the_tables() -> None:
    (command,) = (fence.content for fence in fences(README) if "export" in fence.content)
    environment = os.environ | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    }
    done = subprocess.run(
        ["/bin/sh", "-c", command + 'printf %s "$TIKTOKEN_CACHE_DIR"'],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert Path(done.stdout) == Path(llama_index.core.__file__).parent / "_static/tiktoken_cache"
    assert any(Path(done.stdout).iterdir())


def run_example(*arguments: str | Path) -> list[str]:
    """The lines that the example prints, in an environment without a network for the hub."""
    done = subprocess.run(
        [sys.executable, "-W", "error::ResourceWarning", EXAMPLE, *arguments],
        env=os.environ | {"HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    lines = done.stdout.splitlines()
    return [line for line in lines if not line.startswith("Loading llama_index")]  # 0.13 says so


@qdrant
def test_the_example_finds_the_trams() -> None:
    head, asked, *hits = run_example()
    assert re.fullmatch(r"\d+ new chunks of 2 files", head)
    assert (asked, len(hits)) == ("Which trams climb the streets of Lisbon?", 3)
    assert re.match(r"0\.\d\d  lisbon\.txt: .*yellow trams", hits[0])
    scores = [float(hit.split()[0]) for hit in hits]
    assert scores == sorted(scores, reverse=True)


@qdrant
def test_the_example_embeds_only_what_is_new_and_forgets_what_is_gone(tmp_path: Path) -> None:
    files = tmp_path / "files"
    files.mkdir()
    (files / "boats.txt").write_text("A sloop has one mast, a ketch has two.")
    (files / "bread.txt").write_text("Bread is flour, water and salt.")
    arguments = ["--model", "demo", "--files", files, "--path", tmp_path / "index"]
    questions = ["How many masts?", "What is in a loaf?"]

    first = run_example(*arguments, *questions)
    assert first[0] == "2 new chunks of 2 files"
    assert [first[1], first[4]] == questions
    assert first[2].endswith("  boats.txt: A sloop has one mast, a ketch has two.")
    assert first[5].endswith("  bread.txt: Bread is flour, water and salt.")

    (files / "boats.txt").unlink()
    (files / "bread.txt").write_text("Bread is flour, water, salt and time.")
    head, _, *hits = run_example(*arguments, questions[1])
    assert head == "1 new chunks of 1 files"
    assert [hit.split("  ", 1)[1] for hit in hits] == [
        "bread.txt: Bread is flour, water, salt and time."
    ]
