"""A layout in Qdrant's own words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from qdrant_client import models

from jina_local_qdrant.errors import StoreRefusedError

if TYPE_CHECKING:
    from jina_local_qdrant.layout import CollectionLayout

__all__ = [
    "COARSE",
    "FULL",
    "CollectionConfig",
    "coarse_vector",
    "collection_config",
    "named_vectors",
    "search_params",
    "stored_vectors",
]

FULL, COARSE = "full", "coarse"
"""Names of the two vectors of a collection with coarse vectors; otherwise there is one, unnamed."""

_OVERSAMPLING = {"int8": 2.0, "turbo": 2.0, "binary": 4.0}
_STORAGES = {"float32": models.Datatype.FLOAT32, "float16": models.Datatype.FLOAT16}


@dataclass(frozen=True, slots=True)
class CollectionConfig:
    """What a collection is created with.

    Attributes:
        vectors: Its vectors.
        quantization: Their compressed copy.
        hnsw: Their graph; Qdrant's default if `None`.
    """

    vectors: models.VectorParams | dict[str, models.VectorParams]
    quantization: models.QuantizationConfig | None
    hnsw: models.HnswConfigDiff | None


def collection_config(size: int, layout: CollectionLayout) -> CollectionConfig:
    """The configuration of a collection of unit vectors of `size` dimensions."""

    def params(dimensions: int) -> models.VectorParams:
        return models.VectorParams(
            size=dimensions,
            distance=models.Distance.COSINE,
            datatype=_STORAGES[layout.storage] if layout.storage != "float32" else None,
        )

    vectors: models.VectorParams | dict[str, models.VectorParams] = params(size)
    if layout.coarse_dimensions is not None:
        vectors = {FULL: params(size), COARSE: params(layout.coarse_dimensions)}
    return CollectionConfig(
        vectors=vectors,
        quantization=_quantization(layout),
        hnsw=models.HnswConfigDiff(m=0) if layout.bulk else None,
    )


def search_params(layout: CollectionLayout) -> models.SearchParams | None:
    """Rescoring with the original vectors where there are compressed ones."""
    if layout.quantization == "none":
        return None
    return models.SearchParams(
        quantization=models.QuantizationSearchParams(
            rescore=True, oversampling=_OVERSAMPLING[layout.quantization]
        )
    )


def _quantization(layout: CollectionLayout) -> models.QuantizationConfig | None:
    match layout.quantization:
        case "int8":
            return models.ScalarQuantization(
                scalar=models.ScalarQuantizationConfig(type=models.ScalarType.INT8, always_ram=True)
            )
        case "turbo":
            return models.TurboQuantization(
                turbo=models.TurboQuantQuantizationConfig(bits=models.TurboQuantBitSize.BITS4)
            )
        case "binary":
            return models.BinaryQuantization(
                binary=models.BinaryQuantizationConfig(always_ram=True)
            )
        case _:
            return None


def named_vectors(vector: np.ndarray, coarse: int | None) -> Any:  # noqa: ANN401 - of either form
    """A vector as a collection takes it, with its prefix where there are coarse vectors."""
    if coarse is None:
        return vector.tolist()
    return {FULL: vector.tolist(), COARSE: coarse_vector(vector, coarse).tolist()}


def coarse_vector(vector: np.ndarray, coarse: int) -> np.ndarray:
    """The normalized prefix of a vector, float32 (coarse,).

    Raises:
        StoreRefusedError: If the prefix has no direction.
    """
    prefix = vector[:coarse]
    length = np.linalg.norm(prefix)
    if not length:
        msg = f"the first {coarse} dimensions of a vector are all 0: use no coarse vectors"
        raise StoreRefusedError(msg)
    normalized: np.ndarray = prefix / length
    return normalized


def stored_vectors(
    vector: Any,  # noqa: ANN401 - of either form
    full: str = FULL,
) -> tuple[np.ndarray | None, np.ndarray | None]:
    """The full and the coarse vector of what a collection gives back, float32 (d,) and (c,).

    Args:
        vector: One vector, or vectors by name.
        full: Name of the full one.
    """
    contents = vector if isinstance(vector, dict) else {full: vector}
    found = (contents.get(name) for name in (full, COARSE))
    first, second = (None if one is None else np.asarray(one, np.float32) for one in found)
    return first, second
