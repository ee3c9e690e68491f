"""Text → tokens: ids, character offsets, and how many tokens the instruction takes.

The checkpoint's own tokenizer.json does the work, in Rust and in parallel; what is baked into the
file about truncation and padding is switched off, because both belong to later stages.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from tokenizers import Tokenizer

from jina_local.config import read_json
from jina_local.errors import CheckpointError, InvalidTextsError, ModelNotFoundError
from jina_local.stored import FileStamp

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from tokenizers import Encoding

__all__ = ["TextTokenizer", "TokenizedText", "read_tokenizer"]

_TEXTS_PER_CALL = 1024  # the tokenizer's own results are heavy; turned into arrays in slices
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
        tokenized: list[TokenizedText] = []
        for start in range(0, len(texts), _TEXTS_PER_CALL):
            part = slice(start, start + _TEXTS_PER_CALL)
            prefixes = instructions[part]
            joined = [prefix + text for prefix, text in zip(prefixes, texts[part], strict=True)]
            _refuse_lone_surrogates(texts[part], first=start)
            encodings = self.tokenizer.encode_batch(joined)
            tokenized += map(self._tokenized_text, encodings, prefixes)
        return tokenized

    def _tokenized_text(self, encoding: Encoding, instruction: str) -> TokenizedText:
        ids = np.array(encoding.ids, dtype=np.int32)
        offsets = np.array(encoding.offsets, dtype=np.int32).reshape(-1, 2)
        body = slice(self.n_leading, len(ids) - self.n_trailing)
        n_prefix = self.n_leading + _count_instruction(offsets[body, 1], instruction)
        text_offsets = np.zeros_like(offsets)
        text = slice(n_prefix, body.stop)
        text_offsets[text] = np.maximum(offsets[text] - len(instruction), 0)
        return TokenizedText(ids, text_offsets, n_prefix, self.n_trailing)


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


def _refuse_lone_surrogates(texts: Sequence[str], first: int) -> None:
    for index, text in enumerate(texts, start=first):
        try:
            text.encode()
        except UnicodeEncodeError as error:
            msg = (
                f"text {index} holds a lone surrogate ({error.object[error.start]!r} at "
                f"{error.start}), which is not text: decode it properly, or replace it"
            )
            raise InvalidTextsError(msg) from error


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
