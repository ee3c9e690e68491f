"""Tensors and files → digests, and a few of them → the name of the weights.

A digest of a tensor is over its values as little-endian float32, so that it does not depend on the
layout, on how q, k and v are stored, or on the dtype of the file as long as that dtype holds them.
"""

from __future__ import annotations

import hashlib
import logging
import re
from typing import TYPE_CHECKING

import numpy as np
import torch

from jina_local.oracles import known_weights

if TYPE_CHECKING:
    from pathlib import Path

    from jina_local.checkpoint import Checkpoint

__all__ = ["UNKNOWN_WEIGHTS", "file_digest", "recognise", "tensor_digest"]

UNKNOWN_WEIGHTS = "unknown weights"

_logger = logging.getLogger("jina_local")
_PART_OF_QKV = re.compile(r"(layers\.\d+)\.([qkv])\.(weight|bias)")
_ROWS_AT_ONCE = 16384


def recognise(checkpoint: Checkpoint) -> str | None:
    """The name of the weights, from digests of a few small tensors; `None` if they are unknown.

    It takes milliseconds, and whatever goes wrong is no reason not to load a model.
    """
    try:
        for known in known_weights():
            if all(_has(checkpoint, name, digest) for name, digest in known.digests.items()):
                return known.name
    except Exception as error:  # noqa: BLE001 - a hint must never stand in the way of the model
        _logger.debug("the weights could not be looked at: %s", error)
    return None


def tensor_digest(checkpoint: Checkpoint, name: str) -> str:
    """SHA-256 of a tensor of the base model by its canonical name; q, k and v have names too.

    Raises:
        KeyError: If the checkpoint has no such tensor.
    """
    part = _PART_OF_QKV.fullmatch(name)
    if part is None or name in checkpoint.base:
        tensor = checkpoint.tensor(name)
    else:
        fused = checkpoint.tensor(f"{part[1]}.qkv.{part[3]}")
        tensor = fused.chunk(3)["qkv".index(part[2])]
    digest = hashlib.sha256()
    for rows in torch.split(tensor, _ROWS_AT_ONCE):
        digest.update(np.ascontiguousarray(rows.float().numpy(), dtype="<f4").data)
    return digest.hexdigest()


def file_digest(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _has(checkpoint: Checkpoint, name: str, digest: str) -> bool:
    return name in checkpoint.base and tensor_digest(checkpoint, name) == digest
