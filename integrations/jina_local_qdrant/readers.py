"""Files and folders → documents.

Nothing is skipped in silence but what a folder is expected to hold besides texts: hidden files,
`__pycache__`, and files of other types. Whatever else cannot be read is an error with the file in
it. What the paths alone tell (no such path, unknown type, two files with one id) comes first.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from jina_local_qdrant.errors import DuplicateIdError, PathNotFoundError, UnreadableFileError
from jina_local_qdrant.html_text import html_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from jina_local_qdrant.documents import Document

    GivenUp = Callable[[str, UnreadableFileError | DuplicateIdError], None]

__all__ = ["READABLE_TYPES", "count_documents", "read_documents"]


class _File(NamedTuple):
    path: Path
    name: str  # relative to the folder that was asked for, with forward slashes

    @property
    def suffix(self) -> str:
        return self.path.suffix.lower()


def read_documents(paths: Sequence[Path], *, given_up: GivenUp | None = None) -> Iterator[Document]:
    """Read text files, and all text files in folders, as documents.

    A document's id is the path of its file relative to the folder that was asked for (the name of
    a file that was asked for). A `.jsonl` file has one document per line, an object with `text`,
    an optional `id` (otherwise the path and the line, `notes.jsonl#3`) and optional `metadata`.
    All metadata has `path`, unless the line has its own; Markdown and HTML have `title` if there
    is one. HTML is reduced to what a browser shows, all else is read as it stands. A text that is
    empty or white yields nothing.

    Args:
        paths: Files and folders. Within folders hidden files and folders, `__pycache__`, links to
            folders, and files of a type not in `READABLE_TYPES` are passed over.
        given_up: Called for each file, folder or line that cannot be read, with the id that its
            document would have and the error, which is raised if this is not given.

    Returns:
        The documents, in the order of `paths` and sorted by path within a folder.

    Raises:
        PathNotFoundError: If one of `paths` does not exist.
        UnreadableFileError: If a file is of another type, not regular, not UTF-8, or malformed.
        DuplicateIdError: If two documents have the same id.
    """
    give_up = given_up or _refuse
    origins: dict[str, str] = {}
    files = []
    for file in _found(paths, give_up):
        try:
            _check(file)
            if file.suffix != ".jsonl":
                _claim(origins, file.name, repr(str(file.path)))
        except (UnreadableFileError, DuplicateIdError) as exc:
            give_up(file.name, exc)
        else:
            files.append(file)
    return _read(files, origins, give_up)


def count_documents(paths: Sequence[Path]) -> int:
    """How many documents `read_documents` gives, at most: empty texts are counted.

    Args:
        paths: Files and folders.

    Raises:
        PathNotFoundError: If one of `paths` does not exist.
    """
    return sum(map(_count, _found(paths, lambda *_: None)))


def _count(file: _File) -> int:
    if file.suffix != ".jsonl":
        return 1
    try:
        with file.path.open("rb") as lines:
            return sum(1 for line in lines if line.strip())
    except OSError:  # reading says what is wrong with it
        return 0


def _refuse(_: str, error: UnreadableFileError | DuplicateIdError) -> None:
    raise error


def _read(files: list[_File], origins: dict[str, str], give_up: GivenUp) -> Iterator[Document]:
    for file in files:
        try:
            if file.suffix == ".jsonl":
                yield from _read_records(file, origins, give_up)
            else:
                yield from _read_file(file)
        except UnreadableFileError as exc:
            give_up(file.name, exc)
        except OSError as exc:
            give_up(file.name, _unreadable(file.path, exc))


# Paths.


def _found(paths: Sequence[Path], give_up: GivenUp) -> list[_File]:
    return [file for path in paths for file in _find(path, give_up)]


def _find(path: Path, give_up: GivenUp) -> Iterator[_File]:
    if not path.exists():
        msg = f"no such file or folder: {str(path)!r}; the current folder is {str(Path.cwd())!r}"
        raise PathNotFoundError(msg)
    if not path.is_dir():
        yield _File(path, path.name)
        return

    def give_up_folder(error: OSError) -> None:
        folder = Path(error.filename)
        name = folder.relative_to(path).as_posix() if folder != path else folder.name
        give_up(name, _unreadable(folder, error))

    found = []
    for folder, subfolders, names in os.walk(path, onerror=give_up_folder):
        subfolders[:] = [name for name in subfolders if not _is_passed_over(name)]
        for name in names:
            file = Path(folder, name)
            if not _is_passed_over(name) and file.suffix.lower() in READABLE_TYPES:
                found.append(_File(file, file.relative_to(path).as_posix()))
    yield from sorted(found, key=lambda file: file.name)


def _is_passed_over(name: str) -> bool:
    return name.startswith(".") or name == "__pycache__"


def _unreadable(path: Path, error: OSError) -> UnreadableFileError:
    what = "the folder " if path.is_dir() else ""
    found = UnreadableFileError(f"cannot read {what}{str(path)!r}: {error.strerror}")
    found.__cause__ = error
    return found


def _check(file: _File) -> None:
    if file.suffix not in READABLE_TYPES:
        kind = f"of type {file.suffix!r}" if file.suffix else "without a type"
        msg = (
            f"{str(file.path)!r} is {kind}; readable are {', '.join(READABLE_TYPES)}: "
            "convert it to one of these, or rename it if it is plain text"
        )
        raise UnreadableFileError(msg)
    if not file.path.is_file():
        msg = f"{str(file.path)!r} is not a regular file; is it a broken link?"
        raise UnreadableFileError(msg)
    if not _is_unicode(file.name):
        msg = f"the name {str(file.path)!r} is not UTF-8; rename the file"
        raise UnreadableFileError(msg)


def _claim(origins: dict[str, str], id_: str, origin: str) -> None:
    """Note where an id comes from, and refuse it the second time."""
    if id_ in origins:
        msg = (
            f"the id {id_!r} is taken twice, by {origins[id_]} and by {origin}: "
            "give every record an id of its own, and read files from a folder that holds them all"
        )
        raise DuplicateIdError(msg)
    origins[id_] = origin


def _is_unicode(text: str) -> bool:
    """Whether the text can be written at all: Python strings may hold halves of surrogate pairs."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


# Contents.


def _read_file(file: _File) -> Iterator[Document]:
    source = _decode(file.path.read_bytes(), file)
    try:
        text, title = _READERS[file.suffix](source)
    except AssertionError as exc:  # what `html.parser` raises where it gives up
        msg = f"{str(file.path)!r} is not HTML: {exc}"
        raise UnreadableFileError(msg) from exc
    if text.strip():
        metadata = {"path": file.name} | ({"title": title} if title else {})
        yield {"id": file.name, "text": text, "metadata": metadata}


def _decode(data: bytes, file: _File, offset: int = 0) -> str:
    """Decode bytes that stand at `offset` in a file; a byte order mark before them is dropped."""
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as exc:
        msg = (
            f"{str(file.path)!r} is not UTF-8: byte 0x{data[exc.start]:02x} at offset "
            f"{offset + exc.start}; convert it with `iconv -f THE_ENCODING -t UTF-8`"
        )
        raise UnreadableFileError(msg) from exc
    return text.removeprefix("\ufeff")


def _read_records(file: _File, origins: dict[str, str], give_up: GivenUp) -> Iterator[Document]:
    offset = 0
    with file.path.open("rb") as lines:
        for number, data in enumerate(lines, start=1):
            try:
                document = _read_line(data, file, number, offset)
                if document is not None:
                    _claim(origins, document["id"], f"{str(file.path)!r}, line {number}")
            except (UnreadableFileError, DuplicateIdError) as exc:
                give_up(f"{file.name}#{number}", exc)
            else:
                if document is not None and document["text"].strip():
                    yield document
            offset += len(data)


def _read_line(data: bytes, file: _File, number: int, offset: int) -> Document | None:
    """The document of a line that stands at `offset` in a file; `None` for a blank one."""
    line = _decode(data.rstrip(b"\r\n"), file, offset)
    if not line.strip():
        return None
    where = f"{str(file.path)!r}, line {number}"
    return _record(_parse_json(line, where), file.name, number, where)


def _parse_json(line: str, where: str) -> object:
    try:
        return json.loads(line, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as exc:
        column = f", column {exc.colno}" if isinstance(exc, json.JSONDecodeError) else ""
        reason = str(exc).partition(": line 1 ")[0]  # the file's lines count, not the record's
        msg = f"{where}{column}: not JSON: {reason}; every line must be one complete object"
        raise UnreadableFileError(msg) from exc


def _refuse_constant(name: str) -> None:
    msg = f"{name} is not a JSON value"
    raise ValueError(msg)


def _record(record: object, name: str, number: int, where: str) -> Document:
    """Check one line of a `.jsonl` file."""
    if not isinstance(record, dict):
        msg = f"{where}: a record must be an object with 'text', not {_type(record)}"
        raise UnreadableFileError(msg)
    if unknown := record.keys() - {"id", "text", "metadata"}:
        msg = (
            f"{where}: unknown field {sorted(unknown)[0]!r}; a record has 'text', 'id' and "
            "'metadata': put everything else into 'metadata'"
        )
        raise UnreadableFileError(msg)
    text = record.get("text")
    id_ = record.get("id", f"{name}#{number}")
    metadata: dict[str, Any] = record.get("metadata", {})
    for field, value, kind in (("text", text, str), ("id", id_, str), ("metadata", metadata, dict)):
        if not isinstance(value, kind):
            wanted = "an object" if kind is dict else "a string"
            found = _type(value) if field in record else "missing"
            msg = f"{where}: {field!r} must be {wanted}, but is {found}"
            raise UnreadableFileError(msg)
    if not id_:
        msg = f"{where}: 'id' is empty; leave it out to get {name}#{number}"
        raise UnreadableFileError(msg)
    if not _is_unicode(json.dumps(record, ensure_ascii=False)):
        msg = f"{where}: half of a surrogate pair (\\ud800 to \\udfff alone) is not a character"
        raise UnreadableFileError(msg)
    return {"id": id_, "text": str(text), "metadata": {"path": name} | metadata}


def _type(value: object) -> str:
    names = {dict: "an object", list: "an array", str: "a string", bool: "a boolean"}
    return "null" if value is None else names.get(type(value), "a number")


def _plain(text: str) -> tuple[str, None]:
    return text, None


def _markdown(text: str) -> tuple[str, str | None]:
    """The text as it stands, and its first heading of level 1."""
    fence, previous = "", ""
    for line in text.splitlines():
        if fence:
            fence = "" if line.strip().startswith(fence) else fence
        elif opening := re.match(r" {0,3}(```|~~~)", line):
            fence = opening[1]
        elif heading := re.match(r" {0,3}#[ \t]+(.*?)[ \t]*(?:[ \t]#+[ \t]*)?$", line):
            return text, heading[1] or None
        elif previous.strip() and re.match(r" {0,3}=+[ \t]*$", line):
            return text, previous.strip()
        previous = line
    return text, None


_READERS: dict[str, Callable[[str], tuple[str, str | None]]] = {
    ".htm": html_text,
    ".html": html_text,
    ".md": _markdown,
    ".py": _plain,
    ".rst": _plain,
    ".txt": _plain,
}
READABLE_TYPES = tuple(sorted({*_READERS, ".jsonl"}))
