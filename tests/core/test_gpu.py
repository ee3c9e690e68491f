"""The engine on a CUDA device says what it says on the processor in float32."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np
import pytest

from jina_local import ChunkedText, Engine

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.gpu

DEVICE = "cuda"
LEAST_COSINE = {"float32": 1 - 1e-6, "float16": 0.9999, "bfloat16": 0.999}
ROUNDS = 20  # of what a race would spoil now and then
SENTENCE = "the tram climbs through old streets to a garden above the river and waits there"


def texts_of_many_lengths() -> list[str]:
    """From none to some hundred words, no two the same, in no order of length."""
    words = SENTENCE.split()
    lengths = [(37 * i) % 211 for i in range(60)]
    return [
        " ".join(words[(i + k * k) % len(words)] for k in range(n)) for i, n in enumerate(lengths)
    ]


TEXTS = texts_of_many_lengths()
LONG = " ".join(TEXTS)
CHUNKS = [(i, min(i + 300, len(LONG))) for i in range(0, len(LONG), 300)]


@pytest.fixture(scope="module", params=LEAST_COSINE)
def on_gpu(request: pytest.FixtureRequest) -> Iterator[Engine]:
    with Engine.load("demo", device=DEVICE, dtype=request.param) as loaded:
        yield loaded


def assert_alike(found: np.ndarray, expected: np.ndarray, engine: Engine) -> None:
    assert found.shape == expected.shape
    assert (found * expected).sum(axis=1).min() >= LEAST_COSINE[engine.dtype]


def test_every_row_is_its_own_text_under_its_own_task(on_gpu: Engine, demo: Engine) -> None:
    modes = [*demo.tasks, None]
    tasks = [modes[i % len(modes)] for i in range(len(TEXTS))]
    expected = demo.embed(TEXTS, task=tasks)
    found = on_gpu.embed(TEXTS, task=tasks)
    assert_alike(found.vectors, expected.vectors, on_gpu)
    assert found.token_counts.tolist() == expected.token_counts.tolist()


def test_passes_that_follow_one_another_at_once_spoil_nothing(on_gpu: Engine, demo: Engine) -> None:
    """Copies to the device do not wait for it, and neither do sums that are still there."""
    expected = demo.embed_documents(TEXTS).vectors
    small = Engine(on_gpu._model, batch_tokens=300)
    for _ in range(ROUNDS):
        assert_alike(small.embed_documents(TEXTS).vectors, expected, on_gpu)


def test_threads_share_a_device(on_gpu: Engine, demo: Engine) -> None:
    expected = demo.embed_documents(TEXTS).vectors
    small = Engine(on_gpu._model, batch_tokens=1000)
    with ThreadPoolExecutor(8) as pool:
        for found in pool.map(lambda _: small.embed_documents(TEXTS).vectors, range(ROUNDS)):
            assert_alike(found, expected, on_gpu)


@pytest.mark.parametrize("window_tokens", [None, 200])
def test_chunks_in_their_context(window_tokens: int | None, on_gpu: Engine, demo: Engine) -> None:
    documents = [ChunkedText(LONG, CHUNKS), ChunkedText(TEXTS[1], [(0, len(TEXTS[1]))])]
    expected = demo.embed_chunks(documents, window_tokens=window_tokens)
    found = on_gpu.embed_chunks(documents, window_tokens=window_tokens)
    for one, wanted in zip(found, expected, strict=True):
        assert_alike(one.vectors, wanted.vectors, on_gpu)
        assert one.token_counts.tolist() == wanted.token_counts.tolist()


def test_fewer_dimensions_are_those_of_the_processor(on_gpu: Engine, demo: Engine) -> None:
    found = on_gpu.embed_queries(TEXTS[1:9], dimensions=64).vectors
    assert_alike(found, demo.embed_queries(TEXTS[1:9], dimensions=64).vectors, on_gpu)


def test_one_question_says_the_same_every_time(on_gpu: Engine) -> None:
    first = on_gpu.embed_queries([TEXTS[1]]).vectors
    for _ in range(ROUNDS):
        np.testing.assert_array_equal(on_gpu.embed_queries([TEXTS[1]]).vectors, first)
