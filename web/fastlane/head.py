"""Whether a request's head is plain enough to be answered here, and what it says.

The lane takes only what can be read in one way: HTTP/1.1, no body or a body
of a stated length, no expectation, no upgrade but to a WebSocket. Everything else, malformed or
merely rich, is for Hypercorn, which gets the very same bytes; so there is one
place that refuses, and nothing is ever understood twice in two ways.
"""

from __future__ import annotations

import re
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, NamedTuple

import httptools

if TYPE_CHECKING:
    from collections.abc import Mapping

END_OF_HEAD: Final = b"\r\n\r\n"
MAX_HEAD_BYTES: Final = 16 * 1024
# RFC 9110, section 8.6 allows any number of digits; nobody sends a petabyte.
MAX_LENGTH_DIGITS: Final = 15

# Fields that change how a message is framed or what becomes of the
# connection (RFC 9112, sections 6 and 9; RFC 9110, sections 7.8 and 10.1.1).
_NOT_PLAIN: Final = frozenset({"transfer-encoding", "expect", "http2-settings", "te", "trailer"})
# Fields of which a second one would have to be merged or refused.
_ONCE: Final = frozenset({"host", "content-length", "connection", "upgrade"})
# One blank here, CRLF there, no folded line, visible ASCII: a stray CR, LF or
# NUL and a folded line are what parsers differ about.
_PLAIN: Final = re.compile(
    rb"[A-Z]+ /[!-~]* HTTP/1\.1\r\n(?:[!#$%&'*+.^_`|~0-9A-Za-z-]+:[\t -~]*\r\n)+\r\n"
).fullmatch
_METHODS: Final = frozenset({"GET", "PUT", "PATCH"})


class Head(NamedTuple):
    """A plain request head.

    Attributes:
        method: `GET`, `PUT` or `PATCH`.
        target: As sent, in origin form: path and query.
        headers: Values by lower-case name; repeated fields joined with `, `.
        content_length: Bytes of body to follow.
        keep_alive: Whether the connection goes on after the answer.
        wants_websocket: Whether it asks for the connection to become a WebSocket.
    """

    method: str
    target: str
    headers: Mapping[str, str]
    content_length: int
    keep_alive: bool
    wants_websocket: bool = False


class _Collector:
    """What httptools calls while it reads."""

    def __init__(self) -> None:
        self.target = b""
        self.fields: list[tuple[str, str]] = []

    def on_url(self, url: bytes) -> None:
        self.target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.fields.append((name.decode("latin-1").lower(), value.decode("latin-1").strip(" \t")))


def read_head(head: bytes) -> Head | None:
    """Read a head, its empty line included; None if it is not plain."""
    if _PLAIN(head) is None:
        return None
    collector = _Collector()
    parser = httptools.HttpRequestParser(collector)
    try:
        parser.feed_data(head)
    except httptools.HttpParserError:
        return None
    except httptools.HttpParserUpgrade:
        pass  # read to its end, and what follows is not HTTP any more
    method = parser.get_method().decode("latin-1")
    if method not in _METHODS:
        return None
    headers = _merge(collector.fields)
    if headers is None:
        return None
    return _framed(method, collector.target.decode("latin-1"), headers)


def _merge(fields: list[tuple[str, str]]) -> dict[str, str] | None:
    headers: dict[str, str] = {}
    for name, value in fields:
        if name in _NOT_PLAIN or (name in _ONCE and name in headers):
            return None
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return headers


def _framed(method: str, target: str, headers: dict[str, str]) -> Head | None:
    length = headers.get("content-length", "0")
    if (
        not (length.isascii() and length.isdigit() and len(length) <= MAX_LENGTH_DIGITS)
        or "host" not in headers
    ):
        return None
    connection = headers.get("connection", "keep-alive").lower()
    if "upgrade" in headers:
        wanted = {token.strip() for token in connection.split(",")}
        if method != "GET" or int(length) or not wanted <= {"upgrade", "keep-alive"}:
            return None
        if "upgrade" not in wanted or headers["upgrade"].lower() != "websocket":
            return None
        return Head(method, target, MappingProxyType(headers), 0, keep_alive=False, wants_websocket=True)
    if connection not in {"keep-alive", "close"}:
        return None
    return Head(method, target, MappingProxyType(headers), int(length), connection == "keep-alive")
