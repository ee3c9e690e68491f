"""docs/qdrant-stores.md is true: its code runs as it stands, and prints what is printed below it.

Code that needs the packages of the two stores is run where they are installed. Without them, what
the document puts behind a store is given what that store makes of a payload.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from haystack import Document
from llama_index.core.schema import NodeWithScore, TextNode

from jina_local_qdrant.payload import point_id
from support.fences import run_fences

DOCUMENT = Path(__file__).parents[2] / "docs" / "qdrant-stores.md"
STORES = ("haystack_integrations.document_stores.qdrant", "llama_index.vector_stores.qdrant")


def is_installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # a parent is missing too
        return False


@pytest.fixture(scope="module")
def names(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the document's code defines, once all of it was run and printed what it should."""
    wanted = {"python", "python stores"} if all(map(is_installed, STORES)) else {"python"}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("docs"))
        return run_fences(DOCUMENT, wanted)


@pytest.fixture
def payload(names: dict[str, Any]) -> dict[str, Any]:
    """That of the point which the document's code has printed last of qdrant-client's."""
    payload: dict[str, Any] = names["payload"]
    return payload


def test_haystack_documents_get_content_and_the_id_of_their_point(
    names: dict[str, Any], payload: dict[str, Any]
) -> None:
    ours = {key: value for key, value in payload.items() if key != "meta"}
    found = Document(meta={**payload["meta"], **ours}, score=0.5)
    (converted,) = names["TextAsContent"]().run([found])["documents"]
    assert (converted.id, converted.content) == (names["point"].id, payload["text"])
    hidden = payload["meta"].keys() & names["OURS"]
    assert converted.meta.keys() == (payload["meta"].keys() | {"doc_id", "chunk_index"}) - hidden
    assert converted.score == 0.5


def test_llama_index_nodes_get_their_metadata_and_source(
    names: dict[str, Any], payload: dict[str, Any]
) -> None:
    rest = {key: value for key, value in payload.items() if key != "text"}
    found = TextNode(id_=names["point"].id, text=payload["text"], metadata=rest)
    (hit,) = names["AsIngested"]().postprocess_nodes([NodeWithScore(node=found, score=0.5)])
    assert (hit.node.node_id, hit.score) == (found.node_id, 0.5)
    assert (hit.node.text, hit.node.metadata) == (payload["text"], payload["meta"])
    assert hit.node.ref_doc_id == payload["doc_id"]


def test_the_keys_that_are_ours_are_those_of_a_payload(
    names: dict[str, Any], payload: dict[str, Any]
) -> None:
    assert names["OURS"] == payload.keys() - {"doc_id", "chunk_index", "meta"}
    assert names["point"].id == point_id(payload["doc_id"], payload["chunk_index"])


def test_questions_of_llama_index_are_embedded_as_the_collection_wants(
    names: dict[str, Any],
) -> None:
    found = names["questions"].get_query_embedding("how do I make a loaf?")
    np.testing.assert_allclose(found, names["query"], atol=1e-6)
