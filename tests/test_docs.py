"""The documents are true: all code in them runs, prints what they say, and links lead somewhere.

`test_readme.py` and the tests of the integrations run the pages named in `RUN_ELSEWHERE`; here are
the others, and what holds for all.
"""

from __future__ import annotations

import ast
import doctest
import importlib
import inspect
import json
import re
import shlex
import sys
import textwrap
import tomllib
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest
import typer.main

from jina_local import Engine
from jina_local.cli import build_app
from support.cards import MARGIN, white_margin
from support.command_line import CommandLine
from support.fences import Fence, fences, run_commands, run_fences

if TYPE_CHECKING:
    from collections.abc import Callable

    from jina_local_eval import MtebEncoder

ROOT = Path(__file__).parent.parent
HAYSTACK = "integrations/haystack_integrations/components/embedders/jina_local"
LLAMA_INDEX = "integrations/llama_index/embeddings/jina_local"
DEMO_CARD = "core/jina_local/demo_model/README.md"

RUN_HERE = ("docs/late-chunking.md", "docs/qdrant.md", "docs/speed.md", DEMO_CARD)
RUN_ELSEWHERE = {
    "README.md": "test_readme.py",
    "docs/adapters.md": "core/test_adapters_docs.py",
    "docs/migrating.md": "integrations/test_migrating_docs.py",
    "docs/onnx.md": "core/test_onnx.py",
    "docs/qdrant-stores.md": "integrations/test_store_docs.py",
    "docs/sentence-transformers.md": "integrations/sentence_transformers/test_st_docs.py",
    f"{HAYSTACK}/README.md": "integrations/haystack/test_haystack_docs.py",
    f"{LLAMA_INDEX}/README.md": "integrations/llama_index/test_llama_docs.py",
}
OTHERS = (
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "docs/command-line.md",
    "docs/evaluation.md",
    "docs/verifying.md",
)
DOCUMENTS = (*RUN_HERE, *RUN_ELSEWHERE, *OTHERS)
SOURCES = sorted([*(ROOT / "core").rglob("*.py"), *(ROOT / "integrations").rglob("*.py")])
EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]


def read(document: str) -> str:
    return (ROOT / document).read_text(encoding="utf-8")


def commands(fence: Fence) -> list[list[str]]:
    """The words of every command of a block, comments and what is printed left out."""
    lines = fence.content.replace("\\\n", " ").splitlines()
    return [shlex.split(line[1:], comments=True) for line in lines if line.startswith("$ ")]


def test_every_document_is_known_here() -> None:
    found = {*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("core/**/*.md")}
    found |= {*ROOT.glob("integrations/**/*.md")}
    assert {str(path.relative_to(ROOT)) for path in found} == set(DOCUMENTS)
    assert not any("```python\n" in read(document) for document in OTHERS)
    marked = {document for document in DOCUMENTS if "```console run\n" in read(document)}
    assert marked == {"docs/late-chunking.md", "docs/verifying.md"}
    for test in RUN_ELSEWHERE.values():
        assert "run_fences(" in (ROOT / "tests" / test).read_text(encoding="utf-8")


@pytest.mark.parametrize("document", DOCUMENTS)
def test_blocks_are_of_kinds_that_are_run_or_are_no_code(document: str) -> None:
    blocks = fences(ROOT / document)
    run = {"python", "python milvus", "python qdrant", "python stores", "console run"}
    assert {block.info for block in blocks} <= run | {
        *("python notest", "console", "bash", "json", "text")
    }
    for block in blocks:
        if block.info.startswith("python"):
            ast.parse(block.content)
            assert block.output or "print(" not in block.content, f"{document}:{block.line}"


@pytest.mark.parametrize("document", RUN_HERE)
def test_code_prints_what_is_printed_below_it(
    document: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run_fences(ROOT / document)


@pytest.mark.parametrize(
    ("document", "n_commands"), [("docs/late-chunking.md", 1), ("docs/verifying.md", 4)]
)
def test_commands_print_what_is_printed_below_them(
    document: str,
    n_commands: int,
    monkeypatch: pytest.MonkeyPatch,
    capfdbinary: pytest.CaptureFixture[bytes],
) -> None:
    monkeypatch.chdir(ROOT)
    done = run_commands(ROOT / document, CommandLine(monkeypatch, capfdbinary))
    assert done == n_commands


@pytest.fixture
def evaluated(monkeypatch: pytest.MonkeyPatch) -> list[tuple[MtebEncoder, list[str]]]:
    """What mteb is given to evaluate: neither mteb nor its data are at hand."""
    given: list[tuple[MtebEncoder, list[str]]] = []
    mteb: Any = ModuleType("mteb")
    mteb.get_tasks = list
    mteb.evaluate = lambda *arguments, cache: given.append(arguments) if cache is None else None
    monkeypatch.setitem(sys.modules, "mteb", mteb)
    return given


@pytest.fixture
def any_model_is_the_demo(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """`Engine.load` takes what it always takes, notes the name, and loads the demo model."""
    load: Callable[..., Engine] = Engine.load
    asked: list[str] = []

    def load_demo(*args: Any, **options: Any) -> Engine:
        inspect.signature(load).bind(*args, **options)
        asked.append(args[0])
        return load("demo")

    monkeypatch.setattr(Engine, "load", load_demo)
    return asked


@pytest.mark.parametrize(
    ("document", "names"),
    [
        ("README.md", ["jinaai/jina-embeddings-v3", "/models/jina-embeddings-v3-hf"]),
        ("docs/evaluation.md", ["…"]),
    ],
)
def test_code_that_needs_weights_runs_with_those_of_the_demo(
    document: str,
    names: list[str],
    any_model_is_the_demo: list[str],
    evaluated: list[tuple[MtebEncoder, list[str]]],
) -> None:
    blocks = [one for one in fences(ROOT / document) if one.info == "python notest"]
    # what needs sentence-transformers is run in the tests of its own page, or is of the past
    (block,) = (one for one in blocks if "sentence_transformers" not in one.content)
    exec(block.content, {"Engine": Engine})  # noqa: S102 - our own document
    assert any_model_is_the_demo[: len(names)] == names
    expected = [(256, ["ArguAna"])] if "mteb" in block.content else []
    assert [(encoder.dimensions, tasks) for encoder, tasks in evaluated] == expected


def test_commands_of_the_command_line_page_do_what_they_say(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    """In their order, in a folder with the files that they name; none fails."""
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "keys.jsonl").write_text(
        json.dumps({"id": "keys", "text": "Keys rotate monthly.", "metadata": {"lang": "en"}})
    )
    (tmp_path / "questions.txt").write_text("How do I rotate keys?\nWho pays?\n")
    (tmp_path / "report.txt").write_text("The buyer pays. The seller delivers.")
    monkeypatch.chdir(tmp_path)
    run = CommandLine(monkeypatch, capfdbinary)
    (block,) = (one for one in fences(ROOT / "docs/command-line.md") if one.info == "console")
    printed = {}
    for program, name, *arguments in commands(block):
        assert program == "jina-local"
        finished = run(name, *arguments)
        assert finished.code == 0, finished
        printed[name] = finished.stdout
    assert "Keys rotate monthly." in printed["search"]
    assert (tmp_path / "questions.npy").is_file()


def test_every_command_is_on_the_command_line_page() -> None:
    program: Any = typer.main.get_command(build_app())
    rows = re.findall(r"^\| (`.+?) \|", read("docs/command-line.md"), re.MULTILINE)
    assert {name.split()[0] for row in rows for name in re.findall(r"`(.+?)`", row)} == set(
        program.commands
    )


@pytest.mark.parametrize("document", DOCUMENTS)
def test_commands_are_such_that_the_command_line_takes_them(document: str) -> None:
    """Those that need a server, weights or hours, too: every name, option and value is parsed."""
    program = typer.main.get_command(build_app())
    for block in fences(ROOT / document):
        for name, *arguments in commands(block) if block.info.startswith("console") else []:
            if name == "jina-local":
                context, command = None, program
                while hasattr(command, "resolve_command"):  # a group
                    context = command.make_context(name, arguments[:1], parent=context)
                    name, command, arguments = command.resolve_command(context, arguments)  # noqa: PLW2901
                command.make_context(name, arguments, parent=context)
            elif name == "pytest" or (name == "python" and arguments[0].startswith("examples/")):
                assert (ROOT / arguments[0]).is_file()
            elif name == "python":
                assert arguments[:2] == ["-m", "benchmarks"]
                assert (ROOT / "benchmarks" / f"{arguments[2]}.py").is_file()
            else:
                assert name == "make", name


@pytest.mark.parametrize("document", DOCUMENTS)
def test_extras_that_are_installed_are_there(document: str) -> None:
    named = re.findall(r"pip install [^\n`]*\[([\w,-]+)\]", read(document))
    assert {extra for extras in named for extra in extras.split(",")} <= set(EXTRAS)


def anchors(document: Path) -> set[str]:
    """Those of a page's headings, as GitHub makes them."""
    prose = re.sub(r"^```.*?^```$", "", document.read_text("utf-8"), flags=re.M | re.S)
    headings = re.findall(r"^#+ (.+)$", prose, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", one.lower()).replace(" ", "-") for one in headings}


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links_lead_to_files_and_headings(document: str) -> None:
    for target in re.findall(r"\]\((?![a-z]+:)([^)\s]+)\)", read(document)):
        path, _, anchor = target.partition("#")
        page = (ROOT / document).parent / path if path else ROOT / document
        assert page.exists(), target
        assert not anchor or anchor in anchors(page), target


@pytest.mark.parametrize(
    "picture", sorted((ROOT / "docs").glob("*.png")), ids=lambda path: path.stem
)
def test_pictures_are_cards_for_light_and_dark_pages(picture: Path) -> None:
    assert white_margin(picture) >= MARGIN


def test_questions_in_the_documents_are_questions() -> None:
    (block,) = (one for one in fences(ROOT / "docs/evaluation.md") if one.info == "json")
    inline = re.findall(r'`(\{"question".*?\})`', read("README.md").replace("\n", " "))
    assert inline
    for line in [*block.content.splitlines(), *inline]:
        assert set(json.loads(line)) == {"question", "documents"}


def test_examples_in_docstrings_print_what_they_say() -> None:
    with_examples = [path for path in SOURCES if ">>>" in path.read_text(encoding="utf-8")]
    assert with_examples
    for path in with_examples:
        module = ".".join(path.relative_to(ROOT).with_suffix("").parts[1:])
        done = doctest.testmod(importlib.import_module(module))
        assert done.attempted
        assert not done.failed, path


@pytest.mark.parametrize("package", ["jina_local", "jina_local_eval", "jina_local_qdrant"])
def test_examples_of_packages_run(
    package: str,
    any_model_is_the_demo: list[str],
    evaluated: list[tuple[MtebEncoder, list[str]]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The indented lines of a package's docstring."""
    monkeypatch.chdir(tmp_path)
    lines = (importlib.import_module(package).__doc__ or "").splitlines()
    example = textwrap.dedent("\n".join(line for line in lines if line.startswith("    ")))
    assert "Engine.load(" in example
    exec(example, {})  # noqa: S102 - our own docstring
    assert any_model_is_the_demo
    assert bool(evaluated) == (package == "jina_local_eval")


def llama_index_names() -> dict[str, Any]:
    core = pytest.importorskip("llama_index.core")
    from llama_index.core.node_parser import SentenceSplitter

    texts = ["Lisbon has hills. The city has trams.", "Bread is flour, water and salt."]
    return {
        "documents": [core.Document(text=text) for text in texts],
        "SentenceSplitter": SentenceSplitter,
        "VectorStoreIndex": core.VectorStoreIndex,
    }


def haystack_names() -> dict[str, Any]:
    pytest.importorskip("haystack")
    from haystack.components.preprocessors import DocumentSplitter

    return {"splitter": DocumentSplitter(split_by="period", split_length=1)}


@pytest.mark.parametrize(
    ("module", "name", "given"),
    [
        (HAYSTACK, "JinaLocalTextEmbedder", haystack_names),
        (HAYSTACK, "JinaLocalDocumentEmbedder", haystack_names),
        (LLAMA_INDEX, "JinaV3Embedding", llama_index_names),
        (LLAMA_INDEX, "JinaLateChunkSplitter", llama_index_names),
    ],
)
def test_usage_in_docstrings_of_classes_runs(
    module: str,
    name: str,
    given: Callable[[], dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """With the demo model, and with what the user has: documents, a splitter, the framework."""
    monkeypatch.chdir(tmp_path)
    names = given()
    package = importlib.import_module(module.removeprefix("integrations/").replace("/", "."))
    described = inspect.getdoc(getattr(package, name)) or ""
    usage = described.partition("Usage:\n")[2]
    example = textwrap.dedent(re.match(r"(\n|    .*\n)+", usage)[0])  # type: ignore[index]
    assert "dimensions=512" in example
    exec(example.replace("dimensions=512", 'model="demo", dimensions=64'), names)  # noqa: S102
    if "index" in names:
        assert names["index"].as_retriever(similarity_top_k=1).retrieve("hills?")
