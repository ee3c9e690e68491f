"""What an embedding model is made with, what it refuses, and what its copies have in common."""

from __future__ import annotations

import asyncio
import copy
import gc
import json
import logging
import pickle
import shutil
import subprocess
import sys
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

pytest.importorskip("llama_index.core")

from hypothesis import given
from hypothesis import strategies as st
from llama_index.core import Settings
from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.callbacks import CallbackManager
from llama_index.core.embeddings.utils import resolve_embed_model
from llama_index.core.schema import TextNode
from llama_index.core.storage.kvstore import SimpleKVStore
from llama_index.embeddings.jina_local import JinaV3Embedding
from pydantic import ValidationError

from jina_local import Engine, sharing
from jina_local.errors import DimensionsError, InvalidTextsError
from support.llama import assert_same, demo_embedding

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from support.checkpoints import Checkpoint

TIMEOUT = 60  # seconds after which a lost wake-up fails instead of hanging
PAIRS = ("retrieval", "text-matching", "classification", "separation")
TASKS = ("retrieval.query", "retrieval.passage", "text-matching", "classification", "separation")
COPIES: dict[str, Callable[[JinaV3Embedding], JinaV3Embedding]] = {
    "deepcopy": copy.deepcopy,
    "copy": copy.copy,
    "model_copy": lambda one: one.model_copy(),
    "pickle": lambda one: pickle.loads(pickle.dumps(one)),  # noqa: S301 - our own
}
FROM_DICTS: dict[str, Callable[[JinaV3Embedding], JinaV3Embedding]] = {
    "dict": lambda one: JinaV3Embedding.from_dict(one.to_dict()),
    "json": lambda one: JinaV3Embedding.from_json(one.to_json()),
}
IDENTITY: dict[str, st.SearchStrategy[Any]] = {
    "model_name": st.sampled_from(("demo", "jinaai/jina-embeddings-v3", "/a/folder")),
    "revision": st.sampled_from((None, "main")),
    "adapters": st.sampled_from((None, {"retrieval.query": "a/folder", "separation": "b"})),
    "task": st.sampled_from((None, *PAIRS)),
    "query_task": st.sampled_from((None, *TASKS)),
    "text_task": st.sampled_from((None, *TASKS[1:])),
    "dimensions": st.none() | st.integers(1, 1024),
    "normalize": st.booleans(),
    "max_length": st.none() | st.integers(3, 8194),
    "on_overflow": st.sampled_from((None, "error", "truncate", "window")),
    "late_chunking": st.booleans(),
    "late_chunking_group_by": st.sampled_from((None, "file_path")),
    "late_chunking_metadata": st.sampled_from(("context", "inline", "none")),
    "late_chunking_window": st.none() | st.integers(3, 8194),
}
"""What vectors depend on."""
RUNTIME: dict[str, st.SearchStrategy[Any]] = {
    "device": st.sampled_from((None, "cpu")),
    "dtype": st.sampled_from(("auto", "float32", "bfloat16", "float16")),
    "cache_folder": st.sampled_from((None, "/a/folder")),
    "local_files_only": st.booleans(),
    "max_batch_tokens": st.none() | st.integers(1, 10_000),
    "show_progress": st.booleans(),
    "late_chunking_fallback": st.sampled_from(("warn", "raise", "ignore")),
    "embed_batch_size": st.integers(1, 2048),
    "num_workers": st.none() | st.integers(1, 4),
}
BAD: list[dict[str, Any]] = [
    {"model_name": ""},
    {"model_name": None},
    {"revision": 5},
    {"task": "retrieval.both"},
    {"task": ""},
    {"task": "Retrieval"},
    {"task": ["retrieval"]},
    {"query_task": "retrieval"},
    {"text_task": "passage"},
    {"dimensions": 0},
    {"dimensions": -3},
    {"dimensions": True},
    {"dimensions": 64.0},
    {"dimensions": "64"},
    {"normalize": 1},
    {"normalize": "yes"},
    {"max_length": 2},
    {"max_length": 0},
    {"max_length": "512"},
    {"on_overflow": "warn"},
    {"late_chunking": "true"},
    {"late_chunking": None},
    {"late_chunking_group_by": 3},
    {"late_chunking_metadata": "header"},
    {"late_chunking_window": 0},
    {"device": 0},
    {"dtype": "float64"},
    {"local_files_only": 0},
    {"max_batch_tokens": 0},
    {"show_progress": "no"},
    {"late_chunking_fallback": "error"},
    {"embed_batch_size": 0},
    {"embed_batch_size": -3},
    {"embed_batch_size": 2049},
]
EACH_BAD = pytest.mark.parametrize("bad", BAD, ids=lambda bad: f"{bad}")
INSTANCES = st.fixed_dictionaries({}, optional=IDENTITY | RUNTIME).filter(
    lambda given: not given.get("late_chunking") or given.get("text_task") != "retrieval.query"
)


@pytest.fixture
def own_model(tiny: Checkpoint, tmp_path: Path) -> str:
    """A checkpoint that only one test knows, so that nobody else holds it."""
    return str(shutil.copytree(tiny.folder, tmp_path / "model"))


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """Folder and dtype of every model that was read."""
    read: list[tuple[str, str]] = []
    load = sharing.load_model

    def counting(source: Any, **options: Any) -> Any:
        read.append((str(source.folder), str(options["dtype"]).removeprefix("torch.")))
        return load(source, **options)

    monkeypatch.setattr(sharing, "load_model", counting)
    return read


def watch(embedding: JinaV3Embedding) -> weakref.ref[Any]:
    """Alive as long as the weights are in memory."""
    return weakref.ref(embedding.engine._model.encoder.embedding.table)


def is_alive(weights: weakref.ref[Any]) -> bool:
    gc.collect()
    return weights() is not None


# Fields


def test_it_is_an_embedding_model_of_llama_index() -> None:
    one = JinaV3Embedding()
    assert isinstance(one, BaseEmbedding)
    assert one.class_name() == JinaV3Embedding.class_name() == "JinaV3Embedding"
    assert one.model_name == "jinaai/jina-embeddings-v3"
    assert resolve_embed_model(one) is one


@EACH_BAD
def test_a_wrong_value_is_refused_by_its_name(bad: dict[str, Any]) -> None:
    (name,) = bad
    with pytest.raises(ValidationError) as refused:
        JinaV3Embedding(**bad)
    assert {error["loc"][0] for error in refused.value.errors()} <= {name, "model_name"}
    assert name in str(refused.value)


@EACH_BAD
def test_a_wrong_assignment_is_refused_and_changes_nothing(bad: dict[str, Any]) -> None:
    ((name, value),) = bad.items()
    one = JinaV3Embedding()
    before = dict(one)
    with pytest.raises(ValidationError, match=name):
        setattr(one, name, value)
    assert dict(one) == before


@pytest.mark.parametrize("field", ["task", "query_task", "on_overflow", "dtype"])
def test_choices_are_listed_where_none_of_them_was_made(field: str) -> None:
    with pytest.raises(ValidationError) as refused:
        JinaV3Embedding(**{field: "something"})
    choices = {
        "task": PAIRS,
        "query_task": TASKS,
        "on_overflow": ("error", "truncate", "window"),
        "dtype": ("auto", "float32", "bfloat16", "float16"),
    }[field]
    assert all(repr(choice) in str(refused.value) for choice in choices)


def test_an_option_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ValidationError, match=r"dimension\b"):
        JinaV3Embedding(dimension=64)
    one = JinaV3Embedding()
    with pytest.raises(ValueError, match="on_truncation"):
        one.on_truncation = "warn"


def test_what_only_two_fields_together_make_wrong_is_refused_both_ways() -> None:
    wrong: dict[str, Any] = {"late_chunking": True, "text_task": "retrieval.query"}
    with pytest.raises(ValidationError, match=r"late_chunking.*'retrieval\.passage'"):
        JinaV3Embedding(**wrong)
    for name, value in wrong.items():
        one = JinaV3Embedding(**{key: wrong[key] for key in wrong.keys() - {name}})
        before = dict(one)
        with pytest.raises(ValidationError, match="late_chunking"):
            setattr(one, name, value)
        assert dict(one) == before


def test_a_cache_that_is_none_is_refused_and_changes_nothing() -> None:
    with pytest.raises(TypeError, match="BaseKVStore"):
        JinaV3Embedding(embeddings_cache={})
    one = JinaV3Embedding(embeddings_cache=SimpleKVStore())
    before = one.embeddings_cache
    with pytest.raises(TypeError, match="BaseKVStore"):
        one.embeddings_cache = {}
    assert one.embeddings_cache is before


@given(values=INSTANCES)
def test_an_assignment_is_as_good_as_an_argument(values: dict[str, Any]) -> None:
    one = JinaV3Embedding()
    for name, value in values.items():
        setattr(one, name, value)
    given_at_once = JinaV3Embedding(**values)
    assert one.to_dict() == given_at_once.to_dict()
    for name in RUNTIME:
        assert getattr(one, name) == getattr(given_at_once, name)


def test_model_is_another_name_of_model_name() -> None:
    assert JinaV3Embedding(model="demo").model_name == "demo"
    assert JinaV3Embedding(model="demo").to_dict() == JinaV3Embedding(model_name="demo").to_dict()
    with pytest.raises(ValidationError):
        JinaV3Embedding(model="demo", model_name="other")


def test_a_task_of_the_pair_means_the_pair() -> None:
    one = JinaV3Embedding()
    for spelling in ("retrieval.query", "retrieval.passage", "retrieval"):
        assert JinaV3Embedding(task=spelling).to_dict() == one.to_dict()
    one.task = "retrieval.query"
    assert one.task == "retrieval"


@pytest.mark.parametrize("task", [None, *PAIRS])
@pytest.mark.parametrize("own", [None, "separation"])
def test_queries_and_texts_have_the_tasks_of_the_pair_or_their_own(
    task: str | None, own: str | None, shared_demo: Engine
) -> None:
    pair = task == "retrieval"
    for query_task, text_task in ((own, None), (None, own)):
        one = demo_embedding(task=task, query_task=query_task, text_task=text_task)
        for found, used in (
            (one.get_query_embedding("a b"), query_task or ("retrieval.query" if pair else task)),
            (one.get_text_embedding("a b"), text_task or ("retrieval.passage" if pair else task)),
        ):
            assert_same([found], shared_demo.embed(["a b"], task=used).vectors)


@pytest.mark.parametrize(
    "options",
    [
        {"dimensions": 32},
        {"normalize": False},
        {"normalize": False, "dimensions": 7},
        {"max_length": 40, "on_overflow": "truncate"},
        {"max_length": 40},
    ],
    ids=str,
)
def test_options_are_those_of_the_engine(options: dict[str, Any], shared_demo: Engine) -> None:
    text = "A sentence about a city and its river. " * 12
    found = demo_embedding(**options).get_text_embedding_batch([text, "b"])
    if "max_length" in options:
        options = options | {"max_tokens": options.pop("max_length")}
    assert_same(found, shared_demo.embed_documents([text, "b"], **options).vectors)


# Wrong texts


@pytest.mark.parametrize("wrong", ["abc", None, 5, {"a": 1}], ids=repr)
def test_a_batch_is_a_list(wrong: Any) -> None:
    one = demo_embedding()
    with pytest.raises(InvalidTextsError, match=type(wrong).__name__):
        one.get_text_embedding_batch(wrong)
    with pytest.raises(TypeError, match="list of strings"):
        asyncio.run(one.aget_text_embedding_batch(wrong))


@pytest.mark.parametrize("wrong", [None, 5, b"a", ["a"]], ids=repr)
@pytest.mark.parametrize("late", [False, True])
def test_what_is_no_string_is_named_with_its_place(wrong: Any, late: bool) -> None:
    one = demo_embedding(late_chunking=late, embed_batch_size=1)
    with pytest.raises(TypeError, match=f"text 2 is a {type(wrong).__name__}"):
        one.get_text_embedding_batch(["a", "b", wrong])
    for method in (one.get_text_embedding, one.get_query_embedding):
        with pytest.raises(TypeError, match=type(wrong).__name__):
            method(wrong)


def test_no_texts_have_no_vectors_and_an_empty_text_has_one() -> None:
    one = demo_embedding()
    assert one.get_text_embedding_batch([]) == []
    assert one([]) == []
    for vector in one.get_text_embedding_batch(["", "  \n"]):
        assert len(vector) == 256


@pytest.mark.parametrize("late", [False, True])
def test_vectors_are_lists_of_floats(late: bool) -> None:
    one = demo_embedding(late_chunking=late)
    nodes = one([TextNode(text="a"), TextNode(text="b")]) if not late else one([TextNode(text="a")])
    for vector in (
        one.get_query_embedding("a"),
        one.get_text_embedding("a"),
        *one.get_text_embedding_batch(["a"]),
        *(node.embedding for node in nodes),
    ):
        assert type(vector) is list
        assert all(type(value) is float for value in vector)


# Dimensions


def test_the_dimension_is_known_before_anything_is_loaded(
    own_model: str, loads: list[Any], tmp_path: Path
) -> None:
    known: list[tuple[dict[str, Any], int]] = [
        ({"model": "demo"}, 256),
        ({"model": "demo", "dimensions": 7}, 7),
        ({"model": own_model}, 64),
        ({"cache_folder": str(tmp_path)}, 1024),
    ]
    for options, expected in known:
        assert JinaV3Embedding(**options).embedding_dim == expected
    assert not loads


def test_more_dimensions_than_the_model_has_are_refused(own_model: str) -> None:
    one = JinaV3Embedding(model=own_model, dimensions=65, device="cpu")
    nodes = [TextNode(text="a"), TextNode(text="b")]
    for call in (
        lambda: one.get_query_embedding("a"),
        lambda: one.get_text_embedding("a"),
        lambda: one.late_embed_nodes(nodes[:1]),
    ):
        with pytest.raises(DimensionsError, match=r"65.*1…64"):
            call()
    one.dimensions = 64
    assert len(one.get_query_embedding("a")) == 64


# Round trips


@pytest.mark.parametrize("again", FROM_DICTS.values(), ids=FROM_DICTS.keys())
@given(values=INSTANCES)
def test_what_vectors_depend_on_survives_a_dict(
    again: Callable[[JinaV3Embedding], JinaV3Embedding], values: dict[str, Any]
) -> None:
    one = JinaV3Embedding(**values)
    other = again(one)
    assert other.to_dict() == one.to_dict()
    assert all(getattr(other, name) == getattr(one, name) for name in IDENTITY)
    assert json.loads(one.to_json())["class_name"] == "JinaV3Embedding"


@pytest.mark.parametrize("copied", COPIES.values(), ids=COPIES.keys())
@given(values=INSTANCES)
def test_copies_have_every_field(
    copied: Callable[[JinaV3Embedding], JinaV3Embedding], values: dict[str, Any]
) -> None:
    one = JinaV3Embedding(**values)
    other = copied(one)
    assert other is not one
    for name in (*IDENTITY, *RUNTIME):
        assert getattr(other, name) == getattr(one, name)


@pytest.mark.parametrize("loaded", [False, True], ids=["cold", "loaded"])
@pytest.mark.parametrize("copied", COPIES.values(), ids=COPIES.keys())
def test_copies_share_the_weights_and_hold_them_for_themselves(
    copied: Callable[[JinaV3Embedding], JinaV3Embedding],
    loaded: bool,
    own_model: str,
    loads: list[Any],
) -> None:
    one = JinaV3Embedding(model=own_model, device="cpu", dimensions=16)
    if loaded:
        one.get_text_embedding("a")
    other = copied(one)
    assert other.get_text_embedding("a") == one.get_text_embedding("a")
    assert other.engine._model is one.engine._model
    assert len(loads) == 1
    weights = watch(one)
    one.release()
    assert is_alive(weights)
    other.release()
    assert not is_alive(weights)


def test_a_copy_that_is_changed_leaves_the_other_as_it_was(
    own_model: str, loads: list[Any]
) -> None:
    """Also when both are used by turns: neither takes the other's model away."""
    for copied in COPIES.values():
        loads.clear()
        one = JinaV3Embedding(model=own_model, device="cpu", dtype="float32")
        other = copied(one)
        other.dtype = "bfloat16"
        for _ in range(3):
            one.get_text_embedding("a")
            other.get_text_embedding("a")
        assert [dtype for _, dtype in loads] == ["float32", "bfloat16"]


def test_a_pickle_has_no_weights(caplog: pytest.LogCaptureFixture) -> None:
    one = demo_embedding(embeddings_cache=SimpleKVStore())
    one.get_text_embedding("a")
    one.engine.embed(["a"])
    with caplog.at_level(logging.WARNING):
        data = pickle.dumps(one)
    assert len(data) < 10_000 + 256 * 30  # the cache has one vector
    assert len(pickle.dumps(demo_embedding())) < 10_000
    assert "unpickleable" not in caplog.text


# One set of weights


def test_any_number_of_instances_read_one_model(own_model: str, loads: list[Any]) -> None:
    many = [
        JinaV3Embedding(model=own_model, device="cpu", **options)
        for options in (
            {},
            {"dimensions": 8},
            {"task": "separation"},
            {"late_chunking": True},
            {"max_batch_tokens": 100},
        )
    ]
    together = threading.Barrier(2 * len(many))

    def embed(i: int) -> int:
        together.wait(TIMEOUT)
        one = many[i % len(many)]
        one.get_text_embedding("a")
        return id(one.engine._model)

    with ThreadPoolExecutor(2 * len(many)) as pool:
        assert len(set(pool.map(embed, range(2 * len(many))))) == 1
    assert len(loads) == 1


def test_release_lets_go_and_the_next_use_takes_again(own_model: str, loads: list[Any]) -> None:
    one = JinaV3Embedding(model=own_model, device="cpu")
    one.release()
    expected = one.get_text_embedding("a")
    weights = watch(one)
    one.release()
    one.release()
    assert not is_alive(weights)
    assert one.get_text_embedding("a") == expected
    assert len(loads) == 2


def test_an_instance_that_is_lost_lets_go(own_model: str) -> None:
    one = JinaV3Embedding(model=own_model, device="cpu")
    weights = watch(one)
    del one
    assert not is_alive(weights)


def test_another_model_or_dtype_is_used_from_the_next_text_on(
    own_model: str, loads: list[tuple[str, str]]
) -> None:
    one = JinaV3Embedding(model=own_model, device="cpu", dtype="float32")
    assert len(one.get_text_embedding("a")) == 64
    weights = watch(one)
    one.dtype = "bfloat16"
    one.get_text_embedding("a")
    assert one.engine.dtype == "bfloat16"
    assert not is_alive(weights)
    assert [dtype for _, dtype in loads] == ["float32", "bfloat16"]
    one.model_name, one.dtype = "demo", "float32"
    assert len(one.get_text_embedding("a")) == one.embedding_dim == 256
    one.dimensions = 5
    one.task = "separation"
    one.get_text_embedding("a")
    assert len(loads) == 2


def test_neither_import_nor_construction_loads_anything() -> None:
    code = """
import json, pickle, copy, sys
from llama_index.embeddings.jina_local import JinaLateChunkSplitter, JinaV3Embedding
one = JinaV3Embedding(model="demo", dimensions=8, device="cuda:0", late_chunking=True)
copy.deepcopy(pickle.loads(pickle.dumps(JinaV3Embedding.from_json(one.to_json())))).embedding_dim
JinaV3Embedding(model="demo").embedding_dim, one.to_payload()
one.release()
print(json.dumps(sorted(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    imported = set(json.loads(done.stdout))
    assert "jina_local.lazy_engine" in imported
    heavy = {"engine", "encoder", "loading", "handle", "devices", "sharing", "tokens", "vectors"}
    assert not imported & {"torch", *(f"jina_local.{name}" for name in heavy)}


# LlamaIndex's own ways with an embedding model


def test_settings_take_it_and_give_it_their_callbacks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Settings, "_embed_model", None)
    monkeypatch.setattr(Settings, "_callback_manager", CallbackManager([]))
    one = demo_embedding()
    Settings.embed_model = one
    assert Settings.embed_model is one
    assert one.callback_manager is Settings.callback_manager


def test_a_splitter_may_count_with_its_tokens(shared_demo: Engine) -> None:
    one = demo_embedding()
    assert one.tokenize("one two three") == shared_demo.tokenize("one two three")
    one.release()
    assert one.tokenize("") == []
