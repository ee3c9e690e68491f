"""What every stage shares: sizes, task names, seeds and the names of the files between stages."""

from __future__ import annotations

import argparse
import random
from dataclasses import dataclass
from pathlib import Path

TASKS = ("retrieval.query", "retrieval.passage", "separation", "classification", "text-matching")
MATRYOSHKA_WIDTHS = (32, 64, 128, 256)

VOCABULARY_SIZE = 8704
WIDTH = 256  # D, the student's
TEACHER_WIDTH = 384  # E, the teacher's
TEACHER_LAYERS = 6
KEPT_TEACHER_LAYERS = (0, 2, 4, 5)  # one per student layer

BEGIN_ID, PAD_ID, END_ID, UNKNOWN_ID = 0, 1, 2, 3  # XLM-RoBERTa's numbering
SPECIAL_TOKENS = ("<s>", "<pad>", "</s>", "<unk>")  # in the order of their ids
MASK_TOKEN = "<mask>"  # noqa: S105 - a vocabulary entry, not a secret; always the last id

LABELLED_SPAN_DOCUMENTS = 16_000  # the rest were never labelled, for want of time
LABELLED_WORD_PARAGRAPHS = 15_000  # of the paragraphs, these have one target per word as well


@dataclass(frozen=True, slots=True)
class Workspace:
    """The folder the stages hand their files on in. Nothing in it is committed."""

    root: Path

    @property
    def packages(self) -> Path:
        """One folder per unpacked Debian package: input of the first stage."""
        return self.root / "packages"

    @property
    def teacher(self) -> Path:
        """The teacher's weights, ``vocab.txt`` and ``tokenizer.json``: input, never downloaded."""
        return self.root / "teacher"

    @property
    def corpus(self) -> Path:
        """Training text as it was read."""
        return self.root / "corpus.json"

    @property
    def held_out(self) -> Path:
        """Evaluation text from sources that are never trained on."""
        return self.root / "held_out.json"

    @property
    def units(self) -> Path:
        """Training text as it is embedded."""
        return self.root / "units.json"

    @property
    def projection(self) -> Path:
        """The (E, D) projection from the teacher's space to the student's."""
        return self.root / "projection.npy"

    @property
    def labels(self) -> Path:
        """The teacher's vectors, one ``.npz`` per kind of text."""
        return self.root / "labels"

    @property
    def checkpoints(self) -> Path:
        """The student between stages."""
        return self.root / "checkpoints"

    @property
    def exported(self) -> Path:
        """The finished model folder."""
        return self.root / "exported"

    @property
    def tokenizer(self) -> Path:
        """The student's tokenizer, written by the units stage, part of the finished model."""
        return self.exported / "tokenizer.json"


def argument_parser(description: str | None) -> argparse.ArgumentParser:
    """Returns a parser that knows the one option all stages have."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--work", type=Path, default=Path("build/demo_model"))
    return parser


def workspace_from_command_line(description: str | None) -> Workspace:
    """Returns the workspace named on the command line, for stages without further options."""
    return Workspace(argument_parser(description).parse_args().work)


def seeded(seed: int) -> random.Random:
    """Returns a generator of repeatable choices."""
    return random.Random(seed)  # noqa: S311 - sampling training text, not cryptography


def first_words(text: str, count: int) -> str:
    """Returns the first ``count`` words of ``text``, joined by single spaces."""
    return " ".join(text.split()[:count])
