"""Published numbers → checks of a loaded model.

What they say together is what names a cause: states from given ids need no tokenizer, the base
model needs no adapter, and vectors need everything. Each meaning below is written for that.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch

from jina_local.packing import pack
from jina_local.recognition import file_digest, tensor_digest
from jina_local.sequences import PooledSequence
from jina_local.verdicts import Check, Outcome, SkippedCheckError, compare_numbers

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from jina_local.engine import Engine
    from jina_local.loading import LoadedModel
    from jina_local.oracles import FileDigest, OracleSet, PooledOracle, StateOracle, TokenOracle
    from jina_local.verdicts import Tolerance

__all__ = ["published_checks", "sizes_of"]

_SHORT = 20

_SIZES = "another model: its vectors cannot be held against these numbers"
_SETTING = "config.json was edited or belongs to a fork: {consequence}"
_CONSEQUENCES = {
    "rotary base": "positions are rotated wrongly, and every vector is wrong, long texts most",
    "layer norm eps": "every vector is slightly wrong",
    "adapter scale": "lora_alpha / lora_rank is wrong, and every task but the base model with it",
}
_TASKS = "config.json lists the tasks in another order: tasks use each other's adapters"
_INSTRUCTION = "texts of this task are embedded behind another prompt than the model was trained on"
_PLACES = {"word": "word table", "token_type": "token type"}
_FILE = "never a failure: a file that was saved again may hold the same"
_WEIGHTS = (
    "a fine-tune, a merged or damaged copy, or weights that were rounded to another dtype or "
    "quantized before they were saved"
)
_TOKENS = (
    "tokenizer.json is another model's, or a setting in it was changed: everything that begins "
    "with a text is wrong, and states from given ids are not"
)
_BASE = (
    "base weights, rotation (base, halves), activation, layer norms or attention. If this row "
    "holds and those of tasks fail, it is the adapters; if states from ids hold and those from a "
    "text fail, it is the tokenizer"
)
_ADAPTER = (
    "where the base model is right: the adapter. Its place among the tasks (lora_adaptations), its "
    "scale (lora_alpha / lora_rank), the orientation of its factors, or its embedding part"
)
_POOLED = (
    "where states from a text are right: pooling. The mean is over all tokens with <s> and </s>, "
    "here without an instruction; it is cut first and normalized then"
)


def published_checks(engine: Engine, model: LoadedModel, oracles: OracleSet) -> list[Check]:
    """All checks against published numbers, from cheap to dear.

    Args:
        engine: An engine over the model.
        model: A loaded model.
        oracles: What was published.
    """
    own = sizes_of(model)
    sources = oracles.sources
    sizes = [
        Check("sizes", name, _SIZES, sources["sizes"], partial(_equal, own.get(name), expected))
        for name, expected in oracles.sizes.items()
    ]
    checks = [
        *_setting_checks(model, oracles),
        *(
            Check("files", one.path, _FILE, sources["files"], partial(_file, model, one))
            for one in oracles.files
        ),
        *_weight_checks(model, oracles),
        *(_token_check(model, one) for one in oracles.tokens),
        *(check for one in oracles.states for check in _state_checks(model, one, oracles)),
        *(check for one in oracles.pooled for check in _pooled_checks(engine, model, one, oracles)),
    ]
    if own.items() >= oracles.sizes.items():
        return [*sizes, *checks]
    return [*sizes, *(_skipped(check, f"this is not {oracles.model}") for check in checks)]


def sizes_of(model: LoadedModel) -> dict[str, int]:
    """What tells the architecture of a model from others."""
    config = model.checkpoint.config
    return {
        "width": config.width,
        "layers": config.n_layers,
        "heads": config.n_heads,
        "feed-forward width": config.ffn_width,
        "vocabulary": config.vocab_size,
    }


def _skipped(check: Check, reason: str) -> Check:
    def run() -> Outcome:
        raise SkippedCheckError(reason)

    return Check(check.group, check.name, check.meaning, check.source, run)


def _equal(got: object, expected: object) -> Outcome:
    return Outcome(got == expected, str(expected), str(got))


# Settings


def _setting_checks(model: LoadedModel, oracles: OracleSet) -> Iterator[Check]:
    config, tasks = model.checkpoint.config, model.checkpoint.tasks
    scales = {model.checkpoint.adapter_scale(task) for task in tasks.tasks}
    own: dict[str, object] = {
        "rotary base": config.rope_base,
        "layer norm eps": config.layer_norm_eps,
        "adapter scale": scales.pop() if len(scales) == 1 else "several",
    }
    for name, expected in oracles.settings.items():
        meaning = _SETTING.format(consequence=_CONSEQUENCES.get(name, "vectors are wrong"))
        source = oracles.sources["settings"]
        yield Check("settings", name, meaning, source, partial(_equal, own.get(name), expected))
    source = oracles.sources["tasks"]
    order = partial(_sequence, tasks.names, tuple(oracles.instructions), "tasks")
    yield Check("settings", "order of tasks", _TASKS, source, order)
    for task, instruction in oracles.instructions.items():
        run = partial(_instruction, model, task, instruction)
        yield Check("settings", f"prompt of {task}", _INSTRUCTION, source, run)


def _instruction(model: LoadedModel, task: str, expected: str) -> Outcome:
    got = model.checkpoint.tasks.find(task).instruction
    return Outcome(got == expected, _short(expected), "equal" if got == expected else _short(got))


# Files and weights


def _file(model: LoadedModel, expected: FileDigest) -> Outcome:
    if expected.layout not in ("any", model.checkpoint.layout):
        msg = f"no digest is known for this file of the {model.checkpoint.layout} layout"
        raise SkippedCheckError(msg)
    path = model.checkpoint.folder / expected.path
    if not path.is_file():
        msg = "no such file here: saved in another form, which the other rows judge"
        raise SkippedCheckError(msg)
    if file_digest(path) != expected.digest:
        msg = "not the published file, byte for byte; whether it holds the same, other rows say"
        raise SkippedCheckError(msg)
    return Outcome(True, f"{expected.digest[:12]}…", "equal")


def _weight_checks(model: LoadedModel, oracles: OracleSet) -> Iterator[Check]:
    groups: dict[str, dict[str, str]] = {}
    for name, digest in oracles.tensors.items():
        place = ".".join(name.split(".")[:-2]).replace("layers.", "layer ")
        groups.setdefault(place or name.partition(".")[0], {})[name] = digest
    for place, digests in groups.items():
        run = partial(_weights, model, digests)
        name = _PLACES.get(place, place)
        yield Check("weights", name, _WEIGHTS, oracles.sources["tensors"], run)


def _weights(model: LoadedModel, digests: dict[str, str]) -> Outcome:
    checkpoint = model.checkpoint
    other = [name for name, digest in digests.items() if tensor_digest(checkpoint, name) != digest]
    what = "1 digest" if len(digests) == 1 else f"{len(digests)} digests"
    return Outcome(
        not other,
        what,
        f"{len(other)} differ" if other else "equal",
        finding=f"other values in {', '.join(other)}" if other else "",
    )


# Tokens


def _token_check(model: LoadedModel, oracle: TokenOracle) -> Check:
    run = partial(_tokens, model, oracle)
    what = "count" if oracle.ids is None else "ids"
    return Check("tokenizer", f"{what} of {_short(oracle.text)}", _TOKENS, oracle.source, run)


def _tokens(model: LoadedModel, oracle: TokenOracle) -> Outcome:
    ids = _ids_of(model, oracle.text)
    if oracle.ids is None:
        return Outcome(len(ids) == oracle.count, f"{oracle.count} tokens", f"{len(ids)} tokens")
    return _sequence(ids, oracle.ids, "ids")


def _ids_of(model: LoadedModel, text: str) -> tuple[int, ...]:
    (tokenized,) = model.tokenizer.ids([text], [""])
    return tuple(tokenized.ids.tolist())


def _short(text: str) -> str:
    """In quotes, and no longer than a column of the table."""
    return repr(text) if len(text) <= _SHORT else f"{text[:_SHORT]!r}…"


def _sequence(got: Sequence[object], expected: Sequence[object], what: str) -> Outcome:
    if len(got) != len(expected):
        return Outcome(False, f"{len(expected)} {what}", f"{len(got)} {what}")
    for i, (one, other) in enumerate(zip(got, expected, strict=True)):
        if one != other:
            return Outcome(False, f"{other} at {i}", str(one))
    return Outcome(True, f"{len(expected)} {what}", "equal")


# States and vectors


def _state_checks(model: LoadedModel, oracle: StateOracle, oracles: OracleSet) -> Iterator[Check]:
    tolerance = _tolerance(model, oracles, "states")
    for task in oracle.values:
        run = partial(_states, model, oracle, task, tolerance)
        name = f"from {oracle.name}, {task or 'base model'}"
        yield Check("states", name, _ADAPTER if task else _BASE, oracle.source, run)


def _states(
    model: LoadedModel, oracle: StateOracle, task: str | None, tolerance: Tolerance
) -> Outcome:
    given = oracle.given
    ids = _ids_of(model, given) if isinstance(given, str) else given
    hidden = _hidden_states(model, ids, model.checkpoint.tasks.find(task).adapter)
    n_rows, n_columns = oracle.values[task].shape
    got = hidden[oracle.row : oracle.row + n_rows, oracle.column : oracle.column + n_columns]
    return compare_numbers(
        got,
        oracle.values[task],
        tolerance,
        finding=_whose(got, oracle.values, tolerance, "states"),
    )


def _hidden_states(model: LoadedModel, ids: Sequence[int], adapter: int) -> np.ndarray:
    """Last hidden states of one text, float64 (T, D)."""
    sequence = PooledSequence(np.array(ids, dtype=np.int32), adapter, item=0, spans=())
    with torch.inference_mode(), torch.autocast(model.device.type, enabled=False):
        hidden = model.encoder(pack([sequence], model.device))
    return hidden.double().numpy(force=True)


def _pooled_checks(
    engine: Engine, model: LoadedModel, oracle: PooledOracle, oracles: OracleSet
) -> Iterator[Check]:
    tolerance = _tolerance(model, oracles, "pooled")
    for task in oracle.values:
        run = partial(_pooled, engine, model, oracle, task, tolerance)
        yield Check("vectors", task or "base model", _POOLED, oracle.source, run)


def _pooled(
    engine: Engine,
    model: LoadedModel,
    oracle: PooledOracle,
    task: str | None,
    tolerance: Tolerance,
) -> Outcome:
    expected, texts = oracle.values[task], list(oracle.texts)
    prompted = bool(model.checkpoint.tasks.find(task).instruction)

    def first(*, instruction: bool) -> np.ndarray:
        vectors = engine.embed(texts, task=task, instruction=instruction).vectors
        return vectors[:, : expected.shape[1]].astype(np.float64)

    got = first(instruction=False)
    finding = _whose(got, oracle.values, tolerance, "vectors")
    if not finding and prompted and _near(got, first(instruction=True)):
        finding = "an instruction is put before the text although it is switched off"
    return compare_numbers(got, expected, tolerance, finding=finding)


def _near(got: np.ndarray, other: np.ndarray) -> bool:
    return bool(np.abs(got - other).max() < 1e-6)  # noqa: PLR2004 - one computation, done twice


def _whose(
    got: np.ndarray, values: Mapping[str | None, np.ndarray], tolerance: Tolerance, what: str
) -> str:
    """Which other task's numbers these are, if they are anybody's."""
    for task, expected in values.items():
        if got.shape == expected.shape and compare_numbers(got, expected, tolerance).is_ok:
            owner = f"the published ones of {task!r}" if task else "those of the base model"
            return f"these {what} are {owner}"
    return ""


def _tolerance(model: LoadedModel, oracles: OracleSet, kind: str) -> Tolerance:
    return oracles.tolerances[kind][str(model.dtype).removeprefix("torch.")]
