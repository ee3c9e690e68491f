"""The site holds every document and every public name, and its links lead somewhere.

`make docs` builds it, in strict mode; what is told here needs none of its packages.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import posixpath
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parent.parent


def load_hook() -> Any:
    spec = importlib.util.spec_from_file_location("site_pages", ROOT / "tools" / "site_pages.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


HOOK = load_hook()
PAGES: dict[str, str] = HOOK.site_pages()


def prose(markdown: str) -> str:
    return re.sub(r"^(`{3,})[^`].*?^\1$", "", markdown, flags=re.MULTILINE | re.DOTALL)


def test_every_page_is_in_the_navigation_but_for_shown_files() -> None:
    def leaves(entry: Any) -> list[str]:
        if isinstance(entry, str):
            return [entry]
        children = entry if isinstance(entry, list) else entry.values()
        return [leaf for child in children for leaf in leaves(child)]

    settings = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    named = leaves(settings["nav"])
    assert sorted(named) == sorted(page for page in PAGES if not page.startswith("files/"))
    assert settings["strict"]  # and not quiet, which would keep it from seeing any warning
    assert "/mkdocs build\n" in (ROOT / "Makefile").read_text(encoding="utf-8")
    assert settings["theme"]["font"] is False


def test_no_page_has_a_list_of_contents_twice() -> None:
    (source,) = (source for source, page in HOOK.SOURCES.items() if page == "haystack.md")
    assert "Table of Contents" in (ROOT / source).read_text(encoding="utf-8")
    assert not [page for page in PAGES if "Table of Contents" in PAGES[page]]


def test_every_document_is_a_page() -> None:
    documents = {f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md")}
    assert documents | {"README.md", "CHANGELOG.md", "CONTRIBUTING.md"} <= set(HOOK.SOURCES)


@pytest.mark.parametrize(
    "path", sorted((ROOT / "notebooks").glob("*.ipynb")), ids=lambda one: one.stem
)
def test_notebooks_are_pages_with_their_code_and_what_it_shows(path: Path) -> None:
    page = PAGES[f"files/notebooks/{path.name}.md"]
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    assert page.startswith(cells[0]["source"][0])
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert all(f"```python\n{''.join(cell['source'])}\n```" in page for cell in code)
    outputs = [output for cell in code for output in cell["outputs"]]
    assert all("".join(output["text"]).rstrip() in page for output in outputs if "text" in output)
    pictures = [output for output in outputs if "image/png" in output.get("data", {})]
    assert page.count('<img src="data:image/png;base64,') == len(pictures)


@pytest.mark.parametrize("page", HOOK.REFERENCE)
def test_the_reference_has_every_public_name(page: str) -> None:
    explained = set(re.findall(r"^::: (\S+)$", PAGES[page], re.MULTILINE))
    names = {name.rpartition(".")[2] for name in explained}
    for module in HOOK.REFERENCE[page]:
        public = importlib.import_module(module).__all__
        assert module in explained
        assert {name for name in public if not name.startswith("__")} <= names


def test_the_reference_begins_with_what_a_page_is_opened_for() -> None:
    firsts = [re.findall(r"^::: (\S+)$", PAGES[page], re.MULTILINE)[1] for page in HOOK.REFERENCE]
    assert {name.rpartition(".")[2] for name in firsts} >= {
        "Engine",
        "JinaQdrant",
        "JinaV3Embedding",
    }


def test_every_package_is_in_the_reference() -> None:
    modules = {module for modules in HOOK.REFERENCE.values() for module in modules}
    packages = [
        path.parent.relative_to(ROOT / root)
        for root in ("core", "integrations")
        for path in (ROOT / root).rglob("py.typed")
    ]
    assert {".".join(package.parts) for package in packages} <= modules
    errors = [*(ROOT / "core").rglob("errors.py"), *(ROOT / "integrations").rglob("errors.py")]
    found = {".".join(path.relative_to(ROOT).with_suffix("").parts[1:]) for path in errors}
    assert found <= modules


@pytest.mark.parametrize("page", PAGES)
def test_links_within_the_site_lead_to_pages_and_pictures(page: str) -> None:
    for target in re.findall(r"\]\((?![a-z]+:|#)([^)#\s]+)", prose(PAGES[page])):
        path = posixpath.normpath(posixpath.join(posixpath.dirname(page), target))
        assert path in PAGES or (ROOT / "docs" / path).is_file(), target


@pytest.mark.parametrize("page", PAGES)
def test_blocks_of_code_have_one_word_for_their_language(page: str) -> None:
    infos = re.findall(r"^`{3,}([^`\n]+)$", PAGES[page], re.MULTILINE)
    assert all(re.fullmatch(r"\w+", info) for info in infos)


def test_a_link_that_leads_nowhere_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(HOOK, "ROOT", tmp_path)
    (tmp_path / "there.txt").write_text("here")
    (tmp_path / "README.md").write_text("[a](there.txt) [b](#x)\n\n```text\n[c](gone.txt)\n```\n")
    monkeypatch.setattr(HOOK, "SOURCES", {"README.md": "index.md"})
    monkeypatch.setattr(HOOK, "REFERENCE", {})
    pages = HOOK.site_pages()
    assert "[a](files/there.txt.md) [b](#x)" in pages["index.md"]
    assert "here" in pages["files/there.txt.md"]
    (tmp_path / "README.md").write_text("[a](gone.txt)")
    with pytest.raises(FileNotFoundError, match=r"README\.md links to gone\.txt"):
        HOOK.site_pages()
