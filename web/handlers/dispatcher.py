"""The dispatcher: finds the endpoint of a request, calls it, and finalizes its answer.

A lane reads the head and calls `begin`; if that is no answer yet it reads a
body of at most `max_body` bytes and calls `complete`.
"""

from __future__ import annotations

import dataclasses
import logging
import secrets
from itertools import cycle
from time import perf_counter
from typing import TYPE_CHECKING, Final, NamedTuple

from actors.core import Histogram
from web.handlers.addresses import client_address
from web.handlers.compression import ENCODED, VARY, Wish, wish_of
from web.handlers.cors import Cors, is_preflight
from web.handlers.http import Answer, OpenStream, Request, error
from web.handlers.paths import split_target
from web.handlers.routes import endpoint_of
from web.handlers.tracing import REQUEST_ID, echo, facts_of

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from web.handlers.http import HeadCheck, Reply
    from web.handlers.routes import Endpoint, Route, Routes
    from web.settings_types import Network

logger = logging.getLogger(__name__)

# How long a client may take for a whole body, beside what a slow one has to send at the least.
BODY_S: Final = 10.0
BODY_BYTES_PER_S: Final = 1024.0
BODY_TOO_SLOW: Final = error(408, "request_timeout", "the body did not arrive in time")
# Somebody before us may have read it the other way, so nothing that follows
# on this connection can be trusted (RFC 9112, section 6.3).
TWO_LENGTHS: Final = error(
    400,
    "bad_request",
    "either Content-Length or Transfer-Encoding",
    headers=(("Connection", "close"),),
)
BAD_LENGTH: Final = error(400, "bad_request", "Content-Length is no number")
ENCODED_BODY: Final = error(
    415, "unsupported_media_type", "a body may not be encoded", headers=(("Accept-Encoding", "identity"),)
)
# Of so many requests that are answered inline one is timed: reading the clock takes 1 % of answering them.
SAMPLE_EVERY: Final = 16
_WITH_BODY: Final = frozenset({"PUT", "POST", "PATCH"})
# What a target of `*` may be asked with (RFC 9110, section 9.3.7).
ANYTHING: Final = Answer(204, headers=(("Allow", "GET, HEAD, PUT, POST, PATCH, DELETE, OPTIONS"),))


class Pending(NamedTuple):
    """A request whose head is fine and whose body has not been read.

    Attributes:
        route: What the path means.
        endpoint: What answers the method.
        request: The request without its body.
    """

    route: Route
    endpoint: Endpoint
    request: Request

    @property
    def max_body(self) -> int:
        """Bytes of body the endpoint takes; more is its `too_large`."""
        return self.endpoint.max_body


class Dispatcher:
    """Routes requests to endpoints; adds CORS headers to every answer, counts it, and turns faults into 500.

    Args:
        routes: All paths.
        cors: Which other origins may read.
        trusted: Proxies whose `X-Forwarded-For` is believed.
        compresses_streams: Whether streams are sent as gzip to clients that take it.

    Attributes:
        faults: Requests that met a fault of ours.
        answers: Answers by status.
        durations: From the whole request to its answer, by route and method. A stream counts until it opens.
    """

    def __init__(
        self,
        routes: Routes,
        *,
        cors: Cors | None = None,
        trusted: Collection[Network] = (),
        compresses_streams: bool = False,
    ) -> None:
        self._compresses_streams = compresses_streams
        self._routes = routes
        self._cors = cors or Cors()
        self._trusted = trusted
        self.faults = 0
        self.answers: dict[int, int] = {}
        self.durations: dict[tuple[str, ...], Histogram] = {
            (route.pattern, method): Histogram() for route in routes for method in route.endpoints
        }
        # The first is a sample, so that a route that was asked at all shows up.
        self._is_sampled = cycle((True, *(False,) * (SAMPLE_EVERY - 1)))

    def begin(
        self, method: str, target: str, headers: Mapping[str, str], *, peer: str, http2: bool = False
    ) -> Pending | Answer:
        """Find what answers; refuse what can be refused before a body is read."""
        found = self.find(method, target, headers, peer=peer, http2=http2)
        return self.finalize(found, headers) if isinstance(found, Answer) else found

    def find(
        self, method: str, target: str, headers: Mapping[str, str], *, peer: str, http2: bool = False
    ) -> Pending | Answer:
        """As `begin`, but a refusal is not finalized yet, and nothing is counted."""
        if target == "*" and method == "OPTIONS":
            return ANYTHING
        path, query = split_target(target)
        found = self._routes.find(path)
        if isinstance(found, Answer):
            return found
        route, segments = found
        endpoint = route.endpoints.get(method)
        if endpoint is None:
            if is_preflight(method, headers):
                return self._cors.preflight(headers, route.allow, route.grant)
            other = endpoint_of(route, method)
            if isinstance(other, Answer):
                return other
            endpoint = other
        refusal = _body_refusal(method, headers, endpoint)
        if refusal is not None:
            return refusal
        client = peer
        if self._trusted:
            client = client_address(peer, headers.get("x-forwarded-for"), self._trusted)
        asked = "GET" if method == "HEAD" else method
        request = Request(asked, segments, query, headers, b"", client, http2, peer)
        pending = Pending(route, endpoint, request)
        return pending if endpoint.check is None else self._check(pending, endpoint.check)

    def _check(self, pending: Pending, check: HeadCheck) -> Pending | Answer:
        """Ask the endpoint about the head."""
        try:
            return check(pending.request) or pending
        except Exception:  # noqa: BLE001  # see `complete`
            return self.fault(pending.request.method, pending.route.pattern, pending.request.headers)

    def complete_at_once(self, pending: Pending, last: str, body: bytes) -> Answer | None:
        """As `complete`, where the endpoint answers without waiting; None where it does not.

        Args:
            pending: A request like this one.
            last: The last segment of the path, instead of the one in `pending`; it need not be plain.
            body: The body.
        """
        at_once = pending.endpoint.at_once
        if at_once is None:
            return None
        headers = pending.request.headers
        began = self.sampled_clock()
        try:
            answer = at_once(last, headers, body)
        except Exception:  # noqa: BLE001  # see `complete`
            answer = self.fault(pending.request.method, pending.route.pattern, pending.request.headers)
        if answer is None:
            return None
        if began:
            self._time(pending, began, SAMPLE_EVERY)
        return self.finalize(answer, headers)

    def complete_later(self, pending: Pending, last: str, body: bytes, reply: Reply) -> bool:
        """As `complete_at_once`, where the answer may come later; false where the endpoint does not do that.

        Args:
            pending: As for `complete_at_once`.
            last: The same.
            body: The same.
            reply: Called once with what `answer_later` is to be called with, after the first two.
        """
        by_callback = pending.endpoint.by_callback
        if by_callback is None:
            return False
        request = pending.request
        try:
            return by_callback(last, request.headers, body, reply)
        except Exception:  # noqa: BLE001  # see `complete`
            reply(self.fault, request.method, pending.route.pattern, request.headers)
            return True

    def sampled_clock(self) -> float:
        """The clock for one request in `SAMPLE_EVERY`, else 0: for `answer_later`."""
        return perf_counter() if next(self._is_sampled) else 0.0

    def answer_later(
        self, pending: Pending, began: float, make: Callable[..., Answer], *facts: object
    ) -> Answer:
        """What an endpoint has answered by callback: `make(*facts)`, or 500."""
        headers = pending.request.headers
        try:
            answer = make(*facts)
        except Exception:  # noqa: BLE001  # see `complete`
            answer = self.fault(pending.request.method, pending.route.pattern, headers)
        if began:
            self._time(pending, began, SAMPLE_EVERY)
        return self.finalize(answer, headers)

    async def complete(self, pending: Pending, body: bytes) -> Answer | OpenStream:
        """The answer, now that the body is here. A fault of ours is a 500 with an id that is in the log."""
        request = pending.request
        if body:
            request = request._replace(body=body)
        began = perf_counter()
        try:
            answer = await pending.endpoint.handler(request)
        except Exception:  # noqa: BLE001  # the border to strangers: they get an answer, the log the trace
            answer = self.fault(request.method, pending.route.pattern, request.headers)
        self._time(pending, began, 1)
        if isinstance(answer, Answer):
            return self.finalize(answer, request.headers)
        added = self._cors.headers(request.headers) + echo(request.headers)
        if self._compresses_streams:
            added += VARY
            if wish_of(request.headers) is not Wish.NO:
                answer = dataclasses.replace(answer, headers=answer.headers + ENCODED, is_compressed=True)
        return dataclasses.replace(answer, headers=answer.headers + added) if added else answer

    def _time(self, pending: Pending, began: float, weight: int) -> None:
        durations = self.durations[pending.route.pattern, pending.request.method]
        durations.observe(perf_counter() - began, weight)

    def fault(self, method: str, path: str, headers: Mapping[str, str]) -> Answer:
        """A 500 for the exception being handled, which goes to the log with the same id."""
        fault_id = secrets.token_hex(8)
        self.faults += 1
        facts = {"fault_id": fault_id, "method": method, "route": path, **facts_of(headers)}
        logger.exception("request_failed", extra=facts)  # noqa: LOG004  # called where one is handled
        return error(500, "internal_error", id=fault_id)

    def finalize(self, answer: Answer, request_headers: Mapping[str, str]) -> Answer:
        """The answer with what holds for all of them, counted."""
        added = self._cors.headers(request_headers)
        if REQUEST_ID in request_headers:
            added += echo(request_headers)
        status = answer.status
        self.answers[status] = self.answers.get(status, 0) + 1
        return answer._replace(headers=answer.headers + added) if added else answer


def _body_refusal(method: str, headers: Mapping[str, str], endpoint: Endpoint) -> Answer | None:
    """Why the body is refused before it is read."""
    if method in _WITH_BODY and (headers.get("content-encoding") or "identity").lower() != "identity":
        return ENCODED_BODY
    length = headers.get("content-length")
    if length is None:
        return None
    if "transfer-encoding" in headers:
        return TWO_LENGTHS
    if not (length.isascii() and length.isdecimal()):
        return BAD_LENGTH
    # So many digits that converting them would be work.
    is_too_large = len(length) > 18 or int(length) > endpoint.max_body  # noqa: PLR2004
    return endpoint.too_large if is_too_large else None
