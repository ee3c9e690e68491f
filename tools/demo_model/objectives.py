"""What each adapter learns: one objective for the two retrieval adapters, one for each other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import torch

from .adapter_data import (
    LabelledTexts,
    dictionary_pairs,
    lexicographer_classes,
    manual_page_groups,
    manual_pairs,
    paraphrases,
    sibling_groups,
)
from .batching import mean_pool, pad_rows
from .corpus import Corpus
from .faq import FaqWriter
from .losses import (
    contrastive_loss,
    cosine_matrix,
    direction_loss,
    ranking_loss,
    same_group_loss,
)
from .settings import seeded
from .student import token_rows
from .units import Units

if TYPE_CHECKING:
    import random
    from collections.abc import Sequence

    from tokenizers import Tokenizer
    from torch import Tensor

    from .faq import Pair
    from .settings import Workspace
    from .student import Student

CHOICE_SEED = 5
LONGEST_TEXT = 256  # tokens
FAQ_SHARE = 0.25
MANUAL_SHARE = 0.65  # of the other retrieval batches
MANUAL_PAIRS, DICTIONARY_PAIRS = 40, 160  # per batch
PARAPHRASES, OTHER_TEXTS = 60, 140
CLASSES, TEXTS_PER_CLASS = 24, 8
PAGES, TEXTS_PER_PAGE = 16, 3
FAMILIES, TEXTS_PER_FAMILY = 40, 4


class Encoder:
    """The student with adapters, as a function from texts to vectors."""

    def __init__(self, student: Student, tokenizer: Tokenizer) -> None:
        self.student = student
        self._tokenizer = tokenizer

    def __call__(self, texts: Sequence[str], task: str, max_length: int = LONGEST_TEXT) -> Tensor:
        """Returns mean-pooled vectors with gradients, (N, D) float32."""
        ids, mask = pad_rows(token_rows(self._tokenizer, texts, max_length))
        return mean_pool(self.student(ids, mask, task), mask)


class Objective(Protocol):
    """What one or two adapters learn."""

    @property
    def tasks(self) -> tuple[str, ...]:
        """The adapters that are trained."""

    def loss(self, encode: Encoder) -> Tensor:
        """Draws a batch and returns its loss."""


class Retrieval:
    """Queries find their passages, and the teacher's ranking of the others is kept."""

    tasks = ("retrieval.query", "retrieval.passage")

    def __init__(
        self, corpus: Corpus, units: Units, labelled: LabelledTexts, rng: random.Random
    ) -> None:
        self._manual_pairs = manual_pairs(corpus, labelled)
        self._dictionary_pairs = dictionary_pairs(corpus, labelled)
        self._faq = FaqWriter(corpus, units.vocabulary, rng)
        self._labelled = labelled
        self._rng = rng

    def loss(self, encode: Encoder) -> Tensor:
        """Draws FAQ entries, pairs from manuals or pairs from WordNet."""
        if self._rng.random() < FAQ_SHARE:
            return self._faq_loss(encode)
        return self._pair_loss(encode)

    def _vectors(self, encode: Encoder, pairs: Sequence[Pair]) -> tuple[Tensor, Tensor]:
        queries = encode([pair.query for pair in pairs], "retrieval.query")
        return queries, encode([pair.passage for pair in pairs], "retrieval.passage")

    def _faq_loss(self, encode: Encoder) -> Tensor:
        queries, passages = self._vectors(encode, self._faq.entries())
        full = contrastive_loss(queries, passages, temperature=0.07)
        return 0.35 * full + 0.1 * contrastive_loss(queries, passages, temperature=0.07, width=64)

    def _pair_loss(self, encode: Encoder) -> Tensor:
        if self._rng.random() < MANUAL_SHARE:
            pairs = self._rng.sample(self._manual_pairs, MANUAL_PAIRS)
        else:
            pairs = self._rng.sample(self._dictionary_pairs, DICTIONARY_PAIRS)
        pairs = list({pair.query: pair for pair in pairs}.values())
        pairs = list({pair.passage: pair for pair in pairs}.values())
        queries, passages = self._vectors(encode, pairs)
        query_targets = self._labelled.targets([pair.query for pair in pairs])
        passage_targets = self._labelled.targets([pair.passage for pair in pairs])
        both_ways = contrastive_loss(queries, passages) + contrastive_loss(passages, queries)
        directions = direction_loss(queries, query_targets)
        directions = directions + direction_loss(passages, passage_targets)
        return (
            0.3 * both_ways
            + 0.2 * contrastive_loss(queries, passages, width=64)
            + 0.5 * ranking_loss(queries, passages, query_targets, passage_targets)
            + 0.5 * directions
        )


class TextMatching:
    """Cosines equal the teacher's, and a paraphrase finds its original."""

    tasks = ("text-matching",)

    def __init__(self, corpus: Corpus, labelled: LabelledTexts, rng: random.Random) -> None:
        self._paraphrases = paraphrases(corpus, rng)
        self._labelled = labelled
        self._rng = rng

    def loss(self, encode: Encoder) -> Tensor:
        """Draws paraphrases and unrelated short texts."""
        pairs = self._rng.sample(self._paraphrases, PARAPHRASES)
        texts = self._rng.sample(self._labelled.short, OTHER_TEXTS)
        originals, changed = [p.query for p in pairs], [p.passage for p in pairs]
        vectors = encode(originals + changed + texts, self.tasks[0])
        left, right, rest = torch.split(vectors, [len(pairs), len(pairs), len(texts)])
        targets = self._labelled.targets(texts)
        difference = cosine_matrix(rest, rest) - cosine_matrix(targets, targets)
        return (
            100 * (difference**2).mean()
            + direction_loss(rest, targets)
            + 0.3 * contrastive_loss(left, right)
            + 0.3 * ranking_loss(rest, rest, targets, targets)
        )


class Classification:
    """Glosses of one lexicographer file gather."""

    tasks = ("classification",)

    def __init__(self, corpus: Corpus, labelled: LabelledTexts, rng: random.Random) -> None:
        self._classes = lexicographer_classes(corpus, labelled)
        self._labelled = labelled
        self._rng = rng

    def loss(self, encode: Encoder) -> Tensor:
        """Draws eight glosses from each of 24 classes."""
        n_classes = min(CLASSES, len(self._classes))
        texts: list[str] = []
        labels: list[int] = []
        for label, glosses in enumerate(self._rng.sample(self._classes, n_classes)):
            texts += self._rng.sample(glosses, TEXTS_PER_CLASS)
            labels += [label] * TEXTS_PER_CLASS
        vectors = encode(texts, self.tasks[0])
        gathered = same_group_loss(vectors, labels, temperature=0.1)
        return gathered + 0.7 * direction_loss(vectors, self._labelled.targets(texts))


class Separation:
    """Texts of one manual page, or glosses under one hypernym, gather."""

    tasks = ("separation",)

    def __init__(self, corpus: Corpus, labelled: LabelledTexts, rng: random.Random) -> None:
        self._pages = manual_page_groups(corpus, labelled)
        self._families = sibling_groups(corpus, labelled)
        self._labelled = labelled
        self._rng = rng

    def loss(self, encode: Encoder) -> Tensor:
        """Draws pages or families, with equal chance."""
        if self._rng.random() < 0.5:
            groups, per_group = self._rng.sample(self._pages, PAGES), TEXTS_PER_PAGE
        else:
            groups, per_group = self._rng.sample(self._families, FAMILIES), TEXTS_PER_FAMILY
        texts: list[str] = []
        labels: list[int] = []
        for label, group in enumerate(groups):
            drawn = self._rng.sample(group, min(len(group), per_group))
            texts += drawn
            labels += [label] * len(drawn)
        vectors = encode(texts, self.tasks[0], max_length=160)
        gathered = same_group_loss(vectors, labels, temperature=0.07)
        return 0.6 * gathered + 0.7 * direction_loss(vectors, self._labelled.targets(texts))


def build_objective(name: str, work: Workspace) -> Objective:
    """Prepares the data of one objective."""
    corpus, units = Corpus.load(work.corpus), Units.load(work.units)
    labelled, rng = LabelledTexts(work, units), seeded(CHOICE_SEED)
    if name == "retrieval":
        return Retrieval(corpus, units, labelled, rng)
    if name == "text-matching":
        return TextMatching(corpus, labelled, rng)
    if name == "classification":
        return Classification(corpus, labelled, rng)
    return Separation(corpus, labelled, rng)
