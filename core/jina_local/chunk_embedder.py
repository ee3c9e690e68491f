"""Late chunking from documents to vectors, under options that are checked once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from jina_local.chunked_text import ChunkedText, check_document
from jina_local.inference import pooled_vectors
from jina_local.late_chunking import LateChunking, prepare_documents
from jina_local.results import ChunkEmbeddings
from jina_local.vectors import to_vectors

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from jina_local.loading import LoadedModel
    from jina_local.tasks import Task

__all__ = ["ChunkEmbedder"]

_PASSES_PER_GROUP = 4  # enough for full batches of like lengths
_CHARACTERS_PER_TOKEN = 4


@dataclass(frozen=True, slots=True)
class ChunkEmbedder:
    """Embeds the chunks of documents in their context.

    Attributes:
        model: A loaded model.
        task: The documents' task.
        settings: How chunks are embedded.
        dimensions: d.
        normalize: Whether vectors get unit length.
        batch_tokens: The most tokens per forward pass.
        progress: Called after each pass with the number of documents finished so far.
    """

    model: LoadedModel
    task: Task
    settings: LateChunking
    dimensions: int
    normalize: bool
    batch_tokens: int
    progress: Callable[[int], None] | None

    def embed(
        self, documents: Sequence[ChunkedText], *, n_before: int = 0
    ) -> list[ChunkEmbeddings]:
        """Embed documents that may share batches; everything is checked before anything is run.

        Args:
            documents: N documents.
            n_before: Documents that came before these.
        """
        prepared = prepare_documents(
            documents, self.task, self.settings, self.model.tokenizer, first_index=n_before
        )
        report = self.progress
        pooled = pooled_vectors(
            self.model,
            [sequence for document in prepared for sequence in document.sequences],
            sum(len(document.chunks) for document in prepared),
            self.batch_tokens,
            report and (lambda finished: report(n_before + finished)),
        )
        results, first = [], 0
        for document in prepared:
            rows = pooled[first : first + len(document.chunks)]
            first += len(document.chunks)
            results.append(
                ChunkEmbeddings(
                    vectors=to_vectors(rows, self.dimensions, normalize=self.normalize),
                    token_counts=document.token_counts,
                    fell_back=document.chunks.fell_back,
                    combined=document.combined,
                    truncated=document.chunks.truncated,
                    windows=len(document.sequences),
                    tokens=document.tokens,
                )
            )
        return results

    def stream(self, documents: Iterable[ChunkedText]) -> Iterator[ChunkEmbeddings]:
        """Embed documents a few batches at a time, and no more of them than that."""
        waiting: list[ChunkedText] = []
        n_done = n_characters = 0
        for document in documents:
            waiting.append(check_document(document, n_done + len(waiting)))
            n_characters += len(document.text)
            if n_characters >= _PASSES_PER_GROUP * _CHARACTERS_PER_TOKEN * self.batch_tokens:
                yield from self.embed(waiting, n_before=n_done)
                n_done, n_characters, waiting = n_done + len(waiting), 0, []
        if waiting:
            yield from self.embed(waiting, n_before=n_done)
