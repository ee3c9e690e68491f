"""`jina-local migrate`: from a plan to the end, each step saying what to type next."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
from contextlib import closing
from importlib.metadata import EntryPoint
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import typer
from qdrant_client import QdrantClient, models

from jina_local import cli as command_line
from jina_local.cli import LICENCE_NOTE
from jina_local_qdrant import EmbeddingSpec, JinaQdrant
from jina_local_qdrant.errors import StoreUnavailableError
from jina_local_qdrant.migrate_report import _bytes, _duration, _rounded
from jina_local_qdrant.migration import Migration, PayloadFields, lifecycle
from jina_local_qdrant.migration.journal import Journal
from jina_local_qdrant.migration.moving import Mover
from jina_local_qdrant.migration.points import Points

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from jina_local import Engine
    from support.checkpoints import Checkpoint
    from support.command_line import Finished

    from .conftest import Cli

N_DOCUMENTS = 6
N_CHUNKS = 3
N_POINTS = N_DOCUMENTS * N_CHUNKS
STEPS = ("plan", "run", "verify", "switch", "rollback", "finalize")
FIELDS = ("--text", "body.text", "--document", "doc", "--order", "no")

State = dict[int | str, tuple[dict[str, Any], Any]]


def payload(document: int, chunk: int) -> dict[str, Any]:
    text = f"Chunk {chunk} of document {document} is about the number {document * chunk}."
    return {"body": {"text": text}, "doc": f"d{document}", "no": chunk, "tags": ["a", {"b": 1}]}


def write_old(place: str, collection: str = "old", **more: Any) -> None:
    """Chunks with vectors of another model, in no order, written by plain qdrant-client."""
    rng = np.random.default_rng(0)
    points = [
        models.PointStruct(
            id=int(id_) if id_ % 2 else f"00000000-0000-4000-8000-{id_:012d}",
            vector=rng.normal(size=8).tolist(),
            payload=payload(*divmod(int(id_), N_CHUNKS)) | more,
        )
        for id_ in rng.permutation(N_POINTS)
    ]
    vectors = models.VectorParams(size=8, distance=models.Distance.COSINE)
    with closing(QdrantClient(path=place)) as client:
        client.create_collection(collection, vectors_config=vectors)
        client.upsert(collection, points)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    where = tmp_path_factory.mktemp("written") / "index"
    write_old(str(where))
    return where


@pytest.fixture
def place(written: Path, tmp_path: Path) -> str:
    return str(shutil.copytree(written, tmp_path / "index"))


@pytest.fixture
def model(tiny: Checkpoint) -> tuple[object, ...]:
    return ("--model", tiny.folder, "--device", "cpu")


@pytest.fixture
def begin(place: str, model: tuple[object, ...]) -> tuple[object, ...]:
    """What is typed after `plan` or `run` for the first time."""
    return ("--in", place, "--from", "old", "--to", "new", *FIELDS, *model)


@pytest.fixture
def again(place: str) -> tuple[object, ...]:
    """What is typed after every other step."""
    return ("--in", place, "--to", "new")


@pytest.fixture
def _small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    page = Points.page

    def small(self: Points, *arguments: Any, limit: int = 4, vectors: Any = ()) -> Any:
        return page(self, *arguments, vectors=vectors, limit=limit)

    monkeypatch.setattr(Points, "page", small)


def state(place: str, collection: str) -> State:
    """Every point of a collection."""
    with closing(QdrantClient(path=place)) as client:
        records, _ = client.scroll(collection, limit=1000, with_vectors=True)
    return {record.id: (record.payload or {}, record.vector) for record in records}


def journal(place: str) -> dict[str, Any] | None:
    with closing(QdrantClient(path=place)) as client:
        return Journal(client, "new").state()


def aliases(place: str) -> dict[str, str]:
    with closing(QdrantClient(path=place)) as client:
        return {one.alias_name: one.collection_name for one in client.get_aliases().aliases}


def assert_same(found: State, expected: State) -> None:
    assert found.keys() == expected.keys()
    for id_, (content, vector) in expected.items():
        assert found[id_][0] == content
        np.testing.assert_allclose(found[id_][1], vector, atol=1e-5)


def next_step(finished: Finished) -> list[str]:
    """The arguments of the command that an answer names as the next one."""
    (line,) = [line for line in finished.stdout.splitlines() if line.startswith("Next")]
    name, *arguments = shlex.split(line[line.index("jina-local") :])
    assert name == "jina-local"
    return arguments


def assert_refused(finished: Finished, *parts: str) -> None:
    """One message that names options, not what Python would take."""
    message = finished.stderr[finished.stderr.index("error: ") :]
    assert finished.stderr.count("error: ") == 1
    for part in parts:
        assert part in message
    for python in ("PayloadFields", "EmbeddingSpec", "without_text", "vector=", "sample="):
        assert python not in message


# The whole way


def test_each_step_names_the_next_until_nothing_is_left_to_do(cli: Cli, place: str) -> None:
    """With the demo model, from a collection of plain qdrant-client, by typing what is printed."""
    before = state(place, "old")
    planned = cli("migrate", "plan", "--in", place, "--from", "old", "--to", "new", *FIELDS)
    assert next_step(planned)[:2] == ["migrate", "run"]
    ran = cli(*next_step(planned))
    assert f"6 documents embedded, {N_POINTS} points written to 'new' in " in ran.stdout
    assert next_step(ran)[:2] == ["migrate", "verify"]
    verified = cli(*next_step(ran))
    assert verified.stdout.startswith(f"Verified: {N_POINTS} points in 'old', {N_POINTS} points ")
    assert "ALIAS is a new name, which searches use from then on" in verified.stdout
    command = ["live" if word == "ALIAS" else word for word in next_step(verified)]
    assert command[:2] == ["migrate", "switch"]
    cli(*command)
    assert aliases(place) == {"live": "new"}
    rolled_back = cli("migrate", "rollback", "--in", place, "--to", "new")
    assert aliases(place) == {"live": "old"}
    assert next_step(rolled_back) == ["migrate", "run", "--in", place, "--to", "new"]
    ran = cli(*next_step(rolled_back))
    assert ran.stdout.startswith(f"{N_POINTS} points of 'old' are in 'new' already, unchanged.\n")
    verified = cli(*next_step(ran))
    assert next_step(verified) == command
    switched = cli(*next_step(verified))
    assert aliases(place) == {"live": "new"}
    assert_same(state(place, "old"), before)
    assert next_step(switched)[:2] == ["migrate", "finalize"]
    finished = cli(*next_step(switched))
    assert finished.stdout.splitlines() == [
        "The migration is finished: alias 'live' names 'new', and 'old' is deleted.",
        "Nothing is left to do.",
    ]
    with closing(QdrantClient(path=place)) as client:
        assert [one.name for one in client.get_collections().collections] == ["new"]
    after = state(place, "new")
    assert {id_: content for id_, (content, _) in after.items()} == {
        id_: content for id_, (content, _) in before.items()
    }


def test_it_makes_what_the_python_api_makes(
    cli: Cli, place: str, begin: tuple[object, ...], engine: Engine
) -> None:
    cli("migrate", "run", *begin, "-d", 16)
    fields = PayloadFields(text="body.text", document="doc", order="no")
    with closing(QdrantClient(path=place)) as client:
        spec = EmbeddingSpec(dimensions=16)
        Migration(client, "old", "expected", engine, spec, fields=fields).run()
    assert_same(state(place, "new"), state(place, "expected"))


def test_a_collection_of_this_helper_keeps_what_is_not_chosen_anew(
    cli: Cli, place: str, model: tuple[object, ...], engine: Engine
) -> None:
    with closing(QdrantClient(path=place)) as client:
        spec = EmbeddingSpec(dimensions=32, chunk_tokens=24, late_chunking=False)
        helper = JinaQdrant(client, "docs", engine, spec)
        helper.ingest(
            {"id": f"d{k}", "text": f"Sentence {k} is here. " * 9, "metadata": {"k": k}}
            for k in range(4)
        )
    options = ("--in", place, "--from", "docs", "--to", "new", *model)
    planned = cli("migrate", "plan", *options)
    assert "32 → 32" in planned.stdout
    assert "embedded each alone, of at most 24 tokens" in planned.stdout
    assert cli("migrate", "plan", *options, "--json").json["origin"] == "this helper"
    cli("migrate", "run", *options, "--late-chunking")
    again = cli("migrate", "run", "--in", place, "--to", "new")
    assert again.stdout.startswith("4 documents of 'docs' are in 'new' already, unchanged.\n")
    record = cli("inspect", "--in", place, "-c", "new", "--json").json["record"]
    assert (record["dimensions"], record["chunk_tokens"]) == (32, 24)
    assert record["late_chunking"] is not None
    verified = cli("verify-index", "--in", place, "-c", "new", "--json").json
    assert (verified["ok"], verified["documents"]) == (True, 4)


# plan


def contents(place: Path) -> dict[str, bytes]:
    files = (path for path in place.rglob("*") if path.is_file() and path.name != ".lock")
    return {str(path.relative_to(place)): path.read_bytes() for path in files}


@pytest.mark.parametrize("more", [(), ("--leave-out-blank",), ("--json",)], ids=str)
def test_a_plan_writes_nothing(
    more: tuple[str, ...], cli: Cli, begin: tuple[object, ...], tmp_path: Path
) -> None:
    before = contents(tmp_path / "index")
    cli("migrate", "plan", *begin, *more)
    assert contents(tmp_path / "index") == before


def test_a_plan_says_what_is_needed_to_decide_in_80_columns(
    cli: Cli, begin: tuple[object, ...], tiny: Checkpoint
) -> None:
    shown = cli("migrate", "plan", *begin, "-d", 16, "--storage", "float16").stdout
    *table, _, next_line = shown.splitlines()
    assert max(map(len, table)) <= 80
    rows = re.findall(r"^│ (\S.*?) +│ (.+?) +│$", shown, re.MULTILINE)
    facts = dict(rows)
    assert facts["points"] == "18, counted"
    assert facts["text in"] == "body.text"
    assert facts["without a text"] == "0 of all; with blank ones 0 of 18 looked at"
    assert facts["documents"] == "points of the same doc, ordered by no"
    assert facts["payload fields"] == "body, doc, no, tags"
    assert facts["dimensions"] == "8 → 16"
    assert facts["vectors take"] == "576 bytes → 576 bytes; both are there until finalize"
    assert facts["carried over"] == "every payload field; the ids of points"
    assert facts["lost"] == "nothing"
    assert facts["chunks"] == "embedded in the context of their document"
    assert "of embedding on this machine" in facts["time"]
    assert re.fullmatch(r"about [\d,]+", facts["tokens"])
    assert str(tiny.folder) in "".join(shown.replace("│", "").split())
    assert next_line.startswith("Next: jina-local migrate run --in ")


def test_a_plan_names_what_is_left_out_as_lost(
    cli: Cli, place: str, begin: tuple[object, ...]
) -> None:
    with closing(QdrantClient(path=place)) as client:
        client.upsert("old", [models.PointStruct(id=900, vector=[1.0] * 8, payload={"no": 1})])
    refused = cli("migrate", "plan", *begin, code=1)
    assert "It cannot be run as it is:\n  1 points have no text" in refused.stdout
    assert "--leave-out-blank" in refused.stdout
    assert "without_text" not in refused.stdout
    assert refused.stdout.endswith("Nothing is written. Next: mend this, and plan again.\n")
    (refusal,) = cli("migrate", "plan", *begin, "--json", code=1).json["refusals"]
    assert "--leave-out-blank" in refusal
    stopped = cli("migrate", "run", *begin, code=1)
    assert "point 900 has no text" in stopped.stderr
    begin = (*begin, "--to", "another")
    left_out = cli("migrate", "plan", *begin, "--leave-out-blank")
    assert "points without a text" in left_out.stdout
    assert "1 of all; with blank ones 1 of 19 looked at" in left_out.stdout
    cli("migrate", "run", *begin, "--leave-out-blank")
    verified = cli("migrate", "verify", "--in", place, "--to", "another")
    assert "1 point without a text left out, as asked for." in verified.stdout
    assert state(place, "another").keys() == state(place, "old").keys() - {900}


# run


@pytest.mark.usefixtures("_small_pages")
@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (KeyboardInterrupt, 130, "interrupted: what is written stays, and the same command again"),
        (StoreUnavailableError("no answer"), 1, "error: no answer"),
    ],
    ids=["Ctrl-C", "error"],
)
@pytest.mark.parametrize("same_command", [True, False], ids=["same", "short"])
def test_a_run_that_was_cut_short_goes_on(
    *,
    error: BaseException | type[BaseException],
    code: int,
    message: str,
    same_command: bool,
    cli: Cli,
    place: str,
    begin: tuple[object, ...],
    again: tuple[object, ...],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """By the same command, and by one that says only where: nothing is embedded twice."""
    follow, n_calls = Mover.follow_source, 0

    def crash(self: Mover, points: Any) -> Any:
        nonlocal n_calls
        n_calls += 1
        if n_calls > 1:
            raise error
        return follow(self, points)

    with monkeypatch.context() as patch:
        patch.setattr(Mover, "follow_source", crash)
        finished = cli("migrate", "run", *begin, "-d", 16, code=code)
    assert finished.stdout == ""
    assert message in finished.stderr
    assert "the same command again goes on from there" in finished.stderr
    partial = state(place, "new")
    assert 0 < len(partial) < N_POINTS
    cut_short = cli("migrate", "verify", *again, code=4)
    assert "documents are not in the new collection as they are in the old one" in cut_short.stdout
    assert next_step(cut_short) == ["migrate", "run", "--in", place, "--to", "new"]
    options = (*begin, "-d", 16) if same_command else again
    report = cli("migrate", "run", *options, "--json").json
    assert report["documents"] == N_DOCUMENTS - len(partial) // N_CHUNKS
    assert report["seconds"] >= 0
    assert len(state(place, "new")) == N_POINTS
    assert cli("migrate", "verify", *again, "--json").json["ok"] is True


@pytest.mark.usefixtures("_small_pages")
def test_a_run_that_is_not_at_its_end_is_not_verified(
    cli: Cli, again: tuple[object, ...], begin: tuple[object, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """All may be there, and the run not know it yet: the next step is to run, not to switch."""
    update = Journal.update

    def crash(self: Journal, changes: dict[str, Any]) -> Any:
        if changes.get("filled"):
            raise KeyboardInterrupt
        return update(self, changes)

    with monkeypatch.context() as patch:
        patch.setattr(Journal, "update", crash)
        cli("migrate", "run", *begin, code=130)
    finished = cli("migrate", "verify", *again, code=4)
    assert "The last run was cut short and has not come to its end.\n" in finished.stdout
    cli(*next_step(finished))
    cli("migrate", "verify", *again)


@pytest.mark.usefixtures("_small_pages")
def test_who_watches_sees_a_bar_of_80_columns_that_goes_on_where_it_was(
    cli: Cli, begin: tuple[object, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    monkeypatch.setenv("TERM", "xterm")
    follow, n_calls = Mover.follow_source, 0

    def crash(self: Mover, points: Any) -> Any:
        nonlocal n_calls
        n_calls += 1
        if n_calls == 2:
            raise KeyboardInterrupt
        return follow(self, points)

    monkeypatch.setattr(Mover, "follow_source", crash)
    first = frames(cli("migrate", "run", *begin, code=130).stderr)
    assert "0 of 18 points" in first[0]
    second = frames(cli("migrate", "run", *begin).stderr)
    assert re.search(r" ([1-9]\d*) of 18 points", second[0])
    assert "18 of 18 points" in second[-2]
    assert re.search(r"^\d+ documents embedded · [\d,]+ tokens/s · [\d,]+ points/s", second[-1])
    assert max(map(len, [*first, *second])) <= 80


def frames(stderr: str) -> list[str]:
    """Lines that a terminal has shown of a bar."""
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", stderr)
    return [line for line in re.split(r"[\r\n]+", text) if " of 18 " in line or " · " in line]


@pytest.mark.filterwarnings("default")  # some have no effect without a server
def test_every_setting_reaches_the_migration(
    cli: Cli, place: str, begin: tuple[object, ...]
) -> None:
    fields = ("--previous", "before", "--start", "at", "--overlaps", "always")
    layout = ("--quantization", "int8", "--storage", "float16", "--bulk")
    cli(
        *("migrate", "run", *begin, *fields, *layout, "-d", 16, "--no-late-chunking"),
        *("--leave-out-blank", "--vector", ""),
    )
    settings = journal(place)
    assert settings is not None
    assert settings["fields"] == {
        **{"text": "body.text", "document": "doc", "order": "no", "previous": "before"},
        **{"start": "at", "overlaps": True, "no_document": None},
    }
    assert (settings["spec"]["dimensions"], settings["spec"]["late_chunking"]) == (16, False)
    chosen = ("quantization", "storage", "bulk")
    assert [settings["layout"][name] for name in chosen] == ["int8", "float16", True]
    assert (settings["vector"], settings["without_text"]) == ("", "leave_out")
    cli("migrate", "run", "--in", place, "--to", "new")
    assert journal(place) == settings


@pytest.mark.parametrize(
    ("option", "named"),
    [
        (("-d", 32), "dimensions: 16 in the collection, 32 here"),
        (("--no-late-chunking",), "late_chunking"),
        (("--text", "doc", "--document", "doc", "--order", "no"), "fields: "),
        (("--quantization", "int8"), "layout: "),
        (("--leave-out-blank",), "without_text: 'refuse' in the collection, 'leave_out' here"),
        (("--from", "other"), "source: 'old' in the collection, 'other' here"),
        (("--model", "demo"), "weights: "),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)
def test_a_migration_that_was_begun_takes_no_other_settings(
    *,
    option: tuple[object, ...],
    named: str,
    cli: Cli,
    place: str,
    begin: tuple[object, ...],
    again: tuple[object, ...],
) -> None:
    write_old(place, "other")
    cli("migrate", "run", *begin, "-d", 16)
    before = state(place, "new")
    for step in ("run", "plan"):
        refused = cli("migrate", step, *again, *option, code=1)
        assert refused.stdout == ""
        assert named in refused.stderr
        assert "give --in and --to alone; for other settings" in refused.stderr
    assert_same(state(place, "new"), before)


def test_a_model_that_moved_is_named(
    cli: Cli, place: str, again: tuple[object, ...], tiny: Checkpoint, tmp_path: Path
) -> None:
    then = shutil.copytree(tiny.folder, tmp_path / "then")
    begin = ("--in", place, "--from", "old", "--to", "new", *FIELDS, "--model", then)
    cli("migrate", "run", *begin)
    then.rename(tmp_path / "now")
    for step in (("run",), ("verify",), ("switch", "--alias", "live")):
        refused = cli("migrate", *step, *again, code=1)
        assert f"no model at '{then}'" in refused.stderr
        cli("migrate", *step, *again, "--model", tmp_path / "now")


# verify


def test_what_is_wrong_is_named_and_ends_with_code_4(
    cli: Cli, place: str, begin: tuple[object, ...], again: tuple[object, ...], tmp_path: Path
) -> None:
    cli("migrate", "run", *begin)
    with closing(QdrantClient(path=place)) as client:
        client.delete("new", [1])
    report = tmp_path / "report.json"
    finished = cli("migrate", "verify", *again, "--sample", 2, "--report", report, code=4)
    lines = finished.stdout.splitlines()
    assert lines[0] == "Not as it should be: 18 points in 'old', 17 points in 'new'."
    assert lines[1].startswith("  1 documents are not in the new collection as they are in the ")
    assert next_step(finished)[:2] == ["migrate", "run"]
    found = json.loads(report.read_text(encoding="utf-8"))
    assert (found["ok"], found["behind"]["number"]) == (False, 1)
    assert cli("migrate", "verify", *again, "--sample", 2, "--json", code=4).json == found
    assert (
        "was not found to be right"
        in cli("migrate", "switch", *again, "--alias", "live", code=1).stderr
    )
    assert "1 document embedded, 3 points written" in cli(*next_step(finished)).stdout
    found = cli("migrate", "verify", *again, "--sample", 2, "--json").json
    assert (found["ok"], found["problems"], found["sampled"]) == (True, [], 2)


def test_the_alias_that_searches_use_already_is_the_one_to_switch(
    cli: Cli, place: str, begin: tuple[object, ...], again: tuple[object, ...]
) -> None:
    """Also when it is what `--from` names."""
    with closing(QdrantClient(path=place)) as client:
        alias = models.CreateAlias(collection_name="old", alias_name="used today")
        client.update_collection_aliases([models.CreateAliasOperation(create_alias=alias)])
    cli("migrate", "run", *begin, "--from", "used today")
    verified = cli("migrate", "verify", *again)
    assert next_step(verified)[-2:] == ["--alias", "used today"]
    cli(*next_step(verified))
    assert aliases(place) == {"used today": "new"}
    after = cli("migrate", "verify", *again)
    assert "Alias 'used today' names 'new' already" in after.stdout
    assert next_step(after) == ["migrate", "finalize", *map(str, again), "--delete", "old"]


# What is refused


def begun(cli: Cli, begin: tuple[object, ...], *steps: str) -> None:
    """Go so far on the way."""
    again = (*begin[:2], *begin[4:6])
    for step in steps:
        if step == "run":
            cli("migrate", "run", *begin)
        else:
            cli("migrate", *shlex.split(step), *again)


@pytest.mark.parametrize(
    ("options", "parts"),
    [
        ("--from old", ["name the payload field of the text with --text", "'body.text' (18)"]),
        ("--from old --text txt", ["none of the first 18 points", "'txt'", "'body.text'"]),
        ("--from old --text body.text", ["--document and --order", "--no-late-chunking"]),
        ("--from old --text body.text --order no", ["give --document, too"]),
        ("--from old --fields haystack", ["has a text in payload field 'content'"]),
        ("--from nope --text t", ["there is no collection 'nope' to migrate"]),
        ("--from old --to old", ["source and target are both 'old'"]),
        (
            "--from old --to taken --text body.text --no-late-chunking",
            ["there is a collection 'taken' already"],
        ),
        ("--from old --to a/b", ["'a/b'; give a name without any of"]),
        ("--from old --text body.text --vector v", ["there is no vector 'v'", "with --vector"]),
        ("--from old --text body.text --chunk-tokens 9", ["leave --chunk-tokens out"]),
        ("--from mine --text text", ["made by this helper", "leave --fields, --text"]),
        ("--from mine --vector full", ["made by this helper", "leave --vector out"]),
        ("--from mine -d 65", ["dimensions is 65; give an integer in 1…64"]),
        ("", ["no migration to 'new' has begun", "with --from"]),
    ],
    ids=range(15),
)
def test_what_cannot_be_migrated_is_refused_in_one_message(
    *,
    options: str,
    parts: list[str],
    cli: Cli,
    place: str,
    model: tuple[object, ...],
    engine: Engine,
    tmp_path: Path,
) -> None:
    write_old(place, "taken")
    with closing(QdrantClient(path=place)) as client:
        JinaQdrant(client, "mine", engine).ingest([{"id": "a", "text": "A text."}])
    before = contents(tmp_path / "index")
    words = shlex.split(options)
    to = () if "--to" in words else ("--to", "new")
    for step in ("plan", "run"):
        finished = cli("migrate", step, "--in", place, *to, *words, *model, code=1)
        assert finished.stdout == ""
        assert_refused(finished, *parts)
        assert contents(tmp_path / "index") == before


@pytest.mark.parametrize(
    ("steps", "refused", "parts"),
    [
        ([], "verify", ["no migration to 'new' has begun"]),
        ([], "switch --alias live", ["no migration to 'new' has begun"]),
        ([], "rollback", ["no migration to 'new' has begun"]),
        ([], "finalize", ["no migration to 'new' has begun"]),
        (["run"], "switch --alias live", ["verify the migration first"]),
        (["run"], "rollback", ["searches were not switched away from 'old'"]),
        (["run"], "finalize --delete old", ["searches were not switched away from 'old'"]),
        (["run", "verify"], "switch --alias old", ["lets no alias shadow one"]),
        (["run", "verify"], "switch --alias a/b", ["'a/b'; give a name without any of"]),
        (["run", "verify", "switch --alias live"], "run", ["names the new collection already"]),
        (["run", "verify", "switch --alias live"], "finalize --delete o", ["delete is 'o'"]),
        (
            ["run", "verify", "switch --alias live", "finalize"],
            "finalize --delete old",
            ["no migration to 'new' has begun, or it is finished"],
        ),
    ],
    ids=range(12),
)
def test_a_step_out_of_order_is_refused_in_one_message(
    *,
    steps: list[str],
    refused: str,
    parts: list[str],
    cli: Cli,
    place: str,
    begin: tuple[object, ...],
    again: tuple[object, ...],
) -> None:
    begun(cli, begin, *steps)
    names = aliases(place)
    finished = cli("migrate", *shlex.split(refused), *again, code=1)
    assert finished.stdout == ""
    assert_refused(finished, *parts)
    assert aliases(place) == names
    assert len(state(place, "old")) == N_POINTS


@pytest.mark.parametrize(
    ("command", "part"),
    [
        ("plan --from old", "name the payload field of the text"),
        ("run --from old --text txt", "none of the first 18 points"),
        ("run --from nope", "there is no collection 'nope'"),
        ("run --from old --text body.text --vector v", "there is no vector 'v'"),
        ("run --from old --text body.text --chunk-tokens 9", "leave --chunk-tokens out"),
        ("verify", "no migration to 'new' has begun"),
        ("switch --alias live", "no migration to 'new' has begun"),
    ],
)
def test_no_model_is_loaded_for_what_can_be_refused_without(
    command: str, part: str, cli: Cli, again: tuple[object, ...]
) -> None:
    step, *options = shlex.split(command)
    finished = cli("migrate", step, *again, *options, "--model", "/no/such/model", code=1)
    assert_refused(finished, part)


@pytest.mark.parametrize("step", STEPS)
def test_places_without_aliases_are_refused(step: str, cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "edge").mkdir()
    where = ("--in", f"edge:{tmp_path / 'edge'}", "--to", "new")
    alias = ("--alias", "live") if step == "switch" else ()
    finished = cli("migrate", step, *where, *alias, code=1)
    assert_refused(finished, "a migration ends with an alias, which edge: has none of")
    missing = cli("migrate", step, "--in", tmp_path / "no", "--to", "new", *alias, code=1)
    assert_refused(missing, "no index at")
    assert [path.name for path in tmp_path.iterdir()] == ["edge"]


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (("plan", "--fields", "haystack", "--text", "t"), "--fields and --text exclude each other"),
        (("run", "--document", "d"), "--document names a payload field"),
        (("run", "--fields", "chroma"), "'chroma'"),
        (("run", "--quantization", "int4"), "'int4'"),
        (("verify", "--sample", 0), "--sample"),
        (("verify", "--report", "nowhere/report.json"), "--report is 'nowhere/report.json'"),
        (("verify", "--report", "."), "--report is '.'"),
        (("switch",), "--alias"),
        (("plan", "more"), "more"),
    ],
    ids=str,
)
def test_wrong_usage_is_exit_code_2(
    arguments: tuple[object, ...], part: str, cli: Cli, again: tuple[object, ...]
) -> None:
    finished = cli("migrate", *arguments, *again, code=2)
    assert finished.stdout == ""
    assert part in finished.stderr


@pytest.mark.parametrize(
    ("where", "name", "command", "said"),
    [
        (Migration, "plan", ("plan",), "nothing was written"),
        (Migration, "verify", ("verify",), "nothing was found out"),
        (Migration, "switch", ("switch", "--alias", "live"), "the same command again ends it"),
        (lifecycle, "rollback", ("rollback",), "the same command again ends it"),
        (lifecycle, "finalize", ("finalize",), "the same command again ends it"),
    ],
    ids=["plan", "verify", "switch", "rollback", "finalize"],
)
def test_ctrl_c_ends_every_step_with_a_sentence(
    *,
    where: object,
    name: str,
    command: tuple[str, ...],
    said: str,
    cli: Cli,
    begin: tuple[object, ...],
    again: tuple[object, ...],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cli("migrate", "run", *begin)

    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(where, name, interrupt)
    finished = cli("migrate", *command, *again, code=130)
    assert f"interrupted: {said}" in finished.stderr
    assert finished.stdout == ""


# What is printed


@pytest.mark.parametrize("arguments", [(), *((step,) for step in STEPS)], ids=str)
def test_help_fits_80_columns(arguments: tuple[str, ...], cli: Cli) -> None:
    shown = cli("migrate", *arguments, "--help").stdout
    assert max(map(len, shown.splitlines())) <= 80
    assert "Exit codes: 0 " in " ".join(shown.split())
    if not arguments:
        assert re.findall(r"^  (\w+)  +\S", shown, re.MULTILINE)[-6:] == list(STEPS)


@pytest.mark.parametrize("step", ["plan", "run"])
def test_whoever_chooses_a_model_reads_its_licence(step: str, cli: Cli) -> None:
    shown = cli("migrate", step, "--help").stdout
    assert "".join(LICENCE_NOTE.split()) in "".join(shown.split())


def test_without_a_step_the_help_is_shown(cli: Cli) -> None:
    finished = cli("migrate", code=2)
    assert "Commands:" in finished.stdout + finished.stderr


def test_every_step_answers_in_json(
    cli: Cli, begin: tuple[object, ...], again: tuple[object, ...]
) -> None:
    assert cli("migrate", "plan", *begin, "--json").json["points"] == N_POINTS
    report = cli("migrate", "run", *begin, "--json").json
    assert (report["documents"], report["written"]) == (N_DOCUMENTS, N_POINTS)
    assert cli("migrate", "verify", *again, "--json").json["ok"] is True
    to_new = cli("migrate", "switch", *again, "--alias", "live", "--json").json
    assert to_new == {"alias": "live", "collection": "new"}
    to_old = cli("migrate", "rollback", *again, "--json").json
    assert to_old == {"alias": "live", "collection": "old"}
    cli("migrate", "verify", *again)
    cli("migrate", "switch", *again, "--alias", "live")
    ended = cli("migrate", "finalize", *again, "--json").json
    assert ended == {"collection": "new", "old": "old", "deleted": False}


@pytest.mark.filterwarnings("default")
def test_options_without_effect_are_named_in_one_line(cli: Cli, begin: tuple[object, ...]) -> None:
    finished = cli("migrate", "run", *begin, "--quantization", "int8", "--bulk")
    (note,) = [line for line in finished.stderr.splitlines() if line.startswith("note: ")]
    assert "no effect in this store" in note
    assert "int8" in note or "quantization" in note


@pytest.mark.parametrize(
    ("write", "numbers", "texts"),
    [
        (_rounded, [0, 9, 99, 123, 995, 1_249_999], ["0", "9", "99", "120", "1,000", "1,200,000"]),
        (
            _duration,
            [0.2, 1.2, 119.0, 120.0, 7199.0, 7200.0, 86400.0 * 3],
            [
                *("less than a second", "about 1 second", "about 119 seconds", "about 2 minutes"),
                *("about 120 minutes", "about 2 hours", "about 3 days"),
            ],
        ),
        (
            _bytes,
            [0, 999, 25_600, 307_200_000, 4_096_000_000, 12_000_000_000_000],
            ["0 bytes", "999 bytes", "25.6 kB", "307 MB", "4.1 GB", "12 TB"],
        ),
    ],
    ids=["count", "time", "size"],
)
def test_numbers_are_for_people(
    write: Callable[[Any], str], numbers: list[float], texts: list[str]
) -> None:
    assert [write(number) for number in numbers] == texts


# How it is found and loaded


def test_ending_a_migration_loads_no_torch(
    cli: Cli, begin: tuple[object, ...], again: tuple[object, ...]
) -> None:
    begun(cli, begin, "run", "verify", "switch --alias live")
    words = [str(word) for word in again]
    ends = [["migrate", "rollback", *words], ["migrate", "finalize", *words, "--delete", "old"]]
    script = (
        "import sys; from jina_local.cli import build_app; "
        "build_app()(sys.argv[1:], standalone_mode=False); print('torch' in sys.modules)"
    )

    def loads_torch(arguments: list[str]) -> str:
        command = [sys.executable, "-c", script, *arguments]
        return subprocess.check_output(command, text=True).splitlines()[-1]

    assert loads_torch(ends[0]) == "False"
    begun(cli, begin, "verify", "switch --alias live")
    assert loads_torch(ends[1]) == "False"


def test_without_the_extra_it_says_what_to_install(place: str) -> None:
    code = (
        "import sys; sys.modules['qdrant_client'] = None; from jina_local.cli import main; main()"
    )
    for step in ("plan", "verify", "rollback"):
        command = [sys.executable, "-c", code, "migrate", step, "--in", place, "--to", "new"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 1
        assert "pip install 'jina-local[qdrant]'" in done.stderr
        assert "Traceback" not in done.stderr


def test_an_integration_may_bring_a_group_of_commands(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beside commands, and beside one of another distribution that cannot be imported."""
    entries = [
        EntryPoint("group", "jina_local_qdrant.migrate_commands:migrate", "jina_local.commands"),
        EntryPoint("single", "jina_local_qdrant.inspect_commands:inspect", "jina_local.commands"),
        EntryPoint("broken", "no_such_module:app", "jina_local.commands"),
    ]
    monkeypatch.setattr(command_line, "entry_points", lambda group: entries)  # noqa: ARG005
    shown = cli("--help").stdout
    assert re.search(r"\n  broken +Not available: No module", shown)
    assert re.search(r"\n  single +Show the collections", shown)
    assert re.search(r"\n  group +Move a collection", shown)
    assert "Fill the new collection" in cli("group", "run", "--help").stdout
    assert "cannot be loaded: No module" in cli("broken", code=1).stderr
    assert isinstance(command_line._load_command(entries[0]), typer.Typer)
