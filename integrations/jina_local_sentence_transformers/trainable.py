"""The encoder's differentiable form as a module of sentence-transformers: for training."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Self

import torch

from jina_local.checkpoint import Checkpoint, open_checkpoint
from jina_local.errors import InvalidOptionError
from jina_local.inputs import check_supported
from jina_local.native_files import write_native
from jina_local.own_adapters import with_adapters
from jina_local.packing import pack
from jina_local.tokens import TextTokenizer, read_tokenizer
from jina_local.training import TrainableEncoder
from jina_local_sentence_transformers.settings import (
    HERE,
    Settings,
    Where,
    refuse_other_weights,
    write_settings,
)
from jina_local_sentence_transformers.task_choice import TaskChoice
from jina_local_sentence_transformers.text_input import TextInput

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from jina_local.adapter_store import Adapter
    from jina_local.own_adapters import AdapterSource
    from jina_local.sequences import PooledSequence

__all__ = ["TrainableJinaEncoder"]


class TrainableJinaEncoder(TextInput):
    """Token embeddings with gradients for the adapters that are trained.

    The weights are parameters in float32; to compute in bfloat16, give `bf16=True` to the trainer's
    arguments, which leaves them as they are.

    Args:
        checkpoint: Where the weights are, adapters of the user's own among them.
        text_tokenizer: Its tokenizer.
        settings: What is saved with it; it names the tasks that are trained.
    """

    def __init__(
        self, checkpoint: Checkpoint, text_tokenizer: TextTokenizer, settings: Settings
    ) -> None:
        trained = settings.trained
        default = trained[0] if len(trained) == 1 else None
        choice = TaskChoice(
            table=checkpoint.tasks,
            query=settings.query_task,
            document=settings.document_task,
            default=settings.default_task or default,
        )
        super().__init__(text_tokenizer, choice, settings)
        self._checkpoint = checkpoint
        self.encoder = TrainableEncoder(checkpoint, trained=trained, train_base=settings.train_base)

    @classmethod
    def build(cls, settings: Settings, adapters: Mapping[str, AdapterSource], where: Where) -> Self:
        """Load the source and make the module of it."""
        source = where.find(settings)
        checkpoint = with_adapters(open_checkpoint(source.folder), adapters)
        refuse_other_weights(settings, checkpoint)
        tokenizer = read_tokenizer(source.folder)
        return cls(checkpoint, tokenizer, replace(settings, source=source.name))

    def checkpoint(self) -> Checkpoint:
        """The checkpoint that training began with."""
        return self._checkpoint

    def adapter(self, task: str) -> Adapter:
        """The adapter of a task as it is now.

        Raises:
            UnknownTaskError: If there is no such task.
        """
        return self.encoder.adapter(task)

    def own_adapters(self) -> list[Adapter]:
        """Adapters that the source does not have, or has otherwise."""
        names = dict.fromkeys((*self._checkpoint.added, *self.encoder.trained))
        return [self.encoder.adapter(name) for name in names]

    def save(self, output_path: str, safe_serialization: bool = True) -> None:
        """Save the adapters that are not the source's, or, trained as a whole, the whole model."""
        if not self.encoder.train_base:
            super().save(output_path, safe_serialization)
            return
        check_supported({"safe_serialization": (safe_serialization, True)})
        folder = Path(output_path)
        adapters = [self.encoder.adapter(name) for name in self.encoder.tasks.names]
        settings = replace(
            self.current_settings(), source=HERE, revision=None, weights="", added=()
        )
        write_native(folder, self._checkpoint, self.encoder.base_tensors(), adapters)
        write_settings(settings, folder)

    def hidden_states(self, sequences: list[PooledSequence]) -> list[torch.Tensor]:
        """Hidden states of each sequence, float32 (t, D), in the order given."""
        longest_first = sorted(sequences, key=len, reverse=True)
        states = self.encoder(pack(longest_first, self.encoder.word.weight.device)).float()
        parts = torch.split(states, [len(sequence) for sequence in longest_first])
        hidden = {one.item: part for one, part in zip(longest_first, parts, strict=True)}
        return [hidden[sequence.item] for sequence in sequences]

    def _apply(self, fn: Callable[[torch.Tensor], torch.Tensor], recurse: bool = True) -> Self:
        """Refuse `half` and its like, in which small steps of training are lost."""
        after = fn(torch.empty(0, device=self.encoder.word.weight.device))
        if after.dtype != torch.float32:
            msg = (
                f"weights are trained in float32, not in {after.dtype}: give bf16=True to the "
                "trainer's arguments, which computes in bfloat16 and keeps them"
            )
            raise InvalidOptionError(msg)
        moved: Self = super()._apply(fn, recurse)
        return moved
