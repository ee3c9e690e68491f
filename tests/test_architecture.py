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
    *("mteb", "bm25s"),
}
INTEGRATION_PACKAGES = {"jina_local_eval", "jina_local_qdrant", "haystack_integrations"}
COMMAND_LINE_ONLY = {"typer", "rich", "tqdm", "matplotlib"}
COMMAND_LINE = {
    *("chunks_command.py", "cli.py", "pictures.py", "similarity_plot.py"),
    *("command_options.py", "demo_command.py", "index_command.py", "index_report.py"),
    *("ingest_display.py", "inspect_commands.py", "search_command.py"),
    *("migrate_commands.py", "migrate_display.py", "migrate_options.py", "migrate_report.py"),
    "migrate_settings.py",
    *("eval_command.py", "eval_plot.py", "report.py", "suite_report.py"),
}


PROGRESS_BARS = {"document_embedder.py": {"tqdm"}}
"""Haystack's document embedders show one, and Haystack itself depends on it."""


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
    assert not [function.name for function in functions if function.args.kwarg]
