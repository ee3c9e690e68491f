"""Whether a collection holds whole documents, and the vectors that embedding them gives."""

from __future__ import annotations

import heapq
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from jina_local.errors import InvalidOptionError
from jina_local.inputs import check_flag, check_integer
from jina_local_qdrant.errors import (
    CollectionNotFoundError,
    FingerprintMismatchError,
    UnmanagedCollectionError,
    VerificationError,
)
from jina_local_qdrant.layout import LAYOUT_KEY, CollectionLayout
from jina_local_qdrant.payload import tenant_filter
from jina_local_qdrant.sampling import LEAST_COSINE, SampleReport, check_sample
from jina_local_qdrant.spec import METADATA_KEY, vector_description
from jina_local_qdrant.store import COSINE
from jina_local_qdrant.survey import SURVEY_KEYS, Finding, Survey, digest

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jina_local import Engine
    from jina_local_qdrant.spec import EmbeddingSpec
    from jina_local_qdrant.store import Store

__all__ = ["VerifyReport", "adopt_record", "verify"]

_FP_LENGTH = 16
_CHUNK_KEYS = (
    *("doc_id", "chunk_index", "n_chunks", "text", "start", "end", "n_tokens"),
    *("doc_hash", "meta_hash", "fp", "meta"),
)
_HEAD_ONLY_KEYS = ("gaps", "length")
_HASHES = ("doc_hash", "meta_hash")  # an interrupted document has none
_AGAIN = "ingest again with reembed=True"
_BAD_VECTOR = (
    "with a vector missing, not of length 1 or, if coarse, not the beginning of its full one"
)


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """The state of a collection; findings name documents, `unmanaged` names points.

    Attributes:
        documents: Complete documents.
        points: Points, counted exactly by the store.
        expected_points: Points that there should be: the sum of chunks that the documents' first
            chunks promise.
        incomplete: Documents that are being written or were left half written, have gaps between
            their chunks, or more of them than they should.
        orphans: Documents whose first chunk is missing.
        mixed: Documents with chunks of more than one version.
        foreign: Documents with vectors that were made in another way.
        unmanaged: Points that are not this helper's.
        bad_vectors: Documents with a vector that is missing, not finite, not of unit length, or of
            the wrong size, or with a coarse vector that is not the beginning of the full one;
            looked for only if asked.
        sample: The documents that were embedded again.
    """

    documents: int
    points: int
    expected_points: int
    incomplete: Finding
    orphans: Finding
    mixed: Finding
    foreign: Finding
    unmanaged: Finding
    bad_vectors: Finding
    sample: SampleReport

    @property
    def sampled(self) -> int:
        """Documents that were embedded again."""
        return self.sample.documents

    @property
    def worst_cosine(self) -> float | None:
        """The lowest similarity of a stored vector to the one that embedding gives."""
        return self.sample.worst_cosine

    @property
    def is_cosine_low(self) -> bool:
        """Whether a stored vector is not the one that embedding gives."""
        return self.worst_cosine is not None and self.worst_cosine < LEAST_COSINE

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems()

    def problems(self) -> list[str]:
        """What is wrong and what to do about it, a line for each; empty if nothing is."""
        findings = [
            (self.incomplete, "document", "incomplete", _AGAIN),
            (self.orphans, "document", "without its first chunk", "delete, then ingest again"),
            (self.mixed, "document", "with chunks of several versions, of two writers", _AGAIN),
            (self.foreign, "document", "with vectors that were made in another way", _AGAIN),
            (self.bad_vectors, "document", _BAD_VECTOR, _AGAIN),
            (self.sample.altered, "document", "changed since it was ingested", _AGAIN),
            (self.unmanaged, "point", "not of this helper", "keep in another collection"),
        ]
        lines = [
            f"{_counted(finding.number, noun)} {what}: {advice} ({finding})"
            for finding, noun, what, advice in findings
            if finding
        ]
        if self.points != self.expected_points and not lines:
            lines.append(
                f"{self.points} points where documents have {self.expected_points} chunks: "
                "something was written meanwhile; verify again when nothing is"
            )
        if self.is_cosine_low:
            lines.append(
                f"a stored vector of document {self.sample.worst_document!r} has cosine "
                f"{self.worst_cosine:.4f} to the one that embedding its text gives, less than "
                f"{LEAST_COSINE}: was it made with this model and spec? If so: {_AGAIN}"
            )
        return lines


def verify(
    store: Store,
    engine: Engine,
    spec: EmbeddingSpec,
    *,
    fingerprint: str,
    tenant: str | None,
    sample: int,
    deep: bool,
) -> VerifyReport:
    """Check every document, and embed some of them again.

    What another process writes meanwhile may be reported as incomplete.

    Args:
        store: A collection that exists.
        engine: What embeds.
        spec: How.
        fingerprint: Of the way in which the collection's vectors are made.
        tenant: Whose documents are checked; everybody's if `None`.
        sample: Complete documents that are embedded again, always the same ones.
        deep: Also look at every vector, full and coarse.

    Raises:
        InvalidOptionError: If an option is outside its allowed set.
    """
    check_integer("sample", sample, 0)
    check_flag("deep", deep)
    layout = CollectionLayout.from_dict(store.metadata().get(LAYOUT_KEY) or {})
    size = spec.dimensions or engine.dimension
    survey = Survey(fingerprint[:_FP_LENGTH], size, layout.coarse_dimensions)
    for point in store.scan(tenant_filter(tenant), keys=SURVEY_KEYS, vectors=deep):
        survey.add(point, is_deep=deep)
    complete = survey.keys(lambda document: document.is_complete)
    chosen = heapq.nsmallest(sample, complete, key=digest)  # in an order that no id knows
    return VerifyReport(
        documents=len(complete),
        points=store.count(tenant_filter(tenant)),
        expected_points=survey.expected_points,
        incomplete=survey.finding(lambda document: document.is_incomplete),
        orphans=survey.finding(lambda document: document.is_orphan),
        mixed=survey.finding(lambda document: document.is_mixed),
        foreign=survey.finding(lambda document: document.is_foreign),
        unmanaged=survey.unmanaged,
        bad_vectors=survey.finding(lambda document: document.has_bad_vector),
        sample=check_sample(store, engine, spec, chosen),
    )


def adopt_record(
    store: Store,
    engine: Engine,
    spec: EmbeddingSpec,
    record: Mapping[str, Any],
    *,
    sample: int,
    tenant: str | None,
) -> None:
    """Write a record into a collection that has none, once its vectors are seen to be as it says.

    Nothing is written before everything is checked. Documents that are not complete are no
    hindrance: ingesting them again completes them.

    Args:
        store: Where the collection is.
        engine: What embeds.
        spec: How.
        record: What to write; see `EmbeddingSpec.record`.
        sample: Documents that are embedded again, at least 1.
        tenant: One of the tenants that share the collection, if any do.

    Raises:
        InvalidOptionError: If the collection has a record, or an option does not fit it.
        CollectionNotFoundError: If there is no such collection.
        UnmanagedCollectionError: If its points do not have this helper's payload.
        FingerprintMismatchError: If its vectors have another size, or say they were made otherwise.
        VerificationError: If its vectors are not what embedding gives, or none can be compared.
    """
    check_integer("sample", sample, 1)
    _check_adoptable(store, record)
    _check_payloads(store, tenant)
    fingerprint = str(record["fingerprint"])
    report = verify(
        store, engine, spec, fingerprint=fingerprint, tenant=None, sample=sample, deep=False
    )
    _check_evidence(store.collection, fingerprint, report)
    if tenant is not None and LAYOUT_KEY not in store.metadata():
        store.set_metadata(LAYOUT_KEY, CollectionLayout(tenants=True).as_dict())
    store.set_metadata(METADATA_KEY, dict(record))


def _check_adoptable(store: Store, record: Mapping[str, Any]) -> None:
    name = store.collection
    if not store.exists():
        msg = f"there is no collection {name!r} to adopt: ingest documents to create it"
        raise CollectionNotFoundError(msg)
    metadata = store.metadata()
    if METADATA_KEY in metadata:
        msg = (
            f"collection {name!r} has a record of how its vectors were made, and needs no adopting:"
            " open it with JinaQdrant, which compares the record"
        )
        raise InvalidOptionError(msg)
    found = vector_description(store.vector_size(), store.distance())
    wanted = vector_description(record["dimensions"], COSINE)
    if found != wanted:
        msg = f"collection {name!r} has vectors of {found}, the spec gives {wanted}"
        raise FingerprintMismatchError(msg)


def _check_payloads(store: Store, tenant: str | None) -> None:
    """Refuse points without the keys by which documents are found and rebuilt."""
    expected = _CHUNK_KEYS if tenant is None else (*_CHUNK_KEYS, "tenant")
    missing: Counter[str] = Counter()
    n_points = 0
    for point in store.scan():
        n_points += 1
        is_head = point.payload.get("chunk_index") == 0
        keys = (*expected, *_HEAD_ONLY_KEYS) if is_head else expected
        missing.update(key for key in keys if key not in point.payload)
        if tenant is None and "tenant" in point.payload:
            msg = f"collection {store.collection!r} is shared by tenants: name one with tenant="
            raise InvalidOptionError(msg)
    for key in _HASHES:
        if missing[key] < n_points:
            del missing[key]
    if missing:
        found = ", ".join(f"{key!r} ({number} points)" for key, number in missing.items())
        msg = (
            f"collection {store.collection!r} cannot be adopted, its points do not have this "
            f"helper's payload; missing: {found}. Ingest the documents into a new collection"
        )
        raise UnmanagedCollectionError(msg)


def _check_evidence(collection: str, fingerprint: str, report: VerifyReport) -> None:
    problems = report.problems()
    problem = f"collection {collection!r} cannot be adopted:"
    if report.unmanaged:
        msg = f"{problem} points {report.unmanaged} are not this helper's"
        raise UnmanagedCollectionError(msg)
    if report.points and not report.sampled:
        msg = f"{problem} no document of it is complete; " + "; ".join(problems)
        raise VerificationError(msg)
    if report.sample.altered or report.is_cosine_low:
        msg = f"{problem} " + "; ".join(problems)
        raise VerificationError(msg)
    if report.foreign:
        msg = (
            f"{problem} documents {report.foreign} carry another fingerprint than "
            f"{fingerprint[:_FP_LENGTH]}, which this engine and spec have"
        )
        raise FingerprintMismatchError(msg)


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
