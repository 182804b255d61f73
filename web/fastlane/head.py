"""Whether a request's head is plain enough to be answered here, and what it says.

The lane takes only what can be read in one way: HTTP/1.1, no body or a body
of a stated length, no expectation, no upgrade but to a WebSocket. Everything
else, malformed or merely rich, is for Hypercorn, which gets the very same
bytes; so there is one place that refuses, and nothing is ever understood
twice in two ways.
"""

from __future__ import annotations

import re
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
_PLAIN_LINE: Final = re.compile(rb"(GET|PUT|PATCH|POST) (/[!-~]*) HTTP/1\.1").fullmatch
_PLAIN_FIELDS: Final = re.compile(rb"(?:[!#$%&'*+.^_`|~0-9A-Za-z-]+:[\t -~]*\r\n)+\r\n").fullmatch
# What begins like anything else, or ends a line like nobody else, never gets
# to the end of a head as we know it.
_NOT_THE_BEGINNING: Final = re.compile(rb"\A[^A-Z]|[^\r]\n").search
# httptools reads whole messages; the line itself is ours to read.
_ANY_LINE: Final = b"GET / HTTP/1.1\r\n"


def may_become_plain(part: bytes) -> bool:
    """Whether bytes that are no whole head yet may be the beginning of a plain one."""
    return _NOT_THE_BEGINNING(part) is None


class Fields(NamedTuple):
    """What the fields of a plain head say.

    Attributes:
        headers: Values by lower-case name; repeated fields joined with `, `.
        content_length: Bytes of body to follow.
        keep_alive: Whether the connection goes on after the answer.
        wants_websocket: Whether the connection is to become a WebSocket.
    """

    headers: Mapping[str, str]
    content_length: int
    keep_alive: bool
    wants_websocket: bool = False


class Head(NamedTuple):
    """A plain request head.

    Attributes:
        method: `GET`, `PUT`, `PATCH` or `POST`.
        target: As sent, in origin form: path and query.
        fields: The rest.
    """

    method: str
    target: str
    fields: Fields


class HeadReader:
    """Reads the heads of one connection.

    A client mostly says the same of itself in every request, so the last
    fields are remembered with what they mean.
    """

    __slots__ = ("_block", "_fields")

    def __init__(self) -> None:
        self._block = b""
        self._fields: Fields | None = None

    def read(self, head: bytes) -> Head | None:
        """Read a head, its empty line included; None if it is not plain."""
        line, _, block = head.partition(b"\r\n")
        plain = _PLAIN_LINE(line)
        if plain is None:
            return None
        if block != self._block:
            self._block, self._fields = block, read_fields(block)
        fields = self._fields
        if fields is None or (fields.wants_websocket and plain[1] != b"GET"):
            return None
        return Head(plain[1].decode(), plain[2].decode(), fields)


class _Collector:
    """What httptools calls while it reads."""

    def __init__(self) -> None:
        self.fields: list[tuple[str, str]] = []

    def on_header(self, name: bytes, value: bytes) -> None:
        self.fields.append((name.decode().lower(), value.decode().strip(" \t")))


def read_fields(block: bytes) -> Fields | None:
    """Read the fields of a head, its empty line included; None if they are not plain."""
    if _PLAIN_FIELDS(block) is None:
        return None
    collector = _Collector()
    try:
        httptools.HttpRequestParser(collector).feed_data(_ANY_LINE + block)
    except httptools.HttpParserError:
        return None
    except httptools.HttpParserUpgrade:
        pass  # read to its end, and what follows is not HTTP any more
    headers = _merge(collector.fields)
    if headers is None or "host" not in headers:
        return None
    length = headers.get("content-length", "0")
    if not length.isdigit() or len(length) > MAX_LENGTH_DIGITS:
        return None
    return _framed(headers, int(length))


def _merge(fields: list[tuple[str, str]]) -> dict[str, str] | None:
    headers: dict[str, str] = {}
    for name, value in fields:
        if name in _NOT_PLAIN or (name in _ONCE and name in headers):
            return None
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return headers


def _framed(headers: dict[str, str], content_length: int) -> Fields | None:
    connection = headers.get("connection", "keep-alive").lower()
    if "upgrade" not in headers:
        known = connection in {"keep-alive", "close"}
        return Fields(headers, content_length, keep_alive=connection == "keep-alive") if known else None
    wanted = {token.strip() for token in connection.split(",")} - {"keep-alive"}
    if wanted != {"upgrade"} or headers["upgrade"].lower() != "websocket" or content_length:
        return None
    return Fields(headers, 0, keep_alive=False, wants_websocket=True)
