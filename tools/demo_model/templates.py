"""Sentence templates over WordNet words: everyday wording that dictionaries and manuals lack."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import random

    from .corpus import Corpus

# Filled from left to right; {nouns} is a plural, {Nouns} a capitalised plural.
SENTENCES = (
    "Why is my {noun} so {adjective}?",
    "Why does my {noun} {verb}?",
    "How do I {verb} a {noun}?",
    "What are some good {noun} {nouns}?",
    "Where can I find a {adjective} {noun}?",
    "I want to {verb} the {noun}.",
    "My {noun} is too {adjective}.",
    "The {noun} is {adjective} because the {noun} is {adjective}.",
    "Can you recommend a {noun} for the {noun}?",
    "We had a {adjective} {noun} at the {noun}.",
    "{Nouns} are too {adjective}.",
    "Do you like {noun}?",
    "She told me about her {noun} and the {noun}.",
    "What is the best way to {verb} a {noun}?",
    "It is important to {verb} the {noun} before you {verb} the {noun}.",
    "You can change the {noun} of the {noun} with the {noun}.",
    "If the {noun} is {adjective}, check the {noun} or replace the {noun}.",
    "{noun} {noun}",
    "{adjective} {noun}",
    "I am planning a {noun} for my {noun} next week.",
    "He bought a new {noun} and a {adjective} {noun}.",
    "What happens when the {noun} does not {verb}?",
    "{noun}, {noun}, {noun}",
    "Thank you, the {noun} was {adjective}.",
    "My friend likes {noun} and hates {noun}.",
    "Which {noun} is the most {adjective}?",
    "Is there a {noun} near the {noun}?",
    "This {noun} makes a {adjective} {noun} when I {verb} it.",
    "The {noun} of the {noun} was very {adjective}.",
    "Who invented the {noun}?",
    "{noun} vs {noun}",
    "how to {verb} {nouns}",
)

# Sentences that only make sense after the one that names the thing: food for late chunking.
ANAPHORIC_SENTENCES = (
    "It is usually {adjective} and can {verb} the {noun}.",
    "It was made of {noun} and {noun}.",
    "They are often found near the {noun}.",
    "People use it to {verb} {nouns}.",
    "Its {noun} is {adjective}.",
    "You should not {verb} it with a {noun}.",
    "Many people think it is too {adjective}.",
    "It can be used for {noun} and for {noun}.",
    "In the {noun} it was known for its {noun}.",
    "Its main {noun} is the {noun}.",
    "It is related to {noun}.",
    "The price depends on its {noun} and {noun}.",
    "Before you {verb} it, check the {noun}.",
    "It first appeared in a {noun}.",
)

SINGLE_NOUN_SHARE = 0.8  # the other nouns are compounds
NOT_FUNCTION_WORDS = 1996  # the teacher's vocabulary starts with signs and function words


def plural(noun: str) -> str:
    """Returns the regular plural."""
    if noun.endswith("y"):
        return noun[:-1] + "ies"
    return noun + ("es" if noun[-1] in "sxz" or noun.endswith("ch") else "s")


def common_lemmas(
    corpus: Corpus, part_of_speech: str, rank: dict[str, int], limit: int
) -> list[str]:
    """Returns the most common lemmas of a part of speech, by rank in the teacher's vocabulary."""
    found: dict[str, int] = {}
    for synset in corpus.synsets:
        if synset.part_of_speech != part_of_speech:
            continue
        for lemma in synset.lemmas:
            is_word = lemma.isalpha() and lemma.islower() and len(lemma) > 2
            if is_word and rank.get(lemma, 0) > NOT_FUNCTION_WORDS:
                found[lemma] = rank[lemma]
    return sorted(found, key=found.__getitem__)[:limit]


@dataclass(frozen=True, slots=True)
class TemplateWriter:
    """Fills templates with words drawn from WordNet."""

    nouns: list[str]
    verbs: list[str]
    adjectives: list[str]
    compounds: list[str]
    rng: random.Random

    @classmethod
    def from_corpus(
        cls, corpus: Corpus, rank: dict[str, int], rng: random.Random
    ) -> TemplateWriter:
        """Picks the words: common ones, and compound nouns of the training synsets."""
        training = [corpus.synsets[index] for index in corpus.training_synsets()]
        compounds = [
            lemma
            for synset in training
            if synset.part_of_speech == "n"
            for lemma in synset.lemmas
            if " " in lemma and lemma.islower() and len(lemma) < 30
        ]
        return cls(
            nouns=common_lemmas(corpus, "n", rank, 5000),
            verbs=common_lemmas(corpus, "v", rank, 1800),
            adjectives=common_lemmas(corpus, "a", rank, 2000),
            compounds=compounds,
            rng=rng,
        )

    def sentence(self) -> str:
        """Returns a sentence, question or search phrase."""
        return self._fill(self.rng.choice(SENTENCES))

    def anaphoric_sentence(self) -> str:
        """Returns a sentence about an unnamed thing."""
        return self._fill(self.rng.choice(ANAPHORIC_SENTENCES))

    def _fill(self, template: str) -> str:
        return re.sub(r"\{(\w+)\}", lambda match: self._word(match.group(1)), template)

    def _word(self, placeholder: str) -> str:
        if placeholder == "verb":
            return self.rng.choice(self.verbs)
        if placeholder == "adjective":
            return self.rng.choice(self.adjectives)
        single = self.rng.random() < SINGLE_NOUN_SHARE
        noun = self.rng.choice(self.nouns if single else self.compounds)
        if placeholder == "noun":
            return noun
        return plural(noun) if placeholder == "nouns" else plural(noun).capitalize()
