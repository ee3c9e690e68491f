"""A loaded model and its lifetime: where it came from, what it is, when it is let go."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any, Self

from jina_local.devices import check_dtype, resolve_device, resolve_dtype
from jina_local.errors import EngineClosedError
from jina_local.fingerprint import embedding_fingerprint, weights_id
from jina_local.inputs import check_dimensions, check_flag, check_integer, check_texts
from jina_local.loading import LoadedModel, load_model, with_one_adapter_more
from jina_local.own_adapters import adapter_of, check_adapters
from jina_local.source import resolve_source
from jina_local.token_budget import TokenBudget, default_tokens
from jina_local.widths import width_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from jina_local.adapter_store import Adapter
    from jina_local.own_adapters import AdapterSource

__all__ = ["ModelHandle"]


class ModelHandle:
    """Holds a loaded model until it is closed.

    Args:
        model: A loaded model.
        batch_tokens: The most tokens per forward pass; a longer text gets a pass of its own.
        on_close: Called once, when the handle is closed or collected.

    Raises:
        InvalidOptionError: If `batch_tokens` is no positive integer.
    """

    def __init__(
        self,
        model: LoadedModel,
        *,
        batch_tokens: int | None = None,
        on_close: Callable[[], None] | None = None,
    ) -> None:
        width = model.checkpoint.config.width
        self._budget = TokenBudget(
            _check_batch_tokens(batch_tokens) or default_tokens(model.device, width, model.dtype)
        )
        self._loaded: LoadedModel | None = model
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
        canary: bool = True,
        adapters: Mapping[str, AdapterSource] | None = None,
    ) -> Self:
        """Load a checkpoint, always anew.

        The weights of jina-embeddings-v3 are licensed CC BY-NC 4.0: not for commercial use
        without a licence from Jina AI.

        Args:
            source: A folder, a hub id such as `jinaai/jina-embeddings-v3`, or `demo`.
            revision: Branch, tag or commit on the hub.
            device: `auto` (CUDA where there is one, else CPU), `cpu`, `cuda`, `cuda:N`; `mps` is
                untested.
            dtype: `auto` (bfloat16 on CUDA and on processors with AMX or AVX512-BF16, else
                float32), `float32`, `bfloat16`, `float16`.
            local_files_only: Use the hub's cache and touch no network.
            cache_dir: Where the hub's files are kept.
            token: Access token for gated repositories.
            batch_tokens: The most tokens per forward pass. Changes speed and memory, not results.
            canary: Whether to look what the weights are; see `recognised`.
            adapters: Adapters of your own by the names of their tasks, each a PEFT folder: more
                tasks, or others in the place of the checkpoint's own. See `add_adapter`.

        Raises:
            ModelNotFoundError: If there is no such model, or a file is missing from it.
            HubError: If the hub cannot be reached or refuses.
            CheckpointError: If the files are not a jina-embeddings-v3 checkpoint.
            InvalidOptionError: If an option is outside its allowed set.
        """
        _check_batch_tokens(batch_tokens)
        check_flag("canary", canary)
        added = check_adapters(adapters)
        place = resolve_device(device)
        check_dtype(dtype)
        found = resolve_source(
            source,
            revision=revision,
            local_files_only=local_files_only,
            cache_dir=cache_dir,
            token=token,
        )
        precision = resolve_dtype(dtype, place, width_of(found))
        model = load_model(
            found,
            device=place,
            dtype=precision,
            canary=canary,
            adapters=added,
        )
        return cls(model, batch_tokens=batch_tokens)

    def add_adapter(
        self, name: str, adapter: AdapterSource, *, instruction: str | None = None
    ) -> Self:
        """Another engine over the same base, with one task more; this one stays as it is.

        An engine never changes, because threads share it and fingerprints name it. The new one
        shares the word table with this one and lives by itself: close both.

        Args:
            name: The task's name. One of `tasks` is replaced by the new one.
            adapter: A PEFT folder of plain LoRA, of any rank and for any of the model's weights,
                or an `Adapter`.
            instruction: Text put before every input of the task. If `None`, what `save_adapter`
                wrote beside the adapter. A folder of plain PEFT has none: then that of the task
                that is replaced holds, else an empty one, and the log says so.

        Raises:
            ModelNotFoundError: If there is no such folder.
            CheckpointError: If the adapter is not one of plain LoRA or not of this model, or if a
                file of the model changed since it was loaded.
            InvalidOptionError: If the name is none.
            EngineClosedError: If the engine was closed.
        """
        model = with_one_adapter_more(self._model, name, adapter, instruction=instruction)
        return type(self)(model, batch_tokens=self._budget.tokens)

    def adapter(self, task: str) -> Adapter:
        """A task's adapter, in tensors of its own: to copy, to train further, to save.

        Raises:
            UnknownTaskError: If the task is none of `tasks`.
            InvalidOptionError: If the task is `None`: the base model has no adapter.
            CheckpointError: If a file of the model changed since it was loaded.
            EngineClosedError: If the engine was closed.
        """
        return adapter_of(self._model.checkpoint, task)

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
    def recognised(self) -> str | None:
        """What the weights are, by digests of a few small tensors; `None` if they are unknown.

        A hint and no proof, which is what `jina-local verify` is for: weights of a fine-tune may
        differ in other tensors, and of jina-embeddings-v3 no digest of all adapters was published.
        """
        return self._model.recognised

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
        """SHA-256 of the weights, equal for both checkpoint layouts of equal weights.

        Adapters that replace the checkpoint's own change it. Tasks that were added do not, so that
        what was embedded under the others stays valid; `fingerprint` has theirs.
        """
        return weights_id(self._model.checkpoint)

    def tokenize(self, text: str) -> list[int]:
        """Ids of a text as the model sees it, without `<s>`, `</s>` and instruction.

        For splitters that count tokens: what they count is then what the model takes.
        """
        (checked,) = check_texts([text])
        return list(self._model.tokenizer.tokenizer.encode(checked, add_special_tokens=False).ids)

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
            return f"{type(self).__name__}(closed)"
        where = f"device={self.device!r}, dtype={self.dtype!r}"
        return f"{type(self).__name__}({self._loaded.source.name!r}, {where})"

    @property
    def _model(self) -> LoadedModel:
        model = self._loaded
        if model is None:
            msg = "this engine was closed: load it again"
            raise EngineClosedError(msg)
        return model


def _check_batch_tokens(batch_tokens: int | None) -> int | None:
    return None if batch_tokens is None else check_integer("batch_tokens", batch_tokens, 1)
