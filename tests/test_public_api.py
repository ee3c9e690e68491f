"""The public surface: complete, sorted, light to import, and honest about its extras."""

from __future__ import annotations

import importlib
import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("jina_local", "jina_local_eval", "jina_local_qdrant")
EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
HEAVY = {
    *("torch", "transformers", "numpy", "tokenizers", "haystack", "pydantic", "qdrant_client"),
    *("matplotlib", "semantic_text_splitter", "qdrant_edge", "mteb", "bm25s", "datasets"),
    *("onnx", "onnxruntime", "onnxscript", "sentence_transformers", "accelerate"),
}


def modules_after(statement: str) -> set[str]:
    """Top-level modules in a fresh interpreter after a statement."""
    code = f"{statement}\nimport sys, json; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    return {name.partition(".")[0] for name in json.loads(done.stdout)}


@pytest.mark.parametrize("package", PACKAGES)
def test_all_is_sorted_and_everything_in_it_exists(package: str) -> None:
    module = importlib.import_module(package)
    assert module.__all__ == sorted(module.__all__)
    for name in module.__all__:
        assert getattr(module, name) is not None
        assert name in dir(module)
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = module.nonsense


@pytest.mark.parametrize(
    "statement",
    [
        "import jina_local",
        "import jina_local_eval",
        "import jina_local_qdrant",
        "import jina_local_sentence_transformers",
        "from jina_local import JinaLocalError, __version__",
        "import haystack_integrations.components.embedders.jina_local",
        "import llama_index.embeddings.jina_local",
    ],
)
def test_importing_loads_nothing_heavy(statement: str) -> None:
    assert not modules_after(statement) & HEAVY


def test_the_command_line_starts_without_torch_and_qdrant() -> None:
    assert not modules_after("from jina_local.cli import build_app; build_app()") & HEAVY


def test_the_engine_imports_without_the_command_lines_libraries() -> None:
    loaded = modules_after("from jina_local import Engine, shared_engine")
    assert "torch" in loaded
    assert not loaded & {"typer", "rich", "tenacity", "matplotlib", "transformers"}


def test_every_module_names_its_public_members() -> None:
    """`__all__` in every module of the core: present and true (ruff keeps it sorted)."""
    for path in sorted((ROOT / "core" / "jina_local").glob("*.py")):
        if path.name.startswith("__"):
            continue
        module = importlib.import_module(f"jina_local.{path.stem}")
        assert all(hasattr(module, name) for name in module.__all__)


def test_every_extra_that_a_message_names_exists() -> None:
    sources = [*(ROOT / "core").rglob("*.py"), *(ROOT / "integrations").rglob("*.py")]
    named = {
        extra
        for path in sources
        for extras in re.findall(r"jina-local\[([\w,-]+)\]", path.read_text())
        for extra in extras.split(",")
    }
    assert named
    assert named <= set(EXTRAS)


def test_all_is_the_three_integrations_and_never_flash_attn() -> None:
    assert EXTRAS["all"] == ["jina-local[haystack,llama-index,qdrant]"]
    assert "flash-attn" in EXTRAS
    assert set(EXTRAS) == {
        *("all", "chunks", "edge", "eval", "flash-attn", "haystack", "llama-index"),
        *("onnx", "qdrant", "sentence-transformers"),
    }


def test_the_version_is_in_the_changelog_or_unreleased() -> None:
    from jina_local import __version__

    changelog = (ROOT / "CHANGELOG.md").read_text()
    assert "## [Unreleased]" in changelog or f"## [{__version__}]" in changelog


def test_errors_are_a_tree_of_refined_builtins() -> None:
    from jina_local import errors

    for name in set(errors.__all__) - {"JinaLocalError", "TruncationWarning"}:
        error = getattr(errors, name)
        assert issubclass(error, errors.JinaLocalError)
        assert error.__mro__[-3] is Exception or issubclass(error, Exception)
        builtin = [base for base in error.__mro__ if base.__module__ == "builtins"]
        assert builtin[0] is not Exception, f"{name} refines no builtin"
        assert name in (errors.__doc__ or ""), f"{name} is not in the tree of the docstring"
