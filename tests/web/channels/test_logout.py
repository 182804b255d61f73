from __future__ import annotations

import json

import pytest
from pydantic import SecretStr

from tests.web.channels.support import LobbyChannel, MemoryTransport
from web.channels.identity import User
from web.channels.logout import LogoutHandler
from web.channels.router import ChannelRouter
from web.channels.serializer import V2
from web.channels.session_registry import SessionRegistry
from web.handlers.dispatcher import Dispatcher
from web.handlers.http import Answer
from web.handlers.routes import Routes

COVERAGE = {"answered": ["here"], "silent": []}
PATH = "/internal/inspect/users/{}/logout"


class LogoutSetup:
    """A node with three sockets of two users, and its admin's call."""

    def __init__(self, admin_token: str | None = "admin") -> None:
        self.sockets = SessionRegistry(ChannelRouter({"room:*": LobbyChannel().join}))
        token = None if admin_token is None else SecretStr(admin_token)
        self._dispatcher = Dispatcher(Routes(LogoutHandler(self.everywhere, token).routes()))
        self.transports = {name: self._open(name) for name in ("u1", "u2", "a/b")}

    async def everywhere(self, user_id: str) -> tuple[int, object]:
        return self.sockets.logout(user_id), COVERAGE

    def _open(self, user_id: str) -> MemoryTransport:
        transport = MemoryTransport()
        self.sockets.open(User(user_id, user_id), V2, transport)
        return transport

    async def ask(self, path: str, *, method: str = "POST", token: str = "admin") -> Answer:
        headers = {"authorization": f"Bearer {token}"} if token else {}
        pending = self._dispatcher.begin(method, path, headers, peer="192.0.2.1")
        if isinstance(pending, Answer):
            return pending
        answer = await self._dispatcher.complete(pending, b"")
        assert isinstance(answer, Answer)
        return answer


@pytest.mark.parametrize(("path", "user_id"), [("u1", "u1"), ("a%2Fb", "a/b"), ("nobody", "nobody")])
async def test_an_admin_logs_a_user_out_of_all_sockets(path: str, user_id: str) -> None:
    setup = LogoutSetup()
    theirs = setup.transports.get(user_id)

    answer = await setup.ask(PATH.format(path))

    assert (answer.status, json.loads(answer.body)) == (
        200,
        {"user_id": user_id, "sockets": 1 if theirs else 0, "coverage": COVERAGE},
    )
    for name, transport in setup.transports.items():
        assert transport.closed == ((1001, "logged out") if name == user_id else None)


@pytest.mark.parametrize(
    ("admin_token", "shown", "status"), [("admin", "", 401), ("admin", "wrong", 401), (None, "admin", 404)]
)
async def test_nobody_else_may(admin_token: str | None, shown: str, status: int) -> None:
    setup = LogoutSetup(admin_token)

    assert (await setup.ask(PATH.format("u1"), token=shown)).status == status
    assert setup.transports["u1"].closed is None


async def test_it_is_a_post() -> None:
    assert (await LogoutSetup().ask(PATH.format("u1"), method="GET")).status == 405
