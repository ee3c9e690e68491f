"""N texts → their vectors, a few forward passes' worth of texts at a time.

What a pass needs is made while the passes before it run, and dropped after it: a list of any length
takes little more memory than its texts and its vectors, and a fast device does not wait for the
tokenizer.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from jina_local.ahead import made_ahead
from jina_local.inference import pooled_vectors
from jina_local.inputs import check_encodable
from jina_local.overflow import prepare_texts, refuse_unfit_texts
from jina_local.results import Embeddings
from jina_local.token_budget import estimated_tokens
from jina_local.vectors import to_vectors

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from jina_local.loading import LoadedModel
    from jina_local.overflow import OnOverflow, PreparedTexts
    from jina_local.tasks import Task
    from jina_local.text_ids import TextIdsList
    from jina_local.token_budget import TokenBudget

__all__ = ["TextEmbedder", "TextList"]

_PASSES_PER_GROUP = 8
_MOST_TOKENS_PER_CHARACTER = 18  # NFKC makes eighteen characters of U+FDFA


class TextList(NamedTuple):
    """N texts, and how each of them is embedded.

    Attributes:
        texts: N texts.
        tasks: N tasks.
        overflows: For each text, what happens if it is too long.
    """

    texts: Sequence[str]
    tasks: Sequence[Task]
    overflows: Sequence[OnOverflow]

    def at(self, rows: Sequence[int]) -> TextList:
        """Some of them."""
        return TextList(
            [self.texts[row] for row in rows],
            [self.tasks[row] for row in rows],
            [self.overflows[row] for row in rows],
        )


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

    def embed(self, listed: TextList) -> Embeddings:
        """Embed N texts; a text that may not be too long is looked at before any is run.

        Raises:
            InvalidTextsError: If a text cannot be encoded in UTF-8 (a lone surrogate).
            TextTooLongError: If a text is too long and may not be, or has no room.
            NonFiniteVectorError: If the model gave NaN or infinity.
        """
        n_texts = len(listed.texts)
        for row, text in enumerate(listed.texts):
            check_encodable(text, f"text {row}")
        doubtful = self._doubtful(listed)
        self._fitting(listed.at(doubtful), doubtful)
        found = Embeddings(
            vectors=np.empty((n_texts, self.dimensions), dtype=np.float32),
            token_counts=np.empty(n_texts, dtype=np.int64),
            truncated=np.empty(n_texts, dtype=bool),
            windows=np.empty(n_texts, dtype=np.int64),
        )
        for rows, prepared in made_ahead(self._groups(listed), partial(self._prepared, listed)):
            own = slice(rows.start, rows.stop)
            found.vectors[own] = self._vectors(prepared, rows)
            found.token_counts[own] = prepared.token_counts
            found.truncated[own] = prepared.truncated
            found.windows[own] = prepared.windows
        return found

    def _doubtful(self, listed: TextList) -> list[int]:
        """Rows of texts that may not be too long, and could be, for all that is known yet.

        Only these are tokenized twice: short questions, which most are, need no look.
        """
        most = self.max_tokens - 2  # beside `<s>` and `</s>`
        return [
            row
            for row, (text, task, overflow) in enumerate(zip(*listed, strict=True))
            if overflow == "error"
            and _MOST_TOKENS_PER_CHARACTER * (len(task.instruction) + len(text)) > most
        ]

    def _groups(self, listed: TextList) -> Iterator[range]:
        """Rows of texts for a few passes each."""
        start = n_tokens = 0
        for row, text in enumerate(listed.texts):
            n_tokens += estimated_tokens(len(text))
            if n_tokens >= _PASSES_PER_GROUP * self.budget.tokens:
                yield range(start, row + 1)
                start, n_tokens = row + 1, 0
        if start < len(listed.texts):
            yield range(start, len(listed.texts))

    def _prepared(self, listed: TextList, rows: range) -> tuple[range, PreparedTexts]:
        own = listed.at(rows)
        ids = self._fitting(own, rows)
        return rows, prepare_texts(ids, own.tasks, own.overflows, self.max_tokens)

    def _fitting(self, listed: TextList, rows: Sequence[int]) -> TextIdsList:
        """The ids of texts, none of which is to be refused."""
        instructions = [task.instruction for task in listed.tasks]
        ids = self.model.tokenizer.ids(listed.texts, instructions)
        refuse_unfit_texts(ids, listed.overflows, self.max_tokens, rows)
        return ids

    def _vectors(self, prepared: PreparedTexts, rows: range) -> np.ndarray:
        report = self.progress
        pooled = pooled_vectors(
            self.model,
            prepared.sequences,
            len(rows),
            self.budget,
            report and (lambda finished: report(rows.start + finished)),
        )
        return to_vectors(
            pooled, self.dimensions, normalize=self.normalize, legacy=self.legacy, rows=rows
        )
