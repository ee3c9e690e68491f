"""A share of the model that is taken when it is needed, and let go of at any time."""

from __future__ import annotations

import copy
import gc
import pickle
import shutil
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from jina_local import sharing
from jina_local.errors import EngineClosedError
from jina_local.lazy_engine import LazyEngine
from jina_local.sharing import shared_engine

if TYPE_CHECKING:
    from collections.abc import Callable

    from jina_local import Engine
    from support.checkpoints import Checkpoint

N_THREADS = 8
TIMEOUT = 60  # seconds after which a lost wake-up fails instead of hanging


@pytest.fixture
def model(tiny: Checkpoint, tmp_path: Path) -> Path:
    """A checkpoint that only one test knows, so that nobody else holds it."""
    return Path(shutil.copytree(tiny.folder, tmp_path / "model"))


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The folders of which a model was read, one item each time."""
    folders: list[Path] = []
    load = sharing.load_model

    def counting(source: Any, **options: Any) -> Any:
        folders.append(source.folder)
        return load(source, **options)

    monkeypatch.setattr(sharing, "load_model", counting)
    return folders


def lazy_over(model: Path) -> LazyEngine:
    return LazyEngine(partial(shared_engine, model, device="cpu"))


def embed(engine: Engine) -> list[list[float]]:
    found: list[list[float]] = engine.embed(["a", "b c"]).vectors.tolist()
    return found


def is_alive(weights: weakref.ref[Any]) -> bool:
    gc.collect()
    return weights() is not None


def test_nothing_is_loaded_before_it_is_needed(model: Path, loads: list[Path]) -> None:
    lazy = lazy_over(model)
    copy.deepcopy(lazy)
    pickle.dumps(lazy)
    lazy.close()
    assert not lazy.is_loaded
    assert not loads
    engine = lazy.engine()
    assert lazy.is_loaded
    assert lazy.engine() is engine
    assert len(loads) == 1


def test_threads_that_come_at_once_get_one_engine(model: Path, loads: list[Path]) -> None:
    lazy = lazy_over(model)
    together = threading.Barrier(N_THREADS)

    def ask(_: int) -> Engine:
        together.wait(TIMEOUT)
        return lazy.engine()

    with ThreadPoolExecutor(N_THREADS) as pool:
        engines = list(pool.map(ask, range(N_THREADS)))
    assert len({id(engine) for engine in engines}) == 1
    assert len(loads) == 1


def test_closing_lets_go_and_using_takes_again(model: Path, loads: list[Path]) -> None:
    lazy = lazy_over(model)
    expected = lazy.use(embed)
    weights = weakref.ref(lazy.engine()._model.encoder.embedding.table)
    lazy.close()
    lazy.close()
    assert not lazy.is_loaded
    assert not is_alive(weights)
    assert lazy.use(embed) == expected
    assert len(loads) == 2


def test_the_width_outlives_the_engine(model: Path, loads: list[Path]) -> None:
    lazy = lazy_over(model)
    assert lazy.width == 64
    lazy.close()
    assert lazy.width == 64
    assert not lazy.is_loaded
    assert len(loads) == 1


def test_a_load_that_failed_is_tried_again(tmp_path: Path, tiny: Checkpoint) -> None:
    lazy = lazy_over(tmp_path / "later")
    for _ in range(2):
        with pytest.raises(FileNotFoundError, match="later"):
            lazy.use(embed)
    shutil.copytree(tiny.folder, tmp_path / "later")
    assert len(lazy.use(embed)) == 2


@pytest.mark.parametrize("n_times", [1, 2, 5])
def test_work_survives_that_somebody_closes_its_engine(
    n_times: int, model: Path, loads: list[Path]
) -> None:
    lazy = lazy_over(model)
    engines: list[Engine] = []

    def work(engine: Engine) -> list[list[float]]:
        engines.append(engine)
        if len(engines) <= n_times:
            lazy.close()
        return embed(engine)

    assert lazy.use(work) == embed(lazy.engine())
    assert len(engines) == len(loads) == n_times + 1


def test_an_engine_that_stays_closed_is_an_error_and_no_endless_loop(model: Path) -> None:
    lazy = lazy_over(model)
    other = shared_engine(model, device="cpu")
    other.close()
    calls: list[Engine] = []

    def work(engine: Engine) -> Any:
        calls.append(engine)
        return embed(other)

    with pytest.raises(EngineClosedError):
        lazy.use(work)
    assert len(calls) <= 2
    assert lazy.is_loaded


def test_what_the_work_raises_is_what_is_raised_and_it_is_done_once(model: Path) -> None:
    lazy = lazy_over(model)
    calls: list[Engine] = []
    error = RuntimeError("mine")

    def work(engine: Engine) -> None:
        calls.append(engine)
        raise error

    with pytest.raises(RuntimeError) as raised:
        lazy.use(work)
    assert raised.value is error
    assert len(calls) == 1


def test_work_under_way_stops_nobody_from_closing_or_using(model: Path) -> None:
    lazy = lazy_over(model)
    expected = lazy.use(embed)
    begun, closed = threading.Event(), threading.Event()

    def slow(engine: Engine) -> list[list[float]]:
        begun.set()
        assert closed.wait(TIMEOUT)
        return embed(engine)

    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(lazy.use, slow)
        assert begun.wait(TIMEOUT)
        assert lazy.use(embed) == expected
        lazy.close()
        closed.set()
        assert running.result(TIMEOUT) == expected


def test_threads_may_use_and_close_as_they_like(model: Path) -> None:
    lazy = lazy_over(model)
    expected = lazy.use(embed)

    def work(i: int) -> bool:
        if i % 2:
            lazy.close()
        return lazy.use(embed) == expected

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(work, range(24)))
    weights = weakref.ref(lazy.engine()._model.encoder.embedding.table)
    lazy.close()
    assert not is_alive(weights)


@pytest.mark.parametrize("loaded", [False, True], ids=["cold", "loaded"])
@pytest.mark.parametrize(
    "copied",
    [copy.deepcopy, lambda one: pickle.loads(pickle.dumps(one))],  # noqa: S301 - our own
    ids=["deepcopy", "pickle"],
)
def test_copies_hold_for_themselves_what_they_need(
    copied: Callable[[LazyEngine], LazyEngine], loaded: bool, model: Path, loads: list[Path]
) -> None:
    one = lazy_over(model)
    if loaded:
        one.engine()
    assert len(pickle.dumps(one)) < 1000
    other = copied(one)
    assert not other.is_loaded
    assert other.use(embed) == one.use(embed)
    assert other.engine()._model is one.engine()._model
    assert len(loads) == 1
    weights = weakref.ref(one.engine()._model.encoder.embedding.table)
    one.close()
    assert other.is_loaded
    assert is_alive(weights)
    other.close()
    assert not is_alive(weights)


def test_one_that_is_lost_lets_go(model: Path) -> None:
    lazy = lazy_over(model)
    weights = weakref.ref(lazy.engine()._model.encoder.embedding.table)
    del lazy
    assert not is_alive(weights)
