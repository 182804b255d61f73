"""Nodes of three are killed under a load of jobs: no job and no match vanishes, none lives twice."""

from __future__ import annotations

import faulthandler
import itertools
import json
import logging
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import pytest
import redis
import trio
from websockets.exceptions import WebSocketException

from dev.phoenix import Disconnected, JoinRefused, phoenix
from tests.engines import RedisServer
from tests.fakes.api_server import serving
from tests.fakes.node import client_of, dead_letters, job
from tests.fakes.waiting import WITHIN_S, until
from tests.faults.cluster import START_S, ServerNode
from tests.faults.match_history import WritingApi, check
from tests.play.running_system import SECRET, token

logger: Final = logging.getLogger(__name__)

NODES: Final = ("one", "two", "three")
PAIRS: Final = 6
# Matches that nobody joins end by themselves: a live one is hit by a kill, and all are over soon after.
JOIN_TIMEOUT_S: Final = 5
# The lease of the last one killed, the deadline of the last match, and a busy machine.
SETTLE_S: Final = 90.0


@dataclass
class Battlefield:
    """Three nodes, their Redis and their API server, jobs and players."""

    directory: Path
    server: RedisServer
    api: WritingApi
    queue: redis.Redis
    rng: random.Random
    jobs_per_s: int
    nodes: dict[str, ServerNode] = field(default_factory=dict)
    up: set[str] = field(default_factory=set)
    finished: int = 0
    stopping: bool = False
    _rooms: itertools.count[int] = field(default_factory=itertools.count)

    def __post_init__(self) -> None:
        extra = {
            "API_BASE_URL": self.api.base_url,
            "JWT_SECRET": SECRET,
            "JOIN_TIMEOUT_SECONDS": str(JOIN_TIMEOUT_S),
        }
        self.nodes = {name: ServerNode(name, self.server.port, self.directory, extra) for name in NODES}

    async def start(self) -> None:
        async with trio.open_nursery() as nursery:
            for name in self.nodes:
                nursery.start_soon(self._start, name)

    async def _start(self, name: str) -> None:
        await self.nodes[name].start()
        self.up.add(name)

    async def kill(self, name: str) -> None:
        self.up.discard(name)
        await self.nodes[name].kill()
        self.api.history.deaths[name].append(trio.current_time())

    async def push_jobs(self) -> None:
        """Jobs of players who never come."""
        while not self.stopping:
            self._push(["u1", "u2"], count=self.jobs_per_s // 10)
            await trio.sleep(0.1)  # real time: the load

    def _push(self, players: list[str], count: int = 1) -> str:
        rooms = [f"room-{next(self._rooms)}" for _ in range(count)]
        self.api.history.pushed += rooms
        self.queue.lpush("room_creation_queue", *[job(room, players=players) for room in rooms])
        return rooms[-1]

    async def play(self, number: int) -> None:
        """Two players who meet in one match after the other, wherever it lives."""
        players = [f"ann-{number}", f"bob-{number}"]
        while not self.stopping:
            room = self._push(players)
            with trio.move_on_after(JOIN_TIMEOUT_S):
                while room not in self.api.hosts:  # noqa: ASYNC110  # thousands of calls would wake it
                    await trio.sleep(0.02)  # real time: of other processes
                try:
                    await self._meet(room, players)
                except* (Disconnected, JoinRefused, WebSocketException, OSError, trio.TooSlowError):
                    pass  # their node has died

    async def _meet(self, room: str, players: list[str]) -> None:
        url = f"http://127.0.0.1:{self.nodes[self.api.hosts[room]].port}"
        ann, bob = (phoenix(url, token=token(player)) for player in players)
        async with ann as first, bob as second:
            seat = await first.join(f"room:{room}")
            await second.join(f"room:{room}")
            await trio.sleep(self.rng.uniform(0, JOIN_TIMEOUT_S / 2))  # real time: they think
            await seat.push("room:leave", {})
            self.finished += 1

    async def kill_at_random(self, times: int, every_s: float) -> None:
        """Kill one node after the other, each comes back while others are killed."""
        async with trio.open_nursery() as nursery:
            for _ in range(times):
                await trio.sleep(self.rng.uniform(0.5, 1.5) * every_s)  # real time: the load
                while not self.up:  # noqa: ASYNC110  # a busy machine
                    await trio.sleep(0.1)  # real time: of other processes
                name = self.rng.choice(sorted(self.up))
                await self.kill(name)
                nursery.start_soon(self._start, name)

    async def settle(self) -> None:
        """Wait until every job and match has come to its end, and Redis knows of none."""
        history = self.api.history
        with trio.move_on_after(SETTLE_S):
            while history.unsettled():
                history.dead |= self._dead()
                await trio.sleep(0.2)  # real time: of other processes
        history.dead |= self._dead()

    def _dead(self) -> set[str]:
        return {json.loads(letter["job"])["room_id"] for letter in dead_letters(self.queue)}

    def note_claims_lost(self) -> None:
        """Read from the logs which matches nodes have ended: a busy machine lets one stand still."""
        for name in self.nodes:
            for line in (self.directory / f"{name}.log").read_text().splitlines():
                if '"match_claim_lost"' in line:
                    self.api.history.stood_still[json.loads(line)["room_id"]].add(name)

    def figures(self) -> dict[str, int]:
        """How much has happened."""
        said = self.api.history.said.values()
        return {
            "jobs": len(self.api.history.pushed),
            "played": self.finished,
            "calls": sum(map(len, said)),
            "begun anew": sum(
                len({each.key for each in calls if each.call == "ready"}) > 1 for calls in said
            ),
            "aborted for the dead": len(self.api.broken),
            "dead letters": len(self.api.history.dead),
        }

    def left(self) -> list[bytes]:
        """Keys of jobs and matches under way."""
        patterns = ("room_creation_queue", "room_creation_queue:processing:*", "greenroom:matches:*")
        return [key for pattern in patterns for key in self.queue.scan_iter(pattern)]


@asynccontextmanager
async def battlefield(
    directory: Path, server: RedisServer, seed: int, jobs_per_s: int
) -> AsyncIterator[Battlefield]:
    async with serving(WritingApi()) as api, client_of(server.url) as queue:
        field_ = Battlefield(directory, server, api, queue, random.Random(seed), jobs_per_s)
        try:
            await field_.start()
            yield field_
        finally:
            for node in field_.nodes.values():
                await node.kill()


@pytest.mark.parametrize(
    ("kills", "every_s", "jobs_per_s"),
    [(3, 4.0, 30), pytest.param(50, 3.0, 100, marks=pytest.mark.slow)],
    ids=["3", "50"],
)
async def test_every_job_and_match_comes_to_one_end_though_nodes_are_killed(
    redis_server: RedisServer, tmp_path: Path, kills: int, every_s: float, jobs_per_s: int
) -> None:
    # Fifty take longer than any other test may.
    faulthandler.dump_traceback_later(START_S + kills * WITHIN_S, exit=True, file=2)
    async with battlefield(tmp_path, redis_server, kills, jobs_per_s) as all_:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(all_.push_jobs)
            for number in range(PAIRS):
                nursery.start_soon(all_.play, number)
            await all_.kill_at_random(kills, every_s)
            all_.stopping = True
        await all_.settle()
        history = all_.api.history
        all_.note_claims_lost()
        assert check(history)[:10] == []
        await until(lambda: not all_.left(), within_s=SETTLE_S)

    assert all_.finished > kills
    logger.info("%s", all_.figures())
