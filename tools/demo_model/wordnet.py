"""WordNet's data files → synsets."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

PARTS_OF_SPEECH = ("noun", "verb", "adj", "adv")
HYPERNYM_POINTERS = ("@", "@i", "&")  # hypernym, instance hypernym; "similar to" for adjectives
HELD_OUT_MODULUS = 33  # one synset in 33, 3 %, is kept for evaluation


@dataclass(frozen=True, slots=True)
class Synset:
    """One WordNet synset. ``hypernyms`` are indices into the list of all synsets."""

    part_of_speech: str
    lexicographer_file: int
    lemmas: list[str]
    gloss: str
    examples: list[str]
    hypernyms: list[int]
    held_out: bool


def parse_synset(line: str) -> tuple[str, list[str], Synset]:
    """Reads one line of a WordNet data file.

    Returns:
        The synset's offset, the offsets of its hypernyms, and the synset with no hypernyms yet.
    """
    record, gloss = line.split(" | ", 1)
    fields = record.split()
    n_lemmas = int(fields[3], 16)
    lemmas = [
        re.sub(r"\(.*\)", "", fields[4 + 2 * index]).replace("_", " ") for index in range(n_lemmas)
    ]
    at = 4 + 2 * n_lemmas
    n_pointers = int(fields[at])
    pointers = [fields[at + 1 + 4 * index : at + 3 + 4 * index] for index in range(n_pointers)]
    digest = hashlib.md5((fields[2] + fields[0]).encode(), usedforsecurity=False).hexdigest()
    synset = Synset(
        part_of_speech=fields[2].replace("s", "a"),  # satellite adjectives are adjectives
        lexicographer_file=int(fields[1]),
        lemmas=lemmas,
        gloss=re.sub(r';?\s*"[^"]*".*$', "", gloss).strip().rstrip(";").strip(),
        examples=[example.strip() for example in re.findall(r'"([^"]+)"', gloss)],
        hypernyms=[],
        held_out=int(digest, 16) % HELD_OUT_MODULUS == 0,
    )
    return fields[0], [target for kind, target in pointers if kind in HYPERNYM_POINTERS], synset


def read_wordnet(folder: Path) -> list[Synset]:
    """Reads the four data files and resolves hypernym offsets to indices."""
    synsets: list[Synset] = []
    hypernym_offsets: list[list[str]] = []
    index_of: dict[tuple[str, str], int] = {}
    for part_of_speech in PARTS_OF_SPEECH:
        with (folder / f"data.{part_of_speech}").open(encoding="latin-1") as lines:
            for line in lines:
                if line.startswith("  "):  # the licence, at the top of each file
                    continue
                offset, targets, synset = parse_synset(line)
                index_of[synset.part_of_speech, offset] = len(synsets)
                synsets.append(synset)
                hypernym_offsets.append(targets)
    for synset, offsets in zip(synsets, hypernym_offsets, strict=True):
        keys = [(synset.part_of_speech, offset) for offset in offsets]
        synset.hypernyms.extend(index_of[key] for key in keys if key in index_of)
    return synsets
