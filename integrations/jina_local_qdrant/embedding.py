"""Texts with spans → vectors of their chunks, as a collection's spec says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np

    from jina_local import Engine
    from jina_local_qdrant.spec import EmbeddingSpec

__all__ = ["EmbeddedDocument", "embed_documents_of"]

Span = tuple[int, int]
TextWithSpans = tuple[str, "Sequence[Span]"]


@dataclass(frozen=True, slots=True, eq=False)
class EmbeddedDocument:
    """The chunks of one document.

    Attributes:
        vectors: Unit vectors, float32 (S, d).
        token_counts: Tokens that each is made from, int64 (S,).
        tokens: Tokens that were embedded.
    """

    vectors: np.ndarray
    token_counts: np.ndarray
    tokens: int


def embed_documents_of(
    engine: Engine, spec: EmbeddingSpec, documents: Sequence[TextWithSpans]
) -> list[EmbeddedDocument]:
    """Embed the chunks of documents as passages, in one call of the engine.

    A blank document has no context, and its chunks are embedded as they are.
    """
    late = [spec.late_chunking and not _is_blank(text) for text, _ in documents]
    results = iter(_late(engine, spec, _chosen(documents, late)))
    plain = iter(_plain(engine, spec, _chosen(documents, [not one for one in late])))
    return [next(results) if is_late else next(plain) for is_late in late]


def _late(
    engine: Engine, spec: EmbeddingSpec, documents: Sequence[TextWithSpans]
) -> list[EmbeddedDocument]:
    from jina_local import ChunkedText

    chunked = [ChunkedText(text, spans) for text, spans in documents]
    results = engine.embed_chunks(
        chunked,
        dimensions=spec.dimensions,
        special_tokens=spec.special_tokens,
        window_tokens=spec.window_tokens,
        margin_tokens=spec.margin_tokens,
    )
    return [EmbeddedDocument(one.vectors, one.token_counts, one.tokens) for one in results]


def _plain(
    engine: Engine, spec: EmbeddingSpec, documents: Sequence[TextWithSpans]
) -> list[EmbeddedDocument]:
    chunks = [text[start:end] for text, spans in documents for start, end in spans]
    embeddings = engine.embed_documents(chunks, dimensions=spec.dimensions)
    results, first = [], 0
    for _, spans in documents:
        rows = slice(first, first + len(spans))
        first = rows.stop
        counts = embeddings.token_counts[rows]
        results.append(EmbeddedDocument(embeddings.vectors[rows], counts, int(counts.sum())))
    return results


def _chosen(documents: Sequence[TextWithSpans], chosen: Sequence[bool]) -> list[TextWithSpans]:
    return [document for document, is_chosen in zip(documents, chosen, strict=True) if is_chosen]


def _is_blank(text: str) -> bool:
    return not text or text.isspace()
