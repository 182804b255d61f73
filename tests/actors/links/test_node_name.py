"""Names of nodes: one holder at a time, and a start that says so."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from actors.links import NameTaken, NodeName, RedisLink
from tests.engines import RedisServer
from tests.fakes.life import LoneLife
from tests.fakes.node import client_of
from tests.fakes.waiting import until

KEY = "greenroom:name:web1"
LEASE_S = 0.6


def named(server: RedisServer, holder: str, *, is_shared: bool = False, lease_s: float = LEASE_S) -> NodeName:
    return NodeName(RedisLink(server.url), "web1", holder=holder, is_shared=is_shared, lease_s=lease_s)


@asynccontextmanager
async def held(name: NodeName) -> AsyncIterator[LoneLife]:
    """Hold a name until the block ends, then give it up in order."""
    life = LoneLife()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(name._link.run, LoneLife())  # noqa: SLF001  # its own
        await name._link.until_up()  # noqa: SLF001
        async with trio.open_nursery() as inner:
            inner.start_soon(name.run, life)
            yield life
            life.trap_exit().set()
        nursery.cancel_scope.cancel()


async def test_a_name_is_held_by_one_at_a_time_and_given_up_at_the_end(redis_server: RedisServer) -> None:
    async with client_of(redis_server.url) as client:
        async with held(named(redis_server, "a", lease_s=6.0)):
            await until(lambda: client.get(KEY) == b"a")
            with pytest.raises(NameTaken):
                await named(redis_server, "b").take()
            # A worker of the same node, or its successor.
            await named(redis_server, "a", is_shared=True).take()
        assert not client.exists(KEY)
        await named(redis_server, "b").take()
        assert client.get(KEY) == b"b"


async def test_the_name_of_a_node_that_died_is_free_after_one_lease(redis_server: RedisServer) -> None:
    async with client_of(redis_server.url) as client:
        client.set(KEY, "a", px=int(LEASE_S * 1000))
        await named(redis_server, "b").take()
        assert client.get(KEY) == b"b"


async def test_a_shared_name_outlives_one_of_its_holders(redis_server: RedisServer) -> None:
    async with client_of(redis_server.url) as client:
        async with held(named(redis_server, "a", is_shared=True, lease_s=6.0)):
            await until(lambda: client.get(KEY) == b"a")
        assert client.get(KEY) == b"a"


async def test_a_start_without_redis_goes_on_and_finds_out_later(redis_server: RedisServer) -> None:
    redis_server.stop()
    name = named(redis_server, "b")
    await name.take()
    await trio.to_thread.run_sync(redis_server.start)
    async with client_of(redis_server.url) as client:
        client.set(KEY, "a", px=60_000)
        async with held(name):
            await until(lambda: name.is_taken)
            client.delete(KEY)
            await until(lambda: not name.is_taken)


def test_a_second_node_of_the_name_says_so_in_one_line_and_does_not_start(
    redis_server: RedisServer, tmp_path: Path
) -> None:
    with RedisLink(redis_server.url).new_client() as client:
        client.set(KEY, "a", px=60_000)
    env = {
        "PATH": os.environ["PATH"],
        "NODE_NAME": "web1",
        "HOST": "127.0.0.1",
        "PORT": "0",
        "REDIS_URL": redis_server.url,
        "DATA_DIR": str(tmp_path),
        "LOG_LEVEL": "error",
    }
    command = [sys.executable, "-m", "web.cli", "serve"]
    ended = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=False)

    assert ended.returncode == 1
    assert ended.stderr == "greenroom: NODE_NAME: another living node is named 'web1'; give each its own\n"
