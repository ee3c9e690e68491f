"""Qdrant's REST API in terms of a local client: routes, requests and results as JSON."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, TypeAdapter, ValidationError
from qdrant_client import QdrantClient, models

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["VERSION", "Refusal", "answer", "operation_of"]

VERSION = "1.20.0"


class Refusal(Exception):  # noqa: N818 - an answer
    """An HTTP error that is the answer.

    Args:
        status: HTTP status.
        error: Qdrant's words.
    """

    def __init__(self, status: int, error: str) -> None:
        super().__init__(error)
        self.status = status


def answer(client: QdrantClient, operation: str, collection: str, body: Any) -> Any:
    """The JSON result of an operation.

    Raises:
        Refusal: If there is no such operation, or the client refuses it.
    """
    if operation not in OPERATIONS:
        raise Refusal(404, f"the stub has no {operation}")
    try:
        return _json(OPERATIONS[operation](client, collection, body))
    except ValidationError as error:
        raise Refusal(400, f"Format error in JSON body: {error}") from error
    except KeyError as error:  # of a point, once all others are done
        raise Refusal(404, f"Not found: No point with id {error} found") from error
    except ValueError as error:
        if "not found" in str(error):
            text = f"Not found: Collection `{collection}` doesn't exist!"
            raise Refusal(404, text) from error
        if "already exists" in str(error):
            text = f"Wrong input: Collection `{collection}` already exists!"
            raise Refusal(409, text) from error
        raise Refusal(400, f"Wrong input: {error}") from error


_ROUTES = [
    ("version", "GET", r"/"),
    ("aliases", "GET", r"/aliases"),
    ("list", "GET", r"/collections"),
    ("exists", "GET", r"/collections/([^/]+)/exists"),
    ("info", "GET", r"/collections/([^/]+)"),
    ("create", "PUT", r"/collections/([^/]+)"),
    ("update", "PATCH", r"/collections/([^/]+)"),
    ("drop", "DELETE", r"/collections/([^/]+)"),
    ("index", "PUT", r"/collections/([^/]+)/index"),
    ("retrieve", "POST", r"/collections/([^/]+)/points"),
    ("upsert", "PUT", r"/collections/([^/]+)/points"),
    ("scroll", "POST", r"/collections/([^/]+)/points/scroll"),
    ("delete", "POST", r"/collections/([^/]+)/points/delete"),
    ("set_payload", "POST", r"/collections/([^/]+)/points/payload"),
    ("count", "POST", r"/collections/([^/]+)/points/count"),
    ("query", "POST", r"/collections/([^/]+)/points/query"),
    ("query_batch", "POST", r"/collections/([^/]+)/points/query/batch"),
    ("query_groups", "POST", r"/collections/([^/]+)/points/query/groups"),
]


def operation_of(method: str, path: str) -> tuple[str, str]:
    """The name of an operation and the collection; the method and path if there is none."""
    for name, verb, pattern in _ROUTES:
        if method == verb and (match := re.fullmatch(pattern, path)):
            return name, (match.groups() or ("",))[0]
    return f"{method} {path}", ""


def _json(result: Any) -> Any:
    if isinstance(result, BaseModel):
        return result.model_dump(mode="json")
    if isinstance(result, list):
        return [_json(item) for item in result]
    return result


def _update(result: models.UpdateResult) -> Any:
    return {"operation_id": 0, "status": result.status.value}


def _create(client: QdrantClient, name: str, body: Any) -> bool:
    request = models.CreateCollection.model_validate(body)
    return client.create_collection(
        name,
        vectors_config=request.vectors,
        sparse_vectors_config=request.sparse_vectors,
        metadata=request.metadata,
    )


def _change(client: QdrantClient, name: str, body: Any) -> bool:
    request = models.UpdateCollection.model_validate(body)
    return client.update_collection(name, metadata=request.metadata)


def _index(client: QdrantClient, name: str, body: Any) -> Any:
    """Nothing, as in a local collection, which would also warn about it."""
    models.CreateFieldIndex.model_validate(body)
    client.get_collection(name)
    return {"operation_id": 0, "status": "completed"}


def _retrieve(client: QdrantClient, name: str, body: Any) -> Any:
    request = models.PointRequest.model_validate(body)
    return client.retrieve(
        name,
        request.ids,
        with_payload=_or(request.with_payload, default=True),
        with_vectors=_or(request.with_vector),
    )


def _upsert(client: QdrantClient, name: str, body: Any) -> Any:
    request = models.PointsList.model_validate(body)
    return _update(client.upsert(name, request.points))


def _scroll(client: QdrantClient, name: str, body: Any) -> Any:
    request = models.ScrollRequest.model_validate(body)
    points, offset = client.scroll(
        name,
        scroll_filter=request.filter,
        limit=request.limit or 10,
        order_by=request.order_by,
        offset=request.offset,
        with_payload=_or(request.with_payload, default=True),
        with_vectors=_or(request.with_vector),
    )
    return {"points": _json(points), "next_page_offset": offset}


def _delete(client: QdrantClient, name: str, body: Any) -> Any:
    selectors: Any = models.PointIdsList | models.FilterSelector
    return _update(client.delete(name, TypeAdapter(selectors).validate_python(body)))


def _set_payload(client: QdrantClient, name: str, body: Any) -> Any:
    request = models.SetPayload.model_validate(body)
    selector = request.points if request.points is not None else request.filter
    if selector is None:
        raise Refusal(422, "Validation error in JSON body: no points selected")
    return _update(client.set_payload(name, request.payload, points=selector, key=request.key))


def _count(client: QdrantClient, name: str, body: Any) -> Any:
    request = models.CountRequest.model_validate(body)
    return client.count(name, count_filter=request.filter, exact=True)


def _query_arguments(request: models.QueryRequest | models.QueryGroupsRequest) -> dict[str, Any]:
    """Without search parameters, which local collections ignore with a warning."""
    return {
        "query": request.query,
        "using": request.using,
        "prefetch": request.prefetch,
        "query_filter": request.filter,
        "limit": request.limit or 10,
        "score_threshold": request.score_threshold,
        "with_payload": _or(request.with_payload),
        "with_vectors": _or(request.with_vector),
    }


def _query(client: QdrantClient, name: str, body: Any) -> Any:
    request = models.QueryRequest.model_validate(body)
    return client.query_points(name, offset=request.offset, **_query_arguments(request))


def _query_batch(client: QdrantClient, name: str, body: Any) -> Any:
    return [_query(client, name, search) for search in body["searches"]]


def _query_groups(client: QdrantClient, name: str, body: Any) -> Any:
    request = models.QueryGroupsRequest.model_validate(body)
    return client.query_points_groups(
        name,
        group_by=request.group_by,
        group_size=request.group_size or 3,
        **_query_arguments(request),
    )


def _or(value: Any, *, default: bool = False) -> Any:
    return default if value is None else value


def _version(_client: QdrantClient, _name: str, _body: Any) -> Any:
    return {"title": "qdrant - vector search engine", "version": VERSION, "commit": "stub"}


OPERATIONS: dict[str, Callable[[QdrantClient, str, Any], Any]] = {
    "version": _version,
    "aliases": lambda client, _name, _body: client.get_aliases(),
    "list": lambda client, _name, _body: client.get_collections(),
    "exists": lambda client, name, _: {"exists": client.collection_exists(name)},
    "info": lambda client, name, _: client.get_collection(name),
    "create": _create,
    "update": _change,
    "drop": lambda client, name, _: client.delete_collection(name),
    "index": _index,
    "retrieve": _retrieve,
    "upsert": _upsert,
    "scroll": _scroll,
    "delete": _delete,
    "set_payload": _set_payload,
    "count": _count,
    "query": _query,
    "query_batch": _query_batch,
    "query_groups": _query_groups,
}
