"""Every road of sentence-transformers gives the engine's vectors, or an error that says why not."""

from __future__ import annotations

import pickle
import warnings
from typing import TYPE_CHECKING, Any

import pytest

pytest.importorskip("sentence_transformers", reason="sentence-transformers is not installed")

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from jina_local.errors import (
    DimensionsError,
    InvalidOptionError,
    InvalidTextsError,
    TextTooLongError,
    TruncationWarning,
    UnknownTaskError,
)
from jina_local_sentence_transformers import JinaSentenceTransformer, load
from jina_local_sentence_transformers.task_choice import TaskPrompt
from support.checkpoints import TASKS

if TYPE_CHECKING:
    from collections.abc import Callable

    from sentence_transformers import SentenceTransformer

    from jina_local import Engine
    from support.checkpoints import Checkpoint

MODES = (None, *TASKS)
TOLERANCE = 1e-6
TEXTS = ["ships", "a text of a few words more than the other one", "", " spaces around  ", "ships"]


def assert_equal(found: Any, expected: np.ndarray) -> None:
    assert np.asarray(found).shape == expected.shape
    assert abs(np.asarray(found) - expected).max() <= TOLERANCE


# The same vectors


@pytest.mark.parametrize("task", MODES)
def test_any_task_and_none(model: JinaSentenceTransformer, engine: Engine, task: str) -> None:
    assert_equal(model.encode(TEXTS, task=task), engine.embed(TEXTS, task=task).vectors)


@pytest.mark.parametrize("task", TASKS)
def test_the_name_of_a_prompt_is_the_name_of_a_task(
    model: JinaSentenceTransformer, engine: Engine, task: str
) -> None:
    expected = engine.embed(TEXTS, task=task).vectors
    assert_equal(model.encode(TEXTS, prompt_name=task), expected)
    assert_equal(model.encode(TEXTS, task=task, prompt_name=task), expected)


def test_queries_and_documents(model: JinaSentenceTransformer, engine: Engine) -> None:
    queries, documents = engine.embed_queries(TEXTS).vectors, engine.embed_documents(TEXTS).vectors
    assert_equal(model.encode_query(TEXTS), queries)
    assert_equal(model.encode_document(TEXTS), documents)
    assert_equal(model.encode(TEXTS, prompt_name="query"), queries)
    assert_equal(model.encode(TEXTS, task="document"), documents)


def test_the_text_of_an_instruction_brings_its_adapter(
    model: JinaSentenceTransformer, engine: Engine
) -> None:
    """What frameworks have that call it a prefix."""
    for task in ("retrieval.query", "retrieval.passage"):
        prompt = str(model.prompts[task])
        assert_equal(model.encode(TEXTS, prompt=prompt), engine.embed(TEXTS, task=task).vectors)
    assert_equal(model.encode(TEXTS, prompt=""), engine.embed(TEXTS, task=None).vectors)


@pytest.mark.parametrize("dim", [1, 8, 33, 64])
@pytest.mark.parametrize("task", MODES)
def test_cut_vectors_have_unit_length(
    model: JinaSentenceTransformer, engine: Engine, task: str, dim: int
) -> None:
    expected = engine.embed(TEXTS, task=task, dimensions=dim).vectors
    assert_equal(model.encode(TEXTS, task=task, truncate_dim=dim), expected)
    with model.truncate_embeddings(dim):
        assert model.get_embedding_dimension() == dim
        assert_equal(model.encode(TEXTS, task=task), expected)
    everything = model.encode(TEXTS, task=task, truncate_dim=dim, output_value=None)
    assert_equal(torch.stack([one["sentence_embedding"] for one in everything]), expected)


@settings(max_examples=25)
@given(
    texts=st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=30), max_size=6),
    batch_size=st.integers(1, 7),
)
def test_whatever_the_texts_and_batches(
    model: JinaSentenceTransformer, engine: Engine, texts: list[str], batch_size: int
) -> None:
    found = model.encode_document(texts, batch_size=batch_size)
    if texts:
        assert_equal(found, engine.embed_documents(texts).vectors)
    else:
        assert len(found) == 0


def test_one_text_and_other_forms_of_result(model: JinaSentenceTransformer, engine: Engine) -> None:
    expected = engine.embed_queries(TEXTS).vectors
    assert_equal(model.encode_query(TEXTS[1]), expected[1])
    assert_equal(model.encode_query(TEXTS, convert_to_tensor=True), expected)
    assert_equal(torch.stack(model.encode_query(TEXTS, convert_to_numpy=False)), expected)
    assert_equal(model.similarity(expected, expected[:2]), expected @ expected[:2].T)


def test_token_embeddings_have_the_vector_as_their_mean(
    model: JinaSentenceTransformer, engine: Engine
) -> None:
    found = model.encode_query(TEXTS, output_value="token_embeddings")
    counts = engine.embed_queries(TEXTS).token_counts
    assert [len(one) for one in found] == counts.tolist()
    means = torch.stack([one.mean(0) for one in found])
    assert_equal(torch.nn.functional.normalize(means, dim=1), engine.embed_queries(TEXTS).vectors)


def test_other_tasks_for_roles(tiny: Checkpoint, engine: Engine) -> None:
    other = load(
        tiny.folder,
        device="cpu",
        query_task="text-matching",
        document_task="text-matching",
        default_task="classification",
    )
    matching = engine.embed(TEXTS, task="text-matching").vectors
    assert_equal(other.encode_query(TEXTS), matching)
    assert_equal(other.encode_document(TEXTS), matching)
    assert_equal(other.encode(TEXTS), engine.embed(TEXTS, task="classification").vectors)


def test_a_model_in_another_process_is_the_same(
    model: JinaSentenceTransformer, engine: Engine
) -> None:
    """What a pool of processes sends to each of them, and gets from them."""
    sent = pickle.loads(pickle.dumps(model))  # noqa: S301
    assert_equal(sent.encode_query(TEXTS), engine.embed_queries(TEXTS).vectors)


def test_prompts_survive_being_sent() -> None:
    prompt = pickle.loads(pickle.dumps(TaskPrompt("an instruction: ", "a task")))  # noqa: S301
    assert (prompt, prompt.task) == ("an instruction: ", "a task")


@pytest.mark.slow
def test_several_processes(model: JinaSentenceTransformer, engine: Engine) -> None:
    found = model.encode_query(TEXTS * 4, device=["cpu", "cpu"])
    assert_equal(found, engine.embed_queries(TEXTS * 4).vectors)


# The published modules' mistakes: each is made there, and not here


def test_published_queries_and_documents_fail(
    published: SentenceTransformer, model: JinaSentenceTransformer
) -> None:
    for name in ("encode_query", "encode_document"):
        with pytest.raises(ValueError, match="Unsupported task"):
            getattr(published, name)(TEXTS)
        assert len(getattr(model, name)(TEXTS)) == len(TEXTS)


@pytest.mark.parametrize("task", ["retrieval.query", "retrieval.passage"])
def test_published_task_alone_drops_the_instruction(
    published: SentenceTransformer, model: JinaSentenceTransformer, engine: Engine, task: str
) -> None:
    right = engine.embed(TEXTS, task=task).vectors
    assert abs(published.encode(TEXTS, task=task) - right).max() > 1e-2
    assert_equal(model.encode(TEXTS, task=task), right)


@pytest.mark.parametrize("task", TASKS)
def test_published_prompt_alone_drops_the_adapter(
    published: SentenceTransformer, model: JinaSentenceTransformer, engine: Engine, task: str
) -> None:
    right = engine.embed(TEXTS, task=task).vectors
    assert abs(published.encode(TEXTS, prompt_name=task) - right).max() > 1e-2
    assert_equal(model.encode(TEXTS, prompt_name=task), right)


def test_published_cut_is_not_of_unit_length(
    published: SentenceTransformer, model: JinaSentenceTransformer
) -> None:
    cut = published.encode(TEXTS, task="separation", truncate_dim=8)
    assert np.linalg.norm(cut, axis=1).max() < 0.9
    norms = np.linalg.norm(model.encode(TEXTS, task="separation", truncate_dim=8), axis=1)
    assert abs(norms - 1).max() <= TOLERANCE


def test_published_texts_are_stripped(
    published: SentenceTransformer, model: JinaSentenceTransformer, engine: Engine
) -> None:
    """Of tokenizers that keep spaces, this changes the vector."""
    text = ["  leading"]
    right = engine.embed(text, task="separation").vectors
    stripped = engine.embed(["leading"], task="separation").vectors
    assert_equal(published.encode(text, task="separation"), stripped)
    assert_equal(model.encode(text, task="separation"), right)


# Refusals


@pytest.mark.parametrize(
    "change",
    [
        lambda model: model.half(),
        lambda model: model.bfloat16(),
        lambda model: model.to(torch.float64),
        lambda model: model.to("meta"),
    ],
)
def test_moving_and_rounding_are_refused(
    model: JinaSentenceTransformer, engine: Engine, change: Callable[[Any], object]
) -> None:
    with pytest.raises(InvalidOptionError, match=r"load it with device=… and dtype=…"):
        change(model)
    assert_equal(model.encode_query(TEXTS), engine.embed_queries(TEXTS).vectors)


def test_what_changes_nothing_is_allowed(model: JinaSentenceTransformer) -> None:
    assert model.float().to("cpu").eval() is model
    assert model.device == torch.device("cpu")


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"task": "clustering"}, UnknownTaskError, "unknown task 'clustering'"),
        ({"prompt": "query: "}, InvalidOptionError, "the instruction of no task"),
        ({"task": "separation", "prompt_name": "query"}, InvalidOptionError, "do not go together"),
        ({"task": "separation", "prompt": "x"}, InvalidOptionError, "is not the instruction of"),
        ({"task": "retrieval.query", "prompt": ""}, InvalidOptionError, "leave the prompt out"),
        ({"truncate_dim": 65}, DimensionsError, "dimensions is 65"),
        ({"truncate_dim": 0}, DimensionsError, "dimensions is 0"),
        ({"processing_kwargs": {"text": {}}}, InvalidOptionError, "max_seq_length"),
    ],
)
def test_options_that_would_be_wrong_are_refused(
    model: JinaSentenceTransformer, options: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        model.encode(TEXTS, **options)


def test_what_is_no_text_is_refused(model: JinaSentenceTransformer) -> None:
    with pytest.raises(InvalidTextsError):
        model.encode_query([("a", "pair")])
    with pytest.raises(InvalidTextsError, match="lone surrogate"):
        model.encode_query(["\ud800"])


@pytest.mark.parametrize("task", [None, "retrieval.query"])
def test_texts_with_an_instruction_already_are_refused(
    model: JinaSentenceTransformer, task: str | None
) -> None:
    """With a prefix there is no adapter, and with both there are two instructions."""
    instruction = str(model.prompts["query"])
    with pytest.raises(InvalidOptionError, match="leave out the prefix"):
        model.encode([instruction + text for text in TEXTS], task=task)
    quoting = [instruction + "is what the model puts before a query", "another text"]
    assert len(model.encode(quoting, task=task)) == 2


def test_prompts_that_were_changed_are_refused(tiny: Checkpoint) -> None:
    changed = load(tiny.folder, device="cpu")
    changed.prompts["query"] = "query: "
    with pytest.raises(InvalidOptionError, match="'query: ' is not the instruction"):
        changed.encode_query(TEXTS)


def test_long_texts_are_cut_with_a_warning_or_refused(tiny: Checkpoint, engine: Engine) -> None:
    long = ["word " * 50]
    short = load(tiny.folder, device="cpu", max_seq_length=30)
    expected = engine.embed(long, task="separation", max_tokens=30, on_overflow="truncate")
    with pytest.warns(TruncationWarning, match="1 of 1 texts of a batch were cut to 30 tokens"):
        found = short.encode(long, task="separation")
    assert_equal(found, expected.vectors)
    strict = load(tiny.folder, device="cpu", max_seq_length=30, on_overflow="error")
    with pytest.raises(TextTooLongError, match="max_seq_length is 30"):
        strict.encode(long, task="separation")
    strict.max_seq_length = 200
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert_equal(
            strict.encode(long, task="separation"), engine.embed(long, task="separation").vectors
        )


def test_training_on_it_is_refused(model: JinaSentenceTransformer) -> None:
    features = model.preprocess(TEXTS, task="separation")
    with pytest.raises(InvalidOptionError, match="load_for_training"):
        model.train()(features)
    model.eval()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"default_task": "nonsense"}, "unknown task 'nonsense'"),
        ({"query_task": "nonsense"}, "unknown task 'nonsense'"),
        ({"on_overflow": "window"}, "on_overflow is 'window'"),
        ({"base": "demo"}, "is for saved models"),
        ({"truncate_dim": 65}, "dimensions is 65"),
    ],
)
def test_loading_with_wrong_options_is_refused(
    tiny: Checkpoint, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(InvalidOptionError, match=message):
        load(tiny.folder, device="cpu", **options)
