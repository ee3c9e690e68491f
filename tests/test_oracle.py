"""The oracles and the files that the other tests rely on, checked against one another."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import pytest
import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer

from support.checkpoints import (
    FULL_SIZE,
    SPELLINGS,
    TASKS,
    TINY,
    adapter_folder,
    random_weights,
    write_full_size,
    write_native,
    write_original,
    write_tiny,
)
from support.mutations import ADAPTER_MUTATIONS, mutations
from support.naive import merged, naive_hidden_states
from support.oracle import Oracle, load_native
from support.spellings import adapter_tensors, native_tensors, original_tensors
from support.tiny_tokenizers import (
    BAKED_PADDING,
    BAKED_TRUNCATION,
    BOS_ID,
    EOS_ID,
    LAYOUTS,
    UNK_ID,
    VOCAB_SIZE,
    tiny_tokenizer,
    write_tokenizer,
)
from support.weights import blank_weights, modules

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from support.checkpoints import Weights
    from support.tiny_tokenizers import Layout

MODES = (None, *TASKS)
PAIR = replace(TINY, tasks=TASKS[:2])
STRONG = 100.0  # a `delta_factor` that no test can overlook
TOLERANCE = 1e-5

NOTICEABLE = 1e-3
GELU_GAP = 4e-4  # the two functions differ by 4.7e-4 at most

# transformers takes neither; it would go on with random adapters
REFUSED = {"names in memory, prefixed", "fused adapters"}


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    """Small matrices are slower on several threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def text_of(length: int) -> list[int]:
    """Ids of a random text with that many tokens, specials included."""
    generator = torch.Generator().manual_seed(length)
    inner = torch.randint(4, TINY.vocab_size - 1, (max(length - 2, 0),), generator=generator)
    return [BOS_ID, *inner.tolist(), EOS_ID][:length]


def distance(a: torch.Tensor, b: torch.Tensor) -> float:
    assert a.shape == b.shape
    return (a.double() - b.double()).abs().max().item()


@dataclass(frozen=True)
class Checked:
    """Weights, and the oracle for them."""

    weights: Weights
    oracle: Oracle


@pytest.fixture(scope="module")
def strong() -> Checked:
    weights = random_weights(TINY, delta_factor=STRONG)
    return Checked(weights, Oracle(TINY, weights))


@pytest.fixture(scope="module")
def pair() -> Checked:
    """The same with two tasks, which load faster."""
    weights = random_weights(PAIR, delta_factor=STRONG)
    return Checked(weights, Oracle(PAIR, weights))


class TestTheTwoOracles:
    @pytest.mark.parametrize("delta_factor", [1.0, STRONG])
    def test_agree_at_every_length(self, delta_factor: float) -> None:
        weights = random_weights(TINY, seed=1, delta_factor=delta_factor)
        oracle = Oracle(TINY, weights)
        texts = [text_of(length) for length in range(1, 51)]
        for task in MODES:
            for ids, states in zip(texts, oracle.padded_hidden_states(texts, task), strict=True):
                assert distance(states, naive_hidden_states(TINY, weights, ids, task)) < TOLERANCE

    def test_agree_in_another_geometry(self) -> None:
        config = replace(
            TINY,
            hidden_size=48,
            n_layers=11,  # a two-digit name
            n_heads=2,
            rank=2,
            alpha=3,
            rope_base=500.0,
            tasks=("text-matching", "of.my-own"),
        )
        weights = random_weights(config, delta_factor=STRONG)
        oracle = Oracle(config, weights)
        for task in (None, *config.tasks):
            naive = naive_hidden_states(config, weights, text_of(20), task)
            assert distance(oracle.hidden_states(text_of(20), task), naive) < TOLERANCE

    def test_agree_on_adapters_that_were_trained_after_splitting(self, tmp_path: Path) -> None:
        weights = random_weights(TINY, delta_factor=STRONG, split_adapters=True)
        key, value = (weights[f"{TASKS[0]}/layers.0.{part}.right"] for part in ("key", "value"))
        assert not torch.equal(key, value), "the premise needs different right factors"
        oracle = Oracle(TINY, weights)
        for task in TASKS:
            naive = naive_hidden_states(TINY, weights, text_of(20), task)
            assert distance(oracle.hidden_states(text_of(20), task), naive) < TOLERANCE
        with pytest.raises(ValueError, match="cannot be fused"):
            write_original(tmp_path, TINY, weights)

    @pytest.mark.parametrize("name", mutations())
    def test_agree_that_a_mutation_is_wrong(self, name: str, pair: Checked) -> None:
        ids = text_of(40)
        least = GELU_GAP if name == "gelu with tanh" else NOTICEABLE
        wrong_config, wrong_weights = mutations()[name](PAIR, pair.weights)
        wrong_oracle = Oracle(wrong_config, wrong_weights)
        for task in PAIR.tasks:
            wrong = naive_hidden_states(wrong_config, wrong_weights, ids, task)
            assert distance(wrong, pair.oracle.hidden_states(ids, task)) > least
            assert distance(wrong, wrong_oracle.hidden_states(ids, task)) < TOLERANCE
        right_base, wrong_base = (o.hidden_states(ids, None) for o in (pair.oracle, wrong_oracle))
        assert torch.equal(right_base, wrong_base) == (name in ADAPTER_MUTATIONS)


class TestTheOracle:
    @pytest.mark.parametrize("task", MODES)
    def test_pads_without_a_trace(self, strong: Checked, task: str | None) -> None:
        batch = [text_of(length) for length in (7, 31, 1, 12)]
        padded = strong.oracle.padded_hidden_states(batch, task)
        for ids, states in zip(batch, padded, strict=True):
            assert distance(states, strong.oracle.hidden_states(ids, task)) < TOLERANCE

    def test_is_the_same_with_sdpa(self, strong: Checked) -> None:
        sdpa = Oracle(TINY, strong.weights, attention="sdpa")
        for task in MODES:
            ours = sdpa.padded_hidden_states([text_of(9), text_of(33)], task)
            for states, ids in zip(ours, (text_of(9), text_of(33)), strict=True):
                assert distance(states, strong.oracle.hidden_states(ids, task)) < TOLERANCE

    @pytest.mark.parametrize("dimensions", [None, 8, 13, 64])
    def test_truncates_before_it_normalises(self, strong: Checked, dimensions: int | None) -> None:
        ids, task = text_of(17), TASKS[1]
        states = naive_hidden_states(TINY, strong.weights, ids, task)
        mean = (states.sum(dim=0) / len(ids))[:dimensions]
        raw = strong.oracle.embedding(ids, task, dimensions=dimensions, normalize=False)
        unit = strong.oracle.embedding(ids, task, dimensions=dimensions)
        assert distance(raw, mean) < TOLERANCE
        assert distance(unit, mean / mean.square().sum().sqrt()) < TOLERANCE

    def test_has_a_different_answer_for_every_mode(self, strong: Checked) -> None:
        answers = [strong.oracle.embedding(text_of(20), task) for task in MODES]
        for i, first in enumerate(answers):
            for second in answers[:i]:
                assert distance(first, second) > 1e-2


class TestWeights:
    @pytest.mark.parametrize("delta_factor", [1.0, STRONG])
    def test_have_adapters_of_the_published_relative_size(self, delta_factor: float) -> None:
        weights = random_weights(TINY, delta_factor=delta_factor)
        base, adapted = merged(TINY, weights, None), merged(TINY, weights, TASKS[0])
        for module in modules(TINY):
            if module.endswith(("query", "key", "value")):
                continue  # normalised together
            delta = (adapted[f"{module}.weight"] - base[f"{module}.weight"]).abs().mean().item()
            assert delta / 0.12 == pytest.approx(delta_factor * 1.5e-4 / 0.03, rel=1e-3)
        assert base["word.weight"].std().item() == pytest.approx(0.12, rel=0.02)

    def test_are_the_same_for_the_same_seed(self) -> None:
        first, second, other = (random_weights(TINY, seed) for seed in (3, 3, 4))
        assert all(torch.equal(first[name], second[name]) for name in first)
        assert not any(torch.equal(first[name], other[name]) for name in first)


def plain(name: str) -> str:
    """A native name without what spellings differ in."""
    name = re.sub(r"^(base_model\.model\.)?(roberta\.)?(encoder\.)?", "", name)
    name = re.sub(r"(lora_(embedding_)?[AB])\.(default|[a-z_]+_[a-z]+|\w+ion)\b", r"\1", name)
    for old, new in (
        ("emb_ln", "embeddings.LayerNorm"),
        ("mixer.out_proj", "self_attn.o_proj"),
        ("norm1", "post_attention_layernorm"),
        ("norm2", "post_mlp_layernorm"),
    ):
        name = name.replace(old, new)
    return name


def read_plainly(path: Path) -> Weights:
    """A native file under plain names, with a fused projection split."""
    tensors: Weights = {}
    for name, tensor in load_file(path).items():
        if "mixer.Wqkv" not in name:
            tensors[plain(name)] = tensor
            continue
        parts = [tensor] * 3 if "lora_A" in name else tensor.chunk(3)
        for part, letter in zip(parts, "qkv", strict=True):
            tensors[plain(name).replace("mixer.Wqkv", f"self_attn.{letter}_proj")] = part
    return tensors


def assert_same(found: Weights, expected: Weights) -> None:
    assert sorted(found) == sorted(expected)
    assert all(torch.equal(found[name], expected[name]) for name in expected)


class TestFiles:
    def test_original_and_native_carry_equal_values(self, tmp_path: Path, strong: Checked) -> None:
        write_original(tmp_path / "original", TINY, strong.weights)
        write_native(tmp_path / "native", TINY, strong.weights)
        original = load_file(tmp_path / "original" / "model.safetensors")
        native = load_file(tmp_path / "native" / "model.safetensors")
        in_place = {
            name.replace(".parametrizations.weight.original", ".weight"): tensor
            for name, tensor in original.items()
            if ".lora_" not in name
        }
        assert_same(native, in_place)
        for bank, task in enumerate(TASKS):
            file = tmp_path / "native" / adapter_folder(task) / "adapter_model.safetensors"
            assert_same(load_file(file), self.as_adapter(original, bank))

    @staticmethod
    def as_adapter(original: Weights, bank: int) -> Weights:
        """One bank of the original file, as section 2.4 of the specification maps it."""
        expected: Weights = {}
        for name, stacked in original.items():
            module, found, letter = name.partition(".parametrizations.weight.0.lora_")
            if not found:
                continue
            tensor = stacked[bank]
            if "embeddings" in module:
                expected[f"{module}.lora_embedding_{letter}"] = tensor.T
            elif module.endswith("mixer.Wqkv"):
                layer = module.removesuffix("mixer.Wqkv")
                parts = [tensor] * 3 if letter == "A" else tensor.chunk(3)
                for part, qkv in zip(parts, "qkv", strict=True):
                    expected[f"{layer}self_attn.{qkv}_proj.lora_{letter}.weight"] = part
            else:
                expected[f"{module}.lora_{letter}.weight"] = tensor
        return expected

    @pytest.mark.parametrize("name", SPELLINGS)
    def test_every_spelling_says_the_same(self, tmp_path: Path, strong: Checked, name: str) -> None:
        write_native(tmp_path / "hub", TINY, strong.weights)
        write_native(tmp_path / "other", TINY, strong.weights, SPELLINGS[name])
        files = ["model.safetensors"]
        files += [f"{adapter_folder(task)}/adapter_model.safetensors" for task in TASKS]
        for file in files:
            expected = read_plainly(tmp_path / "hub" / file)
            if not SPELLINGS[name].pooler:
                expected = {k: tensor for k, tensor in expected.items() if "pooler" not in k}
            assert_same(read_plainly(tmp_path / "other" / file), expected)

    @pytest.mark.parametrize("name", SPELLINGS)
    def test_transformers_takes_the_spellings_that_exist(
        self, tmp_path: Path, pair: Checked, name: str
    ) -> None:
        write_native(tmp_path, PAIR, pair.weights, SPELLINGS[name])
        if name in REFUSED:
            with pytest.raises(ValueError, match="could not match"):
                load_native(tmp_path, PAIR)
            return
        model = load_native(tmp_path, PAIR)
        for task in PAIR.tasks:
            model.set_adapter(adapter_folder(task))
            with torch.no_grad():
                hidden = model(input_ids=torch.tensor([text_of(20)])).last_hidden_state[0]
            assert torch.equal(hidden, pair.oracle.hidden_states(text_of(20), task))

    def test_shards_part_a_weight_from_its_adapters(self, tmp_path: Path, strong: Checked) -> None:
        write_original(tmp_path / "one", TINY, strong.weights, prefix="")
        write_original(tmp_path / "three", TINY, strong.weights, prefix="", shards=3)
        index = json.loads((tmp_path / "three" / "model.safetensors.index.json").read_text())
        weight_map = index["weight_map"]
        together: Weights = {}
        for file in sorted(set(weight_map.values())):
            tensors = load_file(tmp_path / "three" / file)
            assert {weight_map[name] for name in tensors} == {file}
            together |= tensors
        assert_same(together, load_file(tmp_path / "one" / "model.safetensors"))
        stem = "embeddings.word_embeddings.parametrizations.weight"
        homes = {weight_map[f"{stem}.{end}"] for end in ("original", "0.lora_A", "0.lora_B")}
        assert len(homes) == 3
        assert not (tmp_path / "three" / "model.safetensors").exists()

    def test_a_dtype_is_that_of_the_file(self, tmp_path: Path, strong: Checked) -> None:
        write_original(tmp_path, TINY, strong.weights, dtype=torch.bfloat16)
        tensors = load_file(tmp_path / "model.safetensors")
        assert {tensor.dtype for tensor in tensors.values()} == {torch.bfloat16}
        assert json.loads((tmp_path / "config.json").read_text())["torch_dtype"] == "bfloat16"

    @pytest.mark.parametrize("layout", ["original", "hub"])
    def test_a_tiny_folder_is_complete(self, tmp_path: Path, layout: str) -> None:
        made = write_tiny(tmp_path, layout, delta_factor=STRONG, tokenizer="metaspace")
        assert made.folder == tmp_path
        ids = Tokenizer.from_file(str(tmp_path / "tokenizer.json")).encode("Berlin, Berlin").ids
        config = json.loads((tmp_path / "config.json").read_text())
        assert max(ids) < config["vocab_size"] == VOCAB_SIZE
        assert naive_hidden_states(made.config, made.weights, ids, TASKS[0]).isfinite().all()


class TestFullSize:
    def test_has_the_published_number_of_tensors_and_elements(self) -> None:
        blank, hub = blank_weights(FULL_SIZE), SPELLINGS["hub"]
        original = original_tensors(FULL_SIZE, blank)
        base = native_tensors(FULL_SIZE, blank, hub)
        adapter = adapter_tensors(FULL_SIZE, blank, TASKS[0], hub)

        def elements(tensors: Weights) -> int:
            return sum(tensor.numel() for tensor in tensors.values())

        assert (len(original), elements(original)) == (492, 572_310_396)
        assert (len(base), 2 * elements(base)) == (294, 1_118_728_192)
        assert (len(adapter), elements(adapter)) == (294, 2_785_868)

    def test_writes_what_safetensors_reads(self, tmp_path: Path) -> None:
        config = replace(FULL_SIZE, vocab_size=9000, n_layers=1)
        write_full_size(tmp_path, config=config)
        found = load_file(tmp_path / "model.safetensors")
        blank = original_tensors(config, blank_weights(config))
        assert {name: tensor.shape for name, tensor in found.items()} == {
            name: tensor.shape for name, tensor in blank.items()
        }
        assert {tensor.dtype for tensor in found.values()} == {torch.bfloat16}
        stem = "roberta.encoder.layers.0.mlp.fc1.parametrizations.weight"
        a, b = (found[f"{stem}.0.lora_{letter}"][2].float() for letter in "AB")
        assert (b @ a / 4).abs().mean().item() == pytest.approx(1.5e-4, rel=0.1)
        assert found[f"{stem}.original"].float().std().item() == pytest.approx(0.03, rel=0.01)
        words = found["roberta.embeddings.word_embeddings.parametrizations.weight.original"]
        assert len({row.tobytes() for row in words[:, :16].float().numpy()}) == len(words)
        assert Tokenizer.from_file(str(tmp_path / "tokenizer.json")).get_vocab_size() == 9000


def pieces(tokenizer: Tokenizer, text: str) -> Sequence[tuple[str, tuple[int, int]]]:
    encoding = tokenizer.encode(text, add_special_tokens=False)
    return list(zip(encoding.tokens, encoding.offsets, strict=True))


@pytest.mark.parametrize("layout", LAYOUTS)
class TestTokenizers:
    def test_have_the_ids_of_xlm_roberta(self, layout: Layout) -> None:
        tokenizer = tiny_tokenizer(layout)
        specials = ("<s>", "<pad>", "</s>", "<unk>", "<mask>")
        assert tokenizer.get_vocab_size() == VOCAB_SIZE
        assert [tokenizer.token_to_id(t) for t in specials] == [0, 1, 2, 3, VOCAB_SIZE - 1]
        assert tokenizer.encode("").ids == [0, 2]

    def test_never_change(self, layout: Layout) -> None:
        ids = tiny_tokenizer(layout).encode("Represent the document for retrieval: Its city").ids
        assert ids == [0, 12, 4, 6, 42, 35, 552, 51, 2]
        assert tiny_tokenizer(layout).to_str() == tiny_tokenizer(layout).to_str()

    def test_know_no_bytes(self, layout: Layout) -> None:
        ids = tiny_tokenizer(layout).encode("🚀", add_special_tokens=False).ids
        assert ids[-1] == UNK_ID

    def test_normalise(self, layout: Layout) -> None:
        tokenizer = tiny_tokenizer(layout)
        assert tokenizer.encode("a\n\tﬁ  …").ids == tokenizer.encode("a fi ...").ids
        assert pieces(tokenizer, "ﬃ") == [("▁f", (0, 1)), ("f", (0, 1)), ("i", (0, 1))]

    def test_keep_their_ids_when_filled_up(self, layout: Layout) -> None:
        big = tiny_tokenizer(layout, vocab_size=5000)
        assert big.get_vocab_size() == 5000
        text = "Die Stadt 柏林 🚀 กรุงเทพ"
        assert big.encode(text).ids == tiny_tokenizer(layout).encode(text).ids

    def test_can_have_truncation_and_padding_baked_in(self, layout: Layout, tmp_path: Path) -> None:
        write_tokenizer(tmp_path / "cut", layout, baked_truncation=True)
        write_tokenizer(tmp_path / "filled", layout, baked_padding=True)
        cut, filled = (
            Tokenizer.from_file(str(tmp_path / name / "tokenizer.json"))
            for name in ("cut", "filled")
        )
        assert len(cut.encode("Berlin " * 50).ids) == BAKED_TRUNCATION
        assert len(filled.encode("Berlin").ids) == BAKED_PADDING


def test_the_two_tokenizer_layouts_differ_in_their_offsets() -> None:
    classic, metaspace = (tiny_tokenizer(layout) for layout in LAYOUTS)
    assert pieces(classic, "the city ") == [("▁the", (0, 3)), ("▁city", (4, 8))]
    assert pieces(metaspace, "the city ") == [("▁the", (0, 3)), ("▁city", (3, 8)), ("▁", (8, 9))]
