"""Files appear whole or not at all, whatever happens while they are written."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING

import pytest

from jina_local.files import written_whole

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "vectors.npy"


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def write_half(target: Path, error: BaseException) -> None:
    with written_whole(target) as file:
        file.write(b"half of the new")
        file.flush()
        raise error


@pytest.fixture
def _umask(request: pytest.FixtureRequest) -> Iterator[None]:
    before = os.umask(request.param)
    yield
    os.umask(before)


def test_the_name_is_taken_only_when_the_block_ends(target: Path) -> None:
    with written_whole(target) as file:
        file.write(b"first half, ")
        file.flush()
        assert not target.exists()
        file.write(b"second half")
    assert target.read_bytes() == b"first half, second half"
    assert names(target.parent) == [target.name]


def test_an_existing_file_is_replaced_at_once(target: Path) -> None:
    target.write_bytes(b"old")
    with written_whole(target) as file:
        file.write(b"new and longer")
        file.flush()
        assert target.read_bytes() == b"old"
    assert target.read_bytes() == b"new and longer"


@pytest.mark.parametrize("error", [ValueError("broken"), KeyboardInterrupt(), SystemExit(3)])
@pytest.mark.parametrize("before", [None, b"old"])
def test_an_interrupted_block_leaves_everything_as_it_was(
    error: BaseException, before: bytes | None, target: Path
) -> None:
    if before is not None:
        target.write_bytes(before)
    with pytest.raises(type(error)) as raised:
        write_half(target, error)
    assert raised.value is error
    assert names(target.parent) == ([target.name] if before else [])
    assert before is None or target.read_bytes() == before


def test_a_name_that_cannot_be_taken_leaves_no_litter(target: Path) -> None:
    target.mkdir()
    with pytest.raises(OSError, match=target.name), written_whole(target) as file:
        file.write(b"content")
    assert names(target.parent) == [target.name]
    assert names(target) == []


def test_a_folder_that_is_not_there_is_an_error_before_anything_is_written(tmp_path: Path) -> None:
    with (
        pytest.raises(FileNotFoundError, match="nowhere"),
        written_whole(tmp_path / "nowhere" / "vectors.npy"),
    ):
        pytest.fail("the block ran")


@pytest.mark.usefixtures("_umask")
@pytest.mark.parametrize(
    ("_umask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0, 0o666)], indirect=["_umask"]
)
def test_permissions_are_those_of_any_new_file(mode: int, target: Path) -> None:
    with written_whole(target) as file:
        file.write(b"content")
    assert target.stat().st_mode & 0o777 == mode
    mask = os.umask(0)
    os.umask(mask)
    assert mode == 0o666 & ~mask


def test_a_reader_never_sees_half_a_file(target: Path) -> None:
    whole = {letter * 5000 for letter in (b"1", b"2")}
    target.write_bytes(min(whole))
    seen: set[bytes] = set()
    done = threading.Event()

    def read() -> None:
        while not done.is_set():
            seen.add(target.read_bytes())

    reader = threading.Thread(target=read)
    reader.start()
    for content in [*whole] * 25:
        with written_whole(target) as file:
            file.write(content[:2500])
            file.flush()
            file.write(content[2500:])
    done.set()
    reader.join()
    assert seen <= whole


def test_two_writers_do_not_mix(target: Path) -> None:
    """Whoever ends last has the name; both files are whole at any time."""
    with written_whole(target) as one:
        one.write(b"1" * 1000)
        with written_whole(target) as other:
            other.write(b"2" * 1000)
        assert target.read_bytes() == b"2" * 1000
        one.write(b"1" * 1000)
    assert target.read_bytes() == b"1" * 2000
