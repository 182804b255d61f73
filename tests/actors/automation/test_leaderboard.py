from __future__ import annotations

import pytest
from sqlalchemy import Engine, text

from actors.automation import leaderboard
from actors.automation.transactions import record_snapshots
from tests.actors.automation.people import context, entry


def _fill(engine: Engine) -> None:
    standings = [(1, 10, 5, 0), (2, 30, 1, 7), (3, 30, 2, 1), (4, 10, 5, 0), (5, 0, 9, 9)]
    entries = [
        entry(userId=user, username=f"u{user}", rankPoints=points, kos=kos, wos=wos)
        for user, points, kos, wos in standings
    ]
    with engine.begin() as connection:
        record_snapshots(connection, entries, context())


def test_the_top_is_by_points_then_kos_then_wos(engine: Engine) -> None:
    _fill(engine)
    with engine.connect() as connection:
        leaders = leaderboard.top(connection, limit=25)

    assert [player.user_id for player in leaders] == [3, 2, 4, 1, 5]
    assert leaderboard.entry(leaders[0]) == {
        "userId": 3,
        "username": "u3",
        "rank": "New",
        "points": 30,
        "kos": 2,
        "wos": 1,
        "lastSyncedAt": "2026-03-01T12:00:00.000Z",
    }


def test_pages_follow_each_other_without_gap_or_repeat(engine: Engine) -> None:
    _fill(engine)
    seen: list[int] = []
    with engine.connect() as connection:
        page = leaderboard.top(connection, limit=2)
        while page:
            seen += [player.user_id for player in page]
            page = leaderboard.top(connection, limit=2, after=leaderboard.place_of(page[-1]))

    assert seen == [3, 2, 4, 1, 5]


def test_records_are_by_each_count(engine: Engine) -> None:
    _fill(engine)
    with engine.connect() as connection:
        best = leaderboard.records(connection, limit=2)

    assert [player.user_id for player in best.kos] == [5, 4]
    assert [player.user_id for player in best.wos] == [5, 2]


@pytest.mark.parametrize(
    "order", ["rank_points DESC, kos DESC, wos DESC, user_id DESC", "kos DESC", "wos DESC"]
)
def test_every_order_is_read_off_an_index(postgres_engine: Engine, engine: Engine, order: str) -> None:
    _fill(engine)
    query = f"SELECT * FROM players ORDER BY {order} LIMIT 5"  # noqa: S608 - the orders above
    with engine.begin() as connection:
        if engine.dialect.name == "sqlite":
            plan = connection.execute(text(f"EXPLAIN QUERY PLAN {query}")).all()
        else:
            # With five rows a planner would rather sort; asked not to, it must have another way.
            connection.execute(text("SET LOCAL enable_seqscan = off"))
            plan = connection.execute(text(f"EXPLAIN {query}")).all()

    assert "ix_players_" in str(plan)
