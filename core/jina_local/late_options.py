"""Options of late chunking that the command line shares; nothing heavy is imported here."""

from __future__ import annotations

from typing import Literal

__all__ = ["DEFAULT_MARGIN", "SMALLEST_WINDOW", "SpecialTokens"]

SpecialTokens = Literal["edges", "exclude"]
"""What `<s>`, the instruction and `</s>` count towards: the outermost chunks, or nothing."""

DEFAULT_MARGIN = 512
"""Tokens of context on each side of a chunk."""

SMALLEST_WINDOW = 3
"""`<s>`, one token, `</s>`."""
