"""Haystack's embedders, ours and the controls, and what is the same to say about all of them.

Controls are Haystack's own `MockTextEmbedder` and `MockDocumentEmbedder`. Those of
sentence-transformers, which is not installed where these tests run, are asked in
`python -m benchmarks haystack_controls`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from haystack import Document
from haystack.components.embedders import MockDocumentEmbedder, MockTextEmbedder
from haystack.utils import ComponentDevice

from haystack_integrations.components.embedders.jina_local import (
    JinaLocalDocumentEmbedder,
    JinaLocalTextEmbedder,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

Vector = list[float]

CPU = ComponentDevice.from_str("cpu")
TEXTS = ["The city was founded in 1237.", "Bread needs flour, water and salt.", "A cat", "42"]


@dataclass(frozen=True)
class Subject:
    """An embedder, ours or a control, and how to use it.

    Attributes:
        name: In ids of tests.
        cls: Its class.
        given: What it is made with in tests.
        width: D.
        dimensions: What it calls the length of vectors.
        refusal: What it says to wrong input.
    """

    name: str
    cls: Any
    given: Mapping[str, Any]
    width: int
    dimensions: str
    refusal: str

    def make(self, **options: Any) -> Any:
        return self.cls(**{**self.given, **options})

    @property
    def takes_documents(self) -> bool:
        return "Document" in self.cls.__name__

    def embed(self, embedder: Any, text: str) -> Vector:
        """The vector of a string, or of a document with this content."""
        if not self.takes_documents:
            vector: Vector = embedder.run(text)["embedding"]
            return vector
        return vectors(embedder.run([Document(content=text)])["documents"])[0]


OURS_REFUSE = {
    "text": "JinaLocalTextEmbedder expects a string as input. In case you want to embed a list of "
    "Documents, please use the JinaLocalDocumentEmbedder.",
    "documents": "JinaLocalDocumentEmbedder expects a list of Documents as input. In case you want "
    "to embed a string, please use the JinaLocalTextEmbedder.",
}
MOCKS_REFUSE = {
    "text": OURS_REFUSE["text"].replace("JinaLocal", "Mock").replace("as input", "as an input"),
    "documents": OURS_REFUSE["documents"].replace("JinaLocal", "Mock"),
}
MODEL = {"model": "demo", "device": CPU}

TEXT = Subject("text", JinaLocalTextEmbedder, MODEL, 256, "dimensions", OURS_REFUSE["text"])
DOCUMENTS = Subject(
    "documents",
    JinaLocalDocumentEmbedder,
    {**MODEL, "progress_bar": False},
    256,
    "dimensions",
    OURS_REFUSE["documents"],
)
MOCK_TEXT = Subject("mock-text", MockTextEmbedder, {}, 768, "dimension", MOCKS_REFUSE["text"])
MOCK_DOCUMENTS = Subject(
    "mock-documents", MockDocumentEmbedder, {}, 768, "dimension", MOCKS_REFUSE["documents"]
)

OURS = (TEXT, DOCUMENTS)
MOCKS = (MOCK_TEXT, MOCK_DOCUMENTS)
THAT_TAKE_DOCUMENTS = (DOCUMENTS, MOCK_DOCUMENTS)


def over(
    *subjects: Subject, flaws: tuple[Subject, ...] = (), error: type[Exception] = AssertionError
) -> pytest.MarkDecorator:
    """Run a row over subjects; controls with the flaw that it is about must fail it."""
    expected = pytest.mark.xfail(raises=error, strict=True, reason="the control has this flaw")
    rows = [
        pytest.param(one, id=one.name, marks=[expected] if one in flaws else []) for one in subjects
    ]
    return pytest.mark.parametrize("subject", rows)


def vectors(documents: list[Document]) -> list[Vector]:
    found = [one.embedding for one in documents]
    assert all(one is not None for one in found)
    return [one for one in found if one is not None]


def assert_same(one: Any, other: Any) -> None:
    """Equal up to what another batch does to the last digits of float32."""
    np.testing.assert_allclose(one, other, rtol=0, atol=2e-6)


def assert_vector(vector: Vector, dimensions: int) -> None:
    assert type(vector) is list
    assert all(type(value) is float and math.isfinite(value) for value in vector)
    assert len(vector) == dimensions
    assert math.isclose(math.hypot(*vector), 1, abs_tol=1e-5)
