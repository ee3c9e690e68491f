"""What is special to the embedded engine: its folder, its crashes, its threads and its layouts."""

from __future__ import annotations

import json
import math
import signal
import subprocess
import sys
import threading
import time
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import qdrant_edge
from qdrant_client import models

from jina_local.errors import InvalidOptionError, MissingExtraError
from jina_local_qdrant import edge_folder
from jina_local_qdrant.edge_config import edge_config
from jina_local_qdrant.edge_filters import edge_filter
from jina_local_qdrant.edge_store import EdgeStore
from jina_local_qdrant.errors import IndexInUseError, StoreRefusedError
from jina_local_qdrant.layout import CollectionLayout
from jina_local_qdrant.store import Point, SearchRequest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SIZE = 32
PLAIN = CollectionLayout()


def name(number: int) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_URL, str(number)))


def unit_vectors(count: int, seed: int = 0) -> np.ndarray:
    rows = np.random.default_rng(seed).normal(size=(count, SIZE))
    lengths: np.ndarray = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(rows / lengths, dtype=np.float32)


def numbered(count: int, first: int = 0) -> list[Point]:
    return [
        Point(name(first + row), vector, {"number": first + row})
        for row, vector in enumerate(unit_vectors(count, seed=first))
    ]


def created(folder: Path, layout: CollectionLayout = PLAIN) -> EdgeStore:
    store = EdgeStore(folder, "docs")
    store.create(size=SIZE, layout=layout, metadata={"key": "value"})
    return store


@pytest.fixture
def store(tmp_path: Path) -> Iterator[EdgeStore]:
    opened = created(tmp_path)
    yield opened
    opened.close()


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


# The folder


def test_looking_for_a_collection_makes_no_folder(tmp_path: Path) -> None:
    store = EdgeStore(tmp_path / "index", "docs")
    assert not store.exists()
    store.close()
    assert files(tmp_path) == set()


def test_collections_of_one_folder_do_not_see_each_other(tmp_path: Path) -> None:
    first, second = EdgeStore(tmp_path, "a"), EdgeStore(tmp_path, "b.c-d_ü")
    for store, count in ((first, 1), (second, 2)):
        store.create(size=SIZE, layout=PLAIN, metadata={})
        store.upsert(numbered(count))
    assert (first.count(), second.count()) == (1, 2)
    first.close()
    second.close()


@pytest.mark.parametrize(
    "collection",
    [
        "",
        ".",
        "..",
        "../up",
        "a/b",
        "/etc",
        "a\\b",
        ".hidden",
        "-x",
        "a b",
        "a\n",
        "a\0",
        "x" * 201,
    ],
)
def test_a_name_that_is_no_folder_is_refused(tmp_path: Path, collection: str) -> None:
    with pytest.raises(InvalidOptionError, match="no name for a folder"):
        EdgeStore(tmp_path, collection)
    assert files(tmp_path) == set()


def test_an_open_collection_is_refused_in_this_process(store: EdgeStore, tmp_path: Path) -> None:
    store.upsert(numbered(1))
    with pytest.raises(IndexInUseError, match=str(tmp_path / "docs")):
        EdgeStore(tmp_path, "docs")
    assert store.count() == 1
    store.close()
    again = EdgeStore(tmp_path, "docs")
    assert again.count() == 1
    again.close()


def test_a_collection_that_nobody_refers_to_can_be_opened(tmp_path: Path) -> None:
    store = created(tmp_path)
    store.upsert(numbered(3))
    del store
    again = EdgeStore(tmp_path, "docs")
    assert again.count() == 3
    again.close()


def test_a_shard_that_somebody_opened_without_our_lock_is_in_use(tmp_path: Path) -> None:
    created(tmp_path).close()
    shard = qdrant_edge.EdgeShard.load(str(tmp_path / "docs" / "shard"))
    with pytest.raises(IndexInUseError, match=str(tmp_path / "docs")):
        EdgeStore(tmp_path, "docs")
    shard.close()
    EdgeStore(tmp_path, "docs").close()


def test_a_collection_that_another_store_made_meanwhile_is_seen(tmp_path: Path) -> None:
    early = EdgeStore(tmp_path, "docs")
    late = created(tmp_path)
    with pytest.raises(IndexInUseError):
        early.exists()
    with pytest.raises(IndexInUseError):
        early.create(size=SIZE, layout=PLAIN, metadata={})
    late.close()
    with pytest.raises(StoreRefusedError, match="is there already"):
        early.create(size=SIZE, layout=PLAIN, metadata={})
    assert early.exists()
    assert early.metadata() == {"key": "value"}
    early.close()


def test_a_closed_store_says_so(store: EdgeStore) -> None:
    store.close()
    store.close()
    assert not store.exists()
    uses: list[Callable[[], object]] = [
        store.count,
        store.metadata,
        lambda: store.upsert(numbered(1)),
        lambda: store.create(size=SIZE, layout=PLAIN, metadata={}),
    ]
    for use in uses:
        with pytest.raises(StoreRefusedError, match="was closed"):
            use()


def test_a_folder_that_cannot_be_made_is_a_refusal(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    store = EdgeStore(tmp_path / "file", "docs")
    assert not store.exists()
    with pytest.raises(StoreRefusedError, match="file/docs") as caught:
        store.create(size=SIZE, layout=PLAIN, metadata={})
    assert isinstance(caught.value.__cause__, OSError)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "record.json"),
        ("{}", "record.json"),
        ('{"schema": 2}', "use the version that made it"),
        ('{"schema": 1, "size": 4, "metadata": {}, "layout": {"new": 1}}', "record.json"),
    ],
)
def test_a_record_that_is_not_understood_is_a_refusal(
    tmp_path: Path, content: str, words: str
) -> None:
    created(tmp_path).close()
    record = tmp_path / "docs" / "record.json"
    before = record.read_bytes()
    record.write_text(content)
    for _ in range(2):  # the lock is let go
        with pytest.raises(StoreRefusedError, match=words):
            EdgeStore(tmp_path, "docs")
    record.write_bytes(before)
    EdgeStore(tmp_path, "docs").close()


def test_metadata_that_is_not_json_is_refused_and_the_old_stays(
    store: EdgeStore, tmp_path: Path
) -> None:
    for value in (math.nan, object(), {1, 2}):
        with pytest.raises(StoreRefusedError, match=r"record\.json"):
            store.set_metadata("key", value)
    assert store.metadata() == {"key": "value"}
    store.close()
    again = EdgeStore(tmp_path, "docs")
    assert again.metadata() == {"key": "value"}
    again.close()


def test_the_layout_is_checked_before_anything_is_made(tmp_path: Path) -> None:
    store = EdgeStore(tmp_path / "index", "docs")
    with pytest.raises(InvalidOptionError, match="coarse_dimensions"):
        store.create(size=8, layout=CollectionLayout(coarse_dimensions=8), metadata={})
    assert files(tmp_path) == set()


def test_without_the_engine_the_extra_is_named() -> None:
    code = "import sys; sys.modules['qdrant_edge'] = None\nimport jina_local_qdrant.edge_store"
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert "pip install 'jina-local[edge]'" in done.stderr
    assert MissingExtraError.__name__ in done.stderr


# Crashes


WRITER = """
import json, os, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from test_edge_store import *
store = created(Path(sys.argv[1]))
for batch in range(1000):
    store.upsert(numbered(20, first=20 * batch))
    store.set_payload([name(20 * batch)], {"changed": batch})
    store.delete([name(20 * batch + 1)])
    store.set_metadata("batch", batch)
    print(batch, flush=True)
"""


@pytest.mark.parametrize("acknowledged", [1, 7, 40])
def test_what_was_acknowledged_survives_being_killed(tmp_path: Path, acknowledged: int) -> None:
    command = [sys.executable, "-c", WRITER, str(tmp_path), str(Path(__file__).parent)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        last = -1
        for line in process.stdout:
            last = int(line)
            if last + 1 >= acknowledged:
                break
        with pytest.raises(IndexInUseError):
            EdgeStore(tmp_path, "docs")
        process.send_signal(signal.SIGKILL)
        last = max([last, *(int(line) for line in process.stdout if line.endswith("\n"))])
    store = EdgeStore(tmp_path, "docs")
    assert store.metadata()["batch"] in (last, last + 1)
    found = {point.id: point for point in store.scan(vectors=True)}
    for batch in range(last + 1):
        written = numbered(20, first=20 * batch)
        assert found[written[0].id].payload == {"number": 20 * batch, "changed": batch}
        assert written[1].id not in found
        for point in written[2:]:
            assert found[point.id].payload == point.payload
            vector = found[point.id].vector
            assert vector is not None
            np.testing.assert_allclose(vector, point.vector, atol=1e-6)
    beyond = {name(number) for number in range(20 * (last + 1), 20 * (last + 2))}
    assert len(found.keys() - beyond) == 19 * (last + 1)
    store.upsert(numbered(1, first=99_999))
    assert store.retrieve([name(99_999)]) == {name(99_999): {"number": 99_999}}
    store.close()


class Killed(BaseException):
    """Stands for the end of the process: nothing that catches exceptions catches it."""


def killed(*_: object) -> None:
    raise Killed


@pytest.mark.parametrize("moment", ["the shard is made", "indexes are made", "it gets its name"])
def test_a_collection_whose_making_was_interrupted_is_made_on_opening(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    layout = CollectionLayout(coarse_dimensions=8, payload_indexes={"meta.lang": "keyword"})
    with monkeypatch.context() as patch:
        if moment == "the shard is made":
            patch.setattr(edge_folder, "edge_config", killed)
        elif moment == "indexes are made":
            patch.setattr(edge_folder, "add_indexes", killed)
        else:
            patch.setattr(Path, "rename", killed)
        with pytest.raises(Killed):
            created(tmp_path, layout)
    assert not (tmp_path / "docs" / "shard").exists()
    store = EdgeStore(tmp_path, "docs")
    assert store.exists()
    assert store.metadata() == {"key": "value"}
    assert store.vector_size() == SIZE
    store.upsert(numbered(3))
    (hits,) = store.search([SearchRequest(numbered(3)[1].vector, 1, coarse_limit=3)])
    assert hits[0].id == name(1)
    schema = store._folder.shard.info().payload_schema
    assert set(schema) == {"doc_id", "doc_hash", "chunk_index", "meta.lang"}
    store.close()
    assert {path.name for path in (tmp_path / "docs").iterdir()} == {"lock", "record.json", "shard"}


def test_a_crash_before_the_record_leaves_no_collection(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(edge_folder, "written_whole", killed)
        with pytest.raises(Killed):
            created(tmp_path)
    store = EdgeStore(tmp_path, "docs")
    assert not store.exists()
    store.create(size=SIZE, layout=PLAIN, metadata={})
    assert store.count() == 0
    store.close()


# Refusals


@pytest.mark.parametrize("value", [math.nan, math.inf, {1, 2}, object(), "\ud800", {1: 2}])
def test_of_a_batch_with_a_payload_that_is_not_json_nothing_is_written(
    store: EdgeStore, value: Any
) -> None:
    batch = numbered(600)  # more than is written at once
    batch[-1].payload["bad"] = value
    with pytest.raises(StoreRefusedError) as caught:
        store.upsert(batch)
    assert isinstance(caught.value.__cause__, Exception)
    assert "\n" not in str(caught.value)
    assert store.count() == 0


def test_of_a_large_batch_with_a_bad_point_at_its_end_nothing_is_written(store: EdgeStore) -> None:
    bad = numbered(1)[0].vector.copy()
    bad[0] = math.nan
    for point in (Point(name(1), bad, {}), Point("no uuid", numbered(1)[0].vector, {})):
        with pytest.raises(StoreRefusedError):
            store.upsert([*numbered(600), point])
    assert store.count() == 0


def test_payloads_of_points_of_which_one_is_not_there_stay_as_they_were(store: EdgeStore) -> None:
    store.upsert(numbered(3))
    with pytest.raises(StoreRefusedError, match=name(7)):
        store.set_payload([name(0), name(7), name(1)], {"number": -1})
    assert {point.payload["number"] for point in store.scan()} == {0, 1, 2}


@pytest.mark.parametrize("identifier", ["docs/1", "", "7"])
def test_an_id_that_is_no_uuid_is_refused(store: EdgeStore, identifier: str) -> None:
    store.upsert(numbered(2))
    uses: list[Callable[[], object]] = [
        lambda: store.retrieve([identifier]),
        lambda: store.delete([name(0), identifier]),
        lambda: store.set_payload([name(0), identifier], {"number": 7}),
    ]
    for use in uses:
        with pytest.raises(StoreRefusedError):
            use()
    assert store.retrieve([name(0)]) == {name(0): {"number": 0}}


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_query_that_is_not_finite_is_refused(store: EdgeStore, value: float) -> None:
    query = np.full(SIZE, value, np.float32)
    with pytest.raises(StoreRefusedError, match="finite"):
        store.search([SearchRequest(query, 1)])


@pytest.mark.parametrize("key", ["", "a[]", "a[0].b", '"a b"', "a..b", ".a"])
def test_groups_of_a_key_that_is_no_plain_key_are_refused(store: EdgeStore, key: str) -> None:
    with pytest.raises(InvalidOptionError, match="group_by"):
        store.search([SearchRequest(unit_vectors(1)[0], 1, group_by=key)])


def field(**asked: Any) -> models.FieldCondition:
    return models.FieldCondition(key="k", **asked)


@pytest.mark.parametrize(
    ("condition", "words"),
    [
        (field(match=models.MatchPhrase(phrase="a b")), "MatchPhrase"),
        (field(match=models.MatchTextAny(text_any="a b")), "MatchTextAny"),
        (
            field(geo_radius=models.GeoRadius(center=models.GeoPoint(lon=1, lat=2), radius=3)),
            "FieldCondition.*geo_radius",
        ),
        (field(values_count=models.ValuesCount(gt=1)), "FieldCondition.*values_count"),
        (models.HasVectorCondition(has_vector="coarse"), "HasVectorCondition"),
        (
            models.NestedCondition(nested=models.Nested(key="k", filter=models.Filter())),
            "NestedCondition",
        ),
        (field(), "'k' asks for nothing"),
        (
            field(match=models.MatchValue(value=1), range=models.Range(gt=0)),
            r"\['match', 'range'\]",
        ),
    ],
)
def test_a_condition_that_is_not_translated_is_named(condition: Any, words: str) -> None:
    choices: list[models.Filter] = [
        models.Filter(must=[condition]),
        models.Filter(should=condition),
        models.Filter(must_not=[models.Filter(must=[condition])]),
        models.Filter(min_should=models.MinShould(conditions=[condition], min_count=1)),
    ]
    for chosen in choices:
        with pytest.raises(InvalidOptionError, match=words):
            edge_filter(chosen)


def test_a_filter_that_is_refused_says_so_wherever_it_is_used(store: EdgeStore) -> None:
    chosen = models.Filter(must=[field(match=models.MatchPhrase(phrase="a"))])
    uses: list[Callable[[], object]] = [
        lambda: store.count(chosen),
        lambda: list(store.scan(chosen)),
        lambda: store.search([SearchRequest(unit_vectors(1)[0], 1, filter=chosen)]),
    ]
    for use in uses:
        with pytest.raises(InvalidOptionError, match="MatchPhrase"):
            use()


def test_a_key_that_the_engine_does_not_understand_is_a_refusal(store: EdgeStore) -> None:
    condition = models.FieldCondition(key="a[", match=models.MatchValue(value=1))
    with pytest.raises(StoreRefusedError, match="a\\["):
        store.count(models.Filter(must=[condition]))


# Layouts


LAYOUTS = {
    f"{quantization} {storage}": CollectionLayout(quantization=quantization, storage=storage)
    for quantization in ("none", "int8", "turbo", "binary")
    for storage in ("float32", "float16")
} | {
    "int8 coarse": CollectionLayout(quantization="int8", coarse_dimensions=8),
    "binary float16 coarse": CollectionLayout(
        quantization="binary", storage="float16", coarse_dimensions=16
    ),
}


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS.keys())
def test_scores_are_of_the_originals_in_every_layout(
    tmp_path: Path, layout: CollectionLayout
) -> None:
    """Rescored: a compressed copy alone is off by 1e-2 and more, and a binary one by 20."""
    store = created(tmp_path, layout)
    written = numbered(400)
    store.upsert(written)
    tolerance = 1e-3 if layout.storage == "float16" else 1e-5
    vectors = {point.id: point.vector.astype(np.float64) for point in written}
    for query in unit_vectors(5, seed=3):
        coarse = 400 if layout.coarse_dimensions else None
        (hits,) = store.search([SearchRequest(query, 10, coarse_limit=coarse)])
        expected = sorted((float(vector @ query) for vector in vectors.values()), reverse=True)
        scores = [hit.score for hit in hits]
        assert scores == sorted(scores, reverse=True)
        np.testing.assert_allclose(
            scores, [vectors[hit.id] @ query for hit in hits], atol=tolerance
        )
        if layout.quantization == "none":
            np.testing.assert_allclose(scores, expected[:10], atol=tolerance)
    stored = [point.vector for point in store.scan(vectors=True)]
    assert all(vector is not None and vector.shape == (SIZE,) for vector in stored)
    store.close()
    again = EdgeStore(tmp_path, "docs")
    assert again.count() == 400
    again.close()


def shard_config(store: EdgeStore, tmp_path: Path) -> Any:
    store.close()
    return json.loads((tmp_path / "docs" / "shard" / "edge_config.json").read_text())


def test_the_engine_is_told_the_layout(tmp_path: Path) -> None:
    layout = CollectionLayout(quantization="turbo", storage="float16", coarse_dimensions=8)
    vectors = shard_config(created(tmp_path, layout), tmp_path)["vectors"]
    assert {key: value["size"] for key, value in vectors.items()} == {"": SIZE, "coarse": 8}
    for value in vectors.values():
        assert value["distance"] == "Cosine"
        assert value["datatype"] == "float16"
        assert value["quantization_config"] == {"turbo": {"bits": "bits4", "memory": "pinned"}}


def test_payload_indexes_are_there_before_data(tmp_path: Path) -> None:
    layout = CollectionLayout(payload_indexes={"meta.at": "datetime", "n": "float"}, tenants=True)
    store = created(tmp_path, layout)
    schema = store._folder.shard.info().payload_schema
    assert {key: info.data_type for key, info in schema.items()} == {
        "doc_id": qdrant_edge.PayloadSchemaType.Keyword,
        "doc_hash": qdrant_edge.PayloadSchemaType.Keyword,
        "chunk_index": qdrant_edge.PayloadSchemaType.Integer,
        "tenant": qdrant_edge.PayloadSchemaType.Keyword,
        "meta.at": qdrant_edge.PayloadSchemaType.Datetime,
        "n": qdrant_edge.PayloadSchemaType.Float,
    }
    store.close()


def test_what_has_no_effect_is_named(store: EdgeStore) -> None:
    assert store.ineffective(PLAIN) == []
    effective = CollectionLayout(
        quantization="int8", storage="float16", coarse_dimensions=4, tenants=True
    )
    assert store.ineffective(effective) == []
    assert store.ineffective(CollectionLayout(bulk=True, replicas=2, shards=3)) == [
        "shards",
        "replicas",
        "bulk",
    ]


def test_a_coarse_vector_without_a_direction_is_refused(tmp_path: Path) -> None:
    store = created(tmp_path, CollectionLayout(coarse_dimensions=4))
    vector = np.zeros(SIZE, np.float32)
    vector[9] = 1
    with pytest.raises(StoreRefusedError, match="first 4 dimensions"):
        store.upsert([*numbered(2), Point(name(9), vector, {})])
    assert store.count() == 0
    store.close()


def test_the_graph_is_built_when_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a threshold of 1 kB: by default the engine leaves less than 20 MB of vectors alone."""

    def eager(size: int, layout: CollectionLayout) -> qdrant_edge.EdgeConfig:
        return qdrant_edge.EdgeConfig(
            vectors=edge_config(size, layout).vectors,
            optimizers=qdrant_edge.EdgeOptimizersConfig(indexing_threshold=1),
        )

    monkeypatch.setattr(edge_folder, "edge_config", eager)
    layout = CollectionLayout(quantization="int8")
    store = created(tmp_path, layout)
    written = numbered(2000)
    store.upsert(written)
    assert store._folder.shard.info().indexed_vectors_count == 0
    store.finish_bulk()
    assert store._folder.shard.info().indexed_vectors_count == 2000
    vectors = np.stack([point.vector for point in written])
    query = unit_vectors(1, seed=77)[0]
    order = np.argsort(-(vectors @ query))
    (hits,) = store.search([SearchRequest(query, 10)])
    assert len({hit.id for hit in hits} & {name(int(row)) for row in order[:10]}) >= 8
    # Groups are exact, though a graph is asked first, and each point is a group of its own.
    (groups,) = store.search([SearchRequest(query, 2000, group_by="number")])
    assert [hit.payload["number"] for hit in groups] == [int(row) for row in order]
    assert [point.id for point in store.scan()] == sorted(point.id for point in written)
    store.close()
    again = EdgeStore(tmp_path, "docs")
    assert again._folder.shard.info().indexed_vectors_count == 2000
    again.close()


# Threads


def test_readers_go_on_while_one_writes(store: EdgeStore) -> None:
    store.upsert(numbered(50))
    done, seen = threading.Event(), [0, 0]
    failures: list[BaseException] = []

    def read(reader: int) -> None:
        query = unit_vectors(1)[0]
        try:
            while not done.is_set() or not seen[reader]:
                assert store.count() == 50
                assert len(store.search([SearchRequest(query, 10)])[0]) == 10
                assert len(list(store.scan(vectors=True))) == 50
                assert len(store.retrieve([name(3)])) == 1
                seen[reader] += 1
        except BaseException as error:  # noqa: BLE001 - told in the test's own thread
            failures.append(error)

    readers = [threading.Thread(target=read, args=(reader,)) for reader in range(2)]
    for reader in readers:
        reader.start()
    for version in range(30):
        store.upsert([Point(p.id, p.vector, {"version": version}) for p in numbered(50)])
    done.set()
    for reader in readers:
        reader.join()
    assert not failures
    assert min(seen) > 0
    assert {point.payload["version"] for point in store.scan()} == {29}


def test_writers_take_turns(store: EdgeStore) -> None:
    def write(writer: int) -> None:
        for batch in range(10):
            store.upsert(numbered(5, first=1000 * writer + 5 * batch))
            with store.exclusive():
                count = store.metadata().get("batches", 0)
                time.sleep(0)
                store.set_metadata("batches", count + 1)

    writers = [threading.Thread(target=write, args=(writer,)) for writer in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert store.count() == 200
    assert store.metadata()["batches"] == 40
