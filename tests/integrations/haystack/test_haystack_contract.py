"""What users of Haystack's embedders rely on, as rows of one table over both of ours.

Rows that are about any embedder also run over Haystack's own mock embedders: these are controls,
and the flaws that they share with the other embedders out there fail exactly the rows that are
about them. Those of sentence-transformers are
asked in `python -m benchmarks haystack_controls`.
"""

from __future__ import annotations

import asyncio
import copy
import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from jina_local import Engine

pytest.importorskip("haystack")

from haystack import Document
from hypothesis import given
from hypothesis import strategies as st

from support.checkpoints import TinyConfig, write_tiny
from support.embedders import (
    DOCUMENTS,
    MOCK_DOCUMENTS,
    MOCK_TEXT,
    MOCKS,
    OURS,
    TEXT,
    TEXTS,
    THAT_TAKE_DOCUMENTS,
    Subject,
    assert_same,
    assert_vector,
    over,
    vectors,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from jina_local.results import Embeddings

pytestmark = pytest.mark.usefixtures("_demo_stays")

LONG = "a long text without an end " * 20

# Wrong input

NO_STRINGS = [123, ["a"], [], None, b"a", Document(content="a")]
NO_DOCUMENTS = ["x", ["x"], None, (Document(content="a"),), Document(content="a"), {}, 1]
NOT_ALL_DOCUMENTS = [[Document(content="a"), other] for other in ("x", None, {"content": "x"})]


def assert_refuses(subject: Subject, wrong: object) -> None:
    embedder = subject.make()
    for call in (embedder.run, lambda value: asyncio.run(embedder.run_async(value))):
        with pytest.raises(TypeError) as refused:
            call(wrong)
        assert str(refused.value) == subject.refusal


@pytest.mark.parametrize("wrong", NO_STRINGS, ids=lambda wrong: type(wrong).__name__)
@over(TEXT, MOCK_TEXT)
def test_what_is_no_string_is_refused(subject: Subject, wrong: object) -> None:
    assert_refuses(subject, wrong)


@pytest.mark.parametrize("wrong", NO_DOCUMENTS, ids=range(len(NO_DOCUMENTS)))
@over(*THAT_TAKE_DOCUMENTS)
def test_what_is_no_list_of_documents_is_refused(subject: Subject, wrong: object) -> None:
    assert_refuses(subject, wrong)


@pytest.mark.parametrize("wrong", NOT_ALL_DOCUMENTS, ids=["string", "none", "dict"])
@over(*THAT_TAKE_DOCUMENTS, flaws=(MOCK_DOCUMENTS,), error=AttributeError)
def test_every_element_is_looked_at(subject: Subject, wrong: object) -> None:
    """Others look at the first one and fail on the second somewhere inside."""
    assert_refuses(subject, wrong)


@pytest.mark.parametrize("wrong", ["x", [Document(content="a"), "x"]], ids=["string", "second"])
def test_sources_are_looked_at_like_documents(wrong: Any) -> None:
    with pytest.raises(TypeError) as refused:
        DOCUMENTS.make().run([], source_documents=wrong)
    assert str(refused.value) == DOCUMENTS.refusal


@over(*OURS)
def test_wrong_input_is_refused_before_anything_is_loaded(subject: Subject) -> None:
    """There is no such model, and nobody looks for it."""
    embedder = subject.make(model="no/such/model")
    for wrong in (None, [Document(content="a"), 1]):
        with pytest.raises(TypeError):
            embedder.run(wrong)


# Vectors


@pytest.mark.parametrize("task", ["retrieval.passage", "separation", None])
@over(*OURS)
def test_vectors_are_those_of_the_engine(subject: Subject, task: str | None, demo: Engine) -> None:
    embedder = subject.make(task=task, dimensions=96)
    expected = demo.embed(TEXTS, task=task, dimensions=96).vectors
    assert_same([subject.embed(embedder, text) for text in TEXTS], expected)


def test_each_side_has_its_own_task_unless_told_otherwise(demo: Engine) -> None:
    for subject, role in ((TEXT, "retrieval.query"), (DOCUMENTS, "retrieval.passage")):
        found = subject.embed(subject.make(), TEXTS[0])
        assert_same(found, demo.embed(TEXTS[:1], task=role).vectors[0])


@pytest.mark.parametrize("dimensions", [1, 2, 17, 128, None])
@over(*OURS, *MOCKS)
def test_vectors_have_their_length_and_length_one(subject: Subject, dimensions: int | None) -> None:
    """Also after the cut; as lists of Python's floats."""
    options = {} if dimensions is None else {subject.dimensions: dimensions}
    for text in (*TEXTS, ""):
        assert_vector(subject.embed(subject.make(**options), text), dimensions or subject.width)


@over(*OURS)
def test_without_normalization_the_cut_is_a_prefix(subject: Subject) -> None:
    whole = subject.embed(subject.make(normalize_embeddings=False), TEXTS[0])
    part = subject.embed(subject.make(normalize_embeddings=False, dimensions=40), TEXTS[0])
    assert math.hypot(*whole) != pytest.approx(1, abs=1e-3)
    assert part == whole[:40]


@over(*OURS)
def test_more_dimensions_than_the_model_has_are_refused_at_load(subject: Subject) -> None:
    embedder = subject.make(dimensions=257)
    for call in (embedder.warm_up, embedder.warm_up, lambda: subject.embed(embedder, "a")):
        with pytest.raises(ValueError, match=r"dimensions is 257; .*1…256"):
            call()


@over(*OURS, *MOCKS)
def test_prefix_and_suffix_are_part_of_the_text(subject: Subject) -> None:
    around = subject.make(prefix="p: ", suffix=" :s")
    assert_same(subject.embed(around, "a b"), subject.embed(subject.make(), "p: a b :s"))


@over(*THAT_TAKE_DOCUMENTS)
def test_metadata_is_put_before_the_content(subject: Subject) -> None:
    """Zero and False are values; None and what is missing are none."""
    meta = {"title": "T", "zero": 0, "no": False, "none": None, "empty": ""}
    fields = ["no", "title", "none", "missing", "zero", "empty"]
    embedder = subject.make(
        meta_fields_to_embed=fields, embedding_separator=" | ", prefix="<", suffix=">"
    )
    document = Document(content="body", meta=meta)
    found = vectors(embedder.run([document])["documents"])[0]
    assert_same(found, subject.embed(subject.make(), "<False | T | 0 |  | body>"))


@over(*OURS, *MOCKS)
def test_the_empty_text_is_embedded(subject: Subject) -> None:
    embedder = subject.make()
    assert_same(subject.embed(embedder, ""), subject.embed(embedder, ""))
    assert subject.embed(embedder, "") != subject.embed(embedder, "a")


@pytest.mark.parametrize(("one", "other"), [OURS, MOCKS], ids=["ours", "mocks"])
def test_text_and_document_embedder_agree(one: Subject, other: Subject) -> None:
    options = {"task": "text-matching"} if one is TEXT else {}
    for text in TEXTS:
        assert_same(one.embed(one.make(**options), text), other.embed(other.make(**options), text))


# Runs


@over(*OURS, *MOCKS)
def test_run_async_gives_what_run_gives(subject: Subject) -> None:
    embedder = subject.make()
    value = [Document(content=text) for text in TEXTS] if subject.takes_documents else TEXTS[0]
    assert asyncio.run(embedder.run_async(value)) == embedder.run(value)


@over(*THAT_TAKE_DOCUMENTS)
def test_documents_come_back_in_order_and_the_originals_are_as_they_were(subject: Subject) -> None:
    documents = [
        Document(content=text, meta={"i": i, "deep": {"list": [i]}}, score=i / 10, id=f"id {i}")
        for i, text in enumerate(TEXTS)
    ]
    before = copy.deepcopy(documents)
    given = list(documents)
    found = subject.make(**({"batch_size": 3} if subject is DOCUMENTS else {})).run(given)
    assert documents == given == before
    assert all(one is other for one, other in zip(given, documents, strict=True))
    assert [replace(one, embedding=None) for one in found["documents"]] == documents
    alone = [subject.embed(subject.make(), text) for text in TEXTS]
    assert_same(vectors(found["documents"]), alone)


@over(*THAT_TAKE_DOCUMENTS)
def test_documents_of_one_id_keep_their_own_vectors(subject: Subject) -> None:
    documents = [Document(id="same", content=text) for text in TEXTS]
    found = vectors(subject.make().run(documents)["documents"])
    assert_same(found, [subject.embed(subject.make(), text) for text in TEXTS])


@over(*THAT_TAKE_DOCUMENTS, flaws=(MOCK_DOCUMENTS,))
def test_documents_without_anything_to_embed_get_no_vector(
    subject: Subject, caplog: pytest.LogCaptureFixture
) -> None:
    """Others embed the empty string for them. They are counted, and one warning says so."""
    nothing = Document(content=None, meta={"title": None, "other": "x"})
    titled = Document(content=None, meta={"title": 0})
    documents = [nothing, Document(content="a"), titled, nothing, Document(content="")]
    embedder = subject.make(meta_fields_to_embed=["title"], embedding_separator=": ")
    found = embedder.run(documents)
    assert [one.embedding is None for one in found["documents"]] == [
        True,
        False,
        False,
        True,
        False,
    ]
    assert_same(found["documents"][2].embedding, subject.embed(subject.make(), "0: "))
    assert found["meta"]["skipped"] == 2
    assert [one.levelname for one in caplog.records].count("WARNING") == 1
    assert "2 documents have neither content nor metadata" in caplog.text


@over(*THAT_TAKE_DOCUMENTS)
def test_no_documents_give_none_and_the_same_meta(subject: Subject) -> None:
    embedder = subject.make()
    nothing, something = embedder.run([]), embedder.run([Document(content="a")])
    assert nothing["documents"] == []
    assert nothing["meta"].keys() == something["meta"].keys()
    assert nothing["meta"]["usage"] == {"prompt_tokens": 0, "total_tokens": 0}


@pytest.mark.parametrize("late", [False, True])
def test_meta_of_documents_in_full(late: bool, demo: Engine) -> None:
    documents = [Document(content=text) for text in TEXTS] + [Document(content=None)]
    embedder = DOCUMENTS.make(dimensions=100, late_chunking=late)
    n_tokens = int(demo.embed(TEXTS, task="retrieval.passage").token_counts.sum())
    expected: dict[str, Any] = {
        "model": "demo",
        "task": "retrieval.passage",
        "dimensions": 100,
        "usage": {"prompt_tokens": n_tokens, "total_tokens": n_tokens},
        "truncated": 0,
        "windowed": 0,
        "skipped": 1,
    }
    zeros = {"sources": 0, "windows": 0, "unmapped": 0}
    found, nothing = embedder.run(documents)["meta"], embedder.run([])["meta"]
    assert found.keys() == nothing.keys() == expected.keys() | ({"late_chunking"} if late else ())
    assert nothing.get("late_chunking", zeros) == zeros
    found.pop("late_chunking", None)
    assert found == expected


def test_meta_of_a_text_in_full(demo: Engine) -> None:
    n_tokens = int(demo.embed(["a b c"], task="retrieval.query").token_counts[0])
    assert TEXT.make().run("a b c")["meta"] == {
        "model": "demo",
        "task": "retrieval.query",
        "dimensions": 256,
        "usage": {"prompt_tokens": n_tokens, "total_tokens": n_tokens},
        "truncated": 0,
        "windowed": 0,
    }


@pytest.mark.parametrize(("batch_size", "sizes"), [(1, [1] * 4), (3, [3, 1]), (32, [4])])
def test_the_engine_gets_no_more_than_a_batch_at_once(
    batch_size: int, sizes: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []
    embed = Engine.embed

    def counting(self: Engine, texts: Any, **options: Any) -> Embeddings:
        calls.append(len(texts))
        return embed(self, texts, **options)

    whole = DOCUMENTS.make().run([Document(content=text) for text in TEXTS])
    monkeypatch.setattr(Engine, "embed", counting)
    found = DOCUMENTS.make(batch_size=batch_size).run([Document(content=text) for text in TEXTS])
    assert calls == sizes
    assert_same(vectors(found["documents"]), vectors(whole["documents"]))
    assert found["meta"] == whole["meta"]


@given(texts=st.lists(st.sampled_from([*TEXTS, "", "b"]), max_size=8), batch_size=st.integers(1, 4))
def test_a_vector_is_its_texts_wherever_it_stands(texts: list[str], batch_size: int) -> None:
    embedder = DOCUMENTS.make(batch_size=batch_size, dimensions=64)
    found = vectors(embedder.run([Document(content=text) for text in texts])["documents"])
    alone = {text: DOCUMENTS.embed(embedder, text) for text in set(texts)}
    assert_same(found, [alone[text] for text in texts])


@pytest.mark.parametrize("shown", [True, False])
def test_the_progress_bar_can_be_switched_off(
    shown: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    DOCUMENTS.make(progress_bar=shown).run([Document(content="a"), Document(content=None)])
    assert ("Calculating embeddings: 100%" in capsys.readouterr().err) is shown


# Texts longer than the model

QUERY, PASSAGE = "retrieval.query", "retrieval.passage"
COUNTED = {"truncate": "truncated", "window": "windowed"}


@pytest.fixture(scope="module")
def short_model(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """A model that takes few tokens."""
    folder = tmp_path_factory.mktemp("short")
    write_tiny(folder, config=TinyConfig(max_positions=160))
    with Engine.load(folder, device="cpu") as loaded:
        yield loaded


@pytest.mark.parametrize("subject", OURS, ids=["text", "documents"])
@pytest.mark.parametrize(("task", "on_overflow"), [(QUERY, None), (PASSAGE, "error")])
def test_long_texts_are_refused(
    subject: Subject, task: str, on_overflow: str | None, short_model: Engine
) -> None:
    embedder = subject.make(model=short_model.source, task=task, on_overflow=on_overflow)
    limit = short_model.max_tokens
    with pytest.raises(ValueError, match=rf"\d tokens .*the model takes {limit}.*on_overflow="):
        subject.embed(embedder, LONG)


@pytest.mark.parametrize(
    ("task", "on_overflow", "effective"),
    [
        (PASSAGE, None, "window"),
        (QUERY, "window", "window"),
        (QUERY, "truncate", "truncate"),
        (PASSAGE, "truncate", "truncate"),
    ],
)
def test_long_texts_are_cut_or_windowed_and_one_warning_says_so(
    task: str,
    on_overflow: Any,
    effective: Any,
    short_model: Engine,
    caplog: pytest.LogCaptureFixture,
) -> None:
    options = {"model": short_model.source, "task": task, "on_overflow": on_overflow}
    texts = [LONG, "short", LONG + "b", LONG]
    expected = short_model.embed(texts, task=task, on_overflow=effective)
    zeros = dict.fromkeys(COUNTED.values(), 0)

    found = TEXT.make(**options).run(LONG)
    assert_same(found["embedding"], expected.vectors[0])
    assert found["meta"].items() >= (zeros | {COUNTED[effective]: 1}).items()
    assert found["meta"]["usage"]["prompt_tokens"] == expected.token_counts[0]
    (warning,) = [one.getMessage() for one in caplog.records if one.levelname == "WARNING"]
    assert warning.startswith("1 texts are longer than the model takes")
    caplog.clear()

    found = DOCUMENTS.make(**options, batch_size=2).run([Document(content=text) for text in texts])
    assert_same(vectors(found["documents"]), expected.vectors)
    assert found["meta"].items() >= (zeros | {COUNTED[effective]: 3}).items()
    assert found["meta"]["usage"]["prompt_tokens"] == sum(expected.token_counts)
    (warning,) = [one.getMessage() for one in caplog.records if one.levelname == "WARNING"]
    assert warning.startswith("3 texts are longer than the model takes")


# Lifecycle, as far as anyone can see it; the rest is in test_haystack_lifecycle


@over(*OURS, *MOCKS, flaws=MOCKS, error=AttributeError)
def test_embedders_can_be_closed_and_used_again(subject: Subject) -> None:
    """Others have nothing with which to let go of what they hold."""
    embedder = subject.make()
    before = subject.embed(embedder, "a")
    embedder.close()
    embedder.close()
    assert subject.embed(embedder, "a") == before
