"""Rooms on three nodes and one Redis while both are killed, stopped, cut off and starved.

Whatever happens, no acknowledged write is lost, a read sees every write acknowledged before it, and a
stream tells of nothing old but behind a `reset` and ends on the newest version: `tests.faults.history`.
"""

from __future__ import annotations

import random
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final, TypeAlias

import pytest
import trio

from tests.faults.cluster import Cluster, ServerNode, cluster
from tests.faults.history import Outcome

ROOMS: Final = tuple(f"r{number}" for number in range(6))
# Between two calls of one client.
PAUSE_S: Final = 0.1
# Large enough for a subscription's output buffer of 4 KiB to run over.
SIZES: Final = (0, 0, 0, 6000)

Fault: TypeAlias = Callable[[Cluster[ServerNode], random.Random], Awaitable[object]]


async def kill_a_node(all_: Cluster[ServerNode], rng: random.Random) -> None:
    node = rng.choice(all_.nodes)
    await node.kill()
    await trio.sleep(rng.uniform(0, 0.5))  # real time: faults come at any moment
    await node.start()


async def stop_a_node(all_: Cluster[ServerNode], rng: random.Random) -> None:
    node = rng.choice(all_.nodes)
    node.signal(signal.SIGSTOP)
    await trio.sleep(rng.uniform(0.2, 2))  # real time: faults come at any moment
    node.signal(signal.SIGCONT)


async def kill_redis(all_: Cluster[ServerNode], rng: random.Random) -> None:
    await trio.to_thread.run_sync(all_.redis.kill)
    await trio.sleep(rng.uniform(0, 1))  # real time: faults come at any moment
    await trio.to_thread.run_sync(all_.redis.start)


async def stop_redis(all_: Cluster[ServerNode], rng: random.Random) -> None:
    all_.redis.pause()
    await trio.sleep(rng.uniform(0.2, 2))  # real time: faults come at any moment
    all_.redis.resume()


async def kill_clients(all_: Cluster[ServerNode], rng: random.Random) -> None:
    await all_.redis_command("CLIENT", "KILL", "TYPE", rng.choice(("normal", "pubsub")))


async def pause_clients(all_: Cluster[ServerNode], rng: random.Random) -> None:
    await all_.redis_command("CLIENT", "PAUSE", "800", rng.choice(("WRITE", "ALL")))
    await trio.sleep(0.8)  # real time: faults come at any moment


async def starve_subscriptions(all_: Cluster[ServerNode], rng: random.Random) -> None:
    limit = "client-output-buffer-limit"
    await all_.redis_command("CONFIG", "SET", limit, "pubsub 4096 4096 1")
    await trio.sleep(rng.uniform(0.5, 1.5))  # real time: faults come at any moment
    await all_.redis_command("CONFIG", "SET", limit, "pubsub 33554432 8388608 60")


async def swallow_messages(all_: Cluster[ServerNode], rng: random.Random) -> None:
    rng.choice(all_.proxies).swallow_messages()
    await trio.sleep(rng.uniform(0.1, 1))  # real time: faults come at any moment


async def cut_one_way(all_: Cluster[ServerNode], rng: random.Random) -> None:
    proxy = rng.choice(all_.proxies)
    proxy.cut(rng.choice(("up", "down")))
    await trio.sleep(rng.uniform(0.2, 3))  # real time: faults come at any moment
    proxy.heal()


async def reset_connections(all_: Cluster[ServerNode], rng: random.Random) -> None:
    rng.choice(all_.proxies).reset()


async def kill_all_nodes(all_: Cluster[ServerNode], rng: random.Random) -> None:
    for node in all_.nodes:
        await node.kill()
    async with trio.open_nursery() as nursery:
        for node in all_.nodes:
            nursery.start_soon(node.start)


FAULTS: Final[tuple[Fault, ...]] = (
    kill_a_node,
    kill_all_nodes,
    stop_a_node,
    kill_redis,
    stop_redis,
    kill_clients,
    pause_clients,
    starve_subscriptions,
    swallow_messages,
    cut_one_way,
    reset_connections,
)


async def inflict(all_: Cluster[ServerNode], rng: random.Random, seconds: float) -> None:
    """All faults in a random order, again and again."""
    with trio.move_on_after(seconds) as patience:
        while True:
            for fault in rng.sample(FAULTS, len(FAULTS)):
                # What was begun is mended, also where the time is over.
                with trio.CancelScope(shield=True):
                    await fault(all_, rng)
                await trio.sleep(rng.uniform(0.1, 0.8))  # real time: faults come at any moment
                if trio.current_time() > patience.deadline:
                    return


async def live_through(directory: Path, seed: int, seconds: float) -> Cluster[ServerNode]:
    """Write, read and watch while faults go on; then wait until all is calm."""
    rng = random.Random(seed)
    async with cluster(directory, seed=seed) as all_, trio.open_nursery() as watchers:
        clients = all_.clients

        async def go_on(call: Callable[[], Awaitable[object]]) -> None:
            while not clients.stopping:
                await call()
                await trio.sleep(rng.uniform(0, 2 * PAUSE_S))  # real time: faults come at any moment

        for room in ROOMS:
            for number in range(2):
                watchers.start_soon(clients.watch, room, f"stream-{number}")
        async with trio.open_nursery() as callers:
            for room in ROOMS:
                callers.start_soon(go_on, lambda room=room: clients.write(room, size=rng.choice(SIZES)))
                callers.start_soon(go_on, lambda room=room: clients.write(room, key=True))
            # A read tells the streams of its node as well, so most rooms are not read.
            for room in ROOMS[:2]:
                callers.start_soon(go_on, lambda room=room: clients.read(room))
            await inflict(all_, rng, seconds)
            clients.stopping = True
        clients.stopping = False
        # Half of the rooms end on whatever was written last: no later message tells their streams.
        await all_.calm(ROOMS, write=ROOMS[::2])
        watchers.cancel_scope.cancel()
    return all_


def assert_good(all_: Cluster[ServerNode]) -> None:
    assert all_.violations() == []
    histories = all_.clients.histories.values()
    done = sum(write.outcome is Outcome.DONE for history in histories for write in history.writes)
    heard = sum(len(events) for history in histories for events in history.streams.values())
    reads = sum(len(history.reads) for history in histories)
    # Otherwise it says nothing; a busy machine does little between two faults.
    assert min(done, heard) > 20, (done, heard)
    assert reads > 5


async def test_a_history_of_faults(tmp_path: Path) -> None:
    assert_good(await live_through(tmp_path, seed=1, seconds=15))


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2, 22))
async def test_a_longer_history_of_faults(tmp_path: Path, seed: int) -> None:
    assert_good(await live_through(tmp_path, seed, seconds=30))
