"""`jina-local chunks`: what late chunking does to the chunks of one document.

Imported whenever the command line starts, so everything heavy is imported inside.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from jina_local.cli import (
    DeviceOption,
    DimensionsOption,
    DtypeOption,
    JsonOption,
    ModelOption,
    error_console,
    progress,
    read_text,
)
from jina_local.errors import InvalidOptionError, InvalidSpansError, InvalidTextsError
from jina_local.late_options import DEFAULT_MARGIN, SMALLEST_WINDOW, SpecialTokens
from jina_local.pictures import check_plot
from jina_local.similarity_plot import draw_similarities
from jina_local.source import DEMO, ModelSource
from jina_local.splitting import check_chunk_tokens, line_spans, make_splitter, paragraph_spans

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np

    from jina_local import ChunkedText, ChunkEmbeddings, Engine

__all__ = ["chunks", "model_name"]

_CHUNK_TOKENS = 128
_LISTED = 8  # numbers of chunks in the summary
_CONTROLS = {*range(0x20), *range(0x7F, 0xA0)}


class SplitterName(StrEnum):
    """What cuts a document where nobody gives the spans of its chunks."""

    lines = "lines"
    paragraphs = "paragraphs"
    tokens = "tokens"
    markdown = "markdown"


_COUNTING = (SplitterName.tokens, SplitterName.markdown)


@dataclass(frozen=True, slots=True, eq=False)
class _Comparison:
    """A query and the S chunks of a document.

    Attributes:
        query: The query.
        document: The document with its chunks.
        chunks: Its chunks, embedded late.
        late: Similarity of each chunk embedded late, float32 (S,).
        plain: Similarity of each chunk embedded alone, float32 (S,).
    """

    query: str
    document: ChunkedText
    chunks: ChunkEmbeddings
    late: np.ndarray
    plain: np.ndarray

    def text(self, row: int) -> str:
        """The text of a chunk, as it is in the document."""
        start, stop = self.document.spans[row]
        return self.document.text[start:stop]

    @property
    def dimensions(self) -> int:
        """d, of all vectors that were compared."""
        return int(self.chunks.vectors.shape[1])


def chunks(
    source: Annotated[
        str, typer.Argument(metavar="FILE", help="One document; '-' is standard input.")
    ],
    *,
    query: Annotated[str, typer.Option("--query", "-q", help="What the chunks are compared to.")],
    spans: Annotated[
        str | None,
        typer.Option(help="Chunks as '[[0, 120], [120, 300]]', in characters, or a .json file."),
    ] = None,
    splitter: Annotated[
        SplitterName | None,
        typer.Option(help="What cuts the document into chunks.", show_default="paragraphs"),
    ] = None,
    chunk_tokens: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="The most tokens of a chunk, for the splitters tokens and markdown.",
            show_default=str(_CHUNK_TOKENS),
        ),
    ] = None,
    header: Annotated[
        str | None, typer.Option(help="Text that every window begins with, as a title; late only.")
    ] = None,
    special_tokens: Annotated[
        SpecialTokens, typer.Option(help="Pool <s>, prompt and </s> at the edges, or nowhere.")
    ] = "edges",
    window_tokens: Annotated[
        int | None,
        typer.Option(
            min=SMALLEST_WINDOW,
            help="The most tokens of a window, with prompt and header.",
            show_default="the model's",
        ),
    ] = None,
    margin_tokens: Annotated[
        int, typer.Option(min=0, help="Tokens of context on each side of a chunk.")
    ] = DEFAULT_MARGIN,
    model: ModelOption = "demo",
    dimensions: DimensionsOption = None,
    device: DeviceOption = "auto",
    dtype: DtypeOption = "auto",
    limit: Annotated[
        int | None, typer.Option("--limit", "-n", min=1, help="The most chunks to print.")
    ] = None,
    sort: Annotated[bool, typer.Option("--sort", help="Most similar first, by late.")] = False,
    plot: Annotated[
        Path | None, typer.Option(help="Also draw a picture: FILE.png, FILE.svg or FILE.pdf.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """How similar chunks are to a query, embedded late and plain.

    Late: the model reads the whole document, and each chunk's vector is the mean over its tokens.
    Plain: the model reads each chunk alone, without header. Give the chunks by --spans or by
    --splitter.
    """
    way = _way(spans, splitter, chunk_tokens)
    if plot is not None:
        check_plot(plot)
    if not query.strip():
        msg = "the query is blank: give a question or a phrase"
        raise InvalidOptionError(msg)
    text = _read_document(source)
    from jina_local.chunked_text import ChunkedText

    cut = _cut(text, way) if spans is None else _read_spans(spans)
    document = None if cut is None else ChunkedText(text, cut, header)
    from jina_local.engine import Engine

    with Engine.load(model, device=device, dtype=dtype) as engine:
        if document is None:
            by_tokens = make_splitter(engine.tokenizer_json, chunk_tokens or _CHUNK_TOKENS)
            cut = by_tokens.spans(text, markdown=way is SplitterName.markdown)
            document = ChunkedText(text, cut, header)
        comparison = _compare(
            engine,
            document,
            query,
            dimensions=dimensions,
            special_tokens=special_tokens,
            window_tokens=window_tokens,
            margin_tokens=margin_tokens,
        )
        name = model_name(engine)
    if plot is not None:
        draw_similarities(
            plot,
            query=query,
            model=f"{name}, {comparison.dimensions} dimensions",
            text=text,
            spans=document.spans,
            late=comparison.late,
            plain=comparison.plain,
        )
    rows = _rows(comparison, sort=sort, limit=limit)
    if as_json:
        sys.stdout.write(json.dumps(_record(comparison, name, rows), ensure_ascii=False) + "\n")
    else:
        _print_chunks(Console(highlight=False), comparison, rows)
    error_console().print(_summary(comparison, len(rows)), soft_wrap=True)


# Reading


def _way(
    spans: str | None, splitter: SplitterName | None, chunk_tokens: int | None
) -> SplitterName | None:
    """What cuts the document; `None` if its chunks are given."""
    if spans is not None and splitter is not None:
        msg = "give the chunks by --spans or by --splitter, not by both"
        raise typer.BadParameter(msg)
    way = None if spans is not None else splitter or SplitterName.paragraphs
    if way in _COUNTING:
        check_chunk_tokens(chunk_tokens or _CHUNK_TOKENS)
    elif chunk_tokens is not None:
        msg = "--chunk-tokens is for --splitter tokens and --splitter markdown"
        raise typer.BadParameter(msg)
    return way


def _read_document(source: str) -> str:
    text = read_text(source)
    if not text.strip():
        msg = f"{source!r} holds no text: there is nothing to embed"
        raise InvalidTextsError(msg)
    return text


def _read_spans(given: str) -> list[Any]:
    """JSON from the command line or a file; what is in the list is for `ChunkedText` to judge."""
    inline = given.lstrip().startswith("[")
    if not inline and not given.lower().endswith(".json"):
        msg = f"--spans is {given!r}: give [[0, 120], [120, 300]], or the name of a .json file"
        raise InvalidSpansError(msg)
    content = given if inline else read_text(given, "a .json file with [[start, end], …]")
    where = "--spans" if inline else repr(given)
    try:
        spans = json.loads(content)
    except (ValueError, RecursionError) as error:
        msg = f"{where} is not JSON ({error}): give [[0, 120], [120, 300]]"
        raise InvalidSpansError(msg) from error
    if not isinstance(spans, list):
        msg = f"{where} holds no list: give [[0, 120], [120, 300]]"
        raise InvalidSpansError(msg)
    return spans


def _cut(text: str, way: SplitterName | None) -> list[tuple[int, int]] | None:
    """Spans of chunks, if no model is needed to find them."""
    if way is SplitterName.lines:
        return line_spans(text)
    return paragraph_spans(text) if way is SplitterName.paragraphs else None


# Comparing


def _compare(
    engine: Engine,
    document: ChunkedText,
    query: str,
    *,
    dimensions: int | None,
    special_tokens: SpecialTokens,
    window_tokens: int | None,
    margin_tokens: int,
) -> _Comparison:
    """Embed the chunks in both ways; white space around a chunk counts in neither."""
    wanted = engine.embed_queries([query], dimensions=dimensions).vectors[0]
    texts = [document.text[start:stop].strip() for start, stop in document.spans]
    with progress("embedding", total=1 + len(texts)) as report:  # the document, then its chunks
        (late,) = engine.embed_chunks(
            [document],
            dimensions=dimensions,
            special_tokens=special_tokens,
            window_tokens=window_tokens,
            margin_tokens=margin_tokens,
            progress=report,
        )
        plain = engine.embed_documents(
            texts,
            dimensions=dimensions,
            progress=report and (lambda finished: report(1 + finished)),
        )
    return _Comparison(query, document, late, late.vectors @ wanted, plain.vectors @ wanted)


def model_name(engine: Engine) -> str:
    """What a model is, in a few words, without the folders above its own."""
    path = Path(engine.source)
    if engine.source == DEMO or ModelSource(engine.source, path).is_demo:
        return "demo model of jina-local, not jina-embeddings-v3"
    return path.name if path.is_absolute() else engine.source


def _rows(comparison: _Comparison, *, sort: bool, limit: int | None) -> list[int]:
    """Which chunks are printed, in which order."""
    order = (-comparison.late).argsort(kind="stable") if sort else range(len(comparison.late))
    return [int(row) for row in order[:limit]]


# Printing


def _record(comparison: _Comparison, model: str, rows: Sequence[int]) -> dict[str, Any]:
    return {
        "query": comparison.query,
        "model": model,
        "dimensions": comparison.dimensions,
        "tokens": comparison.chunks.tokens,
        "windows": comparison.chunks.windows,
        "best_late": int(comparison.late.argmax()) + 1,
        "best_plain": int(comparison.plain.argmax()) + 1,
        "chunks": [_chunk_record(comparison, row) for row in rows],
    }


def _chunk_record(comparison: _Comparison, row: int) -> dict[str, Any]:
    chunks, (start, stop) = comparison.chunks, comparison.document.spans[row]
    late, plain = comparison.late[row], comparison.plain[row]
    return {
        "number": row + 1,
        "start": start,
        "stop": stop,
        "late": _float(late),
        "plain": _float(plain),
        "difference": _float(late - plain),
        "tokens": int(chunks.token_counts[row]),
        "fell_back": bool(chunks.fell_back[row]),
        "combined": bool(chunks.combined[row]),
        "text": comparison.text(row),
    }


def _float(value: np.floating) -> float:
    return float(f"{value:.9g}")


def _print_chunks(console: Console, comparison: _Comparison, rows: Sequence[int]) -> None:
    """One line per chunk: similarities, and as much of the text as fits."""
    table = Table(
        box=SIMPLE_HEAD, padding=(0, 1, 0, 0), expand=True, show_edge=False, pad_edge=False
    )
    for name in ("#", "late ", "plain ", "diff."):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("chunk", ratio=1, no_wrap=True, overflow="ellipsis")
    best_late, best_plain = comparison.late.argmax(), comparison.plain.argmax()
    for row in rows:
        late, plain = comparison.late[row], comparison.plain[row]
        table.add_row(
            str(row + 1),
            _number(late, is_best=row == best_late),
            _number(plain, is_best=row == best_plain),
            f"{late - plain:+.3f}",
            Text(_one_line(comparison.text(row)), style="bold" if row == best_late else ""),
        )
    console.print(Text(_one_line(comparison.query), style="bold"), soft_wrap=True)
    console.print(table)
    if best_late in rows or best_plain in rows:
        console.print("* most similar to the query", style="dim")


def _number(value: np.floating, *, is_best: bool) -> Text:
    return Text(f"{value:.3f}*", style="bold") if is_best else Text(f"{value:.3f} ")


def _one_line(text: str) -> str:
    """Without line breaks, and without what would steer a terminal."""
    return " ".join("".join(" " if ord(c) in _CONTROLS else c for c in text).split())


def _summary(comparison: _Comparison, n_shown: int) -> str:
    chunks = comparison.chunks
    windows = "1 window" if chunks.windows == 1 else f"{chunks.windows} windows"
    n_chunks = f"{n_shown} of {len(chunks)}" if n_shown < len(chunks) else str(len(chunks))
    fell_back, combined = _counted(chunks.fell_back), _counted(chunks.combined)
    return (
        f"1 document, {n_chunks} chunks, {chunks.tokens} tokens in {windows} → "
        f"{comparison.dimensions} dimensions; {fell_back} fell back, {combined} combined"
    )


def _counted(flags: np.ndarray) -> str:
    """How many, and the numbers of the first of them."""
    numbers = [str(row + 1) for row in flags.nonzero()[0]]
    if not numbers:
        return "0"
    listed = ", ".join(numbers[:_LISTED]) + (", …" if len(numbers) > _LISTED else "")
    return f"{len(numbers)} ({listed})"
