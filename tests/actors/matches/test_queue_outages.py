"""What becomes of jobs when Redis, a node or the consumer goes away in the middle."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace

import pytest
import trio

from actors.matches import DEAD, QUEUE, CreationConsumer, Patience, QueueDelivery
from tests.engines import RedisServer
from tests.fakes.api_server import ApiServer, Fault, api_server
from tests.fakes.node import BRISK, MatchNode, client_of, job, running
from tests.fakes.waiting import until


def confirmed(api: ApiServer) -> set[str]:
    return {request.room_id for request in api.acknowledged if request.call == "ready"}


async def restart(server: RedisServer, node: MatchNode) -> None:
    """Kill Redis, and start it again when the node has noticed."""
    server.kill()
    await until(lambda: not node.link.state.up)
    await trio.to_thread.run_sync(server.start)
    await node.link.until_up()


async def test_redis_killed_and_restarted_while_consuming_loses_nothing(
    redis_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    rooms = {f"room-{number}" for number in range(400)}
    async with api_server() as api, client_of(redis_server.url) as producer:
        api.delay_s = 0.02
        # With the time limits of production: what is slow here is the machine, not the API server.
        policy = replace(BRISK, max_in_flight=16)
        node = MatchNode(redis_server.url, api.base_url, policy=policy, patience=Patience())
        async with running(node):
            producer.lpush(QUEUE, *[job(room) for room in rooms])
            for already in (50, 120, 190):
                await api.until(lambda already=already: len(confirmed(api)) >= already)  # type: ignore[misc]
                await restart(redis_server, node)
                assert len(confirmed(api)) < 400
            await until(lambda: confirmed(api) == rooms, within_s=30)
            await until(lambda: producer.llen(node.processing) == 0)

            assert producer.llen(QUEUE) == 0
            assert producer.llen(DEAD) == 0
            assert node.matches.active == 400
            children = {child.id: child.restarts for child in node.integrations.which_children()}
            assert set(children.values()) == {0}
            assert caplog.messages.count("redis_down") == 3


async def test_an_idle_consumer_gets_over_an_outage(redis_server: RedisServer) -> None:
    async with api_server() as api, client_of(redis_server.url) as producer:
        node = MatchNode(redis_server.url, api.base_url)
        async with running(node):
            redis_server.kill()
            await until(lambda: not node.link.state.up)
            went_down_s = node.link.state.since_s
            await trio.to_thread.run_sync(redis_server.start)
            await node.link.until_up()
            producer.lpush(QUEUE, job("room-1"))
            with trio.fail_after(5):
                await api.until_acknowledged("room-1", "ready")
            assert node.link.state.since_s >= went_down_s


async def test_a_node_starts_without_redis_and_begins_when_it_comes(redis_server: RedisServer) -> None:
    redis_server.stop()
    async with api_server() as api, trio.open_nursery() as nursery:
        node = MatchNode(redis_server.url, api.base_url)
        nursery.start_soon(node.root.run)
        await until(lambda: len(node.integrations.which_children()) == 4)
        assert not node.link.state.up
        await trio.to_thread.run_sync(redis_server.start)
        async with client_of(redis_server.url) as producer:
            producer.lpush(QUEUE, job("room-1"))
        with trio.fail_after(5):
            await api.until_acknowledged("room-1", "ready")
        node.root.stop()


@pytest.mark.parametrize("delivery", list(QueueDelivery))
async def test_a_stop_in_the_middle_of_a_pop_loses_nothing(
    redis_server: RedisServer, delivery: QueueDelivery
) -> None:
    """Jobs are pushed around the very moment of the stop; each is confirmed or still in the queue."""
    policy = replace(BRISK, delivery=delivery, wait_s=5.0)
    async with api_server() as api, client_of(redis_server.url) as producer:
        pushed: set[str] = set()
        for turn in range(12):
            node = MatchNode(redis_server.url, api.base_url, policy=policy, name=f"node-{turn}")
            async with running(node):
                await trio.sleep(random.uniform(0, 0.03))  # real time: any moment of the start
                for number in range(3):
                    room = f"room-{turn}-{number}"
                    pushed.add(room)
                    producer.lpush(QUEUE, job(room))
                    await trio.sleep(random.uniform(0, 0.002))  # real time: any moment of the pop
                began = trio.current_time()
            assert trio.current_time() - began < 3
            assert producer.llen(node.processing) == 0
        waiting = producer.lrange(QUEUE, 0, -1)
        left = {room for room in pushed if any(f'"{room}"' in str(payload) for payload in waiting)}
        assert confirmed(api) | left == pushed


async def test_what_cannot_be_settled_before_a_stop_is_handed_back_in_order(
    redis_server: RedisServer,
) -> None:
    async with api_server() as api, client_of(redis_server.url) as producer:
        api.always(Fault.HANG)
        node = MatchNode(redis_server.url, api.base_url, policy=replace(BRISK, drain_s=0.1))
        async with running(node):
            payloads = [job(f"room-{number}") for number in range(5)]
            producer.lpush(QUEUE, *payloads)
            await api.until(lambda: len(api.received) >= 5)
        assert producer.lrange(QUEUE, 0, -1) == payloads[::-1]
        assert producer.keys("greenroom:*") == []
        assert node.consumer.statistics().given_back == 5


async def test_two_nodes_share_the_queue_and_no_job_is_done_twice(redis_server: RedisServer) -> None:
    rooms = [f"room-{number}" for number in range(300)]
    async with api_server() as api, client_of(redis_server.url) as producer:
        api.delay_s = 0.02
        policy = replace(BRISK, max_in_flight=8)
        one = MatchNode(redis_server.url, api.base_url, policy=policy, name="node-a")
        two = MatchNode(redis_server.url, api.base_url, policy=policy, name="node-b")
        async with running(one, two):
            producer.lpush(QUEUE, *[job(room) for room in rooms])
            await until(lambda: len(confirmed(api)) == 300, within_s=20)
            assert Counter(request.room_id for request in api.received) == dict.fromkeys(rooms, 1)
            assert one.matches.active > 0
            assert two.matches.active > 0
            assert one.matches.active + two.matches.active == 300


async def test_jobs_of_a_node_that_died_are_taken_back_and_done(redis_server: RedisServer) -> None:
    async with api_server() as api, client_of(redis_server.url) as producer:
        dead = "room_creation_queue:processing:node-x:boot1"
        producer.lpush(dead, job("room-1"), job("room-2"))
        producer.sadd("greenroom:nodes", "node-x:boot1")
        node = MatchNode(redis_server.url, api.base_url)
        async with running(node):
            await until(lambda: confirmed(api) == {"room-1", "room-2"})
            assert producer.llen(dead) == 0
            assert node.consumer.statistics().reclaimed == 2
            assert producer.smembers("greenroom:nodes") == {f"{node.name}:{node.boot_id}".encode()}


async def test_jobs_of_a_node_that_lives_are_left_alone(redis_server: RedisServer) -> None:
    async with api_server() as api, client_of(redis_server.url) as producer:
        theirs = "room_creation_queue:processing:node-x:boot1"
        producer.lpush(theirs, job("room-1"))
        producer.sadd("greenroom:nodes", "node-x:boot1")
        producer.set("greenroom:node:node-x:boot1", "1")
        node = MatchNode(redis_server.url, api.base_url)

        def looks() -> int:
            return int(producer.info("commandstats").get("cmdstat_smembers", {"calls": 0})["calls"])

        async with running(node):
            await until(lambda: looks() >= 5)
            assert producer.llen(theirs) == 1
            assert api.received == []
            producer.delete("greenroom:node:node-x:boot1")
            await until(lambda: confirmed(api) == {"room-1"})


async def test_a_node_cut_off_in_the_middle_is_replaced_by_another(redis_server: RedisServer) -> None:
    async with api_server() as api, client_of(redis_server.url) as producer:
        first = MatchNode(redis_server.url, api.base_url, name="node-a")
        second = MatchNode(redis_server.url, api.base_url, name="node-b")
        api.always(Fault.HANG)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(first.root.run)
            await first.link.until_up()
            producer.lpush(QUEUE, job("room-1"))
            await api.until(lambda: len(api.received) >= 1)
            nursery.cancel_scope.cancel()
        assert producer.llen(first.processing) == 1
        api.always(None)
        async with running(second):
            await until(lambda: confirmed(api) == {"room-1"})
            assert api.acknowledged[-1].body["node_name"] == "node-b"


async def test_the_liveness_key_is_renewed_and_expires(redis_server: RedisServer) -> None:
    async with api_server() as api, client_of(redis_server.url) as producer:
        node = MatchNode(redis_server.url, api.base_url)
        key = f"greenroom:node:{node.name}:{node.boot_id}"
        async with running(node):
            for _ in range(2):
                await until(lambda: 0 < producer.pttl(key) < 500)
                await until(lambda: producer.pttl(key) >= 500)
            assert producer.pttl(key) <= 600
        assert producer.exists(key) == 0


class Stumbling(CreationConsumer):
    """Crashes whenever it is about to begin with a certain job."""

    stumbles_on = b"poison"

    async def _settle(self, payload: bytes) -> None:
        if self.stumbles_on in payload and self._poison.crashes(payload) < 3:
            raise RuntimeError("stumbled")
        await super()._settle(payload)


@pytest.mark.parametrize("delivery", list(QueueDelivery))
async def test_after_a_crash_of_its_own_it_goes_on_with_what_it_held(
    redis_server: RedisServer, delivery: QueueDelivery, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.fakes.node.CreationConsumer", Stumbling)
    rooms = {f"room-{number}" for number in range(20)}
    async with api_server() as api, client_of(redis_server.url) as producer:
        api.delay_s = 0.01
        node = MatchNode(redis_server.url, api.base_url, policy=replace(BRISK, delivery=delivery))
        async with running(node):
            producer.lpush(QUEUE, job("poison"), *[job(room) for room in rooms])
            await until(lambda: confirmed(api) == rooms, within_s=20)
            await until(lambda: producer.llen(DEAD) == 1)
            assert b'"crashed"' in producer.lrange(DEAD, 0, -1)[0]
            await until(lambda: producer.llen(node.processing) == 0)
            assert node.matches.statistics().created == 20


async def test_a_hung_redis_does_not_hold_up_a_stop(redis_server: RedisServer) -> None:
    async with api_server() as api:
        node = MatchNode(redis_server.url, api.base_url, policy=replace(BRISK, wait_s=5.0))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(node.root.run)
            await node.link.until_up()
            async with client_of(redis_server.url) as producer:
                await until(lambda: producer.info("clients")["blocked_clients"] > 0)
            redis_server.pause()
            began = trio.current_time()
            node.root.stop()
        assert trio.current_time() - began < 6
        redis_server.resume()
