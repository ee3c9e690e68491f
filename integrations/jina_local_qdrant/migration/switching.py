"""Which of two collections an alias names."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qdrant_client import models

from jina_local_qdrant.errors import MigrationRefusedError

if TYPE_CHECKING:
    from jina_local_qdrant.migration.points import Points

__all__ = ["check_alias", "named_by", "point_alias"]


def named_by(points: Points, alias: str) -> str | None:
    """The collection that an alias names; `None` if there is no such alias."""
    found = points.call("reading the aliases", points.client.get_aliases)
    names = {one.alias_name: one.collection_name for one in found.aliases}
    return names.get(alias)


def check_alias(points: Points, alias: str, allowed: set[str]) -> None:
    """Refuse a name that cannot become an alias, and an alias of something else.

    Args:
        points: Any collection of the same client.
        alias: The name.
        allowed: Collections that it may name today.

    Raises:
        MigrationRefusedError: If it is the name of a collection, or names another one.
    """
    named = named_by(points, alias)
    if named is not None:
        if named not in allowed:
            msg = (
                f"alias {alias!r} names collection {named!r}, which is not part of this migration "
                f"({', '.join(map(repr, sorted(allowed)))}): choose another alias"
            )
            raise MigrationRefusedError(msg)
        return
    collections = points.call("reading the names of collections", points.client.get_collections)
    if alias in {one.name for one in collections.collections}:
        msg = (
            f"alias {alias!r} is the name of a collection, and Qdrant lets no alias shadow one: "
            "choose a new name, and let searches use it from now on; it then stays the same in "
            "every later migration"
        )
        raise MigrationRefusedError(msg)


def point_alias(points: Points, alias: str, collection: str) -> None:
    """Let an alias name a collection, in one request: at no moment it names none."""
    operations: list[models.AliasOperations] = []
    if named_by(points, alias) is not None:
        operations.append(
            models.DeleteAliasOperation(delete_alias=models.DeleteAlias(alias_name=alias))
        )
    operations.append(
        models.CreateAliasOperation(
            create_alias=models.CreateAlias(collection_name=collection, alias_name=alias)
        )
    )
    points.call(
        f"letting alias {alias!r} name {collection!r}",
        lambda: points.client.update_collection_aliases(operations),
    )
