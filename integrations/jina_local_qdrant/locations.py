"""Where an index is: a folder, or the URL of a Qdrant server."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from jina_local.errors import MissingExtraError
from jina_local_qdrant.errors import (
    CollectionNotFoundError,
    IndexInUseError,
    PathNotFoundError,
    ServerUnreachableError,
)
from jina_local_qdrant.spec import METADATA_KEY

if TYPE_CHECKING:
    from qdrant_client import QdrantClient

__all__ = ["open_client", "recorded"]


def open_client(location: str, *, create: bool = True) -> QdrantClient:
    """A client for `http://…`, `https://…` or a folder.

    Args:
        location: URL or folder.
        create: Whether a folder is made that is not there.

    Raises:
        MissingExtraError: If qdrant-client is not installed.
        PathNotFoundError: If there is no such folder, and none is to be made.
        IndexInUseError: If another process has the folder open.
        ServerUnreachableError: If no server answers.
    """
    try:
        from qdrant_client import QdrantClient
    except ModuleNotFoundError as error:
        if error.name != "qdrant_client":
            raise
        msg = "this needs qdrant-client: pip install 'jina-local[qdrant]'"
        raise MissingExtraError(msg) from error
    if location.startswith(("http://", "https://")):
        return _reached(QdrantClient(url=location, timeout=60), location)
    folder = Path(location).expanduser()
    if not create and not folder.is_dir():
        msg = f"no index at {location!r}: give its folder, or the URL of a Qdrant server"
        raise PathNotFoundError(msg)
    try:
        return QdrantClient(path=str(folder))
    except RuntimeError as error:
        msg = f"the index at {location!r} is open in another process: close it, or use a server"
        raise IndexInUseError(msg) from error


def _reached(client: QdrantClient, location: str) -> QdrantClient:
    from qdrant_client.http.exceptions import ResponseHandlingException, UnexpectedResponse

    try:
        client.get_collections()
    except (ResponseHandlingException, UnexpectedResponse) as error:
        msg = f"no Qdrant server answers at {location!r}: {error}"
        raise ServerUnreachableError(msg) from error
    return client


def recorded(client: QdrantClient, collection: str) -> dict[str, Any]:
    """What a collection says of how its vectors were made.

    Raises:
        CollectionNotFoundError: If there is no such collection, or it carries no record.
    """
    names = sorted(found.name for found in client.get_collections().collections)
    if collection not in names:
        msg = f"no collection {collection!r} here; there are {names}"
        raise CollectionNotFoundError(msg)
    record = (client.get_collection(collection).config.metadata or {}).get(METADATA_KEY)
    if not isinstance(record, dict):
        msg = f"collection {collection!r} was not made by `jina-local index`"
        raise CollectionNotFoundError(msg)
    return record
