"""The database's history: every step keeps what is there, and ends where the code expects it."""

from __future__ import annotations

import logging
import os
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Engine, MetaData, inspect, text

from actors.automation.tables import metadata as automation
from actors.links import Limits, Unprepared, make_engine, normal_url
from actors.links.retention import metadata as retention
from actors.players.tables import metadata as players
from tests.postgres import PostgresServer
from web.migrations import VERSION_TABLE, migrate

# A file as the first release of the ledger left it, with two players in it.
OLD_FILE = Path(__file__).with_name("ledger_0001.sql")
NEWEST = "0007, ledger_0002"


@pytest.fixture(params=["sqlite", "postgresql"])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    url = f"sqlite:///{tmp_path}/test.sqlite3"
    if request.param == "postgresql":
        server: PostgresServer = request.getfixturevalue("postgres_server")
        url = server.url
    made = make_engine(normal_url(url), Limits(), writes=True)
    yield made
    made.dispose()


def everything() -> MetaData:
    merged = MetaData()
    for source in (players, automation, retention):
        for table in source.tables.values():
            table.to_metadata(merged)
    return merged


def test_the_history_ends_where_the_code_expects_it(engine: Engine) -> None:
    with engine.begin() as connection:
        migrate(connection)
    with engine.connect() as connection:
        # Type comparison included; the table of versions is no business of ours.
        options = {"version_table": VERSION_TABLE, "compare_type": True}
        context = MigrationContext.configure(connection, opts=options)
        assert compare_metadata(context, everything()) == []


def test_migrating_again_changes_nothing(engine: Engine) -> None:
    for _ in range(2):
        with engine.begin() as connection:
            assert migrate(connection) == (NEWEST, {})


def test_of_a_part_all_of_it_happens_or_nothing_and_the_other_goes_on(engine: Engine) -> None:
    with engine.begin() as connection:
        migrate(connection, "0001")
        # In the way of the next step's last table.
        connection.execute(text("CREATE TABLE automation_decisions (id integer)"))

    with engine.begin() as connection:
        version, problems = migrate(connection)

    assert (version, list(problems)) == ("ledger_0002", ["automation"])
    assert "automation_decisions" in problems["automation"]
    with engine.begin() as connection:
        assert not inspect(connection).has_table("players")
        assert inspect(connection).has_table("retention_clock")
        connection.execute(text("DROP TABLE automation_decisions"))
        assert migrate(connection) == (NEWEST, {})


def test_ranks_known_before_an_upgrade_count_as_reported(engine: Engine) -> None:
    with engine.begin() as connection:
        migrate(connection, "0002")
        for user_id, known, left in ((1, True, None), (2, True, "New"), (3, False, None)):
            connection.execute(
                text(
                    "INSERT INTO players (user_id, username, rank, created_at, last_synced_at, updated_at) "
                    "VALUES (:id, 'a', 'Known', CURRENT_TIMESTAMP, CURRENT_TIMESTAMP, CURRENT_TIMESTAMP)"
                ),
                {"id": user_id},
            )
            connection.execute(
                text("INSERT INTO player_sync (user_id, rank_known, left_rank) VALUES (:id, :known, :left)"),
                {"id": user_id, "known": known, "left": left},
            )

    with engine.begin() as connection:
        migrate(connection)

    with engine.connect() as connection:
        found = connection.execute(text("SELECT user_id, reported_rank FROM player_sync ORDER BY user_id"))
        assert [tuple(row) for row in found] == [(1, "Known"), (2, "New"), (3, None)]


def test_a_newer_database_is_left_alone(engine: Engine) -> None:
    with engine.begin() as connection:
        migrate(connection)
        newer = "UPDATE greenroom_schema SET version_num = '9999' WHERE version_num = '0007'"
        connection.execute(text(newer))

    with pytest.raises(Unprepared, match="9999"), engine.begin() as connection:
        migrate(connection)


def test_nodes_that_start_together_take_turns(engine: Engine) -> None:
    faults: list[BaseException] = []

    def start() -> None:
        try:
            with engine.begin() as connection:
                migrate(connection)
        except BaseException as error:  # noqa: BLE001 - of another thread
            faults.append(error)

    threads = [threading.Thread(target=start) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert faults == []


def test_the_program_takes_an_old_file_and_keeps_what_is_in_it(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "greenroom.sqlite3") as connection:
        connection.executescript(OLD_FILE.read_text())
    connection.close()

    result = migrate_command(tmp_path)

    assert (result.returncode, result.stdout) == (0, f"the database is of version {NEWEST}\n")
    connection = sqlite3.connect(tmp_path / "greenroom.sqlite3")
    assert connection.execute("SELECT totals FROM player_stats ORDER BY steam_id").fetchall() == [
        ('{"exp":250,"cash":100}',),
        ('{"exp":9007199254740993}',),
    ]
    assert connection.execute("SELECT count(*) FROM ledger").fetchone() == (3,)
    connection.close()


def test_the_command_says_in_one_line_what_is_wrong(tmp_path: Path) -> None:
    result = migrate_command(tmp_path, DATABASE_URL="postgres://u:hunter2@127.0.0.1:1/x")

    assert result.returncode == 1
    assert result.stderr.startswith("greenroom: ")
    assert len(result.stderr.splitlines()) == 1
    assert "hunter2" not in result.stderr


def migrate_command(directory: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "web.cli", "migrate"],
        env={**os.environ, "DATA_DIR": str(directory), "DATABASE_URL": "", **environment},
        check=False,
        capture_output=True,
        text=True,
    )


def test_the_log_has_one_line_for_it(engine: Engine, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO), engine.begin() as connection:
        migrate(connection)

    assert [record.message for record in caplog.records] == ["database_migrated"]
