"""`JinaLocalTextEmbedder`: embeds a string, by default as a query."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping  # noqa: TC003 - read at run time
from pathlib import Path  # noqa: TC003
from typing import Any

from haystack import component
from haystack.utils import ComponentDevice, Secret  # noqa: TC002 - read at run time

from haystack_integrations.components.embedders.jina_local._coalescing import Coalescer
from haystack_integrations.components.embedders.jina_local._embedder import Embedder
from haystack_integrations.components.embedders.jina_local._embedding import (
    EmbeddedText,
    RunReport,
    embed_texts,
)
from haystack_integrations.components.embedders.jina_local._model import (
    DEFAULT_MODEL,
    HUB_TOKEN,
    Dtype,
    OnOverflow,
    check_strings,
)

__all__ = ["JinaLocalTextEmbedder"]


@component
class JinaLocalTextEmbedder(Embedder):
    """Embeds strings with jina-embeddings-v3 on this machine, by default as queries.

    Usage:

        from haystack_integrations.components.embedders.jina_local import JinaLocalTextEmbedder

        embedder = JinaLocalTextEmbedder(dimensions=512)
        embedder.run("When was the city founded?")["embedding"]

    The weights of jina-embeddings-v3 are licensed CC BY-NC 4.0: not for commercial use.

    Queries that several threads ask for at the same time are embedded together.

    Args:
        model: A folder, a name on the hub, or "demo" for the small bundled model, which is not
            jina-embeddings-v3.
        task: Adapter and instruction: one of jina-embeddings-v3, or of `adapters`; `None` for the
            base model without either.
        adapters: Adapters of your own, each a PEFT folder by the name of its task: more tasks, or
            others in the place of the model's. Components with the same ones share a model.
        dimensions: Matryoshka dimension; the model's width if `None`.
        prefix: Put before every text.
        suffix: Put after every text.
        normalize_embeddings: Whether vectors get unit length.
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
        task: str | None = "retrieval.query",
        adapters: Mapping[str, str | Path] | None = None,
        dimensions: int | None = None,
        prefix: str = "",
        suffix: str = "",
        normalize_embeddings: bool = True,
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
        self.normalize_embeddings = normalize_embeddings
        self.on_overflow = on_overflow
        self.device = device
        self.dtype = dtype
        self.token = token
        self.revision = revision
        self.local_files_only = local_files_only
        self.cache_dir = cache_dir
        check_strings({"prefix": prefix, "suffix": suffix})
        self._prepare(adapters)
        self._queries = Coalescer(self._embed)

    @component.output_types(embedding=list[float], meta=dict[str, Any])
    def run(self, text: str) -> dict[str, Any]:
        """Embed a string.

        Args:
            text: The string.

        Returns:
            `embedding`, and `meta` with the model, the task, the dimensions, usage, and whether the
            text was truncated or run in windows.

        Raises:
            TypeError: If it is something else.
        """
        self._refuse_other_than_string(text)
        row = self._queries.result(self.prefix + text + self.suffix)
        report = RunReport.of(
            self._settings, self._settings.dimensions or self._access.width, [row]
        )
        report.warn()
        return {"embedding": row.vector, "meta": report.as_meta()}

    @component.output_types(embedding=list[float], meta=dict[str, Any])
    async def run_async(self, text: str) -> dict[str, Any]:
        """Embed a string in a thread; see `run`."""
        self._refuse_other_than_string(text)
        return await asyncio.to_thread(self.run, text)

    def _embed(self, texts: list[str]) -> list[EmbeddedText]:
        return embed_texts(self._access, self._settings, texts)

    @staticmethod
    def _refuse_other_than_string(text: object) -> None:
        if not isinstance(text, str):
            msg = (
                "JinaLocalTextEmbedder expects a string as input. In case you want to embed a list "
                "of Documents, please use the JinaLocalDocumentEmbedder."
            )
            raise TypeError(msg)
