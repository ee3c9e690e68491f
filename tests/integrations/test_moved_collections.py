"""A helper that lives long, while others delete, make and rename what it works on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from qdrant_client import QdrantClient, models

from jina_local_qdrant import CollectionLayout, Document, EmbeddingSpec, JinaQdrant
from jina_local_qdrant.errors import (
    CollectionNotFoundError,
    FingerprintMismatchError,
    StoreRefusedError,
    UnmanagedCollectionError,
)
from support.stub_qdrant import Fault, StubQdrant, running

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from jina_local import Engine

OURS = EmbeddingSpec(dimensions=16, chunk_tokens=64)
THEIRS = EmbeddingSpec(dimensions=16, chunk_tokens=64, late_chunking=False)  # of the same size
DOCUMENTS: list[Document] = [
    {"id": "bread", "text": "Flour, water and salt; knead, wait, bake.", "metadata": {"n": 1}},
    {"id": "boats", "text": "A sloop has one mast, a ketch has two."},
]
OTHERS: list[Document] = [{"id": "cats", "text": "Cats purr."}]

CALLS: dict[str, Callable[[JinaQdrant], object]] = {
    "ingest": lambda index: index.ingest(DOCUMENTS),
    "sync": lambda index: index.sync(DOCUMENTS),
    "sync and delete": lambda index: index.sync(
        DOCUMENTS, delete_missing=True, max_delete_fraction=1.0
    ),
    "search": lambda index: index.search("masts"),
    "search_batch": lambda index: index.search_batch(["masts"]),
    "get": lambda index: index.get("bread"),
    "delete": lambda index: index.delete("cats"),
    "count": lambda index: index.count(),
    "count_documents": lambda index: index.count_documents(),
    "verify": lambda index: index.verify(),
    "finish_bulk": lambda index: index.finish_bulk(),
}


@pytest.fixture(scope="module")
def shared_stub() -> Iterator[StubQdrant]:
    with running() as server:
        yield server


@pytest.fixture
def stub(shared_stub: StubQdrant) -> StubQdrant:
    shared_stub.reset()
    return shared_stub


@pytest.fixture(params=["memory", "server"])
def client(request: pytest.FixtureRequest) -> Iterator[QdrantClient]:
    if request.param == "memory":
        opened = QdrantClient(":memory:")
    else:
        opened = request.getfixturevalue("stub").client()
    yield opened
    opened.close()


def backend(client: QdrantClient, request: pytest.FixtureRequest) -> QdrantClient:
    """Where others do things that the stub's API has not."""
    if "server" in request.node.name:
        stub: StubQdrant = request.getfixturevalue("stub")
        return stub.backend
    return client


def content(client: QdrantClient, name: str) -> list[Any]:
    points, _ = client.scroll(name, limit=1000, with_vectors=True)
    metadata = client.get_collection(name).config.metadata
    return [metadata, *((point.id, point.payload, point.vector) for point in points)]


def ids(index: JinaQdrant) -> list[str]:
    return [hit.id for hit in index.search("masts", limit=9)]


# Deleted and made again


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS.keys())
def test_a_collection_that_was_made_again_another_way_is_refused(
    client: QdrantClient, engine: Engine, call: Callable[[JinaQdrant], object]
) -> None:
    index = JinaQdrant(client, "docs", engine, OURS)
    index.ingest(DOCUMENTS)
    assert ids(index)
    client.delete_collection("docs")
    JinaQdrant(client, "docs", engine, THEIRS).ingest(OTHERS)
    before = content(client, "docs")
    with pytest.raises(FingerprintMismatchError, match=r"late_chunking: None in the collection"):
        call(index)
    assert content(client, "docs") == before


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS.keys())
def test_a_collection_that_something_else_made_again_is_refused(
    client: QdrantClient, engine: Engine, call: Callable[[JinaQdrant], object]
) -> None:
    index = JinaQdrant(client, "docs", engine, OURS)
    index.ingest(DOCUMENTS)
    client.delete_collection("docs")
    size = models.VectorParams(size=16, distance=models.Distance.COSINE)
    client.create_collection("docs", vectors_config=size)
    with pytest.raises(UnmanagedCollectionError):
        call(index)
    assert client.count("docs").count == 0


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS.keys())
def test_a_collection_that_was_deleted_is_made_by_ingesting(
    client: QdrantClient, engine: Engine, call: Callable[[JinaQdrant], object]
) -> None:
    index = JinaQdrant(client, "docs", engine, OURS)
    index.ingest(DOCUMENTS)
    client.delete_collection("docs")
    if call in (CALLS["ingest"], CALLS["sync"], CALLS["sync and delete"]):
        call(index)
        assert index.count_documents() == 2
    else:
        with pytest.raises(CollectionNotFoundError, match="no collection 'docs' yet"):
            call(index)
        assert not client.collection_exists("docs")


@pytest.mark.parametrize("first", [None, 8])
def test_a_collection_that_was_made_again_with_another_layout_is_used(
    client: QdrantClient, engine: Engine, first: int | None
) -> None:
    """The same vectors, stored with coarse ones beside them or without."""
    layouts = [CollectionLayout(coarse_dimensions=size) for size in {first, None, 8}]
    layouts.sort(key=lambda layout: layout.coarse_dimensions != first)
    index = JinaQdrant(client, "docs", engine, OURS, layout=layouts[0])
    index.ingest(DOCUMENTS)
    expected = ids(index)
    client.delete_collection("docs")
    other = JinaQdrant(client, "docs", engine, OURS, layout=layouts[1])
    other.ingest(DOCUMENTS[:1])
    assert index.ingest(DOCUMENTS).embedded == 1
    assert ids(index) == ids(other) == expected
    assert index.verify(deep=True).ok


# Aliases


def move(client: QdrantClient, alias: str, collection: str) -> None:
    """What others do when a new version of a collection is ready."""
    old = [one.alias_name for one in client.get_aliases().aliases]
    removal = models.DeleteAlias(alias_name=alias)
    deletions = [models.DeleteAliasOperation(delete_alias=removal)] if alias in old else []
    new = models.CreateAlias(collection_name=collection, alias_name=alias)
    creation = models.CreateAliasOperation(create_alias=new)
    client.update_collection_aliases([*deletions, creation])


def test_a_helper_stays_with_the_collection_that_an_alias_named(
    client: QdrantClient, engine: Engine, request: pytest.FixtureRequest
) -> None:
    real = backend(client, request)
    JinaQdrant(client, "v1", engine, OURS).ingest(DOCUMENTS)
    JinaQdrant(client, "v2", engine, THEIRS).ingest(OTHERS)
    move(real, "live", "v1")
    index = JinaQdrant(client, "live", engine, OURS)
    expected = ids(index)
    assert {hit.doc_id for hit in index.search("masts")} == {"bread", "boats"}
    before = content(real, "v2")

    move(real, "live", "v2")
    assert ids(index) == expected
    assert index.ingest([*DOCUMENTS, {"id": "late", "text": "Late."}]).skipped == 2
    assert index.count_documents() == JinaQdrant(client, "v1", engine, OURS).count_documents() == 3
    assert index.verify(deep=True).ok
    assert content(real, "v2") == before

    with pytest.raises(FingerprintMismatchError, match=r"late_chunking: None in the collection"):
        JinaQdrant(client, "live", engine, OURS)
    again = JinaQdrant(client, "live", engine, THEIRS)
    assert {hit.doc_id for hit in again.search("masts")} == {"cats"}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS.keys())
def test_a_collection_that_an_alias_named_is_not_made_again(
    client: QdrantClient,
    engine: Engine,
    request: pytest.FixtureRequest,
    call: Callable[[JinaQdrant], object],
) -> None:
    """What was written into it would be found by nobody who asks for the alias."""
    real = backend(client, request)
    for name, spec in (("v1", OURS), ("v2", THEIRS)):
        JinaQdrant(client, name, engine, spec).ingest(DOCUMENTS)
    move(real, "live", "v1")
    index = JinaQdrant(client, "live", engine, OURS)
    move(real, "live", "v2")
    client.delete_collection("v1")
    with pytest.raises(CollectionNotFoundError, match=r"'v1' is gone, .* open 'live' again"):
        call(index)
    assert not client.collection_exists("v1")


def test_a_name_that_is_an_alias_of_nothing_is_a_name(
    client: QdrantClient, engine: Engine, request: pytest.FixtureRequest
) -> None:
    JinaQdrant(client, "v1", engine, OURS).ingest(OTHERS)
    move(backend(client, request), "live", "v1")
    index = JinaQdrant(client, "docs", engine, OURS)
    assert index.ingest(DOCUMENTS).embedded == 2
    assert client.get_collection("docs").points_count == 2


class OldClient:
    """A proxy that knows what the helper cannot do without."""

    def __init__(self, client: QdrantClient) -> None:
        self._wrapped = client

    def __getattr__(self, name: str) -> Any:
        if name in ("get_aliases", "_client"):
            raise AttributeError(name)
        return getattr(self._wrapped, name)


def test_a_client_without_aliases_works(engine: Engine) -> None:
    client: Any = OldClient(QdrantClient(":memory:"))
    index = JinaQdrant(client, "docs", engine, OURS)
    assert index.ingest(DOCUMENTS).embedded == 2
    assert ids(index)


@pytest.mark.parametrize("status", [403, 404])
def test_a_server_that_lists_no_aliases_is_used(
    stub: StubQdrant, engine: Engine, status: int
) -> None:
    """As to a key that is for one collection, or behind a proxy."""
    client = stub.client()
    stub.faults.append(Fault("answer", "aliases", status=status))
    index = JinaQdrant(client, "docs", engine, OURS)
    assert stub.sent("aliases")[0].fault is not None
    assert index.ingest(DOCUMENTS).embedded == 2
    client.close()


# What it costs


def test_looking_is_one_request(stub: StubQdrant, engine: Engine) -> None:
    client = stub.client()

    def sent(call: Callable[[], object]) -> list[str]:
        stub.requests.clear()
        call()
        return [request.operation for request in stub.requests]

    index = JinaQdrant(client, "docs", engine, OURS)
    index.ingest(DOCUMENTS)
    opening = ["aliases", "exists", "info"]
    assert sent(lambda: JinaQdrant(client, "docs", engine, OURS)) == opening
    assert sent(lambda: JinaQdrant(client, "none", engine, OURS)) == opening[:2]
    assert sent(lambda: index.search("masts")) == ["info", "query_batch"]
    assert sent(index.count) == ["info", "count"]
    assert sent(lambda: index.get("bread")) == ["info", "scroll"]
    client.close()


def test_a_collection_that_is_there_and_not_shown_is_not_missing(
    stub: StubQdrant, engine: Engine
) -> None:
    client = stub.client()
    index = JinaQdrant(client, "docs", engine, OURS)
    index.ingest(DOCUMENTS)
    stub.faults += [Fault("answer", "info", status=403, error="no right")] * 2
    with pytest.raises(StoreRefusedError, match="no right"):
        index.count()
    assert index.count() == 2
    client.close()
