"""A set that is there at once: 48 questions about Python's standard library.

The questions were written with the modules that answer each before any model was run on them. A
document is a module of the running interpreter, with what is inside of it (`xml` holds
`xml.etree.ElementTree`): its docstring, and the signature and first paragraph of everything that
it offers. So documents are long, and most chunks say little about what they are part of.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from jina_local_eval.questions import Question, QuestionSet

if TYPE_CHECKING:
    from jina_local_qdrant.documents import Document

__all__ = ["STDLIB", "STDLIB_QUESTIONS", "stdlib_set"]

STDLIB = "stdlib"
STDLIB_QUESTIONS = Path(__file__).parent / "stdlib_questions.json"


def stdlib_set() -> QuestionSet:
    """The bundled questions over the documentation of the running interpreter's library."""
    from jina_local_qdrant.stdlib_docs import stdlib_passages

    parts: dict[str, list[tuple[bool, str]]] = {}
    for passage in stdlib_passages():
        module = _top_level(passage["metadata"]["module"])
        is_member = passage["metadata"]["name"] != "" or passage["metadata"]["module"] != module
        parts.setdefault(module, []).append((is_member, _shortened(passage)))
    documents: list[Document] = [
        {
            "id": module,
            "text": "\n\n".join(text for _, text in sorted(texts, key=lambda one: one[0])),
        }
        for module, texts in parts.items()
    ]
    questions = [
        Question(entry["question"], tuple(dict.fromkeys(map(_top_level, entry["modules"]))))
        for entry in json.loads(STDLIB_QUESTIONS.read_text(encoding="utf-8"))
    ]
    return QuestionSet(STDLIB, documents, questions)


def _top_level(module: str) -> str:
    return module.partition(".")[0]


def _shortened(passage: Document) -> str:
    """A module's docstring as it is; of everything else the signature and one paragraph."""
    if passage["metadata"]["kind"] == "module":
        return passage["text"]
    return "\n\n".join(passage["text"].split("\n\n")[:2])
