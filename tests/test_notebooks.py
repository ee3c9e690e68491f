"""Notebooks are documents: they look alike, keep to the public surface, and show what is true.

All are executed by `make notebooks`; here, two quick ones are.
"""

from __future__ import annotations

import ast
import base64
import importlib
import io
import json
import re
import subprocess
import sys
from importlib.util import module_from_spec, spec_from_file_location
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from support.cards import MARGIN, white_margin

if TYPE_CHECKING:
    from support.checkpoints import Checkpoint

ROOT = Path(__file__).parent.parent
TOOL = ROOT / "tools" / "notebooks.py"
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
LIST = ROOT / "notebooks" / "README.md"
QUICK = ("01", "02")
NOTICE = "loading the demo model of jina-local: "
OURS = {
    "jina_local",
    "jina_local_eval",
    "jina_local_qdrant",
    "jina_local_sentence_transformers",
    "haystack_integrations",
    "llama_index",
}
PUBLIC = {
    *("jina_local", "jina_local_eval", "jina_local_qdrant", "jina_local.errors"),
    "jina_local_sentence_transformers",
    "haystack_integrations.components.embedders.jina_local",
    "llama_index.embeddings.jina_local",
    "jina_local.stitching",  # the README and the guides name the following
    "jina_local.vectors",
    "jina_local_qdrant.stdlib_docs",
}


def _load_tool() -> Any:
    spec = spec_from_file_location("notebooks_tool", TOOL)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


tool = _load_tool()
every_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def cells(path: Path, kind: str) -> list[dict[str, Any]]:
    return [cell for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == kind]


def sources(path: Path, kind: str) -> list[str]:
    return ["".join(cell["source"]) for cell in cells(path, kind)]


def outputs(path: Path) -> list[dict[str, Any]]:
    return [output for cell in cells(path, "code") for output in cell["outputs"]]


# What is committed


def test_notebooks_are_numbered_and_each_number_is_one() -> None:
    names = [path.name for path in NOTEBOOKS]
    assert names
    assert all(re.fullmatch(r"\d\d_[a-z0-9_]+\.ipynb", name) for name in names)
    assert len({name[:2] for name in names}) == len(names)
    assert names == [path.name for path in tool.notebooks()]


@every_notebook
def test_a_notebook_asks_one_question(path: Path) -> None:
    lines = "\n".join(sources(path, "markdown")).splitlines()
    (title,) = [line for line in lines if line.startswith("# ")]
    assert lines[0] == title
    assert title.endswith("?")


def test_the_list_of_notebooks_has_their_questions_in_their_order() -> None:
    listed = re.findall(r"^\| \[(\d\d)\]\((.+)\) \| (.+) \|$", LIST.read_text(), re.MULTILINE)
    assert listed == [
        (
            path.name[:2],
            path.name,
            sources(path, "markdown")[0].partition("\n")[0].removeprefix("# "),
        )
        for path in NOTEBOOKS
    ]


@every_notebook
def test_links_to_files_lead_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", "".join(sources(path, "markdown"))):
        assert (path.parent / target).exists(), target


@every_notebook
def test_the_real_model_is_one_edit_away_and_its_licence_is_stated(path: Path) -> None:
    code = sources(path, "code")
    assert code[0].startswith(tool.MODEL_LINE)
    assert "jinaai/jina-embeddings-v3" in code[0]
    assert "CC BY-NC 4.0" in code[0]
    assert sum(cell.count("MODEL = ") for cell in code) == 1
    assert '"demo"' not in "".join(code[1:])
    assert "not jina-embeddings-v3" in "".join(sources(path, "markdown"))


@every_notebook
def test_a_sentence_comes_before_every_cell_of_code(path: Path) -> None:
    kinds = [cell["cell_type"] for cell in json.loads(path.read_text())["cells"]]
    assert kinds[0] == "markdown"
    assert kinds[-1] == "markdown"  # and what was seen, after the last
    assert all(a == "markdown" for a, b in pairwise(kinds) if b == "code")
    assert all(len(cell.splitlines()) <= 25 for cell in sources(path, "code"))


@every_notebook
def test_a_notebook_was_run_from_top_to_bottom_and_nothing_complained(path: Path) -> None:
    code = cells(path, "code")
    assert [cell["execution_count"] for cell in code] == list(range(1, len(code) + 1))
    shown = outputs(path)
    assert shown
    assert not [one for one in shown if one["output_type"] == "error"]
    errors = ["".join(one["text"]) for one in shown if one.get("name") == "stderr"]
    assert all(re.fullmatch(f"({NOTICE}.*\n)+", error) for error in errors), errors
    assert json.loads(path.read_text())["metadata"] == tool.METADATA


@every_notebook
def test_images_show_something_on_any_page_and_are_described(path: Path) -> None:
    for output in outputs(path):
        if "image/png" in output.get("data", {}):
            assert tool.image_problem(output["data"]["image/png"]) == ""
            assert len(output["metadata"]["image/png"]["alt"]) > 40
            assert white_margin(io.BytesIO(base64.b64decode(output["data"]["image/png"]))) >= MARGIN


@every_notebook
def test_nothing_of_the_machine_that_ran_it_is_left(path: Path) -> None:
    for text in (*sources(path, "code"), *sources(path, "markdown"), *shown_texts(path)):
        assert not re.search(r"(?<![\w.:/>)])/(?:home|root|tmp|usr|work|Users|private)/", text)
        assert not re.search(r"\bat 0x[0-9a-f]{6}", text)


def shown_texts(path: Path) -> list[str]:
    streams = ["".join(one["text"]) for one in outputs(path) if "text" in one]
    data = [one["data"].get("text/plain", "") for one in outputs(path) if "data" in one]
    return streams + ["".join(text) for text in data]


@every_notebook
def test_only_what_is_public_is_imported(path: Path) -> None:
    for node in (node for cell in sources(path, "code") for node in ast.walk(parsed(cell))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                assert alias.name.partition(".")[0] not in OURS or alias.name in PUBLIC, alias.name
        elif isinstance(node, ast.ImportFrom) and is_ours(node.module or ""):
            assert node.module in PUBLIC
            module = importlib.import_module(node.module)
            assert {alias.name for alias in node.names} <= set(module.__all__)
        elif isinstance(node, ast.Attribute):
            assert not node.attr.startswith("_"), node.attr


def parsed(cell: str) -> ast.Module:
    """The code of a cell; it uses nothing that only IPython understands."""
    return ast.parse(cell, feature_version=(3, 11))


def is_ours(module: str) -> bool:
    """Whether a module is one of this project; two namespaces have others' as well."""
    top = module.partition(".")[0]
    return top.startswith("jina_local") or (top in OURS and "jina_local" in module)


# Execution


@pytest.mark.parametrize("number", QUICK)
def test_a_notebook_shows_today_what_is_committed(number: str) -> None:
    done = subprocess.run(
        [sys.executable, str(TOOL), number], check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_another_model_is_one_edit_away(tiny: Checkpoint) -> None:
    """Of another width, with adapters that nobody has trained: everything still works."""
    done = subprocess.run(
        [sys.executable, str(TOOL), QUICK[0], "--model", str(tiny.folder)],
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("0.50 and 12 texts", "0.51  and 12 texts"),  # rounded the other way, set the other way
        ("done in 3.1 s", "done in 12 ms"),
        ("111 per second", "2,345.6 per second"),
        ("111 texts/s", "98 texts/s"),
        ("[[ 0.27 -0.00]]", "[[ 0.27  0.00]]"),
        ("1.2e-07", "1.3e-07"),
    ],
)
def test_what_does_not_matter_may_change(old: str, new: str) -> None:
    assert tool.same(old, new)
    assert tool.same(new, old)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("0.50", "0.52"),
        ("12 texts", "13 texts"),
        ("1,234 texts", "1,235 texts"),
        ("bread 0.53", "boats 0.53"),
        ("0.5 0.5", "0.5"),
        ("True", "False"),
        ("(2, 256)", "(2, 128)"),
        ("1.2e-07", "1.2e-05"),
    ],
)
def test_what_matters_may_not(old: str, new: str) -> None:
    assert not tool.same(old, new)
    assert not tool.same(new, old)


def notebook_with(*cell_outputs: list[dict[str, Any]], tags: tuple[str, ...] = ()) -> Any:
    import nbformat

    return nbformat.from_dict(
        {
            "cells": [
                {"cell_type": "code", "outputs": one, "metadata": {"tags": list(tags)}}
                for one in cell_outputs
            ]
        }
    )


def stream(text: str) -> dict[str, Any]:
    return {"output_type": "stream", "name": "stdout", "text": text}


def test_streams_are_compared_as_a_whole() -> None:
    whole, halves = notebook_with([stream("a b\n")]), notebook_with([stream("a "), stream("b\n")])
    assert list(tool.differences(whole, halves)) == []
    assert len(list(tool.differences(whole, notebook_with([stream("a c\n")])))) == 1


def test_what_varies_is_not_compared_but_has_to_be_there() -> None:
    old = notebook_with([stream("a")], tags=("varies",))
    assert list(tool.differences(old, notebook_with([stream("b")], tags=("varies",)))) == []
    assert len(list(tool.differences(old, notebook_with([], tags=("varies",))))) == 1


def test_an_empty_image_is_a_difference() -> None:
    from PIL import Image

    def picture(color: int) -> dict[str, Any]:
        image = Image.new("L", (200, 200), 255)
        image.putpixel((5, 5), color)
        file = io.BytesIO()
        image.save(file, "PNG")
        data = {"image/png": base64.b64encode(file.getvalue()).decode()}
        return {"output_type": "display_data", "data": data, "metadata": {}}

    old = notebook_with([picture(0)])
    assert list(tool.differences(old, notebook_with([picture(9)]))) == []
    assert len(list(tool.differences(old, notebook_with([picture(255)])))) == 1
    assert len(list(tool.differences(old, notebook_with([stream("a")])))) == 1
