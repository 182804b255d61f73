"""Players' tasks: made on demand, gone when idle, never in the way."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import trio
import trio.lowlevel
from sqlalchemy import Connection, func, insert, select, update

from actors.automation.batch import Recorded
from actors.automation.outbox import forget_settled
from actors.automation.recorder import NotRecorded
from actors.automation.roblox_players import RobloxPlayers
from actors.automation.tables import automation_decisions, metadata, player_snapshots
from actors.automation.transactions import forget_snapshots
from actors.core import Audiences, Registry
from actors.links import Database, Expiry, RetentionSweeper, WallClock
from actors.links.retention import retention_clock
from supervision import ChildSpec, ChildType, Supervisor
from tests.actors.automation.people import NOW, context, entry
from tests.fakes.waiting import until


def _prepare(connection: Connection) -> None:
    metadata.create_all(connection)
    retention_clock.create(connection, checkfirst=True)


class Setting:
    """Roblox players with a real database."""

    def __init__(self, directory: Path, **options: float) -> None:
        url = f"sqlite:///{directory / 'file.sqlite3'}"
        self.database = Database(url, prepare=_prepare)
        self.registry = Registry(Audiences(max_members=10, max_members_per_topic=10))
        self.queued = 0
        self.roblox_players = RobloxPlayers(
            self.database,
            self.registry,
            context=context,
            on_queued=self._note,
            max_active=int(options.get("max_active", 100)),
            idle_s=options.get("idle_s", 60),
        )
        self.root = Supervisor(
            [
                ChildSpec(id="registry", start=self.registry.run),
                ChildSpec(id="roblox_players", start=self.roblox_players.run, type=ChildType.SUPERVISOR),
                ChildSpec(id="database", start=self.database.run),
                ChildSpec(id="recorder", start=self.roblox_players.recorder.run),
            ]
        )

    def _note(self) -> None:
        self.queued += 1


@asynccontextmanager
async def running(directory: Path, **options: float) -> AsyncIterator[Setting]:
    setting = Setting(directory, **options)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(setting.root.run)
        await setting.database.until_up()
        yield setting
        setting.root.stop()


async def test_a_player_becomes_active_with_a_snapshot_and_retires_when_idle(tmp_path: Path) -> None:
    async with running(tmp_path, idle_s=0.1) as setting:
        await setting.roblox_players.record(entry(userId=5))
        assert setting.registry.whereis(("roblox", 5)) is not None
        assert setting.roblox_players.statistics().active == 1
        await until(lambda: setting.roblox_players.statistics().active == 0)

        assert setting.registry.whereis(("roblox", 5)) is None
        player = await setting.roblox_players.read(5)
        assert player is not None
        assert player.user_id == 5


async def test_a_read_of_nobody_makes_nobody_active(tmp_path: Path) -> None:
    async with running(tmp_path) as setting:
        assert await setting.roblox_players.read(5) is None
        assert setting.roblox_players.statistics().active == 0


async def test_past_the_limit_players_go_without_a_task(tmp_path: Path) -> None:
    async with running(tmp_path, max_active=2) as setting:
        answers = [await setting.roblox_players.record(entry(userId=user_id)) for user_id in range(1, 6)]
        statistics = setting.roblox_players.statistics()

    assert [type(answer) for answer in answers] == [Recorded] * 5
    assert (statistics.active, statistics.without_task) == (2, 3)


async def test_a_player_that_crashes_comes_back(tmp_path: Path) -> None:
    async with running(tmp_path) as setting:
        await setting.roblox_players.record(entry(userId=5, kos=1))
        setting.roblox_players.supervisor.kill_child(5, "a test")
        await trio.lowlevel.checkpoint()
        answer = await setting.roblox_players.record(entry(userId=5, kos=2))

    assert isinstance(answer, Recorded)
    assert answer.player.kos == 2


async def test_what_was_queued_is_told_once_a_transaction(tmp_path: Path) -> None:
    async with running(tmp_path) as setting:
        await setting.roblox_players.record(entry(userId=5, rank="New", rankPoints=150, apply=True))
        await setting.roblox_players.record(entry(userId=5, rank="New", rankPoints=150, apply=True))

    assert setting.queued == 1


async def test_without_a_database_everybody_is_told_at_once(tmp_path: Path) -> None:
    setting = Setting(tmp_path)
    assert await setting.roblox_players.record(entry()) is NotRecorded.UNAVAILABLE


def _age(connection: Connection) -> None:
    """Make half of everything a hundred days old, and all decisions but two settled."""
    old = NOW - timedelta(days=100)
    connection.execute(update(player_snapshots).where(player_snapshots.c.id <= 30).values(created_at=old))
    decisions = automation_decisions
    connection.execute(update(decisions).where(decisions.c.id > 2).values(status="done"))
    connection.execute(update(decisions).where(decisions.c.id <= 30).values(updated_at=old))


def _count_a_year(connection: Connection) -> None:
    """Note what a year of running would have: the time of day once a day."""
    day_ms, now_ms = 86_400_000, round(NOW.timestamp() * 1000)
    days = [
        {"started_ms": day * day_ms, "elapsed_ms": day * day_ms, "lowest_ms": now_ms - (365 - day) * day_ms}
        for day in range(1, 366)
    ]
    connection.execute(insert(retention_clock), days)


def _left(connection: Connection) -> tuple[int, int]:
    counts = [
        connection.execute(select(func.count()).select_from(table)).scalar_one()
        for table in (player_snapshots, automation_decisions)
    ]
    return counts[0], counts[1]


async def test_old_history_goes_and_what_is_pending_stays(tmp_path: Path) -> None:
    async with running(tmp_path) as setting:
        for user_id in range(1, 61):
            await setting.roblox_players.record(entry(userId=user_id, rank="New", rankPoints=150, apply=True))
        await setting.database.write(_age)
        day_s = 86_400.0
        retention = RetentionSweeper(
            setting.database,
            [Expiry(90 * day_s, forget_snapshots), Expiry(30 * day_s, forget_settled)],
            clock=WallClock(NOW.timestamp),
            rows=7,
            pause_s=0,
            steady=lambda: 0.0,
        )
        await retention.sweep()
        assert await setting.database.read(_left) == (60, 60)
        await setting.database.write(_count_a_year)
        await retention.sweep()
        assert await setting.database.read(_left) == (30, 32)
        assert retention.forgotten == 58
