"""Stage 10: measures the finished model against BM25, the teacher and random weights.

``--model`` names the folder to measure; the texts come from the workspace. Not here, because their
script was not kept: the bootstrap intervals, and several documents packed into one sequence. A few
FAQ questions are left out, because the retrieval adapters' templates were written knowing them.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from tokenizers import Tokenizer

from .corpus import Corpus
from .export import load_exported
from .held_out import HeldOut
from .late_chunking import chunk_vectors, report_berlin, report_late_chunking
from .metrics import Ranking, bm25_scores
from .settings import MATRYOSHKA_WIDTHS, Workspace, argument_parser
from .student import Student, embed
from .teacher import Teacher

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .held_out import HelpPage
    from .wordnet import Synset

QUERY, PASSAGE = "retrieval.query", "retrieval.passage"
RANDOM_SEED = 7
LONG_PAGE_TOKENS, LONG_PAGES = 1200, 70
CUTS = (128, 256, 512, 1024, 2048)
NEIGHBOURS, CLASSIFIED_TRAIN, CLASSIFIED_TEST = 10, 3000, 1200


class RetrievalSet(NamedTuple):
    """Queries and passages; query i wants passage i."""

    name: str
    queries: list[str]
    passages: list[str]


def retrieval_sets(held_out: HeldOut, held_synsets: list[Synset]) -> list[RetrievalSet]:
    """Returns the five sets of the report."""
    man, pages = held_out.man_pages[:500], held_out.help_pages
    exemplified = [synset for synset in held_synsets if synset.examples][:500]
    named = held_synsets[:1000]
    bodies = [page.body for page in pages]
    return [
        RetrievalSet(
            "man pages, NAME to DESCRIPTION",
            [page.purpose for page in man],
            [page.short_description for page in man],
        ),
        RetrievalSet("GNOME help, title to body", [page.title for page in pages], bodies),
        RetrievalSet(
            "GNOME help, summary to body", [page.summary or page.title for page in pages], bodies
        ),
        RetrievalSet(
            "WordNet, example to gloss",
            [synset.examples[0] for synset in exemplified],
            [synset.gloss for synset in exemplified],
        ),
        RetrievalSet(
            "WordNet, lemma to gloss",
            [synset.lemmas[0] for synset in named],
            [synset.gloss for synset in named],
        ),
    ]


class Measured:
    """A student and its tokenizer, in float32."""

    def __init__(self, student: Student, tokenizer: Tokenizer) -> None:
        self.student = student
        self.tokenizer = tokenizer

    def embed(self, texts: Sequence[str], task: str | None, max_length: int = 512) -> np.ndarray:
        """Returns unit vectors, (N, D)."""
        return embed(
            self.student, self.tokenizer, texts, task, max_length=max_length, dtype=torch.float32
        )

    def scores(
        self, test: RetrievalSet, query_task: str | None, passage_task: str | None
    ) -> np.ndarray:
        """Returns cosines, (queries, passages)."""
        queries = self.embed(test.queries, query_task)
        cosines: np.ndarray = queries @ self.embed(test.passages, passage_task).T
        return cosines


def report_retrieval(model: Measured, test: RetrievalSet, teacher: Teacher | None) -> None:
    """Prints one retrieval set for the model, its adapters and what it is compared with."""
    torch.manual_seed(RANDOM_SEED)
    untrained = Measured(Student().eval(), model.tokenizer)
    base = model.scores(test, None, None)
    rows = {
        "base model": base,
        "query and passage adapters": model.scores(test, QUERY, PASSAGE),
        "query adapter on both sides": model.scores(test, QUERY, QUERY),
        "text-matching adapter": model.scores(test, "text-matching", "text-matching"),
        "BM25": bm25_scores(test.queries, test.passages),
        "random weights": untrained.scores(test, None, None),
    }
    if teacher is not None:
        rows["teacher"] = teacher.embed(test.queries) @ teacher.embed(test.passages).T
        agreement = np.corrcoef(base.ravel(), rows["teacher"].ravel())[0, 1]
        print(f"{test.name}: correlation of cosines with the teacher {agreement:.3f}")
    for name, scores in rows.items():
        print(f"{test.name}, {name}: {Ranking.of(scores)}")


def report_matryoshka(model: Measured, test: RetrievalSet) -> None:
    """Prints one retrieval set at each Matryoshka width, with the retrieval adapters."""
    queries, passages = model.embed(test.queries, QUERY), model.embed(test.passages, PASSAGE)
    for width in MATRYOSHKA_WIDTHS:
        left, right = queries[:, :width], passages[:, :width]
        left = left / np.linalg.norm(left, axis=1, keepdims=True)
        right = right / np.linalg.norm(right, axis=1, keepdims=True)
        print(f"{test.name}, {width} dimensions: {Ranking.of(left @ right.T)}")


def report_help_chunks(model: Measured, pages: list[HelpPage]) -> None:
    """Prints how well a title finds the later paragraphs of its page, chunks alone and late."""
    pages = [page for page in pages if len(page.paragraphs) >= 3]
    queries = model.embed([page.title for page in pages], QUERY)
    documents = [[f"{paragraph} " for paragraph in page.paragraphs[:8]] for page in pages]
    for late in (False, True):
        vectors = chunk_vectors(model.student, model.tokenizer, documents, PASSAGE, late=late)
        chunks = np.concatenate([page_vectors[1:] for page_vectors in vectors])
        page_of_chunk = np.repeat(range(len(pages)), [len(v) - 1 for v in vectors])
        ranked = page_of_chunk[np.argsort(-(queries @ chunks.T), axis=1)]
        own = [int((page_of_chunk == page).sum()) for page in range(len(pages))]
        precision = np.mean([np.mean(ranked[p, :n] == p) for p, n in enumerate(own)])
        top = np.mean(ranked[:, 0] == np.arange(len(pages)))
        kind = "late" if late else "naive"
        print(f"GNOME help chunks, {kind}: R-precision {precision:.3f}, first page {top:.3f}")


def report_long_input(model: Measured, held_out: HeldOut) -> None:
    """Prints retrieval of long man pages, cut at several lengths."""
    pages = [
        page
        for page in held_out.man_pages
        if len(model.tokenizer.encode(page.description).ids) > LONG_PAGE_TOKENS
    ][:LONG_PAGES]
    queries = model.embed([page.purpose for page in pages], QUERY)
    for cut in CUTS:
        passages = embed(
            model.student,
            model.tokenizer,
            [page.description for page in pages],
            PASSAGE,
            max_length=cut,
        )
        mean = (passages @ passages.T)[~np.eye(len(pages), dtype=bool)].mean()
        ranking = Ranking.of(queries @ passages.T)
        print(f"long pages cut at {cut}: {ranking}, mean cosine between pages {mean:.3f}")


def report_other_adapters(model: Measured, corpus: Corpus, pages: list[HelpPage]) -> None:
    """Prints lexicographer-file accuracy by ten neighbours, and same-page retrieval."""
    drawn = np.random.default_rng(0).choice(
        corpus.training_synsets(), CLASSIFIED_TRAIN, replace=False
    )
    train = [corpus.synsets[index] for index in drawn]
    test = [synset for synset in corpus.synsets if synset.held_out][:CLASSIFIED_TEST]
    labels = np.array([synset.lexicographer_file for synset in train])
    for task in (None, "classification", "separation", "text-matching"):
        known = embed(model.student, model.tokenizer, [s.gloss for s in train], task)
        asked = embed(model.student, model.tokenizer, [s.gloss for s in test], task)
        nearest = np.argsort(asked @ known.T, axis=1)[:, ::-1][:, :NEIGHBOURS]
        guesses = [Counter(labels[row].tolist()).most_common(1)[0][0] for row in nearest]
        right = [g == s.lexicographer_file for g, s in zip(guesses, test, strict=True)]
        first = embed(model.student, model.tokenizer, [p.paragraphs[0] for p in pages], task)
        second = embed(model.student, model.tokenizer, [p.paragraphs[1] for p in pages], task)
        print(f"{task or 'base model'}: lexicographer files {np.mean(right):.3f}")
        print(f"{task or 'base model'}: same help page {Ranking.of(first @ second.T)}")


def main() -> None:
    """Prints all measurements; the teacher's only where its folder is there."""
    parser = argument_parser(__doc__)
    parser.add_argument("--model", type=Path, help="default: the workspace's exported model")
    arguments = parser.parse_args()
    work = Workspace(arguments.work)
    folder = arguments.model or work.exported
    torch.set_num_threads(1)
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    model = Measured(load_exported(folder / "model.safetensors"), tokenizer)
    report_late_chunking(model.student, tokenizer, None, None)
    report_late_chunking(model.student, tokenizer, QUERY, PASSAGE)
    report_berlin(model.student, tokenizer)

    corpus, held_out = Corpus.load(work.corpus), HeldOut.load(work.held_out)
    teacher = Teacher(work.teacher) if work.teacher.exists() else None
    tests = retrieval_sets(held_out, [synset for synset in corpus.synsets if synset.held_out])
    for test in tests:
        report_retrieval(model, test, teacher)
        report_matryoshka(model, test)
    report_help_chunks(model, held_out.help_pages)
    report_long_input(model, held_out)
    report_other_adapters(model, corpus, held_out.help_pages)


if __name__ == "__main__":
    main()
