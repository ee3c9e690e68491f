"""config.json and the instructions: what is missing, wrong or foreign is refused by its name."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from jina_local.config import ModelConfig, read_instructions, read_model_config
from jina_local.errors import CheckpointError, ModelNotFoundError
from support.checkpoints import INSTRUCTIONS, SPELLINGS, TASKS, TINY
from support.configs import native_config, original_config, prompts_config

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

ORIGINAL = original_config(TINY, "float32")
NATIVE = native_config(TINY, SPELLINGS["hub"], "float32")
ABSENT = "absent"  # as a value: the key is removed


def config_of(folder: Path, raw: Mapping[str, Any], **changes: object) -> ModelConfig:
    """Write a config.json with changes, where `ABSENT` removes a key, and read it."""
    content = {key: value for key, value in (dict(raw) | changes).items() if value is not ABSENT}
    (folder / "config.json").write_text(json.dumps(content), encoding="utf-8")
    return read_model_config(folder)


def write_prompts(folder: Path, prompts: Mapping[str, str]) -> None:
    path = folder / "config_sentence_transformers.json"
    path.write_text(json.dumps(prompts_config(prompts)), encoding="utf-8")


def test_every_number_is_the_files_own(tmp_path: Path) -> None:
    config = config_of(tmp_path, ORIGINAL, truncate_dim=32)
    assert config == ModelConfig(
        vocab_size=TINY.vocab_size,
        width=TINY.hidden_size,
        n_layers=TINY.n_layers,
        n_heads=TINY.n_heads,
        ffn_width=TINY.intermediate_size,
        layer_norm_eps=TINY.layer_norm_eps,
        rope_base=TINY.rope_base,
        task_names=TASKS,
        lora_rank=TINY.rank,
        lora_alpha=TINY.alpha,
        task_instructions=INSTRUCTIONS,
        matryoshka_dimensions=TINY.matryoshka_dimensions,
        truncate_dim=32,
        bos_token_id=0,
        eos_token_id=2,
    )
    assert config.head_width == TINY.head_dim


def test_the_native_config_says_less_and_that_is_fine(tmp_path: Path) -> None:
    config = config_of(tmp_path, NATIVE, lora_adaptations=ABSENT)
    assert (config.task_names, config.matryoshka_dimensions) == ((), ())
    assert (config.lora_rank, config.lora_alpha, config.task_instructions) == (None, None, None)


# Files


def test_a_folder_without_config_is_not_a_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFoundError, match=r"has no config\.json") as raised:
        read_model_config(tmp_path)
    assert isinstance(raised.value, FileNotFoundError)
    assert str(tmp_path) in str(raised.value)


@pytest.mark.parametrize(
    "content",
    [json.dumps(ORIGINAL).encode()[:200], b"", b"<!doctype html><title>404</title>", b"{\xff}"],
    ids=["truncated", "empty", "a web page", "not UTF-8"],
)
def test_a_config_that_is_not_json_is_to_be_downloaded_again(
    content: bytes, tmp_path: Path
) -> None:
    (tmp_path / "config.json").write_bytes(content)
    with pytest.raises(
        CheckpointError, match=r"config\.json is not valid JSON .*download it again"
    ) as raised:
        read_model_config(tmp_path)
    assert isinstance(raised.value, ValueError)


@pytest.mark.parametrize("content", [[], "text", 1, None], ids=repr)
def test_a_config_that_is_no_object_is_refused(content: object, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(content), encoding="utf-8")
    kind = type(content).__name__
    with pytest.raises(CheckpointError, match=rf"config\.json holds a JSON {kind}, not an object"):
        read_model_config(tmp_path)


# Numbers

SIZES = (
    "vocab_size",
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "intermediate_size",
)


@pytest.mark.parametrize("key", SIZES)
@pytest.mark.parametrize("value", [ABSENT, None, 0, -64, 64.0, "64", True, [64]], ids=repr)
def test_sizes_are_positive_integers(key: str, value: object, tmp_path: Path) -> None:
    shown = None if value is ABSENT else value
    with pytest.raises(CheckpointError) as raised:
        config_of(tmp_path, ORIGINAL, **{key: value})
    assert str(raised.value).endswith(f"config.json: {key} is {shown!r}, not a positive integer")


@pytest.mark.parametrize("key", ["layer_norm_eps", "rotary_emb_base"])
@pytest.mark.parametrize("value", [0, -1e-5, "1e-5", True, float("nan"), float("inf")], ids=repr)
def test_other_numbers_are_positive_and_finite(key: str, value: object, tmp_path: Path) -> None:
    """Python's JSON reads NaN and Infinity; as a rope base, infinity would rotate nothing."""
    with pytest.raises(CheckpointError, match=rf"config\.json: {key} is .*, not a positive number"):
        config_of(tmp_path, ORIGINAL, **{key: value})


def test_a_missing_epsilon_is_not_guessed(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="layer_norm_eps is None, not a positive number"):
        config_of(tmp_path, ORIGINAL, layer_norm_eps=ABSENT)


@pytest.mark.parametrize(("width", "heads"), [(64, 3), (60, 4)])
def test_the_width_splits_into_heads_of_even_width(width: int, heads: int, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=f"hidden_size {width} cannot be split into {heads}"):
        config_of(tmp_path, ORIGINAL, hidden_size=width, num_attention_heads=heads)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("lora_rank", "4"),
        ("lora_rank", 4.5),
        ("lora_rank", -4),
        ("lora_alpha", "1"),
        ("lora_alpha", float("nan")),
        ("lora_adaptations", "retrieval.query"),
        ("lora_adaptations", [1, 2]),
        ("task_instructions", ["Represent: "]),
        ("matryoshka_dimensions", 32),
        ("truncate_dim", "32"),
        ("rope_parameters", "default"),
    ],
)
def test_optional_settings_are_of_their_type_where_they_are_given(
    key: str, value: object, tmp_path: Path
) -> None:
    with pytest.raises(CheckpointError, match=rf"config\.json: {key} is "):
        config_of(tmp_path, ORIGINAL, **{key: value})


# Rotary base


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"rotary_emb_base": 10000}, 10000.0),
        ({"rope_parameters": {"rope_theta": 5e3, "rope_type": "default"}}, 5e3),
        ({"rope_parameters": {"rope_theta": 5e3}}, 5e3),
        ({"rope_theta": 7e3}, 7e3),
        ({"rope_theta": 7e3, "rope_parameters": {"rope_type": "default"}}, 7e3),
        ({"rope_theta": 7e3, "rope_scaling": None}, 7e3),
        ({"rotary_emb_base": 1e4, "rope_parameters": {"rope_theta": 5e3}, "rope_theta": 7e3}, 1e4),
        ({"rope_parameters": {"rope_theta": 5e3}, "rope_theta": 7e3}, 5e3),
    ],
)
@pytest.mark.parametrize("raw", [ORIGINAL, NATIVE], ids=["original", "native"])
def test_the_rotary_base_is_found_in_each_of_its_places(
    raw: dict[str, Any], settings: dict[str, Any], expected: float, tmp_path: Path
) -> None:
    bare = {"rotary_emb_base": ABSENT, "rope_parameters": ABSENT, "rope_theta": ABSENT}
    assert config_of(tmp_path, raw, **(bare | settings)).rope_base == expected


def test_only_the_native_class_has_a_default_base(tmp_path: Path) -> None:
    assert config_of(tmp_path, NATIVE, rope_parameters=ABSENT).rope_base == 20000.0
    with pytest.raises(CheckpointError, match=r"rotary_emb_base is missing.*wrong vectors"):
        config_of(tmp_path, ORIGINAL, rotary_emb_base=ABSENT)


@pytest.mark.parametrize(
    ("place", "scaling"),
    [
        ("rope_parameters", {"rope_type": "yarn", "rope_theta": 2e4, "factor": 4.0}),
        ("rope_scaling", {"rope_type": "yarn", "factor": 4.0}),
        ("rope_scaling", {"type": "yarn", "factor": 4.0}),  # as transformers wrote it at first
    ],
)
def test_scaled_positions_are_refused(place: str, scaling: dict[str, Any], tmp_path: Path) -> None:
    """Ignoring the scaling would give wrong vectors with success."""
    with pytest.raises(CheckpointError, match=r"rope_type 'yarn' is not implemented.*'default'"):
        config_of(tmp_path, NATIVE, **({"rope_parameters": ABSENT} | {place: scaling}))


# Architecture


@pytest.mark.parametrize(
    ("key", "value", "right"),
    [
        ("position_embedding_type", "absolute", "'rotary'"),
        ("hidden_act", "gelu_new", "'gelu'"),
        ("hidden_act", "gelu_pytorch_tanh", "'gelu'"),
        ("hidden_act", ABSENT, "'gelu'"),
        ("emb_pooler", "cls", "'mean'"),
        ("rotary_emb_interleaved", True, "False"),
        ("rotary_emb_scale_base", 512.0, "None"),
        ("parallel_block", True, "False"),
        ("use_rms_norm", True, "False"),
    ],
)
def test_another_architecture_is_refused_by_the_key_that_gives_it_away(
    key: str, value: object, right: str, tmp_path: Path
) -> None:
    with pytest.raises(CheckpointError) as raised:
        config_of(tmp_path, ORIGINAL, **{key: value})
    shown = None if value is ABSENT else value
    expected = f"config.json: {key} is {shown!r}; jina-embeddings-v3 has {right}"
    assert str(raised.value).endswith(expected)


@pytest.mark.parametrize("pooler", ["mean", None, ABSENT], ids=["mean", "None", "absent"])
def test_mean_pooling_may_be_said_or_not(pooler: object, tmp_path: Path) -> None:
    config_of(tmp_path, ORIGINAL, emb_pooler=pooler)


# Instructions


def instructions(
    folder: Path, config: ModelConfig, names: Sequence[str] = TASKS, *, original: bool = False
) -> dict[str, str]:
    return read_instructions(folder, config, tuple(names), is_original=original)


def test_the_original_layout_carries_its_instructions(tmp_path: Path) -> None:
    own = {name: f"{name}: " for name in reversed(TASKS)}
    config = config_of(tmp_path, ORIGINAL, task_instructions=own)
    found = instructions(tmp_path, config, original=True)
    assert found == own
    assert tuple(found) == TASKS, "the order of the adapters, whatever that of the file"


@pytest.mark.parametrize("value", [ABSENT, None, {}], ids=["absent", "null", "empty"])
def test_the_original_layout_without_instructions_is_refused(value: object, tmp_path: Path) -> None:
    """Not even the published ones are assumed: an old snapshot may have been trained otherwise."""
    config = config_of(tmp_path, ORIGINAL, task_instructions=value)
    with pytest.raises(
        CheckpointError, match=r"does not say which instructions.*'retrieval.query'.*empty string"
    ):
        instructions(tmp_path, config, original=True)


@pytest.mark.parametrize(
    "own",
    [
        dict.fromkeys(TASKS[:-1], ""),
        {**INSTRUCTIONS, "code.query": ""},
        {**INSTRUCTIONS, "separation": None},
        {"query": "", "passage": ""},
    ],
    ids=["one missing", "one too many", "one null", "other names"],
)
def test_original_instructions_must_be_for_exactly_the_adapters(
    own: dict[str, str], tmp_path: Path
) -> None:
    config = config_of(tmp_path, ORIGINAL, task_instructions=own)
    with pytest.raises(CheckpointError) as raised:
        instructions(tmp_path, config, original=True)
    assert f"task_instructions in config.json are for {sorted(own)}" in str(raised.value)
    assert f"the adapters are for {list(TASKS)}" in str(raised.value)


@pytest.mark.parametrize("original", [True, False])
def test_empty_instructions_are_instructions(original: bool, tmp_path: Path) -> None:
    nothing = dict.fromkeys(TASKS, "")
    config = config_of(tmp_path, ORIGINAL, task_instructions=nothing)
    assert instructions(tmp_path, config, original=original) == nothing


def test_native_prompts_win_over_everything(tmp_path: Path) -> None:
    prompts = {name: f"prompt of {name}: " for name in TASKS}
    write_prompts(tmp_path, {**prompts, "unused": "x"})
    config = config_of(tmp_path, NATIVE, task_instructions=INSTRUCTIONS)
    assert instructions(tmp_path, config) == prompts


def test_native_without_prompts_uses_those_of_its_config(tmp_path: Path) -> None:
    own = dict.fromkeys(TASKS, "own: ")
    config = config_of(tmp_path, NATIVE, task_instructions=own)
    assert instructions(tmp_path, config) == own


@pytest.mark.parametrize(
    "prompts", [None, {}, {"query": "", "document": ""}], ids=["no file", "empty", "other names"]
)
def test_the_five_published_tasks_have_their_published_instructions(
    prompts: dict[str, str] | None, tmp_path: Path
) -> None:
    """sentence-transformers writes `query` and `document` prompts, empty, into any folder."""
    if prompts is not None:
        write_prompts(tmp_path, prompts)
    config = config_of(tmp_path, NATIVE)
    assert instructions(tmp_path, config) == INSTRUCTIONS


@pytest.mark.parametrize("names", [("legal.query", "legal.passage"), TASKS[:2]])
def test_other_tasks_have_no_instructions_to_fall_back_to(
    names: tuple[str, ...], tmp_path: Path
) -> None:
    config = config_of(tmp_path, NATIVE, lora_adaptations=list(names))
    with pytest.raises(CheckpointError) as raised:
        instructions(tmp_path, config, names)
    assert str(list(names)) in str(raised.value)
    assert "config.json needs task_instructions" in str(raised.value)


def test_prompts_for_some_tasks_are_not_filled_up(tmp_path: Path) -> None:
    write_prompts(tmp_path, {"retrieval.query": "Find: ", "document": ""})
    config = config_of(tmp_path, NATIVE)
    with pytest.raises(CheckpointError) as raised:
        instructions(tmp_path, config)
    expected = (
        "prompts in config_sentence_transformers.json are for ['document', 'retrieval.query']"
    )
    assert expected in str(raised.value)
    assert "every task needs its instruction, possibly empty" in str(raised.value)


@pytest.mark.parametrize("content", ["{", '{"prompts": "Find: "}', '{"prompts": ["Find: "]}'])
def test_a_prompts_file_that_makes_no_sense_is_named(content: str, tmp_path: Path) -> None:
    (tmp_path / "config_sentence_transformers.json").write_text(content, encoding="utf-8")
    config = config_of(tmp_path, NATIVE)
    with pytest.raises(CheckpointError, match=r"config_sentence_transformers\.json"):
        instructions(tmp_path, config)


@pytest.mark.parametrize(
    "change",
    [
        {"rotary_emb_dim": 8},
        {"head_dim": 8},
        {"rotary_emb_fraction": 0.5},
        {"partial_rotary_factor": 0.5},
        {"rope_parameters": {"rope_theta": 20000.0, "partial_rotary_factor": 0.5}},
        {"rope_parameters": {"rope_theta": 20000.0, "factor": 4}},
        {"use_rslora": True},
        {"lora_adaptations": ["a", "a"]},
    ],
    ids=str,
)
def test_settings_that_would_change_the_vectors_are_refused(
    change: dict[str, Any], tmp_path: Path
) -> None:
    with pytest.raises(CheckpointError, match=next(iter(change))):
        config_of(tmp_path, ORIGINAL, **change)


@pytest.mark.parametrize(
    "change", [{"rotary_emb_dim": TINY.head_dim}, {"rotary_emb_fraction": 1.0}]
)
def test_settings_that_say_what_v3_is_are_accepted(change: dict[str, Any], tmp_path: Path) -> None:
    assert config_of(tmp_path, ORIGINAL, **change) == config_of(tmp_path, ORIGINAL)
