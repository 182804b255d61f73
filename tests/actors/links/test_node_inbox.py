"""Calls and casts between nodes over a real Redis, which hangs, dies and cuts connections off."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
from redis import Redis

from actors.core import ActorCrashed, ActorGone, CallTimeout, MailboxFull, NotDelivered
from actors.links import LinkDown, NodeInbox, NotSent, OutcomeUnknown, TooLong
from actors.links import node_inbox as module
from actors.links.node_message import NodeMessage, Verb, encode
from supervision import Backoff
from tests.engines import RedisServer
from tests.fakes.life import LoneLife
from tests.fakes.waiting import until

SOON = Backoff(first_s=0.01, factor=1.0, ceiling_s=0.01, jitter=0.0)
A, B, C = "a:1", "b:1", "c:1"
PATIENCE_S = 20
STRANGE = (b"", b"\xff\n\xff", b'[2,"call","z:1","1","echo"]\n', b'[1,"answer","z:1","99",""]\n')
FORBID = ("ACL", "SETUSER", "default", "resetchannels")


@asynccontextmanager
async def inboxes(server: RedisServer, *owners: str, prefix: str = "gr") -> AsyncIterator[list[NodeInbox]]:
    """Nodes that hear one another."""
    nodes = [NodeInbox(server.url, owner=owner, prefix=prefix, backoff=SOON) for owner in owners]
    async with trio.open_nursery() as nursery:
        for node in nodes:
            for child in node.children():
                nursery.start_soon(child.start, LoneLife())
        with trio.fail_after(PATIENCE_S):
            for node in nodes:
                await node.until_up()
        yield nodes
        nursery.cancel_scope.cancel()


async def echo(sender: str, body: bytes) -> bytes:
    await trio.lowlevel.checkpoint()
    return sender.encode() + b" " + body


class Silent:
    """Answers nothing, and remembers what became of the questions."""

    def __init__(self) -> None:
        self.asked = trio.Event()
        self.called_off = trio.Event()

    async def __call__(self, _sender: str, _body: bytes) -> bytes:
        self.asked.set()
        try:
            await trio.sleep_forever()
        finally:
            self.called_off.set()


async def test_a_call_is_answered_by_the_node_it_names(redis_server: RedisServer) -> None:
    async with inboxes(redis_server, A, B, C) as (a, b, c):
        b.on_call("echo", echo)
        c.on_call("echo", echo)

        assert await a.call(B, "echo", b"\x00 hi\n") == b"a:1 \x00 hi\n"
        assert await c.call(C, "echo") == b"c:1 "
        assert c.statistics().received == 2  # its own call, and the answer


async def test_casts_arrive_in_the_order_sent(redis_server: RedisServer) -> None:
    heard: list[bytes] = []
    async with inboxes(redis_server, A, B) as (a, b):
        b.on_cast("tell", lambda _sender, body: heard.append(body))
        b.on_call("echo", echo)
        for number in range(2000):
            a.cast(B, "tell", b"%d" % number)
            if number % 100 == 0:
                await trio.lowlevel.checkpoint()
        await a.call(B, "echo")

    assert heard == [b"%d" % number for number in range(2000)]


async def test_nobody_there_is_an_actor_that_is_gone(redis_server: RedisServer) -> None:
    async with inboxes(redis_server, A) as (a,):
        with pytest.raises(ActorGone):
            await a.call("b:2", "echo")

        assert a.statistics().calls == {"gone": 1}
        assert a.statistics().waiting == 0


async def test_a_kind_that_the_other_does_not_know_is_not_delivered(redis_server: RedisServer) -> None:
    async with inboxes(redis_server, A, B) as (a, b):
        with pytest.raises(NotDelivered):
            await a.call(B, "from_the_future")
        a.cast(B, "from_the_future")
        b.on_call("echo", echo)
        await a.call(B, "echo")

        assert b.statistics().dropped == {"unknown_kind": 2}


async def test_a_handler_that_crashes_costs_its_own_call_only(redis_server: RedisServer) -> None:
    async def crash(_sender: str, _body: bytes) -> bytes:
        raise ZeroDivisionError

    def trip(_sender: str, _body: bytes) -> None:
        raise ZeroDivisionError

    async with inboxes(redis_server, A, B) as (a, b):
        b.on_call("crash", crash)
        b.on_cast("trip", trip)
        b.on_call("echo", echo)
        a.cast(B, "trip")
        with pytest.raises(ActorCrashed):
            await a.call(B, "crash")

        assert await a.call(B, "echo", b"still here") == b"a:1 still here"


async def test_a_late_answer_is_dropped_and_the_other_told_to_stop(redis_server: RedisServer) -> None:
    silent = Silent()
    async with inboxes(redis_server, A, B) as (a, b):
        b.on_call("wait", silent)
        with pytest.raises(CallTimeout):
            await a.call(B, "wait", timeout_s=0.05)
        with trio.fail_after(PATIENCE_S):
            await silent.called_off.wait()

        assert (a.statistics().calls, a.statistics().waiting) == ({"timeout": 1}, 0)


async def test_a_caller_that_is_cancelled_calls_it_off(redis_server: RedisServer) -> None:
    silent = Silent()
    async with inboxes(redis_server, A, B) as (a, b):
        b.on_call("wait", silent)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(a.call, B, "wait")
            with trio.fail_after(PATIENCE_S):
                await silent.asked.wait()
                nursery.cancel_scope.cancel()
        with trio.fail_after(PATIENCE_S):
            await silent.called_off.wait()


async def test_more_calls_than_it_answers_at_a_time_are_refused(
    redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_ANSWERING", 2)
    silent = Silent()
    async with inboxes(redis_server, A, B) as (a, b), trio.open_nursery() as nursery:
        b.on_call("wait", silent)
        for _ in range(2):
            nursery.start_soon(a.call, B, "wait")
        await until(lambda: b.statistics().answering == 2)
        with pytest.raises(MailboxFull):
            await a.call(B, "wait")
        nursery.cancel_scope.cancel()


async def test_more_calls_than_may_wait_are_refused_at_once(
    redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_WAITING", 1)
    silent = Silent()
    async with inboxes(redis_server, A, B) as (a, b), trio.open_nursery() as nursery:
        b.on_call("wait", silent)
        nursery.start_soon(a.call, B, "wait")
        with trio.fail_after(PATIENCE_S):
            await silent.asked.wait()
        with pytest.raises(MailboxFull):
            await a.call(B, "wait")
        nursery.cancel_scope.cancel()


async def test_all_other_nodes_answer_a_call_to_all(redis_server: RedisServer) -> None:
    async with inboxes(redis_server, A, B, C) as (a, b, c):
        for node in (a, b, c):
            node.on_call("echo", echo)
        gathered = await a.call_all("echo", b"x")

        assert gathered == ({B: b"a:1 x", C: b"a:1 x"}, 0)


async def test_a_node_that_hangs_is_missing_from_a_call_to_all(redis_server: RedisServer) -> None:
    async with inboxes(redis_server, A, B, C) as (a, b, c):
        b.on_call("echo", echo)
        c.on_call("echo", Silent())
        gathered = await a.call_all("echo", timeout_s=0.3)

        assert gathered == ({B: b"a:1 "}, 1)


async def test_one_of_another_version_is_missing_at_once(redis_server: RedisServer) -> None:
    async with inboxes(redis_server, A, B) as (a, _):
        with trio.fail_after(PATIENCE_S):
            gathered = await a.call_all("echo", timeout_s=2 * PATIENCE_S)

        assert gathered == ({}, 1)


async def test_alone_a_call_to_all_is_answered_by_nobody(redis_server: RedisServer) -> None:
    async with inboxes(redis_server, A) as (a,):
        with trio.fail_after(PATIENCE_S):
            assert await a.call_all("echo", timeout_s=2 * PATIENCE_S) == ({}, 0)


async def test_nodes_of_another_prefix_do_not_hear_one_another(redis_server: RedisServer) -> None:
    async with (
        inboxes(redis_server, A, prefix="one") as (a,),
        inboxes(redis_server, B, prefix="two") as (_,),
    ):
        with pytest.raises(ActorGone):
            await a.call(B, "echo")


async def test_strange_messages_on_its_channel_are_dropped_and_counted(redis_server: RedisServer) -> None:
    async with inboxes(redis_server, A, B) as (a, b):
        b.on_call("echo", echo)
        with Redis.from_url(redis_server.url) as client:
            for data in STRANGE:
                await trio.to_thread.run_sync(client.publish, "gr:n:b:1", data)
        assert await a.call(B, "echo") == b"a:1 "

        assert b.statistics().dropped == {"malformed": 2, "format": 1}
        assert b.statistics().late == 1


async def test_a_call_under_way_ends_when_the_subscription_breaks(redis_server: RedisServer) -> None:
    silent = Silent()
    ended = trio.Event()

    async def ask(node: NodeInbox) -> None:
        with pytest.raises(OutcomeUnknown):
            await node.call(B, "wait", timeout_s=2 * PATIENCE_S)
        ended.set()

    async with inboxes(redis_server, A, B) as (a, b), trio.open_nursery() as nursery:
        b.on_call("wait", silent)
        b.on_call("echo", echo)
        nursery.start_soon(ask, a)
        with trio.fail_after(PATIENCE_S):
            await silent.asked.wait()
            with Redis.from_url(redis_server.url) as client:
                await trio.to_thread.run_sync(client.execute_command, "CLIENT", "KILL", "TYPE", "pubsub")
            await ended.wait()
            await a.until_up()
            await b.until_up()

        assert await a.call(B, "echo") == b"a:1 "


async def test_without_redis_nothing_is_sent_and_afterwards_all_is_well(redis_server: RedisServer) -> None:
    async with inboxes(redis_server, A, B) as (a, b):
        b.on_call("echo", echo)
        redis_server.kill()
        await until(lambda: not a.is_up)
        with pytest.raises(NotSent):
            await a.call(B, "echo")
        with pytest.raises(NotSent):
            await a.call_all("echo")
        await until(lambda: a.trouble)
        redis_server.start()
        with trio.fail_after(PATIENCE_S):
            await a.until_up()
            await b.until_up()

        assert await a.call(B, "echo") == b"a:1 "


async def test_a_redis_that_hangs_ends_a_call_at_its_deadline(redis_server: RedisServer) -> None:
    async with inboxes(redis_server, A, B) as (a, b):
        b.on_call("echo", echo)
        redis_server.pause()
        try:
            with pytest.raises((CallTimeout, LinkDown)):
                await a.call(B, "echo", timeout_s=0.2)
        finally:
            redis_server.resume()
        with trio.fail_after(PATIENCE_S):
            await a.until_up()

        assert await a.call(B, "echo", b"again") == b"a:1 again"


async def test_a_redis_that_forbids_to_publish_refuses_calls(redis_server: RedisServer) -> None:
    async with inboxes(redis_server, A, B) as (a, _):
        with Redis.from_url(redis_server.url) as client:
            await trio.to_thread.run_sync(client.execute_command, *FORBID)
        with pytest.raises(LinkDown):
            await a.call(B, "echo")


async def test_a_flood_of_messages_is_read_in_turn_and_calls_are_answered(redis_server: RedisServer) -> None:
    heard = 0

    def count(_sender: str, _body: bytes) -> None:
        nonlocal heard
        heard += 1

    def flood() -> None:
        with Redis.from_url(redis_server.url) as client, client.pipeline(transaction=False) as pipe:
            for number in range(20_000):
                pipe.publish("gr:n:b:1", b"junk" if number % 2 else encode(wave))
            pipe.execute()

    wave = NodeMessage(Verb.CAST, A, "", "wave", b"x" * 100)
    async with inboxes(redis_server, A, B) as (a, b), trio.open_nursery() as nursery:
        b.on_call("echo", echo)
        b.on_cast("wave", count)
        nursery.start_soon(trio.to_thread.run_sync, flood)
        for _ in range(20):
            assert await a.call(B, "echo", timeout_s=PATIENCE_S) == b"a:1 "
        await until(lambda: b.statistics().received >= 20_000 + 20)

        assert heard == 10_000
        assert b.statistics().dropped == {"malformed": 10_000}


async def test_what_is_too_long_is_not_sent(redis_server: RedisServer) -> None:
    async with inboxes(redis_server, A, B) as (a, _):
        with pytest.raises(TooLong):
            a.cast(B, "wave", bytes((4 << 20) + 1))
        with pytest.raises(TooLong):
            await a.call(B, "echo", bytes((4 << 20) + 1))

        assert a.statistics().waiting == 0
