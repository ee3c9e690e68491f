"""`jina-local search`: what its options find is what the Python API finds."""

from __future__ import annotations

import json
from contextlib import closing
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import pytest

from jina_local.errors import InvalidOptionError
from jina_local_qdrant import EmbeddingSpec, JinaQdrant
from jina_local_qdrant.search_filters import Condition, make_filter, parse_condition

if TYPE_CHECKING:
    from pathlib import Path

    from jina_local import Engine
    from support.checkpoints import Checkpoint

    from .conftest import Cli

SPEC = EmbeddingSpec(chunk_tokens=40)
METADATA: list[dict[str, Any]] = [
    {"lang": "en", "n": 9, "share": 0.5, "ok": True, "zip": "01234", "tags": ["a", "b"]},
    {"lang": "de", "n": 10, "share": 0.25, "ok": False, "zip": "1", "tags": ["b"]},
    {"lang": "en", "n": 9.0, "share": 9, "ok": "true", "zip": 1, "a": {"b": "en"}},
    {},
]


@pytest.fixture(scope="module", params=["", "edge:"], ids=["folder", "edge"])
def place(
    request: pytest.FixtureRequest, tiny: Checkpoint, tmp_path_factory: pytest.TempPathFactory
) -> str:
    from jina_local import Engine
    from jina_local_qdrant.locations import open_place

    where = f"{request.param}{tmp_path_factory.mktemp('index') / 'index'}"
    documents = [
        {
            "id": f"{number}",
            "text": " ".join(f"Sentence {i} of text {number}." for i in range(9)),
            "metadata": metadata,
        }
        for number, metadata in enumerate(METADATA)
    ]
    with (
        Engine.load(tiny.folder, device="cpu") as engine,
        open_place(where) as client,
        closing(JinaQdrant(client, "docs", engine, SPEC)) as helper,
    ):
        helper.ingest(documents)
    return where


def found(cli: Cli, place: str, *options: object) -> list[dict[str, Any]]:
    hits = cli("search", "text", "--in", place, "-c", "docs", "-n", 100, *options, "--json").json
    assert isinstance(hits, list)
    return hits


@pytest.mark.parametrize(
    ("filters", "documents"),
    [
        (["meta.lang=en"], ["0", "2"]),
        (["meta.n=10"], ["1"]),
        (["meta.share=0.25"], ["1"]),
        (["meta.ok=true"], ["0"]),
        (["meta.ok=false"], ["1"]),
        (['meta.ok="true"'], ["2"]),
        (["meta.zip=01234"], ["0"]),
        (['meta.zip="1"'], ["1"]),
        (["meta.zip=1"], ["2"]),
        (["meta.tags=b"], ["0", "1"]),
        (["meta.tags=b", "meta.lang=en"], ["0"]),
        (["meta.a.b=en"], ["2"]),
        (["doc_id=zero"], []),
        (['doc_id="3"'], ["3"]),
        (["meta.lang="], []),
    ],
    ids=str,
)
def test_filters_are_equality_on_the_payload(
    filters: list[str], documents: list[str], cli: Cli, place: str
) -> None:
    options = [part for text in filters for part in ("--filter", text)]
    assert sorted({hit["doc_id"] for hit in found(cli, place, *options)}) == documents


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("lang=en", "metadata is under meta, as in meta.lang=en"),
        ("meta.lang", "give KEY=VALUE"),
        ("=en", "give KEY=VALUE"),
    ],
)
def test_a_filter_that_finds_nothing_by_its_form_is_wrong_usage(
    text: str, message: str, cli: Cli
) -> None:
    """Before anything is opened."""
    finished = cli("search", "x", "--in", "nowhere", "-c", "docs", "--filter", text, code=2)
    assert message in " ".join(finished.stderr.split())
    with pytest.raises(InvalidOptionError):
        parse_condition(text)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("meta.a=1", 1),
        ("meta.a=-1.5e3", -1500.0),
        ("meta.a=true", True),
        ("meta.a=True", "True"),
        ("meta.a=null", "null"),
        ("meta.a=NaN", "NaN"),
        ("meta.a=[1]", "[1]"),
        ("meta.a=x=y", "x=y"),
        ('meta.a="1"', "1"),
        ('meta.a="', '"'),
    ],
)
def test_values_are_json_where_they_are_scalars_of_json(text: str, value: object) -> None:
    condition = parse_condition(text)
    assert condition == Condition("meta.a", value)  # type: ignore[arg-type]
    assert type(condition.value) is type(value)


def test_no_condition_is_no_filter() -> None:
    assert make_filter([]) is None


def test_one_hit_per_document_where_that_is_asked_for(cli: Cli, place: str) -> None:
    every = found(cli, place)
    best = found(cli, place, "--group-by-document")
    assert len(every) > len(best) == len(METADATA)
    scores: dict[str, float] = {}
    for hit in every:
        scores.setdefault(hit["doc_id"], hit["score"])
    assert {hit["doc_id"]: hit["score"] for hit in best} == pytest.approx(scores)


def test_hits_below_the_threshold_are_left_out(cli: Cli, place: str) -> None:
    every = found(cli, place)
    middle = sorted({hit["score"] for hit in every})[1] - 1e-6
    kept = found(cli, place, "--score-threshold", middle)
    assert [hit["id"] for hit in kept] == [hit["id"] for hit in every if hit["score"] >= middle]
    finished = cli("search", "x", "--in", place, "-c", "docs", "--score-threshold", 1.1)
    assert finished.stdout == "nothing found\n"


def test_hits_are_those_of_the_python_api(cli: Cli, place: str, engine: Engine) -> None:
    from jina_local_qdrant.locations import open_place

    shown = found(cli, place)
    with (
        open_place(place, create=False) as client,
        closing(JinaQdrant(client, "docs", engine, SPEC)) as helper,
    ):
        expected = [asdict(hit) for hit in helper.search("text", limit=100)]
    assert json.loads(json.dumps(expected)) == shown


def test_a_tenant_finds_its_own_and_must_be_named(
    cli: Cli, tiny: Checkpoint, tmp_path: Path
) -> None:
    place = f"edge:{tmp_path / 'shared'}"
    for tenant in ("ada", "bob"):
        (tmp_path / "note.txt").write_text(f"A note of {tenant}.")
        options = ("--to", place, "-c", "docs", "-m", tiny.folder, "--tenant", tenant)
        cli("index", tmp_path / "note.txt", *options)
    texts = {hit["text"] for hit in found(cli, place, "--tenant", "bob")}
    assert texts == {"A note of bob."}
    for command in (("search", "x"), ("verify-index",)):
        refused = cli(*command, "--in", place, "-c", "docs", code=1)
        assert "'docs' is shared by tenants: name one with --tenant" in refused.stderr


def test_no_tenants_no_tenant(cli: Cli, place: str) -> None:
    refused = cli("search", "x", "--in", place, "-c", "docs", "--tenant", "ada", code=1)
    assert "'docs' has no tenants: leave --tenant out" in refused.stderr
