"""Distillation and contrastive losses. Vectors are (N, D) and need not be normalised."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

WIDTH_WEIGHTS = ((32, 0.25), (64, 0.3), (128, 0.5), (256, 1.0))  # Matryoshka width, weight
TOTAL_WIDTH_WEIGHT = sum(weight for _, weight in WIDTH_WEIGHTS)
NEIGHBOUR_WIDTHS = (64, 256)
FEWEST_NEIGHBOURS = 6
TEMPERATURE = 0.05


def cosine_matrix(left: Tensor, right: Tensor, width: int | None = None) -> Tensor:
    """Returns all cosines at a Matryoshka width: (N, D), (M, D) → (N, M)."""
    return F.normalize(left[:, :width], dim=-1) @ F.normalize(right[:, :width], dim=-1).T


def without_self(scores: Tensor) -> Tensor:
    """Rules out each text as its own neighbour: (N, N) → (N, N)."""
    return scores.masked_fill(torch.eye(len(scores), dtype=torch.bool), -1e4)


def direction_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """Distance in angle from the teacher's vectors, at all Matryoshka widths."""
    losses = [
        weight * (1 - F.cosine_similarity(student[:, :width], teacher[:, :width], dim=-1)).mean()
        for width, weight in WIDTH_WEIGHTS
    ]
    return torch.stack(losses).sum() / TOTAL_WIDTH_WEIGHT


def neighbour_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """Divergence from the teacher's neighbour distribution within the batch, at two widths."""
    if len(student) < FEWEST_NEIGHBOURS:
        return torch.zeros(())
    wanted = without_self(cosine_matrix(teacher, teacher) / TEMPERATURE).softmax(-1)
    losses = []
    for width in NEIGHBOUR_WIDTHS:
        found = without_self(cosine_matrix(student, student, width) / TEMPERATURE).log_softmax(-1)
        losses.append(F.kl_div(found, wanted, reduction="batchmean"))
    return torch.stack(losses).mean()


def ranking_loss(
    queries: Tensor, passages: Tensor, teacher_queries: Tensor, teacher_passages: Tensor
) -> Tensor:
    """Divergence from the teacher's distribution over the batch's passages for each query."""
    wanted = (cosine_matrix(teacher_queries, teacher_passages) / TEMPERATURE).softmax(-1)
    found = (cosine_matrix(queries, passages) / TEMPERATURE).log_softmax(-1)
    return F.kl_div(found, wanted, reduction="batchmean")


def contrastive_loss(
    queries: Tensor, passages: Tensor, *, temperature: float = TEMPERATURE, width: int | None = None
) -> Tensor:
    """InfoNCE: passage i answers query i, the batch's other passages do not."""
    scores = cosine_matrix(queries, passages, width) / temperature
    return F.cross_entropy(scores, torch.arange(len(queries)))


def same_group_loss(vectors: Tensor, groups: list[int], temperature: float) -> Tensor:
    """Supervised contrastive loss: texts of one group attract, the batch's others repel."""
    labels = torch.tensor(groups)
    same = (labels[:, None] == labels) & ~torch.eye(len(labels), dtype=torch.bool)
    log_shares = without_self(cosine_matrix(vectors, vectors) / temperature).log_softmax(-1)
    return -(log_shares * same).sum(1).div(same.sum(1).clamp(min=1)).mean()
