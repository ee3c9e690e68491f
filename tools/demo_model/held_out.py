"""Stage 1b: Debian packages → evaluation text that is never trained on (man pages, GNOME help)."""

from __future__ import annotations

import gzip
import json
import re
import xml.etree.ElementTree as ET
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from .corpus import clean
from .settings import first_words, seeded, workspace_from_command_line

if TYPE_CHECKING:
    from pathlib import Path

SHUFFLE_SEED = 1
MALLARD = "{http://projectmallard.org/1.0/}"
SHORT_DESCRIPTION_WORDS = 220
FONT_REQUEST = re.compile(r"\.(B|I|BR|IR|BI|IB|RB|RI|SM|SB)\s+(.*)")


@dataclass(frozen=True, slots=True)
class ManPage:
    """A manual page: its NAME line is the query, its DESCRIPTION the passage."""

    name: str
    purpose: str
    description: str

    @property
    def short_description(self) -> str:
        """The passage of the retrieval sets; the long-document test uses all of it."""
        return first_words(self.description, SHORT_DESCRIPTION_WORDS)


@dataclass(frozen=True, slots=True)
class HelpPage:
    """A page of the GNOME user help."""

    title: str
    summary: str
    paragraphs: list[str]

    @property
    def body(self) -> str:
        """The passage of the retrieval sets."""
        return first_words(" ".join(self.paragraphs), SHORT_DESCRIPTION_WORDS)


@dataclass(frozen=True, slots=True)
class HeldOut:
    """Both evaluation sources, shuffled."""

    man_pages: list[ManPage]
    help_pages: list[HelpPage]

    def save(self, path: Path) -> None:
        """Writes the text as JSON."""
        path.write_text(json.dumps(asdict(self)), encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> HeldOut:
        """Reads what ``save`` wrote."""
        raw = json.loads(path.read_text(encoding="utf-8"))
        return cls(
            [ManPage(**page) for page in raw["man_pages"]],
            [HelpPage(**page) for page in raw["help_pages"]],
        )


def without_roff(line: str) -> str | None:
    """Returns a line of roff as plain text, or None for a request that prints nothing."""
    match = FONT_REQUEST.match(line)
    if match:
        words = [word.strip('"') for word in re.findall(r'"[^"]*"|\S+', match.group(2))]
        line = (" " if len(match.group(1)) == 1 else "").join(words)
    elif line.startswith("."):
        return None
    line = re.sub(r"\\f[BIRP]|\\f\(..", "", line)
    line = line.replace(r"\-", "-").replace(r"\(aq", "'").replace(r"\&", "").replace(r"\e", "\\")
    return re.sub(r"\\\(..|\\\*\(..|\\.", "", line)


def parse_man_page(source: str) -> tuple[str, str]:
    """Returns the NAME and DESCRIPTION sections of a page of roff; empty where it has none."""
    names: list[str] = []
    descriptions: list[str] = []
    section = None
    for line in source.split("\n"):
        if line.startswith(".SH"):
            section = line[3:].strip().strip('"').upper()
        elif not line.startswith(('.\\"', "'")):
            text = without_roff(line)
            if text is not None and section == "NAME":
                names.append(" " + text)
            elif text is not None and section == "DESCRIPTION":
                descriptions.append(text)
    return "".join(names), clean(" ".join(descriptions))


def read_man_pages(packages: Path) -> list[ManPage]:
    """Reads sections 1 to 8; pages need a purpose and forty words, and a purpose counts once."""
    pages: dict[str, ManPage] = {}
    for path in sorted(packages.glob("manpages*/usr/share/man/man[1-8]/*.gz"), key=str):
        if path.is_symlink():
            continue
        with gzip.open(path, "rt", encoding="utf-8", errors="replace") as file:
            names, description = parse_man_page(file.read())
        if " - " not in names or len(description.split()) < 40:
            continue
        name, purpose = (clean(part) for part in names.split(" - ", 1))
        if len(purpose.split()) >= 3:
            pages.setdefault(purpose, ManPage(name, purpose, description))
    return list(pages.values())


def element_text(element: ET.Element | None) -> str:
    """Returns all text inside an element, tags removed."""
    return "" if element is None else clean("".join(element.itertext()))


def read_help_pages(packages: Path) -> list[HelpPage]:
    """Reads the Mallard pages with at least two paragraphs; a title counts once."""
    pages: dict[str, HelpPage] = {}
    folder = packages / "gnome-user-docs/usr/share/help/C"
    for path in sorted(folder.rglob("*.page"), key=str):
        try:
            root = ET.parse(path).getroot()  # noqa: S314 - files of a signed Debian package
        except ET.ParseError:
            continue  # a few pages use entities that are declared elsewhere
        title = root.find(f"{MALLARD}title")
        texts = [element_text(paragraph) for paragraph in root.iter(f"{MALLARD}p")]
        paragraphs = [text for text in texts if len(text) > 30]
        if title is not None and len(paragraphs) >= 2:
            summary = element_text(root.find(f"{MALLARD}info/{MALLARD}desc"))
            page = HelpPage(element_text(title), summary, paragraphs)
            pages.setdefault(page.title, page)
    return list(pages.values())


def main() -> None:
    """Reads the packages, shuffles each source and writes the evaluation text."""
    work = workspace_from_command_line(__doc__)
    held_out = HeldOut(read_man_pages(work.packages), read_help_pages(work.packages))
    seeded(SHUFFLE_SEED).shuffle(held_out.man_pages)
    seeded(SHUFFLE_SEED).shuffle(held_out.help_pages)
    held_out.save(work.held_out)
    print(f"{len(held_out.man_pages)} man pages, {len(held_out.help_pages)} help pages")


if __name__ == "__main__":
    main()
