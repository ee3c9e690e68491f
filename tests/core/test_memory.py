"""Memory that runs out: passes get smaller, and nothing is lost but time."""

from __future__ import annotations

import dataclasses
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from jina_local import ChunkedText, Engine
from jina_local.errors import (
    DeviceMemoryError,
    InvalidTextsError,
    NonFiniteVectorError,
    TextTooLongError,
)
from jina_local.text_embedder import _MOST_TOKENS_PER_CHARACTER

if TYPE_CHECKING:
    from collections.abc import Callable

ERRORS: dict[str, Callable[[], Exception]] = {
    "torch": lambda: torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
    "cpu": lambda: RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"),
    "mps": lambda: RuntimeError("MPS backend out of memory (MPS allocated: 18.12 GB)"),
    "python": MemoryError,
}
EACH = pytest.mark.parametrize("error", ERRORS.values(), ids=ERRORS.keys())
LENGTHS = st.lists(st.integers(0, 60), min_size=1, max_size=12)
LETTERS = "abcdfijklmop"  # each is a token
LONGEST = 80  # tokens that no text of so many words reaches, with its instruction


class Scarce:
    """An encoder that has memory for so many tokens; the rest of the engine is real.

    Attributes:
        passes: The tokens of every pass that was tried.
        failed: Those that there was no memory for.
    """

    def __init__(self, encoder: Any, room: int, error: Callable[[], Exception]) -> None:
        self.encoder = encoder
        self.room = room
        self.error = error
        self.passes: list[int] = []
        self.failed: list[int] = []

    def __call__(self, batch: Any) -> torch.Tensor:
        n_tokens = len(batch.ids)
        self.passes.append(n_tokens)
        if n_tokens > self.room:
            self.failed.append(n_tokens)
            raise self.error()
        hidden: torch.Tensor = self.encoder(batch)
        return hidden


def with_room_for(
    room: int,
    engine: Engine,
    error: Callable[[], Exception] = MemoryError,
    batch_tokens: int | None = None,
) -> tuple[Engine, Scarce]:
    """An engine with the same weights and less memory."""
    scarce: Any = Scarce(engine._model.encoder, room, error)
    model = dataclasses.replace(engine._model, encoder=scarce)
    return Engine(model, batch_tokens=batch_tokens), scarce


def texts_of(lengths: list[int]) -> list[str]:
    """Texts of so many words of one token each; no two of up to 12 texts are the same."""
    return [" ".join(LETTERS[(i * k + i) % 12] for k in range(n)) for i, n in enumerate(lengths)]


def assert_same(found: Any, expected: Any) -> None:
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)


def test_the_longest_text_fits(engine: Engine) -> None:
    """Else the tests below would be about one text that does not fit."""
    assert engine.embed_documents(texts_of([60])).token_counts.max() <= LONGEST


@settings(max_examples=40)
@given(
    lengths=LENGTHS,
    room=st.integers(LONGEST, 400),
    batch_tokens=st.one_of(st.none(), st.integers(1, 1000)),
)
def test_every_text_gets_its_own_vector_however_little_memory_there_is(
    lengths: list[int], room: int, batch_tokens: int | None, engine: Engine
) -> None:
    texts = texts_of(lengths)
    poor, scarce = with_room_for(room, engine, batch_tokens=batch_tokens)
    found, expected = poor.embed_documents(texts), engine.embed_documents(texts)
    assert_same(found.vectors, expected.vectors)
    assert found.token_counts.tolist() == expected.token_counts.tolist()
    assert sum(scarce.passes) - sum(scarce.failed) == expected.token_counts.sum()


@settings(max_examples=40)
@given(calls=st.lists(LENGTHS, min_size=1, max_size=4), room=st.integers(LONGEST, 400))
def test_a_pass_that_failed_is_never_tried_at_more_than_half_its_size_again(
    calls: list[list[int]], room: int, engine: Engine
) -> None:
    poor, scarce = with_room_for(room, engine)
    for lengths in calls:
        poor.embed(texts_of(lengths), task="text-matching")
    assert all(later <= earlier // 2 for earlier, later in pairwise(scarce.failed))


@EACH
def test_what_fits_is_remembered(error: Callable[[], Exception], engine: Engine) -> None:
    texts = texts_of([20] * 16)
    each = int(engine.embed(texts[:1]).token_counts[0])
    poor, scarce = with_room_for(4 * each, engine, error)
    poor.embed(texts)
    assert scarce.failed == [16 * each, 8 * each]
    poor.embed(texts)
    poor.embed(texts[::-1])
    assert len(scarce.failed) == 2
    assert scarce.passes[2:] == [4 * each] * 12


def test_without_trouble_nothing_is_split(engine: Engine) -> None:
    texts = texts_of([5, 50, 20])
    rich, scarce = with_room_for(10_000, engine)
    assert scarce.passes == []
    found = rich.embed(texts)
    assert scarce.passes == [found.token_counts.sum()]


@settings(max_examples=25)
@given(documents=st.lists(LENGTHS, min_size=1, max_size=4), room=st.integers(100, 400))
def test_chunks_in_their_context_lose_nothing_either(
    documents: list[list[int]], room: int, engine: Engine
) -> None:
    chunked = []
    for lengths in documents:
        text, spans = "", []
        for one in texts_of([n // 8 + 1 for n in lengths]):
            spans.append((len(text), len(text) + len(one)))
            text += one + " "
        chunked.append(ChunkedText(text, spans))
    expected = [one.vectors for one in engine.embed_chunks(chunked, window_tokens=100)]
    poor, _ = with_room_for(room, engine)
    found = [one.vectors for one in poor.embed_chunks(chunked, window_tokens=100)]
    again, _ = with_room_for(room, engine)
    streamed = [one.vectors for one in again.iter_chunks(chunked, window_tokens=100)]
    assert len(found) == len(streamed) == len(expected)
    for one, other, wanted in zip(found, streamed, expected, strict=True):
        assert_same(one, wanted)
        assert_same(other, wanted)


@given(lengths=LENGTHS, room=st.integers(LONGEST, 200))
@settings(max_examples=25)
def test_progress_only_grows_and_ends_at_all_texts(
    lengths: list[int], room: int, engine: Engine
) -> None:
    poor, scarce = with_room_for(room, engine)
    seen: list[int] = []
    poor.embed(texts_of(lengths), progress=seen.append)
    assert seen == sorted(seen)
    assert seen[-1] == len(lengths)
    assert len(seen) == len(scarce.passes) - len(scarce.failed)


@EACH
def test_one_text_that_does_not_fit_is_named_with_what_to_do(
    error: Callable[[], Exception], engine: Engine
) -> None:
    texts = texts_of([3, 60, 3])
    longest = int(engine.embed(texts).token_counts.max())
    poor, _ = with_room_for(longest - 1, engine, error)
    with pytest.raises(DeviceMemoryError) as refused:
        poor.embed(texts)
    message = str(refused.value)
    assert isinstance(refused.value, MemoryError)
    for part in (f"one text of {longest} tokens", "on cpu", "smaller dtype", "limit of tokens"):
        assert part in message
    assert_same(poor.embed(texts[::2]).vectors, engine.embed(texts[::2]).vectors)


def test_windows_are_what_has_to_fit_not_texts(engine: Engine) -> None:
    text = texts_of([150])
    poor, _ = with_room_for(80, engine)
    with pytest.raises(DeviceMemoryError):
        poor.embed(text)
    found = poor.embed(text, max_tokens=80)
    assert_same(found.vectors, engine.embed(text, max_tokens=80).vectors)
    assert found.windows[0] > 1


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("CUDA error: device-side assert triggered"),
        ValueError("out of memory"),
        KeyboardInterrupt(),
        ZeroDivisionError(),
    ],
    ids=lambda error: type(error).__name__,
)
def test_other_errors_pass_through_as_they_are(error: BaseException, engine: Engine) -> None:
    def raising() -> Any:
        raise error

    poor, scarce = with_room_for(1, engine, raising)
    with pytest.raises(type(error)) as passed:
        poor.embed(texts_of([5, 5]))
    assert passed.value is error
    assert len(scarce.passes) == 1
    scarce.room = 10_000
    poor.embed(texts_of([5, 5]))
    assert scarce.passes[1] == scarce.passes[0]


def test_memory_that_runs_out_in_the_middle_costs_no_finished_pass(engine: Engine) -> None:
    """What was added before stays, and is added once."""
    texts = texts_of([20] * 12)
    each = int(engine.embed(texts[:1]).token_counts[0])
    poor, scarce = with_room_for(10_000, engine, batch_tokens=4 * each)

    def less_from_now_on(finished: int) -> None:
        if finished == 4:
            scarce.room = 2 * each

    found = poor.embed(texts, progress=less_from_now_on)
    assert scarce.passes == [4 * each, 4 * each, *[2 * each] * 4]
    assert_same(found.vectors, engine.embed(texts).vectors)


@settings(max_examples=30)
@given(lengths=LENGTHS, passes=st.integers(1, 3), batch_tokens=st.integers(20, 120))
def test_a_list_is_taken_a_few_passes_at_a_time_and_every_row_is_its_own_text(
    lengths: list[int], passes: int, batch_tokens: int, engine: Engine
) -> None:
    texts = texts_of(lengths)
    tasks = [engine.tasks[i % len(engine.tasks)] for i in range(len(texts))]
    expected = engine.embed(texts, task=tasks)
    small = Engine(engine._model, batch_tokens=batch_tokens)
    finished: list[int] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("jina_local.text_embedder._PASSES_PER_GROUP", passes)
        found = small.embed(texts, task=tasks, progress=finished.append)
    assert_same(found.vectors, expected.vectors)
    for name in ("token_counts", "truncated", "windows"):
        assert getattr(found, name).tolist() == getattr(expected, name).tolist()
    assert finished == sorted(finished)
    assert finished[-1] == len(texts)


def test_a_text_that_is_refused_is_refused_before_any_pass(engine: Engine) -> None:
    rich, scarce = with_room_for(10_000, engine, batch_tokens=20)
    with pytest.raises(TextTooLongError, match="text 2 has"):
        rich.embed(texts_of([5, 5, 60, 5]), task="separation", max_tokens=50, on_overflow="error")
    assert scarce.passes == []


@pytest.mark.parametrize("late", ["\ufdfa" * 8, " ".join(LETTERS * 5)], ids=["NFKC", "long"])
def test_a_text_of_a_later_group_is_refused_before_any_pass_too(late: str, engine: Engine) -> None:
    """By its own number, and however few characters its many tokens are made from."""
    rich, scarce = with_room_for(10_000, engine, batch_tokens=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("jina_local.text_embedder._PASSES_PER_GROUP", 1)
        with pytest.raises(TextTooLongError, match=r"text 3 has \d+ tokens"):
            rich.embed([*texts_of([5, 5, 5]), late, "a"], max_tokens=50, on_overflow="error")
        assert scarce.passes == []
        rich.embed([*texts_of([5, 5, 5]), "\ufdfa"], max_tokens=50, on_overflow="error")
        assert len(scarce.passes) == 4


def test_a_text_that_cannot_be_encoded_is_refused_before_any_pass(engine: Engine) -> None:
    rich, scarce = with_room_for(10_000, engine, batch_tokens=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("jina_local.text_embedder._PASSES_PER_GROUP", 1)
        with pytest.raises(InvalidTextsError, match="text 2"):
            rich.embed(["a", "b", "\ud800", "c"])
    assert scarce.passes == []


def test_a_text_without_room_is_named_by_its_own_number(engine: Engine) -> None:
    limit = engine.embed_documents([""]).token_counts[0]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("jina_local.text_embedder._PASSES_PER_GROUP", 1)
        small = Engine(engine._model, batch_tokens=1)
        with pytest.raises(TextTooLongError, match=r"text 2: .* leave no room"):
            small.embed_documents(["", "", "a b"], max_tokens=int(limit))


@given(st.text(max_size=60))
def test_no_character_is_more_tokens_than_the_engine_counts_on(engine: Engine, text: str) -> None:
    if text.isprintable():
        most = _MOST_TOKENS_PER_CHARACTER * len(text) + 2
        assert engine.embed([text]).token_counts[0] <= most


def test_what_the_model_spoils_is_named_by_its_row(engine: Engine) -> None:
    class Spoiled(Scarce):
        def __call__(self, batch: Any) -> torch.Tensor:
            hidden = super().__call__(batch)
            return hidden * torch.nan if 5 in batch.lengths else hidden

    _, scarce = with_room_for(10_000, engine)
    model = dataclasses.replace(engine._model, encoder=Spoiled(scarce.encoder, 10_000, MemoryError))
    texts = texts_of([9, 8, 7, 3, 6])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("jina_local.text_embedder._PASSES_PER_GROUP", 1)
        with pytest.raises(NonFiniteVectorError, match="for row 3"):
            Engine(model, batch_tokens=1).embed(texts)
