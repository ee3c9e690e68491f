"""Components of frameworks that take sentence-transformers models give the engine's vectors."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

pytest.importorskip("sentence_transformers", reason="sentence-transformers is not installed")

import numpy as np
from sentence_transformers import SentenceTransformer

from jina_local.errors import InvalidOptionError
from jina_local_sentence_transformers import JinaSentenceTransformer

if TYPE_CHECKING:
    from pathlib import Path

    from jina_local import Engine

TOLERANCE = 1e-6
TEXTS = ["ships", "a text of a few words more than the other one", "ships that pass"]


@pytest.fixture(scope="module")
def saved(model: JinaSentenceTransformer, tmp_path_factory: pytest.TempPathFactory) -> str:
    """What frameworks load themselves: the folder of a saved model."""
    folder: Path = tmp_path_factory.mktemp("saved")
    model.save_pretrained(str(folder))
    return str(folder)


def assert_equal(found: list[list[float]], expected: np.ndarray) -> None:
    assert abs(np.array(found) - expected).max() <= TOLERANCE


def test_haystack(saved: str, engine: Engine) -> None:
    components = pytest.importorskip(
        "haystack_integrations.components.embedders.sentence_transformers",
        reason="sentence-transformers-haystack is not installed",
    )
    from haystack import Document
    from haystack.utils import ComponentDevice

    common = {
        "model": saved,
        "trust_remote_code": True,
        "progress_bar": False,
        "device": ComponentDevice.from_str("cpu"),
    }
    documents = components.SentenceTransformersDocumentEmbedder(
        **common, encode_kwargs={"task": "document"}
    )
    found = documents.run([Document(content=text) for text in TEXTS])["documents"]
    assert_equal([one.embedding for one in found], engine.embed_documents(TEXTS).vectors)
    queries = components.SentenceTransformersTextEmbedder(**common, encode_kwargs={"task": "query"})
    found = [queries.run(text)["embedding"] for text in TEXTS]
    assert_equal(found, engine.embed_queries(TEXTS).vectors)
    short = components.SentenceTransformersTextEmbedder(
        **common, encode_kwargs={"task": "query"}, truncate_dim=8
    )
    found = [short.run(text)["embedding"] for text in TEXTS]
    assert_equal(found, engine.embed_queries(TEXTS, dimensions=8).vectors)
    instruction = engine.adapter("retrieval.query").instruction
    prefixed = components.SentenceTransformersTextEmbedder(**common, prefix=instruction)
    with pytest.raises(InvalidOptionError, match="leave out the prefix"):
        prefixed.run("ships")


def test_llama_index(saved: str, engine: Engine) -> None:
    module = pytest.importorskip(
        "llama_index.embeddings.huggingface",
        reason="llama-index-embeddings-huggingface is not installed",
    )
    embedding = module.HuggingFaceEmbedding(saved, trust_remote_code=True, device="cpu")
    documents = engine.embed_documents(TEXTS).vectors
    assert_equal(embedding.get_text_embedding_batch(TEXTS), documents)
    assert_equal([embedding.get_text_embedding(TEXTS[0])], documents[:1])
    queries = engine.embed_queries(TEXTS).vectors
    assert_equal([embedding.get_query_embedding(text) for text in TEXTS], queries)
    with pytest.raises(InvalidOptionError, match="are not this model's"):
        module.HuggingFaceEmbedding(
            saved, trust_remote_code=True, device="cpu", query_instruction="query: "
        )


def test_the_class_itself(saved: str, engine: Engine) -> None:
    """Whoever makes a `SentenceTransformer` of the folder has ours."""
    plain = SentenceTransformer(saved, trust_remote_code=True, device="cpu", truncate_dim=8)
    assert isinstance(plain, JinaSentenceTransformer)
    expected = engine.embed_documents(TEXTS, dimensions=8).vectors
    assert_equal(plain.encode_document(TEXTS), expected)
    with pytest.raises(InvalidOptionError, match="model_kwargs"):
        SentenceTransformer(
            saved, trust_remote_code=True, device="cpu", model_kwargs={"dtype": "float16"}
        )
