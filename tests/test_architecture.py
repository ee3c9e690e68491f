"""The shape of the project: the core knows no framework, and namespaces are shared."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
CORE = ROOT / "core" / "jina_local"
INTEGRATIONS = ROOT / "integrations"
SOURCES = sorted([*CORE.rglob("*.py"), *INTEGRATIONS.rglob("*.py")])

FRAMEWORKS = {
    *("haystack", "llama_index", "qdrant_client", "tenacity", "transformers", "peft"),
    *("mteb", "bm25s", "sentence_transformers", "datasets", "accelerate"),
}
INTEGRATION_PACKAGES = {
    *("jina_local_eval", "jina_local_qdrant", "jina_local_sentence_transformers"),
    "haystack_integrations",
}
COMMAND_LINE_ONLY = {"typer", "rich", "tqdm", "matplotlib"}
COMMAND_LINE = {
    *("chunks_command.py", "cli.py", "compare_command.py", "similarity_plot.py"),
    *("export_command.py", "pictures.py", "verify_command.py"),
    *("command_options.py", "demo_command.py", "index_command.py", "index_report.py"),
    *("ingest_display.py", "inspect_commands.py", "search_command.py"),
    *("migrate_commands.py", "migrate_display.py", "migrate_options.py", "migrate_report.py"),
    *("migrate_settings.py", "two_line_bar.py"),
    *("eval_command.py", "eval_plot.py", "report.py", "suite_report.py"),
}


PROGRESS_BARS = {"base.py": {"tqdm"}, "document_embedder.py": {"tqdm"}}
"""Embedders of Haystack and LlamaIndex show one, and both depend on it themselves."""


FRAMEWORK_OPTIONS = {
    "base.py": {"__call__", "acall", "get_text_embedding_batch", "aget_text_embedding_batch"},
    "splitter.py": {"_aparse_nodes", "_parse_nodes"},
}
"""LlamaIndex hands options that nobody names to every step of a pipeline."""


def imports(path: Path, *, top_level_only: bool = False) -> set[str]:
    """First components of everything that a module imports."""
    tree = ast.parse(path.read_text())
    nodes = ast.iter_child_nodes(tree) if top_level_only else ast.walk(tree)
    found = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.partition(".")[0])
    return found


@pytest.mark.parametrize("path", sorted(CORE.rglob("*.py")), ids=lambda path: path.name)
def test_the_core_knows_no_framework_and_no_integration(path: Path) -> None:
    assert not imports(path) & (FRAMEWORKS | INTEGRATION_PACKAGES)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_only_the_command_line_imports_what_is_for_the_command_line(path: Path) -> None:
    if path.name not in COMMAND_LINE:
        assert not imports(path) & (COMMAND_LINE_ONLY - PROGRESS_BARS.get(path.name, set()))


@pytest.mark.parametrize("path", sorted((ROOT / "benchmarks").rglob("*.py")), ids=lambda p: p.name)
def test_benchmarks_run_without_the_command_lines_libraries(path: Path) -> None:
    assert not imports(path) & COMMAND_LINE_ONLY


def test_namespace_parents_have_no_init() -> None:
    """A stray `__init__.py` breaks editable installs of every sibling, and a wheel hides it."""
    for leaf in (
        INTEGRATIONS / "haystack_integrations" / "components" / "embedders" / "jina_local",
        INTEGRATIONS / "llama_index" / "embeddings" / "jina_local",
    ):
        assert (leaf / "__init__.py").is_file()
        assert (leaf / "py.typed").is_file()
        shared = leaf.parent
        while shared != INTEGRATIONS:
            assert {path.name for path in shared.iterdir()} - {"__pycache__"} == {
                child.name for child in shared.iterdir() if child.is_dir()
            } - {"__pycache__"}
            shared = shared.parent


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_modules_have_one_job(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 450


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_no_module_takes_options_it_does_not_name(path: Path) -> None:
    functions = [
        node
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    allowed = FRAMEWORK_OPTIONS.get(path.name, set())
    assert not [f.name for f in functions if f.args.kwarg and f.name not in allowed]
