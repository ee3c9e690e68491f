"""Oracle sets for `verify`: the published one, and one that a random checkpoint fulfils.

The numbers of a random checkpoint are those of transformers and PEFT, rounded to four decimals as
published ones are; its digests come from the neutral weights, and its ids from the `tokenizers`
library. Nothing of the code under test takes part.
"""

from __future__ import annotations

import hashlib
import json
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import numpy as np
from tokenizers import Tokenizer

from support.oracle import Oracle
from support.weights import QKV

if TYPE_CHECKING:
    from pathlib import Path

    import torch

    from support.checkpoints import Checkpoint

__all__ = ["IDS", "STATE_TEXT", "TOKEN_TEXTS", "VECTOR_TEXTS", "published", "synthetic", "write"]

IDS = [345, 232, 328, 740, 140, 695, 69, 678, 588, 2]
STATE_TEXT = "The bridge was built in 1902 and rebuilt in 1951."
VECTOR_TEXTS = ["Hello World", "Follow the white rabbit."]
TOKEN_TEXTS = ["Hello World!", "Berlin is the capital, and NOT a small city; 柏林是德国的首都"]
_ROWS, _COLUMNS = slice(1, 4), slice(1, 10)


def published() -> dict[str, Any]:
    """What is in the package, to be changed at will."""
    content: dict[str, Any] = json.loads(
        files("jina_local").joinpath("oracles.json").read_text(encoding="utf-8")
    )
    return content


def write(path: Path, content: dict[str, Any]) -> Path:
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def synthetic(checkpoint: Checkpoint) -> dict[str, Any]:
    """What would have been published of a random checkpoint."""
    config, weights = checkpoint.config, checkpoint.weights
    oracle = Oracle(config, weights)
    tokenizer = Tokenizer.from_file(str(checkpoint.folder / "tokenizer.json"))
    text_ids = tokenizer.encode(STATE_TEXT).ids
    modes = ("none", *config.tasks)
    here = "computed by transformers and PEFT"

    def states(ids: list[int]) -> dict[str, Any]:
        return {
            mode: _rounded(oracle.hidden_states(ids, _task(mode))[_ROWS, _COLUMNS])
            for mode in modes
        }

    def pooled(mode: str) -> list[list[float]]:
        ids = [tokenizer.encode(text).ids for text in VECTOR_TEXTS]
        return [_rounded(oracle.embedding(one, _task(mode))[:5]) for one in ids]

    return published() | {
        "model": "the random model",
        "sizes": {
            "source": here,
            "width": config.hidden_size,
            "layers": config.n_layers,
            "heads": config.n_heads,
            "feed-forward width": config.intermediate_size,
            "vocabulary": config.vocab_size,
        },
        "settings": {
            "source": here,
            "rotary base": config.rope_base,
            "layer norm eps": config.layer_norm_eps,
            "adapter scale": config.scale,
        },
        "tasks": {"source": here, "instructions": dict(config.task_instructions)},
        "files": {
            "source": here,
            "sha256": {
                name: {"layout": layout, "digest": _sha256((checkpoint.folder / name).read_bytes())}
                for name, layout in (("tokenizer.json", "any"), ("model.safetensors", "original"))
            },
        },
        "tensors": {"source": here, "sha256": _digests(checkpoint)},
        "tokens": {
            "source": here,
            "texts": [
                *({"text": text, "ids": tokenizer.encode(text).ids} for text in TOKEN_TEXTS),
                {"text": STATE_TEXT, "count": len(text_ids)},
            ],
        },
        "states": [
            {"name": "ids", "source": here, "ids": IDS, "row": 1, "column": 1}
            | {"values": states(IDS)},
            {"name": "text", "source": here, "text": STATE_TEXT, "row": 1, "column": 1}
            | {"values": states(text_ids)},
        ],
        "pooled": [
            {
                "source": here,
                "texts": VECTOR_TEXTS,
                "values": {mode: pooled(mode) for mode in config.tasks},
            }
        ],
    }


def _task(mode: str) -> str | None:
    return None if mode == "none" else mode


def _rounded(values: torch.Tensor) -> Any:
    return np.round(values.double().numpy(), 4).tolist()


def _digests(checkpoint: Checkpoint) -> dict[str, str]:
    names = {"word.weight": "word.weight", "token_type.weight": "token_type.weight"}
    for i in range(checkpoint.config.n_layers):
        layer = f"layers.{i}"
        names |= {f"{layer}.{part[0]}.weight": f"{layer}.{part}.weight" for part in QKV}
        names |= {f"{layer}.out.weight": f"{layer}.attention_output.weight"}
        names |= {f"{layer}.{part}.weight": f"{layer}.{part}.weight" for part in ("fc1", "fc2")}
    return {
        ours: _sha256(checkpoint.weights[name].float().numpy().astype("<f4").tobytes())
        for ours, name in names.items()
    }


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
