"""The engine's encoder as a module of sentence-transformers: for embedding, and only for that."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Self

import torch

from jina_local.devices import resolve_device, resolve_dtype
from jina_local.errors import InvalidOptionError, NonFiniteVectorError
from jina_local.forks import compute_alone_after_fork, refuse_lost_device
from jina_local.loading import LoadedModel, load_model
from jina_local.packing import pack, split_by_tokens
from jina_local.token_budget import default_tokens
from jina_local.widths import width_of
from jina_local_sentence_transformers.settings import Settings, Where, refuse_other_weights
from jina_local_sentence_transformers.task_choice import TaskChoice
from jina_local_sentence_transformers.text_input import TextInput

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from jina_local.adapter_store import Adapter
    from jina_local.checkpoint import Checkpoint
    from jina_local.own_adapters import AdapterSource
    from jina_local.sequences import PooledSequence

__all__ = ["JinaEncoder"]


class JinaEncoder(TextInput):
    """Token embeddings as the engine computes them, packed and without gradients.

    Its weights are laid out for one device and dtype, and are no parameters: what would move or
    round them is refused. Processes that it is sent to load them again.

    Args:
        model: A loaded model.
        settings: What is saved with it.
        where: How it was loaded.
    """

    def __init__(self, model: LoadedModel, settings: Settings, where: Where) -> None:
        choice = TaskChoice(
            table=model.checkpoint.tasks,
            query=settings.query_task,
            document=settings.document_task,
            default=settings.default_task,
        )
        super().__init__(model.tokenizer, choice, replace(settings, trained=(), train_base=False))
        self._model = model
        self._where = where
        # what tells sentence-transformers the device of a model without parameters
        self.register_buffer("_place", torch.empty(0, device=model.device), persistent=False)

    @classmethod
    def build(cls, settings: Settings, adapters: Mapping[str, AdapterSource], where: Where) -> Self:
        """Load the source and make the module of it."""
        place = resolve_device(where.device)
        found = where.find(settings)
        precision = resolve_dtype(where.dtype, place, width_of(found))
        model = load_model(
            found,
            device=place,
            dtype=precision,
            canary=where.canary,
            adapters=adapters,
        )
        refuse_other_weights(settings, model.checkpoint)
        return cls(model, replace(settings, source=model.source.name), where)

    def checkpoint(self) -> Checkpoint:
        """The checkpoint that the weights are of."""
        return self._model.checkpoint

    def own_adapters(self) -> list[Adapter]:
        """Adapters that the source does not have, or has otherwise."""
        return list(self._model.checkpoint.added.values())

    def hidden_states(self, sequences: list[PooledSequence]) -> list[torch.Tensor]:
        """Hidden states of each sequence, float32 (t, D), in the order given.

        Raises:
            InvalidOptionError: If gradients would be expected of them.
            NonFiniteVectorError: If the model gave NaN or infinity.
        """
        if self.training and torch.is_grad_enabled():
            msg = "this model only embeds: make one with load_for_training, or call model.eval()"
            raise InvalidOptionError(msg)
        model = self._model
        compute_alone_after_fork()
        refuse_lost_device(model)
        most = default_tokens(model.device, model.checkpoint.config.width, model.dtype)
        hidden: dict[int, torch.Tensor] = {}
        with torch.inference_mode(), torch.autocast(model.device.type, enabled=False):
            for group in split_by_tokens(sequences, most):
                states = model.encoder(pack(group, model.device)).float()
                if not torch.isfinite(states).all():
                    msg = "the model gave NaN or infinity: load it with another dtype"
                    raise NonFiniteVectorError(msg)
                parts = torch.split(states, [len(sequence) for sequence in group])
                hidden |= {one.item: part for one, part in zip(group, parts, strict=True)}
        return [hidden[sequence.item] for sequence in sequences]

    def _apply(self, fn: Callable[[torch.Tensor], torch.Tensor], recurse: bool = True) -> Self:
        """Refuse `half`, `to` and their like, which would move parameters and find none."""
        before = torch.empty(0, device=self._model.device, dtype=self._model.dtype)
        after = fn(before)
        if (after.device, after.dtype) != (before.device, before.dtype):
            msg = (
                f"this model is laid out for {before.device} in {before.dtype}, and cannot become "
                f"one for {after.device} in {after.dtype}: load it with device=… and dtype=…"
            )
            raise InvalidOptionError(msg)
        moved: Self = super()._apply(fn, recurse)
        return moved

    def __getstate__(self) -> dict[str, Any]:
        where = replace(
            self._where,
            device=str(self._model.device),
            dtype=str(self._model.dtype).removeprefix("torch."),
            canary=False,
        )
        return {
            "settings": self.current_settings(),
            "adapters": dict(self._model.checkpoint.added),
            "where": where,
            "training": self.training,
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(
            type(self).build(state["settings"], state["adapters"], state["where"]).__dict__
        )
        self.training = state["training"]
