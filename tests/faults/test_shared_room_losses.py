"""A Redis that loses what it acknowledged: no id ever names two contents, and streams say `reset`."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import trio

from tests.engines import RedisServer
from tests.faults.cluster import Cluster, LocalNode, local_cluster, redis_command
from tests.faults.history import Outcome
from tests.faults.redis_proxy import RedisProxy, proxies

ROOMS: Final = ("written", "left")


async def write(
    all_: Cluster[LocalNode], count: int, rooms: Sequence[str] = ROOMS, *, port: int | None = None
) -> None:
    """PUTs that are all acknowledged, some of them after several attempts."""
    with trio.fail_after(60):
        for _ in range(count):
            for room in rooms:
                assert (await all_.clients.write(room, port=port, key=True)).outcome is Outcome.DONE


def resets(all_: Cluster[LocalNode], room: str) -> dict[str, int]:
    streams = all_.clients.history(room).streams
    return {client: sum(event.is_reset for event in events) for client, events in streams.items()}


def assert_reset_and_nothing_else(all_: Cluster[LocalNode]) -> None:
    assert all_.violations(is_lossy=True) == []
    for room in ROOMS:
        assert all(resets(all_, room).values()), room


@asynccontextmanager
async def replica_of(
    all_: Cluster[LocalNode], directory: Path
) -> AsyncIterator[tuple[RedisServer, RedisProxy]]:
    """A replica, and the link that it hears its primary through."""
    directory.mkdir()
    replica = RedisServer(directory)
    async with proxies(all_.redis.port, 1) as (link,):
        replica.start()
        try:
            await replicate(replica.port, link.port)
            yield replica, link
        finally:
            replica.kill()


async def replicate(port: int, primary: int) -> None:
    """Make the Redis at `port` a replica, and wait until it has the data."""
    await redis_command(port, "REPLICAOF", "127.0.0.1", str(primary))
    with trio.fail_after(20):
        while "master_link_status:up" not in await redis_command(port, "INFO", "replication"):  # noqa: ASYNC110
            await trio.sleep(0.02)  # real time: of another process


async def write_behind(replica: RedisServer, all_: Cluster[LocalNode], link: RedisProxy) -> None:
    """Some versions the replica has, and some that it never hears of."""
    await write(all_, 3)
    await all_.redis_command("SET", "the", "end")
    with trio.fail_after(20):
        while "end" not in await redis_command(replica.port, "GET", "the"):  # noqa: ASYNC110
            await trio.sleep(0.01)  # real time: of another process
    link.cut("down")
    await write(all_, 4)
    await all_.heard(ROOMS)


async def promote_a_cut_off_replica(all_: Cluster[LocalNode], directory: Path) -> None:
    async with replica_of(all_, directory) as (replica, link):
        await write_behind(replica, all_, link)
        all_.redis.kill()
        await redis_command(replica.port, "REPLICAOF", "NO", "ONE")
        for proxy in all_.proxies:
            proxy.redirect(replica.port)
        await write(all_, 8, ROOMS[:1])
        all_.redis = replica
        await all_.calm(ROOMS)


async def test_a_promoted_replica_whose_tail_was_cut_off(tmp_path: Path) -> None:
    async with local_cluster(tmp_path) as all_, all_.watching(ROOMS):
        await promote_a_cut_off_replica(all_, tmp_path / "replica")

    assert_reset_and_nothing_else(all_)
    left = all_.clients.history("left")
    assert left.newest == left.writes[2].position


async def test_two_primaries_at_once(tmp_path: Path) -> None:
    async with (
        local_cluster(tmp_path) as all_,
        replica_of(all_, tmp_path / "replica") as (replica, link),
        all_.watching(ROOMS),
    ):
        await write_behind(replica, all_, link)
        await redis_command(replica.port, "REPLICAOF", "NO", "ONE")
        for proxy in all_.proxies[1:]:
            proxy.redirect(replica.port)
        for _ in range(4):
            for node in all_.nodes:
                await write(all_, 1, ROOMS[:1], port=node.port)
        await write(all_, 2, port=all_.nodes[0].port)

        all_.redis.kill()
        all_.proxies[0].redirect(replica.port)
        all_.redis = replica
        await all_.calm(ROOMS)

    assert_reset_and_nothing_else(all_)


async def test_a_primary_that_comes_back_with_the_data_of_another(tmp_path: Path) -> None:
    async with (
        local_cluster(tmp_path) as all_,
        replica_of(all_, tmp_path / "replica") as (replica, link),
        all_.watching(ROOMS),
    ):
        await write_behind(replica, all_, link)
        await redis_command(replica.port, "REPLICAOF", "NO", "ONE")
        for proxy in all_.proxies[1:]:
            proxy.redirect(replica.port)
        await write(all_, 2, ROOMS[:1], port=all_.nodes[1].port)

        # The connection of the first node does not break.
        await replicate(all_.redis.port, replica.port)
        await all_.redis_command("REPLICAOF", "NO", "ONE")
        await write(all_, 8, ("left",), port=all_.nodes[0].port)
        for proxy in all_.proxies[1:]:
            proxy.redirect(all_.redis.port)
        await all_.calm(ROOMS)

    assert_reset_and_nothing_else(all_)


async def test_a_restart_from_an_old_dump(tmp_path: Path) -> None:
    dump = tmp_path / "dump"
    async with local_cluster(tmp_path) as all_, all_.watching(ROOMS):
        await write(all_, 3)
        all_.redis.stop()
        shutil.copytree(tmp_path / "redis", dump)
        all_.redis.start()
        await write(all_, 4)
        await all_.heard(ROOMS)

        all_.redis.kill()
        shutil.rmtree(tmp_path / "redis")
        shutil.copytree(dump, tmp_path / "redis")
        all_.redis.start()
        await write(all_, 8, ROOMS[:1])
        await all_.calm(ROOMS)

    assert_reset_and_nothing_else(all_)


async def test_flushall(tmp_path: Path) -> None:
    async with local_cluster(tmp_path) as all_, all_.watching(ROOMS):
        await write(all_, 4)
        await all_.heard(ROOMS)
        assert await all_.redis_command("FLUSHALL") == "+OK\r\n"
        await write(all_, 8, ROOMS[:1])
        await all_.calm(ROOMS, within_s=60)

    assert all_.violations(is_lossy=True) == []
    assert all(resets(all_, "written").values())
    # That a room is gone is told by the record: there is nothing to go on from.
    assert all_.clients.history("left").newest is None


# -- nothing is lost -------------------------------------------------------------------------------


async def refused(all_: Cluster[LocalNode], code: str) -> None:
    """A PUT of every room at every node is refused, and nothing is written."""
    for room in ROOMS:
        for node in all_.nodes:
            assert (await all_.clients.write(room, port=node.port)).outcome is Outcome.REFUSED, code


async def test_a_redis_that_is_full(tmp_path: Path) -> None:
    async with local_cluster(tmp_path) as all_, all_.watching(ROOMS):
        await write(all_, 3)
        await all_.redis_command("CONFIG", "SET", "maxmemory", "1")
        await refused(all_, "too_much_state")
        for room in ROOMS:
            assert await all_.clients.read(room) is not None
        await all_.redis_command("CONFIG", "SET", "maxmemory", "0")
        await write(all_, 3)
        await all_.calm(ROOMS)

    assert all_.violations() == []


async def test_a_redis_that_is_read_only(tmp_path: Path) -> None:
    async with local_cluster(tmp_path) as all_, all_.watching(ROOMS):
        await write(all_, 3)
        # Of a primary that is not there: it keeps its data and takes no writes.
        await all_.redis_command("REPLICAOF", "127.0.0.1", "1")
        await refused(all_, "store_unavailable")
        await all_.redis_command("REPLICAOF", "NO", "ONE")
        await write(all_, 3)
        await all_.calm(ROOMS)

    assert all_.violations() == []


async def test_a_redis_that_is_loading(tmp_path: Path) -> None:
    # So many microseconds for each key; it looks at its clients once in 1024 keys.
    async with (
        local_cluster(tmp_path, redis_options={"key_load_delay": "200"}) as all_,
        all_.watching(ROOMS),
    ):
        await write(all_, 3)
        fill = "for i = 1, 8000 do redis.call('SET', 'filler:' .. i, 'x') end"
        assert await all_.redis_command("EVAL", fill, "0") == "$-1\r\n"
        all_.redis.kill()
        with trio.fail_after(20):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(trio.to_thread.run_sync, all_.redis.start)
                while "LOADING" not in await all_.redis_command("GET", "x"):  # noqa: ASYNC110
                    await trio.sleep(0.01)  # real time: of another process
                await refused(all_, "store_unavailable")
        await all_.calm(ROOMS)

    assert all_.violations() == []
