"""Stage 8: base model and adapters → a model folder in the original checkpoint's layout."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import torch
from safetensors.torch import load_file, save_file

from .settings import MATRYOSHKA_WIDTHS, TASKS, workspace_from_command_line
from .student import EMBEDDING, LINEARS, Shape, Student

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from torch import Tensor, nn

    from .settings import Workspace

MAX_POSITIONS = 8194
MAX_TOKENS = 8192
NORM_PARTS = ("weight", "bias")

WORDS = "roberta.embeddings.word_embeddings"
TOKEN_TYPES = "roberta.embeddings.token_type_embeddings"  # noqa: S105 - a tensor, not a secret
EMBEDDING_NORM = "roberta.emb_ln"
LAYER = "roberta.encoder.layers.{index}.{part}"
PART_OF_LINEAR = {
    "Wqkv": "mixer.Wqkv",
    "out_proj": "mixer.out_proj",
    "fc1": "mlp.fc1",
    "fc2": "mlp.fc2",
}
ORIGINAL = "{weight}.parametrizations.weight.original"
LORA = "{weight}.parametrizations.weight.0.{side}"


def config(shape: Shape) -> dict[str, object]:
    """Returns ``config.json``. The instructions are empty: no prompt was used in training."""
    return {
        "model_type": "xlm-roberta",
        "architectures": ["XLMRobertaModel"],
        "vocab_size": shape.vocabulary,
        "hidden_size": shape.width,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "intermediate_size": shape.inner_width,
        "hidden_act": "gelu",
        "max_position_embeddings": MAX_POSITIONS,
        "type_vocab_size": 1,
        "layer_norm_eps": shape.norm_epsilon,
        "pad_token_id": 1,
        "bos_token_id": 0,
        "eos_token_id": 2,
        "position_embedding_type": "rotary",
        "rotary_emb_base": shape.rotary_base,
        "lora_adaptations": list(TASKS),
        "lora_rank": shape.lora_rank,
        "lora_alpha": 1,
        "lora_dropout_p": 0.0,
        "matryoshka_dimensions": list(MATRYOSHKA_WIDTHS),
        "truncate_dim": None,
        "torch_dtype": "float16",
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
        "task_instructions": dict.fromkeys(TASKS, ""),
    }


TOKENIZER_CONFIG = {
    "tokenizer_class": "PreTrainedTokenizerFast",
    "bos_token": "<s>",
    "eos_token": "</s>",
    "cls_token": "<s>",
    "sep_token": "</s>",
    "unk_token": "<unk>",
    "pad_token": "<pad>",
    "mask_token": "<mask>",
    "model_max_length": MAX_TOKENS,
}


def adapted_weights(student: Student) -> Iterator[tuple[str, str, nn.Module]]:
    """Yields the checkpoint's name, the adapters' name and the module of each adapted weight."""
    yield WORDS, EMBEDDING, student.embedding
    for index, layer in enumerate(student.encoder_layers()):
        for name in LINEARS:
            checkpoint_name = LAYER.format(index=index, part=PART_OF_LINEAR[name])
            yield checkpoint_name, f"{index}_{name}", getattr(layer, name)


def norms(student: Student) -> Iterator[tuple[str, nn.LayerNorm]]:
    """Yields the checkpoint's name and the module of each layer norm."""
    yield EMBEDDING_NORM, student.embedding_norm
    for index, layer in enumerate(student.encoder_layers()):
        yield LAYER.format(index=index, part="norm1"), layer.norm1
        yield LAYER.format(index=index, part="norm2"), layer.norm2


def parameters_by_name(student: Student) -> Iterator[tuple[str, list[Tensor]]]:
    """Yields each checkpoint tensor's name and the student's tensors it stacks.

    An adapter tensor stacks five, one per task in the order of ``TASKS``: (5, r, inputs) and so on.
    All other tensors are single.
    """
    for checkpoint_name, name, module in adapted_weights(student):
        yield ORIGINAL.format(weight=checkpoint_name), [module.get_parameter("weight")]
        for side in ("lora_A", "lora_B"):
            stacked = [getattr(student.update(task, name), side) for task in TASKS]
            yield LORA.format(weight=checkpoint_name, side=side), stacked
        if name != EMBEDDING:
            yield f"{checkpoint_name}.bias", [module.get_parameter("bias")]
    yield ORIGINAL.format(weight=TOKEN_TYPES), [student.token_type]
    for checkpoint_name, norm in norms(student):
        for part in NORM_PARTS:
            yield f"{checkpoint_name}.{part}", [norm.get_parameter(part)]


def checkpoint_tensors(student: Student) -> dict[str, Tensor]:
    """Returns all tensors of the finished checkpoint, in float16."""
    rank, width = student.shape.lora_rank, student.shape.width
    tensors = {  # the original checkpoint adapts the token type too; here it was not trained
        LORA.format(weight=TOKEN_TYPES, side="lora_A"): torch.zeros(len(TASKS), 1, rank),
        LORA.format(weight=TOKEN_TYPES, side="lora_B"): torch.zeros(len(TASKS), rank, width),
    }
    for name, parts in parameters_by_name(student):
        is_lora = ".lora_" in name
        tensors[name] = torch.stack([p.data for p in parts]) if is_lora else parts[0].data
    tensors = {name: tensor.half().contiguous() for name, tensor in tensors.items()}
    broken = [name for name, tensor in tensors.items() if not tensor.isfinite().all()]
    if broken:
        message = f"not finite in float16: {broken}"
        raise ValueError(message)
    return tensors


@torch.no_grad()
def load_exported(path: Path) -> Student:
    """Reads a finished checkpoint back, for evaluation."""
    tensors = load_file(path)
    student = Student()
    student.add_adapters()
    for name, parts in parameters_by_name(student):
        stored = tensors[name] if ".lora_" in name else tensors[name][None]
        for parameter, value in zip(parts, stored, strict=True):
            parameter.copy_(value)
    return student.eval()


def load_trained(work: Workspace) -> Student:
    """Puts the base model and the five adapters together."""
    student = Student()
    student.load_state_dict(load_file(work.checkpoints / "base.safetensors"))
    student.add_adapters()
    for task in TASKS:
        student.adapter(task).load_state_dict(load_file(work.checkpoints / f"{task}.safetensors"))
    return student


def main() -> None:
    """Writes the weights and both configuration files beside the tokenizer."""
    work = workspace_from_command_line(__doc__)
    tensors = checkpoint_tensors(load_trained(work))
    weights = work.exported / "model.safetensors"
    save_file(tensors, weights, metadata={"format": "pt"})
    for name, content in (("config", config(Shape())), ("tokenizer_config", TOKENIZER_CONFIG)):
        (work.exported / f"{name}.json").write_text(json.dumps(content, indent=1), "utf-8")
    n_parameters = sum(tensor.numel() for tensor in tensors.values())
    print(f"{weights.stat().st_size} bytes, {n_parameters} parameters")


if __name__ == "__main__":
    main()
