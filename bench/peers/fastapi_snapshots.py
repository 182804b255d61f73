"""Snapshots of Roblox players on FastAPI and SQLAlchemy, as one would write it by hand: one commit a request.

Upsert of the player, a row of history, a decision from a small rank table. Each database is used in the
way that is fastest for it: SQLite, which commits one at a time, is called right in the event loop;
PostgreSQL through a pool of threads and connections, so that it can put many commits together.
"""

from __future__ import annotations

import os
import uuid
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Header, HTTPException
from fastapi.concurrency import run_in_threadpool
from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel
from sqlalchemy import (
    JSON,
    BigInteger,
    Column,
    DateTime,
    Engine,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    create_engine,
    event,
    insert,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.pool import StaticPool

KEY = os.environ.get("INBOUND_API_KEYS", "bench")
DATABASE_URL = os.environ.get("DATABASE_URL", "").replace("postgresql://", "postgresql+psycopg://")
RANKS = (("Newcomer", 0), ("Stagehand", 50), ("Rigger", 150), ("Understudy", 400), ("Player", 900))
Count = Annotated[int, Field(ge=0, lt=2**31)]

metadata = MetaData()
players = Table(
    "players",
    metadata,
    Column("user_id", BigInteger, primary_key=True, autoincrement=False),
    Column("username", String(64), nullable=False),
    Column("display_name", String(64)),
    Column("rank", String(64), nullable=False),
    *(Column(name, Integer, nullable=False) for name in ("rank_points", "kos", "wos")),
    *(Column(name, Integer, nullable=False) for name in ("warnings", "recommendations")),
    Column("metadata", JSON),
    Column("created_at", DateTime(timezone=True), nullable=False),
    Column("last_synced_at", DateTime(timezone=True), nullable=False),
    Index("ix_players_rank", "rank_points", "kos", "wos"),
)
snapshots = Table(
    "player_snapshots",
    metadata,
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),
    Column("user_id", BigInteger, nullable=False, index=True),
    Column("payload", JSON, nullable=False),
    Column("experience_key", String(128)),
    Column("created_at", DateTime(timezone=True), nullable=False),
)


class Snapshot(BaseModel):
    """A body."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True)

    user_id: int = Field(ge=1)
    username: str = Field(max_length=64)
    display_name: str | None = Field(default=None, max_length=64)
    rank: str | None = Field(default=None, max_length=64)
    rank_points: Count
    kos: Count
    wos: Count
    warnings: Count = 0
    recommendations: Count = 0
    experience: dict[str, Any] | None = None
    metadata: dict[str, Any] | None = None


def _sqlite() -> Engine:
    engine = create_engine(
        "sqlite:///snapshots.sqlite3", poolclass=StaticPool, connect_args={"check_same_thread": False}
    )

    @event.listens_for(engine, "connect")
    def _durable(connection: Any, _record: object) -> None:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")

    return engine


engine = create_engine(DATABASE_URL, pool_size=40) if DATABASE_URL else _sqlite()
metadata.create_all(engine)
_upsert = (postgresql if DATABASE_URL else sqlite).insert(players)
_kept = {"user_id", "created_at"}
UPSERT = _upsert.on_conflict_do_update(
    index_elements=["user_id"],
    set_={column.name: _upsert.excluded[column.name] for column in players.c if column.name not in _kept},
).returning(players.c.created_at)


def _authorised(x_grps_api_key: Annotated[str, Header()] = "") -> None:
    if x_grps_api_key != KEY:
        raise HTTPException(401)


app = FastAPI(openapi_url=None)


@app.post("/roblox/events/player-activity", dependencies=[Depends(_authorised)])
async def activity(
    snapshot: Snapshot,
    x_roblox_experience: Annotated[str | None, Header()] = None,
    x_grps_evaluate: Annotated[bool, Header()] = False,  # noqa: FBT002  # FastAPI's way of a default
) -> dict[str, Any]:
    """Take one player's state, and commit."""
    rank = snapshot.rank or [name for name, least in RANKS if snapshot.rank_points >= least][-1]
    arguments = (snapshot, rank, x_roblox_experience)
    created_at = await run_in_threadpool(_record, *arguments) if DATABASE_URL else _record(*arguments)
    player = snapshot.model_dump(by_alias=True, exclude={"experience", "metadata"})
    player |= {"rank": rank, "createdAt": created_at}
    return {"player": player, "decision": _decision(snapshot, rank) if x_grps_evaluate else None}


def _record(snapshot: Snapshot, rank: str, experience: str | None) -> Any:
    now = datetime.now(UTC)
    row = snapshot.model_dump(exclude={"experience"}) | {"rank": rank}
    row |= {"created_at": now, "last_synced_at": now}
    kept = {
        "user_id": snapshot.user_id,
        "payload": snapshot.model_dump(mode="json", by_alias=True, exclude_unset=True),
        "experience_key": experience,
        "created_at": now,
    }
    with engine.begin() as connection:
        connection.execute(insert(snapshots), kept)
        return connection.execute(UPSERT, row).scalar_one()


def _decision(snapshot: Snapshot, rank: str) -> dict[str, Any]:
    names = [name for name, _ in RANKS]
    at = names.index(rank) if rank in names else 0
    action, target = "NONE", None
    if at + 1 < len(RANKS) and snapshot.rank_points >= RANKS[at + 1][1]:
        action, target = "PROMOTE", names[at + 1]
    elif at and snapshot.rank_points < RANKS[at][1]:
        action, target = "DEMOTE", names[at - 1]
    return {"action": action, "targetRank": target, "apply": False, "requestId": str(uuid.uuid4())}
