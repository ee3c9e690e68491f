"""Stage 5: a student that starts from the teacher's weights.

First the teacher's weights are projected (``project.py``). Then, layer by layer, the output
projections and the layer norms are fitted by ridge regression to the projected teacher's own
states. No gradient step.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from tokenizers import Tokenizer

from .project import project_teacher, teacher_ids
from .settings import (
    KEPT_TEACHER_LAYERS,
    WIDTH,
    Workspace,
    seeded,
    workspace_from_command_line,
)
from .student import Student
from .teacher import load_bert
from .units import Units

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor, nn
    from transformers import BertModel

    StateHook = Callable[[nn.Module, tuple[Tensor, ...], Tensor | tuple[Tensor, ...]], None]

TORCH_SEED, SAMPLE_SEED = 0, 3
SHORT_SAMPLE, PARAGRAPH_SAMPLE = 7000, 300
SHORTEST_TEXT, LONGEST_TEXT = 6, 128  # tokens
TEXTS_AT_ONCE = 64
RIDGE = 1e-3  # relative to the mean of the Gram matrix's diagonal
FIT_ROUNDS = 2


@dataclass(slots=True)
class TeacherStates:
    """Projected states of the teacher on the fitting texts, (T, D) each once joined."""

    embedded: list[Tensor] = field(default_factory=list)
    attended: dict[int, list[Tensor]] = field(default_factory=lambda: defaultdict(list))
    finished: dict[int, list[Tensor]] = field(default_factory=lambda: defaultdict(list))


def joined(states: list[Tensor]) -> Tensor:
    """Joins states of several batches: [(B, L, D)] → (T, D)."""
    return torch.cat([state.reshape(-1, WIDTH) for state in states])


@torch.no_grad()
def record_teacher(bert: BertModel, batches: list[Tensor], projection: Tensor) -> TeacherStates:
    """Runs the teacher and keeps its states after the embeddings, attentions and layers."""
    states = TeacherStates()

    def keep(store: list[Tensor]) -> StateHook:
        def hook(
            _module: nn.Module, _inputs: tuple[Tensor, ...], output: Tensor | tuple[Tensor, ...]
        ) -> None:
            hidden = output[0] if isinstance(output, tuple) else output
            store.append(torch.matmul(hidden, projection))

        return hook

    handles = [bert.embeddings.register_forward_hook(keep(states.embedded))]
    for kept in KEPT_TEACHER_LAYERS:
        layer = bert.encoder.layer[kept]
        attention = layer.get_submodule("attention")
        handles.append(attention.register_forward_hook(keep(states.attended[kept])))
        handles.append(layer.register_forward_hook(keep(states.finished[kept])))
    for ids in batches:
        bert(input_ids=ids)
    for handle in handles:
        handle.remove()
    return states


def fit_norm(norm: nn.LayerNorm, inputs: Tensor, target: Tensor, name: str) -> Tensor:
    """Fits a layer norm's scale and shift by least squares per dimension; returns its output.

    Args:
        norm: the norm to fit, in place.
        inputs: (T, D).
        target: (T, D).
        name: what to call it in the report.
    """
    standard = F.layer_norm(inputs, (WIDTH,))
    mean, target_mean = standard.mean(0), target.mean(0)
    covariance = ((standard - mean) * (target - target_mean)).mean(0)
    scale = covariance / ((standard - mean) ** 2).mean(0)
    norm.weight.copy_(scale)
    norm.bias.copy_(target_mean - scale * mean)
    fitted = standard * scale + norm.bias
    error = ((fitted - target) ** 2).sum() / ((target - target_mean) ** 2).sum()
    print(f"{name}: relative error {error.item():.3f}, mean scale {scale.mean().item():.3f}")
    return fitted


def fit_block(
    linear: nn.Linear, norm: nn.LayerNorm, inputs: Tensor, residual: Tensor, target: Tensor
) -> Tensor:
    """Fits ``norm(residual + linear(inputs))`` to ``target``; returns its output, (T, D).

    The norm is inverted to get a target for the linear layer (scale and offset per token are free,
    so they are taken from the current output), then both are fitted in turn.
    """
    output = residual + inputs @ linear.weight.T + linear.bias
    fitted = fit_norm(norm, output, target, "projected")
    extended = torch.cat([inputs, torch.ones(len(inputs), 1)], 1)
    gram = extended.T @ extended
    ridge = gram.diagonal().mean() * RIDGE * torch.eye(len(gram))
    for _ in range(FIT_ROUNDS):
        scale = norm.weight.abs().clamp(min=0.05) * norm.weight.sign()
        wanted = (target - norm.bias) / scale
        wanted = wanted - wanted.mean(1, keepdim=True)
        wanted = wanted / wanted.std(1, keepdim=True) * output.std(1, keepdim=True)
        wanted = wanted + output.mean(1, keepdim=True)
        solution = torch.linalg.solve(gram + ridge, extended.T @ (wanted - residual))
        linear.weight.copy_(solution[:-1].T)
        linear.bias.copy_(solution[-1])
        output = residual + extended @ solution
        fitted = fit_norm(norm, output, target, "fitted")
    return fitted


@torch.no_grad()
def fit_student(student: Student, batches: list[Tensor], states: TeacherStates) -> None:
    """Fits layer after layer, each on the outputs of the fitted ones before it."""
    embedded = [F.embedding(ids, student.embedding.weight) + student.token_type for ids in batches]
    hidden = fit_norm(
        student.embedding_norm, joined(embedded), joined(states.embedded), "embeddings"
    )
    sizes = [ids.numel() for ids in batches]
    for layer, kept in zip(student.encoder_layers(), KEPT_TEACHER_LAYERS, strict=True):
        parts = zip(torch.split(hidden, sizes), batches, strict=True)
        attended = [
            student.self_attention(layer.Wqkv(part.view(*ids.shape, WIDTH)), None)
            for part, ids in parts
        ]
        hidden = fit_block(
            layer.out_proj, layer.norm1, joined(attended), hidden, joined(states.attended[kept])
        )
        inner = F.gelu(layer.fc1(hidden))
        hidden = fit_block(layer.fc2, layer.norm2, inner, hidden, joined(states.finished[kept]))


def fitting_batches(work: Workspace, units: Units) -> tuple[list[Tensor], list[Tensor]]:
    """Returns texts that both tokenizers cut alike, as ids (B, L) of student and teacher."""
    student_tokenizer = Tokenizer.from_file(str(work.tokenizer))
    teacher_tokenizer = Tokenizer.from_file(str(work.teacher / "tokenizer.json"))
    teacher_tokenizer.no_padding()
    rng = seeded(SAMPLE_SEED)
    sample = rng.sample(units.short, SHORT_SAMPLE) + rng.sample(units.paragraphs, PARAGRAPH_SAMPLE)
    of_length: dict[int, list[tuple[list[int], list[int]]]] = defaultdict(list)
    for text in sample:
        ours, theirs = student_tokenizer.encode(text), teacher_tokenizer.encode(text)
        same_pieces = ours.tokens[1:-1] == theirs.tokens[1:-1]
        if same_pieces and SHORTEST_TEXT <= len(ours.ids) <= LONGEST_TEXT:
            of_length[len(ours.ids)].append((ours.ids, theirs.ids))
    student_batches, teacher_batches = [], []
    for pairs in of_length.values():
        for start in range(0, len(pairs), TEXTS_AT_ONCE):
            ours_and_theirs = torch.tensor(pairs[start : start + TEXTS_AT_ONCE])  # (B, 2, L)
            student_batches.append(ours_and_theirs[:, 0])
            teacher_batches.append(ours_and_theirs[:, 1])
    return student_batches, teacher_batches


def main() -> None:
    """Projects, fits and saves the student."""
    work = workspace_from_command_line(__doc__)
    torch.set_num_threads(1)
    torch.manual_seed(TORCH_SEED)
    units = Units.load(work.units)
    projection = torch.from_numpy(np.load(work.projection))
    student, bert = Student(), load_bert(work.teacher)
    ids = teacher_ids(work.teacher, units.vocabulary)
    project_teacher(student, bert, ids, projection)
    student_batches, teacher_batches = fitting_batches(work, units)
    fit_student(student, student_batches, record_teacher(bert, teacher_batches, projection))
    work.checkpoints.mkdir(exist_ok=True)
    save_file(student.state_dict(), work.checkpoints / "initialised.safetensors")


if __name__ == "__main__":
    main()
