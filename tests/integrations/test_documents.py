"""What a document may be: the same in every store, as it was when it came, and back as it came."""

from __future__ import annotations

import inspect
import sys
from typing import TYPE_CHECKING, Any

import pytest
from qdrant_client import QdrantClient

from jina_local.fingerprint import canonical_hash
from jina_local_qdrant import Document, EmbeddingSpec, JinaQdrant
from jina_local_qdrant.documents import check_document
from jina_local_qdrant.errors import InvalidDocumentError
from jina_local_qdrant.payload import point_id
from jina_local_qdrant.store import Point

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from jina_local import Engine

    Opened = Callable[[], JinaQdrant]

SPEC = EmbeddingSpec(chunk_tokens=24)
SECTIONS = [f"## Section {i}\n\n" + "Some words about a thing that is here. " * 2 for i in range(6)]
MARKDOWN = "# Title\n\n" + "\n\n".join(SECTIONS)


@pytest.fixture(params=["memory", "folder", "edge"])
def opened(request: pytest.FixtureRequest, engine: Engine, tmp_path: Path) -> Iterator[Opened]:
    """Opens one collection, each time anew and from what is on the disk, if anything is."""
    held: list[Any] = []
    memory = QdrantClient(":memory:")

    def close() -> None:
        while held:
            held.pop().close()

    def open_anew() -> JinaQdrant:
        close()
        client: Any = memory
        if request.param == "folder":
            client = QdrantClient(path=str(tmp_path / "db"))
            held.append(client)
        elif request.param == "edge":
            pytest.importorskip("qdrant_edge")
            client = f"edge:{tmp_path / 'edge'}"
        index = JinaQdrant(client, "docs", engine, SPEC)
        held.append(index)
        return index

    yield open_anew
    close()


def checked(**changes: Any) -> Any:
    return check_document({"id": "a", "text": "Text.", **changes}, 0)


def nested(levels: int, *, kind: type = dict) -> Any:
    """So many dicts in each other, or lists in a dict."""
    value: Any = {} if kind is dict else []
    for level in range(1, levels):
        value = {"in": value} if kind is dict or level == levels - 1 else [value]
    return value


# Metadata that is not the same in every store


@pytest.mark.parametrize("kind", [dict, list])
def test_metadata_of_a_hundred_levels_outlives_closing(opened: Opened, kind: type) -> None:
    document = {"id": "a", "text": "Text.", "metadata": nested(100, kind=kind)}
    index = opened()
    index.ingest([document])
    assert index.search("text")[0].metadata == document["metadata"]
    assert opened().get("a") == document


@pytest.mark.parametrize("levels", [101, 130, 100_000])
@pytest.mark.parametrize("kind", [dict, list])
def test_deeper_metadata_is_refused_before_anything_is_written(
    opened: Opened, levels: int, kind: type
) -> None:
    """Qdrant's embedded engine would take 130 levels, and never open the collection again."""
    opened().ingest([{"id": "good", "text": "Fine."}])
    deep = {"id": "bad", "text": "Text.", "metadata": nested(levels, kind=kind)}
    with pytest.raises(InvalidDocumentError, match=r"'bad' has metadata of more than 100 levels"):
        opened().ingest([deep])
    assert opened().get("good") == {"id": "good", "text": "Fine.", "metadata": {}}
    assert opened().count() == 1


def test_metadata_that_holds_itself_is_refused() -> None:
    metadata: dict[str, Any] = {}
    metadata["self"] = metadata
    with pytest.raises(InvalidDocumentError, match="more than 100 levels"):
        checked(metadata=metadata)


def test_metadata_too_deep_for_the_callers_stack_is_no_document() -> None:
    usual = sys.getrecursionlimit()
    try:
        sys.setrecursionlimit(len(inspect.stack(0)) + 60)
        with pytest.raises(InvalidDocumentError, match="recursion"):
            checked(metadata=nested(100))
    finally:
        sys.setrecursionlimit(usual)


NUMBERS = [2**64 - 1, 2**63, -(2**63), 2**53 + 1, 0, True, 1.5, 1e22, 5e-324, [-(2**63), 2**64 - 1]]


def test_numbers_come_back_as_they_are(opened: Opened) -> None:
    opened().ingest([{"id": "a", "text": "Text.", "metadata": {"n": NUMBERS}}])
    assert repr(opened().get("a")) == repr({"id": "a", "text": "Text.", "metadata": {"n": NUMBERS}})


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({"n": 2**64}, r"metadata\['n'\] = 18446744073709551616; give an integer in -2\*\*63…"),
        ({"n": -(2**63) - 1}, r"metadata\['n'\] = -9223372036854775809; give an integer"),
        ({"l": [0, {"n": 2**70}]}, r"metadata\['l'\]\[1\]\['n'\] = 1180591620717411303424"),
        ({"n": 10**10_000}, "document 'a' .* integer"),
        ({2024: "x"}, "the key 2024 in metadata; give strings as keys"),
        ({"m": [{None: 1}]}, r"the key None in metadata\['m'\]\[0\]; give strings"),
        ({1: "a", "1": "b"}, "the key 1 in metadata"),
        ({"f": float("nan")}, "is not JSON"),
        ({"f": [float("-inf")]}, "is not JSON"),
        ({"s": "\ud83d\ude00"}, "is not JSON, of which all text must be UTF-8"),
    ],
)
def test_metadata_that_stores_differ_in_is_refused(metadata: Any, message: str) -> None:
    with pytest.raises(InvalidDocumentError, match=message):
        checked(metadata=metadata)


def test_keys_keep_their_order_and_tuples_become_lists() -> None:
    metadata = checked(metadata={"z": 1, "a": (1, 2), "m": {"y": 1, "b": 2}}).metadata
    assert repr(metadata) == "{'z': 1, 'a': [1, 2], 'm': {'y': 1, 'b': 2}}"


# Documents as they were when they came


def test_a_dict_that_is_used_again_is_each_documents_own(opened: Opened) -> None:
    def pages() -> Iterator[dict[str, Any]]:
        metadata: dict[str, Any] = {"book": "x", "at": {}}
        for page in range(5):
            metadata["at"]["page"] = page
            yield {"id": str(page), "text": f"The text of page {page}.", "metadata": metadata}

    opened().ingest(pages())
    found = [opened().get(str(page)) for page in range(5)]
    pages_found = [document["metadata"]["at"]["page"] for document in found if document]
    assert pages_found == [0, 1, 2, 3, 4]
    index = opened()
    assert index.ingest(pages()).skipped == 5
    assert index.verify(sample=5).ok


# Markdown


def state(index: JinaQdrant) -> list[Any]:
    return [(point.id, point.payload) for point in index.store.scan()]


@pytest.mark.parametrize(("before", "after"), [("d.txt", "d.md"), ("d.md", "d.txt")])
def test_a_document_that_becomes_markdown_is_cut_anew(
    opened: Opened, engine: Engine, before: str, after: str
) -> None:
    index = opened()
    index.ingest([{"id": "d", "text": MARKDOWN, "metadata": {"path": before}}])
    old = state(index)
    new = {"id": "d", "text": MARKDOWN, "metadata": {"path": after}}
    assert index.ingest([new]).embedded == 1
    fresh = JinaQdrant(QdrantClient(":memory:"), "docs", engine, SPEC)
    fresh.ingest([new])
    assert state(index) == state(fresh)
    assert len(state(index)) != len(old)
    assert index.verify(sample=1).ok
    assert index.ingest([new]).skipped == 1


def test_another_name_of_the_same_kind_is_other_metadata(opened: Opened) -> None:
    index = opened()
    index.ingest([{"id": "d", "text": MARKDOWN, "metadata": {"path": "a.md"}}])
    renamed = {"id": "d", "text": MARKDOWN, "metadata": {"path": "b.MD"}}
    assert index.ingest([renamed]).updated == 1


@pytest.mark.parametrize(
    ("metadata", "spans"),
    [({}, None), ({"path": "d.txt"}, None), ({"path": "d.md"}, [(0, 2)]), ({"path": 7}, None)],
)
def test_the_hash_of_what_is_not_cut_as_markdown_is_that_of_text_and_spans(
    metadata: dict[str, Any], spans: Any
) -> None:
    expected = canonical_hash({"id": "a", "text": "Text.", "spans": spans})
    assert checked(metadata=metadata, spans=spans).doc_hash == expected


# Documents back as they came


CAME: list[Document] = [
    {"id": "plain", "text": "  One.\n\n" + "Two words or more. " * 20, "metadata": {"n": [1]}},
    {"id": "markdown", "text": MARKDOWN, "metadata": {"path": "d.md"}},
    {"id": "spans", "text": MARKDOWN, "metadata": {"path": "d.md"}, "spans": [(9, 40), (0, 9)]},
    {"id": "whole", "text": "Text.", "metadata": {}, "spans": [(0, 5)]},
    {"id": "empty", "text": "", "metadata": {}},
]


@pytest.mark.parametrize("document", CAME, ids=lambda document: document["id"])
def test_a_document_comes_back_as_it_came_and_is_the_same_again(
    opened: Opened, document: Document
) -> None:
    index = opened()
    index.ingest([document])
    found = index.get(document["id"])
    assert found == document
    assert index.ingest([found]).skipped == 1


def test_a_point_of_somebody_else_is_no_part_of_a_document(opened: Opened) -> None:
    index = opened()
    index.ingest([CAME[0]])
    (first, *_) = index.store.scan(vectors=True)
    foreign = "00000000-0000-0000-0000-000000000007"
    assert first.vector is not None
    index.store.upsert([Point(foreign, first.vector, {"doc_id": "plain", "text": "x"})])
    index.store.upsert([Point(point_id("x", 0), first.vector, {"doc_id": "only"})])
    assert index.get("plain") == CAME[0]
    assert index.get("only") is None


@pytest.mark.parametrize("key", ["gaps", "length", "meta", "n_chunks"])
def test_a_document_that_parts_were_taken_of_is_not_complete(engine: Engine, key: str) -> None:
    client = QdrantClient(":memory:")
    index = JinaQdrant(client, "docs", engine, SPEC)
    index.ingest([CAME[0]])
    client.delete_payload("docs", [key], points=[point_id("plain", 0)])
    assert index.get("plain") is None


@pytest.mark.parametrize("doc_id", [None, 1, b"a", ["a"], {"id": "a"}])
def test_an_id_is_a_string(opened: Opened, doc_id: Any) -> None:
    with pytest.raises(InvalidDocumentError, match=r"the id of a document is .*; give strings"):
        opened().get(doc_id)


@pytest.mark.parametrize("doc_ids", [None, 1, [1], [None], {"id": "a"}, b"a", ["a", ["b"]]])
def test_only_ids_are_deleted(opened: Opened, doc_ids: Any) -> None:
    index = opened()
    index.ingest([{"id": "a", "text": "Text."}])
    with pytest.raises(InvalidDocumentError, match=r"the id of a document is .*; give "):
        index.delete(doc_ids)
    assert index.count() == 1


@pytest.mark.parametrize("doc_ids", ["a", ["a"], {"a"}, iter(["a", "nobody"])])
def test_one_id_or_any_collection_of_them_is_deleted(engine: Engine, doc_ids: Any) -> None:
    index = JinaQdrant(QdrantClient(":memory:"), "docs", engine, SPEC)
    index.ingest([{"id": "a", "text": "Text."}])
    assert index.delete(doc_ids) == 1
