"""A collection of Qdrant's embedded engine in a folder: its record, its lock and its shard.

    FOLDER/record.json   size, layout and metadata, which the engine does not keep
    FOLDER/lock          locked while the collection is open
    FOLDER/shard         the engine's own

The collection is there once the record is. The shard is made beside its place and takes its name
when it is complete, so that whatever a crash leaves of it is made again on opening.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import weakref
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from jina_local.files import written_whole
from jina_local_qdrant.edge_config import edge_config, edge_indexes
from jina_local_qdrant.edge_engine import qdrant_edge as edge
from jina_local_qdrant.edge_engine import refusals
from jina_local_qdrant.errors import IndexInUseError, StoreRefusedError
from jina_local_qdrant.layout import CollectionLayout

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["EdgeFolder", "EdgeRecord", "add_indexes"]

_SCHEMA = 1


@dataclass(frozen=True, slots=True)
class EdgeRecord:
    """What a collection is.

    Attributes:
        size: d, of the full vectors.
        layout: How they are stored.
        metadata: JSON values.
    """

    size: int
    layout: CollectionLayout
    metadata: dict[str, Any]


class EdgeFolder:
    """The folder of one collection, open as long as this object is.

    Args:
        path: The folder, which need not be there.

    Raises:
        IndexInUseError: If it is open elsewhere.
        StoreRefusedError: If what is there cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._record: EdgeRecord | None = None
        self._shard: edge.EdgeShard | None = None
        self._unlock: weakref.finalize[Any, EdgeFolder] | None = None
        self._is_closed = False
        self.open_if_there()

    @property
    def _record_path(self) -> Path:
        return self._path / "record.json"

    @property
    def record(self) -> EdgeRecord:
        """What the collection is.

        Raises:
            StoreRefusedError: If there is none, or it was closed.
        """
        if self._record is None:
            raise self._absent()
        return self._record

    @property
    def shard(self) -> edge.EdgeShard:
        """The engine.

        Raises:
            StoreRefusedError: If there is no collection, or it was closed.
        """
        if self._shard is None:
            raise self._absent()
        return self._shard

    def open_if_there(self) -> bool:
        """Whether there is a collection, which is open then.

        Raises:
            IndexInUseError: If it is open elsewhere.
            StoreRefusedError: If what is there cannot be opened.
        """
        if self._shard is None and not self._is_closed and self._record_path.is_file():
            with self._locked():
                self._open(self._read())
        return self._shard is not None

    def refuse_closed(self) -> None:
        """Refuse what can only be done before `close`.

        Raises:
            StoreRefusedError: If it was closed.
        """
        if self._is_closed:
            raise self._absent()

    def create(self, record: EdgeRecord) -> None:
        """Make the collection.

        Raises:
            IndexInUseError: If another process makes it.
            StoreRefusedError: If it is there, or cannot be made.
        """
        self.refuse_closed()
        with refusals(f"making {str(self._path)!r}"):
            self._path.mkdir(parents=True, exist_ok=True)
        if self._shard is not None:
            raise self._present()
        with self._locked():
            if self._record_path.is_file():
                raise self._present()
            self._open(self._write(record))

    def replace_metadata(self, metadata: dict[str, Any]) -> None:
        """Record other metadata.

        Raises:
            StoreRefusedError: If it is not JSON, or cannot be written.
        """
        self._record = self._write(replace(self.record, metadata=metadata))

    def close(self) -> None:
        """Write everything out and let others open the folder; again is fine."""
        self._is_closed = True
        shard, self._shard, self._record = self._shard, None, None
        try:
            if shard is not None:
                with refusals(f"closing {str(self._path)!r}"):
                    shard.flush()
                    shard.close()
        finally:
            if self._unlock is not None:
                self._unlock()

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Open what the block opens for nobody else, until it is closed or this object is gone."""
        with refusals(f"opening {str(self._path)!r}"):
            handle = os.open(self._path / "lock", os.O_RDWR | os.O_CREAT, 0o666)
            unlock = weakref.finalize(self, os.close, handle)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                unlock()
                raise self._in_use() from error
        try:
            yield
        except BaseException:
            unlock()
            raise
        self._unlock = unlock

    def _open(self, record: EdgeRecord) -> None:
        place = self._path / "shard"
        with refusals(f"opening {str(self._path)!r}"):
            if not place.is_dir():
                self._make_shard(record)
            try:
                self._shard = edge.EdgeShard.load(str(place))
            except Exception as error:
                if "WouldBlock" in str(error):  # opened without our lock
                    raise self._in_use() from error
                raise
        self._record = record

    def _make_shard(self, record: EdgeRecord) -> None:
        unfinished = self._path / "shard.unfinished"
        if unfinished.exists():
            shutil.rmtree(unfinished)
        shard = edge.EdgeShard.create(str(unfinished), edge_config(record.size, record.layout))
        add_indexes(shard, record.layout)
        shard.flush()
        shard.close()
        unfinished.rename(self._path / "shard")

    def _read(self) -> EdgeRecord:
        with refusals(f"reading {str(self._record_path)!r}"):
            content = json.loads(self._record_path.read_text(encoding="utf-8"))
            if content["schema"] != _SCHEMA:
                msg = (
                    f"{str(self._record_path)!r} has schema {content['schema']!r}, this version of "
                    f"jina-local reads {_SCHEMA}: use the version that made it"
                )
                raise StoreRefusedError(msg)
            layout = CollectionLayout(**content["layout"])
            return EdgeRecord(content["size"], layout, content["metadata"])

    def _write(self, record: EdgeRecord) -> EdgeRecord:
        """The record as it will be read."""
        with refusals(f"writing {str(self._record_path)!r}"):
            content = {
                "schema": _SCHEMA,
                "size": record.size,
                "layout": record.layout.as_dict(),
                "metadata": record.metadata,
            }
            text = json.dumps(content, allow_nan=False, indent=2)
            with written_whole(self._record_path) as file:
                file.write(text.encode())
            return replace(record, metadata=json.loads(text)["metadata"])

    def _in_use(self) -> IndexInUseError:
        msg = (
            f"the collection at {str(self._path)!r} is open already, in this process or another: "
            "close it there, or use a server"
        )
        return IndexInUseError(msg)

    def _present(self) -> StoreRefusedError:
        return StoreRefusedError(f"the collection at {str(self._path)!r} is there already: open it")

    def _absent(self) -> StoreRefusedError:
        state = "was closed: open it again" if self._is_closed else "is not there: create it"
        return StoreRefusedError(f"the collection at {str(self._path)!r} {state}")


def add_indexes(shard: edge.EdgeShard, layout: CollectionLayout) -> None:
    """Create those of a layout's payload indexes that are not there."""
    there = shard.info().payload_schema
    for key, kind in edge_indexes(layout).items():
        if key not in there:
            shard.update(edge.UpdateOperation.create_field_index(key, kind))
