"""Late chunking behind Haystack's splitters: each chunk has the vector of its place in its source.

No two words of the sources are the same. So the places are found here by looking for the texts, and
not as the embedder finds them.
"""

from __future__ import annotations

import random
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import haystack
import numpy as np
import pytest
import tiktoken
from haystack import Document
from haystack.components.preprocessors import (
    DocumentCleaner,
    DocumentPreprocessor,
    DocumentSplitter,
    EmbeddingBasedDocumentSplitter,
    HierarchicalDocumentSplitter,
    MarkdownHeaderSplitter,
    RecursiveDocumentSplitter,
)

from jina_local import ChunkedText, Engine
from support.haystack_late import assert_same, embedding

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from haystack_integrations.components.embedders.jina_local import JinaLocalDocumentEmbedder
    from support.checkpoints import Checkpoint

    Split = Callable[[list[Document]], list[Document]]
    Span = tuple[int, int]

PASSAGE = "retrieval.passage"
BYTES = tiktoken.Encoding(
    "bytes",
    pat_str=r"\s?\S+|\s+",
    mergeable_ranks={bytes([i]): i for i in range(256)},
    special_tokens={},
)


class Sentences:
    """In place of NLTK's, whose data has to be downloaded: a sentence keeps the space behind it."""

    def split_sentences(self, text: str) -> list[dict[str, Any]]:
        found = re.finditer(r"[^.]+\.?\s*|\.", text)
        return [{"sentence": m.group(), "start": m.start(), "end": m.end()} for m in found]


def word(number: int) -> str:
    """A pronounceable word for each number."""
    letters = ""
    while number or not letters:
        letters += "bcdfghklmnprstvz"[number % 16] + "aeiou"[number // 16 % 5]
        number //= 80
    return letters


class Writer:
    """Texts in which no word comes twice."""

    def __init__(self, first: int) -> None:
        self.next = first

    def sentence(self) -> str:
        self.next += 5
        return " ".join(word(i) for i in range(self.next - 5, self.next)).capitalize() + "."

    def paragraph(self, n: int = 3) -> str:
        return " ".join(self.sentence() for _ in range(n))

    def prose(self) -> str:
        """Two pages of two passages of two lines."""
        passages = ["\n".join([self.paragraph(2), self.sentence()]) for _ in range(4)]
        return "\n\n".join(passages[:2]) + "\f" + "\n\n".join(passages[2:])

    def markdown(self) -> str:
        """A preamble and sections of several levels."""
        sections = [
            f"{'#' * (1 + i % 3)} {self.sentence()}\n\n{self.paragraph()}\n\n{self.sentence()}"
            for i in range(3)
        ]
        return "\n\n".join([self.paragraph(2), *sections]) + "\n"


def runs(splitter: Any, **stubs: object) -> Split:
    """What a splitter does; the stubs stand for what it would download."""
    for name, value in stubs.items():
        setattr(splitter, name, value)
    return lambda documents: splitter.run(documents=documents)["documents"]


def by(unit: Any, length: int, overlap: int = 0, **options: Any) -> Split:
    splitter = DocumentSplitter(
        split_by=unit, split_length=length, split_overlap=overlap, **options
    )
    return runs(splitter, sentence_splitter=Sentences(), _tiktoken_tokenizer=BYTES)


def is_verbatim(name: str) -> bool:
    """Whether chunks are slices of the text; Haystack 3.0 repeats overlaps inside of them."""
    rewrites = name == "function" or (name.startswith("recursive") and name.endswith("overlap"))
    return not (rewrites and haystack.__version__.startswith("3.0."))


def by_tokens() -> dict[str, Case]:
    """Nothing in Haystack 3.0, which cannot."""
    try:
        return {
            "token": Case("prose", by("token", 60)),
            "token-overlap": Case("prose", by("token", 60, 13)),
        }
    except ValueError:
        return {}


def recursive(unit: Any, length: int, overlap: int) -> Split:
    splitter = RecursiveDocumentSplitter(
        split_length=length, split_overlap=overlap, split_unit=unit
    )
    stubs = {"warm_up": lambda: None, "_is_warmed_up": True}
    return runs(splitter, nltk_tokenizer=Sentences(), tiktoken_tokenizer=BYTES, **stubs)


def markdown(overlap: int | None = None, *, keep_headers: bool) -> Split:
    if overlap is None:
        return runs(MarkdownHeaderSplitter(keep_headers=keep_headers))
    splitter = MarkdownHeaderSplitter(
        keep_headers=keep_headers, secondary_split="word", split_length=9, split_overlap=overlap
    )
    return runs(splitter)


class Topics:
    """Embeds a sentence as its first letter, so that neighbours differ."""

    def run(self, documents: list[Document]) -> dict[str, list[Document]]:
        rows = [[1.0, float(ord((one.content or " ")[0]) % 5)] for one in documents]
        return {
            "documents": [
                replace(one, embedding=row) for one, row in zip(documents, rows, strict=True)
            ]
        }


def by_meaning(embedder: Any) -> Split:
    splitter = EmbeddingBasedDocumentSplitter(
        document_embedder=embedder,
        sentences_per_group=1,
        percentile=0.6,
        min_length=30,
        max_length=150,
    )
    return runs(splitter, sentence_splitter=Sentences())


def cleaned_before(documents: list[Document]) -> list[Document]:
    """The ids stay, so that the source before cleaning can be given."""
    cleaned = DocumentCleaner(keep_id=True).run(documents=documents)["documents"]
    return by("word", 14, 4)(cleaned)


def chonkie(documents: list[Document]) -> list[Document]:
    """What Chonkie's chunkers record: exact places, and nothing of overlaps, which there are."""
    chunks = []
    for one in documents:
        text = one.content or ""
        for i, start in enumerate(range(0, len(text), 50)):
            place = {"split_id": i, "split_idx_start": start, "split_idx_end": start + 70}
            meta = one.meta | place | {"source_id": one.id, "token_count": 20}
            chunks.append(Document(content=text[start : start + 70], meta=meta))
    return chunks


def chinese(documents: list[Document]) -> list[Document]:
    """What HanLP's splitter records: all spaces gone, places in a text with more of them."""
    chunks = []
    for one in documents:
        text = one.content or ""
        cuts = [0, *(m.end() for m in re.finditer(r"\.\s+", text)), len(text)]
        for i in range(len(cuts) - 1):
            begin = cuts[max(0, i - 1)] if i % 2 else cuts[i]  # every other one overlaps
            meta = {"source_id": one.id, "split_id": i, "split_idx_start": begin * 2 + i}
            content = text[begin : cuts[i + 1]].replace(" ", "")
            chunks.append(Document(content=content, meta=one.meta | meta))
    return chunks


@dataclass(frozen=True, slots=True)
class Case:
    """A splitter.

    Attributes:
        kind: The `Writer`'s method that writes for it.
        split: What it does.
        source_only: Whether its chunks alone do not give the text that they were cut from.
    """

    kind: str
    split: Split
    source_only: bool = False


CASES = {
    "word": Case("prose", by("word", 14)),
    "word-overlap": Case("prose", by("word", 14, 4)),
    "word-threshold": Case("prose", by("word", 14, 4, split_threshold=8)),
    "word-sentences": Case("prose", by("word", 14, 6, respect_sentence_boundary=True)),
    "period": Case("prose", by("period", 2)),
    "period-overlap": Case("prose", by("period", 3, 1)),
    "passage": Case("prose", by("passage", 1)),
    "passage-overlap": Case("prose", by("passage", 2, 1)),
    "line": Case("prose", by("line", 2)),
    "line-overlap": Case("prose", by("line", 3, 1)),
    "page": Case("prose", by("page", 1)),
    "sentence": Case("prose", by("sentence", 3)),
    "sentence-overlap": Case("prose", by("sentence", 3, 1)),
    **by_tokens(),
    "function": Case("prose", by("function", 1, splitting_function=lambda text: text.split("\n"))),
    "recursive-word": Case("prose", recursive("word", 12, 0)),
    "recursive-word-overlap": Case("prose", recursive("word", 12, 4)),
    "recursive-char": Case("prose", recursive("char", 70, 0)),
    "recursive-char-overlap": Case("prose", recursive("char", 70, 20)),
    "recursive-token": Case("prose", recursive("token", 70, 0)),
    "recursive-token-overlap": Case("prose", recursive("token", 70, 20)),
    "meaning": Case("prose", by_meaning(Topics())),
    "markdown": Case("markdown", markdown(keep_headers=True)),
    "markdown-no-headers": Case("markdown", markdown(keep_headers=False)),
    "markdown-words": Case("markdown", markdown(0, keep_headers=True)),
    "markdown-words-overlap": Case("markdown", markdown(3, keep_headers=True)),
    "markdown-words-no-headers": Case("markdown", markdown(0, keep_headers=False)),
    "markdown-words-overlap-no-headers": Case("markdown", markdown(3, keep_headers=False)),
    "tree": Case("prose", runs(HierarchicalDocumentSplitter(block_sizes={30, 12}))),
    "tree-overlap": Case(
        "prose", runs(HierarchicalDocumentSplitter(block_sizes={30, 12}, split_overlap=3))
    ),
    "preprocessor": Case("prose", runs(DocumentPreprocessor(split_by="word", split_length=14))),
    "preprocessor-overlap": Case(
        "prose", runs(DocumentPreprocessor(split_by="word", split_length=14, split_overlap=4))
    ),
    "cleaner": Case("prose", cleaned_before),
    "chonkie-overlap": Case("prose", chonkie),
    "chinese-overlap": Case("prose", chinese, source_only=True),
}


@pytest.fixture(scope="module")
def late(tiny: Checkpoint) -> Iterator[JinaLocalDocumentEmbedder]:
    with embedding(tiny.folder) as made:
        yield made


def squeezed(text: str) -> str:
    return "".join(text.split())


def place_of(text: str, chunk: str) -> Span | None:
    """Where the chunk is, white space aside; `None` unless that is one place."""
    if text.count(chunk) == 1:
        return text.index(chunk), text.index(chunk) + len(chunk)
    places = [i for i, letter in enumerate(text) if not letter.isspace()]
    if squeezed(text).count(squeezed(chunk)) != 1:
        return None
    first = squeezed(text).index(squeezed(chunk))
    return places[first], places[first + len(squeezed(chunk)) - 1] + 1


def covered(text: str, spans: Sequence[Span]) -> tuple[str, list[Span]]:
    """What the chunks alone give: each stretch once, a space for what is missing between words."""
    kept = sorted({i for start, stop in spans for i in range(start, stop)})
    built = ""
    place = {}
    for before, i in zip([None, *kept], kept, strict=False):
        if before is not None and before != i - 1 and not (built[-1] + text[i]).isspace():
            built += " "
        place[i] = len(built)
        built += text[i]
    return built, [(place[start], place[stop - 1] + 1) for start, stop in spans]


def true_vectors(
    engine: Engine, source: str, chunks: Sequence[Document], *, given: bool
) -> dict[str, np.ndarray]:
    """By id, from the places of the chunks in the source."""
    spans = [place_of(source, chunk.content or "") for chunk in chunks]
    found = [span for span in spans if span is not None]
    assert len(found) == len(spans)
    text, found = (source, found) if given else covered(source, found)
    (result,) = engine.embed_chunks([ChunkedText(text, found)], task=PASSAGE)
    return {one.id: row for one, row in zip(chunks, result.vectors, strict=True)}


def vectors_of(documents: Sequence[Document]) -> dict[str, np.ndarray]:
    return {one.id: np.array(one.embedding) for one in documents}


def assert_all_same(found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    assert found.keys() == expected.keys()
    for name, row in expected.items():
        assert_same(found[name], row)


def written(kind: str, n: int = 2) -> list[Document]:
    return [
        Document(content=getattr(Writer(1000 * (i + 1)), kind)(), meta={"number": i})
        for i in range(n)
    ]


def shuffled(documents: Sequence[Document], seed: int = 0) -> list[Document]:
    return random.Random(seed).sample(documents, len(documents))  # noqa: S311 - an order


@pytest.mark.parametrize(
    ("name", "given"),
    [
        pytest.param(
            name,
            given,
            id=f"{name}-{'source' if given else 'chunks-only'}",
            marks=pytest.mark.skipif(not is_verbatim(name), reason="of Haystack 3.0: no slices"),
        )
        for name, case in CASES.items()
        for given in (True, False)
        if given or not case.source_only
    ],
)
def test_every_chunk_has_the_vector_of_its_place_in_its_source(
    name: str,
    given: bool,
    late: JinaLocalDocumentEmbedder,
    engine: Engine,
) -> None:
    case = CASES[name]
    sources = written(case.kind)
    chunks = case.split(sources)
    expected = {}
    for i, source in enumerate(sources):
        own = [one for one in chunks if one.meta["number"] == i]
        assert len(own) > 1
        is_tree = name.startswith("tree")
        expected |= true_vectors(engine, source.content or "", own, given=given or is_tree)
    mixed = shuffled(chunks)
    result = late.run(documents=mixed, source_documents=sources if given else None)
    assert [one.id for one in result["documents"]] == [one.id for one in mixed]
    assert_all_same(vectors_of(result["documents"]), expected)
    assert result["meta"]["late_chunking"] == {"sources": 2, "windows": 2, "unmapped": 0}


@pytest.mark.parametrize("name", ["word-overlap", "markdown-words-overlap", "tree", "preprocessor"])
def test_the_order_of_the_chunks_is_of_no_account(
    name: str, late: JinaLocalDocumentEmbedder
) -> None:
    chunks = CASES[name].split(written(CASES[name].kind))
    expected = vectors_of(late.run(documents=chunks)["documents"])
    for seed in range(3):
        assert_all_same(
            vectors_of(late.run(documents=shuffled(chunks, seed))["documents"]), expected
        )


def test_context_is_what_makes_the_difference(
    late: JinaLocalDocumentEmbedder, engine: Engine
) -> None:
    """Without this the tests above would say nothing."""
    chunks = CASES["word"].split(written("prose"))
    found = late.run(documents=chunks)["documents"]
    plain = engine.embed([one.content or "" for one in chunks], task=PASSAGE).vectors
    for one, row in zip(found, plain, strict=True):
        assert np.abs(np.array(one.embedding) - row).max() > 1e-3


def test_our_own_embedder_finds_the_topics(late: JinaLocalDocumentEmbedder, engine: Engine) -> None:
    """The splitter hands it sentences without a source: they are embedded plainly."""
    sources = written("prose", 1)
    chunks = by_meaning(late)(sources)
    assert len(chunks) > 1
    expected = true_vectors(engine, sources[0].content or "", chunks, given=True)
    assert_all_same(vectors_of(late.run(documents=chunks)["documents"]), expected)
