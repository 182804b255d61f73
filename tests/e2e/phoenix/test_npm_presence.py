"""The npm client's `Presence`, unmodified, on `state:{id}` over two nodes that share a Redis."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from tests.e2e.phoenix.npm_client import VERSIONS, NpmClient, npm_client, unavailable
from tests.engines import RedisServer
from tests.play.running_system import SECRET, token
from tests.web.serving import served, serving

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(unavailable() is not None, reason=str(unavailable())),
]


@asynccontextmanager
async def present(version: str, port: int, user_id: str, **meta: object) -> AsyncIterator[NpmClient]:
    """A client that appears on `state:party`."""
    url = f"http://127.0.0.1:{port}/socket"
    async with npm_client(version, url, params={"token": token(user_id)}) as client:
        await client.tell("connect")
        await client.join("state:party", {"presence": meta}, presence=True)
        yield client


async def until_names(client: NpmClient, *names: str) -> dict[str, list[dict[str, object]]]:
    """Wait until the client's list has these users."""
    while True:
        found: dict[str, list[dict[str, object]]] = (await client.hear("presence"))["list"]
        if sorted(found) == sorted(names):
            return found


@pytest.mark.parametrize("version", VERSIONS)
async def test_users_of_two_nodes_see_each_other_and_a_dead_node_takes_its_own_along(
    redis_server: RedisServer, version: str
) -> None:
    shared = {
        "ROOM_STORE": "redis",
        "REDIS_URL": redis_server.url,
        "JWT_SECRET": SECRET,
        "MATCHES": "off",
    }
    async with (
        serving("fast", **shared) as one,
        served("fast", shared | {"NODE_NAME": "two"}) as two,
        present(version, one.port, "ann", colour="red") as ann,
        present(version, two.port, "bob", colour="blue") as bob,
    ):
        found = await until_names(ann, "ann", "bob")
        assert [meta["colour"] for meta in found["bob"]] == ["blue"]
        await until_names(bob, "ann", "bob")
        async with present(version, two.port, "cid"):
            await until_names(ann, "ann", "bob", "cid")
        await until_names(ann, "ann", "bob")
        two.process.send_signal(signal.SIGKILL)
        await until_names(ann, "ann")
