"""Text → tokens: ids, character offsets, and how many tokens the instruction takes.

The checkpoint's own tokenizer.json does the work, in Rust and in parallel; what is baked into the
file about truncation and padding is switched off, because both belong to later stages.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from itertools import chain, starmap
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from tokenizers import Tokenizer

from jina_local.config import read_json
from jina_local.errors import CheckpointError, ModelNotFoundError
from jina_local.inputs import check_encodable
from jina_local.stored import FileStamp
from jina_local.text_ids import TextIds, TextIdsList

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from tokenizers import Encoding

__all__ = ["TextTokenizer", "TokenizedText", "joined", "joined_ids", "read_tokenizer"]

# The tokenizer's own results take 600 bytes per token: they are made into arrays piece by piece.
_LONGEST_SLICE = 2**16
_CHARACTERS_PER_CALL = 2**18
_PIECES_PER_CALL = 256
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
class TokenizedText(TextIds):
    """The tokens of one text, and where each of them lies in it.

    Attributes:
        offsets: Start and end of each token in the text, in code points without the instruction,
            int32 (t, 2). Zeros for special tokens and for the instruction's.
    """

    offsets: np.ndarray

    @property
    def body_offsets(self) -> np.ndarray:
        """Offsets of the text's own tokens, int32 (n_body, 2)."""
        return self.offsets[self.body]

    def _with_tokens(self, kept: np.ndarray, n_prefix: int) -> TokenizedText:
        return replace(self, ids=self.ids[kept], offsets=self.offsets[kept], n_prefix=n_prefix)


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

    def ids(self, texts: Sequence[str], instructions: Sequence[str]) -> TextIdsList:
        """The ids of each text behind its instruction, without saying where its tokens lie.

        Args:
            texts: N texts.
            instructions: N instructions.

        Raises:
            InvalidTextsError: If a text cannot be encoded in UTF-8 (a lone surrogate).
        """
        encoded = starmap(self._text_ids, self._encoded(texts, instructions))
        return TextIdsList(joined_ids([next(encoded) for _ in _slices(text)]) for text in texts)

    def tokenize(self, texts: Sequence[str], instructions: Sequence[str]) -> list[TokenizedText]:
        """Tokenize each text behind its instruction, joined by plain concatenation.

        Args:
            texts: N texts.
            instructions: N instructions.

        Raises:
            InvalidTextsError: If a text cannot be encoded in UTF-8 (a lone surrogate).
        """
        encoded = starmap(self._tokenized_text, self._encoded(texts, instructions))
        slices = map(_slices, texts)
        return [
            joined([next(encoded) for _ in spans], [start for start, _ in spans])
            for spans in slices
        ]

    def _encoded(
        self, texts: Sequence[str], instructions: Sequence[str]
    ) -> Iterator[tuple[Encoding, str]]:
        """The encoding of every slice of every text, and the instruction that it begins with."""
        for index, text in enumerate(texts):
            check_encodable(text, f"text {index}")
        pieces = (
            _Piece(text[start:stop], "" if start else instruction)
            for text, instruction in zip(texts, instructions, strict=True)
            for start, stop in _slices(text)
        )
        for group in _groups(pieces):
            encodings = self.tokenizer.encode_batch([p.instruction + p.text for p in group])
            yield from zip(encodings, (piece.instruction for piece in group), strict=True)

    def _text_ids(self, encoding: Encoding, instruction: str) -> TextIds:
        ids = np.array(encoding.ids, dtype=np.int32)
        n_prefix = self.n_leading + self._count_instruction(encoding, instruction)
        return TextIds(ids, n_prefix, self.n_trailing)

    def _count_instruction(self, encoding: Encoding, instruction: str) -> int:
        """How many leading tokens belong to the instruction.

        Counted in the joint encoding: tokenizing the instruction alone gives one token more where
        its last space merges into the first word of the text.

        Args:
            encoding: Of the instruction joined to a text.
            instruction: The instruction.
        """
        if not instruction:
            return 0
        n_characters = len(instruction.rstrip())
        last = encoding.char_to_token(n_characters - 1) if n_characters else None
        token, stop = last or self.n_leading, len(encoding) - self.n_trailing
        while token < stop and (encoding.token_to_chars(token) or (0, 0))[1] <= n_characters:
            token += 1
        return token - self.n_leading

    def _tokenized_text(self, encoding: Encoding, instruction: str) -> TokenizedText:
        text = self._text_ids(encoding, instruction)
        edges = chain.from_iterable(self._bounds(encoding))
        bounds = np.fromiter(edges, dtype=np.int32).reshape(-1, 2)
        text_bounds = bounds[text.n_prefix - self.n_leading :] - len(instruction)
        offsets = np.zeros((len(text), 2), dtype=np.int32)
        offsets[text.body] = np.maximum(text_bounds, 0)
        return TokenizedText(text.ids, text.n_prefix, text.n_suffix, offsets)

    def _bounds(self, encoding: Encoding) -> Iterator[tuple[int, int]]:
        """Start and end of each token between the specials, in the joined text."""
        body = range(self.n_leading, len(encoding) - self.n_trailing)
        return (encoding.token_to_chars(token) or (0, 0) for token in body)


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


def joined_ids(parts: Sequence[TextIds]) -> TextIds:
    """One text from parts that were tokenized apart; the first brings the instruction."""
    first = parts[0]
    if len(parts) == 1:
        return first
    bodies = [part.ids[part.body] for part in parts]
    ids = np.concatenate([first.ids[: first.n_prefix], *bodies, first.ids[first.body.stop :]])
    return TextIds(ids, first.n_prefix, first.n_suffix)


def joined(parts: Sequence[TokenizedText], starts: Sequence[int]) -> TokenizedText:
    """One text from parts that were tokenized apart; the first brings the instruction.

    Args:
        parts: At least one tokenized part.
        starts: Where each part starts in the text.
    """
    first = parts[0]
    if len(parts) == 1 and not starts[0]:
        return first
    text = joined_ids(parts)
    shifted = [part.body_offsets + start for part, start in zip(parts, starts, strict=True)]
    offsets = np.zeros((len(text), 2), dtype=np.int32)
    offsets[text.body] = np.concatenate(shifted)
    return TokenizedText(text.ids, text.n_prefix, text.n_suffix, offsets)


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
