"""Published scores beside ours; nothing here needs mteb, and nothing runs a suite."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import pytest
from rich.console import Console

from jina_local_eval.suite_report import print_suite, suite_record
from jina_local_eval.suites import compare, suite_tasks

if TYPE_CHECKING:
    from jina_local_eval.suites import Compared


def test_every_score_has_a_source_and_tolerances() -> None:
    for suite in ("smoke", "rag"):
        expected = suite_tasks(suite)
        assert expected
        assert len({one.key for one in expected}) == len(expected)
        for one in expected:
            assert 0 < one.score <= 1
            assert one.source.startswith(("https://", "the same repository"))
            assert 0 < one.tolerances["float32"] <= one.tolerances["16 bits"]


def compared(dtype: str, shift: float) -> list[Compared]:
    expected = suite_tasks("smoke")
    got = {one.key: one.score + shift for one in expected[1:]}
    return compare(expected, got, dtype=dtype)


def test_verdicts_follow_the_tolerance_of_the_precision_and_both_ways() -> None:
    assert all(row.is_right for row in compared("float32", 0.0005)[1:])
    for shift in (0.003, -0.003):
        verdicts = {row.expected.key[0]: row.is_right for row in compared("float32", shift)}
        assert not verdicts["SciFact"]
        assert not verdicts["STS12"]
        assert verdicts["LEMBPasskeyRetrieval"]
    assert {row.expected.key[0]: row.is_right for row in compared("bfloat16", 0.003)}["SciFact"]


def test_a_score_that_is_not_there_is_not_right() -> None:
    first = compared("float32", 0.0)[0]
    assert first.got is None
    assert first.difference is None
    assert not first.is_right


def test_the_table_fits_and_the_record_has_everything() -> None:
    rows = compared("float32", 0.003)
    stream = io.StringIO()
    print_suite(
        Console(file=stream, width=80), rows, suite="smoke", model="some/model", dtype="float32"
    )
    table = [line for line in stream.getvalue().splitlines() if not line.startswith("published: ")]
    assert max(map(len, table)) <= 80
    assert sum(line.rstrip().endswith(("OFF", "ok")) for line in table) == len(rows)
    assert "AmazonCounterfactualClassification de" in stream.getvalue()
    record = suite_record(rows, suite="smoke", model="some/model", dtype="float32")
    assert record["right"] == sum(row.is_right for row in rows)
    assert record["scores"][1]["difference"] == pytest.approx(0.003)
    assert record["scores"][0]["got"] is None
