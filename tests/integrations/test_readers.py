from __future__ import annotations

import contextlib
import html
import json
import os
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jina_local.errors import JinaLocalError
from jina_local_qdrant.errors import DuplicateIdError, PathNotFoundError, UnreadableFileError
from jina_local_qdrant.readers import READABLE_TYPES, read_documents

if TYPE_CHECKING:
    from collections.abc import Hashable
    from pathlib import Path

    from jina_local_qdrant.documents import Document

NOT_UTF8 = "caf\xe9".encode("latin-1")


def write(path: Path, content: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def read(*paths: Path) -> list[Document]:
    return list(read_documents(paths))


def read_one(path: Path) -> Document:
    (document,) = read(path)
    return document


# Which files.


def test_a_folder_gives_its_text_files_sorted_by_their_relative_paths(tmp_path: Path) -> None:
    names = ["b.txt", "a.md", "sub/z.rst", "sub/deeper/y.py", "c.htm", "d.html", "Z.TXT"]
    for name in names:
        write(tmp_path / name, "text")
    documents = read(tmp_path)
    assert [document["id"] for document in documents] == sorted(names)
    assert [document["metadata"]["path"] for document in documents] == sorted(names)


@pytest.mark.parametrize(
    "name",
    [
        ".hidden.txt",
        ".git/notes.txt",
        "sub/.cache/notes.txt",
        "__pycache__/notes.py",
        "picture.png",
        "no_type",
        "txt",
    ],
)
def test_a_folder_may_hold_what_is_not_a_text(tmp_path: Path, name: str) -> None:
    write(tmp_path / name, NOT_UTF8)
    write(tmp_path / "read.txt", "text")
    assert [document["id"] for document in read(tmp_path)] == ["read.txt"]


def test_what_is_named_is_read_even_if_hidden(tmp_path: Path) -> None:
    file = write(tmp_path / ".notes" / ".hidden.md", "text")
    assert [document["id"] for document in read(file)] == [".hidden.md"]
    write(tmp_path / ".notes" / "seen.md", "text")
    assert [document["id"] for document in read(file.parent)] == ["seen.md"]


def test_paths_are_read_in_the_order_in_which_they_are_named(tmp_path: Path) -> None:
    late = write(tmp_path / "z.txt", "text")
    early = write(tmp_path / "a.txt", "text")
    write(tmp_path / "folder" / "m.txt", "text")
    documents = read(late, tmp_path / "folder", early)
    assert [document["id"] for document in documents] == ["z.txt", "m.txt", "a.txt"]


def test_an_empty_folder_and_no_paths_give_no_documents(tmp_path: Path) -> None:
    assert read(tmp_path) == read() == []


def test_links_to_files_are_read_and_links_to_folders_are_not(tmp_path: Path) -> None:
    write(tmp_path / "elsewhere.txt", "text")
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "link.txt").symlink_to("../elsewhere.txt")
    (folder / "loop").symlink_to(folder)
    assert [document["id"] for document in read(folder)] == ["link.txt"]


# What is in them.


@pytest.mark.parametrize("type_", [".txt", ".rst", ".py", ".md"])
@pytest.mark.parametrize(
    "content", ["one\r\ntwo\rthree\n\n", "  def f(): ...\t\n", "日本 👩‍👩‍👧\n", "a\x0cb"]
)
def test_plain_texts_are_read_exactly_as_they_stand(
    tmp_path: Path, type_: str, content: str
) -> None:
    assert read_one(write(tmp_path / f"a{type_}", content))["text"] == content


@pytest.mark.parametrize("type_", [".txt", ".html", ".py"])
def test_a_byte_order_mark_is_not_text(tmp_path: Path, type_: str) -> None:
    assert read_one(write(tmp_path / f"a{type_}", b"\xef\xbb\xbfword"))["text"] == "word"


def test_byte_order_marks_do_not_hide_records_even_in_files_put_together(tmp_path: Path) -> None:
    file = write(tmp_path / "a.jsonl", b'\xef\xbb\xbf{"text": "word"}\n' * 2)
    assert [document["text"] for document in read(file)] == ["word", "word"]


@pytest.mark.parametrize("type_", READABLE_TYPES)
@pytest.mark.parametrize("content", ["", "\n", " \r\n\t\n"])
def test_an_empty_file_yields_nothing(tmp_path: Path, type_: str, content: str) -> None:
    assert read(write(tmp_path / f"a{type_}", content)) == []


@pytest.mark.parametrize(
    ("content", "title"),
    [
        ("# The title\n\nText.\n# Another\n", "The title"),
        ("Intro.\n\n  #   The title  ##  \n", "The title"),
        ("# C# in depth\n", "C# in depth"),
        ("The title\n=========\n\nText.\n", "The title"),
        ("```sh\n# a comment\n```\n\n# The title\n", "The title"),
        ("~~~\n# a comment\n```\n# still code\n~~~\n# The title\n", "The title"),
        ("    # code\n\n# The title\n", "The title"),
        ("## A section\n\nText.\n", None),
        ("#hashtag\n", None),
        ("=====\n", None),
        ("Text.\n", None),
    ],
)
def test_markdown_is_titled_by_its_first_heading_of_level_1(
    tmp_path: Path, content: str, title: str | None
) -> None:
    metadata = read_one(write(tmp_path / "a.md", content))["metadata"]
    assert metadata == ({"path": "a.md", "title": title} if title else {"path": "a.md"})


def test_html_is_reduced_to_its_title_and_what_a_browser_shows(tmp_path: Path) -> None:
    page = """<!DOCTYPE html>
    <html><head><meta charset="utf-8"><title>Tides &amp;
      ships</title><style>p { color: red }</style>
    <script>var hidden = "<p>not text</p>";</script></head>
    <body><!-- a comment --><nav><a href="/">Home</a><ul><li>Menu</li></ul></nav>
    <h1>Tides</h1><p>A ship
      <b>wa</b>its&nbsp;for <i>high</i> water.<br>Then it sails.</p>
    <ul><li>One</li><li>Two</li></ul>
    <table><tr><th>Port</th><th>Hour</th></tr><tr><td>Brest</td><td>4</td></tr></table>
    <pre>
for x in y:
    print(x)   # <b>now</b>
</pre><noscript>Switch it on</noscript><svg><title>icon</title><text>x</text></svg>
    <div>The <span>en</span>d.</div></body></html>"""
    document = read_one(write(tmp_path / "tides.html", page))
    assert document["metadata"] == {"path": "tides.html", "title": "Tides & ships"}
    assert document["text"].split("\n\n") == [
        "Tides & ships",
        "Tides",
        "A ship waits for high water.\nThen it sails.",
        "One\nTwo",
        "Port Hour\nBrest 4",
        "for x in y:\n    print(x)   # now",
        "The end.",
    ]


@pytest.mark.parametrize(
    ("page", "text"),
    [
        ("no tags at all", "no tags at all"),
        ("<p>one<p>two", "one\n\ntwo"),
        ("<p>1 &lt; 2 &#x1F600; &unknown; &amp", "1 < 2 😀 &unknown; &"),
        ("<title>Same</title><h1>Same</h1>", "Same"),
        ("<title>Only</title>", "Only"),
        ("</nav></script>kept", "kept"),
        ("<nav><nav>a</nav>b</nav>kept", "kept"),
        ("<script src=x></script><STYLE>a</STYLE>kept", "kept"),
        ("<svg/>kept", "kept"),
        ("a<!-- b --><![CDATA[ c ]]><?php d ?>e", "ae"),
    ],
)
def test_html_need_not_be_tidy(tmp_path: Path, page: str, text: str) -> None:
    assert read_one(write(tmp_path / "a.htm", page))["text"] == text


@given(st.lists(st.text(st.characters(codec="utf-8"), min_size=1), min_size=1))
def test_every_word_of_every_html_paragraph_is_kept_in_order(
    tmp_path_factory: pytest.TempPathFactory, paragraphs: list[str]
) -> None:
    # What a parser must replace by U+FFFD or drop is not a word: NUL, and a carriage return.
    paragraphs = [text.replace("\0", "").replace("\r", " ") for text in paragraphs]
    page = "".join(f"<p>{html.escape(text)}</p>" for text in paragraphs)
    documents = read(write(tmp_path_factory.getbasetemp() / "words.html", page))
    words = [word for text in paragraphs for word in text.split()]
    assert [word for document in documents for word in document["text"].split()] == words


@given(st.text(st.sampled_from("<>!/[]-?&;='\" \nabCDATAscript"), max_size=40))
def test_no_html_whatever_makes_the_reader_crash(
    tmp_path_factory: pytest.TempPathFactory, page: str
) -> None:
    file = write(tmp_path_factory.getbasetemp() / "wild.html", page)
    with contextlib.suppress(UnreadableFileError):
        assert len(read(file)) <= 1


def test_html_that_the_parser_gives_up_on_is_an_error_with_the_file(tmp_path: Path) -> None:
    file = write(tmp_path / "a.html", "<![foo bar[ x")
    with pytest.raises(UnreadableFileError, match=r"a\.html' is not HTML"):
        read(file)


# Records.


def test_records_have_their_own_ids_and_metadata_or_get_the_path_and_the_line(
    tmp_path: Path,
) -> None:
    lines = [
        '{"text": "one", "id": "first", "metadata": {"year": 1912, "tags": ["a"]}}',
        "",
        '{"text": "three"}\r',
        '  {"id": "last", "text": "four", "metadata": {"path": "its/own.md"}}  ',
    ]
    write(tmp_path / "sub" / "a.jsonl", "\n".join(lines))
    assert read(tmp_path) == [
        {
            "id": "first",
            "text": "one",
            "metadata": {"path": "sub/a.jsonl", "year": 1912, "tags": ["a"]},
        },
        {"id": "sub/a.jsonl#3", "text": "three", "metadata": {"path": "sub/a.jsonl"}},
        {"id": "last", "text": "four", "metadata": {"path": "its/own.md"}},
    ]


def named_or_distinct(record: dict[str, Any]) -> Hashable:
    name: Hashable = record.get("id", object())
    return name


@given(
    records=st.lists(
        st.fixed_dictionaries(
            {"text": st.text(st.characters(codec="utf-8"), min_size=1).filter(str.strip)},
            optional={
                "id": st.text(st.characters(codec="utf-8"), min_size=1),
                "metadata": st.dictionaries(st.text(), st.integers() | st.none()).filter(
                    lambda metadata: json.dumps(metadata, ensure_ascii=False).isprintable()
                ),
            },
        ),
        unique_by=named_or_distinct,
    ),
    ensure_ascii=st.booleans(),
)
def test_records_come_back_as_they_were_written(
    tmp_path_factory: pytest.TempPathFactory,
    records: list[dict[str, Any]],
    ensure_ascii: bool,
) -> None:
    """With U+2028 and its kin in the texts, which are no ends of lines."""
    lines = [json.dumps(record, ensure_ascii=ensure_ascii) for record in records]
    file = write(tmp_path_factory.getbasetemp() / "a.jsonl", "\n".join(lines))
    assert read(file) == [
        {
            "id": record.get("id", f"a.jsonl#{number}"),
            "text": record["text"],
            "metadata": {"path": "a.jsonl", **record.get("metadata", {})},
        }
        for number, record in enumerate(records, start=1)
    ]


def test_a_record_without_words_yields_nothing(tmp_path: Path) -> None:
    file = write(tmp_path / "a.jsonl", '{"text": " "}\n{"text": "word"}\n')
    assert [document["id"] for document in read(file)] == ["a.jsonl#2"]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ('{"text": "cut', "column 10: not JSON: Unterminated string"),
        ("word", "column 1: not JSON: Expecting value"),
        ('{"text": "a"} {"text": "b"}', "column 15: not JSON: Extra data"),
        ('{"text": "a", "metadata": {"x": NaN}}', "not JSON: NaN is not a JSON value"),
        ("[" * 100_000, "not JSON: maximum recursion depth"),
        ('["text"]', "must be an object with 'text', not an array"),
        ("null", "must be an object with 'text', not null"),
        ("{}", "'text' must be a string, but is missing"),
        ('{"text": null}', "'text' must be a string, but is null"),
        ('{"text": 1}', "'text' must be a string, but is a number"),
        ('{"text": true}', "'text' must be a string, but is a boolean"),
        ('{"text": ["a"]}', "'text' must be a string, but is an array"),
        ('{"text": "a", "id": 7}', "'id' must be a string, but is a number"),
        ('{"text": "a", "id": ""}', "'id' is empty"),
        ('{"text": "a", "metadata": "b"}', "'metadata' must be an object, but is a string"),
        ('{"text": "a", "title": "b"}', "unknown field 'title'; a record has 'text', 'id' and"),
        ('{"text": "\\ud83d"}', "half of a surrogate pair"),
        ('{"text": "a", "id": "\\ude00"}', "half of a surrogate pair"),
        ('{"text": "a", "metadata": {"\\ud83d": 1}}', "half of a surrogate pair"),
    ],
)
def test_a_malformed_record_is_an_error_with_the_file_the_line_and_the_reason(
    tmp_path: Path, line: str, reason: str
) -> None:
    file = write(tmp_path / "a.jsonl", f'{{"text": "good"}}\n{line}\n')
    with pytest.raises(UnreadableFileError) as caught:
        read(file)
    assert str(caught.value).startswith(f"{str(file)!r}, line 2")
    assert reason in str(caught.value)


# What cannot be read.


@pytest.mark.parametrize("type_", READABLE_TYPES)
def test_bytes_that_are_not_utf8_are_an_error_with_the_file_and_the_offset(
    tmp_path: Path, type_: str
) -> None:
    before = '{"text": "日"}\n'.encode()
    file = write(tmp_path / f"a{type_}", before + b'{"text": "' + NOT_UTF8 + b'"}')
    offset = len(before) + 10 + 3
    with pytest.raises(UnreadableFileError, match=f"not UTF-8: byte 0xe9 at offset {offset};"):
        read(file)


def test_a_missing_path_is_an_error_before_any_file_is_read(tmp_path: Path) -> None:
    bad = write(tmp_path / "bad.txt", NOT_UTF8)
    missing = tmp_path / "missing"
    with pytest.raises(PathNotFoundError, match=r"no such file or folder: .*missing'"):
        read_documents([bad, missing])  # not even iterated


@pytest.mark.parametrize(
    ("name", "kind"), [("a.pdf", "of type '.pdf'"), ("a", "without a type"), (".md", "without a")]
)
def test_a_file_of_another_type_is_an_error_before_any_file_is_read(
    tmp_path: Path, name: str, kind: str
) -> None:
    bad = write(tmp_path / "bad.txt", NOT_UTF8)
    file = write(tmp_path / name, "text")
    with pytest.raises(UnreadableFileError) as caught:
        read_documents([bad, file])
    assert f"{str(file)!r} is {kind}" in str(caught.value)
    assert all(type_ in str(caught.value) for type_ in READABLE_TYPES)


def test_two_files_with_one_id_are_an_error_before_any_file_is_read(tmp_path: Path) -> None:
    one = write(tmp_path / "one" / "a.txt", NOT_UTF8)
    two = write(tmp_path / "two" / "a.txt", "text")
    with pytest.raises(DuplicateIdError) as caught:
        read_documents([one, two.parent])
    assert all(part in str(caught.value) for part in ("id 'a.txt'", str(one), str(two)))


@pytest.mark.parametrize("other", ['{"text": "b", "id": "a"}', '{"text": " ", "id": "a"}'])
def test_two_records_with_one_id_are_an_error_with_both_lines(tmp_path: Path, other: str) -> None:
    file = write(tmp_path / "r.jsonl", '{"text": "a", "id": "a"}\n\n' + other)
    with pytest.raises(DuplicateIdError, match=r"'a' is taken twice, by .*line 1 and by .*line 3"):
        read(file)


def test_a_record_with_the_id_of_a_file_is_an_error_wherever_the_file_comes(
    tmp_path: Path,
) -> None:
    write(tmp_path / "a.jsonl", '{"text": "a", "id": "z.txt"}')
    write(tmp_path / "z.txt", "text")
    with pytest.raises(DuplicateIdError, match=r"z\.txt"):
        read(tmp_path)


def test_a_broken_link_in_a_folder_is_an_error_and_not_a_missing_document(tmp_path: Path) -> None:
    (tmp_path / "link.txt").symlink_to("nowhere.txt")
    with pytest.raises(UnreadableFileError, match=r"link\.txt' is not a regular file"):
        read_documents([tmp_path])


def test_a_pipe_is_an_error_and_does_not_block(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.txt")
    with pytest.raises(UnreadableFileError, match=r"pipe\.txt' is not a regular file"):
        read_documents([tmp_path])


def test_a_name_that_is_not_utf8_is_an_error(tmp_path: Path) -> None:
    try:
        file = write(tmp_path / os.fsdecode(NOT_UTF8 + b".txt"), "text")
    except OSError:
        pytest.skip("this file system takes no such name")
    with pytest.raises(UnreadableFileError, match=r"the name .* is not UTF-8"):
        read_documents([file])


def test_a_file_that_is_gone_when_its_turn_comes_is_an_error_with_the_file(
    tmp_path: Path,
) -> None:
    file = write(tmp_path / "a.txt", "text")
    documents = read_documents([tmp_path])
    file.unlink()
    with pytest.raises(UnreadableFileError, match=r"cannot read .*a\.txt': No such file"):
        next(documents)


@pytest.mark.parametrize(
    ("error", "builtin"),
    [
        (PathNotFoundError, FileNotFoundError),
        (UnreadableFileError, ValueError),
        (DuplicateIdError, ValueError),
    ],
)
def test_errors_are_jina_locals_and_the_builtin_that_they_refine(
    error: type[Exception], builtin: type[Exception]
) -> None:
    assert issubclass(error, JinaLocalError)
    assert issubclass(error, builtin)
