"""The documentation of Python's standard library, as passages to search.

The sources are parsed, not imported: `import antigravity` opens a browser, `import this` prints a
poem. Only what has no source, the modules written in C, is imported and inspected.

A docstring is filed under the name that users import. Two rules find it: what a module takes from
a private module or from a part of itself is its own (`_csv.reader` is `csv.reader`,
`asyncio.tasks.gather` is `asyncio.gather`), and the shortest name wins.
"""

from __future__ import annotations

import gc
import os
import sys
import sysconfig
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from jina_local_qdrant.docstrings import Docstring, Home, Module, inspect_module, parse_module

if TYPE_CHECKING:
    from collections.abc import Iterator

    from jina_local_qdrant.documents import Document

__all__ = ["stdlib_passages"]

_MIN_DOCSTRING = 20  # characters; "Close." helps nobody

_LEFT_OUT = frozenset(
    {
        *("antigravity", "this", "turtledemo", "idlelib", "lib2to3", "distutils"),  # not a library
        *("encodings", "ensurepip", "pydoc_data", "msilib"),  # tables, bundled wheels, Windows
        *("audioop", "nis", "ossaudiodev", "spwd"),  # written in C and warn when imported
        *("readline",),  # takes hold of the terminal when imported
    }
)
_PRIVATE = frozenset(  # whatever their names say
    {
        *("genericpath", "nt", "ntpath", "nturl2path", "posix", "posixpath"),  # behind `os`
        *("pyexpat", "sre_compile", "sre_constants", "sre_parse"),  # behind `xml.parsers`, `re`
    }
)

_ONLY_WINDOWS = frozenset({"windows_events", "windows_utils", "popen_spawn_win32"})


def stdlib_passages() -> Iterator[Document]:
    """The standard library of the running interpreter, one passage per docstring.

    Yields:
        Documents sorted by id, a dotted name such as `csv.reader`. The text is the name with its
        signature, an empty line, and the docstring. The metadata has `module` (`csv`), `kind`
        (`module`, `class` or `function`) and `name` within the module (`reader`).
    """
    with _paused_collector():
        found = _found()
    passages: dict[str, Document] = {}
    seen: set[Docstring] = set()
    for public, docstring in found:
        if len(docstring.text) >= _MIN_DOCSTRING and docstring not in seen:
            seen.add(docstring)  # once: `io.open` is `open`
            passage = _passage(public, docstring)
            passages.setdefault(passage["id"], passage)
    for key in sorted(passages):
        yield passages[key]


@contextmanager
def _paused_collector() -> Iterator[None]:
    """Syntax trees have no cycles; with torch loaded, looking for some takes half of the time."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _found() -> list[tuple[str, Docstring]]:
    """Every docstring of the library with the public module it is filed under."""
    library = _Library(_sources(Path(sysconfig.get_path("stdlib"))))
    found = []
    homes: dict[Home, tuple[str, str]] = {}
    for public, name in library.public_modules():
        found.append((public, Docstring(public, "module", "", library.module(name).docstring)))
        for local, home in sorted(library.exported(name).items()):
            homes.setdefault(home, (public, local))
    for home, (public, local) in homes.items():
        module, name = home
        found.append((public, replace(library.module(module).members[name], name=local)))
    return found


def _passage(module: str, docstring: Docstring) -> Document:
    name = docstring.name
    full_name = name if docstring.kind == "module" else f"{module}.{name}"
    title = full_name.removeprefix("builtins.") + docstring.signature
    return {
        "id": full_name,
        "text": f"{title}\n\n{docstring.text}",
        "metadata": {"module": module, "kind": docstring.kind, "name": name},
    }


def _sources(root: Path) -> dict[str, Path]:
    """The source files of the library by the name of their modules, tests left out."""
    left_out = {"test", "tests", "__main__"} | (_ONLY_WINDOWS if os.name != "nt" else set())
    found = {}
    for top in sorted(sys.stdlib_module_names - _LEFT_OUT):
        for path in [root / f"{top}.py", *sorted((root / top).rglob("*.py"))]:
            parts = path.relative_to(root).with_suffix("").parts
            if path.is_file() and not left_out & set(parts):
                found[".".join(parts).removesuffix(".__init__")] = path
    return found


def _is_private(name: str) -> bool:
    return name in _PRIVATE or any(part.startswith("_") for part in name.split("."))


def _is_part(origin: str, name: str) -> bool:
    return _is_private(origin) or origin.startswith(f"{name}.")


class _Library:
    """Every module of the standard library, read when first asked for."""

    def __init__(self, sources: dict[str, Path]) -> None:
        self._sources = sources
        self.module = cache(self._read)
        self._found: dict[str, dict[str, Home]] = {}

    def public_modules(self) -> list[tuple[str, str]]:
        """Pairs of the name to import and the name of the source, shortest names first."""
        names = {*self._sources, *(sys.stdlib_module_names - _LEFT_OUT)}
        pairs = [(name, name) for name in names if not _is_private(name)]
        pairs.append(("os.path", os.path.__name__))
        return sorted(pairs, key=lambda pair: (pair[0].count("."), pair))

    def exported(self, name: str) -> dict[str, Home]:
        """The names that a module offers, and where each one is defined."""
        module = self.module(name)
        found = {key: home for key, home in self._names(name).items() if not key.startswith("_")}
        if not module.lists_all:
            return found
        lazy = {  # `concurrent.futures.ThreadPoolExecutor` comes out of a `__getattr__`
            key: (part, key)
            for part in self._sources
            if part.startswith(f"{name}.")
            for key in (module.listed - found.keys()) & self.module(part).members.keys()
        }
        return {key: home for key, home in (lazy | found).items() if key in module.listed}

    def _names(self, name: str) -> dict[str, Home]:
        """All names of a module: what it defines, then what it takes from parts of its own."""
        if name not in self._found:
            module = self.module(name)
            found = self._found[name] = {member: (name, member) for member in module.members}
            for local, (origin, original) in module.imports.items():
                if local != original or (module.listed and local not in module.listed):
                    continue  # for the module's own use
                if local in found or not _is_part(origin, name):
                    continue  # a module in C is imported only for what it alone has
                if home := self._names(origin).get(local):
                    found[local] = home
            for origin in module.stars:
                if _is_part(origin, name):
                    for local, home in self.exported(origin).items():
                        found.setdefault(local, home)
        return self._found[name]

    def _read(self, name: str) -> Module:
        if name not in self._sources:
            return inspect_module(name) if name in sys.stdlib_module_names else Module()
        module = parse_module(name, self._sources[name])
        if not module.docstring and "__doc__" in module.imports:
            module.docstring = self.module(module.imports["__doc__"][0]).docstring
        return module
