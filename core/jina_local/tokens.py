"""Text → tokens: ids, character offsets, and how many tokens the instruction takes.

The checkpoint's own tokenizer.json does the work, in Rust and in parallel; what is baked into the
file about truncation and padding is switched off, because both belong to later stages.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from tokenizers import Tokenizer

from jina_local.config import read_json
from jina_local.errors import CheckpointError, ModelNotFoundError
from jina_local.inputs import check_encodable
from jina_local.stored import FileStamp

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from tokenizers import Encoding

__all__ = ["TextTokenizer", "TokenizedText", "joined", "read_tokenizer"]

# The tokenizer's own results take 600 bytes per token: they are made into arrays piece by piece.
_LONGEST_SLICE = 2**16
_CHARACTERS_PER_CALL = 2**18
_PIECES_PER_CALL = 1024
_LETTERS = (
    "A-Za-z0-9"
    "\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u024f"  # Latin
    "\u0386\u0388-\u03ce"  # Greek
    "\u0400-\u0481\u048a-\u052f"  # Cyrillic
    "\uac00-\ud7a3"  # syllables of Hangul
)
_CUT = re.compile(f"(?<=[{_LETTERS}]) (?=[{_LETTERS}])")
_FALLBACK_LIMIT = 8192  # what the reference assumes where the tokenizer says nothing
_SMALLEST_LIMIT = 3  # <s>, one token, </s>
_ABSURD_LIMIT = 10**9  # transformers writes 1e30 for "not known"


@dataclass(frozen=True, slots=True, eq=False)
class TokenizedText:
    """One text as the model sees it: `<s>`, instruction, text, `</s>`.

    Attributes:
        ids: Token ids, int32 (t,).
        offsets: Start and end of each token in the text, in code points without the instruction,
            int32 (t, 2). Zeros for special tokens and for the instruction's.
        n_prefix: Tokens before the text: specials and instruction.
        n_suffix: Special tokens after it.
    """

    ids: np.ndarray
    offsets: np.ndarray
    n_prefix: int
    n_suffix: int

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def n_body(self) -> int:
        """Tokens of the text itself."""
        return len(self.ids) - self.n_prefix - self.n_suffix

    @property
    def body(self) -> slice:
        """Where the text's own tokens lie."""
        return slice(self.n_prefix, len(self.ids) - self.n_suffix)

    @property
    def body_offsets(self) -> np.ndarray:
        """Offsets of the text's own tokens, int32 (n_body, 2)."""
        return self.offsets[self.body]

    def truncated(self, max_tokens: int) -> TokenizedText:
        """The first tokens of the text, specials kept, `max_tokens` in all."""
        if len(self) <= max_tokens:
            return self
        head, tail = max_tokens - self.n_suffix, len(self) - self.n_suffix
        return replace(
            self,
            ids=np.concatenate([self.ids[:head], self.ids[tail:]]),
            offsets=np.concatenate([self.offsets[:head], self.offsets[tail:]]),
            n_prefix=min(self.n_prefix, head),
        )


@dataclass(frozen=True, slots=True)
class TextTokenizer:
    """A checkpoint's tokenizer.

    Attributes:
        tokenizer: The tokenizer itself, without truncation and padding.
        max_tokens: The most tokens that the model takes, specials and instruction included.
        stamp: Its file, as it was when it was read.
        n_leading: Special tokens that it puts before every text.
        n_trailing: Special tokens that it puts after every text.
    """

    tokenizer: Tokenizer
    max_tokens: int
    stamp: FileStamp
    n_leading: int
    n_trailing: int

    def tokenize(self, texts: Sequence[str], instructions: Sequence[str]) -> list[TokenizedText]:
        """Tokenize each text behind its instruction, joined by plain concatenation.

        Args:
            texts: N texts.
            instructions: N instructions.

        Raises:
            InvalidTextsError: If a text cannot be encoded in UTF-8 (a lone surrogate).
        """
        for index, text in enumerate(texts):
            check_encodable(text, f"text {index}")
        slices = [_slices(text) for text in texts]
        encoded = self._encoded(
            _Piece(text[start:stop], "" if start else instruction)
            for text, instruction, spans in zip(texts, instructions, slices, strict=True)
            for start, stop in spans
        )
        return [
            joined([next(encoded) for _ in spans], [start for start, _ in spans])
            for spans in slices
        ]

    def _encoded(self, pieces: Iterable[_Piece]) -> Iterator[TokenizedText]:
        for group in _groups(pieces):
            encodings = self.tokenizer.encode_batch([p.instruction + p.text for p in group])
            for encoding, piece in zip(encodings, group, strict=True):
                yield self._tokenized_text(encoding, piece.instruction)

    def _tokenized_text(self, encoding: Encoding, instruction: str) -> TokenizedText:
        ids = np.array(encoding.ids, dtype=np.int32)
        body = range(self.n_leading, len(ids) - self.n_trailing)
        offsets = np.zeros((len(ids), 2), dtype=np.int32)
        edges = (edge for token in body for edge in encoding.token_to_chars(token) or (0, 0))
        bounds = np.fromiter(edges, dtype=np.int32, count=2 * len(body)).reshape(-1, 2)
        n_instruction = _count_instruction(bounds[:, 1], instruction)
        n_prefix = self.n_leading + n_instruction
        text_bounds = bounds[n_instruction:] - len(instruction)
        offsets[n_prefix : body.stop] = np.maximum(text_bounds, 0)
        return TokenizedText(ids, offsets, n_prefix, self.n_trailing)


class _Piece(NamedTuple):
    """A slice of a text, and the instruction if it is the first."""

    text: str
    instruction: str


def _slices(text: str) -> list[tuple[int, int]]:
    """Slices of a long text whose tokens are the tokens of the text.

    A single space between letters or digits is where every pre-tokenizer of this family cuts, and
    no normalizer joins what is around it: none of these letters is made from a space, and marks
    that combine follow a letter. Without such a space, a text stays whole.
    """
    spans, start = [], 0
    while len(text) - start > _LONGEST_SLICE:
        cut = _CUT.search(text, start + _LONGEST_SLICE)
        if cut is None:
            break
        spans.append((start, cut.start()))
        start = cut.end()
    return [*spans, (start, len(text))]


def _groups(pieces: Iterable[_Piece]) -> Iterator[list[_Piece]]:
    """Pieces for one call each."""
    group: list[_Piece] = []
    n_characters = 0
    for piece in pieces:
        group.append(piece)
        n_characters += len(piece.text)
        if n_characters >= _CHARACTERS_PER_CALL or len(group) == _PIECES_PER_CALL:
            yield group
            group, n_characters = [], 0
    if group:
        yield group


def joined(parts: Sequence[TokenizedText], starts: Sequence[int]) -> TokenizedText:
    """One text from parts that were tokenized apart; the first brings the instruction.

    Args:
        parts: At least one tokenized part.
        starts: Where each part starts in the text.
    """
    first = parts[0]
    if len(parts) == 1 and not starts[0]:
        return first
    shifted = [part.body_offsets + start for part, start in zip(parts, starts, strict=True)]
    specials = np.zeros((len(first), 2), dtype=np.int32)
    prefix, suffix = slice(0, first.n_prefix), slice(first.body.stop, None)
    return replace(
        first,
        ids=np.concatenate([first.ids[prefix], *(p.ids[p.body] for p in parts), first.ids[suffix]]),
        offsets=np.concatenate([specials[prefix], *shifted, specials[suffix]], dtype=np.int32),
    )


def read_tokenizer(folder: Path) -> TextTokenizer:
    """Read tokenizer.json and its limit from tokenizer_config.json.

    Raises:
        ModelNotFoundError: If the folder has no tokenizer.json.
        CheckpointError: If it cannot be read.
    """
    path = folder / "tokenizer.json"
    if not path.is_file():
        msg = f"{folder} has no tokenizer.json: download the checkpoint again, with its tokenizer"
        raise ModelNotFoundError(msg)
    stamp = FileStamp.of(path)
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # the runtime raises plain Exception
        msg = f"{path} is not a tokenizer ({error}): download it again"
        raise CheckpointError(msg) from error
    tokenizer.no_truncation()
    tokenizer.no_padding()
    specials = tokenizer.encode("a").special_tokens_mask
    n_leading = specials.index(0) if 0 in specials else 0
    n_trailing = specials[::-1].index(0) if 0 in specials else 0
    if not n_leading or not n_trailing:
        msg = f"{path} does not put <s> before and </s> after a text, as the model was trained with"
        raise CheckpointError(msg)
    return TextTokenizer(tokenizer, _max_tokens(folder), stamp, n_leading, n_trailing)


def _max_tokens(folder: Path) -> int:
    path = folder / "tokenizer_config.json"
    limit = read_json(path).get("model_max_length") if path.is_file() else None
    if limit is None:
        return _FALLBACK_LIMIT
    if isinstance(limit, bool) or not isinstance(limit, int | float) or limit < _SMALLEST_LIMIT:
        msg = f"{path}: model_max_length is {limit!r}, not a number of tokens"
        raise CheckpointError(msg)
    return _FALLBACK_LIMIT if limit > _ABSURD_LIMIT else int(limit)


def _count_instruction(ends: np.ndarray, instruction: str) -> int:
    """How many leading tokens belong to the instruction.

    Counted in the joint encoding: tokenizing the instruction alone gives one token more where its
    last space merges into the first word of the text.

    Args:
        ends: End offset of each token between the specials, in the joined text, (t,).
        instruction: The instruction that the text was joined to.
    """
    if not instruction:
        return 0
    beyond = np.flatnonzero(ends > len(instruction.rstrip()))
    return int(beyond[0]) if len(beyond) else len(ends)
