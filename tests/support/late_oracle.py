"""What late chunking has to give, in loops over characters and tokens, and texts to try it on.

Tokens come from the `tokenizers` library, hidden states from `Oracle`, which is transformers; the
rest is the definition, one token at a time and in float64. Nothing here is fast or shared with the
engine.

A document is `<s>`, instruction, header, body, `</s>`. Only the body has positions in the text.
"""

from __future__ import annotations

import math
import re
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from hypothesis import reject
from hypothesis import strategies as st

from jina_local.errors import InvalidSpansError
from support.checkpoints import INSTRUCTIONS
from support.tiny_tokenizers import tiny_tokenizer

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from jina_local import ChunkedText
    from support.oracle import Oracle
    from support.tiny_tokenizers import Layout

__all__ = [
    "LateOracle",
    "LateVectors",
    "Members",
    "Tokens",
    "count_of",
    "finished",
    "mean_of",
    "members_of",
    "mixed_chunks",
    "mixed_texts",
    "partitions",
    "rejecting_empty",
    "span_lists",
]

Policy = Literal["edges", "exclude"]
Span = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Tokens:
    """The tokens of one document.

    Attributes:
        prefix: Ids of `<s>` and the instruction.
        header: Ids of the header.
        body: Ids of the text.
        ranges: The characters of each body token in the text.
        positions: The one character at which each body token counts; none if all are blank.
        suffix: The id of `</s>`.
        text_end: Where the text ends, or what is left of it.
    """

    prefix: list[int]
    header: list[int]
    body: list[int]
    ranges: list[Span]
    positions: list[int]
    suffix: list[int]
    text_end: int

    def __len__(self) -> int:
        return len(self.prefix) + len(self.header) + len(self.body) + len(self.suffix)

    def window(self, start: int, stop: int) -> list[int]:
        """Ids of a window over body tokens `start` … `stop`."""
        return self.prefix + self.header + self.body[start:stop] + self.suffix

    def cut(self, n_body: int) -> Tokens:
        """The same document with its first `n_body` body tokens only."""
        if n_body >= len(self.body):
            return self
        return Tokens(
            self.prefix,
            self.header,
            self.body[:n_body],
            self.ranges[:n_body],
            self.positions[:n_body],
            self.suffix,
            max(end for _, end in self.ranges[:n_body]),
        )


@dataclass(frozen=True, slots=True)
class Members:
    """What is pooled into one chunk.

    Attributes:
        body: Its body tokens, at least one.
        prefix: Whether `<s>` and the instruction are.
        suffix: Whether `</s>` is.
        fell_back: It holds no token, and `body` is the nearest one.
    """

    body: list[int]
    prefix: bool
    suffix: bool
    fell_back: bool


@dataclass(frozen=True, slots=True)
class LateVectors:
    """One document's vectors (S, d) in float64, and the counts that belong to them."""

    vectors: np.ndarray
    token_counts: list[int]
    fell_back: list[bool]
    tokens: int


class LateOracle:
    """Late chunking of documents that fit into the model.

    Args:
        oracle: The model.
        layout: The tokenizer.
    """

    def __init__(self, oracle: Oracle, layout: Layout) -> None:
        self.oracle = oracle
        self.layout = layout
        self.tokenizer = tiny_tokenizer(layout)

    def tokens(
        self, document: ChunkedText, task: str | None, *, instruction: bool = True
    ) -> Tokens:
        """The tokens of a document under a task."""
        words = INSTRUCTIONS.get(task or "", "") if instruction else ""
        prefix, body, suffix = (
            self._apart(document, words)
            if document.tokenized_apart
            else self._joint(document.text, words)
        )
        header = self.tokenizer.encode((document.header or "").strip(), add_special_tokens=False)
        ids, ranges = [i for i, _ in body], [r for _, r in body]
        positions = _positions(document.text, ranges)
        return Tokens(prefix, list(header.ids), ids, ranges, positions, suffix, len(document.text))

    def embed(
        self,
        document: ChunkedText,
        task: str | None,
        *,
        special_tokens: Policy = "edges",
        dimensions: int | None = None,
        normalize: bool = True,
        instruction: bool = True,
    ) -> LateVectors:
        """Every chunk from one forward pass over the whole document."""
        tokens = self.tokens(document, task, instruction=instruction)
        chunks = members_of(document, tokens, special_tokens)
        states = self.states(tokens.window(0, len(tokens.body)), task)
        means = [mean_of(states, tokens, chunk) for chunk in chunks]
        return LateVectors(
            np.array([finished(mean, dimensions, normalize=normalize) for mean in means]),
            [count_of(tokens, chunk) for chunk in chunks],
            [chunk.fell_back for chunk in chunks],
            len(tokens),
        )

    def states(self, ids: Sequence[int], task: str | None) -> list[list[float]]:
        """The last hidden state of every token of one sequence."""
        return self.oracle.hidden_states(ids, task).tolist()

    def _joint(
        self, text: str, instruction: str
    ) -> tuple[list[int], list[tuple[int, Span]], list[int]]:
        """Instruction and text in one encoding, told apart by where the instruction's words end."""
        encoding = self.tokenizer.encode(instruction + text)
        words_end, shift = len(instruction.rstrip()), len(instruction)
        prefix, body = encoding.ids[:1], []
        for token, (start, end) in list(zip(encoding.ids, encoding.offsets, strict=True))[1:-1]:
            if instruction and not body and end <= words_end:
                prefix.append(token)
            else:
                body.append((token, (max(start - shift, 0), max(end - shift, 0))))
        return prefix, body, encoding.ids[-1:]

    def _apart(
        self, document: ChunkedText, instruction: str
    ) -> tuple[list[int], list[tuple[int, Span]], list[int]]:
        """Every chunk in an encoding of its own, without the white space around it.

        Where a space opens the word after it, the one that ends the instruction opens the first.
        """
        start, *middle, end = self.tokenizer.encode(instruction.rstrip()).ids
        body = []
        for chunk_start, chunk_end in document.spans:
            chunk = document.text[chunk_start:chunk_end]
            encoding = self.tokenizer.encode(chunk.strip(), add_special_tokens=False)
            shift = chunk_start + len(chunk) - len(chunk.lstrip())
            for token, (a, b) in zip(encoding.ids, encoding.offsets, strict=True):
                is_of_instruction = (
                    self.layout == "metaspace"
                    and bool(instruction)
                    and not body
                    and encoding.tokens[0] == "▁"
                )
                body.append(
                    (token, (shift, shift) if is_of_instruction else (a + shift, b + shift))
                )
        return [start, *middle], body, [end]


def members_of(document: ChunkedText, tokens: Tokens, policy: Policy) -> list[Members]:
    """What each chunk of a document pools."""
    trimmed = [_trimmed(document.text, span) for span in document.spans]
    held = [
        [t for t, position in enumerate(tokens.positions) if start <= position < end]
        for start, end in trimmed
    ]
    trimmed = [(start, min(end, tokens.text_end)) for start, end in trimmed]
    holders = [span for span, own in zip(trimmed, held, strict=True) if own]
    first = min((start for start, _ in holders), default=None)
    last = max((end for _, end in holders), default=None)
    chunks = []
    for (start, end), own, (untrimmed, _) in zip(trimmed, held, document.spans, strict=True):
        if own:
            edges = policy == "edges"
            chunks.append(Members(own, edges and start == first, edges and end == last, False))
        else:
            chunks.append(Members([_nearest(tokens.ranges, untrimmed)], False, False, True))
    return chunks


def mean_of(
    states: list[list[float]], tokens: Tokens, chunk: Members, start: int = 0
) -> list[float]:
    """The mean of a chunk's tokens in one window, whose first body token is `start`."""
    n_before = len(tokens.prefix) + len(tokens.header)
    pooled = [states[n_before + t - start] for t in chunk.body]
    if chunk.prefix:
        pooled += states[: len(tokens.prefix)]
    if chunk.suffix:
        pooled += states[-len(tokens.suffix) :]
    return [math.fsum(column) / len(pooled) for column in zip(*pooled, strict=True)]


def count_of(tokens: Tokens, chunk: Members) -> int:
    """How many tokens a chunk pools."""
    edges = chunk.prefix * len(tokens.prefix) + chunk.suffix * len(tokens.suffix)
    return len(chunk.body) + edges


def finished(mean: list[float], dimensions: int | None, *, normalize: bool) -> list[float]:
    """Cut, and only then brought to unit length."""
    vector = mean[:dimensions]
    length = math.sqrt(math.fsum(x * x for x in vector))
    return [x / length for x in vector] if normalize else vector


def _positions(text: str, ranges: Sequence[Span]) -> list[int]:
    """The first character of each token that is no white space.

    A token without one counts where the next token with one does, after all of those where the
    last one does. Where there is no token with one, there are no positions.
    """
    found: list[int | None] = []
    for start, end in ranges:
        visible = [c for c in range(start, end) if not text[c].isspace()]
        found.append(visible[0] if visible else None)
    if all(position is None for position in found):
        return []
    positions = []
    for t in range(len(found)):
        after = [position for position in found[t:] if position is not None]
        before = [position for position in found[:t] if position is not None]
        positions.append(after[0] if after else before[-1])
    return positions


def _trimmed(text: str, span: Span) -> Span:
    """A span without the white space at its ends."""
    start, end = span
    while start < end and text[start].isspace():
        start += 1
    while start < end and text[end - 1].isspace():
        end -= 1
    return start, end


def _nearest(ranges: Sequence[Span], character: int) -> int:
    """The token that covers a character, or else the nearest one; of several the first."""

    def distance(token: int) -> int:
        start, end = ranges[token]
        return max(start - character, character - (end - 1), 0)

    return min(range(len(ranges)), key=distance)


# Documents to try it on

_LATIN = ("Berlin", "is the capital", "inhabitants", "a", "3.85", "naïve", "Straße", "Its")
_MARKS = (".", ", ", "?! ", '."', "—", "▁", "</s>")
_UNSPACED = (
    "柏林是德国的首都",
    "。",
    "今日はとても",
    "図書館",
    "서울은",
    "กรุงเทพมหานคร",
    "เป็นเมืองหลวง",
)
_COMBINED = ("بَرْلِين", "القاهرة هي", "e\u0301", "a\u0315\u0300", "ｶﾞ")
_EMOJI = ("👩\u200d👩\u200d👧", "👍🏽", "🙂", "🏳\ufe0f\u200d🌈")
_LIGATURES = ("ﬁne", "oﬃce", "…", "①", "㌔")
_SPACES = (" ", " ", " ", " ", "\n", "\n\n", "\t", "    ", "\r\n", "\u00a0", "\u3000", "\u2028")
_UNSEEN = ("\u200b", "\u00ad", "\ufeff", "\x1f", "\x85", "\x01", "\x7f")

_PIECES = st.one_of(
    st.sampled_from(_LATIN),
    st.sampled_from(_SPACES),
    st.sampled_from(_MARKS + _UNSPACED),
    st.sampled_from(_COMBINED + _EMOJI + _LIGATURES + _UNSEEN),
)


def mixed_texts(min_pieces: int = 1, max_pieces: int = 20) -> st.SearchStrategy[str]:
    """Texts of many scripts, with every sort of white space; some of them of no visible letter."""
    pieces = st.lists(_PIECES, min_size=min_pieces, max_size=max_pieces)
    return pieces.map("".join).filter(str.strip)


def mixed_chunks() -> st.SearchStrategy[list[str]]:
    """Chunks cut by somebody else, some of them blank or empty, not all."""
    blank = st.sampled_from(("", " ", "\n\t"))
    chunks = st.lists(
        st.one_of(mixed_texts(1, 6), mixed_texts(1, 6), blank), min_size=1, max_size=6
    )
    return chunks.filter(lambda found: bool("".join(found).strip()))


@contextmanager
def rejecting_empty() -> Iterator[None]:
    """Pass over examples without a token, which are refused, and rightly: see the test of that."""
    try:
        yield
    except InvalidSpansError as error:
        if " has no tokens: " not in str(error):
            raise
        reject()


@st.composite
def span_lists(draw: st.DrawFn, text: str) -> list[Span]:
    """Spans in any order that overlap, nest, repeat, leave gaps, and are sometimes blank."""
    cut = st.integers(0, len(text))
    anywhere = st.tuples(cut, cut).map(lambda pair: (min(pair), max(pair)))
    found = draw(st.lists(anywhere, min_size=1, max_size=6))
    blank = [match.span() for match in re.finditer(r"\s+", text)]
    empty = [(0, 0), (len(text), len(text))]
    again = st.sampled_from([*found, *blank, *empty, (0, len(text))])
    return draw(st.permutations([*found, *draw(st.lists(again, max_size=3))]))


@st.composite
def partitions(draw: st.DrawFn, text: str) -> list[Span]:
    """Spans that lie end to end from the first character to the last; some may be empty."""
    cuts = sorted(draw(st.lists(st.integers(0, len(text)), max_size=6)))
    return list(zip([0, *cuts], [*cuts, len(text)], strict=True))
