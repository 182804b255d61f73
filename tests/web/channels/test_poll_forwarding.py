"""Long polls that reach another node than the one that has their session."""

from __future__ import annotations

import base64
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock, wait_all_tasks_blocked

from actors.core import ActorCrashed, ActorGone, CallTimeout, MailboxFull
from actors.links import NotSent, OutcomeUnknown
from tests.web.channels.support import LobbyChannel
from tests.web.channels.test_long_poll import JOIN, JOINED, Tokens
from web.channels.long_poll import WINDOW_S, LongPolls
from web.channels.poll_forwarder import PollForwarder
from web.channels.router import ChannelRouter
from web.channels.session_registry import SessionRegistry
from web.channels.socket_auth import SocketAuth
from web.handlers.cors import Cors
from web.handlers.http import Answer, Request


class Nodes:
    """Calls from node to node; a test decides how they fail."""

    def __init__(self) -> None:
        self.handlers: dict[tuple[str, str], Callable[[str, bytes], Awaitable[bytes]]] = {}
        self.calls: list[tuple[str, str]] = []
        self.fails: Exception | None = None


class Inbox:
    """One node's inbox."""

    def __init__(self, nodes: Nodes, owner: str) -> None:
        self.owner = owner
        self._nodes = nodes

    def on_call(self, kind: str, answer: Callable[[str, bytes], Awaitable[bytes]]) -> None:
        self._nodes.handlers[self.owner, kind] = answer

    async def call(self, node: str, kind: str, body: bytes = b"", *, timeout_s: float = 5) -> bytes:
        self._nodes.calls.append((node, kind))
        if self._nodes.fails is not None:
            raise self._nodes.fails
        answer = self._nodes.handlers.get((node, kind))
        if answer is None:
            raise ActorGone(("node", node), kind)
        with trio.fail_after(timeout_s):
            return await answer(self.owner, body)


class Node:
    """One node with its long polls."""

    def __init__(self, nodes: Nodes, owner: str) -> None:
        self.lobby = LobbyChannel()
        self.sockets = SessionRegistry(ChannelRouter({"room:*": self.lobby.join}))
        auth = SocketAuth(self.sockets, Tokens(), Cors(frozenset({"https://game.example"})))
        self.polls = LongPolls(auth, inbox=Inbox(nodes, owner))  # type: ignore[arg-type]

    async def get(self, token: str | None = None, **headers: str) -> dict[str, Any]:
        return said(await self.polls.get(request("GET", token, b"", headers)))

    async def post(self, token: str, *lines: str, **headers: str) -> int:
        headers["content-type"] = "application/x-ndjson"
        posted = request("POST", token, "\n".join(lines).encode(), headers)
        refused = self.polls.check_post(posted)
        return int(said(refused or await self.polls.post(posted))["status"])


def request(method: str, token: str | None, body: bytes, headers: dict[str, str]) -> Request:
    query = "token=jwt&vsn=2.0.0" + ("" if token is None else f"&token={token}")
    return Request(method, ("socket", "longpoll"), query, {"host": "here"} | headers, body, "192.0.2.1")


def said(answer: Answer) -> dict[str, Any]:
    assert answer.status == 200
    assert dict(answer.headers)["Cache-Control"] == "no-store"
    body: dict[str, Any] = json.loads(answer.body)
    return body


@pytest.fixture
def nodes() -> Nodes:
    return Nodes()


@pytest.fixture
def pair(nodes: Nodes) -> tuple[Node, Node]:
    return Node(nodes, "home:1"), Node(nodes, "away:1")


async def test_a_session_is_polled_and_posted_to_through_any_node(
    nodes: Nodes, pair: tuple[Node, Node]
) -> None:
    home, away = pair
    token = (await home.get())["token"]

    assert await away.post(token, JOIN) == 200
    assert await away.get(token) == {"status": 200, "token": token, "messages": JOINED}
    assert (len(home.polls), len(away.polls), away.polls.forwarded) == (1, 0, 2)
    assert home.polls.forwarded == 0
    assert nodes.calls == [("home:1", "long_poll_post"), ("home:1", "long_poll")]


async def test_a_poll_waits_at_another_node_as_it_does_at_home(
    autojump_clock: MockClock, pair: tuple[Node, Node]
) -> None:
    home, away = pair
    token = (await home.get())["token"]
    began = trio.current_time()

    assert (await away.get(token))["status"] == 204
    assert trio.current_time() - began == pytest.approx(WINDOW_S)


async def test_a_poll_that_is_given_up_takes_no_frames_with_it(
    autojump_clock: MockClock, pair: tuple[Node, Node]
) -> None:
    home, away = pair
    token = (await home.get())["token"]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(away.get, token)
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    await home.post(token, JOIN)

    assert (await away.get(token))["messages"] == JOINED


async def test_a_token_of_a_node_that_is_gone_opens_a_new_session_here(
    nodes: Nodes, pair: tuple[Node, Node]
) -> None:
    home, away = pair
    token = (await home.get())["token"]
    for kind in ("long_poll", "long_poll_post"):
        del nodes.handlers["home:1", kind]

    assert await away.post(token, JOIN) == 410
    opened = await away.get(token)
    assert opened["status"] == 410
    assert opened["token"] != token
    assert await away.post(opened["token"], JOIN) == 200


async def test_a_session_that_has_ended_at_home_is_unknown_everywhere(pair: tuple[Node, Node]) -> None:
    home, away = pair
    token = (await home.get())["token"]
    home.sockets.logout("u1")
    assert (await away.get(token))["status"] == 500

    assert await away.post(token, JOIN) == 410
    assert (await away.get(token))["status"] == 410
    assert len(away.polls) == 1


@pytest.mark.parametrize(
    "fails",
    [
        NotSent("redis_nodes"),
        OutcomeUnknown("redis_nodes"),
        CallTimeout("home:1", "long_poll"),
        MailboxFull("home:1", "long_poll"),
        ActorCrashed("home:1", "long_poll", None),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_an_answer_that_does_not_come_has_the_client_start_over(
    nodes: Nodes, pair: tuple[Node, Node], fails: Exception
) -> None:
    home, away = pair
    token = (await home.get())["token"]
    nodes.fails = fails

    assert await away.get(token) == {"status": 500}
    assert await away.post(token, JOIN) == 500
    assert len(away.polls) == 0


async def test_the_page_that_asks_is_looked_at_where_it_asks(nodes: Nodes, pair: tuple[Node, Node]) -> None:
    home, away = pair
    token = (await home.get())["token"]

    assert await away.get(token, origin="https://evil.example") == {"status": 403}
    assert await away.post(token, JOIN, origin="https://evil.example") == 403
    assert nodes.calls == []


async def test_bad_posts_are_judged_at_home(pair: tuple[Node, Node]) -> None:
    home, away = pair
    token = (await home.get())["token"]

    assert await away.post(token, "***") == 400
    assert await away.post(token, *["[]"] * 101) == 413


@pytest.mark.parametrize(
    "token",
    ["x.", "x.!", "x.aG9tZTox.", "x." + "a" * 4000, "x." + base64.urlsafe_b64encode(b"\xff\xff").decode()],
)
async def test_a_token_that_names_no_node_is_unknown(
    nodes: Nodes, pair: tuple[Node, Node], token: str
) -> None:
    _, away = pair

    assert await away.post(token, JOIN) == 410
    assert (await away.get(token))["status"] == 410
    assert nodes.calls == []


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=255))
def test_any_name_of_a_node_is_read_from_a_token(name: str) -> None:
    nodes = Nodes()
    home = PollForwarder(Inbox(nodes, name), window_s=1)  # type: ignore[arg-type]
    away = PollForwarder(Inbox(nodes, name + "'s neighbour"), window_s=1)  # type: ignore[arg-type]

    assert away.node_of("random" + home.suffix) == name
    assert home.node_of("random" + home.suffix) is None
