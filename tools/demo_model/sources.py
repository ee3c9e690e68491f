"""Training data as an endless stream of batches."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from .label import Labels
from .settings import BEGIN_ID, END_ID, LABELLED_SPAN_DOCUMENTS, seeded
from .teacher import encode

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from .settings import Workspace
    from .units import Units

# A batch is a list of rows, a row the numbers of what it holds: one text, or some documents.
Batch = list[list[int]]

BATCH_TOKENS = 4096
LONGEST_TEXT = 512  # tokens
PACKED_SHARE = 0.15  # of the document rows hold several documents
PACKED_TOKENS = (512, 768, 1024)


class Source(Protocol):
    """Texts with targets that can be cut into batches."""

    def shuffled_batches(self, stream: Stream) -> list[Batch]:
        """Returns one epoch's batches in random order."""


class Stream:
    """One worker's random state and its queue of batches for each source.

    The weights were trained by two processes, each with its own stream, that averaged gradients.
    """

    def __init__(self, seed: int) -> None:
        self.rng = seeded(seed)
        self.generator = np.random.default_rng(seed)
        self._queues: dict[str, list[Batch]] = {}

    def next_batch(self, name: str, source: Source) -> Batch:
        """Takes a batch, starting a new epoch when the source is used up."""
        if not self._queues.get(name):
            self._queues[name] = source.shuffled_batches(self)
        return self._queues[name].pop()


class TextSource:
    """Short texts or paragraphs, each with a target and, the first ones, a target per word."""

    def __init__(self, labels: Labels) -> None:
        self.labels = labels
        self._lengths = np.minimum(np.diff(labels.offsets), LONGEST_TEXT)  # (N,)
        self._n_with_words = len(labels.word_offsets) - 1

    def shuffled_batches(self, stream: Stream) -> list[Batch]:
        """Returns batches of about ``BATCH_TOKENS`` tokens, each of similar lengths."""
        lengths = self._lengths
        order = np.argsort(lengths * (1 + 0.08 * stream.generator.random(len(lengths))))
        batches = []
        start = 0
        while start < len(order):
            typical = lengths[order[min(start + 8, len(order) - 1)]]
            size = max(4, int(BATCH_TOKENS // typical))
            batches.append([[int(index)] for index in order[start : start + size]])
            start += size
        stream.rng.shuffle(batches)
        return batches

    def token_ids(self, index: int) -> np.ndarray:
        """Returns a text's token ids, cut to the longest length."""
        start = self.labels.offsets[index]
        return self.labels.ids[start : start + self._lengths[index]]

    def has_words(self, index: int) -> bool:
        """Tells whether the text has a target per word."""
        return index < self._n_with_words

    def words(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Returns each token's word, -1 for none, and the word targets (words, D)."""
        first, last = self.labels.word_offsets[index : index + 2]
        start = self.labels.offsets[index]
        words = self.labels.word_ids[start : start + self._lengths[index]].astype(np.int64)
        return np.where(words < last - first, words, -1), self.labels.word_vectors[first:last]


@dataclass(frozen=True, slots=True)
class TokenizedDocument:
    """A heading (empty if it is hidden) and chunks as token ids, and its first chunk's target."""

    heading: list[int]
    chunks: list[list[int]]
    first_target: int

    def __len__(self) -> int:
        return len(self.heading) + sum(len(chunk) for chunk in self.chunks)


@dataclass(frozen=True, slots=True)
class SpanRow:
    """One row of a batch: tokens, each token's chunk within the row or -1, the chunks' targets."""

    ids: list[int]
    chunk_of_token: list[int]
    targets: list[int]


class SpanSource:
    """Multi-chunk documents with a target per chunk."""

    def __init__(self, documents: list[TokenizedDocument], labels: Labels) -> None:
        self._documents = documents
        self.vectors = labels.vectors

    @classmethod
    def tokenized(cls, units: Units, labels: Labels, tokenizer: Tokenizer) -> SpanSource:
        """Tokenizes all headings and chunks once, without special tokens."""
        documents = units.span_documents[:LABELLED_SPAN_DOCUMENTS]
        texts = [document.heading for document in documents]
        texts += [chunk for document in documents for chunk in document.chunks]
        pieces = [encoding.ids[1:-1] for encoding in encode(tokenizer, texts)]
        headings, chunks = pieces[: len(documents)], pieces[len(documents) :]
        tokenized = []
        first = 0
        for document, heading in zip(documents, headings, strict=True):
            end = first + len(document.chunks)
            visible = heading if document.heading_is_visible else []
            tokenized.append(TokenizedDocument(visible, chunks[first:end], first))
            first = end
        return cls(tokenized, labels)

    def shuffled_batches(self, stream: Stream) -> list[Batch]:
        """Groups documents into rows, and rows of similar length into batches."""
        rows = self._draw_rows(stream)
        lengths = [sum(len(self._documents[index]) for index in row) for row in rows]
        order = sorted(
            range(len(rows)), key=lambda row: lengths[row] * (1 + 0.05 * stream.rng.random())
        )
        batches: list[Batch] = [[]]
        for row in order:
            if batches[-1] and (len(batches[-1]) + 1) * lengths[row] > BATCH_TOKENS * 1.2:
                batches.append([])
            batches[-1].append(rows[row])
        stream.rng.shuffle(batches)
        return batches

    def _draw_rows(self, stream: Stream) -> Batch:
        order = list(range(len(self._documents)))
        stream.rng.shuffle(order)
        rows: Batch = []
        at = 0
        while at < len(order):
            row = [order[at]]
            at += 1
            if stream.rng.random() < PACKED_SHARE:
                n_tokens = len(self._documents[row[0]])
                limit = stream.rng.choice(PACKED_TOKENS)
                while at < len(order) and n_tokens + len(self._documents[order[at]]) < limit:
                    n_tokens += len(self._documents[order[at]])
                    row.append(order[at])
                    at += 1
            rows.append(row)
        return rows

    def lay_out(self, row: list[int]) -> SpanRow:
        """Lays out one row: begin, then each document's heading and chunks, then end."""
        ids, chunk_of_token = [BEGIN_ID], [-1]
        targets: list[int] = []
        for index in row:
            document = self._documents[index]
            ids += document.heading
            chunk_of_token += [-1] * len(document.heading)
            for position, chunk in enumerate(document.chunks):
                if chunk:
                    ids += chunk
                    chunk_of_token += [len(targets)] * len(chunk)
                    targets.append(document.first_target + position)
        return SpanRow([*ids, END_ID], [*chunk_of_token, -1], targets)


def load_sources(
    work: Workspace, units: Units, tokenizer: Tokenizer
) -> dict[str, TextSource | SpanSource]:
    """Reads all labelled data, by kind."""
    span_labels = Labels.load(work.labels / "spans.npz")
    return {
        "short": TextSource(Labels.load(work.labels / "short.npz")),
        "paragraphs": TextSource(Labels.load(work.labels / "paragraphs.npz")),
        "spans": SpanSource.tokenized(units, span_labels, tokenizer),
    }
