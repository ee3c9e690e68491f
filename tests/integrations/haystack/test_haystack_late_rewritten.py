"""Late chunking behind splitters that rewrite: what is not in its source is counted."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest
from haystack import Document
from haystack.components.preprocessors import CSVDocumentSplitter, PythonCodeSplitter

from jina_local import ChunkedText, Engine
from jina_local.errors import InvalidOptionError
from support.haystack_late import alone, assert_same, embedding, rows

if TYPE_CHECKING:
    from support.checkpoints import Checkpoint

PASSAGE = "retrieval.passage"
CODE = '''"""About rivers."""

import os


class River:
    """Water that runs."""

    def length(self):
        """In kilometres."""
        return os.name

    def width(self, bridge):
        metres = bridge + 1
        return metres * 2


def flood(town):
    total = 0
    for house in town:
        total += house
    return total
'''
TABLE = 'city,area,,,dog\nBerlin,"8 91",,,fox\n,,,,\n,,,,\nParis,105,,,cat\nRome,1285,,,cow\n'


def split_code(**options: Any) -> list[Document]:
    splitter = PythonCodeSplitter(min_effective_lines=2, max_effective_lines=4, **options)
    return splitter.run(documents=[Document(content=CODE, id="source")])["documents"]


def split_table(**options: Any) -> list[Document]:
    splitter = CSVDocumentSplitter(**options)
    return splitter.run(documents=[Document(content=TABLE, id="source")])["documents"]


REWRITTEN = {
    "code": (CODE, split_code(), 1),
    "code-no-docstrings": (CODE, split_code(strip_docstrings=True), 2),
    "code-no-class": (CODE, split_code(preserve_class_definition=False), 0),
    "table": (TABLE, split_table(), 4),
    "table-rows": (TABLE, split_table(split_mode="row-wise"), 1),
    "table-wide": (TABLE, split_table(column_split_threshold=None), 1),
}


def place_aside(text: str, chunk: str) -> tuple[int, int] | None:
    """The first place of the characters, white space aside."""
    pattern = r"\s*".join(map(re.escape, "".join(chunk.split())))
    found = re.search(pattern, text)
    return found and found.span()


@pytest.mark.parametrize("fallback", ["warn", "ignore"])
@pytest.mark.parametrize("name", REWRITTEN)
def test_what_is_not_in_its_source_is_embedded_on_its_own_and_counted(
    name: str, fallback: str, tiny: Checkpoint, engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    text, chunks, n_unmapped = REWRITTEN[name]
    chunks = [one for one in chunks if one.content and one.content.strip(",\n")]
    places = [place_aside(text, one.content or "") for one in chunks]
    assert places.count(None) == n_unmapped
    with embedding(tiny.folder, late_chunking_fallback=fallback) as component:
        result = component.run(chunks[::-1], [Document(content=text, id="source")])
    spans = [span for span in places if span]
    found = rows(result["documents"][::-1])
    if spans:
        (late_chunks,) = engine.embed_chunks([ChunkedText(text, spans)], task=PASSAGE)
        assert_same(found[[span is not None for span in places]], late_chunks.vectors)
    if n_unmapped:
        lost = [one.content or "" for one, span in zip(chunks, places, strict=True) if span is None]
        assert_same(found[[span is None for span in places]], alone(engine, *lost))
    counts = {"sources": int(bool(spans)), "windows": int(bool(spans)), "unmapped": n_unmapped}
    assert result["meta"]["late_chunking"] == counts
    n_said = sum("could not be found in their source" in one for one in caplog.messages)
    assert n_said == (n_unmapped > 0 and fallback == "warn")


@pytest.mark.parametrize("name", [name for name, (_, _, n) in REWRITTEN.items() if n])
def test_what_is_not_in_its_source_is_refused_where_that_is_asked_for(
    name: str, tiny: Checkpoint
) -> None:
    text, chunks, n_unmapped = REWRITTEN[name]
    chunks = [one for one in chunks if one.content and one.content.strip(",\n")]
    refused = pytest.raises(InvalidOptionError, match=f"{n_unmapped} documents cannot be found")
    with embedding(tiny.folder) as component, refused:
        component.run(chunks, [Document(content=text, id="source")])


@pytest.mark.parametrize("name", REWRITTEN)
def test_without_the_source_the_rewritten_chunks_are_the_text(
    name: str, tiny: Checkpoint, engine: Engine
) -> None:
    _, chunks, _ = REWRITTEN[name]
    with embedding(tiny.folder) as component:
        result = component.run(chunks[::-1])
    (expected,) = engine.embed_chunks(
        [ChunkedText.from_chunks([one.content or "" for one in chunks])], task=PASSAGE
    )
    assert_same(rows(result["documents"][::-1]), expected.vectors)
    assert result["meta"]["late_chunking"]["unmapped"] == 0
