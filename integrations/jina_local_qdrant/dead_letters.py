"""Documents that were given up, as a file of JSON lines."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import IO, TYPE_CHECKING, Any, Self

from jina_local.errors import InvalidOptionError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from jina_local_qdrant.ingestion import DeadLetter

__all__ = ["DeadLetterFile"]

_KEYS = {"number", "doc_id", "kind", "error"}


class DeadLetterFile:
    """A file with one line per document that one run gave up, written as it goes.

    A line has `number` (the document's place in the source; `null` for a file or line that could
    not be read), `doc_id`, `kind` (the name of the error's class) and `error` (its message). The
    list of an earlier run is replaced when the file is opened, not before.

    Args:
        path: The file.
        sources: What is read in the same run.

    Raises:
        InvalidOptionError: If the file holds something else, or is where documents are read.
    """

    def __init__(self, path: Path, sources: Sequence[Path]) -> None:
        self.path = path
        self.count = 0
        self._file: IO[str] | None = None
        self._waiting: list[dict[str, Any]] = []
        self._check(sources)

    def __enter__(self) -> Self:
        self._file = self.path.open("w", encoding="utf-8")
        waiting, self._waiting = self._waiting, []
        for letter in waiting:
            self._write(letter)
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()

    def add(self, letter: DeadLetter) -> None:
        """Write a line, so that it is there whatever happens next."""
        self.count += 1
        self._write(asdict(letter))

    def add_unreadable(self, doc_id: str, error: Exception) -> None:
        """The same for what could not be read; kept until the file is open."""
        self.count += 1
        kind = type(error).__name__
        self._write({"number": None, "doc_id": doc_id, "kind": kind, "error": str(error)})

    def _write(self, letter: dict[str, Any]) -> None:
        if self._file is None:
            self._waiting.append(letter)
            return
        self._file.write(json.dumps(letter) + "\n")
        self._file.flush()

    def _check(self, sources: Sequence[Path]) -> None:
        path = self.path.resolve()
        if path.suffix != ".jsonl":
            msg = f"the file of dead letters is {str(self.path)!r}; give a name that ends in .jsonl"
            raise InvalidOptionError(msg)
        for source in sources:
            if path.is_relative_to(source.resolve()):
                msg = (
                    f"the file of dead letters, {str(self.path)!r}, is in {str(source)!r}, where "
                    "it would be read as documents: give one that is elsewhere"
                )
                raise InvalidOptionError(msg)
        if not path.parent.is_dir() or path.is_dir():
            msg = f"{str(self.path)!r} cannot be a file: give a name in a folder that is there"
            raise InvalidOptionError(msg)
        if path.exists() and not _is_list_of_letters(path):
            msg = (
                f"{str(self.path)!r} is there, and not a list of dead letters: give another name, "
                "or delete it"
            )
            raise InvalidOptionError(msg)


def _is_list_of_letters(path: Path) -> bool:
    with path.open("rb") as file:
        line = file.readline().strip()
    try:
        return not line or json.loads(line).keys() == _KEYS
    except (ValueError, AttributeError):
        return False
