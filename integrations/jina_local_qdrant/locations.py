"""Where an index is: a folder, or the URL of a Qdrant server."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from jina_local.errors import MissingExtraError
from jina_local_qdrant.errors import CollectionNotFoundError
from jina_local_qdrant.spec import METADATA_KEY

if TYPE_CHECKING:
    from qdrant_client import QdrantClient

__all__ = ["open_client", "recorded"]


def open_client(location: str) -> QdrantClient:
    """A client for `http://…`, `https://…` or a folder, which is made if it is not there.

    Raises:
        MissingExtraError: If qdrant-client is not installed.
    """
    try:
        from qdrant_client import QdrantClient
    except ModuleNotFoundError as error:
        if error.name != "qdrant_client":
            raise
        msg = "this needs qdrant-client: pip install 'jina-local[qdrant]'"
        raise MissingExtraError(msg) from error
    if location.startswith(("http://", "https://")):
        return QdrantClient(url=location, timeout=60)
    return QdrantClient(path=str(Path(location).expanduser()))


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
