"""Late chunking behind the parsers of LlamaIndex: each node is embedded where it was cut from."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import pytest

pytest.importorskip("llama_index.core")
from llama_index.core import Document
from llama_index.core.bridge.pydantic import SerializeAsAny  # noqa: TC002 - read at run time
from llama_index.core.node_parser import (
    HierarchicalNodeParser,
    MarkdownNodeParser,
    NodeParser,
    SentenceWindowNodeParser,
    TokenTextSplitter,
)
from llama_index.core.schema import NodeRelationship
from llama_index.embeddings.jina_local import JinaLateChunkSplitter
from llama_index.embeddings.jina_local._nodes import group_nodes

from jina_local import ChunkedText, Engine
from support.llama import (
    assert_same,
    demo_embedding,
    ingest,
    rows,
    sentence_splitter,
    sentences,
    text_of,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy as np
    from llama_index.core.schema import BaseNode

    from jina_local.splitting import Span

    Expected = Callable[[Sequence[BaseNode]], list[np.ndarray]]


class InTurn(NodeParser):
    """Parsers, each of which splits what the one before it leaves."""

    parsers: list[SerializeAsAny[NodeParser]]

    def _parse_nodes(
        self, nodes: Sequence[BaseNode], show_progress: bool = False, **_: Any
    ) -> list[BaseNode]:
        for parser in self.parsers:
            nodes = parser(nodes, show_progress=show_progress)
        return list(nodes)


def hierarchical() -> HierarchicalNodeParser:
    sizes = {"large": 1024, "small": 256}
    return HierarchicalNodeParser.from_defaults(
        node_parser_ids=list(sizes),
        node_parser_map={
            name: sentence_splitter(chunk_size=size, chunk_overlap=20)
            for name, size in sizes.items()
        },
    )


PARSERS: dict[str, NodeParser] = {
    "sentences 1024/200": sentence_splitter(chunk_size=1024, chunk_overlap=200),
    "sentences 256/40": sentence_splitter(chunk_size=256, chunk_overlap=40),
    "sentences 256/0": sentence_splitter(chunk_size=256, chunk_overlap=0),
    "tokens 256/40": TokenTextSplitter(chunk_size=256, chunk_overlap=40),
    "markdown": MarkdownNodeParser(),
    "windows": SentenceWindowNodeParser.from_defaults(sentence_splitter=sentences),
    "hierarchical": hierarchical(),
    "markdown, sentences 128/20": InTurn(
        parsers=[MarkdownNodeParser(), sentence_splitter(chunk_size=128, chunk_overlap=20)]
    ),
}

parsers = pytest.mark.parametrize("parser", PARSERS.values(), ids=list(PARSERS))


def written(topic: str, n_sections: int) -> Document:
    """A document with sections, lists, code and accents; no sentence of it is like another."""
    sections = []
    for i in range(n_sections):
        prose = " ".join(
            f"Remark {i}.{j} on {topic} is that naïve café owners count {i * 97 + j * j} of them."
            for j in range(9)
        )
        listed = "\n".join(f"- point {i}.{j} of {topic}" for j in range(4))
        code = f"```python\ncount_{topic}_{i} = {i}\nprint(count_{topic}_{i})\n```"
        sections.append(f"{'#' * (1 + i % 2)} Part {i} of {topic}\n\n{prose}\n\n{listed}\n\n{code}")
    return Document(text="\n\n".join(sections), id_=topic)


DOCUMENTS = [written("whales", 5), written("moss", 1)]
TEXTS = {document.node_id: document.text for document in DOCUMENTS}


def true_spans(nodes: Sequence[BaseNode]) -> list[tuple[int, int]]:
    """Where nodes are in their source, which has each of their texts once."""
    spans = []
    for node in nodes:
        source, text = TEXTS[str(node.ref_doc_id)], text_of(node)
        assert source.count(text) == 1, text
        spans.append((source.index(text), source.index(text) + len(text)))
    return spans


@pytest.fixture(scope="module")
def expected(shared_demo: Engine) -> Expected:
    """The engine's vectors for the true spans of nodes."""
    known: dict[tuple[str, tuple[Span, ...]], np.ndarray] = {}

    def vectors_of(nodes: Sequence[BaseNode]) -> list[np.ndarray]:
        spans = true_spans(nodes)
        found: dict[int, np.ndarray] = {}
        for name, text in TEXTS.items():
            own = [i for i, node in enumerate(nodes) if node.ref_doc_id == name]
            own.sort(key=spans.__getitem__)
            key = name, tuple(spans[i] for i in own)
            if key not in known:
                chunked = ChunkedText(text, key[1])
                known[key] = shared_demo.embed_chunks([chunked], task="retrieval.passage")[
                    0
                ].vectors
            found |= zip(own, known[key], strict=True)
        return [found[i] for i in range(len(nodes))]

    return vectors_of


def late(**options: Any) -> Any:
    return demo_embedding(late_chunking=True, late_chunking_metadata="none", **options)


@parsers
def test_no_span_is_wrong_and_no_text_is_lost_or_repeated(parser: NodeParser) -> None:
    nodes = parser(DOCUMENTS)
    for group in group_nodes(nodes):
        for i, span in group.places.items():
            assert span is not None
            assert group.text[slice(*span)] == text_of(nodes[i])
        (name,) = {str(nodes[i].ref_doc_id) for i in group.places}
        assert group.text.split() == TEXTS[name].split()


@parsers
def test_a_known_source_is_the_text_and_spans_are_the_true_ones(parser: NodeParser) -> None:
    nodes = parser(DOCUMENTS)
    expected = true_spans(nodes)
    for group in group_nodes(nodes, sources=TEXTS):
        (name,) = {str(nodes[i].ref_doc_id) for i in group.places}
        assert group.text == TEXTS[name]
        assert group.places == {i: expected[i] for i in group.places}


@parsers
def test_shuffled_nodes_get_the_vectors_of_the_true_spans(
    expected: Expected, parser: NodeParser
) -> None:
    """White space is all that a stitched text may lack, and the model sees none of it."""
    nodes = parser(DOCUMENTS)
    assert len(nodes) >= 3
    random.Random(3).shuffle(nodes)  # noqa: S311 - an order, no secret
    vectors = late(embed_batch_size=7).late_embed_nodes(nodes)
    assert_same(vectors, expected(nodes))


@parsers
def test_nodes_of_the_splitter_have_the_vectors_of_the_true_spans(
    expected: Expected, parser: NodeParser
) -> None:
    nodes = ingest(DOCUMENTS, JinaLateChunkSplitter(splitter=parser, embed_model=late()))
    assert_same(rows(nodes), expected(nodes))


@parsers
def test_the_splitter_leaves_nodes_as_the_parser_makes_them(parser: NodeParser) -> None:
    """Its own pass over them would link parents to children, and search for offsets again."""
    expected = parser(DOCUMENTS)
    found = JinaLateChunkSplitter(splitter=parser, embed_model=late())(DOCUMENTS)
    assert [text_of(node) for node in found] == [text_of(node) for node in expected]
    assert [node.metadata for node in found] == [node.metadata for node in expected]
    assert [linked(found, i) for i in range(len(found))] == [
        linked(expected, i) for i in range(len(found))
    ]
    for name in ("start_char_idx", "end_char_idx"):
        offsets = [getattr(node, name) for node in expected]
        assert [getattr(node, name) for node in found] == offsets


def linked(nodes: Sequence[BaseNode], i: int) -> dict[NodeRelationship, Any]:
    """The relations of a node, with places in the list for ids, since those are random."""
    places = {node.node_id: at for at, node in enumerate(nodes)}
    found: dict[NodeRelationship, Any] = {}
    for kind, related in nodes[i].relationships.items():
        ids = [one.node_id for one in (related if isinstance(related, list) else [related])]
        found[kind] = [places.get(name, name) for name in ids]
    return found


def test_the_splitter_adds_no_metadata_that_the_parser_was_told_to_leave_out() -> None:
    document = Document(text=DOCUMENTS[1].text, metadata={"file_name": "moss.md"})
    parser = sentence_splitter(include_metadata=False, include_prev_next_rel=False)
    for node in JinaLateChunkSplitter(splitter=parser, embed_model=late())([document]):
        assert node.metadata == {}
        assert set(node.relationships) == {NodeRelationship.SOURCE}
