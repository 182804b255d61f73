"""Claims: one match of a room id, however often and wherever its job is taken."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from actors.matches import DEAD, QUEUE, Status
from tests.engines import RedisServer
from tests.fakes.api_server import api_server
from tests.fakes.node import BRISK, MatchNode, client_of, dead_letters, job, running
from tests.fakes.waiting import until

# A lease that no busy machine misses.
CALM = replace(BRISK, alive_s=5.0)


async def test_a_job_pushed_twice_to_two_nodes_lives_once(redis_server: RedisServer) -> None:
    async with api_server() as api, client_of(redis_server.url) as producer:
        nodes = [MatchNode(redis_server.url, api.base_url, name=name, policy=CALM) for name in ("a", "b")]
        async with running(*nodes):
            for number in range(20):
                producer.lpush(QUEUE, job(f"room-{number}"), job(f"room-{number}"))
            await until(lambda: sum(sum(n.consumer.statistics().fates.values()) for n in nodes) == 40)

            assert sum(node.matches.active for node in nodes) == 20
            assert len({request.room_id for request in api.acknowledged}) == 20
            assert producer.llen(DEAD) == 0


async def test_a_job_for_a_match_that_has_just_ended_on_another_node_is_kept(
    redis_server: RedisServer,
) -> None:
    async with api_server() as api, client_of(redis_server.url) as producer:
        one = MatchNode(redis_server.url, api.base_url, name="a", policy=CALM)
        two = MatchNode(redis_server.url, api.base_url, name="b", policy=CALM)
        async with running(one):
            producer.lpush(QUEUE, job("room-1"))
            await api.until_acknowledged("room-1", "ready")
            await until(lambda: producer.llen(one.processing) == 0)
            one.matches.terminate("room-1")
            await until(lambda: producer.get("greenroom:match:room-1") == f"over a:{one.boot_id}".encode())
        async with running(two):
            producer.lpush(QUEUE, job("room-1"))
            await until(lambda: producer.llen(DEAD) == 1)
            assert dead_letters(producer)[0]["reason"] == "over"
            assert api.calls()[-1] == "failed"
            assert two.matches.state("room-1") is None


async def test_a_match_that_was_taken_over_ends_quietly(redis_server: RedisServer) -> None:
    async with api_server() as api, client_of(redis_server.url) as producer:
        node = MatchNode(redis_server.url, api.base_url, policy=CALM)
        async with running(node):
            producer.lpush(QUEUE, job("room-1"))
            await api.until_acknowledged("room-1", "ready")
            producer.set("greenroom:match:room-1", "node-b:boot")
            await until(lambda: node.matches.active == 0)

            state = node.matches.state("room-1")
            assert state is None or state.status is Status.ABORTED
            assert api.calls() == ["ready"]
            assert producer.get("greenroom:match:room-1") == b"node-b:boot"


async def test_the_claim_of_a_node_that_died_is_waited_for(redis_server: RedisServer) -> None:
    async with api_server() as api, client_of(redis_server.url) as producer:
        producer.set("greenroom:match:room-1", "node-x:boot", px=700)
        node = MatchNode(redis_server.url, api.base_url, policy=CALM)
        async with running(node):
            producer.lpush(QUEUE, job("room-1"))
            await api.until_acknowledged("room-1", "ready")
            owner = f"{node.name}:{node.boot_id}".encode()
            assert producer.get("greenroom:match:room-1") == owner


async def test_a_room_that_was_discarded_can_be_asked_for_again_at_once(redis_server: RedisServer) -> None:
    async with api_server() as api, client_of(redis_server.url) as producer:
        api.rooms = set()
        node = MatchNode(redis_server.url, api.base_url, policy=CALM)
        async with running(node):
            producer.lpush(QUEUE, job("room-1"))
            await until(lambda: node.consumer.statistics().fates == {"discarded": 1})
            await until(lambda: producer.llen(node.processing) == 0)
            assert producer.exists("greenroom:match:room-1") == 0


async def test_claims_are_kept_while_their_matches_live(redis_server: RedisServer) -> None:
    async with api_server() as api, client_of(redis_server.url) as producer:
        node = MatchNode(redis_server.url, api.base_url, policy=replace(BRISK, alive_s=1.0))
        async with running(node):
            producer.lpush(QUEUE, job("room-1"))
            await api.until_acknowledged("room-1", "ready")
            claim = "greenroom:match:room-1"
            # It would expire within a second; renewed, its end moves.
            await until(lambda: 0 < producer.pttl(claim) < 900)
            await until(lambda: producer.pttl(claim) >= 900)
            assert producer.pttl(claim) <= 1000
            assert node.matches.active == 1


async def test_a_redis_that_takes_no_writes_costs_no_job_and_no_match(redis_server: RedisServer) -> None:
    async with api_server() as api, client_of(redis_server.url) as producer:
        node = MatchNode(redis_server.url, api.base_url, policy=CALM)
        async with running(node):
            producer.lpush(QUEUE, job("room-1"))
            await api.until_acknowledged("room-1", "ready")
            producer.config_set("maxmemory", 1)
            await until(lambda: node.link.trouble is not None)
            producer.config_set("maxmemory", 0)
            producer.lpush(QUEUE, job("room-2"), b"no job")
            await api.until_acknowledged("room-2", "ready")
            await until(lambda: producer.llen(DEAD) == 1)

            await until(lambda: node.link.trouble is None)
            assert node.matches.active == 2
            children = {child.id: child.restarts for child in node.integrations.which_children()}
            assert set(children.values()) == {0}


async def test_a_dead_letter_that_cannot_be_written_stays_in_the_processing_list(
    redis_server: RedisServer,
) -> None:
    async with api_server() as api, client_of(redis_server.url) as producer:
        producer.set(DEAD, "somebody's string")
        node = MatchNode(redis_server.url, api.base_url, policy=CALM)
        async with running(node):
            producer.lpush(QUEUE, b"no job", job("room-1"))
            await api.until_acknowledged("room-1", "ready")
            await until(lambda: node.link.trouble is not None)
            await until(lambda: producer.lrange(node.processing, 0, -1) == [b"no job"])
            producer.delete(DEAD)
            await until(lambda: producer.llen(DEAD) == 1)
            await until(lambda: producer.llen(node.processing) == 0)


async def test_a_user_without_scripts_consumes_and_dead_letters(redis_server: RedisServer) -> None:
    async with api_server() as api, client_of(redis_server.url) as producer:
        raw: Any = producer
        raw.execute_command("ACL", "SETUSER", "app", "on", ">pw", "~*", "&*", "+@all", "-@scripting")
        node = MatchNode(redis_server.url.replace("redis://", "redis://app:pw@"), api.base_url, policy=CALM)
        async with running(node):
            producer.lpush(QUEUE, b"no job", job("room-1"))
            await api.until_acknowledged("room-1", "ready")
            await until(lambda: producer.llen(DEAD) == 1)
            assert node.link.trouble is None
