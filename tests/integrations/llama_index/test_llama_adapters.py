"""Adapters of the user's own: the engine's vectors in both roles, and no cache that mixes them."""

from __future__ import annotations

import copy
import json
import pickle
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

pytest.importorskip("llama_index.core")

from llama_index.core.ingestion import IngestionPipeline
from llama_index.core.ingestion.pipeline import get_transformation_hash
from llama_index.core.schema import TextNode
from llama_index.core.storage.kvstore import SimpleKVStore
from llama_index.embeddings.jina_local import JinaLateChunkSplitter, JinaV3Embedding
from pydantic import ValidationError

from jina_local import ChunkedText, Engine
from jina_local.errors import ModelNotFoundError
from support.llama import assert_same, documents_about, rows, sentence_splitter
from support.random_adapters import random_adapter, saved_adapter

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from support.checkpoints import Checkpoint

NAMES = ("questions", "minutes", "retrieval.query", "retrieval.passage")
TEXTS = ["The roof leaks.", "a", ""]
AGAIN: dict[str, Callable[[JinaV3Embedding], JinaV3Embedding]] = {
    "dict": lambda one: JinaV3Embedding.from_dict(one.to_dict()),
    "json": lambda one: JinaV3Embedding.from_json(one.to_json()),
    "pickle": lambda one: pickle.loads(pickle.dumps(one)),  # noqa: S301
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("adapters")
    return {
        name: saved_adapter(root / name, rank, instruction=f"{name}: ")
        for rank, name in enumerate(NAMES, start=1)
    }


@pytest.fixture(scope="module")
def with_adapters(tiny: Checkpoint, folders: dict[str, Path]) -> Iterator[Engine]:
    with Engine.load(tiny.folder, device="cpu", adapters=folders) as engine:
        yield engine


@pytest.fixture
def make(tiny: Checkpoint) -> Callable[..., JinaV3Embedding]:
    def made(**options: Any) -> JinaV3Embedding:
        given = {"model": str(tiny.folder), "device": "cpu", "dtype": "float32"}
        return JinaV3Embedding(**given | options)

    return made


def key_of(transformation: Any) -> str:
    return get_transformation_hash([TextNode(text="a", id_="a")], transformation)


def late(**options: Any) -> JinaLateChunkSplitter:
    splitter = sentence_splitter(chunking_tokenizer_fn=str.split)
    return JinaLateChunkSplitter(splitter=splitter, **options)


# Vectors


@pytest.mark.parametrize(
    ("options", "tasks"),
    [
        ({}, ("retrieval.query", "retrieval.passage")),
        ({"query_task": "questions"}, ("questions", "retrieval.passage")),
        ({"text_task": "minutes"}, ("retrieval.query", "minutes")),
        ({"task": "minutes"}, ("minutes", "minutes")),
        ({"task": "minutes", "query_task": "retrieval.query"}, ("retrieval.query", "minutes")),
        ({"task": "separation", "text_task": "minutes"}, ("separation", "minutes")),
    ],
    ids=["in-place", "queries", "texts", "both", "both-but-queries", "beside-one-of-the-models"],
)
def test_each_role_has_the_adapter_and_instruction_that_is_named(
    options: dict[str, str],
    tasks: tuple[str, str],
    make: Callable[..., JinaV3Embedding],
    folders: dict[str, Path],
    with_adapters: Engine,
) -> None:
    one = make(adapters=folders, **options)
    queries, texts = (with_adapters.embed(TEXTS, task=task).vectors for task in tasks)
    assert_same([one.get_query_embedding(text) for text in TEXTS], queries)
    assert_same(one.get_text_embedding_batch(TEXTS), texts)
    nodes = one([TextNode(text=text) for text in TEXTS])
    assert_same(rows(nodes), texts)


def test_an_adapter_in_the_place_of_one_role_leaves_the_other_as_it_was(
    make: Callable[..., JinaV3Embedding], folders: dict[str, Path], engine: Engine
) -> None:
    one = make(adapters={"retrieval.query": folders["retrieval.query"]})
    passage = engine.embed_documents(TEXTS).vectors
    assert_same([one.get_text_embedding(text) for text in TEXTS], passage)
    own = np.array([one.get_query_embedding(text) for text in TEXTS])
    assert (abs(own - engine.embed_queries(TEXTS).vectors).max(axis=1) > 0.01).all()


@pytest.mark.parametrize("text_task", ["minutes", None])
def test_nodes_in_context_have_the_adapter_too(
    text_task: str | None,
    make: Callable[..., JinaV3Embedding],
    folders: dict[str, Path],
    with_adapters: Engine,
) -> None:
    text = "The roof leaks. It will be repaired in May."
    one = make(
        adapters=folders,
        text_task=text_task,
        late_chunking=True,
        late_chunking_group_by="file",
        late_chunking_metadata="none",
    )
    parts = text[:15], text[16:]
    nodes = [TextNode(text=part, metadata={"file": "a"}) for part in parts]
    for node in nodes:
        node.excluded_embed_metadata_keys = ["file"]
    joined = ChunkedText("\n\n".join(parts), spans=[(0, 15), (17, 44)])
    (expected,) = with_adapters.embed_chunks([joined], task=text_task or "retrieval.passage")
    assert_same(one.late_embed_nodes(nodes), expected.vectors)


# Written down and copied


@pytest.mark.parametrize("again", AGAIN.values(), ids=AGAIN.keys())
def test_another_one_has_the_same_adapters(
    again: Callable[[JinaV3Embedding], JinaV3Embedding],
    make: Callable[..., JinaV3Embedding],
    folders: dict[str, Path],
) -> None:
    one = make(adapters=folders, query_task="questions", text_task="minutes")
    other = again(one)
    assert other.adapters == one.adapters == {name: str(folders[name]) for name in folders}
    assert other.to_dict() == one.to_dict()
    assert (other.query_task, other.text_task) == ("questions", "minutes")
    other.device, other.dtype = "cpu", "float32"  # which a dict has not
    assert_same(other.get_query_embedding("a"), one.get_query_embedding("a"))


def test_a_dict_is_json_and_names_what_is_in_the_folders(
    make: Callable[..., JinaV3Embedding], folders: dict[str, Path]
) -> None:
    data = make(adapters={"minutes": folders["minutes"]}).to_dict()
    assert json.loads(json.dumps(data)) == data
    (name, written), *others = data["adapters"].items()
    assert (name, others) == ("minutes", [])
    assert written["folder"] == str(folders["minutes"])
    assert len(written["sha256"]) == 64
    splitter = late(embed_model=make(adapters={"minutes": folders["minutes"]}))
    assert splitter.to_dict()["embed_model"]["adapters"] == data["adapters"]


def test_a_dict_from_before_there_were_adapters_still_loads(
    make: Callable[..., JinaV3Embedding],
) -> None:
    data = make().to_dict()
    assert data["adapters"] is None
    del data["adapters"]
    assert JinaV3Embedding.from_dict(data).to_dict() == make().to_dict()
    assert make(adapters={}).to_dict() == make().to_dict()


def test_order_does_not_matter(
    make: Callable[..., JinaV3Embedding], folders: dict[str, Path]
) -> None:
    reverse = {name: folders[name] for name in reversed(folders)}
    one, other = make(adapters=folders), make(adapters=reverse)
    assert key_of(one) == key_of(other)
    assert one.engine._model is other.engine._model


# Caches


@pytest.mark.parametrize(
    "change",
    [
        lambda folder: saved_adapter(folder, 3),
        lambda folder: saved_adapter(folder, 2, instruction="Else: "),
        lambda folder: (folder / "jina_local_adapter.json").unlink(),
    ],
    ids=["weights", "instruction", "no-instruction"],
)
def test_what_is_in_a_folder_is_part_of_the_key_and_is_what_embeds(
    change: Callable[[Path], object],
    make: Callable[..., JinaV3Embedding],
    tmp_path: Path,
    engine: Engine,
) -> None:
    """A fine-tune that is written over the last one is another adapter, from the next text on."""
    folder = saved_adapter(tmp_path / "mine", 2)
    one = make(adapters={"mine": folder}, task="mine")
    splitter = late(embed_model=one)
    keys = key_of(one), key_of(splitter)
    assert_same(one.get_text_embedding("a"), expected(engine, folder))
    assert (key_of(one), key_of(splitter)) == keys  # loaded or not
    change(folder)
    assert key_of(one) != keys[0]
    assert key_of(splitter) != keys[1]
    assert_same(one.get_text_embedding("a"), expected(engine, folder))


def expected(engine: Engine, folder: Path) -> np.ndarray:
    return engine.add_adapter("mine", folder).embed(["a"], task="mine").vectors[0]


def test_a_pipeline_with_a_cache_embeds_again_for_another_adapter(
    make: Callable[..., JinaV3Embedding], tmp_path: Path, engine: Engine
) -> None:
    folder = saved_adapter(tmp_path / "mine", 2)
    pipeline = IngestionPipeline(
        transformations=[
            sentence_splitter(chunking_tokenizer_fn=str.split),
            make(adapters={"retrieval.passage": folder}),
        ]
    )
    first = rows(pipeline.run(documents=documents_about("roofs", n_sentences=3)))
    same = rows(pipeline.run(documents=documents_about("roofs", n_sentences=3)))
    assert np.array_equal(first, same)
    saved_adapter(folder, 3)
    nodes = pipeline.run(documents=documents_about("roofs", n_sentences=3))
    own = engine.add_adapter("retrieval.passage", folder)
    texts = [node.get_content(metadata_mode="embed") for node in nodes]
    assert_same(rows(nodes), own.embed_documents(texts).vectors)
    assert abs(rows(nodes) - first).max() > 0.01


def test_instances_over_one_store_never_collide(
    make: Callable[..., JinaV3Embedding], folders: dict[str, Path]
) -> None:
    store = SimpleKVStore()
    shared = [
        make(embeddings_cache=store, adapters={"mine": folders[name]}, task="mine")
        for name in ("questions", "minutes")
    ]
    alone = [
        make(adapters={"mine": folders[name]}, task="mine") for name in ("questions", "minutes")
    ]
    for _ in range(2):
        for one, other in zip(shared, alone, strict=True):
            assert_same(one.get_text_embedding("a"), other.get_text_embedding("a"))


# What is refused


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"query_task": "mine"},
            "query_task is 'mine'; give one of 'retrieval.query', 'retrieval.passage', "
            "'separation', 'classification', 'text-matching', 'minutes', or None for that of task",
        ),
        (
            {"task": "mine"},
            "task is 'mine'; give one of 'retrieval', 'separation', 'classification', "
            "'text-matching', 'minutes', or None for the base model",
        ),
        ({"text_task": "retrieval"}, "text_task is 'retrieval'; give one of"),
        ({"adapters": {"retrieval": "a"}}, "'retrieval' is the name of two tasks together"),
        ({"adapters": {"query": "a"}}, "'query' is no name for a task"),
        ({"adapters": "folder"}, "adapters is 'folder', not names of tasks with folders"),
        ({"adapters": {"a": None}}, "the adapter 'a' is None, not a folder"),
        ({"adapters": {"a": {"sha256": "b"}}}, "the adapter 'a' is None, not a folder"),
        (
            {"adapters": {"a": random_adapter(1)}},
            "the adapter 'a' is of type Adapter, not a folder",
        ),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_wrong_adapters_and_tasks_are_refused_by_name(
    options: dict[str, Any], message: str
) -> None:
    (name,) = options
    with pytest.raises(ValidationError) as refused:
        JinaV3Embedding(**{"adapters": {"minutes": "a"}} | options)
    assert {error["loc"][0] for error in refused.value.errors()} == {name}
    assert message in str(refused.value)
    one = JinaV3Embedding(adapters={"minutes": "a"})
    before = dict(one)
    with pytest.raises(ValidationError, match=name):
        setattr(one, name, options[name])
    assert dict(one) == before


def test_an_adapter_that_is_in_use_cannot_be_taken_away() -> None:
    one = JinaV3Embedding(adapters={"minutes": "a"})
    one.text_task = "minutes"
    for without in (None, {}, {"other": "a"}):
        with pytest.raises(ValidationError, match="text_task is 'minutes'"):
            one.adapters = without
    assert one.adapters == {"minutes": "a"}
    one.text_task = None
    one.adapters = None


def test_a_query_task_is_no_task_of_chunks() -> None:
    with pytest.raises(ValidationError, match="queries are no chunks of a document"):
        JinaV3Embedding(
            adapters={"retrieval.query": "a"}, text_task="retrieval.query", late_chunking=True
        )


def test_a_folder_that_is_missing_is_found_out_when_it_is_needed(
    make: Callable[..., JinaV3Embedding], tmp_path: Path
) -> None:
    one = make(adapters={"minutes": tmp_path / "missing"}, task="minutes")
    assert one.to_dict()["adapters"]["minutes"]["sha256"] is None
    with pytest.raises(ModelNotFoundError, match="missing"):
        one.get_text_embedding("a")
    saved_adapter(tmp_path / "missing")
    assert len(one.get_text_embedding("a")) == 64


def test_making_and_writing_down_touches_no_engine(folders: dict[str, Path]) -> None:
    code = f"""
import json, pickle, sys
from llama_index.embeddings.jina_local import JinaV3Embedding
one = JinaV3Embedding(model="demo", task="minutes", adapters={{"minutes": {str(folders["minutes"])!r}}})
pickle.loads(pickle.dumps(JinaV3Embedding.from_json(one.to_json()))).embedding_dim
print(json.dumps(sorted(sys.modules)))
"""  # noqa: E501
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    imported = set(json.loads(done.stdout.splitlines()[-1]))
    heavy = {"adapter_store", "own_adapters", "engine", "sharing"}
    assert not imported & {"torch", *(f"jina_local.{name}" for name in heavy)}
