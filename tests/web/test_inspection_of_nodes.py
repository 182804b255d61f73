"""Looking inside several nodes that share a Redis: which there are, and where a room or match is."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from functools import partial
from typing import Any

import pytest
import trio

from tests.engines import RedisServer
from tests.fakes.api_server import api_server
from tests.fakes.node import client_of, job
from tests.web.serving import ADMIN, Node, serving
from web.handlers.inspection import other_nodes

INSPECT = "/internal/inspect"
TOKEN = ADMIN["Authorization"].removeprefix("Bearer ")


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """All nodes of a test are one process on a busy machine."""
    monkeypatch.setattr(other_nodes, "ANSWER_S", 20.0)


@pytest.fixture
async def nodes(redis_server: RedisServer) -> AsyncIterator[list[Node]]:
    """Two nodes that hear each other."""
    async with AsyncExitStack() as stack:
        both = [
            await stack.enter_async_context(
                serving("fast", NODE_NAME=name, REDIS_URL=redis_server.url, MATCHES="off")
            )
            for name in ("a", "b")
        ]
        for node in both:
            await until_up(node)
        yield both


async def until_up(node: Node) -> None:
    others = node.program.core.inspection.node.others
    assert others is not None
    with trio.fail_after(20):
        await others.until_up()


async def look(node: Node, path: str) -> Any:
    answer = await node.http.get(f"{INSPECT}{path}", headers=ADMIN)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_all_nodes_are_listed_with_their_numbers(nodes: list[Node]) -> None:
    a, b = nodes
    for number in range(3):
        await b.put(f"r{number}", {})

    for node, own in ((a, "a"), (b, "b")):
        shown = await look(node, "/nodes")
        assert sorted(shown.pop("coverage")["answered"]) == ["a", "b"]
        assert {name: (facts["rooms"], facts["this"]) for name, facts in shown.items()} == {
            "a": (0, own == "a"),
            "b": (3, own == "b"),
        }


async def test_a_room_of_another_node_is_found_there(nodes: list[Node]) -> None:
    a, b = nodes
    await b.put("theirs", {"n": 1})

    room = await look(a, "/rooms/theirs")
    missing = await a.http.get(f"{INSPECT}/rooms/nobodys", headers=ADMIN)

    assert (room["record"]["state"], room["found_at"]) == ({"n": 1}, "b")
    assert missing.status_code == 404
    assert missing.json()["coverage"] == {"answered": ["a", "b"], "silent": []}


async def test_signing_out_and_logging_out_count_at_all_nodes(nodes: list[Node]) -> None:
    a, b = nodes
    opened = await a.http.post("/dashboard/session", json={"token": TOKEN})
    cookie = {"Cookie": opened.headers["set-cookie"].partition(";")[0]}
    a.http.cookies.clear()
    assert (await b.http.get(f"{INSPECT}/tree", headers=cookie)).status_code == 200
    await b.http.delete("/dashboard/session", headers=cookie)
    assert (await a.http.get(f"{INSPECT}/tree", headers=cookie)).status_code == 401

    logout = await a.http.post(f"{INSPECT}/users/u1/logout", headers=ADMIN)
    assert sorted(logout.json()["coverage"]["answered"]) == ["a", "b"]


async def test_nobody_kills_at_another_node(nodes: list[Node]) -> None:
    a, b = nodes
    await b.put("theirs", {})
    others = a.program.core.inspection.node.others
    assert others is not None

    told = await others.ask({"of": "kill", "path": "core/rooms/theirs"})

    assert [(each.process, each.reply) for each in told.replies] == [("b", {})]


async def test_a_match_is_seen_and_terminated_from_a_node_without_matches(redis_server: RedisServer) -> None:
    async with (
        api_server() as api,
        serving("fast", NODE_NAME="a", REDIS_URL=redis_server.url, MATCHES="off") as a,
        serving("fast", NODE_NAME="b", REDIS_URL=redis_server.url, API_BASE_URL=api.base_url) as b,
        client_of(redis_server.url) as client,
    ):
        await until_up(a)
        await until_up(b)
        await trio.to_thread.run_sync(partial(client.lpush, "room_creation_queue", job("m-1")))
        await api.until_acknowledged("m-1", "ready")
        match = await look(a, "/matches/m-1")
        ended = await a.http.post(f"{INSPECT}/rooms/m-1/terminate", headers=ADMIN)
        await api.until_acknowledged("m-1", "aborted")

    assert (match["status"], match["found_at"]) == ("ready", "b")
    assert ended.status_code == 200


async def test_without_redis_an_answer_says_that_it_covers_this_node_only(redis_server: RedisServer) -> None:
    async with serving("fast", NODE_NAME="a", REDIS_URL=redis_server.url, MATCHES="off") as node:
        await until_up(node)
        redis_server.stop()
        others = node.program.core.inspection.node.others
        assert others is not None
        asked = await others.ask({"of": "summary", "name": "nodes"})
        shown = await look(node, "/nodes")
        redis_server.start()

    assert (asked.replies, asked.silent) == ([], [other_nodes.REDIS_AWAY])
    assert shown["coverage"] == {"answered": ["a"], "silent": [other_nodes.REDIS_AWAY]}
    assert "a" in shown


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b'{"question":{"of":"dance"}}', b'{"question":1}'])
async def test_a_node_of_another_version_is_answered_with_nothing(nodes: list[Node], body: bytes) -> None:
    inbox = nodes[0].program.core.inspection.node.others
    assert inbox is not None

    gathered = await inbox._inbox.call_all(other_nodes.KIND, body)  # noqa: SLF001

    assert list(gathered.answers.values()) == [b'{"worker":0,"reply":{}}']
