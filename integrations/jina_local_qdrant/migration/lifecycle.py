"""How a migration ends, and what must have happened before; needs no model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from jina_local_qdrant.errors import MigrationRefusedError
from jina_local_qdrant.migration.points import Points
from jina_local_qdrant.migration.switching import named_by, point_alias

if TYPE_CHECKING:
    from jina_local_qdrant.migration.journal import Journal

__all__ = ["begun", "finalize", "rollback", "under_way"]


def rollback(journal: Journal, source: Points) -> None:
    """Let the alias of a migration name the source again; see `Migration.rollback`."""
    state = _switched(journal, source)
    point_alias(source, state["alias"], state["source"])
    journal.update({"switched": False, "verified": False})  # what is written now counts


def finalize(journal: Journal, source: Points, *, delete: str | None) -> None:
    """End a migration; see `Migration.finalize`."""
    state = _switched(journal, source)
    if delete is not None and delete != state["source"]:
        msg = f"delete is {delete!r}; the old collection of this migration is {state['source']!r}"
        raise MigrationRefusedError(msg)
    if named_by(source, state["alias"]) == state["source"]:
        msg = (
            f"alias {state['alias']!r} names the old collection {state['source']!r}: switch first, "
            "or delete the new collection and the journal to give the migration up"
        )
        raise MigrationRefusedError(msg)
    if delete is not None:
        Points(source.client, delete).delete_collection()
    journal.remove()


def _switched(journal: Journal, source: Points) -> dict[str, Any]:
    state = journal.state()
    if state is None or not state["switched"]:
        msg = f"searches were not switched away from {source.collection!r} by this migration"
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
