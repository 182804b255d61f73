"""Several rooms on one stream."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import quote

import httpx
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from actors.links import NodeInbox
from actors.links.node_tokens import suffix_of
from tests.engines import RedisServer
from tests.web.conftest import BOTH_STORES, Serve
from tests.web.serving import ADMIN, PATIENCE_S, Node, Watcher, eventually, serving
from web.handlers.positions import id_of, position_of, read_id

STORES = BOTH_STORES


@asynccontextmanager
async def watching(node: Node, rooms: Iterable[str], last_id: str = "") -> AsyncIterator[Watcher]:
    query = "&".join(f"room={room_id}" for room_id in rooms)
    async with await node.connect() as stream:
        watcher = Watcher(stream)
        await watcher.ask(f"/api/stream?{query}", {"Last-Event-ID": last_id} if last_id else {})
        yield watcher


async def last_of(watcher: Watcher) -> str:
    """The id of the next event."""
    frame = await watcher.event()
    assert frame.id is not None
    return frame.id


async def opened(watcher: Watcher) -> dict[str, Any]:
    frame = await watcher.event()
    assert frame.event == "open", frame
    data: dict[str, Any] = frame.data
    return data


async def states(watcher: Watcher, count: int) -> list[tuple[str, int]]:
    frames = [await watcher.event() for _ in range(count)]
    assert {frame.event for frame in frames} <= {"state"}, frames
    return [(frame.data["room_id"], frame.data["version"]) for frame in frames]


async def change(node: Node, stream_id: str, **body: Any) -> httpx.Response:
    return await node.http.post(f"/api/streams/{stream_id}", json=body)


async def test_the_first_event_names_the_stream_and_then_come_all_records(node: Node) -> None:
    await node.put("b", {"n": 1})
    async with watching(node, ["a", "b", "a"]) as watcher:
        data = await opened(watcher)
        assert data["rooms"] == ["a", "b"]
        assert len(data["stream_id"]) >= 20
        assert await states(watcher, 2) == [("a", 0), ("b", 1)]
        await node.put("b", {"n": 2})
        await node.put("a", {"n": 1})
        assert await states(watcher, 2) == [("b", 2), ("a", 1)]


async def test_coming_back_costs_at_most_one_event_a_room(node: Node) -> None:
    rooms = ["a", "b", "c"]
    async with watching(node, rooms) as watcher:
        await opened(watcher)
        await states(watcher, 3)
        await node.put("a", {"n": 1})
        last = await last_of(watcher)
    for number in range(3):
        await node.put("b", {"n": number})

    async with watching(node, [*rooms, "d"], last) as watcher:
        await opened(watcher)
        assert await states(watcher, 2) == [("b", 3), ("d", 0)]
        await node.put("c", {"n": 1})
        assert await states(watcher, 1) == [("c", 1)]


async def test_a_room_that_began_anew_is_reset_and_others_are_not(serve: Serve) -> None:
    async with serve(ADMIN_TOKEN="let-me-in") as node:
        await node.put("a", {"n": 1})
        await node.put("b", {"n": 1})
        async with watching(node, ["a", "b"]) as watcher:
            await opened(watcher)
            await states(watcher, 1)
            last = await last_of(watcher)
        assert (await node.http.delete("/api/rooms/a", headers=ADMIN)).status_code == 204
        await node.put("a", {"n": 2})

        async with watching(node, ["a", "b"], last) as watcher:
            await opened(watcher)
            frame = await watcher.event()
            assert (frame.event, frame.data["room_id"]) == ("reset", "a")
            assert await states(watcher, 1) == [("a", 1)]
            await node.put("b", {"n": 2})
            assert await states(watcher, 1) == [("b", 2)]


@pytest.mark.parametrize("last_id", ["rubbish", "k3f9a2bc-8", "m.short"])
async def test_an_id_of_another_kind_resets_every_room(node: Node, last_id: str) -> None:
    async with watching(node, ["a", "b"], last_id) as watcher:
        await opened(watcher)
        events = [(await watcher.event()).event for _ in range(4)]

    assert events == ["reset", "state"] * 2


async def test_rooms_are_added_and_removed_without_a_reconnect(node: Node) -> None:
    await node.put("c", {"n": 1})
    async with watching(node, ["a", "b"]) as watcher:
        stream_id = (await opened(watcher))["stream_id"]
        await states(watcher, 2)
        answer = await change(node, stream_id, add=["c", "b"], remove=["a", "nobody"])

        assert answer.json() == {"stream_id": stream_id, "rooms": ["b", "c"]}
        assert await states(watcher, 1) == [("c", 1)]
        await node.put("a", {"n": 1})
        await node.put("c", {"n": 2})
        assert await states(watcher, 1) == [("c", 2)]
        assert (await change(node, stream_id, remove=["b", "c"])).json()["rooms"] == []
        assert (await change(node, stream_id, add=["a"])).json()["rooms"] == ["a"]
        assert await states(watcher, 1) == [("a", 1)]


async def test_the_id_of_a_stream_lapses_with_it_and_nobody_listens_any_more(node: Node) -> None:
    async with watching(node, ["a", "b"]) as watcher:
        stream_id = (await opened(watcher))["stream_id"]
    await eventually(lambda: not node.program.core.rooms.streams("a"))

    answer = await change(node, stream_id, add=["c"])
    assert (answer.status_code, answer.json()["error"]) == (404, "stream_not_found")
    assert not node.program.core.rooms.streams("b")


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("", "invalid_rooms"),
        ("?room=", "invalid_room_id"),
        ("?room=a&room=b%20c", "invalid_room_id"),
        ("?" + "&".join(f"room=r{number}" for number in range(101)), "invalid_rooms"),
        ("?" + "&".join(f"room=r{number}" for number in range(1000)), "invalid_rooms"),
    ],
)
async def test_one_to_a_hundred_rooms_are_taken(node: Node, query: str, code: str) -> None:
    answer = await node.http.get(f"/api/stream{query}")

    assert (answer.status_code, answer.json()["error"]) == (422, code)


async def test_a_hundred_rooms_come_back_with_one_id(node: Node) -> None:
    rooms = [f"a-room-with-a-name-of-some-length-{number}" for number in range(100)]
    async with watching(node, rooms) as watcher:
        stream_id = (await opened(watcher))["stream_id"]
        await states(watcher, 100)
        refused = await change(node, stream_id, add=["one-more"])
        assert (refused.status_code, refused.json()["error"]) == (422, "invalid_rooms")
        await node.put(rooms[5], {})
        last = await last_of(watcher)
        assert len(last) < 1500
    async with watching(node, rooms, last) as watcher:
        await opened(watcher)
        await node.put(rooms[6], {})
        assert await states(watcher, 1) == [(rooms[6], 1)]


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b'{"add":"a"}', b'{"add":[1]}', b'{"adds":["a"]}', b'{"remove":{}}'],
)
async def test_a_change_of_another_form_is_refused(node: Node, body: bytes) -> None:
    async with watching(node, ["a"]) as watcher:
        stream_id = (await opened(watcher))["stream_id"]
        answer = await node.http.post(f"/api/streams/{stream_id}", content=body)
        bad_id = await change(node, stream_id, add=["b c"])

    assert (answer.status_code, answer.json()["error"]) == (422, "invalid_change")
    assert (bad_id.status_code, bad_id.json()["error"]) == (422, "invalid_room_id")


async def test_limits_of_streams_hold_for_each_room(serve: Serve) -> None:
    async with serve(MAX_STREAMS=2) as node:
        answer = await node.http.get("/api/stream?room=a&room=b&room=c")
        assert (answer.status_code, answer.json()["error"]) == (503, "too_many_streams")
        assert not node.program.core.rooms.streams("a")
        async with watching(node, ["a", "b"]) as watcher:
            stream_id = (await opened(watcher))["stream_id"]
            refused = await change(node, stream_id, add=["c"])
            assert (refused.status_code, refused.json()["error"]) == (503, "too_many_streams")
            await states(watcher, 2)


async def test_a_head_of_a_stream_leaves_nobody_listening(node: Node) -> None:
    assert (await node.http.head("/api/stream?room=a&room=b")).status_code == 200
    assert not node.program.core.rooms.streams("a")


@pytest.mark.memory_store
async def test_a_client_that_does_not_read_misses_versions_but_no_room(node: Node) -> None:
    if node.tls is not None:
        pytest.skip("with so small a window TLS takes longer than a test waits")
    big = "x" * 30_000
    async with await node.connect(receive_buffer=4096) as stream:
        watcher = Watcher(stream)
        await watcher.ask("/api/stream?room=a&room=b&room=c", {})
        await opened(watcher)
        await states(watcher, 3)
        for number in range(1, 200):
            await node.put("a", {"n": number, "big": big})
        await node.put("b", {"n": 1})
        await node.put("c", {"n": 1})
        newest: dict[str, int] = {}
        while newest != {"a": 199, "b": 1, "c": 1}:
            ((room_id, version),) = await states(watcher, 1)
            assert version > newest.get(room_id, 0)
            newest[room_id] = version


room_ids = st.text(
    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-", min_size=1, max_size=64
)
tags = st.tuples(
    st.text("abcdefghijklmnopqrstuvwxyz0123456789", min_size=8, max_size=8), st.integers(1, 2**60)
)


@given(st.dictionaries(room_ids, tags, max_size=100))
def test_an_id_says_what_was_sent_of_each_room(seen: dict[str, tuple[str, int]]) -> None:
    text = id_of(position_of(room_id, f"{epoch}-{version}") for room_id, (epoch, version) in seen.items())
    epochs = {room_id: epoch for room_id, (epoch, _) in seen.items()}

    assert read_id(text, epochs) == {room_id: f"{epoch}-{n}" for room_id, (epoch, n) in seen.items()}
    others = read_id(text, dict.fromkeys(seen, "another-epoch"))
    assert others is not None
    assert all(not others[room_id].startswith("another") for room_id in seen)


@pytest.mark.memory_store
@pytest.mark.parametrize("room_store", BOTH_STORES)
async def test_another_node_takes_a_change_to_the_stream(
    lane: str, redis_server: RedisServer, room_store: str
) -> None:
    shared = {"ROOM_STORE": room_store, "REDIS_URL": redis_server.url, "MATCHES": "off"}
    async with serving(lane, **shared) as one, serving(lane, **shared) as two:
        async with watching(one, ["a"]) as watcher:
            stream_id = (await opened(watcher))["stream_id"]
            assert await states(watcher, 1) == [("a", 0)]
            await eventually(lambda: inbox_of(one).is_up and inbox_of(two).is_up)
            changed = await change(two, stream_id, add=["b"], remove=["a"])
            assert (changed.status_code, changed.json()["rooms"]) == (200, ["b"])
            assert await states(watcher, 1) == [("b", 0)]
            refused = await change(two, stream_id, add=[f"r{number}" for number in range(100)])
            assert (refused.status_code, refused.json()["error"]) == (422, "invalid_rooms")
            assert (await change(two, stream_id, add=["!"])).status_code == 422

        async def has_lapsed() -> bool:
            return (await change(two, stream_id, add=["b"])).status_code == 404

        with trio.fail_after(PATIENCE_S):
            while not await has_lapsed():
                pass
        stranger = stream_id.partition(".")[0] + suffix_of("nobody:00000000")
        for unknown in (stranger, stream_id + "x", "x.%%%", "x." + "A" * 2000):
            answer = await two.http.post(f"/api/streams/{quote(unknown)}", json={"add": ["b"]})
            assert answer.status_code == 404


def inbox_of(node: Node) -> NodeInbox:
    inbox = node.program.core.nodes.inbox
    assert inbox is not None
    return inbox
