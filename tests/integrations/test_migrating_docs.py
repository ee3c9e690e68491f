"""docs/migrating.md is true: its code runs as it stands, and prints what is printed below it."""

from __future__ import annotations

import ast
import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from qdrant_client import QdrantClient, models

from jina_local import vectors
from jina_local_qdrant import EmbeddingSpec, JinaQdrant
from jina_local_qdrant.errors import (
    MigrationRefusedError,
    UnmanagedCollectionError,
    VerificationError,
)
from jina_local_qdrant.migration import AliasSearch, DualWriter, Migration, PayloadFields
from support.fences import fences, run_fences

if TYPE_CHECKING:
    from jina_local import Engine

    from .conftest import Cli

DOCUMENT = Path(__file__).parents[2] / "docs" / "migrating.md"
TEXT = DOCUMENT.read_text(encoding="utf-8")
FIELDS = PayloadFields(text="text", document="article", order="part")


@pytest.fixture(scope="module")
def names(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the document's code defines, once all of it was run and printed what it should."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("docs"))
        return run_fences(DOCUMENT)


def old_collection(names: dict[str, Any], client: QdrantClient) -> Any:
    """The document's old collection in a store of its own, and what writes it."""
    client.create_collection(
        "articles", models.VectorParams(size=768, distance=models.Distance.COSINE)
    )
    # the document's class writes with the client that its code has at hand
    names["client"] = client
    old = names["OldArticles"]()
    old.ingest([{"id": "lisbon", "parts": ["Lisbon lies on hills.", "The city has trams."]}])
    return old


def test_what_the_document_promises_of_the_steps(names: dict[str, Any], demo: Engine) -> None:
    """Writes are refused before and after, a switch without verification; the rest is readable."""
    client = QdrantClient(":memory:")
    old = old_collection(names, client)
    migration = Migration(client, "articles", "new", demo, EmbeddingSpec(), fields=FIELDS)
    writer = DualWriter(migration, old)
    with pytest.raises(MigrationRefusedError, match="has begun"):
        writer.delete("lisbon")
    migration.run()
    assert client.collection_exists("new-migration")
    with pytest.raises(VerificationError):
        migration.switch("live")
    old.ingest([{"id": "past", "parts": ["Written past the writer."]}])
    assert not migration.verify().ok
    migration.run()
    assert migration.verify().ok
    migration.switch("live")
    writer.ingest([{"id": "late", "parts": ["Written after the switch."]}])
    migration.rollback()
    with pytest.raises(VerificationError, match="verify"):
        migration.switch("live")
    migration.run()
    assert migration.verify().ok
    migration.switch("live")
    migration.finalize(delete="articles")
    assert not client.collection_exists("new-migration")
    with pytest.raises(MigrationRefusedError, match="finished"):
        writer.delete("late")
    found = AliasSearch(client, "live", demo).search("anything", limit=10)
    assert {point.payload["article"] for point in found if point.payload} == {
        "lisbon",
        "past",
        "late",
    }
    with pytest.raises(UnmanagedCollectionError, match="was migrated and keeps"):
        JinaQdrant(client, "new", demo)
    with pytest.raises(MigrationRefusedError, match="alias"):
        Migration("edge:folder", "articles", "new", demo)  # type: ignore[arg-type]


def test_commands_do_what_the_code_does(
    names: dict[str, Any], cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every command of the document succeeds in its order, with a folder and the demo model."""
    monkeypatch.chdir(tmp_path)
    client = QdrantClient(path="index")
    old_collection(names, client)
    alias = models.CreateAlias(collection_name="articles", alias_name="articles-live")
    client.update_collection_aliases([models.CreateAliasOperation(create_alias=alias)])
    client.close()
    here = {"http://localhost:6333": "index", "jinaai/jina-embeddings-v3": "demo", "512": "128"}
    (commands,) = (fence.content for fence in fences(DOCUMENT) if fence.info == "console")
    lines = commands.replace("\\\n", " ").replace("$ jina-local", "").splitlines()
    for line in lines:
        cli(*[here.get(word, word) for word in shlex.split(line, comments=True)])
    assert {line.split()[1] for line in lines} == {
        "plan",
        "run",
        "verify",
        "switch",
        "rollback",
        "finalize",
    }
    client = QdrantClient(path="index")
    assert [one.name for one in client.get_collections().collections] == ["articles-v3"]
    assert [one.alias_name for one in client.get_aliases().aliases] == ["articles-live"]
    assert client.count("articles-v3").count == 2
    client.close()


def test_every_way_has_code_before_and_after() -> None:
    """Code that is not run is Python all the same, and is followed by code that is run."""
    blocks = [fence for fence in fences(DOCUMENT) if fence.info.startswith("python")]
    infos = [fence.info for fence in blocks]
    assert set(infos) == {"python", "python notest"}
    for position, fence in enumerate(blocks):
        if fence.info == "python notest":
            ast.parse(fence.content)
            assert infos[position + 1] == "python"
    assert infos.count("python notest") == len(re.findall(r"^## [2-5]\.", TEXT, re.MULTILINE)) + 1


def test_links_lead_somewhere() -> None:
    headings = re.findall(r"^#+ (.+)$", TEXT, re.MULTILINE)
    anchors = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
    targets = re.findall(r"\]\((?!https?:)([^)]+)\)", TEXT)
    assert targets
    for target in targets:
        path, _, anchor = target.partition("#")
        assert (DOCUMENT.parent / path).exists()
        assert path or anchor in anchors, target


def test_functions_that_are_named_are_there(names: dict[str, Any]) -> None:
    encodings = set(re.findall(r"`(to_\w+)`", TEXT))
    assert encodings == {"to_base64", "to_binary", "to_ubinary"}
    assert encodings <= set(vectors.__all__)
    methods = set(re.findall(r"`(?:Engine\.)?(e(?:mbed|ncode)\w*)\(", TEXT)) - {"encode_query"}
    assert methods <= set(dir(names["engine"]))


def test_the_licence_and_what_the_demo_is_come_before_the_code() -> None:
    for said in ("CC BY-NC 4.0", "**not** jina-embeddings-v3", "No real Qdrant server"):
        assert said in TEXT
    assert TEXT.index("CC BY-NC 4.0") < TEXT.index("```")
    assert TEXT.index("**not** jina-embeddings-v3") < TEXT.index("```")
