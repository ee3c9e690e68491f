"""The engine: text in, right vectors out. It composes the stages and does no maths of its own."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import numpy as np

from jina_local.chunk_embedder import ChunkEmbedder
from jina_local.chunked_text import check_document, check_documents
from jina_local.errors import TruncationWarning
from jina_local.handle import ModelHandle
from jina_local.inputs import (
    check_dimensions,
    check_flag,
    check_max_length,
    check_max_tokens,
    check_normalization,
    check_progress,
    check_supported,
    check_texts,
)
from jina_local.late_chunking import LateChunking, SpecialTokens, check_late_task
from jina_local.overflow import OnOverflow, check_overflow, default_overflow
from jina_local.tasks import ROLE_TASKS
from jina_local.text_embedder import TextEmbedder, TextList
from jina_local.windows import DEFAULT_MARGIN

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from jina_local.chunked_text import ChunkedText
    from jina_local.results import ChunkEmbeddings, Embeddings

__all__ = ["Engine"]


class Engine(ModelHandle):
    """jina-embeddings-v3 on this machine.

    One engine serves every task and every dimension, and any number of threads. Make one with
    `Engine.load`, or share one with `jina_local.shared_engine`.

    Args:
        model: A loaded model.
        batch_tokens: The most tokens per forward pass; a longer text gets a pass of its own.
        on_close: Called once, when the engine is closed or collected.
    """

    def embed_documents(
        self,
        texts: Sequence[str],
        *,
        dimensions: int | None = None,
        normalize: bool = True,
        max_tokens: int | None = None,
        on_overflow: OnOverflow | None = None,
        instruction: bool = True,
        progress: Callable[[int], None] | None = None,
        legacy: bool = False,
    ) -> Embeddings:
        """Embed what is searched: adapter and instruction of `retrieval.passage`.

        Texts longer than the model are run in windows unless told otherwise. See `embed`.
        """
        return self.embed(
            texts,
            task=ROLE_TASKS["document"],
            dimensions=dimensions,
            normalize=normalize,
            max_tokens=max_tokens,
            on_overflow=on_overflow,
            instruction=instruction,
            progress=progress,
            legacy=legacy,
        )

    def embed_queries(
        self,
        texts: Sequence[str],
        *,
        dimensions: int | None = None,
        normalize: bool = True,
        max_tokens: int | None = None,
        on_overflow: OnOverflow | None = None,
        instruction: bool = True,
        progress: Callable[[int], None] | None = None,
        legacy: bool = False,
    ) -> Embeddings:
        """Embed what is searched for: adapter and instruction of `retrieval.query`.

        A query longer than the model is an error unless told otherwise. See `embed`.
        """
        return self.embed(
            texts,
            task=ROLE_TASKS["query"],
            dimensions=dimensions,
            normalize=normalize,
            max_tokens=max_tokens,
            on_overflow=on_overflow,
            instruction=instruction,
            progress=progress,
            legacy=legacy,
        )

    def embed(
        self,
        texts: Sequence[str],
        *,
        task: str | Sequence[str | None] | None = None,
        dimensions: int | None = None,
        normalize: bool = True,
        max_tokens: int | None = None,
        on_overflow: OnOverflow | None = None,
        instruction: bool = True,
        progress: Callable[[int], None] | None = None,
        legacy: bool = False,
    ) -> Embeddings:
        """Embed texts under any task, or under one task each.

        Args:
            texts: N texts.
            task: One of `tasks`, or one per text; `None` is the base model without instruction.
            dimensions: d, any integer in 1…`dimension`; the full width if `None`.
            normalize: Whether vectors get unit length.
            max_tokens: The most tokens of a text or window, `<s>`, instruction and `</s>` included;
                at most and by default the model's `max_tokens`.
            on_overflow: For texts longer than that: `error`; `truncate` (cut, and
                reported); `window` (run in overlapping windows and pooled as one, and reported).
                `None` is `error` for `retrieval.query` and `window` for everything else.
            instruction: Whether the task's instruction is put before every text, as the model was
                trained. Without it vectors differ from those of the reference.
            progress: Called after each forward pass with the number of texts finished so far.
            legacy: Normalize before cutting, for indexes built before the reference was fixed.

        Returns:
            Vectors (N, d) and what happened to each text; row i is text i.

        Raises:
            InvalidTextsError: If `texts` is not a list of strings.
            InvalidOptionError: If an option is outside its allowed set, or a task is unknown.
            TextTooLongError: If a text is too long and `on_overflow` says so, or if the instruction
                leaves no room for any of it.
            NonFiniteVectorError: If the model gave NaN or infinity.
            EngineClosedError: If the engine was closed.
        """
        model = self._model
        checked = check_texts(texts)
        tasks = model.checkpoint.tasks.for_texts(task, len(checked))
        size = check_dimensions(dimensions, self.dimension)
        limit = check_max_tokens(max_tokens, self.max_tokens)
        check_overflow(on_overflow, has_default=True)
        check_normalization(normalize=normalize, legacy=legacy)
        check_flag("instruction", instruction)
        check_progress(progress)
        if not instruction:
            tasks = [used.without_instruction() for used in tasks]
        overflows = [on_overflow or default_overflow(used) for used in tasks]
        embedder = TextEmbedder(
            model,
            max_tokens=limit,
            dimensions=size,
            normalize=normalize,
            legacy=legacy,
            budget=self._budget,
            progress=progress,
        )
        return embedder.embed(TextList(checked, tasks, overflows))

    def embed_chunks(
        self,
        documents: Sequence[ChunkedText],
        *,
        task: str | None = ROLE_TASKS["document"],
        dimensions: int | None = None,
        normalize: bool = True,
        special_tokens: SpecialTokens = "edges",
        window_tokens: int | None = None,
        margin_tokens: int = DEFAULT_MARGIN,
        on_overflow: OnOverflow = "window",
        strict: bool = False,
        instruction: bool = True,
        progress: Callable[[int], None] | None = None,
    ) -> list[ChunkEmbeddings]:
        """Embed the chunks of documents in their context: late chunking.

        Each document is run as a whole, or in windows if it is longer, and each chunk's vector is
        the mean over the chunk's own tokens, which have seen the rest of their window. Documents
        share batches and never context.

        Args:
            documents: N documents with their chunks.
            task: One of `tasks` except `retrieval.query`, or `None` for the base model.
            dimensions: d, any integer in 1…`dimension`; the full width if `None`.
            normalize: Whether vectors get unit length.
            special_tokens: `edges`: `<s>` and the instruction count towards every chunk that
                begins where the first one does, `</s>` towards every chunk that ends where the last
                one does, so that one chunk over the whole text has the text's ordinary vector, if
                there is no header, as in the hosted API. `exclude`: they count towards nothing.
            window_tokens: The most tokens of one window, `<s>`, instruction, header and `</s>`
                included; at most and by default `max_tokens`. A longer document is run in windows
                that are cut between chunks. See `jina_local.windows` for what that costs.
            margin_tokens: Tokens of context on each side of a chunk; at most a quarter of what a
                window holds of the text is used. Longer chunks have less.
            on_overflow: For documents longer than a window: `window`; `error`; `truncate` (cut,
                and reported per chunk).
            strict: Refuse a chunk that holds no token, or none that was kept, instead of giving it
                the nearest token's vector and reporting that.
            instruction: Whether the task's instruction begins every window, as the model was
                trained.
            progress: Called after each forward pass with the number of documents finished so far.

        Returns:
            One result per document, with one vector per chunk, both in the order given.

        Raises:
            InvalidTextsError: If `documents` is not a list of `ChunkedText`.
            InvalidSpansError: If a document has no token that is more than white space.
            InvalidOptionError: If an option is outside its allowed set, or the task is unknown or
                that of queries.
            EmptyChunkError: If a chunk holds no token and `strict` is true.
            TextTooLongError: If a document is too long and `on_overflow` says so, or if instruction
                and header leave no room for it in a window.
            NonFiniteVectorError: If the model gave NaN or infinity.
            EngineClosedError: If the engine was closed.
        """
        embedder = self._chunk_embedder(
            task=task,
            dimensions=dimensions,
            normalize=normalize,
            special_tokens=special_tokens,
            window_tokens=window_tokens,
            margin_tokens=margin_tokens,
            on_overflow=on_overflow,
            strict=strict,
            instruction=instruction,
            progress=progress,
        )
        return embedder.embed(
            [check_document(one, i) for i, one in enumerate(check_documents(documents))]
        )

    def iter_chunks(
        self,
        documents: Iterable[ChunkedText],
        *,
        task: str | None = ROLE_TASKS["document"],
        dimensions: int | None = None,
        normalize: bool = True,
        special_tokens: SpecialTokens = "edges",
        window_tokens: int | None = None,
        margin_tokens: int = DEFAULT_MARGIN,
        on_overflow: OnOverflow = "window",
        strict: bool = False,
        instruction: bool = True,
        progress: Callable[[int], None] | None = None,
    ) -> Iterator[ChunkEmbeddings]:
        """`embed_chunks` for any number of documents: one result after the other, in order.

        Documents are taken a few batches at a time, so that memory stays bounded and nothing is
        read that is not needed soon. Options are checked at the call. A document that is refused
        is refused when its turn comes, after the results of all documents before it; so is an
        error of the source itself. If the engine is closed meanwhile, `EngineClosedError` follows
        what was already computed.
        """
        embedder = self._chunk_embedder(
            task=task,
            dimensions=dimensions,
            normalize=normalize,
            special_tokens=special_tokens,
            window_tokens=window_tokens,
            margin_tokens=margin_tokens,
            on_overflow=on_overflow,
            strict=strict,
            instruction=instruction,
            progress=progress,
        )
        return embedder.stream(check_documents(documents))

    def encode(  # noqa: PLR0917 - the signature that users of the original have written
        self,
        texts: str | Sequence[str],
        batch_size: int | None = None,
        show_progress_bar: bool | None = None,
        output_value: str = "sentence_embedding",
        convert_to_numpy: bool = True,
        convert_to_tensor: bool = False,
        device: str | None = None,
        normalize_embeddings: bool = True,
        truncate_dim: int | None = None,
        task: str | None = None,
        max_length: int | None = None,
    ) -> np.ndarray:
        """What `AutoModel.encode` of the remote-code model returns, for code that called it.

        New code is better served by `embed`: it reports what was cut and takes a role for a task.

        Args:
            texts: N texts, or one.
            batch_size: Accepted and not needed: batches are made by tokens.
            show_progress_bar: Accepted and not needed.
            output_value: Only `sentence_embedding`, as in the original.
            convert_to_numpy: Only true.
            convert_to_tensor: Only false; `torch.from_numpy` shares the memory.
            device: Only the engine's own.
            normalize_embeddings: Whether vectors get unit length.
            truncate_dim: Matryoshka dimension; the checkpoint's own, else the width, if `None`.
            task: One of `tasks`; `None` or an empty string is the base model.
            max_length: The most tokens per text, `max_tokens` if `None`. What is longer is cut,
                with one warning.

        Returns:
            float32 (N, d), or (d,) for one text.

        Raises:
            InvalidTextsError: If `texts` is neither a string nor a list of strings.
            InvalidOptionError: If an option is outside its allowed set.
            TextTooLongError: If the instruction leaves no room for a text in `max_length`.
            NonFiniteVectorError: If the model gave NaN or infinity.
            EngineClosedError: If the engine was closed.
        """
        del batch_size, show_progress_bar
        check_supported(
            {
                "output_value": (output_value, "sentence_embedding"),
                "convert_to_numpy": (convert_to_numpy, True),
                "convert_to_tensor": (convert_to_tensor, False),
                "device": (self.device if _is_of(device, self.device) else device, self.device),
            }
        )
        model = self._model
        limit = check_max_length(max_length, model.tokenizer.max_tokens)
        check_normalization(normalize=normalize_embeddings, legacy=False)
        checked = check_texts([texts] if isinstance(texts, str) else texts)
        used = model.checkpoint.tasks.find(task or None)
        default_dim = model.checkpoint.config.truncate_dim
        size = check_dimensions(
            default_dim if truncate_dim is None else truncate_dim, self.dimension
        )
        cut_all: list[OnOverflow] = ["truncate"] * len(checked)
        embedder = TextEmbedder(
            model,
            max_tokens=limit,
            dimensions=size,
            normalize=normalize_embeddings,
            legacy=False,
            budget=self._budget,
            progress=None,
        )
        found = embedder.embed(TextList(checked, [used] * len(checked), cut_all))
        if found.truncated.any():
            cut = np.flatnonzero(found.truncated)
            msg = f"{len(cut)} of {len(checked)} texts were cut to {limit} tokens; first: {cut[0]}"
            warnings.warn(msg, TruncationWarning, stacklevel=2)
        return found.vectors[0] if isinstance(texts, str) else found.vectors

    def _chunk_embedder(
        self,
        *,
        task: str | None,
        dimensions: int | None,
        normalize: bool,
        special_tokens: SpecialTokens,
        window_tokens: int | None,
        margin_tokens: int,
        on_overflow: OnOverflow,
        strict: bool,
        instruction: bool,
        progress: Callable[[int], None] | None,
    ) -> ChunkEmbedder:
        used = check_late_task(self._model.checkpoint.tasks.find(task))
        check_normalization(normalize=normalize, legacy=False)
        check_flag("instruction", instruction)
        check_progress(progress)
        return ChunkEmbedder(
            model=lambda: self._model,
            task=used if instruction else used.without_instruction(),
            settings=LateChunking.checked(
                special_tokens=special_tokens,
                window_tokens=window_tokens,
                margin_tokens=margin_tokens,
                on_overflow=on_overflow,
                strict=strict,
                max_tokens=self.max_tokens,
            ),
            dimensions=check_dimensions(dimensions, self.dimension),
            normalize=normalize,
            budget=self._budget,
            progress=progress,
        )


def _is_of(device: str | None, own: str) -> bool:
    """Whether a device names the engine's own: `cuda` is `cuda:0`."""
    return device is None or str(device) in (own, own.partition(":")[0])
