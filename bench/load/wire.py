r"""Encoding of requests, framing of responses, and the mark that numbers a write.

Every written state carries a mark, `~seq` and ten digits, inside a JSON string, so it
survives any server's own encoder. A listener looks for marks in the bytes it gets and
never parses JSON or event framing: chunked or not, `\n` or `\r\n`, it sees the same.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

MARK: Final = b"~seq"
DIGITS: Final = 10
MARK_LENGTH: Final = len(MARK) + DIGITS
MARKS: Final = re.compile(MARK + rb"(\d{%d})" % DIGITS)

# RFC 9110, sections 5.1 and 5.5.
_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE: Final = re.compile(r"[\t\x20-\x7e\xa0-\xff]*")
OURS: Final = frozenset(
    {"host", "content-length", "content-type", "transfer-encoding", "connection", "upgrade", "accept"}
)

_EMPTY_STATE: Final = b'{"mark":"","pad":""}'
SMALLEST_STATE: Final = len(_EMPTY_STATE) + MARK_LENGTH
_LENGTH: Final = re.compile(rb"\r\ncontent-length:[ \t]*(\d+)[ \t]*\r\n", re.IGNORECASE)
_CHUNKED: Final = re.compile(rb"\r\ntransfer-encoding:[ \t]*chunked[ \t]*\r\n", re.IGNORECASE)
_CLOSES: Final = re.compile(rb"\r\nconnection:[ \t]*close[ \t]*\r\n", re.IGNORECASE)


def header_line(name: str, value: str) -> bytes:
    """Return a header as bytes, with its line end.

    Raises:
        ValueError: No header can have this name or value, or the bench sets it itself.
    """
    if not _NAME.fullmatch(name) or not _VALUE.fullmatch(value):
        raise ValueError("is no header")
    if name.lower() in OURS:
        raise ValueError("is set by the bench itself")
    return f"{name}: {value}\r\n".encode("latin-1")


class Requests:
    """Encodes the three requests of the room API.

    Args:
        authority: What `Host` says, for instance `127.0.0.1:4000`.
        prefix: Path in front of `/api/rooms`, without a slash at its end.
        size: Bytes of the encoded `state` of a write; at least `SMALLEST_STATE`.
        headers: Header lines of every request, each with its line end.
    """

    def __init__(self, authority: str, prefix: str = "", *, size: int = 256, headers: bytes = b"") -> None:
        # `Host` and what else every request says, without the last line end.
        self._host = authority.encode() + (b"\r\n" + headers[:-2] if headers else b"")
        self._rooms = f"{prefix}/api/rooms/".encode()
        pad = b"x" * max(0, size - SMALLEST_STATE)
        self._body_head = b'{"state":{"mark":"' + MARK
        self._body_tail = b'","pad":"' + pad + b'"}}'
        length = len(self._body_head) + DIGITS + len(self._body_tail)
        self._put_head = b"PUT " + self._rooms
        self._put_rest = b"".join(
            (
                b" HTTP/1.1\r\nHost: ",
                self._host,
                b"\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % length,
                self._body_head,
            )
        )

    def put(self, room: bytes, seq: int) -> bytes:
        """Return a PUT whose state carries the mark of `seq`."""
        return b"%b%b%b%010d%b" % (self._put_head, room, self._put_rest, seq, self._body_tail)

    def get(self, room: bytes) -> bytes:
        """Return a GET of the room's record."""
        return b"GET %b%b HTTP/1.1\r\nHost: %b\r\n\r\n" % (self._rooms, room, self._host)

    def stream(self, room: bytes, headers: bytes = b"") -> bytes:
        """Return the request that opens the room's event stream, with header lines of its own."""
        return (
            b"GET %b%b/stream HTTP/1.1\r\nHost: %b\r\nAccept: text/event-stream\r\n"
            b"Cache-Control: no-cache\r\n%b\r\n" % (self._rooms, room, self._host, headers)
        )


@dataclass(frozen=True, slots=True)
class Head:
    """The framing facts of one answer.

    Attributes:
        status: The three digits.
        size: Bytes of the head, its blank line included.
        length: Bytes of the body, None when it is chunked or ends with the connection.
        chunked: The body comes in chunks.
        closes: The connection takes no further request (RFC 9112, section 9.6).
    """

    status: int
    size: int
    length: int | None
    chunked: bool
    closes: bool = False

    @property
    def total(self) -> int | None:
        """Bytes of the whole answer, None when the head does not say."""
        return None if self.length is None else self.size + self.length


def read_head(data: bytes) -> Head | None:
    """Return the head that `data` begins with, None while it is incomplete.

    Raises:
        ValueError: `data` is not the beginning of an HTTP/1.1 answer.
    """
    end = data.find(b"\r\n\r\n")
    if end < 0:
        return None
    if not data.startswith(b"HTTP/1."):
        raise ValueError(f"not an HTTP/1.1 answer: {data[:40]!r}")
    head = data[: end + 4]
    length = _LENGTH.search(head)
    return Head(
        status=int(head[9:12]),
        size=end + 4,
        length=int(length[1]) if length else None,
        chunked=_CHUNKED.search(head) is not None,
        closes=_CLOSES.search(head) is not None,
    )


def answer_ends(head: Head, data: bytes) -> bool:
    """Tell whether `data`, which begins with `head`, holds the whole answer."""
    if head.chunked:
        return data.endswith(b"\r\n0\r\n\r\n")
    total = head.total
    if total is None:
        # 204 and 304 have no body; any other answer without a length lasts as long as its connection.
        return head.status in {204, 304}
    return len(data) >= total
