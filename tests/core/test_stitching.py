"""Chunks → text: spans are exact whatever the offsets say, and honest offsets rebuild it all."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jina_local.errors import InvalidOptionError, InvalidTextsError
from jina_local.stitching import StitchedText, stitch

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    Span = tuple[int, int]

PARAGRAPHS = [
    "The quick brown fox.",
    "To be, or not to be.",
    "\n\n",
    "  \t ",
    " ",
    "床前明月光。",
    "疑是地上霜。",
    "👩‍🚀🚀",
    "a",
    "aaaa",
    "e\u0301",
]
SOURCES = st.lists(st.sampled_from(PARAGRAPHS), min_size=1, max_size=12).map("".join)
CHUNKS = st.lists(st.one_of(st.text("ab ", max_size=6), st.sampled_from(PARAGRAPHS)), max_size=8)
DISTINCT = "".join(chr(0x4E00 + i) for i in range(120))  # no character twice: nothing by accident


@st.composite
def partitions(draw: st.DrawFn, length: int) -> list[Span]:
    cuts = draw(st.sets(st.integers(1, length - 1), max_size=10)) if length > 1 else set()
    return list(pairwise([0, *sorted(cuts), length]))


@st.composite
def splits(draw: st.DrawFn, source: str) -> list[Span]:
    """Slices with text, by start: contiguous, trimmed, or with any overlap, gap and nesting."""
    kind = draw(st.sampled_from(["contiguous", "trimmed", "any"]))
    if kind == "any":
        place = st.integers(0, len(source))
        spans = draw(st.lists(st.tuples(place, place), max_size=10))
        spans = sorted(((min(s), max(s)) for s in spans), key=lambda span: span[0])
    else:
        spans = draw(partitions(len(source)))
    if kind == "trimmed":
        spans = [trimmed(source, span) for span in spans]
    return [span for span in spans if span[0] < span[1]]


@st.composite
def sources_and_splits(draw: st.DrawFn) -> tuple[str, list[Span]]:
    source = draw(SOURCES)
    return source, draw(splits(source))


def trimmed(source: str, span: Span) -> Span:
    chunk = source[slice(*span)]
    start = span[0] + len(chunk) - len(chunk.lstrip())
    return start, max(start, span[0] + len(chunk.rstrip()))


def slices(source: str, spans: Sequence[Span]) -> list[str]:
    return [source[start:stop] for start, stop in spans]


def covered(source: str, spans: Sequence[Span]) -> tuple[str, list[Span]]:
    """The oracle, one character at a time: what is covered, and the spans in that."""
    kept = sorted({position for span in spans for position in range(*span)})
    text = ""
    place: dict[int, int] = {}
    for position in kept:
        seam = text[-1:] + source[position]
        if text and position - 1 not in place and not any(map(str.isspace, seam)):
            text += " "
        place[position] = len(text)
        text += source[position]
    return text, [(place[start], place[stop - 1] + 1) for start, stop in spans]


def assert_guarantee(chunks: Sequence[str], stitched: StitchedText) -> None:
    """Exact spans in reading order; all the text is chunks, but for single spaces between them."""
    assert len(chunks) == len(stitched.spans) == len(stitched.placed_by_offset)
    assert slices(stitched.text, stitched.spans) == list(chunks)
    starts = [start for start, _ in stitched.spans]
    assert starts == sorted(starts)
    of_chunks = {position for span in stitched.spans for position in range(*span)}
    for position in set(range(len(stitched.text))) - of_chunks:
        assert stitched.text[position] == " "
        around = {position - 1, position + 1}
        assert around <= of_chunks
        assert not any(stitched.text[neighbour].isspace() for neighbour in around)


# --- honest offsets


@settings(max_examples=150)
@given(sources_and_splits(), st.integers(0, 1000))
def test_honest_offsets_rebuild_all_that_is_covered(
    split: tuple[str, list[Span]], origin: int
) -> None:
    source, spans = split
    chunks = slices(source, spans)
    stitched = stitch(chunks, [origin + start for start, _ in spans])
    assert (stitched.text, list(stitched.spans)) == covered(source, spans)
    assert all(stitched.placed_by_offset)
    assert_guarantee(chunks, stitched)


@settings(max_examples=100)
@given(st.data(), SOURCES, st.integers(0, 9))
def test_without_gaps_the_text_is_the_source(data: st.DataObject, source: str, reach: int) -> None:
    spans = [(max(0, start - reach), stop) for start, stop in data.draw(partitions(len(source)))]
    stitched = stitch(slices(source, spans), [start for start, _ in spans])
    assert stitched == StitchedText(source, tuple(spans), (True,) * len(spans))


@settings(max_examples=100)
@given(SOURCES, st.data())
def test_cleaned_white_space_makes_offsets_drift_and_loses_nothing(
    source: str, data: st.DataObject
) -> None:
    spans = data.draw(partitions(len(source)))
    chunks = [" ".join(chunk.split()) for chunk in slices(source, spans)]
    stitched = stitch(chunks, [start for start, _ in spans])
    assert_guarantee(chunks, stitched)
    assert "".join(stitched.text.split()) == "".join(source.split())


# --- lies


def lies(source: str, chunks: Sequence[str]) -> st.SearchStrategy[list[Any]]:
    n = len(chunks)
    any_offset = st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-3, len(source) + 3),
        st.sampled_from([10**9, 10**40, -(10**40), 1.0, "0"]),
    )
    return st.one_of(
        st.just([source.find(chunk) for chunk in chunks]),
        st.just(list(range(10 * n, 0, -10))),
        st.integers(0, 40).map(lambda constant: [constant] * n),
        st.lists(any_offset, min_size=n, max_size=n),
    )


@settings(max_examples=250)
@given(st.data(), sources_and_splits(), CHUNKS)
def test_the_spans_are_exact_whatever_the_offsets_say(
    data: st.DataObject, split: tuple[str, list[Span]], others: list[str]
) -> None:
    source, spans = split
    chunks = data.draw(st.sampled_from([slices(source, spans), others]))
    flags = st.lists(st.booleans(), min_size=len(chunks), max_size=len(chunks))
    overlapping = data.draw(st.one_of(st.booleans(), flags))
    stitched = stitch(chunks, data.draw(lies(source, chunks)), overlapping=overlapping)
    assert_guarantee(chunks, stitched)


@settings(max_examples=100)
@given(st.data(), sources_and_splits())
def test_out_of_order_no_chunk_goes_back(
    data: st.DataObject, split: tuple[str, list[Span]]
) -> None:
    source, spans = split
    shuffled = data.draw(st.permutations(spans))
    chunks = slices(source, shuffled)
    assert_guarantee(chunks, stitch(chunks, [start for start, _ in shuffled]))


def test_a_child_behind_its_sibling_is_put_behind_the_text() -> None:
    stitched = stitch(["abcdefghij", "fghij", "abcde"], [0, 5, 0])
    assert stitched.text == "abcdefghij abcde"
    assert stitched.placed_by_offset == (True, True, False)


@pytest.mark.parametrize("hint", [None, True, 1.0, "1"])
def test_what_is_no_int_is_no_hint(hint: Any) -> None:
    assert stitch(["ab", "b"], [0, 1]).text == "ab"
    assert stitch(["ab", "b"], [0, hint]).text == "ab b"


@pytest.mark.parametrize("kind", [np.int64, np.int32, np.uint8])
def test_any_integer_is_a_hint(kind: Any) -> None:
    expected = stitch(["abc", "bcd"], [0, 1], overlapping=False)
    assert stitch(["abc", "bcd"], [kind(0), kind(1)]) == expected
    assert expected.placed_by_offset == (True, True)
    assert stitch(["ab", "b"], [0, np.True_]).text == "ab b"


def test_overlapping_is_any_sort_of_bool() -> None:
    yes, no = np.True_, np.False_
    assert stitch(["ab", "bc"], overlapping=yes).text == "abc"
    assert stitch(["ab", "bc"], overlapping=no).text == "ab bc"
    assert stitch(["ab", "bc", "cd"], overlapping=[no, yes, no]).text == "abc cd"


def test_what_is_negative_is_no_hint() -> None:
    assert stitch(["ab", "b"], [1, 2]).placed_by_offset == (True, True)
    assert stitch(["ab", "b"], [-2, -1]).placed_by_offset == (False, False)


@settings(max_examples=150)
@given(st.data(), sources_and_splits())
def test_two_honest_neighbours_keep_their_distance_whatever_the_others_say(
    data: st.DataObject, split: tuple[str, list[Span]]
) -> None:
    source, spans = split
    chunks = slices(source, spans)
    honest = data.draw(st.lists(st.booleans(), min_size=len(spans), max_size=len(spans)))
    lying = data.draw(lies(source, chunks))
    offsets = [s[0] if h else lie for s, h, lie in zip(spans, honest, lying, strict=True)]
    placed = stitch(chunks, offsets, overlapping=data.draw(st.booleans())).spans
    for i, (first, second) in enumerate(pairwise(spans)):
        reaches_the_end = placed[i][1] == max(stop for _, stop in placed[: i + 1])
        if honest[i] and honest[i + 1] and second[0] <= first[1] and reaches_the_end:
            assert placed[i + 1][0] - placed[i][0] == second[0] - first[0]


@settings(max_examples=150)
@given(st.data(), partitions(len(DISTINCT)), st.integers(0, 200))
def test_a_lie_costs_one_space_and_no_honest_offset_after_it(
    data: st.DataObject, spans: list[Span], constant: int
) -> None:
    """After any number of lies, as long as no text confirms one."""
    lie = st.sampled_from([None, False, -5, constant])
    offsets = [spans[0][0], *(data.draw(st.one_of(st.just(s), lie)) for s, _ in spans[1:])]
    stitched = stitch(slices(DISTINCT, spans), offsets)
    assert stitched.text.replace(" ", "") == DISTINCT
    honest = [offset == start for offset, (start, _) in zip(offsets, spans, strict=True)]
    assert stitched.text.count(" ") <= honest.count(False)
    assert all(
        used for used, is_honest in zip(stitched.placed_by_offset, honest, strict=True) if is_honest
    )


@pytest.mark.parametrize("lie", [7, 5000, None, -1])
def test_a_lying_origin_costs_the_second_offset_at_most(lie: int | None) -> None:
    chunks = slices(DISTINCT, [(0, 30), (25, 60), (50, 80), (80, 120)])
    stitched = stitch(chunks, [lie, 25, 50, 80], overlapping=True)
    assert stitched.text == DISTINCT
    assert stitched.placed_by_offset[2:] == (True, True)


# --- no offsets


def naive(chunks: Sequence[str], overlapping: Sequence[bool]) -> tuple[str, list[Span]]:
    """The oracle: try every length of overlap with the text from the latest start on."""
    text, start = "", 0
    spans = []
    for chunk, overlaps in zip(chunks, overlapping, strict=True):
        most = min(len(text) - start, len(chunk)) if overlaps else 0
        shared = next(n for n in range(most, -1, -1) if text.endswith(chunk[:n]))
        if not shared and text and not any(map(str.isspace, text[-1] + chunk[0])):
            text += " "
        start = len(text) - shared
        text += chunk[shared:]
        spans.append((start, len(text)))
    return text, spans


@settings(max_examples=150)
@given(st.lists(st.tuples(st.text("ab ", min_size=1, max_size=12), st.booleans()), max_size=6))
def test_without_offsets_the_longest_overlap_is_shared_where_one_is_said_to_be(
    chunks: list[tuple[str, bool]],
) -> None:
    texts, overlapping = [text for text, _ in chunks], [overlaps for _, overlaps in chunks]
    stitched = stitch(texts, overlapping=overlapping)
    assert (stitched.text, list(stitched.spans)) == naive(texts, overlapping)
    assert not any(stitched.placed_by_offset)
    assert_guarantee(texts, stitched)


@settings(max_examples=100)
@given(partitions(len(DISTINCT)), st.integers(1, 20))
def test_overlaps_alone_rebuild_the_source(spans: list[Span], reach: int) -> None:
    spans = [(max(0, start - reach), stop) for start, stop in spans]
    stitched = stitch(slices(DISTINCT, spans), overlapping=True)
    assert (stitched.text, list(stitched.spans)) == (DISTINCT, spans)


def test_an_accidental_overlap_is_not_shared() -> None:
    chunks = ["We met at the end", "end of June"]
    assert stitch(chunks).text == "We met at the end end of June"
    assert stitch(chunks, overlapping=[False, True]).text == "We met at the end of June"
    assert stitch(chunks, [0, 18], overlapping=True).text == "We met at the end end of June"


def test_a_chunk_without_offset_does_not_disturb_those_around_it() -> None:
    chunks = ["天地玄黄。", "宇宙洪荒。", "日月盈昃。", "昃。辰宿列张。"]
    stitched = stitch(chunks, [20, None, 30, 33])
    assert stitched.text == "天地玄黄。 宇宙洪荒。日月盈昃。辰宿列张。"
    assert stitched.placed_by_offset == (True, False, True, True)


# --- what the splitters hand on


def test_sentences_whose_white_space_was_stripped() -> None:
    stitched = stitch(["One two.", "Three four.", "Five."], [100, 109, 121])
    assert stitched.text == "One two. Three four. Five."


def test_a_recursive_splitter_with_overlap_may_repeat_a_whole_chunk() -> None:
    chunks = ["# Title\n", "# Title\nfirst line\n", "first line\nsecond line\n", "line\n"]
    expected = StitchedText(
        "# Title\nfirst line\nsecond line\n", ((0, 8), (0, 19), (8, 31), (26, 31)), (True,) * 4
    )
    assert stitch(chunks, [0, 0, 8, 26]) == expected
    without = stitch(chunks, overlapping=True)
    assert (without.text, without.spans) == (expected.text, expected.spans)


def test_parents_come_with_their_children() -> None:
    chunks = ["abcdefghij", "abcde", "ab", "cde", "fghij", "fghij", "klm"]
    stitched = stitch(chunks, [0, 0, 0, 2, 5, 5, 10])
    assert stitched.text == "abcdefghijklm"
    assert stitched.spans == ((0, 10), (0, 5), (0, 2), (2, 5), (5, 10), (5, 10), (10, 13))


def test_pages_count_from_their_own_beginning() -> None:
    chunks = ["Page one, ", "one, more", "Page two, ", "two, more"]
    stitched = stitch(chunks, [0, 5, 0, 5])
    assert stitched.text == "Page one, more Page two, more"
    assert stitched.placed_by_offset == (True, True, False, True)


def test_duplicates_that_all_claim_the_first_occurrence() -> None:
    chunks = ["Intro. ", "Refrain! ", "Verse. ", "Refrain! ", "Outro."]
    source = "".join(chunks)
    stitched = stitch(chunks, [source.find(chunk) for chunk in chunks])
    assert stitched.text == source
    assert stitched.placed_by_offset == (True, True, True, False, True)


def test_offsets_that_count_from_each_section_without_its_header() -> None:
    chunks = ["# A\n", "alpha beta ", "beta gamma\n", "# B\n", "delta eps ", "eps zeta"]
    stitched = stitch(chunks, [0, 0, 6, 0, 0, 6])
    assert stitched.text == "# A\nalpha beta gamma\n# B\ndelta eps zeta"


# --- edges


def test_no_chunks_make_no_text() -> None:
    assert stitch([]) == stitch([], [], overlapping=[]) == StitchedText("", (), ())


def test_empty_chunks_are_empty_spans_between_their_neighbours() -> None:
    assert stitch(["", "a", "", "b", ""]).spans == ((0, 0), (0, 1), (1, 1), (2, 3), (3, 3))
    assert stitch(["", ""], [3, 4]) == StitchedText("", ((0, 0), (0, 0)), (False, False))
    overlapped = stitch(["abcd", "", "", "cdef"], [7, None, 0, 9])
    assert overlapped.text == "abcdef"
    assert overlapped.spans == ((0, 4), (2, 2), (2, 2), (2, 6))


@pytest.mark.parametrize(("left", "right", "text"), [
    ("a", "b", "a b"), ("a ", "b", "a b"), ("a", "\nb", "a\nb"), ("a\u3000", "b", "a\u3000b"),
])  # fmt: skip
def test_a_separator_is_one_space_where_there_is_no_white_space(
    left: str, right: str, text: str
) -> None:
    assert stitch([left, right]).text == stitch([left, right], [0, 99]).text == text
    assert stitch([left, right], [0, len(left)]).text == left + right


def test_lone_surrogates_are_characters_like_others() -> None:
    assert stitch(["a\ud83d", "\ude00b"], [0, 2]).spans == ((0, 2), (2, 4))


@pytest.mark.parametrize(("chunks", "message"), [
    ("abc", "texts is a str; give a list of strings"),
    (["a", 3], "text 1 is a int (3), not a string"),
    (["a", None], "text 1 is a NoneType (None), not a string"),
])  # fmt: skip
def test_chunks_are_strings(chunks: Any, message: str) -> None:
    with pytest.raises(InvalidTextsError) as raised:
        stitch(chunks)
    assert message in str(raised.value)


@pytest.mark.parametrize(("options", "message"), [
    ({"offsets": [0]}, "offsets has 1 values for 2 chunks; give one per chunk"),
    ({"offsets": 0}, "offsets is a int; give a list of 2, one per chunk"),
    ({"offsets": "01"}, "offsets is a str; give a list of 2, one per chunk"),
    ({"overlapping": [True] * 3}, "overlapping has 3 values for 2 chunks; give one per chunk"),
    ({"overlapping": None}, "overlapping is a NoneType; give a list of 2, one per chunk"),
    ({"overlapping": [False, 1]}, "overlapping is 1 for chunk 1; give True or False"),
])  # fmt: skip
def test_there_is_one_hint_per_chunk(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidOptionError) as raised:
        stitch(["a", "b"], **options)
    assert str(raised.value) == message


# --- linear time, counted and not timed


class Counted(str):
    """A string that counts the characters it is read by: slices, comparisons, symbols."""

    __slots__ = ()
    n_read = 0

    def __getitem__(self, key: Any) -> Counted:
        part = super().__getitem__(key)
        Counted.n_read += len(part)
        return Counted(part)

    def __add__(self, other: str) -> Counted:
        Counted.n_read += len(self) + len(other)
        return Counted(super().__add__(other))

    def __radd__(self, other: str) -> Counted:
        return Counted(other) + self

    def startswith(self, prefix: Any, *bounds: Any) -> bool:
        Counted.n_read += len(prefix)
        return super().startswith(prefix, *bounds)

    def __iter__(self) -> Iterator[Counted]:
        return map(Counted, super().__iter__())

    def __eq__(self, other: object) -> bool:
        Counted.n_read += 1
        return super().__eq__(other)

    def __ne__(self, other: object) -> bool:
        Counted.n_read += 1
        return super().__ne__(other)

    __hash__ = str.__hash__


def chunks_of(n_chunks: int, length: int = 40) -> list[str]:
    return [chr(0x4E00 + i % 7) * (length - i % 3) for i in range(n_chunks)]


@pytest.mark.parametrize("offsets", ["good", "absent", "constant", "decreasing", "gaps"])
@pytest.mark.parametrize("kind", ["different", "aaaa", "almost", "one parent", "one end"])
@pytest.mark.parametrize("overlapping", [True, False])
def test_each_character_is_read_a_bounded_number_of_times(
    kind: str, offsets: str, overlapping: bool
) -> None:
    n = 200
    chunks = {
        "different": chunks_of(n),
        "aaaa": ["a" * 40] * n,
        "almost": ["a" * 39 + "b", "a" * 40] * (n // 2),
        "one parent": ["".join(chunks_of(n)), *chunks_of(n - 1)],
        "one end": ["a" * 40 * n, *["a" * 40] * (n - 1)],
    }[kind]
    starts = [sum(map(len, chunks[:i])) for i in range(n)]
    if kind.startswith("one"):
        starts = [0, *(start - starts[1] for start in starts[1:])]
    hints: dict[str, Sequence[int | None]] = {
        "good": starts,
        "absent": [None] * n,
        "constant": [0] * n,
        "decreasing": starts[::-1],
        "gaps": [3 * start for start in starts],
    }
    Counted.n_read = 0
    counted = [Counted(chunk) for chunk in chunks]
    stitched = stitch(counted, hints[offsets], overlapping=overlapping)
    n_read = Counted.n_read
    assert n_read > 0, "the premise: reading is counted"
    assert n_read <= 10 * sum(map(len, chunks))
    assert slices(stitched.text, stitched.spans) == chunks


def test_a_letter_in_common_is_no_overlap_where_more_is_asked_for() -> None:
    """Words stay whole where two chunks happen to end and begin with the same letter."""
    chunks = ["The cat", "then slept."]
    assert stitch(chunks, overlapping=True).text == "The cathen slept."
    assert stitch(chunks, overlapping=True, least_overlap=2).text == "The cat then slept."
    repeated = ["one two three", "two three four"]
    assert stitch(repeated, overlapping=True, least_overlap=9).text == "one two three four"
    assert stitch(repeated, overlapping=True, least_overlap=10).text == (
        "one two three two three four"
    )


@pytest.mark.parametrize("least", [0, -1, True, 1.0, None])
def test_the_least_overlap_is_a_number_of_characters(least: Any) -> None:
    with pytest.raises(InvalidOptionError, match="least_overlap"):
        stitch(["a"], least_overlap=least)
