"""The way to the database: which, how durable, how long, and what happens when it does not answer."""

from __future__ import annotations

import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError, IntegrityError
from trio.testing import wait_all_tasks_blocked

from actors.links import Database, LinkDown, Query, normal_url, run_pipeline
from actors.links.database import READERS
from supervision import Backoff
from tests.fakes.life import LoneLife
from tests.fakes.waiting import until
from tests.postgres import PostgresServer

SOON = Backoff(first_s=0.01, factor=2, ceiling_s=0.1, jitter=0.5)


@asynccontextmanager
async def running(url: str, *, timeout_s: float = 5.0) -> AsyncIterator[Database]:
    database = Database(url, timeout_s=timeout_s, ping_every_s=0.1, backoff=SOON)
    life = LoneLife()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(database.run, life)
        await until(lambda: life.starts > 0)
        yield database
        nursery.cancel_scope.cancel()


@pytest.fixture
def file_url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/deep/down/test.sqlite3"


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, file_url: str) -> str:
    if request.param == "sqlite":
        return file_url
    server: PostgresServer = request.getfixturevalue("postgres_server")
    return server.url


def make_table(connection: Connection) -> None:
    connection.execute(text("CREATE TABLE numbers (number integer PRIMARY KEY)"))


def insert(connection: Connection) -> None:
    connection.execute(text("INSERT INTO numbers VALUES (1)"))


def count(connection: Connection) -> int:
    found: int = connection.execute(text("SELECT count(*) FROM numbers")).scalar_one()
    return found


@pytest.mark.parametrize(
    ("given", "normal"),
    [
        ("postgres://u:p@h:5/d", "postgresql+psycopg://u:p@h:5/d"),
        ("postgresql://u@h/d", "postgresql+psycopg://u@h/d"),
        ("postgresql+asyncpg://u@h/d?ssl=require", "postgresql+psycopg://u@h/d?sslmode=require"),
        ("postgresql+psycopg2://u@h/d?sslmode=disable", "postgresql+psycopg://u@h/d?sslmode=disable"),
        ("sqlite:///file.sqlite3", "sqlite:///file.sqlite3"),
        ("sqlite+aiosqlite:////var/lib/file.sqlite3", "sqlite:////var/lib/file.sqlite3"),
    ],
)
def test_all_usual_spellings_are_understood(given: str, normal: str) -> None:
    assert normal_url(given).render_as_string(hide_password=False) == normal


@pytest.mark.parametrize("url", ["mysql://u@h/d", "sqlite://", "sqlite:///:memory:"])
def test_what_cannot_keep_a_promise_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="wanted"):
        normal_url(url)


async def test_what_was_written_can_be_read(url: str) -> None:
    async with running(url) as database:
        await database.write(make_table)
        await database.write(insert)

        assert await database.read(count) == 1


INSERT = text("INSERT INTO numbers VALUES (:number)")
COUNT = text("SELECT count(*) FROM numbers WHERE number < :below")


def insert_and_count(connection: Connection, *numbers: int) -> list[object]:
    steps = [step for n in numbers for step in (Query(INSERT, {"number": n}), Query(COUNT, {"below": 100}))]
    return run_pipeline(connection, *steps)


async def test_statements_of_one_trip_see_what_those_before_them_did(url: str) -> None:
    async with running(url) as database:
        await database.write(make_table)

        assert await database.write(lambda c: insert_and_count(c, 1, 2)) == [None, 1, None, 2]
        assert await database.read(count) == 2


async def test_a_trip_on_which_something_fails_leaves_nothing_and_is_no_outage(url: str) -> None:
    async with running(url) as database:
        await database.write(make_table)

        with pytest.raises(IntegrityError):
            await database.write(lambda c: insert_and_count(c, 1, 1, 2))

        assert database.is_up
        assert await database.write(lambda c: insert_and_count(c, 3)) == [None, 1]


async def test_a_trip_on_a_connection_that_has_gone_is_made_on_a_new_one(
    postgres_server: PostgresServer,
) -> None:
    async with running(postgres_server.url) as database:
        await database.write(make_table)
        end = text(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        assert await database.read(lambda connection: connection.execute(end).scalar_one())

        assert await database.write(lambda c: insert_and_count(c, 1)) == [None, 1]
        assert database.is_up


async def test_a_transaction_that_raises_leaves_nothing(url: str) -> None:
    def fail(connection: Connection) -> None:
        insert(connection)
        raise KeyError("of ours")

    async with running(url) as database:
        await database.write(make_table)
        with pytest.raises(KeyError):
            await database.write(fail)

        assert await database.read(count) == 0


async def test_a_fault_of_ours_is_no_outage(url: str) -> None:
    async with running(url) as database:
        await database.write(make_table)
        await database.write(insert)
        with pytest.raises(IntegrityError):
            await database.write(insert)

        assert database.state.up


async def test_readers_do_not_write(url: str) -> None:
    async with running(url) as database:
        await database.write(make_table)
        with pytest.raises(LinkDown) as caught:
            await database.read(insert)

    assert isinstance(caught.value.cause, DBAPIError)


async def test_sqlite_is_told_to_reach_the_disk(file_url: str) -> None:
    def settings(connection: Connection) -> tuple[object, object]:
        return (
            connection.exec_driver_sql("PRAGMA journal_mode").scalar_one(),
            connection.exec_driver_sql("PRAGMA synchronous").scalar_one(),
        )

    async with running(file_url) as database:
        assert await database.write(settings) == ("wal", 2)


async def test_postgresql_commits_to_disk_even_where_its_default_is_not_to(
    postgres_server: PostgresServer,
) -> None:
    def loosen(connection: Connection) -> None:
        connection.exec_driver_sql("ALTER DATABASE greenroom SET synchronous_commit = off")

    async with running(postgres_server.url) as database:
        await database.write(loosen)
    async with running(postgres_server.url) as database:
        said = await database.write(
            lambda connection: connection.exec_driver_sql("SHOW synchronous_commit").scalar_one()
        )

    assert said == "on"


async def test_a_statement_without_an_end_is_broken_off(file_url: str) -> None:
    endless = text("WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT max(x) FROM n")

    async with running(file_url, timeout_s=0.3) as database:
        start = time.monotonic()
        with pytest.raises(LinkDown):
            await database.write(lambda connection: connection.execute(endless).scalar_one())

        assert time.monotonic() - start < 5
        await database.until_up()
        await database.write(make_table)


async def test_two_transactions_that_wait_for_each_other_both_succeed(
    postgres_server: PostgresServer,
) -> None:
    # Each holds one row before either asks for the other: the server must break one of them off.
    both_hold_one = threading.Barrier(2)
    attempts: list[Database] = []

    async def update(database: Database, first: int, second: int) -> None:
        def both(connection: Connection) -> None:
            attempts.append(database)
            move = text("UPDATE numbers SET number = number + 10 WHERE number % 10 = :number")
            connection.execute(move, {"number": first})
            if attempts.count(database) == 1:
                both_hold_one.wait(10)
            connection.execute(move, {"number": second})

        await database.write(both)

    async with running(postgres_server.url) as one, running(postgres_server.url) as two:
        await one.write(make_table)
        await one.write(lambda connection: connection.execute(text("INSERT INTO numbers VALUES (1), (2)")))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(update, one, 1, 2)
            nursery.start_soon(update, two, 2, 1)
        rows = await one.read(
            lambda connection: list(connection.scalars(text("SELECT number FROM numbers ORDER BY number")))
        )

    assert rows == [21, 22]
    assert len(attempts) == 3


async def test_a_database_that_is_not_there_yet_is_waited_for(postgres_server: PostgresServer) -> None:
    postgres_server.kill()
    async with running(postgres_server.url) as database:
        assert not database.state.up
        with pytest.raises(LinkDown):
            await database.write(make_table)

        await trio.to_thread.run_sync(postgres_server.start)
        with trio.fail_after(10):
            await database.until_up()
        await database.write(make_table)


async def test_giving_up_does_not_wait_for_a_thread(file_url: str) -> None:
    async with running(file_url) as database:
        with trio.move_on_after(0.05) as scope:
            await database.write(lambda _: time.sleep(0.5))  # real time: of a thread
        start = time.monotonic()

        assert scope.cancelled_caught
        # The next one waits for the thread: one at a time.
        await database.write(make_table)
        assert 0.2 < time.monotonic() - start < 2


async def test_who_waits_too_long_for_a_turn_is_refused_and_the_database_is_not_to_blame(
    file_url: str,
) -> None:
    async with running(file_url, timeout_s=0.3) as database, trio.open_nursery() as nursery:
        for _ in range(READERS):
            nursery.start_soon(database.read, lambda _: time.sleep(1))  # real time: of a thread
        await wait_all_tasks_blocked()
        start = time.monotonic()
        with pytest.raises(LinkDown) as caught:
            await database.read(lambda _: None)

        assert caught.value.cause is None
        assert time.monotonic() - start < 0.9
        assert database.state.up


async def test_a_read_queues_where_the_fewest_wait(file_url: str) -> None:
    gate = threading.Event()
    done: list[str] = []

    async def read(database: Database, name: str, function: Callable[[Connection], object]) -> None:
        await database.read(function)
        done.append(name)

    async with running(file_url) as database, trio.open_nursery() as nursery:
        nursery.start_soon(read, database, "slow", lambda _: gate.wait(5))
        await wait_all_tasks_blocked()
        for name in ("first", "second", "third"):
            nursery.start_soon(read, database, name, lambda _: time.sleep(0.1))  # real time: of a thread
            await wait_all_tasks_blocked()
        with trio.fail_after(2):
            await until(lambda: len(done) == 2)
        gate.set()

    # One of the three was unlucky.
    assert "slow" in done[2:]


async def test_a_link_that_cannot_come_back_yet_for_a_thread_that_hangs_tries_again(file_url: str) -> None:
    async with running(file_url, timeout_s=0.2) as database, trio.open_nursery() as nursery:
        nursery.start_soon(database.write, lambda _: time.sleep(1))  # real time: of a thread
        await wait_all_tasks_blocked()
        database.note_outage(database.outages, OSError("on purpose"))

        with trio.fail_after(5):
            await database.until_up()
