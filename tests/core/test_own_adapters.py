"""Adapters of one's own: the same vectors in the engine and in transformers + PEFT, both ways."""

from __future__ import annotations

import json
import logging
import shutil
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from torch.nn import functional as F

from jina_local import Engine, shared_engine
from jina_local.adapter_files import LowRank
from jina_local.adapter_store import INSTRUCTION_FILE, Adapter, read_adapter, save_adapter
from jina_local.errors import (
    CheckpointError,
    EngineClosedError,
    InvalidOptionError,
    JinaLocalError,
    ModelNotFoundError,
    UnknownTaskError,
)
from support.checkpoints import (
    SPELLINGS,
    TASKS,
    TINY,
    Checkpoint,
    TinyConfig,
    random_weights,
    write_native,
    write_original,
)
from support.oracle import load_native
from support.random_adapters import random_adapter
from support.spellings import adapter_folder
from support.tiny_tokenizers import write_tokenizer

if TYPE_CHECKING:
    from collections.abc import Callable

# of transformers, raised by PEFT
DEPRECATED = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated")
TOLERANCE = 1e-6
TEXTS = ["a text", "and a longer one, of a few words more than the other", "a"]
LAYOUTS = ("original", "native")
SHARED = random_weights(TINY, delta_factor=100.0)
SPLIT = random_weights(TINY, delta_factor=100.0, split_adapters=True)


def folders(root: Path, layout: str) -> tuple[Path, Path]:
    """One model in a layout to load with the engine, and as transformers reads it."""
    native = root / "native"
    write_native(native, TINY, SHARED, prompts=TINY.task_instructions)
    ours = root / layout
    if layout == "original":
        write_original(ours, TINY, SHARED)
    write_tokenizer(ours, model_max_length=TINY.max_positions, vocab_size=TINY.vocab_size)
    return ours, native


@pytest.fixture(scope="module", params=LAYOUTS)
def both(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Path]:
    return folders(tmp_path_factory.mktemp("model"), request.param)


def pooled(model: torch.nn.Module, engine: Engine, text: str) -> np.ndarray:
    """The unit vector of a text by a model of transformers."""
    ids = torch.tensor([engine._model.tokenizer.tokenizer.encode(text).ids])
    with torch.no_grad():
        hidden = model(input_ids=ids, attention_mask=torch.ones_like(ids)).last_hidden_state
    return F.normalize(hidden[0].mean(0), dim=0).numpy()


def by_transformers(native: Path, folder: Path, engine: Engine, texts: list[str]) -> np.ndarray:
    model = load_native(native, TINY)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Already found a `peft_config`", UserWarning)
        report = model.load_adapter(str(folder), adapter_name="mine")
    missing = [key for key in report.missing_keys if ".mine" in key]
    assert not [*missing, *report.unexpected_keys]
    model.set_adapter("mine")
    return np.stack([pooled(model, engine, text) for text in texts])


def updates_of(adapter: Adapter) -> dict[str, torch.Tensor]:
    return {name: u.scale * (u.left @ u.right) for name, u in adapter.updates.items()}


def assert_same_updates(one: Adapter, other: Adapter) -> None:
    ours, theirs = updates_of(one), updates_of(other)
    assert set(ours) == set(theirs)
    for name, update in ours.items():
        assert torch.allclose(update, theirs[name], atol=1e-7), name


# Ours in transformers and PEFT


@pytest.mark.parametrize("rank", [1, 4, 9])
def test_a_saved_adapter_gives_the_same_vectors_in_transformers(
    both: tuple[Path, Path], rank: int, tmp_path: Path
) -> None:
    ours, native = both
    save_adapter(random_adapter(rank), tmp_path / "mine")
    with Engine.load(ours, device="cpu", adapters={"mine": tmp_path / "mine"}) as engine:
        vectors = engine.embed(TEXTS, task="mine").vectors
        base = engine.embed(TEXTS).vectors
        expected = by_transformers(
            native, tmp_path / "mine", engine, ["Do: " + text for text in TEXTS]
        )
    assert abs(vectors - expected).max() <= TOLERANCE
    assert abs(vectors - base).max() > 0.01


@DEPRECATED
@pytest.mark.parametrize("modules", ["all", "qkv", "word", ("fc1", "out")])
def test_a_saved_adapter_gives_the_same_vectors_in_peft(modules: Any, tmp_path: Path) -> None:
    """Also one that leaves modules as they are."""
    ours, native = folders(tmp_path, "original")
    save_adapter(random_adapter(3, modules=modules), tmp_path / "mine")
    model = PeftModel.from_pretrained(load_native(native, TINY_ALONE), tmp_path / "mine")
    model.eval()
    with Engine.load(ours, device="cpu", adapters={"mine": tmp_path / "mine"}) as engine:
        vectors = engine.embed(TEXTS, task="mine", instruction=False).vectors
        expected = np.stack([pooled(model, engine, text) for text in TEXTS])
    assert abs(vectors - expected).max() <= TOLERANCE


TINY_ALONE = TinyConfig(tasks=())  # no adapters are loaded


@pytest.mark.parametrize("task", TASKS)
def test_an_exported_adapter_is_the_checkpoints_own(
    both: tuple[Path, Path], task: str, tmp_path: Path
) -> None:
    ours, native = both
    with Engine.load(ours, device="cpu") as engine:
        save_adapter(engine.adapter(task), tmp_path / "copy")
        vectors = engine.embed(TEXTS, task=task, instruction=False).vectors
        expected = by_transformers(native, tmp_path / "copy", engine, TEXTS)
        with engine.add_adapter("copy", tmp_path / "copy") as other:
            assert np.array_equal(
                other.embed(TEXTS, task="copy").vectors, engine.embed(TEXTS, task=task).vectors
            )
    assert abs(vectors - expected).max() <= TOLERANCE
    stored = load_file(native / adapter_folder(task) / "adapter_model.safetensors")
    written = load_file(tmp_path / "copy" / "adapter_model.safetensors")
    ranks = {t.shape[0] for name, t in written.items() if name.endswith("A.weight")}
    assert ranks == {TINY.rank}
    assert len(written) == len([name for name in stored if "dense" not in name])


# Theirs in the engine


@DEPRECATED
@pytest.mark.parametrize(
    "targets",
    [
        ["q_proj", "v_proj"],
        ["word_embeddings", "q_proj", "k_proj", "v_proj", "o_proj", "fc1", "fc2"],
    ],
)
@pytest.mark.parametrize("through", ["PeftModel", "transformers"])
def test_an_adapter_made_by_peft_gives_the_same_vectors_in_the_engine(
    targets: list[str], through: str, tmp_path: Path
) -> None:
    ours, native = folders(tmp_path, "original")
    settings = LoraConfig(r=5, lora_alpha=3, target_modules=targets, init_lora_weights="gaussian")
    model: Any = load_native(native, TINY_ALONE)
    if through == "PeftModel":
        model = get_peft_model(model, settings)
    else:
        model.add_adapter(settings)
    torch.manual_seed(0)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_" in name:
                parameter.normal_(std=0.2)
    model.eval()
    folder = tmp_path / "made"
    model.save_pretrained(folder)
    with Engine.load(ours, device="cpu", adapters={"made": folder}) as engine:
        expected = np.stack([pooled(model, engine, text) for text in TEXTS])
        vectors = engine.embed(TEXTS, task="made").vectors
        base = engine.embed(TEXTS).vectors
    assert abs(vectors - expected).max() <= TOLERANCE
    assert abs(vectors - base).max() > 0.001


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_every_spelling_of_an_adapter_is_read(spelling: str, tmp_path: Path) -> None:
    write_native(tmp_path / "spelled", TINY, SHARED, SPELLINGS[spelling])
    write_native(tmp_path / "plain", TINY, SHARED)
    place = adapter_folder(TASKS[0])
    assert_same_updates(
        read_adapter(tmp_path / "spelled" / place), read_adapter(tmp_path / "plain" / place)
    )


# Saved and read


@settings(max_examples=20)
@given(rank=st.integers(1, 7), blocks=st.booleans(), instruction=st.text(max_size=20))
def test_what_is_read_is_what_was_saved(
    rank: int, blocks: bool, instruction: str, tmp_path: Path
) -> None:
    adapter = random_adapter(rank, blocks=blocks).named("mine", instruction)
    if "\\ud" in ascii(instruction):
        return
    save_adapter(adapter, tmp_path / "mine")
    found = read_adapter(tmp_path / "mine")
    assert (found.task, found.instruction) == ("mine", instruction)
    assert found.scale == pytest.approx(adapter.scale)
    assert found.rank == adapter.rank == rank
    assert_same_updates(found, adapter)


def test_updates_of_several_ranks_fit_one_folder(tmp_path: Path) -> None:
    wide, narrow = random_adapter(6), random_adapter(2)
    mixed = Adapter("mine", "", {**narrow.updates, "layers.1.out": wide.updates["layers.1.out"]})
    save_adapter(mixed, tmp_path)
    assert read_adapter(tmp_path).rank == 6
    assert_same_updates(read_adapter(tmp_path), mixed)


def test_three_different_adapters_of_q_k_and_v_keep_their_rank(tmp_path: Path) -> None:
    write_native(tmp_path / "model", TINY, SPLIT)
    one = read_adapter(tmp_path / "model" / adapter_folder(TASKS[0]))
    save_adapter(one, tmp_path / "again")
    again = read_adapter(tmp_path / "again")
    assert one.rank == again.rank == TINY.rank
    assert_same_updates(again, one)


# Instructions and names


def test_the_instruction_travels_with_the_adapter(engine: Engine, tmp_path: Path) -> None:
    save_adapter(engine.adapter("text-matching").named("mine", "Compare: "), tmp_path)
    with engine.add_adapter("other-name", tmp_path) as other:
        assert np.array_equal(
            other.embed(TEXTS, task="other-name").vectors,
            engine.embed([f"Compare: {text}" for text in TEXTS], task="text-matching").vectors,
        )
        assert other.adapter("other-name").instruction == "Compare: "
    with engine.add_adapter("mine", tmp_path, instruction="") as other:
        assert np.array_equal(
            other.embed(TEXTS, task="mine").vectors,
            engine.embed(TEXTS, task="text-matching").vectors,
        )


def test_a_plain_folder_has_no_instruction_and_the_log_says_so(
    engine: Engine, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "plain"
    save_adapter(engine.adapter("retrieval.query"), folder)
    (folder / INSTRUCTION_FILE).unlink()
    with caplog.at_level(logging.WARNING, "jina_local"), engine.add_adapter("x", folder) as other:
        assert other.adapter("x").instruction == ""
    assert "does not say which instruction" in caplog.text
    assert read_adapter(folder).task == "plain"


def test_a_plain_folder_in_the_place_of_a_task_keeps_the_tasks_instruction(
    engine: Engine, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    save_adapter(engine.adapter("retrieval.query"), tmp_path)
    (tmp_path / INSTRUCTION_FILE).unlink()
    with (
        caplog.at_level(logging.WARNING, "jina_local"),
        engine.add_adapter("retrieval.query", tmp_path) as other,
    ):
        assert np.array_equal(
            other.embed_queries(TEXTS).vectors, engine.embed_queries(TEXTS).vectors
        )
    assert "keeps the one of the task that it replaces" in caplog.text


@pytest.mark.parametrize("name", ["", "a b", "query", "Document", "none", "../x", ".x", "ü", 3])
def test_names_that_mean_something_else_are_refused(engine: Engine, name: Any) -> None:
    with pytest.raises(InvalidOptionError, match="is no name for a task"):
        engine.add_adapter(name, engine.adapter("separation"))
    with pytest.raises(InvalidOptionError, match="is no name for a task"):
        Engine.load("demo", adapters={name: "somewhere"})


# What an engine with them is


def test_adding_changes_no_other_task_and_not_the_engine_itself(engine: Engine) -> None:
    before = {task: engine.embed(TEXTS, task=task).vectors for task in (None, *TASKS)}
    with engine.add_adapter("mine", random_adapter(4)) as other:
        assert engine.tasks == TASKS
        assert other.tasks == (*TASKS, "mine")
        for task, vectors in before.items():
            assert np.array_equal(other.embed(TEXTS, task=task).vectors, vectors)
            assert np.array_equal(engine.embed(TEXTS, task=task).vectors, vectors)
        with other.add_adapter("second", random_adapter(40)) as third:
            assert third.tasks == (*TASKS, "mine", "second")
            for task in (None, *TASKS, "mine"):
                vectors = third.embed(TEXTS, task=task).vectors
                assert abs(vectors - other.embed(TEXTS, task=task).vectors).max() <= TOLERANCE
    assert engine.embed(TEXTS).vectors.shape == before[None].shape


def test_a_replaced_task_is_the_role_that_it_plays(engine: Engine) -> None:
    mine = random_adapter(4)
    with (
        engine.add_adapter("retrieval.passage", mine, instruction="") as replaced,
        engine.add_adapter("mine", mine, instruction="") as added,
    ):
        assert replaced.tasks == TASKS
        vectors = replaced.embed_documents(TEXTS).vectors
        assert abs(vectors - added.embed(TEXTS, task="mine").vectors).max() <= TOLERANCE
        assert np.array_equal(
            replaced.embed_queries(TEXTS).vectors, engine.embed_queries(TEXTS).vectors
        )


def fingerprint(engine: Engine, task: str | None) -> str:
    return engine.fingerprint(task=task, dimensions=None, normalize=True, instruction=True)


def test_fingerprints_are_those_of_the_adapter_and_of_nobody_else(engine: Engine) -> None:
    one, two = random_adapter(4), random_adapter(5)
    with (
        engine.add_adapter("mine", one) as first,
        engine.add_adapter("mine", one) as again,
        engine.add_adapter("mine", two) as second,
        engine.add_adapter("mine", one, instruction="Else: ") as instructed,
        engine.add_adapter("retrieval.passage", one) as replaced,
    ):
        assert fingerprint(first, "mine") == fingerprint(again, "mine")
        ways = [fingerprint(one, "mine") for one in (first, second, instructed)]
        assert len(set(ways)) == 3
        for other in (first, second, instructed):
            assert other.weights_id == engine.weights_id
            for task in (None, *TASKS):
                assert fingerprint(other, task) == fingerprint(engine, task)
        assert replaced.weights_id != engine.weights_id
        assert fingerprint(replaced, "retrieval.passage") != fingerprint(
            engine, "retrieval.passage"
        )
        assert fingerprint(replaced, "separation") == fingerprint(engine, "separation")


def test_an_exported_adapter_is_nobody_elses_memory(engine: Engine) -> None:
    with engine.add_adapter("mine", random_adapter(4)) as other:
        before = fingerprint(other, "mine"), fingerprint(other, "separation")
        for task in ("mine", "separation"):
            for update in other.adapter(task).updates.values():
                update.left.zero_()
        assert (fingerprint(other, "mine"), fingerprint(other, "separation")) == before


def test_an_adapter_in_training_does_not_change_the_engine_that_has_it(engine: Engine) -> None:
    adapter = random_adapter(4)
    for update in adapter.updates.values():
        update.left.requires_grad_()
    with engine.add_adapter("mine", adapter) as other:
        before = fingerprint(other, "mine")
        for update in adapter.updates.values():
            with torch.no_grad():
                update.left.zero_()
        assert fingerprint(other, "mine") == before


def test_the_new_engine_shares_the_word_table_and_lives_by_itself(tiny: Checkpoint) -> None:
    engine = Engine.load(tiny.folder, device="cpu", batch_tokens=512)
    other = engine.add_adapter("mine", random_adapter(4))
    table = other._model.encoder.embedding.table
    assert table.data_ptr() == engine._model.encoder.embedding.table.data_ptr()
    assert other._budget.tokens == 512
    engine.close()
    assert other.embed(TEXTS, task="mine").vectors.shape == (3, TINY.hidden_size)
    with pytest.raises(EngineClosedError):
        engine.add_adapter("mine", random_adapter(4))


def test_shared_engines_share_the_same_adapters_only(tiny: Checkpoint, tmp_path: Path) -> None:
    save_adapter(random_adapter(4), tmp_path / "a")
    adapters = {"mine": tmp_path / "a"}
    with (
        shared_engine(tiny.folder, adapters=adapters) as one,
        shared_engine(tiny.folder, adapters=adapters) as same,
        shared_engine(tiny.folder) as without,
    ):
        assert one._model is same._model
        assert one._model is not without._model
        save_adapter(random_adapter(5), tmp_path / "a")  # trained further
        with shared_engine(tiny.folder, adapters=adapters) as later:
            assert later._model is not one._model
    with pytest.raises(InvalidOptionError, match="in memory"):
        shared_engine(tiny.folder, adapters={"mine": random_adapter(4)})  # type: ignore[dict-item]


# What is refused


def edit_settings(folder: Path, **settings: Any) -> None:
    path = folder / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | settings))


def edit_tensors(folder: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    path = folder / "adapter_model.safetensors"
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path)


Q_DOWN = "base_model.model.layers.1.self_attn.q_proj.lora_A.weight"
Q_UP = "base_model.model.layers.1.self_attn.q_proj.lora_B.weight"
A_DOWN = "base_model.model.layers.1.mlp.fc1.lora_A.weight"
A_UP = "base_model.model.layers.1.mlp.fc1.lora_B.weight"
REFUSED: dict[str, tuple[Callable[[Path], object], type[JinaLocalError], str]] = {
    "no folder": (shutil.rmtree, ModelNotFoundError, "adapter_config.json"),
    "DoRA": (lambda f: edit_settings(f, use_dora=True), CheckpointError, "use_dora"),
    "patterns": (lambda f: edit_settings(f, rank_pattern={"q": 2}), CheckpointError, "rank_p"),
    "another rank": (lambda f: edit_settings(f, r=3), CheckpointError, "misshapen"),
    "half a pair": (lambda f: edit_tensors(f, lambda t: t.pop(A_UP)), CheckpointError, "missing"),
    "half a layer": (
        lambda f: edit_tensors(f, lambda t: (t.pop(A_UP), t.pop(A_DOWN))),
        CheckpointError,
        r"nothing for \['layers\.1\.fc1'\]",
    ),
    "q of one layer": (
        lambda f: edit_tensors(f, lambda t: (t.pop(Q_UP), t.pop(Q_DOWN))),
        CheckpointError,
        r"nothing for \['layers\.1\.q'\]",
    ),
    "a layer": (
        lambda f: edit_tensors(f, lambda t: [t.pop(name) for name in list(t) if ".1." in name]),
        CheckpointError,
        r"layers\.1\.qkv is missing",
    ),
    "all that is named of one kind": (
        lambda f: edit_tensors(f, lambda t: [t.pop(name) for name in list(t) if "fc2" in name]),
        CheckpointError,
        r"nothing for \['fc2'\]",
    ),
    "another width": (
        lambda f: edit_tensors(f, lambda t: t.update({A_DOWN: torch.zeros(4, 9)})),
        CheckpointError,
        r"layers\.1\.fc1 is for",
    ),
    "another model": (
        lambda f: edit_tensors(f, lambda t: t.update({"x.lora_A.weight": torch.zeros(4, 9)})),
        CheckpointError,
        "does not have",
    ),
    "an instruction that is none": (
        lambda f: (f / INSTRUCTION_FILE).write_text('{"instruction": 3}'),
        CheckpointError,
        "not a string",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_no_adapter_of_this_model_is_refused(
    case: str, engine: Engine, tmp_path: Path
) -> None:
    damage, error, message = REFUSED[case]
    save_adapter(random_adapter(4), tmp_path / "mine")
    damage(tmp_path / "mine")
    with pytest.raises(error, match=message):
        engine.add_adapter("mine", tmp_path / "mine")


def test_an_adapter_object_is_checked_when_it_is_made() -> None:
    good = random_adapter(2)
    one = LowRank(torch.zeros(4, 2), torch.zeros(2, 4), 0.5)
    for updates, message in (
        ({}, "nothing"),
        ({"layers.0.q": one}, "layers.0.q"),
        ({"word": one, "token_type": LowRank(one.left, one.right, 0.25)}, "one finite scale"),
        ({"word": LowRank(one.left, one.left, 0.5)}, "left and right"),
        ({"layers.0.qkv": one}, "above each other"),
    ):
        with pytest.raises(InvalidOptionError, match=message):
            Adapter("mine", "", updates)
    gap = {name: update for name, update in good.updates.items() if name != "layers.0.out"}
    with pytest.raises(InvalidOptionError, match=r"lacks \['layers.0.out'\]"):
        save_adapter(Adapter("mine", "", gap), "never-written")
    assert not Path("never-written").exists()


def test_questions_without_an_answer(engine: Engine) -> None:
    with pytest.raises(UnknownTaskError):
        engine.adapter("mine")
    with pytest.raises(InvalidOptionError, match="base model"):
        engine.adapter(None)  # type: ignore[arg-type]
    with pytest.raises(InvalidOptionError, match="names of tasks with folders"):
        Engine.load("demo", adapters=["folder"])  # type: ignore[arg-type]
    with pytest.raises(InvalidOptionError, match="neither a folder"):
        engine.add_adapter("mine", 3)  # type: ignore[arg-type]
