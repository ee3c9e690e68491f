"""`JinaLocalDocumentEmbedder`: embeds documents, by default as passages, also in their context."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping  # noqa: TC003 - read at run time
from dataclasses import replace
from pathlib import Path  # noqa: TC003
from typing import TYPE_CHECKING, Any, get_args

from haystack import Document, component
from haystack.utils import ComponentDevice, Secret  # noqa: TC002 - read at run time
from tqdm import tqdm

from haystack_integrations.components.embedders.jina_local._embedder import Embedder
from haystack_integrations.components.embedders.jina_local._embedding import (
    EmbeddedText,
    LateCounts,
    RunReport,
    embed_late,
    embed_texts,
)
from haystack_integrations.components.embedders.jina_local._late_runs import (
    Fallback,
    LatePlan,
    plan_late,
)
from haystack_integrations.components.embedders.jina_local._late_texts import DocumentText
from haystack_integrations.components.embedders.jina_local._model import (
    DEFAULT_MODEL,
    HUB_TOKEN,
    Dtype,
    OnOverflow,
    check_fields,
    check_strings,
)
from jina_local.errors import InvalidOptionError
from jina_local.inputs import check_choice, check_flag, check_integer
from jina_local.late_texts import in_batches
from jina_local.tasks import ROLE_TASKS

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["JinaLocalDocumentEmbedder"]


@component
class JinaLocalDocumentEmbedder(Embedder):
    """Embeds documents with jina-embeddings-v3 on this machine, by default as passages.

    Usage:

        from haystack import Document
        from haystack_integrations.components.embedders.jina_local import JinaLocalDocumentEmbedder

        embedder = JinaLocalDocumentEmbedder(dimensions=512, late_chunking=True)
        embedder.run(documents=splitter.run(documents=[Document(content="…")])["documents"])

    With `late_chunking`, documents that a splitter has cut from one source are embedded in the
    context of all of it, whatever their order and however many there are: a source is never cut by
    `batch_size`. Chunks of one source that come in two runs share no context, unless the source
    comes along in `source_documents`.

    The weights of jina-embeddings-v3 are licensed CC BY-NC 4.0: not for commercial use.

    Args:
        model: A folder, a name on the hub, or "demo" for the small bundled model, which is not
            jina-embeddings-v3.
        task: Adapter and instruction: one of jina-embeddings-v3, or of `adapters`; `None` for the
            base model without either.
        adapters: Adapters of your own, each a PEFT folder by the name of its task: more tasks, or
            others in the place of the model's. Components with the same ones share a model.
        dimensions: Matryoshka dimension; the model's width if `None`.
        prefix: Put before every text; with `late_chunking`, once before the source, as context.
        suffix: Put after every text.
        batch_size: The most documents that the engine gets at once; it packs them by their tokens.
        progress_bar: Whether to show a bar.
        normalize_embeddings: Whether vectors get unit length.
        meta_fields_to_embed: Metadata that is put before the content. With `late_chunking`, what
            all chunks of a source have in common is context, once before the source.
        embedding_separator: Between metadata and content.
        late_chunking: Whether chunks are embedded in the context of their source.
        source_id_field: Metadata key that names the source of a chunk.
        late_chunking_fallback: For chunks that cannot be found in their source, which are embedded
            on their own: "warn", "raise" or "ignore".
        on_overflow: For texts longer than the model: "error", "truncate" or "window". `None` is
            "error" for queries and "window" for everything else.
        device: Where the model runs; the fastest there is if `None`.
        dtype: What it computes in.
        token: Access token for the hub.
        revision: Branch, tag or commit on the hub.
        local_files_only: Use the hub's cache and touch no network.
        cache_dir: Where the hub's files are kept; the hub's own default if `None`.

    Raises:
        ValueError: If an option is outside its allowed set.
    """

    def __init__(
        self,
        *,
        model: str = DEFAULT_MODEL,
        task: str | None = "retrieval.passage",
        adapters: Mapping[str, str | Path] | None = None,
        dimensions: int | None = None,
        prefix: str = "",
        suffix: str = "",
        batch_size: int = 32,
        progress_bar: bool = True,
        normalize_embeddings: bool = True,
        meta_fields_to_embed: list[str] | None = None,
        embedding_separator: str = "\n",
        late_chunking: bool = False,
        source_id_field: str = "source_id",
        late_chunking_fallback: Fallback = "warn",
        on_overflow: OnOverflow | None = None,
        device: ComponentDevice | None = None,
        dtype: Dtype = "auto",
        token: Secret | None = HUB_TOKEN,
        revision: str | None = None,
        local_files_only: bool = False,
        cache_dir: str | None = None,
    ) -> None:
        self.model = model
        self.task = task
        self.dimensions = dimensions
        self.prefix = prefix
        self.suffix = suffix
        self.batch_size = batch_size
        self.progress_bar = progress_bar
        self.normalize_embeddings = normalize_embeddings
        self.meta_fields_to_embed = meta_fields_to_embed or []
        self.embedding_separator = embedding_separator
        self.late_chunking = late_chunking
        self.source_id_field = source_id_field
        self.late_chunking_fallback = late_chunking_fallback
        self.on_overflow = on_overflow
        self.device = device
        self.dtype = dtype
        self.token = token
        self.revision = revision
        self.local_files_only = local_files_only
        self.cache_dir = cache_dir
        self._check()
        self._prepare(adapters)
        self._texts = DocumentText(
            prefix=prefix,
            suffix=suffix,
            meta_fields=tuple(self.meta_fields_to_embed),
            separator=embedding_separator,
        )

    @component.output_types(documents=list[Document], meta=dict[str, Any])
    def run(
        self, documents: list[Document], source_documents: list[Document] | None = None
    ) -> dict[str, Any]:
        """Embed documents.

        Args:
            documents: Documents.
            source_documents: What they were cut from, if `late_chunking` is on: then the context is
                the source itself, and not what its chunks give when they are put together.

        Returns:
            `documents`, in the same order, with their embeddings, and `meta` with the model, the
            task, the dimensions, usage, and how many texts were truncated, run in windows, skipped
            because there is nothing to embed, or embedded in their context.

        Raises:
            TypeError: If these are no lists of documents.
        """
        _refuse_other_than_documents(documents)
        _refuse_other_than_documents([] if source_documents is None else source_documents)
        present = [i for i, one in enumerate(documents) if not self._texts.has_nothing(one)]
        chosen = [documents[i] for i in present]
        plan = self._plan(chosen, source_documents or [])
        self.warm_up()
        with tqdm(
            total=len(chosen), disable=not self.progress_bar, desc="Calculating embeddings"
        ) as bar:
            embedded, n_windows = self._embed(chosen, plan, bar.update)
        report = RunReport.of(
            self._settings,
            self._settings.dimensions or self._access.width,
            embedded,
            skipped=len(documents) - len(present),
            late=self._counts(plan, n_windows),
        )
        report.warn(of_unmapped=self.late_chunking_fallback == "warn")
        vectors = {i: one.vector for i, one in zip(present, embedded, strict=True)}
        results = [
            replace(document, embedding=vectors.get(i)) for i, document in enumerate(documents)
        ]
        return {"documents": results, "meta": report.as_meta()}

    @component.output_types(documents=list[Document], meta=dict[str, Any])
    async def run_async(
        self, documents: list[Document], source_documents: list[Document] | None = None
    ) -> dict[str, Any]:
        """Embed documents in a thread; see `run`."""
        return await asyncio.to_thread(self.run, documents, source_documents)

    def _plan(self, documents: list[Document], sources: list[Document]) -> LatePlan:
        if not self.late_chunking:
            return LatePlan(late=(), alone=tuple(range(len(documents))), unmapped=())
        return plan_late(
            documents,
            sources,
            self._texts,
            source_id_field=self.source_id_field,
            fallback=self.late_chunking_fallback,
        )

    def _embed(
        self, documents: list[Document], plan: LatePlan, finished: Callable[[int], object]
    ) -> tuple[list[EmbeddedText], int]:
        """The documents in their order, and the windows that sources were run in."""
        results: dict[int, EmbeddedText] = {}
        n_windows = 0
        for batch in in_batches(plan.late, self.batch_size):
            found = embed_late(self._access, self._settings, [one.text for one in batch])
            for one, (chunks, windows) in zip(batch, found, strict=True):
                results |= zip(one.members, chunks, strict=True)
                n_windows += windows
                finished(len(chunks))
        for start in range(0, len(plan.alone), self.batch_size):
            members = plan.alone[start : start + self.batch_size]
            texts = [self._texts.plain(documents[i]) for i in members]
            results |= zip(members, embed_texts(self._access, self._settings, texts), strict=True)
            finished(len(members))
        return [results[i] for i in range(len(documents))], n_windows

    def _counts(self, plan: LatePlan, n_windows: int) -> LateCounts | None:
        if not self.late_chunking:
            return None
        return LateCounts(len(plan.late), n_windows, len(plan.unmapped))

    def _check(self) -> None:
        names = ("prefix", "suffix", "embedding_separator", "source_id_field")
        check_strings({name: getattr(self, name) for name in names})
        check_fields(self.meta_fields_to_embed)
        check_integer("batch_size", self.batch_size, 1)
        check_flag("progress_bar", self.progress_bar)
        check_flag("late_chunking", self.late_chunking)
        check_choice("late_chunking_fallback", self.late_chunking_fallback, get_args(Fallback))
        if self.late_chunking and self.task == ROLE_TASKS["query"]:
            msg = (
                f"late_chunking with task {self.task!r}: queries are no chunks of a document; use "
                f"{ROLE_TASKS['document']!r}, the default"
            )
            raise InvalidOptionError(msg)


def _refuse_other_than_documents(documents: object) -> None:
    if not isinstance(documents, list) or not all(isinstance(one, Document) for one in documents):
        msg = (
            "JinaLocalDocumentEmbedder expects a list of Documents as input. In case you want to "
            "embed a string, please use the JinaLocalTextEmbedder."
        )
        raise TypeError(msg)
