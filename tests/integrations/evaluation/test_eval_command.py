"""`jina-local eval --questions`: numbers that an independent computation gives, and a table."""

from __future__ import annotations

import json
import math
import re
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from jina_local import ChunkedText, Engine
from jina_local.splitting import make_splitter
from jina_local_eval import eval_command
from jina_local_eval.metrics import CUTS, METRICS
from support.random_adapters import saved_adapter

if TYPE_CHECKING:
    from pathlib import Path

    from support.checkpoints import Checkpoint

    from ..conftest import Cli  # noqa: TID252 - of the folder above

CHUNK_TOKENS = 24
WORDS = [
    *("ship", "harbour", "bread", "flour", "road", "bridge"),
    *("river", "city", "winter", "price", "glass", "stone"),
]
PNG = b"\x89PNG\r\n\x1a\n"


def text_of(number: int) -> str:
    generator = np.random.default_rng(number)
    return " ".join(" ".join(generator.choice(WORDS, size=9)) + "." for _ in range(2 + number % 3))


DOCUMENTS = {f"{number:02}.txt": text_of(number) for number in range(14)}
QUESTIONS = [
    {
        "question": f"Where is {WORDS[number % len(WORDS)]} {number}?",
        "documents": [f"{number:02}.txt"] + (["13.txt"] if number % 4 == 0 else []),
    }
    for number in range(9)
]


@pytest.fixture
def arguments(tiny: Checkpoint, tmp_path: Path) -> list[object]:
    folder = tmp_path / "docs"
    folder.mkdir()
    for name, text in DOCUMENTS.items():
        (folder / name).write_text(text)
    questions = tmp_path / "asked.jsonl"
    questions.write_text("\n".join(map(json.dumps, QUESTIONS)))
    where = ("--questions", questions, "--documents", folder, "--chunk-tokens", CHUNK_TOKENS)
    return ["eval", tiny.folder, *where, "--device", "cpu"]


def expected(engine: Engine, *, late: bool, dimensions: int, encoding: str) -> dict[str, float]:
    """Mean metrics with one call of the engine per text, and everything else by hand."""
    splitter = make_splitter(engine.tokenizer_json, CHUNK_TOKENS)
    chunks: dict[str, np.ndarray] = {}
    for name, text in DOCUMENTS.items():
        spans = splitter.spans(text, markdown=False)
        assert len(spans) > 1
        if late:
            (one,) = engine.embed_chunks([ChunkedText(text, spans)], dimensions=dimensions)
            chunks[name] = one.vectors
        else:
            parts = [text[start:stop] for start, stop in spans]
            chunks[name] = engine.embed_documents(parts, dimensions=dimensions).vectors
    everything = np.concatenate(list(chunks.values()))
    low, high = everything.min(axis=0), everything.max(axis=0)

    def stored(vectors: np.ndarray) -> np.ndarray:
        if encoding == "binary":
            return np.where(vectors > 0, 1.0, -1.0)
        if encoding == "int8":
            steps = np.round((vectors.clip(low, high) - low) / (high - low) * 255)
            return steps * (high - low) / 255 + low
        return vectors

    rows = []
    for question in QUESTIONS:
        query = stored(
            engine.embed_queries([str(question["question"])], dimensions=dimensions).vectors
        )[0]
        scores = {name: max(stored(vectors) @ query) for name, vectors in chunks.items()}
        rows.append(by_definition(scores, set(question["documents"])))
    return dict(zip(METRICS, np.mean(rows, axis=0), strict=True))


def by_definition(scores: dict[str, float], relevant: set[str]) -> list[float]:
    """The metrics of one question; where scores tie, the mean over many shuffled orders."""
    generator = np.random.default_rng(0)
    names = sorted(scores)
    found = []
    for _ in range(1 if len({round(s, 9) for s in scores.values()}) == len(scores) else 3000):
        shuffled = [names[i] for i in generator.permutation(len(names))]
        order = sorted(shuffled, key=lambda name: -round(float(scores[name]), 9))
        ranks = [rank for rank, name in enumerate(order, start=1) if name in relevant]
        gained = sum(1 / math.log2(1 + rank) for rank in ranks if rank <= 10)
        ideal = sum(1 / math.log2(1 + rank) for rank in range(1, len(relevant) + 1))
        recalls = [sum(rank <= k for rank in ranks) / len(relevant) for k in CUTS]
        found.append([*recalls, 1 / ranks[0], gained / ideal])
    return [float(value) for value in np.mean(found, axis=0)]


def test_numbers_are_those_of_an_independent_computation(
    cli: Cli, arguments: list[object], engine: Engine
) -> None:
    record = cli(*arguments, "--dimensions", "32,16", "--json").json
    assert record["questions"] == len(QUESTIONS)
    assert record["documents"] == len(DOCUMENTS)
    assert record["chunks"] > len(DOCUMENTS)
    assert len(record["arms"]) == 12
    for arm in record["arms"]:
        wanted = expected(
            engine,
            late=arm["way"] == "late",
            dimensions=arm["dimensions"],
            encoding=arm["encoding"],
        )
        shuffled = 0.01 if arm["encoding"] == "binary" else 1e-5  # what 3000 orders leave to chance
        for metric, (mean, low, high) in arm["metrics"].items():
            assert mean == pytest.approx(wanted[metric], abs=shuffled), (arm, metric)
            assert low <= mean <= high


def test_differences_are_late_minus_plain(cli: Cli, arguments: list[object]) -> None:
    record = cli(*arguments, "--json").json
    by_key = {
        (arm["way"], arm["dimensions"], arm["encoding"]): arm["metrics"] for arm in record["arms"]
    }
    sizes = [arm["dimensions"] for arm in record["arms"]]
    assert sizes[::6] == [64, 32, 16, 8]  # halvings
    for difference in record["late_minus_plain"]:
        key = (difference["dimensions"], difference["encoding"])
        for metric in METRICS:
            late, plain = by_key["late", *key][metric][0], by_key["plain", *key][metric][0]
            assert difference["metrics"][metric][0] == pytest.approx(late - plain, abs=2e-6)


def test_the_floor_is_bm25(cli: Cli, arguments: list[object]) -> None:
    import bm25s

    (floor, by_chunk) = cli(*arguments, "--json").json["floors"]
    assert (floor["name"], by_chunk["name"]) == ("BM25, documents", "BM25, chunks")
    retriever = bm25s.BM25()
    retriever.index(
        bm25s.tokenize(list(DOCUMENTS.values()), show_progress=False), show_progress=False
    )
    asked = [str(question["question"]) for question in QUESTIONS]
    found, scores = retriever.retrieve(
        bm25s.tokenize(asked, show_progress=False), k=len(DOCUMENTS), show_progress=False
    )
    names = list(DOCUMENTS)
    rows = [
        by_definition(
            {names[i]: float(s) for i, s in zip(best, values, strict=True)},
            set(question["documents"]),
        )
        for question, best, values in zip(QUESTIONS, found, scores, strict=True)
    ]
    for i, metric in enumerate(METRICS):
        wanted = np.mean([row[i] for row in rows])
        assert floor["metrics"][metric][0] == pytest.approx(wanted, abs=0.01)


def test_the_table_fits_and_says_what_the_json_says(
    cli: Cli, arguments: list[object], tmp_path: Path
) -> None:
    picture = tmp_path / "quality.png"
    finished = cli(*arguments, "--plot", picture)
    record = cli(*arguments, "--json").json
    assert max(map(len, finished.stdout.splitlines())) <= 80
    assert finished.stdout.startswith("asked.jsonl: ")
    for arm in record["arms"]:
        mean = f"{arm['metrics']['nDCG@10'][0]:.3f}"
        row = rf"^ *{arm['dimensions']}  {arm['encoding']} .*\b{re.escape(mean)}\b"
        assert re.search(row, finished.stdout, re.MULTILINE), (arm, finished.stdout)
    assert "Fewer than 20 questions" in finished.stdout
    assert picture.read_bytes().startswith(PNG)


def test_texts_are_embedded_once_whatever_the_dimensions_and_encodings(
    cli: Cli, arguments: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int | None] = []
    original = Engine.embed

    def counting(self: Engine, texts: list[str], **options: Any) -> Any:
        calls.append(options.get("dimensions"))
        return original(self, texts, **options)

    monkeypatch.setattr(Engine, "embed", counting)
    cli(*arguments, "--json")
    assert calls == [None, None]  # questions, and chunks alone


def test_empty_words_are_no_reason_to_fail(cli: Cli, tiny: Checkpoint, tmp_path: Path) -> None:
    """A question and a document in which BM25 finds no word at all."""
    corpus = tmp_path / "corpus.jsonl"
    corpus.write_text('{"id": "a", "text": "! b"}\n{"id": "b", "text": "? the cat"}\n')
    questions = tmp_path / "questions.jsonl"
    questions.write_text('{"question": "?", "documents": ["a"]}\n')
    where = ("--questions", questions, "--documents", corpus, "--encodings", "float32")
    record = cli("eval", tiny.folder, *where, "--json").json
    assert record["floors"][0]["metrics"]["recall@1"][0] == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("extra", "code", "part"),
    [
        (["--dimensions", "32,x"], 1, "'32,x'"),
        (["--dimensions", "65"], 1, "65 is outside of 1…"),
        (["--dimensions", "12"], 1, "12 is no multiple of 8"),
        (["--encodings", "float64"], 1, "unknown encoding 'float64'"),
        (["--plot", "quality.bmp"], 1, "ends in none of .png"),
        (["--suite", "smoke"], 2, "either --questions FILE or --suite"),
        (["--results", "folder"], 2, "--results is for --suite"),
    ],
)
def test_wrong_options_are_refused_before_any_work(
    cli: Cli,
    arguments: list[object],
    monkeypatch: pytest.MonkeyPatch,
    *,
    extra: list[str],
    code: int,
    part: str,
) -> None:
    monkeypatch.setattr(Engine, "embed", None)
    finished = cli(*arguments, *extra, code=code)
    assert finished.stdout == ""
    assert part in " ".join(finished.stderr.replace("│", " ").split())


@pytest.mark.parametrize(
    "extra",
    [
        ("--documents", "docs"),
        ("--dimensions", "8"),
        ("--encodings", "int8"),
        ("--chunk-tokens", "8"),
        ("--plot", "quality.png"),
    ],
    ids=lambda extra: extra[0],
)
def test_options_for_questions_are_not_for_suites(cli: Cli, extra: tuple[str, str]) -> None:
    finished = cli("eval", "demo", "--suite", "smoke", *extra, code=2)
    assert f"{extra[0]} is for --questions" in finished.stderr.replace("\n", " ")


def test_questions_need_documents_and_the_bundled_ones_bring_them(cli: Cli, tmp_path: Path) -> None:
    finished = cli("eval", "--questions", tmp_path / "q.jsonl", code=2)
    assert "--questions FILE needs --documents" in finished.stderr.replace("\n", " ")
    finished = cli("eval", "--questions", "stdlib", "--documents", tmp_path, code=2)
    assert "brings its own documents" in finished.stderr.replace("\n", " ")
    finished = cli("eval", code=2)
    assert "either --questions FILE or --suite" in finished.stderr.replace("\n", " ")


def test_suites_are_not_for_the_demo_model(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jina_local_eval.suites.check_mteb", lambda: None)
    finished = cli("eval", "demo", "--suite", "smoke", "--results", tmp_path, code=1)
    assert "the demo model is not jina-embeddings-v3" in finished.stderr
    (tmp_path / "file").write_text("")
    finished = cli("eval", "demo", "--suite", "smoke", "--results", tmp_path / "file", code=1)
    assert "is no folder" in finished.stderr


@pytest.mark.parametrize(
    ("library", "asked"),
    [("mteb", ("--suite", "smoke")), ("bm25s", ("--questions", "stdlib"))],
)
def test_what_is_not_installed_is_named_with_its_extra(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, library: str, asked: tuple[str, str]
) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    assert "pip install 'jina-local[eval]'" in cli("eval", *asked, code=1).stderr


def test_the_halvings_of_published_widths() -> None:
    assert eval_command._halvings(1024) == [1024, 512, 256, 128]
    assert eval_command._halvings(256) == [256, 128, 64, 32]
    assert eval_command._halvings(24) == [24]


@pytest.mark.parametrize("task", ["retrieval.query", "retrieval.passage"])
def test_an_adapter_of_ones_own_takes_the_place_of_the_models(
    task: str, cli: Cli, arguments: list[object], tiny: Checkpoint, tmp_path: Path
) -> None:
    folder = saved_adapter(tmp_path / "mine")
    given = ("--encodings", "float32", "--dimensions", "64", "--json")
    plain = cli(*arguments, *given).json
    record = cli(*arguments, *given, "--adapter", f"{task}={folder}").json
    with Engine.load(tiny.folder, device="cpu", adapters={task: folder}) as engine:
        for arm in record["arms"]:
            late = arm["way"] == "late"
            wanted = expected(engine, late=late, dimensions=64, encoding="float32")
            found = {metric: mean for metric, (mean, _, _) in arm["metrics"].items()}
            assert found == pytest.approx(wanted, abs=1e-5)
    assert record["arms"] != plain["arms"]
    assert record["model"] == f"{plain['model']}, {task} of {folder}"


@pytest.mark.parametrize(
    "given",
    [
        ("separation=folder",),
        ("retrieval.query",),
        ("retrieval.query=",),
        ("=folder",),
        ("retrieval.query=a", "retrieval.query=b"),
    ],
    ids=["another-task", "no-folder", "empty-folder", "no-task", "twice"],
)
def test_an_adapter_that_would_change_nothing_is_refused(
    given: tuple[str, ...], cli: Cli, arguments: list[object]
) -> None:
    options = [word for one in given for word in ("--adapter", one)]
    finished = cli(*arguments, *options, code=1)
    assert f"--adapter is {given[-1]!r}: give retrieval.query=FOLDER or" in finished.stderr


def test_an_adapter_is_for_questions_and_not_for_suites(cli: Cli) -> None:
    finished = cli("eval", "--suite", "smoke", "--adapter", "retrieval.query=a", code=2)
    assert "--adapter is for --questions" in finished.stderr
