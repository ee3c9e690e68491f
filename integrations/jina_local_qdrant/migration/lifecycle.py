"""How a migration ends, and what must have happened before; needs no model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from jina_local_qdrant.errors import MigrationRefusedError
from jina_local_qdrant.migration.journal import Journal
from jina_local_qdrant.migration.points import Points
from jina_local_qdrant.migration.switching import named_by, point_alias

if TYPE_CHECKING:
    from qdrant_client import QdrantClient

    from jina_local_qdrant.retries import RetryPolicy

__all__ = ["begun", "finalize", "rollback", "under_way"]


def rollback(client: QdrantClient, target: str, *, retries: RetryPolicy | None = None) -> None:
    """Let the alias of a migration name the old collection again.

    Args:
        client: The client of the migration.
        target: Name of the new collection.
        retries: How long a server that does not answer is asked again.

    Raises:
        MigrationRefusedError: If there was no switch.
    """
    journal = Journal(client, target, retries)
    state = _switched(journal, target)
    point_alias(Points(client, target, retries), state["alias"], state["source"])
    journal.update({"switched": False, "verified": False})  # what is written now counts


def finalize(
    client: QdrantClient,
    target: str,
    *,
    delete: str | None = None,
    retries: RetryPolicy | None = None,
) -> None:
    """End a migration; there is no way back after it.

    Args:
        client: The client of the migration.
        target: Name of the new collection.
        delete: The name of the old collection, if it is to be deleted.
        retries: How long a server that does not answer is asked again.

    Raises:
        MigrationRefusedError: If there was no switch, or `delete` is another name.
    """
    journal = Journal(client, target, retries)
    state = _switched(journal, target)
    points = Points(client, target, retries)
    if delete is not None and delete != state["source"]:
        msg = f"delete is {delete!r}; the old collection of this migration is {state['source']!r}"
        raise MigrationRefusedError(msg)
    if named_by(points, state["alias"]) == state["source"]:
        msg = (
            f"alias {state['alias']!r} names the old collection {state['source']!r}: switch first, "
            "or delete the new collection and the journal to give the migration up"
        )
        raise MigrationRefusedError(msg)
    if delete is not None:
        Points(client, delete, retries).delete_collection()
    journal.remove()


def _switched(journal: Journal, target: str) -> dict[str, Any]:
    state = begun(journal, target)
    if not state["switched"]:
        msg = f"searches were not switched away from {state['source']!r} by this migration"
        raise MigrationRefusedError(msg)
    return state


def begun(journal: Journal, target: str) -> dict[str, Any]:
    """The state of a migration.

    Raises:
        MigrationRefusedError: If it has not begun, or is finished.
    """
    state = journal.state()
    if state is None:
        msg = f"no migration to {target!r} has begun, or it is finished: run one first"
        raise MigrationRefusedError(msg)
    return state


def under_way(journal: Journal, target: Points) -> dict[str, Any]:
    """The state of a migration whose target is there.

    Raises:
        MigrationRefusedError: If it has not begun, was interrupted before it made the target, or
            is finished.
    """
    state = begun(journal, target.collection)
    if not target.exists():
        msg = (
            f"the migration to {target.collection!r} has begun, and there is no such collection "
            "yet, or any more: run the migration again"
        )
        raise MigrationRefusedError(msg)
    return state
