"""What looks as if nodes will not be embedded in the context that their user has in mind."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from llama_index.core.schema import BaseNode, Document
from llama_index.embeddings.jina_local._nodes import text_of

from jina_local.errors import InvalidOptionError, InvalidTextsError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Fallback", "LateChunkingWarning", "check_nodes", "fall_back", "warn_of_pipeline"]

Fallback = Literal["warn", "raise", "ignore"]

_LONG_DOCUMENT = 8192  # characters: about two chunks of LlamaIndex's default size


class LateChunkingWarning(UserWarning):
    """Texts are embedded without the context that late chunking was to give them."""


@dataclass(frozen=True, slots=True)
class _Doubt:
    """Why there is no context, and what to do about it."""

    problem: str
    remedy: str


def fall_back(texts: Sequence[str] | Sequence[BaseNode], key: str | None, then: Fallback) -> None:
    """Say that texts will be embedded on their own, if they will.

    Args:
        texts: Texts that came without their nodes, or nodes.
        key: Metadata key that nodes are grouped by.
        then: What to do about it.

    Raises:
        InvalidOptionError: If they will, and `then` is "raise".
    """
    doubt = _without_nodes(texts) or _without_key(texts, key) or _without_source(texts, key)
    if doubt is None or then == "ignore":
        return
    if then == "raise":
        msg = f"{doubt.problem}: {doubt.remedy}, or say late_chunking_fallback='warn'"
        raise InvalidOptionError(msg)
    message = f"{doubt.problem}: each is embedded on its own. {doubt.remedy.capitalize()}"
    warnings.warn(message, LateChunkingWarning, stacklevel=4)


def warn_of_pipeline(nodes: Sequence[BaseNode]) -> None:
    """Say if this step of a pipeline seems to be in the wrong place."""
    if any(isinstance(node, Document) and len(text_of(node)) > _LONG_DOCUMENT for node in nodes):
        warnings.warn(
            "late_chunking was given whole documents: if a splitter comes behind it, all chunks "
            "of a document inherit the vector of the whole. Put the splitter first",
            LateChunkingWarning,
            stacklevel=4,
        )
    if len(nodes) > 1 and all(node.embedding is not None for node in nodes):
        warnings.warn(
            f"all {len(nodes)} nodes have embeddings already, and are embedded once more: list "
            "the embedding model once, and not behind a JinaLateChunkSplitter",
            LateChunkingWarning,
            stacklevel=4,
        )


def check_nodes(nodes: Sequence[BaseNode]) -> None:
    """Refuse what is no list of nodes.

    Raises:
        InvalidTextsError: If so.
    """
    if isinstance(nodes, BaseNode | str):
        msg = f"nodes is a {type(nodes).__name__}; give a list of nodes, even for one"
        raise InvalidTextsError(msg)
    for i, node in enumerate(nodes):
        if not isinstance(node, BaseNode):
            msg = f"node {i} is a {type(node).__name__} ({node!r:.40}); give a list of nodes"
            raise InvalidTextsError(msg)


def _without_nodes(texts: Sequence[str] | Sequence[BaseNode]) -> _Doubt | None:
    if len(texts) < 2 or not isinstance(texts[0], str):  # noqa: PLR2004 - one has no neighbours
        return None
    return _Doubt(
        f"late_chunking is on, but {len(texts)} texts came without their nodes, so that nobody "
        "knows which of them are of one document",
        "put the embedding model into `transformations`, behind the splitter, or call "
        "`late_embed_nodes`",
    )


def _without_key(texts: Sequence[str] | Sequence[BaseNode], key: str | None) -> _Doubt | None:
    nodes = [node for node in texts if isinstance(node, BaseNode)]
    if key is None or not nodes or any(node.metadata.get(key) is not None for node in nodes):
        return None
    known = sorted({name for node in nodes for name in node.metadata})
    return _Doubt(
        f"late_chunking_group_by is {key!r}, but none of {len(nodes)} nodes has that in its "
        "metadata, so that nothing is grouped by it",
        f"name one of their keys, which are {', '.join(map(repr, known)) or 'none'}, or None",
    )


def _without_source(texts: Sequence[str] | Sequence[BaseNode], key: str | None) -> _Doubt | None:
    lost = [
        node
        for node in texts
        if isinstance(node, BaseNode)
        and not isinstance(node, Document)
        and node.ref_doc_id is None
        and (key is None or node.metadata.get(key) is None)
    ]
    if len(lost) < 2:  # noqa: PLR2004 - one has no neighbours
        return None
    return _Doubt(
        f"late_chunking is on, but {len(lost)} nodes name no source document",
        "give nodes their SOURCE relationship, as node parsers do, or name a metadata key in "
        "`late_chunking_group_by`",
    )
