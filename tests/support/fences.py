"""Code in our documents, run as it stands."""

from __future__ import annotations

import contextlib
import io
import re
import shlex
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

    from support.command_line import CommandLine

__all__ = ["Fence", "fences", "run_commands", "run_fences"]


class Fence(NamedTuple):
    """A fenced block of a document.

    Attributes:
        info: What stands behind the opening fence: `python`, `python notest`, `text`, …
        content: What is between the fences.
        line: Number of the content's first line.
        output: The content of the block that follows, if that is `text`; what is printed.
    """

    info: str
    content: str
    line: int
    output: str


def fences(document: Path) -> list[Fence]:
    """All fenced blocks of a document, in their order."""
    text = document.read_text(encoding="utf-8")
    found = list(re.finditer(r"^```([^\n]*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL))
    following = [(one[1], one[2]) for one in found[1:]] + [("", "")] * bool(found)
    return [
        Fence(
            info=one[1],
            content=one[2],
            line=text.count("\n", 0, one.start(2)) + 1,
            output=output if info == "text" else "",
        )
        for one, (info, output) in zip(found, following, strict=True)
    ]


def run_fences(document: Path, wanted: Collection[str] = ("python",)) -> dict[str, Any]:
    """Run blocks of a document one after the other, and compare what each prints.

    Args:
        document: A Markdown file.
        wanted: Which blocks are run, by their `info`.

    Returns:
        What the code defines.
    """
    defined: dict[str, Any] = {}
    for fence in fences(document):
        if fence.info in wanted:
            printed = io.StringIO()
            # lines of a traceback are those of the document
            code = compile(
                "\n" * (fence.line - 1) + fence.content, document, "exec", dont_inherit=True
            )
            with contextlib.redirect_stdout(printed):
                exec(code, defined)  # noqa: S102 - our own document
            where = f"{document.name}:{fence.line} prints\n{printed.getvalue()}"
            assert printed.getvalue() == fence.output, where
    return defined


_MEASURED = re.compile(r"\d\.\d+(e[-+]\d+)?")


def run_commands(document: Path, command_line: CommandLine) -> int:
    """Run the `jina-local` commands of blocks that are marked `console run`, one each.

    What is printed has to be what stands below the command, but for fractions, which depend on the
    machine.

    Args:
        document: A Markdown file.
        command_line: Runs a command.

    Returns:
        How many there were.
    """
    marked = [fence for fence in fences(document) if fence.info == "console run"]
    for fence in marked:
        command, _, output = fence.content.partition("\n")
        prompt, name, *arguments = shlex.split(command)
        assert (prompt, name) == ("$", "jina-local")
        printed = command_line(*arguments).stdout
        where = f"{document.name}:{fence.line} prints\n{printed}"
        assert _comparable(printed) == _comparable(output), where
    return len(marked)


def _comparable(printed: str) -> list[str]:
    return [_MEASURED.sub("#", line).rstrip() for line in printed.rstrip().splitlines()]
