"""Adapters of the user's own in both embedders: the engine's vectors, also from YAML."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

pytest.importorskip("haystack")

from haystack import Document, Pipeline

from haystack_integrations.components.embedders.jina_local import (
    JinaLocalDocumentEmbedder,
    JinaLocalTextEmbedder,
)
from jina_local import ChunkedText, Engine, loading
from jina_local.errors import CheckpointError, ModelNotFoundError, UnknownTaskError
from support.embedders import CPU, DOCUMENTS, TEXT, TEXTS, Subject, assert_same, vectors
from support.random_adapters import random_adapter, saved_adapter

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.checkpoints import Checkpoint

OURS = pytest.mark.parametrize("subject", [TEXT, DOCUMENTS], ids=lambda one: one.name)
V3 = "'retrieval.query', 'retrieval.passage', 'separation', 'classification', 'text-matching'"
PACKAGE = "haystack_integrations.components.embedders.jina_local"


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Two new tasks, and one in the place of each of retrieval's; each with its instruction."""
    root = tmp_path_factory.mktemp("adapters")
    names = ("questions", "minutes", "retrieval.query", "retrieval.passage")
    return {
        name: saved_adapter(root / name, rank, instruction=f"{name}: ")
        for rank, name in enumerate(names, start=1)
    }


@pytest.fixture(scope="module")
def with_adapters(tiny: Checkpoint, folders: dict[str, Path]) -> Iterator[Engine]:
    with Engine.load(tiny.folder, device="cpu", adapters=folders) as engine:
        yield engine


def make(subject: Subject, tiny: Checkpoint, **options: Any) -> Any:
    return subject.make(model=str(tiny.folder), **options)


# Vectors


@pytest.mark.parametrize("task", ["questions", "minutes", "retrieval.query", "retrieval.passage"])
@OURS
def test_vectors_are_those_of_the_engine_with_the_adapter(
    subject: Subject,
    task: str,
    tiny: Checkpoint,
    folders: dict[str, Path],
    with_adapters: Engine,
) -> None:
    embedder = make(subject, tiny, task=task, adapters=folders)
    found = [subject.embed(embedder, text) for text in TEXTS]
    assert_same(found, with_adapters.embed(TEXTS, task=task).vectors)
    plain = with_adapters.add_adapter("plain", folders[task], instruction="")
    spelled = [f"{task}: {text}" for text in TEXTS]
    assert_same(found, plain.embed(spelled, task="plain").vectors)  # the instruction came along


@pytest.mark.parametrize(
    ("subject", "role"), [(TEXT, "query"), (DOCUMENTS, "passage")], ids=["text", "documents"]
)
def test_an_adapter_in_the_place_of_the_default_task_needs_no_more_words(
    subject: Subject, role: str, tiny: Checkpoint, folders: dict[str, Path], engine: Engine
) -> None:
    task = f"retrieval.{role}"
    found = subject.embed(make(subject, tiny, adapters={task: folders[task]}), TEXTS[0])
    with engine.add_adapter(task, folders[task]) as replaced:
        assert_same(found, replaced.embed(TEXTS[:1], task=task).vectors[0])
    own = engine.embed(TEXTS[:1], task=task).vectors[0]
    assert abs(np.array(found) - own).max() > 0.01


@pytest.mark.parametrize("task", ["minutes", "retrieval.passage"])
def test_chunks_in_context_have_the_adapter_too(
    task: str, tiny: Checkpoint, folders: dict[str, Path], with_adapters: Engine
) -> None:
    parts = ["The roof leaks. ", "It will be repaired in May."]
    chunks = [
        Document(content=part, meta={"source_id": "one", "split_id": i})
        for i, part in enumerate(parts)
    ]
    embedder = make(DOCUMENTS, tiny, task=task, adapters=folders, late_chunking=True)
    found = vectors(embedder.run(chunks)["documents"])
    text = ChunkedText("".join(parts), spans=[(0, 16), (16, 43)])
    (expected,) = with_adapters.embed_chunks([text], task=task)
    assert_same(found, expected.vectors)


@OURS
def test_a_run_says_which_task_it_was(
    subject: Subject, tiny: Checkpoint, folders: dict[str, Path]
) -> None:
    embedder = make(subject, tiny, task="minutes", adapters=folders)
    given = [Document(content="a")] if subject is DOCUMENTS else "a"
    assert embedder.run(given)["meta"]["task"] == "minutes"


# Written down


@OURS
def test_what_is_written_down_gives_the_same_vectors(
    subject: Subject, tiny: Checkpoint, folders: dict[str, Path]
) -> None:
    one = make(subject, tiny, task="minutes", adapters=folders)
    expected = subject.embed(one, TEXTS[0])
    data = one.to_dict()
    written = {name: str(folder) for name, folder in folders.items()}
    assert data["init_parameters"]["adapters"] == written  # strings, whatever was given
    assert json.loads(json.dumps(data)) == data
    pipeline = Pipeline()
    pipeline.add_component("embedder", one)
    for again in (
        subject.cls.from_dict(copy.deepcopy(data)),
        Pipeline.loads(pipeline.dumps()).get_component("embedder"),
        copy.deepcopy(one),
    ):
        assert again.adapters == one.adapters == written
        assert again.to_dict() == data
        assert subject.embed(again, TEXTS[0]) == expected


@OURS
def test_what_was_written_down_before_there_were_adapters_still_loads(subject: Subject) -> None:
    data = subject.make().to_dict()
    assert data["init_parameters"].pop("adapters") is None
    assert subject.cls.from_dict(copy.deepcopy(data)).to_dict() == subject.make().to_dict()


@OURS
def test_no_adapters_are_none(subject: Subject) -> None:
    assert subject.make(adapters={}).adapters is None
    assert subject.make(adapters={}).to_dict() == subject.make().to_dict()


@OURS
def test_what_is_done_to_the_mapping_later_does_not_matter(
    subject: Subject, tiny: Checkpoint, folders: dict[str, Path]
) -> None:
    given = {"minutes": str(folders["minutes"])}
    embedder = make(subject, tiny, task="minutes", adapters=given)
    given.clear()
    assert embedder.adapters == {"minutes": str(folders["minutes"])}
    embedder.warm_up()


# One model


def test_components_with_the_same_adapters_share_a_model(
    own_model: str, folders: dict[str, Path]
) -> None:
    """However they were written down: YAML sorts the names."""
    reverse = {name: str(folders[name]) for name in reversed(folders)}
    options: dict[str, Any] = {"model": own_model, "device": CPU}
    query = JinaLocalTextEmbedder(adapters=folders, task="questions", **options)
    document = JinaLocalDocumentEmbedder(adapters=reverse, task="minutes", **options)
    other = JinaLocalTextEmbedder(adapters={"minutes": folders["minutes"]}, **options)
    models = [one._access.engine()._model for one in (query, document, other)]
    assert models[0] is models[1]
    assert models[0] is not models[2]


# What is refused


@OURS
def test_a_task_is_one_of_the_models_or_of_the_adapters(subject: Subject) -> None:
    adapters = {"minutes": "a", "retrieval.query": "b"}
    with pytest.raises(ValueError, match="task is") as refused:
        subject.make(task="protocol", adapters=adapters)
    assert str(refused.value) == (
        f"task is 'protocol'; give one of {V3}, 'minutes', or None for the base model"
    )
    with pytest.raises(ValueError, match="task is 'minutes'; give one of"):
        subject.make(task="minutes")


@pytest.mark.parametrize(
    ("adapters", "message"),
    [
        ("folder", "adapters is 'folder', not names of tasks with folders"),
        (["folder"], "adapters is ['folder'], not names of tasks with folders"),
        ({"query": "folder"}, "'query' is no name for a task"),
        ({"a b": "folder"}, "'a b' is no name for a task"),
        ({1: "folder", "b": "folder"}, "1 is no name for a task"),
        ({"minutes": ""}, "the adapter 'minutes' is '', not a folder"),
        ({"minutes": None}, "the adapter 'minutes' is None, not a folder"),
        ({"minutes": random_adapter(1)}, "the adapter 'minutes' is of type Adapter, not a folder"),
    ],
    ids=["string", "list", "role", "space", "number", "empty", "none", "in-memory"],
)
@OURS
def test_wrong_adapters_are_refused_at_once(
    subject: Subject, adapters: object, message: str
) -> None:
    with pytest.raises(ValueError, match=r"adapter|name for a task") as refused:
        subject.make(adapters=adapters)
    assert str(refused.value).startswith(message)


@OURS
def test_what_is_wrong_in_a_folder_is_found_before_the_weights_are_read(
    subject: Subject, own_model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Construction asks no disk: what is written down here may be loaded elsewhere."""
    monkeypatch.setattr(loading, "load_encoder", None)
    missing = subject.make(model=own_model, adapters={"minutes": tmp_path / "missing"})
    with pytest.raises(ModelNotFoundError, match="missing"):
        missing.warm_up()
    saved_adapter(tmp_path / "broken")
    (tmp_path / "broken" / "adapter_config.json").write_text('{"peft_type": "IA3"}')
    broken = subject.make(model=own_model, adapters={"minutes": tmp_path / "broken"})
    with pytest.raises(CheckpointError, match="broken"):
        broken.warm_up()


def test_a_query_task_is_no_task_of_chunks(folders: dict[str, Path]) -> None:
    with pytest.raises(ValueError, match="queries are no chunks of a document"):
        DOCUMENTS.make(adapters=folders, task="retrieval.query", late_chunking=True)


def test_an_engine_without_the_adapter_says_which_tasks_it_has(engine: Engine) -> None:
    """What a component would meet if it forgot to hand its adapters on."""
    with pytest.raises(UnknownTaskError, match="unknown task 'minutes'"):
        engine.embed(["a"], task="minutes")


def test_making_and_writing_down_touches_no_engine(folders: dict[str, Path]) -> None:
    code = f"""
import json, sys
from {PACKAGE} import JinaLocalDocumentEmbedder, JinaLocalTextEmbedder
adapters = {{"minutes": {str(folders["minutes"])!r}}}
for cls in (JinaLocalDocumentEmbedder, JinaLocalTextEmbedder):
    cls.from_dict(cls(model="demo", task="minutes", adapters=adapters).to_dict()).embedding_dim
print(json.dumps(sorted(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    imported = set(json.loads(done.stdout.splitlines()[-1]))
    assert "jina_local.adapter_folders" in imported
    heavy = {"adapter_store", "own_adapters", "engine", "sharing"}
    assert not imported & {f"jina_local.{name}" for name in heavy}  # torch is Haystack's own
