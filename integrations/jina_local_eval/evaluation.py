"""Questions and documents → how well each way of embedding and storing finds the right documents.

Every text is embedded once per way, at the model's full width; dimensions and encodings are cut
from these pooled vectors. A document is as good as its best chunk.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from jina_local_eval.bm25 import bm25_scores
from jina_local_eval.encodings import Encoding, bytes_per_vector, comparable, cut
from jina_local_eval.metrics import question_metrics

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from jina_local import ChunkedText, Engine
    from jina_local_eval.questions import QuestionSet

    Watch = Callable[[str, int], Callable[[int], None] | None]

__all__ = [
    "Arm",
    "Evaluation",
    "Floor",
    "PooledSet",
    "Split",
    "best_chunks",
    "evaluate",
    "pool",
    "split",
]

Way = Literal["plain", "late"]

_QUESTIONS_AT_ONCE = 256


@dataclass(frozen=True, slots=True, eq=False)
class Split:
    """N documents cut into S chunks.

    Attributes:
        documents: The documents with their spans.
        starts: Index of each document's first chunk, int64 (N,).
        chunks: Texts of all chunks, document after document.
    """

    documents: list[ChunkedText]
    starts: np.ndarray
    chunks: list[str]


@dataclass(frozen=True, slots=True, eq=False)
class PooledSet:
    """Pooled vectors at the full width, neither cut nor normalized.

    Attributes:
        queries: float32 (Q, D).
        plain: Chunks embedded alone, float32 (S, D).
        late: Chunks embedded in their documents, float32 (S, D).
        windowed: Documents that were longer than the model.
    """

    queries: np.ndarray
    plain: np.ndarray
    late: np.ndarray
    windowed: int


@dataclass(frozen=True, slots=True, eq=False)
class Floor:
    """BM25 over whole documents or over chunks.

    Attributes:
        name: What reports call it.
        values: Metrics of each question, float64 (Q, M).
    """

    name: str
    values: np.ndarray


@dataclass(frozen=True, slots=True, eq=False)
class Arm:
    """One way to embed, cut and store, with what it found.

    Attributes:
        way: How chunks were embedded.
        dimensions: d.
        encoding: How vectors are stored.
        values: Metrics of each question, float64 (Q, M), in the order of `METRICS`.
    """

    way: Way
    dimensions: int
    encoding: Encoding
    values: np.ndarray

    @property
    def vector_bytes(self) -> int:
        """What one chunk's vector takes."""
        return bytes_per_vector(self.dimensions, self.encoding)


@dataclass(frozen=True, slots=True, eq=False)
class Evaluation:
    """Everything that was measured on one set of Q questions.

    Attributes:
        n_questions: Q.
        n_documents: N.
        n_chunks: S.
        n_windowed: Documents that were longer than the model.
        floors: BM25.
        arms: By dimension, largest first, then by encoding; plain before late.
    """

    n_questions: int
    n_documents: int
    n_chunks: int
    n_windowed: int
    floors: tuple[Floor, ...]
    arms: tuple[Arm, ...]

    def pairs(self) -> Iterator[tuple[Arm, Arm]]:
        """Plain and late of each dimension and encoding."""
        yield from zip(self.arms[::2], self.arms[1::2], strict=True)


def split(engine: Engine, questions: QuestionSet, chunk_tokens: int) -> Split:
    """Cut all documents into chunks of at most so many of the model's tokens.

    Raises:
        MissingExtraError: If `semantic-text-splitter` is not installed.
    """
    from jina_local import ChunkedText
    from jina_local.splitting import make_splitter
    from jina_local_qdrant.splitting import is_markdown

    splitter = make_splitter(engine.tokenizer_json, chunk_tokens, install="jina-local[eval]")
    documents = [
        ChunkedText(
            one["text"],
            splitter.spans(one["text"], markdown=is_markdown(one.get("metadata", {}))),
        )
        for one in questions.documents
    ]
    sizes = [len(one.spans) for one in documents]
    return Split(
        documents,
        np.cumsum([0, *sizes[:-1]]),
        [one.text[start:stop].strip() for one in documents for start, stop in one.spans],
    )


def pool(engine: Engine, questions: QuestionSet, parts: Split, watch: Watch) -> PooledSet:
    """Embed questions, chunks alone, and chunks in their documents: once, at the full width.

    Args:
        engine: The model.
        questions: The questions.
        parts: The chunks.
        watch: Told what begins and of how many; gives what is called with the number finished.
    """
    queries = engine.embed_queries([one.text for one in questions.questions], normalize=False)
    plain = engine.embed_documents(
        parts.chunks, normalize=False, progress=watch("chunks alone", len(parts.chunks))
    )
    late = list(
        engine.iter_chunks(  # a few documents at a time, however many there are
            parts.documents,
            normalize=False,
            progress=watch("chunks in their documents", len(parts.documents)),
        )
    )
    return PooledSet(
        queries.vectors,
        plain.vectors,
        np.concatenate([one.vectors for one in late]),
        sum(one.windows > 1 for one in late),
    )


def evaluate(
    questions: QuestionSet,
    parts: Split,
    pooled: PooledSet,
    *,
    dimensions: Sequence[int],
    encodings: Sequence[Encoding],
) -> Evaluation:
    """Score every dimension and encoding of both ways, and BM25 on the same texts.

    Raises:
        InvalidOptionError: If vectors cannot be encoded.
    """
    position = {one["id"]: i for i, one in enumerate(questions.documents)}
    relevant = [
        np.array([position[one] for one in question.documents]) for question in questions.questions
    ]
    texts = [one.text for one in questions.questions]
    whole = bm25_scores(texts, [one.text for one in parts.documents])
    by_chunk = best_chunks(bm25_scores(texts, parts.chunks), parts.starts)
    arms = []
    for size in dimensions:
        queries = cut(pooled.queries, size)
        ways: dict[Way, np.ndarray] = {
            "plain": cut(pooled.plain, size),
            "late": cut(pooled.late, size),
        }
        for encoding in encodings:
            for way, vectors in ways.items():
                asked, stored = comparable(queries, vectors, encoding)
                values = _values(asked, stored, parts.starts, relevant)
                arms.append(Arm(way, size, encoding, values))
    return Evaluation(
        n_questions=len(texts),
        n_documents=len(parts.documents),
        n_chunks=len(parts.chunks),
        n_windowed=pooled.windowed,
        floors=(
            Floor("BM25, documents", _metrics(whole, relevant)),
            Floor("BM25, chunks", _metrics(by_chunk, relevant)),
        ),
        arms=tuple(arms),
    )


def best_chunks(scores: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """The score of each document's best chunk: (Q, S) → (Q, N)."""
    best: np.ndarray = np.maximum.reduceat(scores, starts, axis=1)
    return best


def _values(
    queries: np.ndarray, stored: np.ndarray, starts: np.ndarray, relevant: Sequence[np.ndarray]
) -> np.ndarray:
    """Metrics of every question; similarities of some questions at a time, (Q, M)."""
    rows = []
    for first in range(0, len(queries), _QUESTIONS_AT_ONCE):
        some = slice(first, first + _QUESTIONS_AT_ONCE)
        rows.append(_metrics(best_chunks(queries[some] @ stored.T, starts), relevant[some]))
    return np.concatenate(rows)


def _metrics(scores: np.ndarray, relevant: Sequence[np.ndarray]) -> np.ndarray:
    return np.stack([question_metrics(*pair) for pair in zip(scores, relevant, strict=True)])
