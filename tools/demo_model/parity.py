"""Stage 9: checks the exported file against transformers' own implementation, task by task."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from tokenizers import Tokenizer
from transformers import JinaEmbeddingsV3Config, JinaEmbeddingsV3Model

from .batching import mean_pool, pad_rows
from .export import (
    EMBEDDING_NORM,
    LAYER,
    LORA,
    MAX_POSITIONS,
    NORM_PARTS,
    ORIGINAL,
    TOKEN_TYPES,
    WORDS,
    load_exported,
)
from .settings import TASKS, Workspace, argument_parser
from .student import Shape, Student, embed

if TYPE_CHECKING:
    from torch import Tensor

TEXTS = [
    "Lightsabers are too dark.",
    "Why is my blade dimmer than before? It is the power distribution.",
    "word " * 300,
]
LOWEST_COSINE = 0.99999
THEIR_LINEAR = {
    "mixer.out_proj": "self_attn.o_proj",
    "mlp.fc1": "mlp.fc1",
    "mlp.fc2": "mlp.fc2",
}
THEIR_NORM = {"norm1": "post_attention_layernorm", "norm2": "post_mlp_layernorm"}


def merged_weight(tensors: dict[str, Tensor], name: str, task: str | None) -> Tensor:
    """Returns a weight with one task's update added."""
    weight = tensors[ORIGINAL.format(weight=name)]
    if task is None:
        return weight
    a, b = (
        tensors[LORA.format(weight=name, side=side)][TASKS.index(task)]
        for side in ("lora_A", "lora_B")
    )
    update = a @ b if name in (WORDS, TOKEN_TYPES) else b @ a
    return weight + update / Shape().lora_rank


def their_state(tensors: dict[str, Tensor], task: str | None) -> dict[str, Tensor]:
    """Returns the checkpoint under transformers' names, queries, keys and values apart."""
    state = {f"embeddings.LayerNorm.{x}": tensors[f"{EMBEDDING_NORM}.{x}"] for x in NORM_PARTS}
    for name in (WORDS, TOKEN_TYPES):
        key = name.removeprefix("roberta.") + ".weight"
        state[key] = merged_weight(tensors, name, task)
    for index in range(Shape().layers):
        prefix = f"layers.{index}"
        fused = LAYER.format(index=index, part="mixer.Wqkv")
        weights = merged_weight(tensors, fused, task).chunk(3)
        biases = tensors[f"{fused}.bias"].chunk(3)
        for letter, weight, bias in zip("qkv", weights, biases, strict=True):
            state[f"{prefix}.self_attn.{letter}_proj.weight"] = weight
            state[f"{prefix}.self_attn.{letter}_proj.bias"] = bias
        for ours, theirs in THEIR_LINEAR.items():
            name = LAYER.format(index=index, part=ours)
            state[f"{prefix}.{theirs}.weight"] = merged_weight(tensors, name, task)
            state[f"{prefix}.{theirs}.bias"] = tensors[f"{name}.bias"]
        for ours, theirs in THEIR_NORM.items():
            for part in NORM_PARTS:
                name = LAYER.format(index=index, part=ours)
                state[f"{prefix}.{theirs}.{part}"] = tensors[f"{name}.{part}"]
    return state


def empty_reference() -> JinaEmbeddingsV3Model:
    """Returns transformers' model in the student's shape, with random weights."""
    shape = Shape()
    settings = JinaEmbeddingsV3Config(
        vocab_size=shape.vocabulary,
        hidden_size=shape.width,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        intermediate_size=shape.inner_width,
        max_position_embeddings=MAX_POSITIONS,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    model = JinaEmbeddingsV3Model(settings, add_pooling_layer=False)
    model.train(mode=False)
    return model


@torch.no_grad()
def worst_cosine(
    reference: JinaEmbeddingsV3Model, student: Student, tokenizer: Tokenizer, task: str | None
) -> float:
    """Returns the smallest cosine between the reference's vectors and ours."""
    ids, mask = pad_rows([encoding.ids for encoding in tokenizer.encode_batch(TEXTS)])
    hidden = reference(input_ids=ids, attention_mask=mask).last_hidden_state
    theirs = F.normalize(mean_pool(hidden, mask), dim=-1)
    ours = torch.from_numpy(embed(student, tokenizer, TEXTS, task, dtype=torch.float32))
    return float((theirs * ours).sum(1).min())


def check(folder: Path) -> dict[str, float]:
    """Returns the worst cosine of the base model and of each task."""
    tensors = {k: v.float() for k, v in load_file(folder / "model.safetensors").items()}
    student = load_exported(folder / "model.safetensors")
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    reference = empty_reference()
    worst = {}
    for task in (None, *TASKS):
        reference.load_state_dict(their_state(tensors, task), strict=True)
        worst[task or "base"] = worst_cosine(reference, student, tokenizer, task)
    return worst


def main() -> None:
    """Checks a model folder and fails if a vector differs."""
    parser = argument_parser(__doc__)
    parser.add_argument("--model", type=Path, help="default: the workspace's exported model")
    arguments = parser.parse_args()
    worst = check(arguments.model or Workspace(arguments.work).exported)
    for name, cosine in worst.items():
        print(f"{name}: worst cosine {cosine:.7f}")
    if min(worst.values()) < LOWEST_COSINE:
        message = f"worst cosine {min(worst.values())} is below {LOWEST_COSINE}"
        raise SystemExit(message)


if __name__ == "__main__":
    main()
