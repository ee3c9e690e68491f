"""A migration with the options of the command line, and of the time when it was begun."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, cast

from jina_local.errors import InvalidOptionError
from jina_local_qdrant.errors import FingerprintMismatchError, MigrationRefusedError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qdrant_client import QdrantClient

    from jina_local_qdrant.layout import CollectionLayout
    from jina_local_qdrant.migration.fields import PayloadFields
    from jina_local_qdrant.migration.migration import Migration
    from jina_local_qdrant.migration.names import WithoutText
    from jina_local_qdrant.migration.points import Points
    from jina_local_qdrant.spec import EmbeddingSpec

__all__ = ["Chosen", "RunsOn", "in_options", "open_begun", "open_chosen", "open_server"]

_OPTIONS = {
    "PayloadFields(document=…, order=…)": "--document and --order",
    "PayloadFields(text=…)": "--text",
    "EmbeddingSpec(late_chunking=False)": "--no-late-chunking",
    "without_text='leave_out'": "--leave-out-blank",
    "with vector=": "with --vector",
    "give document, too": "give --document, too",
}


def in_options(message: str) -> str:
    """A message that names what Python takes, with the options of the command line instead."""
    for python, option in _OPTIONS.items():
        message = message.replace(python, option)
    return message


@dataclass(frozen=True, slots=True, kw_only=True)
class RunsOn:
    """The model, and what runs it.

    Attributes:
        model: Folder, hub id or `demo`; `None` if it was not given.
        device: Where to run it.
        dtype: What to compute in.
    """

    model: str | None
    device: str
    dtype: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """What was asked for; `None` is what was not.

    Attributes:
        source: The old collection.
        spec: Fields of `EmbeddingSpec`.
        fields: See `Migration`.
        layout: Fields of `CollectionLayout`.
        vector: See `Migration`.
        leave_out: Whether points without a text stay behind.
    """

    source: str | None
    spec: dict[str, Any]
    fields: PayloadFields | Literal["haystack", "llama-index"] | None
    layout: dict[str, Any]
    vector: str | None
    leave_out: bool | None


@dataclass(frozen=True, slots=True)
class _Settings:
    """What `Migration` takes; `model` and `revision` are what made it when it was begun."""

    source: str
    spec: EmbeddingSpec
    fields: PayloadFields | Literal["haystack", "llama-index"] | None
    layout: CollectionLayout | None
    vector: str | None
    without_text: WithoutText
    model: str
    revision: str | None


@contextmanager
def open_server(location: str, target: str) -> Iterator[QdrantClient]:
    """A client of a place that has aliases, closed at the end.

    Args:
        location: URL or folder.
        target: The new collection.

    Raises:
        MigrationRefusedError: If it has none.
        InvalidOptionError: If it is no place, or the new collection's name is none.
    """
    from jina_local_qdrant.locations import check_place, is_edge, open_place

    if is_edge(location):
        from jina_local_qdrant.migration.names import check_options

        check_options(location, "refuse", 1)
    check_place(location, target, create=False)
    with open_place(location, create=False) as client:
        yield cast("QdrantClient", client)


@contextmanager
def open_chosen(location: str, target: str, chosen: Chosen, runs_on: RunsOn) -> Iterator[Migration]:
    """A migration as it was asked for, and as it was begun where nothing was asked for.

    What can be refused without a model is refused before it is loaded.

    Args:
        location: URL or folder.
        target: The new collection.
        chosen: What was asked for.
        runs_on: The model, and what runs it.
    """
    with open_server(location, target) as client:  # which says what is not installed
        from jina_local_qdrant.migration.journal import Journal
        from jina_local_qdrant.migration.names import check_names, resolved
        from jina_local_qdrant.migration.points import Points

        state = Journal(client, target).state()
        name = chosen.source or (state or {}).get("source")
        if name is None:
            msg = (
                f"no migration to {target!r} has begun: name the collection that it is made from "
                "with --from"
            )
            raise MigrationRefusedError(msg)
        source = resolved(Points(client, name))
        check_names(source, Points(client, target))
        _check_kind(source, chosen)
        settings = _new(source, chosen) if state is None else _as_begun(state, source, chosen)
        with _opened(client, target, settings, runs_on) as migration:
            yield migration


@contextmanager
def open_begun(location: str, target: str, runs_on: RunsOn) -> Iterator[Migration]:
    """A migration that was begun.

    Raises:
        MigrationRefusedError: If there is none.
    """
    nothing = Chosen(source=None, spec={}, fields=None, layout={}, vector=None, leave_out=None)
    with open_server(location, target) as client:
        from jina_local_qdrant.migration.journal import Journal
        from jina_local_qdrant.migration.lifecycle import under_way
        from jina_local_qdrant.migration.points import Points

        state = under_way(Journal(client, target), Points(client, target))
        settings = _as_begun(state, Points(client, state["source"]), nothing)
        with _opened(client, target, settings, runs_on) as migration:
            yield migration


@contextmanager
def _opened(
    client: QdrantClient, target: str, settings: _Settings, runs_on: RunsOn
) -> Iterator[Migration]:
    from jina_local.engine import Engine
    from jina_local_qdrant.migration.migration import Migration

    with Engine.load(
        runs_on.model or settings.model,
        revision=None if runs_on.model else settings.revision,
        device=runs_on.device,
        dtype=runs_on.dtype,
    ) as engine:
        try:
            migration = Migration(
                client,
                settings.source,
                target,
                engine,
                settings.spec,
                fields=settings.fields,
                layout=settings.layout,
                vector=settings.vector,
                without_text=settings.without_text,
            )
        except FingerprintMismatchError as error:
            msg = (
                f"{error}\nTo go on with the settings of then, give --in and --to alone; for other "
                "settings, give another name with --to"
            )
            raise FingerprintMismatchError(msg) from error
        yield migration


def _new(source: Points, chosen: Chosen) -> _Settings:
    from jina_local_qdrant.layout import LAYOUT_KEY, METADATA_KEY, CollectionLayout
    from jina_local_qdrant.migration.recognizing import recognize_fields
    from jina_local_qdrant.migration.target import source_shape
    from jina_local_qdrant.spec import EmbeddingSpec

    spec, layout = EmbeddingSpec(), CollectionLayout()
    if source_shape(source, chosen.vector).is_ours:
        metadata = source.metadata()
        old = EmbeddingSpec.from_record(metadata[METADATA_KEY])
        # windows are as long as the model allows, and the new one may allow less
        spec = replace(old, window_tokens=None, margin_tokens=spec.margin_tokens)
        layout = replace(CollectionLayout.from_dict(metadata.get(LAYOUT_KEY) or {}), bulk=False)
    else:
        recognize_fields(source, chosen.fields)  # refuses
    return _Settings(
        source=source.collection,
        spec=replace(spec, **chosen.spec),
        fields=chosen.fields,
        layout=replace(layout, **chosen.layout),
        vector=chosen.vector,
        without_text="leave_out" if chosen.leave_out else "refuse",
        model="demo",
        revision=None,
    )


def _as_begun(state: dict[str, Any], source: Points, chosen: Chosen) -> _Settings:
    from jina_local_qdrant.layout import CollectionLayout
    from jina_local_qdrant.migration.fields import PayloadFields
    from jina_local_qdrant.spec import EmbeddingSpec

    fields = state["fields"]
    return _Settings(
        source=source.collection,
        spec=replace(EmbeddingSpec(**state["spec"]), **chosen.spec),
        fields=chosen.fields or (None if fields is None else PayloadFields(**fields)),
        layout=replace(CollectionLayout.from_dict(state["layout"]), **chosen.layout),
        vector=state["vector"] if chosen.vector is None else chosen.vector,
        without_text="leave_out" if chosen.leave_out else state["without_text"],
        model=state["record"]["model"],
        revision=state["record"]["revision"],
    )


def _check_kind(source: Points, chosen: Chosen) -> None:
    """Refuse options that are for collections of another origin, and would do nothing here."""
    from jina_local_qdrant.layout import METADATA_KEY
    from jina_local_qdrant.migration.target import is_foreign

    metadata = source.metadata()
    is_ours = METADATA_KEY in metadata and not is_foreign(metadata)
    if is_ours and (chosen.fields is not None or chosen.vector is not None):
        option = "--vector" if chosen.fields is None else "--fields, --text and the like"
        msg = (
            f"collection {source.collection!r} was made by this helper, which knows what is where: "
            f"leave {option} out"
        )
        raise InvalidOptionError(msg)
    if not is_ours and "chunk_tokens" in chosen.spec:
        msg = (
            f"collection {source.collection!r} was not made by this helper, and its chunks stay as "
            "they are: leave --chunk-tokens out"
        )
        raise InvalidOptionError(msg)
