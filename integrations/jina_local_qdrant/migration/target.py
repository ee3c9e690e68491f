"""The new collection: as the old one, with the vectors of this engine instead of one of its own."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from qdrant_client import models

from jina_local_qdrant.collection_config import (
    COARSE,
    FULL,
    collection_config,
    named_vectors,
)
from jina_local_qdrant.errors import MigrationRefusedError, StoreRefusedError
from jina_local_qdrant.layout import LAYOUT_KEY, METADATA_KEY, CollectionLayout
from jina_local_qdrant.qdrant_store import QdrantStore

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np

    from jina_local_qdrant.migration.points import AnyPoint, PointId, Points

__all__ = ["SourceShape", "TargetWriter", "create_target", "source_shape"]

MIGRATION_KEY = "jina_local_migration"
"""Where a target's metadata says what it was made from."""


@dataclass(frozen=True, slots=True)
class SourceShape:
    """What of the source the target takes over.

    Attributes:
        vector: Name of the vector that is made anew; `""` if it has none.
        others: Names of all other vectors, which are copied.
        is_ours: Whether this helper wrote the source.
        coarse_dimensions: Of this helper's coarse vectors, if the source has them.
    """

    vector: str
    others: tuple[str, ...]
    is_ours: bool
    coarse_dimensions: int | None = None


def source_shape(source: Points, vector: str | None) -> SourceShape:
    """Find out which vector is made anew.

    Args:
        source: The collection.
        vector: Name of the vector; may be left out where there is only one that can be meant.

    Raises:
        MigrationRefusedError: If there is no such vector, or it is not clear which one is meant.
    """
    config = source.info().config
    if METADATA_KEY in (config.metadata or {}) and not is_foreign(config.metadata or {}):
        return SourceShape(FULL, (), is_ours=True)
    vectors = config.params.vectors
    sparse = sorted(config.params.sparse_vectors or {})
    if not isinstance(vectors, dict):
        dense = [""] if vectors is not None else []
    else:
        dense = sorted(name for name, of in vectors.items() if of.multivector_config is None)
    names = sorted(vectors) if isinstance(vectors, dict) else dense
    chosen = vector if vector is not None else (dense[0] if len(dense) == 1 else None)
    if chosen not in dense:
        asked = f"there is no vector {vector!r}" if vector is not None else "it is not clear which"
        msg = (
            f"which vector of {source.collection!r} is to be made anew: {asked}; name one of "
            f"{dense} with vector="
        )
        raise MigrationRefusedError(msg)
    return SourceShape(
        chosen, tuple(name for name in [*names, *sparse] if name != chosen), is_ours=False
    )


def is_foreign(metadata: Mapping[str, Any]) -> bool:
    """Whether a collection has vectors of this package and payloads of another origin."""
    record = metadata.get(METADATA_KEY)
    return isinstance(record, dict) and "payload" in record


def create_target(
    source: Points,
    target: Points,
    shape: SourceShape,
    *,
    layout: CollectionLayout,
    record: dict[str, Any],
) -> None:
    """Create the new collection, with the payload indexes of the old one.

    Args:
        source: The old collection.
        target: The new one, which is not there yet, or has no points yet.
        shape: What it takes over.
        layout: How it stores its vectors.
        record: How they are made.
    """
    store = QdrantStore(target.client, target.collection)
    if target.exists():  # the process that made it ended before it was done
        if shape.is_ours:
            store.create_indexes(layout)
        _copy_indexes(source, target)
        return
    new = {METADATA_KEY: record, MIGRATION_KEY: {"from": source.collection}}
    metadata = {**source.metadata(), **new}
    if ineffective := store.ineffective(layout):
        msg = f"{', '.join(ineffective)}: no effect in this store, which has no server"
        warnings.warn(msg, UserWarning, stacklevel=2)
    if shape.is_ours:
        metadata[LAYOUT_KEY] = layout.as_dict()
        store.create(size=record["dimensions"], layout=layout, metadata=metadata)
    else:
        _create_like(source, target, shape, layout=layout, metadata=metadata, record=record)
    _copy_indexes(source, target)


def _create_like(
    source: Points,
    target: Points,
    shape: SourceShape,
    *,
    layout: CollectionLayout,
    metadata: dict[str, Any],
    record: Mapping[str, Any],
) -> None:
    config = source.info().config
    new = collection_config(record["dimensions"], layout)
    vectors: Any = new.vectors
    if shape.vector:
        vectors = {**(config.params.vectors or {}), shape.vector: new.vectors}  # type: ignore[dict-item]
    try:
        target.call(
            "creating the collection",
            lambda: target.client.create_collection(
                target.collection,
                vectors_config=vectors,
                sparse_vectors_config=config.params.sparse_vectors,
                quantization_config=new.quantization,
                hnsw_config=new.hnsw,
                shard_number=layout.shards,
                replication_factor=layout.replicas,
                on_disk_payload=config.params.on_disk_payload,
                metadata=metadata,
            ),
        )
    except StoreRefusedError:  # it may be there after a try whose answer was lost
        if not target.exists() or target.metadata().get(METADATA_KEY) != dict(record):
            raise


def _copy_indexes(source: Points, target: Points) -> None:
    there = target.info().payload_schema
    for key, index in source.info().payload_schema.items():
        if key not in there:
            kind = index.params or index.data_type
            target.call(
                f"creating the index on {key}",
                lambda key=key, kind=kind: target.client.create_payload_index(  # type: ignore[misc]
                    target.collection, key, kind, wait=True
                ),
            )


@dataclass(frozen=True, slots=True)
class TargetWriter:
    """Makes points of the target.

    Attributes:
        shape: What they take over.
        coarse_dimensions: Of this helper's coarse vectors, if the target has them.
    """

    shape: SourceShape
    coarse_dimensions: int | None

    def point(
        self, point_id: PointId, vector: np.ndarray, payload: dict[str, Any], old: AnyPoint | None
    ) -> models.PointStruct:
        """A point with its new vector, and the vectors that are copied from the old point."""
        content = named_vectors(vector, self.coarse_dimensions)
        if (self.shape.vector or self.shape.others) and not self.shape.is_ours:
            others = {} if old is None else old.vectors
            content = {**others, self.shape.vector: content}
        return models.PointStruct(id=point_id, vector=content, payload=payload)

    @property
    def vector(self) -> str:
        """Name of the full vector in the target; `""` if it has none."""
        if self.shape.is_ours:
            return FULL if self.coarse_dimensions else ""
        return self.shape.vector

    @property
    def vectors(self) -> tuple[str, ...]:
        """Names of all vectors that are made anew."""
        return (FULL, COARSE) if self.shape.is_ours and self.coarse_dimensions else (self.vector,)


def check_foreign_layout(layout: CollectionLayout) -> None:
    """Refuse what readers of a collection of another origin do not know.

    Raises:
        MigrationRefusedError: Naming the option.
    """
    if layout.coarse_dimensions is not None or layout.tenants:
        option = "tenants" if layout.tenants else "coarse_dimensions"
        msg = (
            f"{option} is for collections of this helper: whatever reads this one, which has "
            "another origin, does not know it; leave it out"
        )
        raise MigrationRefusedError(msg)
