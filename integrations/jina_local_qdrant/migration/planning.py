"""What a migration would do, said before anything is written."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from qdrant_client import models

from jina_local_qdrant.embedding import embed_documents_of
from jina_local_qdrant.errors import MigrationRefusedError
from jina_local_qdrant.migration.helper_origin import HelperOrigin
from jina_local_qdrant.migration.payload_origin import PayloadOrigin

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jina_local_qdrant.layout import CollectionLayout
    from jina_local_qdrant.migration.moving import Mover
    from jina_local_qdrant.migration.origins import SourceDocument
    from jina_local_qdrant.migration.points import AnyPoint, Points

__all__ = ["MigrationPlan", "plan_migration"]

_TIMED_CHARACTERS = 20_000
_TIMED_DOCUMENTS = 16
_BYTES = {"float32": 4.0, "float16": 2.0, "uint8": 1.0}
_COPY_BYTES = {"none": 0.0, "int8": 1.0, "turbo": 0.5, "binary": 0.125}
_DEFAULT_HNSW = {"m": 16, "ef_construct": 100}
_DEFAULT_OPTIMIZER = {
    "deleted_threshold": 0.2,
    "vacuum_min_vector_number": 1000,
    "default_segment_number": 0,
    "max_segment_size": None,
    "memmap_threshold": None,
}


@dataclass(frozen=True, slots=True)
class MigrationPlan:
    """What is known before a migration; estimates say so.

    Attributes:
        source: The old collection.
        target: The new one.
        origin: Who wrote the old one.
        points: Points of the source, counted exactly.
        without_text: Points without a text, counted exactly; `None` where the store cannot say.
        sampled: Points that were read.
        blank: Those of them whose text is missing or blank.
        payload_fields: Payload fields of those, with how many have it.
        documents: Documents among those.
        tokens: Tokens of all texts, estimated from some documents that were embedded.
        seconds: How long embedding takes on this machine, estimated from the same.
        dimensions: d, of the old vectors and the new ones.
        vector_bytes: What all vectors take, old and new, with compressed copies.
        carried: What the new collection takes over.
        lost: What it does not.
        refusals: Why it cannot be run as it is.
        advice: What would make it quicker.
    """

    source: str
    target: str
    origin: str
    points: int
    without_text: int | None
    sampled: int
    blank: int
    payload_fields: dict[str, int]
    documents: int
    tokens: int | None
    seconds: float | None
    dimensions: tuple[int, int]
    vector_bytes: tuple[int, int]
    carried: tuple[str, ...]
    lost: tuple[str, ...]
    refusals: tuple[str, ...]
    advice: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """JSON values."""
        return asdict(self)


def plan_migration(mover: Mover, layout: CollectionLayout, *, sample: int) -> MigrationPlan:
    """Look at a source, and embed a few of its documents to know how long all take.

    Args:
        mover: Knows source and target.
        layout: How the target will store its vectors.
        sample: Points that are read.
    """
    source = mover.source
    info = source.info()
    n_points = source.count()
    points, _ = source.page(None, limit=sample)
    blank = [point for point in points if not _has_text(mover, point)]
    refs = list(dict.fromkeys(mover.origin.ref(one) for one in points if one not in blank))
    refusals: list[str] = []
    documents = _documents(mover, refs, refusals)
    tokens, seconds = _estimates(mover, documents, points, n_points)
    without_text = _without_text(mover)
    if without_text and not _leaves_out(mover):
        refusals.append(
            f"{without_text} points have no text: mend or delete them, or leave them out with "
            "without_text='leave_out'"
        )
    old, new = _size(info, mover.writer.shape.vector), mover.spec.dimensions or 0
    new = new or mover.engine.dimension
    return MigrationPlan(
        source=source.collection,
        target=mover.target.collection,
        origin=_origin(mover),
        points=n_points,
        without_text=without_text,
        sampled=len(points),
        blank=len(blank),
        payload_fields=dict(Counter(key for point in points for key in point.payload)),
        documents=len(refs),
        tokens=tokens,
        seconds=seconds,
        dimensions=(old, new),
        vector_bytes=(
            round(n_points * _old_bytes(info, mover.writer.shape.vector)),
            round(n_points * _new_bytes(new, layout)),
        ),
        carried=_carried(mover, info),
        lost=_lost(info, mover, layout),
        refusals=tuple(refusals),
        advice=_advice(mover, info),
    )


def _has_text(mover: Mover, point: AnyPoint) -> bool:
    if isinstance(mover.origin, PayloadOrigin):
        return bool((mover.origin.fields.read(point.payload).text or "").strip())
    return True


def _leaves_out(mover: Mover) -> bool:
    return isinstance(mover.origin, PayloadOrigin) and mover.origin.leaves_out


def _documents(mover: Mover, refs: Sequence[Any], refusals: list[str]) -> list[SourceDocument]:
    """Some whole documents, enough to measure with."""
    documents: list[SourceDocument] = []
    n_characters = 0
    for ref in refs[:_TIMED_DOCUMENTS]:
        try:
            found = mover.read(mover.source, [ref])
            documents += [mover.origin.document(ref, points) for ref, points in found.items()]
        except MigrationRefusedError as error:
            refusals.append(str(error))
            continue
        n_characters += len(documents[-1].text) if documents else 0
        if n_characters >= _TIMED_CHARACTERS:
            break
    return documents


def _estimates(
    mover: Mover, documents: Sequence[SourceDocument], points: Sequence[AnyPoint], n_points: int
) -> tuple[int | None, float | None]:
    """Tokens and seconds of all documents, from characters of points and of some documents."""
    texts = [(document.text, document.spans) for document in documents]
    n_chunks = sum(len(document.points) for document in documents)
    if not n_chunks or not points:
        return None, None
    embed_documents_of(mover.engine, mover.spec, texts[:1])  # the first time takes longer
    begin = time.perf_counter()
    embedded = embed_documents_of(mover.engine, mover.spec, texts)
    seconds = time.perf_counter() - begin
    n_tokens = sum(one.tokens for one in embedded)
    return round(n_tokens / n_chunks * n_points), seconds / n_chunks * n_points


def _without_text(mover: Mover) -> int | None:
    """Points whose text is missing or empty; a store cannot look into JSON that is a string."""
    if not isinstance(mover.origin, PayloadOrigin):
        return 0
    path = mover.origin.fields.text
    if path.startswith("_node_content."):
        return None
    missing = models.IsEmptyCondition(is_empty=models.PayloadField(key=path))
    empty = models.FieldCondition(key=path, match=models.MatchValue(value=""))
    return mover.source.count(models.Filter(should=[missing, empty]))


def _origin(mover: Mover) -> str:
    if isinstance(mover.origin, HelperOrigin):
        return "this helper"
    from jina_local_qdrant.migration.fields import PRESETS

    fields = mover.origin.fields if isinstance(mover.origin, PayloadOrigin) else None
    return next(
        (name for name, preset in PRESETS.items() if preset == fields), "named payload fields"
    )


def _vector_params(info: models.CollectionInfo, name: str) -> models.VectorParams | None:
    vectors = info.config.params.vectors
    return vectors.get(name) if isinstance(vectors, dict) else vectors


def _size(info: models.CollectionInfo, name: str) -> int:
    params = _vector_params(info, name)
    return 0 if params is None else int(params.size)


def _old_bytes(info: models.CollectionInfo, name: str) -> float:
    params = _vector_params(info, name)
    if params is None:
        return 0.0
    kind = str(getattr(params.datatype, "value", params.datatype) or "float32")
    config = params.quantization_config or info.config.quantization_config
    return params.size * (_BYTES.get(kind, 4.0) + _quantized_bytes(config))


def _quantized_bytes(config: object) -> float:
    names = {"ScalarQuantization": "int8", "BinaryQuantization": "binary"}
    names["TurboQuantization"] = "turbo"
    return _COPY_BYTES[names.get(type(config).__name__, "none")]


def _new_bytes(dimensions: int, layout: CollectionLayout) -> float:
    stored = dimensions + (layout.coarse_dimensions or 0)
    return stored * (_BYTES[layout.storage] + _COPY_BYTES[layout.quantization])


def _carried(mover: Mover, info: models.CollectionInfo) -> tuple[str, ...]:
    carried = ["every payload field"]
    if not mover.writer.shape.is_ours:
        carried.append("the ids of points")
    if info.payload_schema:
        carried.append(f"payload indexes on {', '.join(sorted(info.payload_schema))}")
    if mover.writer.shape.others:
        carried.append(f"other vectors: {', '.join(mover.writer.shape.others)}")
    return tuple(carried)


def _lost(info: models.CollectionInfo, mover: Mover, layout: CollectionLayout) -> tuple[str, ...]:
    config, params = info.config, info.config.params
    vector = _vector_params(info, mover.writer.shape.vector)
    lost = []
    for what, settings, defaults in (
        ("graph", config.hnsw_config, _DEFAULT_HNSW),
        ("optimizer", config.optimizer_config, _DEFAULT_OPTIMIZER),
    ):
        own = {name: getattr(settings, name, None) for name in defaults}
        if changed := {name: own[name] for name in own if own[name] != defaults[name]}:
            listed = ", ".join(f"{name}={value}" for name, value in changed.items())
            lost.append(f"settings of the {what} ({listed}): the store's own are used")
    if config.quantization_config is not None and layout.quantization == "none":
        lost.append("quantization: choose it with CollectionLayout(quantization=…)")
    if (params.shard_number or 1) > 1 and layout.shards is None:
        lost.append(f"{params.shard_number} shards: choose them with CollectionLayout(shards=…)")
    if (params.replication_factor or 1) > 1 and layout.replicas is None:
        lost.append(
            f"{params.replication_factor} replicas: choose them with CollectionLayout(replicas=…)"
        )
    if vector is not None and (vector.on_disk or vector.hnsw_config or vector.quantization_config):
        lost.append("settings of the vector itself (on disk, graph or quantization of its own)")
    if getattr(config, "strict_mode_config", None) is not None:
        lost.append("strict mode: set it again")
    method = getattr(params, "sharding_method", None)
    if method is not None and str(getattr(method, "value", method)) == "custom":
        lost.append("custom sharding: points are spread by their ids")
    if _leaves_out(mover):
        lost.append("points without a text")
    return tuple(lost)


def _advice(mover: Mover, info: models.CollectionInfo) -> tuple[str, ...]:
    if not isinstance(mover.origin, PayloadOrigin) or not mover.origin.together:
        return ()
    key = mover.origin.fields.document
    if key in (info.payload_schema or {}) or _is_local(mover.source):
        return ()
    return (
        f"create a payload index on {key!r} in {mover.source.collection!r} first: without it, "
        "every look for the chunks of a document reads the whole collection",
    )


def _is_local(points: Points) -> bool:
    from jina_local_qdrant.clients import is_local

    return is_local(points.client)
