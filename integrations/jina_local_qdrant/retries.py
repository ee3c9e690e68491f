"""Ask a store again when asking again can help, and say plainly when it cannot.

Points have ids of their own, so that writing or deleting them twice is writing or deleting them
once. A request that got no answer is repeated, therefore, though it may have been carried out.
"""

from __future__ import annotations

import json
import math
import re
import ssl
import sys
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeVar

import httpx
from qdrant_client.common.client_exceptions import QdrantException, ResourceExhaustedResponse
from qdrant_client.http.exceptions import ResponseHandlingException, UnexpectedResponse
from tenacity import RetryCallState, Retrying, retry_if_exception, wait_random_exponential

from jina_local.errors import InvalidOptionError, JinaLocalError
from jina_local.inputs import check_integer
from jina_local_qdrant.errors import (
    AccessRefusedError,
    StoreError,
    StoreRefusedError,
    StoreUnavailableError,
    TooLargeError,
)
from jina_local_qdrant.interruption import is_interrupted, pause

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["Kind", "Retrier", "RetryPolicy", "Verdict", "classify"]

T = TypeVar("T")

Kind = Literal["retry", "refused", "too large", "unknown"]


class Verdict(NamedTuple):
    """What to do about an error.

    Attributes:
        kind: "retry": asking again may help. "refused": it would not. "too large": it would with a
            smaller request. "unknown": no answer of a store; raise it as it is.
        wait: Seconds that the store asked to be left alone for; `None` if it did not say.
    """

    kind: Kind
    wait: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """How often and how long to ask a store that does not answer.

    Attributes:
        attempts: Tries in all.
        first_wait: Seconds: the longest wait before the second try. It doubles with each try, and
            each wait is drawn between nothing and the longest.
        longest_wait: Seconds that it does not double beyond; a store may ask for more.
        total_seconds: Seconds after which no try begins.
    """

    attempts: int = 8
    first_wait: float = 0.5
    longest_wait: float = 30.0
    total_seconds: float = 600.0

    def check(self) -> None:
        """Refuse what is no policy.

        Raises:
            InvalidOptionError: If `attempts` is no positive integer, or a time no number of
                seconds.
        """
        check_integer("attempts", self.attempts, 1)
        for name in ("first_wait", "longest_wait", "total_seconds"):
            seconds = getattr(self, name)
            is_number = isinstance(seconds, int | float) and not isinstance(seconds, bool)
            if not is_number or not 0 <= seconds < math.inf:
                msg = f"{name} is {seconds!r}; give a number of seconds, 0 or more"
                raise InvalidOptionError(msg)


class Retrier:
    """Repeats requests as a policy says, or only until the work is interrupted.

    Args:
        policy: How often and how long.
        sleep: Waits so many seconds, or until the work is interrupted.
        clock: Seconds that only grow.
        on_retry: Called before each wait with what happened and the seconds to wait.

    Raises:
        InvalidOptionError: If the policy is none.
    """

    def __init__(
        self,
        policy: RetryPolicy,
        *,
        sleep: Callable[[float], None] = pause,
        clock: Callable[[], float] = time.monotonic,
        on_retry: Callable[[str, float], None] | None = None,
    ) -> None:
        policy.check()
        self._policy = policy
        self._sleep = sleep
        self._clock = clock
        self._on_retry = on_retry
        self._backoff = wait_random_exponential(
            multiplier=policy.first_wait, max=policy.longest_wait
        )

    def call(self, what: str, function: Callable[[], T]) -> T:
        """The result of a request that is repeated until it is answered.

        Args:
            what: What the request does, for messages: "writing 256 points".
            function: Makes the request; repeating it must do no harm.

        Raises:
            TooLargeError: If the store may take the request in parts; at once.
            StoreRefusedError: If the store says no for good; at once.
            AccessRefusedError: If it would say so to any other request, too.
            StoreUnavailableError: If there was no good answer within the policy, or before the
                work was interrupted.
        """
        start = self._clock()
        tries = 0

        def attempt() -> T:
            nonlocal tries
            tries += 1
            return function()

        def left() -> float:
            return self._policy.total_seconds - (self._clock() - start)

        def asked(state: RetryCallState) -> float:
            return classify(_outcome(state)).wait or 0.0

        def wait(state: RetryCallState) -> float:
            return max(min(self._backoff(state), left()), asked(state), 0.0)

        def is_over(state: RetryCallState) -> bool:
            is_late = tries >= self._policy.attempts or asked(state) >= left()
            return is_late or is_interrupted()

        def sleep(seconds: float) -> None:
            self._sleep(seconds)
            if is_interrupted():
                msg = f"{what}: interrupted before there was a good answer; what is written stays"
                raise StoreUnavailableError(msg)

        retrying = Retrying(
            sleep=sleep,
            wait=wait,
            stop=is_over,
            retry=retry_if_exception(lambda error: classify(error).kind == "retry"),
            before_sleep=lambda state: self._report(what, state),
            reraise=True,
        )
        try:
            return retrying(attempt)
        except Exception as error:
            verdict = classify(error)
            if verdict.kind == "unknown":
                raise
            elapsed = self._clock() - start
            raise self._failure(what, error, verdict, tries, elapsed) from error

    def _report(self, what: str, state: RetryCallState) -> None:
        if self._on_retry is not None:
            self._on_retry(f"{what}: {_words(_outcome(state))}", state.upcoming_sleep)

    def _failure(
        self, what: str, error: Exception, verdict: Verdict, tries: int, elapsed: float
    ) -> StoreError:
        words = _words(error)
        if verdict.kind == "too large":
            return TooLargeError(f"{what}: too large for the store, send less at once; {words}")
        if verdict.kind == "refused":
            kind = AccessRefusedError if _is_about_access(error) else StoreRefusedError
            return kind(f"{what}: refused; {words}; {_advice(error)}")
        times = "once" if tries == 1 else f"{tries} times"
        asked = ""
        if verdict.wait and verdict.wait >= self._policy.total_seconds - elapsed:
            asked = (
                f"; it asks to wait {verdict.wait:g} s, more than is left of total_seconds = "
                f"{self._policy.total_seconds:g}"
            )
        return StoreUnavailableError(
            f"{what}: tried {times} in {elapsed:.1f} s without a good answer; {words}{asked}; see "
            "whether the store is up and not overloaded, then run again: what is written stays"
        )


def classify(error: BaseException) -> Verdict:
    """Whether asking again can help, and when.

    Args:
        error: What a request raised.
    """
    if _grpc_code(error) is not None:
        return _classify_grpc(error)
    for types, judge in _JUDGES:
        if isinstance(error, types):
            return judge(error)
    return Verdict("unknown")


# What the servers say when a smaller request would do: HTTP and gRPC limits on bytes, strict mode's
# limits on points, and a rate limit below the number of points.
_TOO_LARGE = re.compile(
    r"(payload|message|request|body|entity)\b[^.]{0,60}?"
    r"(too large|larger than (max|allowed|the)|exceeded limit)"
    r"|limit exceeded \d+ > \d+ for .?upsert limit"
    r"|larger than rate limiter capacity",
    re.IGNORECASE,
)
_RETRIED_STATUS = {HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS}
_RETRIED_CODES = {
    "ABORTED",
    "CANCELLED",
    "DEADLINE_EXCEEDED",
    "INTERNAL",  # what HTTP calls 500
    "RESOURCE_EXHAUSTED",
    "UNAVAILABLE",
    "UNKNOWN",  # what proxies make of a lost connection
}


def _too_large_or(kind: Kind, text: str, wait: float | None = None) -> Verdict:
    return Verdict("too large") if _TOO_LARGE.search(text) else Verdict(kind, wait)


def _classify_status(error: UnexpectedResponse) -> Verdict:
    status = error.status_code or 0
    if status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
        return Verdict("too large")
    if status in _RETRIED_STATUS or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        wait = _seconds(error.headers.get("Retry-After", "")) if error.headers else None
        return _too_large_or("retry", _content(error), wait)
    return _too_large_or("refused", _content(error))


def _classify_rate_limit(error: ResourceExhaustedResponse) -> Verdict:
    return _too_large_or("retry", error.message, max(float(error.retry_after_s), 0.0))


def _classify_header(error: QdrantException) -> Verdict:
    """A 429 whose Retry-After is a date or a fraction, on which the client chokes."""
    if "Retry-After" not in str(error):
        return Verdict("refused")
    return Verdict("retry", _seconds(str(error).partition(": ")[2]))


def _classify_transport(source: BaseException) -> Verdict:
    """A connection that failed; an answer that is not understood will be no better next time."""
    is_wrong_address = isinstance(source, httpx.UnsupportedProtocol | httpx.LocalProtocolError)
    is_untrusted = any(isinstance(e, ssl.SSLCertVerificationError) for e in _causes(source))
    if is_wrong_address or is_untrusted:
        return Verdict("refused")
    return Verdict("retry" if isinstance(source, _CONNECTION_ERRORS) else "refused")


def _classify_grpc(error: BaseException) -> Verdict:
    kind: Kind = "retry" if _grpc_code(error) in _RETRIED_CODES else "refused"
    return _too_large_or(kind, _grpc_details(error))


_CONNECTION_ERRORS = (httpx.TransportError, ConnectionError, TimeoutError)
_JUDGES: tuple[
    tuple[type[BaseException] | tuple[type[BaseException], ...], Callable[[Any], Verdict]], ...
] = (
    (JinaLocalError, lambda _: Verdict("unknown")),  # has been judged
    (UnexpectedResponse, _classify_status),
    (ResourceExhaustedResponse, _classify_rate_limit),
    (QdrantException, _classify_header),
    (ResponseHandlingException, lambda error: _classify_transport(error.source)),
    (_CONNECTION_ERRORS, _classify_transport),
    (ValueError, lambda _: Verdict("refused")),  # local collections, the client's own checks
)


def _grpc_code(error: BaseException) -> str | None:
    """The name of a gRPC status, without importing gRPC: who raised it has."""
    grpc = sys.modules.get("grpc")
    if grpc is None or not isinstance(error, grpc.RpcError):
        return None
    code = getattr(error, "code", None)
    return str(getattr(code() if callable(code) else None, "name", "UNKNOWN"))


def _grpc_details(error: BaseException) -> str:
    details = getattr(error, "details", None)
    return str((details() if callable(details) else None) or "")


def _seconds(text: str) -> float | None:
    """The value of a Retry-After header: seconds, or a date; `None` if it is neither."""
    try:
        seconds = float(text)
    except ValueError:
        try:
            date = parsedate_to_datetime(text)
        except ValueError:
            return None
        seconds = (date.replace(tzinfo=UTC) - datetime.now(UTC)).total_seconds()
    return max(seconds, 0.0) if math.isfinite(seconds) else None


def _outcome(state: RetryCallState) -> BaseException:
    error = state.outcome.exception() if state.outcome is not None else None
    return error if error is not None else RuntimeError("tenacity asked about a success")


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__


# Messages

_WORDS_AT_MOST = 300


def _words(error: BaseException) -> str:
    """What the other side said, shortened to a line."""
    if isinstance(error, UnexpectedResponse):
        said = f"the server says {error.status_code} {error.reason_phrase}: {_content(error)}"
    elif isinstance(error, ResourceExhaustedResponse):
        said = f"the server says 429 Too Many Requests: {error.message}"
    elif isinstance(error, ResponseHandlingException):
        said = _named(error.source)
    elif (code := _grpc_code(error)) is not None:
        said = f"the server says {code}: {_grpc_details(error)}"
    else:
        said = _named(error)
    said = " ".join(said.split()).rstrip(".:")
    return said if len(said) <= _WORDS_AT_MOST else f"{said[: _WORDS_AT_MOST - 1]}…"


def _named(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"


def _content(error: UnexpectedResponse) -> str:
    """Qdrant's own words in the body of an answer, or the body."""
    text = (error.content or b"").decode(errors="replace")
    try:
        return str(json.loads(text)["status"]["error"])
    except (ValueError, KeyError, TypeError):  # a proxy's words
        return text


_NO_RIGHT = {401, 403, "UNAUTHENTICATED", "PERMISSION_DENIED"}
_NOT_THERE = {404, "NOT_FOUND", "UNIMPLEMENTED"}
_NO_POINT = re.compile(r"\bno point with id\b", re.IGNORECASE)


def _status(error: BaseException) -> int | str | None:
    return error.status_code if isinstance(error, UnexpectedResponse) else _grpc_code(error)


def _is_about_access(error: BaseException) -> bool:
    return _status(error) in _NO_RIGHT | _NOT_THERE and not _is_about_a_point(error)


def _is_about_a_point(error: BaseException) -> bool:
    """Whether all is there but a point that the request is about."""
    if _status(error) not in _NOT_THERE:
        return False
    said = _content(error) if isinstance(error, UnexpectedResponse) else _grpc_details(error)
    return _NO_POINT.search(said) is not None


def _advice(error: BaseException) -> str:
    if _is_about_a_point(error):
        return "the point is not there: see what else deletes points, and ingest its document again"
    if _status(error) in _NO_RIGHT:
        return "check the API key and what it may do"
    if _status(error) in _NOT_THERE:
        return "check the URL, the name of the collection and the version of the server"
    if isinstance(error, ResponseHandlingException):
        return "check the client, its URL and certificate, and that the server's version fits"
    return "asking again would not help: the request has to change"
