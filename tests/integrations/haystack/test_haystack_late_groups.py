"""Late chunking: which documents share context, what they say about themselves, what is counted."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from haystack import Document
from haystack.components.preprocessors import HierarchicalDocumentSplitter
from hypothesis import given, settings
from hypothesis import strategies as st

from jina_local import ChunkedText, Engine
from jina_local.late_texts import LateText, in_batches
from support.checkpoints import TinyConfig, write_tiny
from support.haystack_late import alone, assert_same, embedding, rows

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from haystack_integrations.components.embedders.jina_local import JinaLocalDocumentEmbedder
    from support.checkpoints import Checkpoint

PASSAGE = "retrieval.passage"
LIMIT = 64
BERLIN = "Berlin is the capital. Its river is the Spree. It was divided."
FOX = "The quick brown fox jumps. The lazy dog does not mind. So they say."
WORDS = ["dog", "river", "old town", "zebra", "12.5 %", "the", "so it was", "a"]


@pytest.fixture(scope="module")
def late(tiny: Checkpoint) -> Iterator[JinaLocalDocumentEmbedder]:
    with embedding(tiny.folder) as made:
        yield made


def cut(source_id: str, text: str, **meta: Any) -> list[Document]:
    """Its sentences, as a splitter leaves them."""
    places = [m.span() for m in re.finditer(r"\S[^.]*\.", text)]
    return [
        Document(
            content=text[start:stop],
            meta={"source_id": source_id, "split_id": i, "split_idx_start": start} | meta,
        )
        for i, (start, stop) in enumerate(places)
    ]


def spans_of(text: str, documents: Sequence[Document]) -> list[tuple[int, int]]:
    starts = [text.index(one.content or "") for one in documents]
    return [(s, s + len(one.content or "")) for s, one in zip(starts, documents, strict=True)]


def in_context(
    engine: Engine, text: str, documents: Sequence[Document], header: str | None = None
) -> np.ndarray:
    """Vectors of documents that the text holds once each."""
    chunked = ChunkedText(text, spans_of(text, documents), header)
    return engine.embed_chunks([chunked], task=PASSAGE)[0].vectors


# Which documents share context


@st.composite
def corpora(draw: st.DrawFn, source_id: str) -> list[Document]:
    texts = st.lists(st.sampled_from(WORDS), min_size=1, max_size=4).map(" ".join)
    chunks = draw(st.lists(texts, min_size=1, max_size=5))
    numbered = draw(st.booleans())
    return [
        Document(
            content=one,
            meta={"source_id": source_id} | ({"split_id": i} if numbered else {}),
            id=f"{source_id}-{i}",
        )
        for i, one in enumerate(chunks)
    ]


@settings(max_examples=40)
@given(st.tuples(corpora("a"), corpora("b"), corpora("b")), st.integers(1, 6), st.data())
def test_documents_never_share_context(
    late: JinaLocalDocumentEmbedder,
    groups: tuple[list[Document], ...],
    batch_size: int,
    data: st.DataObject,
) -> None:
    first, *neighbours = groups
    expected = {one.id: one.embedding for one in late.run(first)["documents"]}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(late, "batch_size", batch_size)
        for neighbour in neighbours:
            mixed = [*first, *neighbour]
            if all("split_id" in one.meta for one in mixed):
                mixed = data.draw(st.permutations(mixed))
            found = {one.id: one.embedding for one in late.run(mixed)["documents"]}
            for name, row in expected.items():
                assert_same(found[name], row, atol=1e-6)


@given(st.lists(st.integers(1, 9), max_size=12), st.integers(1, 10))
def test_no_batch_cuts_a_source(sizes: list[int], batch_size: int) -> None:
    text = ChunkedText("text", [(0, 4)])
    late = tuple(LateText(text, tuple(range(size))) for size in sizes)
    batches = list(in_batches(late, batch_size))
    assert [id(one) for batch in batches for one in batch] == [id(one) for one in late]
    for batch in batches:
        assert len(batch) == 1 or sum(len(one.members) for one in batch) <= batch_size


def test_a_single_chunk_that_is_its_source_is_embedded_plainly(
    late: JinaLocalDocumentEmbedder, engine: Engine
) -> None:
    (chunk,) = cut("source", "The dog is old.")
    source = Document(content="  The dog is old.\n", id="source")
    for sources in (None, [source]):
        result = late.run([chunk], sources)
        assert_same(rows(result["documents"]), alone(engine, chunk.content or ""))
        assert result["meta"]["late_chunking"] == {"sources": 0, "windows": 0, "unmapped": 0}


def test_a_single_chunk_of_a_longer_source_has_its_context(
    late: JinaLocalDocumentEmbedder, engine: Engine
) -> None:
    chunks = cut("source", BERLIN)[1:2]
    result = late.run(chunks, [Document(content=BERLIN, id="source")])
    assert_same(rows(result["documents"]), in_context(engine, BERLIN, chunks))


def test_documents_that_were_never_split_are_embedded_plainly(
    late: JinaLocalDocumentEmbedder, engine: Engine
) -> None:
    whole = [Document(content=text, meta={"parent_id": "x"}) for text in (BERLIN, FOX)]
    chunks = cut("source", FOX)
    result = late.run([whole[0], *chunks, whole[1]])
    found = rows(result["documents"])
    assert_same(found[[0, -1]], alone(engine, BERLIN, FOX))
    assert_same(found[1:-1], in_context(engine, FOX, chunks))
    assert result["meta"]["late_chunking"] == {"sources": 1, "windows": 1, "unmapped": 0}


def test_before_haystack_3_1_the_source_is_the_parent(
    late: JinaLocalDocumentEmbedder, engine: Engine
) -> None:
    chunks = [
        Document(content=one.content, meta={"parent_id": "p", "split_id": one.meta["split_id"]})
        for one in cut("p", BERLIN)
    ]
    assert_same(rows(late.run(chunks)["documents"]), in_context(engine, BERLIN, chunks))


def test_the_field_of_the_source_is_chosen(tiny: Checkpoint, engine: Engine) -> None:
    """Docling names no source, and sums up lengths for places: then its chunks are glued."""
    texts = ["Rivers\nThe Spree runs. ", "Rivers\nIt is old. ", "Towns\nBerlin is large. "]
    chunks = [
        Document(
            content=text,
            meta={"split_id": i, "split_idx_start": len("".join(texts[:i])), "file_path": "a.pdf"},
        )
        for i, text in enumerate(texts)
    ]
    with embedding(tiny.folder) as component:
        result = component.run(chunks)
    assert_same(rows(result["documents"]), alone(engine, *texts))
    assert result["meta"]["late_chunking"]["sources"] == 0
    with embedding(tiny.folder, source_id_field="file_path") as component:
        result = component.run(chunks[::-1])
    expected = in_context(engine, "".join(texts), chunks)
    assert_same(rows(result["documents"][::-1]), expected)


def test_a_source_that_is_given_goes_before_all_else(
    late: JinaLocalDocumentEmbedder, engine: Engine
) -> None:
    chunks = cut("source", BERLIN)
    longer = f"{FOX} {BERLIN} {FOX}"
    source = Document(content=longer, id="source")
    found = rows(late.run(chunks, [source])["documents"])
    assert_same(found, in_context(engine, longer, chunks))
    found = rows(late.run([*chunks, replace(source, content=BERLIN)], [source])["documents"])
    assert_same(found, in_context(engine, longer, [*chunks, source]))


def test_the_source_among_the_documents_is_their_context_and_embedded_whole(
    late: JinaLocalDocumentEmbedder, engine: Engine
) -> None:
    root = Document(content=BERLIN, id="source")
    chunks = cut("source", BERLIN)
    documents = [chunks[2], root, chunks[0], chunks[1]]
    result = late.run(documents)
    assert_same(rows(result["documents"]), in_context(engine, BERLIN, documents))


def test_sources_that_are_each_others_are_an_end(tiny: Checkpoint) -> None:
    documents = [
        Document(content="a dog", id="a", meta={"source_id": "b"}),
        Document(content="a dog runs", id="b", meta={"source_id": "a"}),
        Document(content="the river", id="c", meta={"source_id": "c"}),
    ]
    with embedding(tiny.folder, late_chunking_fallback="ignore") as component:
        assert np.isfinite(rows(component.run(documents)["documents"])).all()


def test_letters_that_two_sections_happen_to_share_are_no_overlap(
    late: JinaLocalDocumentEmbedder, engine: Engine
) -> None:
    """Chunks name neighbours on both sides: here the second repeats nothing, the third does."""
    contents = ["The old town so", "so it was one dog", "one dog runs"]
    ids = ["a", "b", "c"]
    neighbours = [[], ["c"], ["b"]]
    chunks = [
        Document(
            content=content,
            id=name,
            meta={
                "source_id": "source",
                "split_id": i,
                "_split_overlap": [{"doc_id": one, "range": [0, 7]} for one in near],
            },
        )
        for i, (content, name, near) in enumerate(zip(contents, ids, neighbours, strict=True))
    ]
    text = "The old town so so it was one dog runs"
    spans = [(0, 15), (16, 33), (26, 38)]
    (expected,) = engine.embed_chunks([ChunkedText(text, spans)], task=PASSAGE)
    assert_same(rows(late.run(chunks[::-1])["documents"][::-1]), expected.vectors)


# What documents say about themselves


def test_metadata_that_all_share_is_context_and_what_differs_is_part_of_its_chunk(
    tiny: Checkpoint, engine: Engine
) -> None:
    chunks = cut("source", BERLIN, title="City")
    for one, page in zip(chunks, [1, 0, None], strict=True):
        one.meta["page"] = page
    options = {"meta_fields_to_embed": ["title", "page"], "prefix": "in: ", "suffix": " out"}
    with embedding(tiny.folder, **options) as component:
        found = rows(component.run(chunks[::-1])["documents"][::-1])
    first, second, third = (one.content or "" for one in chunks)
    text = f"1\n{first} 0\n{second} {third} out"
    spans = [(0, len(first) + 2)]
    spans.append((spans[0][1] + 1, spans[0][1] + 1 + len(second) + 2))
    spans.append((spans[1][1] + 1, len(text) - len(" out")))
    (expected,) = engine.embed_chunks([ChunkedText(text, spans, "in: City\n")], task=PASSAGE)
    assert_same(found, expected.vectors)


def test_a_single_chunk_is_embedded_as_without_late_chunking(
    tiny: Checkpoint, engine: Engine
) -> None:
    options = {"meta_fields_to_embed": ["title"], "prefix": "in: ", "suffix": " out"}
    documents = [Document(content="The dog.", meta={"title": "City", "source_id": "source"})]
    with embedding(tiny.folder, **options) as component:
        found = component.run(documents)["documents"]
    assert_same(rows(found), alone(engine, "in: City\nThe dog. out"))


def test_blank_chunks_are_embedded_on_their_own_and_nothing_is_skipped(
    late: JinaLocalDocumentEmbedder, engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    chunks = cut("source", BERLIN)
    blank = [
        Document(content=content, meta={"source_id": "source", "split_id": 10 + i})
        for i, content in enumerate(["", " \n", None])
    ]
    for sources in (None, [Document(content=BERLIN, id="source")]):
        result = late.run([blank[0], chunks[0], blank[1], chunks[1], blank[2], chunks[2]], sources)
        found = result["documents"]
        assert_same(rows(found[1::2]), in_context(engine, BERLIN, chunks))
        assert_same(rows([found[0], found[2]]), alone(engine, "", " \n"))
        assert found[4].embedding is None
        assert result["meta"]["skipped"] == 1
        assert result["meta"]["late_chunking"]["unmapped"] == 0
    assert "neither content nor metadata" in caplog.text


def test_a_source_without_text_is_no_source(
    late: JinaLocalDocumentEmbedder, engine: Engine
) -> None:
    chunks = cut("source", BERLIN)
    for content in ("", None):
        found = late.run(chunks, [Document(content=content, id="source")])["documents"]
        assert_same(rows(found), in_context(engine, BERLIN, chunks))


# What is counted


def test_tokens_and_windows_are_what_the_engine_reports(tmp_path: Path) -> None:
    """The model takes 64 tokens: both sources are run in windows, one of them in many."""
    write_tiny(tmp_path, config=TinyConfig(max_positions=LIMIT), delta_factor=100.0)
    texts = [f"{BERLIN} {FOX}", " ".join([FOX, BERLIN] * 3)]
    groups = []
    for name, text in zip("ab", texts, strict=True):
        places = [m.span() for m in re.finditer(r"\S[^.]*\.", text)]
        meta = [
            {"source_id": name, "split_id": i, "split_idx_start": start}
            for i, (start, _) in enumerate(places)
        ]
        groups.append(
            [
                Document(content=text[slice(*place)], meta=one)
                for place, one in zip(places, meta, strict=True)
            ]
        )
    with Engine.load(tmp_path, device="cpu") as engine:
        expected = engine.embed_chunks(
            [
                ChunkedText(text, [m.span() for m in re.finditer(r"\S[^.]*\.", text)])
                for text in texts
            ],
            task=PASSAGE,
            on_overflow="window",
        )
    with embedding(tmp_path) as component:
        result = component.run([*groups[0], *groups[1]])
    assert_same(rows(result["documents"]), np.vstack([one.vectors for one in expected]))
    n_windows = sum(one.windows for one in expected)
    assert n_windows > len(texts)
    counts = {"sources": 2, "windows": n_windows, "unmapped": 0}
    assert result["meta"]["late_chunking"] == counts
    n_tokens = sum(one.tokens for one in expected)
    assert result["meta"]["usage"] == {"prompt_tokens": n_tokens, "total_tokens": n_tokens}
    assert result["meta"]["truncated"] == 0


def test_nothing_is_counted_where_there_is_nothing(late: JinaLocalDocumentEmbedder) -> None:
    result = late.run([], [Document(content=BERLIN, id="source")])
    assert result["documents"] == []
    assert result["meta"]["late_chunking"] == {"sources": 0, "windows": 0, "unmapped": 0}
    assert result["meta"]["usage"] == {"prompt_tokens": 0, "total_tokens": 0}


def test_leaves_of_a_tree_see_its_root_if_the_tree_comes_as_sources(
    late: JinaLocalDocumentEmbedder, engine: Engine
) -> None:
    """As for retrieval that merges leaves into their parents, which embeds the leaves alone."""
    tree = HierarchicalDocumentSplitter(block_sizes={12, 4})
    nodes = tree.run(documents=[Document(content=f"{BERLIN} {FOX}")])["documents"]
    leaves = [one for one in nodes if one.meta["__level"] == 2]
    root = next(one for one in nodes if one.meta["__level"] == 0)
    assert len(leaves) > 4
    result = late.run(leaves, source_documents=nodes)
    assert result["meta"]["late_chunking"] == {"sources": 1, "windows": 1, "unmapped": 0}
    assert_same(rows(result["documents"]), in_context(engine, str(root.content), leaves))


def test_what_is_lost_is_counted_over_all_sources(tiny: Checkpoint) -> None:
    documents = [*cut("a", BERLIN), *cut("b", FOX)]
    sources = [Document(content="Nothing of it. " * 3, id=name) for name in ("a", "b")]
    with embedding(tiny.folder, late_chunking_fallback="ignore") as late:
        meta = late.run(documents, source_documents=sources)["meta"]
    assert meta["late_chunking"] == {"sources": 0, "windows": 0, "unmapped": len(documents)}


def test_lost_chunks_are_refused_before_a_model_is_loaded(tiny: Checkpoint) -> None:
    with embedding(tiny.folder) as late:
        late.close()
        with pytest.raises(ValueError, match="cannot be found in the source"):
            late.run(cut("a", BERLIN), source_documents=[Document(content="Else.", id="a")])
        assert not late._access.is_loaded
