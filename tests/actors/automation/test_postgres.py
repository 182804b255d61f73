"""What only PostgreSQL can show: the catalog that migrations leave, and nodes that write at once."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import Engine, select, text
from sqlalchemy.exc import IntegrityError

from actors.automation import outbox
from actors.automation.tables import metadata, players
from actors.automation.transactions import record_snapshots
from tests.actors.automation.people import NOW, context, entry
from web.migrations import migrate

PLAYERS = {
    "user_id": "bigint",
    "username": "character varying(64)",
    "display_name": "character varying(64)",
    "rank": "character varying(64)",
    "previous_rank": "character varying(64)",
    "next_rank": "character varying(64)",
    "rank_points": "integer",
    "kos": "integer",
    "wos": "integer",
    "warnings": "integer",
    "recommendations": "integer",
    "privileged": "boolean",
    "punishment_status": "character varying(64)",
    "punishment_expires_at": "timestamp with time zone",
    "metadata": "json",
    "created_at": "timestamp with time zone",
    "last_synced_at": "timestamp with time zone",
    "updated_at": "timestamp with time zone",
}
SNAPSHOTS = {
    "id": "bigint",
    "user_id": "bigint",
    "payload": "json",
    "source": "character varying(32)",
    "experience_key": "character varying(128)",
    "actor_user_id": "bigint",
    "created_at": "timestamp with time zone",
}

DEFAULTS = {
    "players": {
        **dict.fromkeys(("rank_points", "kos", "wos", "warnings", "recommendations"), "0"),
        "privileged": "false",
    },
    "player_snapshots": {
        "id": "nextval('player_snapshots_id_seq'::regclass)",
        "source": "'roblox'::character varying",
    },
}


@pytest.fixture
def database(postgres_engine: Engine) -> Engine:
    metadata.drop_all(postgres_engine)
    metadata.create_all(postgres_engine)
    return postgres_engine


@pytest.fixture
def migrated(postgres_engine: Engine) -> Iterator[Engine]:
    """The database as a node makes it; empty again for others."""
    empty = text("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
    with postgres_engine.begin() as connection:
        connection.execute(empty)
        migrate(connection)
    yield postgres_engine
    with postgres_engine.begin() as connection:
        connection.execute(empty)


Catalog = dict[str, list[tuple[str, ...]]]


def _columns(engine: Engine) -> Catalog:
    """Name, type, default and whether it must be there, of each column of each of our tables."""
    query = (
        "SELECT attname, format_type(atttypid, atttypmod), pg_get_expr(adbin, adrelid), attnotnull "
        "FROM pg_attribute LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum "
        "WHERE attrelid = CAST(:table AS regclass) AND attnum > 0 ORDER BY attname"
    )
    return _asked(engine, query)


def _indexes(engine: Engine) -> Catalog:
    query = "SELECT indexdef FROM pg_indexes WHERE tablename = :table ORDER BY indexname"
    return _asked(engine, query)


def _asked(engine: Engine, query: str) -> Catalog:
    with engine.connect() as connection:
        return {
            name: [tuple(row) for row in connection.execute(text(query), {"table": name})]
            for name in metadata.tables
        }


@pytest.mark.parametrize(("table", "promised"), [("players", PLAYERS), ("player_snapshots", SNAPSHOTS)])
def test_the_catalog_shows_the_promised_types_and_defaults(
    migrated: Engine, table: str, promised: dict[str, str]
) -> None:
    columns = _columns(migrated)[table]

    assert {name: kind for name, kind, *_ in columns} == promised
    assert {name: default for name, _, default, _ in columns if default} == DEFAULTS[table]


def test_the_catalog_shows_the_promised_indexes(migrated: Engine) -> None:
    found = {
        table: {definition.partition(" USING ")[2] for (definition,) in rows}
        for table, rows in _indexes(migrated).items()
    }

    assert found["players"] >= {"btree (user_id)", "btree (rank_points, kos, wos)"}
    assert found["player_snapshots"] == {"btree (id)", "btree (user_id)"}


def test_migrations_leave_what_the_code_would_make(migrated: Engine) -> None:
    found = _columns(migrated), _indexes(migrated)
    metadata.drop_all(migrated)
    metadata.create_all(migrated)

    assert found == (_columns(migrated), _indexes(migrated))


def test_a_player_without_an_id_is_refused(migrated: Engine) -> None:
    nobody = text("INSERT INTO player_sync (rank_known) VALUES (false)")
    with pytest.raises(IntegrityError, match="user_id"), migrated.begin() as connection:
        connection.execute(nobody)
    with migrated.connect() as connection:
        sequences = connection.execute(text("SELECT sequencename FROM pg_sequences")).scalars().all()
        assert not [name for name in sequences if "user_id" in name]


def test_the_source_of_a_snapshot_is_roblox_unless_said_otherwise(database: Engine) -> None:
    with database.begin() as connection:
        connection.execute(
            text("INSERT INTO player_snapshots (user_id, payload, created_at) VALUES (1, '{}', now())")
        )
        assert connection.execute(text("SELECT source FROM player_snapshots")).scalar() == "roblox"


def test_nodes_that_claim_at_once_share_the_outbox_without_overlap(database: Engine) -> None:
    entries = [entry(userId=user, rank="New", rankPoints=150, apply=True) for user in range(1, 201)]
    with database.begin() as connection:
        record_snapshots(connection, entries, context())

    def relay(owner: str) -> list[int]:
        mine: list[int] = []
        while True:
            with database.begin() as connection:
                jobs = outbox.claim_decisions(connection, owner=owner, limit=7, now=NOW)
            if not jobs:
                return mine
            assert len(jobs) <= 7
            mine += [job.user_id for job in jobs]

    with ThreadPoolExecutor(4) as nodes:
        claimed = [user for users in nodes.map(relay, ["a", "b", "c", "d"]) for user in users]

    # A claimer may find every due row held by others for the moment and stop; the rest is still there.
    assert len(claimed) == len(set(claimed))
    assert sorted(claimed + relay("late")) == list(range(1, 201))


def test_rows_another_node_is_claiming_are_passed_over(database: Engine) -> None:
    entries = [entry(userId=user, rank="New", rankPoints=150, apply=True) for user in (1, 2, 3)]
    with database.begin() as connection:
        record_snapshots(connection, entries, context())

    with database.begin() as one, database.begin() as two:
        first = outbox.claim_decisions(one, owner="one", limit=2, now=NOW)
        second = outbox.claim_decisions(two, owner="two", limit=2, now=NOW)

    assert [job.user_id for job in first] == [1, 2]
    assert [job.user_id for job in second] == [3]


def test_nodes_recording_the_same_players_take_turns_and_lose_nothing(database: Engine) -> None:
    def record(node: int) -> None:
        for kos in range(10):
            users = [1, 2, 3] if node % 2 else [3, 2, 1]
            captured = f"2026-03-01T11:00:{kos:02}Z"
            entries = [entry(userId=user, kos=kos, wos=node, capturedAt=captured) for user in users]
            with database.begin() as connection:
                record_snapshots(connection, entries, context())

    with ThreadPoolExecutor(4) as nodes:
        list(nodes.map(record, range(4)))

    with database.connect() as connection:
        assert [row.kos for row in connection.execute(select(players.c.kos))] == [9, 9, 9]
