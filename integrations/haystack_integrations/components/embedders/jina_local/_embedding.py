"""Texts → vectors as Haystack carries them, and what is said about a run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from haystack import logging

if TYPE_CHECKING:
    from collections.abc import Sequence

    from haystack_integrations.components.embedders.jina_local._model import ModelSettings
    from jina_local import ChunkedText
    from jina_local.lazy_engine import LazyEngine

__all__ = ["EmbeddedText", "LateCounts", "RunReport", "embed_late", "embed_texts"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class EmbeddedText:
    """A text, or a chunk of one.

    Attributes:
        vector: d floats.
        tokens: Tokens that were embedded.
        truncated: Whether some of it was cut off.
        windowed: Whether it was run in several windows.
    """

    vector: list[float]
    tokens: int
    truncated: bool
    windowed: bool


@dataclass(frozen=True, slots=True)
class LateCounts:
    """What late chunking did.

    Attributes:
        sources: Texts of which chunks were embedded in their context.
        windows: Windows that these were run in.
        unmapped: Documents that were embedded on their own, as they have no place in their source.
    """

    sources: int = 0
    windows: int = 0
    unmapped: int = 0

    def as_dict(self) -> dict[str, int]:
        """JSON values."""
        return {"sources": self.sources, "windows": self.windows, "unmapped": self.unmapped}


@dataclass(frozen=True, slots=True)
class RunReport:
    """What happened in a run.

    Attributes:
        settings: What the embedder was made with.
        dimensions: d.
        tokens: Tokens that were embedded.
        truncated: Texts of which some was cut off.
        windowed: Texts that were run in several windows.
        skipped: Documents without anything to embed; `None` for an embedder of strings.
        late: What late chunking did; `None` if it is off.
    """

    settings: ModelSettings
    dimensions: int
    tokens: int
    truncated: int
    windowed: int
    skipped: int | None = None
    late: LateCounts | None = None

    @classmethod
    def of(
        cls,
        settings: ModelSettings,
        dimensions: int,
        texts: Sequence[EmbeddedText],
        *,
        skipped: int | None = None,
        late: LateCounts | None = None,
    ) -> RunReport:
        """Sums over the texts of a run."""
        return cls(
            settings=settings,
            dimensions=dimensions,
            tokens=sum(text.tokens for text in texts),
            truncated=sum(text.truncated for text in texts),
            windowed=sum(text.windowed for text in texts),
            skipped=skipped,
            late=late,
        )

    def as_meta(self) -> dict[str, Any]:
        """JSON values."""
        meta: dict[str, Any] = {
            "model": self.settings.model,
            "task": self.settings.task,
            "dimensions": self.dimensions,
            "usage": {"prompt_tokens": self.tokens, "total_tokens": self.tokens},
            "truncated": self.truncated,
            "windowed": self.windowed,
        }
        if self.skipped is not None:
            meta["skipped"] = self.skipped
        if self.late is not None:
            meta["late_chunking"] = self.late.as_dict()
        return meta

    def warn(self, *, of_unmapped: bool = False) -> None:
        """Say once what was not embedded as it is."""
        if self.truncated:
            logger.warning(
                "{number} texts are longer than the model takes: what is beyond was cut off, as "
                "on_overflow='truncate' asks for.",
                number=self.truncated,
            )
        if self.windowed:
            logger.warning(
                "{number} texts are longer than the model takes: they were run in overlapping "
                "windows, and their vectors are means over all of them.",
                number=self.windowed,
            )
        if self.skipped:
            logger.warning(
                "{number} documents have neither content nor metadata to embed: they stay without "
                "an embedding.",
                number=self.skipped,
            )
        if of_unmapped and self.late is not None and self.late.unmapped:
            logger.warning(
                "{number} documents could not be found in their source: they were embedded on "
                "their own, without its context.",
                number=self.late.unmapped,
            )


def embed_texts(
    access: LazyEngine, settings: ModelSettings, texts: Sequence[str]
) -> list[EmbeddedText]:
    """Embed texts, each on its own."""
    found = access.use(
        lambda engine: engine.embed(
            texts,
            task=settings.task,
            dimensions=settings.dimensions,
            normalize=settings.normalize_embeddings,
            on_overflow=settings.on_overflow,
        )
    )
    rows = zip(
        found.vectors.tolist(), found.token_counts, found.truncated, found.windows, strict=True
    )
    return [
        EmbeddedText(vector, int(tokens), bool(truncated), bool(windows > 1))
        for vector, tokens, truncated, windows in rows
    ]


def embed_late(
    access: LazyEngine, settings: ModelSettings, texts: Sequence[ChunkedText]
) -> list[tuple[list[EmbeddedText], int]]:
    """Embed the chunks of texts in their context.

    Returns:
        The chunks of each text, and the windows that it was run in.
    """
    found = access.use(
        lambda engine: engine.embed_chunks(
            texts,
            task=settings.task,
            dimensions=settings.dimensions,
            normalize=settings.normalize_embeddings,
            on_overflow=settings.on_overflow or "window",
        )
    )
    results = []
    for one in found:
        shares = _shares(one.tokens, len(one))
        rows = zip(one.vectors.tolist(), shares, one.truncated, one.combined, strict=True)
        chunks = [
            EmbeddedText(vector, tokens, bool(truncated), bool(combined))
            for vector, tokens, truncated, combined in rows
        ]
        results.append((chunks, one.windows))
    return results


def _shares(tokens: int, n_chunks: int) -> list[int]:
    """The tokens of a text, spread over its chunks, which share some."""
    return [tokens // n_chunks + (i < tokens % n_chunks) for i in range(n_chunks)]
