"""[ChunkedText] → sequences for the encoder: whole documents first, chunks second.

Every document is tokenized and run as a whole, in windows if it is longer than one, and only then
cut: a chunk's vector is the mean over its own tokens, each of which has seen all of its window
(Günther et al., arXiv 2409.04701, section 3). Documents share batches and never a sequence.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, get_args

import numpy as np

from jina_local.errors import EmptyChunkError, InvalidOptionError, TruncationWarning
from jina_local.inputs import check_flag, check_integer
from jina_local.late_options import SMALLEST_WINDOW, SpecialTokens
from jina_local.overflow import OnOverflow, check_overflow, refuse_no_room, refuse_too_long
from jina_local.sequences import PooledSequence, window_sequences
from jina_local.spans import TokenSpans, token_spans
from jina_local.tasks import ROLE_TASKS, Task
from jina_local.tokens import TextTokenizer, TokenizedText, joined
from jina_local.windows import margin_for, plan_windows

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jina_local.chunked_text import ChunkedText

__all__ = [
    "LateChunking",
    "PreparedDocument",
    "SpecialTokens",
    "check_late_task",
    "prepare_documents",
]

_NO_HEADER = np.empty(0, dtype=np.int32)
_CALLER = 5  # frames from a warning to whoever called `embed_chunks`, or takes from `iter_chunks`


@dataclass(frozen=True, slots=True)
class LateChunking:
    """How chunks are embedded in context; see `Engine.embed_chunks`.

    Attributes:
        special_tokens: What `<s>`, the instruction and `</s>` count towards.
        window_tokens: The most tokens per window, specials, instruction and header included.
        margin_tokens: Tokens of context on each side of a chunk; at most a quarter of what is left
            of a window for the text is used.
        on_overflow: What happens to a document with more tokens than a window.
        strict: Whether a chunk without a token of its own, or with none that was kept, is an error.
    """

    special_tokens: SpecialTokens
    window_tokens: int
    margin_tokens: int
    on_overflow: OnOverflow
    strict: bool

    @classmethod
    def checked(
        cls,
        *,
        special_tokens: SpecialTokens,
        window_tokens: int | None,
        margin_tokens: int,
        on_overflow: OnOverflow,
        strict: bool,
        max_tokens: int,
    ) -> LateChunking:
        """The settings for a model that takes `max_tokens`, which is the default window.

        Raises:
            InvalidOptionError: If an option is outside its allowed set.
        """
        if special_tokens not in get_args(SpecialTokens):
            choices = " or ".join(map(repr, get_args(SpecialTokens)))
            msg = f"special_tokens is {special_tokens!r}; give {choices}"
            raise InvalidOptionError(msg)
        check_flag("strict", strict)
        check_overflow(on_overflow, has_default=False)
        size = max_tokens if window_tokens is None else window_tokens
        return cls(
            special_tokens=special_tokens,
            window_tokens=check_integer("window_tokens", size, SMALLEST_WINDOW, max_tokens),
            margin_tokens=check_integer("margin_tokens", margin_tokens, 0),
            on_overflow=on_overflow,
            strict=strict,
        )


@dataclass(frozen=True, slots=True, eq=False)
class PreparedDocument:
    """One document as sequences for the encoder, and what was done to it.

    Attributes:
        sequences: One per window.
        chunks: The tokens of its chunks.
        token_counts: Tokens pooled into each chunk, int64 (S,).
        combined: Whether a chunk is pooled from several windows, bool (S,).
        tokens: Tokens of what was kept of the document, once each, with specials, instruction and
            header.
    """

    sequences: list[PooledSequence]
    chunks: TokenSpans
    token_counts: np.ndarray
    combined: np.ndarray
    tokens: int


def check_late_task(task: Task) -> Task:
    """The task itself.

    Raises:
        InvalidOptionError: If it is the query task, whose texts are never cut into chunks.
    """
    if task.name == ROLE_TASKS["query"]:
        msg = (
            f"task {task.name!r} has no late chunking: a query is embedded whole, with "
            f"embed_queries; chunks of documents take {ROLE_TASKS['document']!r}"
        )
        raise InvalidOptionError(msg)
    return task


def prepare_documents(
    documents: Sequence[ChunkedText],
    task: Task,
    settings: LateChunking,
    tokenizer: TextTokenizer,
    *,
    first_index: int = 0,
) -> list[PreparedDocument]:
    """Find the tokens of every chunk and plan the windows, or refuse, before anything is run.

    Args:
        documents: N documents.
        task: Their task.
        settings: How chunks are embedded.
        tokenizer: The model's tokenizer.
        first_index: What the first document is called in messages.

    Raises:
        InvalidSpansError: If a document has no token that is more than white space.
        EmptyChunkError: If a chunk has no token of its own left and `strict` refuses that.
        TextTooLongError: If a document is too long and `on_overflow` says so, or if instruction
            and header leave no room for it.
    """
    bodies = _tokenized(documents, task, tokenizer)
    headers = _tokenized_headers(documents, tokenizer)
    prepared: list[PreparedDocument] = []
    first_row = 0
    for item, document in enumerate(documents):
        prepared.append(
            _prepared(
                document,
                bodies[item],
                headers[item],
                settings,
                adapter=task.adapter,
                item=item,
                first_row=first_row,
                name=f"document {first_index + item}",
            )
        )
        first_row += len(document.spans)
    _warn_of_lost_chunks(prepared, first_index)
    return prepared


def _prepared(
    document: ChunkedText,
    text: TokenizedText,
    header: np.ndarray,
    settings: LateChunking,
    *,
    adapter: int,
    item: int,
    first_row: int,
    name: str,
) -> PreparedDocument:
    around = text.n_prefix + len(header) + text.n_suffix
    capacity = settings.window_tokens - around
    if capacity < 1:
        refuse_no_room(name, around, settings.window_tokens)
    if settings.on_overflow == "error" and text.n_body > capacity:
        limit = f"a window takes {settings.window_tokens}"
        refuse_too_long(name, around + text.n_body, limit)
    n_kept = min(text.n_body, capacity) if settings.on_overflow == "truncate" else text.n_body
    edges = settings.special_tokens == "edges"
    chunks = token_spans(document.text, text, document.spans, n_kept=n_kept, edges=edges, name=name)
    if settings.strict and chunks.fell_back.any():
        msg = f"{name}: {_lost_chunks(document, chunks)}; strict=True refuses that"
        raise EmptyChunkError(msg)
    used = text.truncated(text.n_prefix + n_kept + text.n_suffix)
    windows = plan_windows(
        n_kept, chunks.spans, capacity, margin_for(capacity, settings.margin_tokens)
    )
    pieces = np.bincount([piece.chunk for window in windows for piece in window.pieces])
    return PreparedDocument(
        sequences=window_sequences(
            used, windows, chunks, header=header, adapter=adapter, item=item, first_row=first_row
        ),
        chunks=chunks,
        token_counts=chunks.token_counts(text.n_prefix, text.n_suffix),
        combined=pieces > 1,
        tokens=around + n_kept,
    )


def _tokenized(
    documents: Sequence[ChunkedText], task: Task, tokenizer: TextTokenizer
) -> list[TokenizedText]:
    """The tokens of each document; the first part of each stands behind the instruction."""
    parts = [document.parts() for document in documents]
    texts = [
        document.text[start:stop]
        for document, spans in zip(documents, parts, strict=True)
        for start, stop in spans
    ]
    instructions = [
        "" if index else task.instruction for spans in parts for index in range(len(spans))
    ]
    tokenized = iter(tokenizer.tokenize(texts, instructions))
    return [
        joined([next(tokenized) for _ in spans], [start for start, _ in spans]) for spans in parts
    ]


def _tokenized_headers(
    documents: Sequence[ChunkedText], tokenizer: TextTokenizer
) -> list[np.ndarray]:
    """The ids of each document's header, without specials, int32 (h,)."""
    headers = [(document.header or "").strip() for document in documents]
    distinct = list(dict.fromkeys(headers))
    tokenized = tokenizer.ids(distinct, [""] * len(distinct))
    ids = {header: text.ids[text.body] for header, text in zip(distinct, tokenized, strict=True)}
    return [ids[header] if header else _NO_HEADER for header in headers]


def _lost_chunks(document: ChunkedText, chunks: TokenSpans) -> str:
    """What became of the first chunk that fell back, and how many others did."""
    first, *others = np.flatnonzero(chunks.fell_back).tolist()
    start, stop = document.spans[first]
    shown = f"{document.text[start:stop]!r:.40}"
    more = f" (and {len(others)} other chunks have none)" if others else ""
    what = (
        "lost all of its tokens to on_overflow='truncate'"
        if chunks.truncated[first]
        else "has no token of its own"
    )
    return f"chunk {first} (characters {start} to {stop}, {shown}) {what}{more}"


def _warn_of_lost_chunks(prepared: Sequence[PreparedDocument], first_index: int) -> None:
    """A cut that takes all of a chunk leaves a vector that says nothing about it."""
    lost = [int((one.chunks.fell_back & one.chunks.truncated).sum()) for one in prepared]
    if any(lost):
        index = next(index for index, n_lost in enumerate(lost) if n_lost)
        msg = (
            f"on_overflow='truncate' cut off all of {sum(lost)} chunks, the first in document "
            f"{first_index + index}: their vectors are those of the last token that was kept; "
            "on_overflow='window' embeds them"
        )
        warnings.warn(msg, TruncationWarning, stacklevel=_CALLER)
