"""The published model's own module for sentence-transformers, mistakes included."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import InputModule
from sentence_transformers.sentence_transformer.modules import Normalize, Pooling

from support.ours import Ours

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jina_local import Engine
    from support.checkpoints import Checkpoint

__all__ = ["published_model"]


class PublishedModule(InputModule):
    """What `custom_st.py` of the published model does with texts, over the same weights.

    `task` chooses the adapter and nothing else; the instruction comes from `prompt_name` alone, by
    sentence-transformers; texts are stripped.
    """

    forward_kwargs = {"task"}  # noqa: RUF012 - as sentence-transformers has it

    def __init__(self, checkpoint: Checkpoint, engine: Engine) -> None:
        super().__init__()
        self._ours = Ours(checkpoint.folder)
        self._engine = engine

    def preprocess(
        self, inputs: Sequence[str], prompt: str | None = None, task: str | None = None
    ) -> dict[str, torch.Tensor]:
        del task
        texts = [((prompt or "") + text).strip() for text in inputs]
        ids = [torch.tensor([0, *self._engine.tokenize(text), 2]) for text in texts]
        mask = [torch.ones_like(one) for one in ids]
        pad = torch.nn.utils.rnn.pad_sequence
        return {
            "input_ids": pad(ids, batch_first=True, padding_value=1),
            "attention_mask": pad(mask, batch_first=True),
        }

    def forward(self, features: dict[str, Any], task: str | None = None) -> dict[str, Any]:
        if task is not None and task not in self._engine.tasks:
            msg = f"Unsupported task '{task}'."
            raise ValueError(msg)
        lengths = features["attention_mask"].sum(1).tolist()
        rows = [row[:n].tolist() for row, n in zip(features["input_ids"], lengths, strict=True)]
        states = self._ours.hidden_states(rows, [task] * len(rows))
        pad = torch.nn.utils.rnn.pad_sequence
        return {**features, "token_embeddings": pad(states, batch_first=True)}

    def save(self, output_path: str) -> None:
        raise NotImplementedError(output_path)


def published_model(checkpoint: Checkpoint, engine: Engine) -> SentenceTransformer:
    """The weights of a checkpoint as the published modules use them, with the published prompts."""
    width = checkpoint.config.hidden_size
    return SentenceTransformer(
        modules=[PublishedModule(checkpoint, engine), Pooling(width, "mean"), Normalize()],
        prompts=dict(checkpoint.config.task_instructions),
        device="cpu",
    )
