"""Late chunking in LlamaIndex: which nodes share context, and what is said about them."""

from __future__ import annotations

import warnings
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

pytest.importorskip("llama_index.core")
from hypothesis import given, settings
from hypothesis import strategies as st
from llama_index.core import Document, VectorStoreIndex
from llama_index.core.indices import utils
from llama_index.core.node_parser import HierarchicalNodeParser, MarkdownNodeParser
from llama_index.core.schema import NodeRelationship, RelatedNodeInfo, TextNode
from llama_index.embeddings.jina_local import JinaLateChunkSplitter, JinaV3Embedding
from llama_index.embeddings.jina_local._nodes import group_nodes, texts_of_sources

from jina_local import ChunkedText, Engine
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
    from collections.abc import Callable, Iterator, Sequence

    from llama_index.core.schema import BaseNode

    from support.checkpoints import Checkpoint

PASSAGE = "retrieval.passage"
WORDS = ["dog", "river", "old town", "zebra", "12.5 %", "the", "so it was", "a"]
BERLIN = ["Berlin is the capital.", "Its river is the Spree.", "It was divided once."]
FOX = ["The quick brown fox jumps.", "The lazy dog does not mind.", "So they say."]


def node(text: str, source: str | None = None, **options: Any) -> TextNode:
    """A node as a parser leaves it."""
    relationships = {} if source is None else {NodeRelationship.SOURCE: link(source)}
    relationships |= options.pop("relationships", {})
    return TextNode(text=text, relationships=relationships, **options)


def link(name: str) -> RelatedNodeInfo:
    return RelatedNodeInfo(node_id=name)


def cut(source: str, texts: Sequence[str], **options: Any) -> list[TextNode]:
    return [node(text, source, id_=f"{source}-{i}", **options) for i, text in enumerate(texts)]


def late(**options: Any) -> JinaV3Embedding:
    return demo_embedding(**{"late_chunking": True, "late_chunking_fallback": "raise"} | options)


def in_context(
    engine: Engine, chunks: Sequence[str], header: str | None = None, between: str = " "
) -> np.ndarray:
    """Vectors of chunks in the text that they make."""
    text, spans = "", []
    for chunk in chunks:
        text += between if text else ""
        spans.append((len(text), len(text) + len(chunk)))
        text += chunk
    (found,) = engine.embed_chunks([ChunkedText(text, spans, header)], task=PASSAGE)
    return found.vectors


def alone(engine: Engine, *texts: str) -> np.ndarray:
    return engine.embed(texts, task=PASSAGE).vectors


@pytest.fixture
def embedded(monkeypatch: pytest.MonkeyPatch) -> list[ChunkedText]:
    """The documents that engines are given."""
    seen: list[ChunkedText] = []
    embed_chunks = Engine.embed_chunks

    def recording(self: Engine, documents: Sequence[ChunkedText], **options: Any) -> Any:
        seen.extend(documents)
        return embed_chunks(self, documents, **options)

    monkeypatch.setattr(Engine, "embed_chunks", recording)
    return seen


# Documents never share context


@pytest.fixture(scope="module")
def small(tiny: Checkpoint) -> Iterator[JinaV3Embedding]:
    """An embedding over a random model, in which every neighbour shows."""
    model = JinaV3Embedding(model=str(tiny.folder), device="cpu", late_chunking=True)
    model.engine  # noqa: B018 - loaded once for all examples
    yield model
    model.release()


chunk_lists = st.lists(
    st.lists(st.sampled_from(WORDS), min_size=1, max_size=4).map(" ".join), min_size=1, max_size=5
)


def as_call(model: JinaV3Embedding, nodes: list[TextNode]) -> dict[str, list[float]]:
    return {one.node_id: list(one.embedding or ()) for one in model(nodes)}


def as_index(model: JinaV3Embedding, nodes: list[TextNode]) -> dict[str, list[float]]:
    return utils.embed_nodes(nodes, model)


@settings(max_examples=60)
@given(
    st.tuples(chunk_lists, chunk_lists, chunk_lists),
    st.integers(1, 8),
    st.sampled_from([as_call, as_index]),
    st.data(),
)
def test_documents_never_share_context(
    small: JinaV3Embedding,
    corpora: tuple[list[str], ...],
    batch_size: int,
    road: Callable[[JinaV3Embedding, list[TextNode]], dict[str, list[float]]],
    data: st.DataObject,
) -> None:
    own, *neighbours = corpora
    small.embed_batch_size = batch_size
    expected = road(small, cut("a", own))
    for other in neighbours:
        places = data.draw(st.permutations([0] * len(own) + [1] * len(other)))
        streams = [iter(cut("a", own)), iter(cut("b", other))]
        found = road(small, [next(streams[which]) for which in places])
        for name, row in expected.items():
            assert_same(found[name], row, atol=1e-6)


def test_nodes_of_a_document_share_context(small: JinaV3Embedding) -> None:
    """What the property above would not notice: an embedding without any context."""
    first = small.late_embed_nodes(cut("a", FOX))[0]
    changed = small.late_embed_nodes(cut("a", [FOX[0], BERLIN[1], FOX[2]]))[0]
    assert np.abs(np.subtract(first, changed)).max() > 1e-3


def test_nodes_are_grouped_by_their_source(shared_demo: Engine) -> None:
    nodes = [
        one for pair in zip(cut("fox", FOX), cut("berlin", BERLIN), strict=True) for one in pair
    ]
    found = late().late_embed_nodes(nodes)
    assert_same(found[::2], in_context(shared_demo, FOX))
    assert_same(found[1::2], in_context(shared_demo, BERLIN))


# One document in several sources


def pages() -> list[Document]:
    """Two files as a reader leaves them that makes a document of each page."""
    return [
        Document(text=text, metadata={"path": name}, excluded_embed_metadata_keys=["path"])
        for name, texts in (("fox", FOX), ("berlin", BERLIN))
        for text in texts
    ]


def test_pages_of_a_file_are_one_document_on_request(
    shared_demo: Engine, embedded: list[ChunkedText]
) -> None:
    splitter = sentence_splitter()
    nodes = ingest(pages(), splitter, late(late_chunking_group_by="path"))
    assert len(embedded) == 2
    expected = np.concatenate([in_context(shared_demo, FOX), in_context(shared_demo, BERLIN)])
    assert_same(rows(nodes), expected)
    exact = JinaLateChunkSplitter(
        splitter=splitter, embed_model=late(late_chunking_group_by="path")
    )
    assert_same(rows(ingest(pages(), exact)), expected)


def test_pages_of_a_file_are_documents_unless_they_are_grouped(shared_demo: Engine) -> None:
    nodes = ingest(pages(), sentence_splitter(), late())
    assert_same(rows(nodes), alone(shared_demo, *FOX, *BERLIN))


def test_nodes_without_the_key_are_grouped_by_their_source(shared_demo: Engine) -> None:
    nodes = [*cut("fox", FOX[:2]), *cut("berlin", BERLIN, metadata={"path": "x"})]
    for one in nodes:
        one.excluded_embed_metadata_keys = ["path"]
    found = late(late_chunking_group_by="path").late_embed_nodes(nodes)
    assert_same(found[:2], in_context(shared_demo, FOX[:2]))
    assert_same(found[2:], in_context(shared_demo, BERLIN))


# Order and levels


def hierarchy() -> list[BaseNode]:
    sizes = {"large": 128, "small": 40}
    parser = HierarchicalNodeParser.from_defaults(
        node_parser_ids=list(sizes),
        node_parser_map={name: sentence_splitter(chunk_size=size) for name, size in sizes.items()},
    )
    return parser(documents_about("whales", n_sentences=16))


def test_levels_of_a_hierarchy_share_one_pass(
    shared_demo: Engine, embedded: list[ChunkedText]
) -> None:
    nodes = hierarchy()
    found = late(late_chunking_metadata="none").late_embed_nodes(nodes)
    (chunked,) = embedded
    (source,) = documents_about("whales", n_sentences=16)
    assert chunked.text == source.text
    spans = dict(zip((text_of(one) for one in nodes), true_spans(source.text, nodes), strict=True))
    children = [one for one in nodes if one.parent_node is not None]
    assert 1 < len(nodes) - len(children) < len(children)
    at = {one.node_id: spans[text_of(one)] for one in nodes}
    for child in children:
        start, stop = at[str(child.parent_node and child.parent_node.node_id)]
        assert start <= at[child.node_id][0] < at[child.node_id][1] <= stop
    expected = ChunkedText(source.text, true_spans(source.text, nodes))
    assert_same(found, shared_demo.embed_chunks([expected], task=PASSAGE)[0].vectors)


def true_spans(text: str, nodes: Sequence[BaseNode]) -> list[tuple[int, int]]:
    return [
        (text.index(text_of(one)), text.index(text_of(one)) + len(text_of(one))) for one in nodes
    ]


def test_a_child_is_embedded_inside_of_its_own_parent(shared_demo: Engine) -> None:
    texts = ["The end. First part.", "The end. Second part."]
    parents = cut("source", texts)
    child = node("The end.", "source", relationships={NodeRelationship.PARENT: link("source-1")})
    found = late().late_embed_nodes([child, *parents])
    text = " ".join(texts)
    second = len(texts[0]) + 1
    spans = [(second, second + 8), (0, len(texts[0])), (second, len(text))]
    (expected,) = shared_demo.embed_chunks([ChunkedText(text, spans)], task=PASSAGE)
    assert_same(found, expected.vectors)


def test_links_to_previous_nodes_give_the_order(shared_demo: Engine) -> None:
    chain = cut("fox", FOX)
    for before, after in pairwise(chain):
        after.relationships[NodeRelationship.PREVIOUS] = link(before.node_id)
    expected = in_context(shared_demo, FOX)
    for order in ([2, 0, 1], [1, 0, 2], [2, 1, 0]):
        found = late().late_embed_nodes([chain[i] for i in order])
        assert_same(found, expected[order])


@pytest.mark.parametrize("kind", [NodeRelationship.PREVIOUS, NodeRelationship.PARENT])
@pytest.mark.parametrize("step", [0, 1, 2])
def test_circular_links_end(shared_demo: Engine, kind: NodeRelationship, step: int) -> None:
    nodes = cut("fox", FOX)
    for i, one in enumerate(nodes):
        one.relationships[kind] = link(nodes[(i + step) % 3].node_id)
    found = late().late_embed_nodes(nodes)
    if kind is NodeRelationship.PREVIOUS:
        assert_same(found, in_context(shared_demo, FOX))
    else:
        assert_same(found, alone(shared_demo, *FOX))


# Metadata


def described() -> list[TextNode]:
    return [
        node(text, "fox", metadata={"file": "fox.txt", "page": i, "secret": "x"})
        for i, text in enumerate(FOX)
    ]


def test_shared_metadata_is_context_once_and_the_rest_is_of_its_node(
    shared_demo: Engine, embedded: list[ChunkedText]
) -> None:
    nodes = described()
    for one in nodes:
        one.excluded_embed_metadata_keys = ["secret"]
    found = late().late_embed_nodes(nodes)
    (chunked,) = embedded
    assert chunked.header == "file: fox.txt\n"
    assert "fox.txt" not in chunked.text
    assert "secret" not in chunked.text
    lines = [f"page: {i}\n{text}" for i, text in enumerate(FOX)]
    assert_same(found, in_context(shared_demo, lines, "file: fox.txt\n"))


def test_inline_metadata_is_of_its_node(shared_demo: Engine) -> None:
    found = late(late_chunking_metadata="inline").late_embed_nodes(described())
    lines = [f"file: fox.txt\npage: {i}\nsecret: x\n{text}" for i, text in enumerate(FOX)]
    assert_same(found, in_context(shared_demo, lines))


def test_metadata_may_be_left_out(shared_demo: Engine) -> None:
    found = late(late_chunking_metadata="none").late_embed_nodes(described())
    assert_same(found, in_context(shared_demo, FOX))


@pytest.mark.parametrize("place", ["context", "inline", "none"])
def test_a_node_that_is_its_document_is_embedded_as_without_late_chunking(
    shared_demo: Engine, place: str
) -> None:
    (one,) = described()[:1]
    found = late(late_chunking_metadata=place).late_embed_nodes([one])
    header = "" if place == "none" else "file: fox.txt\npage: 0\nsecret: x\n\n"
    assert_same(found, alone(shared_demo, header + FOX[0]))
    if place != "none":
        assert_same(found, [demo_embedding()([one])[0].embedding])


# Nodes that are out of the ordinary


@pytest.mark.parametrize("blank", ["", " ", "\n\t \n"])
def test_blank_nodes_take_no_part(shared_demo: Engine, blank: str) -> None:
    texts = [blank, FOX[0], FOX[1], blank, FOX[2], blank]
    found = np.array(late().late_embed_nodes(cut("fox", texts)))
    assert_same(found[[1, 2, 4]], in_context(shared_demo, FOX))
    assert_same(found[[0, 3, 5]], alone(shared_demo, blank, blank, blank))


def test_documents_of_blank_nodes_are_embedded(shared_demo: Engine) -> None:
    found = late().late_embed_nodes(cut("blank", ["", "  "]))
    assert_same(found, alone(shared_demo, "", "  "))


def test_no_nodes_have_no_vectors() -> None:
    assert late().late_embed_nodes([]) == []
    assert list(late()([])) == []


def test_an_index_keeps_embeddings_that_nodes_already_have(shared_demo: Engine) -> None:
    width = shared_demo.embed(["x"]).vectors.shape[1]
    given_row = [1.0] + [0.0] * (width - 1)
    nodes = cut("fox", FOX)
    nodes[1].embedding = given_row
    found = VectorStoreIndex(nodes, embed_model=late()).vector_store.data.embedding_dict
    assert found["fox-1"] == given_row
    assert_same([found["fox-0"], found["fox-2"]], in_context(shared_demo, [FOX[0], FOX[2]]))


def test_a_step_of_a_pipeline_embeds_anew(shared_demo: Engine) -> None:
    nodes = cut("fox", FOX)
    nodes[1].embedding = [1.0]
    assert_same(rows(late()(nodes)), in_context(shared_demo, FOX))


@pytest.mark.parametrize("overlap", [0, 20])
def test_text_that_repeats_itself_is_embedded_whole(
    shared_demo: Engine, embedded: list[ChunkedText], overlap: int
) -> None:
    """Offsets of copies are those of an earlier one; with the source at hand, no text is lost."""
    source = Document(text=" ".join(["The same is said again."] * 60), id_="again")
    splitter = sentence_splitter(chunk_overlap=overlap)
    exact = JinaLateChunkSplitter(splitter=splitter, embed_model=late())
    nodes = ingest([source], exact)
    (chunked,) = embedded
    assert chunked.text == source.text
    assert [chunked.text[slice(*span)] for span in chunked.spans] == [text_of(n) for n in nodes]
    starts = [start for start, _ in chunked.spans]
    assert starts == sorted(starts)
    expected = shared_demo.embed_chunks([chunked], task=PASSAGE)[0].vectors
    assert_same(rows(nodes), expected)


# Whose nodes an embedding takes


class Between:
    """An embedding model of somebody, which hands texts on to ours."""

    def __init__(self, model: JinaV3Embedding, through: Callable[[list[str]], list[str]]) -> None:
        self.model = model
        self.through = through

    def get_text_embedding_batch(self, texts: list[str], **_: Any) -> list[list[float]]:
        return self.model.get_text_embedding_batch(self.through(texts))

    async def aget_text_embedding_batch(self, texts: list[str], **_: Any) -> list[list[float]]:
        return await self.model.aget_text_embedding_batch(self.through(texts))


def test_chunks_that_repeat_each_other_do_not_fall_upon_each_other() -> None:
    """LlamaIndex names an earlier copy of theirs, and most of the document would be gone."""
    document = Document(text=" ".join(["The trams climb the hill again."] * 60), id_="trams")
    nodes = sentence_splitter(chunk_size=64, chunk_overlap=0)([document])
    assert len(nodes) > 3
    for sources in ({}, {"trams": document.text}):
        (group,) = group_nodes(nodes, sources=sources)
        assert group.text == document.text
        starts = [span[0] for span in group.places.values() if span is not None]
        assert len(set(starts)) == len(nodes)


def test_sections_are_put_together_where_chunks_name_the_document() -> None:
    document = Document(text="# A\n\nAlpha is first.\n\n# B\n\nBeta is second.\n", id_="greek")
    sections = MarkdownNodeParser()([document])
    chunks = sentence_splitter(chunk_size=64, chunk_overlap=0)(sections)
    (group,) = group_nodes(chunks, sources=texts_of_sources(sections))
    assert group.text.split() == document.text.split()
    assert [group.text[slice(*span)] for span in group.places.values() if span] == [
        text_of(chunk) for chunk in chunks
    ]


def test_the_very_list_of_an_index_is_known(shared_demo: Engine) -> None:
    model: Any = Between(late(), lambda texts: texts)
    found = utils.embed_nodes(cut("fox", FOX), model)
    assert_same(list(found.values()), in_context(shared_demo, FOX))


@pytest.mark.parametrize("through", [list, lambda texts: texts[::-1], lambda texts: texts[:2]])
def test_another_list_is_not_taken_for_it(
    shared_demo: Engine, through: Callable[[list[str]], list[str]]
) -> None:
    model: Any = Between(late(late_chunking_fallback="warn"), through)
    with pytest.warns(UserWarning, match="came without their nodes"):
        found = utils.embed_nodes(cut("fox", FOX), model)
    assert_same(list(found.values()), alone(shared_demo, *through(FOX)))


def test_other_functions_of_that_name_are_not_taken_for_it(shared_demo: Engine) -> None:
    def embed_nodes(nodes: list[TextNode], model: JinaV3Embedding) -> list[list[float]]:
        texts_to_embed = [one.text for one in nodes]
        return model.get_text_embedding_batch(texts_to_embed)

    with pytest.warns(UserWarning, match="3 texts came without their nodes"):
        found = embed_nodes(cut("fox", FOX), late(late_chunking_fallback="warn"))
    assert_same(found, alone(shared_demo, *FOX))


def test_one_text_without_its_node_is_no_reason_to_warn(shared_demo: Engine) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = late().get_text_embedding_batch([FOX[0]])
    assert_same(found, alone(shared_demo, FOX[0]))


def test_nodes_without_a_source_are_embedded_on_their_own(shared_demo: Engine) -> None:
    with pytest.warns(UserWarning, match="3 nodes name no source document"):
        found = late(late_chunking_fallback="warn").late_embed_nodes([node(text) for text in FOX])
    assert_same(found, alone(shared_demo, *FOX))
