"""mteb takes the loaded model: tasks reach their adapters, and scores are the engine's.

Of a model that it does not know, mteb asks `prompts` what to do, by the types of its tasks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

pytest.importorskip("sentence_transformers", reason="sentence-transformers is not installed")
pytest.importorskip("mteb", reason="mteb is not installed: pip install 'jina-local[eval]'")

import mteb

from jina_local.errors import InvalidOptionError
from jina_local_eval import MtebEncoder
from jina_local_sentence_transformers import load
from support.mteb_tasks import DOCUMENTS, QUERIES, expected_score, local_task

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from jina_local import Engine
    from jina_local_sentence_transformers import JinaSentenceTransformer

pytestmark = pytest.mark.filterwarnings("ignore")  # those of mteb and what it imports

RETRIEVAL = {"retrieval.query", "retrieval.passage"}
ROUTED = {
    "MockBitextMiningTask": {"text-matching"},
    "MockClassificationTask": {"classification"},
    "MockClusteringTask": {"separation"},
    "MockMultilabelClassification": {"classification"},
    "MockPairClassificationTask": {"classification"},
    "MockRetrievalTask": RETRIEVAL,
    "MockSTSTask": {"text-matching"},
    "MockSummarizationTask": {"text-matching"},
}


class Watched:
    """A model, and which of its tasks embedded which texts."""

    def __init__(self, model: JinaSentenceTransformer, patch: pytest.MonkeyPatch) -> None:
        self.model = model
        self.routed: dict[str | None, set[str]] = {}
        self._preprocess = model.preprocess
        patch.setattr(model, "preprocess", self.preprocess)

    def preprocess(self, inputs: Sequence[str], **options: Any) -> Mapping[str, Any]:
        features = self._preprocess(inputs, **options)
        names = (None, *self.model[0].checkpoint().tasks.names)
        for adapter in set(features["adapters"].tolist()):
            self.routed.setdefault(names[adapter + 1], set()).update(inputs)
        return features


def score(model: object, task: Any, cache: Path | None = None) -> dict[tuple[str, str], float]:
    """Main scores by split and subset."""
    kept = None if cache is None else mteb.ResultCache(cache)
    (result,) = mteb.evaluate(model, [task], cache=kept, co2_tracker=False).task_results
    return {
        (split, str(one["hf_subset"])): float(one["main_score"])
        for split, subsets in result.scores.items()
        for one in subsets
    }


def mock(name: str) -> Any:
    """One of the small tasks that mteb brings to test models with."""
    from mteb import mocks

    return getattr(mocks, name)()


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> Watched:
    return Watched(load("demo", device="cpu"), monkeypatch)


def test_queries_and_documents_reach_their_adapters_and_the_score_is_the_engines(
    watched: Watched, demo: Engine
) -> None:
    found = score(watched.model, local_task())
    assert watched.routed == {
        "retrieval.query": set(QUERIES.values()),
        "retrieval.passage": set(DOCUMENTS),
    }
    assert found == {("test", "default"): pytest.approx(expected_score(demo), abs=1e-4)}
    assert found == score(MtebEncoder(demo), local_task())


@pytest.mark.parametrize("name", ROUTED)
def test_every_type_is_embedded_as_the_engines_encoder_does(
    name: str, watched: Watched, demo: Engine
) -> None:
    found = score(watched.model, mock(name))
    assert set(watched.routed) == ROUTED[name]
    assert np.isfinite(list(found.values())).all()
    assert found == pytest.approx(score(MtebEncoder(demo), mock(name)), abs=1e-6)


def test_without_prompts_by_type_there_would_be_no_adapter(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What mteb does with models whose prompts are of the two roles alone, and says nothing."""
    roles = {name: watched.model.prompts[name] for name in ("query", "document")}
    monkeypatch.setattr(watched.model, "prompts", roles)
    score(watched.model, mock("MockClassificationTask"))
    assert set(watched.routed) == {None}


def test_types_that_v3_was_not_scored_on_are_texts_of_which_nothing_is_said(
    watched: Watched,
) -> None:
    score(watched.model, mock("MockRegressionTask"))
    assert set(watched.routed) == {None}


def test_reranking_is_of_queries_and_documents_unless_the_roles_say_otherwise(
    watched: Watched, demo: Engine
) -> None:
    score(watched.model, mock("MockRerankingTask"))
    assert set(watched.routed) == RETRIEVAL
    as_published = load("demo", device="cpu", query_task="separation", document_task="separation")
    expected = score(MtebEncoder(demo), mock("MockRerankingTask"))
    assert score(as_published, mock("MockRerankingTask")) == pytest.approx(expected, abs=1e-6)


def test_a_default_of_ones_own_is_what_is_evaluated(monkeypatch: pytest.MonkeyPatch) -> None:
    """As of a model that an adapter is trained for."""
    own = Watched(load("demo", device="cpu", default_task="separation"), monkeypatch)
    score(own.model, mock("MockClassificationTask"))
    assert set(own.routed) == {"separation"}


def test_a_saved_model_is_evaluated_in_the_same_way(
    watched: Watched, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sentence_transformers import SentenceTransformer

    watched.model.save_pretrained(str(tmp_path / "saved"), create_model_card=False)
    plain = SentenceTransformer(str(tmp_path / "saved"), trust_remote_code=True, device="cpu")
    again = Watched(plain, monkeypatch)  # type: ignore[arg-type]
    assert score(again.model, mock("MockSTSTask")) == score(watched.model, mock("MockSTSTask"))
    assert again.routed == watched.routed


def test_prompts_of_mtebs_own_are_refused(watched: Watched) -> None:
    """`prompt_name=` and `model_prompts=` that are not the model's would change its vectors."""
    from mteb.models import SentenceTransformerEncoderWrapper

    wrapped = SentenceTransformerEncoderWrapper(
        watched.model, model_prompts={"query": "query: ", "document": "document: "}
    )
    with pytest.raises(InvalidOptionError, match="is not the instruction of"):
        score(wrapped, local_task())


def test_mtebs_cache_takes_one_model_for_another(watched: Watched, tmp_path: Path) -> None:
    """It knows neither's name, so that results are kept for one and found for all: `cache=None`."""
    narrow = load("demo", device="cpu", truncate_dim=1)
    first = score(watched.model, local_task(), tmp_path)
    assert score(narrow, local_task(), tmp_path) == pytest.approx(first, abs=1e-4)
    assert score(narrow, local_task()) != pytest.approx(first, abs=1e-2)
