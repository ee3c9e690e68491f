"""A source on disk → a model in memory, ready to embed."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from jina_local.checkpoint import Checkpoint, open_checkpoint
from jina_local.encoder import Encoder, load_encoder
from jina_local.errors import CheckpointError
from jina_local.forks import compute_alone_after_fork, refuse_lost_device
from jina_local.own_adapters import with_adapters
from jina_local.recognition import UNKNOWN_WEIGHTS, recognise
from jina_local.tokens import TextTokenizer, read_tokenizer

if TYPE_CHECKING:
    from collections.abc import Mapping

    import torch

    from jina_local.own_adapters import AdapterSource
    from jina_local.source import ModelSource

__all__ = ["LoadedModel", "load_model", "with_one_adapter_more"]

_logger = logging.getLogger("jina_local")


@dataclass(frozen=True, slots=True, eq=False)
class LoadedModel:
    """Everything that embedding needs, immutable and shared between threads.

    Attributes:
        source: Where it was loaded from.
        checkpoint: Its files, config and tasks.
        tokenizer: Its tokenizer and limit.
        encoder: Its weights.
        device: Where it runs.
        dtype: What it computes in.
        recognised: What its weights are; `None` if they are unknown or were not looked at.
        process: Id of the process that loaded it.
    """

    source: ModelSource
    checkpoint: Checkpoint
    tokenizer: TextTokenizer
    encoder: Encoder
    device: torch.device
    dtype: torch.dtype
    recognised: str | None
    process: int = field(default_factory=os.getpid)


def load_model(
    source: ModelSource,
    *,
    device: torch.device,
    dtype: torch.dtype,
    canary: bool = True,
    adapters: Mapping[str, AdapterSource] | None = None,
) -> LoadedModel:
    """Check a checkpoint and read its weights to the device.

    Args:
        source: Where it is.
        device: Where it goes.
        dtype: What it will compute in.
        canary: Whether to say in the log what its weights are.
        adapters: More tasks, or others in the place of its own, by name.
    """
    compute_alone_after_fork()
    checkpoint = with_adapters(open_checkpoint(source.folder), adapters or {})
    tokenizer = read_tokenizer(source.folder)
    _refuse_foreign_tokenizer(tokenizer, checkpoint)
    if source.is_demo:
        _logger.warning(
            "loading the demo model of jina-local: small, English only, for trying things out. "
            "It is not jina-embeddings-v3."
        )
    encoder = load_encoder(checkpoint, device, dtype)
    recognised = recognise(checkpoint) if canary else None
    if canary:
        _logger.info("%s: %s", source.name, recognised or UNKNOWN_WEIGHTS)
    return LoadedModel(source, checkpoint, tokenizer, encoder, device, dtype, recognised)


def with_one_adapter_more(
    model: LoadedModel, name: str, adapter: AdapterSource, *, instruction: str | None = None
) -> LoadedModel:
    """Another model over the same base; the first one stays as it is.

    The word table, most of the weights, is shared by the two. The linears are read again: each of
    them holds base and adapters in one matrix.

    Args:
        model: A loaded model.
        name: The task's name.
        adapter: A PEFT folder, or an adapter in memory.
        instruction: The task's instruction; the one that comes with the adapter if `None`.
    """
    compute_alone_after_fork()
    refuse_lost_device(model)
    for stamp in model.checkpoint.files:
        stamp.refuse_change()
    checkpoint = with_adapters(model.checkpoint, {name: adapter}, instruction=instruction)
    words = model.encoder.embedding.table
    encoder = load_encoder(checkpoint, model.device, model.dtype, words=words)
    return replace(model, checkpoint=checkpoint, encoder=encoder, process=os.getpid())


def _refuse_foreign_tokenizer(tokenizer: TextTokenizer, checkpoint: Checkpoint) -> None:
    config, path = checkpoint.config, checkpoint.folder / "tokenizer.json"
    largest = max(tokenizer.tokenizer.get_vocab().values())
    if largest >= config.vocab_size:
        msg = (
            f"{path} has ids up to {largest}, but the word table has {config.vocab_size} rows: "
            "it is the tokenizer of another model"
        )
        raise CheckpointError(msg)
    ids = tokenizer.tokenizer.encode("").ids
    for name, wanted, found in (
        ("bos_token_id", config.bos_token_id, ids[0]),
        ("eos_token_id", config.eos_token_id, ids[-1]),
    ):
        if wanted is not None and wanted != found:
            msg = (
                f"{path} puts token {found} where config.json has {name} {wanted}: "
                "it is the tokenizer of another model"
            )
            raise CheckpointError(msg)
