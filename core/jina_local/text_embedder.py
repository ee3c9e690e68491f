"""Ids of N texts → their vectors, a few forward passes' worth of texts at a time.

Texts are taken longest first, so that those which share a pass are about equally long. What a pass
needs beside the ids is made when its turn comes and dropped after it: a list of any length takes
little more memory than its ids and its vectors.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from jina_local.inference import pooled_vectors
from jina_local.overflow import prepare_texts, refuse_unfit_texts
from jina_local.results import Embeddings
from jina_local.vectors import to_vectors

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from jina_local.loading import LoadedModel
    from jina_local.overflow import OnOverflow
    from jina_local.tasks import Task
    from jina_local.text_ids import TextIds, TextIdsList
    from jina_local.token_budget import TokenBudget

__all__ = ["TextEmbedder"]

_PASSES_PER_GROUP = 8


@dataclass(frozen=True, slots=True, eq=False)
class TextEmbedder:
    """One way of embedding texts.

    Attributes:
        model: A loaded model.
        max_tokens: The most tokens of a text or window.
        dimensions: d.
        normalize: Whether vectors get unit length.
        legacy: Whether they get it before they are cut.
        budget: How many tokens a forward pass may have.
        progress: Called after each forward pass with the number of texts finished so far.
    """

    model: LoadedModel
    max_tokens: int
    dimensions: int
    normalize: bool
    legacy: bool
    budget: TokenBudget
    progress: Callable[[int], None] | None

    def embed(
        self, texts: TextIdsList, tasks: Sequence[Task], overflows: Sequence[OnOverflow]
    ) -> Embeddings:
        """Embed N texts; all are looked at before any is run.

        Args:
            texts: N texts behind their instructions.
            tasks: N tasks.
            overflows: For each text, what happens if it is too long.

        Raises:
            TextTooLongError: If a text is too long and may not be, or has no room.
            NonFiniteVectorError: If the model gave NaN or infinity.
        """
        refuse_unfit_texts(texts, overflows, self.max_tokens)
        found = Embeddings(
            vectors=np.empty((len(texts), self.dimensions), dtype=np.float32),
            token_counts=np.empty(len(texts), dtype=np.int64),
            truncated=np.empty(len(texts), dtype=bool),
            windows=np.empty(len(texts), dtype=np.int64),
        )
        n_finished = 0
        for rows in self._groups(texts.lengths):
            group = self._embed_group(
                [texts[row] for row in rows],
                [tasks[row] for row in rows],
                [overflows[row] for row in rows],
                rows,
                n_finished,
            )
            found.vectors[rows] = group.vectors
            found.token_counts[rows] = group.token_counts
            found.truncated[rows] = group.truncated
            found.windows[rows] = group.windows
            n_finished += len(rows)
        return found

    def _groups(self, lengths: np.ndarray) -> Iterator[np.ndarray]:
        """Rows of texts for a few passes each, longest first."""
        order = np.argsort(-lengths, kind="stable")
        ends = np.cumsum(lengths[order])
        start = n_tokens = 0
        while start < len(order):
            n_tokens += _PASSES_PER_GROUP * self.budget.tokens
            stop = max(start + 1, int(np.searchsorted(ends, n_tokens, side="right")))
            yield order[start:stop]
            start, n_tokens = stop, int(ends[stop - 1])

    def _embed_group(
        self,
        texts: Sequence[TextIds],
        tasks: Sequence[Task],
        overflows: Sequence[OnOverflow],
        rows: np.ndarray,
        n_finished: int,
    ) -> Embeddings:
        prepared = prepare_texts(texts, tasks, overflows, self.max_tokens)
        report = self.progress
        pooled = pooled_vectors(
            self.model,
            prepared.sequences,
            len(texts),
            self.budget,
            report and (lambda finished: report(n_finished + finished)),
        )
        vectors = to_vectors(
            pooled, self.dimensions, normalize=self.normalize, legacy=self.legacy, rows=rows
        )
        return Embeddings(vectors, prepared.token_counts, prepared.truncated, prepared.windows)
