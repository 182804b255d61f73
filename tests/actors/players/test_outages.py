"""The database goes away, fills up, is locked or broken: clear refusals, and nothing acknowledged is lost."""

from __future__ import annotations

import logging
import os
import signal
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
import trio

from actors.links import LinkDown
from actors.players import Account, Entry, Posted, Refused
from tests.actors.players.conftest import ALICE, StatsNode, running
from tests.fakes.waiting import until
from tests.postgres import PostgresServer

UNAVAILABLE = Refused("database_unavailable")


def lock(path: Path) -> sqlite3.Connection:
    """Hold the file as another program would."""
    holder = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    holder.execute("BEGIN IMMEDIATE")
    return holder


@contextmanager
def hanging(server: PostgresServer) -> Iterator[None]:
    """Let all its processes stand still: connections stay open and nothing answers."""
    found = subprocess.run(["ps", "-o", "pid=", "--ppid", str(server.pid)], capture_output=True, check=True)
    processes = [server.pid, *map(int, found.stdout.split())]
    for pid in processes:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in processes:
            os.kill(pid, signal.SIGCONT)


async def test_while_postgresql_is_away_changes_are_refused_at_once_and_go_on_by_themselves(
    postgres_server: PostgresServer,
) -> None:
    async with running(StatsNode(postgres_server.url)) as node:
        await node.players.change(Entry(ALICE, {"exp": 1}, "t-1"))
        postgres_server.kill()

        assert await node.players.change(Entry(ALICE, {"exp": 1}, "t-2")) == UNAVAILABLE
        start = trio.current_time()
        assert await node.players.change(Entry(ALICE, {"exp": 1}, "t-2")) == UNAVAILABLE
        assert trio.current_time() - start < 0.1

        postgres_server.start()
        await node.insist(Entry(ALICE, {"exp": 1}, "t-2"))
        assert await node.total(ALICE) == {"exp": 2}


async def test_a_connection_that_went_stale_while_idle_costs_nobody_a_refusal(
    postgres_server: PostgresServer,
) -> None:
    node = StatsNode(postgres_server.url)
    node.database._ping_every_s = 60  # noqa: SLF001  # so that nobody notices before us
    async with running(node):
        await node.players.change(Entry(ALICE, {"exp": 1}))
        await trio.to_thread.run_sync(postgres_server.stop)
        await trio.to_thread.run_sync(postgres_server.start)

        assert isinstance(await node.players.change(Entry(ALICE, {"exp": 1})), Posted)


async def test_a_postgresql_that_hangs_is_given_up_in_bounded_time(postgres_server: PostgresServer) -> None:
    async with running(StatsNode(postgres_server.url)) as node:
        await node.players.change(Entry(ALICE, {"exp": 1}, "t-1"))
        with hanging(postgres_server):
            with trio.fail_after(5):
                assert await node.players.change(Entry(ALICE, {"exp": 1}, "t-2")) == UNAVAILABLE
            await until(lambda: not node.database.state.up)

        await node.insist(Entry(ALICE, {"exp": 1}, "t-2"))
        assert await node.total(ALICE) == {"exp": 2}


async def test_while_postgresql_hangs_no_read_waits_for_all_the_others(
    postgres_server: PostgresServer,
) -> None:
    async def read(node: StatsNode, steam_id: int) -> None:
        with pytest.raises(LinkDown):
            await node.players.read(steam_id)

    async with running(StatsNode(postgres_server.url)) as node:
        await node.players.read(ALICE)
        with hanging(postgres_server), trio.fail_after(6):
            async with trio.open_nursery() as nursery:
                for number in range(1, 40):
                    nursery.start_soon(read, node, ALICE + number)

        await node.insist(Entry(ALICE, {"exp": 1}, "t-1"))


async def test_players_somebody_asked_about_can_be_read_while_the_database_is_away(
    postgres_server: PostgresServer,
) -> None:
    async with running(StatsNode(postgres_server.url)) as node:
        await node.players.change(Entry(ALICE, {"exp": 1}))
        await node.players.read(ALICE)
        await node.players.change(Entry(ALICE, {"exp": 2}))
        postgres_server.kill()
        await until(lambda: not node.database.state.up)

        assert await node.players.read(ALICE) == Account(2, {"exp": 3})
        with pytest.raises(LinkDown):
            await node.players.read(ALICE + 1)


async def test_a_locked_file_is_a_refusal_and_then_goes_on(sqlite_url: str, tmp_path: Path) -> None:
    async with running(StatsNode(sqlite_url)) as node:
        holder = lock(tmp_path / "stats.sqlite3")

        assert await node.players.change(Entry(ALICE, {"exp": 1}, "t-1")) == UNAVAILABLE

        holder.close()
        await node.insist(Entry(ALICE, {"exp": 1}, "t-1"))
        assert await node.total(ALICE) == {"exp": 1}


async def test_a_full_disk_is_a_refusal_and_loses_nothing(
    sqlite_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with running(StatsNode(sqlite_url)) as node:
        await node.players.change(Entry(ALICE, {"exp": 1}, "t-0"))
        pages = await node.database.write(
            lambda connection: connection.exec_driver_sql("PRAGMA page_count").scalar_one()
        )
        await node.database.write(
            # What SQLite says when the disk is full, and when the file may not grow, is the same.
            lambda connection: connection.exec_driver_sql(f"PRAGMA max_page_count={pages}")
        )
        outcomes = [
            await node.players.change(Entry(ALICE + number, {"exp": 1}, f"t-{number}", "x" * 250))
            for number in range(1, 60)
        ]
        counted = [number for number, outcome in enumerate(outcomes, 1) if isinstance(outcome, Posted)]

        assert UNAVAILABLE in outcomes
    async with running(StatsNode(sqlite_url)) as node:
        for number in range(1, 60):
            expected = {"exp": 1} if number in counted else {}
            assert await node.total(ALICE + number) == expected
    assert any("full" in str(getattr(record, "error", "")) for record in caplog.records)


async def test_a_broken_file_is_said_clearly_and_left_as_it_is(
    sqlite_url: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "stats.sqlite3"
    path.write_bytes(b"this is not a database, but somebody's only copy of something" * 100)
    before = path.read_bytes()

    with caplog.at_level(logging.ERROR, "actors.links"):
        async with running(StatsNode(sqlite_url)) as node:
            assert await node.players.change(Entry(ALICE, {"exp": 1})) == UNAVAILABLE

    assert path.read_bytes() == before
    assert "not a database" in str(caplog.records[0].__dict__["error"])


async def test_a_file_broken_while_in_use_acknowledges_nothing_more(sqlite_url: str, tmp_path: Path) -> None:
    async with running(StatsNode(sqlite_url)) as node:
        await node.players.change(Entry(ALICE, {"exp": 1}))
    path = tmp_path / "stats.sqlite3"
    content = bytearray(path.read_bytes())
    # All but the first page, which names the tables.
    content[4096:] = b"\xa5" * (len(content) - 4096)
    path.write_bytes(content)

    async with running(StatsNode(sqlite_url)) as node:
        assert await node.players.change(Entry(ALICE, {"exp": 1})) == UNAVAILABLE


async def test_a_file_that_was_taken_away_acknowledges_nothing_until_it_is_back(
    sqlite_url: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path, elsewhere = tmp_path / "stats.sqlite3", tmp_path / "elsewhere.sqlite3"
    async with running(StatsNode(sqlite_url)) as node:
        await node.players.change(Entry(ALICE, {"exp": 1}, "t-1"))
        path.rename(elsewhere)
        with trio.fail_after(5):
            await until(lambda: not node.database.state.up)

        for _ in range(3):
            assert await node.players.change(Entry(ALICE, {"exp": 1}, "t-2")) == UNAVAILABLE
            await trio.sleep(0.1)  # real time: attempts to open the file, which are counted nowhere
        assert not path.exists()

        elsewhere.rename(path)
        await node.insist(Entry(ALICE, {"exp": 1}, "t-2"))
        assert await node.total(ALICE) == {"exp": 2}
    assert "removed or replaced" in str(caplog.records[0].__dict__["error"])


def _remove(path: Path) -> None:
    path.unlink()


def _exchange(path: Path) -> None:
    other = path.with_suffix(".other")
    other.write_bytes(path.read_bytes())
    other.rename(path)


def _move_directory(path: Path) -> None:
    path.parent.rename(path.parent.with_name("moved"))


def _remove_log(path: Path) -> None:
    path.with_name(path.name + "-wal").unlink()


def _exchange_log(path: Path) -> None:
    _exchange(path.with_name(path.name + "-wal"))


@pytest.mark.parametrize("take", [_remove, _exchange, _move_directory, _remove_log, _exchange_log])
async def test_nothing_is_acknowledged_once_the_file_has_gone(
    tmp_path: Path, take: Callable[[Path], None]
) -> None:
    (tmp_path / "data").mkdir()
    path = tmp_path / "data" / "stats.sqlite3"
    async with running(StatsNode(f"sqlite:///{path}", ping_every_s=3600)) as node:
        await node.players.change(Entry(ALICE, {"exp": 1}, "t-1"))
        take(path)

        assert await node.players.change(Entry(ALICE, {"exp": 1}, "t-2")) == UNAVAILABLE
        assert "removed or replaced" in str(node.database.problem)
        with pytest.raises(LinkDown):
            await node.players.history(ALICE, limit=1)


async def test_a_log_taken_away_is_written_into_the_file_by_an_orderly_stop(
    sqlite_url: str, tmp_path: Path
) -> None:
    async with running(StatsNode(sqlite_url)) as node:
        await node.players.change(Entry(ALICE, {"exp": 1}, "t-1"))
        _remove_log(tmp_path / "stats.sqlite3")
        assert await node.players.change(Entry(ALICE, {"exp": 1}, "t-2")) == UNAVAILABLE

    async with running(StatsNode(sqlite_url)) as node:
        assert (await node.total(ALICE))["exp"] in {1, 2}
        await node.insist(Entry(ALICE, {"exp": 1}, "t-2"))
        assert await node.total(ALICE) == {"exp": 2}


async def test_a_log_that_sqlite_itself_has_replaced_is_no_fault(sqlite_url: str) -> None:
    async with running(StatsNode(sqlite_url)) as node:
        await node.players.change(Entry(ALICE, {"exp": 1}, "t-1"))
        node.database.close_connections()
        node.database.note_outage(node.database.outages, OSError("a test"))
        await node.insist(Entry(ALICE, {"exp": 1}, "t-2"))
        assert await node.total(ALICE) == {"exp": 2}


async def test_a_file_put_in_place_of_another_is_left_alone(sqlite_url: str, tmp_path: Path) -> None:
    path, backup = tmp_path / "stats.sqlite3", tmp_path / "backup.sqlite3"
    async with running(StatsNode(sqlite_url)) as node:
        await node.players.change(Entry(ALICE, {"exp": 1}, "t-1"))
        with closing(sqlite3.connect(path)) as source, closing(sqlite3.connect(backup)) as target:
            source.backup(target)
        before = backup.read_bytes()

        backup.rename(path)
        with trio.fail_after(5):
            await until(lambda: not node.database.state.up)
        for _ in range(3):
            assert await node.players.change(Entry(ALICE, {"exp": 1}, "t-2")) == UNAVAILABLE
            await trio.sleep(0.1)  # real time: attempts to open the file, which are counted nowhere
    assert path.read_bytes() == before


async def test_no_password_reaches_the_log(caplog: pytest.LogCaptureFixture) -> None:
    async with running(StatsNode("postgresql://somebody:hunter2@127.0.0.1:1/nowhere")) as node:
        assert await node.players.change(Entry(ALICE, {"exp": 1})) == UNAVAILABLE

    assert caplog.records
    assert "hunter2" not in " ".join(str(record.__dict__) for record in caplog.records)
