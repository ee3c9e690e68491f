"""Points for one request each: servers limit bytes, and a cut connection says no reason."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jina_local_qdrant.errors import TooLargeError
from jina_local_qdrant.store import in_parts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from qdrant_client import models

__all__ = ["POINTS_AT_ONCE", "write_points"]

POINTS_AT_ONCE = 256
_BYTES_AT_ONCE = 8 * 2**20


def write_points(
    points: Sequence[models.PointStruct],
    write: Callable[[list[models.PointStruct]], object],
    *,
    is_local: bool,
) -> None:
    """Write points in as many requests as a server needs.

    Args:
        points: Points.
        write: Writes some of them in one request.
        is_local: Whether there is no limit on the size of a request.

    Raises:
        TooLargeError: If one point alone is too large.
    """
    for part in in_parts(points, POINTS_AT_ONCE) if is_local else _requests(points):
        _write(part, write)


def _write(
    points: list[models.PointStruct], write: Callable[[list[models.PointStruct]], object]
) -> None:
    """Write points, in halves where a server finds them too large together."""
    try:
        write(points)
    except TooLargeError as error:
        if len(points) == 1:
            payload = points[0].payload or {}
            name = f"point {points[0].id!r}"
            if "doc_id" in payload:
                name = f"document {payload['doc_id']!r}, chunk {payload.get('chunk_index')}"
            msg = (
                f"{name}: one point is too large for the server ({error}); use smaller chunks or "
                "less metadata"
            )
            raise TooLargeError(msg) from error
        half = len(points) // 2
        _write(points[:half], write)
        _write(points[half:], write)


def _requests(points: Sequence[models.PointStruct]) -> Iterator[list[models.PointStruct]]:
    part: list[models.PointStruct] = []
    n_bytes = 0
    for point in points:
        size = len(point.model_dump_json())
        if part and (n_bytes + size > _BYTES_AT_ONCE or len(part) == POINTS_AT_ONCE):
            yield part
            part, n_bytes = [], 0
        part.append(point)
        n_bytes += size
    if part:
        yield part
