"""A text longer than the model → windows, each of which the model takes whole.

Every window is well formed: it gets the text's prefix (`<s>` and instruction) and suffix (`</s>`)
around its own slice of the text. The cores of the windows partition the text; a margin on both
sides of a core is attended to but not pooled, so that no pooled token sits at a seam without
context. The first and the last window need no margin at the ends of the text and give that room
to their cores.
"""

from __future__ import annotations

from dataclasses import dataclass

from jina_local.errors import InvalidOptionError

__all__ = ["DEFAULT_MARGIN", "Window", "margin_for", "plan_windows"]

DEFAULT_MARGIN = 512


@dataclass(frozen=True, slots=True)
class Window:
    """A slice of the text's own tokens, without prefix and suffix.

    Attributes:
        start: First token that is attended to.
        stop: One past the last token that is attended to.
        core_start: First token that is pooled.
        core_stop: One past the last token that is pooled.
    """

    start: int
    stop: int
    core_start: int
    core_stop: int


def margin_for(capacity: int) -> int:
    """The default margin for windows of this many text tokens."""
    return min(DEFAULT_MARGIN, capacity // 4)


def plan_windows(n_tokens: int, capacity: int, margin: int) -> list[Window]:
    """The fewest windows over a text, balanced to within one token of each other.

    Args:
        n_tokens: Tokens of the text, without prefix and suffix.
        capacity: Text tokens that fit into one window.
        margin: Tokens of context on each side of a core.

    Returns:
        Windows in order; their cores partition `range(n_tokens)`. A text that fits is one window.

    Raises:
        InvalidOptionError: If the margins leave no room for a core.
    """
    if n_tokens <= capacity:
        return [Window(0, n_tokens, 0, n_tokens)]
    if margin < 0 or capacity <= 2 * margin:
        msg = (
            f"windows of {capacity} text tokens have no room for margins of {margin} on both "
            f"sides; use a margin of 0…{(capacity - 1) // 2}"
        )
        raise InvalidOptionError(msg)
    # k windows cover the text once, and k - 1 seams cost two margins each.
    n_windows = -(-(n_tokens - 2 * margin) // (capacity - 2 * margin))
    attended = n_tokens + 2 * margin * (n_windows - 1)
    windows: list[Window] = []
    core_start = 0
    for i in range(n_windows):
        length = attended // n_windows + (i < attended % n_windows)
        seams = (i > 0) + (i < n_windows - 1)
        core_stop = core_start + length - seams * margin
        start = core_start - margin if i > 0 else 0
        stop = core_stop + margin if i < n_windows - 1 else n_tokens
        windows.append(Window(start, stop, core_start, core_stop))
        core_start = core_stop
    return windows
