"""`jina-local index`: each option does what it says, and a run can be cut short and go on."""

from __future__ import annotations

import json
import re
import shutil
from contextlib import closing
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from jina_local_qdrant import CollectionLayout, EmbeddingSpec, JinaQdrant, ingestion
from jina_local_qdrant.errors import StoreUnavailableError
from jina_local_qdrant.locations import open_place, open_store, recorded, stored_metadata
from jina_local_qdrant.readers import count_documents, read_documents
from jina_local_qdrant.writing import DocumentWriter

if TYPE_CHECKING:
    from pathlib import Path

    from jina_local import Engine
    from support.checkpoints import Checkpoint

    from .conftest import Cli

CHUNK_TOKENS = 24
SPEC = EmbeddingSpec(chunk_tokens=CHUNK_TOKENS)
N_FILES = 7

State = dict[str, tuple[dict[str, Any], list[float]]]


@pytest.fixture(params=["", "edge:"], ids=["folder", "edge"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return f"{request.param}{tmp_path / 'index'}"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "texts"
    root.mkdir()
    for number in range(N_FILES):
        sentences = [f"Sentence {place} of text {number} is here." for place in range(6)]
        (root / f"{number}.txt").write_text(" ".join(sentences))
    return root


@pytest.fixture
def options(tiny: Checkpoint, place: str) -> tuple[object, ...]:
    where = ("--to", place, "-c", "docs")
    return (*where, "--model", tiny.folder, "--chunk-tokens", CHUNK_TOKENS, "--device", "cpu")


@pytest.fixture
def _small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ingestion, "_DOCUMENTS_AT_ONCE", 2)


def state(place: str, collection: str = "docs") -> State:
    """Every point of a collection."""
    with (
        open_place(place, create=False) as client,
        closing(open_store(client, collection, None)) as store,
    ):
        return {
            point.id: (point.payload, np.asarray(point.vector).tolist())
            for point in store.scan(vectors=True)
        }


def ingested(engine: Engine, folder: Path, spec: EmbeddingSpec = SPEC) -> State:
    """What the Python API makes of the same files."""
    place = f"edge:{folder.parent / 'expected'}"
    with closing(JinaQdrant(place, "docs", engine, spec)) as helper:
        helper.ingest(read_documents([folder]))
    found = state(place)
    shutil.rmtree(folder.parent / "expected")
    return found


def assert_same(found: State, expected: State) -> None:
    assert found.keys() == expected.keys()
    for id_, (payload, vector) in expected.items():
        assert found[id_][0] == payload
        np.testing.assert_allclose(found[id_][1], vector, atol=1e-6)


def lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


# What is made


@pytest.mark.parametrize("late", [True, False])
def test_it_makes_what_the_python_api_makes(
    *,
    late: bool,
    cli: Cli,
    folder: Path,
    place: str,
    options: tuple[object, ...],
    engine: Engine,
) -> None:
    spec = EmbeddingSpec(chunk_tokens=CHUNK_TOKENS, late_chunking=late)
    report = cli(
        "index", folder, *options, "--late-chunking" if late else "--no-late-chunking", "--json"
    ).json
    expected = ingested(engine, folder, spec)
    assert_same(state(place), expected)
    assert (report["embedded"], report["chunks"]) == (N_FILES, len(expected))
    assert len(expected) > N_FILES


def test_layout_options_reach_the_collection(
    cli: Cli, folder: Path, tmp_path: Path, options: tuple[object, ...]
) -> None:
    place = f"edge:{tmp_path / 'laid-out'}"
    chosen = ("--quantization", "int8", "--storage", "float16", "--coarse-dimensions", 16)
    cli("index", folder, *options, "--to", place, *chosen)
    with open_place(place) as client:
        metadata = stored_metadata(client, "docs")
    assert metadata is not None
    wanted = CollectionLayout(quantization="int8", storage="float16", coarse_dimensions=16)
    assert metadata["jina_local_layout"] == wanted.as_dict()
    again = cli("index", folder, *options, "--to", place, *chosen)
    assert again.stdout == f"All {N_FILES} documents were there already, unchanged.\n"
    cli("index", folder, *options, "--to", place)
    refused = cli("index", folder, *options, "--to", place, "--quantization", "turbo", code=1)
    assert "--quantization is 'turbo', but collection 'docs' was made with 'int8'" in refused.stderr
    assert "loading" not in refused.stderr


@pytest.mark.filterwarnings("default")
def test_options_without_effect_are_named_in_one_line(
    cli: Cli, folder: Path, options: tuple[object, ...]
) -> None:
    finished = cli("index", folder, *options, "--bulk")
    assert finished.stderr.startswith("note: bulk: no effect in this store")
    assert finished.stderr.count("\n") == 1


def test_tenants_share_a_collection_and_no_documents(
    cli: Cli, folder: Path, place: str, options: tuple[object, ...]
) -> None:
    for tenant in ("ada", "bob"):
        report = cli("index", folder, *options, "--tenant", tenant, "--json").json
        assert report["embedded"] == N_FILES
    assert {payload["tenant"] for payload, _ in state(place).values()} == {"ada", "bob"}
    refused = cli("index", folder, *options, code=1)
    assert "'docs' is shared by tenants: name one with --tenant" in refused.stderr


# Again


def test_only_what_is_asked_for_is_embedded_again(
    cli: Cli, folder: Path, place: str, options: tuple[object, ...]
) -> None:
    cli("index", folder, *options)
    before = state(place)
    (folder / "0.txt").write_text("Another text.")
    report = cli("index", folder, *options, "--json").json
    assert (report["embedded"], report["skipped"]) == (1, N_FILES - 1)
    report = cli("index", folder, *options, "--no-resume", "--json").json
    assert (report["embedded"], report["skipped"]) == (N_FILES, 0)
    after = state(place)
    assert {p["text"] for p, _ in after.values() if p["doc_id"] == "0.txt"} == {"Another text."}
    rest = {id_ for id_, (payload, _) in before.items() if payload["doc_id"] != "0.txt"}
    assert_same({id_: after[id_] for id_ in rest}, {id_: before[id_] for id_ in rest})


@pytest.mark.usefixtures("_small_batches")
@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (KeyboardInterrupt, 130, "interrupted: what is stored stays, and the same command again"),
        (StoreUnavailableError("no answer"), 1, "error: no answer"),
    ],
    ids=["Ctrl-C", "error"],
)
def test_a_run_that_was_cut_short_goes_on(
    *,
    error: BaseException | type[BaseException],
    code: int,
    message: str,
    cli: Cli,
    folder: Path,
    place: str,
    options: tuple[object, ...],
    engine: Engine,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write, n_calls = DocumentWriter.write, 0

    def crash(self: DocumentWriter, *arguments: Any) -> int:
        nonlocal n_calls
        n_calls += 1
        if n_calls > 2:
            raise error
        return write(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(DocumentWriter, "write", crash)
        finished = cli("index", folder, *options, code=code)
    assert finished.stdout == ""
    assert message in finished.stderr
    assert "the same command again goes on from there" in finished.stderr
    partial = state(place)
    report = cli("index", folder, *options, "--json").json
    assert (report["embedded"], report["skipped"]) == (N_FILES - 4, 4)
    expected = ingested(engine, folder)
    assert partial.keys() < expected.keys()
    assert_same(state(place), expected)


def test_sync_deletes_what_is_gone_within_its_limit(
    cli: Cli, folder: Path, place: str, options: tuple[object, ...]
) -> None:
    cli("index", folder, *options)
    for number in range(3):
        (folder / f"{number}.txt").unlink()
    assert cli("index", folder, *options, "--json").json["skipped"] == N_FILES - 3
    everything = state(place)
    assert len({payload["doc_id"] for payload, _ in everything.values()}) == N_FILES
    refused = cli("index", folder, *options, "--sync", code=1)
    assert "3 of 7 documents are missing" in refused.stderr
    assert_same(state(place), everything)
    report = cli("index", folder, *options, "--sync", "--max-delete-fraction", 0.5, "--json").json
    left = state(place)
    assert {payload["doc_id"] for payload, _ in left.values()} == {
        "3.txt",
        "4.txt",
        "5.txt",
        "6.txt",
    }
    assert report["deleted_documents"] == 3
    assert report["deleted_chunks"] == len(everything) - len(left)


@pytest.mark.parametrize("other", [("--dead-letters", "x.jsonl"), ("--no-resume",)], ids=str)
def test_sync_takes_a_source_whole(
    other: tuple[str, ...], cli: Cli, folder: Path, options: tuple[object, ...]
) -> None:
    finished = cli("index", folder, *options, "--sync", *other, code=2)
    assert f"--sync and {other[0]} exclude each other" in finished.stderr


# Dead letters


@pytest.fixture
def damaged(folder: Path) -> Path:
    (folder / "latin.txt").write_bytes(b"caf\xe9")
    (folder / "list.jsonl").write_text(
        '{"id": "good", "text": "Good."}\n'
        "nonsense\n"
        '{"id": "good", "text": "The same id."}\n'
        '{"text": "Also good."}\n'
    )
    (folder / "gone.txt").symlink_to("nowhere")
    return folder


def test_what_cannot_be_read_is_listed_and_the_rest_ingested(
    cli: Cli, damaged: Path, place: str, tmp_path: Path, options: tuple[object, ...]
) -> None:
    letters = tmp_path / "dead.jsonl"
    finished = cli("index", damaged, *options, "--dead-letters", letters, code=3)
    assert f"4 given up, listed in {letters}." in finished.stdout
    found = {letter["doc_id"]: letter["kind"] for letter in lines(letters.read_text())}
    assert found == {
        "gone.txt": "UnreadableFileError",
        "latin.txt": "UnreadableFileError",
        "list.jsonl#2": "UnreadableFileError",
        "list.jsonl#3": "DuplicateIdError",
    }
    ids = {payload["doc_id"] for payload, _ in state(place).values()}
    assert ids == {*(f"{number}.txt" for number in range(N_FILES)), "good", "list.jsonl#4"}
    finished = cli("index", damaged, *options, code=1)
    assert "is not a regular file" in finished.stderr


def test_what_cannot_be_ingested_is_listed_as_it_happens(
    cli: Cli,
    folder: Path,
    tmp_path: Path,
    options: tuple[object, ...],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A crash right after a line was written loses nothing of it."""
    letters = tmp_path / "dead.jsonl"
    (tmp_path / "more.jsonl").write_text('{"id": "0.txt", "text": "Taken."}\n')
    report = cli(
        "index",
        folder,
        tmp_path / "more.jsonl",
        *options,
        "--dead-letters",
        letters,
        "--json",
        code=3,
    ).json
    assert (report["failed"], report["dead_letters"]) in {(0, 1), (1, 1)}
    (letter,) = lines(letters.read_text())
    assert letter["kind"] == "DuplicateIdError"

    def crash(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(DocumentWriter, "write", crash)
    (folder / "0.txt").write_text("Changed.")
    arguments = ("index", folder, tmp_path / "more.jsonl", *options, "--dead-letters", letters)
    cli(*arguments, code=130)
    assert lines(letters.read_text()) == [letter]


def test_a_run_replaces_the_list_of_the_one_before(
    cli: Cli, damaged: Path, tmp_path: Path, options: tuple[object, ...]
) -> None:
    letters = tmp_path / "dead.jsonl"
    cli("index", damaged, *options, "--dead-letters", letters, code=3)
    before = letters.read_text()
    cli("index", damaged, *options, "--dead-letters", letters, code=3)
    assert letters.read_text() == before
    cli("index", damaged, *options, "--dead-letters", letters, "-d", "0", code=1)
    assert letters.read_text() == before
    for name in ("latin.txt", "list.jsonl", "gone.txt"):
        (damaged / name).unlink()
    cli("index", damaged, *options, "--dead-letters", letters)
    assert letters.read_text() == ""


def test_the_list_never_takes_the_place_of_something_else(
    cli: Cli, folder: Path, place: str, tmp_path: Path, options: tuple[object, ...]
) -> None:
    data = tmp_path / "data.jsonl"
    data.write_text('{"text": "A document."}\n')
    for name, message in (
        (data, "is there, and not a list of dead letters"),
        (folder / "new.jsonl", "where it would be read as documents"),
        (tmp_path / "dead.txt", "ends in .jsonl"),
        (tmp_path / "no" / "dead.jsonl", "in a folder that is there"),
    ):
        finished = cli("index", folder, *options, "--dead-letters", name, code=1)
        assert message in finished.stderr
    assert data.read_text() == '{"text": "A document."}\n'
    assert not (tmp_path / "index").exists(), place


# Verification


def test_verify_ends_with_code_4_if_something_is_wrong(
    cli: Cli, folder: Path, place: str, options: tuple[object, ...]
) -> None:
    finished = cli("index", folder, *options, "--verify")
    assert "every document complete" in finished.stdout
    assert cli("index", folder, *options, "--verify", "--json").json["verified"]["ok"] is True
    with (
        open_place(place) as client,
        closing(open_store(client, "docs", None)) as store,
    ):
        orphan = next(id_ for id_, (p, _) in state_of(store).items() if p["chunk_index"] == 1)
        store.delete([orphan])
    finished = cli("index", folder, *options, "--verify", code=4)
    assert "Not as it should be" in finished.stdout
    assert "1 document incomplete" in finished.stdout
    cli("index", folder, *options, "--no-resume", "--verify")


def state_of(store: Any) -> State:
    return {point.id: (point.payload, []) for point in store.scan()}


# Logs


@pytest.mark.usefixtures("_small_batches")
def test_a_log_has_a_line_per_batch_and_the_report(
    cli: Cli, folder: Path, options: tuple[object, ...]
) -> None:
    finished = cli("index", folder, *options, "--log-json", "--json")
    *batches, report = lines(finished.stderr)
    assert [line["event"] for line in batches] == ["batch"] * 4
    assert [line["documents"] for line in batches] == [2, 4, 6, 7]
    names = {"chunks", "tokens", "seconds", "tokens_per_second", "points_per_second", "time"}
    assert all(names <= line.keys() for line in batches)
    for line in batches:
        rate = line["tokens"] / line["tokens_per_second"]
        assert rate == pytest.approx(line["seconds"], rel=0.05, abs=0.01)
    assert report["event"] == "report"
    assert finished.json.items() <= report.items()
    assert report["chunks"] == batches[-1]["chunks"]


@pytest.mark.filterwarnings("default")
def test_a_log_has_errors_and_warnings_as_lines(
    cli: Cli, folder: Path, options: tuple[object, ...]
) -> None:
    finished = cli("index", folder, *options, "--log-json", "--bulk")
    first, *_ = lines(finished.stderr)
    assert first["event"] == "warning"
    assert first["message"].startswith("bulk: no effect")
    finished = cli("index", "nowhere", *options, "--log-json", code=1)
    (line,) = lines(finished.stderr)
    assert (line["event"], line["kind"]) == ("error", "PathNotFoundError")
    assert finished.stdout == ""


# Refusals


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("-c", "a/b"), "collection is 'a/b'"),
        (("-c", ".."), "collection is '..'"),
        (("-c", ""), "collection is ''"),
        (("-d", "0"), "dimensions is 0"),
        (("--chunk-tokens", "0"), "0"),
        (("--coarse-dimensions", "64"), "coarse_dimensions is 64"),
        (("--tenant", ""), "tenant is ''"),
        (("--to", "edge:"), "location is 'edge:'"),
        (("--to", "ftp://host"), "location is 'ftp://host'"),
    ],
    ids=str,
)
def test_what_is_refused_makes_nothing(
    *,
    arguments: tuple[str, ...],
    message: str,
    cli: Cli,
    folder: Path,
    tmp_path: Path,
    options: tuple[object, ...],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    finished = cli("index", folder, *options, *arguments, code=1)
    assert message in finished.stderr
    assert finished.stdout == ""
    assert sorted(tmp_path.rglob("*")) == before


def test_the_two_kinds_of_folders_are_told_apart(
    cli: Cli, folder: Path, place: str, options: tuple[object, ...]
) -> None:
    cli("index", folder, *options)
    other = place.removeprefix("edge:") if place.startswith("edge:") else f"edge:{place}"
    before = state(place)
    for command in (("index", folder, *options, "--to"), ("inspect", "--in")):
        finished = cli(*command, other, code=1)
        assert "leave out 'edge:'" in finished.stderr or f"give {place!r}" in finished.stderr
    assert_same(state(place), before)


def test_a_source_without_texts_is_no_error(
    cli: Cli, tmp_path: Path, options: tuple[object, ...]
) -> None:
    (tmp_path / "empty").mkdir()
    finished = cli("index", tmp_path / "empty", *options)
    assert finished.stdout == "There is no document to ingest.\n"


def test_the_record_is_that_of_the_spec(
    cli: Cli, folder: Path, place: str, options: tuple[object, ...], engine: Engine
) -> None:
    cli("index", folder, *options, "-d", 16)
    wanted = EmbeddingSpec(chunk_tokens=CHUNK_TOKENS, dimensions=16).record(engine)
    with open_place(place) as client:
        assert recorded(client, "docs")["fingerprint"] == wanted["fingerprint"]


def test_the_bars_total_counts_what_is_read(damaged: Path) -> None:
    """Before anything is read: files, and lines of `.jsonl` that are not blank."""
    given_up: list[str] = []
    read = list(read_documents([damaged], given_up=lambda name, _: given_up.append(name)))
    assert count_documents([damaged]) == len(read) + len(given_up)


# Bar


@pytest.mark.usefixtures("_small_batches")
def test_a_terminal_sees_a_bar_and_a_pipe_nothing_of_it(
    cli: Cli, folder: Path, options: tuple[object, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert cli("index", folder, *options).stderr == ""
    monkeypatch.setenv("FORCE_COLOR", "1")
    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", cli("index", folder, *options).stderr)
    frames = [line for line in re.split(r"[\r\n]+", shown) if line]
    assert any(f"{N_FILES} of {N_FILES} documents" in line for line in frames)
    assert any("chunks · " in line and " tokens/s · " in line for line in frames)
    assert max(map(len, frames)) <= 80
