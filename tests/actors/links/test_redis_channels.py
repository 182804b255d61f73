"""Channels over a real Redis that dies, cuts clients off, or is behind a proxy that swallows messages."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import trio
from redis import Redis

from actors.links import RedisChannels, RedisWire
from supervision import Backoff
from tests.engines import RedisServer
from tests.fakes.life import LoneLife

SOON = Backoff(first_s=0.01, factor=1.0, ceiling_s=0.01, jitter=0.0)


class Listener:
    """Remembers what it is told, and lets a test wait for it."""

    def __init__(self) -> None:
        self.newest: dict[bytes, bytes] = {}
        self.all: list[tuple[bytes, bytes]] = []
        self.subscribed: list[bytes] = []
        self._told = trio.Event()

    def on_messages(self, messages: Collection[tuple[bytes, bytes]]) -> None:
        self.all += messages
        self.newest.update(messages)
        self._told.set()

    def on_subscribed(self, channel: bytes) -> None:
        self.subscribed.append(channel)
        self._told.set()

    async def until_message(self, channel: bytes, payload: bytes) -> None:
        with trio.fail_after(10):
            while self.newest.get(channel) != payload:
                await self._news()

    async def until_subscribed(self, count: int) -> None:
        with trio.fail_after(10):
            while len(self.subscribed) < count:
                await self._news()

    async def _news(self) -> None:
        self._told = trio.Event()
        await self._told.wait()


@asynccontextmanager
async def listening(
    server: RedisServer, listener: Listener, *, url: str | None = None, **options: Any
) -> AsyncIterator[RedisChannels]:
    wire = RedisWire(server.url, backoff=SOON)
    channels = RedisChannels(
        url or server.url,
        wire,
        on_messages=listener.on_messages,
        on_subscribed=listener.on_subscribed,
        backoff=SOON,
        **options,
    )
    async with trio.open_nursery() as nursery:
        nursery.start_soon(wire.run, LoneLife())
        nursery.start_soon(channels.run, LoneLife())
        yield channels
        nursery.cancel_scope.cancel()


async def test_a_message_of_a_wanted_channel_arrives(redis_server: RedisServer) -> None:
    listener = Listener()
    with Redis.from_url(redis_server.url) as client:
        async with listening(redis_server, listener) as channels:
            channels.subscribe(b"a")
            await listener.until_subscribed(1)
            client.publish("a", "one")
            await listener.until_message(b"a", b"one")

    assert listener.subscribed == [b"a"]


async def test_messages_that_arrive_together_are_told_in_order(redis_server: RedisServer) -> None:
    listener = Listener()
    with Redis.from_url(redis_server.url) as client:
        async with listening(redis_server, listener) as channels:
            channels.subscribe(b"a")
            await listener.until_subscribed(1)
            with client.pipeline(transaction=True) as pipe:
                for number in range(100):
                    pipe.publish("a", str(number))
                pipe.execute()
            await listener.until_message(b"a", b"99")
            counts = channels.statistics()

    assert listener.all == [(b"a", b"%d" % number) for number in range(100)]
    assert (counts.messages, counts.superseded) == (100, 0)


async def test_of_messages_that_arrive_faster_than_they_are_read_the_newest_are_told(
    redis_server: RedisServer,
) -> None:
    listener = Listener()
    with Redis.from_url(redis_server.url) as client:
        async with listening(redis_server, listener) as channels:
            channels.subscribe(b"a")
            await listener.until_subscribed(1)
            with client.pipeline(transaction=True) as pipe:
                for number in range(1000):
                    pipe.publish("a", f"{number:01000d}")
                pipe.execute()
            await listener.until_message(b"a", b"%01000d" % 999)
            counts = channels.statistics()

    assert counts.messages == 1000
    assert counts.superseded > 0
    assert len(listener.all) == 1000 - counts.superseded


async def test_a_channel_that_is_wanted_no_more_is_left(redis_server: RedisServer) -> None:
    listener = Listener()
    with Redis.from_url(redis_server.url) as client:
        async with listening(redis_server, listener) as channels:
            channels.subscribe(b"a")
            await listener.until_subscribed(1)
            channels.unsubscribe(b"a")
            channels.subscribe(b"b")
            await listener.until_subscribed(2)
            left = client.pubsub_numsub("a", "b")

    assert left == [(b"a", 0), (b"b", 1)]


async def test_after_a_cut_every_channel_is_subscribed_again(redis_server: RedisServer) -> None:
    listener = Listener()
    with Redis.from_url(redis_server.url) as client:
        async with listening(redis_server, listener) as channels:
            for number in range(1200):
                channels.subscribe(b"c%d" % number)
            await listener.until_subscribed(1200)
            client.client_kill_filter(_type="pubsub")
            await listener.until_subscribed(2400)
            assert channels.statistics().lost == 1
            client.publish("c7", "again")
            await listener.until_message(b"c7", b"again")


async def test_a_restart_of_redis_is_survived(redis_server: RedisServer) -> None:
    listener = Listener()
    async with listening(redis_server, listener) as channels:
        channels.subscribe(b"a")
        await listener.until_subscribed(1)
        redis_server.kill()
        redis_server.start()
        await listener.until_subscribed(2)
        with Redis.from_url(redis_server.url) as client:
            client.publish("a", "back")
            await listener.until_message(b"a", b"back")


async def test_a_connection_that_hears_nothing_is_found_and_made_anew(
    redis_server: RedisServer, nursery: trio.Nursery
) -> None:
    listener = Listener()
    deaf = True

    async def forward(client: trio.SocketStream) -> None:
        """A proxy that passes requests on and swallows published messages while `deaf`."""
        server = await trio.open_tcp_stream("127.0.0.1", redis_server.port)
        async with server, trio.open_nursery() as both:
            both.start_soon(requests, client, server)
            async for data in server:
                if not (deaf and b"message" in data):
                    await client.send_all(data)

    async def requests(client: trio.SocketStream, server: trio.SocketStream) -> None:
        async for data in client:
            await server.send_all(data)
        await server.send_eof()

    serve = partial(trio.serve_tcp, forward, 0, host="127.0.0.1")
    [proxy] = await nursery.start(serve)
    url = f"redis://127.0.0.1:{proxy.socket.getsockname()[1]}"
    async with listening(redis_server, listener, url=url, probe_every_s=0.05) as channels:
        channels.subscribe(b"a")
        await listener.until_subscribed(2)
        deaf = False
        with trio.fail_after(10), Redis.from_url(redis_server.url) as client:
            while listener.newest.get(b"a") != b"heard":
                client.publish("a", "heard")
                await trio.sleep(0.01)  # real time: publishing until it is heard
        assert channels.statistics().deaf >= 1
    nursery.cancel_scope.cancel()
