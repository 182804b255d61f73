from __future__ import annotations

import json
from collections.abc import Awaitable, Callable

import httpx
import pytest
import trio
from trio.testing import MockClock

from actors.core import read_traceparent
from tests.fakes.http import Network
from web.channels.identity import User
from web.channels.remote import DEADLINE_S, MAX_CACHED, RemoteTokens

ANN = {"valid": True, "user_id": "u1", "display_name": "Ann", "role": "player", "status": "active"}


class Api:
    """Answers `/auth/verify` with what a test puts in."""

    def __init__(self, answer: object = None, status: int = 200) -> None:
        self.answer: object = ANN if answer is None else answer
        self.status = status
        self.keys = {"new"}
        self.requests: list[httpx.Request] = []
        self.before: Callable[[], Awaitable[None]] | None = None

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        if self.before is not None:
            await self.before()
        if request.headers["x-internal-api-key"] not in self.keys:
            return httpx.Response(401, json={"error": "unauthorized"})
        content = self.answer if isinstance(self.answer, bytes) else json.dumps(self.answer).encode()
        return httpx.Response(self.status, content=content)

    def tokens(self, *keys: str) -> RemoteTokens:
        return RemoteTokens("http://api/internal/", keys or ("new",), transport=Network(self))


async def test_a_token_the_api_server_knows_is_good() -> None:
    api = Api()

    assert await api.tokens().verify("t") == User("u1", "Ann")
    [request] = api.requests
    assert (request.method, str(request.url)) == ("POST", "http://api/internal/auth/verify")
    assert json.loads(request.content) == {"token": "t"}


async def test_the_api_server_hears_of_the_trace_of_whoever_connects() -> None:
    api = Api()
    trace = read_traceparent("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")

    await api.tokens().verify("t", trace)
    await api.tokens().verify("t")

    assert [request.headers.get("traceparent", "")[:36] for request in api.requests] == [
        "00-4bf92f3577b34da6a3ce929d0e0e4736-",
        "",
    ]


@pytest.mark.parametrize(
    "change",
    [
        {"valid": False},
        {"valid": "yes"},
        {"status": "banned"},
        {"status": None},
        {"user_id": None},
        {"user_id": ""},
    ],
)
async def test_only_a_valid_and_active_user_is_let_in(change: dict[str, object]) -> None:
    assert await Api(ANN | change).tokens().verify("t") is None


async def test_answers_are_remembered_for_a_short_while(autojump_clock: MockClock) -> None:
    api = Api()
    tokens = api.tokens()

    await tokens.verify("t")
    await tokens.verify("t")
    assert len(api.requests) == 1
    api.answer = ANN | {"status": "banned"}
    await trio.sleep(30)
    assert await tokens.verify("t") is None
    assert len(api.requests) == 2


@pytest.mark.parametrize(
    ("answer", "status"),
    [(ANN, 500), (ANN, 404), (b"<html>", 200), ([], 200), (b"", 200), (b"x" * 100_000, 200)],
)
async def test_an_api_server_in_trouble_lets_nobody_in_and_is_asked_again(
    answer: object, status: int
) -> None:
    api = Api(answer, status)
    tokens = api.tokens()

    assert await tokens.verify("t") is None
    assert await tokens.verify("t") is None
    assert (len(api.requests), tokens.failed) == (2, 2)


async def test_an_api_server_that_does_not_answer_is_given_five_seconds(
    autojump_clock: MockClock,
) -> None:
    api = Api()
    api.before = trio.sleep_forever
    started = trio.current_time()

    assert await api.tokens().verify("t") is None
    assert trio.current_time() - started == pytest.approx(DEADLINE_S)


async def test_a_connection_that_breaks_lets_nobody_in() -> None:
    def broken(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused", request=request)

    tokens = RemoteTokens("http://api", ["new"], transport=Network(broken))

    assert await tokens.verify("t") is None
    assert tokens.failed == 1


async def test_after_a_401_the_next_key_is_tried_once() -> None:
    api = Api()

    assert await api.tokens("old", "new").verify("t") == User("u1", "Ann")
    assert [request.headers["x-internal-api-key"] for request in api.requests] == ["old", "new"]
    assert await api.tokens("old", "older", "new").verify("t") is None


async def test_what_is_remembered_has_a_limit() -> None:
    api = Api()
    tokens = api.tokens()

    for number in range(MAX_CACHED + 50):
        tokens._keep(number.to_bytes(8, "big"), None)  # noqa: SLF001  # 10,000 requests take seconds

    assert len(tokens._cache) == MAX_CACHED  # noqa: SLF001
    await tokens.aclose()
