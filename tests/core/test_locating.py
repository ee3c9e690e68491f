"""Where chunks are in their text: found spans are true, honest hints and order settle the rest."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from jina_local.errors import InvalidOptionError, InvalidTextsError
from jina_local.locating import locate

if TYPE_CHECKING:
    from collections.abc import Sequence

    Span = tuple[int, int]

REPETITIVE = st.text("ab \n", max_size=24)
HINTS = st.one_of(st.none(), st.integers(-3, 30), st.sampled_from([True, "4", 2.0]))
DISTINCT = "".join(chr(0x4E00 + i) for i in range(60))  # no character twice: nothing by accident
WHITE = st.text(" \n\t", max_size=3)


@st.composite
def splits(draw: st.DrawFn, source: str) -> list[Span]:
    """Slices with text, by start; they may overlap, nest, leave gaps and repeat."""
    place = st.integers(0, len(source))
    pairs = draw(st.lists(st.tuples(place, place), max_size=10))
    return sorted((min(pair), max(pair)) for pair in pairs if pair[0] != pair[1])


@st.composite
def cases(draw: st.DrawFn) -> tuple[str, list[str], list[Any]]:
    """A text, parts of it in any order or what is none, and true offsets or lies."""
    text = draw(st.text("ab \n", min_size=1, max_size=24))
    chunks: list[str] = []
    hints: list[Any] = []
    for _ in range(draw(st.integers(0, 8))):
        start = draw(st.integers(0, len(text) - 1))
        part = text[start : start + draw(st.integers(0, 5))]
        chunks.append(draw(st.one_of(st.just(part), st.text("ab \n", max_size=6))))
        hints.append(draw(st.one_of(st.just(start), HINTS)))
    return text, chunks, hints


@st.composite
def partitions(draw: st.DrawFn, source: str) -> list[Span]:
    cuts = draw(st.sets(st.integers(0, len(source)), max_size=8)) | {0, len(source)}
    return list(pairwise(sorted(cuts)))


def slices(source: str, spans: Sequence[Span]) -> list[str]:
    return [source[start:stop] for start, stop in spans]


def squeezed(text: str) -> str:
    return "".join(text.split())


@given(cases())
def test_what_is_found_is_the_chunk_white_space_aside(
    case: tuple[str, list[str], list[Any]],
) -> None:
    text, chunks, hints = case
    for chunk, span in zip(chunks, locate(text, chunks, hints), strict=True):
        if span is not None:
            assert 0 <= span[0] <= span[1] <= len(text)
            found = text[slice(*span)]
            assert found == chunk or (squeezed(found) == squeezed(chunk) and found == found.strip())


@given(cases())
@example((" abc", ["\n ab", " abc"], [None, None]))
@example(("ab a", ["b", "a"], [1, 0]))
def test_starts_never_decrease(case: tuple[str, list[str], list[Any]]) -> None:
    text, chunks, hints = case
    starts = [span[0] for span in locate(text, chunks, hints) if span and span[0] < span[1]]
    assert starts == sorted(starts)


@given(cases())
def test_only_what_is_absent_from_there_on_is_not_found(
    case: tuple[str, list[str], list[Any]],
) -> None:
    text, chunks, hints = case
    start, previous = 0, None
    for chunk, span in zip(chunks, locate(text, chunks, hints), strict=True):
        if span is None:
            is_blank = not chunk.strip()
            assert chunk not in text[start + (chunk == previous) :]
            assert is_blank or squeezed(chunk) not in squeezed(text[start:])
        elif chunk:
            start, previous = span[0], chunk


@given(st.data())
def test_slices_of_a_text_without_repetition_are_found_whatever_the_hints_say(
    data: st.DataObject,
) -> None:
    spans = data.draw(splits(DISTINCT))
    lies = data.draw(st.lists(HINTS, min_size=len(spans), max_size=len(spans)))
    assert locate(DISTINCT, slices(DISTINCT, spans), lies) == spans
    assert locate(DISTINCT, slices(DISTINCT, spans)) == spans


@given(st.data())
def test_white_space_that_was_changed_is_no_hindrance(data: st.DataObject) -> None:
    white = data.draw(st.lists(WHITE, min_size=len(DISTINCT), max_size=len(DISTINCT)))
    text = "".join(letter + some for letter, some in zip(DISTINCT, white, strict=True))
    at = [text.index(letter) for letter in DISTINCT]
    spans = data.draw(splits(DISTINCT))
    chunks = [" ".join(chunk) for chunk in slices(DISTINCT, spans)]
    assert locate(text, chunks) == [(at[start], at[stop - 1] + 1) for start, stop in spans]


@given(REPETITIVE, st.data())
def test_honest_offsets_settle_what_repetition_leaves_open(text: str, data: st.DataObject) -> None:
    spans = data.draw(splits(text))
    assert locate(text, slices(text, spans), [start for start, _ in spans]) == spans


@given(REPETITIVE, st.data())
def test_chunks_that_follow_each_other_need_no_offsets(text: str, data: st.DataObject) -> None:
    spans = data.draw(partitions(text))
    assert locate(text, slices(text, spans)) == spans


@given(st.integers(1, 6), st.sampled_from(["same", "so so", "ab ab a"]))
def test_a_paragraph_that_comes_again_is_the_next_one(n: int, paragraph: str) -> None:
    text = "\n\n".join([paragraph] * n)
    step = len(paragraph) + 2
    expected = [(i * step, i * step + len(paragraph)) for i in range(n)]
    assert locate(text, [paragraph] * n) == expected


def test_an_offset_of_a_section_is_no_place_in_the_whole() -> None:
    text = "# one\n\nthe cat sat\n\n# two\n\nthe dog ran"
    chunks = ["# one\n\nthe ", "cat sat\n\n", "# two\n\nthe ", "dog ran"]
    spans = locate(text, chunks, [0, 11, 0, 11])
    assert slices(text, [span for span in spans if span]) == chunks


def test_a_chunk_that_repeats_the_end_of_the_one_before_it_overlaps_it() -> None:
    text = "one two three. So one two three."
    assert locate(text, ["one two", "two three", "three. So"]) == [(0, 7), (4, 13), (8, 17)]


def test_a_chunk_that_is_nowhere_does_not_move_the_others() -> None:
    assert locate("one two three", ["one", "four", "two", "three"]) == [
        (0, 3),
        None,
        (4, 7),
        (8, 13),
    ]


def test_nothing_is_somewhere() -> None:
    assert locate("one two", ["", "one", "", "two", ""]) == [(0, 0), (0, 3), (3, 3), (4, 7), (7, 7)]
    assert locate("", ["", "a", " "]) == [(0, 0), None, None]
    assert locate("text", []) == []


def test_what_is_no_list_of_chunks_is_refused() -> None:
    with pytest.raises(InvalidTextsError, match="give a list of strings"):
        locate("text", "text")
    with pytest.raises(InvalidTextsError, match="text 1 is a int"):
        locate("text", ["text", 4])  # type: ignore[list-item]
    with pytest.raises(InvalidOptionError, match="offsets has 1 items for 2 chunks"):
        locate("text", ["te", "xt"], [0])
