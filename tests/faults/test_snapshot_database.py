"""The database of players: away, back, and as other programs find it."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
import sqlalchemy as sa

from actors.automation.tables import metadata
from actors.links import Limits, make_engine, normal_url
from tests.actors.automation.test_postgres import PLAYERS, SNAPSHOTS
from tests.postgres import PostgresServer
from tests.web.automation_node import ACTIVITY, body_of, env_of, post
from tests.web.serving import Node, eventually, serving
from web.migrations import migrate

fast = partial(serving, "fast")


async def _up(node: Node) -> None:
    await eventually(lambda: node.program.core.automation.database.state.up)


async def test_while_postgresql_is_away_reads_go_on_and_writes_are_told_to_wait(
    tmp_path: Path, postgres_server: PostgresServer
) -> None:
    async with fast(**env_of(tmp_path), DATABASE_URL=postgres_server.url) as node:
        await _up(node)
        await post(node, ACTIVITY, body_of(5, kos=1))
        await node.http.get("/leaderboard/top")
        postgres_server.kill()
        refused = await post(node, ACTIVITY, body_of(5, kos=2))
        player = await node.http.get("/players/5")
        top = await node.http.get("/leaderboard/top")
        stranger = await node.http.get("/players/6")
        health = await node.http.get("/internal/health")
        postgres_server.start()
        await _up(node)
        accepted = await post(node, ACTIVITY, body_of(5, kos=3))

    assert (refused.status_code, refused.json()["error"]) == (503, "database_unavailable")
    assert refused.headers["retry-after"] == "2"
    assert player.json()["kos"] == 1
    assert [line["userId"] for line in top.json()["players"]] == [5]
    assert stranger.status_code == 503
    assert (health.status_code, health.json()["status"]) == (503, "degraded")
    assert accepted.json()["player"]["kos"] == 3


@pytest.mark.parametrize("spelling", ["postgresql+asyncpg://", "postgres://", "postgresql+psycopg://"])
async def test_other_programs_find_the_promised_tables(
    tmp_path: Path, postgres_server: PostgresServer, spelling: str
) -> None:
    url = postgres_server.url.replace("postgresql://", spelling)
    async with fast(**env_of(tmp_path), DATABASE_URL=url) as node:
        await _up(node)
        answer = await post(
            node,
            ACTIVITY,
            body_of(
                5, rankPoints=150, metadata={"a": [1, "\\u0000", 2**70]}, punishmentExpiresAt="2030-01-01"
            ),
            {"x-roblox-experience": "arena", "x-grps-actor": "9"},
        )
        assert answer.status_code == 200

    engine = make_engine(normal_url(postgres_server.url), Limits(), writes=False)
    with engine.connect() as connection:
        assert _types(connection, "players") == PLAYERS
        assert _types(connection, "player_snapshots") == SNAPSHOTS
        kinds = "SELECT indexdef FROM pg_indexes WHERE tablename = 'players'"
        indexes = " ".join(connection.execute(sa.text(kinds)).scalars())
        player = connection.execute(sa.text("SELECT * FROM players")).mappings().one()
        word = connection.execute(sa.text("SELECT metadata -> 'a' ->> 1 FROM players")).scalar()
        kept = connection.execute(sa.text("SELECT * FROM player_snapshots")).mappings().one()
    engine.dispose()
    assert "(rank_points, kos, wos)" in indexes
    assert (player["rank"], player["previous_rank"], player["next_rank"]) == ("Known", "New", "Kept")
    assert player["metadata"] == {"a": [1, "\\u0000", 2**70]}
    assert word == "\\u0000"
    assert (kept["source"], kept["experience_key"], kept["actor_user_id"]) == ("roblox", "arena", 9)
    assert kept["payload"]["rankPoints"] == 150


def _types(connection: sa.Connection, table: str) -> dict[str, str]:
    query = sa.text(
        "SELECT attname, format_type(atttypid, atttypmod) AS kind FROM pg_attribute "
        "WHERE attrelid = CAST(:table AS regclass) AND attnum > 0 ORDER BY attnum"
    )
    return {row.attname: row.kind for row in connection.execute(query, {"table": table})}


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_migrations_make_the_tables_the_code_speaks_of(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    if kind == "sqlite":
        url = f"sqlite:///{tmp_path / 'file.sqlite3'}"
    else:
        url = request.getfixturevalue("postgres_server").url
    engine = make_engine(normal_url(url), Limits(), writes=True)
    with engine.begin() as connection:
        migrate(connection)
        inspector = sa.inspect(connection)
        for table in metadata.sorted_tables:
            columns = {column["name"]: column["nullable"] for column in inspector.get_columns(table.name)}
            assert columns == {column.name: column.nullable for column in table.columns}
            indexes = {index["name"]: index["column_names"] for index in inspector.get_indexes(table.name)}
            wanted = {str(index.name): [column.name for column in index.columns] for index in table.indexes}
            assert wanted.items() <= indexes.items()
    engine.dispose()
