"""Phoenix's long-poll cases, held against our handlers."""

from __future__ import annotations

import base64
import json
import logging
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from actors.core import Trace
from supervision import Life
from tests.web.channels.support import LobbyChannel
from web.channels.identity import User
from web.channels.long_poll import MAX_LINES, WINDOW_S, LongPolls
from web.channels.long_poll_buffer import DEATH_S
from web.channels.router import ChannelRouter
from web.channels.session_registry import SessionRegistry
from web.channels.socket_auth import SocketAuth
from web.handlers.cors import Cors
from web.handlers.http import Answer, Request

JOIN = '["1","1","room:lobby","phx_join",{}]'
JOINED = [
    '["1","1","room:lobby","phx_reply",{"status":"ok","response":{}}]',
    '["1",null,"room:lobby","joined",{"user_id":"u1"}]',
]


class Tokens:
    """Believes every token but `bad`."""

    async def verify(self, token: str, trace: Trace | None = None) -> User | None:
        return None if token == "bad" else User("u1", token)


class Browser:
    """Polls as the npm client does."""

    def __init__(self, *, max_sessions: int = 100, max_sockets: int = 100) -> None:
        self.lobby = LobbyChannel()
        self.sockets = SessionRegistry(ChannelRouter({"room:*": self.lobby.join}), max_sockets=max_sockets)
        auth = SocketAuth(self.sockets, Tokens(), Cors(frozenset({"https://game.example"})))
        self.polls = LongPolls(auth, max_sessions=max_sessions)
        self.query = "token=jwt&vsn=2.0.0"
        self.token: str | None = None

    async def get(self, **headers: str) -> dict[str, Any]:
        suffix = "&" if self.token is None else f"&token={self.token}"
        return self._body(await self.polls.get(self._request("GET", b"", suffix, headers)))

    async def post(self, *lines: str, content_type: str = "application/x-ndjson", **headers: str) -> int:
        body = "\n".join(lines).encode()
        return await self.post_raw(body, content_type, **headers)

    async def post_raw(self, body: bytes, content_type: str, **headers: str) -> int:
        headers["content-type"] = content_type
        answer = await self.polls.post(self._request("POST", body, f"&token={self.token}", headers))
        return int(self._body(answer)["status"])

    async def open(self) -> None:
        opened = await self.get()
        assert opened["status"] == 410
        self.token = opened["token"]

    async def join(self) -> None:
        await self.open()
        assert await self.post(JOIN) == 200
        assert (await self.get())["messages"] == JOINED

    def _request(self, method: str, body: bytes, suffix: str, headers: dict[str, str]) -> Request:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        query = self.query + suffix
        return Request(method, ("socket", "longpoll"), query, {"host": "here"} | named, body, "192.0.2.1")

    def _body(self, answer: Answer) -> dict[str, Any]:
        headers = {name.lower(): value for name, value in answer.headers}
        assert answer.status == 200
        assert headers["content-type"] == "application/json"
        assert headers["cache-control"] == "no-store"
        body: dict[str, Any] = json.loads(answer.body)
        return body


# -- opening -------------------------------------------------------------------------


async def test_the_first_poll_opens_a_session() -> None:
    opened = await Browser().get()

    assert opened == {"status": 410, "token": opened["token"], "messages": []}
    assert len(opened["token"]) == 43


async def test_no_two_sessions_have_the_same_token() -> None:
    browser = Browser()

    assert len({(await browser.get())["token"] for _ in range(50)}) == 50


@pytest.mark.parametrize(
    "query", ["token=bad&vsn=2.0.0", "vsn=2.0.0", "token=jwt&vsn=3.0.0", "token=jwt&vsn=x"]
)
async def test_a_refused_client_is_told_403_in_the_body(query: str) -> None:
    browser = Browser()
    browser.query = query

    assert await browser.get() == {"status": 403}


async def test_pages_from_elsewhere_are_refused_whatever_they_hold() -> None:
    browser = Browser()
    await browser.open()

    assert await browser.get(origin="https://evil.example") == {"status": 403}
    assert await browser.post(JOIN, origin="https://evil.example") == 403
    assert await browser.post(JOIN, origin="https://game.example") == 200


async def test_the_user_s_token_may_stand_in_a_header() -> None:
    browser = Browser()
    browser.query = "vsn=2.0.0"

    opened = await browser.get(x_phoenix_authtoken="jwt")

    assert opened["status"] == 410
    assert await browser.get(x_phoenix_authtoken="bad") == {"status": 403}


async def test_the_session_s_token_in_a_header_goes_before_one_in_the_query() -> None:
    browser = Browser()
    await browser.open()
    token, browser.token = browser.token, "stale"

    assert await browser.post(JOIN, x_phoenix_longpoll_token=str(token)) == 200
    assert await browser.post(JOIN) == 410
    browser.token = token
    assert await browser.post(JOIN, x_phoenix_longpoll_token="stale") == 410


async def test_sessions_have_a_limit_after_which_clients_are_to_come_back() -> None:
    full = Browser(max_sessions=1)
    await full.open()
    full.token = None
    assert await full.get() == {"status": 500}

    crowded = Browser(max_sockets=1)
    await crowded.open()
    crowded.token = None
    assert await crowded.get() == {"status": 500}


# -- polling -------------------------------------------------------------------------


async def test_joins_and_polls_messages_as_the_text_of_their_frames() -> None:
    browser = Browser()

    await browser.join()


async def test_a_poll_waits_until_something_comes(autojump_clock: MockClock) -> None:
    browser = Browser()
    await browser.join()
    socket = browser.lobby.lobbies[0].socket
    started = trio.current_time()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(_push_after, 3.0, socket)
        answer = await browser.get()

    assert answer == {
        "status": 200,
        "token": browser.token,
        "messages": ['["1",null,"room:lobby","news",{}]'],
    }
    assert trio.current_time() - started == pytest.approx(3.0)


async def _push_after(delay_s: float, socket: Any) -> None:
    await trio.sleep(delay_s)
    socket.push("news", {})


async def test_a_poll_with_nothing_to_say_ends_after_ten_seconds(
    autojump_clock: MockClock,
) -> None:
    browser = Browser()
    await browser.join()
    started = trio.current_time()

    assert await browser.get() == {"status": 204, "token": browser.token, "messages": []}
    assert trio.current_time() - started == pytest.approx(WINDOW_S)


async def test_a_second_poll_takes_the_place_of_the_first(autojump_clock: MockClock) -> None:
    browser = Browser()
    await browser.join()
    answers: list[dict[str, Any]] = []

    async def first() -> None:
        answers.append(await browser.get())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(first)
        await wait_all_tasks_blocked()
        nursery.start_soon(_push_after, 1.0, browser.lobby.lobbies[0].socket)
        second = await browser.get()

    assert [answer["status"] for answer in answers] == [204]
    assert len(second["messages"]) == 1


async def test_a_client_that_stops_polling_is_forgotten(autojump_clock: MockClock) -> None:
    browser = Browser()
    await browser.join()

    await trio.sleep(DEATH_S - 0.1)
    await browser.sockets.sweep()
    assert len(browser.polls) == 1
    await trio.sleep(0.1)
    await browser.sockets.sweep()

    assert (len(browser.polls), len(browser.sockets)) == (0, 0)
    assert [why.value for why in browser.lobby.lobbies[0].lefts] == ["gone"]
    assert await browser.post(JOIN) == 410
    assert (await browser.get())["status"] == 410


async def test_a_client_that_only_polls_is_not_idle(autojump_clock: MockClock) -> None:
    browser = Browser()
    await browser.join()

    for _ in range(20):
        assert (await browser.get())["status"] == 204
        await browser.sockets.sweep()

    assert len(browser.polls) == 1


async def test_what_waits_for_a_client_has_a_limit(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    browser = Browser()
    await browser.join()
    socket = browser.lobby.lobbies[0].socket

    for _ in range(2000):
        socket.push("news", {})

    assert len(browser.polls) == 0
    assert await browser.post(JOIN) == 410
    assert browser.sockets.statistics().ended == {"overflow": 1}
    (cut,) = (record.__dict__ for record in caplog.records if record.message == "socket_cut")
    assert (cut["reason"], cut["waiting_bytes"] > 0) == ("overflow", True)


async def test_binary_cannot_come_down_and_is_left_out() -> None:
    browser = Browser()
    await browser.join()
    socket = browser.lobby.lobbies[0].socket

    socket.push("news", b"\x01\x02")
    socket.push("news", {})

    assert len((await browser.get())["messages"]) == 1


# -- posting -------------------------------------------------------------------------


async def test_a_post_without_a_session_is_gone() -> None:
    browser = Browser()
    browser.token = "made-up"

    assert await browser.post(JOIN) == 410


async def test_a_batch_of_lines_may_mix_text_and_binary() -> None:
    browser = Browser()
    await browser.join()
    push = b"\x00\x01\x01\x0a\x03" + b"1" + b"4" + b"room:lobby" + b"bin" + b"\x01\x02\x03"

    status = await browser.post(
        '["1","2","room:lobby","a",{}]\r',
        base64.b64encode(push).decode(),
        '["stale","3","room:lobby","c",{}]',
        '["1","5","room:lobby","d",{}]',
        "",
    )

    assert status == 200
    assert [(push.event, push.payload) for push in browser.lobby.lobbies[0].received] == [
        ("a", {}),
        ("bin", b"\x01\x02\x03"),
        ("d", {}),
    ]


@pytest.mark.parametrize("blank", [[], ["", " "]], ids=["full", "with blank lines"])
async def test_a_hundred_lines_are_taken_and_one_more_refuses_all_of_them(blank: list[str]) -> None:
    browser = Browser()
    await browser.join()
    lines = [f'["1","{n}","room:lobby","e{n}",{{}}]' for n in range(MAX_LINES + 1)]

    assert await browser.post(*lines, *blank) == 413
    assert browser.lobby.lobbies[0].received == []
    assert await browser.post(*lines[1:], *blank) == 200
    assert len(browser.lobby.lobbies[0].received) == MAX_LINES


@pytest.mark.parametrize("bad", ["no base64!", "\x00"])
async def test_a_line_that_cannot_be_read_refuses_those_before_it_too(bad: str) -> None:
    browser = Browser()
    await browser.join()

    assert await browser.post('["1","2","room:lobby","a",{}]', bad) == 400

    assert browser.lobby.lobbies[0].received == []


async def test_half_a_surrogate_pair_refuses_that_line_and_no_other() -> None:
    browser = Browser()
    await browser.join()

    status = await browser.post(r'["1","2","room:lobby","a",{"x":"\ud83d"}]', '["1","3","room:lobby","b",{}]')

    assert status == 200
    assert [push.event for push in browser.lobby.lobbies[0].received] == ["b"]
    assert "invalid_text" in (await browser.get())["messages"][0]


async def test_another_content_type_is_one_frame() -> None:
    browser = Browser()
    await browser.open()

    assert await browser.post(JOIN, content_type="application/json") == 200
    push = b"\x00\x01\x01\x0a\x03" + b"1" + b"4" + b"room:lobby" + b"bin" + b"\x01"
    assert await browser.post_raw(push, "application/json") == 200

    assert [push.payload for push in browser.lobby.lobbies[0].received] == [b"\x01"]


@pytest.mark.parametrize(
    ("body", "content_type"),
    [(b"*not base64*", "application/x-ndjson"), (b"[\xff]", "application/x-ndjson"), (b"\xff", "text/plain")],
)
async def test_a_body_that_cannot_be_read_is_400(body: bytes, content_type: str) -> None:
    browser = Browser()
    await browser.open()

    assert await browser.post_raw(body, content_type) == 400


async def test_a_frame_that_means_nothing_ends_the_session() -> None:
    browser = Browser()
    await browser.join()

    assert await browser.post("[1,2,3]", JOIN) == 410


async def test_version_1_polls_too() -> None:
    browser = Browser()
    browser.query = "token=jwt"
    await browser.open()

    join = '{"topic":"room:lobby","event":"phx_join","payload":{},"ref":"1"}'
    assert await browser.post(join, content_type="application/json") == 200

    [answer, _] = [json.loads(text) for text in (await browser.get())["messages"]]
    assert answer["payload"] == {"status": "ok", "response": {}}


async def test_no_line_is_unmatched_silently() -> None:
    browser = Browser()
    await browser.open()

    await browser.post('["1","12300","room-private","new_msg",{}]')

    [message] = (await browser.get())["messages"]
    assert json.loads(message) == [
        None,
        "12300",
        "room-private",
        "phx_reply",
        {"status": "error", "response": {"reason": "unmatched topic"}},
    ]


# -- endings by the server -----------------------------------------------------------


async def test_a_logout_ends_the_poll_under_way_and_the_client_starts_over(
    autojump_clock: MockClock,
) -> None:
    browser = Browser()
    await browser.join()
    answers: list[dict[str, Any]] = []

    async def poll() -> None:
        answers.append(await browser.get())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(poll)
        await wait_all_tasks_blocked()
        assert browser.sockets.logout("u1") == 1

    assert answers == [{"status": 500}]
    assert await browser.post(JOIN) == 410
    assert (await browser.get())["status"] == 410


async def test_a_drain_ends_sessions_nobody_polls(autojump_clock: MockClock) -> None:
    browser = Browser()
    await browser.join()

    await browser.sockets.drain(1.0)
    await browser.sockets.sweep()

    assert len(browser.polls) == 0
    browser.token = None
    assert await browser.get() == {"status": 500}


async def test_a_channel_that_crashes_is_an_error_for_who_polls() -> None:
    browser = Browser()
    await browser.join()

    await browser.post('["1","2","room:lobby","raise",{}]')

    assert (await browser.get())["messages"] == [
        '["1","1","room:lobby","phx_error",{"reason":"channel_crash"}]'
    ]


class Alone:
    """A life nobody watches."""

    def started(self) -> None:
        pass

    def trap_exit(self) -> trio.Event:
        return trio.Event()


async def test_the_sweep_runs_by_itself(autojump_clock: MockClock) -> None:
    browser = Browser()
    await browser.join()
    life: Life = Alone()

    with trio.move_on_after(DEATH_S + 5):
        await browser.sockets.run(life)

    assert len(browser.polls) == 0
