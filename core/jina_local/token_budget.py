"""How many tokens a forward pass may have."""

from __future__ import annotations

__all__ = ["TokenBudget"]


class TokenBudget:
    """What was asked for, until memory runs out; from then on what fits.

    Threads may share it: it only ever shrinks.

    Args:
        tokens: The most tokens per forward pass; a longer sequence gets a pass of its own.
    """

    def __init__(self, tokens: int) -> None:
        self._tokens = tokens

    @property
    def tokens(self) -> int:
        """The most tokens per forward pass."""
        return self._tokens

    def shrink(self, n_tokens: int) -> None:
        """Remember that there was no memory for so many tokens: from now on at most half of it."""
        self._tokens = min(self._tokens, max(1, n_tokens // 2))
