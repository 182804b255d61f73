"""What a request is and what answers it, whichever lane carried it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

import orjson

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from actors.core import Event

Headers = tuple[tuple[str, str], ...]

JSON: Final[Headers] = (("Content-Type", "application/json"),)
CACHE_CONTROL: Final = "Cache-Control"
# A cache that is told nothing may keep an answer for as long as it likes (RFC 9111, section 4.2.2).
NO_CACHE: Final[Headers] = ((CACHE_CONTROL, "no-cache"),)
FRESH_JSON: Final[Headers] = JSON + NO_CACHE
# Of our own pages: they take nothing from elsewhere, and no other page may frame them.
PAGE_HEADERS: Final[Headers] = (
    ("Content-Type", "text/html; charset=utf-8"),
    (
        "Content-Security-Policy",
        (
            "default-src 'none'; connect-src 'self'; script-src 'self' 'unsafe-inline'; "
            "style-src 'unsafe-inline'; frame-ancestors 'none'"
        ),
    ),
    *NO_CACHE,
)


class Request(NamedTuple):
    """One request, its body read whole.

    Attributes:
        method: Upper case; HEAD arrives as GET.
        segments: The path, split at `/` and percent-decoded after that.
        query: The raw query string.
        headers: By lower-case name; repeated ones joined with a comma.
        body: Never longer than the endpoint's `max_body`.
        client: Address of whoever asks, proxies believed only where configured.
        http2: Whether hop-by-hop headers are forbidden in the answer.
        peer: Address of the other end of the connection, proxy or not.
    """

    method: str
    segments: tuple[str, ...]
    query: str
    headers: Mapping[str, str]
    body: bytes
    client: str
    http2: bool = False
    peer: str = ""


class Answer(NamedTuple):
    """A whole answer. The lane adds Content-Length, Date, and what framing needs.

    Attributes:
        status: The status code.
        body: What goes after the head; a lane leaves it out for HEAD.
        headers: In order, names as they go out.
    """

    status: int
    body: bytes = b""
    headers: Headers = JSON


class Opening(NamedTuple):
    """How a stream begins.

    Attributes:
        parts: What goes out first, in pieces of which some are the same for many streams.
        seq: Events up to this number are told by them.
    """

    parts: tuple[bytes, ...]
    seq: int

    @property
    def frames(self) -> bytes:
        """All of it."""
        return b"".join(self.parts)


class StreamMember(Protocol):
    """What a lane lets join: one client's stream. No method waits or raises."""

    def offer(self, event: Event) -> None:
        """Take `event` now or later, or a newer one instead; skip it unless it is newer than the last."""

    def tell(self, frames: bytes) -> None:
        """Send these beside the states, now or once the client takes something, or newer ones instead."""

    def close(self, reason: str, farewell: bytes = b"") -> None:
        """End the stream, after `farewell` if it can be written; what it had not sent yet may be dropped."""

    def abort(self) -> None:
        """End the connection now, whatever has not been written."""


class StreamSource(Protocol):
    """Where the events of a stream come from."""

    def join(self, wanted: OpenStream, member: StreamMember) -> Opening | Answer:
        """Let `member` hear events from now on, or say why not."""

    def leave(self, wanted: OpenStream, member: StreamMember) -> None:
        """Let `member` hear no more; nothing happens if it did not."""


@dataclass(frozen=True, slots=True)
class OpenStream:
    """The answer to a request for a stream: the lane makes a member and lets it join `source`.

    Attributes:
        source: Joined and left with this very object.
        topic: What to listen to.
        resume: The last event id the client has seen.
        client: Address of whoever asks.
        headers: Of the answer, whose status is 200.
        expires_at: Unix seconds when the token expires that it was opened with; None for never.
        expired: What it is sent then, before it ends.
        is_compressed: Whether `headers` announce gzip.
    """

    source: StreamSource
    topic: str
    resume: str | None
    client: str
    headers: Headers
    expires_at: float | None = None
    expired: bytes = b""
    is_compressed: bool = False


if TYPE_CHECKING:
    Handler = Callable[[Request], Awaitable[Answer | OpenStream]]
    HeadCheck = Callable[[Request], Answer | None]
    InlineHandler = Callable[[str, Mapping[str, str], bytes], Answer | None]
    # Called once with a function and its arguments, which make the answer; an exception in it is a 500.
    Reply = Callable[..., None]
    CallbackHandler = Callable[[str, Mapping[str, str], bytes, Reply], bool]


def json_answer(status: int, value: object, headers: Headers = ()) -> Answer:
    """`value` as JSON, not to be cached unless `headers` say otherwise."""
    if headers and any(name == CACHE_CONTROL for name, _ in headers):
        return Answer(status, orjson.dumps(value), JSON + headers)
    return Answer(status, orjson.dumps(value), FRESH_JSON + headers)


def error(
    status: int, code: str, message: str | None = None, *, headers: Headers = (), **facts: object
) -> Answer:
    """`{"error": code, "message"?: for people, …facts}`."""
    body: dict[str, object] = {"error": code}
    if message is not None:
        body["message"] = message
    return json_answer(status, body | facts, headers)


def retry_later(
    status: int, code: str, retry_after_s: int, message: str | None = None, *, headers: Headers = ()
) -> Answer:
    """A 503 or 429 that says when to come back."""
    return error(status, code, message, headers=(("Retry-After", str(retry_after_s)), *headers))
