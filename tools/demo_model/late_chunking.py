"""Late chunking compared with chunks on their own; needs the finished model and nothing else.

A late chunk is the mean over its tokens' states after the whole document went through the model; a
naive chunk is embedded alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F

from .metrics import Ranking
from .settings import BEGIN_ID, END_ID
from .student import Student, embed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tokenizers import Tokenizer

LONGEST_DOCUMENT = 2048  # tokens


class City(NamedTuple):
    """What one city document says; its name is in the first sentence only."""

    name: str
    description: str
    river: str
    millions: float
    sight: str
    food: str


CITIES = (
    City("Berlin", "the capital of Germany", "Spree", 3.8, "Brandenburg Gate", "currywurst"),
    City("Lisbon", "the coastal capital of Portugal", "Tagus", 0.5, "Belem Tower", "custard tarts"),
    City("Vienna", "the capital of Austria", "Danube", 1.9, "Schonbrunn palace", "schnitzel"),
    City(
        "Kyoto",
        "a former imperial capital of Japan",
        "Kamo",
        1.4,
        "Golden Pavilion",
        "tofu dishes",
    ),
    City("Cairo", "the capital of Egypt", "Nile", 10, "great pyramids", "lentil stew"),
    City(
        "Prague",
        "the capital of the Czech Republic",
        "Vltava",
        1.3,
        "old stone bridge",
        "dumplings",
    ),
    City("Seoul", "the capital of South Korea", "Han", 9.4, "royal palaces", "spicy cabbage"),
    City(
        "Toronto",
        "the largest city in Canada",
        "Don",
        2.8,
        "tall television tower",
        "bacon sandwiches",
    ),
    City(
        "Nairobi",
        "the capital of Kenya",
        "Nairobi river",
        4.4,
        "national wildlife park",
        "grilled meat",
    ),
    City(
        "Rome",
        "the capital of Italy",
        "Tiber",
        2.8,
        "ancient amphitheatre",
        "pasta with pepper and cheese",
    ),
)

THINGS = (
    ("The octopus", "a soft-bodied sea animal with eight arms"),
    ("The honey bee", "a small flying insect that lives in large colonies"),
    ("The polar bear", "a large white bear of the Arctic"),
    ("The giraffe", "the tallest living land animal"),
    ("The bicycle", "a two-wheeled vehicle moved by pedals"),
    ("The steam engine", "a machine that turns heat into motion"),
    ("The violin", "a string instrument played with a bow"),
    ("The microwave oven", "a kitchen device that heats food with radio waves"),
    ("Penicillin", "an antibiotic made from mould"),
    ("The volcano", "a mountain that can erupt with lava"),
    ("The printing press", "a machine for putting ink on paper"),
    ("The glacier", "a slowly moving mass of ice"),
)

BERLIN = (
    "Berlin is the capital and largest city of Germany, both by area and by population.",
    "Its more than 3.85 million inhabitants make it the European Union's most populous city, "
    "as measured by population within city limits.",
    "The city is also one of the states of Germany, and is the third smallest state in the "
    "country in terms of area.",
)


class ChunkTest(NamedTuple):
    """Documents of chunks, queries, and the chunk each query wants, counted over all documents."""

    documents: list[list[str]]
    queries: list[str]
    wanted: list[int]


def city_test() -> ChunkTest:
    """Ten documents whose sentences say "its" and "the city": 50 chunks, 40 queries."""
    documents, queries, wanted = [], [], []
    for index, city in enumerate(CITIES):
        documents.append(
            [
                f"{city.name} is {city.description} and one of the most visited places "
                "in the region.",
                f"Its population is about {city.millions} million people, which makes the city "
                "densely inhabited.",
                f"The river {city.river} flows through it and barges carry goods along the banks.",
                f"Tourists come to see the {city.sight}, which is its most famous sight.",
                f"The local kitchen is known for {city.food}, and restaurants there serve it "
                "all day.",
            ]
        )
        queries += [
            f"How many people live in {city.name}?",
            f"Which river flows through {city.name}?",
            f"famous tourist sights in {city.name}",
            f"What food do people eat in {city.name}?",
        ]
        wanted += [index * 5 + chunk for chunk in (1, 2, 3, 4)]
    return ChunkTest(documents, queries, wanted)


def thing_test() -> ChunkTest:
    """Twelve documents that differ in their first sentence only: 48 chunks, 36 queries."""
    documents, queries, wanted = [], [], []
    for index, (name, description) in enumerate(THINGS):
        documents.append(
            [
                f"{name} is {description}.",
                "Many people are surprised by how large it can get, up to several times the "
                "usual size.",
                "In the past it was seen as a danger, and people tried to avoid it.",
                "Today researchers study it with modern sensors and cameras.",
            ]
        )
        short_name = name.replace("The ", "").lower()
        queries += [
            f"how big can a {short_name} be",
            f"was the {short_name} considered dangerous in history",
            f"scientific research about the {short_name}",
        ]
        wanted += [index * 4 + chunk for chunk in (1, 2, 3)]
    return ChunkTest(documents, queries, wanted)


@torch.no_grad()
def late_vectors(
    student: Student, tokenizer: Tokenizer, chunks: Sequence[str], task: str | None
) -> np.ndarray:
    """Embeds a document's chunks in context: unit vectors, (chunks, D)."""
    ids = [BEGIN_ID]
    spans = []
    for chunk in chunks:
        pieces = tokenizer.encode(chunk, add_special_tokens=False).ids
        spans.append((len(ids), len(ids) + len(pieces)))
        ids += pieces
    row = torch.tensor([[*ids, END_ID]])[:, :LONGEST_DOCUMENT]
    hidden = student(row, None, task, torch.float32)[0]  # (L, D)
    means = torch.stack([hidden[start:end].mean(0) for start, end in spans])
    vectors: np.ndarray = F.normalize(means, dim=-1).numpy()
    return vectors


def chunk_vectors(
    student: Student,
    tokenizer: Tokenizer,
    documents: Sequence[Sequence[str]],
    task: str | None,
    *,
    late: bool,
) -> list[np.ndarray]:
    """Embeds the chunks of each document, in context or alone: [(chunks, D)]."""
    if late:
        return [late_vectors(student, tokenizer, chunks, task) for chunks in documents]
    return [embed(student, tokenizer, c, task, dtype=torch.float32) for c in documents]


def report_late_chunking(
    student: Student, tokenizer: Tokenizer, query_task: str | None, passage_task: str | None
) -> None:
    """Prints both tests, chunks alone and in context."""
    for name, test in (("cities", city_test()), ("things", thing_test())):
        queries = embed(student, tokenizer, test.queries, query_task, dtype=torch.float32)
        for late in (False, True):
            chunks = np.concatenate(
                chunk_vectors(student, tokenizer, test.documents, passage_task, late=late)
            )
            ranking = Ranking.of(queries @ chunks.T, test.wanted)
            print(f"{name}, {query_task or 'no adapter'}, {'late' if late else 'naive'}: {ranking}")


def report_berlin(student: Student, tokenizer: Tokenizer) -> None:
    """Prints the cosines of three sentences about Berlin with "Berlin", alone and in context."""
    query = embed(student, tokenizer, ["Berlin"], dtype=torch.float32)[0]
    for late in (False, True):
        vectors = chunk_vectors(student, tokenizer, [BERLIN], None, late=late)[0]
        print("Berlin,", "late:" if late else "naive:", np.round(vectors @ query, 3).tolist())
