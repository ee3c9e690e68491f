"""Nodes as parsers leave them → the texts of their documents, with the span of each node.

A node names its source and no longer has it. What parsers say of offsets is often of another text,
or of an earlier copy of the same words, so it only counts where the texts agree with it.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, TypeVar

from llama_index.core.schema import MetadataMode, NodeRelationship

from jina_local.locating import locate
from jina_local.stitching import stitch

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping, Sequence

    from llama_index.core.schema import BaseNode

    from jina_local.splitting import Span

__all__ = ["NodeGroup", "group_nodes", "text_of", "texts_of_sources", "with_embeddings"]

Nodes = TypeVar("Nodes", bound="Sequence[BaseNode]")

_LEAST_OVERLAP = 16  # fewer characters in common are chance
_BETWEEN_SOURCES = "\n\n"


@dataclass(frozen=True, slots=True)
class NodeGroup:
    """The nodes of one document.

    Attributes:
        text: The document, or as much of it as its nodes cover.
        places: Where in the text each node is, by its index among all nodes; `None` if it is
            nowhere.
    """

    text: str
    places: Mapping[int, Span | None]


def group_nodes(
    nodes: Sequence[BaseNode],
    *,
    group_by: str | None = None,
    sources: Mapping[str, str] | None = None,
) -> list[NodeGroup]:
    """Put nodes together that are parts of one document.

    Args:
        nodes: Nodes in any order.
        group_by: Metadata key that documents have in common which are parts of one, such as the
            pages of a file; `None` where each source is a document.
        sources: Texts of sources by id; others are what their nodes give when they are stitched.
    """
    groups: dict[Hashable, list[int]] = defaultdict(list)
    for i, node in enumerate(nodes):
        groups[_document_of(node, group_by)].append(i)
    return [_Builder(nodes, sources or {}).group(members) for members in groups.values()]


def texts_of_sources(sources: Sequence[BaseNode]) -> dict[str, str]:
    """Texts by id: of documents, and of those that parts of them, such as sections, name."""
    parts: dict[str, list[int]] = defaultdict(list)
    for i, source in enumerate(sources):
        parts[source.ref_doc_id or source.node_id].append(i)
    builder = _Builder(sources, {})
    return {source: builder.group(members).text for source, members in parts.items()}


def with_embeddings(nodes: Nodes, vectors: Sequence[list[float]]) -> Nodes:
    """The nodes themselves, each with its vector."""
    for node, vector in zip(nodes, vectors, strict=True):
        node.embedding = vector
    return nodes


def text_of(node: BaseNode) -> str:
    """The text of a node without its metadata."""
    return node.get_content(metadata_mode=MetadataMode.NONE)


def _document_of(node: BaseNode, group_by: str | None) -> Hashable:
    value = None if group_by is None else node.metadata.get(group_by)
    if value is not None:
        return ("metadata", str(value))
    return ("source", node.ref_doc_id) if node.ref_doc_id else ("node", node.node_id)


@dataclass(frozen=True, slots=True)
class _Builder:
    """Puts the nodes of a group into a text.

    Attributes:
        nodes: All nodes of a call.
        sources: Known texts by id.
    """

    nodes: Sequence[BaseNode]
    sources: Mapping[str, str]

    def group(self, members: Sequence[int]) -> NodeGroup:
        """One source after the other, each with its nodes, and children inside of their parents."""
        ids = {self.nodes[i].node_id for i in members}
        children: dict[str, list[int]] = defaultdict(list)
        by_source: dict[str | None, list[int]] = defaultdict(list)
        for i in members:
            parent = self._related(i, NodeRelationship.PARENT)
            if parent in ids:
                children[str(parent)].append(i)
            else:
                by_source[self.nodes[i].ref_doc_id].append(i)
        text = ""
        places: dict[int, Span | None] = {}
        for source, outermost in by_source.items():
            text += _BETWEEN_SOURCES if text else ""
            own, spans = self._in_source(source, self._in_order(outermost))
            places |= {i: _moved(span, len(text)) for i, span in spans.items()}
            text += own
        self._add_children(text, places, children)
        return NodeGroup(text, places)

    def _in_source(
        self, source: str | None, members: Sequence[int]
    ) -> tuple[str, dict[int, Span | None]]:
        texts = [text_of(self.nodes[i]) for i in members]
        offsets = [self._offset(i) for i in members]
        # of chunks that repeat each other, parsers name an earlier copy
        repeats = [one.startswith(two) for one, two in pairwise(["", *texts])]
        offsets = [
            None if again else offset for offset, again in zip(offsets, repeats, strict=True)
        ]
        known = self.sources.get(source or "")
        if known is not None:
            return known, dict(zip(members, locate(known, texts, offsets), strict=True))
        overlapping = [not again for again in repeats]
        stitched = stitch(texts, offsets, overlapping=overlapping, least_overlap=_LEAST_OVERLAP)
        return stitched.text, dict(zip(members, stitched.spans, strict=True))

    def _add_children(
        self, text: str, places: dict[int, Span | None], children: dict[str, list[int]]
    ) -> None:
        """Look for nodes inside of the node that they were cut from, level by level."""
        parents = list(places)
        while parents:
            parent = parents.pop()
            own = self._in_order(children.pop(self.nodes[parent].node_id, []))
            start, stop = places[parent] or (0, len(text))
            found = locate(text[start:stop], [text_of(self.nodes[i]) for i in own])
            places |= {i: _moved(span, start) for i, span in zip(own, found, strict=True)}
            parents += own
        places |= {i: None for circular in children.values() for i in circular}

    def _in_order(self, members: Sequence[int]) -> list[int]:
        """As they came, unless their links say that they were shuffled."""
        at = {self.nodes[i].node_id: i for i in members}
        following: dict[int, int] = {}
        heads: list[int] = []
        for i in members:
            previous = at.get(self._related(i, NodeRelationship.PREVIOUS) or "")
            if previous is None or previous in following:
                heads.append(i)
            else:
                following[previous] = i
        chain: list[int] = []
        for head in heads:
            following_one: int | None = head
            while following_one is not None:
                chain.append(following_one)
                following_one = following.get(following_one)
        return chain if len(chain) == len(members) else list(members)

    def _related(self, i: int, kind: NodeRelationship) -> str | None:
        return getattr(self.nodes[i].relationships.get(kind), "node_id", None)

    def _offset(self, i: int) -> int | None:
        """Where a node starts, if it says so and is as long as it says."""
        node = self.nodes[i]
        start, end = getattr(node, "start_char_idx", None), getattr(node, "end_char_idx", None)
        if start is None or end is None or end - start != len(text_of(node)):
            return None
        return int(start)


def _moved(span: Span | None, by: int) -> Span | None:
    return None if span is None else (span[0] + by, span[1] + by)
