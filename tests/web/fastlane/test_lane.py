"""What only the lane does: slow readers, slow senders, requests one behind the other."""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import partial

import orjson
import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from tests.web.serving import PATIENCE_S, Node, Stream, serving
from web.fastlane import service
from web.fastlane.connection import Timeouts

GET = b"GET /api/rooms/r HTTP/1.1\r\nHost: node\r\n\r\n"
LARGE = {"text": "x" * 900_000}


@pytest.fixture
async def node() -> AsyncIterator[Node]:
    async with serving("fast", MAX_STATE_BYTES=1_000_000) as running:
        yield running


async def with_little_room(node: Node) -> Stream:
    """A connection whose client has room for a few kilobytes only."""
    return await node.connect(4096)


async def read_answer(stream: Stream) -> tuple[bytes, bytes]:
    """Head and body of one answer."""
    data = b""
    with trio.fail_after(PATIENCE_S):
        while b"\r\n\r\n" not in data:
            data += await stream.receive_some()
        head, _, body = data.partition(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
        while len(body) < length:
            body += await stream.receive_some()
    assert len(body) == length
    return head, body


async def test_an_answer_larger_than_all_buffers_arrives_whole_and_the_connection_goes_on(node: Node) -> None:
    put = await node.put("r", LARGE)
    async with await with_little_room(node) as stream:
        for _ in range(2):
            await stream.send_all(GET)
            await wait_all_tasks_blocked(0.02)  # let the answer meet a full buffer
            _, body = await read_answer(stream)
            assert body == put.content


async def test_the_last_answer_of_a_connection_arrives_whole(node: Node) -> None:
    put = await node.put("r", LARGE)
    async with await with_little_room(node) as stream:
        await stream.send_all(GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
        await wait_all_tasks_blocked(0.02)
        head, body = await read_answer(stream)
        assert b"connection: close" in head
        assert body == put.content
        assert await stream.receive_some() == b""


async def test_requests_sent_in_one_go_are_answered_in_order(node: Node) -> None:
    await node.put("r", {})
    body = b'{"state":{}}'
    put = b"PUT /api/rooms/r HTTP/1.1\r\nHost: node\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
    async with await node.connect() as stream:
        await stream.send_all((put + GET) * 50)
        data = b""
        with trio.fail_after(PATIENCE_S):
            while data.count(b'"version":') < 100:
                data += await stream.receive_some()
    versions = [int(part.split(b",")[0]) for part in data.split(b'"version":')[1:]]
    assert versions == [number // 2 + 2 for number in range(100)]


@pytest.mark.parametrize(
    "targets",
    [
        # Heads that differ in nothing but their last letters, which are not always an id.
        ("/api/rooms/one", "/api/rooms/two", "/api/rooms/one", "/api/rooms/thr%65e", "/api/rooms/two"),
        ("/api/rooms/one?a=/b", "/api/rooms/one?a=/two", "/api/rooms/one?a=/one"),
        ("/api/rooms/one", "/api/rooms/two?", "/api/rooms/two/", "/api/rooms/one/stats", "/api/rooms/two"),
        ("/api/rooms//one", "/api/rooms//two", "/api/rooms/", "/api/rooms/one"),
        ("/api/rooms/one", "/api/rooms/" + "x" * 65, "/api/rooms/a.b", "/api/rooms/two", "/api/rooms/four"),
        ("/healthz", "/api/rooms/one", "/healthz", "/api/rooms/two"),
    ],
)
async def test_requests_that_are_nearly_alike_are_told_apart(node: Node, targets: tuple[str, ...]) -> None:
    for room in ("one", "two", "three"):
        await node.put(room, [room])
    for method, body in (("GET", b""), ("PUT", b'{"state":{}}')):
        stream = await node.connect()
        for target in targets:
            line = f"{method} {target} HTTP/1.1\r\nHost: node\r\n"
            framing = f"Content-Length: {len(body)}\r\n\r\n"
            await stream.send_all((line + framing).encode() + body)
            answered, said = await read_answer(stream)
            # The first request of a connection of its own resembles none before it.
            alone = await node.raw((line + "Connection: close\r\n" + framing).encode() + body)
            head_alone, _, said_alone = alone.partition(b"\r\n\r\n")
            assert answered.split()[1] == head_alone.split()[1]
            told, told_alone = orjson.loads(said), orjson.loads(said_alone)
            assert told.get("room_id") == told_alone.get("room_id")
            assert told.get("error") == told_alone.get("error")
            if b"connection: close" in answered:
                await stream.aclose()
                stream = await node.connect()
        await stream.aclose()


async def test_a_request_that_comes_while_another_is_answered_waits_for_its_turn(node: Node) -> None:
    async with await node.connect() as stream:
        for turn in range(200):
            body = b'{"state":{"turn":%d}}' % turn
            await stream.send_all(
                b"PUT /api/rooms/r HTTP/1.1\r\nHost: node\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
            )
            await stream.send_all(GET)
            assert b'"version":%d,' % (turn + 1) in (await read_two(stream))[1]


async def read_two(stream: Stream) -> list[bytes]:
    data = b""
    with trio.fail_after(PATIENCE_S):
        while data.count(b'"state":') < 2:
            data += await stream.receive_some()
    return data.split(b"HTTP/1.1 200 OK")[1:]


async def test_a_client_that_leaves_in_the_middle_of_its_request_leaves_nothing_behind(node: Node) -> None:
    for part in (b"", GET[:20], b"PUT /api/rooms/r HTTP/1.1\r\nHost: node\r\nContent-Length: 9\r\n\r\n{"):
        async with await node.connect() as stream:
            if part:
                await stream.send_all(part)
    with trio.fail_after(PATIENCE_S):
        await node.program.edge.connections.wait_none()
    assert node.program.edge.connections.statistics().failed == 0


@pytest.mark.parametrize(
    "part", [b"", GET[:20], b"PUT /api/rooms/r HTTP/1.1\r\nHost: node\r\nContent-Length: 9\r\n\r\n{"]
)
async def test_a_client_that_takes_too_long_is_hung_up_on(
    part: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    quick = partial(Timeouts, head_s=0.1, body_s=0.1, idle_s=0.1)
    monkeypatch.setattr(service, "Timeouts", quick)
    async with serving("fast") as node, await node.connect() as stream:
        if part:
            await stream.send_all(part)
        with trio.fail_after(PATIENCE_S):
            told = b"".join([chunk async for chunk in stream])
        assert told.startswith(b"HTTP/1.1 408 ") if part else not told
        assert node.program.edge.fastlane.statistics().timed_out == 1
