"""Game servers post while all under them is killed at random: nothing is lost, nothing counts twice."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest
import trio

from greenroom_client.on_trio import Post, TrioGameServer, http_post
from greenroom_client.policy import Answer, Policy
from tests.engines import free_port, wait_until_accepting
from tests.postgres import PostgresServer

ROOT = Path(__file__).resolve().parents[2]
FIRST = 76_561_197_960_265_729
PLAYERS = [str(FIRST + number) for number in range(12)]
SERVERS = 6
TOKEN = "between-us"
# The policy game servers are told to follow, some hundred times as fast.
QUICK = Policy(every_s=0.02, first_pause_s=0.01, longest_pause_s=0.3)
SETTLE_S = 60.0


@dataclass
class ServerProcess:
    """`greenroom serve`, as a process that may be killed and started again on the same port."""

    directory: Path
    environment: dict[str, str]
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        log = self.directory / f"server-{self.port}.log"
        settings = {
            "HOST": "127.0.0.1",
            "PORT": str(self.port),
            "DATA_DIR": str(self.directory),
            "GAME_SERVER_TOKENS": TOKEN,
            "PYTHONPATH": str(ROOT),
        }
        with log.open("ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "web.cli", "serve"],
                env={**os.environ, **settings, **self.environment},
                cwd=self.directory,
                stdout=output,
                stderr=output,
            )
        wait_until_accepting(self.port, self.process, log)

    def kill(self) -> None:
        process, self.process = self.process, None
        if process is not None:
            process.send_signal(signal.SIGKILL)
            process.wait()


@asynccontextmanager
async def serving(*servers: ServerProcess) -> AsyncIterator[None]:
    try:
        for server in servers:
            await trio.to_thread.run_sync(server.start)
        yield
    finally:
        for server in servers:
            server.kill()


class Season:
    """Several game servers, and what their players have really earned."""

    def __init__(self, posts: list[Post], seed: int) -> None:
        self.rng = random.Random(seed)
        self.earned: dict[str, Counter[str]] = {player: Counter() for player in PLAYERS}
        self.servers = [
            TrioGameServer(
                self._somewhere(posts), server_id=f"srv{nth}", policy=QUICK, on_refused=self._refused
            )
            for nth in range(SERVERS)
        ]

    def _somewhere(self, posts: list[Post]) -> Post:
        async def post(player: str, body: bytes) -> Answer:
            answer = await self.rng.choice(posts)(player, body)
            # What it asks for is meant for servers that are not in such a hurry.
            return answer._replace(retry_after_s=0.0)

        return post

    @staticmethod
    def _refused(player: str, status: int, answer: bytes) -> None:
        raise AssertionError(f"{player}: {status} {answer!r}")

    async def play(self) -> None:
        """Earn and send for ever."""
        async with trio.open_nursery() as nursery:
            for server in self.servers:
                nursery.start_soon(server.run)
                nursery.start_soon(self._earn, server)

    async def _earn(self, server: TrioGameServer) -> None:
        while True:
            player = self.rng.choice(PLAYERS)
            deltas = {"exp": self.rng.randint(-50, 100), "pills": self.rng.randint(0, 3)}
            self.earned[player].update(deltas)
            server.earn(player, deltas)
            if self.rng.random() < 0.1:
                await server.disconnect(player)
            await trio.sleep(self.rng.uniform(0, 0.01))  # real time: the load

    async def end(self) -> None:
        """Send and repeat until all is acknowledged."""
        with trio.fail_after(SETTLE_S):
            async with trio.open_nursery() as nursery:
                for server in self.servers:
                    nursery.start_soon(server.settle)


async def totals_of(client: httpx.AsyncClient, url: str) -> dict[str, dict[str, int]]:
    found = {}
    for player in PLAYERS:
        stats = (await client.get(f"{url}/players/{player}/stats")).json()["stats"]
        found[player] = {stat: stats[stat] for stat in ("exp", "pills")}
    return found


async def survive(urls: list[str], kills: int, kill: Callable[[], Awaitable[None]], seed: int) -> None:
    """Play while `kill` is done again and again, then compare what counted with what was earned."""
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(timeout=5.0, limits=limits) as client:
        season = Season([http_post(client, url, TOKEN) for url in urls], seed)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(season.play)
            for _ in range(kills):
                await trio.sleep(season.rng.uniform(0.05, 0.4))  # real time: any moment
                await kill()
            nursery.cancel_scope.cancel()
        await season.end()

        assert sum(server.acknowledged for server in season.servers) > kills
        assert sum(server.repeats for server in season.servers) > 0
        expected = {player: dict(earned) for player, earned in season.earned.items()}
        for url in urls:
            assert await totals_of(client, url) == expected


# A few always; a hundred by night, in parts that each end well before a test counts as hung.
BY_NIGHT = [pytest.param(20, seed, marks=pytest.mark.slow) for seed in range(1, 6)]
many = pytest.mark.parametrize(("kills", "seed"), [(2, 0), *BY_NIGHT])


@many
async def test_killing_the_server_loses_and_doubles_nothing(kills: int, seed: int, tmp_path: Path) -> None:
    server = ServerProcess(tmp_path, {"DATABASE_URL": ""})

    async def kill() -> None:
        await trio.to_thread.run_sync(server.kill)
        await trio.to_thread.run_sync(server.start)

    async with serving(server):
        await survive([server.url], kills, kill, seed=seed)


@many
async def test_killing_postgresql_loses_and_doubles_nothing(
    kills: int, seed: int, tmp_path: Path, postgres_server: PostgresServer
) -> None:
    server = ServerProcess(tmp_path, {"DATABASE_URL": postgres_server.url})

    async def kill() -> None:
        await trio.to_thread.run_sync(postgres_server.kill)
        await trio.to_thread.run_sync(postgres_server.start)

    async with serving(server):
        await survive([server.url], kills, kill, seed=seed)


@many
async def test_killing_nodes_loses_and_doubles_nothing_when_repeats_go_to_another(
    kills: int, seed: int, tmp_path: Path, postgres_server: PostgresServer
) -> None:
    nodes = [ServerProcess(tmp_path, {"DATABASE_URL": postgres_server.url}) for _ in range(2)]
    turns = iter(range(kills))

    async def kill() -> None:
        node = nodes[next(turns) % 2]
        await trio.to_thread.run_sync(node.kill)
        await trio.to_thread.run_sync(node.start)

    async with serving(*nodes):
        await survive([node.url for node in nodes], kills, kill, seed=seed)
