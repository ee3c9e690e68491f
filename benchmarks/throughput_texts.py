"""What throughput is measured on: texts of known lengths in tokens, always the same."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Workload", "Writer", "make_workloads"]

_MEAN_TOKENS = 150
_SPREAD = 0.6  # of the logarithm
_SHORTEST, _LONGEST = 8, 1500


@dataclass(frozen=True, slots=True)
class Workload:
    """Texts that are embedded together.

    Attributes:
        name: In tables.
        texts: N texts.
        tokens: Tokens of all of them, `<s>` and `</s>` included, without an instruction.
    """

    name: str
    texts: tuple[str, ...]
    tokens: int


def make_workloads(
    count_tokens: Callable[[str], int], *, texts: int, longest: int
) -> list[Workload]:
    """Short queries, mixed passages, equal chunks and a long document.

    Args:
        count_tokens: Tokens of a text with specials.
        texts: Mixed passages; there are as many queries, and fewer of what is longer.
        longest: Tokens of the longest text.
    """
    choose = random.Random(0)  # noqa: S311 - the same texts every time
    writer = Writer(choose, count_tokens)
    lengths = [_log_normal(choose) for _ in range(texts)]
    plans = {
        "queries of 20 tokens": [20] * texts,
        "mixed passages": [min(length, longest) for length in lengths],
        "passages of 512 tokens": [min(512, longest)] * max(1, texts // 6),
        f"documents of {longest} tokens": [longest] * max(1, texts // 192),
    }
    return [writer.workload(name, plan) for name, plan in plans.items()]


def _log_normal(choose: random.Random) -> int:
    length = _MEAN_TOKENS * choose.lognormvariate(-(_SPREAD**2) / 2, _SPREAD)
    return int(min(max(length, _SHORTEST), _LONGEST))


class Writer:
    """Writes texts word by word.

    Args:
        choose: Chooses the words.
        count_tokens: Tokens of a text with specials.
    """

    def __init__(self, choose: random.Random, count_tokens: Callable[[str], int]) -> None:
        letters = "abcdefghijklmnopqrstuvwxyz"
        made = ["".join(choose.choices(letters, k=choose.randint(2, 8))) for _ in range(500)]
        around = count_tokens("")
        self._words = [(word, count_tokens(f"{word} ") - around) for word in made]
        self._choose = choose
        self._count = count_tokens
        self._around = around

    def workload(self, name: str, lengths: list[int]) -> Workload:
        """Texts of about these lengths in tokens, and what they really have."""
        texts = tuple(self.text(length) for length in lengths)
        return Workload(name, texts, sum(map(self._count, texts)))

    def text(self, n_tokens: int) -> str:
        """A text of about so many tokens, specials included."""
        words: list[str] = []
        left = n_tokens - self._around
        while left > 0:
            word, n = self._choose.choice(self._words)
            words.append(word)
            left -= n
        return " ".join(words[:-1] if left < 0 and len(words) > 1 else words)
