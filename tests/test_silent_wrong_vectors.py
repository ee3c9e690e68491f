"""The commonest failure in this field: a wrong vector, returned with success.

Each test is named after one of the kinds that other tools ship, and shows that it is impossible
here or an error. The kinds that come with late chunking are tested where it is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from jina_local import Engine
from jina_local.errors import CheckpointError, TextTooLongError, UnknownTaskError
from support.checkpoints import INSTRUCTIONS, TASKS, TINY, Checkpoint, TinyConfig, write_tiny
from support.oracle import Oracle
from support.tiny_tokenizers import tiny_tokenizer

if TYPE_CHECKING:
    from pathlib import Path

TEXT = "Berlin is the capital of Germany."
VISIBLE = 1e-2  # the random adapters and instructions move a vector further than this


@pytest.fixture(scope="module")
def oracle(tiny: Checkpoint) -> Oracle:
    return Oracle(tiny.config, tiny.weights)


def reference(oracle: Oracle, task: str | None, instruction: str) -> np.ndarray:
    ids = tiny_tokenizer("whitespace+metaspace").encode(instruction + TEXT).ids
    return oracle.embedding(ids, task).numpy()


def distance(a: np.ndarray, b: np.ndarray) -> float:
    return float(abs(a - b).max())


def test_01_the_same_task_for_query_and_passage(engine: Engine, oracle: Oracle) -> None:
    query = engine.embed_queries([TEXT]).vectors[0]
    passage = engine.embed_documents([TEXT]).vectors[0]
    for vector, task in ((query, "retrieval.query"), (passage, "retrieval.passage")):
        assert distance(vector, reference(oracle, task, INSTRUCTIONS[task])) <= 1e-6
    assert distance(query, passage) > VISIBLE


@pytest.mark.parametrize("task", ["retrieval.query", "retrieval.passage"])
def test_02_adapter_right_and_prompt_missing(engine: Engine, oracle: Oracle, task: str) -> None:
    (vector,) = engine.embed([TEXT], task=task).vectors
    assert distance(vector, reference(oracle, task, INSTRUCTIONS[task])) <= 1e-6
    assert distance(vector, reference(oracle, task, "")) > VISIBLE


@pytest.mark.parametrize("task", ["retrieval.query", "retrieval.passage"])
def test_03_prompt_right_and_adapter_missing(engine: Engine, oracle: Oracle, task: str) -> None:
    (vector,) = engine.embed([TEXT], task=task).vectors
    assert distance(vector, reference(oracle, None, INSTRUCTIONS[task])) > VISIBLE


def test_04_only_one_adapter_available(engine: Engine, oracle: Oracle) -> None:
    """All five and none, in one call, each with its own weights."""
    modes = [None, *TASKS]
    vectors = engine.embed([TEXT] * len(modes), task=modes).vectors
    for vector, task in zip(vectors, modes, strict=True):
        expected = reference(oracle, task, INSTRUCTIONS.get(task or "", ""))
        assert distance(vector, expected) <= 1e-6


def test_05_task_dropped_by_an_outer_layer(engine: Engine) -> None:
    """A misspelt or misplaced option is an error; nothing takes `**kwargs` and loses them."""
    with pytest.raises(TypeError, match="tsak"):
        engine.embed([TEXT], tsak="separation")  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="task"):
        engine.embed_documents([TEXT], task="separation")  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="prompt_name"):
        engine.encode([TEXT], prompt_name="retrieval.query")  # type: ignore[call-arg]


def test_06_unknown_task_mapped_to_a_default(engine: Engine) -> None:
    for name in ("clustering", "search_query", "passage", "retrieval"):
        with pytest.raises(UnknownTaskError):
            engine.embed([TEXT], task=name)


def test_10_sliced_after_normalizing(engine: Engine) -> None:
    for dimensions in (1, 8, 32, TINY.hidden_size):
        vectors = engine.embed_documents([TEXT, "x"], dimensions=dimensions).vectors
        assert abs(np.linalg.norm(vectors, axis=1) - 1).max() <= 1e-6


def test_11_truncation_without_signal(tmp_path: Path) -> None:
    write_tiny(tmp_path, config=TinyConfig(max_positions=32))
    with Engine.load(tmp_path, device="cpu") as engine:
        long = "many words " * 40
        with pytest.raises(TextTooLongError):
            engine.embed_queries([long])
        assert engine.embed_documents([long]).windows[0] > 1
        assert engine.embed_documents([long], on_overflow="truncate").truncated[0]


def test_12_specials_and_instruction_miscounted(engine: Engine, oracle: Oracle) -> None:
    """`<s>`, instruction and `</s>` are part of the mean, as in the reference."""
    task = "retrieval.passage"
    ids = tiny_tokenizer("whitespace+metaspace").encode(INSTRUCTIONS[task] + TEXT).ids
    states = oracle.hidden_states(ids, task)
    (vector,) = engine.embed_documents([TEXT], normalize=False).vectors
    assert distance(vector, states.mean(0).numpy()) <= 1e-5
    assert distance(vector, states[1:-1].mean(0).numpy()) > 1e-3


def test_13_weights_loaded_as_garbage(tiny: Checkpoint, tmp_path: Path) -> None:
    """A checkpoint with one tensor under another name does not load with that tensor random."""
    from safetensors.torch import load_file, save_file

    for path in tiny.folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    tensors = load_file(tmp_path / "model.safetensors")
    tensors["roberta.encoder.layers.0.mlp.fc9.bias"] = tensors.pop(
        "roberta.encoder.layers.0.mlp.fc1.bias"
    )
    save_file(tensors, tmp_path / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"(?s)missing: layers.0.fc1.bias.*fc9"):
        Engine.load(tmp_path)
