"""The differentiable encoder: the engine's numbers, and the gradients of transformers + PEFT."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from jina_local.checkpoint import Checkpoint, open_checkpoint
from jina_local.errors import InvalidOptionError, UnknownTaskError
from jina_local.names import canonical_name
from jina_local.own_adapters import adapter_of, with_adapters
from jina_local.packing import pack
from jina_local.sequences import PooledSequence
from jina_local.training import TrainableEncoder
from support.checkpoints import (
    SPELLINGS,
    TASKS,
    TINY,
    random_weights,
    write_native,
    write_original,
)
from support.oracle import load_native
from support.ours import Ours
from support.spellings import adapter_folder
from support.tiny_tokenizers import PAD_ID

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from transformers import JinaEmbeddingsV3Model

MODES = (None, *TASKS)
STATE_TOLERANCE = 1e-5
VECTOR_TOLERANCE = 1e-6
GRADIENT_TOLERANCE = 1e-4
TASK = "retrieval.passage"
SHARED = random_weights(TINY, delta_factor=100.0)
SPLIT = random_weights(TINY, delta_factor=100.0, split_adapters=True)


def ragged_ids(lengths: Sequence[int]) -> list[list[int]]:
    """Texts of these lengths in tokens, `<s>` and `</s>` included."""
    numbers = np.random.default_rng(7)
    inner = [numbers.integers(4, TINY.vocab_size - 1, length - 2).tolist() for length in lengths]
    return [[0, *ids, 2] for ids in inner]


TEXTS = ragged_ids([23, 9, 9, 5, 64, 9])


@pytest.fixture(scope="module", params=["one factor of q, k, v", "three factors"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A native folder; adapters of q, k and v share their right factor, or do not."""
    home = tmp_path_factory.mktemp("model")
    weights = SHARED if request.param.startswith("one") else SPLIT
    write_native(home, TINY, weights, SPELLINGS["hub"], prompts=TINY.task_instructions)
    return home


def hidden_states(
    encoder: TrainableEncoder, texts: Sequence[Sequence[int]], tasks: Sequence[str | None]
) -> list[torch.Tensor]:
    """Hidden states of each text, (t, D), from one pass over a batch in the order given."""
    sequences = [
        PooledSequence(
            np.array(ids, dtype=np.int32), encoder.tasks.find(task).adapter, row, spans=()
        )
        for row, (ids, task) in enumerate(zip(texts, tasks, strict=True))
    ]
    states = encoder(pack(sequences, torch.device("cpu")))
    return list(torch.split(states, [len(ids) for ids in texts]))


def loss(states: Sequence[torch.Tensor]) -> torch.Tensor:
    """Something that every dimension of every vector counts in, and no two alike."""
    vectors = F.normalize(torch.stack([state.mean(0) for state in states]), dim=1)
    generator = torch.Generator().manual_seed(3)
    return (vectors * torch.randn(vectors.shape, generator=generator)).sum()


def gradients(encoder: TrainableEncoder) -> dict[str, torch.Tensor]:
    return {name: p.grad for name, p in encoder.named_parameters() if p.grad is not None}


def trained(encoder: TrainableEncoder, tasks: Sequence[str | None]) -> dict[str, torch.Tensor]:
    """Gradients of the loss of all texts."""
    encoder.zero_grad(set_to_none=True)
    loss(hidden_states(encoder, TEXTS, tasks)).backward()
    return gradients(encoder)


def native_gradients(folder: Path, *, with_base: bool) -> dict[str, torch.Tensor]:
    """Gradients of the same loss according to transformers and PEFT, by canonical name."""
    model: JinaEmbeddingsV3Model = load_native(folder, TINY)
    model.set_adapter(adapter_folder(TASK))
    for name, parameter in model.named_parameters():
        is_mine = f".{adapter_folder(TASK)}" in name
        parameter.requires_grad_(is_mine or (with_base and "lora_" not in name))
    longest = max(map(len, TEXTS))
    ids = torch.tensor([[*row, *[PAD_ID] * (longest - len(row))] for row in TEXTS])
    mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in TEXTS])
    states = model(input_ids=ids, attention_mask=mask).last_hidden_state
    loss([state[: len(row)] for state, row in zip(states, TEXTS, strict=True)]).backward()
    return {
        canonical_name(name.replace(".base_layer", "")): parameter.grad
        for name, parameter in model.named_parameters()
        if parameter.grad is not None and "pooler" not in name
    }


def as_ours(native: dict[str, torch.Tensor], encoder: TrainableEncoder) -> dict[str, torch.Tensor]:
    """Gradients of the native model under the names, and in the shapes, of our parameters."""
    number = encoder.tasks.find(TASK).adapter
    expected = {}
    for name, _ in encoder.named_parameters():
        module, _, side = name.partition(f".updates.parts.{number}.")
        if ".updates." in name and not side:
            continue
        parts = [f"{module[:-3]}{part}" for part in "qkv"] if module.endswith("qkv") else [module]
        if side:
            which = {"left": "B", "right": "A"}[side]
            found = [native[f"{part}.lora_{which}"] for part in parts]
            if module in ("word", "token_type"):
                # PEFT names an embedding's factors the other way round, and turns them over
                found = [native[f"{module}.lora_{'A' if side == 'left' else 'B'}"].T]
            rank = dict(encoder.named_parameters())[name].shape[side == "left"]
            if len(parts) == 3 and rank == 3 * TINY.rank:
                expected[name] = torch.block_diag(*found) if side == "left" else torch.cat(found)
            elif len(parts) == 3:
                expected[name] = torch.cat(found) if side == "left" else sum(found)
            else:
                (expected[name],) = found
        elif module in native:
            expected[module] = native[module]
    return expected


def assert_equal_gradients(
    ours: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]
) -> None:
    assert set(ours) == set(expected)
    for name, gradient in ours.items():
        difference = (gradient - expected[name]).abs().max() / expected[name].abs().max()
        assert difference <= GRADIENT_TOLERANCE, (name, float(difference))


def test_states_and_vectors_are_those_of_the_engine(folder: Path) -> None:
    """In one batch that mixes all tasks."""
    texts = [ids for _ in MODES for ids in TEXTS]
    tasks = [mode for mode in MODES for _ in TEXTS]
    encoder = TrainableEncoder(open_checkpoint(folder), trained=[TASK])
    states = hidden_states(encoder, texts, tasks)
    for ours, engine in zip(states, Ours(folder).hidden_states(texts, tasks), strict=True):
        assert (ours - engine).abs().max() <= STATE_TOLERANCE
        vectors = (F.normalize(one.mean(0), dim=0) for one in (ours, engine))
        assert torch.sub(*vectors).abs().max() <= VECTOR_TOLERANCE


def test_gradients_of_an_adapter_are_those_of_transformers_and_peft(folder: Path) -> None:
    encoder = TrainableEncoder(open_checkpoint(folder), trained=[TASK])
    ours = trained(encoder, [TASK] * len(TEXTS))
    native = native_gradients(folder, with_base=False)
    assert len(native) > 2 * len(TEXTS)
    assert_equal_gradients(ours, as_ours(native, encoder))


def test_gradients_of_the_whole_model_are_those_of_transformers_and_peft(tmp_path: Path) -> None:
    write_native(tmp_path, TINY, SHARED, SPELLINGS["hub"], prompts=TINY.task_instructions)
    encoder = TrainableEncoder(open_checkpoint(tmp_path), trained=[TASK], train_base=True)
    ours = trained(encoder, [TASK] * len(TEXTS))
    native = native_gradients(tmp_path, with_base=True)
    for kind in ("weight", "bias"):
        for i in range(TINY.n_layers):
            parts = [native.pop(f"layers.{i}.{part}.{kind}") for part in "qkv"]
            native[f"layers.{i}.qkv.{kind}"] = torch.cat(parts)
    base = {name: gradient for name, gradient in native.items() if ".lora_" not in name}
    assert_equal_gradients(ours, as_ours(native, encoder) | base)


def test_both_layouts_give_the_same_gradients(tmp_path: Path) -> None:
    write_native(tmp_path / "native", TINY, SHARED, prompts=TINY.task_instructions)
    write_original(tmp_path / "original", TINY, SHARED)
    native, original = (
        trained(
            TrainableEncoder(open_checkpoint(tmp_path / layout), trained=[TASK]),
            [TASK] * len(TEXTS),
        )
        for layout in ("native", "original")
    )
    assert native.keys() == original.keys()
    assert all(torch.equal(native[name], original[name]) for name in native)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    home = tmp_path_factory.mktemp("original")
    write_original(home, TINY, SHARED)
    return open_checkpoint(home)


def test_only_what_is_trained_has_gradients(checkpoint: Checkpoint) -> None:
    encoder = TrainableEncoder(checkpoint, trained=["separation", TASK])
    found = trained(encoder, [MODES[i % len(MODES)] for i in range(len(TEXTS))])
    numbers = {name.split(".parts.")[1].split(".")[0] for name in found}
    assert numbers == {str(TASKS.index("separation")), str(TASKS.index(TASK))}


def test_a_mixed_batch_has_the_sum_of_the_gradients_of_its_tasks(checkpoint: Checkpoint) -> None:
    """The mask of one task hides nothing and lets nothing of another in."""
    encoder = TrainableEncoder(checkpoint, trained=["separation", TASK])
    tasks = [("separation", TASK, None)[i % 3] for i in range(len(TEXTS))]
    together = trained(encoder, tasks)
    vectors = torch.randn(
        (len(TEXTS), TINY.hidden_size), generator=torch.Generator().manual_seed(3)
    )
    encoder.zero_grad(set_to_none=True)
    for ids, task, weights in zip(TEXTS, tasks, vectors, strict=True):
        (state,) = hidden_states(encoder, [ids], [task])
        if state.requires_grad:
            (F.normalize(state.mean(0), dim=0) * weights).sum().backward()
    assert_equal_gradients(together, gradients(encoder))


@pytest.mark.parametrize(("every", "n_kept"), [(1, 0), (2, TINY.n_layers // 2)])
def test_computing_layers_again_changes_no_gradient(
    checkpoint: Checkpoint, every: int, n_kept: int
) -> None:
    encoder = TrainableEncoder(checkpoint, trained=[TASK]).train()
    kept = {name: g.clone() for name, g in trained(encoder, [TASK] * len(TEXTS)).items()}
    encoder.gradient_checkpointing_enable(every_n_layers=every)
    passes = []
    for layer in encoder.layers:
        layer.register_forward_pre_hook(lambda layer, *_: passes.append(layer))
    again = trained(encoder, [TASK] * len(TEXTS))
    assert all(torch.equal(again[name], kept[name]) for name in kept)
    assert sorted(map(passes.count, encoder.layers)) == sorted(
        [1] * n_kept + [2] * (TINY.n_layers - n_kept)
    )


def test_other_ways_to_save_memory_are_refused(checkpoint: Checkpoint) -> None:
    encoder = TrainableEncoder(checkpoint, trained=[TASK])
    encoder.gradient_checkpointing_enable({"use_reentrant": False})
    for options in ({"offload": True}, {"gradient_checkpointing_kwargs": {"use_reentrant": True}}):
        with pytest.raises(InvalidOptionError, match="is not supported here"):
            encoder.gradient_checkpointing_enable(**options)


def test_an_adapter_comes_out_as_it_went_in(folder: Path) -> None:
    opened = open_checkpoint(folder)
    encoder = TrainableEncoder(opened, trained=[TASK])
    for task in TASKS:
        stored, found = adapter_of(opened, task), encoder.adapter(task)
        assert (found.task, found.instruction) == (task, TINY.task_instructions[task])
        assert found.updates.keys() == stored.updates.keys()
        for name, update in found.updates.items():
            assert torch.equal(update.left, stored.updates[name].left.float())
            assert torch.equal(update.right, stored.updates[name].right.float())
            assert update.scale == stored.updates[name].scale


def test_three_factors_stay_three_factors(tmp_path: Path) -> None:
    """A step of training leaves zeros where q, k and v have nothing in common."""
    write_native(tmp_path, TINY, SPLIT, prompts=TINY.task_instructions)
    encoder = TrainableEncoder(open_checkpoint(tmp_path), trained=[TASK])
    optimizer = torch.optim.AdamW([p for p in encoder.parameters() if p.requires_grad], lr=0.1)
    trained(encoder, [TASK] * len(TEXTS))
    optimizer.step()
    left = encoder.adapter(TASK).updates["layers.0.qkv"].left
    blocks = torch.block_diag(*[torch.ones(TINY.hidden_size, TINY.rank)] * 3)
    assert not (left * (1 - blocks)).any()
    assert (left * blocks).any(dim=1).all()


def test_a_step_changes_the_trained_adapter_and_nothing_else(checkpoint: Checkpoint) -> None:
    copied = with_adapters(checkpoint, {"mine": adapter_of(checkpoint, TASK).named("mine")})
    encoder = TrainableEncoder(copied, trained=["mine"])
    before = {name: p.detach().clone() for name, p in encoder.named_parameters()}
    optimizer = torch.optim.AdamW([p for p in encoder.parameters() if p.requires_grad], lr=0.1)
    trained(encoder, ["mine"] * len(TEXTS))
    optimizer.step()
    changed = {n for n, p in encoder.named_parameters() if not torch.equal(p, before[n])}
    number = str(len(TASKS))
    assert changed == {n for n in before if f".parts.{number}." in n}


def test_nothing_to_train_and_unknown_tasks_are_refused(checkpoint: Checkpoint) -> None:
    with pytest.raises(InvalidOptionError, match="nothing would be trained"):
        TrainableEncoder(checkpoint, trained=[])
    with pytest.raises(UnknownTaskError, match="nonsense"):
        TrainableEncoder(checkpoint, trained=["nonsense"])
    encoder = TrainableEncoder(checkpoint, trained=[TASK])
    with pytest.raises(UnknownTaskError, match="nonsense"):
        encoder.adapter("nonsense")
