"""Documents → what is embedded together with its context, and what on its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from haystack_integrations.components.embedders.jina_local._grouping import group_by_source
from jina_local.errors import InvalidOptionError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from haystack import Document

    from haystack_integrations.components.embedders.jina_local._late_texts import DocumentText
    from jina_local.late_texts import LateText

__all__ = ["Fallback", "LatePlan", "plan_late"]

Fallback = Literal["warn", "raise", "ignore"]


@dataclass(frozen=True, slots=True)
class LatePlan:
    """How documents are embedded.

    Attributes:
        late: In their context.
        alone: Indexes of those that are embedded on their own.
        unmapped: Indexes of those among them that have a source, and no place in it.
    """

    late: tuple[LateText, ...]
    alone: tuple[int, ...]
    unmapped: tuple[int, ...]


def plan_late(
    documents: Sequence[Document],
    sources: Sequence[Document],
    texts: DocumentText,
    *,
    source_id_field: str,
    fallback: Fallback,
) -> LatePlan:
    """Find out which documents are chunks of one source.

    Args:
        documents: Documents with something to embed.
        sources: What they may have been cut from.
        texts: What is embedded of a document.
        source_id_field: Metadata key of the source's id.
        fallback: What to do about chunks that have no place in their source.

    Raises:
        InvalidOptionError: If there is one, and `fallback` is "raise".
    """
    late: list[LateText] = []
    alone: list[int] = []
    unmapped: list[int] = []
    for group in group_by_source(documents, sources, source_id_field=source_id_field):
        found = texts.late(documents, group)
        placed = set() if found is None else set(found.members)
        alone += [i for i in group.members if i not in placed]
        unmapped += [
            i
            for i, span in zip(group.members, group.spans, strict=True)
            if span is None and (documents[i].content or "").strip()
        ]
        if found is not None:
            late.append(found)
    if unmapped and fallback == "raise":
        ids = ", ".join(repr(documents[i].id) for i in unmapped[:3])
        msg = (
            f"{len(unmapped)} documents cannot be found in the source that they say they were cut "
            f"from, such as {ids}: give the source as it was split, leave source_documents out, or "
            "use late_chunking_fallback='warn'"
        )
        raise InvalidOptionError(msg)
    return LatePlan(tuple(late), tuple(alone), tuple(unmapped))
