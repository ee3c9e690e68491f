"""Ids and fingerprints: equal exactly where the numbers are, and different for the smallest change.

`weights_id` is of the values, whatever file holds them. `Engine.fingerprint` is of a way of
embedding: two collections may be searched together exactly if theirs are equal.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from jina_local import Engine
from jina_local.checkpoint import open_checkpoint
from jina_local.errors import CheckpointError, DimensionsError, UnknownTaskError
from jina_local.fingerprint import canonical_hash, tokenizer_id, weights_id
from jina_local.stored import FileStamp
from support.checkpoints import (
    INSTRUCTIONS,
    SPELLINGS,
    TASKS,
    TINY,
    Checkpoint,
    TinyConfig,
    Weights,
    random_weights,
    write_native,
    write_original,
    write_tiny,
)
from support.mutations import ADAPTER_MUTATIONS, mutations
from support.tiny_tokenizers import write_tokenizer
from support.weights import QKV

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

# One layer and three tasks: everything that a checkpoint has, in few tensors.
SMALL = TinyConfig(n_layers=1, hidden_size=16, n_heads=2, intermediate_size=32, tasks=TASKS[:3])
SMALL_WEIGHTS = random_weights(SMALL)
MARK = "f" * 64  # put in place of an id that is kept: where it comes back, no weights were read


def id_of(folder: Path) -> str:
    return weights_id(open_checkpoint(folder))


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where ids are kept: nowhere that another test has written to."""
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder))
    return folder


@pytest.fixture(scope="module")
def small_id(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("small")
    write_small(folder, SMALL_WEIGHTS)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("small-cache")))
        return id_of(folder)


def write_small(folder: Path, weights: Weights, config: TinyConfig = SMALL) -> None:
    instructions = {task: INSTRUCTIONS[task] for task in config.tasks}
    write_original(folder, replace(config, task_instructions=instructions), weights)


# The weights


@pytest.mark.parametrize("prefix", ["roberta.", ""])
@pytest.mark.parametrize("shards", [1, 2])
def test_prefixes_and_shards_do_not_matter(
    prefix: str, shards: int, small_id: str, tmp_path: Path
) -> None:
    config = replace(SMALL, task_instructions=dict.fromkeys(SMALL.tasks, ""))
    write_original(tmp_path, config, SMALL_WEIGHTS, prefix=prefix, shards=shards)
    assert id_of(tmp_path) == small_id


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_layout_and_spelling_do_not_matter(spelling: str, small_id: str, tmp_path: Path) -> None:
    prompts = dict.fromkeys(SMALL.tasks, "")
    write_native(tmp_path, SMALL, SMALL_WEIGHTS, SPELLINGS[spelling], prompts=prompts)
    assert id_of(tmp_path) == small_id


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_the_dtype_of_the_file_does_not_matter_for_the_same_values(
    dtype: torch.dtype, tmp_path: Path
) -> None:
    rounded = random_weights(TINY, dtype=dtype)
    write_original(tmp_path / "small", TINY, rounded)
    write_original(tmp_path / "wide", TINY, rounded, dtype=torch.float32)
    write_native(tmp_path / "native", TINY, rounded)
    ids = {id_of(tmp_path / name) for name in ("small", "wide", "native")}
    assert len(ids) == 1


def test_rounding_the_values_matters(small_id: str, tmp_path: Path) -> None:
    write_small(tmp_path, {k: v.bfloat16().float() for k, v in SMALL_WEIGHTS.items()})
    assert id_of(tmp_path) != small_id


def stored_as_one(name: str) -> list[str]:
    """Query, key and value adapters share their right factor."""
    module, _, kind = name.rpartition(".")
    layer, _, part = module.rpartition(".")
    is_shared = kind == "right" and part in QKV
    return [f"{layer}.{part}.right" for part in QKV] if is_shared else [name]


@given(
    name=st.sampled_from([name for name in SMALL_WEIGHTS if "pooler" not in name]),
    data=st.data(),
)
@settings(max_examples=60)
def test_one_bit_of_any_tensor_matters(
    name: str, data: st.DataObject, small_id: str, tmp_path: Path
) -> None:
    """The next float after one element, of the base or of any task's adapter."""
    changed = SMALL_WEIGHTS[name].clone()
    element = data.draw(st.integers(0, changed.numel() - 1))
    flat = changed.view(-1)
    flat[element] = torch.nextafter(flat[element], torch.tensor(torch.inf))
    write_small(tmp_path, SMALL_WEIGHTS | dict.fromkeys(stored_as_one(name), changed))
    assert id_of(tmp_path) != small_id


def test_the_pooler_does_not_matter(small_id: str, tmp_path: Path) -> None:
    without = {k: torch.zeros_like(v) for k, v in SMALL_WEIGHTS.items() if "pooler" in k}
    assert without
    write_small(tmp_path, SMALL_WEIGHTS | without)
    assert id_of(tmp_path) == small_id


def test_equal_tensors_in_other_places_matter(small_id: str, tmp_path: Path) -> None:
    one, other = "layers.0.attention_norm.weight", "layers.0.output_norm.weight"
    swapped = {one: SMALL_WEIGHTS[other], other: SMALL_WEIGHTS[one]}
    write_small(tmp_path, SMALL_WEIGHTS | swapped)
    assert id_of(tmp_path) != small_id


def test_the_name_of_a_task_matters(small_id: str, tmp_path: Path) -> None:
    """An adapter is what it is used for: the same values under another name are another model."""
    renamed = {k.replace("separation/", "separations/"): v for k, v in SMALL_WEIGHTS.items()}
    tasks = (*TASKS[:2], "separations")
    config = replace(SMALL, tasks=tasks, task_instructions=dict.fromkeys(tasks, ""))
    write_original(tmp_path, config, renamed)
    assert id_of(tmp_path) != small_id


@pytest.mark.parametrize("layout", ["original", "native"])
def test_the_order_of_the_tasks_does_not_matter(layout: str, small_id: str, tmp_path: Path) -> None:
    """Every task still has its own adapter, so every vector is the same."""
    instructions = {task: INSTRUCTIONS[task] for task in SMALL.tasks}
    config = replace(SMALL, tasks=SMALL.tasks[::-1], task_instructions=instructions)
    if layout == "original":
        write_original(tmp_path, config, SMALL_WEIGHTS)
    else:
        write_native(tmp_path, config, SMALL_WEIGHTS, prompts=instructions)
    assert open_checkpoint(tmp_path).tasks.names == SMALL.tasks[::-1]
    assert id_of(tmp_path) == small_id


@pytest.mark.parametrize("name", sorted(ADAPTER_MUTATIONS - {"scale doubled"}))
def test_a_mistake_with_the_adapters_matters(name: str, small_id: str, tmp_path: Path) -> None:
    config, wrong = mutations()[name](SMALL, SMALL_WEIGHTS)
    write_small(tmp_path, wrong, config)
    assert id_of(tmp_path) != small_id


# Kept on disk


def kept_files(cache: Path) -> list[Path]:
    return [path for path in cache.rglob("*") if path.is_file()]


def test_the_id_is_kept_in_the_users_cache(small_id: str, cache: Path, tmp_path: Path) -> None:
    write_small(tmp_path, SMALL_WEIGHTS)
    assert id_of(tmp_path) == small_id
    (kept,) = kept_files(cache)
    assert kept.parent == cache / "jina-local" / "weights"
    kept.write_text(MARK, encoding="utf-8")
    assert id_of(tmp_path) == MARK


def test_a_file_that_has_changed_is_read_again(small_id: str, cache: Path, tmp_path: Path) -> None:
    write_small(tmp_path, SMALL_WEIGHTS)
    id_of(tmp_path)
    (kept,) = kept_files(cache)
    kept.write_text(MARK, encoding="utf-8")
    weights = tmp_path / "model.safetensors"
    os.utime(weights, ns=(0, weights.stat().st_mtime_ns + 1))
    assert id_of(tmp_path) == small_id


def test_new_values_in_place_of_the_old_are_noticed(small_id: str, tmp_path: Path) -> None:
    """Same names, same size, another moment."""
    write_small(tmp_path, SMALL_WEIGHTS)
    assert id_of(tmp_path) == small_id
    before = (tmp_path / "model.safetensors").stat()
    write_small(tmp_path, {k: -v for k, v in SMALL_WEIGHTS.items()})
    assert (tmp_path / "model.safetensors").stat().st_size == before.st_size
    assert id_of(tmp_path) != small_id


@pytest.mark.parametrize("task", [None, TASKS[2]], ids=["base", "an adapter"])
def test_every_file_of_the_native_layout_is_watched(
    task: str | None, cache: Path, small_id: str, tmp_path: Path
) -> None:
    write_native(tmp_path, SMALL, SMALL_WEIGHTS, prompts=dict.fromkeys(SMALL.tasks, ""))
    id_of(tmp_path)
    (kept,) = kept_files(cache)
    kept.write_text(MARK, encoding="utf-8")
    file = tmp_path / task / "adapter_model.safetensors" if task else tmp_path / "model.safetensors"
    os.utime(file, ns=(0, 0))
    assert id_of(tmp_path) == small_id


def test_two_folders_of_the_same_weights_have_one_id(small_id: str, tmp_path: Path) -> None:
    write_small(tmp_path / "one", SMALL_WEIGHTS)
    shutil.copytree(tmp_path / "one", tmp_path / "other")
    assert id_of(tmp_path / "one") == id_of(tmp_path / "other") == small_id


@pytest.mark.parametrize("obstacle", ["a file", "a file below", "a folder in the name's place"])
def test_a_cache_that_cannot_be_written_is_no_reason_to_fail(
    obstacle: str, cache: Path, small_id: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "model"
    write_small(folder, SMALL_WEIGHTS)
    if obstacle == "a file":
        monkeypatch.setenv("XDG_CACHE_HOME", str(folder / "config.json"))
    elif obstacle == "a file below":
        (cache / "jina-local").write_bytes(b"")
    else:
        id_of(folder)
        (kept,) = kept_files(cache)
        kept.unlink()
        kept.mkdir()
    assert id_of(folder) == small_id
    assert id_of(folder) == small_id
    files = kept_files(cache)
    assert [path.name for path in files] == (["jina-local"] if obstacle == "a file below" else [])


def test_a_machine_without_a_home_has_no_cache_and_needs_none(
    small_id: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a container that runs under a user id that its /etc/passwd does not have."""
    write_small(tmp_path, SMALL_WEIGHTS)
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.delenv("HOME")
    monkeypatch.setattr(os, "getuid", lambda: 54321)
    assert id_of(tmp_path) == small_id


@pytest.mark.parametrize(
    "content", [b"", b"\0" * 64, MARK[:20].encode()], ids=["empty", "zeros", "cut short"]
)
def test_a_damaged_cache_entry_is_not_an_id(
    content: bytes, small_id: str, cache: Path, tmp_path: Path
) -> None:
    """A machine that lost power. Two models whose ids were both empty would pass for one."""
    write_small(tmp_path, SMALL_WEIGHTS)
    id_of(tmp_path)
    (kept,) = kept_files(cache)
    kept.write_bytes(content)
    assert id_of(tmp_path) == small_id


# The tokenizer


def test_baked_truncation_and_padding_do_not_matter(tmp_path: Path) -> None:
    """They are switched off on loading, so they change no vector."""
    write_tokenizer(tmp_path / "plain")
    write_tokenizer(tmp_path / "baked", baked_truncation=True, baked_padding=True)
    plain, baked = ((tmp_path / name / "tokenizer.json") for name in ("plain", "baked"))
    assert plain.read_bytes() != baked.read_bytes()
    assert tokenizer_id_of(tmp_path / "plain") == tokenizer_id_of(tmp_path / "baked")


def test_the_spelling_of_the_tokenizers_json_does_not_matter(tmp_path: Path) -> None:
    write_tokenizer(tmp_path)
    before = tokenizer_id_of(tmp_path)
    path = tmp_path / "tokenizer.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(dict(reversed(content.items())), indent=7), encoding="utf-8")
    assert tokenizer_id_of(tmp_path) == before


def test_another_tokenizer_matters(tmp_path: Path) -> None:
    write_tokenizer(tmp_path / "one")
    write_tokenizer(tmp_path / "other", "metaspace")
    assert tokenizer_id_of(tmp_path / "one") != tokenizer_id_of(tmp_path / "other")


def tokenizer_id_of(folder: Path) -> str:
    return tokenizer_id(FileStamp.of(folder / "tokenizer.json"))


@pytest.mark.parametrize("change", ["rewritten", "removed"])
@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json"])
def test_a_file_that_changed_since_it_was_loaded_has_no_identity(
    name: str, change: str, tmp_path: Path
) -> None:
    """Or the vectors of the old weights would be recorded under the name of the new ones."""
    write_tiny(tmp_path)
    engine = Engine.load(tmp_path, device="cpu")
    path = tmp_path / name
    if change == "removed":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes())
    with pytest.raises(CheckpointError, match=rf"{name} changed on disk since .*load the model"):
        engine.fingerprint(task=None, dimensions=None, normalize=True, instruction=True)


def test_the_hash_is_that_of_canonical_json() -> None:
    """Anybody can compute it: keys sorted, no spaces, UTF-8."""
    text = '{"a":null,"b":{"c":[1,true],"ü":"柏"}}'
    content = {"b": {"ü": "柏", "c": [1, True]}, "a": None}
    assert canonical_hash(content) == hashlib.sha256(text.encode()).hexdigest()


# The way of embedding

WAY: Mapping[str, Any] = {
    "task": "retrieval.passage",
    "dimensions": 32,
    "normalize": True,
    "instruction": True,
    "late": None,
    "legacy": False,
}


def test_every_argument_matters(engine: Engine) -> None:
    others: list[dict[str, Any]] = [
        *({"task": task} for task in (None, *TASKS) if task != WAY["task"]),
        {"dimensions": 31},
        {"dimensions": None},
        {"normalize": False},
        {"instruction": False},
        {"late": {"margin": 128}},
        {"late": {"margin": 129}},
        {"legacy": True},
    ]
    found = {engine.fingerprint(**{**WAY, **other}) for other in ({}, *others)}
    assert len(found) == 1 + len(others)
    assert all(len(fingerprint) == 64 for fingerprint in found)


def test_what_changes_no_number_changes_no_fingerprint(engine: Engine) -> None:
    assert engine.fingerprint(**WAY) == engine.fingerprint(**WAY)
    full = engine.fingerprint(**{**WAY, "dimensions": None})
    assert full == engine.fingerprint(**{**WAY, "dimensions": engine.dimension})
    no_text = {**WAY, "task": "separation"}  # has no instruction that could be left out
    assert engine.fingerprint(**no_text) == engine.fingerprint(**{**no_text, "instruction": False})
    late = [{"a": 1, "b": 2}, {"b": 2, "a": 1}]
    one, other = (engine.fingerprint(**{**WAY, "late": settings}) for settings in late)
    assert one == other


def test_defaults_are_no_late_chunking_and_no_legacy(engine: Engine) -> None:
    spelt = {key: value for key, value in WAY.items() if key not in ("late", "legacy")}
    assert engine.fingerprint(**spelt) == engine.fingerprint(**WAY)


def test_the_same_way_has_one_fingerprint_on_every_batch_size_and_dtype(
    engine: Engine, tiny: Checkpoint
) -> None:
    """Device and dtype change vectors by rounding only; a server and a laptop share an index."""
    with Engine.load(tiny.folder, dtype="bfloat16", batch_tokens=7) as other:
        assert other.fingerprint(**WAY) == engine.fingerprint(**WAY)


@pytest.mark.parametrize("task", [None, *TASKS])
@pytest.mark.parametrize("layout", ["hub", "saved by transformers", "names in memory"])
def test_both_layouts_have_the_same_fingerprints(
    layout: str, task: str | None, engines: Mapping[str, Engine]
) -> None:
    way = {**WAY, "task": task}
    assert engines[layout].fingerprint(**way) == engines["original"].fingerprint(**way)
    assert engines[layout].weights_id == engines["original"].weights_id


@pytest.fixture(scope="module")
def engines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Engine]]:
    layouts = ("original", "hub", "saved by transformers", "names in memory")
    folders = {name: write_tiny(tmp_path_factory.mktemp("layout"), name).folder for name in layouts}
    loaded = {name: Engine.load(folder, device="cpu") for name, folder in folders.items()}
    yield loaded
    for engine in loaded.values():
        engine.close()


@pytest.mark.parametrize(
    "change",
    [
        {"alpha": 2},
        {"rope_base": 10000.0},
        {"layer_norm_eps": 1e-6},
        {"n_heads": 2},
        {"max_positions": 512},
    ],
    ids=str,
)
def test_every_number_of_the_config_matters(
    change: dict[str, Any], engine: Engine, tiny: Checkpoint, tmp_path: Path
) -> None:
    """None of them is in the weights, so `weights_id` alone would not tell."""
    config = replace(TINY, **change)
    write_original(tmp_path, config, tiny.weights)
    write_tokenizer(tmp_path, model_max_length=config.max_positions)
    with Engine.load(tmp_path, device="cpu") as other:
        assert other.weights_id == engine.weights_id
        assert other.fingerprint(**WAY) != engine.fingerprint(**WAY)


def test_the_scale_of_the_adapters_does_not_matter_to_the_base_model(
    engine: Engine, tiny: Checkpoint, tmp_path: Path
) -> None:
    write_original(tmp_path, replace(TINY, alpha=2), tiny.weights)
    write_tokenizer(tmp_path, model_max_length=TINY.max_positions)
    with Engine.load(tmp_path, device="cpu") as other:
        way = {**WAY, "task": None}
        assert other.fingerprint(**way) == engine.fingerprint(**way)


def test_the_text_of_an_instruction_matters_to_its_own_task(
    engine: Engine, tiny: Checkpoint, tmp_path: Path
) -> None:
    shutil.copytree(tiny.folder, tmp_path, dirs_exist_ok=True)
    path = tmp_path / "config.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    content["task_instructions"]["retrieval.passage"] += " "
    path.write_text(json.dumps(content), encoding="utf-8")
    with Engine.load(tmp_path, device="cpu") as other:
        for task in (None, *TASKS):
            way = {**WAY, "task": task}
            is_equal = other.fingerprint(**way) == engine.fingerprint(**way)
            assert is_equal == (task != "retrieval.passage")
        without = {**WAY, "instruction": False}
        assert other.fingerprint(**without) == engine.fingerprint(**without)


def test_another_tokenizer_makes_another_way(
    engine: Engine, tiny: Checkpoint, tmp_path: Path
) -> None:
    shutil.copytree(tiny.folder, tmp_path, dirs_exist_ok=True)
    write_tokenizer(tmp_path, "metaspace", model_max_length=TINY.max_positions)
    with Engine.load(tmp_path, device="cpu") as other:
        assert other.weights_id == engine.weights_id
        assert other.fingerprint(**WAY) != engine.fingerprint(**WAY)


def test_a_way_that_does_not_exist_has_no_fingerprint(engine: Engine) -> None:
    with pytest.raises(UnknownTaskError, match="unknown task 'clustering'"):
        engine.fingerprint(**{**WAY, "task": "clustering"})
    with pytest.raises(DimensionsError, match="dimensions is 65"):
        engine.fingerprint(**{**WAY, "dimensions": 65})
