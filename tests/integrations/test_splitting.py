"""Which documents are Markdown; how texts are split is tested with the core."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers

from jina_local.errors import InvalidOptionError, MissingExtraError
from jina_local_qdrant.splitting import check_chunk_tokens, make_splitter

if TYPE_CHECKING:
    from jina_local_qdrant.documents import Document

TEXT = "one two\n# three\nfour five"
AT_THE_HEADING = ["one two", "# three\nfour five"]
BY_TOKENS = ["one two\n# three", "four five"]


def chunks(document: Document) -> list[str]:
    """Chunks of at most five words."""
    tokenizer = Tokenizer(models.WordLevel({"[UNK]": 0}, "[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    spans = make_splitter(tokenizer.to_str(), 5).spans(document)
    return [document["text"][start:end] for start, end in spans]


@pytest.mark.parametrize(
    ("path", "expected"),
    [("a.md", AT_THE_HEADING), ("notes/A.MD", AT_THE_HEADING), ("a.txt", BY_TOKENS)],
)
def test_markdown_is_known_by_the_ending_of_the_path(path: str, expected: list[str]) -> None:
    assert chunks({"id": "a", "text": TEXT, "metadata": {"path": path}}) == expected


@pytest.mark.parametrize(
    "document",
    [{"id": "a.md", "text": TEXT}, {"id": "a", "text": TEXT, "metadata": {}}],
    ids=["no metadata", "no path"],
)
def test_without_a_path_it_is_plain_text(document: Document) -> None:
    assert chunks(document) == BY_TOKENS


def test_without_a_limit_a_document_is_one_chunk() -> None:
    splitter = make_splitter("", None)
    assert splitter.spans({"id": "a", "text": TEXT}) == [(0, len(TEXT))]


def test_chunk_tokens_must_be_a_positive_integer() -> None:
    with pytest.raises(InvalidOptionError, match="chunk_tokens is 0; give a positive integer"):
        check_chunk_tokens(0)


def test_without_the_library_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "semantic_text_splitter", None)
    for refuse in (lambda: check_chunk_tokens(5), lambda: make_splitter("{}", 5)):
        with pytest.raises(MissingExtraError, match=r"pip install 'jina-local\[qdrant\]'"):
            refuse()
