"""One HTTP caller against peers that answer oddly: each is a value, none an exception."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from actors.links import HttpAnswer, HttpCaller, read_retry_after

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
Peer = Callable[[trio.SocketStream, bytes], Awaitable[None]]


@asynccontextmanager
async def calling(peer: Peer, *, places: int = 4, deadline_s: float = 1.0) -> AsyncIterator[HttpCaller]:
    """A caller of a peer that gets each connection with the first bytes of its request."""

    async def serve(stream: trio.SocketStream) -> None:
        try:
            await peer(stream, bytes(await stream.receive_some()))
        except trio.BrokenResourceError:
            pass

    async with trio.open_nursery() as nursery:
        [listener] = await nursery.start(partial(trio.serve_tcp, serve, 0, host="127.0.0.1"))
        port = listener.socket.getsockname()[1]
        caller = HttpCaller(f"http://127.0.0.1:{port}", places=places, deadline_s=deadline_s)
        yield caller
        await caller.aclose()
        nursery.cancel_scope.cancel()


async def ask(caller: HttpCaller) -> HttpAnswer:
    return await caller.request("POST", "/x", body=b"{}", headers={"X-Key": "k"})


def saying(*parts: bytes) -> Peer:
    async def peer(stream: trio.SocketStream, _request: bytes) -> None:
        for part in parts:
            await stream.send_all(part)
        # Not closed before all of the request was read: that would reset the connection.
        await stream.send_eof()
        async for _ in stream:
            pass

    return peer


@pytest.mark.parametrize(
    ("said", "status", "body"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", 200, b"ok"),
        (b"HTTP/1.1 200 OK\r\n\r\nuntil the end", 200, b"until the end"),
        (b"HTTP/1.0 200 OK\r\n\r\nold", 200, b"old"),
        (b"HTTP/1.1 103 Early\r\n\r\nHTTP/1.1 204 No\r\n\r\n", 204, b""),
        (b"HTTP/1.1 302 F\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n", 302, b""),
        (b"HTTP/1.1 200 OK\r\nX: \xff\xfe\r\nContent-Length: 2\r\n\r\nok", 200, b"ok"),
        (
            b"HTTP/1.1 200 OK\r\nContent-Type: x; charset=no-such\r\nContent-Length: 2\r\n\r\n\xff\xfe",
            200,
            b"\xff\xfe",
        ),
        (b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\nnot", 200, b"not"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", 200, b"ok"),
        (b"HTTP/1.1 503 X\r\nContent-Length: 0\r\n\r\n", 503, b""),
    ],
)
async def test_an_answer_comes_back_as_it_is(said: bytes, status: int, body: bytes) -> None:
    async with calling(saying(said)) as caller:
        answer = await ask(caller)

    assert (answer.status, answer.body, answer.problem) == (status, body, None)


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"SSH-2.0-x\r\n\r\n",
        b"HTTP/1.1 9999 X\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 200_000 + b"\r\n",
    ],
)
async def test_what_is_no_answer_is_none_and_the_next_request_goes_through(said: bytes) -> None:
    asked = 0

    async def peer(stream: trio.SocketStream, request: bytes) -> None:
        nonlocal asked
        asked += 1
        await saying(said if asked == 1 else b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")(
            stream, request
        )

    async with calling(peer, places=1) as caller:
        first, second = await ask(caller), await ask(caller)

    assert first.status is None or first.status == 101
    assert first.problem is not None or first.status == 101
    assert (second.status, second.body) == (200, b"ok")


async def test_a_body_without_end_is_cut() -> None:
    async def endless(stream: trio.SocketStream, _request: bytes) -> None:
        await stream.send_all(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            await stream.send_all(b"x" * 65_536)

    async with calling(endless, deadline_s=10) as caller:
        answer = await ask(caller)

    assert (answer.status, len(answer.body)) == (200, 65_536)


@pytest.mark.parametrize(
    "said", [b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nx"]
)
async def test_silence_at_any_point_ends_with_the_deadline(said: bytes) -> None:
    async def silent(stream: trio.SocketStream, _request: bytes) -> None:
        await stream.send_all(said)
        await trio.sleep_forever()

    async with calling(silent, deadline_s=0.2) as caller:
        assert await ask(caller) == HttpAnswer(None, problem="no answer within 0.2 s")


async def test_bytes_that_trickle_end_with_the_deadline_too() -> None:
    async def trickle(stream: trio.SocketStream, _request: bytes) -> None:
        await stream.send_all(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            await stream.send_all(b"x")
            await trio.sleep(0.02)  # real time: the peer is slow, which is the test

    async with calling(trickle, deadline_s=0.3) as caller:
        assert (await ask(caller)).status is None


async def test_the_wait_for_a_place_is_not_the_peers_time() -> None:
    async def slow(stream: trio.SocketStream, _request: bytes) -> None:
        await trio.sleep(0.5)  # real time: the peer is slow, which is the test
        await saying(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")(stream, b"")

    statuses: list[int | None] = []

    async def one(caller: HttpCaller) -> None:
        statuses.append((await ask(caller)).status)

    async with calling(slow, places=1, deadline_s=1.8) as caller, trio.open_nursery() as nursery:
        for _ in range(4):
            nursery.start_soon(one, caller)

    assert statuses == [200] * 4


async def test_a_cookie_does_not_travel_with_the_next_request() -> None:
    requests: list[bytes] = []

    async def peer(stream: trio.SocketStream, request: bytes) -> None:
        requests.append(request)
        await saying(b"HTTP/1.1 200 OK\r\nSet-Cookie: who=ann; Path=/\r\nContent-Length: 0\r\n\r\n")(
            stream, b""
        )

    async with calling(peer, places=1) as caller:
        await ask(caller)
        await ask(caller)

    assert len(requests) == 2
    assert not any(b"cookie" in request.lower() for request in requests)
    assert all(b"user-agent: greenroom/" in request.lower() for request in requests)


async def test_nobody_there_is_no_answer() -> None:
    answer = await ask(HttpCaller("http://127.0.0.1:1", places=1, deadline_s=1))

    assert (answer.status, answer.problem) == (None, "ConnectError")


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        ("", None),
        ("soon", None),
        ("nan", None),
        ("inf", None),
        ("5", 5.0),
        (" 5 ", 5.0),
        ("0", 0.0),
        ("-3", 0.0),
        ("1.5", 1.5),
        ("99999999", 99_999_999.0),
        ("Thu, 01 Jan 1970 00:00:10 GMT", 5.0),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 0.0),
        ("Thu, 01 Jan 1970 00:00:10", 5.0),
        ("Thu, 01 Jan 99999 00:00:10 GMT", None),
    ],
)
def test_retry_after_is_seconds_or_a_date_or_nothing(value: str | None, seconds: float | None) -> None:
    assert read_retry_after(value, 5.0) == seconds


@given(st.text())
def test_no_retry_after_makes_it_raise(value: str) -> None:
    seconds = read_retry_after(value, 0.0)

    assert seconds is None or seconds >= 0
