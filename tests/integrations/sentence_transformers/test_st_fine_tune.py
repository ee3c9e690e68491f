"""A real fine-tune: one adapter of the demo model learns to find functions by their signatures.

A question is the first paragraph of a docstring of Python's standard library, the text to find is
name and signature. What is measured is of modules that no pair of the training is from.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, NamedTuple

import pytest

pytest.importorskip("sentence_transformers", reason="sentence-transformers is not installed")
pytest.importorskip("datasets", reason="datasets, which training needs, is not installed")
pytest.importorskip("accelerate", reason="accelerate, which training needs, is not installed")

import numpy as np
import torch
from datasets import Dataset
from sentence_transformers import SentenceTransformerTrainer, SentenceTransformerTrainingArguments
from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss

from jina_local import Engine
from jina_local.native_files import write_native
from jina_local_eval.bootstrap import resampled_weights, with_interval
from jina_local_eval.metrics import METRICS, question_metrics
from jina_local_qdrant.stdlib_docs import stdlib_passages
from jina_local_sentence_transformers import load_for_training
from support.checkpoints import TASKS, TINY
from support.oracle import load_native

if TYPE_CHECKING:
    from pathlib import Path

N_TRAINED = 600
SHORTEST_QUESTION = 4  # words


class Pair(NamedTuple):
    module: str
    question: str
    signature: str


def is_held_out(pair: Pair) -> bool:
    """A third of the modules, the same wherever this is run."""
    return hashlib.sha256(pair.module.encode()).digest()[0] % 3 == 0


def pairs() -> tuple[list[Pair], list[Pair]]:
    """Pairs to train on, and pairs of other modules."""
    found = []
    for passage in stdlib_passages():
        signature, _, docstring = passage["text"].partition("\n\n")
        question = " ".join(docstring.partition("\n\n")[0].split())
        is_long_enough = len(question.split()) >= SHORTEST_QUESTION
        if passage["metadata"]["kind"] != "module" and is_long_enough:
            module = passage["metadata"]["module"].partition(".")[0]
            found.append(Pair(module, question[:200], signature[:120]))
    shuffled = [found[i] for i in np.random.default_rng(0).permutation(len(found))]
    held_out = [pair for pair in shuffled if is_held_out(pair)]
    others = [pair for pair in shuffled if not is_held_out(pair)]
    return others[:N_TRAINED], held_out


def reciprocal_ranks(engine: Engine, measured: list[Pair], task: str) -> np.ndarray:
    queries = engine.embed_queries([pair.question for pair in measured]).vectors
    found = engine.embed([pair.signature for pair in measured], task=task).vectors
    scores = queries @ found.T
    ranks = [question_metrics(row, np.array([i])) for i, row in enumerate(scores)]
    return np.stack(ranks)[:, METRICS.index("MRR")]


@pytest.mark.slow
@pytest.mark.filterwarnings(
    "ignore:'pin_memory' argument is set as true", "ignore:Already found a `peft_config`"
)
def test_an_adapter_learns_from_a_few_hundred_pairs(tmp_path: Path, demo: Engine) -> None:
    trained, measured = pairs()
    assert not {pair.module for pair in trained} & {pair.module for pair in measured}
    model = load_for_training("demo", new_tasks={"signature": "retrieval.passage"}, device="cpu")
    before = {name: value.clone() for name, value in model.state_dict().items()}
    trainer = SentenceTransformerTrainer(
        model=model,
        args=SentenceTransformerTrainingArguments(
            output_dir=str(tmp_path / "run"),
            num_train_epochs=6,
            per_device_train_batch_size=64,
            learning_rate=5e-3,
            warmup_steps=0.1,
            seed=1,
            router_mapping={"question": "retrieval.query", "signature": "signature"},
            report_to=[],
            save_strategy="no",
            disable_tqdm=True,
            use_cpu=True,
        ),
        train_dataset=Dataset.from_dict(
            {
                "question": [pair.question for pair in trained],
                "signature": [pair.signature for pair in trained],
            }
        ),
        loss=MultipleNegativesRankingLoss(model),
    )
    trainer.train()
    changed = {name for name, v in model.state_dict().items() if not torch.equal(v, before[name])}
    assert (
        changed
    )  # not all: the demo's token type has an adapter of zeros, where nothing is learnt
    assert changed <= {name for name in before if f".parts.{len(TASKS)}." in name}
    model.save_pretrained(str(tmp_path / "saved"), create_model_card=False)

    texts = [pair.signature for pair in measured]
    adapters = {"signature": tmp_path / "saved" / "signature"}
    with Engine.load("demo", device="cpu", adapters=adapters) as engine:
        after = reciprocal_ranks(engine, measured, "signature")
        vectors = engine.embed(texts, task="signature").vectors
        for task in (None, *TASKS):
            found = engine.embed(texts[:50], task=task).vectors
            assert np.array_equal(found, demo.embed(texts[:50], task=task).vectors), task
    gains = after - reciprocal_ranks(demo, measured, "retrieval.passage")
    gain = with_interval(gains, resampled_weights(len(gains)))
    print(f"MRR {after.mean() - gain.mean:.3f} → {after.mean():.3f}, {gain}")
    assert gain.low > 0, gain
    ours = model.encode(texts, task="signature")
    assert abs(ours - vectors).max() <= 1e-6

    encoder = model[0].encoder
    (tmp_path / "native").mkdir()
    adapters_of_demo = [demo.adapter(task) for task in TASKS]
    write_native(
        tmp_path / "native", model[0].checkpoint(), encoder.base_tensors(), adapters_of_demo
    )
    native = load_native(tmp_path / "native", TINY)  # of which only the tasks' names are used
    native.load_adapter(str(tmp_path / "saved" / "signature"), adapter_name="signature")
    native.set_adapter("signature")
    for start in range(0, 50, 10):
        features = model.preprocess(texts[start : start + 10], task="signature")
        ids, mask = features["input_ids"], features["attention_mask"]
        with torch.no_grad():
            states = native(input_ids=ids, attention_mask=mask).last_hidden_state
        means = (states * mask[:, :, None]).sum(1) / mask.sum(1, keepdim=True)
        found = torch.nn.functional.normalize(means, dim=1).numpy()
        assert abs(found - vectors[start : start + 10]).max() <= 1e-6
