"""How a collection's vectors are made, and the record of it that the collection carries."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from jina_local.__about__ import __version__
from jina_local.fingerprint import canonical_hash
from jina_local.inputs import check_dimensions
from jina_local.tasks import ROLE_TASKS
from jina_local_qdrant.errors import FingerprintMismatchError
from jina_local_qdrant.splitting import check_chunk_tokens

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jina_local import Engine

__all__ = ["METADATA_KEY", "EmbeddingSpec"]

METADATA_KEY = "jina_local"

# Where vectors came from and in what rounding, not what they are: recorded and not compared.
_DESCRIPTIVE = ("created_by", "device", "dtype", "model", "revision")


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddingSpec:
    """Everything about the vectors of a collection that is chosen.

    Attributes:
        dimensions: Matryoshka dimension; the model's width if `None`.
        chunk_tokens: The most tokens of a chunk; `None` embeds every document whole.
    """

    dimensions: int | None = None
    chunk_tokens: int | None = 256

    def check(self, engine: Engine) -> None:
        """Refuse what this engine cannot do.

        Raises:
            InvalidOptionError: If the dimension or the size of chunks is outside its range.
        """
        check_dimensions(self.dimensions, engine.dimension)
        check_chunk_tokens(self.chunk_tokens)

    def record(self, engine: Engine) -> dict[str, Any]:
        """What is written into a collection at its creation and compared at every opening."""
        ways: dict[str, str] = {
            role: engine.fingerprint(
                task=task, dimensions=self.dimensions, normalize=True, instruction=True
            )
            for role, task in ROLE_TASKS.items()
        }
        vectors = {
            "weights": engine.weights_id,
            "dimensions": self.dimensions or engine.dimension,
            "chunk_tokens": self.chunk_tokens,
            **ways,
        }
        return {
            "schema": 1,
            "fingerprint": canonical_hash(vectors),
            **vectors,
            "model": engine.source,
            "revision": engine.revision,
            "device": engine.device,
            "dtype": engine.dtype,
            "created_by": f"jina-local {__version__}",
        }


def refuse_differences(
    collection: str, stored: Mapping[str, Any], wanted: Mapping[str, Any]
) -> None:
    """Hold a collection's record against the one that this engine and spec would write.

    Raises:
        FingerprintMismatchError: Naming every field that differs.
    """
    fields = [name for name in {**wanted, **stored} if name not in _DESCRIPTIVE]
    different = [
        f"{name}: {stored.get(name)!r} in the collection, {wanted.get(name)!r} here"
        for name in fields
        if stored.get(name) != wanted.get(name)
    ]
    if different:
        msg = "\n  ".join(
            [
                f"the vectors of collection {collection!r} were made in another way "
                f"(by {stored.get('created_by')} with {stored.get('model')!r}), "
                "and vectors made in two ways cannot be searched together:",
                *different,
            ]
        )
        raise FingerprintMismatchError(msg)
