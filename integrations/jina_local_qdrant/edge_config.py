"""A layout in the words of Qdrant's embedded engine."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jina_local_qdrant.collection_config import COARSE, search_params
from jina_local_qdrant.edge_engine import qdrant_edge as edge

if TYPE_CHECKING:
    from jina_local_qdrant.layout import CollectionLayout

__all__ = ["FULL", "edge_config", "edge_indexes", "edge_search_params"]

FULL = ""
"""Name of the full vectors: the engine's default vector, whether there are coarse ones or not."""

_STORAGES = {
    "float32": edge.VectorStorageDatatype.Float32,
    "float16": edge.VectorStorageDatatype.Float16,
}
_KINDS = {
    "keyword": edge.PayloadSchemaType.Keyword,
    "integer": edge.PayloadSchemaType.Integer,
    "float": edge.PayloadSchemaType.Float,
    "bool": edge.PayloadSchemaType.Bool,
    "datetime": edge.PayloadSchemaType.Datetime,
    "text": edge.PayloadSchemaType.Text,
}
_INDEXED = {"doc_id": "keyword", "doc_hash": "keyword", "chunk_index": "integer"}


def edge_config(size: int, layout: CollectionLayout) -> edge.EdgeConfig:
    """The configuration of a shard of unit vectors of `size` dimensions."""

    def params(dimensions: int) -> edge.EdgeVectorParams:
        return edge.EdgeVectorParams(
            size=dimensions,
            distance=edge.Distance.Cosine,
            datatype=_STORAGES[layout.storage],
            quantization_config=_quantization(layout),
        )

    vectors = {FULL: params(size)}
    if layout.coarse_dimensions is not None:
        vectors[COARSE] = params(layout.coarse_dimensions)
    return edge.EdgeConfig(vectors=vectors, wal_enabled=True)


def edge_indexes(layout: CollectionLayout) -> dict[str, edge.PayloadSchemaType]:
    """What payload keys are indexed as: those that the helper needs, and the layout's."""
    kinds = {**_INDEXED, **layout.payload_indexes}
    if layout.tenants:
        kinds["tenant"] = "keyword"
    return {key: _KINDS[kind] for key, kind in kinds.items()}


def edge_search_params(layout: CollectionLayout, *, exact: bool) -> edge.SearchParams:
    """Rescoring with the original vectors where there are compressed ones.

    Args:
        layout: The layout.
        exact: Whether to compare with every original vector instead.
    """
    params = search_params(layout)
    if params is None or params.quantization is None:
        return edge.SearchParams(exact=exact)
    quantization = edge.QuantizationSearchParams(
        rescore=True, oversampling=params.quantization.oversampling
    )
    return edge.SearchParams(exact=exact, quantization=quantization)


def _quantization(layout: CollectionLayout) -> edge.QuantizationConfigType | None:
    memory = edge.Memory.Pinned
    match layout.quantization:
        case "int8":
            return edge.ScalarQuantizationConfig(edge.ScalarType.Int8, memory=memory)
        case "turbo":
            return edge.TurboQuantQuantizationConfig(
                bits=edge.TurboQuantBitSize.Bits4, memory=memory
            )
        case "binary":
            return edge.BinaryQuantizationConfig(memory=memory)
        case _:
            return None
