"""`jina-local inspect` and `verify-index`: what a collection is, and whether it is right."""

from __future__ import annotations

import subprocess
import sys
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from qdrant_client import QdrantClient, models

from jina_local_qdrant import EmbeddingSpec
from jina_local_qdrant.locations import open_place, open_store, recorded

if TYPE_CHECKING:
    from pathlib import Path

    from jina_local import Engine
    from support.checkpoints import Checkpoint

    from .conftest import Cli


@pytest.fixture(params=["", "edge:"], ids=["folder", "edge"])
def place(request: pytest.FixtureRequest, cli: Cli, tiny: Checkpoint, tmp_path: Path) -> str:
    """Two documents in four chunks, and another collection."""
    where = f"{request.param}{tmp_path / 'index'}"
    texts = tmp_path / "texts"
    texts.mkdir()
    for name in ("a", "b"):
        (texts / f"{name}.txt").write_text(
            f"One sentence of {name}.\n\nAnother sentence of {name}."
        )
    options = ("--to", where, "-m", tiny.folder, "--device", "cpu")
    cli("index", texts, *options, "-c", "docs", "--chunk-tokens", 24)
    cli("index", texts, *options, "-c", "small", "-d", 16, "--no-late-chunking")
    return where


def test_all_collections_in_a_table(cli: Cli, place: str, tiny: Checkpoint) -> None:
    shown = cli("inspect", "--in", place).stdout
    heading, *rows = [line for line in shown.splitlines() if not line.startswith(" ")]
    assert heading.split() == ["collection", "documents", "vectors", "dimensions", "model"]
    assert [row.split()[0] for row in rows] == ["docs", "small"]
    assert max(map(len, shown.splitlines())) <= 80
    facts = cli("inspect", "--in", place, "--json").json
    assert [one["collection"] for one in facts] == ["docs", "small"]
    assert [one["record"]["model"] for one in facts] == [str(tiny.folder)] * 2
    assert [one["documents"] for one in facts] == [2, 2]


def test_the_record_of_one(cli: Cli, place: str, engine: Engine) -> None:
    facts = cli("inspect", "--in", place, "-c", "docs", "--json").json
    with open_place(place) as client:
        assert facts["record"] == recorded(client, "docs")
    wanted = EmbeddingSpec(chunk_tokens=24).record(engine)
    assert facts["record"]["fingerprint"] == wanted["fingerprint"]
    assert facts["layout"]["quantization"] == "none"
    assert facts["points"] == cli("inspect", "--in", place, "--json").json[0]["points"]
    shown = cli("inspect", "--in", place, "-c", "docs").stdout
    assert max(map(len, shown.splitlines())) <= 80
    unwrapped = "".join(shown.replace("│", "").split())
    for value in (wanted["fingerprint"], wanted["weights"], "chunktokens24", "marginlate"[:6]):
        assert value in unwrapped
    assert "late chunking │ off" in " ".join(
        cli("inspect", "--in", place, "-c", "small").stdout.split()
    )


def test_collections_of_others_are_shown_as_such(cli: Cli, tmp_path: Path) -> None:
    where = tmp_path / "theirs"
    with closing(QdrantClient(path=str(where))) as client:
        vectors = models.VectorParams(size=4, distance=models.Distance.COSINE)
        client.create_collection("theirs", vectors_config=vectors)
    assert "not made by jina-local" in cli("inspect", "--in", where).stdout
    assert "none: not made by jina-local" in cli("inspect", "--in", where, "-c", "theirs").stdout
    assert cli("inspect", "--in", where, "--json").json == [
        {"collection": "theirs", "points": 0, "record": None}
    ]


def test_a_place_without_collections(cli: Cli, tmp_path: Path) -> None:
    assert cli("inspect", "--in", f"edge:{tmp_path}").stdout == "There is no collection here.\n"
    assert cli("inspect", "--in", f"edge:{tmp_path}", "--json").json == []
    assert "no index at 'edge:no'" in cli("inspect", "--in", "edge:no", code=1).stderr


def test_an_unknown_collection_lists_those_that_are_there(cli: Cli, place: str) -> None:
    for command in (("inspect",), ("verify-index",), ("search", "x")):
        finished = cli(*command, "--in", place, "-c", "nope", code=1)
        assert "no collection 'nope' here; there are ['docs', 'small']" in finished.stderr
        assert finished.stdout == ""


def test_inspecting_loads_no_torch(place: str) -> None:
    script = (
        "import sys; from jina_local.cli import build_app; "
        f"build_app()(['inspect', '--in', {place!r}, '-c', 'docs'], standalone_mode=False); "
        "print('torch' in sys.modules)"
    )
    command = [sys.executable, "-c", script]
    assert subprocess.check_output(command, text=True).endswith("\nFalse\n")


def test_what_is_right_is_said_to_be_right(cli: Cli, place: str) -> None:
    finished = cli("verify-index", "--in", place, "-c", "docs", "--deep")
    first, second, third = finished.stdout.splitlines()
    assert first.startswith("Verified: 2 documents in ")
    assert second.startswith("2 documents embedded again: the lowest cosine ")
    assert second.endswith(" is 1.0000.")
    assert third == "Every vector has length 1."
    report = cli("verify-index", "--in", place, "-c", "docs", "--sample", 1, "--json").json
    assert (report["ok"], report["problems"], report["documents"]) == (True, [], 2)
    assert report["sample"]["documents"] == 1


def test_what_is_wrong_is_named_and_ends_with_code_4(cli: Cli, place: str) -> None:
    with (
        open_place(place) as client,
        closing(open_store(client, "docs", None)) as store,
    ):
        heads = [point.id for point in store.scan() if point.payload["chunk_index"] == 0]
        store.set_payload(heads[:1], {"fp": "0" * 16})
    finished = cli("verify-index", "--in", place, "-c", "docs", code=4)
    assert finished.stdout.startswith("Not as it should be: 2 documents in ")
    assert "1 document with vectors that were made in another way" in finished.stdout
    report = cli("verify-index", "--in", place, "-c", "docs", "--json", code=4).json
    assert report["ok"] is False
    assert len(report["problems"]) == 1
    assert report["foreign"]["number"] == 1
