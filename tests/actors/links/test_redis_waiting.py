"""What waits inside Redis: blocking pops that are called back, and a subscription."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio

from actors.links import BlockingCommand, LinkDown, LinkRefused, RedisLink, Subscription
from supervision import Backoff
from tests.engines import RedisServer
from tests.fakes.life import LoneLife
from tests.fakes.node import client_of
from tests.fakes.waiting import until, until_some


@pytest.fixture
async def link(redis_server: RedisServer) -> AsyncIterator[RedisLink]:
    async with linked(redis_server) as link:
        yield link


@asynccontextmanager
async def linked(server: RedisServer) -> AsyncIterator[RedisLink]:
    soon = Backoff(first_s=0.01, factor=2, ceiling_s=0.1, jitter=0.5)
    link = RedisLink(server.url, ping_every_s=0.1, answer_timeout_s=0.5, backoff=soon)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(link.run, LoneLife())
        await link.until_up()
        yield link
        nursery.cancel_scope.cancel()


async def until_blocked(link: RedisLink) -> None:
    """Wait until a command waits inside Redis."""

    async def is_blocked() -> bool:
        return bool((await link.command("INFO", "clients"))["blocked_clients"])

    await until_some(is_blocked)


async def test_a_blocking_pop_brings_what_is_there_and_what_comes(
    redis_server: RedisServer, link: RedisLink
) -> None:
    pop = BlockingCommand(link, wait_s=5)
    await link.command("LPUSH", "queue", "first")
    assert await pop.call(("BRPOP", "queue", 5)) == [b"queue", b"first"]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(link.command, "LPUSH", "queue", "second")
        assert await pop.call(("BLMOVE", "queue", "shelf", "RIGHT", "LEFT", 5)) == b"second"
    assert await pop.call(("BRPOP", "queue", 0.05)) is None
    pop.close()


async def test_a_cancelled_pop_comes_back_at_once(redis_server: RedisServer, link: RedisLink) -> None:
    pop = BlockingCommand(link, wait_s=60)
    for _ in range(5):
        began = trio.current_time()
        with trio.move_on_after(random.uniform(0, 0.05)) as scope:
            await pop.call(("BRPOP", "queue", 60))
        assert scope.cancelled_caught
        assert trio.current_time() - began < 1
    assert await link.command("LPUSH", "queue", "x") == 1, "nobody waits any more"
    pop.close()


async def test_no_element_is_lost_however_close_push_and_cancellation_are(
    redis_server: RedisServer, link: RedisLink
) -> None:
    pop = BlockingCommand(link, wait_s=60)
    popped = 0
    for _ in range(60):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(link.command, "LPUSH", "queue", "x")
            with trio.move_on_after(random.uniform(0, 0.002)):
                popped += await pop.call(("BRPOP", "queue", 60)) is not None
    assert popped + await link.command("LLEN", "queue") == 60
    pop.close()


async def test_a_refused_command_is_the_callers(redis_server: RedisServer, link: RedisLink) -> None:
    pop = BlockingCommand(link, wait_s=1)
    await link.command("SET", "queue", "no list")
    with pytest.raises(LinkRefused):
        await pop.call(("BRPOP", "queue", 1))
    assert link.state.up
    pop.close()


async def test_a_pop_hears_of_an_outage_and_works_again_after_it(
    redis_server: RedisServer, link: RedisLink
) -> None:
    pop = BlockingCommand(link, wait_s=60)
    async with trio.open_nursery() as nursery:

        async def wait() -> None:
            with pytest.raises(LinkDown):
                await pop.call(("BRPOP", "queue", 60))

        nursery.start_soon(wait)
        await until_blocked(link)
        redis_server.kill()
    assert not link.state.up
    with pytest.raises(LinkDown):
        await pop.call(("BRPOP", "queue", 60))
    await trio.to_thread.run_sync(redis_server.start)
    await link.until_up()
    await link.command("LPUSH", "queue", "x")
    assert await pop.call(("BRPOP", "queue", 5)) == [b"queue", b"x"]
    pop.close()


async def test_a_pop_in_a_hung_redis_is_given_up(redis_server: RedisServer, link: RedisLink) -> None:
    pop = BlockingCommand(link, wait_s=60, give_up_s=0.3)
    began = trio.current_time()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(pop.call, ("BRPOP", "queue", 60))
        await until_blocked(link)
        redis_server.pause()
        nursery.cancel_scope.cancel()
    assert trio.current_time() - began < 3
    redis_server.resume()
    # The abandoned thread ends when its connection does.
    redis_server.kill()


async def read_for_ever(subscription: Subscription) -> None:
    while True:
        await subscription.read()


async def test_a_subscription_brings_every_message_in_order(
    redis_server: RedisServer, link: RedisLink
) -> None:
    subscription = Subscription(link, "channel", wait_s=0.1)
    assert await subscription.read() == []
    async with client_of(redis_server.url) as publisher:
        await until(lambda: publisher.pubsub_numsub("channel")[0][1] == 1)
        sent = [str(number).encode() for number in range(250)]
        for message in sent:
            publisher.publish("channel", message)
        heard: list[bytes] = []
        with trio.fail_after(5):
            while len(heard) < 250:
                batch = await subscription.read()
                assert len(batch) <= 100
                heard += batch
        assert heard == sent
        subscription.close()
        await until(lambda: publisher.pubsub_numsub("channel")[0][1] == 0)


async def test_a_subscription_survives_an_outage(redis_server: RedisServer, link: RedisLink) -> None:
    subscription = Subscription(link, "channel", wait_s=0.1)
    await subscription.read()
    redis_server.kill()
    with pytest.raises(LinkDown):
        await read_for_ever(subscription)
    await trio.to_thread.run_sync(redis_server.start)
    await link.until_up()
    await subscription.read()
    async with client_of(redis_server.url) as publisher:
        publisher.publish("channel", "after")
    heard: list[bytes] = []
    with trio.fail_after(5):
        while not heard:
            heard = await subscription.read()
    assert heard == [b"after"]
    subscription.close()


async def test_a_cancelled_subscription_ends_within_its_short_wait(
    redis_server: RedisServer, link: RedisLink
) -> None:
    subscription = Subscription(link, "channel", wait_s=0.1)
    await subscription.read()
    began = trio.current_time()
    with trio.move_on_after(0.05):
        await read_for_ever(subscription)
    assert trio.current_time() - began < 1
    subscription.close()
