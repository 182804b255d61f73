"""AUTOMATION=open without a key: strangers may send snapshots, and what they leave is bounded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, func, select

from actors.automation.tables import automation_decisions, player_snapshots, player_sync, players
from tests.web.automation_node import ACTIVITY, body_of, env_of, post, snapshot
from tests.web.conftest import Serve

TABLES = (players, player_sync, player_snapshots, automation_decisions)


def opened(directory: Path, **overrides: str) -> dict[str, str]:
    """The environment of a node that is open to everybody."""
    return env_of(directory) | {"INBOUND_API_KEYS": "", "AUTOMATION": "open"} | overrides


def rows(directory: Path) -> list[int]:
    """How many rows each table has."""
    engine = create_engine(f"sqlite:///{directory / 'greenroom.sqlite3'}")
    with engine.connect() as connection:
        counts = [connection.scalar(select(func.count()).select_from(table)) or 0 for table in TABLES]
    engine.dispose()
    return counts


async def test_strangers_leave_no_more_players_and_history_than_the_limit(
    serve: Serve, tmp_path: Path
) -> None:
    async with serve(**opened(tmp_path, MAX_OPEN_PLAYERS="3")) as node:
        answers = [await snapshot(node, user_id, apply=True, warnings=7) for user_id in range(1, 6)]
        for kos in range(5):
            assert (await post(node, ACTIVITY, body_of(2, kos=kos))).json()["player"]["kos"] == kos
        unknown = await node.http.get("/players/5")

    assert [answer.status_code for answer in answers] == [200, 200, 200, 503, 503]
    assert answers[4].json()["error"] == "too_many_players"
    assert int(answers[4].headers["retry-after"]) > 0
    assert unknown.status_code == 404
    assert rows(tmp_path) == [3, 3, 3, 0]


async def test_history_that_was_sent_with_a_key_is_not_deleted_for_strangers(
    serve: Serve, tmp_path: Path
) -> None:
    async with serve(**env_of(tmp_path)) as node:
        for kos in range(5):
            await post(node, ACTIVITY, body_of(1, kos=kos))
    async with serve(**opened(tmp_path, MAX_OPEN_PLAYERS="2")) as node:
        for kos in range(5, 10):
            assert (await post(node, ACTIVITY, body_of(1, kos=kos))).status_code == 200

    assert rows(tmp_path) == [1, 1, 5 + 2, 0]


@pytest.mark.parametrize(
    ("path", "body"),
    [(ACTIVITY, body_of(1)), ("/automation/decisions", {"userId": 1})],
    ids=["snapshots", "decisions"],
)
async def test_an_address_may_send_only_so_often(
    serve: Serve, tmp_path: Path, path: str, body: dict[str, Any]
) -> None:
    env = opened(tmp_path, MAX_OPEN_SNAPSHOTS_PER_IP_PER_MINUTE="3", TRUSTED_PROXIES="127.0.0.1")
    async with serve(**env) as node:
        mine = [await post(node, path, body) for _ in range(4)]
        other = await post(node, path, body, {"x-forwarded-for": "198.51.100.7"})
        metrics = (await node.http.get("/metrics")).text

    assert [answer.status_code for answer in mine][2:] == [mine[0].status_code, 429]
    assert mine[3].json()["error"] == "rate_limited"
    assert 0 < int(mine[3].headers["retry-after"]) <= 60
    assert other.status_code == mine[0].status_code
    assert "greenroom_snapshots_over_limit_total 1.0" in metrics


async def test_senders_with_a_key_are_not_limited(serve: Serve, tmp_path: Path) -> None:
    limits = {"MAX_OPEN_SNAPSHOTS_PER_IP_PER_MINUTE": "1", "MAX_OPEN_PLAYERS": "1"}
    async with serve(**env_of(tmp_path) | {"AUTOMATION": "open"} | limits) as node:
        answers = [await post(node, ACTIVITY, body_of(user_id)) for user_id in range(1, 4)]

    assert [answer.status_code for answer in answers] == [200, 200, 200]
