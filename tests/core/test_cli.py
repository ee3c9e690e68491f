"""The command line: results on standard output and nothing else there, errors that say what to do.

Most tests run `main` in this process; signals and pipes need a process of their own.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import pytest

from jina_local import Engine, __version__
from jina_local.cli import LICENCE_NOTE, main
from support.checkpoints import INSTRUCTIONS, TASKS, TINY, Checkpoint, TinyConfig, write_tiny

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TEXTS = ["Berlin is the capital of Germany.", "柏林是德国的首都", "", "What is late chunking?"]
STDIN = "\n".join(TEXTS).encode() + b"\n"
IN_A_PROCESS = [sys.executable, "-c", "from jina_local.cli import main; main()"]
PROMPT_SECONDS = 120.0  # how long a process may take to get somewhere, on a machine that is busy


@dataclass(frozen=True, slots=True)
class Finished:
    code: object
    stdout: str
    stderr: str

    @property
    def records(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.stdout.splitlines()]

    @property
    def vectors(self) -> np.ndarray:
        return np.array([record["embedding"] for record in self.records], dtype=np.float32)


class Cli(Protocol):
    def __call__(self, *arguments: object, stdin: bytes = b"") -> Finished: ...


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]) -> Cli:
    """`jina-local ARGUMENTS` in this process."""
    for name in ("JINA_LOCAL_MODEL", "FORCE_COLOR", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("COLUMNS", "80")

    def run(*arguments: object, stdin: bytes = b"") -> Finished:
        monkeypatch.setattr(sys, "argv", ["jina-local", *map(str, arguments)])
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin), encoding="utf-8"))
        capfdbinary.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capfdbinary.readouterr()
        return Finished(ended.value.code, out.decode(), err.decode())

    return run


def assert_refused(finished: Finished, *parts: str) -> None:
    """Exit code 1, nothing on standard output, and one message on standard error."""
    assert finished.code == 1
    assert finished.stdout == ""
    assert finished.stderr.startswith("error: "), finished.stderr
    assert "Traceback" not in finished.stderr
    for part in parts:
        assert part in finished.stderr


# Finding one's way


def test_help_lists_the_commands_and_loads_no_model_code() -> None:
    script = "import sys; from jina_local.cli import build_app; build_app()(standalone_mode=False)"
    report = "print([name for name in ('torch', 'huggingface_hub') if name in sys.modules])"
    finished = subprocess.run(
        [sys.executable, "-c", f"{script}; {report}", "--help"],
        capture_output=True,
        text=True,
        timeout=PROMPT_SECONDS,
        check=True,
    )
    for command in ("embed", "info"):
        assert f"\n  {command}  " in finished.stdout
    assert finished.stdout.endswith("[]\n")
    assert finished.stderr == ""


def test_version(cli: Cli) -> None:
    assert cli("--version") == Finished(0, f"jina-local {__version__}\n", "")


@pytest.mark.parametrize("command", ["embed", "info"])
def test_every_command_has_help(command: str, cli: Cli) -> None:
    finished = cli(command, "--help")
    assert finished.code == 0
    assert "Usage: jina-local" in finished.stdout


def test_whoever_chooses_a_model_reads_its_licence(cli: Cli) -> None:
    unwrapped = " ".join(cli("embed", "--help").stdout.split())
    assert "CC BY-NC 4.0: no commercial use" in LICENCE_NOTE
    assert LICENCE_NOTE in unwrapped


@pytest.mark.parametrize(
    "arguments",
    [("embde",), ("embed", "--dimension", "3"), ("embed", "-d", "many"), ("info",), ()],
    ids=str,
)
def test_wrong_usage_is_exit_code_2(arguments: tuple[str, ...], cli: Cli) -> None:
    finished = cli(*arguments)
    assert finished.code == 2
    assert "Usage: jina-local" in finished.stdout + finished.stderr


def test_an_unknown_overflow_is_refused_with_the_choices(cli: Cli) -> None:
    finished = cli("embed", "--on-overflow", "crop")
    assert finished.code == 2
    assert finished.stdout == ""
    for part in ("'crop'", "'error'", "'truncate'", "'window'"):
        assert part in finished.stderr


# embed


def test_lines_of_standard_input_become_json_lines(
    cli: Cli, tiny: Checkpoint, engine: Engine
) -> None:
    """The numbers are those of the engine, to the last bit of their float32."""
    finished = cli("embed", "--model", tiny.folder, stdin=STDIN)
    expected = engine.embed_documents(TEXTS)
    assert finished.code == 0
    assert [record["index"] for record in finished.records] == [0, 1, 2, 3]
    for record, n_tokens in zip(finished.records, expected.token_counts, strict=True):
        assert list(record) == ["index", "tokens", "truncated", "windows", "embedding"]
        assert (record["tokens"], record["truncated"], record["windows"]) == (n_tokens, False, 1)
    assert np.array_equal(finished.vectors, expected.vectors)


def test_standard_error_has_one_line_where_nobody_watches(cli: Cli, tiny: Checkpoint) -> None:
    """Of a progress bar, which needs a terminal, nothing is left."""
    finished = cli("embed", "-m", tiny.folder, "-d", 2, stdin=STDIN)
    assert finished.stderr.count("\n") == 1
    n_tokens = sum(record["tokens"] for record in finished.records)
    summary = f"4 texts, {n_tokens} tokens → 2 dimensions; 0 in windows, 0 truncated\n"
    assert finished.stderr == summary


def test_a_file_becomes_an_array(
    cli: Cli, tiny: Checkpoint, engine: Engine, tmp_path: Path
) -> None:
    (tmp_path / "texts.txt").write_bytes(STDIN)
    output = tmp_path / "vectors.npy"
    arguments = ("-m", tiny.folder, "-d", 16, "-o", output)
    finished = cli("embed", tmp_path / "texts.txt", *arguments)
    assert (finished.code, finished.stdout) == (0, "")
    vectors = np.load(output)
    assert vectors.dtype == np.float32
    assert np.array_equal(vectors, engine.embed_documents(TEXTS, dimensions=16).vectors)


def test_a_file_of_json_lines_holds_what_standard_output_would(
    cli: Cli, tiny: Checkpoint, tmp_path: Path
) -> None:
    output = tmp_path / "vectors.jsonl"
    here = cli("embed", "-m", tiny.folder, stdin=STDIN)
    there = cli("embed", "-m", tiny.folder, "-o", output, stdin=STDIN)
    assert (there.code, there.stdout) == (0, "")
    assert output.read_text(encoding="utf-8") == here.stdout


def test_an_existing_output_is_replaced(cli: Cli, tiny: Checkpoint, tmp_path: Path) -> None:
    output = tmp_path / "vectors.jsonl"
    output.write_text("old\n" * 1000, encoding="utf-8")
    cli("embed", "-m", tiny.folder, "-o", output, stdin=b"one line\n")
    assert len(output.read_text(encoding="utf-8").splitlines()) == 1


@pytest.mark.parametrize(
    ("option", "task"),
    [
        ((), "retrieval.passage"),
        (("--task", "document"), "retrieval.passage"),
        (("--task", "query"), "retrieval.query"),
        (("--task", "none"), None),
        (("-t", "text-matching"), "text-matching"),
        (("-t", "retrieval.query"), "retrieval.query"),
    ],
    ids=str,
)
def test_a_task_is_a_role_or_a_name_or_none(
    option: tuple[str, ...], task: str | None, cli: Cli, tiny: Checkpoint, engine: Engine
) -> None:
    finished = cli("embed", "-m", tiny.folder, *option, stdin=STDIN)
    assert np.array_equal(finished.vectors, engine.embed(TEXTS, task=task).vectors)


@pytest.mark.parametrize("task", ["clustering", "None", "retrieval", ""])
def test_an_unknown_task_is_refused_with_the_choices(task: str, cli: Cli, tiny: Checkpoint) -> None:
    """Those of the command line, where the base model is called `none`."""
    finished = cli("embed", "-m", tiny.folder, "--task", task, stdin=STDIN)
    assert_refused(finished, f"unknown task {task!r}", "query", "document", "none", *TASKS)


@pytest.mark.parametrize("dimensions", [0, -1, 65])
def test_dimensions_out_of_range_are_refused(dimensions: int, cli: Cli, tiny: Checkpoint) -> None:
    finished = cli("embed", "-m", tiny.folder, "-d", dimensions, stdin=STDIN)
    assert_refused(finished, f"dimensions is {dimensions}; give an integer in 1…64")


def test_options_of_the_engine_reach_the_engine(cli: Cli, tiny: Checkpoint) -> None:
    with Engine.load(tiny.folder, device="cpu", dtype="bfloat16") as engine:
        expected = engine.embed_documents(TEXTS).vectors
    options = ("--device", "cpu", "--dtype", "bfloat16")
    finished = cli("embed", "-m", tiny.folder, *options, stdin=STDIN)
    assert np.array_equal(finished.vectors, expected)
    refused = cli("embed", "-m", tiny.folder, "--dtype", "float64", stdin=STDIN)
    assert_refused(refused, "dtype 'float64' is not one of 'auto', 'float32'")


def test_the_model_may_come_from_the_environment(
    cli: Cli, tiny: Checkpoint, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JINA_LOCAL_MODEL", str(tiny.folder))
    assert np.array_equal(cli("embed", stdin=STDIN).vectors, engine.embed_documents(TEXTS).vectors)


def test_without_a_model_it_is_the_demo(cli: Cli, demo: Engine) -> None:
    assert np.array_equal(cli("embed", stdin=STDIN).vectors, demo.embed_documents(TEXTS).vectors)


# What is long


@pytest.fixture(scope="module")
def short(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model with a limit of 32 tokens."""
    folder = tmp_path_factory.mktemp("short")
    return write_tiny(folder, config=TinyConfig(max_positions=32)).folder


LONG = ("word " * 100).encode() + b"\nshort\n"


@pytest.mark.parametrize(
    ("options", "happened", "summary"),
    [
        ((), (False, True), "1 in windows, 0 truncated"),
        (("--on-overflow", "window"), (False, True), "1 in windows, 0 truncated"),
        (("--on-overflow", "truncate"), (True, False), "0 in windows, 1 truncated"),
        (("-t", "query", "--on-overflow", "truncate"), (True, False), "1 truncated"),
    ],
    ids=str,
)
def test_what_happened_to_a_long_line_is_said_in_its_record_and_in_the_summary(
    options: tuple[str, ...], happened: tuple[bool, bool], summary: str, cli: Cli, short: Path
) -> None:
    finished = cli("embed", "-m", short, *options, stdin=LONG)
    long, other = finished.records
    assert (long["truncated"], long["windows"] > 1) == happened
    assert (other["truncated"], other["windows"]) == (False, 1)
    assert finished.stderr.startswith("2 texts, ")
    assert summary in finished.stderr


@pytest.mark.parametrize("options", [("-t", "query"), ("--on-overflow", "error")], ids=str)
def test_a_long_line_is_refused_where_that_was_asked_for(
    options: tuple[str, ...], cli: Cli, short: Path
) -> None:
    finished = cli("embed", "-m", short, *options, stdin=LONG)
    assert_refused(finished, "text 0 has ", "the model takes 32", "on_overflow='truncate'")


# What is a line


@pytest.mark.parametrize(
    "separator", ["\u2028", "\u2029", "\x0b", "\x0c", "\x1c", "\x85", "\r"], ids=ascii
)
def test_only_a_line_feed_ends_a_line(
    separator: str, cli: Cli, tiny: Checkpoint, engine: Engine
) -> None:
    """`str.splitlines` would make two texts of one, and every later row would be off by one."""
    text = f"one{separator}text"
    finished = cli("embed", "-m", tiny.folder, stdin=f"{text}\nnext\n".encode())
    assert np.array_equal(finished.vectors, engine.embed_documents([text, "next"]).vectors)


@pytest.fixture(scope="module")
def spaces(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """A model with a tokenizer to which a space at the end is a token."""
    checkpoint = write_tiny(tmp_path_factory.mktemp("spaces"), tokenizer="metaspace")
    with Engine.load(checkpoint.folder, device="cpu") as engine:
        yield engine


@pytest.mark.parametrize(
    ("content", "texts"),
    [
        (b"a\nb", ["a", "b"]),
        (b"a\r\nb\r\n", ["a", "b"]),
        (b"a\n\nb\n\n", ["a", "", "b", ""]),
        (b"\n", [""]),
        (b" a \n", [" a "]),
    ],
    ids=repr,
)
def test_every_line_is_a_text_also_an_empty_one(
    content: bytes, texts: list[str], cli: Cli, spaces: Engine
) -> None:
    """As it is, but for the carriage return that Windows puts before a line feed."""
    finished = cli("embed", "-m", spaces.source, stdin=content)
    assert np.array_equal(finished.vectors, spaces.embed_documents(texts).vectors)


def test_no_line_is_no_vector(cli: Cli, tiny: Checkpoint, tmp_path: Path) -> None:
    finished = cli("embed", "-m", tiny.folder)
    assert (finished.code, finished.stdout) == (0, "")
    assert "0 texts" in finished.stderr
    cli("embed", "-m", tiny.folder, "-d", 5, "-o", tmp_path / "none.npy")
    assert np.load(tmp_path / "none.npy").shape == (0, 5)


def test_a_pipe_is_a_file_too(cli: Cli, tiny: Checkpoint, engine: Engine) -> None:
    """As in `jina-local embed <(grep …)`."""
    read, write = os.pipe()
    os.write(write, STDIN)
    os.close(write)
    finished = cli("embed", f"/dev/fd/{read}", "-m", tiny.folder)
    os.close(read)
    assert np.array_equal(finished.vectors, engine.embed_documents(TEXTS).vectors)


# What is refused


@pytest.mark.parametrize(
    ("output", "parts"),
    [
        ("vectors.csv", ["'vectors.csv'", ".npy", ".jsonl", "'-'"]),
        ("vectors", ["'vectors' ends in neither .npy nor .jsonl"]),
        (".npy", ["'.npy' ends in neither .npy nor .jsonl"]),
        ("nowhere/vectors.npy", ["there is no folder", "nowhere'"]),
        ("taken.npy", ["'taken.npy' is a folder"]),
    ],
)
def test_an_output_that_cannot_be_is_refused_before_any_work(
    output: str, parts: list[str], cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "taken.npy").mkdir()
    monkeypatch.chdir(tmp_path)
    finished = cli("embed", "-m", tmp_path / "no model", "-o", output, stdin=STDIN)
    assert_refused(finished, *parts)
    assert [path.name for path in tmp_path.iterdir()] == ["taken.npy"]


@pytest.mark.parametrize(
    ("source", "parts"),
    [
        ("missing.txt", ["no file 'missing.txt'", "'-' for standard input"]),
        ("folder", ["no file 'folder'"]),
        ("latin1.txt", ["'latin1.txt' is not UTF-8 at byte 3: convert it"]),
        ("utf16.txt", ["'utf16.txt' is not UTF-8 at byte 0: convert it"]),
        ("-", ["'-' is not UTF-8 at byte 2: convert it"]),
    ],
)
def test_an_input_that_cannot_be_read_is_refused_before_any_work(
    source: str, parts: list[str], cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "latin1.txt").write_bytes("Schöne Grüße".encode("latin1"))
    (tmp_path / "utf16.txt").write_bytes("text".encode("utf-16"))
    monkeypatch.chdir(tmp_path)
    model = tmp_path / "no model"
    finished = cli("embed", source, "-m", model, "-o", "vectors.npy", stdin=b"ab\xff")
    assert_refused(finished, *parts)
    assert not (tmp_path / "vectors.npy").exists()


@pytest.mark.parametrize("command", [("info",), ("embed", "-m")], ids=str)
def test_a_model_that_is_not_there_is_refused(command: tuple[str, ...], cli: Cli) -> None:
    finished = cli(*command, "/no/such/model", stdin=STDIN)
    assert_refused(finished, "no model at '/no/such/model'", "hub id", "'demo'")


@pytest.mark.parametrize("command", [("info",), ("embed", "-m")], ids=str)
def test_a_broken_checkpoint_is_refused(
    command: tuple[str, ...], cli: Cli, tiny: Checkpoint, tmp_path: Path
) -> None:
    folder = shutil.copytree(tiny.folder, tmp_path / "model")
    (folder / "config.json").write_text("{", encoding="utf-8")
    assert_refused(cli(*command, folder, stdin=STDIN), "config.json is not valid JSON", "again")


@pytest.mark.parametrize(
    "name", ["/a[red]b[/red]", "/[/]", "/a\\[b]", "/:smile:", "/" + "long" * 60]
)
def test_messages_show_names_as_they_are(name: str, cli: Cli) -> None:
    """No markup is read into them, and a terminal, not we, may wrap them."""
    assert_refused(cli("info", name), f"no model at {name!r}: give a folder")


@pytest.mark.skipif(not os.path.ismount("/proc"), reason="needs a folder that nobody can write to")
def test_a_folder_that_cannot_be_written_to_is_a_message_and_no_traceback(
    cli: Cli, tiny: Checkpoint
) -> None:
    finished = cli("embed", "-m", tiny.folder, "-o", "/proc/vectors.npy", stdin=STDIN)
    assert_refused(finished, "/proc/")


def test_a_failure_leaves_no_output_and_keeps_an_old_one(
    cli: Cli, short: Path, tmp_path: Path
) -> None:
    output = tmp_path / "vectors.npy"
    output.write_bytes(b"old")
    finished = cli("embed", "-m", short, "-t", "query", "-o", output, stdin=LONG)
    assert_refused(finished, "text 0 has ")
    assert output.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [output]


# info


def test_info_fits_into_80_columns_and_is_honest_about_the_demo(cli: Cli) -> None:
    finished = cli("info", "demo")
    assert (finished.code, finished.stderr) == (0, "")
    assert max(map(len, finished.stdout.splitlines())) <= 80
    unwrapped = " ".join(finished.stdout.replace("│", " ").split())
    assert "not jina-embeddings-v3" in unwrapped
    assert "English only" in unwrapped
    assert "Apache-2.0" in unwrapped
    for task in TASKS:
        assert task in unwrapped


def test_info_as_json_says_all_that_the_table_says(cli: Cli, tiny: Checkpoint) -> None:
    finished = cli("info", tiny.folder, "--json")
    assert (finished.code, finished.stderr) == (0, "")
    facts = json.loads(finished.stdout)
    assert LICENCE_NOTE in facts.pop("licence")
    assert facts == {
        "model": "jina-embeddings-v3 architecture",
        "weights": "unknown weights",
        "folder": str(tiny.folder.resolve()),
        "layout": "original",
        "layers": TINY.n_layers,
        "width": TINY.hidden_size,
        "heads": TINY.n_heads,
        "vocabulary": TINY.vocab_size,
        "max tokens": TINY.max_positions,
        "trained dimensions": list(TINY.matryoshka_dimensions),
        "tasks and instructions": INSTRUCTIONS,
    }
    table = "".join(cli("info", tiny.folder).stdout.replace("│", "").split())
    for name in facts:
        assert name.replace(" ", "") in table
    for instruction in INSTRUCTIONS.values():
        assert repr(instruction).replace(" ", "") in table


def test_info_hashes_the_weights_only_where_asked_to(
    cli: Cli, tiny: Checkpoint, engine: Engine
) -> None:
    assert "weights id" not in json.loads(cli("info", tiny.folder, "--json").stdout)
    facts = json.loads(cli("info", tiny.folder, "--json", "--weights-id").stdout)
    assert facts["weights id"] == engine.weights_id
    assert engine.weights_id[:20] in cli("info", tiny.folder, "--weights-id").stdout


def test_info_of_the_native_layout(cli: Cli, tmp_path: Path) -> None:
    write_tiny(tmp_path, "hub")
    assert json.loads(cli("info", tmp_path, "--json").stdout)["layout"] == "native"


@pytest.mark.parametrize("instruction", ["[query] ", "[/]", ":smile: ", "Frage zur Größe: "])
def test_info_shows_instructions_as_they_are(instruction: str, cli: Cli, tmp_path: Path) -> None:
    """What the table hides is what the vectors were made with."""
    texts = {**INSTRUCTIONS, "retrieval.query": instruction}
    write_tiny(tmp_path, config=replace(TINY, task_instructions=texts))
    assert f"retrieval.query  {instruction!r}" in cli("info", tmp_path).stdout
    facts = json.loads(cli("info", tmp_path, "--json").stdout)
    assert facts["tasks and instructions"]["retrieval.query"] == instruction


# Processes


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that embeds fast and has much to write."""
    config = TinyConfig(n_layers=1, hidden_size=256, intermediate_size=32)
    return write_tiny(tmp_path_factory.mktemp("wide"), config=config).folder


@pytest.fixture
def many_lines(tmp_path: Path) -> Path:
    path = tmp_path / "many.txt"
    path.write_bytes(b"\n" * 5_000)
    return path


@pytest.fixture
def started(
    wide: Path, many_lines: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> Iterator[subprocess.Popen[bytes]]:
    """`jina-local embed`, started, with the script and the output that the test asks for."""
    script, output = request.param
    command = ["embed", str(many_lines), "-m", str(wide), "-t", "none", "-o", output]
    with subprocess.Popen(
        [sys.executable, "-c", script, *command],
        cwd=tmp_path,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        yield process
        process.kill()


WRITES_HALF_AND_WAITS = """
import itertools, signal, time
from jina_local import cli

signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where the tests run behind an &

every = cli._records

def half(embeddings):
    yield from itertools.islice(every(embeddings), 2500)
    time.sleep(600)

cli._records = half
cli.main()
"""


@pytest.mark.parametrize("started", [(WRITES_HALF_AND_WAITS, "vectors.jsonl")], indirect=True)
def test_control_c_in_the_middle_of_writing_leaves_no_file(
    started: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    """It is interrupted after the first bytes are on disk and before the last ones are."""
    give_up = time.monotonic() + PROMPT_SECONDS
    while not any(path.stat().st_size for path in tmp_path.glob(".vectors.jsonl.*")):
        assert started.poll() is None, started.communicate()
        assert time.monotonic() < give_up
        time.sleep(0.002)
    started.send_signal(signal.SIGINT)
    stdout, stderr = started.communicate(timeout=PROMPT_SECONDS)
    assert started.returncode == 130
    assert stdout == b""
    assert b"Traceback" not in stderr
    assert [path.name for path in tmp_path.iterdir()] == ["many.txt"]


@pytest.mark.parametrize("started", [(IN_A_PROCESS[-1], "-")], indirect=True)
def test_a_reader_that_has_seen_enough_is_no_error(started: subprocess.Popen[bytes]) -> None:
    """As in `jina-local embed texts.txt | head -1`."""
    assert started.stdout
    assert started.stderr
    first = json.loads(started.stdout.readline())
    started.stdout.close()
    stderr = started.stderr.read().decode()
    started.wait(timeout=PROMPT_SECONDS)
    assert first["index"] == 0
    assert "Traceback" not in stderr
    assert "BrokenPipe" not in stderr
