"""Weights are read once for all who ask for the same, and are gone when the last one lets go."""

from __future__ import annotations

import gc
import shutil
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from jina_local import Engine, sharing
from jina_local.errors import (
    CheckpointError,
    EngineClosedError,
    InvalidOptionError,
    ModelNotFoundError,
)
from jina_local.sharing import shared_engine
from support.tiny_tokenizers import write_tokenizer

if TYPE_CHECKING:
    from collections.abc import Iterator

    import torch

    from support.checkpoints import Checkpoint

N_THREADS = 8
ALONE = {"dtype": "float16"}  # nobody else shares the demo model in it


@pytest.fixture(autouse=True)
def _nothing_left_behind() -> Iterator[None]:
    """Every test ends with no more shared models than it found."""
    before = entries()
    yield
    if not entries() <= before:
        gc.collect()
    assert entries() <= before


@pytest.fixture
def model(tiny: Checkpoint, tmp_path: Path) -> Path:
    """A checkpoint that only one test knows, so that nobody else holds it."""
    return Path(shutil.copytree(tiny.folder, tmp_path / "model"))


def entries() -> set[object]:
    return set(sharing._registry._entries)


def loads(caplog: pytest.LogCaptureFixture) -> int:
    """How often the demo model was read: it says so each time."""
    return sum("loading the demo model" in record.message for record in caplog.records)


def watch(engine: Engine) -> weakref.ref[torch.Tensor]:
    """Alive as long as the weights are in memory."""
    return weakref.ref(engine._model.encoder.embedding.table)


# Who shares


def test_the_same_model_is_one_set_of_weights(model: Path) -> None:
    with shared_engine(model) as one, shared_engine(model) as other:
        assert one is not other
        assert one._model is other._model
        assert np.array_equal(one.embed(["a"]).vectors, other.embed(["a"]).vectors)


def test_one_folder_has_many_spellings(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = tmp_path / "link"
    link.symlink_to(model)
    monkeypatch.chdir(model)
    spellings: list[str | Path] = [
        model,
        str(model),
        f"{model}/",
        model / ".." / model.name,
        link,
        ".",
    ]
    engines = [shared_engine(spelling) for spelling in spellings]
    assert len({id(engine._model) for engine in engines}) == 1
    for engine in engines:
        engine.close()


def test_what_auto_means_is_shared_with_what_is_said(model: Path) -> None:
    auto = shared_engine(model)
    with auto, shared_engine(model, device=auto.device, dtype=auto.dtype) as said:
        assert auto._model is said._model


def test_another_dtype_is_another_set_of_weights(model: Path) -> None:
    with shared_engine(model, dtype="float32") as wide:
        with shared_engine(model, dtype="bfloat16") as narrow:
            assert wide._model is not narrow._model
            assert (wide.dtype, narrow.dtype) == ("float32", "bfloat16")
        assert wide.embed(["a"]).vectors.shape == (1, 64)


def test_another_folder_is_another_model(model: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(model, tmp_path / "copy")
    with shared_engine(model) as one, shared_engine(copy) as other:
        assert one._model is not other._model


def test_engine_load_always_reads_anew(caplog: pytest.LogCaptureFixture) -> None:
    with (
        shared_engine("demo", **ALONE) as shared,
        Engine.load("demo", **ALONE) as one,
        Engine.load("demo", **ALONE) as other,
    ):
        assert len({id(engine._model) for engine in (shared, one, other)}) == 3
    assert loads(caplog) == 3


def test_many_threads_read_once(caplog: pytest.LogCaptureFixture) -> None:
    together = threading.Barrier(N_THREADS)

    def ask(_: int) -> Engine:
        together.wait(timeout=30)
        return shared_engine("demo", **ALONE)

    with ThreadPoolExecutor(N_THREADS) as pool:
        engines = list(pool.map(ask, range(N_THREADS)))
    assert len({id(engine._model) for engine in engines}) == 1
    assert loads(caplog) == 1
    for engine in engines:
        engine.close()


# How long


def test_the_last_holder_takes_the_weights_along(model: Path) -> None:
    one, other = shared_engine(model), shared_engine(model)
    weights = watch(one)
    one.close()
    gc.collect()
    assert weights() is not None
    assert other.embed(["still there"]).vectors.shape == (1, 64)
    other.close()
    gc.collect()
    assert weights() is None


def test_a_lost_engine_lets_go_too(model: Path) -> None:
    one, other = shared_engine(model), shared_engine(model)
    weights = watch(one)
    del one
    gc.collect()
    assert weights() is not None
    del other
    gc.collect()
    assert weights() is None


def test_closing_twice_counts_once(model: Path) -> None:
    """Another holder's share is not given away."""
    one, other = shared_engine(model), shared_engine(model)
    one.close()
    one.close()
    with one:  # and once more at its end
        pass
    del one
    gc.collect()
    with shared_engine(model) as third:
        assert third._model is other._model
    other.close()


def test_a_closed_engine_does_not_live_on_the_shares_of_others(model: Path) -> None:
    with shared_engine(model):
        closed = shared_engine(model)
        closed.close()
        with pytest.raises(EngineClosedError, match="was closed: load it again"):
            closed.embed(["a"])


def test_after_the_last_holder_the_model_is_read_again(caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(2):
        shared_engine("demo", **ALONE).close()
    assert loads(caplog) == 2


def test_threads_that_come_and_go_keep_the_count(model: Path) -> None:
    expected = Engine.load(model, device="cpu").embed(["a"]).vectors

    def come_and_go(_: int) -> bool:
        with shared_engine(model, device="cpu") as engine:
            return np.array_equal(engine.embed(["a"]).vectors, expected)

    with ThreadPoolExecutor(N_THREADS) as pool:
        assert all(pool.map(come_and_go, range(40)))


def test_an_engine_may_be_collected_while_another_is_asked_for(model: Path) -> None:
    """The collector runs whenever it likes, so also inside the registry, in the same thread."""
    engine: Any = shared_engine(model)
    engine.itself = [engine]  # a cycle: only the collector finds it
    weights = watch(engine)
    del engine

    def collect_inside() -> None:
        with sharing._registry._lock:
            gc.collect()

    thread = threading.Thread(target=collect_inside, daemon=True)
    gc.disable()
    try:
        thread.start()
        thread.join(timeout=30)
    finally:
        gc.enable()
    assert not thread.is_alive()
    assert weights() is None


# When loading fails


@pytest.fixture
def broken(model: Path, tmp_path: Path) -> Path:
    """A checkpoint without its tokenizer."""
    folder = Path(shutil.copytree(model, tmp_path / "broken"))
    (folder / "tokenizer.json").unlink()
    return folder


def test_a_failed_load_can_be_tried_again(broken: Path) -> None:
    for _ in range(2):
        with pytest.raises(ModelNotFoundError, match=r"tokenizer\.json"):
            shared_engine(broken)
        assert not any(str(broken) in str(key) for key in entries())
    write_tokenizer(broken)
    with shared_engine(broken) as engine:
        assert engine.embed(["a"]).vectors.shape == (1, 64)


def test_a_failed_load_fails_for_all_who_wait_and_blocks_nobody(broken: Path) -> None:
    together = threading.Barrier(N_THREADS)

    def ask(_: int) -> str:
        together.wait(timeout=30)
        with pytest.raises(ModelNotFoundError) as raised:
            shared_engine(broken)
        return str(raised.value)

    with ThreadPoolExecutor(N_THREADS) as pool:
        messages = set(pool.map(ask, range(N_THREADS)))
    assert len(messages) == 1


def test_a_failed_load_of_one_model_does_not_touch_another(model: Path, broken: Path) -> None:
    with shared_engine(model) as engine:
        with pytest.raises(ModelNotFoundError):
            shared_engine(broken)
        assert engine.embed(["a"]).vectors.shape == (1, 64)


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"dtype": "float64"}, InvalidOptionError),
        ({"device": "tpu"}, InvalidOptionError),
        ({"revision": "main"}, InvalidOptionError),
    ],
    ids=str,
)
def test_options_are_those_of_engine_load(
    options: dict[str, str], error: type[Exception], model: Path
) -> None:
    """Whether the model is in memory already or not."""
    with pytest.raises(error) as alone:
        Engine.load(model, **options)
    with pytest.raises(error) as first:
        shared_engine(model, **options)
    with shared_engine(model), pytest.raises(error) as later:
        shared_engine(model, **options)
    assert str(first.value) == str(later.value) == str(alone.value)


def test_a_checkpoint_that_changed_on_disk_is_not_what_is_shared(broken: Path) -> None:
    """Who holds the old weights keeps them; who comes after the last of them gets the new."""
    write_tokenizer(broken)
    with shared_engine(broken) as old:
        (broken / "model.safetensors").write_bytes(b"damaged")
        with shared_engine(broken) as still:
            assert still._model is old._model
    with pytest.raises(CheckpointError, match="download it again"):
        shared_engine(broken)
