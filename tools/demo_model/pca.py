"""Stage 3: the (E, D) projection from the teacher's 384 dimensions to the student's 256.

It is uncentred, so that a projected unit vector keeps its direction's meaning, and ordered by
explained variance, so that the first 32, 64 and 128 dimensions are the best ones (Matryoshka).
Within each block the axes are rotated at random, to spread the variance evenly over its dimensions.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import torch

from .settings import (
    MATRYOSHKA_WIDTHS,
    TEACHER_LAYERS,
    TEACHER_WIDTH,
    WIDTH,
    seeded,
    workspace_from_command_line,
)
from .teacher import Teacher, encode
from .units import Units

if TYPE_CHECKING:
    from collections.abc import Sequence

SEED = 0
SHORT_SAMPLE, PARAGRAPH_SAMPLE = 9000, 700
TOKEN_SAMPLE, TOKEN_BATCH = 3000, 50
LAST_LAYER_WEIGHT, OTHER_LAYERS_WEIGHT = 0.5, 0.3  # relative to the pooled vectors' 1.0
COMPARED_TEXTS = 2000


def normalised(moment: np.ndarray) -> np.ndarray:
    """Scales a second moment to trace 1."""
    scaled: np.ndarray = moment / np.trace(moment)
    return scaled


def token_moments(teacher: Teacher, texts: Sequence[str]) -> np.ndarray:
    """Returns the token states' second moments, (layers + 1, E, E), the embeddings' first."""
    moments = np.zeros((TEACHER_LAYERS + 1, TEACHER_WIDTH, TEACHER_WIDTH))
    rows = [encoding.ids for encoding in encode(teacher.tokenizer, texts)]
    for start in range(0, len(rows), TOKEN_BATCH):
        states, mask = teacher.run(rows[start : start + TOKEN_BATCH])
        for layer, hidden in enumerate(states):
            real = hidden if mask is None else hidden[mask.bool()]
            tokens = real.reshape(-1, TEACHER_WIDTH).float().numpy()  # (T, E)
            moments[layer] += tokens.T @ tokens
    return moments


def principal_axes(pooled_moment: np.ndarray, layer_moments: np.ndarray) -> np.ndarray:
    """Returns the (E, D) projection.

    The space is chosen for pooled vectors and token states together; inside it, the axes are
    ordered for the pooled vectors alone.
    """
    others = np.mean([normalised(moment) for moment in layer_moments[:-1]], 0)
    mixed = (
        normalised(pooled_moment)
        + LAST_LAYER_WEIGHT * normalised(layer_moments[-1])
        + OTHER_LAYERS_WEIGHT * others
    )
    space = np.linalg.eigh(mixed)[1][:, ::-1][:, :WIDTH]
    order = np.linalg.eigh(space.T @ pooled_moment @ space)[1][:, ::-1]
    generator = np.random.default_rng(SEED)
    rotation = np.zeros((WIDTH, WIDTH))
    for start, end in pairwise((0, *MATRYOSHKA_WIDTHS)):
        square = generator.normal(size=(end - start, end - start))
        rotation[start:end, start:end] = np.linalg.qr(square)[0]
    projection: np.ndarray = space @ order @ rotation
    return projection


def report_agreement(vectors: np.ndarray, projection: np.ndarray) -> None:
    """Prints, per Matryoshka width, the correlation of pairwise cosines with the full teacher."""
    pairs = np.triu_indices(len(vectors), 1)
    full = (vectors @ vectors.T)[pairs]
    for width in MATRYOSHKA_WIDTHS:
        short = (vectors @ projection)[:, :width]
        short /= np.linalg.norm(short, axis=1, keepdims=True)
        print(width, "correlation", np.corrcoef((short @ short.T)[pairs], full)[0, 1])


def main() -> None:
    """Embeds a sample with the teacher and writes the projection."""
    work = workspace_from_command_line(__doc__)
    torch.set_num_threads(1)
    units = Units.load(work.units)
    teacher = Teacher(work.teacher)
    rng = seeded(SEED)
    sample = rng.sample(units.short, SHORT_SAMPLE) + rng.sample(units.paragraphs, PARAGRAPH_SAMPLE)
    vectors = teacher.embed(sample)
    projection = principal_axes(vectors.T @ vectors, token_moments(teacher, sample[:TOKEN_SAMPLE]))
    report_agreement(vectors[:COMPARED_TEXTS], projection)
    np.save(work.projection, projection.astype(np.float32))


if __name__ == "__main__":
    main()
