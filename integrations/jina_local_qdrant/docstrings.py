"""What one module of the standard library says about itself: its docstrings and its names.

Sources are parsed; only what has none, the modules written in C, is imported and inspected.
"""

from __future__ import annotations

import ast
import importlib
import importlib.util
import inspect
import os
import re
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["Docstring", "Home", "Module", "inspect_module", "parse_module"]

_IF_WINDOWS = frozenset(
    {"_mswindows", "name == 'nt'", "os.name == 'nt'", "sys.platform == 'win32'"}
)
_Kind = Literal["module", "class", "function"]
_Function = ast.FunctionDef | ast.AsyncFunctionDef
Home = tuple[str, str]  # the module that defines a name, and the name there


@dataclass(frozen=True, slots=True)
class Docstring:
    """The docstring of a module, a class or a function."""

    name: str
    kind: _Kind
    signature: str  # "(f, fieldnames=None)"; empty if unknown
    text: str


@dataclass(slots=True)
class Module:
    """What one module says about itself, and from where it takes names."""

    docstring: str = ""
    members: dict[str, Docstring] = field(default_factory=dict)
    imports: dict[str, Home] = field(default_factory=dict)
    stars: list[str] = field(default_factory=list)  # `from … import *`
    listed: frozenset[str] = frozenset()  # in `__all__`
    lists_all: bool = False  # no part of `__all__` is computed


# Modules with a source.


def parse_module(name: str, path: Path) -> Module:
    """Read a module from its source."""
    tree = ast.parse(path.read_bytes())
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    listed, lists_all = _listed(tree)
    module = Module(_module_docstring(tree), listed=listed, lists_all=lists_all)
    for node in _statements(tree.body):
        if isinstance(node, ast.ImportFrom):
            relative = "." * node.level + (node.module or "")
            origin = importlib.util.resolve_name(relative, package)
            for alias in node.names:
                if alias.name == "*":
                    module.stars.append(origin)
                else:
                    module.imports.setdefault(alias.asname or alias.name, (origin, alias.name))
        elif isinstance(node, ast.ClassDef) and node.name not in module.members:
            module.members[node.name] = _class_docstring(node)
        elif isinstance(node, _Function) and (text := _docstring(node)):
            docstring = Docstring(node.name, "function", _signature(node), text)
            module.members.setdefault(node.name, docstring)
    return module


def _docstring(node: ast.Module | ast.ClassDef | _Function) -> str:
    return _clean(ast.get_docstring(node, clean=False))


def _clean(text: object) -> str:
    return inspect.cleandoc(text).strip() if isinstance(text, str) else ""


def _statements(body: Iterable[ast.AST]) -> Iterator[ast.AST]:
    """The statements of a body, with those that stand under a condition or a `try`."""
    for node in body:
        yield node
        if isinstance(node, ast.If) and ast.unparse(node.test) in _IF_WINDOWS:
            yield from _statements(node.body if os.name == "nt" else node.orelse)
        elif isinstance(node, ast.If | ast.Try | ast.ExceptHandler):
            for block in ("body", "handlers", "orelse", "finalbody"):
                yield from _statements(getattr(node, block, []))


def _module_docstring(tree: ast.Module) -> str:
    for node in tree.body:
        match node:
            case ast.Assign([ast.Name("__doc__")], ast.Constant(str(text))):
                return _clean(text)
    return _docstring(tree)


def _listed(tree: ast.Module) -> tuple[frozenset[str], bool]:
    """The names that `__all__` spells out, and whether there is one that spells out them all."""
    names: set[str] = set()
    is_computed = False
    for node in _statements(tree.body):
        match node:
            case (
                ast.Assign([ast.Name("__all__")], value)
                | ast.AugAssign(ast.Name("__all__"), _, value)
                | ast.Expr(ast.Call(ast.Attribute(ast.Name("__all__"), "extend"), [value]))
            ):
                pass
            case ast.Expr(ast.Call(ast.Attribute(ast.Name("__all__"), "append"), [item])):
                value = ast.List([item])
            case _:
                continue
        try:
            names.update(ast.literal_eval(value))
        except ValueError:
            is_computed = True
    public = frozenset(name for name in names if not name.startswith("_"))
    return public, bool(names) and not is_computed


def _class_docstring(node: ast.ClassDef) -> Docstring:
    """The class with the signature and the docstring of its constructor."""
    signature, texts = "", [_docstring(node)]
    for method in _statements(node.body):
        if isinstance(method, _Function) and method.name in {"__new__", "__init__"}:
            signature = _bound(_signature(method))
            texts.append(_docstring(method))
    return Docstring(node.name, "class", signature, "\n\n".join(filter(None, texts)))


def _signature(node: _Function) -> str:
    returns = f" -> {ast.unparse(node.returns)}" if node.returns else ""
    return f"({ast.unparse(node.args)}){returns}"


def _bound(signature: str) -> str:
    """The signature without its first parameter: `(self, /, a)` and `($module, a)` are `(a)`."""
    return re.sub(r"^\(\$?\w+(: [^,)]+)?(, /)?(, )?", "(", signature)


# Modules written in C.


def inspect_module(name: str) -> Module:
    """Import a module of C and look at it; empty for what is not a part of the interpreter."""
    spec = importlib.util.find_spec(name)
    if spec is None or (spec.has_location and not _is_inside(sys.base_exec_prefix, spec.origin)):
        return Module()  # not on this platform, or a namesake of the user's
    try:
        attributes = vars(importlib.import_module(name))
    except ImportError:  # a shared library is missing
        return Module()
    module = Module(_clean(attributes["__doc__"]))
    for key in sorted(attributes):
        value = attributes.get(f"__{key}__", attributes[key])  # what `sys.excepthook` was at first
        if getattr(value, "__name__", None) != key:
            continue  # `IOError` is `OSError`
        if inspect.isclass(value):
            module.members[key] = _binary_docstring(key, "class", value)
        elif inspect.isbuiltin(value):
            module.members[key] = _binary_docstring(key, "function", value)
    return module


def _is_inside(folder: str, path: str | None) -> bool:
    return path is not None and Path(path).is_relative_to(folder)


def _binary_docstring(name: str, kind: _Kind, value: object) -> Docstring:
    """The docstring of something without a source; it may start with the signature."""
    text = _clean(value.__doc__)
    if declared := getattr(value, "__text_signature__", None):
        signature = _bound(declared) if declared.startswith("($") else declared
        return Docstring(name, kind, signature, text)
    first, _, rest = text.partition("\n\n")
    match = re.fullmatch(r"(?:\w+\.)*(\w+)(\(.*\).*)", first)
    if match and match[1] == name:
        return Docstring(name, kind, match[2], rest.strip())
    return Docstring(name, kind, "", text)
