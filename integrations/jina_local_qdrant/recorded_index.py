"""Opening an index that is there, the way it says it was made."""

from __future__ import annotations

from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any

from jina_local.errors import InvalidOptionError
from jina_local_qdrant.errors import FingerprintMismatchError
from jina_local_qdrant.layout import LAYOUT_KEY, CollectionLayout
from jina_local_qdrant.locations import check_place, open_place, recorded, stored_metadata

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from jina_local_qdrant.collection import JinaQdrant

__all__ = ["check_layout", "check_tenant_of", "open_recorded"]

_CHOSEN_AT_CREATION = ("quantization", "storage", "coarse_dimensions")


@contextmanager
def open_recorded(
    location: str,
    collection: str,
    *,
    tenant: str | None,
    model: str | None,
    device: str,
    dtype: str,
) -> Iterator[JinaQdrant]:
    """A collection with the model and the spec that it was made with.

    Args:
        location: URL, folder or `edge:FOLDER`.
        collection: Name of the collection.
        tenant: Whose documents.
        model: Where the model is now; where it was then if `None`.
        device: Where to run it.
        dtype: What to compute in.

    Raises:
        CollectionNotFoundError: If there is no such collection, or it carries no record.
        InvalidOptionError: If it has tenants and none is named, or the other way round.
        FingerprintMismatchError: If the model is another one.
    """
    check_place(location, collection, create=False)
    with open_place(location, create=False) as client:
        record = recorded(client, collection)
        check_tenant_of(collection, stored_metadata(client, collection) or {}, tenant)
        source = model or record.get("model")
        if not isinstance(source, str):
            msg = f"collection {collection!r} does not say what its model is: name it with --model"
            raise FingerprintMismatchError(msg)
        revision = None if model else record.get("revision")
        from jina_local.engine import Engine
        from jina_local_qdrant.collection import JinaQdrant
        from jina_local_qdrant.spec import EmbeddingSpec

        spec = EmbeddingSpec.from_record(record)
        with (
            Engine.load(source, revision=revision, device=device, dtype=dtype) as engine,
            closing(JinaQdrant(client, collection, engine, spec, tenant=tenant)) as helper,
        ):
            yield helper


def check_layout(collection: str, metadata: Mapping[str, Any], wanted: CollectionLayout) -> None:
    """Refuse what cannot be chosen any more for a collection that is there.

    Args:
        collection: Its name.
        metadata: Its metadata.
        wanted: The layout that a new collection would have.

    Raises:
        InvalidOptionError: Naming the option.
    """
    stored = _layout(metadata)
    for name in _CHOSEN_AT_CREATION:
        chosen, there = getattr(wanted, name), getattr(stored, name)
        if chosen not in (there, getattr(CollectionLayout(), name)):
            option = "--" + name.replace("_", "-")
            msg = (
                f"{option} is {chosen!r}, but collection {collection!r} was made with {there!r} "
                f"and keeps it: leave {option} out, or choose another collection"
            )
            raise InvalidOptionError(msg)


def check_tenant_of(collection: str, metadata: Mapping[str, Any], tenant: str | None) -> None:
    """Refuse a tenant where there are none, and none where there are tenants.

    Raises:
        InvalidOptionError: If it does not fit.
    """
    has_tenants = _layout(metadata).tenants
    if has_tenants and tenant is None:
        msg = f"collection {collection!r} is shared by tenants: name one with --tenant"
        raise InvalidOptionError(msg)
    if tenant is not None and not has_tenants:
        msg = f"collection {collection!r} has no tenants: leave --tenant out"
        raise InvalidOptionError(msg)


def _layout(metadata: Mapping[str, Any]) -> CollectionLayout:
    return CollectionLayout.from_dict(metadata.get(LAYOUT_KEY) or {})
