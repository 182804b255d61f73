"""The database's tables.

`players` and `player_snapshots` are read by other programs: their columns and types are a promise. The
others are Greenroom's own.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
    false,
    text,
)

if TYPE_CHECKING:
    from sqlalchemy import Dialect

# Every constraint has a name, so that migrations can speak of it.
metadata: Final = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)


class UtcTime(TypeDecorator[datetime]):
    """`timestamptz` on PostgreSQL; on SQLite text in UTC that sorts by time. In and out: aware, UTC.

    In a table that another program has made it may be a `timestamp` without a zone, then in UTC.
    """

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """SQLite keeps no zone, so what it is given must be in UTC."""
        if value is None:
            return None
        aware = value.astimezone(UTC)
        return aware.replace(tzinfo=None) if dialect.name == "sqlite" else aware

    def process_result_value(
        self,
        value: datetime | None,
        dialect: Dialect,  # noqa: ARG002  # asked by the base class
    ) -> datetime | None:
        """PostgreSQL answers in the session's zone; SQLite, and a `timestamp`, in none."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def _id() -> Column[int]:
    # SQLite counts up by itself only in a column of exactly this type.
    kind = BigInteger().with_variant(Integer(), "sqlite")
    return Column("id", kind, primary_key=True, autoincrement=True)


def _user_id(**options: Any) -> Column[int]:
    return Column("user_id", BigInteger, nullable=False, **options)


def _time(name: str, *, nullable: bool = False) -> Column[datetime]:
    return Column(name, UtcTime, nullable=nullable)


def _count(name: str) -> Column[int]:
    return Column(name, Integer, nullable=False, server_default="0")


players: Final = Table(
    "players",
    metadata,
    _user_id(primary_key=True, autoincrement=False),
    Column("username", String(64), nullable=False),
    Column("display_name", String(64)),
    Column("rank", String(64), nullable=False),
    Column("previous_rank", String(64)),
    Column("next_rank", String(64)),
    _count("rank_points"),
    _count("kos"),
    _count("wos"),
    _count("warnings"),
    _count("recommendations"),
    Column("privileged", Boolean, nullable=False, server_default=false()),
    Column("punishment_status", String(64)),
    _time("punishment_expires_at", nullable=True),
    Column("metadata", JSON(none_as_null=True)),
    _time("created_at"),
    _time("last_synced_at"),
    _time("updated_at"),
    Index("ix_players_rank_points_kos_wos", "rank_points", "kos", "wos"),
    Index("ix_players_kos", "kos"),
    Index("ix_players_wos", "wos"),
)

# `source` of a snapshot that came without a key.
OPEN: Final = "open"
ROBLOX: Final = "roblox"

player_snapshots: Final = Table(
    "player_snapshots",
    metadata,
    _id(),
    _user_id(index=True),
    Column("payload", JSON, nullable=False),
    Column("source", String(32), nullable=False, server_default="roblox"),
    Column("experience_key", String(128)),
    Column("actor_user_id", BigInteger),
    _time("created_at"),
)

# What merging the next snapshot needs beside the player; also the row that nodes lock to take turns
# on one player.
player_sync: Final = Table(
    "player_sync",
    metadata,
    _user_id(primary_key=True, autoincrement=False),
    # Of the newest snapshot applied: when it was taken, and what it was.
    _time("captured_at", nullable=True),
    Column("digest", LargeBinary(32)),
    # Whether anybody has said the rank: a snapshot, or Roblox. If not, it follows from the points.
    Column("rank_known", Boolean, nullable=False, server_default=false()),
    # Of the newest role change Roblox has confirmed: the rank it led away from, and when.
    Column("left_rank", String(64)),
    _time("left_at", nullable=True),
    _time("banned_at", nullable=True),
    # Unix times of the newest restriction updates that Roblox has made; see `outbox.RESTRICTION_UPDATES`.
    Column("restricted_at", JSON(none_as_null=True)),
    # What the newest snapshot that spoke of a rank has said.
    Column("reported_rank", String(64)),
    # Of the newest snapshot that was out of date when it came.
    Column("late_digest", LargeBinary(32)),
    # The decision that the newest snapshot applied was answered with, if it is carried out.
    Column("applied", JSON(none_as_null=True)),
)

# One row: when all players are reviewed next, and how far the review under way has come.
automation_reviews: Final = Table(
    "automation_reviews",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    _time("due_at", nullable=True),
    Column("after_user_id", BigInteger, nullable=False, server_default="0"),
    _time("leased_until", nullable=True),
)

automation_decisions: Final = Table(
    "automation_decisions",
    metadata,
    _id(),
    Column("request_id", String(36), nullable=False, unique=True),
    _user_id(index=True),
    Column("action", String(16), nullable=False),
    Column("from_rank", String(64), nullable=False),
    Column("target_rank", String(64)),
    Column("reason", Text, nullable=False),
    Column("actor_user_id", BigInteger),
    # Taken over by the player once the decision is carried out.
    Column("punishment_status", String(64)),
    _time("punishment_expires_at", nullable=True),
    Column("steps", JSON, nullable=False),
    Column("next_step", Integer, nullable=False, server_default="0"),
    # pending → done | refused | superseded
    Column("status", String(16), nullable=False),
    Column("attempts", Integer, nullable=False, server_default="0"),
    _time("not_before"),
    Column("lease_owner", String(128)),
    _time("lease_until", nullable=True),
    Column("problem", Text),
    # When to tell the decision hook next; null where nothing is owed.
    _time("hook_at", nullable=True),
    Column("hook_attempts", Integer, nullable=False, server_default="0"),
    _time("created_at"),
    _time("updated_at"),
    Index("ix_automation_decisions_status_not_before", "status", "not_before"),
    Index(
        "ix_automation_decisions_hook_at",
        "hook_at",
        sqlite_where=text("hook_at IS NOT NULL"),
        postgresql_where=text("hook_at IS NOT NULL"),
    ),
)
