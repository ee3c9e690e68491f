"""A file of questions, and documents → questions with the documents that answer them.

The file has one JSON object per line:

    {"question": "How long is the warranty?", "documents": ["terms.md", "faq.md"]}

`documents` are the ids of all documents that answer the question, in no order; there is at least
one. The id of a document is its path within the folder that was given (the file's name for a file
that was given), or the `id` of a line of a `.jsonl` file: as `jina-local index` has it.
"""

from __future__ import annotations

import difflib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jina_local_eval.errors import QuestionFileError

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from jina_local_qdrant.documents import Document

__all__ = ["Question", "QuestionSet", "read_question_set"]

_FIELDS = ("question", "documents")


@dataclass(frozen=True, slots=True)
class Question:
    """A question and what answers it.

    Attributes:
        text: The question.
        documents: Ids of the documents that answer it; at least one, none twice.
    """

    text: str
    documents: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class QuestionSet:
    """What is searched, and what it is searched for.

    Attributes:
        name: What reports call it.
        documents: At least two, with ids of their own.
        questions: At least one.
    """

    name: str
    documents: Sequence[Document]
    questions: Sequence[Question]


def read_question_set(source: str, paths: Sequence[Path]) -> QuestionSet:
    """Read questions and the documents that they are asked of.

    Args:
        source: Name of a file of questions, or `-` for standard input.
        paths: Files and folders; see `jina_local_qdrant.readers.read_documents`.

    Raises:
        ModelNotFoundError: If there is no such file of questions.
        PathNotFoundError: If one of `paths` does not exist.
        UnreadableFileError: If a document cannot be read.
        QuestionFileError: If a line is no question, or names no document that there is.
    """
    from jina_local.cli import read_text
    from jina_local_qdrant.readers import read_documents

    content = read_text(source, "a .jsonl file of questions, '-' for standard input, or 'stdlib'")
    documents = list(read_documents(paths))
    if len(documents) < 2:  # noqa: PLR2004 - one document is always found
        where = ", ".join(repr(str(path)) for path in paths)
        msg = f"{where}: {len(documents)} documents with text; finding one takes at least two"
        raise QuestionFileError(msg)
    known = {document["id"] for document in documents}
    questions: list[Question] = []
    lines: dict[str, int] = {}
    for number, line in enumerate(content.split("\n"), start=1):  # splitlines cuts at U+2028 too
        if not line.strip():
            continue
        where = f"{source!r}, line {number}"
        question = _question(line, where, known)
        if question.text in lines:
            msg = f"{where}: the question of line {lines[question.text]} again: make them one line"
            raise QuestionFileError(msg)
        lines[question.text] = number
        questions.append(question)
    if not questions:
        msg = f'{source!r} has no questions: give lines of {{"question": "…", "documents": ["…"]}}'
        raise QuestionFileError(msg)
    return QuestionSet(Path(source).name, documents, questions)


def _question(line: str, where: str, known: Collection[str]) -> Question:
    record = _record(line, where)
    text, ids = record["question"], record["documents"]
    if not isinstance(text, str) or not text.strip():
        msg = f"{where}: 'question' is {_shown(text)}; give a text that is not blank"
        raise QuestionFileError(msg)
    if not isinstance(ids, list) or not ids or not all(isinstance(one, str) for one in ids):
        msg = (
            f"{where}: 'documents' is {_shown(ids)}; give a list of ids of documents, even for one"
        )
        raise QuestionFileError(msg)
    for one in ids:
        if one not in known:
            close = difflib.get_close_matches(one, known, n=1, cutoff=0)
            msg = (
                f"{where}: there is no document {one!r} with text among {len(known)}; "
                f"the closest id is {close[0]!r}"
            )
            raise QuestionFileError(msg)
        if ids.count(one) > 1:
            msg = f"{where}: the document {one!r} is named twice"
            raise QuestionFileError(msg)
    return Question(text, tuple(ids))


def _record(line: str, where: str) -> dict[str, Any]:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError) as error:
        msg = f"{where}: not JSON ({error}); every line must be one complete object"
        raise QuestionFileError(msg) from error
    if not isinstance(record, dict):
        msg = f"{where}: {_shown(record)} is no object with {' and '.join(map(repr, _FIELDS))}"
        raise QuestionFileError(msg)
    if missing := [name for name in _FIELDS if name not in record]:
        msg = f"{where}: {missing[0]!r} is missing"
        raise QuestionFileError(msg)
    if unknown := sorted(record.keys() - set(_FIELDS)):
        msg = f"{where}: unknown field {unknown[0]!r}; a line has 'question' and 'documents'"
        raise QuestionFileError(msg)
    return record


def _shown(value: object) -> str:
    return f"{json.dumps(value, ensure_ascii=False):.60}"
