"""Stage 4: units → the teacher's projected vectors, one per text and for some one per word."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from tokenizers import Encoding, Tokenizer

from .batching import by_length, mean_pool, segment_means
from .settings import (
    LABELLED_SPAN_DOCUMENTS,
    LABELLED_WORD_PARAGRAPHS,
    WIDTH,
    Workspace,
    argument_parser,
)
from .teacher import Teacher, encode
from .units import Units

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from torch import Tensor

KINDS = ("short", "paragraphs", "spans")
BATCH_SLACK = 1.2


@dataclass(frozen=True, slots=True)
class Labels:
    """What the student is trained on, for N texts of T student tokens and W words in all.

    Attributes:
        ids: the student's token ids, (T,) uint16.
        offsets: where each text's tokens begin and end, (N + 1,).
        word_ids: each token's word within its text, -1 for specials, (T,) int16. Both tokenizers
            split words alike, so a word's number means the same in both.
        vectors: projections of the teacher's unit vectors, not renormalised, (N, D) float16.
        word_vectors: projected means of the teacher's last layer per word, (W, D) float16.
        word_offsets: where each text's words begin and end; the first texts only, (≤ N + 1,).
    """

    ids: np.ndarray
    offsets: np.ndarray
    word_ids: np.ndarray
    vectors: np.ndarray
    word_vectors: np.ndarray
    word_offsets: np.ndarray

    def save(self, path: Path) -> None:
        """Writes the arrays."""
        np.savez(path, **asdict(self))

    @classmethod
    def load(cls, path: Path) -> Labels:
        """Reads what ``save`` wrote."""
        with np.load(path) as arrays:
            return cls(**dict(arrays))


def word_numbers(encoding: Encoding) -> list[int]:
    """Returns each token's word, -1 for special tokens."""
    return [-1 if word is None else word for word in encoding.word_ids]


def pool_words(hidden: Tensor, words: list[int]) -> np.ndarray:
    """Averages a text's token states (L, D) by word: (words, D) float16."""
    segments = torch.tensor(words)
    n_words = int(segments.max()) + 1
    means, _ = segment_means(hidden[: len(words)], segments, n_words)
    return means.numpy().astype(np.float16)


def offsets_of(items: Sequence[Sequence[int] | np.ndarray]) -> np.ndarray:
    """Returns where each item would begin and end if all were joined, (N + 1,)."""
    return np.cumsum([0, *(len(item) for item in items)])


def label(
    texts: Sequence[str],
    n_with_words: int,
    teacher: Teacher,
    tokenizer: Tokenizer,
    projection: Tensor,
) -> Labels:
    """Labels all texts, and the words of the first ``n_with_words``; ``projection`` is (E, D)."""
    encodings = encode(teacher.tokenizer, texts)
    student_encodings = encode(tokenizer, texts)
    vectors = np.zeros((len(texts), WIDTH), np.float16)
    word_vectors = [np.zeros((0, WIDTH), np.float16) for _ in range(n_with_words)]
    for batch in by_length([len(encoding.ids) for encoding in encodings], slack=BATCH_SLACK):
        states, mask = teacher.run([encodings[index].ids for index in batch])
        hidden = states[-1].float()
        pooled = F.normalize(mean_pool(hidden, mask), dim=-1)
        vectors[batch] = (pooled @ projection).numpy()
        for row, index in enumerate(batch):
            if index < n_with_words:
                tokens = hidden[row] @ projection
                word_vectors[index] = pool_words(tokens, word_numbers(encodings[index]))
    rows = [encoding.ids for encoding in student_encodings]
    words = [word_numbers(encoding) for encoding in student_encodings]
    return Labels(
        ids=np.concatenate([np.array(row, np.uint16) for row in rows]),
        offsets=offsets_of(rows),
        word_ids=np.concatenate([np.array(row, np.int16) for row in words]),
        vectors=vectors,
        word_vectors=np.concatenate([np.zeros((0, WIDTH), np.float16), *word_vectors]),
        word_offsets=offsets_of(word_vectors),
    )


def texts_to_label(kind: str, units: Units) -> tuple[list[str], int]:
    """Returns the texts of one kind, and how many of them get word targets too."""
    if kind == "short":
        texts = units.labelled_short()
        return texts, len(texts)
    if kind == "paragraphs":
        return units.paragraphs, min(LABELLED_WORD_PARAGRAPHS, len(units.paragraphs))
    chunks = [
        f"{document.heading}. {chunk}"
        for document in units.span_documents[:LABELLED_SPAN_DOCUMENTS]
        for chunk in document.chunks
    ]
    return chunks, 0


def main() -> None:
    """Labels one kind of text; the three runs are independent of each other."""
    parser = argument_parser(__doc__)
    parser.add_argument("kind", choices=KINDS)
    arguments = parser.parse_args()
    work = Workspace(arguments.work)
    torch.set_num_threads(1)
    texts, n_with_words = texts_to_label(arguments.kind, Units.load(work.units))
    labels = label(
        texts,
        n_with_words,
        Teacher(work.teacher),
        Tokenizer.from_file(str(work.tokenizer)),
        torch.from_numpy(np.load(work.projection)),
    )
    work.labels.mkdir(exist_ok=True)
    labels.save(work.labels / f"{arguments.kind}.npz")
    print(f"{arguments.kind}: {len(texts)} texts, {len(labels.ids)} student tokens")


if __name__ == "__main__":
    main()
