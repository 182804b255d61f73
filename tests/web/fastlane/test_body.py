"""Bodies in chunks and of a stated length, in any pieces."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from web.fastlane.body import MAX_LINE, MAX_TRAILER_BYTES, BadChunk, BodyTooLong, ChunkedBody, SizedBody


def chunked(*parts: bytes, trailer: bytes = b"") -> bytes:
    return b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts) + b"0\r\n" + trailer + b"\r\n"


def read(data: bytes, step: int = 1, limit: int = 1000) -> tuple[bytes, bytes | None]:
    """Content, and what follows it, when `data` comes in pieces."""
    body = ChunkedBody(limit)
    for at in range(0, len(data), step):
        rest = body.feed(data[at : at + step])
        if rest is not None:
            return bytes(body.content), rest + data[at + step :]
    return bytes(body.content), None


@given(st.lists(st.binary(min_size=1, max_size=40), max_size=5), st.binary(max_size=9), st.integers(1, 50))
def test_what_was_sent_in_chunks_is_read_in_any_pieces(parts: list[bytes], rest: bytes, step: int) -> None:
    assert read(chunked(*parts) + rest, step) == (b"".join(parts), rest)


@given(st.binary(max_size=40), st.binary(max_size=9), st.integers(1, 50))
def test_a_body_of_a_stated_length_is_read_in_any_pieces(content: bytes, rest: bytes, step: int) -> None:
    body, data, got = SizedBody(len(content)), content + rest, None
    at = 0
    while got is None:
        got = body.feed(data[at : at + step])
        at += step
    assert (bytes(body.content), got + data[at:]) == (content, rest)


@pytest.mark.parametrize("data", [b"3\nabc\n0\n\n", b"3\r\nabc\r\n0\n\n", b"0\r\nA: b\n\n"])
def test_a_line_that_ends_without_cr_is_refused_at_once(data: bytes) -> None:
    with pytest.raises(BadChunk):
        read(data, len(data))


def test_extensions_and_trailers_are_dropped() -> None:
    assert read(b"3;a=b;c\r\nabc\r\n0 ;x\r\nX-Sum: 1\r\nY:\r\n\r\nGET") == (b"abc", b"GET")


BAD = {
    "no size": b"\r\n",
    "signed size": b"+3\r\nabc\r\n",
    "0x": b"0x3\r\nabc\r\n",
    "a blank before the size": b" 3\r\nabc\r\n",
    "a blank in the size": b"1 0\r\n",
    "an underscore": b"1_0\r\n",
    "sixteen digits": b"0000000000000003\r\nabc\r\n",
    "bare LF": b"3\nabc\r\n0\r\n\r\n",
    "bare CR in an extension": b"3;a\rb\r\nabc\r\n",
    "NUL in an extension": b"3;\0\r\nabc\r\n",
    "more than its size": b"3\r\nabcd\r\n",
    "LF behind the data": b"3\r\nabc\n0\r\n\r\n",
    "endless extension": b"3;" + b"a" * (MAX_LINE + 9),
    "a trailer that is no field": b"0\r\nabc\r\n\r\n",
    "a folded trailer": b"0\r\nA: b\r\n c\r\n\r\n",
    "an endless trailer": b"0\r\n" + b"A: b\r\n" * MAX_TRAILER_BYTES,
}


@pytest.mark.parametrize("step", [1, 7, 10_000])
@pytest.mark.parametrize("data", BAD.values(), ids=BAD.keys())
def test_what_could_be_read_two_ways_is_refused(data: bytes, step: int) -> None:
    with pytest.raises(BadChunk):
        read(data + b"x" * MAX_LINE, step)


@pytest.mark.parametrize("data", [b"3e9\r\n", b"fffffffffffffff\r\n", chunked(b"x" * 999, b"xx")])
def test_a_body_past_its_limit_is_refused_where_the_chunk_begins(data: bytes) -> None:
    with pytest.raises(BodyTooLong):
        read(data)


@given(st.binary(max_size=200))
def test_no_bytes_whatever_break_it(junk: bytes) -> None:
    try:
        read(junk)
    except (BadChunk, BodyTooLong):
        pass
