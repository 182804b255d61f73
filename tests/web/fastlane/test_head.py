"""Which heads the lane takes, and that it reads them as they are meant."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from web.fastlane.head import Head, HeadReader, may_become_plain


def read_head(head: bytes) -> Head | None:
    return HeadReader().read(head)


def head_of(*fields: str, line: str = "GET /api/rooms/a HTTP/1.1", host: str = "Host: h") -> bytes:
    return "\r\n".join([line, *filter(None, [host]), *fields, "", ""]).encode("latin-1")


def test_a_plain_head_is_read() -> None:
    head = read_head(
        head_of("Content-Length: 12", "X-Room-Secret:  s ", line="PUT /api/rooms/a?b=c HTTP/1.1")
    )
    assert head is not None
    assert (head.method, head.target, head.fields.content_length, head.fields.keep_alive) == (
        "PUT",
        "/api/rooms/a?b=c",
        12,
        True,
    )
    assert dict(head.fields.headers) == {"host": "h", "content-length": "12", "x-room-secret": "s"}


def test_repeated_fields_are_joined_and_names_are_caseless() -> None:
    head = read_head(head_of('if-match: "a"', 'IF-MATCH: "b"'))
    assert head is not None
    assert head.fields.headers["if-match"] == '"a", "b"'


@pytest.mark.parametrize(("value", "keep_alive"), [("close", False), ("Close", False), ("keep-alive", True)])
def test_connection_says_whether_it_goes_on(value: str, *, keep_alive: bool) -> None:
    head = read_head(head_of(f"Connection: {value}"))
    assert head is not None
    assert head.fields.keep_alive is keep_alive


@pytest.mark.parametrize("connection", ["Upgrade", "upgrade", "keep-alive, Upgrade"])
def test_a_wish_for_a_websocket_is_read(connection: str) -> None:
    head = read_head(head_of(f"Connection: {connection}", "Upgrade: WebSocket", "Sec-WebSocket-Key: k"))
    assert head is not None
    assert head.fields.wants_websocket
    assert head.fields.headers["sec-websocket-key"] == "k"


def test_fields_that_change_are_read_anew() -> None:
    reader = HeadReader()
    lengths = []
    for length in (1, 1, 2, 1):
        head = reader.read(head_of(f"Content-Length: {length}"))
        assert head is not None
        lengths.append(head.fields.content_length)
    assert lengths == [1, 1, 2, 1]
    assert reader.read(head_of("Content-Length: 1", "Content-Length: 2")) is None
    assert reader.read(head_of("Content-Length: 1")) is not None


# Everything about which two parsers might differ, and everything that asks for
# more than a plain answer.
SUSPECT = {
    "chunked": head_of("Transfer-Encoding: chunked"),
    "length and chunked": head_of("Content-Length: 3", "Transfer-Encoding: chunked"),
    "chunked and length": head_of("Transfer-Encoding: chunked", "Content-Length: 3"),
    "xchunked": head_of("Transfer-Encoding: xchunked"),
    "chunked in disguise": head_of("Transfer-Encoding:\x0bchunked"),
    "two lengths": head_of("Content-Length: 3", "Content-Length: 3"),
    "two different lengths": head_of("Content-Length: 3", "Content-Length: 4"),
    "list of lengths": head_of("Content-Length: 3, 3"),
    "signed length": head_of("Content-Length: +5"),
    "negative length": head_of("Content-Length: -5"),
    "hexadecimal length": head_of("Content-Length: 0x5"),
    "empty length": head_of("Content-Length:"),
    "length with a blank": head_of("Content-Length: 1 2"),
    "length with an underscore": head_of("Content-Length: 1_0"),
    "endless length": head_of("Content-Length: " + "9" * 40),
    "blank before the colon": head_of("Content-Length : 5"),
    "folded line": head_of("X: a\r\n b"),
    "folded length": head_of("Content-Length:\r\n 5"),
    "bare LF": b"GET /api/rooms/a HTTP/1.1\nHost: h\r\n\r\n",
    "bare LF between fields": b"GET /api/rooms/a HTTP/1.1\r\nHost: h\nContent-Length: 5\r\n\r\n",
    "bare CR": head_of("X: a\rb"),
    "NUL": head_of("X: a\0b"),
    "not ASCII": head_of("X: \xe9"),
    "no host": head_of(host=""),
    "two hosts": head_of("Host: other"),
    "expectation": head_of("Expect: 100-continue"),
    "upgrade that is not meant": head_of("Upgrade: websocket"),
    "upgrade with a body": head_of("Connection: upgrade", "Upgrade: websocket", "Content-Length: 3"),
    "upgrade of a write": head_of(
        "Connection: upgrade", "Upgrade: websocket", line="PUT /api/rooms/a HTTP/1.1"
    ),
    "upgrade to something else": head_of("Connection: upgrade", "Upgrade: tls"),
    "two upgrades": head_of("Connection: upgrade", "Upgrade: websocket", "Upgrade: websocket"),
    "HTTP/2 upgrade": head_of("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAA"),
    "two connection fields": head_of("Connection: close", "Connection: keep-alive"),
    "HTTP/1.0": head_of(line="GET /api/rooms/a HTTP/1.0"),
    "HTTP/0.9": b"GET /api/rooms/a\r\n\r\n",
    "HTTP/1.2": head_of(line="GET /api/rooms/a HTTP/1.2"),
    "HTTP/2 preface": b"PRI * HTTP/2.0\r\n\r\n",
    "absolute form": head_of(line="GET http://h/api/rooms/a HTTP/1.1"),
    "asterisk form": head_of(line="OPTIONS * HTTP/1.1"),
    "authority form": head_of(line="CONNECT h:1 HTTP/1.1"),
    "HEAD": head_of(line="HEAD /api/rooms/a HTTP/1.1"),
    "unknown method": head_of(line="BREW /api/rooms/a HTTP/1.1"),
    "lower-case method": head_of(line="get /api/rooms/a HTTP/1.1"),
    "two blanks": head_of(line="GET  /api/rooms/a HTTP/1.1"),
    "blank in the target": head_of(line="GET /api/rooms/a b HTTP/1.1"),
    "leading line": b"\r\n" + head_of(),
    "no colon": head_of("nothing"),
    "empty name": head_of(": a"),
    "a name with a blank": head_of("Content Length: 5"),
    "junk": b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n",
}


@pytest.mark.parametrize("head", SUSPECT.values(), ids=SUSPECT.keys())
def test_what_could_be_read_two_ways_or_wants_more_is_left_alone(head: bytes) -> None:
    assert read_head(head) is None


@given(st.binary(max_size=300))
def test_no_bytes_whatever_break_the_reader(junk: bytes) -> None:
    assert read_head(junk + b"\r\n\r\n") is None or isinstance(read_head(junk + b"\r\n\r\n"), Head)


names = st.text("abcdefghijklmnopqrstuvwxyz-", min_size=1, max_size=12).map(lambda name: f"x-{name}")
values = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), max_size=20)


@given(st.dictionaries(names, values, max_size=8), st.integers(0, 10**9))
def test_what_is_read_is_what_was_sent(fields: dict[str, str], length: int) -> None:
    lines = [f"{name}: {value}" for name, value in fields.items()]
    head = read_head(head_of(*lines, f"Content-Length: {length}"))
    assert head is not None
    assert head.fields.content_length == length
    assert dict(head.fields.headers) == {"host": "h", "content-length": str(length), **fields}


@pytest.mark.parametrize("end", range(len(head_of("Content-Length: 12"))))
def test_the_beginning_of_a_plain_head_is_waited_for(end: int) -> None:
    assert may_become_plain(head_of("Content-Length: 12")[:end])


@pytest.mark.parametrize(
    "part", [b"\x16\x03\x01", b"\r\n", b"get ", b"GET / HTTP/1.1\nHost: h\n\n", b"GET / HTTP/1.1\r\nA: b\n"]
)
def test_what_can_never_become_plain_is_not_waited_for(part: bytes) -> None:
    assert not may_become_plain(part)
