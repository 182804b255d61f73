"""Commands over a trio-native connection: a real Redis that dies, hangs and refuses."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import pytest
import redis
import trio
from trio.testing import wait_all_tasks_blocked

from actors.links import NotSent, OutcomeUnknown, RedisWire
from actors.links.redis_address import RedisAddress, ask
from supervision import Backoff
from tests.engines import RedisServer
from tests.fakes.life import LoneLife

SOON = Backoff(first_s=0.01, factor=1.0, ceiling_s=0.01, jitter=0.0)


@asynccontextmanager
async def wired(url: str, **options: Any) -> AsyncIterator[RedisWire]:
    wire = RedisWire(url, backoff=SOON, **options)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(wire.run, LoneLife())
        with trio.fail_after(10):
            await wire.until_up()
        yield wire
        nursery.cancel_scope.cancel()


class Heard:
    """Collects what comes of commands, in order."""

    def __init__(self) -> None:
        self.answers: list[Any] = []
        self.came = trio.Event()

    def send(self, answer: Any) -> None:
        self.answers.append(answer)
        self.came.set()

    def fail(self, error: BaseException) -> None:
        self.send(error)

    async def until(self, count: int) -> None:
        with trio.fail_after(10):
            while len(self.answers) < count:
                self.came = trio.Event()
                await self.came.wait()


async def test_commands_of_one_turn_leave_together_and_are_answered_in_order(
    redis_server: RedisServer,
) -> None:
    heard = Heard()
    async with wired(redis_server.url) as wire:
        before = wire.statistics()
        for number in range(50):
            wire.send(("ECHO", number), heard)
        await heard.until(50)
        after = wire.statistics()

    assert heard.answers == [b"%d" % number for number in range(50)]
    assert after.commands - before.commands == 50
    assert after.flushes - before.flushes == 1
    assert after.waiting == 0


async def test_zero_and_nothing_are_answers(redis_server: RedisServer) -> None:
    async with wired(redis_server.url) as wire:
        assert await wire.call("EXISTS", "nobody") == 0
        assert await wire.call("GET", "nobody") is None
        assert await wire.call("LRANGE", "nobody", 0, -1) == []


async def test_a_refusal_reaches_its_own_command_only(redis_server: RedisServer) -> None:
    heard = Heard()
    async with wired(redis_server.url) as wire:
        wire.send(("SET", "a", "text"), heard)
        wire.send(("INCR", "a"), heard)
        wire.send(("GET", "a"), heard)
        await heard.until(3)

    done, refused, read = heard.answers
    assert (done, read) == (b"OK", b"text")
    assert isinstance(refused, redis.ResponseError)


async def test_what_was_sent_and_not_answered_is_of_unknown_outcome(redis_server: RedisServer) -> None:
    async with wired(redis_server.url, answer_timeout_s=60) as wire:
        redis_server.pause()
        heard = Heard()
        wire.send(("INCR", "a"), heard)
        await wait_all_tasks_blocked()
        assert wire.statistics().flushes == 1
        redis_server.kill()
        await heard.until(1)

        assert isinstance(heard.answers[0], OutcomeUnknown)
        with pytest.raises(NotSent):
            wire.send(("INCR", "a"), heard)
        assert wire.statistics().outages == 1

        redis_server.start()
        with trio.fail_after(10):
            await wire.until_up()
        assert await wire.call("PING") == b"PONG"


async def test_a_redis_that_hangs_is_given_up_after_the_answer_timeout(redis_server: RedisServer) -> None:
    async with wired(redis_server.url, answer_timeout_s=0.2) as wire:
        redis_server.pause()
        try:
            heard = Heard()
            wire.send(("PING",), heard)
            await heard.until(1)
        finally:
            redis_server.resume()

        assert isinstance(heard.answers[0], OutcomeUnknown)
        with trio.fail_after(10):
            await wire.until_up()


async def test_more_commands_than_may_wait_are_refused_unsent(redis_server: RedisServer) -> None:
    heard = Heard()
    async with wired(redis_server.url, max_waiting=3) as wire:
        for _ in range(3):
            wire.send(("PING",), heard)
        with pytest.raises(NotSent):
            wire.send(("PING",), heard)
        await heard.until(3)

    assert heard.answers == [b"PONG"] * 3


async def test_commands_pass_only_once_what_runs_on_connect_has_run(redis_server: RedisServer) -> None:
    seen: list[tuple[bool, object]] = []

    async def on_connect() -> None:
        with pytest.raises(NotSent):
            await wire.call("SET", "too", "early")
        seen.append((wire.is_up, await wire.call("PING", before_up=True)))

    wire = RedisWire(redis_server.url, on_connect=on_connect, backoff=SOON)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(wire.run, LoneLife())
        with trio.fail_after(10):
            await wire.until_up()
        nursery.cancel_scope.cancel()

    assert seen == [(False, b"PONG")]


async def test_a_connect_step_that_redis_refuses_is_tried_again(redis_server: RedisServer) -> None:
    tries = 0

    async def on_connect() -> None:
        nonlocal tries
        tries += 1
        if tries == 1:
            await wire.call("NO_SUCH_COMMAND", before_up=True)

    wire = RedisWire(redis_server.url, on_connect=on_connect, backoff=SOON)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(wire.run, LoneLife())
        with trio.fail_after(10):
            await wire.until_up()
        nursery.cancel_scope.cancel()

    assert tries == 2


async def test_answers_that_nobody_asked_for_end_the_connection(nursery: trio.Nursery) -> None:
    connected: list[None] = []
    again = trio.Event()

    async def chatterbox(stream: trio.SocketStream) -> None:
        connected.append(None)
        if len(connected) == 2:
            again.set()
        await stream.send_all(b"+HELLO\r\n")
        await trio.sleep_forever()

    serve = partial(trio.serve_tcp, chatterbox, 0, host="127.0.0.1")
    [listener] = await nursery.start(serve)
    wire = RedisWire(f"redis://127.0.0.1:{listener.socket.getsockname()[1]}", backoff=SOON)
    nursery.start_soon(wire.run, LoneLife())

    with trio.fail_after(10):
        await again.wait()
    nursery.cancel_scope.cancel()


async def test_the_password_the_user_and_the_database_of_the_url_are_used(redis_server: RedisServer) -> None:
    address = redis_server.url.removesuffix("/0")
    stream = await RedisAddress(address).open()
    await ask(stream, ("ACL", "SETUSER", "ann", "on", ">pass word", "~*", "+@all"))
    await ask(stream, ("CONFIG", "SET", "requirepass", "s3cret"))
    host = address.removeprefix("redis://")

    async with wired(f"redis://ann:pass%20word@{host}/3") as wire:
        assert await wire.call("ACL", "WHOAMI") == b"ann"
        await wire.call("SET", "where", "three")
    async with wired(f"redis://:s3cret@{host}/3") as wire:
        assert await wire.call("GET", "where") == b"three"
    with pytest.raises(redis.ResponseError):
        await RedisAddress(f"redis://:wrong@{host}").open()
    await trio.aclose_forcefully(stream)
