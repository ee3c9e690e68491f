from __future__ import annotations

import gc
import hashlib
import importlib
import inspect
import json
import subprocess
import sys
from functools import reduce
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from jina_local_qdrant.stdlib_docs import stdlib_passages

if TYPE_CHECKING:
    from collections.abc import Iterable

    from jina_local_qdrant.documents import Document

NAMESAKE = "cmath"

IN_ANOTHER_PROCESS = """
import json, sys
from jina_local_qdrant.stdlib_docs import stdlib_passages
passages = list(stdlib_passages())
print(json.dumps({"passages": passages, "modules": sorted(sys.modules)}))
"""

# Without `socket`, `selectors` and `ctypes`: a few of their names exist on some platforms only.
SAFE_TO_IMPORT = [
    *("argparse", "array", "asyncio", "bisect", "builtins", "collections", "collections.abc"),
    *("concurrent.futures", "csv", "decimal", "difflib", "functools", "heapq", "io", "ipaddress"),
    *("itertools", "json", "math", "os", "os.path", "pathlib", "pickle", "random", "re", "shutil"),
    *("sqlite3", "statistics", "struct", "subprocess", "textwrap", "threading", "unittest", "zlib"),
]


@pytest.fixture(scope="module")
def in_order() -> list[Document]:
    return list(stdlib_passages())


@pytest.fixture(scope="module")
def passages(in_order: list[Document]) -> dict[str, Document]:
    return {passage["id"]: passage for passage in in_order}


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A run with other hash seeds, warnings as errors, and a user's `cmath.py` in the way."""
    folder = tmp_path_factory.mktemp("namesake")
    (folder / f"{NAMESAKE}.py").write_text('"""A file of the user."""\nprint("imported")\n')
    command = [sys.executable, "-W", "error", "-c", IN_ANOTHER_PROCESS]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    result: dict[str, Any] = json.loads(done.stdout)  # fails if anything else was printed
    return result


def documented(passages: dict[str, Document], module: str) -> Iterable[tuple[Document, Any]]:
    """The passages of a module with the objects that they are about, found by importing it."""
    imported = importlib.import_module(module)
    for passage in passages.values():
        metadata = passage["metadata"]
        if metadata["module"] == module and metadata["kind"] != "module":
            yield passage, reduce(getattr, metadata["name"].split("."), imported)


@pytest.mark.parametrize(
    "id_",
    [
        "csv",  # a module
        "textwrap.dedent",  # a function
        "threading.Thread",  # a class
        "math.gcd",  # written in C
        "csv.reader",  # from _csv, by name
        "struct.unpack",  # from _struct, with a star
        "os.listdir",  # from posix or nt
        "os.path.join",  # from posixpath or ntpath
        "os.path.exists",  # from genericpath, through there
        "pickle.loads",  # in an `__all__` that is partly computed
        "asyncio.gather",  # from a part of the package, with a star
        "unittest.TestCase",  # from a part of the package, by name
        "concurrent.futures.ThreadPoolExecutor",  # from a `__getattr__`
        "collections.abc.Mapping",  # from a module that is private as a whole
        "struct",  # a module docstring that is imported
        "hashlib",  # a module docstring that is assigned
    ],
)
def test_what_users_import_is_found_under_the_name_they_import(
    passages: dict[str, Document], id_: str
) -> None:
    assert id_ in passages


@pytest.mark.parametrize("module", SAFE_TO_IMPORT)
def test_every_id_is_a_real_name_and_every_text_ends_with_its_docstring(
    passages: dict[str, Document], module: str
) -> None:
    found = list(documented(passages, module))
    assert found, "the premise needs documented names"
    for passage, target in found:
        assert callable(target), passage["id"]
        if inspect.isfunction(target) and target.__doc__:
            docstring = inspect.cleandoc(target.__doc__).strip()
            assert passage["text"].endswith(f"\n\n{docstring}"), passage["id"]


@pytest.mark.parametrize("module", ["shlex", "textwrap", "statistics", "heapq"])
def test_a_text_starts_with_the_full_name_and_the_signature(
    passages: dict[str, Document], module: str
) -> None:
    functions = [pair for pair in documented(passages, module) if inspect.isfunction(pair[1])]
    assert functions, "the premise needs functions"
    for passage, function in functions:
        parameters = list(inspect.signature(function).parameters.values())
        signature = inspect.Signature(parameters)
        assert passage["text"].startswith(f"{passage['id']}{signature}\n\n")


@pytest.mark.parametrize(
    ("id_", "title"),
    [
        ("csv", "csv"),
        ("math.gcd", "math.gcd(*integers)"),
        ("time.sleep", "time.sleep(seconds)"),  # said in the docstring only
        ("fractions.Fraction", "fractions.Fraction(numerator=0, denominator=None"),  # `__new__`
    ],
)
def test_signatures_are_those_of_a_call(
    passages: dict[str, Document], id_: str, title: str
) -> None:
    assert passages[id_]["text"].partition("\n\n")[0].startswith(title)
    if "(" not in title:
        assert passages[id_]["text"].startswith(f"{title}\n\n")


def test_a_class_is_documented_together_with_its_constructor(
    passages: dict[str, Document],
) -> None:
    text = passages["threading.Thread"]["text"]
    assert text.startswith("threading.Thread(group=None, target=None, name=None, args=(), ")
    assert "A class that represents a thread of control." in text
    assert "*target* is the callable object to be invoked" in text


def test_ids_are_unique_and_sorted_and_agree_with_the_metadata(in_order: list[Document]) -> None:
    ids = [passage["id"] for passage in in_order]
    assert ids == sorted(set(ids))
    for passage in in_order:
        metadata = passage["metadata"]
        assert set(metadata) == {"module", "kind", "name"}
        assert metadata["kind"] in {"module", "class", "function"}
        is_module = metadata["kind"] == "module"
        parts = [metadata["module"]] if is_module else [metadata["module"], metadata["name"]]
        assert passage["id"] == ".".join(parts)


def test_there_are_a_few_thousand_passages_none_of_them_trivial(
    passages: dict[str, Document],
) -> None:
    assert 2_000 < len(passages) < 6_000
    for passage in passages.values():
        assert len(passage["text"].partition("\n\n")[2]) >= 20, passage["id"]
        assert passage["text"] == passage["text"].strip()


def test_nothing_private_and_nothing_that_is_not_a_library_appears(
    passages: dict[str, Document],
) -> None:
    for id_, passage in passages.items():
        assert not any(part.startswith("_") for part in id_.split(".")), id_
        modules = passage["metadata"]["module"].split(".")
        assert not {"test", "tests", "idlelib", "lib2to3", "antigravity", "site-packages"} & {
            *modules
        }
        assert modules[0] not in {"posix", "posixpath", "genericpath", "encodings"}


def test_a_docstring_appears_under_one_name_only(passages: dict[str, Document]) -> None:
    assert "builtins.open" in passages
    assert "io.open" not in passages  # the same function
    assert "builtins.OSError" in passages
    assert "builtins.IOError" not in passages  # the same class
    assert "asyncio.gather" in passages
    assert "asyncio.tasks.gather" not in passages  # the same source
    assert "collections.abc.MutableMapping" in passages
    assert "collections.UserDict.pop" not in passages  # inherited from a public class


def test_reading_prints_nothing_warns_of_nothing_and_imports_no_python_application(
    elsewhere: dict[str, Any],
) -> None:
    assert not {
        *("antigravity", "this", "idlelib", "tkinter", "turtle", "webbrowser"),
        *("asyncio", "unittest", "distutils", "site.usercustomize", "readline"),
    } & set(elsewhere["modules"])


def test_the_users_own_file_with_the_name_of_a_module_is_neither_run_nor_quoted(
    elsewhere: dict[str, Any], passages: dict[str, Document]
) -> None:
    assert NAMESAKE in passages, "the premise needs a module that the file can hide"
    assert NAMESAKE not in elsewhere["modules"]
    assert not any("A file of the user" in passage["text"] for passage in elsewhere["passages"])


def test_every_process_gets_the_same_passages_in_the_same_order(
    elsewhere: dict[str, Any], passages: dict[str, Document]
) -> None:
    here = [p for p in passages.values() if p["metadata"]["module"] != NAMESAKE]
    assert digest(here) == digest(elsewhere["passages"])


@pytest.mark.parametrize("is_on", [True, False])
def test_the_garbage_collector_is_left_as_it_was(is_on: bool) -> None:
    was_on = gc.isenabled()
    (gc.enable if is_on else gc.disable)()
    try:
        next(stdlib_passages())
        assert gc.isenabled() == is_on
    finally:
        (gc.enable if was_on else gc.disable)()


def digest(passages: Iterable[Document]) -> str:
    return hashlib.sha256(json.dumps(list(passages)).encode()).hexdigest()


def test_no_text_holds_a_path_of_the_machine(passages: dict[str, Document]) -> None:
    for passage in passages.values():
        assert str(Path(sys.base_prefix)) + "/" not in passage["text"], passage["id"]
        assert " object at 0x" not in passage["text"].partition("\n\n")[0], passage["id"]
