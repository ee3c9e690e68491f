"""Components hold one model of the process together, load it late, and let go of it on `close`."""

from __future__ import annotations

import asyncio
import copy
import gc
import json
import pickle
import subprocess
import sys
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from jina_local import sharing, text_embedder

pytest.importorskip("haystack")

from haystack import Document
from haystack.utils import ComponentDevice

from haystack_integrations.components.embedders.jina_local import (
    JinaLocalDocumentEmbedder,
    JinaLocalTextEmbedder,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch

ROOT = Path(__file__).parents[3]
CPU = ComponentDevice.from_str("cpu")
CLASSES = {"text": JinaLocalTextEmbedder, "documents": JinaLocalDocumentEmbedder}
EACH = pytest.mark.parametrize("cls", CLASSES.values(), ids=CLASSES.keys())
TIMEOUT = 60  # seconds after which a lost wake-up fails instead of hanging


def make(cls: Any, model: str, **options: Any) -> Any:
    quiet = {"progress_bar": False} if cls is JinaLocalDocumentEmbedder else {}
    return cls(model=model, device=CPU, **quiet, **options)


def embed(embedder: Any, *texts: str) -> list[list[float]]:
    if isinstance(embedder, JinaLocalTextEmbedder):
        return [embedder.run(text)["embedding"] for text in texts]
    documents = embedder.run([Document(content=text) for text in texts])["documents"]
    return [one.embedding for one in documents]


def watch(embedder: Any) -> weakref.ref[torch.Tensor]:
    """Alive as long as the weights of a loaded model are in memory."""
    return weakref.ref(embedder._access.engine()._model.encoder.embedding.table)


def is_alive(weights: weakref.ref[torch.Tensor]) -> bool:
    gc.collect()
    return weights() is not None


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The folders of which a model was read, one item each time."""
    folders: list[str] = []
    load = sharing.load_model

    def counting(source: Any, **options: Any) -> Any:
        folders.append(str(source.folder))
        return load(source, **options)

    monkeypatch.setattr(sharing, "load_model", counting)
    return folders


class Gate:
    """Holds the first forward passes open until it is opened."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.reached = threading.Event()
        self.open = threading.Event()
        run = text_embedder.pooled_vectors

        def held(*arguments: Any) -> Any:
            self.reached.set()
            assert self.open.wait(TIMEOUT)
            return run(*arguments)

        monkeypatch.setattr(text_embedder, "pooled_vectors", held)


# Loading


@pytest.mark.parametrize("n_components", [1, 4])
@EACH
def test_four_warm_ups_at_once_read_one_model(
    cls: Any, n_components: int, own_model: str, loads: list[str]
) -> None:
    embedders = [make(cls, own_model) for _ in range(n_components)]
    together = threading.Barrier(4)

    def warm_up(i: int) -> None:
        together.wait(TIMEOUT)
        embedders[i % n_components].warm_up()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(warm_up, range(4)))
    assert len(loads) == 1
    for embedder in embedders:
        embedder.warm_up()
        embed(embedder, "a")
    assert len(loads) == 1


def test_queries_and_passages_of_any_dimensions_share_a_model(
    own_model: str, loads: list[str]
) -> None:
    query = make(JinaLocalTextEmbedder, own_model, dimensions=16, prefix="q: ")
    passage = make(JinaLocalDocumentEmbedder, own_model, dimensions=32, normalize_embeddings=False)
    other = make(JinaLocalDocumentEmbedder, own_model, task="text-matching", late_chunking=True)
    assert [len(embed(one, "a")[0]) for one in (query, passage, other)] == [16, 32, 64]
    assert len({id(one._access.engine()._model) for one in (query, passage, other)}) == 1
    assert len(loads) == 1


@EACH
def test_warm_up_async_reads_the_model(cls: Any, own_model: str, loads: list[str]) -> None:
    embedder = make(cls, own_model)
    asyncio.run(embedder.warm_up_async())
    embed(embedder, "a")
    assert len(loads) == 1


@EACH
def test_a_load_that_failed_is_tried_again(
    cls: Any, own_model: str, tmp_path: Path, loads: list[str]
) -> None:
    embedder = make(cls, str(tmp_path / "later"))
    with pytest.raises(FileNotFoundError, match="later"):
        embed(embedder, "a")
    Path(own_model).rename(tmp_path / "later")
    assert len(embed(embedder, "a")[0]) == 64
    assert len(loads) == 1


@EACH
def test_a_model_that_is_too_narrow_is_not_held(cls: Any, own_model: str) -> None:
    fine = make(cls, own_model)
    weights = watch(fine)
    with pytest.raises(ValueError, match=r"dimensions is 65; .*64"):
        make(cls, own_model, dimensions=65).warm_up()
    fine.close()
    assert not is_alive(weights)


# Closing


def test_the_last_to_close_takes_the_weights_along_and_a_run_brings_them_back(
    own_model: str, loads: list[str]
) -> None:
    query, passage = (make(cls, own_model) for cls in CLASSES.values())
    before = embed(query, "a"), embed(passage, "a", "b")
    weights = watch(query)
    query.close()
    query.close()
    assert is_alive(weights)
    assert embed(passage, "a", "b") == before[1]
    passage.close()
    assert not is_alive(weights)
    assert len(loads) == 1
    assert (embed(query, "a"), embed(passage, "a", "b")) == before
    assert len(loads) == 2


@EACH
def test_a_lost_component_lets_go_too(cls: Any, own_model: str) -> None:
    embedder = make(cls, own_model)
    weights = watch(embedder)
    del embedder
    assert not is_alive(weights)


@EACH
def test_closing_before_loading_is_fine(cls: Any, loads: list[str]) -> None:
    make(cls, "no/such/model").close()
    assert not loads


@EACH
def test_a_run_under_way_survives_a_close_and_holds_nothing_afterwards(
    cls: Any, own_model: str, loads: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    embedder = make(cls, own_model)
    expected = embed(embedder, "a")
    weights = watch(embedder)
    gate = Gate(monkeypatch)
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(embed, embedder, "a")
        assert gate.reached.wait(TIMEOUT)
        embedder.close()
        gate.open.set()
        assert running.result(TIMEOUT) == expected
    assert len(loads) == 1
    assert not is_alive(weights)


def test_a_close_between_batches_is_survived(
    own_model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    embedder = make(JinaLocalDocumentEmbedder, own_model, batch_size=1)
    expected = embed(embedder, "a", "b", "c")
    gate = Gate(monkeypatch)
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(embed, embedder, "a", "b", "c")
        assert gate.reached.wait(TIMEOUT)
        embedder.close()
        gate.open.set()
        assert running.result(TIMEOUT) == expected


@EACH
def test_a_close_just_before_the_work_is_survived(
    cls: Any, own_model: str, loads: list[str]
) -> None:
    embedder = make(cls, own_model)
    engines: list[Any] = []

    def work(engine: Any) -> int:
        engines.append(engine)
        if len(engines) == 1:
            embedder.close()
        return len(engine.embed(["a"]))

    assert embedder._access.use(work) == 1
    assert len(engines) == len(loads) == 2
    embedder.close()


def test_threads_may_run_and_close_as_they_like(own_model: str) -> None:
    embedder = make(JinaLocalTextEmbedder, own_model)
    expected = embed(embedder, "a")
    weights = watch(embedder)

    def work(i: int) -> bool:
        if i % 3 == 0:
            embedder.close()
        return embed(embedder, "a") == expected

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(work, range(12)))
    embedder.close()
    assert not is_alive(weights)


# Copies


@pytest.mark.parametrize("loaded", [False, True], ids=["cold", "loaded"])
@pytest.mark.parametrize(
    "copied",
    [copy.deepcopy, lambda one: pickle.loads(pickle.dumps(one))],  # noqa: S301 - our own
    ids=["deepcopy", "pickle"],
)
@EACH
def test_copies_are_holders_of_their_own(
    cls: Any, copied: Callable[[Any], Any], loaded: bool, own_model: str, loads: list[str]
) -> None:
    one = make(cls, own_model, dimensions=16, prefix="p ")
    if loaded:
        one.warm_up()
    other = copied(one)
    assert other.to_dict() == one.to_dict()
    assert not other._access.is_loaded
    assert embed(other, "a") == embed(one, "a")
    assert len(loads) == 1
    weights = watch(one)
    one.close()
    assert is_alive(weights)
    other.close()
    assert not is_alive(weights)


# Before anything is loaded


def test_neither_import_nor_construction_touches_the_engine() -> None:
    """Haystack itself imports torch; none of our modules that do are imported."""
    code = f"""
import json, sys
from haystack.utils import ComponentDevice, Secret
from haystack_integrations.components.embedders.jina_local import (
    JinaLocalDocumentEmbedder, JinaLocalTextEmbedder)
for cls in (JinaLocalTextEmbedder, JinaLocalDocumentEmbedder):
    for model in ("demo", {str(ROOT)!r}):
        one = cls(model=model, dimensions=8, device=ComponentDevice.from_str("cuda:0"))
        two = cls.from_dict(one.to_dict())
        three = cls(model=model)
        one.embedding_dim, two.embedding_dim, three.embedding_dim, one._get_telemetry_data()
        one.close()
print(json.dumps(sorted(name for name in sys.modules if name.startswith("jina_local"))))
"""
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    imported = set(json.loads(done.stdout))
    heavy = {"engine", "encoder", "loading", "handle", "devices", "sharing", "tokens", "vectors"}
    assert "jina_local.widths" in imported
    assert not imported & {f"jina_local.{name}" for name in heavy}


@EACH
def test_the_dimension_is_known_before_the_model_is_loaded(
    cls: Any, own_model: str, tmp_path: Path, loads: list[str]
) -> None:
    commit = "abc0" * 10
    cached = tmp_path / "hub" / "models--some--cached"
    snapshot = cached / "snapshots" / commit
    snapshot.mkdir(parents=True)
    (cached / "refs").mkdir()
    (cached / "refs" / "main").write_text(commit)
    (snapshot / "config.json").write_text('{"hidden_size": 48}')
    hub = {"cache_dir": str(tmp_path / "hub")}
    known: list[tuple[str, dict[str, Any], int]] = [
        ("demo", {}, 256),
        ("demo", {"dimensions": 7}, 7),
        (own_model, {}, 64),
        ("some/cached", hub, 48),
        ("some/cached", hub | {"revision": commit}, 48),
        ("some/cached", hub | {"revision": "other"}, 1024),
        ("some/unknown", hub, 1024),
        ("some/unknown", hub | {"dimensions": 12}, 12),
        (str(tmp_path / "nowhere"), {}, 1024),
    ]
    for model, options, expected in known:
        assert make(cls, model, **options).embedding_dim == expected, model
    assert not loads
    loaded = make(cls, own_model)
    assert len(embed(loaded, "a")[0]) == loaded.embedding_dim


@EACH
def test_telemetry_never_names_a_path(cls: Any, own_model: str, tmp_path: Path) -> None:
    def told(model: str) -> Any:
        return make(cls, model)._get_telemetry_data()

    paths = [
        own_model,
        str(tmp_path / "not" / "here"),
        "~/private/model",
        "../private/model",
        "../model",
        "./model",
        "some/private/model",
        "/model",
    ]
    for path in paths:
        assert told(path) == {"model": Path(path).name}, path
    for name in ("jinaai/jina-embeddings-v3", "demo"):
        assert told(name) == {"model": name}


@EACH
def test_a_folder_that_looks_like_a_hub_id_is_a_folder(
    cls: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "private" / "model").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert make(cls, "private/model")._get_telemetry_data() == {"model": "model"}


# Types


def test_mypy_takes_them_for_haystacks_protocols(tmp_path: Path) -> None:
    """And sees that each is not the other: so it has judged them."""
    pytest.importorskip("mypy")
    program = tmp_path / "protocols.py"
    program.write_text(
        "from haystack.components.embedders.types import DocumentEmbedder, TextEmbedder\n"
        "from haystack_integrations.components.embedders.jina_local import (\n"
        "    JinaLocalDocumentEmbedder,\n"
        "    JinaLocalTextEmbedder,\n"
        ")\n"
        "text: TextEmbedder = JinaLocalTextEmbedder(dimensions=8)\n"
        "documents: DocumentEmbedder = JinaLocalDocumentEmbedder(late_chunking=True)\n"
        "no_text: TextEmbedder = JinaLocalDocumentEmbedder()\n"
        "no_documents: DocumentEmbedder = JinaLocalTextEmbedder()\n"
    )
    command = [sys.executable, "-m", "mypy", "--config-file", "pyproject.toml", str(program)]
    done = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True)
    errors = [line for line in done.stdout.splitlines() if ": error: " in line]
    wrong = [(line.split(":")[1], line.rpartition(" ")[2]) for line in errors]
    assert wrong == [("8", "[assignment]"), ("9", "[assignment]")], done.stdout + done.stderr
