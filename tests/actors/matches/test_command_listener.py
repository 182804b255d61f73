from __future__ import annotations

import json

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from actors.matches import QUEUE
from actors.matches.room_command import Ignored, Terminate, read_command
from tests.engines import RedisServer
from tests.fakes.api_server import api_server
from tests.fakes.node import MatchNode, client_of, job, running
from tests.fakes.waiting import until

CHANNEL = "room_commands"


def terminate(room_id: str) -> bytes:
    return json.dumps(
        {
            "command": "terminate",
            "room_id": room_id,
            "reason": "admin_terminated",
            "admin_id": "admin-1",
            "issued_at": "2026-02-10T01:00:00Z",
        }
    ).encode()


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (terminate("room-1"), Terminate("room-1", "admin-1")),
        (b'{"command":"terminate","room_id":"room-1"}', Terminate("room-1", "")),
        (b"{", Ignored.BAD_JSON),
        (b"[]", Ignored.BAD_JSON),
        (b'"terminate"', Ignored.BAD_JSON),
        (b"\xff", Ignored.BAD_JSON),
        (b"{}", Ignored.UNKNOWN_COMMAND),
        (b'{"command":"pause","room_id":"room-1"}', Ignored.UNKNOWN_COMMAND),
        (b'{"command":["terminate"]}', Ignored.UNKNOWN_COMMAND),
        (b'{"command":"terminate"}', Ignored.BAD_ROOM_ID),
        (b'{"command":"terminate","room_id":7}', Ignored.BAD_ROOM_ID),
    ],
)
def test_a_message_is_a_command_or_the_reason_why_not(message: bytes, expected: object) -> None:
    assert read_command(message) == expected


@given(st.binary(max_size=100))
def test_no_message_makes_it_raise(message: bytes) -> None:
    assert isinstance(read_command(message), Terminate | Ignored)


async def test_the_node_that_hosts_the_room_ends_it_and_the_others_do_not(redis_server: RedisServer) -> None:
    async with api_server() as api, client_of(redis_server.url) as operator:
        one = MatchNode(redis_server.url, api.base_url, name="node-a")
        two = MatchNode(redis_server.url, api.base_url, name="node-b")
        async with running(one, two):
            await until(lambda: operator.pubsub_numsub(CHANNEL)[0][1] == 2)
            operator.lpush(QUEUE, job("room-1"))
            await api.until_acknowledged("room-1", "ready")
            host, other = (one, two) if one.matches.state("room-1") else (two, one)
            assert operator.publish(CHANNEL, terminate("room-1")) == 2
            with trio.fail_after(5):
                await api.until_acknowledged("room-1", "aborted")
            await until(lambda: other.listener.statistics().elsewhere == 1)

            assert api.calls() == ["ready", "aborted"]
            assert api.received[-1].method == "PUT"
            assert api.received[-1].path == "/internal/rooms/room-1/aborted"
            assert api.received[-1].body["reason"] == "admin_terminated"
            assert host.listener.statistics().obeyed == 1
            assert host.stage.rooms["room-1"]["status"] == "aborted"
            assert host.matches.active == 0


async def test_nonsense_is_counted_and_does_no_harm(
    redis_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    async with api_server() as api, client_of(redis_server.url) as operator:
        node = MatchNode(redis_server.url, api.base_url)
        async with running(node):
            await until(lambda: operator.pubsub_numsub(CHANNEL)[0][1] == 1)
            for message in (b"{", b"\xff\xff", b'{"command":"dance"}', terminate("nowhere")):
                operator.publish(CHANNEL, message)
            await until(lambda: node.listener.statistics().heard == 4)
            statistics = node.listener.statistics()
            assert (statistics.ignored, statistics.elsewhere) == (3, 1)
            assert caplog.messages.count("room_command_ignored") == 3
            assert {child.restarts for child in node.integrations.which_children()} == {0}


async def test_it_subscribes_again_after_redis_was_away(redis_server: RedisServer) -> None:
    async with api_server() as api, client_of(redis_server.url) as operator:
        node = MatchNode(redis_server.url, api.base_url)
        async with running(node):
            operator.lpush(QUEUE, job("room-1"))
            await api.until_acknowledged("room-1", "ready")
            for _ in range(2):
                redis_server.kill()
                await until(lambda: not node.link.state.up)
                await trio.to_thread.run_sync(redis_server.start)
                await until(lambda: node.link.state.up)
            await until(lambda: operator.pubsub_numsub(CHANNEL)[0][1] == 1)
            operator.publish(CHANNEL, terminate("room-1"))
            with trio.fail_after(5):
                await api.until_acknowledged("room-1", "aborted")
            assert {child.restarts for child in node.integrations.which_children()} == {0}
