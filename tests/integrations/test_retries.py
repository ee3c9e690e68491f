"""What is asked again, when, how often; and what is said when that does not help."""

from __future__ import annotations

import math
import random
import ssl
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import copy_context
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import grpc
import httpx
import pytest
import tenacity
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError
from qdrant_client import QdrantClient
from qdrant_client.common.client_exceptions import QdrantException, ResourceExhaustedResponse
from qdrant_client.http.exceptions import ResponseHandlingException, UnexpectedResponse

from jina_local.errors import EngineClosedError, InvalidOptionError, JinaLocalError
from jina_local_qdrant.errors import (
    AccessRefusedError,
    StoreError,
    StoreRefusedError,
    StoreUnavailableError,
    TooLargeError,
)
from jina_local_qdrant.interruption import pause, work_until
from jina_local_qdrant.retries import Retrier, RetryPolicy, Verdict, classify

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

RETRY, REFUSED, TOO_LARGE = Verdict("retry"), Verdict("refused"), Verdict("too large")
UNKNOWN = Verdict("unknown")


def answered(
    status: int, error: str = "", headers: dict[str, str] | None = None
) -> UnexpectedResponse:
    """What qdrant-client raises for an HTTP error of Qdrant."""
    response = httpx.Response(status, json={"status": {"error": error}}, headers=headers or {})
    failure = UnexpectedResponse.for_response(response)
    assert isinstance(failure, UnexpectedResponse)
    return failure


def proxied(status: int, body: str) -> UnexpectedResponse:
    """An HTTP error of something that is no Qdrant."""
    response = httpx.Response(status, text=body)
    return UnexpectedResponse(status, response.reason_phrase, response.content, response.headers)


def misread() -> ValidationError:
    class Result(BaseModel):
        count: int

    with pytest.raises(ValidationError) as caught:
        Result.model_validate({"count": "many"})
    return caught.value


def date_in_header(text: str) -> QdrantException:
    with pytest.raises(QdrantException) as caught:
        ResourceExhaustedResponse("slow down", text)  # type: ignore[arg-type]
    return caught.value


def untrusted() -> httpx.ConnectError:
    error = httpx.ConnectError("certificate verify failed")
    error.__cause__ = OSError("wrapped")
    error.__cause__.__cause__ = ssl.SSLCertVerificationError("self-signed certificate")
    return error


class Failed(grpc.RpcError):
    """A gRPC error as stubs raise it."""

    def __init__(self, code: grpc.StatusCode | None, details: str | None = None) -> None:
        self._code, self._details = code, details

    def code(self) -> grpc.StatusCode | None:
        return self._code

    def details(self) -> str | None:
        return self._details


# Judging errors

# as Qdrant, actix, tonic and grpc word them
TOO_LARGE_WORDS = [
    "Payload error: JSON payload (46866880 bytes) is larger than allowed (limit: 33554432 bytes).",
    "Payload error: JSON payload has exceeded limit (33554432 bytes).",
    "Bad request: Limit exceeded 256 > 100 for upsert limit. Help: Reduce the upsert limit",
    "Rate limiting exceeded: Write rate limit exceeded, request larger than rate limiter capacity, "
    "please try to split your request",
    "Error, decoded message length too large: found 8433026 bytes, the limit is: 4194304 bytes",
    "SERVER: Received message larger than max (8433026 vs. 4194304)",
    "Request Entity Too Large",
]


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504, 507])
def test_a_server_in_trouble_is_asked_again(status: int) -> None:
    assert classify(answered(status, "Service internal error: disk")) == RETRY
    assert classify(answered(status, headers={"Retry-After": "3"})) == Verdict("retry", 3.0)


@pytest.mark.parametrize("status", [301, 400, 401, 403, 404, 405, 409, 422])
def test_a_no_is_a_no(status: int) -> None:
    assert classify(answered(status, "Wrong input: Vector dimension error")) == REFUSED
    assert classify(proxied(status, "<html>no</html>")) == REFUSED


@pytest.mark.parametrize("words", TOO_LARGE_WORDS)
def test_a_request_can_be_too_large_in_many_words(words: str) -> None:
    assert classify(answered(400, words)) == TOO_LARGE
    assert classify(answered(429, words)) == TOO_LARGE
    assert classify(proxied(400, words)) == TOO_LARGE
    assert classify(Failed(grpc.StatusCode.OUT_OF_RANGE, words)) == TOO_LARGE
    assert classify(Failed(grpc.StatusCode.RESOURCE_EXHAUSTED, words)) == TOO_LARGE
    assert classify(answered(413)) == TOO_LARGE


@pytest.mark.parametrize(
    "words",
    [
        "Bad request: Filter condition limit reached (1 > 0)",
        "Forbidden: Global access is required",
        "Wrong input: Payload key is wrong. The request was: larger",
        "Service internal error: No space left on device",
    ],
)
def test_other_words_are_not_about_size(words: str) -> None:
    assert classify(answered(400, words)) == REFUSED
    assert classify(answered(500, words)) == RETRY


def test_a_rate_limit_says_how_long() -> None:
    assert classify(ResourceExhaustedResponse("slow down", 7)) == Verdict("retry", 7.0)
    assert classify(ResourceExhaustedResponse("slow down", -7)) == Verdict("retry", 0.0)


@pytest.mark.parametrize(
    ("header", "wait"),
    [("1.5", 1.5), ("Wed, 21 Oct 2015 07:28:00 GMT", 0.0), ("soon", None), ("inf", None)],
)
def test_a_header_that_the_client_cannot_read_is_read(header: str, wait: float | None) -> None:
    assert classify(date_in_header(header)) == Verdict("retry", wait)
    assert classify(answered(503, headers={"Retry-After": header})) == Verdict("retry", wait)


def test_other_errors_of_the_client_are_refusals() -> None:
    assert classify(QdrantException("of another kind")) == REFUSED


def test_a_date_to_come_is_a_long_wait() -> None:
    verdict = classify(answered(503, headers={"Retry-After": "Fri, 31 Dec 9998 23:59:59 GMT"}))
    assert verdict.wait is not None
    assert verdict.wait > 1e9


@pytest.mark.parametrize(
    "source",
    [
        httpx.ConnectError("refused"),
        httpx.ConnectTimeout("slow"),
        httpx.ReadTimeout("slow"),
        httpx.WriteTimeout("slow"),
        httpx.PoolTimeout("slow"),
        httpx.ReadError("reset"),
        httpx.RemoteProtocolError("Server disconnected without sending a response."),
        ConnectionResetError("reset"),
        TimeoutError("slow"),
    ],
)
def test_a_lost_connection_is_asked_again(source: Exception) -> None:
    assert classify(source) == RETRY
    assert classify(ResponseHandlingException(source)) == RETRY


@pytest.mark.parametrize(
    "source",
    [
        httpx.UnsupportedProtocol("Request URL is missing an 'http://' or 'https://' protocol."),
        httpx.LocalProtocolError("Illegal header value"),
        httpx.TooManyRedirects("round and round"),
        RuntimeError("Cannot send a request, as the client has been closed."),
        untrusted(),
        misread(),
    ],
)
def test_a_connection_that_can_never_work_is_refused(source: Exception) -> None:
    assert classify(ResponseHandlingException(source)) == REFUSED


@pytest.mark.parametrize("code", list(grpc.StatusCode))
def test_grpc_codes(code: grpc.StatusCode) -> None:
    passing = {
        "ABORTED", "CANCELLED", "DEADLINE_EXCEEDED", "INTERNAL", "RESOURCE_EXHAUSTED",
        "UNAVAILABLE", "UNKNOWN",
    }  # fmt: skip
    assert classify(Failed(code)) == (RETRY if code.name in passing else REFUSED)


def test_grpc_errors_without_a_code_are_asked_again() -> None:
    assert classify(Failed(None)) == RETRY
    assert classify(grpc.RpcError()) == RETRY


def test_without_grpc_everything_else_works(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "grpc")
    assert classify(answered(503)) == RETRY
    assert classify(RuntimeError("x")) == UNKNOWN


@pytest.mark.parametrize(
    "error", [ValueError("Wrong input"), misread(), UnicodeEncodeError("utf-8", "\ud800", 0, 1, "")]
)
def test_what_local_qdrant_refuses_is_refused(error: Exception) -> None:
    assert classify(error) == REFUSED


@pytest.mark.parametrize(
    "error",
    [
        KeyError("bug"),
        RuntimeError("closed"),
        MemoryError(),
        OSError(28, "No space left on device"),
        InvalidOptionError("judged: a ValueError"),
        StoreRefusedError("judged"),
        StoreUnavailableError("judged: a ConnectionError"),
        EngineClosedError("judged"),
        KeyboardInterrupt(),
        SystemExit(1),
    ],
)
def test_what_is_no_answer_of_a_store_is_not_judged(error: BaseException) -> None:
    assert classify(error) == UNKNOWN


# Repeating


@dataclass
class FakeTime:
    """A clock that only sleeping and working move."""

    now: float = 0.0
    naps: list[float] = field(default_factory=list)

    def sleep(self, seconds: float) -> None:
        self.naps.append(seconds)
        self.now += seconds

    def retrier(self, policy: RetryPolicy | None = None, **options: Any) -> Retrier:
        options = {"sleep": self.sleep, "clock": lambda: self.now, **options}
        return Retrier(policy or RetryPolicy(), **options)


@dataclass
class Flaky:
    """Raises its errors, one per call, and then returns "done"."""

    errors: list[BaseException]
    time: FakeTime | None = None
    seconds: float = 0.0
    calls: int = 0
    starts: list[float] = field(default_factory=list)

    def __call__(self) -> str:
        self.calls += 1
        if self.time is not None:
            self.starts.append(self.time.now)
            self.time.now += self.seconds
        if self.calls <= len(self.errors):
            raise self.errors[self.calls - 1]
        return "done"


def test_an_answer_is_returned_at_once() -> None:
    time, request = FakeTime(), Flaky([])
    assert time.retrier().call("counting", request) == "done"
    assert (request.calls, time.naps) == (1, [])


@given(failures=st.integers(0, 9), attempts=st.integers(1, 9))
def test_a_request_is_tried_as_often_as_allowed(failures: int, attempts: int) -> None:
    time, request = FakeTime(), Flaky([answered(503)] * failures)
    retrier = time.retrier(RetryPolicy(attempts=attempts))
    if failures < attempts:
        assert retrier.call("counting", request) == "done"
    else:
        with pytest.raises(StoreUnavailableError):
            retrier.call("counting", request)
    assert request.calls == min(failures + 1, attempts)
    assert len(time.naps) == request.calls - 1


@given(
    seed=st.integers(0, 2**32),
    first=st.floats(0, 10),
    longest=st.floats(0, 100),
    total=st.floats(0, 1000),
)
def test_waits_grow_up_to_the_longest_and_end_in_time(
    seed: int, first: float, longest: float, total: float
) -> None:
    policy = RetryPolicy(attempts=12, first_wait=first, longest_wait=longest, total_seconds=total)
    random.seed(seed)  # tenacity draws from it
    time, request = FakeTime(), Flaky([answered(500)] * 12)
    with pytest.raises(StoreUnavailableError):
        time.retrier(policy).call("counting", request)
    for number, nap in enumerate(time.naps):
        assert 0 <= nap <= min(longest, first * 2**number)
    assert time.now <= total * (1 + 1e-9)


def test_waits_are_drawn_from_all_of_their_range() -> None:
    """Full jitter: clients that failed together do not come back together."""
    policy = RetryPolicy(attempts=2, first_wait=1.0)
    naps = []
    for seed in range(200):
        random.seed(seed)
        time = FakeTime()
        time.retrier(policy).call("counting", Flaky([answered(503)]))
        naps += time.naps
    assert min(naps) < 0.1
    assert max(naps) > 0.9


def test_no_try_begins_when_the_time_is_over() -> None:
    time = FakeTime()
    request = Flaky([answered(503)] * 8, time, seconds=40.0)
    policy = RetryPolicy(first_wait=0.0, total_seconds=100.0)
    with pytest.raises(StoreUnavailableError, match=r"tried 3 times in 120\.0 s"):
        time.retrier(policy).call("counting", request)
    assert request.starts == [0.0, 40.0, 80.0]


def test_a_wait_that_was_asked_for_is_kept() -> None:
    time = FakeTime()
    errors = [ResourceExhaustedResponse("slow", 7), answered(503, headers={"Retry-After": "61"})]
    assert time.retrier().call("counting", Flaky([*errors])) == "done"
    assert time.naps == [7.0, 61.0]  # longer than longest_wait


def test_a_wait_that_was_asked_for_is_not_cut_to_what_is_allowed() -> None:
    time, request = FakeTime(), Flaky([ResourceExhaustedResponse("slow", 601)])
    with pytest.raises(StoreUnavailableError, match=r"asks to wait 601 s.* total_seconds = 600"):
        time.retrier().call("counting", request)
    assert (request.calls, time.naps) == (1, [])


@pytest.mark.parametrize("asked", [0, 1])
def test_a_short_wait_that_was_asked_for_does_not_shorten_ours(asked: int) -> None:
    random.seed(1)
    time = FakeTime()
    errors = [ResourceExhaustedResponse("slow", asked) for _ in range(5)]
    time.retrier().call("counting", Flaky([*errors]))
    assert min(time.naps) >= asked
    assert max(time.naps) > 2.0


def test_without_time_there_is_one_try() -> None:
    time, request = FakeTime(), Flaky([answered(503)])
    with pytest.raises(StoreUnavailableError, match=r"tried once in 0\.0 s"):
        time.retrier(RetryPolicy(total_seconds=0)).call("counting", request)
    assert (request.calls, time.naps) == (1, [])


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (answered(400, "Wrong input"), StoreRefusedError),
        (Failed(grpc.StatusCode.INVALID_ARGUMENT), StoreRefusedError),
        (ValueError("Wrong input"), StoreRefusedError),
        (answered(413), TooLargeError),
    ],
)
def test_a_refusal_is_raised_after_one_try(error: Exception, kind: type[StoreError]) -> None:
    time, request = FakeTime(), Flaky([error])
    with pytest.raises(kind) as caught:
        time.retrier().call("writing 3 points", request)
    assert type(caught.value) is kind
    assert caught.value.__cause__ is error
    assert (request.calls, time.naps) == (1, [])


def test_a_refusal_after_a_retry_is_a_refusal() -> None:
    time, request = FakeTime(), Flaky([answered(503), answered(400), answered(503)])
    with pytest.raises(StoreRefusedError):
        time.retrier().call("writing", request)
    assert request.calls == 2


@pytest.mark.parametrize(
    "error",
    [
        KeyError("bug"),
        KeyboardInterrupt(),
        SystemExit(1),
        InvalidOptionError("x"),
        StoreUnavailableError("of a store within"),
        tenacity.RetryError(tenacity.Future(1)),
    ],
)
def test_what_is_not_understood_is_raised_as_it_is(error: BaseException) -> None:
    time, request = FakeTime(), Flaky([error])
    with pytest.raises(type(error)) as caught:
        time.retrier().call("writing", request)
    assert caught.value is error
    assert (request.calls, time.naps) == (1, [])


def test_ctrl_c_ends_a_wait() -> None:
    def interrupt(_seconds: float) -> None:
        raise KeyboardInterrupt

    request = Flaky([answered(503)])
    with pytest.raises(KeyboardInterrupt):
        Retrier(RetryPolicy(), sleep=interrupt).call("writing", request)
    assert request.calls == 1


def interruptible(work: Callable[[threading.Event], None]) -> None:
    """Run in a context of its own what an event interrupts."""
    interrupted = threading.Event()
    context = copy_context()
    context.run(work_until, interrupted)
    context.run(work, interrupted)


def test_an_interruption_during_a_wait_is_the_end() -> None:
    def work(interrupted: threading.Event) -> None:
        request = Flaky([answered(503)] * 2)
        retrier = Retrier(RetryPolicy(), sleep=lambda _seconds: interrupted.set())
        with pytest.raises(StoreUnavailableError, match=r"^writing: interrupted before .* answer"):
            retrier.call("writing", request)
        assert request.calls == 1

    interruptible(work)


@pytest.mark.parametrize(("failures", "kind"), [(0, None), (1, StoreUnavailableError)])
def test_what_has_begun_before_an_interruption_is_tried_once(
    failures: int, kind: type[StoreError] | None
) -> None:
    def work(interrupted: threading.Event) -> None:
        time, request = FakeTime(), Flaky([answered(503)] * failures)
        interrupted.set()
        if kind is None:
            assert time.retrier().call("writing", request) == "done"
        else:
            with pytest.raises(kind, match="tried once"):
                time.retrier().call("writing", request)
        assert (request.calls, time.naps) == (1, [])

    interruptible(work)


def test_a_wait_ends_when_it_is_interrupted() -> None:
    def work(interrupted: threading.Event) -> None:
        interrupted.set()
        pause(threading.TIMEOUT_MAX)

    interruptible(work)


def test_retries_are_reported_before_each_wait() -> None:
    time, told = FakeTime(), []

    def tell(happened: str, wait: float) -> None:
        told.append((happened, wait, len(time.naps)))

    errors = [answered(503, "Service is starting"), httpx.ReadTimeout("timed out")]
    retrier = time.retrier(on_retry=tell)
    retrier.call("counting points", Flaky([*errors]))
    assert [wait for _, wait, _ in told] == time.naps
    assert [slept for *_, slept in told] == [0, 1]
    assert told[0][0] == (
        "counting points: the server says 503 Service Unavailable: Service is starting"
    )
    assert told[1][0] == "counting points: ReadTimeout: timed out"


def test_one_retrier_serves_threads() -> None:
    retrier = Retrier(RetryPolicy(attempts=4), sleep=lambda _seconds: None)
    requests = [Flaky([answered(503)] * (n % 4)) for n in range(40)]
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda request: retrier.call("counting", request), requests))
    assert results == ["done"] * 40
    assert [request.calls for request in requests] == [n % 4 + 1 for n in range(40)]


# Messages


def failure(error: BaseException, policy: RetryPolicy | None = None) -> JinaLocalError:
    with pytest.raises(JinaLocalError) as caught:
        FakeTime().retrier(policy).call("writing 3 points", Flaky([error] * 99))
    return caught.value


def test_a_message_says_what_was_tried_how_long_and_what_the_server_said() -> None:
    time = FakeTime()
    request = Flaky([answered(503, "Service is starting")] * 3, time, seconds=2.0)
    policy = RetryPolicy(attempts=3, first_wait=0.0)
    with pytest.raises(StoreUnavailableError) as caught:
        time.retrier(policy).call("writing 3 points ('docs')", request)
    assert str(caught.value) == (
        "writing 3 points ('docs'): tried 3 times in 6.0 s without a good answer; the server says "
        "503 Service Unavailable: Service is starting; see whether the store is up and not "
        "overloaded, then run again: what is written stays"
    )
    assert caught.value.__cause__ is request.errors[-1]


@pytest.mark.parametrize(
    ("error", "words", "advice"),
    [
        (answered(401, "Must provide an API key"), "401 Unauthorized: Must provide", "API key"),
        (Failed(grpc.StatusCode.PERMISSION_DENIED, "no"), "PERMISSION_DENIED: no", "API key"),
        (answered(404, "Collection `a` doesn't exist!"), "Collection `a` doesn't", "collection"),
        (proxied(404, "<h1>nginx</h1>"), "404 Not Found: <h1>nginx</h1>", "URL"),
        (answered(422, "vectors: wrong"), "422 Unprocessable Entity: vectors", "has to change"),
        (ValueError("Wrong input"), "ValueError: Wrong input", "has to change"),
        (ResponseHandlingException(misread()), "ValidationError: 1 validation", "version"),
        (ResponseHandlingException(untrusted()), "certificate verify failed", "certificate"),
    ],
)
def test_a_refusal_says_what_to_do(error: Exception, words: str, advice: str) -> None:
    message = str(failure(error))
    assert message.startswith("writing 3 points: refused; ")
    assert words in message
    assert advice in message.rpartition("; ")[2]


NO_POINT = "Not found: No point with id 19dc6fa8-0000-0000-0000-000000000000 found"


@pytest.mark.parametrize(
    "error", [answered(404, NO_POINT), Failed(grpc.StatusCode.NOT_FOUND, NO_POINT)]
)
def test_a_point_that_is_missing_is_not_a_matter_of_access(error: Exception) -> None:
    """It is one document's, which can be given up; where all is missing, none can be written."""
    missing = failure(error)
    assert type(missing) is StoreRefusedError
    assert "No point with id 19dc6fa8" in str(missing)
    assert "the point is not there" in str(missing).rpartition("; ")[2]
    assert type(failure(answered(404, "Collection `a` doesn't exist!"))) is AccessRefusedError
    assert type(failure(answered(401, NO_POINT))) is AccessRefusedError


def test_long_answers_are_cut_to_a_line() -> None:
    message = str(failure(proxied(400, "no\n" * 10_000)))
    assert len(message) < 500
    assert "\n" not in message
    assert "…" in message


def test_an_answer_that_is_no_text_is_shown() -> None:
    error = UnexpectedResponse(400, "Bad Request", b"\xff\xfe", httpx.Headers())
    assert "400 Bad Request: \ufffd" in str(failure(error))
    error = UnexpectedResponse(400, "Bad Request", b"[1]", httpx.Headers())
    assert "400 Bad Request: [1]" in str(failure(error))


# Policies


@pytest.mark.parametrize("attempts", [0, -1, 1.5, True, "8", None])
def test_attempts_are_a_positive_integer(attempts: Any) -> None:
    with pytest.raises(InvalidOptionError, match="attempts"):
        Retrier(RetryPolicy(attempts=attempts))


@pytest.mark.parametrize("name", ["first_wait", "longest_wait", "total_seconds"])
@pytest.mark.parametrize("seconds", [-0.1, math.nan, math.inf, True, "1", None])
def test_times_are_seconds(name: str, seconds: Any) -> None:
    with pytest.raises(InvalidOptionError, match=name):
        RetryPolicy(**{name: seconds}).check()


def test_zero_waits_are_fine() -> None:
    RetryPolicy(attempts=1, first_wait=0, longest_wait=0, total_seconds=0).check()


# gRPC for real: what the client makes of a server's status


class Aborting(grpc.GenericRpcHandler):
    """Answers every call with one status."""

    code = grpc.StatusCode.UNAVAILABLE
    details = ""
    trailing: tuple[tuple[str, str], ...] = ()
    calls = 0

    def service(self, _call: Any) -> Any:
        return grpc.unary_unary_rpc_method_handler(self._abort)

    def _abort(self, _request: bytes, context: grpc.ServicerContext) -> None:
        self.calls += 1
        context.set_trailing_metadata(self.trailing)
        context.abort(self.code, self.details)


@contextmanager
def grpc_client(handler: Aborting) -> Iterator[Callable[[], object]]:
    server = grpc.server(ThreadPoolExecutor(1), handlers=[handler])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    client = QdrantClient(
        host="127.0.0.1", grpc_port=port, prefer_grpc=True, check_compatibility=False, timeout=60
    )
    try:
        yield lambda: client.count("docs")
    finally:
        client.close()
        server.stop(None).wait()


@pytest.mark.parametrize(
    ("code", "kind", "calls"),
    [
        (grpc.StatusCode.UNAVAILABLE, StoreUnavailableError, 3),
        (grpc.StatusCode.INVALID_ARGUMENT, StoreRefusedError, 1),
        (grpc.StatusCode.NOT_FOUND, StoreRefusedError, 1),
    ],
)
def test_grpc_answers(code: grpc.StatusCode, kind: type[StoreError], calls: int) -> None:
    handler, time = Aborting(), FakeTime()
    handler.code, handler.details = code, "Wrong input: words of the server"
    retrier = time.retrier(RetryPolicy(attempts=3))
    with (
        grpc_client(handler) as count,
        pytest.raises(kind, match=f"{code.name}: Wrong input: words of the server"),
    ):
        retrier.call("counting", count)
    assert (handler.calls, len(time.naps)) == (calls, calls - 1)


def test_grpc_says_how_long_to_wait() -> None:
    handler, time = Aborting(), FakeTime()
    handler.code, handler.trailing = grpc.StatusCode.RESOURCE_EXHAUSTED, (("retry-after", "7"),)
    with grpc_client(handler) as count, pytest.raises(StoreUnavailableError, match="429"):
        time.retrier(RetryPolicy(attempts=3)).call("counting", count)
    assert time.naps == [7.0, 7.0]


def test_grpc_says_what_is_too_large() -> None:
    handler = Aborting()
    handler.code, handler.details = grpc.StatusCode.OUT_OF_RANGE, TOO_LARGE_WORDS[4]
    with grpc_client(handler) as count, pytest.raises(TooLargeError):
        FakeTime().retrier().call("counting", count)
    assert handler.calls == 1
