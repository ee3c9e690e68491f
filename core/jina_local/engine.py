"""The engine: text in, right vectors out. It composes the stages and does no maths of its own."""

from __future__ import annotations

import warnings
import weakref
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from jina_local.devices import resolve_device, resolve_dtype
from jina_local.errors import EngineClosedError, InvalidOptionError, TruncationWarning
from jina_local.fingerprint import embedding_fingerprint, weights_id
from jina_local.inference import pooled_vectors
from jina_local.inputs import (
    check_dimensions,
    check_max_length,
    check_normalization,
    check_supported,
    check_texts,
)
from jina_local.loading import LoadedModel, load_model
from jina_local.overflow import (
    OnOverflow,
    check_overflow,
    default_overflow,
    prepare_texts,
)
from jina_local.source import resolve_source
from jina_local.tasks import ROLE_TASKS
from jina_local.vectors import to_vectors

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

__all__ = ["Embeddings", "Engine"]

_BATCH_TOKENS: Mapping[str, int] = {"cpu": 2048, "cuda": 16384, "mps": 4096}


@dataclass(frozen=True, slots=True, eq=False)
class Embeddings:
    """Vectors of N texts, and what happened to each text.

    Attributes:
        vectors: float32 (N, d); row i is text i.
        token_counts: Tokens that each vector was made from, `<s>`, `</s>` and instruction
            included, int64 (N,). Tokens that several windows share count once.
        truncated: Whether the end of the text was cut off, bool (N,).
        windows: Windows that each text was run in; 1 unless it was longer than the model,
            int64 (N,).
    """

    vectors: np.ndarray
    token_counts: np.ndarray
    truncated: np.ndarray
    windows: np.ndarray

    def __len__(self) -> int:
        return len(self.vectors)


class Engine:
    """jina-embeddings-v3 on this machine.

    One engine serves every task and every dimension, and any number of threads. Make one with
    `Engine.load`, or share one with `jina_local.shared_engine`.

    Args:
        model: A loaded model.
        batch_tokens: The most tokens per forward pass; a longer text gets a pass of its own.
        on_close: Called once, when the engine is closed or collected.
    """

    def __init__(
        self,
        model: LoadedModel,
        *,
        batch_tokens: int | None = None,
        on_close: Callable[[], None] | None = None,
    ) -> None:
        self._loaded: LoadedModel | None = model
        self._batch_tokens = batch_tokens or _BATCH_TOKENS[model.device.type]
        self._release = weakref.finalize(self, on_close) if on_close else None

    @classmethod
    def load(
        cls,
        source: str | Path,
        *,
        revision: str | None = None,
        device: str = "auto",
        dtype: str = "auto",
        local_files_only: bool = False,
        cache_dir: str | Path | None = None,
        token: str | None = None,
        batch_tokens: int | None = None,
    ) -> Self:
        """Load a checkpoint, always anew.

        The weights of jina-embeddings-v3 are licensed CC BY-NC 4.0: not for commercial use
        without a licence from Jina AI.

        Args:
            source: A folder, a hub id such as `jinaai/jina-embeddings-v3`, or `demo`.
            revision: Branch, tag or commit on the hub.
            device: `auto` (CUDA where there is one, else CPU), `cpu`, `cuda`, `cuda:N`; `mps` is
                untested.
            dtype: `auto` (float32 on CPU, bfloat16 on CUDA), `float32`, `bfloat16`, `float16`.
            local_files_only: Use the hub's cache and touch no network.
            cache_dir: Where the hub's files are kept.
            token: Access token for gated repositories.
            batch_tokens: The most tokens per forward pass. Changes speed and memory, not results.

        Raises:
            ModelNotFoundError: If there is no such model, or a file is missing from it.
            HubError: If the hub cannot be reached or refuses.
            CheckpointError: If the files are not a jina-embeddings-v3 checkpoint.
            InvalidOptionError: If an option is outside its allowed set.
        """
        if batch_tokens is not None and batch_tokens < 1:
            msg = f"batch_tokens is {batch_tokens}; give a positive number, or None for the default"
            raise InvalidOptionError(msg)
        place = resolve_device(device)
        precision = resolve_dtype(dtype, place)
        found = resolve_source(
            source,
            revision=revision,
            local_files_only=local_files_only,
            cache_dir=cache_dir,
            token=token,
        )
        model = load_model(found, device=place, dtype=precision)
        return cls(model, batch_tokens=batch_tokens)

    # What the model is

    @property
    def source(self) -> str:
        """What the model was loaded from: a folder, a hub id, or `demo`."""
        return self._model.source.name

    @property
    def revision(self) -> str | None:
        """The hub's revision that was asked for; `None` for anything else."""
        return self._model.source.revision

    @property
    def tasks(self) -> tuple[str, ...]:
        """The checkpoint's tasks, in the order of its adapters."""
        return self._model.checkpoint.tasks.names

    @property
    def dimension(self) -> int:
        """D, the model's width and the largest Matryoshka dimension."""
        return self._model.checkpoint.config.width

    @property
    def max_tokens(self) -> int:
        """The most tokens that the model takes at once, specials and instruction included."""
        return self._model.tokenizer.max_tokens

    @property
    def device(self) -> str:
        """Where the model runs."""
        return str(self._model.device)

    @property
    def dtype(self) -> str:
        """What the model computes in."""
        return str(self._model.dtype).removeprefix("torch.")

    @property
    def tokenizer_json(self) -> str:
        """The model's tokenizer without truncation and padding, as a tokenizer.json."""
        return str(self._model.tokenizer.tokenizer.to_str())

    @property
    def weights_id(self) -> str:
        """SHA-256 of the weights, equal for both checkpoint layouts of equal weights."""
        return weights_id(self._model.checkpoint)

    def fingerprint(
        self,
        *,
        task: str | None,
        dimensions: int | None,
        normalize: bool,
        instruction: bool,
        late: Mapping[str, Any] | None = None,
        legacy: bool = False,
    ) -> str:
        """SHA-256 of everything that changes the numbers of a way of embedding.

        Vectors of texts longer than the model also depend on `on_overflow`; the fingerprint stands
        for the role's default.

        Args:
            task: Task, or `None` for the base model.
            dimensions: Matryoshka dimension; `None` for the full width.
            normalize: Whether vectors have unit length.
            instruction: Whether the task's instruction is put before every text.
            late: Late-chunking settings, if chunks are embedded in context.
            legacy: Whether vectors are normalized before they are cut.
        """
        return embedding_fingerprint(
            self._model,
            task=task,
            dimensions=check_dimensions(dimensions, self.dimension),
            normalize=normalize,
            instruction=instruction,
            late=late,
            legacy=legacy,
        )

    # Embedding

    def embed_documents(
        self,
        texts: Sequence[str],
        *,
        dimensions: int | None = None,
        normalize: bool = True,
        on_overflow: OnOverflow | None = None,
        instruction: bool = True,
        progress: Callable[[int], None] | None = None,
        legacy: bool = False,
    ) -> Embeddings:
        """Embed what is searched: adapter and instruction of `retrieval.passage`.

        Texts longer than the model are run in windows unless told otherwise. See `embed`.
        """
        return self.embed(
            texts,
            task=ROLE_TASKS["document"],
            dimensions=dimensions,
            normalize=normalize,
            on_overflow=on_overflow,
            instruction=instruction,
            progress=progress,
            legacy=legacy,
        )

    def embed_queries(
        self,
        texts: Sequence[str],
        *,
        dimensions: int | None = None,
        normalize: bool = True,
        on_overflow: OnOverflow | None = None,
        instruction: bool = True,
        progress: Callable[[int], None] | None = None,
        legacy: bool = False,
    ) -> Embeddings:
        """Embed what is searched for: adapter and instruction of `retrieval.query`.

        A query longer than the model is an error unless told otherwise. See `embed`.
        """
        return self.embed(
            texts,
            task=ROLE_TASKS["query"],
            dimensions=dimensions,
            normalize=normalize,
            on_overflow=on_overflow,
            instruction=instruction,
            progress=progress,
            legacy=legacy,
        )

    def embed(
        self,
        texts: Sequence[str],
        *,
        task: str | Sequence[str | None] | None = None,
        dimensions: int | None = None,
        normalize: bool = True,
        on_overflow: OnOverflow | None = None,
        instruction: bool = True,
        progress: Callable[[int], None] | None = None,
        legacy: bool = False,
    ) -> Embeddings:
        """Embed texts under any task, or under one task each.

        Args:
            texts: N texts.
            task: One of `tasks`, or one per text; `None` is the base model without instruction.
            dimensions: d, any integer in 1…`dimension`; the full width if `None`.
            normalize: Whether vectors get unit length.
            on_overflow: For texts longer than `max_tokens`: `error`; `truncate` (cut, and
                reported); `window` (run in overlapping windows and pooled as one, and reported).
                `None` is `error` for `retrieval.query` and `window` for everything else.
            instruction: Whether the task's instruction is put before every text, as the model was
                trained. Without it vectors differ from those of the reference.
            progress: Called after each forward pass with the number of texts finished so far.
            legacy: Normalize before cutting, for indexes built before the reference was fixed.

        Returns:
            Vectors (N, d) and what happened to each text; row i is text i.

        Raises:
            InvalidTextsError: If `texts` is not a list of strings.
            InvalidOptionError: If an option is outside its allowed set, or a task is unknown.
            TextTooLongError: If a text is too long and `on_overflow` says so.
            NonFiniteVectorError: If the model gave NaN or infinity.
            EngineClosedError: If the engine was closed.
        """
        model = self._model
        checked = check_texts(texts)
        tasks = model.checkpoint.tasks.for_texts(task, len(checked))
        size = check_dimensions(dimensions, self.dimension)
        check_overflow(on_overflow)
        check_normalization(normalize=normalize, legacy=legacy)
        if not instruction:
            tasks = [used.without_instruction() for used in tasks]
        overflows = [on_overflow or default_overflow(used) for used in tasks]
        tokenized = model.tokenizer.tokenize(checked, [used.instruction for used in tasks])
        prepared = prepare_texts(tokenized, tasks, overflows, model.tokenizer.max_tokens)
        pooled = pooled_vectors(model, prepared, self._batch_tokens, progress)
        return Embeddings(
            vectors=to_vectors(pooled, size, normalize=normalize, legacy=legacy),
            token_counts=prepared.token_counts,
            truncated=prepared.truncated,
            windows=prepared.windows,
        )

    def encode(  # noqa: PLR0917 - the signature that users of the original have written
        self,
        texts: str | Sequence[str],
        batch_size: int | None = None,
        show_progress_bar: bool | None = None,
        output_value: str = "sentence_embedding",
        convert_to_numpy: bool = True,
        convert_to_tensor: bool = False,
        device: str | None = None,
        normalize_embeddings: bool = True,
        truncate_dim: int | None = None,
        task: str | None = None,
        max_length: int | None = None,
    ) -> np.ndarray:
        """What `AutoModel.encode` of the remote-code model returns, for code that called it.

        New code is better served by `embed`: it reports what was cut and takes a role for a task.

        Args:
            texts: N texts, or one.
            batch_size: Accepted and not needed: batches are made by tokens.
            show_progress_bar: Accepted and not needed.
            output_value: Only `sentence_embedding`, as in the original.
            convert_to_numpy: Only true.
            convert_to_tensor: Only false; `torch.from_numpy` shares the memory.
            device: Only the engine's own.
            normalize_embeddings: Whether vectors get unit length.
            truncate_dim: Matryoshka dimension; the checkpoint's own, else the width, if `None`.
            task: One of `tasks`; `None` or an empty string is the base model.
            max_length: The most tokens per text, `max_tokens` if `None`. What is longer is cut,
                with one warning.

        Returns:
            float32 (N, d), or (d,) for one text.

        Raises:
            InvalidOptionError: If an option is outside its allowed set.
        """
        del batch_size, show_progress_bar
        check_supported(
            {
                "output_value": (output_value, "sentence_embedding"),
                "convert_to_numpy": (convert_to_numpy, True),
                "convert_to_tensor": (convert_to_tensor, False),
                "device": (self.device if _is_of(device, self.device) else device, self.device),
            }
        )
        model = self._model
        limit = check_max_length(max_length, model.tokenizer.max_tokens)
        check_normalization(normalize=normalize_embeddings, legacy=False)
        checked = check_texts([texts] if isinstance(texts, str) else texts)
        used = model.checkpoint.tasks.find(task or None)
        default_dim = model.checkpoint.config.truncate_dim
        size = check_dimensions(
            default_dim if truncate_dim is None else truncate_dim, self.dimension
        )
        tasks = [used] * len(checked)
        cut_all: list[OnOverflow] = ["truncate"] * len(checked)
        tokenized = model.tokenizer.tokenize(checked, [used.instruction] * len(checked))
        prepared = prepare_texts(tokenized, tasks, cut_all, limit)
        if prepared.truncated.any():
            cut = np.flatnonzero(prepared.truncated)
            msg = f"{len(cut)} of {len(checked)} texts were cut to {limit} tokens; first: {cut[0]}"
            warnings.warn(msg, TruncationWarning, stacklevel=2)
        pooled = pooled_vectors(model, prepared, self._batch_tokens)
        vectors = to_vectors(pooled, size, normalize=normalize_embeddings)
        return vectors[0] if isinstance(texts, str) else vectors

    # Lifetime

    def close(self) -> None:
        """Let go of the weights. Closing twice is fine; using a closed engine is an error."""
        self._loaded = None
        if self._release is not None:
            self._release()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def __repr__(self) -> str:
        if self._loaded is None:
            return "Engine(closed)"
        return f"Engine({self._loaded.source.name!r}, device={self.device!r}, dtype={self.dtype!r})"

    @property
    def _model(self) -> LoadedModel:
        model = self._loaded
        if model is None:
            msg = "this engine was closed: load it again"
            raise EngineClosedError(msg)
        return model


def _is_of(device: str | None, own: str) -> bool:
    """Whether a device names the engine's own: `cuda` is `cuda:0`."""
    return device is None or str(device) in (own, own.partition(":")[0])
