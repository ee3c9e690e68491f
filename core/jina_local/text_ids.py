"""The token ids of one text, and of any number of texts in a few bytes more than the ids."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Self, overload

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["TextIds", "TextIdsList"]


@dataclass(frozen=True, slots=True, eq=False)
class TextIds:
    """One text as the model sees it: `<s>`, instruction, text, `</s>`.

    Attributes:
        ids: Token ids, int32 (t,).
        n_prefix: Tokens before the text: specials and instruction.
        n_suffix: Special tokens after it.
    """

    ids: np.ndarray
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

    def truncated(self, max_tokens: int) -> Self:
        """The first tokens of the text, specials kept, `max_tokens` in all."""
        if len(self) <= max_tokens:
            return self
        head, tail = max_tokens - self.n_suffix, len(self) - self.n_suffix
        return self._with_tokens(np.r_[:head, tail : len(self)], n_prefix=min(self.n_prefix, head))

    def _with_tokens(self, kept: np.ndarray, n_prefix: int) -> Self:
        return replace(self, ids=self.ids[kept], n_prefix=n_prefix)


class TextIdsList(Sequence[TextIds]):
    """The ids of N texts end to end: an array for each would take more than most texts' ids.

    Args:
        texts: N texts with as many special tokens after each.
    """

    def __init__(self, texts: Iterable[TextIds]) -> None:
        ids, bounds, prefixes, n_suffix = array("i"), array("q", [0]), array("i"), 0
        for text in texts:
            ids.frombytes(text.ids.tobytes())
            bounds.append(len(ids))
            prefixes.append(text.n_prefix)
            n_suffix = text.n_suffix
        self._ids = np.frombuffer(ids, dtype=np.int32)
        self._bounds = np.frombuffer(bounds, dtype=np.int64)
        self._prefixes = prefixes
        self._n_suffix = n_suffix

    @property
    def lengths(self) -> np.ndarray:
        """Tokens of each text, int64 (N,)."""
        return np.diff(self._bounds)

    def __len__(self) -> int:
        return len(self._prefixes)

    @overload
    def __getitem__(self, index: int) -> TextIds: ...

    @overload
    def __getitem__(self, index: slice) -> list[TextIds]: ...

    def __getitem__(self, index: int | slice) -> TextIds | list[TextIds]:
        """One text; it shares the memory of all of them."""
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        i = range(len(self))[index]
        ids = self._ids[self._bounds[i] : self._bounds[i + 1]]
        return TextIds(ids, self._prefixes[i], self._n_suffix)
