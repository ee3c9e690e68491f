"""The pages of the site, made of what is in the repository: nothing is copied by hand.

A hook of mkdocs, named in `mkdocs.yml`. READMEs, `docs/*.md`, notebooks with what they show, and
the public names of the packages become pages. A link that works in the repository works on the
site: it leads to another page, to a picture, or to a page that shows the file or the folder that is
meant. A link that leads nowhere is an error.
"""

from __future__ import annotations

import ast
import html
import json
import posixpath
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files

__all__ = ["REFERENCE", "SOURCES", "on_config", "on_files", "public_names", "site_pages"]

ROOT = Path(__file__).parent.parent
HAYSTACK = "haystack_integrations.components.embedders.jina_local"
LLAMA_INDEX = "llama_index.embeddings.jina_local"

SOURCES = {
    "README.md": "index.md",
    f"integrations/{HAYSTACK.replace('.', '/')}/README.md": "haystack.md",
    f"integrations/{LLAMA_INDEX.replace('.', '/')}/README.md": "llama-index.md",
    "core/jina_local/demo_model/README.md": "demo-model.md",
    "notebooks/README.md": "notebooks.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
} | {f"docs/{path.name}": path.name for path in sorted((ROOT / "docs").glob("*.md"))}
"""Files of the repository that are pages, and which pages they are."""

REFERENCE = {
    "reference/jina-local.md": ("jina_local", "jina_local.vectors", "jina_local.stitching"),
    "reference/qdrant.md": ("jina_local_qdrant", "jina_local_qdrant.migration"),
    "reference/haystack.md": (HAYSTACK,),
    "reference/llama-index.md": (LLAMA_INDEX,),
    "reference/evaluation.md": ("jina_local_eval",),
    "reference/sentence-transformers.md": ("jina_local_sentence_transformers",),
    "reference/errors.md": (
        "jina_local.errors",
        "jina_local_qdrant.errors",
        "jina_local_eval.errors",
    ),
}
"""Pages of the reference, and the modules whose public names they explain."""

_FIRST = ("Engine", "JinaQdrant", "JinaV3Embedding")  # what a page is opened for
_NOTES = {
    "reference/llama-index.md": "The options of `JinaV3Embedding` are its fields: "
    "[what each of them does](../llama-index.md#options).",
}

_FRONT_MATTER = re.compile(r"\A---\n.*?^---\n", re.MULTILINE | re.DOTALL)
_CONTENTS = re.compile(r"^### \*\*Table of Contents\*\*\n(?:- .+\n)+", re.MULTILINE)
_FENCE = re.compile(r"(^```.*?^```$)", re.MULTILINE | re.DOTALL)
_INFO = re.compile(r"\A```(\w*).*")
_TARGET = re.compile(r'(\]\(|\b(?:src|srcset|href)=")(?![a-z]+:|#)([^)"#\s]+)')
_OF_A_MODULE = "{heading_level: 2, members: false, show_root_full_path: true}"
_LANGUAGES = {".py": "python", ".json": "json", ".md": "markdown"}


def on_config(config: MkDocsConfig) -> None:
    """Anchors of headings are those that the repository's own pages have."""
    from pymdownx.slugs import slugify

    config.mdx_configs["toc"] = {"slugify": slugify(case="lower"), "permalink": True}


def on_files(files: Files, *, config: MkDocsConfig) -> None:
    """Take the place of mkdocs' own reading of `docs/*.md`."""
    from mkdocs.structure.files import File

    for name, content in site_pages().items():
        found = files.get_file_from_path(name)
        if found:
            files.remove(found)
        files.append(File.generated(config, name, content=content))


def site_pages() -> dict[str, str]:
    """All pages by their names, as Markdown.

    Raises:
        FileNotFoundError: If a link leads to a file that there is not.
    """
    pages = {page: _reference(page, modules) for page, modules in REFERENCE.items()}
    shown: dict[str, None] = {}
    for source, page in SOURCES.items():
        text = _FRONT_MATTER.sub("", (ROOT / source).read_text(encoding="utf-8"))
        text = _CONTENTS.sub("", text)  # the site has one beside every page
        pages[page] = _linked(text, source=source, page=page, shown=shown)
    waiting = list(shown)
    while waiting:
        path = waiting.pop()
        found: dict[str, None] = {}
        if (ROOT / path).is_dir():
            found = dict.fromkeys(f"{path}/{entry.name}" for entry in _entries(path))
        pages[_page_of_file(path)] = _shown(path, found)
        waiting += [one for one in found if _page_of_file(one) not in pages]
    return pages


def public_names(module: str) -> list[str]:
    """`__all__` of a module of ours, which need not be importable where the site is built.

    Raises:
        LookupError: If it has none.
    """
    for root in ("core", "integrations"):
        folder = ROOT.joinpath(root, *module.split("."))
        for path in (folder / "__init__.py", folder.with_suffix(".py")):
            if path.is_file():
                for node in ast.parse(path.read_text(encoding="utf-8")).body:
                    if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
                        names: list[str] = ast.literal_eval(node.value)
                        return [name for name in names if not name.startswith("__")]
    msg = f"{module} is no module of ours with an __all__"
    raise LookupError(msg)


def _reference(page: str, modules: tuple[str, ...]) -> str:
    """A page that has mkdocstrings explain modules and each of their public names."""
    title = page.removeprefix("reference/").removesuffix(".md")
    parts = [f"# Reference: {title}", _NOTES.get(page, "")]
    seen: set[str] = set()
    for module in modules:
        parts.append(f"::: {module}\n    options: {_OF_A_MODULE}\n")
        names = [name for name in public_names(module) if name not in seen]
        names.sort(key=lambda name: name not in _FIRST)
        parts += [f"::: {module}.{name}\n" for name in names]
        seen |= set(names)
    return "\n\n".join(parts)


def _linked(text: str, *, source: str, page: str, shown: dict[str, None]) -> str:
    """A page whose links lead to pages, and whose blocks of code are of known languages.

    Args:
        text: Markdown of the repository.
        source: Where it is there.
        page: Where it is on the site.
        shown: Files and folders that need pages of their own; those that are found are added.

    Returns:
        Markdown of the site.

    Raises:
        FileNotFoundError: If a link leads to a file that there is not.
    """

    def link(found: re.Match[str]) -> str:
        path = posixpath.normpath(posixpath.join(posixpath.dirname(source), found[2]))
        if not (ROOT / path).exists():
            msg = f"{source} links to {found[2]}, which does not exist"
            raise FileNotFoundError(msg)
        if path in SOURCES:
            target = SOURCES[path]
        elif path.startswith("docs/"):  # a picture
            target = path.removeprefix("docs/")
        else:
            shown[path] = None
            target = _page_of_file(path)
        return found[1] + posixpath.relpath(target, posixpath.dirname(page) or ".")

    parts = _FENCE.split(text)
    parts[::2] = [_TARGET.sub(link, prose) for prose in parts[::2]]
    parts[1::2] = [_INFO.sub(r"```\1", fence) for fence in parts[1::2]]
    return "".join(parts)


def _page_of_file(path: str) -> str:
    return f"files/{path}.md"


def _entries(path: str) -> list[Path]:
    return sorted(one for one in (ROOT / path).iterdir() if not one.name.startswith(("__", ".")))


def _shown(path: str, shown: dict[str, None]) -> str:
    """A page with the content of a file, or with links to what is in a folder.

    Args:
        path: The file or the folder.
        shown: Gets what a notebook links to.
    """
    if path.endswith(".ipynb"):
        return "\n\n".join(_cells(path, shown))
    front = "---\nsearch:\n  exclude: true\nhide: [toc]\n---\n"
    if (ROOT / path).is_dir():
        folder = posixpath.basename(path)
        names = [entry.name for entry in _entries(path)]
        links = "\n".join(f"* [{name}]({folder}/{name}.md)" for name in names)
        return f"{front}# {path}\n\n{links}\n"
    content = (ROOT / path).read_text(encoding="utf-8")
    language = _LANGUAGES.get(Path(path).suffix, "text")
    return f"{front}# {path}\n\n`````{language}\n{content}\n`````\n"


def _cells(path: str, shown: dict[str, None]) -> Iterator[str]:
    """The cells of a notebook, each followed by what it shows."""
    for cell in json.loads((ROOT / path).read_text(encoding="utf-8"))["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            yield _linked(source, source=path, page=_page_of_file(path), shown=shown)
        else:
            yield f"```python\n{source}\n```"
            yield from (_output(output) for output in cell["outputs"])


def _output(output: dict[str, Any]) -> str:
    """What a cell has shown: a picture, or else a text."""
    data = output.get("data", {})
    if "image/png" not in data:
        text = "".join(output.get("text") or data["text/plain"])
        return f"`````text\n{text.rstrip()}\n`````"
    picture, about = data["image/png"].replace("\n", ""), output["metadata"]["image/png"]
    described = html.escape(about["alt"])
    return f'<img src="data:image/png;base64,{picture}" width="{about["width"]}" alt="{described}">'
