"""Ingestion with a docstore: what changed is embedded anew, and nothing else; in processes, too."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

pytest.importorskip("llama_index.core")
pytest.importorskip("llama_index.vector_stores.qdrant")

from hypothesis import given, settings
from hypothesis import strategies as st
from llama_index.core import Document
from llama_index.core.ingestion import DocstoreStrategy, IngestionPipeline
from llama_index.core.node_parser import TokenTextSplitter
from llama_index.core.storage.docstore import SimpleDocumentStore
from llama_index.embeddings.jina_local import JinaLateChunkSplitter, JinaV3Embedding
from llama_index.vector_stores.qdrant import QdrantVectorStore
from qdrant_client import AsyncQdrantClient, QdrantClient

from jina_local import Engine
from support.llama import assert_same, by_text, demo_embedding, ingest, sentence_splitter
from support.llama_stores import SOURCES, Embedded, Oracle, document, documents, in_points

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


pytestmark = pytest.mark.filterwarnings("ignore:Payload indexes have no effect:UserWarning")

DIMENSIONS = 64
SPLITTING = {"chunk_size": 16}
CHANGED = SOURCES["bread"] + " Rye bread is baked for longer."


@pytest.fixture(scope="module")
def embedded() -> Iterator[Embedded]:
    made = Embedded()
    with pytest.MonkeyPatch.context() as patch:
        made.watch(Engine, patch.setattr)
        yield made


def splitter() -> Any:
    return sentence_splitter(**SPLITTING)


def embedding() -> JinaV3Embedding:
    return demo_embedding(dimensions=DIMENSIONS, late_chunking=True)


ROADS: dict[str, Callable[[], list[Any]]] = {
    "splitter, model": lambda: [splitter(), embedding()],
    "late splitter": lambda: [JinaLateChunkSplitter(splitter=splitter(), embed_model=embedding())],
}


class Ingestion:
    """A pipeline into Qdrant in memory, with a docstore.

    Args:
        strategy: What becomes of documents that are there already.
        road: How vectors are made.
        is_async: Whether it runs in an event loop.
    """

    def __init__(
        self, strategy: DocstoreStrategy, road: str = "splitter, model", *, is_async: bool = False
    ) -> None:
        self.client: Any = (AsyncQdrantClient if is_async else QdrantClient)(":memory:")
        self.is_async = is_async
        self.pipeline = IngestionPipeline(
            transformations=ROADS[road](),
            docstore=SimpleDocumentStore(),
            docstore_strategy=strategy,
            vector_store=QdrantVectorStore(
                "docs", **{"aclient" if is_async else "client": self.client}
            ),
            disable_cache=True,
        )

    def run(self, sources: list[Document]) -> None:
        if self.is_async:
            asyncio.run(self.pipeline.arun(documents=sources))
        else:
            self.pipeline.run(documents=sources)

    def stored(self) -> dict[tuple[str | None, str], list[float]]:
        found = self.client.scroll("docs", limit=1000, with_vectors=True)
        points, _ = asyncio.run(found) if self.is_async else found
        return in_points(points)


@pytest.mark.parametrize("is_async", [False, True], ids=["run", "arun"])
@pytest.mark.parametrize("road", ROADS)
def test_upserts_embed_what_changed(
    road: str, is_async: bool, demo: Engine, embedded: Embedded
) -> None:
    ingestion = Ingestion(DocstoreStrategy.UPSERTS, road, is_async=is_async)
    ingestion.run(documents())
    oracle = Oracle(demo, DIMENSIONS, True)
    assert_same(ingestion.stored(), oracle.vectors(documents(), **SPLITTING))

    embedded.clear()
    ingestion.run(documents())
    assert embedded.documents == []

    changed = documents()
    changed[1] = document("bread", CHANGED)
    ingestion.run(changed)
    assert (embedded.documents, embedded.queries) == ([CHANGED], [])
    assert_same(ingestion.stored(), oracle.vectors(changed, **SPLITTING))

    embedded.clear()
    ingestion.run([document("cats", "Cats purr. A kitten drinks milk."), changed[0]])
    assert embedded.documents == ["Cats purr. A kitten drinks milk."]
    assert {ref for ref, _ in ingestion.stored()} == {"lisbon", "bread", "boats", "cats"}


@pytest.mark.parametrize("is_async", [False, True], ids=["run", "arun"])
def test_upserts_with_deletion_leave_what_is_given(
    is_async: bool, demo: Engine, embedded: Embedded
) -> None:
    ingestion = Ingestion(DocstoreStrategy.UPSERTS_AND_DELETE, is_async=is_async)
    ingestion.run(documents())
    embedded.clear()
    left = [documents()[0], document("bread", CHANGED)]
    ingestion.run(left)
    assert embedded.documents == [CHANGED]
    expected = Oracle(demo, DIMENSIONS, True).vectors(left, **SPLITTING)
    assert_same(ingestion.stored(), expected)


@pytest.mark.parametrize("is_async", [False, True], ids=["run", "arun"])
def test_duplicates_are_not_embedded(is_async: bool, demo: Engine, embedded: Embedded) -> None:
    """What is the same under another id neither; what changed comes beside what it was."""
    ingestion = Ingestion(DocstoreStrategy.DUPLICATES_ONLY, is_async=is_async)
    ingestion.run(documents())
    before = ingestion.stored()
    embedded.clear()
    ingestion.run(documents())
    assert embedded.documents == []
    assert_same(ingestion.stored(), before)
    ingestion.run([*documents(), document("rye", CHANGED)])
    assert embedded.documents == [CHANGED]
    new = Oracle(demo, DIMENSIONS, True).vectors([document("rye", CHANGED)], **SPLITTING)
    assert_same(ingestion.stored(), before | new)


names = st.sampled_from(["a", "b", "c", "d"])
a_text = st.lists(
    st.sampled_from(["Cats purr.", "Bread rests.", "The wind has turned.", "Trams are yellow."]),
    min_size=1,
    max_size=4,
    unique=True,
).map(" ".join)
versions = st.lists(st.dictionaries(names, a_text, min_size=1), min_size=1, max_size=4)


@settings(max_examples=20)
@given(versions=versions)
def test_after_any_number_of_versions_the_store_has_the_last_one(
    versions: list[dict[str, str]], demo: Engine, embedded: Embedded
) -> None:
    """And each run has embedded what is not as it was in the run before, once."""
    ingestion = Ingestion(DocstoreStrategy.UPSERTS_AND_DELETE)
    oracle = Oracle(demo, DIMENSIONS, True)
    before: dict[str, str] = {}
    for version in versions:
        embedded.clear()
        sources = [document(name, text) for name, text in version.items()]
        ingestion.run(sources)
        new = [text for name, text in version.items() if before.get(name) != text]
        assert sorted(embedded.documents) == sorted(new)
        assert_same(ingestion.stored(), oracle.vectors(sources, **SPLITTING))
        before = version


# In processes

IN_PROCESSES = """
import asyncio, json, sys
from llama_index.core import Document
from llama_index.core.ingestion import IngestionPipeline
from llama_index.core.node_parser import TokenTextSplitter
from support.llama import demo_embedding

def main():
    given = json.load(sys.stdin)
    documents = [Document(text=text, id_=name) for name, text in given["sources"].items()]
    model = demo_embedding(late_chunking=True)
    asyncio.run(model.aget_text_embedding("a"))  # a model, and a thread that embeds
    pipeline = IngestionPipeline(
        transformations=[TokenTextSplitter(chunk_size=16, chunk_overlap=0), model],
        disable_cache=True,
    )
    if given["way"] == "run":
        nodes = pipeline.run(documents=documents, num_workers=2)
    else:
        nodes = asyncio.run(pipeline.arun(documents=documents, num_workers=2))
    print(json.dumps([[node.ref_doc_id, node.text, node.embedding] for node in nodes]))

if __name__ == "__main__":
    main()
"""


@pytest.mark.parametrize("way", ["run", "arun"])
def test_worker_processes_make_the_same_vectors(way: str, tmp_path: Path) -> None:
    """`run` starts new ones, and `arun` forks; a process that hangs is ended, and seen."""
    script = tmp_path / "ingest.py"  # a file, since new processes import what started them
    script.write_text(IN_PROCESSES)
    given = {"sources": SOURCES, "way": way}
    process = subprocess.Popen(
        [sys.executable, str(script)],
        env=os.environ
        | {
            "PYTHONPATH": os.pathsep.join([*sys.path, str(Path(__file__).parents[2])]),
            "OMP_NUM_THREADS": "1",
            "HF_HUB_OFFLINE": "1",
        },
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        stdout, stderr = process.communicate(json.dumps(given), timeout=120)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)  # workers that hang do not end with who made them
        process.communicate()
        pytest.fail(f"{way} hangs")
    assert process.returncode == 0, stderr
    found = {(ref, text): vector for ref, text, vector in json.loads(stdout.splitlines()[-1])}
    split = TokenTextSplitter(chunk_size=16, chunk_overlap=0)
    sources = [Document(text=text, id_=name) for name, text in SOURCES.items()]
    expected = by_text(ingest(sources, split, demo_embedding(late_chunking=True)))
    assert len(expected) > 2 * len(SOURCES)
    assert_same(found, expected, atol=1e-6)
