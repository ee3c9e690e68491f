"""A limit of tokens that a caller sets, and the ids that splitters count."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jina_local import Engine
from jina_local.errors import (
    EngineClosedError,
    InvalidOptionError,
    InvalidTextsError,
    TextTooLongError,
)
from support.checkpoints import INSTRUCTIONS, TASKS, TinyConfig, write_tiny

if TYPE_CHECKING:
    from collections.abc import Iterator

LIMIT = 40
TEXTS = st.lists(st.text("abc déß柏林🙂,. ", max_size=120), min_size=1, max_size=5)


@pytest.fixture(scope="module")
def short(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """The same weights as `engine`, in a model that takes no more than the limit."""
    folder = tmp_path_factory.mktemp("short")
    write_tiny(folder, config=TinyConfig(max_positions=LIMIT), delta_factor=100.0)
    with Engine.load(folder, device="cpu") as engine:
        yield engine


def outcome(engine: Engine, texts: list[str], **options: Any) -> Any:
    try:
        found = engine.embed(texts, **options)
    except TextTooLongError as error:
        return str(error)
    return found


@given(
    texts=TEXTS,
    task=st.sampled_from((None, *TASKS)),
    on_overflow=st.sampled_from((None, "error", "truncate", "window")),
)
def test_a_limit_is_what_a_shorter_model_would_do(
    texts: list[str], task: str | None, on_overflow: Any, engine: Engine, short: Engine
) -> None:
    options = {"task": task, "on_overflow": on_overflow}
    found = outcome(engine, texts, max_tokens=LIMIT, **options)
    expected = outcome(short, texts, **options)
    assert isinstance(found, str) == isinstance(expected, str)
    if isinstance(found, str):
        assert found == expected
        return
    np.testing.assert_allclose(found.vectors, expected.vectors, rtol=0, atol=1e-6)
    assert found.token_counts.tolist() == expected.token_counts.tolist()
    assert found.truncated.tolist() == expected.truncated.tolist()
    assert found.windows.tolist() == expected.windows.tolist()


@pytest.mark.parametrize("role", ["embed_documents", "embed_queries"])
def test_roles_take_the_limit_too(role: str, engine: Engine, short: Engine) -> None:
    text = ["a long text without an end " * 20]
    found = getattr(engine, role)(text, max_tokens=LIMIT, on_overflow="truncate")
    expected = getattr(short, role)(text, on_overflow="truncate")
    assert found.truncated.all()
    np.testing.assert_allclose(found.vectors, expected.vectors, rtol=0, atol=1e-6)


@pytest.mark.parametrize("limit", [None, 512])
def test_the_models_own_limit_is_the_default(limit: int | None, engine: Engine) -> None:
    text = ["long text " * 100]
    limit = limit and min(limit, engine.max_tokens)
    assert np.array_equal(engine.embed(text, max_tokens=limit).vectors, engine.embed(text).vectors)


@pytest.mark.parametrize("limit", [0, -1, True, 1.5, "40", 10**6])
def test_a_limit_is_a_number_of_tokens_that_the_model_takes(limit: Any, engine: Engine) -> None:
    expected = re.escape(f"is {limit!r}") + f".*{engine.max_tokens}"
    with pytest.raises(InvalidOptionError, match=expected):
        engine.embed(["a"], max_tokens=limit)


def test_a_limit_without_room_for_the_instruction_says_so(engine: Engine) -> None:
    with pytest.raises(TextTooLongError):
        engine.embed_documents(["a"], max_tokens=3)
    assert engine.embed(["a"], max_tokens=3).windows.tolist() == [1]


# tokenize


@given(text=st.text("abc déß柏林🙂,.\n ", max_size=200))
def test_as_many_ids_as_the_engine_counts_without_specials(text: str, engine: Engine) -> None:
    ids = engine.tokenize(text)
    assert all(type(one) is int for one in ids)
    assert len(ids) + 2 == engine.embed([text]).token_counts[0]


def test_ids_are_never_cut_and_never_instructed(engine: Engine, short: Engine) -> None:
    text = "a long text without an end " * 20
    assert len(short.tokenize(text)) > short.max_tokens
    assert short.tokenize(text) == engine.tokenize(text)
    instruction = engine.tokenize(INSTRUCTIONS["retrieval.passage"])
    assert instruction
    assert engine.tokenize(text)[: len(instruction)] != instruction
    assert engine.tokenize("") == []


@pytest.mark.parametrize("text", [None, 5, ["a"], b"a"])
def test_only_a_string_has_ids(text: Any, engine: Engine) -> None:
    with pytest.raises(InvalidTextsError, match=type(text).__name__):
        engine.tokenize(text)


def test_a_closed_engine_counts_nothing(tmp_path: Any) -> None:
    write_tiny(tmp_path)
    engine = Engine.load(tmp_path, device="cpu")
    engine.close()
    with pytest.raises(EngineClosedError):
        engine.tokenize("a")
