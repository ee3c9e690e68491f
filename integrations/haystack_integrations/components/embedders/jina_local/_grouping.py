"""Documents as splitters leave them → the texts that they were cut from, with their spans.

Splitters agree on little: which document a chunk was cut from is in `source_id` (before Haystack
3.1 sometimes only in `parent_id`), its place in `split_id`. Offsets are hints.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from jina_local.locating import locate
from jina_local.stitching import stitch

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from haystack import Document

__all__ = ["SourceGroup", "group_by_source"]

Span = tuple[int, int]


@dataclass(frozen=True, slots=True)
class SourceGroup:
    """The chunks of one source.

    Attributes:
        text: The source, or as much of it as its chunks cover.
        members: Indexes of the chunks among all documents, in reading order.
        spans: Where in the text each of them is; `None` if it is nowhere.
    """

    text: str
    members: tuple[int, ...]
    spans: tuple[Span | None, ...]


def group_by_source(
    documents: Sequence[Document], sources: Sequence[Document], *, source_id_field: str
) -> list[SourceGroup]:
    """Put documents together that were cut from one source.

    The text is, whichever there is first: that of the source among `sources`; that of the source
    among the documents themselves, as a splitter that builds a tree hands on parents and children;
    what the chunks give when they are stitched.

    Args:
        documents: Chunks, and documents that were never cut, in any order.
        sources: What they may have been cut from.
        source_id_field: Metadata key of the source's id.
    """
    tree = _Tree.of(documents, sources, source_id_field)
    groups: dict[object, list[int]] = defaultdict(list)
    for i in range(len(documents)):
        root = tree.root(i)
        groups[("alone", i) if root is None else root].append(i)
    return [
        tree.placed(members, root) if isinstance(root, str) else _whole(documents, members)
        for root, members in groups.items()
    ]


@dataclass(frozen=True, slots=True)
class _Tree:
    """What was cut from what.

    Attributes:
        documents: All documents of a call.
        parents: Id of what each of them was cut from; `None` if it was not.
        above: The same by the id of each of them, and of each source.
        texts: Known texts by id.
    """

    documents: Sequence[Document]
    parents: Sequence[str | None]
    above: Mapping[str, str | None]
    texts: Mapping[str, str]

    @classmethod
    def of(cls, documents: Sequence[Document], sources: Sequence[Document], field: str) -> _Tree:
        given = [*documents, *sources]  # a source is the better text
        return cls(
            documents=documents,
            parents=[_source_id(document, field) for document in documents],
            above={one.id: _source_id(one, field) for one in given},
            texts={one.id: one.content for one in given if one.content},
        )

    def root(self, i: int) -> str | None:
        """The farthest ancestor of which the text is known, or else what it was cut from."""
        own_id = self.documents[i].id
        parent = self.parents[i]
        if parent is None:
            return own_id if own_id in self.parents else None
        known, passed = parent, {own_id}
        ancestor: str | None = parent
        while ancestor is not None and ancestor not in passed:
            passed.add(ancestor)
            if ancestor in self.texts:
                known = ancestor
            ancestor = self.above.get(ancestor)
        return known

    def placed(self, members: Sequence[int], root: str) -> SourceGroup:
        """The text of a group with its chunks in it."""
        text = self.texts.get(root)
        if text is None:
            return self._stitched(members)
        spans: dict[int, Span | None] = {
            i: (0, len(text)) for i in members if self.documents[i].id == root
        }
        placed = {root, *(self.documents[i].id for i in members)}
        children: dict[str | None, list[int]] = defaultdict(list)
        for i in members:
            if i not in spans:
                parent_id = self.parents[i]
                children[parent_id if parent_id in placed else root].append(i)
        regions: list[tuple[str, Span]] = [(root, (0, len(text)))]
        while regions:
            parent, (start, stop) = regions.pop()
            chunks = self._in_order(children.pop(parent, []))
            places = locate(text[start:stop], self._contents(chunks), self._offsets(chunks))
            for i, place in zip(chunks, places, strict=True):
                spans[i] = None if place is None else (start + place[0], start + place[1])
                regions.append((self.documents[i].id, spans[i] or (start, stop)))
        spans |= {i: None for left in children.values() for i in left}
        return SourceGroup(text, tuple(spans), tuple(spans.values()))

    def _stitched(self, members: Sequence[int]) -> SourceGroup:
        chunks = self._in_order(members)
        stitched = stitch(
            self._contents(chunks),
            self._offsets(chunks),
            overlapping=self._overlapping(chunks),
        )
        return SourceGroup(stitched.text, tuple(chunks), stitched.spans)

    def _in_order(self, members: Sequence[int]) -> list[int]:
        """Reading order: by number, or else by offset, or else as they came."""
        for key in ("split_id", "split_idx_start"):
            numbers = [_integer(self.documents[i].meta.get(key)) for i in members]
            if None not in numbers and len(set(numbers)) == len(numbers):
                return [i for _, i in sorted(zip(numbers, members, strict=True))]
        return list(members)

    def _overlapping(self, members: Sequence[int]) -> list[bool]:
        """Whether each chunk says that it repeats some of the one before it.

        A chunk names its neighbours on both sides. Cleaning gives them other ids: then nobody knows
        which side is meant, and the texts decide.
        """
        ids = [self.documents[i].id for i in members]
        named = [_overlap_ids(self.documents[i]) for i in members]
        return [
            previous in some if some & set(ids) else bool(some)
            for previous, some in zip([None, *ids], named, strict=False)
        ]

    def _contents(self, members: Sequence[int]) -> list[str]:
        return [self.documents[i].content or "" for i in members]

    def _offsets(self, members: Sequence[int]) -> list[int | None]:
        return [_integer(self.documents[i].meta.get("split_idx_start")) for i in members]


def _whole(documents: Sequence[Document], members: Sequence[int]) -> SourceGroup:
    """A document that was never cut."""
    (i,) = members
    text = documents[i].content or ""
    return SourceGroup(text, (i,), ((0, len(text)),))


def _source_id(document: Document, field: str) -> str | None:
    """What a document was cut from; `None` if it was not."""
    value = document.meta.get(field)
    if value is None and "split_id" in document.meta:
        value = document.meta.get("parent_id")
    return None if value is None else str(value)


def _overlap_ids(document: Document) -> set[str]:
    """Ids of the chunks that it shares text with."""
    entries = document.meta.get("_split_overlap")
    if not isinstance(entries, list):
        return set()
    return {str(one.get("doc_id")) for one in entries if isinstance(one, dict)}


def _integer(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None
