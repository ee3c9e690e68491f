"""What a migration refuses, in which words, and that nothing was written before."""

from __future__ import annotations

import re
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from qdrant_client import QdrantClient, models

from jina_local import Engine
from jina_local.errors import InvalidOptionError
from jina_local_qdrant import EmbeddingSpec, JinaQdrant
from jina_local_qdrant.errors import (
    CollectionNotFoundError,
    FingerprintMismatchError,
    MigrationRefusedError,
    VerificationError,
)
from jina_local_qdrant.layout import CollectionLayout
from jina_local_qdrant.migration import DualWriter, Migration, PayloadFields
from support.checkpoints import TINY, write_tiny
from support.crashing import ServerLike

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

FIELDS = PayloadFields(text="body.text", document="doc", order="no")
SPEC = EmbeddingSpec(dimensions=16)


@pytest.fixture(scope="module")
def other_weights(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """Another engine of the same sizes."""
    folder = tmp_path_factory.mktemp("other")
    write_tiny(folder, config=TINY, seed=1)
    with Engine.load(folder, device="cpu") as loaded:
        yield loaded


def chunk(id_: int, doc: str, no: object, text: object = "A city of Germany.") -> Any:
    payload = {"body": {"text": text}, "doc": doc, "no": no, "title": f"of {doc}"}
    return models.PointStruct(id=id_, vector=[1.0, 0.5], payload=payload)


POINTS = [chunk(1, "a", 0), chunk(2, "a", 1), chunk(3, "b", 0)]


def write(client: QdrantClient, points: list[Any], name: str = "old") -> None:
    params = models.VectorParams(size=2, distance=models.Distance.COSINE)
    client.create_collection(name, vectors_config=params)
    client.upsert(name, points)


@pytest.fixture
def client() -> QdrantClient:
    """A few chunks in a collection that some other program wrote."""
    opened = QdrantClient(":memory:")
    write(opened, POINTS)
    return opened


def everything(client: QdrantClient) -> Any:
    """All collections with all points and vectors, and all aliases."""
    names = sorted(one.name for one in client.get_collections().collections)
    return client.get_aliases().model_dump(), {
        name: (
            client.get_collection(name).config.model_dump(),
            client.scroll(name, limit=1000, with_vectors=True),
        )
        for name in names
    }


@contextmanager
def refused(client: QdrantClient, error: type[Exception], *parts: str) -> Iterator[None]:
    """An error whose message has all parts, and a store that is as it was before.

    Args:
        client: The store.
        error: Its type.
        parts: What its message says.
    """
    before = everything(client)
    with pytest.raises(error) as caught:
        yield
    for part in parts:
        assert part in str(caught.value)
    assert everything(client) == before


def migration(client: Any, engine: Engine, **options: Any) -> Migration:
    chosen: dict[str, Any] = {"spec": SPEC, "fields": FIELDS, **options}
    return Migration(client, "old", "new", engine, **chosen)


def filled(client: Any, engine: Engine, **options: Any) -> Migration:
    begun = migration(client, engine, **options)
    begun.run()
    assert begun.verify().ok
    return begun


def let_name(client: QdrantClient, alias: str, collection: str) -> None:
    name = models.CreateAlias(collection_name=collection, alias_name=alias)
    client.update_collection_aliases([models.CreateAliasOperation(create_alias=name)])


# Where the text is


@pytest.mark.parametrize("fields", [None, PayloadFields(text="content")], ids=["none", "another"])
def test_without_a_text_field_the_fields_with_strings_are_listed(
    client: QdrantClient, engine: Engine, fields: PayloadFields | None
) -> None:
    """The message names what could be meant, with how many points have it."""
    client.upsert("old", [models.PointStruct(id=4, vector=[1, 0], payload={"n": 1})])
    listed = "in how many of 4 points: 'body.text' (3), 'doc' (3), 'title' (3)"
    said = "PayloadFields(text=…)" if fields is None else "payload field 'content'"
    with refused(client, MigrationRefusedError, "'old'", said, listed):
        migration(client, engine, fields=fields)


def test_without_any_string_that_is_said(client: QdrantClient, engine: Engine) -> None:
    write(client, [models.PointStruct(id=1, vector=[1, 0], payload={"n": [1]})], "numbers")
    with refused(client, MigrationRefusedError, "no payload field holds a string"):
        Migration(client, "numbers", "new", engine)


@pytest.mark.parametrize("fields", ["langchain", "Haystack"])
def test_a_store_that_is_not_known(client: QdrantClient, engine: Engine, fields: str) -> None:
    parts = (f"fields is '{fields}'", "['haystack', 'llama-index']", "PayloadFields(text=…)")
    with refused(client, InvalidOptionError, *parts):
        migration(client, engine, fields=fields)


@pytest.mark.parametrize(
    ("fields", "part"),
    [
        (PayloadFields(text=""), "text is ''; give the name of a payload field"),
        (PayloadFields(text="t", document="."), "document is '.'"),
        (PayloadFields(text="t", order="no"), "give document, too"),
        (PayloadFields(text="t", document="d", overlaps=1), "overlaps is 1"),  # type: ignore[arg-type]
    ],
    ids=["empty", "dots", "no document", "overlaps"],
)
def test_names_of_fields_that_are_none(
    client: QdrantClient, engine: Engine, fields: PayloadFields, part: str
) -> None:
    with refused(client, InvalidOptionError, part):
        migration(client, engine, fields=fields)


@pytest.mark.parametrize(
    "fields",
    [PayloadFields(text="body.text"), PayloadFields(text="body.text", document="doc")],
    ids=["no document", "no order"],
)
def test_late_chunking_needs_document_and_order(
    client: QdrantClient, engine: Engine, fields: PayloadFields
) -> None:
    """It is refused, never replaced in silence; asked for, chunks are embedded alone."""
    asked = "PayloadFields(document=…, order=…)", "EmbeddingSpec(late_chunking=False)"
    with refused(client, MigrationRefusedError, *asked):
        migration(client, engine, fields=fields)
    alone = EmbeddingSpec(dimensions=16, late_chunking=False)
    assert filled(client, engine, fields=fields, spec=alone).verify().ok


@pytest.mark.parametrize("orders", [(0, 0), (0, None), (0, "1"), (0.5, 1), (True, 0)], ids=str)
def test_chunks_without_one_order(
    client: QdrantClient, engine: Engine, orders: tuple[object, object]
) -> None:
    """Named in the plan and refused by the run, before a point is written."""
    points = [chunk(i, "b", order) for i, order in enumerate(orders, 3)]
    client.upsert("old", points)
    parts = ("document 'b' has 2 chunks", "'no'", "EmbeddingSpec(late_chunking=False)")
    begun = migration(client, engine)
    [refusal] = begun.plan().refusals
    assert all(part in refusal for part in parts)
    with pytest.raises(MigrationRefusedError) as caught:
        begun.run()
    assert str(caught.value) == refusal
    assert client.count("new").count == 0


@pytest.mark.parametrize("linked", ["two firsts", "a circle", "two after one"])
def test_chunks_that_follow_no_single_chain(
    client: QdrantClient, engine: Engine, linked: str
) -> None:
    before = {
        "two firsts": [None, None, 5],
        "a circle": [7, 5, 6],
        "two after one": [None, 5, 5],
    }[linked]
    points = [chunk(i, "z", 0) for i in (5, 6, 7)]
    for point, previous in zip(points, before, strict=True):
        point.payload["before"] = previous
    client.upsert("old", points)
    fields = PayloadFields(text="body.text", document="doc", order="no", previous="before")
    with pytest.raises(MigrationRefusedError, match="'no' and 'before' do not put into one order"):
        migration(client, engine, fields=fields).run()


@pytest.mark.parametrize("doc", [["a"], {"id": 1}, True, 1.5], ids=str)
def test_a_document_that_is_named_by_neither_string_nor_integer(
    client: QdrantClient, engine: Engine, doc: Any
) -> None:
    client.upsert("old", [chunk(3, doc, 0)])
    with pytest.raises(InvalidOptionError, match=re.escape(f"payload field 'doc' is {doc!r}")):
        migration(client, engine).run()


# Texts that are missing


@pytest.mark.parametrize(
    ("text", "what"), [(None, "no"), (7, "no"), ("", "a blank"), (" \n", "a blank")], ids=str
)
def test_a_point_without_text(
    client: QdrantClient, engine: Engine, text: object, what: str
) -> None:
    """It is refused, unless it is said that such points stay behind."""
    client.upsert("old", [chunk(3, "b", 0, text)])
    parts = ("point 3", f"{what} text in payload field 'body.text'", "without_text='leave_out'")
    with refused(client, MigrationRefusedError, *parts):
        migration(client, engine).run()


@pytest.mark.parametrize("text", [None, 7, "", " \n"], ids=str)
def test_points_without_text_are_left_out_when_asked_for(
    client: QdrantClient, engine: Engine, text: object
) -> None:
    """All others are in the new collection, and the check says how many are not."""
    client.upsert("old", [chunk(2, "a", 1, text)])
    begun = migration(client, engine, without_text="leave_out")
    assert begun.run().written == 2
    check = begun.verify()
    assert (check.ok, check.source_points, check.left_out, check.target_points) == (True, 3, 1, 2)
    client.upsert("old", [chunk(3, "b", 0, text), chunk(2, "a", 1, "A text again.")])
    assert not begun.verify().ok
    begun.run()
    assert begun.verify().ok
    assert [point.id for point in client.scroll("new")[0]] == [1, 2]


def test_what_the_refusal_of_a_text_advises_is_allowed(
    client: QdrantClient, engine: Engine
) -> None:
    """Points can still be left out, or be mended, after the run that refused them."""
    client.upsert("old", [chunk(3, "b", 0, "")])
    with pytest.raises(MigrationRefusedError, match="leave_out"):
        migration(client, engine).run()
    assert filled(client, engine, without_text="leave_out").verify().left_out == 1
    assert Migration.open(client, "new", engine).verify().ok


@pytest.mark.parametrize("without_text", ["skip", None, True])
def test_what_becomes_of_points_without_text_is_one_of_two_things(
    client: QdrantClient, engine: Engine, without_text: object
) -> None:
    parts = (f"without_text is {without_text!r}", "'refuse' or 'leave_out'")
    with refused(client, InvalidOptionError, *parts):
        migration(client, engine, without_text=without_text)


# Collections


def test_a_source_that_is_not_there(client: QdrantClient, engine: Engine) -> None:
    with refused(client, CollectionNotFoundError, "no collection 'none' to migrate"):
        Migration(client, "none", "new", engine)


@pytest.mark.parametrize("n_points", [0, 1])
def test_a_target_that_is_there(client: QdrantClient, engine: Engine, n_points: int) -> None:
    write(client, POINTS[:n_points] or POINTS, "new")
    if not n_points:
        client.delete("new", models.FilterSelector(filter=models.Filter()))
    parts = ("a collection 'new' already", "choose another name, or delete it first")
    with refused(client, MigrationRefusedError, *parts):
        migration(client, engine)


def test_a_target_that_is_the_source_or_an_alias(client: QdrantClient, engine: Engine) -> None:
    write(client, POINTS, "third")
    let_name(client, "live", "old")
    let_name(client, "new", "third")
    with refused(client, MigrationRefusedError, "source and target are both 'old'"):
        Migration(client, "live", "old", engine, fields=FIELDS)
    with refused(client, MigrationRefusedError, "'new' is an alias of 'third'", "`switch`"):
        migration(client, engine)


@pytest.mark.parametrize("source", ["old", "new-migration"])
def test_notes_are_never_written_into_a_collection_of_somebody_else(
    client: QdrantClient, engine: Engine, source: str
) -> None:
    """Or else it would be deleted at the end."""
    write(client, POINTS, "new-migration")
    with refused(client, MigrationRefusedError, "'new-migration'", "points of something else"):
        Migration(client, source, "new", engine, fields=FIELDS)


def test_a_folder_has_no_aliases(engine: Engine, tmp_path: Any) -> None:
    place: Any = f"edge:{tmp_path}"
    with pytest.raises(MigrationRefusedError, match=r"client is .edge:.*ends with an alias"):
        Migration(place, "old", "new", engine)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("vector", [None, "sparse", "many", "none"])
def test_several_vectors_of_which_one_is_meant(engine: Engine, vector: str | None) -> None:
    client = QdrantClient(":memory:")
    plain = models.VectorParams(size=2, distance=models.Distance.COSINE)
    max_sim = models.MultiVectorConfig(comparator=models.MultiVectorComparator.MAX_SIM)
    many = plain.model_copy(update={"multivector_config": max_sim})
    client.create_collection(
        "old",
        vectors_config={"text": plain, "image": plain, "many": many},
        sparse_vectors_config={"sparse": models.SparseVectorParams()},
    )
    point = chunk(1, "a", 0)
    point.vector = {"text": point.vector}
    client.upsert("old", [point])
    with refused(client, MigrationRefusedError, "'old'", "['image', 'text'] with vector="):
        migration(client, engine, vector=vector)


@pytest.mark.parametrize(
    ("layout", "name"),
    [
        (CollectionLayout(coarse_dimensions=8), "coarse_dimensions"),
        (CollectionLayout(tenants=True), "tenants"),
    ],
    ids=["coarse", "tenants"],
)
def test_what_only_this_helper_can_read(
    client: QdrantClient, engine: Engine, layout: CollectionLayout, name: str
) -> None:
    """Whoever reads such a collection today does not know vectors of other names."""
    with refused(client, MigrationRefusedError, f"{name} is for collections of this helper"):
        migration(client, engine, layout=layout)


def test_dimensions_that_the_model_has_not(client: QdrantClient, engine: Engine) -> None:
    with refused(client, InvalidOptionError, "dimensions"):
        migration(client, engine, spec=EmbeddingSpec(dimensions=engine.dimension + 1))


def test_tenants_stay_tenants(engine: Engine) -> None:
    server: Any = ServerLike(client := QdrantClient(":memory:"))
    layout = CollectionLayout(tenants=True)
    JinaQdrant(server, "old", engine, SPEC, layout=layout, tenant="t").ingest(
        [{"id": "a", "text": "A city."}]
    )
    with refused(client, MigrationRefusedError, "tenants is False, but in the old collection"):
        Migration(server, "old", "new", engine, layout=CollectionLayout())


# Settings of then


OTHER: dict[str, tuple[dict[str, Any], str]] = {
    "dimensions": ({"spec": EmbeddingSpec(dimensions=32)}, "dimensions: 16 in the collection, 32"),
    "late chunking": (
        {"spec": EmbeddingSpec(dimensions=16, late_chunking=False)},
        "late_chunking: ",
    ),
    "fields": (
        {"fields": PayloadFields(text="title", document="doc", order="no")},
        "fields: ",
    ),
    "layout": ({"layout": CollectionLayout(storage="float16")}, "layout: "),
}


@pytest.mark.parametrize("name", OTHER)
def test_other_settings_than_begun_with(client: QdrantClient, engine: Engine, name: str) -> None:
    """Vectors of two kinds never meet in the new collection, not even after an interruption."""

    def stop(_: object) -> None:
        raise StoppedError

    with pytest.raises(StoppedError):
        migration(client, engine).run(progress=stop)
    options, part = OTHER[name]
    with refused(client, FingerprintMismatchError, "collection 'new'", part):
        migration(client, engine, **options)
    migration(client, engine).run()


class StoppedError(Exception):
    """An interruption."""


def test_other_weights_than_begun_with(
    client: QdrantClient, engine: Engine, other_weights: Engine
) -> None:
    migration(client, engine).run()
    parts = ("weights: ", engine.weights_id, other_weights.weights_id)
    with refused(client, FingerprintMismatchError, *parts):
        migration(client, other_weights)
    with refused(client, FingerprintMismatchError, *parts):
        Migration.open(client, "new", other_weights)


def test_another_source_than_begun_with(client: QdrantClient, engine: Engine) -> None:
    migration(client, engine).run()
    write(client, POINTS, "third")
    with refused(client, FingerprintMismatchError, "source: 'old' in the collection, 'third'"):
        Migration(client, "third", "new", engine, SPEC, fields=FIELDS)


# The order of steps


STEPS: dict[str, Callable[[Migration], object]] = {
    "verify": lambda one: one.verify(),
    "switch": lambda one: one.switch("live"),
    "ingest": lambda one: DualWriter(one, Never()).ingest([{"id": "a"}]),
    "delete": lambda one: DualWriter(one, Never()).delete("a"),
}


class Never:
    """An old writer that must not be called."""

    def ingest(self, documents: list[object], /) -> object:
        raise AssertionError(documents)

    def delete(self, doc_ids: list[str], /) -> object:
        raise AssertionError(doc_ids)


@pytest.mark.parametrize("name", STEPS)
def test_steps_before_the_first_run(client: QdrantClient, engine: Engine, name: str) -> None:
    """Nothing is noted anywhere, and the old collection is not written either."""
    with refused(client, MigrationRefusedError, "no migration to 'new' has begun"):
        STEPS[name](migration(client, engine))
    with refused(client, MigrationRefusedError, "no migration to 'new' has begun"):
        Migration.open(client, "new", engine)


@pytest.mark.parametrize("name", ["rollback", "finalize"])
@pytest.mark.parametrize("when", ["before a run", "after a run", "after a rollback"])
def test_there_is_no_way_back_from_where_nobody_went(
    client: QdrantClient, engine: Engine, name: str, when: str
) -> None:
    begun = migration(client, engine) if when == "before a run" else filled(client, engine)
    if when == "after a rollback":
        begun.switch("live")
        begun.rollback()
    message = "no migration" if when == "before a run" else "not switched away from 'old'"
    with refused(client, MigrationRefusedError, message):
        begun.rollback() if name == "rollback" else begun.finalize()


def test_no_switch_before_a_check(client: QdrantClient, engine: Engine) -> None:
    begun = migration(client, engine)
    begun.run()
    with refused(client, VerificationError, "'new' was not found to be right", "verify"):
        begun.switch("live")


def test_no_switch_after_a_check_that_failed(client: QdrantClient, engine: Engine) -> None:
    """Also if an earlier one had passed."""
    begun = filled(client, engine)
    client.delete("new", [1])
    assert not begun.verify().ok
    with refused(client, VerificationError, "'new' was not found to be right"):
        begun.switch("live")


def test_no_switch_after_a_check_of_a_part(client: QdrantClient, engine: Engine) -> None:
    """A run that was interrupted leaves documents out, which the check says, too."""
    begun = migration(client, engine)

    def stop(_: object) -> None:
        raise StoppedError

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(begun.source), "page", _pages_of_one(type(begun.source).page))
        with pytest.raises(StoppedError):
            begun.run(progress=stop)
        check = begun.verify()
    assert check.behind.number == 1
    with refused(client, VerificationError, "'new' was not found to be right"):
        begun.switch("live")


def _pages_of_one(page: Any) -> Any:
    return lambda *args, **kwargs: page(*args, **{**kwargs, "limit": 1})


def test_no_switch_after_a_later_run(client: QdrantClient, engine: Engine) -> None:
    """What was checked is another collection than there is now."""
    begun = filled(client, engine)
    client.upsert("old", [chunk(3, "b", 0, "another text")])
    assert begun.run().changed
    with refused(client, VerificationError, "since it was last filled"):
        begun.switch("live")
    begun.verify()
    begun.switch("live")


def test_no_switch_when_the_source_has_changed_since(client: QdrantClient, engine: Engine) -> None:
    """A write that nobody told the migration of is found by the check."""
    begun = filled(client, engine)
    client.upsert("old", [chunk(4, "b", 1)])
    check = begun.verify()
    assert check.behind.number == 1
    assert "run the migration again" in check.problems()[0]
    with refused(client, VerificationError, "'new' was not found to be right"):
        begun.switch("live")


@pytest.mark.parametrize("alias", ["old", "new", "third"])
def test_an_alias_that_is_a_collection(client: QdrantClient, engine: Engine, alias: str) -> None:
    write(client, POINTS, "third")
    begun = filled(client, engine)
    parts = (f"alias '{alias}' is the name of a collection", "choose a new name")
    with refused(client, MigrationRefusedError, *parts):
        begun.switch(alias)


def test_an_alias_of_another_collection(client: QdrantClient, engine: Engine) -> None:
    write(client, POINTS, "third")
    let_name(client, "live", "third")
    begun = filled(client, engine)
    parts = ("alias 'live' names collection 'third'", "('new', 'old')", "choose another alias")
    with refused(client, MigrationRefusedError, *parts):
        begun.switch("live")


def test_no_run_after_the_switch(client: QdrantClient, engine: Engine) -> None:
    """The new collection is the one that is written now: the old one is not right any more."""
    begun = filled(client, engine)
    begun.switch("live")
    parts = ("alias 'live' names the new collection already", "roll the migration back")
    with refused(client, MigrationRefusedError, *parts):
        begun.run()
    begun.rollback()
    begun.run()


@pytest.mark.parametrize("delete", ["new", "live", "OLD", ""])
def test_only_the_old_collection_is_deleted_and_only_by_its_name(
    client: QdrantClient, engine: Engine, delete: str
) -> None:
    begun = filled(client, engine)
    begun.switch("live")
    parts = (f"delete is {delete!r}", "the old collection of this migration is 'old'")
    with refused(client, MigrationRefusedError, *parts):
        begun.finalize(delete=delete)


def test_the_collection_that_searches_use_is_not_deleted(
    client: QdrantClient, engine: Engine
) -> None:
    """Somebody let the alias name the old collection again, by hand."""
    begun = filled(client, engine)
    begun.switch("live")
    drop = models.DeleteAliasOperation(delete_alias=models.DeleteAlias(alias_name="live"))
    client.update_collection_aliases([drop])
    let_name(client, "live", "old")
    with refused(client, MigrationRefusedError, "alias 'live' names the old collection 'old'"):
        begun.finalize(delete="old")


def test_after_the_end_there_is_no_migration(client: QdrantClient, engine: Engine) -> None:
    begun = filled(client, engine)
    begun.switch("live")
    begun.finalize()
    with refused(client, MigrationRefusedError, "or it is finished"):
        Migration.open(client, "new", engine)
    for step in (STEPS["ingest"], STEPS["verify"], STEPS["switch"]):
        with refused(client, MigrationRefusedError, "or it is finished"):
            step(begun)


@pytest.mark.parametrize("number", [0, -1, 1.5, True, None], ids=str)
def test_numbers_are_numbers(client: QdrantClient, engine: Engine, number: Any) -> None:
    with refused(client, InvalidOptionError, "documents_at_once"):
        migration(client, engine, documents_at_once=number)
    begun = migration(client, engine)
    with refused(client, InvalidOptionError, "sample"):
        begun.plan(sample=number)
    begun.run()
    with refused(client, InvalidOptionError, "sample"):
        begun.verify(sample=number)
