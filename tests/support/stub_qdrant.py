"""A Qdrant server for tests: real HTTP on this machine, a local collection behind it, and faults.

It answers the part of Qdrant's REST API that the helper uses, from a `QdrantClient(":memory:")`.
What goes wrong is planned: `stub.faults` is a script that requests take their faults from.
"""

from __future__ import annotations

import json
import socket
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import parse_qs, urlsplit

from qdrant_client import QdrantClient

from support.qdrant_requests import Refusal, answer, operation_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from email.message import Message

    import httpx

__all__ = ["TOO_LARGE", "Fault", "Request", "StubQdrant", "running"]

PATIENCE = 60.0
"""Seconds that `StubQdrant.client` waits for an answer."""
IMPATIENCE = 0.05
"""Seconds that it waits for an answer that will never come."""
_FAULT_HEADER = "x-stub-fault"

TOO_LARGE = {
    "by a proxy": (413, "Payload Too Large"),
    "in bytes": (
        400,
        "Payload error: JSON payload ({0} bytes) is larger than allowed (limit: {1} bytes).",
    ),
    "in points": (400, "Bad request: Limit exceeded {0} > {1} for upsert limit. Help: Reduce it"),
    "for its rate": (
        429,
        "Rate limiting exceeded: Write rate limit exceeded, request larger than rate limiter "
        "capacity, please try to split your request",
    ),
}
"""How servers refuse an upsert for its size: status and words."""


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that goes wrong with one request.

    Attributes:
        kind: "answer": an HTTP error. "silence": no answer until the client gives up. "drop": the
            connection is closed without an answer. "cut": it is closed in the middle of one.
        operation: The only operation that it befalls; any if `None`.
        status: HTTP status of an error.
        headers: Of an error.
        error: Qdrant's words in an error.
        is_done: Whether the request was carried out nevertheless; not with "silence", in which
            nobody could tell when.
    """

    kind: Literal["answer", "silence", "drop", "cut"]
    operation: str | None = None
    status: int = 500
    headers: tuple[tuple[str, str], ...] = ()
    error: str = "Service internal error: out of luck"
    is_done: bool = False

    def __post_init__(self) -> None:
        if self.kind == "silence" and self.is_done:
            raise ValueError("the client gives up before a silent request is surely done")


@dataclass(frozen=True, slots=True)
class Request:
    """A request that came in.

    Attributes:
        operation: What it asks for: "upsert", "count", …
        body: Its JSON.
        parameters: Of its URL.
        fault: What went wrong with it.
    """

    operation: str
    body: Any
    parameters: dict[str, str]
    fault: Fault | None


@dataclass(eq=False)
class StubQdrant:
    """The server.

    Attributes:
        url: Where it listens.
        faults: Taken one by one: each request gets the first that fits it; `None` lets one request
            of any kind through.
        requests: All that came in.
        largest_upsert: Points above which an upsert is refused for its size.
        longest_text: Characters of a point's text above which an upsert is refused likewise.
        refusal: How it is refused: status and words, with places for the points and the limit.
        backend: What is behind it.
    """

    url: str = ""
    faults: list[Fault | None] = field(default_factory=list)
    requests: list[Request] = field(default_factory=list)
    largest_upsert: int | None = None
    longest_text: int | None = None
    refusal: tuple[int, str] = TOO_LARGE["by a proxy"]
    backend: QdrantClient = field(default_factory=lambda: QdrantClient(":memory:"))
    _lock: threading.RLock = field(default_factory=threading.RLock)

    def client(self, **options: Any) -> QdrantClient:
        """A client that waits long for answers, and only a moment for those that never come."""
        return QdrantClient(
            url=self.url,
            timeout=int(PATIENCE),
            check_compatibility=False,
            event_hooks={"request": [self._announce]},
            **options,
        )

    def reset(self) -> None:
        """Forget everything: points, requests, faults and limits."""
        with self._lock:
            self.backend.close()
            self.backend = QdrantClient(":memory:")
            self.faults.clear()
            self.requests.clear()
            self.largest_upsert = self.longest_text = None
            self.refusal = TOO_LARGE["by a proxy"]

    def sent(self, operation: str) -> list[Request]:
        """The requests for one operation."""
        return [request for request in self.requests if request.operation == operation]

    def take(self, operation: str) -> Fault | None:
        """The fault that befalls the next request for an operation."""
        with self._lock:
            for index, fault in enumerate(self.faults):
                if fault is None or fault.operation in {None, operation}:
                    return self.faults.pop(index)
            return None

    def _announce(self, request: httpx.Request) -> None:
        """Decide a request's fault before it is sent, so that its time-out can depend on it."""
        url = urlsplit(str(request.url))
        operation = operation_of(request.method, url.path)[0]
        fault = self.take(operation)
        body = json.loads(request.content) if request.content else None
        number = self._record(operation, body, url.query, fault)
        request.headers[_FAULT_HEADER] = str(number)
        if fault is not None and fault.kind == "silence":
            request.extensions["timeout"] = {**request.extensions["timeout"], "read": IMPATIENCE}

    def _record(self, operation: str, body: Any, query: str, fault: Fault | None) -> int:
        parameters = {key: values[-1] for key, values in parse_qs(query).items()}
        with self._lock:
            self.requests.append(Request(operation, body, parameters, fault))
            return len(self.requests) - 1

    def fault_of(self, headers: Message, operation: str, body: Any, query: str) -> Any:
        """The fault of a request that has arrived; recorded, if its client did not announce it."""
        if (number := headers.get(_FAULT_HEADER)) is not None:
            return self.requests[int(number)].fault
        fault = self.take(operation)
        self._record(operation, body, query, fault)
        return fault

    def answer(self, operation: str, collection: str, body: Any) -> Any:
        """The JSON result of an operation.

        Raises:
            Refusal: If it is too large, or the backend refuses it.
        """
        self._refuse_too_large(operation, body)
        with self._lock:
            return answer(self.backend, operation, collection, body)

    def _refuse_too_large(self, operation: str, body: Any) -> None:
        if operation != "upsert":
            return
        size = len(body["points"])
        longest = max(len(point.get("payload", {}).get("text", "")) for point in body["points"])
        is_many = self.largest_upsert is not None and size > self.largest_upsert
        if is_many or (self.longest_text is not None and longest > self.longest_text):
            status, words = self.refusal
            raise Refusal(status, words.format(size, self.largest_upsert))


@contextmanager
def running() -> Iterator[StubQdrant]:
    """A stub that listens until the block ends."""
    stub = StubQdrant()
    handler = type("Handler", (_Handler,), {"stub": stub})
    server = _Server(("127.0.0.1", 0), handler)
    stub.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield stub
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
        stub.backend.close()


# HTTP


class _Server(ThreadingHTTPServer):
    daemon_threads = False  # so that closing waits for the last answer
    request_queue_size = 64


class _Handler(BaseHTTPRequestHandler):
    stub: StubQdrant

    def _handle(self) -> None:
        url = urlsplit(self.path)
        length = int(self.headers.get("Content-Length") or 0)
        body = json.loads(self.rfile.read(length)) if length else None
        operation, collection = operation_of(self.command, url.path)
        fault = self.stub.fault_of(self.headers, operation, body, url.query)
        if fault is None:
            self._send(*self._answer(operation, collection, body))
        else:
            self._go_wrong(fault, operation, collection, body)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _handle  # noqa: N815 - http.server's names

    def _answer(self, operation: str, collection: str, body: Any) -> tuple[int, Any]:
        try:
            result = self.stub.answer(operation, collection, body)
        except Refusal as refusal:
            return refusal.status, {"status": {"error": str(refusal)}, "time": 0.0}
        if operation == "version":
            return 200, result
        return 200, {"result": result, "status": "ok", "time": 0.0}

    def _go_wrong(self, fault: Fault, operation: str, collection: str, body: Any) -> None:
        done = self._answer(operation, collection, body) if fault.is_done else (200, {})
        match fault.kind:
            case "answer":
                content = {"status": {"error": fault.error}, "time": 0.0}
                self._send(fault.status, content, dict(fault.headers))
            case "silence":
                self.connection.recv(1)  # comes back when the client has given up
            case "drop":
                self.connection.shutdown(socket.SHUT_RDWR)
            case "cut":
                self._send(*done, promised=10_000)

    def _send(
        self,
        status: int,
        content: Any,
        headers: Mapping[str, str] | None = None,
        *,
        promised: int | None = None,
    ) -> None:
        data = json.dumps(content).encode()
        try:
            self.send_response(status)
            for key, value in (headers or {}).items():
                self.send_header(key, value)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(promised or len(data)))
            self.end_headers()
            self.wfile.write(data)
        except ConnectionError:  # the client is gone
            self.close_connection = True

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base's name
        """Say nothing."""
