"""Pictures that are read on a light page and on a dark one: opaque, with a white margin."""

from __future__ import annotations

from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["MARGIN", "white_margin"]

MARGIN = 20
"""The least that looks like one, in pixels."""


def white_margin(picture: Path | IO[bytes]) -> int:
    """Pixels between what a picture shows and its nearest edge; 0 if it is not opaque."""
    from PIL import Image, ImageOps

    with Image.open(picture) as image:
        if image.convert("RGBA").getchannel("A").getextrema() != (255, 255):
            return 0
        shown = ImageOps.invert(image.convert("L")).getbbox()
        assert shown, "the picture is white"
        left, top, right, bottom = shown
        return min(left, top, image.width - right, image.height - bottom)
