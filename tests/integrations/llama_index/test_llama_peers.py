"""The defects of other embedding classes for LlamaIndex; each is a test that ours passes.

They were found in JinaEmbedding 0.7.0, HuggingFaceEmbedding 0.8.0, VoyageEmbedding 0.7.0, and in
what LlamaIndex makes of an embedding model that does nothing about it.
"""

from __future__ import annotations

import asyncio
import copy
import dataclasses
import shutil
from typing import TYPE_CHECKING, Any

import pytest
import torch

pytest.importorskip("llama_index.core")

from llama_index.core import Document, VectorStoreIndex
from llama_index.core.ingestion import DocstoreStrategy, IngestionPipeline
from llama_index.core.storage.docstore import SimpleDocumentStore
from llama_index.core.storage.kvstore import SimpleKVStore
from llama_index.core.vector_stores import SimpleVectorStore
from llama_index.embeddings.jina_local import JinaV3Embedding
from pydantic import ValidationError

from jina_local import Engine, sharing
from support.llama import (
    assert_same,
    by_text,
    demo_embedding,
    documents_about,
    in_index,
    ingest,
    sentence_splitter,
    text_of,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from support.checkpoints import Checkpoint

SETTINGS: dict[str, Any] = {
    "task": "separation",
    "dimensions": 32,
    "late_chunking": True,
    "normalize": False,
}


class Passes:
    """The forward passes of an engine that has no memory for some of them; all else is real.

    Attributes:
        room: Most tokens that there is memory for.
        tokens: Of every pass that was tried.
        failed: How many there was no memory for.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.room = 1_000_000
        self.tokens: list[int] = []
        self.failed = 0
        load = sharing.load_model

        def wrapped(source: Any, **options: Any) -> Any:
            model = load(source, **options)
            encoder: Any = lambda batch: self._run(model.encoder, batch)  # noqa: E731
            return dataclasses.replace(model, encoder=encoder)

        monkeypatch.setattr(sharing, "load_model", wrapped)

    def _run(self, encoder: Any, batch: Any) -> Any:
        self.tokens.append(len(batch.ids))
        if len(batch.ids) > self.room:
            self.failed += 1
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return encoder(batch)


@pytest.fixture
def own_model(tiny: Checkpoint, tmp_path: Path) -> str:
    """A checkpoint that only one test knows, so that nobody else holds it."""
    return str(shutil.copytree(tiny.folder, tmp_path / "model"))


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> Passes:
    return Passes(monkeypatch)


# JinaEmbedding


@pytest.mark.parametrize(
    "wrong",
    [{"task": "retrieval.both"}, {"dimensions": -5}, {"dimension": 64}, {"api_key": "secret"}],
    ids=str,
)
def test_jina_accepts_unknown_tasks_dimensions_and_misspelt_options(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        JinaV3Embedding(**wrong)


def test_jina_accepts_more_dimensions_than_there_are() -> None:
    with pytest.raises(ValueError, match=r"5000.*256"):
        demo_embedding(dimensions=5000).get_text_embedding("a")


def test_jina_accepts_a_model_that_does_not_exist(tmp_path: Path) -> None:
    missing = JinaV3Embedding(model=str(tmp_path / "missing"))
    with pytest.raises(FileNotFoundError, match="missing"):
        missing.get_text_embedding("a")


def test_jina_has_one_task_for_queries_and_texts(shared_demo: Engine) -> None:
    one = demo_embedding()
    assert_same([one.get_query_embedding("a city")], shared_demo.embed_queries(["a city"]).vectors)
    assert_same([one.get_text_embedding("a city")], shared_demo.embed_documents(["a city"]).vectors)


def test_jina_is_unknown_by_name_in_events() -> None:
    assert JinaV3Embedding(model="demo").to_payload()["model_name"] == "demo"


def test_jina_loses_its_settings_in_a_dict() -> None:
    one = JinaV3Embedding(**SETTINGS)
    again = JinaV3Embedding.from_dict(one.to_dict())
    assert {name: getattr(again, name) for name in SETTINGS} == SETTINGS


@pytest.mark.parametrize("name", SETTINGS)
def test_jina_and_huggingface_have_one_cache_key_for_all_settings(name: str) -> None:
    """So that a pipeline gives the vectors of the old setting."""
    nodes = sentence_splitter()(documents_about("rivers"))
    pipeline = IngestionPipeline(transformations=[demo_embedding()])
    before = by_text(pipeline.run(nodes=copy.deepcopy(nodes)))
    pipeline.transformations = [demo_embedding(**{name: SETTINGS[name]})]
    after = by_text(pipeline.run(nodes=copy.deepcopy(nodes)))
    assert all(after[key] != before[key] for key in before)


def test_jina_sends_slices_that_mix_and_cut_documents() -> None:
    """Three documents with nine chunks each went out as 10, 10 and 7."""
    documents = documents_about("rivers", "cities", "birds", n_sentences=18)
    splitter = sentence_splitter(chunk_size=40)
    one = demo_embedding(late_chunking=True, embed_batch_size=10)
    together = by_text(ingest(documents, splitter, one))
    alone = [by_text(ingest([document], splitter, one)) for document in documents]
    assert all(len(some) != 10 for some in alone)
    assert_same(together, {key: some[key] for some in alone for key in some})


def test_jina_sends_late_chunking_with_queries_too() -> None:
    plain, late = demo_embedding(), demo_embedding(late_chunking=True)
    assert late.get_query_embedding("a city") == plain.get_query_embedding("a city")
    assert late.get_text_embedding("a city") == plain.get_text_embedding("a city")


# HuggingFaceEmbedding


@pytest.mark.parametrize("options", [{"num_workers": 2}, {"embeddings_cache": SimpleKVStore()}])
def test_huggingface_fails_with_options_of_every_embedding_model(options: dict[str, Any]) -> None:
    assert len(demo_embedding(**options).get_text_embedding("a")) == 256


def test_huggingface_cannot_be_made_from_its_own_dict() -> None:
    one = demo_embedding(dimensions=32)
    again = JinaV3Embedding.from_dict({**one.to_dict(), "dtype": "float32"})
    assert again.get_text_embedding("a") == one.get_text_embedding("a")


@pytest.mark.parametrize("dimensions", [-3, 9999])
def test_huggingface_cuts_to_any_dimension_silently(dimensions: int) -> None:
    with pytest.raises(ValueError, match=f"{dimensions}"):
        demo_embedding(dimensions=dimensions).get_text_embedding("a")


@pytest.mark.parametrize("wrong", [None, 5])
def test_huggingface_tries_what_is_no_text_three_times(wrong: Any, own_model: str) -> None:
    one = JinaV3Embedding(model=own_model, device="cpu")
    loads: list[Any] = []
    one._share.at(one._place).use(loads.append)
    with pytest.raises(TypeError, match=f"text 0 is a {type(wrong).__name__}"):
        one.get_text_embedding_batch([wrong])
    assert len(loads) == 1


def test_huggingface_cuts_long_texts_silently(caplog: pytest.LogCaptureFixture) -> None:
    long = "A sentence about a city. " * 12
    one = demo_embedding(max_length=40)
    assert one.get_text_embedding(long + "The end is heard.") != one.get_text_embedding(long)
    assert "windows" in caplog.text
    with pytest.raises(ValueError, match="40"):
        demo_embedding(max_length=40, on_overflow="error").get_text_embedding(long)


def test_huggingface_has_two_models_in_memory_for_two_instances(own_model: str) -> None:
    one, other = (
        JinaV3Embedding(model=own_model, device="cpu", task=t) for t in ("retrieval", None)
    )
    assert one.engine._model is other.engine._model


# VoyageEmbedding, and all that take a list for a document


def test_voyage_takes_a_list_of_texts_for_a_document() -> None:
    texts = ["It has four million inhabitants.", "Berlin is a city."]
    one = demo_embedding(late_chunking=True, late_chunking_fallback="ignore")
    assert_same(one.get_text_embedding_batch(texts), [one.get_text_embedding(t) for t in texts])


# LlamaIndex's own


def test_the_base_class_embeds_a_bare_string_letter_by_letter() -> None:
    with pytest.raises(TypeError, match="list of strings"):
        demo_embedding().get_text_embedding_batch("abc")


def test_the_base_class_drops_unknown_options_and_takes_any_assignment() -> None:
    one = demo_embedding()
    with pytest.raises(ValidationError):
        one.embed_batch_size = -3
    assert one.embed_batch_size == 256


def test_the_base_class_gives_a_query_the_cached_vector_of_a_text() -> None:
    one = demo_embedding(embeddings_cache=SimpleKVStore())
    text = one.get_text_embedding("a city")
    assert one.get_query_embedding("a city") == demo_embedding().get_query_embedding("a city")
    assert one.get_text_embedding("a city") == text


def test_the_base_class_cannot_write_json_with_a_cache() -> None:
    one = JinaV3Embedding(embeddings_cache=SimpleKVStore(), dimensions=8)
    assert JinaV3Embedding.from_json(one.to_json()).dimensions == 8


def test_the_base_class_embeds_singles_on_the_event_loop() -> None:
    """The loop goes on while a text is embedded: it is what lets the embedding go on."""
    one = demo_embedding()
    engine = one.engine

    async def embed() -> int:
        loop, reached = asyncio.get_running_loop(), asyncio.Event()

        class Held:
            def use(self, work: Callable[[Engine], Any]) -> Any:
                asyncio.run_coroutine_threadsafe(_set(reached), loop).result(60)
                return work(engine)

        one._share.at = lambda _: Held()  # type: ignore[method-assign]
        vectors = await asyncio.gather(
            one.aget_text_embedding("a"),
            one.aget_query_embedding("b"),
            one.aget_text_embedding_batch(["a", "b"]),
        )
        assert reached.is_set()
        return len(vectors)

    assert asyncio.run(asyncio.wait_for(embed(), 60)) == 3


async def _set(event: asyncio.Event) -> None:
    event.set()


# Memory that runs out loses a document for ever (DUPLICATES_ONLY) or its old vectors (UPSERTS)


@pytest.mark.parametrize("way", ["sync", "async"])
@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize(
    "strategy", [DocstoreStrategy.UPSERTS, DocstoreStrategy.DUPLICATES_ONLY], ids=lambda s: s.name
)
def test_a_pipeline_that_runs_out_of_memory_ingests_everything(
    strategy: DocstoreStrategy, late: bool, way: str, own_model: str, passes: Passes
) -> None:
    one = JinaV3Embedding(
        model=own_model, device="cpu", late_chunking=late, late_chunking_window=200
    )
    store, docstore = SimpleVectorStore(), SimpleDocumentStore()
    pipeline = IngestionPipeline(
        transformations=[sentence_splitter(), one],
        vector_store=store,
        docstore=docstore,
        docstore_strategy=strategy,
        disable_cache=True,
    )
    documents = documents_about("rivers", "cities", "birds")

    def run(some: list[Document]) -> Any:
        if way == "sync":
            return by_text(pipeline.run(documents=some))
        return by_text(asyncio.run(pipeline.arun(documents=some)))

    expected = by_text(ingest(documents, sentence_splitter(), one))
    one.release()
    found = run(documents[:1])
    passes.room = 500
    found |= run(documents)
    assert passes.failed > 0
    assert_same(found, expected)
    assert len(store.data.embedding_dict) == len(expected)
    assert not run(documents)


def test_an_index_that_runs_out_of_memory_has_every_node(own_model: str, passes: Passes) -> None:
    one = JinaV3Embedding(model=own_model, device="cpu")
    documents = documents_about("rivers", "cities")
    expected = by_text(ingest(documents, sentence_splitter(), one))
    passes.room = 500
    index = VectorStoreIndex.from_documents(
        documents, embed_model=one, transformations=[sentence_splitter()]
    )
    assert passes.failed > 0
    assert_same(in_index(index), expected)


def test_no_memory_for_one_text_says_what_to_do(own_model: str, passes: Passes) -> None:
    one = JinaV3Embedding(model=own_model, device="cpu")
    passes.room = 5
    with pytest.raises(MemoryError, match=r"one text of \d+ tokens.*smaller dtype"):
        one(sentence_splitter()(documents_about("rivers")))


# Metadata


def test_metadata_is_embedded_as_nodes_say_and_by_no_rule_of_ours(shared_demo: Engine) -> None:
    (node,) = sentence_splitter()([Document(text="A city.", metadata={"a": "x", "b": "y"})])
    node.excluded_embed_metadata_keys = ["a"]
    (embedded,) = demo_embedding()([node])
    assert text_of(node) == "A city."
    assert_same([embedded.embedding], shared_demo.embed_documents(["b: y\n\nA city."]).vectors)
