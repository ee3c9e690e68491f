"""Names for what changes the numbers: the weights, the tokenizer, and a way of embedding.

Two collections may be searched together exactly if their fingerprints are equal. Device and dtype
are not part of it: they change vectors by rounding only.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from jina_local.config import read_json
from jina_local.files import written_whole
from jina_local.names import EMBEDDINGS, base_shapes, linear_modules

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from jina_local.adapter_store import Adapter
    from jina_local.checkpoint import Checkpoint
    from jina_local.loading import LoadedModel
    from jina_local.stored import FileStamp

__all__ = [
    "adapter_id",
    "canonical_hash",
    "embedding_fingerprint",
    "tokenizer_id",
    "weights_id",
]

_SCHEME = "jina-local weights 1"
_ROWS_AT_ONCE = 16384
_SHA256 = re.compile(rb"[0-9a-f]{64}")


def canonical_hash(content: Mapping[str, Any]) -> str:
    """SHA-256 of canonical JSON: sorted keys, no spaces, UTF-8, no NaN.

    Raises:
        TypeError: If something in it is not a JSON value.
        ValueError: If it holds NaN, infinity or a lone surrogate.
    """
    text = json.dumps(
        content, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )
    return hashlib.sha256(text.encode()).hexdigest()


def embedding_fingerprint(
    model: LoadedModel,
    *,
    task: str | None,
    dimensions: int,
    normalize: bool,
    instruction: bool,
    late: Mapping[str, Any] | None,
    legacy: bool,
) -> str:
    """The identity of a way of embedding; see `Engine.fingerprint` for the arguments."""
    config = model.checkpoint.config
    used = model.checkpoint.tasks.find(task)
    added = model.checkpoint.added.get(used.name or "")
    return canonical_hash(
        {
            "schema": 1,
            "weights": _stored_weights_id(model.checkpoint.own or model.checkpoint),
            "tokenizer": tokenizer_id(model.tokenizer.stamp),
            "max_tokens": model.tokenizer.max_tokens,
            "n_heads": config.n_heads,
            "rope_base": config.rope_base,
            "layer_norm_eps": config.layer_norm_eps,
            "adapter": used.name,
            "adapter_scale": model.checkpoint.adapter_scale(used),
            "instruction": used.instruction if instruction else "",
            "pooling": "mean",
            "dimensions": dimensions,
            "normalize": normalize,
            "legacy": legacy,
            "late": late,
            # only where there is one, so that no other task's fingerprint changes
            **({} if added is None else {"added_adapter": adapter_id(added)}),
        }
    )


@lru_cache(maxsize=16)  # the published file takes a second
def tokenizer_id(stamp: FileStamp) -> str:
    """Hash of tokenizer.json without the truncation and padding that may be baked into it.

    Raises:
        CheckpointError: If the file changed since it was loaded.
    """
    stamp.refuse_change()
    content = read_json(stamp.path)
    return canonical_hash({k: v for k, v in content.items() if k not in ("truncation", "padding")})


def weights_id(checkpoint: Checkpoint) -> str:
    """SHA-256 of the weights of the checkpoint's own tasks.

    Raises:
        CheckpointError: If a file changed since the checkpoint was opened.
    """
    own = checkpoint.own or checkpoint
    replaced = {
        name: adapter_id(adapter)
        for name, adapter in checkpoint.added.items()
        if name in own.tasks.names
    }
    stored = _stored_weights_id(own)
    return canonical_hash({"weights": stored, "replaced": replaced}) if replaced else stored


def adapter_id(adapter: Adapter) -> str:
    """SHA-256 of an adapter's scale and values, whatever its task and instruction."""
    digest = hashlib.sha256(f"{adapter.scale!r}\n".encode())
    for module, update in sorted(adapter.updates.items()):
        for side, tensor in (("left", update.left), ("right", update.right)):
            digest.update(f"{module}.{side} {tuple(tensor.shape)}\n".encode())
            digest.update(np.ascontiguousarray(tensor.float().numpy(), dtype="<f4").data)
    return digest.hexdigest()


def _stored_weights_id(checkpoint: Checkpoint) -> str:
    """SHA-256 over the canonical tensors: name, shape and values as little-endian float32.

    Files of either layout and any float dtype have the same id if they hold the same values. The
    result is kept in the user's cache, under the files' paths, sizes and modification times.
    """
    for stamp in checkpoint.files:
        stamp.refuse_change()
    kept = _cache_file(checkpoint)
    known = kept.read_bytes() if kept is not None and kept.is_file() else b""
    if _SHA256.fullmatch(known):
        return known.decode()
    digest = hashlib.sha256()
    for name, tensor in _canonical_tensors(checkpoint):
        digest.update(f"{name} {tuple(tensor.shape)}\n".encode())
        for rows in torch.split(tensor, _ROWS_AT_ONCE):
            digest.update(np.ascontiguousarray(rows.float().numpy(), dtype="<f4").data)
    result = digest.hexdigest()
    if kept is not None:
        _keep(kept, result)
    return result


def _canonical_tensors(checkpoint: Checkpoint) -> Iterator[tuple[str, torch.Tensor]]:
    for name in base_shapes(checkpoint.config, qkv_apart=False):
        yield name, checkpoint.tensor(name)
    for module in (*EMBEDDINGS, *linear_modules(checkpoint.config)):
        updates = checkpoint.low_ranks(module)
        by_name = dict(zip(checkpoint.tasks.names, updates, strict=True))
        for task, update in sorted(by_name.items()):
            yield f"{module}.{task}.left", update.left
            yield f"{module}.{task}.right", update.right


def _cache_file(checkpoint: Checkpoint) -> Path | None:
    key = [[str(stamp.path), stamp.size, stamp.mtime_ns] for stamp in checkpoint.files]
    try:
        root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    except RuntimeError:  # a user without a home
        return None
    name = canonical_hash({"scheme": _SCHEME, "files": key, "tasks": checkpoint.tasks.names})
    return root / "jina-local" / "weights" / name


def _keep(path: Path, content: str) -> None:
    """Write all or nothing; a cache that cannot be written is no reason to fail."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with written_whole(path) as file:
            file.write(content.encode())
    except OSError:
        return
