"""Stage 6: distils the teacher's vectors into the base model, in two phases.

The original runs were limited by time. The second phase's 1 002 steps were counted; the first
phase's numbers are estimates from its two and a half minutes (README.md, "Step counts").
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer

from .batching import mean_pool, pad_rows, segment_means
from .corpus import Corpus
from .held_out import HeldOut
from .losses import direction_loss, neighbour_loss
from .metrics import Ranking
from .settings import Workspace, seeded, workspace_from_command_line
from .sources import SpanSource, Stream, TextSource, load_sources
from .student import Student, embed
from .units import Units

if TYPE_CHECKING:
    from torch import Tensor

    from .sources import Batch

SAMPLING_WEIGHTS = {"short": 3.2, "paragraphs": 3.2, "spans": 2.4}
STREAM_SEEDS = (1, 2)  # the two processes of the original
SOURCE_SEED = 99
TORCH_SEED = 0
NEIGHBOUR_WEIGHT = 0.15
DOCUMENT_WEIGHT = 0.5
COMPARED_CHUNKS = 400
WEIGHT_DECAY = 0.01
BETAS = (0.9, 0.98)
WARM_UP_SHARE = 0.04
LOWEST_RATE_SHARE = 0.01
REPORT_EVERY = 50


@dataclass(frozen=True, slots=True)
class Phase:
    """A learning-rate schedule, and how much of it was run."""

    peak_rate: float
    scheduled_steps: int
    steps: int


PHASES = (
    # Stopped early: this rate hurt WordNet retrieval. Both numbers are estimates.
    Phase(peak_rate=1.2e-3, scheduled_steps=1240, steps=148),
    Phase(peak_rate=9e-4, scheduled_steps=1002, steps=1002),
)


def learning_rate(phase: Phase, step: int) -> float:
    """Returns the rate of a step: linear warm-up, linear decay."""
    done = step / phase.scheduled_steps
    rate = phase.peak_rate * min(1, done / WARM_UP_SHARE + 0.02) * (1 - done)
    return max(rate, phase.peak_rate * LOWEST_RATE_SHARE)


def word_loss(hidden: Tensor, source: TextSource, texts: list[int]) -> Tensor:
    """Squared distance of word vectors from the teacher's, relative to the targets' own size.

    Args:
        hidden: (B, L, D).
        source: where the words are.
        texts: which text each row is, (B,).
    """
    word_of_token = torch.full(hidden.shape[:2], -1)
    targets: list[np.ndarray] = []
    n_words = 0
    for row, index in enumerate(texts):
        if source.has_words(index):
            words, vectors = source.words(index)
            shifted = np.where(words >= 0, words + n_words, -1)
            word_of_token[row, : len(words)] = torch.from_numpy(shifted)
            targets.append(vectors)
            n_words += len(vectors)
    wanted = torch.from_numpy(np.concatenate(targets)).float()
    found, counts = segment_means(hidden.float(), word_of_token, n_words)
    seen = counts > 0
    return ((found[seen] - wanted[seen]) ** 2).mean() / (wanted[seen] ** 2).mean()


def text_loss(student: Student, source: TextSource, batch: Batch) -> Tensor:
    """Whole-text vectors, their neighbours, and words where the batch has word targets."""
    texts = [index for row in batch for index in row]
    ids, mask = pad_rows([source.token_ids(index) for index in texts])
    hidden = student(ids, mask)
    pooled = mean_pool(hidden, mask)
    wanted = torch.from_numpy(source.labels.vectors[texts]).float()
    loss = direction_loss(pooled, wanted) + NEIGHBOUR_WEIGHT * neighbour_loss(pooled, wanted)
    if any(source.has_words(index) for index in texts):
        loss = loss + word_loss(hidden, source, texts)
    return loss


def span_loss(student: Student, source: SpanSource, batch: Batch) -> Tensor:
    """Chunk vectors pooled from whole rows, their neighbours, and the row's vector.

    A row's target is the mean of its chunks' targets.
    """
    rows = [source.lay_out(row) for row in batch]
    ids, mask = pad_rows([row.ids for row in rows])
    hidden = student(ids, mask).float()
    chunk_of_token = torch.full(ids.shape, -1)
    n_chunks = 0
    for index, row in enumerate(rows):
        chunks = torch.tensor(row.chunk_of_token)
        chunk_of_token[index, : len(chunks)] = torch.where(chunks >= 0, chunks + n_chunks, -1)
        n_chunks += len(row.targets)
    chunk_vectors, _ = segment_means(hidden, chunk_of_token, n_chunks)
    wanted = [torch.from_numpy(source.vectors[row.targets]).float() for row in rows]
    wanted_chunks = torch.cat(wanted)
    wanted_rows = torch.stack([targets.mean(0) for targets in wanted])
    neighbours = neighbour_loss(chunk_vectors[:COMPARED_CHUNKS], wanted_chunks[:COMPARED_CHUNKS])
    return (
        direction_loss(chunk_vectors, wanted_chunks)
        + NEIGHBOUR_WEIGHT * neighbours
        + DOCUMENT_WEIGHT * direction_loss(mean_pool(hidden, mask), wanted_rows)
    )


def source_loss(student: Student, source: TextSource | SpanSource, batch: Batch) -> Tensor:
    """Returns the loss of a batch of either kind."""
    if isinstance(source, SpanSource):
        return span_loss(student, source, batch)
    return text_loss(student, source, batch)


def new_optimizer(student: Student, rate: float) -> torch.optim.AdamW:
    """Returns AdamW with decay on matrices only."""
    parameters = list(student.parameters())
    matrices = [parameter for parameter in parameters if parameter.ndim > 1]
    others = [parameter for parameter in parameters if parameter.ndim <= 1]
    groups = [
        {"params": matrices, "weight_decay": WEIGHT_DECAY},
        {"params": others, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=rate, betas=BETAS, fused=True)


def run_phase(student: Student, sources: dict[str, TextSource | SpanSource], phase: Phase) -> None:
    """Trains for one phase; random states and the optimizer start afresh, as they did."""
    choices = seeded(SOURCE_SEED)
    streams = [Stream(seed) for seed in STREAM_SEEDS]
    optimizer = new_optimizer(student, phase.peak_rate)
    losses: dict[str, list[float]] = defaultdict(list)
    for step in range(phase.steps):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(phase, step)
        name = choices.choices(list(sources), [SAMPLING_WEIGHTS[kind] for kind in sources])[0]
        optimizer.zero_grad(set_to_none=True)
        for stream in streams:
            batch = stream.next_batch(name, sources[name])
            loss = source_loss(student, sources[name], batch) / len(streams)
            loss.backward()
            losses[name].append(loss.item() * len(streams))
        torch.nn.utils.clip_grad_norm_(student.parameters(), 1.0)
        optimizer.step()
        if (step + 1) % REPORT_EVERY == 0:
            recent = {
                kind: round(float(np.mean(v[-REPORT_EVERY:])), 4) for kind, v in losses.items()
            }
            print(f"step {step + 1} of {phase.steps}: {recent}", flush=True)


def check(student: Student, tokenizer: Tokenizer, work: Workspace) -> None:
    """Prints retrieval scores on 300 man pages and 500 held-out WordNet examples."""
    pages = HeldOut.load(work.held_out).man_pages[:300]
    synsets = [s for s in Corpus.load(work.corpus).synsets if s.held_out and s.examples][:500]
    man = [page.purpose for page in pages], [page.short_description for page in pages]
    wordnet = [synset.examples[0] for synset in synsets], [synset.gloss for synset in synsets]
    for name, (queries, passages) in {"man": man, "wordnet": wordnet}.items():
        scores = embed(student, tokenizer, queries) @ embed(student, tokenizer, passages).T
        print(name, Ranking.of(scores))


def main() -> None:
    """Runs both phases and saves the base model."""
    work = workspace_from_command_line(__doc__)
    torch.set_num_threads(1)
    torch.manual_seed(TORCH_SEED)
    tokenizer = Tokenizer.from_file(str(work.tokenizer))
    sources = load_sources(work, Units.load(work.units), tokenizer)
    student = Student()
    student.load_state_dict(load_file(work.checkpoints / "initialised.safetensors"))
    check(student, tokenizer, work)
    for phase in PHASES:
        run_phase(student, sources, phase)
        check(student, tokenizer, work)
    save_file(student.state_dict(), work.checkpoints / "base.safetensors")


if __name__ == "__main__":
    main()
