"""Stage 2: corpus → training units (short texts, paragraphs, multi-chunk documents), tokenizer."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from .corpus import Corpus
from .settings import first_words, seeded, workspace_from_command_line
from .templates import TemplateWriter
from .vocabulary import build_tokenizer, read_vocabulary

if TYPE_CHECKING:
    import random
    from pathlib import Path

    from .corpus import Section
    from .wordnet import Synset

SEED = 0
TEMPLATE_SENTENCES = 75_000
ENTITY_DOCUMENTS = 14_000
EVERYDAY_PARAGRAPHS = 16_000
MAX_PARAGRAPHS = 60_000

SENTENCE_SHARE = 0.45  # of the manuals' sentences become short texts
LEMMA_SHARE = 0.35  # of the synsets give a bare lemma
HEADING_SHARE = 0.6  # of the manuals' documents show their heading to the student

PARAGRAPH_WORDS = 200
CHUNK_MIN_WORDS, CHUNK_MAX_WORDS = 18, 90
DOCUMENT_MAX_WORDS = 330


@dataclass(frozen=True, slots=True)
class SpanDocument:
    """A document of several chunks.

    The teacher's target for a chunk is its vector of ``"{heading}. {chunk}"``, whether or not the
    student gets to see the heading: this is what teaches late chunking.
    """

    heading: str
    chunks: list[str]
    heading_is_visible: bool


@dataclass(frozen=True, slots=True)
class Units:
    """Everything the teacher labels and the student reads."""

    short: list[str]
    paragraphs: list[str]
    span_documents: list[SpanDocument]
    vocabulary: list[str]

    def labelled_short(self) -> list[str]:
        """Returns the first half of the short texts; the second half was never used."""
        return self.short[: len(self.short) // 2]

    def save(self, path: Path) -> None:
        """Writes the units as JSON."""
        path.write_text(json.dumps(asdict(self)), encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> Units:
        """Reads what ``save`` wrote."""
        raw = json.loads(path.read_text(encoding="utf-8"))
        documents = [SpanDocument(**document) for document in raw.pop("span_documents")]
        return cls(span_documents=documents, **raw)


class OrderedSet(dict[str, None]):
    """Distinct texts in the order they came: a plain set's order changes from run to run."""

    def add(self, text: str) -> None:
        """Adds a text that may be there already."""
        self[text] = None


def is_clean(text: str) -> bool:
    """Keeps texts of sensible length, at most 5 % of it outside ASCII."""
    return 2 <= len(text) <= 4000 and sum(ord(c) > 127 for c in text) <= 0.05 * len(text)


def add_dictionary_texts(short: OrderedSet, synsets: list[Synset], rng: random.Random) -> None:
    """Adds glosses and examples, and for some synsets a definition, a question or the lemmas."""
    for synset in synsets:
        short.add(synset.gloss)
        for example in synset.examples:
            short.add(example)
        draw = rng.random()
        if draw < 0.35:
            short.add(f"{rng.choice(synset.lemmas)}: {synset.gloss}")
        elif draw < 0.55:
            short.add(f"What is {rng.choice(synset.lemmas)}?")
        elif draw < 0.7:
            short.add(", ".join(synset.lemmas))
    for synset in synsets:
        if rng.random() < LEMMA_SHARE:
            short.add(rng.choice(synset.lemmas))


def split_into_chunks(section: Section) -> list[str]:
    """Groups the sentences of each paragraph into chunks of at least 18 words."""
    chunks = []
    for paragraph in section.paragraphs:
        current = ""
        for sentence in re.split(r"(?<=[.!?])\s+(?=[A-Z])", paragraph):
            current = (current + " " + sentence).strip()
            if len(current.split()) >= CHUNK_MIN_WORDS:
                chunks.append(current)
                current = ""
        if current:
            chunks.append(current)
    return [first_words(chunk, CHUNK_MAX_WORDS) for chunk in chunks if len(chunk.split()) > 3]


def leading_chunks(chunks: list[str]) -> list[str]:
    """Returns the chunks that fit into one document."""
    kept: list[str] = []
    n_words = 0
    for chunk in chunks:
        n_words += len(chunk.split())
        if n_words > DOCUMENT_MAX_WORDS:
            break
        kept.append(chunk)
    return kept


def manual_units(
    corpus: Corpus, short: OrderedSet, rng: random.Random
) -> tuple[list[str], list[SpanDocument]]:
    """Adds headings and sentences to ``short``; returns paragraphs and multi-chunk documents."""
    paragraphs: list[str] = []
    documents: list[SpanDocument] = []
    for section in (section for document in corpus.documents for section in document.sections):
        if len(section.heading) > 4:
            short.add(section.heading)
        for paragraph in section.paragraphs:
            for sentence in re.split(r"(?<=[.!?:])\s+(?=[A-Z])", paragraph):
                if 4 <= len(sentence.split()) <= 60 and rng.random() < SENTENCE_SHARE:
                    short.add(sentence)
            if len(paragraph.split()) >= 20:
                paragraphs.append(first_words(paragraph, PARAGRAPH_WORDS))
        chunks = leading_chunks(split_into_chunks(section))
        if len(chunks) >= 2 and len(section.heading) > 3:
            visible = rng.random() < HEADING_SHARE
            documents.append(SpanDocument(section.heading, chunks, visible))
    return paragraphs, documents


def capitalised(text: str) -> str:
    """Returns ``text`` with a capital first letter and the rest as it is."""
    return text[0].upper() + text[1:]


class DictionaryComposer:
    """Writes connected text about WordNet's entities."""

    def __init__(self, corpus: Corpus, templates: TemplateWriter, rng: random.Random) -> None:
        self._synsets = corpus.synsets
        self._training = corpus.training_synsets()
        self._nouns = [i for i in self._training if corpus.synsets[i].part_of_speech == "n"]
        self._templates = templates
        self._rng = rng
        self._children: dict[int, list[int]] = defaultdict(list)
        for index in self._training:
            for hypernym in corpus.synsets[index].hypernyms:
                self._children[hypernym].append(index)

    def entity_document(self) -> SpanDocument:
        """Names and defines a thing, then says more about "it" in up to six sentences."""
        index = self._rng.choice(self._nouns)
        synset = self._synsets[index]
        name = self._rng.choice(synset.lemmas)
        chunks = [f"{capitalised(name)} is {synset.gloss}."]
        for _ in range(self._rng.randint(1, 6)):
            draw = self._rng.random()
            if draw < 0.6:
                chunks.append(self._templates.anaphoric_sentence())
            elif draw < 0.8:
                similar = self._children.get(index) or synset.hypernyms or self._nouns
                lemmas = self._synsets[self._rng.choice(similar)].lemmas
                chunks.append(f"It is like {self._rng.choice(lemmas)}.")
            else:
                # May pick a held-out gloss: a few were seen this way (README.md, "Caveats").
                broader = self._rng.choice(synset.hypernyms or self._nouns)
                chunks.append(capitalised(self._synsets[broader].gloss or "x") + ".")
        return SpanDocument(name, chunks, heading_is_visible=False)

    def everyday_paragraph(self) -> str:
        """Strings together glosses, examples and template sentences of related synsets."""
        index = self._rng.choice(self._training)
        pool = [index, *self._children.get(index, [])[:6]]
        for hypernym in self._synsets[index].hypernyms:
            pool += self._children[hypernym][:8]
        sentences = []
        for _ in range(self._rng.randint(2, 8)):
            synset = self._synsets[self._rng.choice(pool)]
            if synset.held_out:
                continue
            draw = self._rng.random()
            if synset.examples and draw < 0.5:
                sentences.append(self._rng.choice(synset.examples) + ".")
            elif draw < 0.85:
                sentences.append(f"{self._rng.choice(synset.lemmas)} is {synset.gloss}.")
            else:
                sentences.append(self._templates.sentence())
        return " ".join(capitalised(sentence) for sentence in sentences)


def build_units(
    corpus: Corpus, rank: dict[str, int], rng: random.Random
) -> tuple[list[str], list[str], list[SpanDocument]]:
    """Returns the short texts, the paragraphs and the multi-chunk documents, each shuffled."""
    templates = TemplateWriter.from_corpus(corpus, rank, rng)
    short = OrderedSet()
    training = [corpus.synsets[index] for index in corpus.training_synsets()]
    add_dictionary_texts(short, training, rng)
    for word in templates.nouns + templates.verbs + templates.adjectives:
        short.add(word)
    for _ in range(TEMPLATE_SENTENCES):
        short.add(templates.sentence())
    paragraphs, documents = manual_units(corpus, short, rng)

    composer = DictionaryComposer(corpus, templates, rng)
    documents += [composer.entity_document() for _ in range(ENTITY_DOCUMENTS)]
    composed = (composer.everyday_paragraph() for _ in range(EVERYDAY_PARAGRAPHS))
    paragraphs += [paragraph for paragraph in composed if paragraph]

    short_texts = [text for text in short if is_clean(text)]
    distinct_paragraphs = list(dict.fromkeys(text for text in paragraphs if is_clean(text)))
    for items in (short_texts, distinct_paragraphs, documents):
        rng.shuffle(items)
    return short_texts, distinct_paragraphs[:MAX_PARAGRAPHS], documents


def main() -> None:
    """Builds the units and, from their word counts, the student's tokenizer."""
    work = workspace_from_command_line(__doc__)
    corpus = Corpus.load(work.corpus)
    rng = seeded(SEED)
    rank = read_vocabulary(work.teacher)
    short, paragraphs, documents = build_units(corpus, rank, rng)
    work.exported.mkdir(parents=True, exist_ok=True)
    vocabulary = build_tokenizer(work, corpus, paragraphs, rank, rng)
    Units(short, paragraphs, documents, vocabulary).save(work.units)
    print(f"{len(short)} short texts, {len(paragraphs)} paragraphs, {len(documents)} documents")


if __name__ == "__main__":
    main()
