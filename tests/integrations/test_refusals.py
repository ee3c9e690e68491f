"""The four other ways to be wrong: each is refused on opening, and nothing written.

Other dimensions, other weights, chunks made in another context, chunks cut in another way.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest
from qdrant_client import QdrantClient, models

from jina_local_qdrant import Document, EmbeddingSpec, JinaQdrant
from jina_local_qdrant.errors import (
    CollectionNotFoundError,
    FingerprintMismatchError,
    InvalidDocumentError,
    StoreRefusedError,
    UnmanagedCollectionError,
)
from jina_local_qdrant.layout import LAYOUT_KEY, CollectionLayout
from jina_local_qdrant.spec import METADATA_KEY
from support.crashing import COLLECTION, CrashingClient, Fault, quick_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from jina_local import Engine

    Opened = Callable[..., JinaQdrant]

DOCUMENTS: list[Document] = [
    {"id": "bread", "text": "Flour, water and salt; knead, wait, bake.", "metadata": {"n": 1}},
    {"id": "boats", "text": "A sloop has one mast, a ketch has two."},
]
SPEC = {"dimensions": 16, "chunk_tokens": 64, "window_tokens": 2048, "margin_tokens": 256}
WAYS = {
    "dimensions": (16, 32),
    "chunk_tokens": (64, 99),
    "late_chunking": (True, False),
    "special_tokens": ("edges", "exclude"),
    "window_tokens": (2048, 4096),
    "margin_tokens": (256, 128),
}


def spec(**changes: Any) -> EmbeddingSpec:
    return EmbeddingSpec(**{**SPEC, **changes})


@pytest.fixture(params=["memory", "folder", "edge"])
def opened(request: pytest.FixtureRequest, engine: Engine) -> Iterator[Opened]:
    """Opens one collection, made with `SPEC` and these documents, with another spec or engine."""
    with quick_folder() as folder:
        yield from opened_in(folder, request.param, engine)


def opened_in(folder: Path, kind: str, engine: Engine) -> Iterator[Opened]:
    if kind == "edge":
        held: list[JinaQdrant] = []

        def open_edge(wanted: EmbeddingSpec | None = None, by: Engine = engine) -> JinaQdrant:
            while held:
                held.pop().store.close()
            index = JinaQdrant(f"edge:{folder}", COLLECTION, by, wanted or spec())
            held.append(index)
            return index

        open_edge().ingest(DOCUMENTS)
        yield open_edge
        while held:
            held.pop().store.close()
        return
    client = QdrantClient(path=str(folder)) if kind == "folder" else QdrantClient(":memory:")

    def open_client(wanted: EmbeddingSpec | None = None, by: Engine = engine) -> JinaQdrant:
        return JinaQdrant(client, COLLECTION, by, wanted or spec())

    open_client().ingest(DOCUMENTS)
    yield open_client
    client.close()


def content(index: JinaQdrant) -> tuple[Any, ...]:
    """All that a store says of what it has."""
    points = [
        (point.id, point.payload, [] if point.vector is None else point.vector.tolist())
        for point in index.store.scan(vectors=True)
    ]
    return index.store.metadata(), points


def line_about(field: str, there: object, here: object) -> str:
    """A pattern for one line that names a field and both of its values, on their sides.

    The settings of late chunking may be named within its line.
    """
    if field == "late_chunking":
        return r"late_chunking: (?P<there>.+) in the collection, (?!(?P=there)).+ here"
    name = rf"\b{field}\W+"
    there_and_here = re.escape(repr(there)), re.escape(repr(here))
    return rf"{name}{there_and_here[0]}.* in the collection, .*{there_and_here[1]}"


@pytest.mark.parametrize("field", WAYS)
def test_another_way_to_make_vectors_is_refused(opened: Opened, field: str) -> None:
    there, here = WAYS[field]
    before = content(opened())
    with pytest.raises(FingerprintMismatchError, match=line_about(field, there, here)):
        opened(spec(**{field: here}))
    assert content(opened()) == before
    assert opened().ingest(DOCUMENTS).skipped == 2


def test_other_weights_are_refused(opened: Opened, engine: Engine, demo: Engine) -> None:
    line = line_about("weights", engine.weights_id, demo.weights_id)
    with pytest.raises(FingerprintMismatchError, match=line):
        opened(by=demo)
    assert opened().ingest(DOCUMENTS).skipped == 2


def test_every_field_that_differs_is_named(opened: Opened, demo: Engine) -> None:
    changes = {field: here for field, (_, here) in WAYS.items() if field != "late_chunking"}
    with pytest.raises(FingerprintMismatchError) as refusal:
        opened(spec(**changes), by=demo)
    message = str(refusal.value)
    assert "weights: " in message
    for field in changes:
        assert re.search(line_about(field, *WAYS[field]), message), field


def test_the_same_way_is_not_refused(opened: Opened) -> None:
    index = opened()
    assert opened(spec()).record == index.record
    assert opened(spec()).fingerprint == index.fingerprint
    assert index.record["fingerprint"] == index.fingerprint


@pytest.mark.parametrize(
    ("edit", "fields"),
    [
        ({"dimensions": 8}, ["dimensions"]),
        ({"weights": "0" * 64}, ["weights"]),
        ({"fingerprint": "0" * 64}, ["fingerprint"]),
        ({"late_chunking": False, "chunk_tokens": 1}, ["late_chunking", "chunk_tokens"]),
        ({"chunk_tokens": None}, ["chunk_tokens"]),
        ({"surprise": 1}, ["surprise"]),
        ({"dimensions": "16"}, ["dimensions"]),
        ({"schema": 99}, ["schema"]),
    ],
)
def test_an_edited_record_is_refused(
    opened: Opened, edit: dict[str, Any], fields: list[str]
) -> None:
    index = opened()
    index.store.set_metadata(METADATA_KEY, {**index.record, **edit})
    with pytest.raises(FingerprintMismatchError) as refusal:
        opened()
    for field in fields:
        line = line_about(field, edit[field], index.record.get(field))
        assert re.search(line, str(refusal.value)), field


@pytest.mark.parametrize("field", ["dimensions", "weights", "late_chunking", "fingerprint"])
def test_a_record_without_a_field_is_refused(opened: Opened, field: str) -> None:
    index = opened()
    record = {key: value for key, value in index.record.items() if key != field}
    index.store.set_metadata(METADATA_KEY, record)
    with pytest.raises(FingerprintMismatchError, match=f"{field}: "):
        opened()


@pytest.mark.parametrize("record", ["edited", 7, ["weights"], {}])
def test_a_record_that_is_none_is_refused(opened: Opened, record: Any) -> None:
    opened().store.set_metadata(METADATA_KEY, record)
    with pytest.raises((FingerprintMismatchError, UnmanagedCollectionError), match=COLLECTION):
        opened()


LAYOUT = CollectionLayout(payload_indexes={"meta.n": "integer"}).as_dict()


@pytest.mark.parametrize(
    ("layout", "said"),
    [
        ({**LAYOUT, "surprise": 1}, r"it has the fields \['surprise'\], not only \['quantization'"),
        ({**LAYOUT, "quantization": "int4"}, "quantization is 'int4'; give one of 'none', 'int8'"),
        ({**LAYOUT, "coarse_dimensions": 0}, "coarse_dimensions is 0"),
        ({**LAYOUT, "coarse_dimensions": "8"}, "coarse_dimensions is '8'"),
        ({**LAYOUT, "payload_indexes": 7}, "'int' object has no attribute 'items'"),
        ({**LAYOUT, "tenants": "yes"}, "tenants is 'yes'; give True or False"),
        ([1], r"it is \[1\], not a dict of fields"),
        ("edited", "it is 'edited', not a dict of fields"),
    ],
)
def test_an_edited_layout_is_refused(opened: Opened, layout: Any, said: str) -> None:
    opened().store.set_metadata(LAYOUT_KEY, layout)
    message = rf"layout in the collection's metadata, '{LAYOUT_KEY}', .*{said}.*: restore it, or"
    with pytest.raises(FingerprintMismatchError, match=message):
        opened()


def test_a_layout_without_its_newer_fields_is_as_it_was(opened: Opened) -> None:
    opened().store.set_metadata(LAYOUT_KEY, {"quantization": "none"})
    assert opened().ingest(DOCUMENTS).skipped == 2


# Collections that something else made


VECTORS = models.VectorParams(size=16, distance=models.Distance.COSINE)


@pytest.mark.parametrize("metadata", [None, {"owner": "somebody else"}])
@pytest.mark.parametrize("points", [0, 1])
def test_an_unmanaged_collection_is_refused(
    engine: Engine, metadata: dict[str, Any] | None, points: int
) -> None:
    client = QdrantClient(":memory:")
    client.create_collection(COLLECTION, vectors_config=VECTORS, metadata=metadata)
    point = models.PointStruct(id=1, vector=[1.0] * 16, payload={"text": "x"})
    client.upsert(COLLECTION, [point] * points or [point])
    with pytest.raises(UnmanagedCollectionError, match=COLLECTION):
        JinaQdrant(client, COLLECTION, engine, spec())
    assert client.get_collection(COLLECTION).config.metadata == metadata
    assert client.count(COLLECTION).count == 1


def test_an_unmanaged_edge_folder_is_refused(engine: Engine, tmp_path: Path) -> None:
    from jina_local_qdrant.edge_store import EdgeStore

    store = EdgeStore(tmp_path / "edge", COLLECTION)
    store.create(size=16, layout=CollectionLayout(), metadata={})
    store.close()
    with pytest.raises(UnmanagedCollectionError, match=COLLECTION):
        JinaQdrant(f"edge:{tmp_path / 'edge'}", COLLECTION, engine, spec())


@pytest.mark.parametrize(
    ("vectors", "said"),
    [
        (models.VectorParams(size=8, distance=models.Distance.COSINE), "8.*16|16.*8"),
        (models.VectorParams(size=64, distance=models.Distance.COSINE), "64.*16|16.*64"),
        (models.VectorParams(size=16, distance=models.Distance.DOT), "(?i)cosine"),
        (models.VectorParams(size=16, distance=models.Distance.EUCLID), "(?i)cosine"),
        ({"other": VECTORS}, COLLECTION),
        ({}, COLLECTION),
    ],
    ids=["shorter", "longer", "dot", "euclid", "named", "none"],
)
def test_vectors_that_are_not_as_the_record_says_are_refused(
    engine: Engine, vectors: Any, said: str
) -> None:
    record = JinaQdrant(QdrantClient(":memory:"), COLLECTION, engine, spec()).record
    client = QdrantClient(":memory:")
    client.create_collection(COLLECTION, vectors_config=vectors, metadata={METADATA_KEY: record})
    with pytest.raises(FingerprintMismatchError, match=said):
        JinaQdrant(client, COLLECTION, engine, spec())


# No task


@pytest.mark.parametrize("task", ["text-matching", "retrieval.passage", "retrieval.query"])
def test_there_is_no_task_to_choose(opened: Opened, engine: Engine, task: str) -> None:
    index: Any = opened()
    make: Any = JinaQdrant
    before = content(index)
    for call in (
        lambda: make(QdrantClient(":memory:"), COLLECTION, engine, task=task),
        lambda: index.ingest(DOCUMENTS, task=task),
        lambda: index.search("masts", task=task),
        lambda: index.search_batch(["masts"], task=task),
    ):
        with pytest.raises(TypeError, match="task") as refusal:
            call()
        message = str(refusal.value)
        assert re.search("passage|quer", message), message  # what is done instead
    assert content(index) == before


def test_a_refusal_to_make_a_helper_makes_nothing(engine: Engine) -> None:
    client = QdrantClient(":memory:")
    make: Any = JinaQdrant
    with pytest.raises(TypeError):
        make(client, COLLECTION, engine, task="retrieval.query")
    assert not client.collection_exists(COLLECTION)


@pytest.mark.parametrize("documents", [None, 7, "text", DOCUMENTS[0]])
def test_what_is_no_list_of_documents_makes_nothing(
    engine: Engine, tmp_path: Path, documents: Any
) -> None:
    places: list[Any] = [QdrantClient(":memory:"), f"edge:{tmp_path / 'edge'}"]
    for place in places:
        index = JinaQdrant(place, COLLECTION, engine, spec())
        for call in (index.ingest, index.sync):
            with pytest.raises(InvalidDocumentError, match="give a list of documents"):
                call(documents)
        assert not index.store.exists()
        index.close()


# Opening never writes


READS = {"collection_exists", "get_collection", "get_collections", "info", "retrieve", "scroll"}
READS |= {
    "count",
    "query_points",
    "query_batch_points",
    "query_points_groups",
    "get_aliases",
    "get_collection_aliases",
}


def test_opening_searching_and_reading_never_write(engine: Engine) -> None:
    client = QdrantClient(":memory:")
    JinaQdrant(client, COLLECTION, engine, spec()).ingest(DOCUMENTS)
    before = content(JinaQdrant(client, COLLECTION, engine, spec()))
    watched = Fault()
    watching: Any = CrashingClient(client, watched)
    index = JinaQdrant(watching, COLLECTION, engine, spec())
    index.search("masts")
    index.search_batch(["masts", "bread"], group_by_document=True)
    index.count()
    index.count_documents()
    index.get("bread")
    with pytest.raises(FingerprintMismatchError):
        JinaQdrant(watching, COLLECTION, engine, spec(dimensions=8))
    assert set(watched.calls) <= READS
    assert content(index) == before


def test_opening_what_is_not_there_makes_nothing(engine: Engine, tmp_path: Path) -> None:
    client = QdrantClient(":memory:")
    with pytest.raises(CollectionNotFoundError):
        JinaQdrant(client, COLLECTION, engine, spec()).search("x")
    assert client.get_collections().collections == []
    index = JinaQdrant(f"edge:{tmp_path / 'edge'}", COLLECTION, engine, spec())
    with pytest.raises(CollectionNotFoundError):
        index.search("x")
    index.store.close()
    assert [path for path in (tmp_path / "edge").rglob("*") if path.is_dir()] == []


def test_a_closed_edge_collection_says_that_it_was_closed(engine: Engine, tmp_path: Path) -> None:
    """And not that there is none, as if what is in it was gone."""
    index = JinaQdrant(f"edge:{tmp_path}", COLLECTION, engine, spec())
    index.ingest(DOCUMENTS)
    index.close()
    calls: tuple[Callable[[], object], ...] = (
        lambda: index.search("masts"),
        lambda: index.ingest(DOCUMENTS),
        lambda: index.sync(DOCUMENTS),
        lambda: index.get("bread"),
        lambda: index.delete("bread"),
        index.count,
        index.count_documents,
        index.verify,
        index.finish_bulk,
    )
    for call in calls:
        with pytest.raises(StoreRefusedError, match="was closed: open it again"):
            call()
    index.close()


def test_opening_a_folder_changes_no_file_in_it(engine: Engine, tmp_path: Path) -> None:
    def files() -> dict[Path, bytes]:
        return {path: path.read_bytes() for path in sorted(tmp_path.rglob("*")) if path.is_file()}

    client = QdrantClient(path=str(tmp_path))
    JinaQdrant(client, COLLECTION, engine, spec()).ingest(DOCUMENTS)
    client.close()
    before = files()
    client = QdrantClient(path=str(tmp_path))
    assert JinaQdrant(client, COLLECTION, engine, spec()).search("masts")
    with pytest.raises(FingerprintMismatchError):
        JinaQdrant(client, COLLECTION, engine, spec(chunk_tokens=1))
    client.close()
    assert files() == before
