"""Where an index is: a folder, a folder of Qdrant's embedded engine, or the URL of a server.

Reading what is at a place loads no model and no torch.
"""

from __future__ import annotations

import os
import sqlite3
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jina_local.errors import InvalidOptionError, MissingExtraError
from jina_local_qdrant.errors import (
    CollectionNotFoundError,
    IndexInUseError,
    PathNotFoundError,
    ServerUnreachableError,
    StoreRefusedError,
)
from jina_local_qdrant.layout import METADATA_KEY

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qdrant_client import QdrantClient

    from jina_local_qdrant.retries import RetryPolicy
    from jina_local_qdrant.store import Store

__all__ = [
    "check_place",
    "collection_names",
    "is_edge",
    "is_there",
    "open_client",
    "open_place",
    "open_store",
    "recorded",
    "stored_metadata",
]

_EDGE = "edge:"
_URLS = ("http://", "https://")
_NO_NAME = '<>:"/\\|?*'
_WRONG_JSON = (ValueError, LookupError, TypeError, AttributeError)  # what reading it raises


# Places


def is_edge(location: str) -> bool:
    """Whether a location is `edge:FOLDER`."""
    return location.startswith(_EDGE)


def is_there(location: str) -> bool:
    """Whether something is at a location already; of servers, it is taken for granted."""
    return location.startswith(_URLS) or _folder(location).exists()


def check_place(location: str, collection: str | None, *, create: bool) -> None:
    """Refuse a place where no index can be, before anything is made there.

    Args:
        location: URL, folder or `edge:FOLDER`.
        collection: Name of a collection; any if `None`.
        create: Whether the place may be new.

    Raises:
        InvalidOptionError: If it is no name of a place, or a place of the other kind.
        PathNotFoundError: If there is no such folder, and none is to be made.
    """
    if collection is not None:
        _check_name(collection)
    if location.startswith(_URLS):
        return
    folder = _folder(location)
    if not location.removeprefix(_EDGE) or "://" in location:
        msg = f"location is {location!r}; give a folder, edge:FOLDER, or http://… of a server"
        raise InvalidOptionError(msg)
    if folder.exists() and not folder.is_dir():
        msg = f"{str(folder)!r} is a file: give a folder, which may be new"
        raise InvalidOptionError(msg)
    if not create and not folder.is_dir():
        msg = f"no index at {location!r}: give its folder, or the URL of a Qdrant server"
        raise PathNotFoundError(msg)
    if is_edge(location) and (folder / "meta.json").is_file():
        msg = f"{str(folder)!r} holds collections of local Qdrant: leave out {_EDGE!r}"
        raise InvalidOptionError(msg)
    if not is_edge(location) and _edge_names(folder):
        msg = (
            f"{str(folder)!r} holds collections of Qdrant's embedded engine: give "
            f"{_EDGE + location!r}"
        )
        raise InvalidOptionError(msg)


def _check_name(collection: str) -> None:
    is_bad = any(letter in _NO_NAME or ord(letter) < ord(" ") for letter in collection)
    if is_bad or not collection.strip(". "):
        msg = f"collection is {collection!r}; give a name without any of {' '.join(_NO_NAME)}"
        raise InvalidOptionError(msg)


def _folder(location: str) -> Path:
    return Path(location.removeprefix(_EDGE)).expanduser()


def _edge_names(folder: Path) -> list[str]:
    return sorted(record.parent.name for record in folder.glob("*/record.json"))


# Opening


@contextmanager
def open_place(location: str, *, create: bool = True) -> Iterator[QdrantClient | str]:
    """What `JinaQdrant` takes for a location; closed at the end.

    Args:
        location: URL, folder or `edge:FOLDER`.
        create: Whether a folder is made that is not there.

    Raises:
        MissingExtraError: If what it needs is not installed.
        InvalidOptionError: If it is no name of a place, or a place of the other kind.
        PathNotFoundError: If there is no such folder, and none is to be made.
        IndexInUseError: If another process has the folder open.
        StoreRefusedError: If what is in the folder cannot be read.
        ServerUnreachableError: If no server answers.
        AccessRefusedError: If the server does not accept the key.
        StoreUnavailableError: If the server asks to be left alone, after every retry.
    """
    check_place(location, None, create=create)
    if is_edge(location):
        import jina_local_qdrant.edge_engine  # noqa: F401 - says what is not installed

        yield location
        return
    client = open_client(location, create=create)
    try:
        yield client
    finally:
        client.close()


def open_client(location: str, *, create: bool = True) -> QdrantClient:
    """A client for `http://…`, `https://…` or a folder.

    Servers are sent the key in the environment variable `QDRANT_API_KEY`, if there is one.

    Args:
        location: URL or folder.
        create: Whether a folder is made that is not there.

    Raises:
        MissingExtraError: If qdrant-client is not installed.
        PathNotFoundError: If there is no such folder, and none is to be made.
        IndexInUseError: If another process has the folder open.
        StoreRefusedError: If what is in the folder cannot be read.
        ServerUnreachableError: If no server answers.
        AccessRefusedError: If the server does not accept the key.
        StoreUnavailableError: If the server asks to be left alone, after every retry.
    """
    try:
        from qdrant_client import QdrantClient
    except ModuleNotFoundError as error:
        if error.name != "qdrant_client":
            raise
        msg = "this needs qdrant-client: pip install 'jina-local[qdrant]'"
        raise MissingExtraError(msg) from error
    if location.startswith(_URLS):
        key = os.environ.get("QDRANT_API_KEY") or None
        return _reached(QdrantClient(url=location, api_key=key, timeout=60), location)
    check_place(location, None, create=create)
    try:
        return QdrantClient(path=str(_folder(location)))
    except RuntimeError as error:
        msg = f"the index at {location!r} is open in another process: close it, or use a server"
        raise IndexInUseError(msg) from error
    except (*_WRONG_JSON, sqlite3.DatabaseError) as error:
        file = "meta.json" if isinstance(error, _WRONG_JSON) else "collection/*/storage.sqlite"
        words = f"{type(error).__name__}: {' '.join(str(error).split())}"
        msg = (
            f"the index at {location!r} cannot be opened, its {file} is damaged ({words}): put a "
            "copy of that file in its place, or index again into a new folder"
        )
        raise StoreRefusedError(msg) from error


def _reached(client: QdrantClient, location: str) -> QdrantClient:
    from qdrant_client.http.exceptions import ResponseHandlingException

    from jina_local_qdrant.clients import patient

    def ask() -> None:
        try:
            client.get_collections()
        except ResponseHandlingException as error:  # of a place that is mistyped, most often
            msg = f"no Qdrant server answers at {location!r}: {error}"
            raise ServerUnreachableError(msg) from error

    try:
        patient(None).call(f"reaching the server at {location!r}", ask)
    except BaseException:
        client.close()
        raise
    return client


def open_store(client: QdrantClient | str, collection: str, retries: RetryPolicy | None) -> Store:
    """The store of a collection.

    Args:
        client: A client, or `edge:FOLDER`.
        collection: Name of the collection, or an alias for it.
        retries: How long a server that does not answer is asked again.

    Raises:
        InvalidOptionError: If `client` is another string, or no client that this helper can use.
    """
    if not isinstance(client, str):
        from jina_local_qdrant.qdrant_store import QdrantStore

        return QdrantStore.open(client, collection, retries)
    if not is_edge(client):
        msg = f"client is {client!r}; give a QdrantClient, or 'edge:FOLDER'"
        raise InvalidOptionError(msg)
    from jina_local_qdrant.edge_store import EdgeStore

    return EdgeStore(_folder(client), collection)


# What is there


def collection_names(client: QdrantClient | str) -> list[str]:
    """The collections at a place, in order.

    Args:
        client: What `open_place` gives.
    """
    if isinstance(client, str):
        return _edge_names(_folder(client))
    return sorted(found.name for found in client.get_collections().collections)


def stored_metadata(client: QdrantClient | str, collection: str) -> dict[str, Any] | None:
    """The metadata of a collection; `None` if there is no such collection.

    Args:
        client: What `open_place` gives.
        collection: Name of the collection.
    """
    store = open_store(client, collection, None)
    try:
        return store.metadata() if store.exists() else None
    finally:
        store.close()


def recorded(client: QdrantClient | str, collection: str) -> dict[str, Any]:
    """What a collection says of how its vectors were made.

    Args:
        client: What `open_place` gives.
        collection: Name of the collection.

    Raises:
        CollectionNotFoundError: If there is no such collection, or it carries no record.
    """
    metadata = stored_metadata(client, collection)
    if metadata is None:
        msg = f"no collection {collection!r} here; there are {collection_names(client)}"
        raise CollectionNotFoundError(msg)
    record = metadata.get(METADATA_KEY)
    if not isinstance(record, dict):
        msg = f"collection {collection!r} was not made by `jina-local index`"
        raise CollectionNotFoundError(msg)
    return record
