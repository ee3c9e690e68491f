"""Projects four of the teacher's six layers into the student's space.

Of each layer's 12 heads and 1 536 inner units, the 8 and 1 024 with the largest weights are kept.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F

from .settings import KEPT_TEACHER_LAYERS, MASK_TOKEN, SPECIAL_TOKENS, WIDTH
from .vocabulary import read_vocabulary

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from torch import Tensor
    from transformers import BertModel

    from .student import EncoderLayer, Student

HEAD_WIDTH = 32  # the same in teacher and student
TEACHER_HEADS = 12
AVERAGED_POSITIONS = 64  # the teacher's learned positions become one average
TEACHER_NORM_EPSILON = 1e-12

TEACHER_SPECIALS = dict(
    zip((*SPECIAL_TOKENS, MASK_TOKEN), ("[CLS]", "[PAD]", "[SEP]", "[UNK]", "[MASK]"), strict=True)
)


def teacher_ids(teacher: Path, vocabulary: Sequence[str]) -> Tensor:
    """Returns the teacher's ids of the student's pieces, (V,)."""
    rank = read_vocabulary(teacher)
    return torch.tensor([rank[TEACHER_SPECIALS.get(piece, piece)] for piece in vocabulary])


def project_embeddings(
    student: Student, weights: dict[str, Tensor], ids: Tensor, projection: Tensor
) -> None:
    """Fills the embedding table with the teacher's projected, normalised embeddings."""
    raw = (
        weights["embeddings.word_embeddings.weight"][ids]
        + weights["embeddings.position_embeddings.weight"][:AVERAGED_POSITIONS].mean(0)
        + weights["embeddings.token_type_embeddings.weight"][0]
    )
    scale, shift = (weights[f"embeddings.LayerNorm.{name}"] for name in ("weight", "bias"))
    projected = F.layer_norm(raw, scale.shape, scale, shift, TEACHER_NORM_EPSILON) @ projection
    centred = projected - projected.mean(1, keepdim=True)
    spread = centred.std(1, unbiased=False).mean()
    student.embedding.weight.copy_(centred / spread)
    student.embedding_norm.weight.fill_(float(spread))
    student.embedding_norm.bias.zero_()


def strongest_head_rows(value: Tensor, output: Tensor, n_heads: int) -> Tensor:
    """Returns the rows (n_heads · 32,) of the heads whose value and output weights are largest."""
    heads = [slice(HEAD_WIDTH * head, HEAD_WIDTH * (head + 1)) for head in range(TEACHER_HEADS)]
    strength = [(value[rows].norm() * output[:, rows].norm()).item() for rows in heads]
    strongest = sorted(range(TEACHER_HEADS), key=lambda head: -strength[head])[:n_heads]
    return torch.cat([torch.arange(heads[h].start, heads[h].stop) for h in sorted(strongest)])


def project_layer(
    layer: EncoderLayer, weights: dict[str, Tensor], projection: Tensor, n_heads: int
) -> None:
    """Fills one layer; ``weights`` are those of the teacher's layer, ``projection`` is (E, D)."""
    output = weights["attention.output.dense.weight"]
    rows = strongest_head_rows(weights["attention.self.value.weight"], output, n_heads)
    for index, name in enumerate(("query", "key", "value")):
        part = slice(index * WIDTH, (index + 1) * WIDTH)
        layer.Wqkv.weight[part] = weights[f"attention.self.{name}.weight"][rows] @ projection
        layer.Wqkv.bias[part] = weights[f"attention.self.{name}.bias"][rows]
    layer.out_proj.weight.copy_(projection.T @ output[:, rows])
    layer.out_proj.bias.copy_(weights["attention.output.dense.bias"] @ projection)

    inner, outer = weights["intermediate.dense.weight"], weights["output.dense.weight"]
    strength = inner.norm(dim=1) * outer.norm(dim=0)
    units = strength.argsort(descending=True)[: layer.fc1.out_features]
    layer.fc1.weight.copy_(inner[units] @ projection)
    layer.fc1.bias.copy_(weights["intermediate.dense.bias"][units])
    layer.fc2.weight.copy_(projection.T @ outer[:, units])
    layer.fc2.bias.copy_(weights["output.dense.bias"] @ projection)

    for norm, name in ((layer.norm1, "attention.output"), (layer.norm2, "output")):
        scale = torch.diag(weights[f"{name}.LayerNorm.weight"])
        norm.weight.fill_(float((projection.T @ scale @ projection).diag().mean()))
        norm.bias.copy_(weights[f"{name}.LayerNorm.bias"] @ projection)


@torch.no_grad()
def project_teacher(student: Student, bert: BertModel, ids: Tensor, projection: Tensor) -> None:
    """Fills the student; ``ids`` (V,) are the teacher's ids of the student's pieces."""
    weights = bert.state_dict()
    project_embeddings(student, weights, ids, projection)
    for layer, kept in zip(student.encoder_layers(), KEPT_TEACHER_LAYERS, strict=True):
        prefix = f"encoder.layer.{kept}."
        own = {
            name.removeprefix(prefix): value
            for name, value in weights.items()
            if name.startswith(prefix)
        }
        project_layer(layer, own, projection, student.shape.heads)
