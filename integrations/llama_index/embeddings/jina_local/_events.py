"""What LlamaIndex's tracing and token counters see of texts that are embedded in their context."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llama_index.core.callbacks.schema import CBEventType, EventPayload
from llama_index.core.instrumentation import (  # type: ignore[attr-defined] # as documented
    get_dispatcher,
)
from llama_index.core.instrumentation.events.embedding import (
    EmbeddingEndEvent,
    EmbeddingStartEvent,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from llama_index.core.base.embeddings.base import BaseEmbedding

__all__ = ["reported"]

_dispatcher = get_dispatcher(__name__)


def reported(
    model: BaseEmbedding, texts: list[str], embed: Callable[[], list[list[float]]]
) -> list[list[float]]:
    """The vectors of some texts, with the events that the base class sends for a batch.

    Args:
        model: Who embeds.
        texts: N texts.
        embed: Gives their vectors.
    """
    payload = model.to_payload()
    _dispatcher.event(EmbeddingStartEvent(model_dict=payload))
    serialized: dict[str, object] = {EventPayload.SERIALIZED: payload}
    with model.callback_manager.event(CBEventType.EMBEDDING, payload=serialized) as event:
        vectors = embed()
        event.on_end(payload={EventPayload.CHUNKS: texts, EventPayload.EMBEDDINGS: vectors})
    _dispatcher.event(EmbeddingEndEvent(chunks=texts, embeddings=vectors))
    return vectors
