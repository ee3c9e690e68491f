"""`SentenceTransformerTrainer` trains the adapters that are named, and nothing else changes."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import pytest

pytest.importorskip("sentence_transformers", reason="sentence-transformers is not installed")
pytest.importorskip("datasets", reason="datasets, which training needs, is not installed")
pytest.importorskip("accelerate", reason="accelerate, which training needs, is not installed")

import numpy as np
import torch
from datasets import Dataset
from sentence_transformers import (
    SentenceTransformer,
    SentenceTransformerTrainer,
    SentenceTransformerTrainingArguments,
)
from sentence_transformers.sentence_transformer.losses import (
    CachedMultipleNegativesRankingLoss,
    CoSENTLoss,
    MatryoshkaLoss,
    MultipleNegativesRankingLoss,
    TripletLoss,
)

from jina_local import Engine
from jina_local.errors import (
    CheckpointError,
    InvalidOptionError,
    ModelNotFoundError,
    UnknownTaskError,
)
from jina_local_sentence_transformers import JinaSentenceTransformer, load, load_for_training
from support.checkpoints import TASKS, TINY, random_weights, write_native
from support.oracle import load_native
from support.tiny_tokenizers import write_tokenizer

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from support.checkpoints import Checkpoint

TOLERANCE = 1e-6
TEXTS = ["ships", "a text of a few words more than the other one", "ships that pass"]
QUESTIONS = [f"question {word}" for word in ("one", "two", "three", "four", "five", "six")]
ANSWERS = [f"the answer to this is {letter}" for letter in "abcdef"]
COLUMNS = {"question": "retrieval.query", "answer": "mine", "wrong": "mine"}
PAIRS = {"question": QUESTIONS, "answer": ANSWERS}
TRIPLETS = {**PAIRS, "wrong": ANSWERS[::-1]}
SCORED = {**PAIRS, "label": [i / 6 for i in range(6)]}

pytestmark = pytest.mark.filterwarnings(
    "ignore:'pin_memory' argument is set as true", "ignore:.*lr_scheduler.step.*"
)


def train(
    model: JinaSentenceTransformer,
    folder: Path,
    loss: torch.nn.Module | None = None,
    *,
    data: dict[str, list[Any]] = PAIRS,
    columns: dict[str, str] = COLUMNS,
    **arguments: Any,
) -> SentenceTransformerTrainer:
    """A few steps on a few texts."""
    options = {
        "output_dir": str(folder),
        "max_steps": 3,
        "per_device_train_batch_size": 3,
        "learning_rate": 1e-2,
        "report_to": [],
        "save_strategy": "no",
        "disable_tqdm": True,
        "use_cpu": True,
        "router_mapping": columns,
        **arguments,
    }
    trainer = SentenceTransformerTrainer(
        model=model,
        args=SentenceTransformerTrainingArguments(**options),
        train_dataset=Dataset.from_dict(data),
        eval_dataset=Dataset.from_dict(data),
        loss=loss or MultipleNegativesRankingLoss(model),
    )
    trainer.train()
    return trainer


def vectors(model: SentenceTransformer, tasks: tuple[str, ...] = TASKS) -> np.ndarray:
    return np.stack([model.encode(TEXTS, task=task) for task in tasks])


@pytest.fixture
def trainable(tiny: Checkpoint) -> JinaSentenceTransformer:
    return load_for_training(tiny.folder, new_tasks={"mine": "retrieval.passage"}, device="cpu")


LOSSES: dict[str, tuple[Callable[[SentenceTransformer], torch.nn.Module], dict[str, Any]]] = {
    "ranking": (MultipleNegativesRankingLoss, PAIRS),
    "cached ranking": (lambda m: CachedMultipleNegativesRankingLoss(m, mini_batch_size=2), PAIRS),
    "triplets": (TripletLoss, TRIPLETS),
    "scores": (CoSENTLoss, SCORED),
    "matryoshka": (
        lambda m: MatryoshkaLoss(m, MultipleNegativesRankingLoss(m), [64, 32, 8]),
        PAIRS,
    ),
}


@pytest.mark.parametrize("name", LOSSES)
def test_losses_change_the_trained_adapter_and_no_other_bit(
    trainable: JinaSentenceTransformer, name: str, tmp_path: Path
) -> None:
    make, data = LOSSES[name]
    before = {key: value.clone() for key, value in trainable.state_dict().items()}
    others, mine = vectors(trainable), vectors(trainable, ("mine",))
    train(trainable, tmp_path, make(trainable), data=data)
    changed = {k for k, v in trainable.state_dict().items() if not torch.equal(v, before[k])}
    assert changed == {key for key in before if f".parts.{len(TASKS)}." in key}
    assert np.array_equal(vectors(trainable), others)
    assert abs(vectors(trainable, ("mine",)) - mine).max() > 1e-3


def test_the_loss_falls(trainable: JinaSentenceTransformer, tmp_path: Path) -> None:
    trainer = train(trainable, tmp_path, max_steps=1, learning_rate=0.0)
    before = trainer.evaluate()["eval_loss"]
    after = train(trainable, tmp_path, max_steps=20).evaluate()["eval_loss"]
    assert after < 0.9 * before


def test_gradient_checkpointing_changes_no_weight(tiny: Checkpoint, tmp_path: Path) -> None:
    results = []
    for recompute in (False, True):
        model = load_for_training(tiny.folder, tasks="separation", device="cpu")
        train(model, tmp_path, columns={}, activation_checkpointing=recompute)
        results.append(model[0].adapter("separation").updates["layers.0.fc1"].right)
    assert torch.equal(*results)


def test_columns_without_a_task_are_embedded_under_the_trained_one(tiny: Checkpoint) -> None:
    model = load_for_training(tiny.folder, tasks="separation", device="cpu")
    assert np.array_equal(model.encode(TEXTS), model.encode(TEXTS, task="separation"))


def test_the_whole_model_on_request(tiny: Checkpoint, tmp_path: Path) -> None:
    model = load_for_training(tiny.folder, tasks="separation", whole_model=True, device="cpu")
    before = vectors(model)
    train(model, tmp_path / "run", columns={}, learning_rate=1e-3)
    trained = vectors(model)
    assert (abs(trained - before).max(axis=(1, 2)) > 1e-4).all()
    model.save_pretrained(str(tmp_path / "saved"))
    with Engine.load(tmp_path / "saved", device="cpu") as engine:
        assert engine.tasks == TASKS
        found = np.stack([engine.embed(TEXTS, task=task).vectors for task in TASKS])
    assert abs(found - trained).max() <= TOLERANCE
    assert abs(vectors(load(tmp_path / "saved", device="cpu")) - trained).max() <= TOLERANCE
    native = load_native(tmp_path / "saved", TINY)
    native.set_adapter("separation")
    features = model.preprocess(TEXTS, task="separation")
    states = native(
        input_ids=features["input_ids"], attention_mask=features["attention_mask"]
    ).last_hidden_state
    mask = features["attention_mask"][:, :, None]
    means = torch.nn.functional.normalize((states * mask).sum(1) / mask.sum(1), dim=1)
    number = TASKS.index("separation")
    assert abs(means.detach().numpy() - trained[number]).max() <= TOLERANCE


def test_a_trained_adapter_everywhere(tmp_path: Path) -> None:
    """Saved, and loaded by us, by the engine, by transformers + PEFT, to be trained on."""
    weights = random_weights(TINY, delta_factor=100.0)
    home, saved = tmp_path / "base", tmp_path / "saved"
    write_native(home, TINY, weights, prompts=TINY.task_instructions)
    write_tokenizer(home, model_max_length=TINY.max_positions, vocab_size=TINY.vocab_size)
    model = load_for_training(
        home, new_tasks={"mine": "retrieval.passage"}, tasks="separation", device="cpu"
    )
    train(model, tmp_path / "run", columns={"question": "separation", "answer": "mine"})
    model.save_pretrained(str(saved))
    trained = vectors(model, (*TASKS, "mine"))

    again = load(saved, device="cpu")
    assert abs(vectors(again, (*TASKS, "mine")) - trained).max() <= TOLERANCE
    to_train = load_for_training(saved, device="cpu")
    assert to_train[0].settings.trained == ("separation", "mine")
    assert np.array_equal(vectors(to_train, (*TASKS, "mine")), trained)
    plain = SentenceTransformer(str(saved), trust_remote_code=True, device="cpu")
    assert isinstance(plain, JinaSentenceTransformer)
    assert np.array_equal(vectors(plain, (*TASKS, "mine")), trained)

    adapters = {"mine": saved / "mine", "separation": saved / "separation"}
    with Engine.load(home, device="cpu", adapters=adapters) as engine:
        found = np.stack([engine.embed(TEXTS, task=task).vectors for task in (*TASKS, "mine")])
    assert abs(found - trained).max() <= TOLERANCE

    native = load_native(home, TINY)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Already found a `peft_config`", UserWarning)
        native.load_adapter(str(saved / "mine"), adapter_name="mine")
    native.set_adapter("mine")
    features = model.preprocess(TEXTS, task="mine")
    states = native(
        input_ids=features["input_ids"], attention_mask=features["attention_mask"]
    ).last_hidden_state
    mask = features["attention_mask"][:, :, None]
    means = torch.nn.functional.normalize((states * mask).sum(1) / mask.sum(1), dim=1)
    assert abs(means.detach().numpy() - trained[-1]).max() <= TOLERANCE


def test_the_best_checkpoint_comes_back(trainable: JinaSentenceTransformer, tmp_path: Path) -> None:
    """What the trainer saves on its way, it can load again."""
    trainer = train(
        trainable,
        tmp_path,
        max_steps=6,
        learning_rate=1e-2,
        greater_is_better=True,  # so that it is not the last one
        save_strategy="steps",
        eval_strategy="steps",
        save_steps=1,
        eval_steps=1,
        load_best_model_at_end=True,
    )
    best = load(trainer.state.best_model_checkpoint, device="cpu")
    found = vectors(trainable, ("mine",))
    assert abs(vectors(best, ("mine",)) - found).max() <= TOLERANCE
    last = load(tmp_path / "checkpoint-6", device="cpu")
    assert trainer.state.best_model_checkpoint != str(tmp_path / "checkpoint-6")
    assert abs(vectors(last, ("mine",)) - found).max() > 1e-3


def test_instructions_of_new_tasks(tiny: Checkpoint) -> None:
    model = load_for_training(
        tiny.folder,
        new_tasks={"mine": "retrieval.passage", "copy": "retrieval.passage"},
        instructions={"mine": "Represent: "},
        device="cpu",
    )
    assert model.prompts["mine"] == "Represent: "
    assert model.prompts["copy"] == model.prompts["retrieval.passage"]
    assert np.array_equal(*vectors(model, ("copy", "retrieval.passage")))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_rounding_what_is_trained_is_refused(
    trainable: JinaSentenceTransformer, dtype: torch.dtype
) -> None:
    with pytest.raises(InvalidOptionError, match="bf16=True"):
        trainable.to(dtype)
    assert trainable.to("cpu").dtype == torch.float32


def test_bfloat16_by_the_trainer(trainable: JinaSentenceTransformer, tmp_path: Path) -> None:
    before = vectors(trainable, ("mine",))
    train(trainable, tmp_path, bf16=True)
    assert trainable.dtype == torch.float32
    assert abs(vectors(trainable, ("mine",)) - before).max() > 1e-3


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({}, InvalidOptionError, "nothing would be trained"),
        ({"tasks": "nonsense"}, UnknownTaskError, "nonsense"),
        ({"new_tasks": {"mine": "nonsense"}}, UnknownTaskError, "nonsense"),
        ({"new_tasks": {"separation": "separation"}}, InvalidOptionError, "has already"),
        (
            {"tasks": "separation", "instructions": {"separation": ""}},
            InvalidOptionError,
            "only new tasks",
        ),
    ],
)
def test_what_cannot_be_trained_is_refused(
    tiny: Checkpoint, options: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        load_for_training(tiny.folder, device="cpu", **options)


# What a saved model needs


def test_options_are_saved(tiny: Checkpoint, tmp_path: Path) -> None:
    model = load(
        tiny.folder,
        device="cpu",
        query_task="text-matching",
        default_task="separation",
        max_seq_length=50,
        on_overflow="error",
        truncate_dim=8,
    )
    model.max_seq_length = 40
    model.save_pretrained(str(tmp_path))
    names = {path.name for path in tmp_path.iterdir()}
    assert {"modules.json", "jina_local_model.json", "1_Pooling", "2_Normalize"} <= names
    assert not [*tmp_path.glob("*.safetensors"), *tmp_path.glob("*.bin")]
    for again in (
        load(tmp_path, device="cpu"),
        SentenceTransformer(str(tmp_path), trust_remote_code=True, device="cpu"),
    ):
        assert np.array_equal(again.encode(TEXTS), model.encode(TEXTS))
        assert np.array_equal(again.encode_query(TEXTS), model.encode_query(TEXTS))
        assert (again.truncate_dim, again.max_seq_length) == (8, 40)
        assert again[0].on_overflow == "error"


def test_the_base_may_move_but_not_change(tiny: Checkpoint, tmp_path: Path) -> None:
    weights = random_weights(TINY, seed=1)
    for name in ("base", "other"):
        write_native(tmp_path / name, TINY, weights, prompts=TINY.task_instructions)
        write_tokenizer(
            tmp_path / name, model_max_length=TINY.max_positions, vocab_size=TINY.vocab_size
        )
    model = load(tmp_path / "base", device="cpu")
    model.save_pretrained(str(tmp_path / "saved"))
    (tmp_path / "base").rename(tmp_path / "moved")
    with pytest.raises(ModelNotFoundError):
        load(tmp_path / "saved", device="cpu")
    for base in ("moved", "other"):
        again = load(tmp_path / "saved", base=tmp_path / base, device="cpu")
        assert np.array_equal(again.encode_query(TEXTS), model.encode_query(TEXTS))
    with pytest.raises(CheckpointError, match="does not hold the weights"):
        load(tmp_path / "saved", base=tiny.folder, device="cpu")
