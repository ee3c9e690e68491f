"""Late chunking: the document is read whole, and every span of it gets a vector of its own.

Texts mix scripts, ligatures, emoji and every sort of white space; spans overlap, nest, repeat and
are sometimes blank. The oracle is a loop over characters and tokens of the transformers model.
"""

from __future__ import annotations

import dataclasses
import itertools
import re
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from jina_local import ChunkedText, ChunkEmbeddings, Engine
from jina_local.errors import (
    DimensionsError,
    EmptyChunkError,
    EngineClosedError,
    InvalidOptionError,
    InvalidSpansError,
    InvalidTextsError,
    JinaLocalError,
    NonFiniteVectorError,
    TextTooLongError,
    UnknownTaskError,
)
from jina_local.inference import pooled_vectors
from jina_local.spans import _nearest_tokens
from support.checkpoints import INSTRUCTIONS, TASKS, TINY, write_tiny
from support.late_oracle import (
    LateOracle,
    LateVectors,
    members_of,
    mixed_chunks,
    mixed_texts,
    partitions,
    rejecting_empty,
    span_lists,
)
from support.oracle import Oracle
from support.tiny_tokenizers import LAYOUTS, Layout, tiny_tokenizer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from support.checkpoints import Checkpoint

PASSAGE = "retrieval.passage"
MODES = (None, *(task for task in TASKS if task != "retrieval.query"))
HEADERS = st.sampled_from([None, "Berlin", "  A title, with spaces\n", "柏林", "", " "])
POLICIES = st.sampled_from(["edges", "exclude"])
LATIN_WORDS = (
    "Berlin",
    "is the capital",
    "of\tGermany",
    "its 3.85\n\nmillion",
    "naïve;",
    "(a",
    ".",
)
BERLIN = (
    "Berlin is the capital and largest city of Germany. Its more than 3.85 million inhabitants "
    "make it the most populous city of the European Union.\n\nThe city is also one of the states."
)
SENTENCES = [(0, 50), (51, 142), (144, len(BERLIN))]


@pytest.fixture(scope="module", params=LAYOUTS)
def layout(request: pytest.FixtureRequest) -> Layout:
    return request.param


@pytest.fixture(scope="module")
def late(layout: Layout, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """The tiny model behind each layout of the tokenizer."""
    folder = tmp_path_factory.mktemp("late")
    write_tiny(folder, config=TINY, delta_factor=100.0, tokenizer=layout)
    with Engine.load(folder, device="cpu") as engine:
        yield engine


@pytest.fixture(scope="module")
def model(tiny: Checkpoint) -> Oracle:
    return Oracle(tiny.config, tiny.weights)


@pytest.fixture(scope="module")
def oracle(model: Oracle, layout: Layout) -> LateOracle:
    return LateOracle(model, layout)


@st.composite
def documents(draw: st.DrawFn) -> ChunkedText:
    """A text with spans, or chunks that were cut before, with or without a header."""
    header = draw(HEADERS)
    if draw(st.booleans()):
        return ChunkedText.from_chunks(draw(mixed_chunks()), header)
    text = draw(mixed_texts())
    return ChunkedText(text, draw(span_lists(text)), header)


def distance(a: np.ndarray, b: np.ndarray) -> float:
    """The largest difference of two vectors, in units of the second one's length if above 1."""
    assert a.shape == b.shape
    return float(abs(a - b).max() / max(1.0, np.linalg.norm(b, axis=-1).max()))


def embedded(engine: Engine, document: ChunkedText, **options: Any) -> ChunkEmbeddings:
    with rejecting_empty():
        (result,) = engine.embed_chunks([document], **options)
    return result


def check(result: ChunkEmbeddings, expected: LateVectors) -> None:
    """A document that fits, against the oracle: vectors and everything that is said of them."""
    assert distance(result.vectors, expected.vectors) <= 1e-6
    assert result.token_counts.tolist() == expected.token_counts
    assert result.fell_back.tolist() == expected.fell_back
    assert result.tokens == expected.tokens
    assert result.windows == 1
    assert not result.combined.any()
    assert not result.truncated.any()


# What the vectors are


@given(document=documents(), task=st.sampled_from(MODES), data=st.data())
@settings(max_examples=40)
def test_vectors_and_counts_are_the_oracles(
    late: Engine, oracle: LateOracle, document: ChunkedText, task: str | None, data: st.DataObject
) -> None:
    """Every span rule at once: both layouts, both policies, header, chunks, adapters."""
    options: dict[str, Any] = {
        "special_tokens": data.draw(POLICIES),
        "dimensions": data.draw(st.sampled_from([None, 8, 33])),
        "instruction": data.draw(st.booleans()),
    }
    result = embedded(late, document, task=task, **options)
    check(result, oracle.embed(document, task, **options))


@pytest.mark.parametrize("task", MODES)
@pytest.mark.parametrize("policy", ["edges", "exclude"])
def test_every_task_has_its_adapter_and_its_instruction(
    late: Engine, oracle: LateOracle, task: str | None, policy: Any
) -> None:
    document = ChunkedText(BERLIN, SENTENCES)
    result = embedded(late, document, task=task, special_tokens=policy)
    check(result, oracle.embed(document, task, special_tokens=policy))


def test_the_default_task_is_that_of_documents(late: Engine) -> None:
    document = ChunkedText(BERLIN, SENTENCES)
    named = embedded(late, document, task=PASSAGE, special_tokens="edges", on_overflow="window")
    assert np.array_equal(embedded(late, document).vectors, named.vectors)
    assert distance(embedded(late, document, task=None).vectors, named.vectors) > 1e-2


def test_without_the_instruction_the_adapter_is_alone(late: Engine, oracle: LateOracle) -> None:
    document = ChunkedText(BERLIN, SENTENCES)
    result = embedded(late, document, instruction=False)
    check(result, oracle.embed(document, PASSAGE, instruction=False))
    assert distance(result.vectors, embedded(late, document).vectors) > 1e-2


def test_chunks_hear_the_rest_of_their_document(late: Engine) -> None:
    """What late chunking is for: the same sentence in another document is another vector."""
    _, middle, _ = embedded(late, ChunkedText(BERLIN, SENTENCES)).vectors
    elsewhere = BERLIN.replace("Berlin", "Cairo").replace("Germany", "Egypt")
    shift = len(elsewhere) - len(BERLIN)
    moved = [(start + shift, end + shift) for start, end in SENTENCES[1:2]]
    (other,) = embedded(late, ChunkedText(elsewhere, moved), special_tokens="exclude").vectors
    (same,) = embedded(late, ChunkedText(BERLIN, SENTENCES[1:2]), special_tokens="exclude").vectors
    assert distance(same, middle) <= 1e-6
    assert distance(other, middle) > 1e-4


# The eight invariants


@given(text=mixed_texts(), task=st.sampled_from(MODES), data=st.data())
@settings(max_examples=40)
def test_1_one_chunk_over_the_document_is_the_documents_embedding(
    late: Engine, text: str, task: str | None, data: st.DataObject
) -> None:
    """With or without the white space around the text."""
    start = data.draw(st.integers(0, len(text) - len(text.lstrip())))
    end = data.draw(st.integers(len(text.rstrip()), len(text)))
    whole = late.embed([text], task=task)
    result = embedded(late, ChunkedText(text, [(start, end)]), task=task)
    assert distance(result.vectors, whole.vectors) <= 1e-6
    assert result.token_counts.tolist() == [result.tokens] == whole.token_counts.tolist()
    passage = embedded(late, ChunkedText(text, [(0, len(text))]))
    assert distance(passage.vectors, late.embed_documents([text]).vectors) <= 1e-6


@given(text=mixed_texts(), task=st.sampled_from(MODES), data=st.data())
@settings(max_examples=40)
def test_2_a_partitions_weighted_mean_is_the_documents_embedding(
    late: Engine, text: str, task: str | None, data: st.DataObject
) -> None:
    """Every token is pooled once: none is lost at a cut, and none counts on both sides of it."""
    spans = data.draw(partitions(text))
    result = embedded(late, ChunkedText(text, spans), task=task, normalize=False)
    own = ~result.fell_back
    assert result.token_counts[own].sum() == result.tokens
    weights = result.token_counts[own].astype(np.float64)
    mean = weights @ result.vectors[own].astype(np.float64) / weights.sum()
    (whole,) = late.embed([text], task=task, normalize=False).vectors
    assert distance(mean, whole) <= 1e-6


@given(text=mixed_texts(), policy=POLICIES, data=st.data())
@settings(max_examples=30)
def test_3_as_many_rows_as_spans_and_in_their_order(
    late: Engine, text: str, policy: Any, data: st.DataObject
) -> None:
    """Blank, empty and repeated ones too; shuffling the spans shuffles the rows."""
    spans = data.draw(span_lists(text))
    order = data.draw(st.permutations(range(len(spans))))
    result = embedded(late, ChunkedText(text, spans), special_tokens=policy)
    shuffled = embedded(late, ChunkedText(text, [spans[i] for i in order]), special_tokens=policy)
    assert len(result) == len(result.vectors) == len(spans)
    assert np.isfinite(result.vectors).all()
    assert distance(shuffled.vectors, result.vectors[order]) <= 1e-6
    assert np.array_equal(shuffled.token_counts, result.token_counts[order])
    assert np.array_equal(shuffled.fell_back, result.fell_back[order])
    for i, j in itertools.combinations(range(len(spans)), 2):
        if spans[i] == spans[j]:
            assert np.array_equal(result.vectors[i], result.vectors[j])


@given(found=st.lists(documents(), min_size=2, max_size=5), budget=st.integers(1, 300))
@settings(max_examples=30)
def test_4_documents_do_not_hear_one_another(
    late: Engine, found: list[ChunkedText], budget: int
) -> None:
    """Whatever is run in one pass with them."""
    rebatched = Engine(late._model, batch_tokens=budget)
    for engine in (late, rebatched):
        with rejecting_empty():
            together = engine.embed_chunks(found)
        assert len(together) == len(found)
        for result, document in zip(together, found, strict=True):
            alone = embedded(late, document)
            assert distance(result.vectors, alone.vectors) <= 1e-6
            assert np.array_equal(result.token_counts, alone.token_counts)
            assert np.array_equal(result.fell_back, alone.fell_back)
            assert (result.windows, result.tokens) == (alone.windows, alone.tokens)


@given(document=documents(), data=st.data())
@settings(max_examples=30)
def test_5_a_window_that_the_document_fits_into_changes_no_bit(
    late: Engine, document: ChunkedText, data: st.DataObject
) -> None:
    default = embedded(late, document)
    size = data.draw(st.integers(default.tokens, default.tokens + 50))
    margin = data.draw(st.integers(0, 600))
    windowed = embedded(late, document, window_tokens=size, margin_tokens=margin)
    assert np.array_equal(windowed.vectors, default.vectors)
    assert windowed.windows == 1


@given(
    chunks=st.lists(
        st.lists(st.sampled_from(LATIN_WORDS), min_size=1, max_size=4).map(" ".join),
        min_size=1,
        max_size=6,
    ),
    pad=st.sampled_from(["", " ", "\n", " \t"]),
    header=HEADERS,
)
@settings(max_examples=30)
def test_6_latin_chunks_are_spans_of_their_joined_text(
    late: Engine, chunks: list[str], pad: str, header: str | None
) -> None:
    """What the hosted API does with a list of chunks; white space around them makes no odds."""
    joined = " ".join(chunks)
    ends = list(itertools.accumulate(len(chunk) + 1 for chunk in chunks))
    spans = [(end - 1 - len(chunk), end - 1) for end, chunk in zip(ends, chunks, strict=True)]
    by_spans = embedded(late, ChunkedText(joined, spans, header))
    by_chunks = embedded(late, ChunkedText.from_chunks([pad + c + pad for c in chunks], header))
    assert distance(by_chunks.vectors, by_spans.vectors) <= 1e-6
    assert np.array_equal(by_chunks.token_counts, by_spans.token_counts)
    assert by_chunks.tokens == by_spans.tokens
    assert not by_chunks.fell_back.any()


@given(document=documents(), d=st.integers(1, TINY.hidden_size), policy=POLICIES)
@settings(max_examples=30)
def test_7_any_dimension_is_the_normalized_beginning_of_the_whole(
    late: Engine, document: ChunkedText, d: int, policy: Any
) -> None:
    full = embedded(late, document, normalize=False, special_tokens=policy).vectors
    cut = embedded(late, document, dimensions=d, special_tokens=policy).vectors
    raw = embedded(late, document, dimensions=d, normalize=False, special_tokens=policy).vectors
    assert cut.shape == raw.shape == (len(document.spans), d)
    assert distance(raw, full[:, :d]) <= 1e-6
    assert abs(np.linalg.norm(cut, axis=1) - 1).max() <= 1e-6
    assert distance(cut, full[:, :d] / np.linalg.norm(full[:, :d], axis=1, keepdims=True)) <= 1e-6


@given(chunk=st.integers(0, 39), edited=st.integers(0, 199), policy=POLICIES)
@settings(max_examples=40)
def test_8_a_vector_changes_iff_the_text_of_its_window_does(
    late: Engine, layout: Layout, chunk: int, edited: int, policy: Any
) -> None:
    """200 words of one token each, 40 chunks of 5; within the margin heard, far away not."""
    window, margin = 48, 8
    capacity = window - (len(tiny_tokenizer(layout).encode(INSTRUCTIONS[PASSAGE] + "a").ids) - 1)
    words = [WORDS[i % len(WORDS)] for i in range(200)]
    changed = words.copy()
    changed[edited] = "brown"
    start = 5 * chunk
    away = max(start - edited, edited - (start + 4))
    options: dict[str, Any] = {
        "window_tokens": window, "margin_tokens": margin, "special_tokens": policy,
    }  # fmt: skip
    before, after = (
        embedded(late, in_fives(found), **options).vectors[chunk] for found in (words, changed)
    )
    if away <= margin:
        assert distance(after, before) > 1e-5
    elif away > capacity:
        assert distance(after, before) <= 1e-6


WORDS = ("a", "city", "is", "the", "largest", "of", "river", "dog", "bridge", "to", "old", "and")


def in_fives(words: list[str]) -> ChunkedText:
    """A document whose chunks are five words each."""
    ends = list(itertools.accumulate(len(word) + 1 for word in words))
    starts = [0, *ends[:-1]]
    spans = [(starts[i], ends[i + 4] - 1) for i in range(0, len(words), 5)]
    return ChunkedText(" ".join(words), spans)


def test_words_of_the_last_test_are_one_token_each(layout: Layout) -> None:
    """Its premise: a word more or less far away moves no window."""
    for word in (*WORDS, "brown"):
        assert len(tiny_tokenizer(layout).encode(f"a {word} a").ids) == 5


def test_in_one_window_every_chunk_hears_every_edit(late: Engine) -> None:
    before = embedded(late, ChunkedText(BERLIN, SENTENCES)).vectors
    after = embedded(late, ChunkedText(BERLIN.replace("states", "cities"), SENTENCES)).vectors
    assert (abs(after - before).max(axis=1) > 1e-5).all()


# Special tokens and headers


@given(text=mixed_texts(), data=st.data())
@settings(max_examples=30)
def test_edges_a_span_over_the_text_is_the_documents_embedding_among_any_others(
    late: Engine, text: str, data: st.DataObject
) -> None:
    """Blank spans before and after the text take no edge away from it."""
    padded = " \n" + text + "\n "
    blank = [(0, 1), (0, 0), (len(padded), len(padded)), (len(padded) - 1, len(padded))]
    whole = data.draw(st.sampled_from([(0, len(padded)), (2, len(padded) - 2)]))
    others = [(start + 2, end + 2) for start, end in data.draw(span_lists(text))]
    spans = data.draw(st.permutations([whole, *blank, *others]))
    result = embedded(late, ChunkedText(padded, spans))
    (expected,) = late.embed_documents([padded]).vectors
    assert distance(result.vectors[spans.index(whole)], expected) <= 1e-6


@given(text=mixed_texts(), data=st.data())
@settings(max_examples=30)
def test_edges_belong_to_the_first_and_last_chunk_with_tokens(
    late: Engine, oracle: LateOracle, text: str, data: st.DataObject
) -> None:
    """`<s>` and instruction to the former, `</s>` to the latter; to nothing under `exclude`."""
    document = ChunkedText(text, data.draw(span_lists(text)))
    tokens = oracle.tokens(document, PASSAGE)
    edges = embedded(late, document).token_counts
    exclude = embedded(late, document, special_tokens="exclude").token_counts
    members = members_of(document, tokens, "edges")
    assert exclude.tolist() == [len(chunk.body) for chunk in members]
    assert set(edges - exclude) <= {0, 1, len(tokens.prefix), len(tokens.prefix) + 1}
    fell_back = np.array([chunk.fell_back for chunk in members])
    assert (edges[fell_back] == 1).all()
    if not fell_back.all():
        assert (edges - exclude).max() >= len(tokens.prefix)


def test_every_chunk_that_begins_or_ends_as_the_outermost_does_has_its_edge(late: Engine) -> None:
    text = " Berlin city "
    whole, first, also_first, last, also_last = (0, 13), (0, 7), (1, 8), (8, 12), (7, 13)
    spans = [last, (0, 1), first, whole, also_first, (12, 13), also_last, (0, 0)]
    edges = embedded(late, ChunkedText(text, spans))
    exclude = embedded(late, ChunkedText(text, spans), special_tokens="exclude")
    n_prefix = len(tiny_tokenizer(LAYOUTS[0]).encode(INSTRUCTIONS[PASSAGE]).ids) - 1
    added = edges.token_counts - exclude.token_counts
    assert added.tolist() == [1, 0, n_prefix, n_prefix + 1, n_prefix, 0, 1, 0]
    assert edges.fell_back.tolist() == exclude.fell_back.tolist()
    assert np.flatnonzero(edges.fell_back).tolist() == [1, 5, 7]


@given(text=mixed_texts(), data=st.data(), policy=POLICIES)
@settings(max_examples=25)
def test_a_header_is_heard_and_never_pooled(
    late: Engine, oracle: LateOracle, text: str, data: st.DataObject, policy: Any
) -> None:
    spans = data.draw(span_lists(text))
    with rejecting_empty():
        plain, headed = late.embed_chunks(
            [ChunkedText(text, spans), ChunkedText(text, spans, "Capital of Germany")],
            special_tokens=policy,
        )
    assert np.array_equal(plain.token_counts, headed.token_counts)
    assert np.array_equal(plain.fell_back, headed.fell_back)
    n_header = len(tiny_tokenizer(LAYOUTS[0]).encode("Capital of Germany").ids) - 2
    assert headed.tokens == plain.tokens + n_header
    assert (abs(plain.vectors - headed.vectors).max(axis=1) > 1e-5).all()
    expected = oracle.embed(
        ChunkedText(text, spans, "Capital of Germany"), PASSAGE, special_tokens=policy
    )
    check(headed, expected)


@pytest.mark.parametrize("header", ["", "  ", "\n"])
def test_a_blank_header_is_none(late: Engine, header: str) -> None:
    plain, blank = late.embed_chunks(
        [ChunkedText(BERLIN, SENTENCES), ChunkedText(BERLIN, SENTENCES, header)]
    )
    assert distance(blank.vectors, plain.vectors) <= 1e-6
    assert blank.tokens == plain.tokens


def test_white_space_around_a_header_is_not_part_of_it(late: Engine) -> None:
    bare, padded = late.embed_chunks(
        [ChunkedText(BERLIN, SENTENCES, header) for header in ("A title", " \nA title\t ")]
    )
    assert distance(padded.vectors, bare.vectors) <= 1e-6


# Chunks without tokens


def test_a_chunk_without_a_token_has_the_nearest_ones_vector_and_says_so(
    late: Engine, oracle: LateOracle
) -> None:
    document = ChunkedText(
        "city        dog", [(0, 4), (5, 6), (4, 4), (0, 0), (11, 12), (12, 15), (15, 15)]
    )
    result = embedded(late, document, special_tokens="exclude")
    city, near_city, at_city, before, near_dog, dog, after = result.vectors
    assert result.fell_back.tolist() == [False, True, True, True, True, False, True]
    assert result.token_counts.tolist() == [1] * 7
    for vector in (near_city, at_city, before):
        assert distance(vector, city) <= 1e-6
    for vector in (near_dog, after):
        assert distance(vector, dog) <= 1e-6
    check(result, oracle.embed(document, PASSAGE, special_tokens="exclude"))


def test_a_span_inside_a_token_gets_that_token(late: Engine, oracle: LateOracle) -> None:
    document = ChunkedText("Its inhabitants are many", [(6, 9), (0, 24)])
    result = embedded(late, document)
    assert result.fell_back.tolist() == [True, False]
    check(result, oracle.embed(document, PASSAGE))


@given(document=documents())
@settings(max_examples=30)
def test_strict_refuses_exactly_what_would_fall_back(late: Engine, document: ChunkedText) -> None:
    lenient = embedded(late, document)
    if lenient.fell_back.any():
        with pytest.raises(EmptyChunkError):
            late.embed_chunks([document], strict=True)
    else:
        strict = embedded(late, document, strict=True)
        assert np.array_equal(strict.vectors, lenient.vectors)


def test_strict_names_the_chunk(late: Engine) -> None:
    found = [ChunkedText("fine", [(0, 4)]), ChunkedText("ab   cd", [(0, 2), (3, 4)])]
    message = re.escape("document 1: chunk 1 (characters 3 to 4, ' ') has no token of its own;")
    with pytest.raises(EmptyChunkError, match=message) as caught:
        late.embed_chunks(found, strict=True)
    assert isinstance(caught.value, InvalidSpansError)
    assert isinstance(caught.value, ValueError)


def test_strict_says_if_the_tokens_of_a_chunk_were_cut_off(late: Engine) -> None:
    """Which no other span would mend."""
    document = ChunkedText("a city is the largest of river", [(0, 6), (7, 9), (22, 24), (25, 30)])
    with pytest.raises(EmptyChunkError) as caught:
        late.embed_chunks(
            [document], strict=True, task=None, on_overflow="truncate", window_tokens=5
        )
    assert str(caught.value) == (
        "document 0: chunk 2 (characters 22 to 24, 'of') lost all of its tokens to "
        "on_overflow='truncate' (and 1 other chunks have none); strict=True refuses that"
    )


INVISIBLE = st.lists(st.sampled_from(["\x01", "\x7f", " ", "\u3000", "\u200b", "\u00ad"]))


@given(text=INVISIBLE.map("".join).filter(str.strip), task=st.sampled_from(MODES), data=st.data())
@settings(max_examples=60)
def test_a_text_is_refused_iff_none_of_its_tokens_is_visible(
    late: Engine, oracle: LateOracle, text: str, task: str | None, data: st.DataObject
) -> None:
    """Nothing could tell its chunks from one another, or from those of another such text."""
    apart = ChunkedText.from_chunks([text, " ", text])
    for document in (ChunkedText(text, data.draw(span_lists(text))), apart):
        found = [ChunkedText("fine", [(0, 4)]), document]
        if oracle.tokens(document, task).positions:
            assert len(late.embed_chunks(found, task=task)) == 2
        else:
            with pytest.raises(InvalidSpansError, match="document 1 has no tokens: "):
                late.embed_chunks(found, task=task)


@pytest.mark.parametrize("text", ["\x01 \x01", "\u3000\x7f"])
def test_a_text_of_control_characters_has_no_tokens(late: Engine, text: str) -> None:
    for document in (ChunkedText(text, [(0, 1), (0, 2)]), ChunkedText.from_chunks([text])):
        with pytest.raises(InvalidSpansError, match="document 0 has no tokens: "):
            late.embed_chunks([document])


@given(
    bounds=st.lists(st.tuples(st.integers(0, 30), st.integers(0, 6)), min_size=1, max_size=12).map(
        sorted
    ),
    characters=st.lists(st.integers(0, 40), max_size=8),
)
@settings(max_examples=300)
def test_the_nearest_token_is_the_earliest_of_the_nearest(
    bounds: list[tuple[int, int]], characters: list[int]
) -> None:
    """Against every token's distance; ranges may be empty, overlap and nest."""
    ranges = [(start, start + size) for start, size in bounds]
    found = _nearest_tokens(np.array(characters, dtype=np.int64), np.array(ranges))
    for token, character in zip(found.tolist(), characters, strict=True):
        distances = [max(start - character, character - (end - 1), 0) for start, end in ranges]
        assert token == distances.index(min(distances))


# Chunks that somebody else has cut


@given(chunks=mixed_chunks())
@settings(max_examples=30)
def test_chunks_keep_their_text_and_know_where_it_is(chunks: list[str]) -> None:
    document = ChunkedText.from_chunks(chunks, "title")
    assert document.text == " ".join(chunks)
    ends = list(itertools.accumulate(len(chunk) + 1 for chunk in chunks))
    expected = [(end - 1 - len(chunk), end - 1) for end, chunk in zip(ends, chunks, strict=True)]
    assert list(document.spans) == expected
    assert (document.header, document.tokenized_apart) == ("title", True)
    assert not ChunkedText(document.text, document.spans).tokenized_apart


def test_chunks_that_join_without_a_space_are_still_tokenized_apart(
    late: Engine, oracle: LateOracle
) -> None:
    """The ids are those of each chunk: a cut inside a word is a cut between tokens."""
    document = ChunkedText.from_chunks(["柏林是德", "国的首都", "inhabi", "tants"])
    result = embedded(late, document)
    assert not result.fell_back.any()
    check(result, oracle.embed(document, PASSAGE))


# Bad input, refused before any work


@pytest.fixture
def no_work() -> Callable[[int], None]:
    """A progress callback that fails if anything is computed."""

    def fail(n: int) -> None:
        pytest.fail(f"computed {n} documents")

    return fail


@pytest.mark.parametrize(
    ("spans", "message"),
    [
        ([], "the document has no chunks"),
        ([(0, 1, 2)], "span 0 is (0, 1, 2); give a pair"),
        ([(0,)], "span 0 is (0,); give a pair"),
        ([5], "span 0 is 5; give a pair"),
        ((0, 3), "span 0 is 0; give a pair"),
        ([(0, 1), "ab"], "span 1 is 'ab'; give a pair"),
        ([(0, 1.0)], "span 0 is (0, 1.0); give a pair"),
        ([(0, "1")], "span 0 is (0, '1'); give a pair"),
        ([(None, 1)], "span 0 is (None, 1); give a pair"),
        ([(0, True)], "span 0 is (0, True); give a pair"),
        ([(False, 1)], "span 0 is (False, 1); give a pair"),
        ([(0, np.True_)], f"span 0 is (0, {np.True_!r}); give a pair"),
        ([b"\x00\x03"], "span 0 is b'\\x00\\x03'; give a pair"),
        ([{0, 3}], "span 0 is {0, 3}; give a pair"),
        ([{0: 1, 3: 4}], "span 0 is {0: 1, 3: 4}; give a pair"),
        ([(-1, 2)], "span 0 is (-1, 2); give 0 ≤ start ≤ end ≤ 8"),
        ([(3, 2)], "span 0 is (3, 2); give 0 ≤ start ≤ end ≤ 8"),
        ([(0, 99)], "span 0 is (0, 99); give 0 ≤ start ≤ end ≤ 8"),
        ([(0, 1), (98, 99)], "span 1 is (98, 99); give 0 ≤ start ≤ end ≤ 8"),
        ({(0, 1)}, "spans is a set; give a list"),
        ({(0, 1): "a"}, "spans is a dict; give a list"),
        (b"\x00\x01", "spans is a bytes; give a list"),
        (bytearray(2), "spans is a bytearray; give a list"),
        (None, "spans is a NoneType; give a list"),
        (5, "spans is a int; give a list"),
    ],
)
def test_spans_must_be_pairs_of_integers_inside_the_text(spans: Any, message: str) -> None:
    with pytest.raises(InvalidSpansError, match=re.escape(message)) as caught:
        ChunkedText("one text", spans)
    assert isinstance(caught.value, JinaLocalError)
    assert isinstance(caught.value, ValueError)


@pytest.mark.parametrize(
    ("spans", "message"),
    [
        ([(0, 3), (2, 8)], "span 1 goes back"),
        ([(0, 8), (0, 3)], "span 1 goes back"),
        ([(0, 3)], "characters 3 to 8 (' text') are in none"),
        ([(4, 8)], "characters 0 to 4 ('one ') are in none"),
        ([(0, 2), (4, 8)], "characters 2 to 4 ('e ') are in none"),
    ],
)
def test_chunks_that_are_tokenized_apart_are_all_of_the_text(
    spans: list[tuple[int, int]], message: str
) -> None:
    """What is in none of them would be dropped, and what is in two would be read twice."""
    with pytest.raises(InvalidSpansError, match=re.escape(message)):
        ChunkedText("one text", spans, tokenized_apart=True)
    assert ChunkedText(" one text", [(1, 4), (4, 4), (5, 9)], tokenized_apart=True).tokenized_apart


@pytest.mark.parametrize("text", ["", " ", "\n\t \u3000"])
def test_a_blank_text_is_refused(text: str) -> None:
    with pytest.raises(InvalidSpansError, match=r"(?i)empty|blank|white"):
        ChunkedText(text, [(0, len(text))])
    with pytest.raises(InvalidSpansError, match=r"(?i)empty|blank|white"):
        ChunkedText.from_chunks([text, text])


def test_no_chunks_are_no_document() -> None:
    with pytest.raises(InvalidSpansError):
        ChunkedText.from_chunks([])


@pytest.mark.parametrize("bad", [3, None, b"bytes", ["nested"], 1.5])
def test_text_header_and_chunks_are_strings(bad: Any) -> None:
    kind = type(bad).__name__
    with pytest.raises(InvalidTextsError, match=kind) as caught:
        ChunkedText(bad, [(0, 1)])
    assert isinstance(caught.value, TypeError)
    with pytest.raises(InvalidTextsError, match=kind):
        ChunkedText.from_chunks(["fine", bad])
    if bad is not None:
        with pytest.raises(InvalidTextsError, match=kind):
            ChunkedText("text", [(0, 1)], bad)
        with pytest.raises(InvalidTextsError, match=kind):
            ChunkedText.from_chunks(["text"], bad)


def test_a_chunked_text_is_frozen_and_takes_any_integers() -> None:
    document = ChunkedText("one text", [[np.int64(0), np.int32(3)], (4, 8)])  # type: ignore[list-item]
    assert document.spans == ((0, 3), (4, 8))
    assert isinstance(document.spans, tuple)
    assert all(isinstance(span, tuple) for span in document.spans)
    assert document == ChunkedText("one text", [(0, 3), (4, 8)])
    with pytest.raises(dataclasses.FrozenInstanceError):
        document.text = "another"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("found", "message"),
    [
        ("a lone string", "documents is a str; give a list"),
        (b"bytes", "documents is a bytes; give a list"),
        (ChunkedText("one", [(0, 1)]), "documents is a ChunkedText; give a list"),
        (["a string"], "document 0 is a str ('a string')"),
        ([ChunkedText("fine", [(0, 1)]), None], r"document 1 is a NoneType (None)"),
        ([("text", [(0, 1)])], "document 0 is a tuple (('text', [(0, 1)]))"),
        ([["nested"]], "document 0 is a list (['nested'])"),
        (None, "documents is a NoneType; give a list"),
        (7, "documents is a int; give a list"),
        ({"a": 1}, "documents is a dict; give a list"),
        ({ChunkedText("one", [(0, 1)])}, "documents is a set; give a list"),
        (frozenset[ChunkedText](), "documents is a frozenset; give a list"),
    ],
)
def test_documents_must_be_a_list_of_chunked_texts(
    engine: Engine, found: Any, message: str, no_work: Callable[[int], None]
) -> None:
    with pytest.raises(InvalidTextsError, match=re.escape(message)) as caught:
        engine.embed_chunks(found, progress=no_work)
    assert isinstance(caught.value, TypeError)
    with pytest.raises(InvalidTextsError, match=re.escape(message)):
        list(engine.iter_chunks(found))


BAD_OPTIONS = [
    *(({"window_tokens": bad}, InvalidOptionError)
      for bad in (0, 2, -1, True, 8195, 64.0, "64")),
    *(({"margin_tokens": bad}, InvalidOptionError) for bad in (-1, True, 1.5, "5", None)),
    *(({"special_tokens": bad}, InvalidOptionError) for bad in ("all", "", None, True)),
    *(({"on_overflow": bad}, InvalidOptionError) for bad in ("maybe", "", True, 0, None)),
    *(({"dimensions": bad}, DimensionsError) for bad in (0, 65, True, "8")),
    ({"normalize": "no"}, InvalidOptionError),
    *(({"strict": bad}, InvalidOptionError) for bad in (0, "yes", None)),
    ({"task": "retrieval.query"}, InvalidOptionError),
    *(({"task": bad}, UnknownTaskError) for bad in ("clustering", "passage", "", 3)),
]  # fmt: skip


@pytest.mark.parametrize(("option", "kind"), BAD_OPTIONS, ids=str)
def test_options_are_checked_at_the_call_before_a_document_is_looked_at(
    engine: Engine, option: dict[str, Any], kind: type[Exception], no_work: Callable[[int], None]
) -> None:
    """The message has the value; `iter_chunks` says so at once and pulls nothing."""
    (value,) = option.values()
    pulled: list[int] = []

    def source() -> Iterator[ChunkedText]:
        pulled.append(1)
        yield ChunkedText("a text", [(0, 1)])

    for documents_given in (source(), []):
        with pytest.raises(kind) as caught:
            engine.iter_chunks(documents_given, progress=no_work, **option)
        assert repr(value) in str(caught.value)
        assert isinstance(caught.value, ValueError)
    for listed in ([ChunkedText("a text", [(0, 1)])], []):
        with pytest.raises(kind) as caught:
            engine.embed_chunks(listed, progress=no_work, **option)
        assert repr(value) in str(caught.value)
    assert not pulled


@pytest.mark.parametrize("on_overflow", ["maybe", None])
def test_advice_on_overflow_can_be_followed(engine: Engine, on_overflow: Any) -> None:
    """`None` is a choice for texts and not for documents with chunks."""
    with pytest.raises(InvalidOptionError) as caught:
        engine.embed_chunks([], on_overflow=on_overflow)
    assert str(caught.value).endswith("give 'error', 'truncate', or 'window'")


@pytest.mark.parametrize("progress", [3, "bar", [print]])
def test_progress_is_a_function(engine: Engine, progress: Any) -> None:
    for call in (engine.embed_chunks, engine.iter_chunks, engine.embed):
        with pytest.raises(InvalidOptionError, match=re.escape(f"progress is {progress!r}; give")):
            call([], progress=progress)


def test_queries_are_embedded_whole(engine: Engine) -> None:
    with pytest.raises(InvalidOptionError, match=r"retrieval\.query.*embed_quer"):
        engine.embed_chunks([ChunkedText("a", [(0, 1)])], task="retrieval.query")


@pytest.mark.parametrize("n", [3, TINY.max_positions, np.int64(100)])
def test_windows_of_3_to_the_models_limit_are_fine(engine: Engine, n: Any) -> None:
    result = embedded(engine, ChunkedText("a", [(0, 1)]), window_tokens=n, task=None)
    assert result.windows == 1


def test_a_window_without_room_for_the_text_is_an_error(
    engine: Engine, no_work: Callable[[int], None]
) -> None:
    """Running instruction and header alone would give every chunk the same vector."""
    headed = ChunkedText("many words are here", [(0, 4), (5, 19)], "and in the header " * 20)
    for document, size in ((ChunkedText("many words", [(0, 4)]), 7), (headed, 40)):
        for on_overflow in ("window", "truncate", "error"):
            with pytest.raises(ValueError, match=str(size)) as caught:
                engine.embed_chunks(
                    [document], window_tokens=size, on_overflow=on_overflow, progress=no_work
                )
            assert isinstance(caught.value, JinaLocalError)


def test_a_misspelt_option_is_a_type_error(engine: Engine) -> None:
    with pytest.raises(TypeError, match="late_chunking"):
        engine.embed_chunks([ChunkedText("a", [(0, 1)])], late_chunking=True)  # type: ignore[call-arg]


def test_a_closed_engine_says_so(tiny: Checkpoint) -> None:
    closed = Engine.load(tiny.folder, device="cpu")
    closed.close()
    for call in (closed.embed_chunks, closed.iter_chunks):
        with pytest.raises(EngineClosedError):
            call([ChunkedText("a", [(0, 1)])])


# What comes back


def test_results_are_frozen_and_typed(engine: Engine) -> None:
    result = embedded(engine, ChunkedText(BERLIN, SENTENCES))
    assert isinstance(result, ChunkEmbeddings)
    assert len(result) == 3
    assert result.vectors.dtype == np.float32
    assert result.token_counts.dtype == np.int64
    assert result.fell_back.dtype == result.combined.dtype == result.truncated.dtype == bool
    assert all(len(found) == 3 for found in (
        result.token_counts, result.fell_back, result.combined, result.truncated
    ))  # fmt: skip
    assert (type(result.windows), type(result.tokens)) == (int, int)
    with pytest.raises(dataclasses.FrozenInstanceError):
        result.windows = 2  # type: ignore[misc]


def test_no_documents_are_no_results(engine: Engine) -> None:
    assert engine.embed_chunks([]) == []
    assert list(engine.iter_chunks([])) == []


def test_a_fine_tune_chunks_under_its_own_tasks(tmp_path: Path) -> None:
    config = dataclasses.replace(
        TINY, tasks=("legal.text",), task_instructions={"legal.text": "Text: "}
    )
    write_tiny(tmp_path, config=config)
    with Engine.load(tmp_path, device="cpu") as tuned:
        result = embedded(tuned, ChunkedText(BERLIN, [(0, len(BERLIN))]), task="legal.text")
        expected = tuned.embed([BERLIN], task="legal.text").vectors
        assert distance(result.vectors, expected) <= 1e-6
        with pytest.raises(UnknownTaskError, match=PASSAGE):
            tuned.embed_chunks([ChunkedText("a", [(0, 1)])])


# One document after the other


def endless(pulled: list[int]) -> Iterator[ChunkedText]:
    """Documents without end; a reader that wants them all is stopped."""
    for n in itertools.count():
        assert n < 20_000, "all documents are wanted at once"
        pulled.append(n)
        text = f"document {n} " * (1 + n % 5)
        yield ChunkedText(text, [(0, 8), (0, len(text))])


def test_iter_chunks_is_lazy(engine: Engine) -> None:
    """Documents of 10 to 27 tokens, four passes of 200 at a time."""
    pulled: list[int] = []
    small_steps = Engine(engine._model, batch_tokens=200)
    results = small_steps.iter_chunks(endless(pulled))
    assert not pulled
    for n, result in enumerate(itertools.islice(results, 60)):
        expected = embedded(engine, next(itertools.islice(endless([]), n, None)))
        assert distance(result.vectors, expected.vectors) <= 1e-6
        assert n < len(pulled) <= n + 4 * 200 // 10
    assert len(pulled) > 60 - 1


def no_end_of(document: ChunkedText, pulled: list[int]) -> Iterator[ChunkedText]:
    for n in itertools.count():
        assert n < 20_000, "all documents are wanted at once"
        pulled.append(n)
        yield document


@pytest.mark.parametrize(
    ("document", "most"),
    [
        (ChunkedText("a", [(0, 1)], "and in the header " * 100), 3),  # 400 tokens
        (ChunkedText("a city is the largest " * 100, [(0, 1)]), 3),  # 500 tokens
        (ChunkedText("a", [(0, 1)]), 100),  # 9 tokens
        (ChunkedText("a city", [(0, 1)] * 500), 2),  # 500 vectors
    ],
    ids=["header", "text", "tiny", "vectors"],
)
def test_iter_chunks_reads_ahead_what_a_few_passes_take(
    engine: Engine, document: ChunkedText, most: int
) -> None:
    """Tokens of text, header and instruction count, and so do vectors: four passes of 200."""
    pulled: list[int] = []
    results = Engine(engine._model, batch_tokens=200).iter_chunks(no_end_of(document, pulled))
    next(results)
    assert 1 < len(pulled) <= most


class SourceError(Exception):
    """What a source of documents may raise."""


FINE = [ChunkedText(f"document {n}", [(0, 8), (0, 10)]) for n in range(5)]


def failing_source() -> Iterator[ChunkedText]:
    yield from FINE
    msg = "the disk is gone"
    raise SourceError(msg)


@pytest.mark.parametrize(
    ("bad", "options", "refusal"),
    [
        ("a string", {}, (InvalidTextsError, "document 5 is a str")),
        (ChunkedText("\x01", [(0, 1)]), {}, (InvalidSpansError, "document 5 has no tokens")),
        (ChunkedText("a b", [(1, 2)]), {"strict": True}, (EmptyChunkError, "document 5: chunk 0")),
        (
            ChunkedText("a city " * 20, [(0, 1)]),
            {"on_overflow": "error", "window_tokens": 20},
            (TextTooLongError, "document 5 has 47 tokens"),
        ),
    ],
    ids=["type", "no tokens", "strict", "too long"],
)
@pytest.mark.parametrize("batch_tokens", [16, 4096])
def test_what_comes_before_a_bad_document_is_given_first(
    engine: Engine,
    bad: Any,
    options: dict[str, Any],
    refusal: tuple[type[Exception], str],
    batch_tokens: int,
) -> None:
    """However documents are grouped; progress counts on, and the bad one is named."""
    finished: list[int] = []
    small_steps = Engine(engine._model, batch_tokens=batch_tokens)
    results = small_steps.iter_chunks([*FINE, bad, *FINE], progress=finished.append, **options)
    given = [next(results) for _ in FINE]
    with pytest.raises(refusal[0], match=refusal[1]):
        next(results)
    assert finished == sorted(finished)
    assert finished[-1] == len(FINE)
    for result, expected in zip(given, engine.embed_chunks(FINE), strict=True):
        assert distance(result.vectors, expected.vectors) <= 1e-6


@pytest.mark.parametrize("batch_tokens", [16, 4096])
def test_what_comes_before_an_error_of_the_source_is_given_first(
    engine: Engine, batch_tokens: int
) -> None:
    results = Engine(engine._model, batch_tokens=batch_tokens).iter_chunks(failing_source())
    assert [len(next(results)) for _ in FINE] == [2] * len(FINE)
    with pytest.raises(SourceError, match="the disk is gone"):
        next(results)


def test_an_iterator_does_not_outlive_its_engine(tiny: Checkpoint) -> None:
    engine = Engine.load(tiny.folder, device="cpu", batch_tokens=16)
    results = engine.iter_chunks(endless([]))
    next(results)
    engine.close()
    with pytest.raises(EngineClosedError):
        list(itertools.islice(results, 100))


def test_a_vector_that_is_none_is_named_with_its_document_and_chunk(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def overflowing(*arguments: Any) -> torch.Tensor:
        means = pooled_vectors(*arguments).clone()
        means[4, 3] = torch.inf  # two chunks per document
        return means

    monkeypatch.setattr("jina_local.chunk_embedder.pooled_vectors", overflowing)
    with pytest.raises(NonFiniteVectorError, match="NaN or infinity for document 2, chunk 0:"):
        engine.embed_chunks(FINE)


def test_threads_share_an_engine(engine: Engine) -> None:
    expected = engine.embed_chunks(FINE)

    def run(n: int) -> list[ChunkEmbeddings]:
        return list(engine.iter_chunks(FINE)) if n % 2 else engine.embed_chunks(FINE)

    with ThreadPoolExecutor(4) as pool:
        for found in pool.map(run, range(12)):
            for result, one in zip(found, expected, strict=True):
                assert distance(result.vectors, one.vectors) <= 1e-6
                assert np.array_equal(result.token_counts, one.token_counts)


def test_bfloat16_gives_nearly_the_same_vectors(engine: Engine, tiny: Checkpoint) -> None:
    document = ChunkedText(BERLIN, [*SENTENCES, (0, len(BERLIN)), (14, 16)])
    expected = embedded(engine, document).vectors
    with Engine.load(tiny.folder, device="cpu", dtype="bfloat16") as rounded:
        result = embedded(rounded, document).vectors
    assert result.dtype == np.float32
    assert ((result * expected).sum(axis=1) >= 0.999).all()
    assert not np.array_equal(result, expected)


@given(found=st.lists(documents(), max_size=6), policy=POLICIES, task=st.sampled_from(MODES))
@settings(max_examples=25)
def test_iter_chunks_gives_what_embed_chunks_does_in_the_same_order(
    late: Engine, found: list[ChunkedText], policy: Any, task: str | None
) -> None:
    options: dict[str, Any] = {"special_tokens": policy, "task": task, "dimensions": 24}
    small_steps = Engine(late._model, batch_tokens=64)
    with rejecting_empty():
        listed = late.embed_chunks(found, **options)
    for engine in (late, small_steps):
        results = list(engine.iter_chunks(iter(found), **options))
        assert len(results) == len(listed)
        for result, expected in zip(results, listed, strict=True):
            assert distance(result.vectors, expected.vectors) <= 1e-6
            for name in ("token_counts", "fell_back", "combined", "truncated"):
                assert np.array_equal(getattr(result, name), getattr(expected, name))
            assert (result.windows, result.tokens) == (expected.windows, expected.tokens)


def test_a_bad_document_on_the_way_is_named(engine: Engine) -> None:
    found: list[Any] = [ChunkedText("fine", [(0, 4)]), "not a document"]
    with pytest.raises(InvalidTextsError, match="1"):
        list(engine.iter_chunks(found))


@pytest.mark.parametrize("batch_tokens", [20, 4096])
def test_progress_counts_finished_documents(engine: Engine, batch_tokens: int) -> None:
    small_steps = Engine(engine._model, batch_tokens=batch_tokens)
    found = [document for document, _ in zip(endless([]), range(9), strict=False)]
    for call in (small_steps.embed_chunks, small_steps.iter_chunks):
        seen: list[int] = []
        assert len(list(call(found, progress=seen.append))) == 9
        assert seen == sorted(seen)
        assert seen[-1] == 9
        if batch_tokens == 4096:
            assert seen == [9]
        else:  # the two shortest share a pass, if they are in the same group
            listed = call == small_steps.embed_chunks
            assert seen == [1, 2, 3, 4, 5, 6, 7, *([] if listed else [8]), 9]
