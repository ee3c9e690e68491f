"""How a collection stores and indexes its vectors; what they are is none of its business."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal, Self, get_args

from jina_local.errors import InvalidOptionError
from jina_local.inputs import check_choice, check_flag, check_integer
from jina_local_qdrant.errors import FingerprintMismatchError

__all__ = [
    "LAYOUT_KEY",
    "METADATA_KEY",
    "CollectionLayout",
    "IndexKind",
    "Quantization",
    "Storage",
    "check_tenant",
]

METADATA_KEY = "jina_local"
"""Where a collection's metadata says how its vectors were made; see `EmbeddingSpec.record`."""

LAYOUT_KEY = "jina_local_layout"
"""Where a collection's metadata says how it is laid out."""

Quantization = Literal["none", "int8", "turbo", "binary"]
Storage = Literal["float32", "float16"]
IndexKind = Literal["keyword", "integer", "float", "bool", "datetime", "text"]


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectionLayout:
    """Storage and indexes of a collection.

    Attributes:
        quantization: A compressed copy of the vectors that is searched first; results are rescored
            with the originals.
        storage: What the originals are stored in.
        coarse_dimensions: Also store this many leading dimensions as a vector of their own, and
            search them first (Matryoshka); `None` for full vectors only.
        payload_indexes: Indexes on payload keys, such as `{"meta.lang": "keyword"}`. Those that the
            helper itself needs are always there.
        tenants: Whether the collection is shared by tenants, which then have an index.
        shards: Number of shards; the server's default if `None`.
        replicas: Number of replicas; the server's default if `None`.
        bulk: Build no graph while a large first ingestion runs; `finish_bulk` builds it.
    """

    quantization: Quantization = "none"
    storage: Storage = "float32"
    coarse_dimensions: int | None = None
    payload_indexes: Mapping[str, IndexKind] = field(default_factory=dict)
    tenants: bool = False
    shards: int | None = None
    replicas: int | None = None
    bulk: bool = False

    def check(self, dimensions: int) -> None:
        """Refuse what cannot be created for vectors of so many dimensions.

        Raises:
            InvalidOptionError: If an option is outside its allowed set.
        """
        check_choice("quantization", self.quantization, get_args(Quantization))
        check_choice("storage", self.storage, get_args(Storage))
        for key, kind in self.payload_indexes.items():
            check_choice(f"payload_indexes[{key!r}]", kind, get_args(IndexKind))
        check_flag("tenants", self.tenants)
        check_flag("bulk", self.bulk)
        if self.coarse_dimensions is not None:
            check_integer("coarse_dimensions", self.coarse_dimensions, 1, dimensions - 1)
        for name, number in (("shards", self.shards), ("replicas", self.replicas)):
            if number is not None:
                check_integer(name, number, 1)

    def check_tenant(self, tenant: str | None) -> None:
        """Refuse a tenant where there are none, and none where there are tenants.

        Raises:
            InvalidOptionError: If it does not fit.
        """
        if self.tenants and tenant is None:
            msg = "the collection is shared by tenants: say whose documents these are with tenant="
            raise InvalidOptionError(msg)
        if tenant is not None and not self.tenants:
            msg = (
                f"tenant is {tenant!r}, but the collection has no tenants: they are chosen at its "
                "creation, with CollectionLayout(tenants=True)"
            )
            raise InvalidOptionError(msg)

    def as_dict(self) -> dict[str, Any]:
        """JSON values, for the collection's metadata."""
        return {**asdict(self), "payload_indexes": dict(self.payload_indexes)}

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Self:
        """The inverse of `as_dict`.

        Raises:
            FingerprintMismatchError: If it was written by another version, or edited.
        """
        try:
            layout = cls(**content)
            layout.check(sys.maxsize)
        except (TypeError, AttributeError, InvalidOptionError) as error:
            msg = (
                f"the layout in the collection's metadata, {LAYOUT_KEY!r}, is none that this "
                f"version of the helper writes: {_difference(content) or error}; it was edited or "
                "comes from a newer version: restore it, or open it with that version"
            )
            raise FingerprintMismatchError(msg) from error
        return layout


def _difference(content: object) -> str:
    """What is wrong with the fields of a layout; empty if nothing is."""
    names = [field.name for field in fields(CollectionLayout)]
    if not isinstance(content, Mapping):
        return f"it is {content!r:.40}, not a dict of fields"
    unknown = [key for key in content if key not in names]
    return f"it has the fields {unknown}, not only {names}" if unknown else ""


def check_tenant(tenant: str | None) -> str | None:
    """The tenant itself.

    Raises:
        InvalidOptionError: If it is neither a name nor `None`.
    """
    if tenant is not None and (not isinstance(tenant, str) or not tenant):
        msg = f"tenant is {tenant!r}; give a name, or None for a collection without tenants"
        raise InvalidOptionError(msg)
    return tenant
