"""Opening what a command names: a server that is in trouble, or a folder that is damaged."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
import qdrant_client
from qdrant_client import QdrantClient, models

from jina_local_qdrant.errors import (
    AccessRefusedError,
    ServerUnreachableError,
    StoreRefusedError,
    StoreUnavailableError,
)
from jina_local_qdrant.locations import open_client
from support.stub_qdrant import Fault, StubQdrant, running

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from .conftest import Cli


@pytest.fixture(scope="module")
def shared_stub() -> Iterator[StubQdrant]:
    with running() as server:
        yield server


@pytest.fixture
def stub(shared_stub: StubQdrant) -> StubQdrant:
    shared_stub.reset()
    return shared_stub


@pytest.fixture(autouse=True)
def naps(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Nobody sleeps; how long they would have."""
    monkeypatch.delenv("QDRANT_API_KEY", raising=False)
    taken: list[float] = []
    monkeypatch.setattr(time, "sleep", taken.append)
    quiet = partial(QdrantClient, check_compatibility=False)  # which a thread does, and warns
    monkeypatch.setattr(qdrant_client, "QdrantClient", quiet)
    return taken


def answer(status: int, *headers: tuple[str, str]) -> Fault:
    return Fault("answer", "list", status, headers, "words of the server")


# Servers


def test_a_server_that_answers_is_opened(stub: StubQdrant, naps: list[float]) -> None:
    open_client(stub.url).close()
    assert len(stub.sent("list")) == 1
    assert naps == []


@pytest.mark.parametrize("status", [429, 503])
def test_a_server_that_is_busy_is_asked_again(
    stub: StubQdrant, naps: list[float], status: int
) -> None:
    stub.faults += [answer(status, ("Retry-After", "7")), answer(status)]
    open_client(stub.url).close()
    assert len(stub.sent("list")) == 3
    assert naps[0] == 7.0
    assert len(naps) == 2


@pytest.mark.parametrize("status", [429, 503])
def test_a_server_that_stays_busy_is_unavailable(stub: StubQdrant, status: int) -> None:
    stub.faults += [answer(status, ("Retry-After", "1"))] * 99
    with pytest.raises(StoreUnavailableError, match=rf"'{stub.url}'.* tried 8 times.* {status}"):
        open_client(stub.url)


@pytest.mark.parametrize("status", [401, 403])
def test_a_wrong_key_is_said(stub: StubQdrant, naps: list[float], status: int) -> None:
    """And not that no server answers, which it did."""
    stub.faults.append(answer(status))
    with pytest.raises(
        AccessRefusedError, match=rf"'{stub.url}'.*{status}.*: words of the server; .*API key"
    ):
        open_client(stub.url)
    assert len(stub.sent("list")) == 1
    assert naps == []


def test_something_else_at_the_url_is_refused(stub: StubQdrant) -> None:
    stub.faults.append(answer(404))
    with pytest.raises(StoreRefusedError, match=rf"'{stub.url}'.*404.*; check the URL"):
        open_client(stub.url)


def test_a_server_that_does_not_answer_is_said_at_once(naps: list[float]) -> None:
    with running() as gone:
        url = gone.url
    with pytest.raises(ServerUnreachableError, match=f"no Qdrant server answers at '{url}'"):
        open_client(url)
    assert naps == []


@pytest.mark.parametrize(("key", "sent"), [(None, None), ("", None), ("secret", "secret")])
def test_an_empty_key_is_none(
    stub: StubQdrant, monkeypatch: pytest.MonkeyPatch, key: str | None, sent: str | None
) -> None:
    keys = []

    def spy(*, api_key: str | None, **options: Any) -> QdrantClient:
        keys.append(api_key)
        return QdrantClient(**options, check_compatibility=False)

    monkeypatch.setattr(qdrant_client, "QdrantClient", spy)
    if key is not None:
        monkeypatch.setenv("QDRANT_API_KEY", key)
    open_client(stub.url).close()
    assert keys == [sent]


def test_commands_say_it_in_one_message(cli: Cli, stub: StubQdrant, tmp_path: Path) -> None:
    """The fixture asserts that there is no traceback."""
    file = tmp_path / "one.txt"
    file.write_text("hello")
    commands: list[list[object]] = [
        ["index", file, "--to", stub.url, "-c", "docs"],
        ["inspect", "--in", stub.url],
        ["search", "x", "--in", stub.url, "-c", "docs"],
        ["verify-index", "--in", stub.url, "-c", "docs"],
    ]
    for command in commands:
        stub.faults.append(answer(401))
        assert "API key" in " ".join(cli(*command, code=1).stderr.split())
        stub.faults += [answer(429, ("Retry-After", "1"))] * 8
        assert "tried 8 times" in " ".join(cli(*command, code=1).stderr.split())
    assert stub.faults == []


# Folders


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of local Qdrant with one collection."""
    where = tmp_path / "index"
    client = QdrantClient(path=str(where))
    size = models.VectorParams(size=4, distance=models.Distance.COSINE)
    client.create_collection("docs", vectors_config=size)
    client.upsert("docs", [models.PointStruct(id=1, vector=[1.0, 0.0, 0.0, 0.0])])
    client.close()
    return where


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b'{"collections": {"docs": {"vect',
        b"[]",
        b"null",
        b"{}",
        b'{"collections": []}',
        b'{"collections": {}}',
        b'{"collections": {"docs": 1}, "aliases": {}}',
        b'{"collections": {"docs": {"vectors": 3}}, "aliases": {}}',
        b"\xff\xfe",
    ],
)
def test_a_damaged_record_of_a_folder_is_named(cli: Cli, folder: Path, content: bytes) -> None:
    record = folder / "meta.json"
    record.write_bytes(content)
    with pytest.raises(StoreRefusedError, match=r"index'.* its meta.json is damaged \(.*: put a"):
        open_client(str(folder))
    said = " ".join(cli("inspect", "--in", folder, code=1).stderr.split())
    assert "meta.json is damaged" in said
    assert record.read_bytes() == content


def test_a_damaged_collection_of_a_folder_is_named(folder: Path) -> None:
    (folder / "collection/docs/storage.sqlite").write_bytes(b"nothing of a database" * 99)
    with pytest.raises(StoreRefusedError, match=r"its collection/\*/storage.sqlite is damaged"):
        open_client(str(folder))
