"""The encoder equals the transformers-native model with PEFT, on random weights, in float32.

Token states agree to 1e-5 and vectors to 1e-6, for the base model and all five tasks, for both
layouts in every spelling, with one forward pass over a ragged batch that mixes tasks.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import torch
from torch.nn import functional as F

from jina_local import encoder
from jina_local.products import (
    NarrowedProduct,
    PlainProduct,
    PrepackedProduct,
    WidenedProduct,
)
from support.checkpoints import (
    SPELLINGS,
    TASKS,
    TINY,
    TinyConfig,
    Weights,
    random_weights,
    write_native,
    write_original,
)
from support.mutations import ADAPTER_MUTATIONS, mutations
from support.oracle import Oracle
from support.ours import Ours

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from jina_local.products import Product

MODES = (None, *TASKS)
STATE_TOLERANCE = 1e-5
VECTOR_TOLERANCE = 1e-6
REALISTIC, STRONG = 1.0, 100.0


def ragged_ids(lengths: list[int], vocab_size: int) -> list[list[int]]:
    """Texts of these lengths in tokens, between `<s>` and `</s>` where there is room."""
    generator = torch.Generator().manual_seed(7)
    texts = []
    for length in lengths:
        inner = torch.randint(4, vocab_size - 1, (max(length - 2, 0),), generator=generator)
        texts.append([0, *inner.tolist(), 2][:length])
    return texts


RAGGED = ragged_ids([1, 2, 3, 17, 64, 64, 129, 600], TINY.vocab_size)


class Expected:
    """What the oracle says of every text under every mode, computed once."""

    def __init__(self, oracle: Oracle, texts: list[list[int]]) -> None:
        self.batch = [ids for _ in MODES for ids in texts]
        self.tasks = [mode for mode in MODES for _ in texts]
        self.states = [
            oracle.hidden_states(ids, task)
            for ids, task in zip(self.batch, self.tasks, strict=True)
        ]

    def assert_parity(self, ours: Ours) -> None:
        """All of it, packed into one batch that mixes tasks, equals the oracle."""
        states = ours.hidden_states(self.batch, self.tasks)
        vectors = ours.vectors(self.batch, self.tasks)
        for i, expected in enumerate(self.states):
            place = (len(self.batch[i]), self.tasks[i])
            assert (states[i] - expected).abs().max() <= STATE_TOLERANCE, place
            expected_vector = F.normalize(expected.mean(0), dim=0).numpy()
            assert abs(vectors[i] - expected_vector).max() <= VECTOR_TOLERANCE, place


@pytest.fixture(scope="module", params=[REALISTIC, STRONG], ids=["realistic", "strong adapters"])
def weights(request: pytest.FixtureRequest) -> Weights:
    return random_weights(TINY, delta_factor=request.param)


@pytest.fixture(scope="module")
def expected(weights: Weights) -> Expected:
    return Expected(Oracle(TINY, weights), RAGGED)


@pytest.mark.parametrize("prefix", ["roberta.", ""])
def test_original_layout(prefix: str, weights: Weights, expected: Expected, tmp_path: Path) -> None:
    write_original(tmp_path, TINY, weights, prefix=prefix)
    expected.assert_parity(Ours(tmp_path))


def test_original_layout_in_shards(weights: Weights, expected: Expected, tmp_path: Path) -> None:
    write_original(tmp_path, TINY, weights, shards=3)
    expected.assert_parity(Ours(tmp_path))


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_native_layout(spelling: str, weights: Weights, expected: Expected, tmp_path: Path) -> None:
    write_native(tmp_path, TINY, weights, SPELLINGS[spelling])
    expected.assert_parity(Ours(tmp_path))


def published(weights: Weights) -> Weights:
    """The weights as they are published, in bfloat16, widened again."""
    return {name: tensor.bfloat16().float() for name, tensor in weights.items()}


@pytest.fixture(scope="module")
def every_length(weights: Weights) -> list[tuple[list[int], str | None, torch.Tensor]]:
    """600 texts, each of another length, the tasks in turn, and their states by the oracle."""
    oracle = Oracle(TINY, published(weights))
    texts = ragged_ids(list(range(1, 601)), TINY.vocab_size)
    tasks = [MODES[len(ids) % len(MODES)] for ids in texts]
    return [
        (ids, task, oracle.hidden_states(ids, task)) for ids, task in zip(texts, tasks, strict=True)
    ]


@pytest.mark.parametrize(
    "form",
    [PlainProduct, WidenedProduct, PrepackedProduct.of, NarrowedProduct.of],
    ids=["plain", "widened", "prepacked", "narrowed"],
)
def test_every_length_to_600_beside_all_others(
    form: Callable[[torch.Tensor], Product],
    weights: Weights,
    every_length: list[tuple[list[int], str | None, torch.Tensor]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(encoder, "choose_product", lambda *_: form)
    write_original(tmp_path, TINY, published(weights))
    texts, tasks, expected = zip(*every_length, strict=True)
    for state, one in zip(Ours(tmp_path).hidden_states(texts, tasks), expected, strict=True):
        assert (state - one).abs().max() <= STATE_TOLERANCE, len(one)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_lower_precision_stays_near_float32(
    dtype: torch.dtype, weights: Weights, tmp_path: Path
) -> None:
    write_original(tmp_path, TINY, weights)
    batch, tasks = [ids for _ in MODES for ids in RAGGED], [m for m in MODES for _ in RAGGED]
    reference = Ours(tmp_path).vectors(batch, tasks)
    cosines = (reference * Ours(tmp_path, dtype=dtype).vectors(batch, tasks)).sum(axis=1)
    assert cosines.min() >= 0.9995


def test_native_adapters_trained_after_splitting_qkv(tmp_path: Path) -> None:
    """Three different lora_A for q, k and v need the block form of the fused update."""
    weights = random_weights(TINY, delta_factor=STRONG, split_adapters=True)
    write_native(tmp_path, TINY, weights, SPELLINGS["saved by transformers"])
    Expected(Oracle(TINY, weights), RAGGED).assert_parity(Ours(tmp_path))


def test_full_width(tmp_path: Path) -> None:
    """1024 wide, 16 heads, 2 layers: the sizes of the published model."""
    config = TinyConfig(hidden_size=1024, n_heads=16, intermediate_size=4096)
    weights = random_weights(config, delta_factor=10.0)
    write_original(tmp_path, config, weights)
    texts = ragged_ids([1, 9, 140], config.vocab_size)
    Expected(Oracle(config, weights, attention="sdpa"), texts).assert_parity(Ours(tmp_path))


def test_other_task_names_rank_and_alpha(tmp_path: Path) -> None:
    """Everything that fine-tunes change comes from the config."""
    config = replace(
        TINY,
        tasks=("legal.query", "legal.passage"),
        task_instructions={"legal.query": "Find: ", "legal.passage": ""},
        rank=3,
        alpha=7,
        rope_base=10000.0,
        layer_norm_eps=1e-12,
    )
    weights = random_weights(config, delta_factor=STRONG)
    write_original(tmp_path, config, weights)
    ours, oracle = Ours(tmp_path), Oracle(config, weights)
    assert ours.tasks.names == config.tasks
    for task in (None, *config.tasks):
        for ids, state in zip(
            RAGGED, ours.hidden_states(RAGGED, [task] * len(RAGGED)), strict=True
        ):
            assert (state - oracle.hidden_states(ids, task)).abs().max() <= STATE_TOLERANCE


@pytest.mark.parametrize("name", [name for name in mutations() if name != "gelu with tanh"])
def test_a_wrong_model_fails_parity(name: str, tmp_path: Path) -> None:
    """The comparison above can fail: every mistake that is easily made breaks it.

    The tanh GELU cannot be written into a checkpoint that loads: its config is refused.
    """
    weights = random_weights(TINY, delta_factor=STRONG)
    config, wrong = mutations()[name](TINY, weights)
    write_original(tmp_path, config, wrong)
    ours, oracle = Ours(tmp_path), Oracle(TINY, weights)
    tasks = TASKS if name in ADAPTER_MUTATIONS else MODES
    for task in tasks:
        state = ours.hidden_states([RAGGED[4]], [task])[0]
        assert (state - oracle.hidden_states(RAGGED[4], task)).abs().max() > 10 * STATE_TOLERANCE


def test_gelu_is_the_exact_one(tmp_path: Path) -> None:
    weights = random_weights(TINY)
    write_original(tmp_path, TINY, weights)
    tanh = Oracle(replace(TINY, hidden_act="gelu_pytorch_tanh"), weights)
    state = Ours(tmp_path).hidden_states([RAGGED[4]], [None])[0]
    assert (state - tanh.hidden_states(RAGGED[4], None)).abs().max() > 10 * STATE_TOLERANCE
