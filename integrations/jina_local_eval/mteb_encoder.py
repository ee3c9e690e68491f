"""An engine as mteb's encoder: each of MTEB's tasks with the adapter and instruction it needs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from jina_local.errors import InvalidOptionError
from jina_local.fingerprint import canonical_hash
from jina_local_eval.routing import V3_ROUTING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import numpy as np

    from jina_local import Engine
    from jina_local.overflow import OnOverflow
    from jina_local_eval.routing import Routing

__all__ = ["MtebEncoder"]


class MtebEncoder:
    """What `mteb.evaluate` takes: an `EncoderProtocol` over an engine.

    mteb's own prompts are not used: the engine puts the instruction of the model's task before
    every text, as the published scores were made.

    Args:
        engine: The model; the caller closes it.
        dimensions: Matryoshka dimension; the full width if `None`.
        on_overflow: For texts longer than the model. `truncate` is what the published scores were
            made with; late chunking plays no part here.
        routing: Which of the model's tasks embeds which of MTEB's.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        dimensions: int | None = None,
        on_overflow: OnOverflow = "truncate",
        routing: Routing = V3_ROUTING,
    ) -> None:
        self.engine = engine
        self.dimensions = dimensions
        self.on_overflow: OnOverflow = on_overflow
        self.routing = routing
        self._meta: Any = None

    def encode(
        self,
        inputs: Iterable[Mapping[str, Any]],
        *,
        task_metadata: Any,  # noqa: ANN401 - mteb is optional
        hf_split: str,
        hf_subset: str,
        prompt_type: Any = None,  # noqa: ANN401
        batch_size: int | None = None,
        show_progress_bar: bool | None = None,
        precision: str | None = None,
    ) -> np.ndarray:
        """Embed the texts of one of MTEB's tasks.

        Args:
            inputs: Batches with their texts under `text`; with the title before the body, as mteb
                joins them.
            task_metadata: mteb's description of the task; its name and type choose the adapter.
            hf_split: Not needed.
            hf_subset: Not needed.
            prompt_type: mteb's `PromptType`: query, document, or `None`.
            batch_size: Accepted and not needed: batches are made by tokens.
            show_progress_bar: Accepted and not needed.
            precision: Only `float32`, or `None`.

        Returns:
            Unit vectors, float32 (N, d).

        Raises:
            InvalidOptionError: If the type of the task is not routed, or another precision is
                asked for.
        """
        del hf_split, hf_subset, batch_size, show_progress_bar
        if precision not in (None, "float32"):
            msg = f"precision is {precision!r}; vectors are float32 here"
            raise InvalidOptionError(msg)
        role = getattr(prompt_type, "value", prompt_type)
        task = self.routing.task(task_metadata.name, task_metadata.type, role)
        texts = [text for batch in inputs for text in batch["text"]]
        return self.engine.embed(
            texts, task=task, dimensions=self.dimensions, on_overflow=self.on_overflow
        ).vectors

    def similarity(self, embeddings1: Any, embeddings2: Any) -> Any:  # noqa: ANN401
        """Cosine of every pair, as mteb computes it: (N, d) and (M, d) → (N, M)."""
        from mteb.similarity_functions import cos_sim

        return cos_sim(embeddings1, embeddings2)

    def similarity_pairwise(self, embeddings1: Any, embeddings2: Any) -> Any:  # noqa: ANN401
        """Cosine of vectors of equal index, as mteb computes it: twice (N, d) → (N,)."""
        from mteb.similarity_functions import pairwise_cos_sim

        return pairwise_cos_sim(embeddings1, embeddings2)

    @property
    def mteb_model_meta(self) -> Any:  # noqa: ANN401
        """What mteb knows of this model, made when first asked for, which hashes the weights.

        Its revision stands for everything that changes the scores, rounding included, so that
        mteb never takes one's results for another's.
        """
        if self._meta is None:
            self._meta = self._described()
        return self._meta

    def _described(self) -> Any:  # noqa: ANN401
        from mteb.models.model_meta import ModelMeta, ScoringFunction

        settings = {
            "weights": self.engine.weights_id,
            "dtype": self.engine.dtype,
            "dimensions": self.dimensions or self.engine.dimension,
            "on_overflow": self.on_overflow,
            "routing": [
                dict(self.routing.by_type),
                sorted(self.routing.asymmetric),
                dict(self.routing.by_name),
            ],
        }
        return ModelMeta(
            loader=None,
            name="jina-local/jina-embeddings-v3",
            revision=canonical_hash(settings)[:16],
            release_date=None,
            languages=None,
            n_parameters=None,
            memory_usage_mb=None,
            max_tokens=self.engine.max_tokens,
            embed_dim=self.dimensions or self.engine.dimension,
            license=None,
            open_weights=True,
            public_training_code=None,
            public_training_data=None,
            framework=["PyTorch"],
            similarity_fn_name=ScoringFunction.COSINE,
            use_instructions=True,
            training_datasets=None,
        )
