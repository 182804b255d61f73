"""Roblox away, slow or angry; nodes killed; two of them on one outbox: nothing lost, nothing doubled."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import httpx
import pytest
import sqlalchemy as sa
import trio

from dev.open_cloud import OpenCloudStandIn, problem, serve
from tests.engines import free_port
from tests.fakes import open_cloud
from tests.fakes.waiting import until, until_some
from tests.postgres import PostgresServer
from tests.web.automation_node import (
    ACTIVITY,
    KEY,
    ROBLOX,
    body_of,
    drained,
    env_of,
    snapshot,
    told,
    with_roblox,
)
from tests.web.serving import PATIENCE_S, Node, eventually, serving

fast = partial(serving, "fast")


def given(cloud: OpenCloudStandIn) -> Counter[int]:
    """How often each user was given a role with success."""
    path = "/cloud/v2/groups/4242/memberships/"
    return Counter(
        int(call.target.removeprefix(path).partition(":")[0])
        for call in cloud.calls
        if call.target.endswith(":assignRole") and call.status == 200
    )


async def promote(node: Node, users: range) -> None:
    """Send snapshots of players who have outgrown their rank; each is answered, and its decision queued."""
    for user_id in users:
        answer = await snapshot(node, user_id, rank="New", rankPoints=150, apply=True)
        assert (answer.status_code, answer.json()["decision"]["apply"]) == (200, True)


async def test_roblox_is_down_for_a_while_and_then_back(tmp_path: Path) -> None:
    users = range(1, 31)
    async with with_roblox(fast, tmp_path) as (node, cloud):
        cloud.down = True
        await promote(node, users)
        await eventually(lambda: told(node).retries >= 1 and told(node).waiting == len(users))
        answer = await node.http.get("/internal/health")
        metrics = (await node.http.get("/metrics")).text
        ranks = {(await node.http.get(f"/players/{user_id}")).json()["rank"] for user_id in users}
        cloud.down = False
        await eventually(lambda: told(node).waiting == 0)
        after = (await node.http.get("/internal/health")).json()["roblox"]
        later = {(await node.http.get(f"/players/{user_id}")).json()["rank"] for user_id in users}

    # The node itself is fit: nobody is to send its requests elsewhere.
    assert (answer.status_code, answer.json()["status"]) == (200, "ok")
    roblox = answer.json()["roblox"]
    assert (roblox["status"], roblox["decisions_waiting"]) == ("degraded", 30)
    assert "503" in roblox["problem"]
    assert "greenroom_decisions_waiting 30.0" in metrics
    assert "greenroom_roblox_up 0.0" in metrics
    assert (ranks, later) == ({"New"}, {"Known"})
    assert (after["status"], after["decisions_waiting"]) == ("ok", 0)
    assert given(cloud) == dict.fromkeys(users, 1)


async def test_a_storm_of_429_is_sat_out(tmp_path: Path) -> None:
    users = range(1, 21)
    async with with_roblox(fast, tmp_path) as (node, cloud):
        cloud.script.extend(problem(429, "RESOURCE_EXHAUSTED", "slow", retry_after_s=1) for _ in range(5))
        await promote(node, users)
        await eventually(lambda: drained(node))

    assert told(node).retries == 5
    assert given(cloud) == dict.fromkeys(users, 1)
    assert cloud.roles == {user_id: {12} for user_id in users}


async def test_two_nodes_on_one_outbox_apply_each_decision_once(
    tmp_path: Path, postgres_server: PostgresServer
) -> None:
    users = range(1, 61)
    spelling = postgres_server.url.replace("postgresql://", "postgresql+asyncpg://")
    async with (
        with_roblox(fast, tmp_path, DATABASE_URL=spelling, NODE_NAME="twins") as (one, cloud),
        fast(
            **env_of(tmp_path) | ROBLOX,
            ROBLOX_API_BASE=one.program.core.automation.settings.roblox_api_base,
            DATABASE_URL=postgres_server.url,
            NODE_NAME="twins",
        ) as two,
    ):
        cloud.delay_s = 0.05
        async with trio.open_nursery() as nursery:
            nursery.start_soon(promote, one, users[::2])
            nursery.start_soon(promote, two, users[1::2])
        await eventually(lambda: told(one).done + told(two).done == len(users))
        await trio.sleep(1.5)  # real time: more looks of both nodes, which find nothing
        seen = {(await two.http.get(f"/players/{user_id}")).json()["rank"] for user_id in users}

        assert min(told(one).done, told(two).done) > 0
        assert told(one).leases_lost + told(two).leases_lost == 0
        assert told(one).waiting == told(two).waiting == 0

    assert given(cloud) == dict.fromkeys(users, 1)
    assert len(cloud.calls) == 3 * len(users)
    assert seen == {"Known"}


class Process:
    """A node in a process of its own, which can be killed."""

    def __init__(self, directory: Path, env: Mapping[str, str]) -> None:
        self.port = free_port()
        self.log = directory / "log"
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "web.cli", "serve"],
                env={"PATH": os.environ["PATH"], "HOST": "127.0.0.1", "PORT": str(self.port), **env},
                stdout=log,
                stderr=log,
            )

    @property
    def client(self) -> httpx.AsyncClient:
        """A client that sends snapshots to be applied."""
        headers = {"x-grps-api-key": KEY, "x-grps-apply": "true"}
        url = f"http://127.0.0.1:{self.port}"
        return httpx.AsyncClient(base_url=url, headers=headers, timeout=PATIENCE_S)

    async def until_up(self) -> None:
        async with self.client as http:

            async def is_up() -> bool:
                try:
                    return (await http.get("/internal/health")).status_code == 200
                except httpx.TransportError:
                    assert self._process.poll() is None, self.log.read_text()
                    return False

            await until_some(is_up)

    async def promote(self, users: range) -> None:
        async with self.client as http:
            for user_id in users:
                answer = await http.post(ACTIVITY, json=body_of(user_id, rank="New", rankPoints=150))
                assert (answer.status_code, answer.json()["decision"]["apply"]) == (200, True)

    def kill(self) -> None:
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()


@asynccontextmanager
async def process(directory: Path, roblox_url: str) -> AsyncIterator[Process]:
    running = Process(directory, env_of(directory) | ROBLOX | {"ROBLOX_API_BASE": roblox_url})
    try:
        await running.until_up()
        yield running
    finally:
        running.kill()


def statuses(directory: Path) -> Counter[str]:
    engine = sa.create_engine(f"sqlite:///{directory / 'greenroom.sqlite3'}")
    with engine.connect() as connection:
        rows = connection.execute(sa.text("SELECT status FROM automation_decisions")).scalars().all()
    engine.dispose()
    return Counter(rows)


async def test_a_process_killed_between_commit_and_roblox_loses_and_doubles_nothing(tmp_path: Path) -> None:
    users, port, cloud = range(1, 21), free_port(), open_cloud.stand_in()
    url = f"http://127.0.0.1:{port}"
    async with process(tmp_path, url) as first:
        await first.promote(users)
        # Most attempts are over by then; a decision claimed in this moment takes 30 s more.
        await trio.sleep(1.2)  # real time: of another process
        first.kill()
    assert statuses(tmp_path) == {"pending": 20}

    async with trio.open_nursery() as nursery:
        await nursery.start(partial(serve, cloud, port=port))
        async with process(tmp_path, url):
            await until(lambda: statuses(tmp_path) == {"done": 20}, within_s=60)
        nursery.cancel_scope.cancel()

    assert given(cloud) == dict.fromkeys(users, 1)
    assert cloud.roles == {user_id: {12} for user_id in users}


@pytest.mark.slow
async def test_processes_killed_at_any_moment_leave_the_rest_to_the_next(tmp_path: Path) -> None:
    """Roblox may hear a request twice here: it had answered, and nobody was left to write that down."""
    cloud, rounds = open_cloud.stand_in(), 4
    cloud.delay_s = 0.1
    async with open_cloud.running(cloud) as url:
        for nth in range(rounds):
            async with process(tmp_path, url) as doomed:
                await doomed.promote(range(nth * 10 + 1, nth * 10 + 11))
                await trio.sleep(0.15 * nth)  # real time: any moment
        async with process(tmp_path, url):
            await until(lambda: statuses(tmp_path) == {"done": rounds * 10}, within_s=90)

    assert cloud.roles == {user_id: {12} for user_id in range(1, rounds * 10 + 1)}
    assert given(cloud).keys() == cloud.roles.keys()
    assert len(cloud.entries) == rounds * 10
