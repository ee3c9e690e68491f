"""The model itself: sentence-transformers', except that what is cut has unit length."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch.nn import functional as F

from jina_local.inputs import check_dimensions
from jina_local_sentence_transformers.framework import SentenceTransformer

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import torch

__all__ = ["JinaSentenceTransformer"]


class JinaSentenceTransformer(SentenceTransformer):
    """A `SentenceTransformer` over jina-local.

    All of its methods are inherited. `encode_query` and `encode_document` take the tasks of these
    roles, `encode(…, task=…)` and `encode(…, prompt_name=…)` any task: its adapter and its
    instruction. Of vectors that are cut (`truncate_dim`) the length is 1, as the model was trained.
    """

    def preprocess(
        self,
        inputs: Sequence[str],
        prompt: str | None = None,
        task: str | None = None,
        max_length: int | None = None,
        processing_kwargs: None = None,
    ) -> dict[str, torch.Tensor]:
        """See `TextInput.preprocess`; the inherited one tries again with the prompt in the text."""
        found: dict[str, torch.Tensor] = self[0].preprocess(
            inputs,
            prompt=prompt,
            task=task,
            max_length=max_length,
            processing_kwargs=processing_kwargs,
        )
        return found

    def activation_checkpointing_enable(
        self,
        activation_checkpointing_kwargs: Mapping[str, object] | None = None,
        every_n_layers: int = 1,
        offload: bool = False,
    ) -> None:
        """What the trainer calls for `activation_checkpointing=True` in its arguments."""
        self.gradient_checkpointing_enable(
            activation_checkpointing_kwargs, every_n_layers=every_n_layers, offload=offload
        )

    def _inference(
        self,
        inputs: Sequence[str],
        *,
        prompt: str | None,
        batch_size: int,
        show_progress_bar: bool,
        output_value: str | None,
        save_to_cpu: bool,
        normalize_embeddings: bool,
        truncate_dim: int | None,
        device: str | torch.device | None = None,
        task: str | None = None,
        processing_kwargs: None = None,
    ) -> Any:  # noqa: ANN401 - tensors, or lists of them, by `output_value`
        """What `encode` calls, also in the processes of a pool."""
        check_dimensions(truncate_dim, self[0].checkpoint().config.width)
        cuts = truncate_dim is not None
        found = super()._inference(
            inputs,
            prompt=prompt,
            batch_size=batch_size,
            show_progress_bar=show_progress_bar,
            output_value=output_value,
            save_to_cpu=save_to_cpu,
            normalize_embeddings=normalize_embeddings or cuts,
            truncate_dim=truncate_dim,
            device=device,
            task=task,
            processing_kwargs=processing_kwargs,
        )
        if output_value is None and cuts:
            for one in found:
                one["sentence_embedding"] = F.normalize(one["sentence_embedding"], dim=-1)
        return found
