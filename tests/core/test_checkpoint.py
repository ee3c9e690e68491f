"""A checkpoint folder is what it must be, tensor by tensor, or an error says what is wrong with it.

Strict both ways: nothing that the model needs may be missing, and nothing may be there that is not
understood. What was read is held against the weights that were written.
"""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from jina_local import Engine
from jina_local.checkpoint import open_checkpoint
from jina_local.errors import CheckpointError, ModelNotFoundError
from jina_local.names import EMBEDDINGS, base_shapes, linear_modules
from support.checkpoints import (
    SPELLINGS,
    TASKS,
    TINY,
    Checkpoint,
    Weights,
    adapter_folder,
    random_weights,
    write_native,
    write_original,
    write_tiny,
)
from support.tiny_tokenizers import write_tokenizer
from support.weights import adapter, base, fuse

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from jina_local.adapter_files import LowRank

SPLIT_SPELLINGS = [name for name, spelling in SPELLINGS.items() if spelling.adapter_qkv == "split"]
# support.weights → jina_local.names
RENAMED = {"attention_output": "out", "output_norm": "mlp_norm"}


@pytest.fixture(scope="module")
def weights() -> Weights:
    return random_weights(TINY)


@pytest.fixture
def original(tiny: Checkpoint, tmp_path: Path) -> Path:
    """A complete folder in the original layout, for a test to break."""
    return shutil.copytree(tiny.folder, tmp_path / "original")


@pytest.fixture(scope="module")
def native_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny(tmp_path_factory.mktemp("native"), "hub").folder


@pytest.fixture
def native(native_folder: Path, tmp_path: Path) -> Path:
    """A complete folder in the native layout, for a test to break."""
    return shutil.copytree(native_folder, tmp_path / "native")


def edit_json(path: Path, **changes: object) -> None:
    content = json.loads(path.read_text(encoding="utf-8")) | changes
    path.write_text(json.dumps(content), encoding="utf-8")


def edit_tensors(path: Path, edit: Callable[[Weights], object]) -> None:
    tensors = load_file(path)
    edit(tensors)
    save_file(tensors, path)


def canonical(name: str) -> str:
    *module, last, kind = name.split(".")
    return ".".join([*module, RENAMED.get(last, last), kind])


# What is read is what was written


def assert_equal_weights(folder: Path, weights: Weights) -> None:
    """Every base tensor and every adapter of every task, bit for bit."""
    checkpoint = open_checkpoint(folder)
    expected = {canonical(name): tensor for name, tensor in fuse(base(weights)).items()}
    names = base_shapes(checkpoint.config, qkv_apart=False)
    assert set(names) == {name for name in expected if not name.startswith("pooler.")}
    for name in names:
        tensor = checkpoint.tensor(name)
        assert tensor.dtype == expected[name].dtype, name
        assert torch.equal(tensor, expected[name]), name
    assert checkpoint.tasks.names == TASKS
    modules = (*EMBEDDINGS, *linear_modules(checkpoint.config))
    updates = [checkpoint.low_ranks(module) for module in modules]
    for task, task_name in zip(checkpoint.tasks.tasks, TASKS, strict=True):
        assert checkpoint.adapter_scale(task) == TINY.scale
        factors = {canonical(k): v for k, v in fuse(adapter(weights, task_name)).items()}
        for module, update in zip(modules, (row[task.adapter] for row in updates), strict=True):
            assert torch.equal(update.left, factors[f"{module}.left"]), (task_name, module)
            assert torch.equal(update.right, factors[f"{module}.right"]), (task_name, module)
            assert update.scale == TINY.scale


def low_rank(folder: Path, module: str, task: str) -> LowRank:
    return open_checkpoint(folder).low_ranks(module)[TASKS.index(task)]


@pytest.mark.parametrize("prefix", ["roberta.", ""])
@pytest.mark.parametrize("shards", [1, 3])
def test_original_tensors_are_read_as_written(
    prefix: str, shards: int, weights: Weights, tmp_path: Path
) -> None:
    write_original(tmp_path, TINY, weights, prefix=prefix, shards=shards)
    assert open_checkpoint(tmp_path).layout == "original"
    assert_equal_weights(tmp_path, weights)


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_native_tensors_are_read_as_written(
    spelling: str, weights: Weights, tmp_path: Path
) -> None:
    write_native(tmp_path, TINY, weights, SPELLINGS[spelling])
    assert open_checkpoint(tmp_path).layout == "native"
    assert_equal_weights(tmp_path, weights)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("layout", ["original", "hub", "names in memory"])
def test_tensors_keep_the_dtype_of_the_file(
    layout: str, dtype: torch.dtype, tmp_path: Path
) -> None:
    checkpoint = write_tiny(tmp_path, layout, dtype=dtype)
    assert next(iter(checkpoint.weights.values())).dtype == dtype
    assert_equal_weights(tmp_path, checkpoint.weights)


@pytest.mark.parametrize("spelling", SPLIT_SPELLINGS)
def test_adapters_trained_after_splitting_qkv_are_one_exact_update(
    spelling: str, tmp_path: Path
) -> None:
    """Three different lora_A make a block form of three times the rank: no value is changed."""
    weights = random_weights(TINY, split_adapters=True)
    write_native(tmp_path, TINY, weights, SPELLINGS[spelling])
    for task in TASKS:
        update = low_rank(tmp_path, "layers.1.qkv", task)
        assert update.left.shape == (3 * TINY.hidden_size, 3 * TINY.rank)
        parts = [
            weights[f"{task}/layers.1.{part}.left"] @ weights[f"{task}/layers.1.{part}.right"]
            for part in ("query", "key", "value")
        ]
        assert torch.allclose(update.left @ update.right, torch.cat(parts), atol=1e-7)


def test_adapters_may_have_a_rank_and_a_scale_each(native: Path) -> None:
    home = native / adapter_folder("separation")
    edit_json(home / "adapter_config.json", r=2, lora_alpha=3)
    narrow = {"A": lambda t: t[:2], "B": lambda t: t[:, :2]}
    edit_tensors(
        home / "adapter_model.safetensors",
        lambda tensors: tensors.update(
            {k: narrow["A" if "_A" in k else "B"](v).contiguous() for k, v in tensors.items()}
        ),
    )
    checkpoint = open_checkpoint(native)
    scales = [checkpoint.adapter_scale(task) for task in checkpoint.tasks.tasks]
    assert scales == [0.25, 0.25, 1.5, 0.25, 0.25]
    assert [update.right.shape[0] for update in checkpoint.low_ranks("word")] == [4, 4, 2, 4, 4]
    with_tokenizer = Engine.load(native)
    assert with_tokenizer.embed(["a"], task="separation").vectors.shape == (1, 64)


@pytest.mark.parametrize("order", [TASKS[::-1], (*TASKS[2:], *TASKS[:2])])
def test_native_adapters_belong_to_the_task_that_their_folder_names(
    order: tuple[str, ...], native: Path, native_folder: Path
) -> None:
    """The order of the config is the order of the tasks; which adapter a task has is its folder."""
    edit_json(native / "config.json", lora_adaptations=order)
    assert open_checkpoint(native).tasks.names == order
    for row, task in enumerate(order):
        update = open_checkpoint(native).low_ranks("layers.0.fc1")[row]
        assert torch.equal(update.left, low_rank(native_folder, "layers.0.fc1", task).left)


@pytest.mark.parametrize("layout", ["original", "native"])
@pytest.mark.parametrize(
    "model_type", ["xlm-roberta", "jina_embeddings_v3", "jina-embeddings-v3", "bert", None]
)
def test_the_layout_is_seen_in_the_tensors_whatever_model_type_says(
    layout: str, model_type: str | None, request: pytest.FixtureRequest
) -> None:
    folder: Path = request.getfixturevalue(layout)
    edit_json(folder / "config.json", model_type=model_type)
    assert open_checkpoint(folder).layout == layout


def test_native_tensors_stay_native_beside_the_config_of_the_original(
    native: Path, original: Path
) -> None:
    """As in a converted folder that kept its old config.json."""
    shutil.copy(original / "config.json", native / "config.json")
    assert open_checkpoint(native).layout == "native"
    assert_equal_weights(native, random_weights(TINY))


# Strict in both directions

WEIGHT_FILES = [
    ("original", "model.safetensors"),
    ("native", "model.safetensors"),
    ("native", "separation/adapter_model.safetensors"),
]


@pytest.mark.parametrize(
    ("layout", "stored", "named"),
    [
        ("original", "roberta.emb_ln.weight", "embedding_norm.weight"),
        (
            "original",
            "roberta.encoder.layers.1.mixer.Wqkv.parametrizations.weight.original",
            "layers.1.qkv.weight",
        ),
        (
            "original",
            "roberta.encoder.layers.0.mlp.fc2.parametrizations.weight.0.lora_A",
            "layers.0.fc2.lora_A",
        ),
        ("native", "roberta.encoder.layers.0.mixer.out_proj.bias", "layers.0.out.bias"),
        ("native", "roberta.embeddings.word_embeddings.weight", "word.weight"),
    ],
)
def test_a_missing_tensor_is_named(
    layout: str, stored: str, named: str, request: pytest.FixtureRequest
) -> None:
    folder: Path = request.getfixturevalue(layout)
    edit_tensors(folder / "model.safetensors", lambda tensors: tensors.pop(stored))
    with pytest.raises(CheckpointError, match=rf"1 missing: {named}$") as raised:
        open_checkpoint(folder)
    assert str(folder) in str(raised.value)
    assert "config.json promises" in str(raised.value)
    assert isinstance(raised.value, ValueError)


@pytest.mark.parametrize(("layout", "file"), WEIGHT_FILES)
@pytest.mark.parametrize(
    "stored",
    [
        "roberta.encoder.layers.2.mlp.fc1.bias",  # one layer more than the config says
        "roberta.embeddings.position_embeddings.weight",
        "roberta.encoder.layers.0.mixer.Wqkv.weight_scale",
        "lm_head.bias",
    ],
)
def test_a_tensor_that_is_not_understood_is_named(
    layout: str, file: str, stored: str, request: pytest.FixtureRequest
) -> None:
    folder: Path = request.getfixturevalue(layout)
    edit_tensors(folder / file, lambda tensors: tensors.update({stored: torch.zeros(3)}))
    with pytest.raises(CheckpointError, match=rf"1 unexpected: {stored}$"):
        open_checkpoint(folder)


def test_a_misshapen_tensor_is_named_with_both_shapes(original: Path) -> None:
    stored = "roberta.encoder.layers.0.norm1.bias"
    edit_tensors(original / "model.safetensors", lambda t: t.update({stored: torch.zeros(63)}))
    with pytest.raises(
        CheckpointError, match=rf"1 misshapen: {stored} \(63,\) instead of \(64,\)$"
    ):
        open_checkpoint(original)


@pytest.mark.parametrize(
    "changes",
    [
        {"vocab_size": 895},
        {"lora_rank": 8},
        {"lora_adaptations": list(TASKS[:4])},
        {"intermediate_size": 128},
        {"num_hidden_layers": 1},
        {"num_hidden_layers": 3},
    ],
    ids=str,
)
def test_a_config_of_another_model_is_not_believed(
    changes: dict[str, object], original: Path
) -> None:
    edit_json(original / "config.json", **changes)
    with pytest.raises(CheckpointError, match=r"\d+ (missing|unexpected|misshapen): "):
        open_checkpoint(original)


def test_everything_that_is_wrong_is_listed_at_once(original: Path) -> None:
    def spoil(tensors: Weights) -> None:
        del tensors["roberta.emb_ln.weight"], tensors["roberta.encoder.layers.1.norm2.bias"]
        tensors["one.too.many"] = torch.zeros(1)
        tensors["roberta.emb_ln.bias"] = torch.zeros(2, 3)

    edit_tensors(original / "model.safetensors", spoil)
    with pytest.raises(CheckpointError) as raised:
        open_checkpoint(original)
    assert str(raised.value).splitlines()[1:] == [
        "  2 missing: embedding_norm.weight, layers.1.mlp_norm.bias",
        "  1 unexpected: one.too.many",
        "  1 misshapen: roberta.emb_ln.bias (2, 3) instead of (64,)",
    ]


def test_a_long_list_is_cut_but_counted(original: Path) -> None:
    edit_tensors(original / "model.safetensors", lambda tensors: rename_layer(tensors, "1", "7"))
    with pytest.raises(CheckpointError, match=r"20 missing: .*, …\n") as raised:
        open_checkpoint(original)
    assert "16 unexpected" in str(raised.value) or "20 unexpected" in str(raised.value)
    assert len(str(raised.value)) < 2000


def rename_layer(tensors: Weights, old: str, new: str) -> None:
    for name in [name for name in tensors if f"layers.{old}." in name]:
        tensors[name.replace(f"layers.{old}.", f"layers.{new}.")] = tensors.pop(name)


@pytest.mark.parametrize(
    ("layout", "file", "stored", "again"),
    [
        ("original", "model.safetensors", "roberta.emb_ln.weight", "emb_ln.weight"),
        (
            "native",
            "model.safetensors",
            "roberta.encoder.layers.0.mlp.fc1.weight",
            "layers.0.mlp.fc1.weight",
        ),
        (
            "native",
            "separation/adapter_model.safetensors",
            "roberta.encoder.layers.0.mlp.fc1.lora_A.weight",
            "base_model.model.encoder.layers.0.mlp.fc1.lora_A.default.weight",
        ),
    ],
)
def test_one_tensor_under_two_names_is_refused(
    layout: str, file: str, stored: str, again: str, request: pytest.FixtureRequest
) -> None:
    """Which of the two would be used? Nobody could tell."""
    folder: Path = request.getfixturevalue(layout)
    edit_tensors(folder / file, lambda tensors: tensors.update({again: tensors[stored].clone()}))
    with pytest.raises(CheckpointError, match="twice: as ") as raised:
        open_checkpoint(folder)
    assert repr(stored) in str(raised.value)
    assert repr(again) in str(raised.value)


def test_one_tensor_in_two_shards_is_refused(weights: Weights, tmp_path: Path) -> None:
    write_original(tmp_path, TINY, weights, shards=2)
    one, other = sorted(tmp_path.glob("*.safetensors"))
    name, tensor = next(iter(load_file(one).items()))
    edit_tensors(other, lambda tensors: tensors.update({name: tensor}))
    with pytest.raises(CheckpointError, match="twice"):
        open_checkpoint(tmp_path)


@pytest.mark.parametrize("layout", ["original", "native"])
def test_the_pooler_may_be_there_or_not(layout: str, request: pytest.FixtureRequest) -> None:
    folder: Path = request.getfixturevalue(layout)
    files = sorted(folder.rglob("*.safetensors"))
    assert all(any("pooler" in name for name in load_file(file)) for file in files)
    for file in files:
        edit_tensors(file, drop_pooler)
    open_checkpoint(folder)


def drop_pooler(tensors: Weights) -> None:
    for name in [name for name in tensors if "pooler" in name]:
        del tensors[name]


# Files that are not what they should be


def half(content: bytes) -> bytes:
    return content[: len(content) // 2]


BROKEN: dict[str, Callable[[bytes], bytes]] = {
    "cut in the tensors": half,
    "cut by one byte": lambda content: content[:-1],
    "cut in the header": lambda content: content[:100],
    "cut in the header's length": lambda content: content[:5],
    "empty": lambda content: content[:0],
    "a web page": lambda content: b"<!doctype html><title>Not here</title>" + content[:0],
    "a pickle": lambda content: b"PK\x03\x04" + content,
    "longer than its header says": lambda content: content + b"\0",
}
LFS_POINTER = b"""version https://git-lfs.github.com/spec/v1
oid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393
size 1144685320
"""


@pytest.mark.parametrize("damage", BROKEN)
@pytest.mark.parametrize(("layout", "file"), WEIGHT_FILES)
def test_a_damaged_file_is_to_be_downloaded_again(
    layout: str, file: str, damage: str, request: pytest.FixtureRequest
) -> None:
    path: Path = request.getfixturevalue(layout) / file
    path.write_bytes(BROKEN[damage](path.read_bytes()))
    with pytest.raises(
        CheckpointError, match=r"is not a complete safetensors file .*: download it again$"
    ) as raised:
        open_checkpoint(path.parents[file.count("/")])
    assert str(path) in str(raised.value)


@pytest.mark.parametrize(("layout", "file"), WEIGHT_FILES)
def test_a_git_lfs_pointer_is_recognised(
    layout: str, file: str, request: pytest.FixtureRequest
) -> None:
    path: Path = request.getfixturevalue(layout) / file
    path.write_bytes(LFS_POINTER)
    with pytest.raises(CheckpointError, match=r"git-lfs pointer.*run `git lfs pull`"):
        open_checkpoint(path.parents[file.count("/")])


def test_a_folder_without_weights_says_which_file_it_lacks(original: Path) -> None:
    (original / "model.safetensors").unlink()
    with pytest.raises(
        ModelNotFoundError,
        match=r"has no weights: \['model\.safetensors'\] not found; download the whole checkpoint$",
    ) as raised:
        open_checkpoint(original)
    assert isinstance(raised.value, FileNotFoundError)


def test_pickles_are_never_loaded(original: Path) -> None:
    shutil.move(original / "model.safetensors", original / "pytorch_model.bin")
    with pytest.raises(
        ModelNotFoundError, match=r"\['pytorch_model\.bin'\] are pickles, which are never loaded"
    ):
        open_checkpoint(original)


@pytest.mark.parametrize("layout", ["original", "native"])
def test_code_and_pickles_beside_the_weights_are_not_touched(
    layout: str, request: pytest.FixtureRequest
) -> None:
    """A folder may hold the remote code of the original: none of it runs."""
    folder: Path = request.getfixturevalue(layout)
    trap = "raise SystemExit('remote code was run')"
    for name in ("modeling_lora.py", "configuration_xlm_roberta.py", "__init__.py"):
        (folder / name).write_text(trap, encoding="utf-8")
    for place in (folder, *folder.glob("*/")):
        (place / "pytorch_model.bin").write_bytes(b"not even a pickle")
        (place / "adapter_model.bin").write_bytes(b"not even a pickle")
    with Engine.load(folder) as engine:
        assert engine.tasks == TASKS


def test_a_shard_that_the_index_names_must_be_there(weights: Weights, tmp_path: Path) -> None:
    write_original(tmp_path, TINY, weights, shards=3)
    (tmp_path / "model-00002-of-00003.safetensors").unlink()
    with pytest.raises(
        ModelNotFoundError, match=r"\['model-00002-of-00003\.safetensors'\] not found"
    ):
        open_checkpoint(tmp_path)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("{", r"index\.json is not valid JSON .*download it again"),
        ("[]", r"index\.json holds a JSON list, not an object"),
        ("{}", r"index\.json has no weight_map: it is not an index of safetensors shards"),
        ('{"weight_map": {}}', r"index\.json has no weight_map"),
        ('{"weight_map": ["model-1.safetensors"]}', r"index\.json has no weight_map"),
        ('{"weight_map": {"a": 1}}', r"index\.json has no weight_map"),
        ('{"weight_map": {"a": ["model.safetensors"]}}', r"index\.json has no weight_map"),
    ],
)
def test_an_index_that_is_none_is_refused(content: str, problem: str, original: Path) -> None:
    """Even with a model.safetensors beside it: one of the two must be wrong."""
    (original / "model.safetensors.index.json").write_text(content, encoding="utf-8")
    with pytest.raises(CheckpointError, match=problem):
        open_checkpoint(original)


def test_a_folder_without_tokenizer_is_not_loaded(original: Path) -> None:
    (original / "tokenizer.json").unlink()
    with pytest.raises(
        ModelNotFoundError, match=r"has no tokenizer\.json: download the checkpoint again"
    ) as raised:
        Engine.load(original)
    assert str(original) in str(raised.value)


@pytest.mark.parametrize("content", ["", "{}", '{"version": "1.0"', "<html>"])
def test_a_tokenizer_that_is_none_is_not_loaded(content: str, original: Path) -> None:
    (original / "tokenizer.json").write_text(content, encoding="utf-8")
    with pytest.raises(CheckpointError, match=r"tokenizer\.json is not a tokenizer .*again"):
        Engine.load(original)


def test_a_tokenizer_of_a_larger_model_is_not_loaded(original: Path) -> None:
    """Its ids would lie outside the word table: an IndexError on a CPU, an abort on a GPU."""
    write_tokenizer(original, vocab_size=TINY.vocab_size + 1)
    with pytest.raises(
        CheckpointError, match=rf"tokenizer\.json has ids up to {TINY.vocab_size}.*896 rows"
    ):
        Engine.load(original)


def test_a_tokenizer_with_other_specials_is_not_loaded(original: Path) -> None:
    edit_json(original / "config.json", bos_token_id=3)
    with pytest.raises(
        CheckpointError, match=r"puts token 0 where config\.json has bos_token_id 3"
    ):
        Engine.load(original)


@pytest.mark.parametrize("limit", ["512", 0, 2, True, -1])
def test_a_limit_that_is_no_number_of_tokens_is_refused(limit: object, original: Path) -> None:
    edit_json(original / "tokenizer_config.json", model_max_length=limit)
    with pytest.raises(CheckpointError, match=rf"model_max_length is {limit!r}, not a number"):
        Engine.load(original)


@pytest.mark.parametrize("dtype", [torch.int8, torch.uint8, torch.float8_e4m3fn])
def test_quantized_weights_are_not_taken_for_weights(dtype: torch.dtype, original: Path) -> None:
    path = original / "model.safetensors"
    tensors = load_file(path)
    name = "roberta.encoder.layers.0.mlp.fc1.parametrizations.weight.original"
    tensors[name] = tensors[name].to(dtype)
    save_file(tensors, path)
    with pytest.raises(CheckpointError, match=r"1 not floating point: .*fc1"):
        open_checkpoint(original)


# Adapter folders of PEFT


def test_an_adapter_folder_that_no_task_claims_is_not_ignored(native: Path) -> None:
    shutil.copytree(native / "separation", native / "code_search")
    with pytest.raises(CheckpointError, match=r"\['code_search'\] belong to no task"):
        open_checkpoint(native)


def test_two_tasks_never_share_an_adapter_folder(native: Path) -> None:
    edit_json(native / "config.json", lora_adaptations=["text-matching", "text.matching"])
    with pytest.raises(CheckpointError, match=r"\['text_matching'\] belong to several tasks"):
        open_checkpoint(native)


@pytest.mark.parametrize(
    ("feature", "value"),
    [
        ("use_dora", True),
        ("use_rslora", True),
        ("use_qalora", True),
        ("lora_bias", True),
        ("fan_in_fan_out", True),
        ("rank_pattern", {"fc1": 8}),
        ("alpha_pattern", {"fc1": 8}),
        ("modules_to_save", ["pooler"]),
        ("layers_to_transform", [0]),
        ("layer_replication", [[0, 1], [0, 2]]),
        ("target_parameters", ["weight"]),
        ("trainable_token_indices", [1, 2]),
        ("bias", "all"),
        ("bias", "lora_only"),
        ("init_lora_weights", "pissa"),
        ("init_lora_weights", "olora"),
        ("init_lora_weights", "loftq"),
        ("peft_type", "IA3"),
        ("peft_type", "ADALORA"),
        ("a_setting_of_next_year", 1),
    ],
)
def test_a_peft_feature_that_is_not_implemented_is_refused_by_name(
    feature: str, value: object, native: Path
) -> None:
    path = native / "separation" / "adapter_config.json"
    edit_json(path, **{feature: value})
    with pytest.raises(CheckpointError) as raised:
        open_checkpoint(native)
    expected = f"{path} uses PEFT features that are not implemented: { ({feature: value}) }; "
    assert str(raised.value) == expected + "save the adapter again as plain LoRA"


@pytest.mark.parametrize(
    "harmless",
    [
        {"inference_mode": True, "task_type": "FEATURE_EXTRACTION"},
        {"lora_dropout": 0.1, "auto_mapping": {"base_model_class": "JinaEmbeddingsV3Model"}},
        {"base_model_name_or_path": "jinaai/jina-embeddings-v3-hf", "revision": "main"},
        {"init_lora_weights": "gaussian"},
        {"init_lora_weights": True},
        {"init_lora_weights": False},
        {"modules_to_save": None, "rank_pattern": {}, "layers_to_transform": []},
        {"target_modules": "all-linear"},
    ],
    ids=str,
)
def test_peft_settings_that_change_no_update_are_accepted(
    harmless: dict[str, Any], native: Path
) -> None:
    edit_json(native / "separation" / "adapter_config.json", **harmless)
    open_checkpoint(native)


def test_what_the_installed_peft_writes_is_accepted(native: Path, native_folder: Path) -> None:
    """All of its settings, with the defaults that this version has."""
    from peft import LoraConfig

    settings = LoraConfig(r=TINY.rank, lora_alpha=TINY.alpha, target_modules=["fc1"]).to_dict()
    assert len(settings) > 20
    for task in TASKS:
        path = native / adapter_folder(task) / "adapter_config.json"
        path.write_text(json.dumps(settings, default=list), encoding="utf-8")
    expected = [update.left for update in open_checkpoint(native_folder).low_ranks("word")]
    found = [update.left for update in open_checkpoint(native).low_ranks("word")]
    assert all(map(torch.equal, found, expected))


@pytest.mark.parametrize(
    "settings",
    [
        {"r": None},
        {"r": 0},
        {"r": -4},
        {"r": "4"},
        {"lora_alpha": None},
        {"lora_alpha": "1"},
        {"lora_alpha": float("nan")},
        {"lora_alpha": float("inf")},
    ],
    ids=str,
)
def test_rank_and_alpha_must_make_a_scale(settings: dict[str, object], native: Path) -> None:
    path = native / "separation" / "adapter_config.json"
    edit_json(path, **settings)
    with pytest.raises(CheckpointError) as raised:
        open_checkpoint(native)
    shown = {"r": 4, "lora_alpha": 1} | settings
    expected = (
        f"{path}: r={shown['r']!r} and lora_alpha={shown['lora_alpha']!r} do not make a scale"
    )
    assert str(raised.value) == expected


def test_a_rank_that_is_not_that_of_the_tensors_is_refused(native: Path) -> None:
    edit_json(native / "separation" / "adapter_config.json", r=8)
    with pytest.raises(CheckpointError, match=r"misshapen: .*\(4, 896\) instead of \(8, 896\)"):
        open_checkpoint(native)


def test_every_task_of_the_config_has_its_adapter_folder(native: Path) -> None:
    shutil.rmtree(native / "text_matching")
    with pytest.raises(
        CheckpointError, match=r"no adapters for \['text_matching'\].* found \['classification', "
    ):
        open_checkpoint(native)


def test_a_config_without_task_names_may_have_the_published_five(native: Path) -> None:
    edit_json(native / "config.json", lora_adaptations=None)
    assert open_checkpoint(native).tasks.names == TASKS


def test_four_of_the_published_five_are_not_completed(native: Path) -> None:
    """Without task names, folders are tasks of their own names, whose instructions are unknown."""
    edit_json(native / "config.json", lora_adaptations=None)
    (native / "config_sentence_transformers.json").unlink()
    shutil.rmtree(native / "text_matching")
    with pytest.raises(CheckpointError, match=r"its tasks \['classification', .*trained with"):
        open_checkpoint(native)


def test_a_native_folder_without_any_adapter_is_refused(native: Path) -> None:
    for task in TASKS:
        shutil.rmtree(native / adapter_folder(task))
    with pytest.raises(
        CheckpointError, match=r"no adapters for \['retrieval_query', .*adapter_config\.json; found"
    ):
        open_checkpoint(native)


def test_an_adapter_folder_without_weights_says_so(native: Path) -> None:
    (native / "classification" / "adapter_model.safetensors").unlink()
    (native / "classification" / "adapter_model.bin").write_bytes(b"a pickle")
    with pytest.raises(
        CheckpointError, match=r"classification has no adapter_model\.safetensors: download"
    ):
        open_checkpoint(native)


def test_an_adapter_config_that_is_cut_short_is_named(native: Path) -> None:
    path = native / "classification" / "adapter_config.json"
    path.write_bytes(half(path.read_bytes()))
    with pytest.raises(CheckpointError, match=r"classification/adapter_config\.json is not valid"):
        open_checkpoint(native)


@pytest.mark.parametrize("key", ["lora_adaptations", "lora_rank", "lora_alpha"])
def test_the_original_layout_says_what_its_adapters_are(key: str, original: Path) -> None:
    edit_json(original / "config.json", **{key: None})
    with pytest.raises(
        CheckpointError, match=r"config\.json needs lora_adaptations, lora_rank and lora_alpha"
    ):
        open_checkpoint(original)
