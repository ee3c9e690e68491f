"""HTML → what a browser shows of it, as paragraphs."""

from __future__ import annotations

import re
from collections import Counter
from html.parser import HTMLParser

__all__ = ["html_text"]


def html_text(text: str) -> tuple[str, str | None]:
    """What a browser shows, after the title, and the title."""
    page = _Page()
    page.feed(text)
    page.close()
    title, body = " ".join(page.title.split()), page.visible_text()
    shown = body if body.startswith(title) else f"{title}\n\n{body}"
    return shown.strip("\n"), title or None


_HIDDEN = frozenset({"script", "style", "nav", "template", "noscript", "svg"})
_BLOCKS = frozenset(
    {
        *("address", "article", "aside", "blockquote", "body", "caption", "details", "dialog"),
        *("div", "dl", "fieldset", "figcaption", "figure", "footer", "form", "h1", "h2", "h3"),
        *("h4", "h5", "h6", "head", "header", "hr", "html", "legend", "main", "ol", "p", "pre"),
        *("section", "select", "summary", "table", "tbody", "tfoot", "thead", "title", "ul"),
    }
)
_SEPARATORS = dict.fromkeys(("br", "dd", "dt", "li", "option", "tr"), "\n") | {"td": " ", "th": " "}


class _Page(HTMLParser):
    """Collects the visible text of a page: blocks become paragraphs, and lines stay lines."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.title = ""
        self._paragraphs: list[str] = []
        self._pieces: list[str] = []  # of the paragraph that is being read
        self._open = Counter[str]()

    def visible_text(self) -> str:
        self._end_paragraph()
        return "\n\n".join(self._paragraphs)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        del attrs
        self._boundary(tag)
        if tag in _HIDDEN or tag in {"title", "pre"}:
            self._open[tag] += 1

    def handle_endtag(self, tag: str) -> None:
        self._boundary(tag)
        self._open[tag] = max(0, self._open[tag] - 1)

    def handle_data(self, data: str) -> None:
        if any(self._open[tag] for tag in _HIDDEN):
            return
        if self._open["title"]:
            self.title += data
        else:
            self._pieces.append(data if self._open["pre"] else re.sub(r"\s+", " ", data))

    def _boundary(self, tag: str) -> None:
        if tag in _BLOCKS:
            self._end_paragraph()
        else:
            self._pieces.append(_SEPARATORS.get(tag, ""))

    def _end_paragraph(self) -> None:
        text = "".join(self._pieces)
        if self._open["pre"]:
            text = text.strip("\n").rstrip()
        else:
            lines = (" ".join(line.split()) for line in text.split("\n"))
            text = "\n".join(line for line in lines if line)
        if text:
            self._paragraphs.append(text)
        self._pieces.clear()
