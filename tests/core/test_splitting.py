from __future__ import annotations

import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from jina_local.errors import InvalidOptionError, MissingExtraError
from jina_local.splitting import line_spans, make_splitter, paragraph_spans


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
WAYS = {"lines": line_spans, "paragraphs": paragraph_spans}
TEXT = "one two\nthree\r\n \t\nfour\u2028five \n\n\n\n  six\n"


def split(
    text: str, *, chunk_tokens: int | None, markdown: bool = False, by: str = "words"
) -> list[tuple[int, int]]:
    return make_splitter(TOKENIZERS[by].to_str(), chunk_tokens).spans(text, markdown=markdown)


def chunks(text: str, *, chunk_tokens: int, markdown: bool = False, by: str = "words") -> list[str]:
    spans = split(text, chunk_tokens=chunk_tokens, markdown=markdown, by=by)
    return [text[start:end] for start, end in spans]


def assert_only_white_space_lies_between(spans: list[tuple[int, int]], text: str) -> None:
    position = 0
    for start, end in spans:
        assert text[start:end].strip()
        assert position <= start < end <= len(text)
        assert not text[position:start].strip()
        position = end
    assert not text[position:].strip()


# Lines and paragraphs


@pytest.mark.parametrize("way", WAYS)
@given(text=TEXTS)
def test_lines_and_paragraphs_hold_every_character_once(way: str, text: str) -> None:
    spans = WAYS[way](text)
    assert_only_white_space_lies_between(spans, text)
    assert all(text[start:end] == text[start:end].strip() for start, end in spans)


@pytest.mark.parametrize(
    ("way", "expected"),
    [
        ("lines", ["one two", "three", "four\u2028five", "six"]),
        ("paragraphs", ["one two\nthree", "four\u2028five", "six"]),
    ],
)
def test_only_a_line_feed_ends_a_line_and_only_a_blank_line_a_paragraph(
    way: str, expected: list[str]
) -> None:
    assert [TEXT[start:end] for start, end in WAYS[way](TEXT)] == expected


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("text", ["", " \n\n\t\u3000"])
def test_a_blank_text_has_no_lines_and_no_paragraphs(way: str, text: str) -> None:
    assert WAYS[way](text) == []


# Tokens


@pytest.mark.parametrize("by", TOKENIZERS)
@given(text=TEXTS.filter(str.strip), markdown=st.booleans(), chunk_tokens=st.integers(1, 12))
def test_only_white_space_lies_between_chunks(
    by: str, text: str, markdown: bool, chunk_tokens: int
) -> None:
    spans = split(text, chunk_tokens=chunk_tokens, markdown=markdown, by=by)
    assert_only_white_space_lies_between(spans, text)


@pytest.mark.parametrize("by", TOKENIZERS)
@given(text=TEXTS, markdown=st.booleans(), chunk_tokens=st.integers(1, 12))
def test_no_chunk_has_more_tokens_than_asked_for_unless_it_is_one_character(
    by: str, text: str, markdown: bool, chunk_tokens: int
) -> None:
    for chunk in chunks(text, chunk_tokens=chunk_tokens, markdown=markdown, by=by):
        n_tokens = len(TOKENIZERS[by].encode(chunk, add_special_tokens=False))
        assert n_tokens <= chunk_tokens or len(chunk) == 1 or not chunk.strip()


@pytest.mark.parametrize("markdown", [False, True])
def test_offsets_count_code_points_whatever_their_width(markdown: bool) -> None:
    text = "👩‍👩‍👧 🇫🇷.\n\n日本語のテキスト。\n\ne\u0301te\u0301, plain words"
    spans = split(text, chunk_tokens=3, markdown=markdown)
    assert len(spans) > 2, "the premise needs chunks behind wide characters"
    assert text[slice(*spans[-1])].endswith("words")


@given(text=TEXTS.filter(str.strip), markdown=st.booleans())
def test_a_text_that_fits_stays_one_chunk(text: str, markdown: bool) -> None:
    n_tokens = len(TOKENIZERS["bytes"].encode(text))
    (chunk,) = chunks(text, chunk_tokens=n_tokens, markdown=markdown, by="bytes")
    assert chunk.strip() == text.strip()


@given(text=TEXTS, markdown=st.booleans())
def test_without_a_limit_a_document_is_one_chunk(text: str, markdown: bool) -> None:
    assert split(text, chunk_tokens=None, markdown=markdown) == [(0, len(text))]


@pytest.mark.parametrize("text", ["", "  \n\n\t"])
@pytest.mark.parametrize("markdown", [False, True])
def test_a_blank_document_is_one_chunk(text: str, markdown: bool) -> None:
    """No document is dropped, so that outputs align with inputs."""
    assert split(text, chunk_tokens=5, markdown=markdown) == [(0, len(text))]


def test_markdown_is_split_at_its_headings_and_plain_text_is_not() -> None:
    text = "one two\n# three\nfour five"
    assert chunks(text, chunk_tokens=5, markdown=True) == ["one two", "# three\nfour five"]
    assert chunks(text, chunk_tokens=5) == ["one two\n# three", "four five"]


def test_one_splitter_splits_both() -> None:
    """In any order, and each time alike."""
    text = "one two\n# three\nfour five"
    splitter = make_splitter(word_tokenizer().to_str(), 5)
    for markdown in (True, False, True, False):
        assert splitter.spans(text, markdown=markdown) == split(
            text, chunk_tokens=5, markdown=markdown
        )


def test_a_tokenizer_that_truncates_or_pads_still_counts_every_token() -> None:
    tokenizer = word_tokenizer()
    tokenizer.enable_truncation(2)
    tokenizer.enable_padding(length=9)
    splitter = make_splitter(tokenizer.to_str(), 3)
    spans = splitter.spans("one two three four five", markdown=False)
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
    assert splitter.spans("one two", markdown=False) == [(0, 7)]


@pytest.mark.parametrize("chunk_tokens", [0, -1, 1.5, True, "128"])
def test_chunk_tokens_must_be_a_positive_integer(chunk_tokens: Any) -> None:
    with pytest.raises(InvalidOptionError, match=f"chunk_tokens is {chunk_tokens!r}; give a pos"):
        make_splitter("{}", chunk_tokens)


@pytest.mark.parametrize("markdown", [False, True])
@pytest.mark.parametrize("tokenizer_json", ["", "{}", "tokenizer.json", "[]", '{"model": 1}'])
def test_what_is_not_a_tokenizer_is_refused(tokenizer_json: str, markdown: bool) -> None:
    """When a text is split: the tokenizer is not read before that."""
    splitter = make_splitter(tokenizer_json, 5)
    with pytest.raises(InvalidOptionError, match=r"not the content of a tokenizer\.json"):
        splitter.spans("text", markdown=markdown)


def test_whole_texts_need_no_tokenizer() -> None:
    assert make_splitter("", None).spans("text", markdown=True) == [(0, 4)]


def test_the_tokenizer_is_not_in_the_representation() -> None:
    assert repr(make_splitter("{}", 5)) == "Splitter(chunk_tokens=5)"


def test_without_the_library_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "semantic_text_splitter", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'jina-local\[chunks\]'"):
        make_splitter("{}", 5)
    make_splitter("{}", None)
