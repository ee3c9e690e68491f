"""Which collections a migration is between."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, get_args

from jina_local.errors import InvalidOptionError
from jina_local.inputs import check_integer
from jina_local_qdrant.errors import CollectionNotFoundError, MigrationRefusedError
from jina_local_qdrant.migration.switching import named_by

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jina_local_qdrant.migration.points import Points

__all__ = ["WithoutText", "check_names", "check_options", "check_source_is_left", "resolved"]

WithoutText = Literal["refuse", "leave_out"]


def check_options(client: object, without_text: str, documents_at_once: int) -> None:
    """Refuse options that cannot be meant.

    Raises:
        MigrationRefusedError: If the client is a place that has no aliases.
        InvalidOptionError: If an option is outside its allowed set.
    """
    if isinstance(client, str):
        msg = (
            f"client is {client!r}; a migration ends with an alias, which edge: has none of. "
            "Ingest the documents into a new folder instead"
        )
        raise MigrationRefusedError(msg)
    if without_text not in get_args(WithoutText):
        msg = f"without_text is {without_text!r}; give 'refuse' or 'leave_out'"
        raise InvalidOptionError(msg)
    check_integer("documents_at_once", documents_at_once, 1)


def resolved(points: Points) -> Points:
    """The collection itself, where an alias is given.

    Raises:
        CollectionNotFoundError: If there is neither.
    """
    if not points.exists():
        msg = f"there is no collection {points.collection!r} to migrate"
        raise CollectionNotFoundError(msg)
    named = named_by(points, points.collection)
    if named is not None:
        points.collection = named
    return points


def check_names(source: Points, target: Points) -> None:
    """Refuse a name for the target that is taken.

    Raises:
        MigrationRefusedError: If it is that of the source, or an alias.
    """
    if source.collection == target.collection:
        msg = f"source and target are both {target.collection!r}: give the new one a name"
        raise MigrationRefusedError(msg)
    named = named_by(target, target.collection)
    if named is not None:
        msg = (
            f"{target.collection!r} is an alias of {named!r}: give the new collection a name of "
            "its own, and the alias to `switch`"
        )
        raise MigrationRefusedError(msg)


def check_source_is_left(source: Points, state: Mapping[str, Any], target: str) -> None:
    """Refuse to go on with a migration whose end was interrupted.

    Raises:
        MigrationRefusedError: If its source was deleted already.
    """
    if state["switched"] and not source.exists():
        msg = (
            f"the old collection {source.collection!r} was deleted already, and the end of the "
            "migration was interrupted there: end it with jina_local_qdrant.migration."
            f"finalize(client, {target!r}, delete={source.collection!r})"
        )
        raise MigrationRefusedError(msg)
