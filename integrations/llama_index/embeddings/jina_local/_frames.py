"""The nodes whose texts `VectorStoreIndex` hands over.

An index hands an embedding strings only. Its function `embed_nodes` still has the nodes they were
made of, as local variables a few frames up. They are taken from there if it is that very function,
and the list is that very list; otherwise from nowhere.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from llama_index.core.indices import utils

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import FrameType

    from llama_index.core.schema import BaseNode

__all__ = ["nodes_of_the_caller"]

_FRAMES = 16


def nodes_of_the_caller(texts: Sequence[str]) -> list[BaseNode] | None:
    """The nodes that an index made these texts of; `None` if no index asks.

    Args:
        texts: What the index handed over; the object itself, not a copy.
    """
    codes = [utils.embed_nodes.__code__, utils.async_embed_nodes.__code__]
    frame: FrameType | None = sys._getframe(1)  # noqa: SLF001 - inspect.stack reads source files
    for _ in range(_FRAMES):
        if frame is None:
            return None
        if frame.f_code in codes:
            known = frame.f_locals
            if known.get("texts_to_embed") is not texts:
                return None
            nodes = [node for node in known.get("nodes", ()) if node.embedding is None]
            return nodes if len(nodes) == len(texts) else None
        frame = frame.f_back
    return None
