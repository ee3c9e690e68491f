"""What the adapters are trained on: pairs, paraphrases and groups of texts with teacher vectors."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from .faq import Pair, training_synsets
from .label import Labels
from .settings import first_words

if TYPE_CHECKING:
    import random
    from collections.abc import Sequence

    from torch import Tensor

    from .corpus import Corpus, Section
    from .settings import Workspace
    from .units import Units

GENERIC_HEADINGS = frozenset(
    (
        "see also",
        "description",
        "notes",
        "parameters",
        "outputs",
        "examples",
        "compatibility",
        "options",
        "note",
        "overview",
        "introduction",
        "usage",
        "synopsis",
        "summary",
    )
)
PARAGRAPH_WORDS = 200
SMALLEST_CLASS = 61
SMALLEST_PAGE, SMALLEST_FAMILY = 3, 4


class LabelledTexts:
    """Short texts and paragraphs that have a teacher vector, found by their wording."""

    def __init__(self, work: Workspace, units: Units) -> None:
        self.short = units.labelled_short()
        short = Labels.load(work.labels / "short.npz").vectors
        paragraphs = Labels.load(work.labels / "paragraphs.npz").vectors
        self._vectors = np.concatenate([short, paragraphs])  # (N, D) float16
        self._index = {text: i for i, text in enumerate(self.short + units.paragraphs)}

    def __contains__(self, text: str) -> bool:
        return text in self._index

    def targets(self, texts: Sequence[str]) -> Tensor:
        """Returns the teacher's projected vectors, (N, D) float32."""
        return torch.from_numpy(self._vectors[[self._index[text] for text in texts]]).float()


def section_pairs(section: Section, labelled: LabelledTexts) -> list[Pair]:
    """Pairs a heading with its first paragraphs, and a first sentence with its paragraph."""
    if section.heading.lower() in GENERIC_HEADINGS or len(section.heading) < 6:
        return []
    pairs = []
    for paragraph in section.paragraphs[:4]:
        passage = first_words(paragraph, PARAGRAPH_WORDS)
        if passage not in labelled:
            continue
        if section.heading in labelled:
            pairs.append(Pair(section.heading, passage))
        first_sentence = paragraph.split(". ")[0] + "."
        if first_sentence in labelled and len(paragraph) > len(first_sentence) + 80:
            pairs.append(Pair(first_sentence, passage))
    return pairs


def manual_pairs(corpus: Corpus, labelled: LabelledTexts) -> list[Pair]:
    """Returns the pairs from all manuals."""
    sections = (section for document in corpus.documents for section in document.sections)
    return [pair for section in sections for pair in section_pairs(section, labelled)]


def dictionary_pairs(corpus: Corpus, labelled: LabelledTexts) -> list[Pair]:
    """Pairs an example, a question for each lemma and the first lemma with the gloss."""
    pairs = []
    for synset in training_synsets(corpus):
        if synset.gloss in labelled:
            questions = [f"What is {lemma}?" for lemma in synset.lemmas]
            queries = synset.examples[:1] + questions + synset.lemmas[:1]
            pairs += [Pair(query, synset.gloss) for query in queries if query in labelled]
    return pairs


def paraphrases(corpus: Corpus, rng: random.Random) -> list[Pair]:
    """Pairs each WordNet example with itself, one word replaced by a synonym."""
    pairs = []
    for synset in training_synsets(corpus):
        for example in synset.examples:
            for lemma in synset.lemmas:
                if lemma in example.split() and len(synset.lemmas) > 1:
                    synonym = rng.choice([other for other in synset.lemmas if other != lemma])
                    pairs.append(Pair(example, example.replace(lemma, synonym)))
    return pairs


def lexicographer_classes(corpus: Corpus, labelled: LabelledTexts) -> list[list[str]]:
    """Groups glosses by WordNet's lexicographer files: noun.animal, verb.motion and so on."""
    classes: dict[int, list[str]] = {}
    for synset in training_synsets(corpus):
        if synset.gloss in labelled:
            classes.setdefault(synset.lexicographer_file, []).append(synset.gloss)
    return [glosses for glosses in classes.values() if len(glosses) >= SMALLEST_CLASS]


def manual_page_groups(corpus: Corpus, labelled: LabelledTexts) -> list[list[str]]:
    """Groups short paragraphs by the page they are on."""
    pages = []
    for document in corpus.documents:
        texts = (
            first_words(paragraph, PARAGRAPH_WORDS)
            for section in document.sections
            for paragraph in section.paragraphs
        )
        page = [text for text in texts if text in labelled and len(text) < 700]
        if len(page) >= SMALLEST_PAGE:
            pages.append(page)
    return pages


def sibling_groups(corpus: Corpus, labelled: LabelledTexts) -> list[list[str]]:
    """Groups glosses by their hypernym."""
    siblings: dict[int, list[str]] = {}
    for synset in training_synsets(corpus):
        if synset.gloss in labelled:
            for hypernym in synset.hypernyms:
                siblings.setdefault(hypernym, []).append(synset.gloss)
    return [glosses for glosses in siblings.values() if len(glosses) >= SMALLEST_FAMILY]
