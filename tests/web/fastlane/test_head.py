"""Which heads are read, as they are meant, and which are refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from web.fastlane.head import (
    MAX_HEAD_BYTES,
    BadHead,
    Fields,
    Head,
    HeadReader,
    read_fields,
    refuse_early,
)


def read_head(head: bytes) -> Head:
    read = HeadReader().read(head)
    assert isinstance(read, Head), read
    return read


def head_of(*fields: str, line: str = "GET /api/rooms/a HTTP/1.1", host: str = "Host: h") -> bytes:
    return "\r\n".join([line, *filter(None, [host]), *fields, "", ""]).encode("latin-1")


def test_a_plain_head_is_read() -> None:
    head = read_head(
        head_of("Content-Length: 12", "X-Room-Secret:  s ", line="PUT /api/rooms/a?b=c HTTP/1.1")
    )
    assert (head.method, head.target, head.fields.content_length, head.keep_alive) == (
        "PUT",
        "/api/rooms/a?b=c",
        12,
        True,
    )
    assert dict(head.fields.headers) == {"host": "h", "content-length": "12", "x-room-secret": "s"}


def test_repeated_fields_are_joined_and_names_are_caseless() -> None:
    head = read_head(head_of('if-match: "a"', 'IF-MATCH: "b"'))
    assert head.fields.headers["if-match"] == '"a", "b"'


@pytest.mark.parametrize(("value", "keep_alive"), [("close", False), ("Close", False), ("keep-alive", True)])
def test_connection_says_whether_it_goes_on(value: str, *, keep_alive: bool) -> None:
    head = read_head(head_of(f"Connection: {value}"))
    assert head.keep_alive is keep_alive


@pytest.mark.parametrize("connection", ["Upgrade", "upgrade", "keep-alive, Upgrade"])
def test_a_wish_for_a_websocket_is_read(connection: str) -> None:
    head = read_head(head_of(f"Connection: {connection}", "Upgrade: WebSocket", "Sec-WebSocket-Key: k"))
    assert head.wants_websocket
    assert head.fields.headers["sec-websocket-key"] == "k"


def test_fields_that_change_are_read_anew() -> None:
    reader = HeadReader()
    lengths = []
    for length in (1, 1, 2, 1):
        head = reader.read(head_of(f"Content-Length: {length}"))
        assert isinstance(head, Head)
        lengths.append(head.fields.content_length)
    assert lengths == [1, 1, 2, 1]
    assert isinstance(reader.read(head_of("Content-Length: 1", "Content-Length: 2")), BadHead)
    assert isinstance(reader.read(head_of("Content-Length: 1")), Head)


# Everything about which two parsers might differ, and what it is answered.
REFUSED = {
    "length and chunked": (400, head_of("Content-Length: 3", "Transfer-Encoding: chunked")),
    "chunked and length": (400, head_of("Transfer-Encoding: chunked", "Content-Length: 3")),
    "xchunked": (501, head_of("Transfer-Encoding: xchunked")),
    "chunked twice": (501, head_of("Transfer-Encoding: chunked", "Transfer-Encoding: chunked")),
    "chunked but not last": (501, head_of("Transfer-Encoding: chunked, gzip")),
    "another coding": (501, head_of("Transfer-Encoding: gzip, chunked")),
    "identity": (501, head_of("Transfer-Encoding: identity")),
    "no coding": (501, head_of("Transfer-Encoding:")),
    "chunked in disguise": (400, head_of("Transfer-Encoding:\x0bchunked")),
    "chunked in HTTP/1.0": (400, head_of("Transfer-Encoding: chunked", line="PUT / HTTP/1.0")),
    "two lengths": (400, head_of("Content-Length: 3", "Content-Length: 3")),
    "two different lengths": (400, head_of("Content-Length: 3", "Content-Length: 4")),
    "list of lengths": (400, head_of("Content-Length: 3, 3")),
    "signed length": (400, head_of("Content-Length: +5")),
    "negative length": (400, head_of("Content-Length: -5")),
    "hexadecimal length": (400, head_of("Content-Length: 0x5")),
    "empty length": (400, head_of("Content-Length:")),
    "length with a blank": (400, head_of("Content-Length: 1 2")),
    "length with an underscore": (400, head_of("Content-Length: 1_0")),
    "length in other digits": (400, head_of("Content-Length: \u00b2")),
    "blank before the colon": (400, head_of("Content-Length : 5")),
    "folded line": (400, head_of("X: a\r\n b")),
    "folded length": (400, head_of("Content-Length:\r\n 5")),
    "folded first line": (400, head_of(" X: a", host="")),
    "bare LF": (400, b"GET /api/rooms/a HTTP/1.1\nHost: h\r\n\r\n"),
    "bare LF between fields": (400, b"GET /api/rooms/a HTTP/1.1\r\nHost: h\nContent-Length: 5\r\n\r\n"),
    "bare CR": (400, head_of("X: a\rb")),
    "NUL": (400, head_of("X: a\0b")),
    "no host": (400, head_of(host="")),
    "two hosts": (400, head_of("Host: other")),
    "a host with a blank": (400, head_of(host="Host: a b")),
    "a host with a path": (400, head_of(host="Host: a/b")),
    "expectation": (417, head_of("Expect: 200-ok")),
    "HTTP/0.9": (400, b"GET /api/rooms/a\r\n\r\n"),
    "HTTP/2.0": (505, head_of(line="GET /api/rooms/a HTTP/2.0")),
    "HTTP/2 preface": (505, b"PRI * HTTP/2.0\r\n\r\n"),
    "a version of three parts": (400, head_of(line="GET / HTTP/1.1.1")),
    "another protocol": (400, head_of(line="GET / RTSP/1.0")),
    "asterisk form": (400, head_of(line="GET * HTTP/1.1")),
    "authority form": (501, head_of(line="CONNECT h:1 HTTP/1.1")),
    "connect to a path": (501, head_of(line="CONNECT / HTTP/1.1")),
    "neither path nor URL": (400, head_of(line="GET api HTTP/1.1")),
    "URL of another scheme": (400, head_of(line="GET ftp://h/ HTTP/1.1")),
    "URL without a host": (400, head_of(line="GET http:///x HTTP/1.1")),
    "two blanks": (400, head_of(line="GET  /api/rooms/a HTTP/1.1")),
    "blank in the target": (400, head_of(line="GET /api/rooms/a b HTTP/1.1")),
    "target beyond ASCII": (400, head_of(line="GET /\xff HTTP/1.1")),
    "method beyond ASCII": (400, head_of(line="G\xe9T / HTTP/1.1")),
    "leading line": (400, b"\r\n" + head_of()),
    "no colon": (400, head_of("nothing")),
    "empty name": (400, head_of(": a")),
    "a name with a blank": (400, head_of("Content Length: 5")),
    "junk": (400, b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n"),
    "long line": (414, head_of(line=f"GET /{'a' * MAX_HEAD_BYTES} HTTP/1.1")),
    "long fields": (431, head_of(f"X: {'a' * MAX_HEAD_BYTES}")),
}


@pytest.mark.parametrize(("status", "head"), REFUSED.values(), ids=REFUSED.keys())
def test_what_could_be_read_two_ways_is_refused(status: int, head: bytes) -> None:
    refused = HeadReader().read(head)

    assert isinstance(refused, BadHead)
    assert refused.status == status


def test_what_is_odd_but_valid_is_read() -> None:
    assert read_head(head_of(line="GET http://other:1/api?x HTTP/1.1")).fields.headers["host"] == "other:1"
    assert read_head(head_of(line="OPTIONS * HTTP/1.1")).target == "*"
    assert read_head(head_of(line="get / HTTP/1.1")).method == "get"
    assert read_head(head_of("X:", "Y:\t a \t")).fields.headers["y"] == "a"
    assert read_head(head_of("Content-Length: " + "9" * 40)).fields.content_length > 1 << 40
    assert read_head(b"GET / HTTP/1.0\r\n\r\n").fields.headers == {}
    assert read_head(head_of(line="GET / HTTP/1.7")).keep_alive


def test_values_are_utf_8_where_they_are_that() -> None:
    head = head_of().replace(b"Host", "X: Москва\r\nY: \xe9\r\nHost".encode())
    assert read_head(head).fields.headers["x"] == "Москва"
    assert read_head(head_of("Y: \xe9")).fields.headers["y"] == "\xe9"


@pytest.mark.parametrize(
    ("fields", "line", "wants"),
    [
        (("Connection: Upgrade", "Upgrade: websocket", "TE: trailers"), "GET / HTTP/1.1", True),
        (("Connection: keep-alive", "Connection: upgrade", "Upgrade: WebSocket"), "GET / HTTP/1.1", True),
        (("Connection: upgrade", "Upgrade: h2c, websocket"), "GET / HTTP/1.1", True),
        (("Upgrade: websocket",), "GET / HTTP/1.1", False),
        (("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c"), "GET / HTTP/1.1", False),
        (("Connection: upgrade", "Upgrade: websocket", "Content-Length: 3"), "GET / HTTP/1.1", False),
        (("Connection: upgrade", "Upgrade: websocket"), "PUT / HTTP/1.1", False),
        (("Connection: upgrade", "Upgrade: websocket"), "GET / HTTP/1.0", False),
    ],
)
def test_only_a_whole_handshake_wants_a_websocket(fields: tuple[str, ...], line: str, *, wants: bool) -> None:
    assert read_head(head_of(*fields, line=line)).wants_websocket is wants


@given(st.binary(max_size=300))
def test_no_bytes_whatever_break_the_reader(junk: bytes) -> None:
    assert isinstance(HeadReader().read(junk + b"\r\n\r\n"), Head | BadHead)
    assert isinstance(read_fields(b"A: b\r\n" + junk + b"\r\n\r\n"), Fields | BadHead)


names = st.text("abcdefghijklmnopqrstuvwxyz-", min_size=1, max_size=12).map(lambda name: f"x-{name}")
values = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), max_size=20)


@given(st.dictionaries(names, values, max_size=8), st.integers(0, 10**9))
def test_what_is_read_is_what_was_sent(fields: dict[str, str], length: int) -> None:
    lines = [f"{name}: {value}" for name, value in fields.items()]
    head = read_head(head_of(*lines, f"Content-Length: {length}"))
    assert head.fields.content_length == length
    assert dict(head.fields.headers) == {"host": "h", "content-length": str(length), **fields}


@pytest.mark.parametrize("end", range(len(head_of("Content-Length: 12"))))
def test_the_beginning_of_a_head_is_waited_for(end: int) -> None:
    assert refuse_early(head_of("Content-Length: 12")[:end]) is None


@pytest.mark.parametrize(
    "part",
    [
        b"\x16\x03\x01",
        b"GET / HTTP/1.1\nHost: h\n\n",
        b"GET / HTTP/1.1\r\nA: b\n",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"EHLO mail.example\r\n",
        b"*1\r\n$4\r\nPING\r\n",
        b"GET / HTTP/2.0\r\nHost: h",
    ],
)
def test_what_can_never_become_a_head_is_not_waited_for(part: bytes) -> None:
    assert refuse_early(part) is not None
