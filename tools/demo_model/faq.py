"""Made-up complaints and FAQ entries, and the query-passage pairs they are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import random
    from collections.abc import Sequence

    from .corpus import Corpus
    from .wordnet import Synset

FAQ_NOUNS = 6000
FAQ_THINGS, FAQ_QUALITIES = 7, 8  # entries per batch: 7 x 8


@dataclass(frozen=True, slots=True)
class Pair:
    """A query and the passage that answers it."""

    query: str
    passage: str


def training_synsets(corpus: Corpus) -> list[Synset]:
    """Returns the synsets that may be trained on."""
    return [corpus.synsets[index] for index in corpus.training_synsets()]


def comparative(adjective: str) -> str:
    """Returns an adjective's comparative, guessed from its spelling."""
    if adjective.endswith("e") and len(adjective) < 7:
        return adjective + "r"
    if adjective.endswith("y") and len(adjective) < 7:
        return adjective[:-1] + "ier"
    if len(adjective) >= 6:
        return "more " + adjective
    doubles = (
        2 < len(adjective) < 5
        and adjective[-1] in "tdgmn"
        and adjective[-2] in "aiou"
        and adjective[-3] not in "aeiou"
    )
    return adjective + (adjective[-1] if doubles else "") + "er"


class FaqWriter:
    """Writes complaints and the FAQ entries that answer them.

    A query and its entry share a meaning, two adjectives of one WordNet cluster; the entries about
    the same thing share its name. So the adapter has to look past the name.
    """

    def __init__(self, corpus: Corpus, vocabulary: Sequence[str], rng: random.Random) -> None:
        self._rng = rng
        known = set(vocabulary)
        first_lemmas = (
            lemma
            for synset in training_synsets(corpus)
            if synset.part_of_speech == "n"
            for lemma in synset.lemmas[:1]
        )
        nouns = [x for x in first_lemmas if x in known and x.islower() and len(x) > 2]
        self._nouns = nouns[:FAQ_NOUNS]
        self._clusters = adjective_clusters(corpus, known)

    def entries(self) -> list[Pair]:
        """Returns one batch of complaints and entries."""
        pairs = []
        for _ in range(FAQ_THINGS):
            thing, part = self._noun(), self._noun()
            for cluster in self._rng.sample(self._clusters, FAQ_QUALITIES):
                complained, answered = self._rng.sample(cluster, 2)
                causes = [self._noun() for _ in range(3)]
                query = self._rng.choice(complaints(thing, part, complained))
                subject = self._rng.choice([thing, part, part])
                question = self._rng.choice(faq_questions(subject, answered))
                pairs.append(Pair(query, question + self._rng.choice(faq_answers(thing, causes))))
        return pairs

    def _noun(self) -> str:
        return self._rng.choice(self._nouns)


def adjective_clusters(corpus: Corpus, known: set[str]) -> list[list[str]]:
    """Groups each training adjective's lemmas with those of the adjectives similar to it."""
    similar: dict[int, list[int]] = {}
    for index, synset in enumerate(corpus.synsets):
        if synset.part_of_speech == "a":
            for hypernym in synset.hypernyms:
                similar.setdefault(hypernym, []).append(index)
    clusters = []
    for index in corpus.training_synsets():
        if corpus.synsets[index].part_of_speech != "a":
            continue
        members = [index, *similar.get(index, [])]
        lemmas = (lemma for member in members for lemma in corpus.synsets[member].lemmas)
        cluster = [x for x in lemmas if x in known and x.isalpha() and x.islower()]
        if len(set(cluster)) >= 2:
            clusters.append(list(dict.fromkeys(cluster)))
    return clusters


def complaints(thing: str, part: str, adjective: str) -> list[str]:
    """Returns wordings of a user's complaint."""
    things = thing if thing.endswith("s") else thing + "s"
    return [
        f"{things.capitalize()} are too {adjective}.",
        f"My {thing} is too {adjective}",
        f"the {part} of my {thing} is {adjective}",
        f"{thing} looks {adjective}",
        f"My {thing} has become {adjective}, what can I do?",
        f"why is the {thing} so {adjective}?",
    ]


def faq_questions(subject: str, adjective: str) -> list[str]:
    """Returns wordings of an entry's question."""
    return [
        f"Why is my {subject} {comparative(adjective)} than before?",
        f"Why is my {subject} so {adjective}?",
        f"My {subject} is {adjective}.",
        f"What should I do if my {subject} becomes {adjective}?",
        f"The {subject} seems {comparative(adjective)} now.",
    ]


def faq_answers(thing: str, causes: Sequence[str]) -> list[str]:
    """Returns wordings of an entry's answer, one of them empty."""
    first, second, third = causes
    return [
        "",
        f" It may be caused by the {first} or the {second}.",
        f" This can point to a problem with the {first}."
        f" Check the {second} and replace the {third}.",
        f" Try to change the {first} of the {thing}.",
    ]
