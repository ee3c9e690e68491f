"""Text → tokens: ids as the reference's, the instruction counted right, offsets in code points."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jina_local.errors import InvalidTextsError
from jina_local.spans import token_spans
from jina_local.tokens import TextTokenizer, _slices, read_tokenizer
from support.checkpoints import INSTRUCTIONS
from support.tiny_tokenizers import LAYOUTS, tiny_tokenizer, write_tokenizer

if TYPE_CHECKING:
    from pathlib import Path

    from jina_local import Engine
    from support.tiny_tokenizers import Layout

QUERY, PASSAGE = INSTRUCTIONS["retrieval.query"], INSTRUCTIONS["retrieval.passage"]
TEXTS = st.text(st.characters(exclude_categories=("Cs",)), max_size=60)


@pytest.fixture(scope="module", params=LAYOUTS)
def layout(request: pytest.FixtureRequest) -> Layout:
    return request.param


@pytest.fixture(scope="module")
def tokenizer(layout: Layout, tmp_path_factory: pytest.TempPathFactory) -> TextTokenizer:
    folder = tmp_path_factory.mktemp("tokenizer")
    write_tokenizer(folder, layout)
    return read_tokenizer(folder)


@given(text=TEXTS, instruction=st.sampled_from([QUERY, PASSAGE, "", "Title: "]))
def test_ids_are_those_of_the_joined_text(
    tokenizer: TextTokenizer, text: str, instruction: str
) -> None:
    (tokenized,) = tokenizer.tokenize([text], [instruction])
    assert tokenized.ids.tolist() == tokenizer.tokenizer.encode(instruction + text).ids


@pytest.mark.parametrize("text", ["A", "hello world", "  spaced", "(bracket", "柏林", "🙂", "ﬁne"])
@pytest.mark.parametrize("instruction", [QUERY, PASSAGE])
def test_the_prefix_is_cls_and_instruction_whatever_the_text_begins_with(
    tokenizer: TextTokenizer, text: str, instruction: str
) -> None:
    """Both layouts agree: the words of the instruction, and no token that is of the text."""
    (tokenized,) = tokenizer.tokenize([text], [instruction])
    pieces = tokenizer.tokenizer.encode(instruction + text).tokens[1 : tokenized.n_prefix]
    assert "".join(pieces).replace("▁", "") == instruction.replace(" ", "")


@given(text=TEXTS, instruction=st.sampled_from([QUERY, "Title: ", "the riv", "  ", "ﷺ "]))
def test_the_prefix_ends_with_the_last_token_before_one_that_reaches_beyond_the_instruction(
    tokenizer: TextTokenizer, demo: Engine, text: str, instruction: str
) -> None:
    """By looking at every token, and also where the instruction ends inside of one."""
    for counted in (tokenizer, demo._model.tokenizer):
        (tokenized,) = counted.tokenize([text], [instruction])
        encoding = counted.tokenizer.encode(instruction + text)
        ends = [(encoding.token_to_chars(i) or (0, 0))[1] for i in range(1, len(encoding) - 1)]
        beyond = [i for i, end in enumerate(ends) if end > len(instruction.rstrip())]
        assert tokenized.n_prefix == 1 + (beyond[0] if beyond else len(ends))


def test_a_token_of_instruction_and_text_is_of_the_text(demo: Engine) -> None:
    (tokenized,) = demo._model.tokenizer.tokenize(["er"], ["the riv"])
    assert tokenized.n_prefix == 2


def test_counting_the_instruction_alone_would_be_off_by_one_in_one_layout(tmp_path: Path) -> None:
    """The premise of counting in the joint encoding: alone, its last space is a token."""
    write_tokenizer(tmp_path, "metaspace")
    tokenizer = read_tokenizer(tmp_path)
    (joint,) = tokenizer.tokenize(["A"], [QUERY])
    alone = len(tokenizer.tokenizer.encode(QUERY, add_special_tokens=False).ids)
    assert joint.n_prefix == 1 + alone - 1


def test_a_token_without_extent_at_the_start_is_not_an_instruction(
    tokenizer: TextTokenizer,
) -> None:
    for text in ("", " ", "\u200b", "▁"):
        (tokenized,) = tokenizer.tokenize([text], [""])
        assert tokenized.n_prefix == 1


@given(text=TEXTS.filter(str.strip), instruction=st.sampled_from([QUERY, ""]))
def test_offsets_are_code_points_of_the_text_without_its_instruction(
    tokenizer: TextTokenizer, text: str, instruction: str
) -> None:
    (tokenized,) = tokenizer.tokenize([text], [instruction])
    offsets = tokenized.offsets[tokenized.n_prefix : len(tokenized) - tokenized.n_suffix]
    assert (offsets >= 0).all()
    assert (offsets <= len(text)).all()
    assert not tokenized.offsets[: tokenized.n_prefix].any()
    (plain,) = tokenizer.tokenize([text], [""])
    if plain.n_body == tokenized.n_body:
        expected = plain.offsets[plain.n_prefix : len(plain) - 1]
        assert (offsets[1:] == expected[1:]).all()


def test_offsets_survive_emoji_and_combining_marks(tokenizer: TextTokenizer) -> None:
    text = "Great work 👍🏽 e\u0301t Berlin"
    (tokenized,) = tokenizer.tokenize([text], [PASSAGE])
    pieces = [
        text[start:stop].strip() for start, stop in tokenized.offsets[tokenized.n_prefix : -1]
    ]
    assert "".join(pieces).endswith("Berlin")
    assert text[tokenized.offsets[-2][0] : tokenized.offsets[-2][1]].strip() in "Berlin"


def test_truncation_and_padding_baked_into_the_file_are_off(tmp_path: Path) -> None:
    write_tokenizer(tmp_path, baked_truncation=True, baked_padding=True)
    tokenizer = read_tokenizer(tmp_path)
    (tokenized,) = tokenizer.tokenize(["word " * 500], [""])
    assert len(tokenized) > 500
    assert 1 not in tokenizer.tokenize(["word"], [""])[0].ids


def test_the_limit_is_the_tokenizers_own(tmp_path: Path) -> None:
    write_tokenizer(tmp_path, model_max_length=77)
    assert read_tokenizer(tmp_path).max_tokens == 77
    write_tokenizer(tmp_path, model_max_length=int(1e30))
    assert read_tokenizer(tmp_path).max_tokens == 8192
    (tmp_path / "tokenizer_config.json").unlink()
    assert read_tokenizer(tmp_path).max_tokens == 8192


@given(text=TEXTS, limit=st.integers(2, 40))
def test_truncation_is_the_reference_one(
    layout: Layout, tokenizer: TextTokenizer, text: str, limit: int
) -> None:
    """`<s>`, the first tokens, `</s>`: what truncation=True, max_length=limit gives."""
    reference = tiny_tokenizer(layout)
    reference.enable_truncation(limit)
    (tokenized,) = tokenizer.tokenize([text], [QUERY])
    cut = tokenized.truncated(limit)
    assert cut.ids.tolist() == reference.encode(QUERY + text).ids
    assert len(cut.offsets) == len(cut.ids)
    assert cut.n_prefix + cut.n_suffix <= len(cut)


def test_many_texts_keep_their_order(tokenizer: TextTokenizer) -> None:
    texts = [f"text number {i}" for i in range(2500)]
    together = tokenizer.tokenize(texts, [PASSAGE] * len(texts))
    for i in (0, 1023, 1024, 2499):
        (alone,) = tokenizer.tokenize([texts[i]], [PASSAGE])
        assert np.array_equal(together[i].ids, alone.ids)


def test_a_lone_surrogate_is_named_with_its_text(tokenizer: TextTokenizer) -> None:
    with pytest.raises(InvalidTextsError, match=r"text 1 holds a lone surrogate .*at 1"):
        tokenizer.tokenize(["fine", "x\ud800y"], ["", QUERY])


# Long texts, in slices

WORDS = st.sampled_from(
    [*"aZ09", "word", " ", " ", "  ", "\n", "\t", "柏林", "ก็ดี", "é", "e\u0301", "ﬁ", "."]
)
LETTERS = st.sampled_from(
    ["Größe", "ŉĳŀǆ", "Ελλάδα", "Ώστε", "Москва", "и\u0306", "\u04c1", "서울은", "각\u11a8"]
)
NO_LETTERS = st.sampled_from(
    ["\u0301", "\u0483", "\u11a8", "\u037a", "\u0384", "\u00d7", "\u00b8", "\u3164"]
)
MIXED = st.lists(st.one_of(st.just(" "), WORDS, LETTERS, NO_LETTERS), max_size=60).map("".join)


@settings(max_examples=300)
@given(
    text=st.one_of(st.lists(WORDS, max_size=60).map("".join), MIXED),
    instruction=st.sampled_from([PASSAGE, ""]),
)
def test_slices_of_a_long_text_have_the_tokens_of_the_text(
    tokenizer: TextTokenizer, text: str, instruction: str
) -> None:
    """Ids, and the character that each token counts as being at."""
    (whole,) = tokenizer.tokenize([text], [instruction])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("jina_local.tokens._LONGEST_SLICE", 3)
        patch.setattr("jina_local.tokens._PIECES_PER_CALL", 2)
        (sliced, other) = tokenizer.tokenize([text, "other"], [instruction, ""])
        (sliced_ids, _) = tokenizer.ids([text, "other"], [instruction, ""])
    assert sliced.ids.tolist() == sliced_ids.ids.tolist() == whole.ids.tolist()
    assert sliced_ids.n_prefix == whole.n_prefix
    assert other.ids.tolist() == tokenizer.tokenizer.encode("other").ids
    assert (sliced.n_prefix, sliced.n_suffix) == (whole.n_prefix, whole.n_suffix)
    if text.strip():
        characters = [(i, i + 1) for i in range(len(text))]
        held, sliced_held = (
            token_spans(text, tokens, characters, n_kept=tokens.n_body, edges=True, name="the text")
            for tokens in (whole, sliced)
        )
        assert held.fell_back.tolist() == sliced_held.fell_back.tolist()
        assert np.array_equal(held.spans[~held.fell_back], sliced_held.spans[~held.fell_back])


def test_a_long_text_is_sliced_and_a_text_without_spaces_is_not() -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("jina_local.tokens._LONGEST_SLICE", 10)
        assert _slices("words " * 10)[:2] == [(0, 11), (12, 23)]
        assert _slices("柏林" * 100) == [(0, 200)]
        for word in ("Größe", "čaj", "Ελλάδα", "Москва", "서울은"):
            seam = next(i for i, c in enumerate(f"{word} " * 10) if c == " " and i >= 10)
            assert _slices(f"{word} " * 10)[:1] == [(0, seam)]
        for word in ("柏林", "กรุงเทพ", "e\u0301", "\u00d7", "\u0384"):
            assert len(_slices(f"{word} " * 10)) == 1
        assert _slices("exactly 10") == [(0, 10)]


@given(texts=st.lists(TEXTS, max_size=5), instruction=st.sampled_from(["", QUERY, PASSAGE]))
def test_ids_without_offsets_are_the_same_ids(
    texts: list[str], instruction: str, tokenizer: TextTokenizer
) -> None:
    instructions = [instruction] * len(texts)
    found = tokenizer.ids(texts, instructions)
    expected = tokenizer.tokenize(texts, instructions)
    assert [one.ids.tolist() for one in found] == [one.ids.tolist() for one in expected]
    assert [one.n_prefix for one in found] == [one.n_prefix for one in expected]
    assert [one.n_suffix for one in found] == [one.n_suffix for one in expected]
