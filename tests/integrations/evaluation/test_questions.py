"""Files of questions: what is read, and what is refused with the line that it is in."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from jina_local.errors import JinaLocalError, ModelNotFoundError
from jina_local_eval.errors import QuestionFileError
from jina_local_eval.questions import Question, read_question_set
from jina_local_eval.stdlib_set import STDLIB_QUESTIONS, stdlib_set

if TYPE_CHECKING:
    from pathlib import Path

GOOD = '{"question": "Who pays?", "documents": ["terms.md"]}'


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "docs"
    (root / "more").mkdir(parents=True)
    (root / "terms.md").write_text("# Terms\n\nThe buyer pays.")
    (root / "more" / "faq.txt").write_text("Ships leave on Mondays.")
    (root / "blank.txt").write_text(" \n")
    return root


def written(tmp_path: Path, *lines: str) -> str:
    file = tmp_path / "questions.jsonl"
    file.write_text("\n".join(lines), encoding="utf-8")
    return str(file)


def test_questions_with_a_folder(tmp_path: Path, folder: Path) -> None:
    """Line breaks of other kinds are text, and blank lines nothing."""
    strange = json.dumps(
        {"question": "a\u2028b\x85c", "documents": ["more/faq.txt", "terms.md"]}, ensure_ascii=False
    )
    found = read_question_set(written(tmp_path, GOOD, "", strange, ""), [folder])
    assert found.name == "questions.jsonl"
    assert [one["id"] for one in found.documents] == ["more/faq.txt", "terms.md"]
    assert list(found.questions) == [
        Question("Who pays?", ("terms.md",)),
        Question("a\u2028b\x85c", ("more/faq.txt", "terms.md")),
    ]


def test_questions_with_lines_of_json(tmp_path: Path) -> None:
    corpus = tmp_path / "corpus.jsonl"
    corpus.write_text('{"id": "a", "text": "one"}\n{"id": "b", "text": "two"}\n')
    source = written(tmp_path, '{"question": "1?", "documents": ["a"]}')
    found = read_question_set(source, [corpus])
    assert [(one["id"], one["text"]) for one in found.documents] == [("a", "one"), ("b", "two")]
    assert list(found.questions) == [Question("1?", ("a",))]


@pytest.mark.parametrize(
    ("line", "part"),
    [
        ("{", "not JSON"),
        ('["Who?"]', "is no object with 'question' and 'documents'"),
        ('{"documents": ["terms.md"]}', "'question' is missing"),
        ('{"question": "Who?"}', "'documents' is missing"),
        ('{"question": "Who?", "documents": ["terms.md"], "n": 1}', "unknown field 'n'"),
        ('{"question": " ", "documents": ["terms.md"]}', "'question' is \" \""),
        ('{"question": 7, "documents": ["terms.md"]}', "'question' is 7"),
        ('{"question": "Who?", "documents": "terms.md"}', "give a list of ids"),
        ('{"question": "Who?", "documents": []}', "'documents' is []"),
        ('{"question": "Who?", "documents": [1]}', "'documents' is [1]"),
        ('{"question": "Who?", "documents": ["term.md"]}', "the closest id is 'terms.md'"),
        ('{"question": "Who?", "documents": ["blank.txt"]}', "no document 'blank.txt' with text"),
        ('{"question": "Who?", "documents": ["terms.md", "terms.md"]}', "named twice"),
        (GOOD, "the question of line 1 again"),
    ],
)
def test_what_is_no_question_is_refused_with_its_line(
    tmp_path: Path, folder: Path, line: str, part: str
) -> None:
    source = written(tmp_path, GOOD, "", line)
    with pytest.raises(QuestionFileError) as refused:
        read_question_set(source, [folder])
    assert f"{source!r}, line 3" in str(refused.value)
    assert part in str(refused.value)


def test_too_little_of_anything_is_refused(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(QuestionFileError, match="has no questions"):
        read_question_set(written(tmp_path, ""), [folder])
    with pytest.raises(QuestionFileError, match="1 documents with text"):
        read_question_set(written(tmp_path, GOOD), [folder / "terms.md"])
    with pytest.raises(ModelNotFoundError, match="no file"):
        read_question_set(str(tmp_path / "none.jsonl"), [folder])
    with pytest.raises(JinaLocalError, match="no such file or folder"):
        read_question_set(written(tmp_path, GOOD), [tmp_path / "nowhere"])


def test_the_bundled_questions_have_documents() -> None:
    found = stdlib_set()
    ids = [one["id"] for one in found.documents]
    assert len(found.questions) == len(json.loads(STDLIB_QUESTIONS.read_text())) == 48
    assert len(set(ids)) == len(ids) > 150
    assert {one for question in found.questions for one in question.documents} <= set(ids)
    texts = {one["id"]: one["text"] for one in found.documents}
    assert texts["csv"].startswith("csv\n\n")  # what a module is comes before what is in it
    assert "xml.etree.ElementTree" in texts["xml"]
