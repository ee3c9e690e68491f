"""What ships, tested from the installed wheel alone: no sources, no test support, no network.

Run by `make ship` in an environment that holds the wheel, its `qdrant` extra and pytest.
"""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module
from importlib.metadata import distribution, files
from pathlib import Path

import pytest


def run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_nothing_is_imported_from_the_sources() -> None:
    import jina_local

    assert Path(jina_local.__file__).is_relative_to(sys.prefix)


def test_the_wheel_holds_our_packages_and_nothing_else() -> None:
    shipped = {str(path) for path in files("jina-local") or ()}
    roots = {path.split("/")[0] for path in shipped if not path.startswith("..")}
    assert {root for root in roots if not root.endswith(".dist-info")} == {
        "haystack_integrations",
        "jina_local",
        "jina_local_eval",
        "jina_local_qdrant",
        "jina_local_sentence_transformers",
        "llama_index",
    }
    for package in (
        "jina_local",
        "jina_local_eval",
        "jina_local_qdrant",
        "jina_local_sentence_transformers",
        "llama_index/embeddings/jina_local",
    ):
        assert f"{package}/py.typed" in shipped
    assert "jina_local_eval/stdlib_questions.json" in shipped
    assert "jina_local_eval/published_scores.json" in shipped
    assert "jina_local/demo_model/model.safetensors" in shipped
    assert "jina_local/demo_model/README.md" in shipped
    assert "jina_local/oracles.json" in shipped
    assert {"LICENSE", "NOTICE"} <= {path.rpartition("/")[2] for path in shipped}
    for shared in (
        "haystack_integrations",
        "haystack_integrations/components",
        "haystack_integrations/components/embedders",
        "llama_index",
        "llama_index/embeddings",
    ):
        assert f"{shared}/__init__.py" not in shipped


def test_namespaces_are_shared_with_siblings(tmp_path: Path) -> None:
    """Other distributions' portions of the two namespaces import next to ours."""
    for name in ("haystack_integrations.components.embedders", "llama_index.embeddings"):
        sibling = tmp_path.joinpath(*name.split("."), "sibling")
        sibling.mkdir(parents=True)
        (sibling / "__init__.py").write_text("")
        code = (
            f"import sys; sys.path.append({str(tmp_path)!r});"
            f"import {name}.sibling, {name}.jina_local"
        )
        run(sys.executable, "-P", "-c", code)


def test_the_engine_works() -> None:
    from jina_local import ChunkedText, Engine

    with Engine.load("demo", device="cpu") as engine:
        documents = engine.embed_documents(["Parse command-line options.", "Copy a file."])
        query = engine.embed_queries(["how do I read arguments?"])
        text = "Lisbon has seven hills. The city has trams."
        (chunks,) = engine.embed_chunks([ChunkedText(text, [(0, 23), (24, 43)])])
    scores = query.vectors @ documents.vectors.T
    assert scores.argmax() == 0
    assert chunks.vectors.shape == (2, documents.vectors.shape[1])


def test_the_command_line_works(tmp_path: Path) -> None:
    command = str(Path(sys.executable).parent / "jina-local")
    assert "demo" in run(command, "--help")
    assert run(command, "--version").split()[1] == distribution("jina-local").version
    assert '"layout": "original"' in run(command, "info", "demo", "--json")
    folder = tmp_path / "docs"
    folder.mkdir()
    (folder / "a.txt").write_text("Ships that pass in the night.")
    (folder / "b.md").write_text("# Bread\n\nFlour, water and salt.")
    where = ("--collection", "docs")
    compared = run(command, "chunks", str(folder / "b.md"), "--query", "bread", "--json")
    assert '"windows": 1' in compared
    run(command, "index", str(folder), "--to", str(tmp_path / "index"), *where)
    found = run(command, "search", "boats", "--in", str(tmp_path / "index"), *where, "--json")
    assert found.index("a.txt") < found.index("b.md")


def test_the_namespaces_import_without_their_frameworks() -> None:
    with pytest.raises(ModuleNotFoundError):
        import_module("haystack")
    import_module("haystack_integrations.components.embedders.jina_local")
    import_module("llama_index.embeddings.jina_local")
