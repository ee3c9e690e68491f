"""Lines about chunks: what all share is context, what differs is part of its chunk's vector."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from jina_local.annotating import annotated

if TYPE_CHECKING:
    from collections.abc import Sequence

    Span = tuple[int, int]

TEXTS = st.text("ab c", min_size=1, max_size=20).filter(str.strip)
LINES = st.lists(st.sampled_from(["X", "Y", "Z1", "Z2"]), max_size=3, unique=True)
SEPARATORS = st.sampled_from(["\n", "|", ""])
OF_LINES = "XYZ12|\n"  # no text has these, so that what was put in can be taken out


@st.composite
def cases(draw: st.DrawFn) -> tuple[str, list[Span], list[list[str]]]:
    """A text, any spans of it, with text or without, and lines for each."""
    text = draw(TEXTS)
    place = st.integers(0, len(text))
    pairs = draw(st.lists(st.tuples(place, place), min_size=1, max_size=6))
    spans = [(min(pair), max(pair)) for pair in pairs]
    lines = draw(st.lists(LINES, min_size=len(spans), max_size=len(spans)))
    return text, spans, lines


@st.composite
def disjoint(draw: st.DrawFn) -> tuple[str, list[Span], list[list[str]]]:
    """Spans that do not overlap, in any order."""
    text = draw(TEXTS)
    cuts = sorted(draw(st.sets(st.integers(0, len(text)), min_size=2, max_size=8)))
    spans = draw(st.permutations(list(zip(cuts[::2], cuts[1::2], strict=False))))
    lines = draw(st.lists(LINES, min_size=len(spans), max_size=len(spans)))
    return text, spans, lines


def without_lines(text: str) -> str:
    return "".join(letter for letter in text if letter not in OF_LINES)


def shared_by_all(lines: Sequence[Sequence[str]]) -> list[str]:
    in_all = set.intersection(*(set(some) for some in lines))
    return [one for one in lines[0] if one in in_all and len(lines) > 1]


@given(disjoint(), SEPARATORS)
def test_a_span_is_its_own_lines_and_its_chunk(
    case: tuple[str, list[Span], list[list[str]]], separator: str
) -> None:
    text, spans, lines = case
    made = annotated(text, spans, lines, separator=separator)
    shared = shared_by_all(lines)
    for (start, stop), (old_start, old_stop), some in zip(made.spans, spans, lines, strict=True):
        own = "".join(one + separator for one in some if one not in shared)
        assert made.text[start:stop] == own + text[old_start:old_stop]


@given(cases(), SEPARATORS, st.booleans())
def test_spans_that_overlap_hold_their_lines_and_their_chunk(
    case: tuple[str, list[Span], list[list[str]]],
    separator: str,
    share: bool,
) -> None:
    text, spans, lines = case
    made = annotated(text, spans, lines, separator=separator, share=share)
    shared = shared_by_all(lines) if share else []
    assert len(made.spans) == len(spans)
    for (start, stop), span, some in zip(made.spans, spans, lines, strict=True):
        found = made.text[start:stop]
        assert found.startswith("".join(one + separator for one in some if one not in shared))
        assert without_lines(found) == text[slice(*span)]


@given(cases(), SEPARATORS, st.sampled_from(["", "p "]), st.sampled_from(["", " s"]))
def test_everything_else_is_as_it_was(
    case: tuple[str, list[Span], list[list[str]]], separator: str, prefix: str, suffix: str
) -> None:
    text, spans, lines = case
    made = annotated(text, spans, lines, separator=separator, prefix=prefix, suffix=suffix)
    assert without_lines(made.text) == text + suffix
    shared = shared_by_all(lines)
    assert (made.header or "") == prefix + "".join(one + separator for one in shared)
    n_own = sum(one not in shared for some in lines for one in some)
    own = sum(len(one) + len(separator) for some in lines for one in some if one not in shared)
    assert len(made.text) == len(text) + own + len(suffix)
    assert n_own == 0 or made.text != text + suffix


def test_what_one_chunk_says_is_not_shared() -> None:
    made = annotated("one two", [(0, 3)], [["title"]])
    assert (made.text, made.spans, made.header) == ("title\none two", ((0, 9),), None)


def test_what_all_say_is_said_once_and_what_differs_before_each() -> None:
    made = annotated("one two", [(4, 7), (0, 3)], [["title", "b"], ["title", "a"]])
    assert made.header == "title\n"
    assert made.text == "a\none b\ntwo"
    assert made.spans == ((6, 11), (0, 5))


def test_what_is_said_of_a_chapter_is_not_said_of_its_first_page() -> None:
    for order in (1, -1):
        made = annotated("one two", [(0, 3), (0, 7)][::order], [["page"], ["chapter"]][::order])
        assert made.text == "chapter\npage\none two"
        assert made.spans == ((8, 16), (0, 20))[::order]


def test_lines_can_be_kept_with_each_chunk() -> None:
    made = annotated("one two", [(0, 3), (4, 7)], [["t"], ["t"]], share=False)
    assert (made.text, made.header) == ("t\none t\ntwo", None)


def test_prefix_and_suffix_are_part_of_no_span() -> None:
    made = annotated("one two", [(0, 7)], [[]], prefix="in: ", suffix=" out")
    assert (made.text, made.spans, made.header) == ("one two out", ((0, 7),), "in: ")
