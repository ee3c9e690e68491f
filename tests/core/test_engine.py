"""The engine's surface: row i is text i, nothing is lost, bad input is refused before any work."""

from __future__ import annotations

import dataclasses
import re
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from jina_local import Embeddings, Engine, JinaLocalError
from jina_local.errors import (
    DimensionsError,
    EngineClosedError,
    InvalidOptionError,
    InvalidTextsError,
    TextTooLongError,
    TruncationWarning,
    UnknownTaskError,
)
from support.checkpoints import INSTRUCTIONS, TASKS, TINY, Checkpoint, TinyConfig, write_tiny
from support.oracle import Oracle
from support.tiny_tokenizers import tiny_tokenizer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

TEXTS = st.lists(st.text("abc déß柏林🙂,. ", max_size=80), min_size=1, max_size=8)
MODES = (None, *TASKS)
SHORT_LIMIT = 64


@pytest.fixture(scope="module")
def short(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """The tiny model with a limit of 64 tokens."""
    folder = tmp_path_factory.mktemp("short")
    write_tiny(folder, config=TinyConfig(max_positions=SHORT_LIMIT), delta_factor=100.0)
    with Engine.load(folder, device="cpu") as engine:
        yield engine


def words(n: int) -> str:
    return " ".join(f"word{i % 97}" for i in range(n))


# What the vectors are


@pytest.mark.parametrize("task", MODES)
def test_vectors_are_the_oracles_over_instruction_and_text(
    engine: Engine, tiny: Checkpoint, task: str | None
) -> None:
    """From text to vector, against transformers + PEFT: adapter and instruction together."""
    oracle, tokenizer = Oracle(tiny.config, tiny.weights), tiny_tokenizer("whitespace+metaspace")
    texts = ["a", "Berlin is the capital of Germany.", "柏林是德国的首都", "", words(90)]
    vectors = engine.embed(texts, task=task).vectors
    for text, vector in zip(texts, vectors, strict=True):
        ids = tokenizer.encode(INSTRUCTIONS.get(task or "", "") + text).ids
        assert abs(vector - oracle.embedding(ids, task).numpy()).max() <= 1e-6


def test_roles_are_tasks_with_their_instructions(engine: Engine) -> None:
    texts = ["one text", "and another"]
    documents, queries = engine.embed_documents(texts), engine.embed_queries(texts)
    assert np.array_equal(documents.vectors, engine.embed(texts, task="retrieval.passage").vectors)
    assert np.array_equal(queries.vectors, engine.embed(texts, task="retrieval.query").vectors)
    assert abs(documents.vectors - queries.vectors).max() > 1e-2


def test_instruction_false_is_the_adapter_alone(engine: Engine) -> None:
    (alone,) = engine.embed(["x y"], task="retrieval.query", instruction=False).vectors
    (joined,) = engine.embed(
        [INSTRUCTIONS["retrieval.query"] + "x y"], task="retrieval.query", instruction=False
    ).vectors
    (full,) = engine.embed_queries(["x y"]).vectors
    assert abs(joined - full).max() <= 1e-6
    assert abs(alone - full).max() > 1e-2


@given(texts=TEXTS, data=st.data())
@settings(max_examples=40)
def test_the_same_text_has_the_same_vector_whatever_its_neighbours(
    engine: Engine, texts: list[str], data: st.DataObject
) -> None:
    """Row order, batch invariance and mixed tasks, for any budget of tokens per pass."""
    tasks = data.draw(st.lists(st.sampled_from(MODES), min_size=len(texts), max_size=len(texts)))
    order = data.draw(st.permutations(range(len(texts))))
    budget = data.draw(st.integers(1, 400))
    rebatched = Engine(engine._model, batch_tokens=budget)
    together = rebatched.embed([texts[i] for i in order], task=[tasks[i] for i in order])
    for position, i in enumerate(order):
        (alone,) = engine.embed([texts[i]], task=tasks[i]).vectors
        assert abs(together.vectors[position] - alone).max() <= 1e-6


@given(texts=TEXTS, d=st.integers(1, TINY.hidden_size))
@settings(max_examples=40)
def test_any_dimension_is_the_renormalized_prefix_and_of_unit_length(
    engine: Engine, texts: list[str], d: int
) -> None:
    full = engine.embed(texts, task="text-matching", normalize=False).vectors
    cut = engine.embed(texts, task="text-matching", dimensions=d).vectors
    assert cut.shape == (len(texts), d)
    assert abs(np.linalg.norm(cut, axis=1) - 1).max() <= 1e-5
    prefix = full[:, :d] / np.linalg.norm(full[:, :d], axis=1, keepdims=True)
    assert abs(cut - prefix).max() <= 1e-6


def test_one_call_with_mixed_tasks_is_the_separate_calls(engine: Engine) -> None:
    texts = [words(n) for n in (1, 30, 5, 60, 12, 3)]
    mixed = engine.embed(texts, task=list(MODES)).vectors
    for row, task in enumerate(MODES):
        separate = engine.embed([texts[row]], task=task).vectors[0]
        assert abs(mixed[row] - separate).max() <= 1e-6


def test_an_empty_list_has_no_rows_and_an_empty_text_has_a_vector(engine: Engine) -> None:
    nothing = engine.embed([], dimensions=7)
    assert nothing.vectors.shape == (0, 7)
    assert nothing.vectors.dtype == np.float32
    assert len(nothing) == 0
    empty = engine.embed_documents([""])
    assert np.linalg.norm(empty.vectors) == pytest.approx(1)
    assert engine.embed([""]).token_counts.tolist() == [2]


def test_embeddings_are_frozen_and_no_array(engine: Engine) -> None:
    embeddings = engine.embed(["a", "b"])
    assert isinstance(embeddings, Embeddings)
    assert len(embeddings) == 2
    assert embeddings.vectors.dtype == np.float32
    assert embeddings.token_counts.dtype == embeddings.windows.dtype == np.int64
    assert embeddings.truncated.dtype == bool
    assert not hasattr(embeddings, "__array__")
    with pytest.raises(dataclasses.FrozenInstanceError):
        embeddings.vectors = embeddings.vectors  # type: ignore[misc]


def test_token_counts_include_specials_and_instruction(engine: Engine) -> None:
    tokenizer = tiny_tokenizer("whitespace+metaspace")
    expected = len(tokenizer.encode(INSTRUCTIONS["retrieval.passage"] + "a few words").ids)
    assert engine.embed_documents(["a few words"]).token_counts.tolist() == [expected]


def test_progress_counts_finished_texts(engine: Engine) -> None:
    seen: list[int] = []
    small_steps = Engine(engine._model, batch_tokens=50)
    small_steps.embed([words(n) for n in range(1, 12)], progress=seen.append)
    assert seen == sorted(seen)
    assert seen[-1] == 11
    assert len(seen) > 1


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_lower_precision_gives_the_same_vector_to_rounding(tiny: Checkpoint, dtype: str) -> None:
    texts = [words(n) for n in (1, 20, 60)]
    exact = Engine.load(tiny.folder, device="cpu").embed_documents(texts).vectors
    rounded = Engine.load(tiny.folder, device="cpu", dtype=dtype).embed_documents(texts).vectors
    assert rounded.dtype == np.float32
    assert (exact * rounded).sum(axis=1).min() >= 0.9995


def test_surrounding_autocast_and_defaults_change_nothing(engine: Engine) -> None:
    expected = engine.embed_documents(["autocast would round"]).vectors
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert np.array_equal(engine.embed_documents(["autocast would round"]).vectors, expected)
    torch.set_default_dtype(torch.float64)
    try:
        assert np.array_equal(engine.embed_documents(["autocast would round"]).vectors, expected)
    finally:
        torch.set_default_dtype(torch.float32)


def test_threads_get_the_single_threaded_results(engine: Engine) -> None:
    jobs = [(words(n), MODES[n % 6], 1 + n) for n in range(24)]
    expected = [engine.embed([t], task=task, dimensions=d).vectors for t, task, d in jobs]
    start = threading.Barrier(6)

    def run(worker: int) -> list[tuple[int, np.ndarray]]:
        start.wait()
        mine = range(worker, len(jobs), 6)
        return [
            (i, engine.embed([jobs[i][0]], task=jobs[i][1], dimensions=jobs[i][2]).vectors)
            for i in mine
            for _ in range(3)
        ]

    with ThreadPoolExecutor(6) as pool:
        for results in pool.map(run, range(6)):
            for i, vectors in results:
                assert abs(vectors - expected[i]).max() <= 1e-6


# Texts longer than the model


def test_defaults_are_error_for_queries_and_windows_for_everything_else(short: Engine) -> None:
    long = words(200)
    with pytest.raises(TextTooLongError):
        short.embed_queries([long])
    with pytest.raises(TextTooLongError):
        short.embed([long], task="retrieval.query")
    for embeddings in (
        short.embed_documents([long]),
        short.embed([long]),
        short.embed([long], task="text-matching"),
        short.embed_queries([long], on_overflow="window"),
    ):
        assert embeddings.windows[0] > 1
        assert not embeddings.truncated[0]


def test_error_names_the_text_its_tokens_and_the_limit(short: Engine) -> None:
    texts = ["fine", words(200), words(300)]
    n_tokens = short.embed(texts, task="retrieval.query", on_overflow="window").token_counts[1]
    message = rf"text 1 has {n_tokens} tokens .* takes 64 \(2 texts are too long\).*'window'"
    with pytest.raises(TextTooLongError, match=message) as caught:
        short.embed_queries(texts)
    assert isinstance(caught.value, ValueError)


def test_truncate_is_reported_and_is_the_vector_of_the_beginning(short: Engine) -> None:
    long = words(200)
    embeddings = short.embed_documents(["short", long], on_overflow="truncate")
    assert embeddings.truncated.tolist() == [False, True]
    assert embeddings.windows.tolist() == [1, 1]
    assert embeddings.token_counts[1] == SHORT_LIMIT
    changed_end = short.embed_documents([long + " and an end"], on_overflow="truncate")
    assert abs(embeddings.vectors[1] - changed_end.vectors[0]).max() <= 1e-6


def test_window_reports_and_hears_the_end(short: Engine) -> None:
    long = words(200)
    first, other = short.embed_documents([long]), short.embed_documents([long + " xyz xyz xyz"])
    assert abs(first.vectors - other.vectors).max() > 1e-4
    assert first.token_counts[0] > SHORT_LIMIT


def test_a_text_of_exactly_the_limit_is_one_window(short: Engine) -> None:
    tokens = tiny_tokenizer("whitespace+metaspace")
    text = next(
        t for t in ("a " * n for n in range(1, 100)) if len(tokens.encode(t).ids) == SHORT_LIMIT
    )
    for mode in ("error", "truncate", "window"):
        embeddings = short.embed([text], on_overflow=mode)
        assert (embeddings.windows[0], embeddings.truncated[0]) == (1, False)
    assert short.embed([text + "a"]).windows[0] == 2


def test_windows_are_one_mean_over_every_token_once(short: Engine, tiny: Checkpoint) -> None:
    """Against the definition: hidden states of each well-formed window, its core, one mean."""
    from jina_local.windows import margin_for, plan_windows

    oracle = Oracle(short_config := TinyConfig(max_positions=SHORT_LIMIT), tiny.weights)
    assert short_config.hidden_size == TINY.hidden_size
    instruction = INSTRUCTIONS["retrieval.passage"]
    text = words(150)
    encoding = tiny_tokenizer("whitespace+metaspace").encode(instruction + text)
    ends = [end for _, end in encoding.offsets[1:-1]]
    n_prefix = 1 + sum(end <= len(instruction.rstrip()) for end in ends)
    prefix, body, suffix = encoding.ids[:n_prefix], encoding.ids[n_prefix:-1], encoding.ids[-1:]
    capacity = SHORT_LIMIT - n_prefix - 1
    whole = np.array([[0, len(body)]])
    windows = plan_windows(len(body), whole, capacity, margin_for(capacity))
    pooled = []
    for window in windows:
        ids = prefix + body[window.start : window.stop] + suffix
        states = oracle.hidden_states(ids, "retrieval.passage")
        (core,) = window.pieces
        core_start = n_prefix + core.start - window.start
        core_stop = n_prefix + core.stop - window.start
        if window is windows[0]:
            core_start = 0
        if window is windows[-1]:
            core_stop = len(ids)
        pooled.append(states[core_start:core_stop])
    tokens = torch.cat(pooled)
    assert len(tokens) == len(encoding.ids)
    expected = torch.nn.functional.normalize(tokens.mean(0), dim=0).numpy()
    embeddings = short.embed_documents([text])
    assert embeddings.windows[0] == len(windows) > 2
    assert abs(embeddings.vectors[0] - expected).max() <= 1e-6


# Bad input, refused before any work


@pytest.fixture
def no_work() -> Callable[[int], None]:
    """A progress callback that fails if anything is computed."""

    def fail(n: int) -> None:
        pytest.fail(f"computed {n} texts")

    return fail


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ("a lone string", r"texts is a str; give a list of strings, even for one text"),
        (b"bytes", r"texts is a bytes; give a list"),
        ({"a": 1}, r"texts is a dict"),
        ({"a", "b"}, r"texts is a set"),
        (None, r"texts is a NoneType; give a list of strings"),
        (["fine", 3], r"text 1 is a int \(3\), not a string"),
        (["fine", None], r"text 1 is a NoneType"),
        ([["nested"]], r"text 0 is a list"),
        ([float("nan")], r"text 0 is a float \(nan\)"),
    ],
)
def test_texts_must_be_a_list_of_strings(
    engine: Engine, texts: Any, message: str, no_work: Callable[[int], None]
) -> None:
    for embed in (engine.embed, engine.embed_documents, engine.embed_queries):
        with pytest.raises(InvalidTextsError, match=message) as caught:
            embed(texts, progress=no_work)
        assert isinstance(caught.value, TypeError)


@pytest.mark.parametrize("task", ["clustering", "query", "retrieval_query", "", 3, "Separation"])
def test_an_unknown_task_is_refused_and_the_five_are_listed(
    engine: Engine, task: Any, no_work: Callable[[int], None]
) -> None:
    with pytest.raises(UnknownTaskError) as caught:
        engine.embed(["a"], task=task, progress=no_work)
    assert repr(task) in str(caught.value)
    assert all(repr(known) in str(caught.value) for known in TASKS)
    assert isinstance(caught.value, ValueError)
    with pytest.raises(UnknownTaskError):
        engine.embed(["a", "b"], task=[None, task], progress=no_work)
    with pytest.raises(UnknownTaskError):
        engine.embed([], task=task)


def test_one_task_per_text_means_one_per_text(engine: Engine) -> None:
    with pytest.raises(InvalidOptionError, match="task has 1 names for 2 texts"):
        engine.embed(["a", "b"], task=["separation"])


@pytest.mark.parametrize("dimensions", [0, -1, TINY.hidden_size + 1, True, False, 3.5, "8", 8.0])
def test_dimensions_must_be_an_integer_in_the_models_width(
    engine: Engine, dimensions: Any, no_work: Callable[[int], None]
) -> None:
    for embed in (engine.embed, engine.embed_documents, engine.embed_queries):
        with pytest.raises(DimensionsError, match=r"give an integer in 1…64") as caught:
            embed(["a"], dimensions=dimensions, progress=no_work)
        assert repr(dimensions) in str(caught.value)
        assert isinstance(caught.value, ValueError)


def test_numpy_integers_are_integers(engine: Engine) -> None:
    assert engine.embed(["a"], dimensions=np.int64(8)).vectors.shape == (1, 8)


@pytest.mark.parametrize("on_overflow", ["raise", "", True, 0])
def test_unknown_overflow_is_refused(
    engine: Engine, on_overflow: Any, no_work: Callable[[int], None]
) -> None:
    with pytest.raises(InvalidOptionError, match="give 'error', 'truncate', 'window', or None"):
        engine.embed(["a"], on_overflow=on_overflow, progress=no_work)


@pytest.mark.parametrize("option", [{"normalize": "no"}, {"legacy": 1}])
def test_switches_are_true_or_false(engine: Engine, option: dict[str, Any]) -> None:
    with pytest.raises(InvalidOptionError, match="give True or False"):
        engine.embed(["a"], **option)


def test_legacy_needs_normalizing(engine: Engine) -> None:
    with pytest.raises(InvalidOptionError, match="needs normalize=True"):
        engine.embed(["a"], legacy=True, normalize=False)


@pytest.mark.parametrize("on_overflow", ["window", "truncate"])
def test_a_limit_without_room_for_the_text_is_an_error(tmp_path: Path, on_overflow: Any) -> None:
    """Cutting all of the text would give every text the same vector."""
    instruction = INSTRUCTIONS["retrieval.passage"]
    limit = len(tiny_tokenizer("whitespace+metaspace").encode(instruction).ids)
    write_tiny(tmp_path, config=TinyConfig(max_positions=limit))
    message = rf"text 0: {limit} tokens of instruction .* no room for the text in {limit};"
    with Engine.load(tmp_path, device="cpu") as small:
        with pytest.raises(TextTooLongError, match=message):
            small.embed_documents(["many words here"], on_overflow=on_overflow)
        assert small.embed(["a b"], on_overflow=on_overflow).windows[0] == 1


def test_the_callers_callback_runs_in_the_callers_modes(engine: Engine) -> None:
    modes = []
    engine.embed(["a"], progress=lambda _: modes.append(torch.is_inference_mode_enabled()))
    assert modes == [False]


def test_a_misspelt_option_is_a_type_error(engine: Engine) -> None:
    with pytest.raises(TypeError, match="dimension"):
        engine.embed(["a"], dimension=8)  # type: ignore[call-arg]


@pytest.mark.parametrize("option", [{"device": "tpu"}, {"dtype": "int8"}, {"batch_tokens": 0}])
def test_load_refuses_unknown_options(tiny: Checkpoint, option: dict[str, Any]) -> None:
    (value,) = option.values()
    with pytest.raises(InvalidOptionError, match=str(value)):
        Engine.load(tiny.folder, **option)


@pytest.mark.parametrize("batch_tokens", [0, -1, True, 1.5, "64"])
def test_a_batch_has_a_positive_number_of_tokens(tiny: Checkpoint, batch_tokens: Any) -> None:
    """Whichever way an engine is made."""
    message = re.escape(f"batch_tokens is {batch_tokens!r}; give an integer of at least 1")
    with pytest.raises(InvalidOptionError, match=message):
        Engine.load("no/such/model", batch_tokens=batch_tokens)
    with Engine.load(tiny.folder, device="cpu") as engine:
        with pytest.raises(InvalidOptionError, match=message):
            Engine(engine._model, batch_tokens=batch_tokens)
        assert len(Engine(engine._model, batch_tokens=np.int64(64)).embed(["a"])) == 1  # type: ignore[arg-type]


# Fine-tunes


def test_a_fine_tune_offers_its_own_tasks_and_has_no_roles(tmp_path: Path) -> None:
    config = TinyConfig(tasks=("legal.query",), task_instructions={"legal.query": "Find: "})
    write_tiny(tmp_path, config=config)
    with Engine.load(tmp_path, device="cpu") as engine:
        assert engine.tasks == ("legal.query",)
        assert len(engine.embed(["a"], task="legal.query")) == 1
        with pytest.raises(UnknownTaskError, match=r"'retrieval.passage'.*'legal.query'"):
            engine.embed_documents(["a"])


# What the model says of itself


def test_properties(engine: Engine) -> None:
    assert engine.tasks == TASKS
    assert engine.dimension == TINY.hidden_size
    assert engine.max_tokens == TINY.max_positions
    assert (engine.device, engine.dtype) == ("cpu", "float32")


# encode


@pytest.mark.parametrize("task", [*MODES, ""])
def test_encode_is_embed_under_the_names_of_the_original(engine: Engine, task: str | None) -> None:
    texts = ["one", "two words", ""]
    expected = engine.embed(texts, task=task or None, dimensions=16).vectors
    assert np.array_equal(engine.encode(texts, task=task, truncate_dim=16), expected)


def test_encode_of_one_text_is_one_vector(engine: Engine) -> None:
    one = engine.encode("one", task="separation")
    assert one.shape == (TINY.hidden_size,)
    assert abs(one - engine.encode(["one"], task="separation")[0]).max() == 0


def test_encode_cuts_with_one_warning(short: Engine) -> None:
    texts = ["short", words(200), words(300)]
    with pytest.warns(TruncationWarning, match="2 of 3 texts were cut to 64 tokens; first: 1") as w:
        vectors = short.encode(texts, task="retrieval.query")
    assert len(w) == 1
    expected = short.embed_queries(texts, on_overflow="truncate").vectors
    assert np.array_equal(vectors, expected)


def test_encode_takes_a_max_length(engine: Engine, short: Engine) -> None:
    with pytest.warns(TruncationWarning):
        cut = engine.encode([words(200)], task="retrieval.passage", max_length=SHORT_LIMIT)
    expected = short.embed_documents([words(200)], on_overflow="truncate").vectors
    assert abs(cut - expected).max() <= 1e-6
    for bad in (1, "5", 5.5, True):
        with pytest.raises(InvalidOptionError, match=f"max_length is {bad!r}; give an integer"):
            engine.encode(["a"], max_length=bad)  # type: ignore[arg-type]


def test_encode_takes_the_engines_own_device(engine: Engine) -> None:
    assert engine.encode(["a"], device="cpu").shape == (1, TINY.hidden_size)
    assert engine.encode(["a"], device=torch.device("cpu")).shape == (1, TINY.hidden_size)  # type: ignore[arg-type]


def test_encode_without_normalizing(engine: Engine) -> None:
    raw = engine.encode(["a"], normalize_embeddings=False)
    assert np.array_equal(raw, engine.embed(["a"], normalize=False).vectors)


def test_encode_uses_the_checkpoints_truncate_dim(tmp_path: Path) -> None:
    import json

    write_tiny(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"truncate_dim": 8}))
    with Engine.load(tmp_path, device="cpu") as engine:
        assert engine.encode(["a"]).shape == (1, 8)
        assert engine.encode(["a"], truncate_dim=16).shape == (1, 16)


@pytest.mark.parametrize(
    "option",
    [{"output_value": "token_embeddings"}, {"convert_to_tensor": True}, {"device": "cuda:7"}],
)
def test_encode_refuses_what_it_would_not_do(engine: Engine, option: dict[str, Any]) -> None:
    with pytest.raises(InvalidOptionError, match=next(iter(option))):
        engine.encode(["a"], **option)


# Lifetime


def test_a_closed_engine_says_so_and_lets_go_of_its_weights(tiny: Checkpoint) -> None:
    engine = Engine.load(tiny.folder, device="cpu")
    table = weakref.ref(engine._model.encoder.embedding.table)
    engine.close()
    engine.close()
    assert table() is None
    assert repr(engine) == "Engine(closed)"
    for use in (lambda: engine.embed(["a"]), lambda: engine.tasks, lambda: engine.encode("a")):
        with pytest.raises(EngineClosedError, match="closed: load it again") as caught:
            use()
        assert isinstance(caught.value, JinaLocalError | RuntimeError)


# The demo model


def test_the_demo_model_announces_itself(caplog: pytest.LogCaptureFixture) -> None:
    with Engine.load("demo", device="cpu"):
        assert "demo model" in caplog.text
        assert "English" in caplog.text
        assert "not jina-embeddings-v3" in caplog.text


def test_the_demo_model_finds_meaning_without_shared_words(demo: Engine) -> None:
    documents = [
        "A vehicle with four wheels and an engine.",
        "A dish of raw vegetables with dressing.",
        "A person who plays a musical instrument.",
    ]
    scores = demo.embed_queries(["car", "salad", "violinist"]).vectors @ (
        demo.embed_documents(documents).vectors.T
    )
    assert scores.argmax(axis=1).tolist() == [0, 1, 2]
