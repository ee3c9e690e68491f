"""jina-embeddings-v3 for everything that speaks sentence-transformers.

    from jina_local_sentence_transformers import load

    model = load("jinaai/jina-embeddings-v3")
    documents = model.encode_document(["Ships that pass in the night."])
    queries = model.encode_query(["When do ships meet?"])
    scores = model.similarity(queries, documents)

Vectors are those of `jina_local.Engine`: a task's adapter and its instruction always go together.
`load_for_training` gives the same model in a form that `SentenceTransformerTrainer` can train.
Needs the extra: pip install 'jina-local[sentence-transformers]'.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from jina_local.lazy_exports import lazy_exports

if TYPE_CHECKING:
    from jina_local_sentence_transformers.loading import load, load_for_training
    from jina_local_sentence_transformers.model import JinaSentenceTransformer

__all__ = ["JinaSentenceTransformer", "load", "load_for_training"]

__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        "JinaSentenceTransformer": "model",
        "load": "loading",
        "load_for_training": "loading",
    },
)
