"""Three nodes: one that takes jobs, two that have no matches of their own, for players to connect to."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import cycle, islice
from typing import Final

import pytest
import redis
import trio

from actors.links import NodeInbox
from dev.phoenix import Channel, phoenix
from tests.engines import RedisServer
from tests.play.running_system import ROOM, SECRET, WITHIN_S, System, running_system, token
from tests.web.serving import Node, serving

ADMIN_TOKEN: Final = "let-me-in-please"


@dataclass
class Nodes:
    """Three nodes of one Redis.

    Attributes:
        host: Has the match.
        doors: Each has one player.
    """

    host: System
    doors: tuple[Node, Node]

    def inbox(self, node: Node) -> NodeInbox:
        inbox = node.program.core.nodes.inbox
        assert inbox is not None
        return inbox

    async def until_up(self) -> None:
        with trio.fail_after(WITHIN_S):
            for node in (self.host.node, *self.doors):
                await self.inbox(node).until_up()

    @asynccontextmanager
    async def player(self, door: Node, user_id: str) -> AsyncIterator[Channel]:
        async with phoenix(f"http://127.0.0.1:{door.port}", token=token(user_id)) as socket:
            yield await socket.join(f"room:{ROOM}")

    @asynccontextmanager
    async def players(self) -> AsyncIterator[tuple[Channel, Channel]]:
        """Both players, each on a node of its own."""
        ann, bob = self.doors
        async with self.player(ann, "ann") as first, self.player(bob, "bob") as second:
            yield first, second

    @contextmanager
    def deaf(self) -> Iterator[None]:
        """Let nothing that is sent between nodes arrive."""
        inbox = self.inbox(self.host.node)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(inbox, "_take", lambda _message: None)
            yield

    def metric(self, node: Node, name: str) -> object:
        """A number of a node's."""
        samples = {sample.name: sample for sample in node.program.core.matches.metrics()}
        return next(iter(samples[name].values.values()))


@asynccontextmanager
async def nodes(redis_server: RedisServer, **overrides: object) -> AsyncIterator[Nodes]:
    """Three nodes with a match on the first."""
    shared = {"REDIS_URL": redis_server.url, "JWT_SECRET": SECRET}
    async with AsyncExitStack() as stack:
        named = {"NODE_NAME": "host", "ADMIN_TOKEN": ADMIN_TOKEN, **overrides}
        host = await stack.enter_async_context(running_system(redis_server, **named))
        await host.ready()
        ann = await stack.enter_async_context(serving("fast", **shared, NODE_NAME="door-1"))
        bob = await stack.enter_async_context(serving("fast", **shared, NODE_NAME="door-2"))
        running = Nodes(host, (ann, bob))
        await running.until_up()
        yield running


async def kill_now_and_then(server: RedisServer, every_s: float, times: int = 6) -> None:
    """End all connections to Redis, of one type after the other; so often that a slow machine gets on."""
    with redis.Redis.from_url(server.url) as client:
        for kind in islice(cycle(("pubsub", "normal")), times):
            await trio.sleep(every_s)  # real time: the players move meanwhile
            await trio.to_thread.run_sync(partial(client.client_kill_filter, _type=kind, skipme=True))
