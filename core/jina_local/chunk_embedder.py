"""Late chunking from documents to vectors, under options that are checked once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from jina_local.chunked_text import ChunkedText, check_document
from jina_local.errors import JinaLocalError
from jina_local.inference import pooled_vectors
from jina_local.late_chunking import LateChunking, PreparedDocument, prepare_documents
from jina_local.results import ChunkEmbeddings
from jina_local.token_budget import estimated_tokens
from jina_local.vectors import to_vectors

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from jina_local.loading import LoadedModel
    from jina_local.tasks import Task
    from jina_local.token_budget import TokenBudget

__all__ = ["ChunkEmbedder"]

_PASSES_PER_GROUP = 4  # enough for full batches of like lengths


@dataclass(frozen=True, slots=True)
class ChunkEmbedder:
    """Embeds the chunks of documents in their context.

    Attributes:
        model: Gives the loaded model, or refuses because it was let go.
        task: The documents' task.
        settings: How chunks are embedded.
        dimensions: d.
        normalize: Whether vectors get unit length.
        budget: How many tokens a forward pass may have.
        progress: Called after each pass with the number of documents finished so far.
    """

    model: Callable[[], LoadedModel]
    task: Task
    settings: LateChunking
    dimensions: int
    normalize: bool
    budget: TokenBudget
    progress: Callable[[int], None] | None

    def embed(
        self, documents: Sequence[ChunkedText], *, n_before: int = 0
    ) -> list[ChunkEmbeddings]:
        """Embed documents that may share batches; each is looked at before anything is run.

        Args:
            documents: N documents.
            n_before: Documents that came before these.
        """
        model = self.model()
        prepared = prepare_documents(
            documents, self.task, self.settings, model.tokenizer, first_index=n_before
        )
        report = self.progress
        pooled = pooled_vectors(
            model,
            [sequence for document in prepared for sequence in document.sequences],
            sum(len(document.chunks) for document in prepared),
            self.budget,
            report and (lambda finished: report(n_before + finished)),
        )
        rows = torch.split(pooled, [len(document.chunks) for document in prepared])
        return [
            self._result(document, own, name=f"document {index}, chunk")
            for index, (document, own) in enumerate(zip(prepared, rows, strict=True), n_before)
        ]

    def stream(self, documents: Iterable[ChunkedText]) -> Iterator[ChunkEmbeddings]:
        """Embed documents a few batches at a time, and read no more of them than that.

        Whatever goes wrong with a document, its predecessors' results come first.
        """
        n_before = 0
        for group in self._groups(documents):
            try:
                results = self.embed(group, n_before=n_before)
            except JinaLocalError:
                results = []
            yield from results
            if not results:  # which one is refused shows when each is run by itself
                for index, document in enumerate(group, n_before):
                    yield from self.embed([document], n_before=index)
            n_before += len(group)

    def _groups(self, documents: Iterable[ChunkedText]) -> Iterator[list[ChunkedText]]:
        """Documents for a few passes each; at a bad one, first those that came before it."""
        group: list[ChunkedText] = []
        n_tokens = 0
        try:
            for index, document in enumerate(documents):
                group.append(check_document(document, index))
                n_tokens += _size(document)
                if n_tokens >= _PASSES_PER_GROUP * self.budget.tokens:
                    yield group
                    group, n_tokens = [], 0
        except Exception:  # also the source's own
            if group:
                yield group
            raise
        if group:
            yield group

    def _result(
        self, document: PreparedDocument, pooled: torch.Tensor, *, name: str
    ) -> ChunkEmbeddings:
        return ChunkEmbeddings(
            vectors=to_vectors(pooled, self.dimensions, normalize=self.normalize, name=name),
            token_counts=document.token_counts,
            fell_back=document.chunks.fell_back,
            combined=document.combined,
            truncated=document.chunks.truncated,
            windows=len(document.sequences),
            tokens=document.tokens,
        )


def _size(document: ChunkedText) -> int:
    """About how many tokens a document has; a vector counts as one more."""
    n_characters = len(document.text) + len(document.header or "")
    return estimated_tokens(n_characters) + len(document.spans)
