"""How a node goes: everybody is told when to come back, and it ends in bounded time."""

from __future__ import annotations

import signal
from dataclasses import dataclass

import pytest
import trio
import trio.lowlevel
from trio.testing import wait_all_tasks_blocked

from tests.web.conftest import Serve
from tests.web.serving import Served, Watcher, connect, eventually, served
from web.graceful_shutdown import farewell, plan, retry_ms


@dataclass
class Farewell:
    """How one stream ended."""

    retry_ms: int
    retry: int | None
    at: float


async def farewell_of(watcher: Watcher) -> Farewell:
    while (frame := await watcher.event()).event != "drain":
        pass
    assert await watcher.frame() is None
    return Farewell(frame.data["retry_ms"], frame.retry, trio.current_time())


class TestPlan:
    @pytest.mark.parametrize("count", [0, 1, 2, 7, 1000, 20_001])
    @pytest.mark.parametrize("drain_s", [0.0, 0.3, 10.0])
    def test_every_stream_is_closed_once_in_order(self, count: int, drain_s: float) -> None:
        pieces = list(plan(count, drain_s))

        assert [index for piece in pieces for index in range(piece.first, piece.last)] == list(range(count))
        assert [piece.at_s for piece in pieces] == sorted(piece.at_s for piece in pieces)

    @pytest.mark.parametrize("count", [1, 2, 500])
    def test_nobody_is_told_to_come_back_before_the_last_is_closed(self, count: int) -> None:
        pieces = list(plan(count, 10.0))
        returns = [
            piece.at_s + retry_ms(i, count, 10.0) / 1000
            for piece in pieces
            for i in range(piece.first, piece.last)
        ]

        assert min(returns) > pieces[-1].at_s

    def test_retries_grow_and_stay_within_the_drain(self) -> None:
        retries = [retry_ms(index, 100, 10.0) for index in range(100)]

        assert retries == sorted(retries)
        assert len(set(retries)) == 100
        assert retries[0] > 0
        assert retries[-1] == 10_000

    def test_the_farewell_has_data_for_an_event_source_to_deliver(self) -> None:
        assert farewell(1500) == b'event: drain\ndata: {"retry_ms":1500}\nretry: 1500\n\n'


async def test_streams_are_told_when_to_come_back_and_closed_in_that_order(serve: Serve) -> None:
    farewells: list[Farewell] = []
    async with serve(DRAIN_SECONDS=2) as node, trio.open_nursery() as nursery:

        async def watch(number: int) -> None:
            async with node.watch(f"r{number}") as watcher:
                farewells.append(await farewell_of(watcher))

        for number in range(10):
            nursery.start_soon(watch, number)
        await eventually(lambda: len(node.program.edge.streams) >= 10)
        node.program.stop()

    assert len(farewells) == 10
    assert all(each.retry == each.retry_ms for each in farewells)
    by_time = [each.retry_ms for each in sorted(farewells, key=lambda each: each.at)]
    assert by_time == sorted(by_time)
    assert all(0 < each.retry_ms <= 2000 for each in farewells)


async def test_while_draining_health_says_so_streams_are_refused_and_requests_are_served(
    serve: Serve,
) -> None:
    async with serve(DRAIN_SECONDS=3) as node:
        await node.put("r", {})
        node.program.stop()
        await trio.lowlevel.checkpoint()
        health = await node.http.get("/healthz")
        stream = await node.http.get("/api/rooms/r/stream")
        record = await node.get("r")

    assert health.status_code == 503
    assert health.json() == {"ok": False}
    assert stream.status_code == 503
    assert "retry-after" in stream.headers
    assert record.status_code == 200


async def can_connect(port: int) -> bool:
    try:
        stream = await trio.open_tcp_stream("127.0.0.1", port)
    except OSError:
        return False
    await stream.aclose()
    return True


async def test_where_a_successor_accepts_nobody_is_refused(serve: Serve) -> None:
    async with serve(DRAIN_SECONDS=3) as node, node.watch("r") as watcher:
        await node.put("r", {})
        kept = await node.connect()
        node.program.stop(hand_over=True)
        with trio.fail_after(2):
            while await can_connect(node.port):  # noqa: ASYNC110 - the socket closes within a turn or two
                await trio.sleep(0.01)  # real time: writes go on meanwhile
        health = await node.http.get("/healthz")
        async with kept:
            late = Watcher(kept)
            await late.ask("/api/rooms/r/stream", {})
            events = [(await late.event()).event for _ in range(2)]
        first = await farewell_of(watcher)

    assert health.status_code == 200
    assert events == ["state", "drain"]
    assert 0 < first.retry_ms <= 3000


async def test_a_stream_gets_its_newest_version_before_its_farewell(serve: Serve) -> None:
    async with serve() as node, node.watch("r") as watcher:
        await node.put("r", {})
        node.program.stop()
        events = [(await watcher.event()).event for _ in range(3)]

    assert events[-1] == "drain"
    assert events.count("state") == 2


async def test_a_request_under_way_is_finished(serve: Serve) -> None:
    async with (
        serve(DRAIN_SECONDS=0) as node,
        await node.connect() as stream,
    ):
        await stream.send_all(b"PUT /api/rooms/r HTTP/1.1\r\nHost: x\r\nContent-Length: 12\r\n\r\n")
        await wait_all_tasks_blocked(0.02)
        node.program.stop()
        await wait_all_tasks_blocked(0.02)
        await stream.send_all(b'{"state":{}}')
        answer = await stream.receive_some()

    assert answer.startswith(b"HTTP/1.1 200 ")


async def test_an_idle_connection_does_not_keep_the_node(serve: Serve) -> None:
    async with serve(DRAIN_SECONDS=0) as node:
        await node.get("r")
        start = trio.current_time()
        node.program.stop()
        await node.program.edge.connections.wait_none()

        assert trio.current_time() - start < 2


async def test_stopping_again_ends_at_once(serve: Serve) -> None:
    async with serve(DRAIN_SECONDS=60) as node, node.watch("r") as watcher:
        await watcher.event()
        node.program.stop()
        await wait_all_tasks_blocked(0.02)
        start = trio.current_time()
        node.program.stop()
        await node.program.edge.connections.wait_none()

        assert trio.current_time() - start < 1


# -- the program as a process -------------------------------------------------------------


async def open_stream(server: Served) -> Watcher:
    stream = await connect(server.port, server.tls)
    watcher = Watcher(stream)
    await watcher.ask("/api/rooms/r/stream", {})
    await watcher.event()
    return watcher


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_drains_and_the_status_is_0(lane: str, number: signal.Signals) -> None:
    async with served(lane, {"DRAIN_SECONDS": "0.5"}) as server:
        watcher = await open_stream(server)
        server.process.send_signal(number)
        said = await farewell_of(watcher)
        await watcher.stream.aclose()

        assert 0 < said.retry_ms <= 500
        assert await server.wait() == 0


async def test_sigint_is_quick_however_long_the_drain(lane: str) -> None:
    async with served(lane, {"DRAIN_SECONDS": "60"}) as server:
        watcher = await open_stream(server)
        start = trio.current_time()
        server.process.send_signal(signal.SIGINT)
        await farewell_of(watcher)
        await watcher.stream.aclose()

        assert await server.wait() == 0
        assert trio.current_time() - start < 3


async def test_a_second_sigterm_ends_it_at_once(lane: str) -> None:
    async with served(lane, {"DRAIN_SECONDS": "60"}) as server:
        watchers = [await open_stream(server) for _ in range(3)]
        server.process.send_signal(signal.SIGTERM)
        await farewell_of(watchers[0])
        assert server.process.poll() is None
        start = trio.current_time()
        server.process.send_signal(signal.SIGTERM)
        await server.wait()

        assert trio.current_time() - start < 2
        for watcher in watchers:
            await watcher.stream.aclose()


async def test_a_process_with_frozen_clients_ends_with_0_in_bounded_time(lane: str) -> None:
    async with served(lane, {"DRAIN_SECONDS": "0.5"}) as server:
        frozen = [await open_stream(server) for _ in range(3)]
        start = trio.current_time()
        server.process.send_signal(signal.SIGTERM)

        assert await server.wait() == 0
        assert trio.current_time() - start < 8
        for watcher in frozen:
            await watcher.stream.aclose()
