"""Caches never give a vector of another role, another setting or another context."""

from __future__ import annotations

import asyncio
import pickle
from typing import TYPE_CHECKING, Any

import pytest

pytest.importorskip("llama_index.core")

from llama_index.core.ingestion import IngestionCache, IngestionPipeline
from llama_index.core.ingestion.pipeline import get_transformation_hash
from llama_index.core.schema import TextNode
from llama_index.core.storage.kvstore import SimpleKVStore
from llama_index.embeddings.jina_local import JinaLateChunkSplitter, JinaV3Embedding

from support.llama import (
    assert_same,
    by_text,
    demo_embedding,
    documents_about,
    ingest,
    sentence_splitter,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from jina_local import Engine

IDENTITY: dict[str, Any] = {
    "model_name": "other",
    "revision": "main",
    "adapters": {"retrieval.query": "a/folder"},
    "task": "separation",
    "query_task": "text-matching",
    "text_task": "text-matching",
    "dimensions": 64,
    "normalize": False,
    "max_length": 100,
    "on_overflow": "truncate",
    "late_chunking": True,
    "late_chunking_group_by": "file_path",
    "late_chunking_metadata": "inline",
    "late_chunking_window": 100,
}
"""What vectors depend on: every field here changes the key of an ingestion cache."""
RUNTIME: dict[str, Any] = {
    "device": "cuda:7",
    "dtype": "bfloat16",
    "cache_folder": "/somewhere",
    "local_files_only": True,
    "max_batch_tokens": 100,
    "show_progress": True,
    "late_chunking_fallback": "raise",
    "embed_batch_size": 3,
    "num_workers": 2,
    "embeddings_cache": SimpleKVStore(),
    "rate_limiter": None,
    "callback_manager": None,
}
"""How it is run: no field here does."""

TEXTS = ["a city", "a river", "a city", ""]


def key_of(transformation: Any) -> str:
    return get_transformation_hash([TextNode(text="a", id_="a")], transformation)


class CountingStore(SimpleKVStore):
    """A store that knows how often it was asked."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = 0

    def get(self, key: str, collection: str = "embeddings") -> Any:
        self.asked += 1
        return super().get(key, collection)


class Embedded:
    """The texts that reach the engine."""

    def __init__(self, engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
        self.texts: list[str] = []
        embed = type(engine).embed

        def counting(own: Any, texts: Sequence[str], **options: Any) -> Any:
            self.texts += texts
            return embed(own, texts, **options)

        monkeypatch.setattr(type(engine), "embed", counting)


@pytest.fixture
def embedded(shared_demo: Engine, monkeypatch: pytest.MonkeyPatch) -> Embedded:
    return Embedded(shared_demo, monkeypatch)


# The key of an ingestion cache


def test_every_field_is_known_to_change_the_key_or_not() -> None:
    known = IDENTITY | RUNTIME
    if "rate_limiter" not in JinaV3Embedding.model_fields:
        del known["rate_limiter"]
    assert known.keys() == JinaV3Embedding.model_fields.keys()
    assert not IDENTITY.keys() & RUNTIME.keys()


@pytest.mark.parametrize("field", IDENTITY)
def test_what_vectors_depend_on_is_in_the_key(field: str) -> None:
    one = JinaV3Embedding(model_name="demo")
    other = JinaV3Embedding(**{"model_name": "demo"} | {field: IDENTITY[field]})
    assert field in one.to_dict()
    assert key_of(one) != key_of(other)


@pytest.mark.parametrize("field", [name for name in RUNTIME if name != "rate_limiter"])
def test_how_it_is_run_is_not(field: str) -> None:
    one = demo_embedding()
    other = demo_embedding()
    if field != "callback_manager":
        setattr(other, field, RUNTIME[field])
    assert field not in one.to_dict()
    assert key_of(one) == key_of(other)
    one.get_text_embedding("a")  # nor is whether it is loaded
    assert key_of(one) == key_of(other)


def test_the_key_of_the_splitter_has_that_of_its_embedding_model() -> None:
    def splitter(**options: Any) -> JinaLateChunkSplitter:
        return JinaLateChunkSplitter(
            splitter=sentence_splitter(chunking_tokenizer_fn=str.split),
            embed_model=demo_embedding(**options),
        )

    assert key_of(splitter(dimensions=64)) != key_of(splitter())
    assert key_of(splitter(embed_batch_size=3)) == key_of(splitter())


def test_a_pipeline_with_a_cache_embeds_once_per_setting(embedded: Embedded) -> None:
    documents = documents_about("rivers")
    cache = IngestionCache()
    nodes = sentence_splitter()(documents)

    def run(**options: Any) -> Any:
        pipeline = IngestionPipeline(transformations=[demo_embedding(**options)], cache=cache)
        copies = [node.model_copy() for node in nodes]
        return by_text(pipeline.run(nodes=copies))

    plain = run()
    n_embedded = len(embedded.texts)
    assert n_embedded == len(nodes) > 1
    assert run(embed_batch_size=2, dtype="auto") == plain
    assert len(embedded.texts) == n_embedded
    late = run(late_chunking=True)
    assert late.keys() == plain.keys()
    assert late != plain
    assert run(late_chunking=True) == late
    assert run() == plain
    assert {len(one) for one in run(dimensions=32).values()} == {32}


# The cache of vectors


def embed_all(one: JinaV3Embedding) -> tuple[list[list[float]], list[list[float]]]:
    """The vectors of the texts as queries and as texts."""
    texts = one.get_text_embedding_batch(TEXTS[:2])
    texts += [one.get_text_embedding(text) for text in TEXTS[2:]]
    return [one.get_query_embedding(text) for text in TEXTS], texts


def embed_all_async(one: JinaV3Embedding) -> tuple[list[list[float]], list[list[float]]]:
    async def embed() -> tuple[list[list[float]], list[list[float]]]:
        texts = await one.aget_text_embedding_batch(TEXTS[:2])
        texts += [await one.aget_text_embedding(text) for text in TEXTS[2:]]
        queries = await asyncio.gather(*[one.aget_query_embedding(text) for text in TEXTS])
        return list(queries), texts

    return asyncio.run(embed())


WAYS = pytest.mark.parametrize("way", [embed_all, embed_all_async], ids=["sync", "async"])


@WAYS
def test_a_query_is_never_given_the_vector_of_a_passage(way: Any, embedded: Embedded) -> None:
    expected = way(demo_embedding())
    one = demo_embedding(embeddings_cache=SimpleKVStore())
    assert_same(way(one), expected, atol=2e-6)
    embedded.texts.clear()
    assert_same(way(one), expected, atol=2e-6)
    assert embedded.texts == []
    assert expected[0] != expected[1]


@WAYS
def test_instances_over_one_store_never_collide(way: Any) -> None:
    store = SimpleKVStore()
    settings: list[dict[str, Any]] = [
        {},
        {"dimensions": 64},
        {"normalize": False},
        {"task": "separation"},
        {"query_task": "text-matching"},
        {"text_task": "classification"},
        {"max_length": 20, "on_overflow": "truncate"},
    ]
    for _ in range(2):
        for options in settings:
            found = way(demo_embedding(embeddings_cache=store, **options))
            assert_same(found, way(demo_embedding(**options)), atol=2e-6)


def test_instances_with_the_same_settings_share_what_is_in_the_store(embedded: Embedded) -> None:
    store = SimpleKVStore()
    expected = embed_all(demo_embedding(embeddings_cache=store))
    embedded.texts.clear()
    for other in (
        demo_embedding(embeddings_cache=store, embed_batch_size=1, late_chunking_fallback="raise"),
        demo_embedding(embeddings_cache=demo_embedding(embeddings_cache=store).embeddings_cache),
    ):
        assert embed_all(other) == expected
        assert embed_all_async(other) == expected
    assert embedded.texts == []


def test_a_setting_that_changes_later_changes_what_is_found() -> None:
    one = demo_embedding(embeddings_cache=SimpleKVStore())
    assert len(one.get_text_embedding("a")) == 256
    one.dimensions = 32
    assert len(one.get_text_embedding("a")) == 32
    other = one.model_copy(update={"dimensions": 16})
    assert len(other.get_text_embedding("a")) == 16
    assert len(one.get_text_embedding("a")) == 32


def test_a_cache_that_is_set_later_knows_roles_too() -> None:
    one = demo_embedding()
    one.embeddings_cache = SimpleKVStore()
    assert one.get_text_embedding("a") != one.get_query_embedding("a")
    one.embeddings_cache = None
    assert one.embeddings_cache is None
    one.get_text_embedding("a")


@pytest.mark.parametrize("way", ["get", "aget"])
def test_it_is_read_by_text_as_with_other_embedding_models(way: str) -> None:
    """What LlamaIndex's own test asks of a cache."""
    one = demo_embedding(embeddings_cache=SimpleKVStore())

    def read(key: str) -> Any:
        found = getattr(one.embeddings_cache, way)(key=key, collection="embeddings")
        return asyncio.run(_value(found)) if way == "aget" else found

    assert read("a") is None
    vector = one.get_text_embedding("a")
    assert list(read("a").values()) == [vector]
    (stored,) = one.embeddings_cache.get_all(collection="embeddings").values()
    assert list(stored.values()) == [vector]
    one.get_query_embedding("b")
    assert read("b") is None  # it is no text
    assert one.embeddings_cache.delete("a", collection="embeddings")
    assert read("a") is None
    assert not one.embeddings_cache.delete("a", collection="embeddings")


async def _value(found: Awaitable[Any]) -> Any:
    return await found


def test_what_somebody_puts_there_is_found_in_both_ways() -> None:
    one = demo_embedding(embeddings_cache=SimpleKVStore())
    one.embeddings_cache.put("a", {"id": [1.0]}, collection="embeddings")
    assert one.get_text_embedding("a") == [1.0]
    assert asyncio.run(one.aget_text_embedding("a")) == [1.0]
    assert one.get_query_embedding("a") != [1.0]
    asyncio.run(one.embeddings_cache.aput("b", {"id": [2.0]}, collection="embeddings"))
    assert one.get_text_embedding_batch(["a", "b"]) == [[1.0], [2.0]]
    assert asyncio.run(one.embeddings_cache.adelete("b", collection="embeddings"))
    assert one.get_text_embedding("b") != [2.0]
    assert len(asyncio.run(one.embeddings_cache.aget_all(collection="embeddings"))) == 3


def test_it_is_pickled_along_and_works_on(embedded: Embedded) -> None:
    one = demo_embedding(embeddings_cache=SimpleKVStore())
    expected = embed_all(one)
    other = pickle.loads(pickle.dumps(one))  # noqa: S301 - our own
    embedded.texts.clear()
    assert embed_all(other) == expected
    assert embedded.texts == []
    other.dimensions = 16
    assert len(other.get_text_embedding(TEXTS[0])) == 16
    other.get_text_embedding("only there")
    assert one.embeddings_cache.get("only there", collection="embeddings") is None


def test_a_dict_leaves_it_out() -> None:
    one = demo_embedding(embeddings_cache=SimpleKVStore())
    assert "embeddings_cache" not in one.to_dict()
    assert JinaV3Embedding.from_json(one.to_json()).embeddings_cache is None


@pytest.mark.parametrize("way", ["sync", "async"])
def test_vectors_in_context_never_come_from_it_and_never_go_there(way: str) -> None:
    """The same chunk has another vector in another document."""
    store = CountingStore()
    documents = documents_about("rivers", "cities")
    nodes = sentence_splitter()(documents)
    plain = demo_embedding(embeddings_cache=store)
    plain(nodes)
    n_stored, store.asked = len(store.get_all("embeddings")), 0
    late = demo_embedding(embeddings_cache=store, late_chunking=True)
    if way == "sync":
        found = ingest(documents, sentence_splitter(), late)
    else:
        pipeline = IngestionPipeline(
            transformations=[sentence_splitter(), late], disable_cache=True
        )
        found = asyncio.run(pipeline.arun(documents=documents))
    expected = ingest(documents, sentence_splitter(), demo_embedding(late_chunking=True))
    assert_same(by_text(found), by_text(expected))
    assert store.asked == 0
    assert len(store.get_all("embeddings")) == n_stored


def test_a_cache_in_use_hits_by_turns_of_both_roles() -> None:
    """Queries and texts that are embedded at once, each in its own task of the event loop."""
    one = demo_embedding(embeddings_cache=SimpleKVStore())
    query, text = one.get_query_embedding("x"), one.get_text_embedding("x")

    async def both(method: Callable[[str], Awaitable[list[float]]]) -> list[float]:
        await asyncio.sleep(0)
        return await method("x")

    async def all_at_once() -> list[list[float]]:
        methods = [one.aget_query_embedding, one.aget_text_embedding] * 10
        return list(await asyncio.gather(*map(both, methods)))

    assert asyncio.run(all_at_once()) == [query, text] * 10
