"""How a collection's vectors are made, and the record of it that the collection carries."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from jina_local.__about__ import __version__
from jina_local.fingerprint import canonical_hash
from jina_local.inputs import check_dimensions, check_flag
from jina_local.late_chunking import LateChunking, SpecialTokens
from jina_local.tasks import ROLE_TASKS
from jina_local.windows import DEFAULT_MARGIN
from jina_local_qdrant.errors import FingerprintMismatchError, UnmanagedCollectionError
from jina_local_qdrant.layout import METADATA_KEY
from jina_local_qdrant.splitting import check_chunk_tokens

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jina_local import Engine

__all__ = [
    "METADATA_KEY",
    "EmbeddingSpec",
    "checked_record",
    "refuse_differences",
    "vector_description",
]

_WINDOWS = ("window_tokens", "margin_tokens")

# Where vectors came from and in what rounding, not what they are: recorded and not compared.
_DESCRIPTIVE = ("created_by", "device", "dtype", "model", "revision")


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddingSpec:
    """Everything about the vectors of a collection that is chosen.

    Attributes:
        dimensions: Matryoshka dimension; the model's width if `None`.
        chunk_tokens: The most tokens of a chunk; `None` makes every document one chunk.
        late_chunking: Whether chunks are embedded in the context of their document.
        special_tokens: What `<s>`, the instruction and `</s>` count towards; see
            `Engine.embed_chunks`.
        window_tokens: The most tokens that are run at once; the model's limit if `None`.
        margin_tokens: Tokens of context on each side of a window's chunks.
    """

    dimensions: int | None = None
    chunk_tokens: int | None = 256
    late_chunking: bool = True
    special_tokens: SpecialTokens = "edges"
    window_tokens: int | None = None
    margin_tokens: int = DEFAULT_MARGIN

    def check(self, engine: Engine) -> None:
        """Refuse what this engine cannot do.

        Raises:
            InvalidOptionError: If an option is outside its allowed set.
        """
        check_dimensions(self.dimensions, engine.dimension)
        check_chunk_tokens(self.chunk_tokens)
        check_flag("late_chunking", self.late_chunking)
        self._late_settings(engine)

    def record(self, engine: Engine) -> dict[str, Any]:
        """What is written into a collection at its creation and compared at every opening."""
        late = self._late_settings(engine)
        ways: dict[str, str] = {
            role: engine.fingerprint(
                task=task,
                dimensions=self.dimensions,
                normalize=True,
                instruction=True,
                late=late if role == "document" else None,
            )
            for role, task in ROLE_TASKS.items()
        }
        vectors = {
            "weights": engine.weights_id,
            "dimensions": self.dimensions or engine.dimension,
            "chunk_tokens": self.chunk_tokens,
            "late_chunking": late,
            **ways,
        }
        return {
            "schema": 2,
            "fingerprint": canonical_hash(vectors),
            **vectors,
            "model": engine.source,
            "revision": engine.revision,
            "device": engine.device,
            "dtype": engine.dtype,
            "created_by": f"jina-local {__version__}",
        }

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Self:
        """The spec that a collection was made with.

        Raises:
            FingerprintMismatchError: If the record was written by another version, or by hand.
        """
        try:
            late = record["late_chunking"] or {}
            return cls(
                dimensions=record["dimensions"],
                chunk_tokens=record["chunk_tokens"],
                late_chunking=record["late_chunking"] is not None,
                **{name: late[name] for name in ("special_tokens", *_WINDOWS) if name in late},
            )
        except (KeyError, TypeError) as error:
            msg = (
                f"the collection's record cannot be read ({error!r}); it says it was made by "
                f"{record.get('created_by')!r}: open it with that version, or make it anew"
            )
            raise FingerprintMismatchError(msg) from error

    def _late_settings(self, engine: Engine) -> dict[str, Any] | None:
        settings = LateChunking.checked(
            special_tokens=self.special_tokens,
            window_tokens=self.window_tokens,
            margin_tokens=self.margin_tokens,
            on_overflow="window",
            strict=False,
            max_tokens=engine.max_tokens,
        )
        if not self.late_chunking:
            return None
        chosen = ("special_tokens", *_WINDOWS)
        return {name: getattr(settings, name) for name in chosen}


def checked_record(collection: str, metadata: Mapping[str, Any]) -> Mapping[str, Any]:
    """The record in a collection's metadata.

    Raises:
        UnmanagedCollectionError: If there is none.
        FingerprintMismatchError: If it is none that this helper writes, as after an edit.
    """
    if METADATA_KEY not in metadata:
        msg = (
            f"collection {collection!r} was not made by this helper and does not say how its "
            "vectors were made: choose another name, delete it first, or take it over with "
            "JinaQdrant.adopt"
        )
        raise UnmanagedCollectionError(msg)
    record = metadata[METADATA_KEY]
    if not isinstance(record, dict):
        msg = (
            f"the record of collection {collection!r} is {record!r:.40}, not what this helper "
            "writes: it was edited; restore it, or make the collection anew"
        )
        raise FingerprintMismatchError(msg)
    if "payload" in record:
        msg = (
            f"collection {collection!r} was migrated and keeps the payloads of what wrote it, "
            "which this helper does not know: search it with AliasSearch, or with its own reader "
            "and queries from Engine.embed_queries"
        )
        raise UnmanagedCollectionError(msg)
    return record


def vector_description(size: int, distance: str) -> str:
    """What a collection's vectors look like, for comparing and for messages."""
    return f"{size} dimensions, {distance}"


def refuse_differences(
    collection: str, stored: Mapping[str, Any], wanted: Mapping[str, Any]
) -> None:
    """Hold a collection's record against the one that this engine and spec would write.

    Raises:
        FingerprintMismatchError: Naming every field that differs.
    """
    fields = [name for name in {**wanted, **stored} if name not in _DESCRIPTIVE]
    different = [
        f"{name}: {stored.get(name)!r} in the collection, {wanted.get(name)!r} here"
        for name in fields
        if stored.get(name) != wanted.get(name)
    ]
    if different:
        msg = "\n  ".join(
            [
                f"the vectors of collection {collection!r} were made in another way "
                f"(by {stored.get('created_by')} with {stored.get('model')!r}), "
                "and vectors made in two ways cannot be searched together:",
                *different,
            ]
        )
        raise FingerprintMismatchError(msg)
