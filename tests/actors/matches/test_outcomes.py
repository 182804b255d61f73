"""Matches of a node that dies or stands still: each has one outcome, under one idempotency key."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import redis
import trio

from actors.matches import QUEUE, Patience, Status
from actors.matches.lifecycle import ProcessFailed
from tests.engines import RedisServer
from tests.fakes.api_server import ApiServer, Fault, api_server
from tests.fakes.node import BRISK, MatchNode, client_of, job, mortal, running
from tests.fakes.waiting import WITHIN_S, until

# A lease that a busy machine seldom misses.
CALM = replace(BRISK, alive_s=2.0, fence_s=1.4, renew_every_s=0.4)
ROOMS = [f"room-{number}" for number in range(8)]


def node(redis_server: RedisServer, api: ApiServer, directory: Path, name: str) -> MatchNode:
    patience = Patience(request_s=WITHIN_S)
    return MatchNode(
        redis_server.url, api.base_url, name=name, policy=CALM, patience=patience, spool=directory / name
    )


@asynccontextmanager
async def nodes(
    redis_server: RedisServer, directory: Path, names: str
) -> AsyncIterator[tuple[ApiServer, redis.Redis, list[MatchNode]]]:
    """An API server, a client of Redis, and a node for each name, none of which runs."""
    async with api_server() as api, client_of(redis_server.url) as producer:
        yield api, producer, [node(redis_server, api, directory, name) for name in names]


async def host_all(one: MatchNode, api: ApiServer, producer: redis.Redis) -> None:
    """Let a node begin a match in each room."""
    producer.lpush(QUEUE, *[job(room) for room in ROOMS])
    for room in ROOMS:
        await told(api, room, "ready")
    await until(lambda: producer.llen(one.processing) == 0)


async def told(api: ApiServer, room: str, call: str) -> None:
    """Wait until the API server has acknowledged a call."""
    with trio.fail_after(WITHIN_S):
        await api.until_acknowledged(room, call)


def keys_of(api: ApiServer, room: str) -> set[str]:
    """Idempotency keys under which the end of a match was told."""
    final = {"finished", "aborted"}
    return {
        said.headers["idempotency-key"]
        for said in api.received
        if said.room_id == room and said.call in final
    }


async def test_the_matches_of_a_node_that_dies_are_aborted_by_one_survivor(
    redis_server: RedisServer, tmp_path: Path
) -> None:
    async with (
        nodes(redis_server, tmp_path, "abc") as (api, producer, [one, two, three]),
        mortal(one) as life,
    ):
        await host_all(one, api, producer)
        async with running(two, three):
            life.cancel()
            for room in ROOMS:
                await told(api, room, "aborted")
            await until(
                lambda: (
                    not producer.exists(*[f"greenroom:matches:{n.lease.owner}" for n in (one, two, three)])
                )
            )

            aborted = [said for said in api.acknowledged if said.call == "aborted"]
            assert sorted(said.room_id for said in aborted) == sorted(ROOMS)
            assert {said.body["reason"] for said in aborted} == {"process_error"}
            adopted = [n.consumer.statistics().adopted for n in (two, three)]
            assert sum(adopted) == len(ROOMS)
            assert api.calls().count("ready") == len(ROOMS)
            assert one.lease.owner.encode() not in producer.smembers("greenroom:nodes")


async def test_what_a_dead_node_had_begun_to_report_is_told_by_a_survivor_under_the_same_key(
    redis_server: RedisServer, tmp_path: Path
) -> None:
    async with nodes(redis_server, tmp_path, "ab") as (api, producer, [one, two]):
        async with mortal(one) as life:
            await host_all(one, api, producer)
            api.then(ROOMS[0], Fault.HANG)
            one.matches.terminate(ROOMS[0])
            await api.until(lambda: "aborted" in api.calls(ROOMS[0]))
            life.cancel()
        async with running(two):
            await told(api, ROOMS[0], "aborted")

            reasons = {
                said.body["reason"]
                for said in api.received
                if said.call == "aborted" and said.room_id == ROOMS[0]
            }
            assert reasons == {"admin_terminated"}
            assert len(keys_of(api, ROOMS[0])) == 1


async def test_a_job_under_way_begins_anew_and_its_match_is_not_aborted(
    redis_server: RedisServer, tmp_path: Path
) -> None:
    async with nodes(redis_server, tmp_path, "ab") as (api, producer, [one, two]):
        async with mortal(one) as life:
            api.then("room-1", Fault.HANG)
            producer.lpush(QUEUE, job("room-1"))
            await api.until(lambda: api.calls() == ["ready"])
            life.cancel()
        async with running(two):
            await told(api, "room-1", "ready")
            await until(lambda: producer.llen(two.processing) == 0)
            assert api.calls() == ["ready", "ready"]
            assert two.matches.active == 1
            assert producer.hkeys(f"greenroom:matches:{two.lease.owner}") == [b"room-1"]


async def test_a_node_that_stood_still_ends_what_survivors_have_taken_over_and_reports_nothing(
    redis_server: RedisServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with nodes(redis_server, tmp_path, "ab") as (api, producer, [one, two]), mortal(one):
        await host_all(one, api, producer)
        awake = trio.Event()
        renew = one.consumer._renew  # noqa: SLF001  # what stands still

        async def stand_still() -> None:
            await awake.wait()
            await renew()

        monkeypatch.setattr(one.consumer, "_renew", stand_still)
        async with running(two):
            for room in ROOMS:
                await told(api, room, "aborted")
            assert one.matches.active == len(ROOMS)
            # The first thing it does is to end a match; the second to look at its lease.
            one.matches.terminate(ROOMS[0])
            await until(lambda: one.results is not None and one.results.statistics().dropped == 1)
            awake.set()
            await until(lambda: one.matches.active == 0)

            states = {match.status for room in ROOMS if (match := one.matches.state(room)) is not None}
            assert states == {Status.ABORTED}
            assert all(len(keys_of(api, room)) == 1 for room in ROOMS)
            assert one.consumer.statistics().claims_lost == len(ROOMS) - 1

            producer.lpush(QUEUE, job("room-later"))
            await told(api, "room-later", "ready")


async def test_reports_are_held_back_while_the_lease_is_stale_and_redis_is_away(
    redis_server: RedisServer, tmp_path: Path
) -> None:
    async with nodes(redis_server, tmp_path, "a") as (api, producer, [one]), running(one):
        assert one.results is not None
        results = one.results
        await host_all(one, api, producer)
        redis_server.kill()
        await until(lambda: not one.lease.is_fresh)
        one.matches.terminate(ROOMS[0])
        await until(lambda: results.statistics().held_back == 1)
        assert "aborted" not in api.calls()

        await trio.to_thread.run_sync(redis_server.start)
        await told(api, ROOMS[0], "aborted")
        await until(lambda: results.statistics().held_back == 0)


async def test_a_crash_of_the_consumer_costs_no_match_that_was_taken_over(
    redis_server: RedisServer, tmp_path: Path
) -> None:
    async with nodes(redis_server, tmp_path, "ab") as (api, producer, [one, two]):
        async with mortal(one) as life:
            await host_all(one, api, producer)
            life.cancel()
        # As an earlier run of its task left it: taken over, and nothing delivered.
        for room in ROOMS:
            producer.hset(f"greenroom:matches:{two.lease.owner}", room, "{}")
            producer.set(f"greenroom:match:{room}", f"over {two.lease.owner}")
        producer.delete(f"greenroom:matches:{one.lease.owner}")
        async with running(two):
            for room in ROOMS:
                await told(api, room, "aborted")
            await until(lambda: not producer.exists(f"greenroom:matches:{two.lease.owner}"))


async def test_the_end_of_a_match_leaves_nothing_in_redis(redis_server: RedisServer, tmp_path: Path) -> None:
    async with nodes(redis_server, tmp_path, "a") as (api, producer, [one]), running(one):
        await host_all(one, api, producer)
        for room in ROOMS[:4]:
            one.matches.terminate(room)
        for room in ROOMS[4:]:
            handle = one.matches.find(room)
            assert handle is not None
            handle.tell(ProcessFailed())
        for room in ROOMS:
            await told(api, room, "aborted")
        await until(lambda: not producer.exists(f"greenroom:matches:{one.lease.owner}"))
        await until(lambda: not producer.exists(*[f"greenroom:outcome:{room}" for room in ROOMS]))


async def test_a_match_whose_end_is_told_during_a_renewal_is_not_registered_again(
    redis_server: RedisServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with nodes(redis_server, tmp_path, "a") as (api, producer, [one]):
        entries = f"greenroom:matches:{one.lease.owner}"
        async with running(one):
            await host_all(one, api, producer)
            under_way, go_on = trio.Event(), trio.Event()
            renew = one.claims._renew  # noqa: SLF001  # what is interrupted

            async def renew_slowly(page: Sequence[str]) -> list[str]:
                under_way.set()
                await go_on.wait()
                return await renew(page)

            monkeypatch.setattr(one.claims, "_renew", renew_slowly)
            await under_way.wait()
            for room in ROOMS:
                one.matches.terminate(room)
            await until(lambda: not producer.exists(entries))
            go_on.set()
            await until(
                lambda: producer.get(f"greenroom:match:{ROOMS[0]}") == b"over " + one.lease.owner.encode()
            )
            assert not producer.exists(entries)


async def test_a_redis_that_has_lost_everything_is_told_again_of_what_lives(
    redis_server: RedisServer, tmp_path: Path
) -> None:
    async with nodes(redis_server, tmp_path, "a") as (api, producer, [one]):
        entries = f"greenroom:matches:{one.lease.owner}"
        async with running(one):
            await host_all(one, api, producer)
            producer.flushall()
            await until(lambda: producer.hlen(entries) == len(ROOMS))
            await until(lambda: producer.exists(*[f"greenroom:match:{room}" for room in ROOMS]) == len(ROOMS))
            assert one.matches.active == len(ROOMS)


@pytest.mark.parametrize("is_recorded", [True, False], ids=["claimed", "on the disk only"])
async def test_what_a_node_tells_after_its_restart_is_not_told_otherwise_by_a_survivor(
    redis_server: RedisServer, tmp_path: Path, is_recorded: bool
) -> None:
    async with nodes(redis_server, tmp_path, "a") as (api, producer, [one]):
        async with mortal(one) as life:
            await host_all(one, api, producer)
            api.always(Fault.HANG)
            for room in ROOMS:
                one.matches.terminate(room)
            await api.until(lambda: api.calls().count("aborted") == len(ROOMS))
            life.cancel()
        assert one.results is not None
        one.results._spool.release()  # noqa: SLF001  # as the end of its process does
        if not is_recorded:
            producer.delete(*[f"greenroom:outcome:{room}" for room in ROOMS])
        api.always(None)
        # The same disk, and its old lease has not lapsed yet.
        again, survivor = node(redis_server, api, tmp_path, "a"), node(redis_server, api, tmp_path, "b")
        async with running(again, survivor):
            for room in ROOMS:
                await told(api, room, "aborted")
            await until(lambda: not producer.exists(f"greenroom:matches:{one.lease.owner}"))
            await until(
                lambda: (
                    not producer.exists(*[f"greenroom:matches:{n.lease.owner}" for n in (again, survivor)])
                )
            )

            assert all(len(keys_of(api, room)) == 1 for room in ROOMS)


async def test_what_is_told_after_it_was_taken_over_is_not_told_otherwise_by_the_next(
    redis_server: RedisServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with nodes(redis_server, tmp_path, "abc") as (api, producer, [one, two, three]), mortal(one):
        await host_all(one, api, producer)
        api.delay_s = 3.0
        for room in ROOMS:
            one.matches.terminate(room)
        await api.until(lambda: api.calls().count("aborted") == len(ROOMS))
        monkeypatch.setattr(one.consumer, "_renew", trio.sleep_forever)
        async with mortal(two) as life:
            # It takes the matches over, and dies before it has told anything.
            await until(lambda: producer.hlen(f"greenroom:matches:{two.lease.owner}") == len(ROOMS))
            life.cancel()
        for room in ROOMS:
            await told(api, room, "aborted")
        api.delay_s = 0.0
        async with running(three):
            entries = [f"greenroom:matches:{n.lease.owner}" for n in (one, two, three)]
            await until(lambda: not producer.exists(*entries))
            assert all(len(keys_of(api, room)) == 1 for room in ROOMS)


async def test_a_job_that_comes_back_to_a_node_that_stood_still_begins_anew(
    redis_server: RedisServer, tmp_path: Path
) -> None:
    async with api_server() as api, client_of(redis_server.url) as producer:
        one = MatchNode(redis_server.url, api.base_url, policy=CALM, linger_s=0.3, spool=tmp_path, name="a")
        async with running(one):
            producer.lpush(QUEUE, job("room-1"))
            await told(api, "room-1", "ready")
            await until(lambda: producer.llen(one.processing) == 0)
            # As a survivor leaves it that puts the job back.
            producer.set(f"greenroom:fenced:{one.lease.owner}", "b")
            producer.hdel(f"greenroom:matches:{one.lease.owner}", "room-1")
            await until(lambda: one.matches.active == 0)
            producer.delete("greenroom:match:room-1")
            producer.lpush(QUEUE, job("room-1"))
            await until(lambda: one.matches.active == 1)
            await until(lambda: producer.llen(one.processing) == 0)

            assert api.calls() == ["ready", "ready"]
            assert producer.llen("room_creation_queue:dead") == 0
