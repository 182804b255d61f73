"""`?viewers=1`: how many listen to a room."""

from __future__ import annotations

import itertools
from contextlib import AsyncExitStack
from typing import cast

import pytest
import trio
from trio.testing import MockClock

from actors.rooms import RoomStore
from tests.engines import RedisServer
from tests.web.conftest import BOTH_STORES, Serve
from tests.web.serving import PATIENCE_S, Node, Watcher, serving
from web.handlers.viewers import TELL_EVERY_S, Viewers, frames_of

STORES = BOTH_STORES


async def until_viewers(watcher: Watcher, viewers: int, room_id: str = "r") -> None:
    with trio.fail_after(PATIENCE_S):
        while True:
            frame = await watcher.event()
            if frame.event == "viewers" and frame.data == {"room_id": room_id, "viewers": viewers}:
                return


async def test_a_stream_is_told_at_once_after_the_record_and_then_on_change(node: Node) -> None:
    async with node.watch("r", "?viewers=1") as asking:
        assert (await asking.event()).event == "state"
        first = await asking.event()
        assert (first.event, first.id, first.data) == ("viewers", None, {"room_id": "r", "viewers": 1})
        async with node.watch("r"), node.watch("other"):
            await until_viewers(asking, 2)
        await until_viewers(asking, 1)


async def test_a_stream_that_does_not_ask_is_not_told(node: Node) -> None:
    for query in ("", "?viewers=0"):
        async with node.watch("r", query) as silent, node.watch("r", "?viewers=1") as asking:
            await until_viewers(asking, 2)
            await node.put("r", {"n": 1})
            assert [(await silent.event()).event for _ in range(2)] == ["state", "state"]


async def test_a_stream_that_resumes_is_told_too_and_keeps_its_id(node: Node) -> None:
    etag = (await node.put("r", {"n": 1})).headers["etag"].strip('"')
    async with node.watch("r", "?viewers=1", Last_Event_ID=etag) as watcher:
        assert (await watcher.event()).event == "viewers"
        await node.put("r", {"n": 2})
        assert await watcher.version() == 2


async def test_a_stream_of_several_rooms_is_told_of_each(node: Node) -> None:
    async with await node.connect() as stream, node.watch("b"):
        watcher = Watcher(stream)
        await watcher.ask("/api/stream?room=a&room=b&viewers=1", {})
        opened = await watcher.event()
        assert [(await watcher.event()).event for _ in range(2)] == ["state", "state"]
        told = [(await watcher.event()).data for _ in range(2)]
        assert told == [{"room_id": "a", "viewers": 1}, {"room_id": "b", "viewers": 2}]

        path = f"/api/streams/{opened.data['stream_id']}"
        changed = await node.http.post(path, json={"add": ["c"], "remove": ["b"]})
        assert changed.status_code == 200
        assert (await watcher.event()).data["room_id"] == "c"
        assert (await watcher.event()).data == {"room_id": "c", "viewers": 1}
        async with node.watch("b"), node.watch("c"):
            await until_viewers(watcher, 2, "c")


@pytest.mark.memory_store
async def test_a_slow_reader_ends_on_the_newest_state_and_number(serve: Serve) -> None:
    """What waits for it is one state and one number."""
    padding = "x" * 30_000
    async with serve() as node, await node.connect() as stream, AsyncExitStack() as others:
        slow = Watcher(stream)
        await slow.ask("/api/rooms/r/stream?viewers=1", {})
        for number in range(1, 301):
            assert (await node.put("r", {"n": number, "padding": padding})).status_code == 200
            if number % 100 == 0:
                await others.enter_async_context(node.watch("r"))
        async with node.watch("r", "?viewers=1") as quick:
            await until_viewers(quick, 5)
        version, viewers = 0, 0
        with trio.fail_after(PATIENCE_S):
            while (version, viewers) != (300, 4):
                frame = await slow.event()
                if frame.event == "state":
                    assert frame.data["version"] >= version
                    version = frame.data["version"]
                else:
                    viewers = frame.data["viewers"]


async def test_metrics_say_how_many_rooms_are_asked_about(node: Node) -> None:
    async with node.watch("r", "?viewers=1") as watcher:
        await until_viewers(watcher, 1)
        assert "greenroom_viewer_rooms 1.0\n" in (await node.http.get("/metrics")).text


@pytest.mark.memory_store
async def test_all_nodes_are_counted(lane: str, redis_server: RedisServer) -> None:
    shared = {"ROOM_STORE": "redis", "REDIS_URL": redis_server.url}
    async with (
        serving(lane, NODE_NAME="one", **shared) as one,
        serving(lane, NODE_NAME="two", **shared) as two,
        AsyncExitStack() as others,
    ):
        asking = await others.enter_async_context(one.watch("r", "?viewers=1"))
        await until_viewers(asking, 1)
        async with two.watch("r"), two.watch("r"), two.watch("r"):
            await until_viewers(asking, 4)
            async with two.watch("r", "?viewers=1") as late:
                assert (await late.event()).event == "state"
                assert (await late.event()).data == {"room_id": "r", "viewers": 5}
        await until_viewers(asking, 1)


class Listeners:
    """The part of a `RoomStore` that counts."""

    def __init__(self) -> None:
        self.here = 0
        self.elsewhere: list[int] | None = [0]

    def streams(self, room_id: str) -> int:
        assert room_id == "r"
        return self.here

    async def streams_elsewhere(self, room_ids: list[str]) -> list[int] | None:
        return self.elsewhere if room_ids else []


class Screen:
    """Remembers what it was told, and when."""

    def __init__(self) -> None:
        self.told: list[tuple[float, bytes]] = []

    def tell(self, frames: bytes) -> None:
        self.told.append((trio.current_time(), frames))


def viewers_of(listeners: Listeners) -> Viewers:
    return Viewers(cast("RoomStore", listeners))


async def test_nobody_is_told_twice_within_a_second(autojump_clock: MockClock) -> None:
    listeners, screen = Listeners(), Screen()
    viewers = viewers_of(listeners)
    await viewers.open(["r"])
    began = trio.current_time()
    assert viewers.join("r", screen) == frames_of("r", 0)
    for _ in range(100):
        listeners.here += 1
        await viewers.look()
        await trio.sleep(0.1)

    times = [began, *(at for at, _ in screen.told)]
    assert len(screen.told) >= 8
    assert all(after - before >= TELL_EVERY_S for before, after in itertools.pairwise(times))


async def test_what_others_said_last_stands_while_they_cannot_be_asked(autojump_clock: MockClock) -> None:
    listeners, screen = Listeners(), Screen()
    listeners.here, listeners.elsewhere = 1, [4]
    viewers = viewers_of(listeners)
    await viewers.open(["r"])
    assert viewers.join("r", screen) == frames_of("r", 5)
    listeners.here, listeners.elsewhere = 2, None
    await trio.sleep(TELL_EVERY_S)
    await viewers.look()
    assert [frames for _, frames in screen.told] == [frames_of("r", 6)]


async def test_a_room_is_forgotten_with_the_last_who_asks(autojump_clock: MockClock) -> None:
    viewers, screen = viewers_of(Listeners()), Screen()
    await viewers.open(["r"])
    viewers.join("r", screen)
    viewers.leave("r", screen)
    assert not len(viewers)
    await viewers.open(["r"])  # for a stream that was refused in the end
    for _ in range(3):
        await trio.sleep(TELL_EVERY_S)
        await viewers.look()
    assert not len(viewers)
