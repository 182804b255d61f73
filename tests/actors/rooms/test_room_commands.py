"""Shared rooms against a real Redis: order, conditions, idempotency, eras, and a Redis that refuses."""

from __future__ import annotations

import binascii
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
from redis import Redis

from actors.rooms.record import Condition, Kind, Put
from actors.rooms.room_commands import RoomCommands
from actors.rooms.shared_record import ForeignValue, Layout, decode, partition_of, tags
from supervision import Backoff
from tests.engines import RedisServer
from tests.fakes.life import LoneLife

SOON = Backoff(first_s=0.01, factor=1.0, ceiling_s=0.01, jitter=0.0)


@asynccontextmanager
async def store_on(server: RedisServer, **options: Any) -> AsyncIterator[RoomCommands]:
    commands = RoomCommands(server.url, ttl_s=3600, backoff=SOON, **options)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(commands.wire.run, LoneLife())
        with trio.fail_after(10):
            await commands.wire.until_up()
        yield commands
        nursery.cancel_scope.cancel()


def put(state: object = None, **rest: Any) -> Put:
    return Put(json.dumps({} if state is None else state).encode(), **rest)


async def test_versions_of_a_room_grow_by_one_over_two_nodes(redis_server: RedisServer) -> None:
    async with store_on(redis_server) as one, store_on(redis_server) as two:
        first = await one.write("room", put({"n": 1}))
        second = await two.write("room", put({"n": 2}))
        record = await one.read("room")

    assert (first.outcome, second.outcome) == ("written", "written")
    assert (first.version, second.version) == (1, 2)
    assert first.epoch == second.epoch
    assert record is not None
    assert (record.epoch, record.version, record.state) == (second.epoch, 2, b'{"n": 2}')
    assert record.updated_ms == second.updated_ms


async def test_many_writers_lose_no_version(redis_server: RedisServer) -> None:
    versions: list[int] = []

    async def write(commands: RoomCommands) -> None:
        versions.extend([(await commands.write("room", put())).version for _ in range(20)])

    async with store_on(redis_server) as one, store_on(redis_server) as two, trio.open_nursery() as nursery:
        for commands in (one, two, one, two):
            nursery.start_soon(write, commands)

    assert sorted(versions) == list(range(1, 81))


async def test_the_published_message_is_the_stored_value(redis_server: RedisServer) -> None:
    layout = Layout()
    with Redis.from_url(redis_server.url) as client:
        pubsub = client.pubsub(ignore_subscribe_messages=True)
        pubsub.subscribe(layout.channel("room"))
        pubsub.get_message(timeout=1)
        async with store_on(redis_server) as commands:
            await commands.write("room", put({"a": 1}))
            message = pubsub.get_message(timeout=5)
            await commands.remove("room")
            gone = pubsub.get_message(timeout=5)
        pubsub.close()

    assert decode(message["data"]).state == b'{"a": 1}'
    assert decode(gone["data"]).version == 0


@pytest.mark.parametrize(
    ("condition", "holds"),
    [
        (Condition(any_of=("1",)), True),
        (Condition(any_of=("2",)), False),
        (Condition(any_of=("7", "1")), True),
        (Condition(must_exist=True), True),
        (Condition(must_not_exist=True), False),
    ],
)
async def test_conditions_are_judged_where_the_order_is_decided(
    redis_server: RedisServer, condition: Condition, holds: bool
) -> None:
    async with store_on(redis_server) as commands:
        await commands.write("room", put())
        answer = await commands.write("room", put(condition=condition))

    assert (answer.outcome, answer.version) == (("written", 2) if holds else ("version", 1))


async def test_an_etag_of_the_record_matches_and_an_absent_room_does_not(redis_server: RedisServer) -> None:
    async with store_on(redis_server) as commands:
        absent = await commands.write("room", put(condition=Condition(must_exist=True)))
        first = await commands.write("room", put())
        tag = f"{first.epoch}-{first.version}"
        second = await commands.write("room", put(condition=Condition(any_of=(tag,))))
        third = await commands.write("room", put(condition=Condition(any_of=(tag,))))

    assert [absent.outcome, first.outcome, second.outcome, third.outcome] == [
        "version",
        "written",
        "written",
        "version",
    ]


async def test_a_secret_is_kept_and_asked_for(redis_server: RedisServer) -> None:
    async with store_on(redis_server) as commands:
        outcomes = [
            (await commands.write("mine", put(secret="s3cret"))).outcome,
            (await commands.write("mine", put())).outcome,
            (await commands.write("mine", put(secret="wrong"))).outcome,
            (await commands.write("mine", put(secret="s3cret"))).outcome,
            (await commands.write("mine", put(is_admin=True))).outcome,
            (await commands.remove("mine")).outcome,
            (await commands.remove("mine", secret="s3cret")).outcome,
            (await commands.write("mine", put())).outcome,
            (await commands.write("mine", put(secret="late"))).outcome,
        ]

    assert outcomes == [
        *("written", "forbidden", "forbidden", "written", "written"),
        *("forbidden", "removed", "written", "exists"),
    ]


async def test_a_match_takes_a_plain_room_over_and_keeps_it(redis_server: RedisServer) -> None:
    async with store_on(redis_server) as commands:
        plain = await commands.write("room", put())
        taken = await commands.write("room", put(), kind=Kind.MATCH)
        refused = await commands.write("room", put())
        kept = await commands.remove("room")

    assert (taken.outcome, taken.version) == ("written", 1)
    assert taken.epoch != plain.epoch
    assert (refused.outcome, kept.outcome) == ("authoritative", "authoritative")


async def test_a_repeat_with_the_same_key_writes_nothing(redis_server: RedisServer) -> None:
    async with store_on(redis_server) as commands:
        first = await commands.write("room", put({"n": 1}, idempotency_key="k1"))
        again = await commands.write("room", put({"n": 1}, idempotency_key="k1"))
        other = await commands.write("room", put({"n": 2}, idempotency_key="k1"))
        await commands.write("room", put({"n": 3}))
        late = await commands.write("room", put({"n": 1}, idempotency_key="k1"))

    assert (again.outcome, again.epoch, again.version) == ("repeated", first.epoch, 1)
    assert (other.outcome, late.outcome) == ("mismatch", "superseded")
    assert late.version == 2


async def test_a_removed_room_begins_a_new_epoch(redis_server: RedisServer) -> None:
    async with store_on(redis_server) as commands:
        before = await commands.write("room", put())
        assert (await commands.remove("room")).outcome == "removed"
        assert await commands.read("room") is None
        after = await commands.write("room", put())

    assert after.version == 1
    assert after.epoch != before.epoch


async def test_a_server_that_lost_its_data_never_repeats_an_id(redis_server: RedisServer) -> None:
    async with store_on(redis_server) as commands:
        before = await commands.write("room", put({"n": 1}))
        redis_server.kill()
        redis_server.start()
        after = before
        with trio.fail_after(10):
            # The loss of the connection may be noticed only by the first write.
            while after is before or after.outcome != "written":
                await commands.wire.until_up()
                after = await commands.write("room", put({"n": 2}))

    assert after.era > before.era
    assert (after.epoch, after.version) != (before.epoch, 2)
    assert after.version == 1


async def test_a_write_of_an_older_era_is_looked_at_again(redis_server: RedisServer) -> None:
    async with store_on(redis_server) as one:
        await one.write("room", put())
        with Redis.from_url(redis_server.url) as client:
            # What a failover would leave: the era has been raised by somebody else.
            era = client.get(Layout().era_key)
            raised = b"%014d" % (int(era[:14]) + 1)
            client.set(Layout().era_key, raised + era[14:])
            async with store_on(redis_server) as two:
                second = await two.write("room", put())
        third = await one.write("room", put())

    assert (second.version, third.version) == (1, 2)
    assert second.epoch == third.epoch


@pytest.mark.parametrize("value", ["text", "gr2" + "0" * 200, ""])
async def test_a_foreign_value_under_the_key_is_left_alone(redis_server: RedisServer, value: str) -> None:
    with Redis.from_url(redis_server.url) as client:
        client.set(Layout().key("room"), value or "x")
        async with store_on(redis_server) as commands:
            assert (await commands.write("room", put())).outcome == "foreign"
            assert (await commands.remove("room")).outcome == "foreign"
            with pytest.raises(ForeignValue):
                await commands.read("room")
        assert client.get(Layout().key("room")) == (value or "x").encode()


async def test_a_value_of_another_type_is_foreign_and_untouched(redis_server: RedisServer) -> None:
    with Redis.from_url(redis_server.url) as client:
        client.lpush(Layout().key("room"), "x")
        async with store_on(redis_server) as commands:
            assert (await commands.write("room", put())).outcome == "foreign"
        assert client.llen(Layout().key("room")) == 1


async def test_a_full_or_read_only_redis_wrote_nothing(redis_server: RedisServer) -> None:
    with Redis.from_url(redis_server.url) as client:
        async with store_on(redis_server) as commands:
            await commands.write("room", put({"n": 1}))
            client.config_set("maxmemory", 1)
            full = await commands.write("room", put({"n": 2}))
            client.config_set("maxmemory", 0)
            client.config_set("min-replicas-to-write", 3)
            lonely = await commands.write("room", put({"n": 3}))
            client.config_set("min-replicas-to-write", 0)
            record = await commands.read("room")

    assert (full.outcome, lonely.outcome) == ("full", "unavailable")
    assert record is not None
    assert (record.version, record.state) == (1, b'{"n": 1}')


async def test_scripts_that_redis_has_forgotten_are_loaded_again(redis_server: RedisServer) -> None:
    with Redis.from_url(redis_server.url) as client:
        async with store_on(redis_server) as commands:
            client.script_flush()
            assert (await commands.write("room", put())).outcome == "written"
            client.script_flush()
            assert (await commands.remove("room")).outcome == "removed"


async def test_not_sent_and_unknown_are_told_apart(redis_server: RedisServer) -> None:
    async with store_on(redis_server, answer_timeout_s=0.2) as commands:
        redis_server.pause()
        unknown = await commands.write("room", put())
        redis_server.kill()
        while commands.wire.is_up:
            await trio.lowlevel.checkpoint()
        unsent = await commands.write("room", put())

    assert (unknown.outcome, unsent.outcome) == ("unknown", "unavailable")


async def test_every_key_but_the_era_and_the_layout_expires(redis_server: RedisServer) -> None:
    async with store_on(redis_server) as commands:
        await commands.write("room", put(idempotency_key="k"))
    with Redis.from_url(redis_server.url) as client:
        lasting = {key.decode() for key in client.scan_iter() if client.pttl(key) == -1}

    assert lasting == {Layout().era_key, Layout().layout_key}


def test_partitions_are_spread_evenly_over_the_slots_of_a_cluster() -> None:
    slots = [binascii.crc_hqx(tag.encode(), 0) % 16_384 for tag in tags()]

    assert [slot // 64 for slot in slots] == list(range(256))
    assert partition_of("room") == partition_of("room")
