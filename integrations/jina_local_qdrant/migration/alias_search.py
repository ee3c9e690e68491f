"""Searches that go on while a collection moves: embedded the way that the alias asks for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from jina_local.inputs import check_integer
from jina_local.tasks import ROLE_TASKS
from jina_local_qdrant.collection_config import FULL
from jina_local_qdrant.errors import (
    CollectionNotFoundError,
    FingerprintMismatchError,
    UnmanagedCollectionError,
)
from jina_local_qdrant.layout import LAYOUT_KEY, METADATA_KEY, CollectionLayout
from jina_local_qdrant.migration.points import Points
from jina_local_qdrant.migration.switching import named_by

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from qdrant_client import QdrantClient, models

    from jina_local import Engine
    from jina_local_qdrant.retries import RetryPolicy

__all__ = ["AliasSearch"]


class AliasSearch:
    """Search whatever collection an alias names, with a query vector made its way.

    The alias is looked up for every search, and the collection that it names is the one that is
    searched: not even the search during which the alias moves compares vectors of two models.

    Args:
        client: Any Qdrant client.
        alias: The alias, or the name of a collection.
        engine: Embeds queries for collections that carry this package's record.
        old: Embeds a query for collections that carry none, as they were made; without it, they
            are refused.
        old_vector: Name of the vector that `old` is compared with; `None` if it has none.
        retries: How long a server that does not answer is asked again.
    """

    def __init__(
        self,
        client: QdrantClient,
        alias: str,
        engine: Engine,
        *,
        old: Callable[[str], Sequence[float]] | None = None,
        old_vector: str | None = None,
        retries: RetryPolicy | None = None,
    ) -> None:
        self._client = client
        self._alias = alias
        self._engine = engine
        self._old = old
        self._old_vector = old_vector
        self._retries = retries
        self._query_ids: dict[int, str] = {}

    def search(
        self,
        query: str,
        *,
        limit: int = 10,
        filter: models.Filter | None = None,  # noqa: A002 - Qdrant's word
        score_threshold: float | None = None,
    ) -> list[models.ScoredPoint]:
        """The points most similar to a query, best first, with their payloads.

        Args:
            query: The question.
            limit: The most points.
            filter: What they must satisfy.
            score_threshold: Only points with a score above it.

        Raises:
            CollectionNotFoundError: If there is neither an alias nor a collection of this name.
            UnmanagedCollectionError: If the collection carries no record, and no `old` was given.
            FingerprintMismatchError: If its vectors were made with another model than the engine's.
            InvalidOptionError: If `limit` is no positive integer.
        """
        check_integer("limit", limit, 1)
        name = named_by(Points(self._client, self._alias, self._retries), self._alias)
        points = Points(self._client, name or self._alias, self._retries)
        vector, using = self._query(points, query)
        found = points.call(
            "searching",
            lambda: self._client.query_points(
                points.collection,
                query=vector,
                using=using,
                limit=limit,
                query_filter=filter,
                score_threshold=score_threshold,
                with_payload=True,
            ),
        )
        return found.points

    def _query(self, points: Points, query: str) -> tuple[list[float], str | None]:
        metadata = self._metadata(points)
        record = metadata.get(METADATA_KEY)
        if not isinstance(record, dict):
            if self._old is None:
                msg = (
                    f"collection {points.collection!r} does not say how its vectors were made: "
                    "give old=, which embeds a query for it"
                )
                raise UnmanagedCollectionError(msg)
            return list(self._old(query)), self._old_vector
        if record.get("weights") != self._engine.weights_id:
            msg = (
                f"the vectors of collection {points.collection!r} were made with "
                f"{record.get('model')!r}, whose weights are other ones than those of "
                f"{self._engine.source!r}: load that model"
            )
            raise FingerprintMismatchError(msg)
        if record.get("query") != self._query_id(record["dimensions"]):
            msg = (
                f"queries for collection {points.collection!r} were embedded in another way than "
                f"by this engine, with the same weights: another instruction of "
                f"{ROLE_TASKS['query']!r}, or another tokenizer; load the adapter that it was made "
                "with"
            )
            raise FingerprintMismatchError(msg)
        vectors = self._engine.embed_queries([query], dimensions=record["dimensions"]).vectors
        has_coarse = CollectionLayout.from_dict(metadata.get(LAYOUT_KEY) or {}).coarse_dimensions
        return vectors[0].tolist(), FULL if has_coarse else record.get("vector")

    def _query_id(self, dimensions: int) -> str:
        """Names how queries are embedded; engines never change."""
        if dimensions not in self._query_ids:
            self._query_ids[dimensions] = self._engine.fingerprint(
                task=ROLE_TASKS["query"], dimensions=dimensions, normalize=True, instruction=True
            )
        return self._query_ids[dimensions]

    def _metadata(self, points: Points) -> Mapping[str, Any]:
        if not points.exists():
            msg = f"there is no alias and no collection {self._alias!r}"
            raise CollectionNotFoundError(msg)
        return points.metadata()
