"""Requests to one HTTP peer, of which whatever the peer does is a value: an answer, or why there is none.

Used for the API server (callbacks and token checks) and for Roblox Open Cloud. What an answer means is
decided by its user, in a table; here is only what is the same for all:

    * no cookies: what one answer sets does not travel with the next request;
    * no redirects, proxies or `.netrc`: the peer is a neighbour, and the key is for it alone;
    * one deadline for the whole request; the wait for a place is not part of it, since it is not the
      peer's time;
    * the body is kept as it came, undecoded, and cut at `max_answer_bytes`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC
from email.utils import parsedate_to_datetime
from functools import cache
from http.cookiejar import CookieJar, DefaultCookiePolicy
from importlib.metadata import PackageNotFoundError, version
from time import perf_counter
from typing import Final

import httpx
import trio

from actors.core import Histogram

MAX_ANSWER_BYTES: Final = 65_536
CLOSE_S: Final = 1.0
# What httpx raises for a peer that cannot be reached or understood, and what its parts let through:
# header values that are no text, a port that the URL of an answer cannot have.
FAULTS: Final = (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError, OSError, ValueError)


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """What came of a request.

    Attributes:
        status: None if there was no answer.
        body: As it came, undecoded; at most `max_answer_bytes` of it.
        headers: By lower-case name.
        problem: Why there was no answer: a type or a time, never what the request said.
    """

    status: int | None
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    problem: str | None = None

    def retry_after_s(self, now_s: float) -> float | None:
        """Seconds that `Retry-After` asks to wait, not negative; None without one that can be read."""
        return read_retry_after(self.headers.get("retry-after"), now_s)


class HttpCaller:
    """A bounded number of requests at a time to one peer.

    A client for each place, since in one pool of 64 connections every request polls them all, which
    halves the rate. Clients are made when they are needed.

    Args:
        base_url: In front of every target.
        places: Requests under way at the same time; more wait.
        deadline_s: For one request, connecting and reading included.
        connect_s: For connecting alone.
        transport: Replaces the network in tests.
        durations: Where to count how long requests take; several callers may share it.
    """

    def __init__(
        self,
        base_url: str,
        *,
        places: int,
        deadline_s: float,
        connect_s: float | None = None,
        max_answer_bytes: int = MAX_ANSWER_BYTES,
        transport: httpx.AsyncBaseTransport | None = None,
        durations: Histogram | None = None,
    ) -> None:
        self._base_url = base_url.rstrip("/")
        self._deadline_s = deadline_s
        self._timeout = httpx.Timeout(deadline_s, connect=connect_s or deadline_s)
        self._max_answer_bytes = max_answer_bytes
        self._transport = transport
        # Made once: reading the certificates of the system takes 20 ms.
        self._verify = httpx.create_ssl_context() if base_url.startswith("https:") else False
        self._places = trio.CapacityLimiter(places)
        self._clients: list[httpx.AsyncClient] = []
        self._unused: list[httpx.AsyncClient] = []
        self.durations = Histogram() if durations is None else durations

    async def request(
        self, method: str, target: str, *, body: bytes, headers: Mapping[str, str]
    ) -> HttpAnswer:
        """Make one request. Never raises for what the peer or the network does."""
        async with self._places:
            began = perf_counter()
            client = self._unused.pop() if self._unused else self._new_client()
            try:
                with trio.move_on_after(self._deadline_s):
                    return await self._exchange(client, method, self._base_url + target, body, headers)
                return HttpAnswer(None, problem=f"no answer within {self._deadline_s:g} s")
            except FAULTS as error:
                return HttpAnswer(None, problem=type(error).__name__)
            finally:
                self._unused.append(client)
                self.durations.observe(perf_counter() - began)

    async def _exchange(
        self, client: httpx.AsyncClient, method: str, url: str, content: bytes, headers: Mapping[str, str]
    ) -> HttpAnswer:
        async with client.stream(method, url, content=content, headers=dict(headers)) as response:
            body = bytearray()
            async for chunk in response.aiter_raw():
                body += chunk[: self._max_answer_bytes - len(body)]
                if len(body) >= self._max_answer_bytes:
                    break
        return HttpAnswer(response.status_code, bytes(body), dict(response.headers))

    def _new_client(self) -> httpx.AsyncClient:
        client = httpx.AsyncClient(
            transport=self._transport,
            verify=self._verify,
            timeout=self._timeout,
            limits=httpx.Limits(max_connections=1, max_keepalive_connections=1),
            headers={"User-Agent": user_agent(), "Accept-Encoding": "identity"},
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
            follow_redirects=False,
            trust_env=False,
        )
        self._clients.append(client)
        return client

    async def aclose(self) -> None:
        """Close the connections, in bounded time. Requests after that make new ones."""
        clients, self._clients, self._unused = self._clients, [], []
        with trio.move_on_after(CLOSE_S, shield=True):
            for client in clients:
                await client.aclose()


def read_retry_after(value: str | None, now_s: float) -> float | None:
    """Seconds that a `Retry-After` asks for: a number or a date (RFC 9110, 10.2.3).

    Returns:
        Not negative and finite: a date that has passed is 0. None if there is none, or it is neither.
    """
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        return _until(value, now_s)
    return max(seconds, 0.0) if math.isfinite(seconds) else None


def _until(date: str, now_s: float) -> float | None:
    try:
        when = parsedate_to_datetime(date)
        return max((when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp() - now_s, 0.0)
    except (ValueError, OverflowError):
        return None


@cache
def user_agent() -> str:
    """`greenroom/<version>`."""
    try:
        return f"greenroom/{version('greenroom')}"
    except PackageNotFoundError:
        return "greenroom"
