"""How many tokens a forward pass may have."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["TokenBudget", "default_tokens", "estimated_tokens", "tokens_that_fit"]

_TOKENS: Mapping[str, int] = {"cpu": 2000, "cuda": 16384, "mps": 4096}
_LEAST_TOKENS = 256
_WIDE_RESULTS = 16  # times the width, of one token: what a layer holds at its fullest
_SHARE_OF_FREE = 2
_CHARACTERS_PER_TOKEN = 4
_TOKENS_AROUND = 16  # specials and instruction


def default_tokens(device: torch.device, width: int, dtype: torch.dtype) -> int:
    """How many tokens a pass may have if nobody says: as many as keep a device busy and fit.

    Args:
        device: Where the model runs, and is loaded already.
        width: D.
        dtype: What it computes in.
    """
    tokens = _TOKENS[device.type]
    if device.type != "cuda":
        return tokens
    free, _ = torch.cuda.mem_get_info(device)
    return min(tokens, tokens_that_fit(free, width, dtype))


def tokens_that_fit(free: int, width: int, dtype: torch.dtype) -> int:
    """How many tokens half of some free bytes are enough for."""
    per_token = _WIDE_RESULTS * width * dtype.itemsize
    return max(_LEAST_TOKENS, free // _SHARE_OF_FREE // per_token)


def estimated_tokens(n_characters: int) -> int:
    """Tokens of a text, before there are any."""
    return n_characters // _CHARACTERS_PER_TOKEN + _TOKENS_AROUND


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
