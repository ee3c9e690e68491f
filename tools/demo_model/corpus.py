"""Stage 1a: Debian packages → training text: WordNet and six software manuals."""

from __future__ import annotations

import html
import json
import re
from dataclasses import asdict, dataclass
from html.parser import HTMLParser
from typing import TYPE_CHECKING

from .settings import workspace_from_command_line
from .wordnet import Synset, read_wordnet

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

WORDNET_FOLDER = "wordnet-base/usr/share/wordnet"
RUST = "rust-doc/usr/share/doc/rust-doc/html"
RUST_BOOKS = (
    "book",
    "reference",
    "rust-by-example",
    "cargo",
    "nomicon",
    "rustc",
    "edition-guide",
    "embedded-book",  # its prose is CC BY-SA 4.0, unlike the others' (README.md, "Caveats")
    "rustdoc",
)
MANUALS = {
    "python": ["python3.11-doc/usr/share/doc/python3.11/html/**/*.html"],
    "postgresql": ["postgresql-doc-15/**/*.html"],
    "apache2": ["apache2-doc/**/en/**/*.html"],
    "sqlite": ["sqlite3-doc/**/*.html"],
    "libreoffice": ["libreoffice-help-en-us/**/*.html"],
    "rust": [*(f"{RUST}/{book}/**/*.html" for book in RUST_BOOKS), f"{RUST}/std/*/index.html"],
}
NOT_PROSE = re.compile(
    r"whatsnew|changelog|genindex|print\.html|news\.html|releaselog|release-\d|search\.html",
    re.IGNORECASE,
)
HEADING_NUMBER = re.compile(r"^[\dA-Z]{0,3}(\.\d+)*\.?\s+(?=[A-Z])")
LONGEST_PAGE = 600_000  # characters; longer pages are generated indexes
LONGEST_HEADING = 150


@dataclass(frozen=True, slots=True)
class Section:
    """A heading of a manual page and the paragraphs under it."""

    heading: str
    paragraphs: list[str]


@dataclass(frozen=True, slots=True)
class Document:
    """One page of one manual."""

    source: str
    sections: list[Section]


@dataclass(frozen=True, slots=True)
class Corpus:
    """All training text, and the held-out synsets with it."""

    synsets: list[Synset]
    documents: list[Document]

    def training_synsets(self) -> list[int]:
        """Returns the indices of the synsets that may be trained on."""
        return [index for index, synset in enumerate(self.synsets) if not synset.held_out]

    def save(self, path: Path) -> None:
        """Writes the corpus as JSON."""
        path.write_text(json.dumps(asdict(self)), encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> Corpus:
        """Reads what ``save`` wrote."""
        raw = json.loads(path.read_text(encoding="utf-8"))
        documents = [
            Document(document["source"], [Section(**section) for section in document["sections"]])
            for document in raw["documents"]
        ]
        return cls([Synset(**synset) for synset in raw["synsets"]], documents)


def clean(text: str) -> str:
    """Returns ``text`` without entities, permalink signs and runs of white space."""
    collapsed = re.sub(r"\s+", " ", html.unescape(text))
    return collapsed.replace("¶", "").replace("§", "").strip()


class BlockParser(HTMLParser):
    """Collects ``(tag, text)`` for each block of prose, leaving out code, tables and navigation."""

    BLOCKS = frozenset(["p", "li", "dd", "dt", "h1", "h2", "h3", "h4", "h5", "td", "caption"])
    SKIPPED = frozenset(["script", "style", "nav", "footer", "head", "pre", "table", "header"])

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.blocks: list[tuple[str, str]] = []
        self._skip_depth = 0
        self._tag: str | None = None
        self._text: list[str] = []

    def flush(self) -> None:
        """Ends the block that is open, if there is one."""
        text = clean("".join(self._text))
        self._text = []
        if text and self._tag:
            self.blocks.append((self._tag, text))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:  # noqa: ARG002 - the base class's signature
        """Opens a block or a skipped region."""
        if tag in self.SKIPPED:
            self._skip_depth += 1
        elif tag in self.BLOCKS:
            self.flush()
            self._tag = tag
        elif tag == "br":
            self._text.append(" ")

    def handle_endtag(self, tag: str) -> None:
        """Closes a block or a skipped region."""
        if tag in self.SKIPPED:
            self._skip_depth = max(0, self._skip_depth - 1)
        elif tag in self.BLOCKS:
            self.flush()
            self._tag = "p"

    def handle_data(self, data: str) -> None:
        """Keeps text outside skipped regions."""
        if not self._skip_depth:
            self._text.append(data)


def is_english_prose(text: str) -> bool:
    """Tells sentences from code, numbers and other languages."""
    n_foreign = sum(ord(character) > 127 for character in text)
    n_letters = sum(character.isalpha() or character == " " for character in text)
    return len(text) > 30 and n_foreign <= 0.03 * len(text) and n_letters / len(text) > 0.8


def read_sections(path: Path) -> list[Section]:
    """Reads one HTML page; a section without a paragraph is left out."""
    page = path.read_text(encoding="utf-8", errors="replace")
    if len(page) > LONGEST_PAGE:
        return []
    parser = BlockParser()
    parser.feed(page)
    parser.flush()
    sections: list[Section] = []
    for tag, text in parser.blocks:
        if tag.startswith("h"):
            sections.append(Section(HEADING_NUMBER.sub("", text)[:LONGEST_HEADING], []))
        elif sections and tag in ("p", "dd", "li") and is_english_prose(text):
            sections[-1].paragraphs.append(text)
    return [section for section in sections if section.paragraphs]


def manual_pages(packages: Path, patterns: list[str]) -> Iterator[Path]:
    """Yields the pages of one manual that hold prose, in a fixed order."""
    for path in sorted((path for pattern in patterns for path in packages.glob(pattern)), key=str):
        if path.is_file() and not NOT_PROSE.search(str(path.relative_to(packages))):
            yield path


def read_manuals(packages: Path) -> list[Document]:
    """Reads all manuals; a paragraph seen before, in any of them, is dropped."""
    documents: list[Document] = []
    seen: set[str] = set()
    for source, patterns in MANUALS.items():
        for path in manual_pages(packages, patterns):
            sections = []
            for section in read_sections(path):
                fresh = []
                for paragraph in section.paragraphs:
                    if paragraph not in seen:
                        seen.add(paragraph)
                        fresh.append(paragraph)
                if fresh:
                    sections.append(Section(section.heading, fresh))
            if sections:
                documents.append(Document(source, sections))
    return documents


def main() -> None:
    """Reads the packages and writes the corpus."""
    work = workspace_from_command_line(__doc__)
    corpus = Corpus(read_wordnet(work.packages / WORDNET_FOLDER), read_manuals(work.packages))
    corpus.save(work.corpus)
    print(f"{len(corpus.synsets)} synsets, {len(corpus.documents)} manual pages")


if __name__ == "__main__":
    main()
