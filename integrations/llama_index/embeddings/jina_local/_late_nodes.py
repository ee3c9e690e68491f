"""Nodes → what is embedded together with its context, and what on its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from llama_index.core.schema import MetadataMode
from llama_index.embeddings.jina_local._nodes import group_nodes

from jina_local.late_texts import LateText, late_text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from llama_index.core.schema import BaseNode

__all__ = ["LatePlan", "MetadataPlace", "plain_text", "plan_late"]

MetadataPlace = Literal["context", "inline", "none"]
"""Where the metadata goes that a node wants embedded: what all nodes of a document share once in
front of it as context, and the rest before its node; all of it before its node; nowhere."""


@dataclass(frozen=True, slots=True)
class LatePlan:
    """How nodes are embedded.

    Attributes:
        late: In the context of their document.
        alone: Indexes of those that are embedded on their own: they are all of their document, or
            have no place in it.
    """

    late: tuple[LateText, ...]
    alone: tuple[int, ...]


def plan_late(
    nodes: Sequence[BaseNode],
    *,
    group_by: str | None,
    metadata: MetadataPlace,
    sources: Mapping[str, str] | None = None,
) -> LatePlan:
    """Find out which nodes are parts of one document; see `group_nodes`."""
    late: list[LateText] = []
    alone: list[int] = []
    for group in group_nodes(nodes, group_by=group_by, sources=sources):
        found = late_text(
            group.text,
            group.places,
            lambda i: [] if metadata == "none" else _lines(nodes[i]),
            share=metadata == "context",
        )
        placed = set() if found is None else set(found.members)
        alone += [i for i in group.places if i not in placed]
        if found is not None:
            late.append(found)
    return LatePlan(tuple(late), tuple(alone))


def plain_text(node: BaseNode, metadata: MetadataPlace) -> str:
    """What is embedded of a node on its own."""
    mode = MetadataMode.NONE if metadata == "none" else MetadataMode.EMBED
    return node.get_content(metadata_mode=mode)


def _lines(node: BaseNode) -> list[str]:
    """The metadata that a node wants embedded, in the node's own form."""
    return node.get_metadata_str(mode=MetadataMode.EMBED).splitlines()
