"""A collection follows its source, and nothing is deleted that should not be."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from qdrant_client import QdrantClient

from jina_local.errors import InvalidOptionError
from jina_local_qdrant import EmbeddingSpec, IngestReport, JinaQdrant, SyncReport
from jina_local_qdrant.errors import (
    DuplicateIdError,
    EmptySourceError,
    InvalidDocumentError,
    TooManyDeletionsError,
)
from jina_local_qdrant.payload import point_id

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from jina_local import Engine

SPEC = EmbeddingSpec(chunk_tokens=30)


def document(name: str, version: int = 0, paragraphs: int = 1) -> dict[str, Any]:
    text = "\n\n".join(f"{name} {version}: paragraph {i} of it." for i in range(paragraphs))
    return {"id": name, "text": text}


SOURCE = [document(name, paragraphs=8) for name in "abcdefghij"]


@pytest.fixture(params=["memory", "folder", "edge"])
def index(request: pytest.FixtureRequest, engine: Engine, tmp_path: Path) -> Iterator[JinaQdrant]:
    client: Any = QdrantClient(":memory:")
    if request.param == "folder":
        client = QdrantClient(path=str(tmp_path / "db"))
    elif request.param == "edge":
        pytest.importorskip("qdrant_edge")
        client = f"edge:{tmp_path / 'edge'}"
    opened = JinaQdrant(client, "docs", engine, SPEC)
    yield opened
    opened.close()


@pytest.fixture
def local(engine: Engine) -> JinaQdrant:
    return JinaQdrant(QdrantClient(":memory:"), "docs", engine, SPEC)


def ids(index: JinaQdrant) -> set[str]:
    return {point.payload["doc_id"] for point in index.store.scan()}


def state(index: JinaQdrant) -> list[Any]:
    return [(point.id, point.payload) for point in index.store.scan()]


# What it does


def test_one_changed_one_added_one_deleted(index: JinaQdrant) -> None:
    first = index.sync(SOURCE, delete_missing=True)
    n_chunks = index.count()
    assert first == SyncReport(first.ingested)
    assert (first.ingested.embedded, first.ingested.chunks) == (10, n_chunks)
    per_document = n_chunks // 10

    changed = [document("a", version=1, paragraphs=8), *SOURCE[1:9], document("new", paragraphs=8)]
    report = index.sync(changed, delete_missing=True)
    assert (report.ingested.documents, report.ingested.embedded) == (10, 2)
    assert report.ingested.skipped == 8
    assert (report.deleted_documents, report.deleted_chunks) == (1, per_document)
    assert ids(index) == {*"abcdefghi", "new"}
    assert index.verify(sample=100, deep=True).ok

    again = index.sync(changed, delete_missing=True)
    assert (again.ingested.skipped, again.ingested.embedded) == (10, 0)
    assert (again.deleted_documents, again.deleted_chunks) == (0, 0)


@settings(max_examples=25)
@given(before=st.sets(st.sampled_from("abcdef")), after=st.sets(st.sampled_from("abcdef")))
def test_after_it_the_collection_is_the_source(
    engine: Engine, before: set[str], after: set[str]
) -> None:
    index = JinaQdrant(QdrantClient(":memory:"), "docs", engine, SPEC)
    index.ingest([document(name) for name in sorted(before)])
    source = [document(name, version=1) for name in sorted(after)]
    if not after:
        with pytest.raises(EmptySourceError):
            index.sync(source, delete_missing=True, max_delete_fraction=1.0)
        assert ids(index) == before
        return
    report = index.sync(source, delete_missing=True, max_delete_fraction=1.0)
    assert report.deleted_documents == len(before - after)
    fresh = JinaQdrant(QdrantClient(":memory:"), "docs", engine, SPEC)
    fresh.ingest(source)
    assert state(index) == state(fresh)


def test_nothing_is_deleted_unless_asked(index: JinaQdrant) -> None:
    index.ingest(SOURCE)
    report = index.sync(SOURCE[:1])
    assert (report.deleted_documents, report.deleted_chunks) == (0, 0)
    assert len(ids(index)) == 10
    assert index.sync([]).ingested == IngestReport()


def test_what_interrupted_runs_left_is_deleted_too(index: JinaQdrant) -> None:
    index.ingest(SOURCE)
    index.store.delete([point_id("i", 0)])
    index.store.set_payload([point_id("j", 0)], {"doc_hash": None})
    index.sync(SOURCE[:8], delete_missing=True)
    assert ids(index) == set("abcdefgh")
    assert index.verify().ok


def test_many_are_deleted(local: JinaQdrant) -> None:
    many = [document(f"{i:03}") for i in range(300)]
    local.ingest([*SOURCE, *many])
    report = local.sync(SOURCE, delete_missing=True, max_delete_fraction=1.0)
    assert (report.deleted_documents, report.deleted_chunks) == (300, 300)
    assert ids(local) == set("abcdefghij")


def test_any_iterable_of_mappings_or_dataclasses_is_read_once(local: JinaQdrant) -> None:
    @dataclass
    class Page:
        id: str
        text: str

    local.ingest(SOURCE)
    pages = (Page(one["id"], one["text"]) for one in SOURCE[:9])
    report = local.sync(pages, delete_missing=True)
    assert (report.ingested.skipped, report.deleted_documents) == (9, 1)


def test_progress_is_that_of_the_ingestion(local: JinaQdrant) -> None:
    seen: list[IngestReport] = []
    report = local.sync(SOURCE, delete_missing=True, progress=seen.append)
    assert seen[-1] == report.ingested


def test_tenants_do_not_delete_each_others_documents(engine: Engine) -> None:
    client = QdrantClient(":memory:")
    ours, theirs = (JinaQdrant(client, "docs", engine, SPEC, tenant=name) for name in ("a", "b"))
    theirs.ingest(SOURCE)
    ours.ingest(SOURCE)
    report = ours.sync(SOURCE[:9], delete_missing=True)
    assert report.deleted_documents == 1
    assert (ours.count_documents(), theirs.count_documents()) == (9, 10)
    assert theirs.verify(sample=100).ok


def test_what_is_ingested_meanwhile_stays(local: JinaQdrant) -> None:
    """By another helper on the same collection, after the pass began."""
    local.ingest(SOURCE)

    def source() -> Iterator[dict[str, Any]]:
        other = JinaQdrant(local.store._client, "docs", local.engine, SPEC)  # type: ignore[attr-defined]
        other.ingest([document("theirs")])
        yield from SOURCE[:9]

    assert local.sync(source(), delete_missing=True).deleted_documents == 1
    assert ids(local) == {*"abcdefghi", "theirs"}


# What it refuses


@pytest.mark.parametrize(
    ("missing", "fraction", "is_refused"),
    [
        (2, 0.2, False),
        (3, 0.2, True),
        (3, 0.3, False),
        (7, 0.7, False),
        (1, 0.0, True),
        (0, 0.0, False),
        (9, 1, False),
        (9, 0.89, True),
    ],
)
def test_more_deletions_than_allowed_are_refused(
    local: JinaQdrant, missing: int, fraction: float, is_refused: bool
) -> None:
    local.ingest(SOURCE)
    source = SOURCE[: 10 - missing]
    if is_refused:
        message = (
            rf"^{missing} of 10 documents are missing .* max_delete_fraction = {fraction:g} allows"
            rf".* max_delete_fraction of at least {missing / 10:g}$"
        )
        with pytest.raises(TooManyDeletionsError, match=message):
            local.sync(source, delete_missing=True, max_delete_fraction=fraction)
    else:
        local.sync(source, delete_missing=True, max_delete_fraction=fraction)
    assert len(ids(local)) == (10 if is_refused else 10 - missing)


def test_a_fraction_is_compared_without_rounding(local: JinaQdrant) -> None:
    """0.29 * 100 is a little less than 29."""
    many = [document(f"{i:03}") for i in range(100)]
    local.ingest(many)
    report = local.sync(many[29:], delete_missing=True, max_delete_fraction=0.29)
    assert report.deleted_documents == 29


def test_the_fraction_that_the_message_names_is_enough(local: JinaQdrant) -> None:
    local.ingest([document(f"{i:03}") for i in range(97)])
    with pytest.raises(TooManyDeletionsError) as refusal:
        local.sync([document("000")], delete_missing=True)
    named = float(str(refusal.value).rpartition(" ")[2])
    local.sync([document("000")], delete_missing=True, max_delete_fraction=named)
    assert ids(local) == {"000"}


def test_a_larger_source_is_no_leave_to_delete_all_that_was_there(local: JinaQdrant) -> None:
    """As when the wrong folder is given: the share is of what was there before."""
    local.ingest(SOURCE)
    wrong = [document(f"{i:03}") for i in range(100)]
    with pytest.raises(TooManyDeletionsError, match=r"^10 of 10 documents"):
        local.sync(wrong, delete_missing=True)
    assert set("abcdefghij") <= ids(local)


def test_an_empty_source_deletes_nothing(index: JinaQdrant) -> None:
    index.ingest(SOURCE)
    with pytest.raises(EmptySourceError, match="the source has no document"):
        index.sync([], delete_missing=True, max_delete_fraction=1.0)
    assert len(ids(index)) == 10


def test_an_empty_source_creates_nothing(index: JinaQdrant) -> None:
    with pytest.raises(EmptySourceError, match="the source has no document"):
        index.sync(iter(()), delete_missing=True)
    assert not index.store.exists()


def failing() -> Iterator[dict[str, Any]]:
    yield SOURCE[0]
    raise OSError("the disk is gone")


@pytest.mark.parametrize(
    ("source", "error"),
    [
        (failing, OSError),
        (lambda: [SOURCE[0], {"id": "b"}], InvalidDocumentError),
        (lambda: [SOURCE[0], SOURCE[0]], DuplicateIdError),
        (lambda: [SOURCE[0], {"id": "\ud800", "text": "x"}], InvalidDocumentError),
        (lambda: [SOURCE[0], {"id": 3, "text": "x"}], InvalidDocumentError),
        (lambda: [SOURCE[0], None], InvalidDocumentError),
    ],
)
def test_a_pass_that_fails_deletes_nothing(
    local: JinaQdrant, source: Callable[[], Any], error: type[Exception]
) -> None:
    local.ingest(SOURCE)
    before = state(local)
    with pytest.raises(error):
        local.sync(source(), delete_missing=True, max_delete_fraction=1.0)
    assert state(local) == before


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_delete_fraction": 20}, "max_delete_fraction is 20; give a number in 0…1"),
        ({"max_delete_fraction": -0.1}, "max_delete_fraction is -0.1"),
        ({"max_delete_fraction": float("nan")}, "max_delete_fraction is nan"),
        ({"max_delete_fraction": True}, "max_delete_fraction is True"),
        ({"max_delete_fraction": "0.2"}, "max_delete_fraction is '0.2'"),
        ({"delete_missing": 1}, "delete_missing is 1"),
    ],
)
def test_options_are_checked_before_anything_is_read(
    local: JinaQdrant, options: dict[str, Any], message: str
) -> None:
    def untouched() -> Iterator[dict[str, Any]]:
        pytest.fail("the source was read")
        yield {}

    with pytest.raises(InvalidOptionError, match=message):
        local.sync(untouched(), **{"delete_missing": True, **options})
    assert not local.store.exists()


def test_one_document_is_no_source(local: JinaQdrant) -> None:
    with pytest.raises(InvalidDocumentError, match="give a list of documents, even for one"):
        local.sync(SOURCE[0], delete_missing=True)
