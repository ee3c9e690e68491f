"""An engine as mteb's encoder: what mteb checks, and which adapter gets which texts."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from jina_local.errors import InvalidOptionError
from jina_local_eval import MtebEncoder
from jina_local_eval.routing import PAPER_ROUTING, V3_ROUTING
from jina_local_eval.suites import Expected, Finished, run_suite, run_tasks, suite_tasks
from support.mteb_tasks import DOCUMENTS, QUERIES, expected_score, local_task

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from jina_local import Engine
    from jina_local.results import Embeddings
    from support.checkpoints import Checkpoint

    from ..conftest import Cli  # noqa: TID252 - of the folder above

mteb = pytest.importorskip("mteb", reason="mteb is not installed: pip install 'jina-local[eval]'")

pytestmark = pytest.mark.filterwarnings("ignore")  # those of mteb and what it imports

TEXT_TYPES = (
    *("BitextMining", "Classification", "Clustering", "MultilabelClassification"),
    *("PairClassification", "Reranking", "Retrieval", "STS", "Summarization"),
)


@dataclass
class Spy:
    """An engine that remembers what it was asked for."""

    engine: Engine
    calls: list[tuple[str | None, list[str]]] = field(default_factory=list)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.engine, name)

    def embed(self, texts: Sequence[str], *, task: str | None, **options: Any) -> Embeddings:
        self.calls.append((task, list(texts)))
        return self.engine.embed(texts, task=task, **options)

    @property
    def routed(self) -> dict[str | None, set[str]]:
        found: dict[str | None, set[str]] = {}
        for task, texts in self.calls:
            found.setdefault(task, set()).update(texts)
        return found


@pytest.fixture
def spy(demo: Engine) -> Spy:
    return Spy(demo)


def test_it_is_an_encoder_by_mtebs_own_check(demo: Engine) -> None:
    from mteb.models.models_protocols import EncoderProtocol, SearchProtocol

    encoder = MtebEncoder(demo)
    assert isinstance(encoder, EncoderProtocol)
    assert not isinstance(encoder, SearchProtocol)
    assert isinstance(encoder.mteb_model_meta, mteb.models.ModelMeta)


def test_queries_and_documents_reach_their_adapters_and_the_score_is_ours(
    spy: Spy, demo: Engine
) -> None:
    found = run_tasks(spy, [local_task()], None).scores  # type: ignore[arg-type]
    assert spy.routed == {
        "retrieval.query": set(QUERIES.values()),
        "retrieval.passage": set(DOCUMENTS),
    }
    ours = expected_score(demo)
    assert found == {("LocalRetrieval", "test", "default"): pytest.approx(ours, abs=1e-4)}


@pytest.mark.parametrize(
    ("name", "task"),
    [
        ("MockBitextMiningTask", {"text-matching"}),
        ("MockClassificationTask", {"classification"}),
        ("MockClusteringTask", {"separation"}),
        ("MockMultilabelClassification", {"classification"}),
        ("MockPairClassificationTask", {"classification"}),
        ("MockRerankingTask", {"separation"}),
        ("MockRetrievalTask", {"retrieval.query", "retrieval.passage"}),
        ("MockSTSTask", {"text-matching"}),
        ("MockSummarizationTask", {"text-matching"}),
    ],
)
def test_mtebs_own_tasks_for_checking_models_run(spy: Spy, name: str, task: set[str]) -> None:
    """The small tasks that mteb brings to test models with."""
    from mteb import mocks

    finished = run_tasks(spy, [getattr(mocks, name)()], None)  # type: ignore[arg-type]
    assert not finished.failures
    assert finished.scores
    assert np.isfinite(list(finished.scores.values())).all()
    assert set(spy.routed) == task


@pytest.mark.parametrize("kind", TEXT_TYPES)
@pytest.mark.parametrize("role", [None, "query", "document"])
def test_the_routing_is_that_of_mtebs_entry_of_the_model(kind: str, role: str | None) -> None:
    from mteb.models.abs_encoder import get_prompt_name
    from mteb.types import PromptType

    prompts = mteb.get_model_meta("jinaai/jina-embeddings-v3").loader_kwargs["model_prompts"]

    class Metadata:
        name, type = "Some", kind

    reference = get_prompt_name(prompts, Metadata, None if role is None else PromptType(role))
    if reference is None:  # retrieval of texts that are neither: the reference takes no adapter
        with pytest.raises(InvalidOptionError, match="queries or documents"):
            V3_ROUTING.task("Some", kind, role)
    else:
        assert V3_ROUTING.task("Some", kind, role) == prompts[reference]
    assert PAPER_ROUTING.task("CQADupstackGamingRetrieval", kind, role) == "text-matching"


def test_a_run_goes_on_from_its_results(spy: Spy, tmp_path: Path) -> None:
    first = run_tasks(spy, [local_task()], tmp_path)  # type: ignore[arg-type]
    n_calls = len(spy.calls)
    assert n_calls
    again = run_tasks(spy, [local_task()], tmp_path)  # type: ignore[arg-type]
    assert again == first
    assert len(spy.calls) == n_calls


def test_a_task_that_fails_is_named_and_stops_no_other(spy: Spy) -> None:
    from mteb import mocks

    tasks = [mocks.MockRegressionTask(), local_task()]  # regression is not routed
    finished = run_tasks(spy, tasks, None)  # type: ignore[arg-type]
    assert set(finished.failures) == {"MockRegressionTask"}
    assert "type 'Regression'" in finished.failures["MockRegressionTask"]
    assert {key[0] for key in finished.scores} == {"LocalRetrieval"}


def test_the_command_prints_what_is_off_and_ends_with_4(
    cli: Cli, tiny: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The whole command over a local task, expected to score what a random model does not."""
    task = local_task()
    monkeypatch.setattr(mteb, "get_task", lambda *_, **__: task)
    wide, narrow = {"float32": 1.0, "16 bits": 1.0}, {"float32": 0.002, "16 bits": 0.004}
    right = Expected("LocalRetrieval", "test", "default", "retrieval", 1.0, wide, "https://a.b")
    off = replace(right, tolerances=narrow)
    gone = replace(right, split="train")
    monkeypatch.setattr("jina_local_eval.suites.suite_tasks", lambda _: [right, off, gone])
    finished = cli("eval", tiny.folder, "--suite", "smoke", "--json", code=4)
    assert [score["right"] for score in finished.json["scores"]] == [True, False, False]
    assert finished.json["scores"][0]["got"] == pytest.approx(
        1 + finished.json["scores"][1]["difference"], abs=1e-6
    )
    assert finished.json["scores"][2]["got"] is None
    assert "some scores are not the published ones" in finished.stderr
    table = cli("eval", tiny.folder, "--suite", "smoke", code=4).stdout
    assert (table.count("OFF"), table.count(" ok")) == (2, 1)
    monkeypatch.setattr("jina_local_eval.suites.suite_tasks", lambda _: [right])
    cli("eval", tiny.folder, "--suite", "smoke")


def test_unknown_types_are_refused_by_name() -> None:
    with pytest.raises(InvalidOptionError, match=r"type 'Regression'.*route it by its name"):
        V3_ROUTING.task("Some", "Regression", None)


def test_other_precisions_are_refused(demo: Engine) -> None:
    with pytest.raises(InvalidOptionError, match="precision is 'int8'"):
        MtebEncoder(demo).encode(
            [], task_metadata=None, hf_split="test", hf_subset="default", precision="int8"
        )


def test_what_changes_scores_changes_the_revision(demo: Engine) -> None:
    encoders = [
        MtebEncoder(demo),
        MtebEncoder(demo, dimensions=64),
        MtebEncoder(demo, on_overflow="window"),
        MtebEncoder(demo, routing=PAPER_ROUTING),
    ]
    revisions = [encoder.mteb_model_meta.revision for encoder in encoders]
    assert len(set(revisions)) == len(encoders)
    assert MtebEncoder(demo).mteb_model_meta.revision == revisions[0]


@pytest.mark.parametrize("suite", ["smoke", "rag"])
def test_every_expected_score_is_of_a_task_that_mteb_has(suite: str) -> None:
    for one in suite_tasks(suite):
        task = mteb.get_task(one.task, eval_splits=[one.split], hf_subsets=[one.subset])
        assert task.metadata.eval_splits
        assert one.split in task.metadata.eval_splits
        assert one.subset in task.metadata.hf_subsets
        assert V3_ROUTING.task(one.task, task.metadata.type, "query")


def test_suites_ask_for_no_more_than_is_compared(
    demo: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[Any] = []

    def nothing(_: Engine, tasks: Sequence[Any], __: object) -> Finished:
        given.extend(tasks)
        return Finished({}, {})

    monkeypatch.setattr("jina_local_eval.suites.run_tasks", nothing)
    run_suite(demo, suite_tasks("smoke"), None)
    asked = {(task.metadata.name, split) for task in given for split in task.eval_splits}
    assert asked == {(one.task, one.split) for one in suite_tasks("smoke")}
