"""Who may connect to a node, as it is configured, on every lane and transport."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping

import pytest
from websockets.exceptions import InvalidStatus
from websockets.trio.client import connect

from dev.phoenix import JoinRefused, phoenix
from tests.engines import RedisServer
from tests.play.running_system import ROOM, running_system, token
from tests.web.serving import serving
from web.channels.long_poll import MAX_BODY_BYTES
from web.channels.remote import RemoteTokens
from web.channels.tokens import LocalTokens
from web.handlers.jwt_keys import JwtKeys
from web.settings import Settings
from web.wiring.channels import NoTokens, tokens_of


@pytest.mark.parametrize(
    ("env", "kind"),
    [
        ({"JWT_SECRET": "a,b"}, LocalTokens),
        ({"JWT_SECRET": "a", "API_BASE_URL": "http://api"}, LocalTokens),
        ({"JWT_SECRET": "a", "API_BASE_URL": "http://api", "AUTH_VERIFY": "remote"}, RemoteTokens),
        ({"API_BASE_URL": "http://api"}, RemoteTokens),
        ({}, NoTokens),
    ],
)
async def test_tokens_are_verified_here_or_there_or_nowhere(env: Mapping[str, str], kind: type) -> None:
    tokens = tokens_of(Settings.from_env(env), JwtKeys())

    assert isinstance(tokens, kind)
    if isinstance(tokens, RemoteTokens):
        await tokens.aclose()


async def test_where_nobody_verifies_tokens_anybody_may_watch_and_nobody_may_play() -> None:
    async with serving("fast") as node:
        await node.put("lobby", {"n": 1})
        url = f"http://127.0.0.1:{node.port}"
        # A token that nobody can verify is as good as none.
        for number, shown in enumerate(({}, {"token": "whatever"}), start=1):
            async with phoenix(url, **shown) as socket:
                watching = await socket.join("state:lobby")
                assert watching.joined["state"] == {"n": 2 * number - 1}
                await node.put("lobby", {"n": 2 * number})
                assert (await watching.until("state"))["state"] == {"n": 2 * number}
                with pytest.raises(JoinRefused, match="unauthorized"):
                    await socket.join("room:lobby")
            await node.put("lobby", {"n": 2 * number + 1})


@pytest.mark.parametrize(
    ("origin", "status"), [("https://game.example", 101), ("https://evil.example", 403), (None, 101)]
)
async def test_only_pages_on_the_list_may_connect(origin: str | None, status: int) -> None:
    async with serving("fast", CORS_ORIGINS="https://game.example") as node:
        url = f"ws://127.0.0.1:{node.port}/socket/websocket?vsn=2.0.0"
        poll = "/socket/longpoll?vsn=2.0.0"
        headers = {} if origin is None else {"Origin": origin}
        try:
            async with connect(url, additional_headers=headers, proxy=None):
                answered = 101
        except InvalidStatus as refused:
            answered = refused.response.status_code
        assert answered == status
        assert (await node.http.get(poll, headers=headers)).json()["status"] == (
            410 if status == 101 else 403
        )


async def test_an_old_secret_is_good_while_secrets_are_rotated(redis_server: RedisServer) -> None:
    async with running_system(redis_server, JWT_SECRET=f"{'n' * 32},{'o' * 32}") as system:
        await system.ready()
        for secret in ("n" * 32, "o" * 32):
            async with phoenix(system.url, token=token("ann", secret)) as socket:
                assert (await socket.join(f"room:{ROOM}")).joined["status"] == "ready"


async def test_a_request_that_is_no_handshake_is_told_so() -> None:
    async with serving("fast") as node:
        answer = await node.http.get("/socket/websocket")
        assert (answer.status_code, answer.headers["upgrade"]) == (426, "websocket")
        with pytest.raises(InvalidStatus) as refused:
            async with connect(f"ws://127.0.0.1:{node.port}/elsewhere", proxy=None):
                pass
        assert refused.value.response.status_code == 404


async def test_a_player_may_poll(redis_server: RedisServer) -> None:
    async with running_system(redis_server) as system:
        await system.ready()
        path = f"/socket/longpoll?vsn=2.0.0&token={token('ann')}"
        session = (await system.node.http.get(path)).json()["token"]
        join = json.dumps(["1", "1", f"room:{ROOM}", "phx_join", {}])
        polled = f"{path}&token={session}"
        assert (await system.node.http.post(polled, content=join)).json() == {"status": 200}
        reply = json.loads((await system.node.http.get(polled)).json()["messages"][0])
        assert reply[4]["response"]["status"] == "ready"


async def in_chunks(size: int) -> AsyncIterator[bytes]:
    """A body whose length nobody says beforehand."""
    for _ in range(0, size, 65_536):
        yield b"[" * 65_536


@pytest.mark.parametrize("is_chunked", [False, True])
async def test_a_poll_that_posts_too_much_is_told_so_where_it_looks(is_chunked: bool) -> None:
    async with serving("fast") as node:
        size = MAX_BODY_BYTES + 1
        body = in_chunks(size) if is_chunked else b"[" * size
        path = "/socket/longpoll?vsn=2.0.0"
        session = (await node.http.get(path)).json()["token"]
        answer = await node.http.post(f"{path}&token={session}", content=body)

    assert (answer.status_code, answer.json()) == (200, {"status": 413})
    assert answer.headers["cache-control"] == "no-store"


async def test_past_the_limit_of_sockets_connects_are_turned_away() -> None:
    async with serving("fast", MAX_SOCKETS=1) as node:
        url = f"http://127.0.0.1:{node.port}"
        async with phoenix(url):
            with pytest.raises(InvalidStatus) as refused:
                async with phoenix(url):
                    pass
            assert refused.value.response.status_code == 503
        metrics = (await node.http.get("/metrics")).text
        assert 'greenroom_sockets_refused_total{reason="full"} 1.0' in metrics
