"""Players with their database, ledger and registry running."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import trio
from sqlalchemy import Connection

from actors.core import Audiences, Event, Registry
from actors.links import Database, DatabaseChannel, Expiry, Limits, RetentionSweeper, WallClock
from actors.players import CHANNEL, Account, Entry, News, Players, Posted, Rules, forget_old
from supervision import Backoff, ChildSpec, ChildType, Supervisor
from tests.fakes.life import LoneLife
from tests.fakes.waiting import until
from tests.postgres import PostgresServer
from web.handlers.sse import sse
from web.migrations import migrate

FINAL = ("transaction_mismatch", "insufficient", "overflow")
STATS = ("exp", "cash", "pills")
SOON = Backoff(first_s=0.01, factor=2, ceiling_s=0.1, jitter=0.5)
ALICE, BOB, CARA = (76_561_197_960_265_729 + number for number in range(3))


class Listener:
    """A member that keeps what it was offered."""

    def __init__(self) -> None:
        self.seq = 0
        self.got: list[bytes] = []
        self.news = trio.Event()

    def offer(self, event: Event) -> None:
        if event.seq > self.seq:
            self.seq = event.seq
            self.got.append(sse(event))
            self.news.set()

    def close(self, reason: str) -> None:
        self.got.append(reason.encode())

    async def until(self, part: bytes) -> None:
        """Wait for an event with this in it."""
        while not any(part in frame for frame in self.got):
            self.news = trio.Event()
            await self.news.wait()


def prepare(connection: Connection) -> None:
    migrate(connection)


@dataclass
class StatsNode:
    """One node, as far as stats go."""

    url: str
    origin: str = "node-a"
    idle_s: float = 60.0
    max_active: int = 1000
    timeout_s: float = 10.0
    ping_every_s: float = 0.2
    listen_url: str | None = None
    clock: Callable[[], float] = time.time
    # What the sweeper takes for the time that has passed.
    steady_s: float = 0.0
    database: Database = field(init=False)
    registry: Registry = field(init=False)
    players: Players = field(init=False)
    tree: Supervisor = field(init=False)

    def __post_init__(self) -> None:
        limits = Limits(connect_s=2, statement_s=2, lock_s=0.2)
        self.database = Database(
            self.url,
            prepare=prepare,
            limits=limits,
            timeout_s=1.0,
            ping_every_s=self.ping_every_s,
            backoff=SOON,
        )
        self.registry = Registry(Audiences(max_members=100))
        rules = Rules(non_negative=frozenset(("cash", "pills")), origin=self.origin)
        wall = WallClock(self.clock)
        self.players = Players(
            self.database,
            self.registry,
            rules,
            stats=STATS,
            idle_s=self.idle_s,
            max_active=self.max_active,
            timeout_s=self.timeout_s,
            clock=wall,
        )
        expiry = Expiry(100, forget_old)
        self.sweeper = RetentionSweeper(
            self.database, [expiry], clock=wall, interval_s=1, steady=lambda: self.steady_s
        )
        self.tree = Supervisor(self._children(), max_restarts=None, backoff=SOON)

    def _children(self) -> list[ChildSpec]:
        children = [
            ChildSpec(id="registry", start=self.registry.run),
            ChildSpec(id="players", start=self.players.run, type=ChildType.SUPERVISOR),
            ChildSpec(id="database", start=self.database.run),
            ChildSpec(id="ledger", start=self.players.ledger.run, shutdown_s=5),
        ]
        if not self.database.is_sqlite:
            channel = DatabaseChannel(self.database, CHANNEL, url=self.listen_url, wait_s=0.05)
            self.news = News(self.database, channel, self.players, origin=self.origin)
            children.append(ChildSpec(id="news", start=self.news.run))
        return children

    async def insist(self, entry: Entry) -> Posted:
        """Do as a game server does: ask again until it is counted."""
        with trio.fail_after(20):
            while True:
                outcome = await self.players.change(entry)
                if isinstance(outcome, Posted):
                    return outcome
                assert outcome.code not in FINAL, outcome
                await trio.sleep(0.01)  # real time: the database comes back

    async def total(self, steam_id: int) -> dict[str, int]:
        account = await self.players.read(steam_id)
        return {} if account is None else dict(account.totals)

    async def watch(self, steam_id: int) -> tuple[Listener, Account]:
        """Listen to a player from now on."""
        assert await self.players.prepare(steam_id) is None
        listener = Listener()
        joined = self.players.join(steam_id, listener)
        assert joined is not None
        account, event = joined
        listener.seq = event.seq
        return listener, account


@asynccontextmanager
async def running(node: StatsNode) -> AsyncIterator[StatsNode]:
    """Run a node for as long as the block lasts, and end it in order."""
    life = LoneLife()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(node.tree.run, life)
        with trio.fail_after(20):
            await until(lambda: life.starts > 0)
        yield node
        node.tree.stop()


OpenHouse = Callable[..., AbstractAsyncContextManager[StatsNode]]


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/stats.sqlite3"


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, sqlite_url: str) -> str:
    """A fresh database of either kind."""
    if request.param == "sqlite":
        return sqlite_url
    server: PostgresServer = request.getfixturevalue("postgres_server")
    return server.url


@pytest.fixture
async def node(url: str) -> AsyncIterator[StatsNode]:
    """A node on a fresh database of either kind."""
    async with running(StatsNode(url)) as made:
        yield made
