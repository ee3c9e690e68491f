"""`jina-local chunks`: numbers that are the engine's, a table that fits, a picture."""

from __future__ import annotations

import inspect
import json
import re
import struct
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import pytest

from jina_local import ChunkedText, Engine, chunks_command
from jina_local.cli import LICENCE_NOTE
from jina_local.pictures import drawable
from jina_local.similarity_plot import draw_similarities
from jina_local.splitting import line_spans, make_splitter, paragraph_spans
from support.cards import MARGIN, white_margin
from support.checkpoints import Checkpoint, TinyConfig, write_tiny
from support.command_line import CommandLine, Finished, assert_refused

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

TEXT = (
    "# Berlin\n\nBerlin is the capital of Germany.\nIts population is large.\n\n"
    "柏林是德国的首都。\n \nThe city has many bridges, and 🏙️ lights.\n"
)
QUERY = "What is the capital?"
SPANS = [[0, 8], [10, 44], [40, 70], [70, 70], [0, len(TEXT)]]
PNG = b"\x89PNG\r\n\x1a\n"


class Chunks(Protocol):
    def __call__(self, *arguments: object, stdin: str | bytes = TEXT) -> Finished: ...


@pytest.fixture
def chunks(
    monkeypatch: pytest.MonkeyPatch,
    capfdbinary: pytest.CaptureFixture[bytes],
    tiny: Checkpoint,
    tmp_path: Path,
) -> Chunks:
    """`jina-local chunks ARGUMENTS` in this process, in an empty folder, with the tiny model."""
    jina_local = CommandLine(monkeypatch, capfdbinary)
    monkeypatch.setenv("JINA_LOCAL_MODEL", str(tiny.folder))
    monkeypatch.chdir(tmp_path)

    def run(*arguments: object, stdin: str | bytes = TEXT) -> Finished:
        content = stdin.encode() if isinstance(stdin, str) else stdin
        return jina_local("chunks", *arguments, stdin=content)

    return run


def column(finished: Finished, name: str) -> list[Any]:
    """One value of every chunk."""
    return [chunk[name] for chunk in finished.record["chunks"]]


def assert_wrong_usage(finished: Finished, *parts: str) -> None:
    """Exit code 2, nothing on standard output, and how to use it on standard error."""
    assert finished.code == 2
    assert finished.stdout == ""
    assert "Usage: jina-local chunks" in finished.stderr
    unwrapped = " ".join(finished.stderr.replace("│", " ").split())
    for part in parts:
        assert part in unwrapped


def assert_equals_engine(
    finished: Finished, engine: Engine, document: ChunkedText, **options: Any
) -> None:
    """Everything in the JSON against calls of the engine."""
    (late,) = engine.embed_chunks([document], **options)
    texts = [document.text[start:stop].strip() for start, stop in document.spans]
    dimensions = options.get("dimensions")
    plain = engine.embed_documents(texts, dimensions=dimensions)
    query = engine.embed_queries([QUERY], dimensions=dimensions).vectors[0]
    assert finished.code == 0, finished.stderr
    spans = zip(column(finished, "start"), column(finished, "stop"), strict=True)
    assert list(spans) == list(document.spans)
    assert column(finished, "late") == pytest.approx((late.vectors @ query).tolist(), abs=1e-6)
    assert column(finished, "plain") == pytest.approx((plain.vectors @ query).tolist(), abs=1e-6)
    for name, values in (
        ("tokens", late.token_counts),
        ("fell_back", late.fell_back),
        ("combined", late.combined),
    ):
        assert column(finished, name) == values.tolist()
    assert finished.record["tokens"] == late.tokens
    assert finished.record["windows"] == late.windows
    assert finished.record["dimensions"] == late.vectors.shape[1]


# What it computes


def test_numbers_are_those_of_the_engine(chunks: Chunks, engine: Engine) -> None:
    finished = chunks("-", "--query", QUERY, "--json")
    document = ChunkedText(TEXT, paragraph_spans(TEXT))
    assert len(document.spans) == 4, "the premise needs some paragraphs"
    assert_equals_engine(finished, engine, document)
    assert finished.stderr.count("\n") == 1


def test_json_says_everything_in_one_object(chunks: Chunks, tiny: Checkpoint) -> None:
    finished = chunks("-", "-q", QUERY, "--json", "--spans", json.dumps(SPANS))
    record = finished.record
    assert list(record) == [
        *("query", "model", "dimensions", "tokens", "windows"),
        *("best_late", "best_plain", "chunks"),
    ]
    assert (record["query"], record["model"]) == (QUERY, tiny.folder.name)
    assert column(finished, "number") == [1, 2, 3, 4, 5]
    assert column(finished, "text") == [TEXT[start:stop] for start, stop in SPANS]
    assert column(finished, "fell_back") == [False, False, False, True, False]
    for chunk in record["chunks"]:
        assert chunk["difference"] == pytest.approx(chunk["late"] - chunk["plain"], abs=1e-6)
    for kind in ("late", "plain"):
        values = column(finished, kind)
        assert values[record[f"best_{kind}"] - 1] == max(values)


def test_options_reach_the_engine(chunks: Chunks, engine: Engine) -> None:
    options = {
        "dimensions": 16,
        "special_tokens": "exclude",
        "window_tokens": 40,
        "margin_tokens": 3,
    }
    named = [f"--{name.replace('_', '-')}={value}" for name, value in options.items()]
    finished = chunks("-", "-q", QUERY, "--json", *named, "--header", "Cities", stdin=TEXT * 3)
    document = ChunkedText(TEXT * 3, paragraph_spans(TEXT * 3), "Cities")
    assert finished.record["windows"] > 1, "the premise needs a document longer than a window"
    assert_equals_engine(finished, engine, document, **options)


def test_device_and_dtype_reach_the_engine(chunks: Chunks, tiny: Checkpoint) -> None:
    finished = chunks("-", "-q", QUERY, "--json", "--device", "cpu", "--dtype", "bfloat16")
    with Engine.load(tiny.folder, device="cpu", dtype="bfloat16") as engine:
        assert_equals_engine(finished, engine, ChunkedText(TEXT, paragraph_spans(TEXT)))
    assert_refused(chunks("-", "-q", QUERY, "--dtype", "float64"), "dtype 'float64' is not one of")


def test_without_options_the_engine_s_own_defaults_hold(
    chunks: Chunks, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Margins matter only where a document is longer than the model."""
    short = write_tiny(tmp_path / "short", config=TinyConfig(max_positions=48))
    monkeypatch.setenv("JINA_LOCAL_MODEL", str(short.folder))
    text = TEXT * 4
    finished = chunks("-", "-q", QUERY, "--json", stdin=text)
    with Engine.load(short.folder, device="cpu") as engine:
        assert_equals_engine(finished, engine, ChunkedText(text, paragraph_spans(text)))


def test_defaults_of_late_chunking_are_the_engine_s() -> None:
    own = inspect.signature(chunks_command.chunks).parameters
    of_engine = inspect.signature(Engine.embed_chunks).parameters
    for name in ("special_tokens", "window_tokens", "margin_tokens", "dimensions"):
        assert own[name].default == of_engine[name].default


def test_progress_counts_the_document_and_then_its_chunks(
    chunks: Chunks, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The document is most of the work, and was no part of it once."""
    totals: list[int] = []
    seen: list[int] = []

    @contextmanager
    def watched(_: str, total: int) -> Iterator[Callable[[int], None]]:
        totals.append(total)
        yield seen.append

    monkeypatch.setattr(chunks_command, "progress", watched)
    assert chunks("-", "-q", QUERY).code == 0
    assert totals == [1 + 4]
    assert seen == sorted(seen)
    assert (seen[0], seen[-1]) == (1, 1 + 4)


# What the chunks are


@pytest.mark.parametrize("splitter", ["lines", "paragraphs", "tokens", "markdown"])
def test_every_splitter_leaves_out_only_white_space(splitter: str, chunks: Chunks) -> None:
    options = ("--chunk-tokens", 6) if splitter in ("tokens", "markdown") else ()
    finished = chunks("-", "-q", QUERY, "--json", "--splitter", splitter, *options)
    assert len(column(finished, "number")) > 2
    position = 0
    for start, stop in zip(column(finished, "start"), column(finished, "stop"), strict=True):
        assert not TEXT[position:start].strip()
        assert TEXT[start:stop].strip()
        position = stop
    assert not TEXT[position:].strip()


def test_splitters_are_those_of_the_library(chunks: Chunks, engine: Engine) -> None:
    text = "Berlin is the capital of Germany.\n# Its people\nIts population is large.\n"
    of_tokens, of_markdown = (
        make_splitter(engine.tokenizer_json, 18).spans(text, markdown=markdown)
        for markdown in (False, True)
    )
    assert of_tokens != of_markdown, "the premise needs a heading to matter"

    def cut(*options: object) -> list[tuple[int, int]]:
        finished = chunks("-", "-q", QUERY, "--json", *options, stdin=text)
        return list(zip(column(finished, "start"), column(finished, "stop"), strict=True))

    assert cut("--splitter", "lines") == line_spans(text)
    assert cut("--splitter", "paragraphs") == paragraph_spans(text) == cut()
    assert cut("--splitter", "tokens", "--chunk-tokens", 18) == of_tokens
    assert cut("--splitter", "markdown", "--chunk-tokens", 18) == of_markdown


def test_without_a_number_a_chunk_has_at_most_128_tokens(chunks: Chunks, engine: Engine) -> None:
    text = "Berlin is the capital. " * 60
    finished = chunks("-", "-q", QUERY, "--json", "--splitter", "tokens", stdin=text)
    spans = make_splitter(engine.tokenizer_json, 128).spans(text, markdown=False)
    assert len(spans) > 1, "the premise needs a longer text"
    assert list(zip(column(finished, "start"), column(finished, "stop"), strict=True)) == spans


def test_spans_come_inline_or_from_a_file(chunks: Chunks, engine: Engine, tmp_path: Path) -> None:
    (tmp_path / "spans.json").write_text(json.dumps(SPANS, indent=1), encoding="utf-8")
    document = ChunkedText(TEXT, [(start, stop) for start, stop in SPANS])
    for given in (json.dumps(SPANS), f" \n{SPANS}", "spans.json"):
        finished = chunks("-", "-q", QUERY, "--json", "--spans", given)
        assert_equals_engine(finished, engine, document)


def test_a_file_is_read_as_it_is(chunks: Chunks, tmp_path: Path) -> None:
    """Spans count its characters, also those of Windows' line ends."""
    text = "one\r\ntwo\u2028three\r\n"
    (tmp_path / "text.txt").write_bytes(text.encode())
    options = ("--json", "--splitter", "lines")
    finished = chunks("text.txt", "-q", QUERY, *options)
    assert column(finished, "text") == ["one", "two\u2028three"]
    assert column(finished, "start") == [0, 5]
    assert chunks("-", "-q", QUERY, *options, stdin=text).stdout == finished.stdout


# What it prints


def test_the_table_fits_into_80_columns_and_says_what_the_json_says(chunks: Chunks) -> None:
    arguments = ("-", "-q", QUERY, "--splitter", "lines")
    record, shown = chunks(*arguments, "--json").record, chunks(*arguments)
    lines = shown.stdout.splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[0] == QUERY
    assert lines[-1] == "* most similar to the query"
    rows = [line for line in lines if re.match(r" *\d+ ", line)]
    assert len(rows) == len(record["chunks"]) == 5
    for row, chunk in zip(rows, record["chunks"], strict=True):
        number, late, plain, difference, *words = row.split()
        marks = {
            kind: "*" if chunk["number"] == record[f"best_{kind}"] else ""
            for kind in ("late", "plain")
        }
        assert int(number) == chunk["number"]
        assert late == f"{chunk['late']:.3f}{marks['late']}"
        assert plain == f"{chunk['plain']:.3f}{marks['plain']}"
        assert difference == f"{chunk['difference']:+.3f}"
        assert " ".join(words) == " ".join(chunk["text"].split())


def test_a_mark_is_explained_where_there_is_one(chunks: Chunks) -> None:
    for limit in (1, 2, 3, 4):
        shown = chunks("-", "-q", QUERY, "--limit", limit).stdout
        explained = shown.endswith("* most similar to the query\n")
        assert explained == bool(re.search(r"\d\*", shown))
    assert explained, "the premise needs a mark"


def test_a_long_chunk_is_one_line_that_ends_in_an_ellipsis(chunks: Chunks) -> None:
    finished = chunks("-", "-q", QUERY, stdin="many words\n" * 30)
    (row,) = [line for line in finished.stdout.splitlines() if "many" in line]
    assert row.endswith("…")
    assert len(row) == 80


@pytest.mark.parametrize("text", ["a [red]b[/red] [/] :smile: c", "\x1b[31mred\x07\x9b31m \x00"])
def test_a_text_is_shown_as_it_is_and_steers_no_terminal(text: str, chunks: Chunks) -> None:
    finished = chunks("-", "-q", QUERY, stdin=text)
    shown = " ".join(re.sub(r"[\x00-\x1f\x7f-\x9f]", " ", text).split())
    assert shown in finished.stdout
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]", finished.stdout)


def test_sorted_by_late_similarity_and_limited(chunks: Chunks) -> None:
    everything = chunks("-", "-q", QUERY, "--json").record["chunks"]
    by_late = sorted(everything, key=lambda chunk: -chunk["late"])
    assert by_late != everything, "the premise needs an order to change"
    arguments = ("-", "-q", QUERY, "--json")
    assert chunks(*arguments, "--sort").record["chunks"] == by_late
    assert chunks(*arguments, "--sort", "--limit", 2).record["chunks"] == by_late[:2]
    assert chunks(*arguments, "-n", 3).record["chunks"] == everything[:3]
    assert chunks(*arguments, "-n", 9).record["chunks"] == everything
    numbers = re.findall(r"^ *(\d+) ", chunks("-", "-q", QUERY, "--sort").stdout, re.MULTILINE)
    assert numbers == [str(chunk["number"]) for chunk in by_late]


@pytest.mark.parametrize(
    ("options", "summary"),
    [
        ((), r"1 document, 4 chunks, \d+ tokens in 1 window → 64 dimensions; 0 fell back, 0 comb"),
        (("-n", 3), r"1 document, 3 of 4 chunks, "),
        (("-d", 8), r"→ 8 dimensions;"),
        (("--spans", "[[0, 8], [70, 70]]"), r"; 1 \(2\) fell back, 0 combined"),
        (("--spans", str([[0, 8]] + [[9, 9]] * 9)), r"; 9 \(2, 3, 4, 5, 6, 7, 8, 9, …\) fell back"),
        (
            ("--window-tokens", 30, "--margin-tokens", 0, "--spans", f"[[0, 8], [9, {len(TEXT)}]]"),
            r"tokens in \d windows → 64 dimensions; 0 fell back, 1 \(2\) combined$",
        ),
    ],
    ids=str,
)
def test_the_last_line_says_what_happened(
    options: tuple[object, ...], summary: str, chunks: Chunks
) -> None:
    finished = chunks("-", "-q", QUERY, *options)
    assert re.search(summary, finished.stderr.splitlines()[-1])


def test_help_names_the_default_splitter_and_the_licence(chunks: Chunks) -> None:
    unwrapped = " ".join(chunks("--help").stdout.split())
    assert "What cuts the document into chunks. [default: (paragraphs)]" in unwrapped
    assert LICENCE_NOTE in unwrapped


def test_help_lists_the_command_and_loads_nothing_heavy() -> None:
    script = "import sys; from jina_local.cli import build_app; build_app()(standalone_mode=False)"
    heavy = ("torch", "numpy", "matplotlib", "semantic_text_splitter", "huggingface_hub")
    report = f"print([name for name in {heavy} if name in sys.modules])"
    for arguments in (["--help"], ["chunks", "--help"]):
        command = [sys.executable, "-c", f"{script}; {report}", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        assert "similar" in done.stdout
        assert done.stdout.endswith("[]\n")


# What it refuses


@pytest.mark.parametrize(
    ("arguments", "stdin", "parts"),
    [
        (("missing.txt",), "", ["no file 'missing.txt'", "'-' for standard input"]),
        (("folder",), "", ["no file 'folder'"]),
        (("-",), b"ab\xff", ["'-' is not UTF-8 at byte 2: convert it"]),
        (("-",), "", ["'-' holds no text"]),
        (("-",), " \n\n\t", ["'-' holds no text"]),
        (("-", "--spans", "[[0, 8]"), TEXT, ["--spans is not JSON", "give [[0, 120], [120, 300]]"]),
        (("-", "--spans", "[" * 100_000), TEXT, ["--spans is not JSON"]),
        (("-", "--spans", "0-8"), TEXT, ["--spans is '0-8': give [[0, 120]", "a .json file"]),
        (("-", "--spans", "{}"), TEXT, ["--spans is '{}': give [[0, 120]"]),
        (("-", "--spans", "no.json"), TEXT, ["no file 'no.json': give a .json file with [[start"]),
        (("-", "--spans", "broken.json"), TEXT, ["'broken.json' is not JSON (Expecting"]),
        (("-", "--spans", "latin1.json"), TEXT, ["'latin1.json' is not UTF-8 at byte 0"]),
        (("-", "--spans", "object.json"), TEXT, ["'object.json' holds no list"]),
        (("-", "--spans", "[]"), TEXT, ["no chunks"]),
        (("-", "--spans", "[[0, 9999]]"), TEXT, ["span 0 is (0, 9999)", f"≤ {len(TEXT)}"]),
        (("-", "--spans", "[[0, 1], [-1, 2]]"), TEXT, ["span 1 is (-1, 2)"]),
        (("-", "--spans", "[[2, 1]]"), TEXT, ["span 0 is (2, 1)"]),
        (("-", "--spans", "[[0, 1.5]]"), TEXT, ["span 0 is [0, 1.5]", "pair of integers"]),
        (("-", "--spans", "[0, 1]"), TEXT, ["span 0 is 0", "pair of integers"]),
        (("-", "-q", " "), TEXT, ["the query is blank"]),
        (("-", "--plot", "a.jpg"), TEXT, ["'a.jpg' ends in none of .png, .svg, .pdf"]),
        (("-", "--plot", ".png"), TEXT, ["'.png' ends in none of"]),
        (("-", "--plot", "nowhere/a.png"), TEXT, ["there is no folder", "nowhere'"]),
        (("-", "--plot", "taken.png"), TEXT, ["'taken.png' is a folder"]),
    ],
    ids=lambda value: ascii(value)[:40],
)
def test_bad_input_is_refused_before_the_model_is_looked_for(
    arguments: tuple[str, ...],
    stdin: str | bytes,
    parts: list[str],
    chunks: Chunks,
    tmp_path: Path,
) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "taken.png").mkdir()
    (tmp_path / "broken.json").write_text("[[0, ", encoding="utf-8")
    (tmp_path / "object.json").write_text('{"spans": [[0, 8]]}', encoding="utf-8")
    (tmp_path / "latin1.json").write_bytes("ö".encode("latin1"))
    source, *options = arguments
    finished = chunks(source, "-q", QUERY, "--model", "/no/such/model", *options, stdin=stdin)
    assert_refused(finished, *parts)


@pytest.mark.parametrize(
    ("options", "parts"),
    [
        (
            ("--spans", "[[0, 8]]", "--splitter", "lines"),
            ["by --spans or by --splitter, not by bo"],
        ),
        (("--spans", "[[0, 8]]", "--chunk-tokens", "9"), ["--chunk-tokens is for --splitter toke"]),
        (("--splitter", "lines", "--chunk-tokens", "9"), ["--chunk-tokens is for --splitter toke"]),
        (("--chunk-tokens", "9"), ["--chunk-tokens is for --splitter tokens"]),
        (("--splitter", "tokens", "--chunk-tokens", "0"), ["'--chunk-tokens'"]),
        (("--splitter", "words"), ["'words'", "'lines'", "'paragraphs'", "'tokens'", "'markdown'"]),
        (("--special-tokens", "all"), ["'all'", "'edges'", "'exclude'"]),
        (("--limit", "0"), ["'--limit'"]),
        (("--margin-tokens", "-1"), ["'--margin-tokens'"]),
        (("--window-tokens", "2"), ["'--window-tokens'"]),
    ],
    ids=str,
)
def test_wrong_usage_is_exit_code_2(
    options: tuple[str, ...], parts: list[str], chunks: Chunks
) -> None:
    assert_wrong_usage(chunks("-", "-q", QUERY, "-m", "/no/such/model", *options), *parts)


def test_file_and_query_are_required(chunks: Chunks) -> None:
    assert_wrong_usage(chunks("-"), "--query")
    assert_wrong_usage(chunks("-q", QUERY), "FILE")


def test_a_model_that_is_not_there_is_refused(chunks: Chunks) -> None:
    finished = chunks("-", "-q", QUERY, "-m", "/no/such/model")
    assert_refused(finished, "no model at '/no/such/model'")


@pytest.mark.parametrize(
    ("options", "part"),
    [
        (("-d", 65), "dimensions is 65; give an integer in 1…64"),
        (("--window-tokens", 999_999), "window_tokens is 999999"),
    ],
    ids=str,
)
def test_what_only_the_model_knows_is_refused_by_it(
    options: tuple[object, ...], part: str, chunks: Chunks, tmp_path: Path
) -> None:
    assert_refused(chunks("-", "-q", QUERY, "--plot", "a.png", *options), part)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("package", "options"),
    [
        ("matplotlib", ("--plot", "a.png")),
        ("semantic_text_splitter", ("--splitter", "tokens")),
        ("semantic_text_splitter", ("--splitter", "markdown")),
    ],
)
def test_without_the_extra_it_says_what_to_install(
    package: str, options: tuple[str, ...], chunks: Chunks, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And whatever needs none of it works without it."""
    monkeypatch.setitem(sys.modules, package, None)
    finished = chunks("-", "-q", QUERY, "-m", "/no/such/model", *options)
    assert_refused(finished, "pip install 'jina-local[chunks]'")
    assert chunks("-", "-q", QUERY).code == 0


# The picture


def size(path: Path) -> tuple[int, int]:
    """Width and height of a PNG, from its header."""
    content = path.read_bytes()
    assert content.startswith(PNG)
    width, height = struct.unpack(">II", content[16:24])
    return width, height


@pytest.mark.parametrize("repeat", [1, 5], ids=["rows", "steps"])
def test_a_picture_is_a_png_of_8_inches(repeat: int, chunks: Chunks, tmp_path: Path) -> None:
    """Of texts with Chinese and emoji, which its font lacks: warnings are errors here."""
    arguments = ("-", "-q", "首都 🏙️ where?", "--plot", "similarity.png")
    finished = chunks(*arguments, stdin=TEXT * repeat)
    assert finished.code == 0, finished.stderr
    assert "首都" in finished.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["similarity.png"]
    assert size(tmp_path / "similarity.png")[0] == 1200


@pytest.mark.parametrize(
    ("suffix", "magic"), [(".PNG", PNG), (".svg", b"<?xml"), (".pdf", b"%PDF")]
)
def test_the_ending_chooses_the_format(
    suffix: str, magic: bytes, chunks: Chunks, tmp_path: Path
) -> None:
    path = tmp_path / f"picture{suffix}"
    path.write_text("what was there before", encoding="utf-8")
    assert chunks("-", "-q", QUERY, "--plot", path, "--json").code == 0
    assert path.read_bytes().startswith(magic)


def draw(path: Path, chunks: Sequence[str], *, query: str = QUERY, model: str = "tiny") -> bytes:
    text = "".join(chunks)
    stops = np.cumsum([len(chunk) for chunk in chunks]).tolist()
    spans = list(zip([0, *stops[:-1]], stops, strict=True))
    late = np.linspace(0.1, 0.9, len(chunks), dtype=np.float32)
    draw_similarities(
        path, query=query, model=model, text=text, spans=spans, late=late, plain=late[::-1]
    )
    return path.read_bytes()


@pytest.mark.parametrize(
    ("n_chunks", "height"),
    [(1, 270), (2, 315), (3, 360), (7, 540), (12, 540), (13, 540), (300, 540)],
)
def test_any_number_of_chunks_can_be_drawn(n_chunks: int, height: int, tmp_path: Path) -> None:
    draw(tmp_path / "a.png", ["some words "] * n_chunks)
    assert size(tmp_path / "a.png") == (1200, height)


@pytest.mark.parametrize("n_chunks", [1, 12, 13])
def test_a_picture_is_a_white_card_with_a_margin(n_chunks: int, tmp_path: Path) -> None:
    draw(tmp_path / "a.png", ["some words that are too long to be shown as a whole"] * n_chunks)
    assert white_margin(tmp_path / "a.png") >= MARGIN


@pytest.mark.parametrize(
    "text",
    [
        *("$5 and $6", "$x_1$", "\\frac{1}{2} \\n", "_a^b #%&{", "x" * 500, "W " * 300),
        *("\x00\x1b[31m", "e\u0301", "عربى", "हिन्दी", "柏林", "👩‍👩‍👧 🇫🇷", "\u200b\u2028\u00ad"),
    ],
    ids=lambda text: ascii(text)[:20],
)
@pytest.mark.parametrize("suffix", [".png", ".svg", ".pdf"])
def test_any_text_can_be_drawn(text: str, suffix: str, tmp_path: Path) -> None:
    draw(tmp_path / f"a{suffix}", [text, "", text], query=text, model=text)


def test_what_the_font_lacks_becomes_an_ellipsis() -> None:
    assert drawable("柏林 is\n\tthe\u3000capital") == "… is the capital"
    assert drawable("A family: 👩‍👩‍👧!") == "A family: …!"
    assert drawable("Größe, naïve, Ελλάδα, Москва") == "Größe, naïve, Ελλάδα, Москва"


def svg_texts(svg: bytes) -> list[str]:
    """What matplotlib writes as a comment in front of the outlines of each text."""
    return re.findall(r"<!-- (.*?) -->", svg.decode())


def test_a_picture_says_what_was_compared_with_what(tmp_path: Path) -> None:
    few = svg_texts(draw(tmp_path / "a.svg", ["one chunk", " and the next"], model="a model"))
    many = svg_texts(draw(tmp_path / "b.svg", ["many"] * 13, model="a model"))
    for texts in (few, many):
        assert {QUERY, "a model", "late", "plain", "most similar"} <= set(texts)
        assert any("similarity to the query" in text for text in texts)
    assert any(text.split() == ["one", "chunk", "1"] for text in few)
    assert any(text.split() == ["and", "the", "next", "2"] for text in few)
    assert any("position in the document" in text for text in many)


def test_a_picture_of_the_demo_model_says_so(
    chunks: Chunks, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However it was named."""
    monkeypatch.delenv("JINA_LOCAL_MODEL")
    from jina_local import source

    for name in ((), ("-m", source._DEMO_FOLDER)):
        finished = chunks("-", "-q", QUERY, "--plot", "a.svg", "--json", *name)
        expected = "demo model of jina-local, not jina-embeddings-v3"
        assert finished.record["model"] == expected
        assert f"{expected}, 256 dimensions" in svg_texts((tmp_path / "a.svg").read_bytes())


def test_another_model_is_named_without_the_folders_above_it(
    chunks: Chunks, tiny: Checkpoint, tmp_path: Path
) -> None:
    chunks("-", "-q", QUERY, "--plot", "a.svg", "-d", 8)
    assert f"{tiny.folder.name}, 8 dimensions" in svg_texts((tmp_path / "a.svg").read_bytes())


def test_the_same_picture_is_the_same_file(tmp_path: Path) -> None:
    for suffix in (".png", ".svg", ".pdf"):
        first = draw(tmp_path / f"a{suffix}", ["one", "two"])
        assert draw(tmp_path / f"b{suffix}", ["one", "two"]) == first


def test_a_picture_changes_no_settings_and_follows_none(tmp_path: Path) -> None:
    import matplotlib

    expected = draw(tmp_path / "a.png", ["one", "two"])
    own = {"savefig.bbox": "tight", "axes.facecolor": "black", "font.size": 30, "text.color": "red"}
    with matplotlib.rc_context(own):
        before = dict(matplotlib.rcParams)
        assert draw(tmp_path / "a.png", ["one", "two"]) == expected
        assert dict(matplotlib.rcParams) == before


def test_a_picture_that_cannot_be_drawn_leaves_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(b"old")
    with pytest.raises(ValueError, match=r"shape|size|length|broadcast"):
        draw_similarities(
            path,
            query=QUERY,
            model="tiny",
            text="text",
            spans=[(0, 1), (1, 4)],
            late=np.ones(3, dtype=np.float32),
            plain=np.ones(2, dtype=np.float32),
        )
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]
