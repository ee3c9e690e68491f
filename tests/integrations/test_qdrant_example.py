"""The example for Qdrant runs: offline, as users start it, and again over what it left."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

EXAMPLE = Path(__file__).parents[2] / "examples" / "qdrant_ingest.py"


def run_example(*arguments: str | Path) -> list[str]:
    """The lines that the example prints, in an environment without a network for the hub."""
    done = subprocess.run(
        [sys.executable, "-W", "error::ResourceWarning", EXAMPLE, *arguments],
        env=os.environ | {"HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout.splitlines()


def test_the_example_finds_the_trams() -> None:
    head, asked, *hits, last = run_example()
    assert re.fullmatch(r"2 files embedded, 0 unchanged, 0 deleted: \d+ chunks", head)
    assert (asked, len(hits)) == ("Which trams climb the streets of Lisbon?", 3)
    assert re.match(r"0\.\d\d  lisbon\.txt: .*yellow trams", hits[0])
    scores = [float(hit.split()[0]) for hit in hits]
    assert scores == sorted(scores, reverse=True)
    assert last == "verified: 2 documents"


def test_the_example_embeds_only_what_is_new_and_forgets_what_is_gone(tmp_path: Path) -> None:
    files = tmp_path / "files"
    files.mkdir()
    (files / "boats.txt").write_text("A sloop has one mast, a ketch has two.")
    (files / "bread.txt").write_text("Bread is flour, water and salt.")
    (files / "trams.txt").write_text("The trams of Lisbon are yellow.")
    arguments = ["--model", "demo", "--files", files, "--path", tmp_path / "index"]
    questions = ["How many masts?", "What is in a loaf?"]

    first = run_example(*arguments, *questions)
    assert first[0] == "3 files embedded, 0 unchanged, 0 deleted: 3 chunks"
    assert [first[1], first[5]] == questions
    assert first[2].endswith("  boats.txt: A sloop has one mast, a ketch has two.")
    assert first[6].endswith("  bread.txt: Bread is flour, water and salt.")

    (files / "boats.txt").unlink()
    (files / "bread.txt").write_text("Bread is flour, water, salt and time.")
    head, _, *hits, last = run_example(*arguments, questions[1])
    assert head == "1 files embedded, 1 unchanged, 1 deleted: 2 chunks"
    assert [hit.split("  ", 1)[1] for hit in hits] == [
        "bread.txt: Bread is flour, water, salt and time.",
        "trams.txt: The trams of Lisbon are yellow.",
    ]
    assert last == "verified: 2 documents"
