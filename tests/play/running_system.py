"""A whole node with its Redis and its API server, and players who connect to it as anybody would."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import jwt
import redis
import trio

from actors.matches import Matches
from dev.bot import Bot
from dev.phoenix import Channel, PhoenixSocket, phoenix
from tests.engines import RedisServer
from tests.fakes.api_server import ApiServer, api_server
from tests.fakes.node import job
from tests.fakes.waiting import until_some
from tests.web.serving import Node, serving

SECRET: Final = "a-secret-for-tests-that-is-long-enough-for-HS256"
PLAYERS: Final = ("ann", "bob")
ROOM: Final = "match-1"
WITHIN_S: Final = 30.0


def token(user_id: str, secret: str = SECRET, **claims: Any) -> str:
    """What an API server gives its users."""
    now = int(time.time())
    facts = {"user_id": user_id, "display_name": user_id.title(), "iat": now, "exp": now + 600}
    return jwt.encode({**facts, **claims}, secret, algorithm="HS256")


@dataclass
class System:
    """Everything there is.

    Attributes:
        node: Ours.
        api: Who hears of matches.
        queue: A client of the Redis, as a matchmaker has.
        spool: Where results wait that nobody takes.
    """

    node: Node
    api: ApiServer
    queue: redis.Redis
    spool: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.node.port}"

    def push_job(self, room_id: str = ROOM, **config: Any) -> None:
        """What a matchmaker does."""
        self.queue.lpush("room_creation_queue", job(room_id, players=PLAYERS, **config))

    async def ready(self, room_id: str = ROOM, **config: Any) -> None:
        """A match, made and acknowledged."""
        self.push_job(room_id, **config)
        await self.told("ready", room_id)

    async def told(self, call: str, room_id: str = ROOM) -> dict[str, Any]:
        """Wait until the API server has acknowledged a call; its body."""
        with trio.fail_after(WITHIN_S):
            await self.api.until_acknowledged(room_id, call)
        return next(
            said.body for said in self.api.acknowledged if (said.room_id, said.call) == (room_id, call)
        )

    @asynccontextmanager
    async def socket(self, user_id: str) -> AsyncIterator[PhoenixSocket]:
        async with phoenix(self.url, token=token(user_id)) as socket:
            yield socket

    @asynccontextmanager
    async def player(self, user_id: str, room_id: str = ROOM) -> AsyncIterator[Channel]:
        """A player who has joined a match."""
        async with self.socket(user_id) as socket:
            yield await socket.join(f"room:{room_id}")

    @asynccontextmanager
    async def players(self, room_id: str = ROOM) -> AsyncIterator[tuple[Channel, Channel]]:
        """Both players, joined."""
        async with self.player("ann", room_id) as ann, self.player("bob", room_id) as bob:
            yield ann, bob

    async def state(self, room_id: str = ROOM) -> Any:
        """The room's public state, as everybody may see it."""
        return (await self.node.get(room_id)).json()["state"]

    async def until_status(self, status: str, room_id: str = ROOM) -> Any:
        """Wait for a status of the match; its public state."""

        async def reached() -> Any:
            state = await self.state(room_id)
            return state if state["status"] == status else None

        return await until_some(reached, within_s=WITHIN_S)

    def kill_match(self, room_id: str = ROOM) -> None:
        """Crash the match's task."""
        self.matches.supervisor.kill_child(room_id, "a test")

    @property
    def matches(self) -> Matches:
        """The node's matches."""
        hosting = self.node.program.core.matches.hosting
        assert hosting is not None
        return hosting.matches


@asynccontextmanager
async def running_system(redis_server: RedisServer, **overrides: object) -> AsyncIterator[System]:
    """A node, until the block ends."""
    async with AsyncExitStack() as stack:
        api = await stack.enter_async_context(api_server())
        named = {
            "REDIS_URL": redis_server.url,
            "API_BASE_URL": api.base_url,
            "INTERNAL_API_KEY": "key-1",
            "JWT_SECRET": SECRET,
            "DATA_DIR": stack.enter_context(TemporaryDirectory()),
            **overrides,
        }
        node = await stack.enter_async_context(serving("fast", **named))
        client = redis.Redis.from_url(redis_server.url, protocol=2)
        stack.callback(client.close)
        link = node.program.core.redis.link
        assert link is not None
        await link.until_up()
        yield System(node, api, client, Path(str(named["DATA_DIR"])) / "persist_failed")


async def play(*channels: Channel) -> list[Bot]:
    """Let bots play to the end."""
    bots = [Bot(user_id, channel) for user_id, channel in zip(PLAYERS, channels, strict=False)]
    with trio.fail_after(WITHIN_S):
        async with trio.open_nursery() as nursery:
            for bot in bots:
                nursery.start_soon(bot.play)
    return bots
