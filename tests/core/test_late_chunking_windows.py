"""Documents longer than a window: every window is well formed, every chunk is in one of them.

The sequences that the encoder is given are recorded. Where the windows begin is the engine's
choice; that each chunk has its context and its vector from one of them is the contract.
"""

from __future__ import annotations

import itertools
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import jina_local.inference
from jina_local import ChunkedText, ChunkEmbeddings, Engine
from jina_local.errors import TextTooLongError, TruncationWarning
from support.checkpoints import TINY, TinyConfig, write_tiny
from support.late_oracle import (
    LateOracle,
    Members,
    Tokens,
    count_of,
    mean_of,
    members_of,
    mixed_texts,
    rejecting_empty,
    span_lists,
)
from support.oracle import Oracle
from support.tiny_tokenizers import LAYOUTS, Layout, tiny_tokenizer

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from support.checkpoints import Checkpoint

PASSAGE = "retrieval.passage"
LIMIT = 64
TASKS = st.sampled_from([None, PASSAGE, "separation"])
POLICIES = st.sampled_from(["edges", "exclude"])
OPTIONS = st.fixed_dictionaries(
    {
        "task": TASKS,
        "special_tokens": POLICIES,
        "window_tokens": st.integers(24, LIMIT),
        "margin_tokens": st.sampled_from([0, 1, 3, 8, 512]),
    }
)
# one token each, in both layouts
WORDS = (
    "a", "city", "is", "the", "largest", "of", "river", "dog", "bridge", "to", "old", "and", "for",
    "document", "by", "area", "population", "runs", "more", "than", "million", "brown", "fox",
    "day", "cold", "bright", "clocks", "in", "it", "was", "nine", "six", "price", "had", "risen",
)  # fmt: skip


@pytest.fixture(scope="module", params=LAYOUTS)
def layout(request: pytest.FixtureRequest) -> Layout:
    return request.param


@pytest.fixture(scope="module")
def short(layout: Layout, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """The tiny model with a limit of 64 tokens, behind each layout of the tokenizer."""
    folder = tmp_path_factory.mktemp("short")
    config = TinyConfig(max_positions=LIMIT)
    write_tiny(folder, config=config, delta_factor=100.0, tokenizer=layout)
    with Engine.load(folder, device="cpu") as engine:
        yield engine


@pytest.fixture(scope="module")
def model(tiny: Checkpoint) -> Oracle:
    """The same weights, which know no limit."""
    return Oracle(tiny.config, tiny.weights)


@pytest.fixture(scope="module")
def oracle(model: Oracle, layout: Layout) -> LateOracle:
    return LateOracle(model, layout)


def words(n: int, first: int = 0) -> str:
    """A text of n tokens in which no long run of words comes twice."""
    return " ".join(WORDS[(i + i * i // 35) % len(WORDS)] for i in range(first, first + n))


def word_spans(text: str, *chunks: tuple[int, int]) -> list[tuple[int, int]]:
    """Word indices, half open, to spans."""
    ends = list(itertools.accumulate(len(word) + 1 for word in text.split(" ")))
    starts = [0, *ends[:-1]]
    return [(starts[i], ends[j - 1] - 1) for i, j in chunks]


@contextmanager
def recorded() -> Iterator[list[list[int]]]:
    """The ids of every sequence that the encoder is given."""
    seen: list[list[int]] = []
    pack = jina_local.inference.pack

    def recording(sequences: Sequence[Any], device: Any) -> Any:
        seen.extend([int(i) for i in sequence.ids] for sequence in sequences)
        return pack(sequences, device)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jina_local.inference, "pack", recording)
        yield seen


def run(
    engine: Engine, document: ChunkedText, **options: Any
) -> tuple[ChunkEmbeddings, list[list[int]]]:
    """One document's result, as the means that they are, and its windows."""
    with recorded() as windows, rejecting_empty():
        (result,) = engine.embed_chunks([document], normalize=False, **options)
    return result, windows


def distance(a: np.ndarray, b: np.ndarray) -> float:
    """The largest difference of two vectors, in units of the second one's length if above 1."""
    assert a.shape == b.shape
    return float(abs(a - b).max() / max(1.0, np.linalg.norm(b, axis=-1).max()))


# The contract, checked on recorded windows


def inner_of(window: list[int], tokens: Tokens) -> list[int]:
    """The part of a well-formed window that is text."""
    before = tokens.prefix + tokens.header
    assert window[: len(before)] == before
    assert window[-1:] == tokens.suffix
    return window[len(before) : -1]


def places_of(inner: list[int], body: list[int]) -> list[int]:
    """Where a window's text may begin in the document; more than one place if it repeats."""
    return [i for i in range(len(body) - len(inner) + 1) if body[i : i + len(inner)] == inner]


class Windows:
    """The recorded windows of one document, and the oracle's hidden states in each."""

    def __init__(
        self, oracle: LateOracle, task: str | None, tokens: Tokens, windows: list[list[int]]
    ) -> None:
        self.tokens = tokens
        self.found: list[tuple[int, int, list[list[float]]]] = []
        for window in windows:
            inner = inner_of(window, tokens)
            assert inner
            places = places_of(inner, tokens.body)
            assert places, "a window is no slice of the document"
            states = oracle.states(window, task)
            self.found += [(place, place + len(inner), states) for place in places]

    def around(self, start: int, stop: int, margin: int) -> list[tuple[int, list[list[float]]]]:
        """Windows with tokens start … stop and the margin around them, or all that there is."""
        left, right = max(0, start - margin), min(len(self.tokens.body), stop + margin)
        return [(a, states) for a, b, states in self.found if a <= left and right <= b]


def check(
    oracle: LateOracle,
    document: ChunkedText,
    result: ChunkEmbeddings,
    windows: list[list[int]],
    *,
    task: str | None,
    window_tokens: int = LIMIT,
    margin_tokens: int = 512,
    special_tokens: Any = "edges",
) -> None:
    """Everything that is promised of a document at any length."""
    tokens = oracle.tokens(document, task)
    capacity = window_tokens - len(tokens.window(0, 0))
    margin = min(margin_tokens, capacity // 4)
    assert all(len(window) <= window_tokens for window in windows)
    assert result.windows == len(windows)
    assert result.tokens == len(tokens)
    assert not result.truncated.any()
    if len(tokens.body) <= capacity:
        assert windows == [tokens.window(0, len(tokens.body))]
    seen = Windows(oracle, task, tokens, windows)
    for row, chunk in enumerate(members_of(document, tokens, special_tokens)):
        start, stop = chunk.body[0], chunk.body[-1] + 1
        assert chunk.body == list(range(start, stop))
        assert result.fell_back[row] == chunk.fell_back
        assert result.token_counts[row] == count_of(tokens, chunk)
        assert result.combined[row] == (stop - start > capacity)
        if stop - start > capacity:
            check_combined(seen, chunk, result.vectors[row], margin)
        else:
            check_whole(seen, chunk, result.vectors[row], capacity, margin)


def check_whole(
    seen: Windows, chunk: Members, vector: np.ndarray, capacity: int, margin: int
) -> None:
    """A chunk that fits has its vector from one window, in which it has its context."""
    start, stop = chunk.body[0], chunk.body[-1] + 1
    left, right = min(margin, start), min(margin, len(seen.tokens.body) - stop)
    if left + stop - start + right > capacity:  # as much as there is room for, in the middle
        margin = (capacity - (stop - start)) // 2
    homes = seen.around(start, stop, margin)
    assert homes, f"tokens {start}…{stop} have no window with {margin} tokens around them"
    found = [np.array(mean_of(states, seen.tokens, chunk, first)) for first, states in homes]
    assert min(distance(vector, mean) for mean in found) <= 1e-6


def check_combined(seen: Windows, chunk: Members, vector: np.ndarray, margin: int) -> None:
    """A longer chunk is the mean of all its tokens, each as it is in a window with its context.

    Which window is the engine's choice, so that the mean lies between bounds.
    """
    tokens = seen.tokens
    n_before = len(tokens.prefix) + len(tokens.header)
    options: list[list[list[float]]] = []
    for t in chunk.body:
        homes = seen.around(t, t + 1, margin)
        assert homes, f"token {t} of a long chunk has no window with {margin} tokens around it"
        options.append([states[n_before + t - first] for first, states in homes])
    if chunk.prefix:
        for i in range(len(tokens.prefix)):
            options.append([states[i] for _, _, states in seen.found])
    if chunk.suffix:
        options.append([states[-1] for _, _, states in seen.found])
    lowest = np.mean([np.min(states, axis=0) for states in options], axis=0)
    highest = np.mean([np.max(states, axis=0) for states in options], axis=0)
    assert (lowest - 1e-5 <= vector).all()
    assert (vector <= highest + 1e-5).all()


def test_words_are_one_token_each(layout: Layout) -> None:
    """A premise of the tests below, which count in tokens."""
    for word in WORDS:
        assert len(tiny_tokenizer(layout).encode(f"a {word} a").ids) == 5


# Any document, any spans


@given(data=st.data(), options=OPTIONS)
@settings(max_examples=30)
def test_every_chunk_of_a_long_document_has_its_window(
    short: Engine, oracle: LateOracle, data: st.DataObject, options: dict[str, Any]
) -> None:
    """Mixed scripts, nested parents longer than a window, blank spans; any size of window."""
    text = data.draw(mixed_texts(20, 60))
    header = data.draw(st.sampled_from([None, "Berlin", "the city"]))
    document = ChunkedText(text, data.draw(span_lists(text)), header)
    result, windows = run(short, document, **options)
    check(oracle, document, result, windows, **options)


@given(data=st.data(), options=OPTIONS)
@settings(max_examples=40)
def test_every_chunk_of_many_words_has_its_window(
    short: Engine, oracle: LateOracle, data: st.DataObject, options: dict[str, Any]
) -> None:
    """As a splitter makes them: end to end, of all sizes, with parents over several of them."""
    n = data.draw(st.integers(60, 260))
    cuts = data.draw(st.lists(st.integers(1, n - 1), min_size=1, max_size=14, unique=True))
    ends = [0, *sorted(cuts), n]
    leaves = list(itertools.pairwise(ends))
    bound = st.sampled_from(ends)
    parents = [
        (min(pair), max(pair))
        for pair in data.draw(st.lists(st.tuples(bound, bound), max_size=3))
        if pair[0] != pair[1]
    ]
    text = words(n, data.draw(st.integers(0, 500)))
    spans = word_spans(text, *data.draw(st.permutations([*leaves, *parents])))
    result, windows = run(short, ChunkedText(text, spans), **options)
    check(oracle, ChunkedText(text, spans), result, windows, **options)


@given(data=st.data())
@settings(max_examples=20)
def test_chunks_that_somebody_else_cut_have_their_windows_too(
    short: Engine, oracle: LateOracle, data: st.DataObject
) -> None:
    sizes = data.draw(st.lists(st.integers(0, 30), min_size=6, max_size=14).filter(sum))
    ends = list(itertools.accumulate(sizes))
    chunks = [words(n, end - n) for n, end in zip(sizes, ends, strict=True)]
    document = ChunkedText.from_chunks(chunks, "the river")
    result, windows = run(short, document)
    check(oracle, document, result, windows, task=PASSAGE)
    assert result.fell_back.tolist() == [n == 0 for n in sizes]


def test_the_models_limit_is_the_default_window(short: Engine) -> None:
    text = words(200)
    document = ChunkedText(text, word_spans(text, *((i, i + 10) for i in range(0, 200, 10))))
    default, windows = run(short, document)
    named, same_windows = run(short, document, window_tokens=LIMIT, margin_tokens=512)
    assert windows == same_windows
    assert np.array_equal(default.vectors, named.vectors)
    assert 1 < default.windows == len(windows)
    assert max(map(len, windows)) <= LIMIT


@pytest.mark.parametrize("extra", [0, 1])
def test_a_document_of_exactly_a_window_is_one_window(
    short: Engine, oracle: LateOracle, extra: int
) -> None:
    n_around = len(oracle.tokens(ChunkedText("a", [(0, 1)]), PASSAGE)) - 1
    text = words(LIMIT - n_around + extra)
    spans = word_spans(text, (0, 20), (20, 40), (40, LIMIT - n_around + extra))
    result, windows = run(short, ChunkedText(text, spans))
    assert result.tokens == LIMIT + extra
    assert (result.windows > 1) == bool(extra)
    check(oracle, ChunkedText(text, spans), result, windows, task=PASSAGE)


@pytest.mark.parametrize("size", [28, 34, 38, 40])
@pytest.mark.parametrize("start", [0, 3, 80, 157, 160])
def test_a_chunk_with_room_for_less_margin_is_in_the_middle_of_a_window(
    short: Engine, oracle: LateOracle, size: int, start: int
) -> None:
    """A capacity of 40 and a margin of 10: from just enough room to none at all."""
    text = words(200)
    n_around = len(oracle.tokens(ChunkedText("a", [(0, 1)]), PASSAGE)) - 1
    chunks = [(start, start + size), (start + 1, start + 2), (0, 10), (190, 200)]
    document = ChunkedText(text, word_spans(text, *chunks))
    options: dict[str, Any] = {"window_tokens": n_around + 40, "margin_tokens": 10}
    result, windows = run(short, document, **options)
    check(oracle, document, result, windows, task=PASSAGE, **options)
    assert not result.combined.any()


def test_text_that_no_window_needs_is_not_run(short: Engine, oracle: LateOracle) -> None:
    """A few chunks of a book cost a few windows."""
    text = words(3000)
    document = ChunkedText(text, word_spans(text, (100, 110), (1500, 1505), (1506, 1512)))
    result, windows = run(short, document)
    check(oracle, document, result, windows, task=PASSAGE)
    assert result.windows == 2
    assert result.tokens > 3000


# Chunks longer than a window


@given(n=st.integers(1, 300), first=st.integers(0, 500))
@settings(max_examples=30)
def test_a_chunk_over_the_document_is_its_embedding_at_any_length(
    short: Engine, n: int, first: int
) -> None:
    """In one window or combined from many, and those are the same."""
    text = words(n, first)
    with recorded() as expected:
        whole = short.embed_documents([text])
    with recorded() as windows:
        (result,) = short.embed_chunks([ChunkedText(text, [(0, len(text))])])
    assert sorted(windows) == sorted(expected)
    assert distance(result.vectors, whole.vectors) <= 1e-6
    assert result.token_counts.tolist() == [result.tokens] == whole.token_counts.tolist()
    assert result.windows == whole.windows[0]
    assert result.combined.tolist() == [whole.windows[0] > 1]


@given(text=mixed_texts(20, 60))
@settings(max_examples=20)
def test_a_chunk_over_a_long_document_of_any_script_is_its_embedding(
    short: Engine, text: str
) -> None:
    with rejecting_empty():
        (result,) = short.embed_chunks([ChunkedText(text, [(0, len(text))])])
    assert distance(result.vectors, short.embed_documents([text]).vectors) <= 1e-6


def test_a_long_chunk_is_reported_and_none_of_its_tokens_is_lost(
    short: Engine, oracle: LateOracle
) -> None:
    text = words(300)
    document = ChunkedText(text, word_spans(text, (0, 10), (20, 220), (220, 230), (290, 300)))
    result, windows = run(short, document)
    assert result.combined.tolist() == [False, True, False, False]
    assert result.token_counts[1] == 200
    check(oracle, document, result, windows, task=PASSAGE)
    for edited in range(20, 220, 7):
        changed = text.split(" ")
        changed[edited] = "z"
        (after,) = short.embed_chunks([ChunkedText(" ".join(changed), word_spans(
            " ".join(changed), (0, 10), (20, 220), (220, 230), (290, 300)
        ))])  # fmt: skip
        assert distance(after.vectors[1], result.vectors[1]) > 1e-5


# Several documents


@given(sizes=st.lists(st.integers(1, 150), min_size=2, max_size=4), budget=st.integers(1, 400))
@settings(max_examples=20)
def test_documents_never_share_a_sequence(
    short: Engine, oracle: LateOracle, sizes: list[int], budget: int
) -> None:
    """Every sequence is a window of one document, and every document has as many as it says."""
    documents = [in_tens(words(n, 1000 * k)) for k, n in enumerate(sizes)]
    rebatched = Engine(short._model, batch_tokens=budget)
    with recorded() as windows:
        together = rebatched.embed_chunks(documents, normalize=False)
    assert sum(result.windows for result in together) == len(windows)
    tokens = [oracle.tokens(document, PASSAGE) for document in documents]
    for window in windows:
        assert any(places_of(inner_of(window, own), own.body) for own in tokens)
    for document, result in zip(documents, together, strict=True):
        alone, own_windows = run(short, document)
        assert distance(result.vectors, alone.vectors) <= 1e-6
        assert result.windows == len(own_windows)
        assert all(window in windows for window in own_windows)


def in_tens(text: str) -> ChunkedText:
    """A document in chunks of ten words."""
    n = len(text.split(" "))
    return ChunkedText(text, word_spans(text, *((i, min(i + 10, n)) for i in range(0, n, 10))))


def test_long_documents_come_one_after_the_other(short: Engine) -> None:
    """`iter_chunks` cuts its passes anywhere, also inside a document."""
    documents = [in_tens(words(n, n)) for n in (5, 200, 63, 1, 120)]
    listed = short.embed_chunks(documents)
    for budget in (1, 100, 10_000):
        rebatched = Engine(short._model, batch_tokens=budget)
        for result, expected in zip(rebatched.iter_chunks(documents), listed, strict=True):
            assert distance(result.vectors, expected.vectors) <= 1e-6
            assert (result.windows, result.tokens) == (expected.windows, expected.tokens)


# What else may happen to what is too long


def test_error_names_the_document_its_tokens_and_the_limit(
    short: Engine, oracle: LateOracle
) -> None:
    documents = [in_tens(words(10)), in_tens(words(200))]
    n_tokens = len(oracle.tokens(documents[1], PASSAGE))
    with recorded() as windows, pytest.raises(TextTooLongError, match=f"{n_tokens}") as caught:
        short.embed_chunks(documents, on_overflow="error")
    assert str(LIMIT) in str(caught.value)
    assert isinstance(caught.value, ValueError)
    assert not windows
    (small,) = short.embed_chunks(documents[:1], on_overflow="error")
    assert small.windows == 1
    with pytest.raises(TextTooLongError, match="14"):
        short.embed_chunks(documents[:1], on_overflow="error", window_tokens=14)


def test_error_counts_the_header(short: Engine, oracle: LateOracle) -> None:
    n_around = len(oracle.tokens(ChunkedText("a", [(0, 1)]), PASSAGE)) - 1
    text = words(LIMIT - n_around)
    (fits,) = short.embed_chunks([ChunkedText(text, [(0, 5)])], on_overflow="error")
    assert fits.tokens == LIMIT
    with pytest.raises(TextTooLongError, match=str(LIMIT)):
        short.embed_chunks([ChunkedText(text, [(0, 5)], "river")], on_overflow="error")


@given(data=st.data(), task=TASKS, special_tokens=POLICIES)
@settings(max_examples=30)
@pytest.mark.filterwarnings("ignore::jina_local.errors.TruncationWarning")
def test_truncate_is_the_beginning_in_one_window_and_says_what_was_cut(
    short: Engine, oracle: LateOracle, data: st.DataObject, task: str | None, special_tokens: Any
) -> None:
    """Chunks keep the tokens that are left to them; without any they fall back."""
    n = data.draw(st.integers(1, 150))
    text = words(n)
    bound = st.integers(0, n)
    pairs = data.draw(st.lists(st.tuples(bound, bound), min_size=1, max_size=6))
    chunks = [(min(pair), max(pair)) for pair in pairs if pair[0] != pair[1]]
    document = ChunkedText(text, [*word_spans(text, *chunks), (0, 0)], "the river")
    size = data.draw(st.integers(24, LIMIT))
    tokens = oracle.tokens(document, task)
    kept = tokens.cut(size - len(tokens.window(0, 0)))
    result, windows = run(
        short,
        document,
        task=task,
        special_tokens=special_tokens,
        on_overflow="truncate",
        window_tokens=size,
    )
    assert windows == [kept.window(0, len(kept.body))]
    assert result.windows == 1
    assert not result.combined.any()
    states = oracle.states(windows[0], task)
    before = members_of(document, tokens, "exclude")
    for row, chunk in enumerate(members_of(document, kept, special_tokens)):
        assert distance(result.vectors[row], np.array(mean_of(states, kept, chunk))) <= 1e-6
        assert result.token_counts[row] == count_of(kept, chunk)
        assert result.fell_back[row] == chunk.fell_back
        lost = not before[row].fell_back and before[row].body[-1] >= len(kept.body)
        assert result.truncated[row] == lost


def test_truncate_warns_once_if_chunks_lost_all_their_tokens(short: Engine) -> None:
    documents = [in_tens(words(n)) for n in (10, 200, 300)]
    with pytest.warns(TruncationWarning) as caught:
        results = short.embed_chunks(documents, on_overflow="truncate")
    assert [warning.filename for warning in caught] == [__file__]
    assert not results[0].truncated.any()
    for result, n in zip(results[1:], (20, 30), strict=True):
        assert len(result) == n
        assert result.fell_back.any()
        assert (result.truncated[result.fell_back]).all()


def test_chunks_that_are_cut_at_the_same_token_have_the_same_vector(
    short: Engine, oracle: LateOracle
) -> None:
    """Where they would have ended, nobody has read."""
    text = words(200)
    n_kept = LIMIT - len(oracle.tokens(ChunkedText("a", [(0, 1)]), PASSAGE)) + 1
    chunks = [(20, n_kept + 1), (20, 150), (20, 200), (20, n_kept), (20, n_kept - 1)]
    (result,) = short.embed_chunks(
        [ChunkedText(text, word_spans(text, *chunks))], on_overflow="truncate"
    )
    assert result.truncated.tolist() == [True, True, True, False, False]
    assert len({row.tobytes() for row in result.vectors[:4]}) == 1
    n_suffix = 1
    assert (result.token_counts[:4] - result.token_counts[4] == 1 + n_suffix).all()


def test_a_blank_chunk_behind_the_cut_loses_nothing(short: Engine) -> None:
    """It has no tokens that could be cut off, and is no reason for a warning."""
    text = words(200)
    behind = word_spans(text, (150, 151))[0][0] - 1
    blank = [(behind, behind + 1), (behind, behind), (len(text), len(text))]
    document = ChunkedText(text, [*word_spans(text, (0, 10)), *blank])
    (result,) = short.embed_chunks([document], on_overflow="truncate")  # warnings are errors here
    assert result.fell_back.tolist() == [False, True, True, True]
    assert not result.truncated.any()
    lost = ChunkedText(text, [*document.spans, *word_spans(text, (150, 151))])
    with pytest.warns(TruncationWarning, match="cut off all of 1 chunks, the first in document 0"):
        short.embed_chunks([lost], on_overflow="truncate")


def test_the_iterator_warns_where_it_is_read(short: Engine) -> None:
    results = short.iter_chunks([in_tens(words(200))], on_overflow="truncate")
    with pytest.warns(TruncationWarning) as caught:
        next(results)
    assert [warning.filename for warning in caught] == [__file__]


def test_truncate_is_silent_if_every_chunk_has_tokens_left(short: Engine) -> None:
    text = words(200)
    (result,) = short.embed_chunks(
        [ChunkedText(text, word_spans(text, (0, 10), (5, 200)))], on_overflow="truncate"
    )
    assert result.truncated.tolist() == [False, True]
    assert not result.fell_back.any()
    cut = short.embed_documents([text], on_overflow="truncate").vectors
    (whole,) = short.embed_chunks([ChunkedText(text, [(0, len(text))])], on_overflow="truncate")
    assert distance(whole.vectors, cut) <= 1e-6
    assert whole.truncated.tolist() == [True]


def test_width_is_that_of_the_session_checkpoint() -> None:
    """A premise of sharing the oracle: a limit is not a weight."""
    assert TinyConfig(max_positions=LIMIT).hidden_size == TINY.hidden_size
