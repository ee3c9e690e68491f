"""What the points of a collection say about its documents, in a few numbers for each.

Points are read in any order and not kept.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from jina_local_qdrant.payload import HEAD_KEYS, is_ours, point_id

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from jina_local_qdrant.store import StoredPoint

__all__ = ["SURVEY_KEYS", "DocumentKey", "DocumentState", "Finding", "Survey", "digest"]

SURVEY_KEYS = (*HEAD_KEYS, "tenant")
"""Payload keys that a survey needs."""

_UNIT_TOLERANCE = 1e-3
_PREFIX_TOLERANCE = 5e-3  # storing both in float16 costs 1e-3
_EXAMPLES = 20


@dataclass(frozen=True, slots=True)
class Finding:
    """What one kind of damage was found in.

    Attributes:
        number: How many.
        examples: Names of some, in order, at most 20.
    """

    number: int = 0
    examples: tuple[str, ...] = ()

    @classmethod
    def of(cls, names: Iterable[str]) -> Finding:
        """All of these."""
        found = sorted(names)
        return cls(len(found), tuple(found[:_EXAMPLES]))

    def __bool__(self) -> bool:
        return self.number > 0

    def __str__(self) -> str:
        more = self.number - len(self.examples)
        return ", ".join(map(repr, self.examples)) + (f" and {more} more" if more else "")


class DocumentKey(NamedTuple):
    """What makes a document one: tenants may use the same ids."""

    tenant: str | None
    doc_id: str


@dataclass(slots=True)
class DocumentState:
    """What the points of a document that were read so far say about it.

    Attributes:
        n_points: Points with the id that their chunk should have.
        last_index: The highest number of a chunk.
        n_chunks: Chunks that the head promises; `None` until there is a head.
        is_written: Whether the head carries both hashes.
        version: Of the point that was read last: its hashes and number of chunks.
        has_versions: Whether two points differ in it.
        has_stray: Whether there is a point with another id.
        is_foreign: Whether a point carries another fingerprint.
        has_bad_vector: Whether a vector, full or coarse, cannot be one of ours.
    """

    n_points: int = 0
    last_index: int = -1
    n_chunks: int | None = None
    is_written: bool = False
    version: bytes | None = None
    has_versions: bool = False
    has_stray: bool = False
    is_foreign: bool = False
    has_bad_vector: bool = False

    @property
    def is_orphan(self) -> bool:
        """Whether the head is missing."""
        return self.n_chunks is None

    @property
    def is_mixed(self) -> bool:
        """Whether the head stands for a version that not all chunks are of."""
        return self.is_written and self.has_versions

    @property
    def is_incomplete(self) -> bool:
        """Whether the head is not written, or its chunks are not those that it promises."""
        if self.n_chunks is None:
            return False
        # an id is made of the chunk's number, so that as many as there should be are all of them
        has_all = self.n_points == self.n_chunks and self.last_index == self.n_chunks - 1
        return not (self.is_written and has_all) or self.has_stray

    @property
    def is_complete(self) -> bool:
        """Whether all chunks of one version are there, and nothing else."""
        return not (self.is_orphan or self.is_incomplete or self.is_mixed)


class Survey:
    """Everything that was read of a collection.

    Args:
        fp: The beginning of the fingerprint that points should carry.
        size: d.
        coarse: Dimensions of the coarse vectors, if there are any.
    """

    def __init__(self, fp: str, size: int, coarse: int | None = None) -> None:
        self._documents: dict[DocumentKey, DocumentState] = {}
        self.unmanaged = Finding()
        self._fp = fp
        self._size = size
        self._coarse = coarse

    def add(self, point: StoredPoint, *, is_deep: bool) -> None:
        """Take note of a point."""
        payload = point.payload
        if not is_ours(payload):
            examples = (*self.unmanaged.examples, point.id)[:_EXAMPLES]
            self.unmanaged = Finding(self.unmanaged.number + 1, examples)
            return
        key = DocumentKey(payload.get("tenant"), payload["doc_id"])
        document = self._documents.setdefault(key, DocumentState())
        document.is_foreign |= payload.get("fp") != self._fp
        document.has_bad_vector |= is_deep and not self._has_vectors(point)
        if point.id == point_id(key.doc_id, payload["chunk_index"], key.tenant):
            _add_chunk(document, payload)
        else:
            document.has_stray = True

    def _has_vectors(self, point: StoredPoint) -> bool:
        """Whether a point's vectors can be ours."""
        if point.vector is None or not _is_unit(point.vector, self._size):
            return False
        return self._coarse is None or _is_prefix(point.coarse, point.vector[: self._coarse])

    @property
    def expected_points(self) -> int:
        """Points that there should be, by what the documents' first chunks promise."""
        return sum(document.n_chunks or 0 for document in self._documents.values())

    def keys(self, condition: Callable[[DocumentState], bool]) -> list[DocumentKey]:
        """The documents that satisfy a condition."""
        return [key for key, document in self._documents.items() if condition(document)]

    def finding(self, condition: Callable[[DocumentState], bool]) -> Finding:
        """The documents that satisfy a condition, by their ids."""
        return Finding.of(key.doc_id for key in self.keys(condition))


def _add_chunk(document: DocumentState, payload: Mapping[str, Any]) -> None:
    index, n_chunks = payload["chunk_index"], payload["n_chunks"]
    hashes = [payload.get("doc_hash"), payload.get("meta_hash")]
    version = digest([*hashes, n_chunks])
    document.n_points += 1
    document.last_index = max(document.last_index, index)
    document.has_versions |= document.version not in (None, version)
    document.version = version
    if index == 0:
        document.n_chunks = n_chunks
        document.is_written = None not in hashes


def _is_unit(vector: np.ndarray, size: int) -> bool:
    if vector.shape != (size,):
        return False
    length = float(np.linalg.norm(vector.astype(np.float64)))
    return abs(length - 1.0) <= _UNIT_TOLERANCE  # NaN is not


def _is_prefix(coarse: np.ndarray | None, beginning: np.ndarray) -> bool:
    """Whether a coarse vector is the beginning of a full one, made to a unit vector."""
    if coarse is None or coarse.shape != beginning.shape:
        return False
    wide = beginning.astype(np.float64)
    length = float(np.linalg.norm(wide))
    difference = float(np.linalg.norm(length * coarse - wide))
    return length > 0 and difference <= _PREFIX_TOLERANCE * length  # NaN is not


def digest(content: Sequence[object]) -> bytes:
    """16 bytes that stand for JSON values."""
    return hashlib.blake2b(json.dumps(content).encode(), digest_size=16).digest()
