"""Streams of rooms: what comes first, what comes after, what is never seen."""

from __future__ import annotations

import logging
from contextlib import AsyncExitStack

import httpx
import pytest
import trio

from tests.web.conftest import BOTH_STORES, Serve
from tests.web.serving import ADMIN, Node, eventually

STORES = BOTH_STORES


async def test_a_stream_has_the_headers_that_proxies_and_browsers_want(node: Node) -> None:
    async with node.watch("r", accept="text/event-stream") as watcher:
        assert watcher.status == 200
        assert watcher.headers["content-type"] == "text/event-stream"
        assert watcher.headers["cache-control"] == "no-cache"
        assert watcher.headers["x-accel-buffering"] == "no"
        assert watcher.headers["connection"] == "keep-alive"


async def test_it_says_once_when_to_come_back_and_not_everybody_at_the_same_time(node: Node) -> None:
    retries = []
    for _ in range(8):
        async with node.watch("r") as watcher:
            first = await watcher.frame()
            assert first is not None
            assert first.retry is not None
            retries.append(first.retry)

    assert all(1500 <= retry <= 2500 for retry in retries)
    assert len(set(retries)) > 1


async def test_the_current_record_comes_first_at_once(node: Node) -> None:
    put = await node.put("r", {"n": 1})
    async with node.watch("r") as watcher:
        event = await watcher.event()

    assert event.event == "state"
    assert event.id == put.headers["etag"].strip('"')
    assert event.data == put.json()


async def test_a_room_that_does_not_exist_is_version_0(node: Node) -> None:
    async with node.watch("nobody") as watcher:
        event = await watcher.event()
        assert event.id == "none-0"
        assert event.data == {"room_id": "nobody", "version": 0, "updated_at": None, "state": None}

        await node.put("nobody", {"now": "somebody"})
        assert await watcher.version() == 1


async def test_every_write_reaches_a_stream_that_keeps_up(node: Node) -> None:
    async with node.watch("r") as watcher:
        seen = [await watcher.version()]
        for number in range(20):
            await node.put("r", {"n": number})
            seen.append(await watcher.version())

    assert seen == list(range(21))


async def test_writers_who_hurry_leave_no_version_out(node: Node, lane: str) -> None:
    """Streams that keep up see every version, also where many are told of together."""
    writers, writes, watchers = 8, 25, 20
    seen: list[list[int]] = []

    async def write() -> None:
        for _ in range(writes):
            assert (await node.put("r", {"text": "x" * 200})).status_code == 200

    async with AsyncExitStack() as open_streams, trio.open_nursery() as nursery:
        streams = [await open_streams.enter_async_context(node.watch("r")) for _ in range(watchers)]
        for _ in range(writers):
            nursery.start_soon(write)
        for stream in streams:
            seen.append(await stream.until_version(writers * writes))  # noqa: PERF401  # one after the other
    for versions in seen:
        assert versions == sorted(set(versions))
        if lane == "fast":
            assert versions == list(range(writers * writes + 1))


async def test_neither_gap_nor_repeat_between_the_snapshot_and_live_events(node: Node) -> None:
    """Streams opened in the middle of a hail of writes see versions grow, up to the last."""
    writes = 60

    async def write() -> None:
        for number in range(writes):
            await node.put("r", {"n": number})

    async def watch() -> None:
        async with node.watch("r") as watcher:
            seen = await watcher.until_version(writes)
        assert seen == sorted(set(seen))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(write)
        for _ in range(15):
            nursery.start_soon(watch)
            await trio.sleep(0.005)  # real time: streams open all along the writes


class TestComingBack:
    async def test_with_the_current_id_gets_no_repeat(self, node: Node) -> None:
        etag = (await node.put("r", {})).headers["etag"].strip('"')
        async with node.watch("r", last_event_id=etag) as watcher:
            await node.put("r", {})
            assert await watcher.version() == 2

    async def test_with_an_older_version_gets_the_newest_only(self, node: Node) -> None:
        etag = (await node.put("r", {})).headers["etag"].strip('"')
        for _ in range(3):
            await node.put("r", {})
        async with node.watch("r", last_event_id=etag) as watcher:
            assert await watcher.version() == 4
            await node.put("r", {})
            assert await watcher.version() == 5

    async def test_the_id_may_come_in_the_query_and_the_header_wins(self, node: Node) -> None:
        etag = (await node.put("r", {})).headers["etag"].strip('"')
        await node.put("r", {})
        async with node.watch("r", f"?last_event_id={etag}") as watcher:
            assert await watcher.version() == 2
        async with node.watch("r", f"?last_event_id={etag}", last_event_id="other-9") as watcher:
            assert (await watcher.event()).event == "reset"

    async def test_having_seen_no_room_is_no_loss(self, node: Node) -> None:
        await node.put("r", {})
        async with node.watch("r", last_event_id="none-0") as watcher:
            assert await watcher.version() == 1

    async def test_to_a_room_that_still_does_not_exist_gets_no_repeat(self, node: Node) -> None:
        async with node.watch("r", last_event_id="none-0") as watcher:
            await node.put("r", {})
            assert await watcher.version() == 1

    @pytest.mark.parametrize("last_id", ["other-1", "none-1", "7", "x" * 20 + "-1", "-", "A-1", "a-01"])
    async def test_with_another_life_or_nonsense_gets_a_reset_and_the_record(
        self, node: Node, last_id: str
    ) -> None:
        await node.put("r", {})
        async with node.watch("r", last_event_id=last_id) as watcher:
            reset = await watcher.event()
            assert reset.event == "reset"
            assert reset.id is None
            assert reset.data["room_id"] == "r"
            assert reset.data["previous"] == last_id
            assert await watcher.version() == 1

    async def test_from_the_future_gets_a_reset(self, node: Node) -> None:
        epoch = (await node.put("r", {})).headers["etag"].strip('"').partition("-")[0]
        async with node.watch("r", last_event_id=f"{epoch}-2") as watcher:
            assert (await watcher.event()).event == "reset"
            assert await watcher.version() == 1

    async def test_to_a_room_that_is_gone_gets_a_reset_and_version_0(self, node: Node) -> None:
        async with node.watch("r", last_event_id="abc-5") as watcher:
            assert (await watcher.event()).data == {"room_id": "r", "previous": "abc-5"}
            assert await watcher.version() == 0


async def test_a_removed_room_keeps_its_streams_and_tells_them(node: Node) -> None:
    await node.put("r", {})
    async with node.watch("r") as watcher:
        assert await watcher.version() == 1
        first = (await node.get("r")).headers["etag"]
        await node.http.delete("/api/rooms/r", headers=ADMIN)
        gone = await watcher.event()
        assert (gone.id, gone.data["version"]) == ("none-0", 0)
        await node.put("r", {})
        assert await watcher.version() == 1
        assert (await node.get("r")).headers["etag"] != first


async def test_a_room_removed_for_its_age_tells_its_streams(serve: Serve) -> None:
    async with serve(ROOM_TTL_SECONDS=0.2) as node, node.watch("r") as watcher:
        await node.put("r", {})
        assert await watcher.until_version(1)
        assert await watcher.version() == 0


async def test_a_quiet_stream_gets_a_heartbeat_in_time(serve: Serve) -> None:
    async with serve(HEARTBEAT_SECONDS=0.2) as node, node.watch("r") as watcher:
        await watcher.event()
        start = trio.current_time()
        for _ in range(3):
            frame = await watcher.frame()
            assert frame is not None
            assert frame.comment == "heartbeat"

        assert trio.current_time() - start < 3 * 0.2 + 0.3


async def test_a_busy_stream_gets_heartbeats_as_well(serve: Serve) -> None:
    async with serve(HEARTBEAT_SECONDS=0.2) as node, node.watch("r") as watcher:

        async def write() -> None:
            while True:
                await node.put("r", {})
                await trio.sleep(0.01)  # real time: far more often than heartbeats

        async with trio.open_nursery() as nursery:
            nursery.start_soon(write)
            while (frame := await watcher.frame()) is not None and frame.comment != "heartbeat":
                pass
            nursery.cancel_scope.cancel()


async def test_asking_for_the_head_of_a_stream_opens_none(node: Node) -> None:
    answer = await node.http.head("/api/rooms/r/stream")

    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/event-stream"
    assert len(node.program.edge.streams) == 0


@pytest.mark.parametrize("accept", ["text/event-stream", "*/*", "text/html", "application/json;q=0"])
async def test_no_accept_header_is_refused(node: Node, accept: str) -> None:
    async with node.watch("r", accept=accept) as watcher:
        assert watcher.status == 200


class TestEnds:
    async def test_a_client_that_goes_leaves_nothing_behind(self, node: Node) -> None:
        async with node.watch("r") as watcher:
            await watcher.event()
            assert len(node.program.edge.streams) == 1
        await node.program.edge.streams.wait_none()

        assert node.program.core.rooms.streams("r") == 0
        assert node.program.edge.streams.statistics().ended == {"client_gone": 1}

    async def test_a_client_that_goes_before_it_has_read_anything_leaves_nothing_behind(
        self, node: Node
    ) -> None:
        for _ in range(20):
            stream = await node.connect()
            await stream.send_all(b"GET /api/rooms/r/stream HTTP/1.1\r\nHost: x\r\n\r\n")
            await stream.aclose()
        await eventually(lambda: node.program.edge.streams.statistics().opened >= 20)
        await node.program.edge.streams.wait_none()

        assert node.program.core.rooms.streams("r") == 0


async def test_streams_come_and_go_at_debug_with_the_count_of_their_room(
    node: Node, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG, "web.handlers.rooms"):
        async with node.watch("r") as first, node.watch("r") as second:
            await first.event()
            await second.event()
        await node.program.edge.streams.wait_none()
    told = [vars(record) for record in caplog.records if record.message.startswith("stream_")]

    assert [fields["message"] for fields in told] == ["stream_opened"] * 2 + ["stream_closed"] * 2
    assert [fields["streams"] for fields in told] == [1, 2, 1, 0]
    assert {fields["room_id"] for fields in told} == {"r"}


class TestLimits:
    async def test_a_stream_too_many_on_the_node_is_503(self, serve: Serve) -> None:
        async with serve(MAX_STREAMS=1) as node, node.watch("a") as watcher:
            await watcher.event()
            refused = await node.http.get("/api/rooms/b/stream")

            assert refused.status_code == 503
            assert int(refused.headers["retry-after"]) >= 1
            assert refused.json()["error"] == "too_many_streams"
            assert node.program.edge.streams.statistics().refused == {"limit": 1}

    async def test_a_stream_too_many_on_a_room_is_503_and_other_rooms_take_more(self, serve: Serve) -> None:
        async with serve(MAX_STREAMS_PER_ROOM=1) as node, node.watch("a") as watcher:
            await watcher.event()
            assert (await node.http.get("/api/rooms/a/stream")).status_code == 503
            async with node.watch("b") as other:
                assert other.status == 200

    async def test_a_stream_too_many_of_one_address_is_429(self, serve: Serve) -> None:
        async with serve(MAX_STREAMS_PER_IP=1) as node:
            async with node.watch("a") as watcher:
                await watcher.event()
                refused = await node.http.get("/api/rooms/a/stream")
                assert refused.status_code == 429
                assert "retry-after" in refused.headers
            await node.program.edge.streams.wait_none()
            async with node.watch("a") as watcher:
                assert watcher.status == 200

    async def test_many_at_once_do_not_slip_past_a_limit(self, serve: Serve) -> None:
        statuses: list[int] = []
        async with serve(MAX_STREAMS=5) as node, trio.open_nursery() as nursery:

            async def watch() -> None:
                async with node.watch("r") as watcher:
                    statuses.append(watcher.status)
                    await trio.sleep_forever()

            for _ in range(15):
                nursery.start_soon(watch)
            await eventually(lambda: len(statuses) >= 15)
            nursery.cancel_scope.cancel()

        assert sorted(statuses) == [200] * 5 + [503] * 10


async def test_streams_do_not_keep_others_waiting(node: Node) -> None:
    async with trio.open_nursery() as nursery:
        for number in range(50):

            async def watch(room_id: str) -> None:
                async with node.watch(room_id):
                    await trio.sleep_forever()

            nursery.start_soon(watch, f"r{number}")
        await eventually(lambda: len(node.program.edge.streams) >= 50)
        answer: httpx.Response = await node.put("r1", {})
        nursery.cancel_scope.cancel()

    assert answer.status_code == 200
