"""Clients that stop reading: bounded in memory, cut off in time, and no reason for a shutdown to wait."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from tests.web.conftest import Serve
from tests.web.serving import PATIENCE_S, Node, Stream, eventually

BIG = {"padding": "x" * 30_000}


@asynccontextmanager
async def frozen_stream(node: Node, room_id: str, buffer: int = 4096) -> AsyncIterator[Stream]:
    """A client that asks for a stream over a narrow socket and then reads nothing."""
    async with await node.connect(buffer) as stream:
        await stream.send_all(f"GET /api/rooms/{room_id}/stream HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        await eventually(lambda: node.program.core.rooms.streams(room_id))
        yield stream


async def clog(node: Node, room_id: str) -> int:
    """Write until every buffer on the way to a frozen client is full; the last version."""
    version = 0
    for number in range(40):
        version = (await node.put(room_id, BIG | {"n": number})).json()["version"]
    return version


async def test_a_client_that_stops_reading_is_cut_off_logged_and_counted(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    async with serve(STREAM_STALL_SECONDS=0.5) as node:
        async with frozen_stream(node, "r"):
            await clog(node, "r")
            with trio.fail_after(PATIENCE_S):
                await node.program.edge.streams.wait_none()

        assert node.program.edge.streams.statistics().ended == {"stalled": 1}
        cut_off = [vars(record) for record in caplog.records if record.message == "stream_cut_off"]
        assert [(fields["topic"], fields["reason"]) for fields in cut_off] == [("r", "stalled")]
        assert node.program.core.rooms.streams("r") == 0


async def test_a_frozen_client_does_not_slow_others_down(serve: Serve) -> None:
    async with serve() as node, frozen_stream(node, "r"), node.watch("r") as watcher:
        last = await clog(node, "r")
        seen = await watcher.until_version(last)

    assert seen == sorted(set(seen))


async def test_a_slow_client_is_conflated_never_goes_back_and_gets_the_newest(serve: Serve) -> None:
    async with serve() as node, frozen_stream(node, "r") as stream:
        last = await clog(node, "r")
        text = b""
        with trio.fail_after(PATIENCE_S):
            while f'"version":{last},'.encode() not in text or not text.endswith(b"\n\n\r\n"):
                text += await stream.receive_some(65536)

    versions = [int(part.partition(b",")[0]) for part in text.split(b'"version":')[1:]]
    assert versions == sorted(set(versions))
    assert versions[-1] == last
    # Whatever the kernel holds, the rest of forty versions was never kept for it.
    assert len(versions) < 30


async def test_a_client_that_takes_a_little_now_and_then_is_spared(serve: Serve) -> None:
    async with serve(STREAM_STALL_SECONDS=2) as node, frozen_stream(node, "r", 32_768) as stream:
        await clog(node, "r")
        for _ in range(10):
            # In TLS what comes of one read of the socket is taken record by record.
            for _ in range(2):
                await stream.receive_some(16_384)
            await node.put("r", BIG)
            await trio.sleep(0.3)  # real time: the client is slow, which is the test

        assert node.program.core.rooms.streams("r") == 1


async def test_a_frozen_client_does_not_delay_the_shutdown(serve: Serve) -> None:
    async with serve(STREAM_STALL_SECONDS=60, DRAIN_SECONDS=0.5) as node, frozen_stream(node, "r"):
        await clog(node, "r")
        start = trio.current_time()
        node.program.stop()
        with trio.fail_after(PATIENCE_S):
            await node.program.edge.connections.wait_none()

        assert trio.current_time() - start < 5


async def test_a_client_frozen_in_the_middle_of_its_request_does_not_delay_the_shutdown(serve: Serve) -> None:
    async with (
        serve(DRAIN_SECONDS=0) as node,
        await node.connect() as stream,
    ):
        await stream.send_all(b"PUT /api/rooms/r HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
        await wait_all_tasks_blocked(0.02)
        start = trio.current_time()
        node.program.stop()
        with trio.fail_after(PATIENCE_S):
            await node.program.edge.connections.wait_none()

        assert trio.current_time() - start < 8
