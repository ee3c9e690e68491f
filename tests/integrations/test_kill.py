"""`jina-local index`, killed at any moment and run again: as if nobody had killed it."""

from __future__ import annotations

import contextlib
import json
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from jina_local import Engine
from jina_local_qdrant import Document, EmbeddingSpec
from jina_local_qdrant.readers import read_documents
from support.checkpoints import TinyConfig, write_tiny
from support.crashing import (
    COLLECTION,
    State,
    assert_same_state,
    by_document,
    lies,
    make_place,
    quick_folder,
    version_key,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from support.crashing import Place, VersionKey

COMMAND_LINE = Path(sys.executable).parent / "jina-local"
SPEC = EmbeddingSpec(chunk_tokens=24)
KILLS = 20

# Kills itself when so many points were written, in the middle of a call.
DIES_AT_A_POINT = """
import os, signal, sys
from qdrant_client.local.persistence import CollectionPersistence
from jina_local.cli import main

persist, left = CollectionPersistence.persist, int(sys.argv.pop(1))

def counting(self, point):
    global left
    left -= 1
    if left < 0:
        os.kill(os.getpid(), signal.SIGKILL)
    persist(self, point)

CollectionPersistence.persist = counting
main()
"""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the least checkpoint there is."""
    folder = tmp_path_factory.mktemp("quick")
    config = TinyConfig(hidden_size=16, n_layers=1, n_heads=2, intermediate_size=32)
    write_tiny(folder, config=config, delta_factor=100.0)
    return folder


@pytest.fixture(scope="module")
def quick(model: Path) -> Iterator[Engine]:
    with Engine.load(model, device="cpu") as loaded:
        yield loaded


def write_source(folder: Path, generation: int, documents: int) -> None:
    """A folder of documents: the same ids, and most texts or metadata others, in each generation.

    Some grow, some shrink, some change their metadata alone, some do not change.
    """
    folder.mkdir()
    lines = []
    for number in range(documents):
        kind = number % 4
        chunks = 1 + (number * 7 + (generation * 3 if kind < 2 else 0)) % 6
        word = "city" if kind >= 2 else ("city", "river", "bridge")[generation % 3]
        texts = [f"The {word} number {i} of {number} is a state of Germany." for i in range(chunks)]
        year = generation if kind in (0, 2) else 0
        document = {"id": str(number), "text": "\n\n".join(texts), "metadata": {"year": year}}
        lines.append(json.dumps(document))
    (folder / "documents.jsonl").write_text("\n".join(lines) + "\n")
    (folder / "more.txt").write_text(f"Written {generation} times.\n")


def command(source: Path, location: str | Path, model: Path) -> list[str]:
    where = ["--to", str(location), "--collection", COLLECTION, "--model", str(model)]
    return ["index", str(source), *where, "--chunk-tokens", "24", "--device", "cpu", "--json"]


def finish(arguments: Sequence[str]) -> dict[str, int]:
    """Run a command to its end; its report."""
    done = subprocess.run([COMMAND_LINE, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    report: dict[str, int] = json.loads(done.stdout.splitlines()[-1])
    return report


def documents_of(source: Path) -> list[Document]:
    return list(read_documents([source]))


def state_of(documents: Sequence[Document], engine: Engine) -> State:
    """What an uninterrupted ingestion of them leaves."""
    place = make_place("memory", engine, SPEC, Path())
    place.start(documents)
    return place.state()


def versions_in(*states: State) -> dict[VersionKey, State]:
    versions = {}
    for points in (points for state in states for points in by_document(state).values()):
        key = version_key(points)
        assert key is not None
        versions[key] = points
    return versions


@contextlib.contextmanager
def seen(kind: str, folder: Path, engine: Engine) -> Iterator[Place]:
    """A folder that nobody has open, to look into."""
    place = make_place(kind, engine, SPEC, folder)
    yield place
    place.close()


def test_killed_between_two_points_of_a_call_twice(
    model: Path, quick: Engine, tmp_path: Path
) -> None:
    with quick_folder() as folder:
        kill_twice(folder / "index", model, quick, tmp_path)


def kill_twice(index: Path, model: Path, quick: Engine, tmp_path: Path) -> None:
    sources = [tmp_path / "old", tmp_path / "new"]
    for generation, source in enumerate(sources):
        write_source(source, generation, documents=12)
    old, new = (documents_of(source) for source in sources)
    expected = state_of(new, quick)
    versions = versions_in(state_of(old, quick), expected)
    with seen("folder", index, quick) as place:
        place.start(old)
    for points in (9, 17):
        script = [sys.executable, "-c", DIES_AT_A_POINT, str(points)]
        killed = subprocess.run(
            [*script, *command(sources[1], index, model)],
            capture_output=True,
            text=True,
            check=False,
        )
        assert killed.returncode == -signal.SIGKILL, killed.stderr
        with seen("folder", index, quick) as place:
            assert lies(place.state(), versions) == []
            with pytest.raises(AssertionError):
                assert_same_state(place.state(), expected)
    with seen("folder", index, quick) as place:
        place.run(lambda index: index.ingest(new))
        assert_same_state(place.state(), expected)
        again = place.run(lambda index: index.ingest(new))
        assert (again.embedded, again.updated, again.skipped) == (0, 0, len(new))


def kill(arguments: Sequence[str], index: Path, seconds: float) -> bool:
    """Kill a command so many seconds after it began to write; whether it was still running.

    Before it began, if they are negative.
    """
    process = subprocess.Popen(
        [COMMAND_LINE, *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    if seconds < 0:
        time.sleep(-seconds)
    else:
        began = newest(index)
        while process.poll() is None and newest(index) <= began:
            time.sleep(0.002)
        time.sleep(seconds)
    process.kill()
    return process.wait() == -signal.SIGKILL


def newest(folder: Path) -> float:
    """When something in a folder was last written; 0 if nothing ever was.

    The lock, which every opening writes, does not count.
    """
    files = [path for path in folder.rglob("*") if path.name != ".lock"]
    times = [0.0]
    for path in files:
        with contextlib.suppress(FileNotFoundError):
            times.append(path.stat().st_mtime)
    return max(times)


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "prefix"), [("folder", ""), ("edge", "edge:")])
def test_killed_at_any_moment(
    kind: str, prefix: str, model: Path, quick: Engine, tmp_path: Path
) -> None:
    """Of a first ingestion and of an update, once or several times in a row."""
    rng = random.Random(0)  # noqa: S311 - the same moments each time
    index, sources = tmp_path / "index", [tmp_path / "old", tmp_path / "new"]
    for generation, source in enumerate(sources):
        write_source(source, generation, documents=120)
    states = [state_of(documents_of(source), quick) for source in sources]
    versions = versions_in(*states)
    prepared = tmp_path / "prepared"
    start = time.monotonic()
    finish(command(sources[0], f"{prefix}{prepared}", model))
    whole = time.monotonic() - start
    with seen(kind, prepared, quick) as place:
        assert_same_state(place.state(), states[0])
    kills = 0
    while kills < KILLS:
        shutil.rmtree(index, ignore_errors=True)
        target = rng.randrange(2)
        if target == 1:
            shutil.copytree(prepared, index)
        arguments = command(sources[target], f"{prefix}{index}", model)
        for _ in range(rng.choice([1, 1, 2, 3])):
            moment = -rng.uniform(0, whole) if rng.random() < 0.15 else rng.uniform(0, whole / 3)
            kills += kill(arguments, index, moment)
            with seen(kind, index, quick) as place:
                assert lies(place.state(), versions) == []
        finish(arguments)
        with seen(kind, index, quick) as place:
            assert_same_state(place.state(), states[target])
        report = finish(arguments)
        assert (report["embedded"], report["skipped"]) == (0, report["documents"])
