"""A retrieval task of mteb's of four documents that are already here, and its score by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from jina_local_eval.metrics import METRICS, NDCG, question_metrics

if TYPE_CHECKING:
    from jina_local import Engine

__all__ = ["DOCUMENTS", "QUERIES", "expected_score", "local_task"]

CORPUS = {
    "boats": ("Boats", "A sloop has one mast, a ketch has two."),
    "bread": ("Bread", "Flour, water and salt; knead, wait, bake."),
    "law": ("", "The buyer pays for the transport."),
    "music": ("Music", "A fugue has one subject and several voices."),
}
QUERIES = {"q1": "how do I make a loaf?", "q2": "how many masts has a ketch?", "q3": "who pays?"}
RELEVANT = {"q1": "bread", "q2": "boats", "q3": "music"}  # one that is not found at once
DOCUMENTS = [f"{title} {text}".strip() for title, text in CORPUS.values()]


def local_task() -> Any:
    """A retrieval task of four documents and three queries that are already here."""
    from datasets import Dataset
    from mteb.abstasks import AbsTaskRetrieval
    from mteb.abstasks.retrieval_dataset_loaders import RetrievalSplitData
    from mteb.abstasks.task_metadata import TaskMetadata

    class LocalRetrieval(AbsTaskRetrieval):
        metadata = TaskMetadata(
            name="LocalRetrieval",
            description="Made in a test.",
            reference=None,
            dataset={"path": "none", "revision": "none"},
            type="Retrieval",
            category="t2t",
            modalities=["text"],
            eval_splits=["test"],
            eval_langs=["eng-Latn"],
            main_score="ndcg_at_10",
            date=None,
            domains=None,
            task_subtypes=None,
            license=None,
            annotations_creators=None,
            dialect=None,
            sample_creation=None,
            bibtex_citation=None,
        )

        def load_data(self, **_: Any) -> None:
            self.dataset = {
                "default": {
                    "test": RetrievalSplitData(
                        queries=Dataset.from_list(
                            [{"id": key, "text": text} for key, text in QUERIES.items()]
                        ),
                        corpus=Dataset.from_list(
                            [
                                {"id": key, "title": title, "text": text}
                                for key, (title, text) in CORPUS.items()
                            ]
                        ),
                        relevant_docs={key: {one: 1} for key, one in RELEVANT.items()},
                        top_ranked=None,
                    )
                }
            }
            self.data_loaded = True

    return LocalRetrieval()


def expected_score(engine: Engine) -> float:
    """The mean nDCG@10 of its queries, by our own metrics over the engine's vectors."""
    names = list(CORPUS)
    queries = engine.embed_queries(list(QUERIES.values())).vectors
    scores = queries @ engine.embed_documents(DOCUMENTS).vectors.T
    by_query = [
        question_metrics(row, np.array([names.index(RELEVANT[key])]))[METRICS.index(NDCG)]
        for key, row in zip(QUERIES, scores, strict=True)
    ]
    score = float(np.mean(by_query))
    assert 0.3 < score < 1, "the premise needs one that is not found at once"
    return score
