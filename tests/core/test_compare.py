"""`jina-local compare`: numbers that brute force agrees with, and refusals before any work."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jina_local.comparison import compare_vectors, read_vectors
from jina_local.errors import InvalidOptionError
from support.command_line import CommandLine, assert_refused

if TYPE_CHECKING:
    from pathlib import Path

    from jina_local import Engine
    from support.checkpoints import Checkpoint

TEXTS = [
    "Berlin is the capital of Germany.",
    "The harbour lies at the mouth of the river.",
    "",
    "A sloop has one mast, a ketch has two.",
    "What is the largest city \x1b[31min the European Union?",
]


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]) -> CommandLine:
    return CommandLine(monkeypatch, capfdbinary)


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    path = tmp_path / "texts.txt"
    path.write_text("\n".join(TEXTS) + "\n", encoding="utf-8")
    return path


def saved(path: Path, *shape: int, seed: int = 0) -> Path:
    np.save(path, np.random.default_rng(seed).normal(size=shape).astype(np.float32))
    return path


# The numbers


@given(
    n=st.integers(2, 40),
    widths=st.tuples(st.integers(2, 9), st.integers(2, 9)),
    k=st.integers(1, 50),
    seed=st.integers(0, 2**32 - 1),
)
def test_neighbours_and_cosines_are_those_of_brute_force(
    n: int, widths: tuple[int, int], k: int, seed: int
) -> None:
    generator = np.random.default_rng(seed)
    left, right = (generator.normal(size=(n, width)) for width in widths)
    comparison = compare_vectors(left, right, n_neighbours=k)
    assert comparison.n_neighbours == min(k, n - 1)

    def cosine(one: np.ndarray, other: np.ndarray) -> float:
        return float(one @ other / np.sqrt((one @ one) * (other @ other)))

    def nearest(vectors: np.ndarray, row: int) -> set[int]:
        others = [i for i in range(n) if i != row]
        others.sort(key=lambda i: -cosine(vectors[row], vectors[i]))
        return set(others[: min(k, n - 1)])

    for row in range(n):
        shared = len(nearest(left, row) & nearest(right, row)) / min(k, n - 1)
        assert comparison.overlaps[row] == pytest.approx(shared)
        if comparison.cosines is not None:
            assert comparison.cosines[row] == pytest.approx(cosine(left[row], right[row]))
    assert (comparison.cosines is None) == (widths[0] != widths[1])


def test_more_rows_than_are_taken_at_once() -> None:
    generator = np.random.default_rng(0)
    vectors = generator.normal(size=(2100, 4))
    comparison = compare_vectors(vectors, vectors * 3, n_neighbours=5)
    assert (comparison.overlaps == 1).all()
    assert len(comparison.overlaps) == 2100


def test_the_worst_come_first() -> None:
    left = np.eye(4)
    right = left.copy()
    right[2] = [0, 1, 1, 0]
    right[1] = [0, -1, 0, 0]
    comparison = compare_vectors(left, right, n_neighbours=1)
    assert comparison.worst(3) == [1, 2, 0]
    assert comparison.record()["cosine"] == {
        "mean": pytest.approx((1 + 1 - 1 + 0.5**0.5) / 4),
        "p50": pytest.approx((1 + 0.5**0.5) / 2),
        "p10": pytest.approx(np.percentile([1, 1, -1, 0.5**0.5], 10)),
        "p1": pytest.approx(np.percentile([1, 1, -1, 0.5**0.5], 1)),
        "worst": -1.0,
    }


def test_one_text_has_no_neighbours() -> None:
    comparison = compare_vectors(np.ones((1, 3)), np.ones((1, 3)), n_neighbours=10)
    assert comparison.record()["overlap"] is None
    assert comparison.worst(3) == [0]
    with pytest.raises(InvalidOptionError, match="A has 2 vectors and B has 3"):
        compare_vectors(np.ones((2, 3)), np.ones((3, 3)), n_neighbours=1)


# Saved vectors


def test_archives_give_their_only_array_or_the_one_called_vectors(tmp_path: Path) -> None:
    vectors = np.random.default_rng(0).normal(size=(3, 4))
    np.savez(tmp_path / "one.npz", anything=vectors)
    np.savez(tmp_path / "named.npz", ids=np.arange(3), vectors=vectors)
    np.savez(tmp_path / "many.npz", a=vectors, b=vectors)
    assert np.array_equal(read_vectors(tmp_path / "one.npz"), vectors)
    assert np.array_equal(read_vectors(tmp_path / "named.npz"), vectors)
    with pytest.raises(InvalidOptionError, match=r"\['a', 'b'\]: name one of them 'vectors'"):
        read_vectors(tmp_path / "many.npz")


@pytest.mark.parametrize(
    ("array", "why"),
    [
        (np.ones(3), r"shape \(3,\)"),
        (np.empty((0, 4)), r"shape \(0, 4\)"),
        (np.array([["a"]]), "U1"),
        (np.array([[1.0], [np.nan]]), "row 1 is zero or not finite"),
        (np.array([[1.0], [0.0]]), "row 1 is zero or not finite"),
        (np.array([[{}]]), "cannot be read"),
    ],
)
def test_what_are_no_vectors_is_refused(array: Any, why: str, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", array)
    with pytest.raises(InvalidOptionError, match=why):
        read_vectors(tmp_path / "x.npy")


@pytest.mark.parametrize("name", ["x.npy", "x.npz"])
def test_a_file_that_is_cut_short_is_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"PK\x03\x04 but no more")
    with pytest.raises(InvalidOptionError, match="cannot be read"):
        read_vectors(tmp_path / name)


# The command


def test_a_model_equals_what_embed_saved_of_it(
    cli: CommandLine, tiny: Checkpoint, texts: Path, tmp_path: Path
) -> None:
    """Blank lines are texts in both commands, so that rows stay rows."""
    output = tmp_path / "saved.npy"
    assert cli("embed", texts, "-m", tiny.folder, "-o", output).code == 0
    finished = cli("compare", output, tiny.folder, "--texts", texts, "--json")
    assert (finished.code, finished.stderr) == (0, "")
    record = finished.record
    assert record["texts"] == 5
    assert record["cosine"]["worst"] == pytest.approx(1)
    assert record["overlap"]["worst"] == 1
    assert record["neighbours"] == 4
    assert next(one["text"] for one in record["worst"]) in TEXTS


def test_options_after_the_name_are_those_of_the_model(
    cli: CommandLine, tiny: Checkpoint, engine: Engine, texts: Path
) -> None:
    other = f"{tiny.folder}@task=separation,dimensions=16"
    options = ("--texts", texts, "--task", "query", "-k", 2, "--worst", 5, "--json")
    finished = cli("compare", f"{tiny.folder}@dimensions=16", other, *options)
    left = engine.embed_queries(TEXTS, dimensions=16).vectors
    right = engine.embed(TEXTS, task="separation", dimensions=16).vectors
    expected = compare_vectors(left, right, n_neighbours=2)
    assert expected.cosines is not None
    by_row = {one["row"]: one for one in finished.record["worst"]}
    for row, cosine in enumerate(expected.cosines):
        assert by_row[row]["cosine"] == pytest.approx(cosine)
        assert by_row[row]["overlap"] == expected.overlaps[row]
        assert by_row[row]["text"] == TEXTS[row]
    assert finished.record["dimensions"] == [16, 16]


def test_another_dtype_moves_vectors_a_little(
    cli: CommandLine, tiny: Checkpoint, texts: Path
) -> None:
    finished = cli(
        "compare", tiny.folder, f"{tiny.folder}@dtype=bfloat16", "--texts", texts, "--json"
    )
    assert 0.99 < finished.record["cosine"]["worst"] < 1 - 1e-9


def test_different_dimensions_have_no_cosine_and_are_compared_all_the_same(
    cli: CommandLine, texts: Path
) -> None:
    finished = cli("compare", "demo", "demo@dimensions=64", "--texts", texts)
    assert finished.code == 0
    assert "no cosines: vectors of different dimensions have none" in finished.stdout
    assert "shared of 4 nearest" in finished.stdout
    assert max(map(len, finished.stdout.splitlines())) <= 80
    assert "\x1b" not in finished.stdout


def test_two_files_need_no_texts(cli: CommandLine, tmp_path: Path) -> None:
    one, other = saved(tmp_path / "a.npy", 6, 3), saved(tmp_path / "b.npy", 6, 3, seed=1)
    record = cli("compare", one, other, "--json").record
    assert len(record["worst"]) == 3
    assert {case["text"] for case in record["worst"]} == {None}
    assert cli("compare", one, other, "--worst", 0).stdout.count("furthest apart") == 0


def test_refusals_name_what_is_wrong(cli: CommandLine, texts: Path, tmp_path: Path) -> None:
    six, two = saved(tmp_path / "six.npy", 6, 3), saved(tmp_path / "two.npy", 2, 3)
    assert cli("compare", "demo", six).code == 2  # no texts
    refused = {
        ("demo@dim=3", "demo"): "after @ come dtype=…, device=…",
        ("demo@dimensions=many", "demo"): "dimensions='many' is not a whole number",
        (f"{six}@dtype=float16", "demo"): "saved vectors are compared as they are",
        ("demo", six): "has 6 vectors for 5 texts",
        ("demo", tmp_path / "none.npy"): "cannot be read",
        ("demo@task=clustering", "demo"): "unknown task 'clustering'",
        ("demo@dimensions=9999", "demo"): "9999",
        ("no/folder/here", "demo"): "no model at 'no/folder/here'",
    }
    for (a, b), why in refused.items():
        assert_refused(cli("compare", a, b, "--texts", texts), why)
    assert_refused(cli("compare", six, two), "A has 6 vectors and B has 2")
    (tmp_path / "empty.txt").write_text("")
    assert_refused(cli("compare", "demo", "demo", "--texts", tmp_path / "empty.txt"), "no text")


def test_a_folder_whose_name_has_an_at_sign(
    cli: CommandLine, tiny: Checkpoint, texts: Path, tmp_path: Path
) -> None:
    (tmp_path / "tiny@home").symlink_to(tiny.folder)
    finished = cli("compare", tmp_path / "tiny@home", tiny.folder, "--texts", texts, "--json")
    assert finished.record["cosine"]["worst"] == pytest.approx(1)
