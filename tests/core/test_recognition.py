"""The canary: what the weights are, in milliseconds, and never in the way."""

from __future__ import annotations

import hashlib
import json
import logging
from typing import TYPE_CHECKING, Any

import pytest
import torch

from jina_local import Engine, recognition, shared_engine
from jina_local.checkpoint import open_checkpoint
from jina_local.errors import InvalidOptionError
from jina_local.oracles import KnownWeights, known_weights
from jina_local.recognition import recognise, tensor_digest
from support.checkpoints import SPELLINGS, TINY, Checkpoint, random_weights, write_native
from support.command_line import CommandLine
from support.tiny_tokenizers import write_tokenizer

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

DEMO_WEIGHTS = "demo model of jina-local"
TELLING = ("token_type.weight", "layers.1.out.weight")


def sha256(tensor: torch.Tensor) -> str:
    return hashlib.sha256(tensor.float().numpy().astype("<f4").tobytes()).hexdigest()


def know(monkeypatch: pytest.MonkeyPatch, *known: KnownWeights) -> None:
    monkeypatch.setattr(recognition, "known_weights", lambda: known)


@pytest.fixture
def named(tiny: Checkpoint, monkeypatch: pytest.MonkeyPatch) -> str:
    """The tiny checkpoint is known, behind weights that it shares one tensor with."""
    digests = {
        "token_type.weight": sha256(tiny.weights["token_type.weight"]),
        "layers.1.out.weight": sha256(tiny.weights["layers.1.attention_output.weight"]),
    }
    half = digests | {"layers.1.out.weight": "0" * 64}
    know(monkeypatch, KnownWeights("a relative", half), KnownWeights("tiny", digests))
    return "tiny"


def test_the_demo_model_is_recognised(demo: Engine) -> None:
    """Digests in the package are those of the model in the package."""
    assert demo.recognised == DEMO_WEIGHTS


def test_what_is_known_of_the_published_weights_is_told_apart_by_all_of_its_tensors() -> None:
    by_name = {known.name: known.digests for known in known_weights()}
    assert set(by_name) == {"base weights of jina-embeddings-v3", DEMO_WEIGHTS}
    assert set(by_name["base weights of jina-embeddings-v3"]) == {
        "token_type.weight",
        "layers.23.out.weight",
    }


def test_every_tensor_has_to_agree(named: str, tiny: Checkpoint) -> None:
    assert recognise(open_checkpoint(tiny.folder)) == named


@pytest.mark.parametrize("spelling", ["hub", "names in memory"])
def test_the_layout_does_not_matter(
    spelling: str, named: str, tiny: Checkpoint, tmp_path: Path
) -> None:
    write_native(tmp_path, tiny.config, tiny.weights, SPELLINGS[spelling])
    assert recognise(open_checkpoint(tmp_path)) == named


@pytest.mark.parametrize("name", TELLING)
def test_other_values_in_one_tensor_are_unknown_weights(
    name: str, named: str, tiny: Checkpoint, tmp_path: Path
) -> None:
    del named
    neutral = name.replace("out", "attention_output")
    touched = tiny.weights[neutral].clone()
    touched[0, 0] += 1e-6
    write_native(tmp_path, tiny.config, tiny.weights | {neutral: touched})
    assert recognise(open_checkpoint(tmp_path)) is None


@pytest.mark.parametrize("spelling", ["hub", "names in memory"])
def test_digests_of_q_k_and_v_are_of_their_rows(spelling: str, tmp_path: Path) -> None:
    weights = random_weights(TINY, dtype=torch.bfloat16)
    write_native(tmp_path, TINY, weights, SPELLINGS[spelling])
    checkpoint = open_checkpoint(tmp_path)
    for part in ("query", "key", "value"):
        name = f"layers.1.{part[0]}.weight"
        assert tensor_digest(checkpoint, name) == sha256(weights[f"layers.1.{part}.weight"])


def test_loading_says_what_was_recognised(
    named: str, tiny: Checkpoint, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, logger="jina_local"), Engine.load(tiny.folder) as engine:
        assert engine.recognised == named
    assert caplog.messages == [f"{tiny.folder.resolve()}: {named}"]


def test_loading_says_that_weights_are_unknown(
    tiny: Checkpoint, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, logger="jina_local"), shared_engine(tiny.folder) as engine:
        assert engine.recognised is None
    assert caplog.messages == [f"{tiny.folder.resolve()}: unknown weights"]


def test_it_can_be_switched_off(
    named: str, tiny: Checkpoint, caplog: pytest.LogCaptureFixture
) -> None:
    del named
    with (
        caplog.at_level(logging.INFO, logger="jina_local"),
        Engine.load(tiny.folder, canary=False) as engine,
    ):
        assert engine.recognised is None
    assert caplog.messages == []
    with pytest.raises(InvalidOptionError, match="canary"):
        Engine.load(tiny.folder, canary="off")  # type: ignore[arg-type]


@pytest.mark.parametrize("error", [OSError("a bad disk"), KeyError("x"), RuntimeError("no memory")])
def test_whatever_goes_wrong_is_no_reason_not_to_load(
    error: Exception, tiny: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> Sequence[KnownWeights]:
        raise error

    monkeypatch.setattr(recognition, "known_weights", fail)
    with Engine.load(tiny.folder) as engine:
        assert engine.recognised is None
        assert len(engine.embed(["still here"])) == 1


def test_info_says_what_the_weights_are(
    monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes], tmp_path: Path
) -> None:
    cli = CommandLine(monkeypatch, capfdbinary)
    assert f"│ {DEMO_WEIGHTS} " in cli("info", "demo").stdout
    write_native(tmp_path, TINY, random_weights(TINY))
    write_tokenizer(tmp_path)
    facts: dict[str, Any] = json.loads(cli("info", tmp_path, "--json").stdout)
    assert facts["weights"] == "unknown weights"
