"""Forked processes: they compute what their parent does, or are refused; they never hang."""

from __future__ import annotations

import dataclasses
import multiprocessing
import os
import shutil
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from jina_local import Engine, sharing
from jina_local.errors import ForkedProcessError
from jina_local.forks import refuse_lost_device
from jina_local.lazy_engine import LazyEngine
from jina_local.sharing import shared_engine

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from support.checkpoints import Checkpoint

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are not forked here"),
    pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning"),
]

TIMEOUT = 20  # seconds after which a child that hangs fails its test
TEXTS = ["Berlin is a city in Germany.", "It has many lakes. " * 20, ""]


@pytest.fixture(autouse=True)
def _threads_at_work() -> Iterator[None]:
    """The parent has computed in several threads, which no child inherits."""
    torch.set_num_threads(2)
    torch.randn(600, 600) @ torch.randn(600, 600)
    yield
    torch.set_num_threads(1)


@pytest.fixture
def model(tiny: Checkpoint, tmp_path: Path) -> Path:
    """A checkpoint that only one test knows, so that nobody else holds it."""
    return Path(shutil.copytree(tiny.folder, tmp_path / "model"))


def in_fork(work: Callable[[], Any]) -> Any:
    """The result of some work in a forked process, or what it raised."""
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe(duplex=False)

    def run() -> None:
        try:
            theirs.send(work())
        except BaseException as error:  # noqa: BLE001 - it is the result
            theirs.send(error)

    child = context.Process(target=run)
    child.start()
    theirs.close()
    try:
        assert ours.poll(TIMEOUT), "the forked process hangs"
        return ours.recv()
    finally:
        child.kill()
        child.join()


def vectors(engine: Engine) -> np.ndarray:
    return engine.embed_documents(TEXTS).vectors


# Computing


def test_an_inherited_engine_gives_its_parents_vectors(engine: Engine) -> None:
    expected = vectors(engine)
    np.testing.assert_allclose(in_fork(lambda: vectors(engine)), expected, rtol=0, atol=1e-6)


def test_an_engine_that_the_child_loads_gives_its_parents_vectors(
    engine: Engine, tiny: Checkpoint
) -> None:
    expected = vectors(engine)

    def load_and_embed() -> np.ndarray:
        with Engine.load(tiny.folder, device="cpu") as own:
            return vectors(own)

    np.testing.assert_allclose(in_fork(load_and_embed), expected, rtol=0, atol=1e-6)


def test_a_child_computes_in_one_thread_and_its_parent_in_as_many_as_before(
    engine: Engine,
) -> None:
    def threads() -> int:
        vectors(engine)
        return torch.get_num_threads()

    assert in_fork(threads) == 1
    assert threads() == 2


def test_a_childs_child_computes_too(engine: Engine) -> None:
    expected = vectors(engine)
    found = in_fork(lambda: in_fork(lambda: vectors(engine)))
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)


# Devices


def loaded_elsewhere(engine: Engine, device: str, process: int) -> Engine:
    model = dataclasses.replace(engine._model, device=torch.device(device), process=process)
    return Engine(model, batch_tokens=64)


def test_a_model_that_another_process_put_on_a_device_is_refused(engine: Engine) -> None:
    lost = loaded_elsewhere(engine, "cuda", os.getpid() + 1)
    with pytest.raises(ForkedProcessError, match=r"cuda.*forked.*'spawn'"):
        lost.embed(["a"])


@pytest.mark.parametrize("device", ["cuda", "cuda:1", "mps"])
def test_a_forked_process_is_refused_its_parents_device(device: str, engine: Engine) -> None:
    lost = loaded_elsewhere(engine, device, os.getpid())
    refuse_lost_device(lost._model)  # not the parent
    error = in_fork(lambda: lost.embed(["a"]))
    assert isinstance(error, ForkedProcessError)
    assert device in str(error)


def test_the_process_that_loaded_a_model_is_kept_with_it(engine: Engine) -> None:
    assert engine._model.process == os.getpid()


# Sharing


def test_a_child_shares_the_weights_that_its_parent_shares(model: Path) -> None:
    with shared_engine(model, device="cpu") as ours:

        def shares() -> bool:
            with shared_engine(model, device="cpu") as theirs:
                return theirs._model is ours._model

        assert in_fork(shares)


def held(lock: Any, released: threading.Event) -> threading.Thread:
    """A thread that holds a lock until it is told to let go."""
    holds = threading.Event()

    def hold() -> None:
        with lock:
            holds.set()
            assert released.wait(TIMEOUT)

    thread = threading.Thread(target=hold)
    thread.start()
    assert holds.wait(TIMEOUT)
    return thread


@pytest.mark.parametrize("which", ["registry", "model", "holder"])
def test_locks_that_threads_hold_at_the_fork_do_not_stop_the_child(which: str, model: Path) -> None:
    lazy = LazyEngine(lambda: shared_engine(model, device="cpu"))
    expected = lazy.use(vectors)
    (entry,) = (
        entry for key, entry in sharing._registry._entries.items() if key[0] == model.resolve()
    )
    locks = {"registry": sharing._registry._lock, "model": entry.lock, "holder": lazy._lock}
    released = threading.Event()
    thread = held(locks[which], released)
    try:

        def embed_with_both() -> tuple[np.ndarray, np.ndarray]:
            with shared_engine(model, device="cpu") as engine:
                return lazy.use(vectors), vectors(engine)

        for found in in_fork(embed_with_both):
            np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)
    finally:
        released.set()
        thread.join(TIMEOUT)
        lazy.close()


def test_a_child_that_closes_its_share_leaves_the_parents(model: Path) -> None:
    lazy = LazyEngine(lambda: shared_engine(model, device="cpu"))
    expected = lazy.use(vectors)
    in_fork(lazy.close)
    assert lazy.is_loaded
    np.testing.assert_array_equal(lazy.use(vectors), expected)
    lazy.close()
