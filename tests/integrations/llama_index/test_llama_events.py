"""What is seen from outside while texts are embedded: events, bars, warnings, logs."""

from __future__ import annotations

import asyncio
import logging
import warnings
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import pytest

pytest.importorskip("llama_index.core")

from llama_index.core import Document, VectorStoreIndex
from llama_index.core.callbacks import CallbackManager, TokenCountingHandler
from llama_index.core.callbacks.base_handler import BaseCallbackHandler
from llama_index.core.callbacks.schema import CBEventType, EventPayload
from llama_index.core.instrumentation import get_dispatcher
from llama_index.core.instrumentation.event_handlers import BaseEventHandler
from llama_index.core.instrumentation.events.embedding import (
    EmbeddingEndEvent,
    EmbeddingStartEvent,
)
from llama_index.core.schema import NodeRelationship, RelatedNodeInfo, TextNode
from llama_index.embeddings.jina_local import JinaLateChunkSplitter, JinaV3Embedding
from llama_index.embeddings.jina_local import base as base_module

from jina_local.errors import InvalidOptionError
from support.llama import (
    assert_same,
    demo_embedding,
    documents_about,
    ingest,
    rows,
    sentence_splitter,
    text_of,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from llama_index.core.schema import BaseNode


class Events(BaseEventHandler):
    """Keeps what the dispatcher sends of embeddings."""

    seen: list[Any] = []  # noqa: RUF012 - a field

    @classmethod
    def class_name(cls) -> str:
        return "Events"

    def handle(self, event: Any, **kwargs: Any) -> None:
        del kwargs
        if isinstance(event, EmbeddingStartEvent | EmbeddingEndEvent):
            self.seen.append(event)

    @property
    def ends(self) -> list[EmbeddingEndEvent]:
        return [event for event in self.seen if isinstance(event, EmbeddingEndEvent)]

    @property
    def chunks(self) -> list[str]:
        return sorted(chunk for event in self.ends for chunk in event.chunks)


class Callbacks(BaseCallbackHandler):
    """Keeps what the callback manager sends."""

    def __init__(self) -> None:
        super().__init__([], [])
        self.starts: list[Any] = []
        self.ends: list[Any] = []

    def on_event_start(self, event_type: Any, payload: Any = None, **kwargs: Any) -> str:
        self.starts.append((event_type, payload))
        return str(kwargs.get("event_id", ""))

    def on_event_end(self, event_type: Any, payload: Any = None, **kwargs: Any) -> None:
        del kwargs
        self.ends.append((event_type, payload))

    def start_trace(self, trace_id: Any = None) -> None:
        pass

    def end_trace(self, trace_id: Any = None, trace_map: Any = None) -> None:
        pass


@pytest.fixture
def events() -> Iterator[Events]:
    root, handler = get_dispatcher("root"), Events(seen=[])
    root.add_event_handler(handler)
    yield handler
    root.event_handlers.remove(handler)


def nodes_of(*topics: str) -> list[BaseNode]:
    """Nodes without metadata, so that what is embedded of each is its text."""
    documents = [Document(text=one.text, id_=one.id_) for one in documents_about(*topics)]
    return sentence_splitter()(documents)


def copies(nodes: list[BaseNode]) -> list[BaseNode]:
    return [node.model_copy() for node in nodes]


def run(way: str, one: JinaV3Embedding, nodes: list[BaseNode]) -> list[BaseNode]:
    given = copies(nodes)
    return list(one(given) if way == "sync" else asyncio.run(one.acall(given)))


WAYS = pytest.mark.parametrize("way", ["sync", "async"])

# Events


@WAYS
@pytest.mark.parametrize("size", [1, 7, 256])
def test_the_dispatcher_hears_of_every_chunk_in_context(
    way: str, size: int, events: Events
) -> None:
    nodes = nodes_of("rivers", "cities")
    found = run(way, demo_embedding(late_chunking=True, embed_batch_size=size), nodes)
    kinds = [type(event) for event in events.seen]
    assert kinds == [EmbeddingStartEvent, EmbeddingEndEvent] * (len(kinds) // 2)
    assert len(kinds) == (4 if size < len(nodes) else 2)
    heard = {
        chunk: vector
        for event in events.ends
        for chunk, vector in zip(event.chunks, event.embeddings, strict=True)
    }
    assert heard == {text_of(node): node.embedding for node in found}
    start = next(event for event in events.seen if isinstance(event, EmbeddingStartEvent))
    assert start.model_dict["late_chunking"] is True
    assert start.model_dict["model_name"] == "demo"


@WAYS
def test_it_hears_of_the_same_chunks_with_and_without_context(way: str, events: Events) -> None:
    nodes = [*nodes_of("rivers"), TextNode(text="alone"), TextNode(text="")]
    heard = []
    for late in (False, True):
        events.seen.clear()
        one = demo_embedding(late_chunking=late, late_chunking_fallback="ignore")
        run(way, one, nodes)
        heard.append(events.chunks)
    assert heard[0] == heard[1] == sorted(map(text_of, nodes))


@WAYS
def test_callbacks_hear_of_them_too(way: str) -> None:
    nodes, handler = nodes_of("rivers", "cities"), Callbacks()
    one = demo_embedding(late_chunking=True, callback_manager=CallbackManager([handler]))
    found = run(way, one, nodes)
    ((kind, started),) = handler.starts
    ((end_kind, ended),) = handler.ends
    assert kind == end_kind == CBEventType.EMBEDDING
    assert started[EventPayload.SERIALIZED] == one.to_payload()
    assert ended[EventPayload.CHUNKS] == [text_of(node) for node in nodes]
    assert ended[EventPayload.EMBEDDINGS] == [node.embedding for node in found]


@WAYS
def test_tokens_are_counted_in_context_as_they_are_without(way: str) -> None:
    nodes, counts = nodes_of("rivers", "cities"), []
    for late in (False, True):
        handler = TokenCountingHandler(tokenizer=str.split)
        one = demo_embedding(late_chunking=late, callback_manager=CallbackManager([handler]))
        run(way, one, nodes)
        counts.append(handler.total_embedding_token_count)
    assert counts[0] == counts[1] == sum(len(text_of(node).split()) for node in nodes)


def test_the_splitter_is_heard_too(events: Events) -> None:
    embedding = demo_embedding()
    splitter = JinaLateChunkSplitter(splitter=sentence_splitter(), embed_model=embedding)
    nodes = splitter(documents_about("rivers"))
    assert events.chunks == sorted(map(text_of, nodes))


def test_a_payload_names_the_model_and_no_path_of_this_machine_but_its_own() -> None:
    one = demo_embedding(dimensions=8, cache_folder="/secret")
    assert one.to_payload() == {
        "class_name": "JinaV3Embedding",
        "model_name": "demo",
        "embed_batch_size": 256,
        "task": "retrieval",
        "dimensions": 8,
        "late_chunking": False,
    }


def test_an_error_ends_the_callbacks_event_and_sends_no_end(events: Events) -> None:
    handler = Callbacks()
    one = demo_embedding(
        late_chunking=True, dimensions=999, callback_manager=CallbackManager([handler])
    )
    with pytest.raises(ValueError, match="999"):
        one(nodes_of("rivers"))
    assert len(handler.starts) == len(handler.ends)
    assert not events.ends


_mark: ContextVar[str] = ContextVar("mark", default="none")


@pytest.mark.parametrize("late", [False, True])
def test_the_thread_behind_an_event_loop_sees_the_callers_variables(
    late: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []
    embed = JinaV3Embedding._embed
    in_context = JinaV3Embedding._embed_in_context
    monkeypatch.setattr(
        JinaV3Embedding, "_embed", lambda *a: (seen.append(_mark.get()), embed(*a))[1]
    )
    monkeypatch.setattr(
        JinaV3Embedding,
        "_embed_in_context",
        lambda *a: (seen.append(_mark.get()), in_context(*a))[1],
    )
    one, nodes = demo_embedding(late_chunking=late), nodes_of("rivers")

    async def marked(mark: str) -> None:
        _mark.set(mark)
        await one.acall(copies(nodes))
        await one.aget_query_embedding("a")
        await one.aget_text_embedding("a")

    async def several() -> None:
        await asyncio.gather(*[marked(f"m{i}") for i in range(3)])

    asyncio.run(several())
    assert sorted(seen) == sorted([f"m{i}" for i in range(3)] * 3)


# Bars


@pytest.mark.parametrize("late", [False, True])
@WAYS
def test_a_bar_is_shown_where_it_is_asked_for_and_nowhere_else(
    way: str, late: bool, capfd: pytest.CaptureFixture[str]
) -> None:
    nodes = nodes_of("rivers", "cities")
    run(way, demo_embedding(late_chunking=late), nodes)
    quiet = capfd.readouterr()
    assert quiet.out == quiet.err == ""
    run(way, demo_embedding(late_chunking=late, show_progress=True), nodes)
    own = capfd.readouterr()
    assert own.out == ""
    assert "Generating embeddings: 100%" in own.err
    assert f"{len(nodes)}/{len(nodes)}" in own.err or (way == "async" and not late)


def test_a_bar_that_a_caller_asks_for_is_shown(capfd: pytest.CaptureFixture[str]) -> None:
    one = demo_embedding()
    one.get_text_embedding_batch(["a", "b"], show_progress=True)
    assert "2/2" in capfd.readouterr().err
    demo_embedding(late_chunking=True)(nodes_of("rivers"), show_progress=True)
    assert "100%" in capfd.readouterr().err
    demo_embedding(show_progress=True).get_query_embedding("a")
    assert capfd.readouterr().err == ""


# Warnings


def long_document(n: int = 1) -> list[Document]:
    return [Document(text="A sentence about a city. " * 400, id_=f"d{i}") for i in range(n)]


def test_an_embedding_model_before_the_splitter_is_warned_of() -> None:
    one = demo_embedding(late_chunking=True)
    with pytest.warns(UserWarning, match="splitter first") as warned:
        ingest(long_document(2), one, sentence_splitter(chunk_size=512))
    assert len(warned) == 1


@pytest.mark.parametrize("late", [False, True])
def test_short_documents_may_be_embedded_whole(late: bool) -> None:
    documents = [Document(text="A short one."), Document(text="Another.")]
    found = demo_embedding(late_chunking=late)(documents)
    assert_same(rows(found), demo_embedding().get_text_embedding_batch([d.text for d in documents]))


def test_nobody_warns_of_documents_where_context_was_not_asked_for() -> None:
    demo_embedding(max_length=100)(long_document())


def embed_list(way: str, one: JinaV3Embedding) -> list[list[float]]:
    if way == "sync":
        return one.get_text_embedding_batch(["a", "b"])
    return asyncio.run(one.aget_text_embedding_batch(["a", "b"]))


@WAYS
def test_texts_without_nodes_are_warned_of_and_embedded_plainly(way: str) -> None:
    expected = embed_list(way, demo_embedding())
    with pytest.warns(UserWarning, match="late_embed_nodes"):
        found = embed_list(way, demo_embedding(late_chunking=True))
    assert_same(found, expected)


@WAYS
def test_they_may_be_an_error_or_nothing(way: str) -> None:
    with pytest.raises(InvalidOptionError, match="2 texts"):
        embed_list(way, demo_embedding(late_chunking=True, late_chunking_fallback="raise"))
    quiet = demo_embedding(late_chunking=True, late_chunking_fallback="ignore")
    assert len(embed_list(way, quiet)) == 2


def test_one_text_queries_and_indexes_give_no_reason_to_warn() -> None:
    one = demo_embedding(late_chunking=True, late_chunking_fallback="raise")
    one.get_text_embedding_batch(["a"])
    one.get_text_embedding("a")
    one.get_query_embedding("a")
    one.get_agg_embedding_from_queries(["a", "b"])
    VectorStoreIndex(nodes_of("rivers", "cities"), embed_model=one)


def lost(n: int) -> list[BaseNode]:
    return [TextNode(text=f"Sentence {i}.") for i in range(n)]


def test_nodes_that_lost_their_source_are_warned_of() -> None:
    one = demo_embedding(late_chunking=True)
    nodes = lost(3)
    with pytest.warns(UserWarning, match="3 nodes name no source"):
        one(nodes)
    assert_same(rows(nodes), demo_embedding().get_text_embedding_batch([n.text for n in nodes]))
    with pytest.raises(InvalidOptionError, match="SOURCE"):
        demo_embedding(late_chunking=True, late_chunking_fallback="raise")(lost(2))
    demo_embedding(late_chunking=True, late_chunking_fallback="ignore")(lost(2))


def test_nodes_with_a_source_or_a_group_are_not() -> None:
    one = demo_embedding(
        late_chunking=True, late_chunking_fallback="raise", late_chunking_group_by="file"
    )
    grouped, sourced = lost(3), lost(3)
    for node in grouped:
        node.metadata["file"] = "f"
    for node in sourced:
        node.relationships[NodeRelationship.SOURCE] = RelatedNodeInfo(node_id="s")
    one([*grouped, *sourced, *lost(1)])


def test_a_warning_points_at_the_callers_line() -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        demo_embedding(late_chunking=True).get_text_embedding_batch(["a", "b"])
    (warning,) = caught
    assert not str(warning.filename).startswith(str(base_module.__file__))


# Logs

LONG = "A sentence about a city and its river. " * 12


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"on_overflow": "truncate"}, "cut off"),
        ({"on_overflow": "window"}, "windows"),
        ({}, "windows"),
    ],
    ids=["truncate", "window", "default"],
)
def test_what_happens_to_long_texts_is_logged(
    options: dict[str, Any], word: str, caplog: pytest.LogCaptureFixture
) -> None:
    one = demo_embedding(max_length=40, **options)
    with caplog.at_level(logging.WARNING):
        one.get_text_embedding_batch(["a", LONG, LONG])
    (record,) = caplog.records
    assert record.getMessage().startswith("2 texts")
    assert word in record.getMessage()
    caplog.clear()
    one.get_text_embedding_batch(["a", "b"])
    assert not caplog.records


def test_a_query_that_is_too_long_is_an_error_unless_told_otherwise() -> None:
    with pytest.raises(ValueError, match="40"):
        demo_embedding(max_length=40).get_query_embedding(LONG)
    with pytest.raises(ValueError, match="40"):
        demo_embedding(max_length=40, on_overflow="error").get_text_embedding(LONG)


def test_chunks_that_are_cut_off_are_logged_and_windows_of_documents_are_not(
    caplog: pytest.LogCaptureFixture,
) -> None:
    nodes = nodes_of("rivers")
    with caplog.at_level(logging.WARNING):
        demo_embedding(late_chunking=True, late_chunking_window=200)(copies(nodes))
        assert not caplog.records
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            one = demo_embedding(
                late_chunking=True, late_chunking_window=200, on_overflow="truncate"
            )
            one(copies(nodes))
    assert [record.name for record in caplog.records] == [base_module.__name__]
    assert "cut off" in caplog.text
