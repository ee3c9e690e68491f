from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from jina_local.errors import InvalidOptionError
from jina_local_qdrant.splitting import make_splitter

if TYPE_CHECKING:
    from jina_local_qdrant.documents import Document


def word_tokenizer() -> Tokenizer:
    """One token per word and per run of punctuation."""
    tokenizer = Tokenizer(models.WordLevel({"[UNK]": 0}, "[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    return tokenizer


def byte_tokenizer() -> Tokenizer:
    """One token per UTF-8 byte: one character can have four."""
    alphabet = {letter: i for i, letter in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    tokenizer = Tokenizer(models.BPE(vocab=alphabet, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    return tokenizer


TOKENIZERS = {"words": word_tokenizer(), "bytes": byte_tokenizer()}
PIECES = st.sampled_from(
    [
        *("word", "longer-word", " ", "  ", "\n", "\n\n", "\r\n", "\t", ". ", "? "),
        *("# Head\n\n", "## Sub\n", "- item\n", "    code\n", "```\nx = 1\n```\n", "> said\n"),
        *("| a | b |\n|---|---|\n| 1 | 2 |\n", "***\n", "[text](link)", "---\nkey: 1\n---\n"),
        *(
            "👩‍👩‍👧",
            "🇫🇷",
            "日本語。",
            "한국어 ",
            "e\u0301",
            "é",
            "\u00a0",
            "\u2028",
            "\u200b",
            "\x00",
        ),
    ]
)
TEXTS = st.lists(PIECES, max_size=40).map("".join) | st.text(st.characters(codec="utf-8"))
PATHS = st.sampled_from(["a.txt", "a.md", "A.MD", None])


def split(
    text: str, *, chunk_tokens: int | None, path: str | None = None, by: str = "words"
) -> list[tuple[int, int]]:
    document: Document = {"id": "doc", "text": text}
    if path:
        document["metadata"] = {"path": path}
    return make_splitter(TOKENIZERS[by].to_str(), chunk_tokens).spans(document)


def chunks(
    text: str, *, chunk_tokens: int, path: str | None = None, by: str = "words"
) -> list[str]:
    spans = split(text, chunk_tokens=chunk_tokens, path=path, by=by)
    return [text[start:end] for start, end in spans]


@pytest.mark.parametrize("by", TOKENIZERS)
@given(text=TEXTS.filter(str.strip), path=PATHS, chunk_tokens=st.integers(1, 12))
def test_only_white_space_lies_between_chunks(
    by: str, text: str, path: str | None, chunk_tokens: int
) -> None:
    position = 0
    for start, end in split(text, chunk_tokens=chunk_tokens, path=path, by=by):
        assert text[start:end].strip()
        assert position <= start < end <= len(text)
        assert not text[position:start].strip()
        position = end
    assert not text[position:].strip()


@pytest.mark.parametrize("by", TOKENIZERS)
@given(text=TEXTS, path=PATHS, chunk_tokens=st.integers(1, 12))
def test_no_chunk_has_more_tokens_than_asked_for_unless_it_is_one_character(
    by: str, text: str, path: str | None, chunk_tokens: int
) -> None:
    for chunk in chunks(text, chunk_tokens=chunk_tokens, path=path, by=by):
        n_tokens = len(TOKENIZERS[by].encode(chunk, add_special_tokens=False))
        assert n_tokens <= chunk_tokens or len(chunk) == 1 or not chunk.strip()


@pytest.mark.parametrize("path", ["a.txt", "a.md"])
def test_offsets_count_code_points_whatever_their_width(path: str) -> None:
    text = "👩‍👩‍👧 🇫🇷.\n\n日本語のテキスト。\n\ne\u0301te\u0301, plain words"
    spans = split(text, chunk_tokens=3, path=path)
    assert len(spans) > 2, "the premise needs chunks behind wide characters"
    assert text[slice(*spans[-1])].endswith("words")


@given(text=TEXTS.filter(str.strip), path=PATHS)
def test_a_text_that_fits_stays_one_chunk(text: str, path: str | None) -> None:
    n_tokens = len(TOKENIZERS["bytes"].encode(text))
    (chunk,) = chunks(text, chunk_tokens=n_tokens, path=path, by="bytes")
    assert chunk.strip() == text.strip()


@given(text=TEXTS, path=PATHS)
def test_without_a_limit_a_document_is_one_chunk(text: str, path: str | None) -> None:
    assert split(text, chunk_tokens=None, path=path) == [(0, len(text))]


@pytest.mark.parametrize("text", ["", "  \n\n\t"])
@pytest.mark.parametrize("path", ["a.txt", "a.md"])
def test_a_blank_document_is_one_chunk(text: str, path: str) -> None:
    """No document is dropped, so that outputs align with inputs."""
    assert split(text, chunk_tokens=5, path=path) == [(0, len(text))]


@pytest.mark.parametrize("path", ["a.md", "notes/A.MD"])
def test_markdown_is_split_at_its_headings_and_plain_text_is_not(path: str) -> None:
    text = "one two\n# three\nfour five"
    assert chunks(text, chunk_tokens=5, path=path) == ["one two", "# three\nfour five"]
    assert chunks(text, chunk_tokens=5, path="a.txt") == ["one two\n# three", "four five"]


def test_a_tokenizer_that_truncates_or_pads_still_counts_every_token() -> None:
    tokenizer = word_tokenizer()
    tokenizer.enable_truncation(2)
    tokenizer.enable_padding(length=9)
    splitter = make_splitter(tokenizer.to_str(), 3)
    spans = splitter.spans({"id": "a", "text": "one two three four five"})
    assert spans == [
        (0, len("one two three")),
        (len("one two three "), len("one two three four five")),
    ]


def test_tokens_around_every_text_are_not_counted() -> None:
    tokenizer = word_tokenizer()
    tokenizer.add_special_tokens(["<s>", "</s>"])
    ids = [(token, tokenizer.token_to_id(token)) for token in ("<s>", "</s>")]
    tokenizer.post_processor = processors.TemplateProcessing("<s> $A </s>", special_tokens=ids)
    assert len(tokenizer.encode("one two")) == 4, "the premise needs tokens around the text"
    splitter = make_splitter(tokenizer.to_str(), 2)
    assert splitter.spans({"id": "a", "text": "one two"}) == [(0, 7)]


@pytest.mark.parametrize("chunk_tokens", [0, -1, 1.5, True, "128"])
def test_chunk_tokens_must_be_a_positive_integer(chunk_tokens: Any) -> None:
    with pytest.raises(InvalidOptionError, match=f"chunk_tokens is {chunk_tokens!r}; give a pos"):
        make_splitter("{}", chunk_tokens)


@pytest.mark.parametrize("tokenizer_json", ["", "{}", "tokenizer.json", "[]", '{"model": 1}'])
def test_what_is_not_a_tokenizer_is_refused(tokenizer_json: str) -> None:
    with pytest.raises(InvalidOptionError, match=r"not the content of a tokenizer\.json"):
        make_splitter(tokenizer_json, 5)
