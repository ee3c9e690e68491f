"""Stage 7: trains the five LoRA adapters on the frozen base model.

The two retrieval adapters are trained together, the other three each on their own. The originals
were limited by time and their step counts were not recorded: all counts here are estimates
(README.md, "Step counts").
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer

from .objectives import Encoder, build_objective
from .settings import Workspace, argument_parser
from .student import Student

if TYPE_CHECKING:
    from .objectives import Objective

STEPS = {"retrieval": 200, "text-matching": 50, "classification": 45, "separation": 70}
TORCH_SEED = 1
PEAK_RATE = 2e-3
WARM_UP_SHARE = 0.05
REPORT_EVERY = 20


def train_adapters(student: Student, encode: Encoder, objective: Objective, steps: int) -> None:
    """Trains the objective's adapters; everything else stays as it is."""
    student.requires_grad_(requires_grad=False)
    trained = [p for task in objective.tasks for p in student.adapter(task).parameters()]
    for parameter in trained:
        parameter.requires_grad_()
    optimizer = torch.optim.AdamW(trained, lr=PEAK_RATE, weight_decay=0.0, fused=True)
    losses: list[float] = []
    for step in range(steps):
        done = step / steps
        rate = PEAK_RATE * min(1, done / WARM_UP_SHARE + 0.02) * (1 - done)
        for group in optimizer.param_groups:
            group["lr"] = rate
        loss = objective.loss(encode)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        losses.append(loss.item())
        if (step + 1) % REPORT_EVERY == 0:
            print(f"step {step + 1} of {steps}: {np.mean(losses[-REPORT_EVERY:]):.4f}", flush=True)


def main() -> None:
    """Trains one objective and saves its adapters."""
    parser = argument_parser(__doc__)
    parser.add_argument("objective", choices=STEPS)
    arguments = parser.parse_args()
    work = Workspace(arguments.work)
    torch.set_num_threads(1)
    torch.manual_seed(TORCH_SEED)
    student = Student()
    student.load_state_dict(load_file(work.checkpoints / "base.safetensors"))
    student.add_adapters()
    encode = Encoder(student, Tokenizer.from_file(str(work.tokenizer)))
    objective = build_objective(arguments.objective, work)
    train_adapters(student, encode, objective, STEPS[arguments.objective])
    for task in objective.tasks:
        save_file(student.adapter(task).state_dict(), work.checkpoints / f"{task}.safetensors")


if __name__ == "__main__":
    main()
