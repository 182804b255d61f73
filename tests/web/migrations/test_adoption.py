"""Tables that Prisma has made: used if they fit; else the difference is named, and the ledger goes on."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
import trio
from sqlalchemy import Connection, Engine, inspect, text

from actors.automation import store, transactions
from actors.automation.outbox import claim_decisions, forget_settled
from actors.links import Database, Limits, LinkDown, Slice, make_engine, normal_url
from actors.players import Entry, Rules
from actors.players.posting import post
from supervision import Backoff, ChildSpec, Supervisor
from tests.actors.automation.people import NOW, context, entry
from tests.postgres import PostgresServer
from web.migrations import migrate

PLAYERS = """
    CREATE TABLE players (
        user_id bigint PRIMARY KEY, username varchar(64) NOT NULL, display_name text, rank text NOT NULL,
        previous_rank varchar(64), next_rank varchar(64), rank_points int NOT NULL DEFAULT 0,
        kos int NOT NULL DEFAULT 0, wos int NOT NULL DEFAULT 0, warnings int NOT NULL DEFAULT 0,
        recommendations bigint NOT NULL DEFAULT 0, privileged boolean NOT NULL DEFAULT false,
        punishment_status varchar(64), punishment_expires_at timestamp(3), metadata jsonb,
        created_at timestamp(3) NOT NULL DEFAULT now(), last_synced_at timestamp(3) NOT NULL DEFAULT now(),
        updated_at timestamp(3) NOT NULL
    )
"""
SNAPSHOTS = """
    CREATE TABLE player_snapshots (
        id bigserial PRIMARY KEY, user_id bigint NOT NULL, payload jsonb NOT NULL,
        source text NOT NULL DEFAULT 'roblox', experience_key text, actor_user_id bigint,
        created_at timestamp(3) NOT NULL DEFAULT now(), note text
    )
"""


@pytest.fixture
def engine(postgres_server: PostgresServer) -> Iterator[Engine]:
    made = make_engine(normal_url(postgres_server.url), Limits(), writes=True)
    with made.begin() as connection:
        connection.execute(text("DROP SCHEMA public CASCADE; CREATE SCHEMA public"))
    yield made
    made.dispose()


def make(engine: Engine, *tables: str) -> None:
    with engine.begin() as connection:
        for table in tables:
            connection.execute(text(table))


def test_tables_that_fit_are_used_as_they_are(engine: Engine) -> None:
    make(engine, PLAYERS, "CREATE INDEX player_score_index ON players (rank_points, kos, wos)", SNAPSHOTS)
    make(
        engine,
        "INSERT INTO players (user_id, username, rank, updated_at) VALUES (9, 'old', 'New', '2026-01-01')",
    )
    with engine.begin() as connection:
        assert migrate(connection).problems == {}
    with engine.begin() as connection:
        first = entry(userId=5, rank="New", rankPoints=150, apply=True, metadata={"a": [1]})
        entries = [first, entry(userId=9, kos=3)]
        transactions.record_snapshots(connection, entries, context())
    with engine.begin() as connection:
        found = store.load(connection, [5, 9])
        assert (found[5].metadata, found[5].rank_points, found[9].kos) == ({"a": [1]}, 150, 3)
        assert found[5].created_at == NOW
        assert found[9].created_at.tzinfo is not None
        assert len(claim_decisions(connection, owner="one", limit=5, now=NOW)) == 1
        newer = round(NOW.timestamp() * 1000) + 86_400_000
        which = Slice(after_id=0, before_ms=newer, now_ms=newer, limit=10)
        assert transactions.forget_snapshots(connection, which).gone == 2
        assert forget_settled(connection, which).gone == 0
        indexes = connection.scalars(text("SELECT indexname FROM pg_indexes WHERE tablename = 'players'"))
        assert set(indexes) == {"players_pkey", "player_score_index", "ix_players_kos", "ix_players_wos"}
        kind = (
            "SELECT data_type FROM information_schema.columns WHERE table_name = 'players' AND column_name = "
        )
        assert connection.scalar(text(kind + "'created_at'")) == "timestamp without time zone"
        assert connection.scalar(text(kind + "'metadata'")) == "jsonb"


MISFITS = [
    ("user_id bigint", "id bigint NOT NULL, user_id bigint", "its primary key is not user_id"),
    ("user_id bigint", "user_id text", "column user_id is TEXT, wanted integer"),
    ("user_id bigint", "user_id int", "column user_id is INTEGER, wanted BIGINT"),
    ("rank text", "rank varchar(16)", "column rank is VARCHAR(16), wanted VARCHAR(64)"),
    ("rank text NOT NULL", "rank text", "column rank may be null"),
    ("display_name text", "display_name text NOT NULL", "column display_name is NOT NULL"),
    ("wos int NOT NULL DEFAULT 0, ", "", "it has no column wos"),
    ("metadata jsonb", "metadata text", "column metadata is TEXT, wanted json"),
    ("metadata jsonb", "metadata jsonb, team text NOT NULL", "column team is NOT NULL, has no default"),
    ("timestamp(3) NOT NULL\n", "text NOT NULL\n", "column updated_at is TEXT, wanted timestamp"),
    ("id bigserial", "id bigint", "column id does not count up by itself"),
    ("id bigserial", "id uuid", "column id is UUID, wanted integer"),
    ("payload jsonb", "payload bytea", "column payload is BYTEA, wanted json"),
]


@pytest.mark.parametrize(("old", "new", "difference"), MISFITS)
def test_what_does_not_fit_is_named_and_left_alone(
    engine: Engine, old: str, new: str, difference: str
) -> None:
    table, made = ("players", PLAYERS) if old in PLAYERS else ("player_snapshots", SNAPSHOTS)
    if "primary" in difference:
        made = made.replace(" PRIMARY KEY", "")
    make(engine, made.replace(old, new, 1), SNAPSHOTS if table == "players" else PLAYERS)
    with engine.begin() as connection:
        version, problems = migrate(connection)

    assert (version, list(problems)) == ("ledger_0002", ["automation"])
    assert problems["automation"].startswith(f"the table {table} is another program's and does not fit: ")
    assert difference in problems["automation"]
    with engine.begin() as connection:
        decided = post(connection, [Entry(1, {"exp": 1}, "t")], Rules(), now_ms=1)
        assert decided.accounts[1].totals == {"exp": 1}
        assert not inspect(connection).get_indexes(table)


def record(connection: Connection) -> None:
    assert len(transactions.record_snapshots(connection, [entry()], context())) == 1


def count(connection: Connection) -> None:
    post(connection, [Entry(1, {"exp": 1})], Rules(), now_ms=1)


def problems_of(connection: Connection) -> Mapping[str, str]:
    return migrate(connection).problems


async def test_a_part_comes_back_when_its_tables_do_and_the_other_never_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("actors.links.database.PREPARE_AGAIN_S", 0.0)
    caplog.set_level(logging.INFO, "actors.links")
    url = f"sqlite:///{tmp_path / 'file.sqlite3'}"
    engine = make_engine(normal_url(url), Limits(), writes=True)
    make(engine, "CREATE TABLE players (id integer)")
    soon = Backoff(first_s=0.01, ceiling_s=0.02)
    link = Database(url, prepare=problems_of, ping_every_s=0.05, backoff=soon)
    ledger, automation = link.part("ledger"), link.part("automation")
    supervisor = Supervisor([ChildSpec(id="database", start=link.run)])
    async with trio.open_nursery() as nursery:
        nursery.start_soon(supervisor.run)
        await ledger.until_up()
        assert (automation.is_up, ledger.problem) == (False, None)
        assert "players" in str(automation.problem)
        with pytest.raises(LinkDown):
            await automation.write(record)
        await ledger.write(count)

        make(engine, "DROP TABLE players")
        with trio.fail_after(10):
            await automation.until_up()
        await automation.write(record)

        # One that breaks while it is used takes nothing else down either.
        make(engine, "ALTER TABLE players RENAME TO others")
        with pytest.raises(LinkDown):
            await automation.write(record)
        assert "players" in str(automation.problem)
        await ledger.write(count)
        make(engine, "ALTER TABLE others RENAME TO players")
        assert not automation.is_up  # those who wait for it do not ask in a loop
        await automation.until_up()
        await automation.write(record)
        assert automation.problem is None
        assert (link.outages, link.is_up) == (0, True)
        supervisor.stop()
    engine.dispose()
    assert [message for message in caplog.messages if "part" in message] == [
        "database_part_unusable",
        "database_part_up",
        "database_part_refused",
        "database_part_refused",
    ]


async def test_a_node_with_another_programs_players_counts_and_says_what_is_wrong(tmp_path: Path) -> None:
    from tests.web.serving import LANES, serving  # noqa: PLC0415  # the fixtures of the web's tests are not wanted here

    engine = make_engine(normal_url(f"sqlite:///{tmp_path / 'greenroom.sqlite3'}"), Limits(), writes=True)
    make(engine, "CREATE TABLE players (id integer)")
    settings = {"DATA_DIR": tmp_path, "GAME_SERVER_TOKENS": "tok", "INBOUND_API_KEYS": "key"}
    async with serving(LANES[0], **settings) as node:
        headers = {"Authorization": "Bearer tok", "x-grps-api-key": "key"}

        keeping = node.program.core.stats.keeping
        assert keeping is not None
        await keeping.part.until_up()
        change = {"deltas": {"exp": 1}}
        counted = await node.http.patch("/players/STEAM_0:1:5/stats", json=change, headers=headers)
        assert counted.status_code == 200
        health = await node.http.get("/internal/health")
        assert health.status_code == 200
        assert "does not fit" in health.json()["automation"]["problem"]
        snapshot = {"userId": 1, "username": "a", "rankPoints": 0, "kos": 0, "wos": 0}
        sent = await node.http.post("/roblox/events/player-activity", json=snapshot, headers=headers)
        assert (sent.status_code, sent.json()["error"]) == (503, "database_unavailable")
    engine.dispose()
