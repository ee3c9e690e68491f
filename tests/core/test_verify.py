"""`jina-local verify`: a right model passes, and every mistake fails in the rows that name it.

The numbers that a random checkpoint is held against are those of transformers and PEFT.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import torch
from tokenizers import Tokenizer, normalizers

from jina_local import inference, late_chunking, overflow
from jina_local.checkpoint import Checkpoint as OpenCheckpoint
from jina_local.devices import resolve_device, resolve_dtype
from jina_local.loading import load_model
from jina_local.oracles import published_oracles, read_oracles
from jina_local.packing import PackedBatch, pack
from jina_local.sequences import PooledSequence, PooledSpan, _Layout
from jina_local.source import resolve_source
from jina_local.tasks import Task
from jina_local.vectors import to_vectors
from jina_local.verification import Verification, verify
from support.checkpoints import (
    SPELLINGS,
    TASKS,
    TINY,
    Checkpoint,
    TinyConfig,
    write_native,
    write_original,
    write_tiny,
)
from support.command_line import CommandLine, assert_refused
from support.mutations import mutations
from support.oracle import load_native
from support.oracle_sets import published, synthetic, write
from support.tiny_tokenizers import write_tokenizer

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    import numpy as np

    from jina_local.text_ids import TextIds
    from jina_local.windows import Piece
    from support.checkpoints import Weights

BASE_STATES = {"states: from ids, base model", "states: from text, base model"}
TASK_STATES = {f"states: from {kind}, {task}" for kind in ("ids", "text") for task in TASKS}
STATES = BASE_STATES | TASK_STATES
VECTORS = {f"vectors: {task}" for task in TASKS}
PROMPT = "engine: prompt and text as one text"


@pytest.fixture(scope="module")
def oracles(tiny: Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with the numbers of the tiny checkpoint."""
    return write(tmp_path_factory.mktemp("oracles") / "oracles.json", synthetic(tiny))


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]) -> CommandLine:
    return CommandLine(monkeypatch, capfdbinary)


def verified(folder: Path | str, oracles: Path, *, dtype: str = "float32") -> Verification:
    device = resolve_device("cpu")
    source = resolve_source(folder)
    model = load_model(source, device=device, dtype=resolve_dtype(dtype, device, 64))
    return verify(model, read_oracles(oracles))


def rows(result: Verification, status: str = "failed") -> set[str]:
    return {f"{row.group}: {row.name}" for row in result.verdicts if row.status == status}


def explained(result: Verification, name: str) -> str:
    """What is said of a row that failed: what this failure shows, and what failures mean."""
    (row,) = [row for row in result.verdicts if f"{row.group}: {row.name}" == name]
    assert row.status == "failed"
    return f"{row.reason}. {row.meaning}"


def mutated(folder: Path, tiny: Checkpoint, change: Callable[[TinyConfig, Weights], Any]) -> Path:
    """The tiny checkpoint, made wrong."""
    config, weights = change(tiny.config, dict(tiny.weights))
    write_original(folder, config, weights)
    write_tokenizer(folder)
    return folder


# Right models


def test_a_right_model_passes_every_row(tiny: Checkpoint, oracles: Path) -> None:
    result = verified(tiny.folder, oracles)
    assert rows(result) == set()
    assert rows(result, "skipped") == set()
    assert result.is_ok
    assert STATES | VECTORS | {PROMPT} <= rows(result, "ok")


@pytest.mark.parametrize("spelling", ["hub", "names in memory", "fused adapters"])
def test_the_native_layout_passes_and_has_no_digest_of_the_other_layouts_file(
    spelling: str, tiny: Checkpoint, oracles: Path, tmp_path: Path
) -> None:
    """Digests of matrices do not depend on how q, k and v are stored."""
    write_native(tmp_path, tiny.config, tiny.weights, SPELLINGS[spelling])
    write_tokenizer(tmp_path)
    result = verified(tmp_path, oracles)
    assert rows(result) == set()
    assert rows(result, "skipped") == {"files: model.safetensors"}


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_other_dtypes_have_tolerances_of_their_own(
    dtype: str, tiny: Checkpoint, oracles: Path, tmp_path: Path
) -> None:
    """Wide enough for rounding, and too narrow for another task's adapter."""
    assert rows(verified(tiny.folder, oracles, dtype=dtype)) == set()
    wrong = mutated(tmp_path, tiny, mutations()["banks rolled by one"])
    assert rows(verified(wrong, oracles, dtype=dtype)) == TASK_STATES | VECTORS


# Wrong checkpoints


def test_a_wrong_rotary_base(tiny: Checkpoint, oracles: Path, tmp_path: Path) -> None:
    result = verified(mutated(tmp_path, tiny, mutations()["rope base 10000"]), oracles)
    assert rows(result) == {"settings: rotary base"} | STATES | VECTORS
    assert "positions are rotated wrongly" in explained(result, "settings: rotary base")
    assert "rotation (base, halves)" in explained(result, "states: from ids, base model")


def test_adapters_in_another_order(tiny: Checkpoint, oracles: Path, tmp_path: Path) -> None:
    """Nothing but the adapters is wrong, and each row names the task whose numbers came."""
    result = verified(mutated(tmp_path, tiny, mutations()["banks rolled by one"]), oracles)
    assert rows(result) == TASK_STATES | VECTORS
    for task, other in zip(TASKS, (*TASKS[1:], TASKS[0]), strict=True):
        for name in (f"states: from ids, {task}", f"vectors: {task}"):
            assert f"the published ones of {other!r}" in explained(result, name)
    assert "its place among the tasks" in explained(result, f"states: from ids, {TASKS[0]}").lower()


def test_two_tasks_that_changed_places_in_the_config(
    tiny: Checkpoint, oracles: Path, tmp_path: Path
) -> None:
    swapped = (TASKS[1], TASKS[0], *TASKS[2:])
    result = verified(
        mutated(
            tmp_path,
            tiny,
            lambda config, weights: (
                config,
                _stored_for(weights, dict(zip(swapped, TASKS, strict=True))),
            ),
        ),
        oracles,
    )
    wrong = {name for name in TASK_STATES | VECTORS if "retrieval" in name}
    assert rows(result) == wrong
    config = json.loads((tmp_path / "config.json").read_text())
    config["lora_adaptations"] = list(swapped)
    (tmp_path / "config.json").write_text(json.dumps(config))
    result = verified(tmp_path, oracles)  # both are swapped: the numbers are right again
    assert rows(result) == {"settings: order of tasks"}


def _stored_for(weights: Weights, other: dict[str, str]) -> Weights:
    """Every task's adapter under another task."""
    return {
        f"{other[name.partition('/')[0]]}/{name.partition('/')[2]}" if "/" in name else name: tensor
        for name, tensor in weights.items()
    }


def test_an_adapter_that_does_nothing(tiny: Checkpoint, oracles: Path, tmp_path: Path) -> None:
    def emptied(config: TinyConfig, weights: Weights) -> tuple[TinyConfig, Weights]:
        silent = {
            name: torch.zeros_like(tensor)
            for name, tensor in weights.items()
            if name.startswith("separation/")
        }
        return config, weights | silent

    result = verified(mutated(tmp_path, tiny, emptied), oracles)
    assert rows(result) == {name for name in TASK_STATES | VECTORS if "separation" in name}
    shown = explained(result, "states: from text, separation")
    assert "those of the base model" in shown


def test_a_wrong_scale_in_the_config(tiny: Checkpoint, oracles: Path, tmp_path: Path) -> None:
    result = verified(mutated(tmp_path, tiny, mutations()["scale doubled"]), oracles)
    assert rows(result) == {"settings: adapter scale"} | TASK_STATES | VECTORS
    assert "lora_alpha / lora_rank" in explained(result, "settings: adapter scale")


def test_weights_of_one_layer(tiny: Checkpoint, oracles: Path, tmp_path: Path) -> None:
    """One element of 16,384 in one of 26 matrices."""

    def touched(config: TinyConfig, weights: Weights) -> tuple[TinyConfig, Weights]:
        fc2 = weights["layers.1.fc2.weight"].clone()
        fc2[3, 5] += 1.0
        return config, weights | {"layers.1.fc2.weight": fc2}

    result = verified(mutated(tmp_path, tiny, touched), oracles)
    failed = rows(result)
    assert {name for name in failed if name.startswith("weights")} == {"weights: layer 1"}
    assert "other values in layers.1.fc2.weight" in explained(result, "weights: layer 1")
    assert failed <= {"weights: layer 1"} | STATES | VECTORS


def test_another_tokenizer(tiny: Checkpoint, oracles: Path, tmp_path: Path) -> None:
    """States from given ids hold: the model is right, and what it is given is not."""
    folder = mutated(tmp_path, tiny, lambda config, weights: (config, weights))
    path = str(folder / "tokenizer.json")
    tokenizer = Tokenizer.from_file(path)
    tokenizer.normalizer = normalizers.Sequence([tokenizer.normalizer, normalizers.Lowercase()])
    tokenizer.save(path)
    result = verified(folder, oracles)
    failed = rows(result)
    assert {name for name in failed if name.startswith("tokenizer: ids")}
    assert {name for name in failed if name.startswith("states: from text")}
    assert not {name for name in failed if name.startswith("states: from ids")}
    assert failed <= STATES | VECTORS | {n for n in failed if n.startswith("tokenizer")}
    assert rows(result, "skipped") == {"files: tokenizer.json"}
    name = next(name for name in failed if name.startswith("tokenizer: ids"))
    assert "tokenizer.json is another model's" in explained(result, name)


def test_another_prompt(tiny: Checkpoint, oracles: Path, tmp_path: Path) -> None:
    """No published number shows it, since they were all made without."""
    texts = {**TINY.task_instructions, "retrieval.query": "query: "}
    result = verified(
        mutated(tmp_path, tiny, lambda c, w: (replace(c, task_instructions=texts), w)), oracles
    )
    assert rows(result) == {"settings: prompt of retrieval.query"}


# Wrong code


def test_the_scale_left_out(
    tiny: Checkpoint, oracles: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = OpenCheckpoint.low_ranks
    monkeypatch.setattr(
        OpenCheckpoint,
        "low_ranks",
        lambda self, module: [replace(one, scale=1.0) for one in right(self, module)],
    )
    result = verified(tiny.folder, oracles)
    assert rows(result) == TASK_STATES | VECTORS
    assert "scale (lora_alpha / lora_rank)" in explained(result, "states: from ids, separation")


def test_the_prompt_in_the_mean_although_it_is_switched_off(
    tiny: Checkpoint, oracles: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Task, "without_instruction", lambda self: self)
    result = verified(tiny.folder, oracles)
    prompted = {"vectors: retrieval.query", "vectors: retrieval.passage"}
    assert rows(result) == prompted | {PROMPT}
    for name in prompted:
        assert "an instruction is put before the text although" in explained(result, name)


def pool_of_whole_texts(
    monkeypatch: pytest.MonkeyPatch, pooled: Callable[[TextIds], tuple[int, int]]
) -> None:
    """Texts that need no windows pool these tokens; `_Layout` says it of all others."""

    def whole(text: TextIds, *, adapter: int, row: int) -> PooledSequence:
        return PooledSequence(text.ids, adapter, row, (PooledSpan(row, *pooled(text)),))

    monkeypatch.setattr(overflow, "whole_sequence", whole)


def test_the_prompt_left_out_of_the_mean(
    tiny: Checkpoint, oracles: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = _Layout.pooled

    def without_prompt(layout: _Layout, *args: Any) -> list[tuple[int, int]]:
        return [
            (layout.n_prefix if start == 0 and layout.n_prefix > 1 else start, stop)
            for start, stop in right(layout, *args)
        ]

    monkeypatch.setattr(_Layout, "pooled", without_prompt)
    pool_of_whole_texts(
        monkeypatch, lambda text: (text.n_prefix if text.n_prefix > 1 else 0, len(text))
    )
    result = verified(tiny.folder, oracles)
    assert PROMPT in rows(result)
    assert not rows(result) & (STATES | VECTORS)
    assert "its tokens are left out of the mean" in explained(result, PROMPT)


def test_special_tokens_left_out_of_the_mean(
    tiny: Checkpoint, oracles: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def body_alone(layout: _Layout, piece: Piece, *_: object) -> list[tuple[int, int]]:
        return [(piece.start + layout.shift, piece.stop + layout.shift)]

    monkeypatch.setattr(_Layout, "pooled", body_alone)
    pool_of_whole_texts(monkeypatch, lambda text: (text.body.start, text.body.stop))
    result = verified(tiny.folder, oracles)
    assert rows(result) == VECTORS | {PROMPT, "engine: mean of late chunks"}
    assert "all tokens with <s> and </s>" in explained(result, "vectors: separation")


def test_texts_of_one_batch_that_see_each_other(
    tiny: Checkpoint, oracles: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def as_one(sequences: Sequence[PooledSequence], device: torch.device) -> PackedBatch:
        batch = pack(sequences, device)
        ends = torch.tensor([0, len(batch.ids)], dtype=torch.int32)
        return replace(batch, cu_seqlens=ends, lengths=(len(batch.ids),))

    monkeypatch.setattr(inference, "pack", as_one)
    result = verified(tiny.folder, oracles)
    assert "engine: alone and in a batch of all tasks" in rows(result)
    assert "engine: chunks in windows and alone" in rows(result)
    assert not rows(result) & STATES


def test_windows_without_their_beginning(
    tiny: Checkpoint, oracles: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = late_chunking.window_sequences

    def without_s(*args: Any, **options: Any) -> list[PooledSequence]:
        first, *others = right(*args, **options)
        cut = [
            replace(
                one,
                ids=one.ids[1:],
                spans=tuple(PooledSpan(s.row, s.start - 1, s.stop - 1) for s in one.spans),
            )
            for one in others
        ]
        return [first, *cut]

    monkeypatch.setattr(late_chunking, "window_sequences", without_s)
    assert rows(verified(tiny.folder, oracles)) == {"engine: chunks in windows and alone"}


def test_vectors_cut_after_they_were_normalized(
    tiny: Checkpoint, oracles: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def legacy(pooled: torch.Tensor, dimensions: int, **options: Any) -> np.ndarray:
        return to_vectors(pooled, dimensions, **(options | {"legacy": True}))

    monkeypatch.setattr("jina_local.text_embedder.to_vectors", legacy)
    assert rows(verified(tiny.folder, oracles)) == {"engine: half of the dimensions"}


def test_a_model_that_overflows_fails_its_rows_and_not_the_command(
    tiny: Checkpoint, oracles: Path, tmp_path: Path
) -> None:
    def huge(config: TinyConfig, weights: Weights) -> tuple[TinyConfig, Weights]:
        return config, weights | {"layers.0.fc1.weight": weights["layers.0.fc1.weight"] * 1e38}

    result = verified(mutated(tmp_path, tiny, huge), oracles)
    assert rows(result) >= STATES | VECTORS
    assert "NaN or infinity" in explained(result, "vectors: separation")


# The published numbers


@pytest.fixture(scope="module")
def dressed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights in everything but their width as the published model."""
    config = TinyConfig(vocab_size=6100, n_layers=24)
    return write_tiny(tmp_path_factory.mktemp("dressed"), config=config).folder


def test_a_random_checkpoint_dressed_as_the_real_one(dressed: Path, tmp_path: Path) -> None:
    """Held against what was published, nothing but the published numbers fails."""
    content = published()
    content["sizes"] |= {"width": 64, "heads": 4, "feed-forward width": 256, "vocabulary": 6100}
    result = verified(dressed, write(tmp_path / "oracles.json", content))
    failed, held = rows(result), rows(result, "ok")
    places = ("word table", "token type", "layer 0", "layer 1", "layer 22", "layer 23")
    weights = {f"weights: {place}" for place in places}
    assert weights | STATES | VECTORS < failed
    assert len(failed - weights - STATES - VECTORS) == len(content["tokens"]["texts"])
    assert {row.partition(":")[0] for row in held} == {"sizes", "settings", "engine"}
    assert {row.partition(":")[0] for row in rows(result, "skipped")} == {"files"}


def test_every_published_number_has_its_public_source() -> None:
    known = published_oracles()
    sources = [*known.sources.values(), *(one.source for one in known.tokens)]
    sources += [one.source for one in (*known.states, *known.pooled)]
    assert len(sources) == 6 + 3 + 2 + 1
    assert all(source.startswith("https://") for source in sources)
    for one in known.states:
        assert set(one.values) == {None, *TASKS}
    assert [one.values[None].shape for one in known.states] == [(3, 3), (3, 9)]
    assert {values.shape for values in known.pooled[0].values.values()} == {(2, 5)}
    assert known.states[0].values["classification"][2, 2] == -0.00022832
    assert len(known.tensors) == 21
    assert {len(digest) for digest in known.tensors.values()} == {64}


def test_leaving_out_a_token_that_is_masked_as_a_key_changes_nothing_else(
    tiny: Checkpoint, tmp_path: Path
) -> None:
    """Why the ids of the first oracle are those of its source without the first one."""
    write_native(tmp_path, tiny.config, tiny.weights)
    model = load_native(tmp_path, tiny.config)
    model.disable_adapters()
    ids = torch.tensor([[0, 345, 232, 328, 740, 2]])
    mask = torch.tensor([[0, 1, 1, 1, 1, 1]])
    with torch.no_grad():
        masked = model(input_ids=ids, attention_mask=mask).last_hidden_state[0, 1:]
        alone = model(input_ids=ids[:, 1:]).last_hidden_state[0]
    assert (masked - alone).abs().max() < 1e-5


# The command


def test_the_command_passes_and_says_everything(
    cli: CommandLine, tiny: Checkpoint, oracles: Path
) -> None:
    finished = cli("verify", tiny.folder, "--oracles", oracles, "--json")
    assert (finished.code, finished.stderr) == (0, "")
    record = finished.record
    assert (record["ok"], record["dtype"], record["device"]) == (True, "float32", "cpu")
    assert (record["recognised"], record["mismatch"]) == (None, "")
    for row in record["rows"]:
        assert row["meaning"]
        assert row["source"] or row["group"] == "engine"
        assert row["expected"]
        assert row["got"]
    table = cli("verify", tiny.folder, "--oracles", oracles)
    assert max(map(len, table.stdout.splitlines()[2:])) <= 80  # after the name of a folder
    assert "unknown weights" in table.stdout
    assert f"\n{len(record['rows'])} checks: {len(record['rows'])} ok, 0 failed" in table.stdout


def test_the_command_fails_with_the_row_and_its_meaning(
    cli: CommandLine, tiny: Checkpoint, oracles: Path, tmp_path: Path
) -> None:
    wrong = mutated(tmp_path, tiny, mutations()["scale doubled"])
    finished = cli("verify", wrong, "--oracles", oracles)
    assert finished.code == 1
    unwrapped = " ".join(finished.stdout.split())
    assert "failed settings, adapter scale usually means: config.json was edited" in unwrapped
    assert "0.25 0.5" in unwrapped
    assert max(map(len, finished.stdout.splitlines()[2:])) <= 80


def test_another_model_is_said_plainly_and_is_a_failure(cli: CommandLine) -> None:
    finished = cli("verify", "demo", "--json")
    assert finished.code == 1
    record = finished.record
    assert record["mismatch"].startswith("This is not jina-embeddings-v3: width 256 instead")
    by_status: dict[str, set[str]] = {}
    for row in record["rows"]:
        by_status.setdefault(row["status"], set()).add(row["group"])
    assert by_status["failed"] == {"sizes"}
    assert by_status["ok"] == {"engine"}
    assert "states" in by_status["skipped"]
    reasons = {row["reason"] for row in record["rows"] if row["group"] == "states"}
    assert reasons == {"this is not jina-embeddings-v3"}


def test_the_engine_alone_is_checked_on_any_weights(cli: CommandLine) -> None:
    finished = cli("verify", "demo", "--only-engine", "--json")
    assert finished.code == 0
    assert {row["group"] for row in finished.record["rows"]} == {"engine"}
    assert finished.record["mismatch"] == ""


@pytest.mark.parametrize("content", [{}, {"schema": 2}, {"schema": 1, "model": "x"}])
def test_a_file_that_holds_no_oracles_is_refused(
    content: dict[str, Any], cli: CommandLine, tmp_path: Path
) -> None:
    path = write(tmp_path / "other.json", content)
    assert_refused(cli("verify", "demo", "--oracles", path), "other.json", "is no set of oracles")


def test_options_are_checked_first(cli: CommandLine, tmp_path: Path) -> None:
    assert cli("verify", "demo", "--only-engine", "--oracles", "x.json").code == 2
    assert_refused(cli("verify", "demo", "--oracles", tmp_path / "none.json"), "none.json")
    assert_refused(cli("verify", "demo", "--dtype", "int8"), "'int8'")
    assert_refused(cli("verify", tmp_path / "nothing"), "no model at")
