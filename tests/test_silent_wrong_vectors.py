"""The commonest failure in this field: a wrong vector, returned with success.

Each test is named after one of the kinds that other tools ship, and shows that it is impossible
here or an error.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from jina_local import ChunkedText, Engine
from jina_local.errors import CheckpointError, TextTooLongError, UnknownTaskError
from support.checkpoints import INSTRUCTIONS, TASKS, TINY, Checkpoint, TinyConfig, write_tiny
from support.late_oracle import LateOracle
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


def test_07_spans_by_adding_up_the_tokens_of_each_chunk(engine: Engine, oracle: Oracle) -> None:
    """Cuts inside words: tokenized one by one, the chunks have more tokens than the document."""
    text = "The inhabitants of 柏林是德国的首都 understand the application."
    spans = [(i, min(i + 5, len(text))) for i in range(0, len(text), 5)]
    document = ChunkedText(text, spans)
    tokenizer = tiny_tokenizer("whitespace+metaspace")
    apart = [tokenizer.encode(text[start:end], add_special_tokens=False) for start, end in spans]
    late = LateOracle(oracle, "whitespace+metaspace")
    assert sum(map(len, apart)) > len(late.tokens(document, "retrieval.passage").body)
    (result,) = engine.embed_chunks([document])
    expected = late.embed(document, "retrieval.passage")
    assert distance(result.vectors, expected.vectors) <= 1e-6
    assert result.token_counts.tolist() == expected.token_counts


def test_07_plain_embeddings_where_the_document_is_too_long(tmp_path: Path) -> None:
    """A long document is run in windows, whose chunks still hear each other, and it is said."""
    write_tiny(tmp_path, config=TinyConfig(max_positions=32), delta_factor=100.0)
    text = " ".join([TEXT] * 20)
    spans = [(i, i + len(TEXT)) for i in range(0, len(text), len(TEXT) + 1)]
    with Engine.load(tmp_path, device="cpu") as engine:
        (late,) = engine.embed_chunks([ChunkedText(text, spans)], special_tokens="exclude")
        (alone,) = engine.embed_chunks([ChunkedText(TEXT, spans[:1])], special_tokens="exclude")
        plain = engine.embed_documents([TEXT]).vectors[0]
        assert late.windows > 1
        assert not late.truncated.any()
        for vector in late.vectors:
            assert distance(vector, plain) > 1e-3
            assert distance(vector, alone.vectors[0]) > 1e-3
        with pytest.raises(TextTooLongError):
            engine.embed_chunks([ChunkedText(text, spans)], on_overflow="error")


def test_07_empty_spans_dropped_so_that_rows_no_longer_fit(engine: Engine) -> None:
    spans = [(0, 6), (6, 6), (6, 7), (7, 9), (9, 10), (10, 13)]
    (result,) = engine.embed_chunks([ChunkedText(TEXT, spans)])
    assert len(result) == len(spans)
    assert result.fell_back.tolist() == [False, True, True, False, True, False]
    (full,) = engine.embed_chunks([ChunkedText(TEXT, [spans[0], spans[3], spans[5]])])
    assert distance(result.vectors[[0, 3, 5]], full.vectors) <= 1e-6


def test_08_late_chunking_across_document_borders(engine: Engine, oracle: Oracle) -> None:
    """Documents of one call share no window, however short they are."""
    texts = ["Berlin is the capital of Germany.", "Its river is old.", "Water boils at sea level."]
    found = [ChunkedText(text, [(0, 9), (9, len(text))]) for text in texts]
    together = engine.embed_chunks(found)
    late = LateOracle(oracle, "whitespace+metaspace")
    for result, document in zip(together, found, strict=True):
        expected = late.embed(document, "retrieval.passage").vectors
        assert distance(result.vectors, expected) <= 1e-6
    joined = ChunkedText.from_chunks(texts)
    (mixed,) = engine.embed_chunks([joined])
    for vector, text in zip(mixed.vectors, texts, strict=True):
        assert distance(vector, engine.embed_documents([text]).vectors[0]) > 1e-3


def test_09_windows_that_only_reread_what_comes_before_them(tmp_path: Path) -> None:
    """Wherever windows end, every chunk hears the words before and after it."""
    write_tiny(tmp_path, config=TinyConfig(max_positions=32), delta_factor=100.0)
    swap = {"the": "and", "city": "both", "of": "is", "river": "brown", "dog": "old"}
    words = [*swap, *reversed(swap.values())] * 8
    swap |= {one: another for another, one in swap.items()}  # as long, and one token each
    starts = [len(" ".join(words[:i])) + (i > 0) for i in range(len(words))]
    spans = [(starts[i], starts[i + 3] + len(words[i + 3])) for i in range(0, len(words), 4)]
    with Engine.load(tmp_path, device="cpu") as engine:
        (before,) = engine.embed_chunks([ChunkedText(" ".join(words), spans)])
        assert before.windows > 3
        for row, first in enumerate(range(0, len(words), 4)):
            for neighbour in (first - 1, first + 4):
                if not 0 <= neighbour < len(words):
                    continue
                edited = words.copy()
                edited[neighbour] = swap[edited[neighbour]]
                (after,) = engine.embed_chunks([ChunkedText(" ".join(edited), spans)])
                assert distance(after.vectors[row], before.vectors[row]) > 1e-5


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
