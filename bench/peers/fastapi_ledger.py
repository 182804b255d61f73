"""Game servers' deltas on FastAPI and SQLAlchemy, as one would write it by hand: one commit a request.

Each database is used in the way that is fastest for it: SQLite, which commits in
microseconds and one at a time, is called right in the event loop; PostgreSQL
through a pool of threads and connections, so that it can put many commits together.
"""

from __future__ import annotations

import os
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Header, HTTPException
from fastapi.concurrency import run_in_threadpool
from pydantic import BaseModel, Field
from sqlalchemy import Engine, create_engine, event, text
from sqlalchemy.pool import StaticPool

TOKEN = os.environ.get("GAME_SERVER_TOKENS", "bench")
DATABASE_URL = os.environ.get("DATABASE_URL", "").replace("postgresql://", "postgresql+psycopg://")
STATS = ("exp", "cash", "pills")
Delta = Annotated[int, Field(ge=-(2**31), lt=2**31)]

PLAYERS = text(
    "CREATE TABLE IF NOT EXISTS player_stats (steam_id BIGINT PRIMARY KEY,"
    " exp BIGINT NOT NULL, cash BIGINT NOT NULL, pills BIGINT NOT NULL, version BIGINT NOT NULL)"
)
LEDGER = text(
    "CREATE TABLE IF NOT EXISTS ledger (steam_id BIGINT, transaction_id VARCHAR(128), exp BIGINT,"
    " cash BIGINT, pills BIGINT, PRIMARY KEY (steam_id, transaction_id))"
)
SEEN = text(
    "INSERT INTO ledger VALUES (:steam_id, :transaction_id, :exp, :cash, :pills) ON CONFLICT DO NOTHING"
)
ADD = text(
    "INSERT INTO player_stats VALUES (:steam_id, :exp, :cash, :pills, 1) ON CONFLICT (steam_id) DO UPDATE"
    " SET exp = player_stats.exp + excluded.exp, cash = player_stats.cash + excluded.cash,"
    " pills = player_stats.pills + excluded.pills, version = player_stats.version + 1"
    " RETURNING exp, cash, pills, version"
)
READ = text("SELECT exp, cash, pills, version FROM player_stats WHERE steam_id = :steam_id")


class Change(BaseModel):
    """A body."""

    transaction_id: str = Field(max_length=128)
    deltas: dict[str, Delta]
    reason: str | None = None
    server_id: str | None = None


def _sqlite() -> Engine:
    engine = create_engine(
        "sqlite:///ledger.sqlite3", poolclass=StaticPool, connect_args={"check_same_thread": False}
    )

    @event.listens_for(engine, "connect")
    def _durable(connection: Any, _record: object) -> None:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")

    return engine


engine = create_engine(DATABASE_URL, pool_size=40) if DATABASE_URL else _sqlite()
with engine.begin() as first:
    first.execute(PLAYERS)
    first.execute(LEDGER)


def _authorised(authorization: Annotated[str, Header()] = "") -> None:
    if authorization != f"Bearer {TOKEN}":
        raise HTTPException(401)


app = FastAPI(openapi_url=None)


@app.patch("/players/{steam_id}/stats", dependencies=[Depends(_authorised)])
async def add(steam_id: int, change: Change) -> dict[str, Any]:
    """Add to one player's stats, and commit."""
    values = {"steam_id": steam_id, "transaction_id": change.transaction_id}
    values |= {stat: change.deltas.get(stat, 0) for stat in STATS}
    applied, row = await run_in_threadpool(_post, values) if DATABASE_URL else _post(values)
    totals = dict(zip(STATS, row, strict=False))
    return {"steamid": str(steam_id), "applied": applied, "stats": totals, "version": row[-1]}


def _post(values: dict[str, Any]) -> tuple[bool, Any]:
    with engine.begin() as connection:
        applied = connection.execute(SEEN, values).rowcount > 0
        return applied, connection.execute(ADD if applied else READ, values).one()
