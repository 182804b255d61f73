"""A TCP proxy between a node and its Redis that breaks the connection in ways a network does."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

import hiredis
import trio

CHUNK: Final = 65_536
# What closing, resetting and black holes end with.
BROKEN: Final = (OSError, trio.BrokenResourceError, trio.ClosedResourceError)


@dataclass(eq=False)
class Link:
    """One connection.

    Attributes:
        node: Towards the node.
        server: Towards Redis.
        subscribes: Whether it has carried a SUBSCRIBE.
        swallows: Directions whose bytes go nowhere: `up` to Redis, `down` to the node.
    """

    node: trio.SocketStream
    server: trio.SocketStream
    subscribes: bool = False
    swallows: frozenset[str] = frozenset()


class RedisProxy:
    """Passes on what comes until it is told otherwise.

    Args:
        upstream: Port of Redis.

    Attributes:
        port: Where nodes connect.
    """

    def __init__(self, upstream: int) -> None:
        self._upstream = upstream
        self._links: set[Link] = set()
        self._new_swallow: frozenset[str] = frozenset()
        self.port = 0

    def redirect(self, upstream: int) -> None:
        """Lead new connections to another server, and break those there are."""
        self._upstream = upstream
        self.reset()

    def swallow_messages(self) -> None:
        """Subscriptions there are stay open and hear nothing any more; later ones do."""
        for link in self._links:
            if link.subscribes:
                link.swallows |= {"down"}

    def cut(self, direction: str) -> None:
        """Let bytes of one direction go nowhere, on all connections, until `heal`."""
        self._new_swallow = frozenset({direction})
        for link in self._links:
            link.swallows |= {direction}

    def heal(self) -> None:
        """Pass everything on again; connections that lost bytes are reset."""
        self._new_swallow = frozenset()
        for link in [link for link in self._links if link.swallows]:
            self._break(link)

    def reset(self) -> None:
        """Break all connections."""
        for link in list(self._links):
            self._break(link)

    def _break(self, link: Link) -> None:
        self._links.discard(link)
        for stream in (link.node, link.server):
            stream.socket.close()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Accept and pass on until cancelled."""
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        self.port = listener.socket.getsockname()[1]
        task_status.started()
        await trio.serve_listeners(self._serve, [listener])

    async def _serve(self, node: trio.SocketStream) -> None:
        try:
            server = await trio.open_tcp_stream("127.0.0.1", self._upstream)
        except OSError:
            node.socket.close()
            return
        link = Link(node, server, swallows=self._new_swallow)
        self._links.add(link)
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._pump, link, "up", nursery.cancel_scope)
                nursery.start_soon(self._pump, link, "down", nursery.cancel_scope)
        finally:
            self._break(link)

    async def _pump(self, link: Link, direction: str, scope: trio.CancelScope) -> None:
        source, target = (link.node, link.server) if direction == "up" else (link.server, link.node)
        try:
            while data := await source.receive_some(CHUNK):
                link.subscribes |= direction == "up" and b"SUBSCRIBE" in data
                if direction not in link.swallows:
                    await target.send_all(data)
        except BROKEN:
            pass
        scope.cancel()


# Scripts that make Redis say something, in the order in which it answers.
SAY: Final = "return ARGV[1]"
SAY_OK: Final = "return redis.status_reply('OK')"
REFUSE: Final = "return redis.error_reply(ARGV[1])"


class ReplacingProxy(RedisProxy):
    """Passes another command on in place of some.

    Attributes:
        replace: A script and its argument, to be run instead of a command; None to pass that on.
    """

    def __init__(self, upstream: int) -> None:
        super().__init__(upstream)
        self.replace: Callable[[list[bytes]], tuple[str, bytes] | None] = lambda _: None

    async def _pump(self, link: Link, direction: str, scope: trio.CancelScope) -> None:
        if direction == "down":
            await super()._pump(link, direction, scope)
            return
        reader = hiredis.Reader()
        try:
            while data := await link.node.receive_some(CHUNK):
                reader.feed(data)
                while (command := reader.gets()) is not False:
                    script = self.replace(command)
                    if script is not None:
                        command = ["EVAL", script[0], 0, script[1]]
                    await link.server.send_all(hiredis.pack_command(tuple(command)))
        except BROKEN:
            pass
        scope.cancel()


@asynccontextmanager
async def replacing_proxy(upstream: int) -> AsyncIterator[ReplacingProxy]:
    """Run one."""
    proxy = ReplacingProxy(upstream)
    async with trio.open_nursery() as nursery:
        await nursery.start(proxy.run)
        yield proxy
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def proxies(upstream: int, count: int) -> AsyncIterator[list[RedisProxy]]:
    """Run `count` proxies to one Redis."""
    made = [RedisProxy(upstream) for _ in range(count)]
    async with trio.open_nursery() as nursery:
        for proxy in made:
            await nursery.start(proxy.run)
        yield made
        nursery.cancel_scope.cancel()
