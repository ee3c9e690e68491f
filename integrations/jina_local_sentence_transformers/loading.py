"""A checkpoint or a saved model → a model for embedding, or one for training."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from jina_local.checkpoint import open_checkpoint
from jina_local.config import read_json
from jina_local.devices import resolve_device
from jina_local.errors import InvalidOptionError
from jina_local.inputs import check_dimensions
from jina_local.own_adapters import adapter_of, check_adapters, with_adapters
from jina_local_sentence_transformers.encoder import JinaEncoder
from jina_local_sentence_transformers.framework import Normalize, Pooling
from jina_local_sentence_transformers.model import JinaSentenceTransformer
from jina_local_sentence_transformers.settings import (
    Overflow,
    Settings,
    Where,
    is_saved_model,
    read_saved,
)
from jina_local_sentence_transformers.trainable import TrainableJinaEncoder

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from jina_local.own_adapters import AdapterSource
    from jina_local_sentence_transformers.text_input import TextInput

__all__ = ["load", "load_for_training"]


def load(
    source: str | Path,
    *,
    base: str | Path | None = None,
    revision: str | None = None,
    device: str = "auto",
    dtype: str = "auto",
    local_files_only: bool = False,
    cache_dir: str | Path | None = None,
    token: str | None = None,
    canary: bool = True,
    adapters: Mapping[str, AdapterSource] | None = None,
    query_task: str | None = None,
    document_task: str | None = None,
    default_task: str | None = None,
    truncate_dim: int | None = None,
    max_seq_length: int | None = None,
    on_overflow: Overflow | None = None,
) -> JinaSentenceTransformer:
    """Load a model for embedding.

    Args:
        source: A checkpoint: a folder, a hub id, or `demo`; or the folder of a saved model.
        base: Where a saved model's base weights are now, if not where they were.
        revision: See `jina_local.Engine.load`, as for the next six.
        device: Of the model; it cannot be moved later.
        dtype: What it computes in; it cannot be changed later.
        local_files_only: Use the hub's cache and touch no network.
        cache_dir: Where the hub's files are kept.
        token: Access token for gated repositories.
        canary: Whether to look what the weights are.
        adapters: Adapters of your own by the names of their tasks.
        query_task: The task of `encode_query`; `retrieval.query` if `None`, or as it was saved.
        document_task: The task of `encode_document`; `retrieval.passage` if `None`, or as saved.
        default_task: The task of texts of which nothing is said, neither task nor prompt; the base
            model without instruction if `None`, or as saved.
        truncate_dim: The dimension of vectors, unless `encode` is told another.
        max_seq_length: The most tokens per text, instruction included; the checkpoint's limit if
            `None`.
        on_overflow: For texts longer than that: `truncate`, with a `TruncationWarning`, which is
            the default, or `error`.

    Raises:
        ModelNotFoundError: If there is no such model.
        CheckpointError: If the files are not a jina-embeddings-v3 checkpoint, or not the base of
            the saved model.
        InvalidOptionError: If an option is outside its allowed set, or a task is unknown.
        MissingExtraError: If sentence-transformers is not installed.
    """
    settings, added = _opened(source, base, revision, adapters)
    settings = settings.updated(
        query_task=query_task,
        document_task=document_task,
        default_task=default_task,
        max_seq_length=max_seq_length,
        on_overflow=on_overflow,
    )
    where = Where(
        device=device,
        dtype=dtype,
        local_files_only=local_files_only,
        cache_dir=cache_dir,
        token=token,
        canary=canary,
    )
    encoder = JinaEncoder.build(settings, added, where)
    return _model(encoder, device, truncate_dim or _saved_dim(source))


def load_for_training(
    source: str | Path,
    *,
    tasks: str | Sequence[str] = (),
    new_tasks: Mapping[str, str] | None = None,
    instructions: Mapping[str, str] | None = None,
    whole_model: bool = False,
    base: str | Path | None = None,
    revision: str | None = None,
    device: str = "auto",
    local_files_only: bool = False,
    cache_dir: str | Path | None = None,
    token: str | None = None,
    adapters: Mapping[str, AdapterSource] | None = None,
    query_task: str | None = None,
    document_task: str | None = None,
    default_task: str | None = None,
    truncate_dim: int | None = None,
    max_seq_length: int | None = None,
    on_overflow: Overflow | None = None,
) -> JinaSentenceTransformer:
    """Load a model whose adapters `SentenceTransformerTrainer` can train.

    Only adapters of the tasks that are named change; all other weights are frozen, so that the
    vectors of all other tasks stay as they are. Which column of a dataset is embedded under which
    task is said by `router_mapping` in the trainer's arguments: `{"question": "retrieval.query"}`.
    Columns that are not named there get `default_task`.

    Args:
        source: A checkpoint: a folder, a hub id, or `demo`; or the folder of a saved model.
        tasks: The tasks that are trained; a saved model goes on with its own if none is named.
        new_tasks: New tasks, each with the name of the one that it begins as a copy of, with its
            instruction. They are trained as well.
        instructions: Other instructions for new tasks.
        whole_model: Whether the weights that all tasks share are trained as well, which changes
            the vectors of every task.
        base: See `load`, as for all that follow.
        revision: The hub's revision.
        device: Where training begins; the trainer moves the model where it trains.
        local_files_only: Use the hub's cache and touch no network.
        cache_dir: Where the hub's files are kept.
        token: Access token for gated repositories.
        adapters: Adapters of your own by the names of their tasks.
        query_task: The task of `encode_query`.
        document_task: The task of `encode_document`.
        default_task: The task of texts of which nothing is said; the trained one if there is one.
        truncate_dim: The dimension of vectors, unless `encode` is told another.
        max_seq_length: The most tokens per text.
        on_overflow: For texts longer than that.

    Raises:
        InvalidOptionError: If nothing would be trained, or a task is unknown or there already.
        ModelNotFoundError: If there is no such model.
        CheckpointError: If the files are not a jina-embeddings-v3 checkpoint, or not the base of
            the saved model.
        MissingExtraError: If sentence-transformers is not installed.
    """
    settings, added = _opened(source, base, revision, adapters)
    where = Where(
        device=device, local_files_only=local_files_only, cache_dir=cache_dir, token=token
    )
    found = where.find(settings)
    checkpoint = with_adapters(open_checkpoint(found.folder), added)
    copies = dict(new_tasks or {})
    if there := sorted(set(copies) & set(checkpoint.tasks.names)):
        msg = f"new_tasks has {there}, which the model has already: name it in tasks to train it"
        raise InvalidOptionError(msg)
    if unknown := sorted(set(instructions or {}) - set(copies)):
        msg = f"instructions has {unknown}, but only new tasks may have another: {sorted(copies)}"
        raise InvalidOptionError(msg)
    for name, origin in copies.items():
        added[name] = adapter_of(checkpoint, origin).named(name, (instructions or {}).get(name))
    named = (tasks,) if isinstance(tasks, str) else tuple(tasks)
    trained = tuple(dict.fromkeys((*(named or settings.trained), *copies)))
    settings = replace(settings, trained=trained, train_base=whole_model or settings.train_base)
    settings = settings.updated(
        query_task=query_task,
        document_task=document_task,
        default_task=default_task,
        max_seq_length=max_seq_length,
        on_overflow=on_overflow,
    )
    encoder = TrainableJinaEncoder.build(settings, added, where)
    return _model(encoder, device, truncate_dim or _saved_dim(source))


def _opened(
    source: str | Path,
    base: str | Path | None,
    revision: str | None,
    adapters: Mapping[str, AdapterSource] | None,
) -> tuple[Settings, dict[str, AdapterSource]]:
    """Settings, and adapters: those of a saved model, and the user's, which go before them."""
    own = check_adapters(adapters)
    if not is_saved_model(source):
        if base is not None:
            msg = f"base={str(base)!r} is for saved models; {str(source)!r} is none"
            raise InvalidOptionError(msg)
        return Settings(source=_named(source), revision=revision), own
    settings, saved = read_saved(Path(source))
    if base is not None:
        settings = replace(settings, source=_named(base), revision=revision)
    return settings, {**saved, **own}


def _named(source: str | Path) -> str:
    """A `Path` is always a folder, also `Path("demo")`."""
    return source if isinstance(source, str) else str(source.expanduser().absolute())


def _saved_dim(source: str | Path) -> int | None:
    """The `truncate_dim` that sentence-transformers wrote, if this is a saved model."""
    path = Path(source) / "config_sentence_transformers.json"
    if not (is_saved_model(source) and path.is_file()):
        return None
    dim: int | None = read_json(path).get("truncate_dim")
    return dim


def _model(encoder: TextInput, device: str, truncate_dim: int | None) -> JinaSentenceTransformer:
    width = encoder.checkpoint().config.width
    check_dimensions(truncate_dim, width)
    return JinaSentenceTransformer(
        modules=[encoder, Pooling(width, "mean"), Normalize()],
        device=str(resolve_device(device)),
        similarity_fn_name="cosine",
        truncate_dim=truncate_dim,
    )
