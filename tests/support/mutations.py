"""Wrong models, one for each mistake that is easily made and hard to see.

Every mutation is data: a changed configuration or changed weights, so that it can be written into a
checkpoint, or given to an oracle, and has to make a parity test fail.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch

from support.weights import TinyConfig, Weights

Mutation = Callable[[TinyConfig, Weights], tuple[TinyConfig, Weights]]


def mutations() -> dict[str, Mutation]:
    """The mutations by name. All keep the form of the weights: each layout can hold them.

    Those of `ADAPTER_MUTATIONS` leave the base model as it is.
    """
    return {
        "banks rolled by one": _banks_rolled,
        "scale doubled": lambda config, weights: (replace(config, alpha=2 * config.alpha), weights),
        "factors swapped where square": _factors_swapped,
        "word adapter dropped": _dropped("word"),
        "token type adapter dropped": _dropped("token_type"),
        "rope base 10000": lambda config, weights: (replace(config, rope_base=1e4), weights),
        "rope interleaved": _rope_interleaved,
        "query and key swapped": _query_and_key_swapped,
        "gelu with tanh": lambda config, weights: (
            replace(config, hidden_act="gelu_pytorch_tanh"),
            weights,
        ),
        "layer norm eps 1e-3": lambda config, weights: (
            replace(config, layer_norm_eps=1e-3),
            weights,
        ),
    }


ADAPTER_MUTATIONS = frozenset(
    {
        "banks rolled by one",
        "scale doubled",
        "factors swapped where square",
        "word adapter dropped",
        "token type adapter dropped",
    }
)


def _banks_rolled(config: TinyConfig, weights: Weights) -> tuple[TinyConfig, Weights]:
    """Every task gets the adapter of the next one."""
    tasks = config.tasks
    next_task = dict(zip(tasks, (*tasks[1:], tasks[0]), strict=True))
    rolled = dict(weights)
    for name in weights:
        task, slash, factor = name.partition("/")
        if slash:
            rolled[name] = weights[f"{next_task[task]}/{factor}"]
    return config, rolled


def _factors_swapped(config: TinyConfig, weights: Weights) -> tuple[TinyConfig, Weights]:
    """`left @ right` transposed, where no shape gives it away: after attention."""
    swapped = dict(weights)
    for name in weights:
        if name.endswith("attention_output.left"):
            other = name.removesuffix("left") + "right"
            swapped[name], swapped[other] = weights[other].T, weights[name].T
    return config, swapped


def _dropped(module: str) -> Mutation:
    def drop(config: TinyConfig, weights: Weights) -> tuple[TinyConfig, Weights]:
        zeros = {
            name: torch.zeros_like(tensor)
            for name, tensor in weights.items()
            if name.endswith(f"/{module}.left")
        }
        return config, weights | zeros

    return drop


def _rope_interleaved(config: TinyConfig, weights: Weights) -> tuple[TinyConfig, Weights]:
    """Pairs (0, 1), (2, 3), … are rotated instead of the two halves of a head.

    Said in weights: the rows of each head in the order 0, 2, 4, … 1, 3, 5, …
    """
    rows = torch.arange(config.hidden_size).view(config.n_heads, -1, 2).mT.flatten()
    rotated = (
        ".query.weight",
        ".query.bias",
        ".query.left",
        ".key.weight",
        ".key.bias",
        ".key.left",
    )
    return config, {
        name: tensor[rows] if name.endswith(rotated) else tensor for name, tensor in weights.items()
    }


def _query_and_key_swapped(config: TinyConfig, weights: Weights) -> tuple[TinyConfig, Weights]:
    other = {"query": "key", "key": "query"}
    return config, {
        ".".join(other.get(part, part) for part in name.split(".")): tensor
        for name, tensor in weights.items()
    }
