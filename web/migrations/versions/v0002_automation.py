"""Players of Roblox communities, their snapshots, and decisions about them."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

from web.migrations.adoption import add_index, adopt

revision = "0002"
down_revision = "0001"
branch_labels = ("automation",)
depends_on = None

_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_TIME = sa.DateTime(timezone=True)


def _user() -> sa.Column[int]:
    return sa.Column("user_id", sa.BigInteger(), nullable=False)


def _count(name: str) -> sa.Column[int]:
    return sa.Column(name, sa.Integer(), nullable=False, server_default="0")


def upgrade() -> None:
    """Make the tables."""
    _players()
    _snapshots()
    _sync()
    _decisions()


def _players() -> None:
    columns: list[sa.Column[Any]] = [
        _user(),
        sa.Column("username", sa.String(64), nullable=False),
        sa.Column("display_name", sa.String(64)),
        sa.Column("rank", sa.String(64), nullable=False),
        sa.Column("previous_rank", sa.String(64)),
        sa.Column("next_rank", sa.String(64)),
        *map(_count, ("rank_points", "kos", "wos", "warnings", "recommendations")),
        sa.Column("privileged", sa.Boolean(), nullable=False, server_default=sa.false()),
        sa.Column("punishment_status", sa.String(64)),
        sa.Column("punishment_expires_at", _TIME),
        sa.Column("metadata", sa.JSON()),
        sa.Column("created_at", _TIME, nullable=False),
        sa.Column("last_synced_at", _TIME, nullable=False),
        sa.Column("updated_at", _TIME, nullable=False),
    ]
    connection = op.get_bind()
    if not adopt(connection, "players", columns, key="user_id"):
        op.create_table("players", *columns, sa.PrimaryKeyConstraint("user_id", name="pk_players"))
    add_index(connection, "ix_players_rank_points_kos_wos", "players", ["rank_points", "kos", "wos"])
    add_index(connection, "ix_players_kos", "players", ["kos"])
    add_index(connection, "ix_players_wos", "players", ["wos"])


def _snapshots() -> None:
    columns: list[sa.Column[Any]] = [
        sa.Column("id", _ID, autoincrement=True, nullable=False),
        _user(),
        sa.Column("payload", sa.JSON(), nullable=False),
        sa.Column("source", sa.String(32), nullable=False, server_default="roblox"),
        sa.Column("experience_key", sa.String(128)),
        sa.Column("actor_user_id", sa.BigInteger()),
        sa.Column("created_at", _TIME, nullable=False),
    ]
    connection = op.get_bind()
    if not adopt(connection, "player_snapshots", columns, key="id"):
        key = sa.PrimaryKeyConstraint("id", name="pk_player_snapshots")
        op.create_table("player_snapshots", *columns, key)
    add_index(connection, "ix_player_snapshots_user_id", "player_snapshots", ["user_id"])


def _sync() -> None:
    op.create_table(
        "player_sync",
        _user(),
        sa.Column("captured_at", _TIME),
        sa.Column("digest", sa.LargeBinary(32)),
        sa.Column("rank_known", sa.Boolean(), nullable=False, server_default=sa.false()),
        sa.Column("left_rank", sa.String(64)),
        sa.Column("left_at", _TIME),
        sa.Column("banned_at", _TIME),
        sa.PrimaryKeyConstraint("user_id", name="pk_player_sync"),
    )


def _decisions() -> None:
    op.create_table(
        "automation_decisions",
        sa.Column("id", _ID, autoincrement=True, nullable=False),
        sa.Column("request_id", sa.String(36), nullable=False),
        _user(),
        sa.Column("action", sa.String(16), nullable=False),
        sa.Column("from_rank", sa.String(64), nullable=False),
        sa.Column("target_rank", sa.String(64)),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("actor_user_id", sa.BigInteger()),
        sa.Column("punishment_status", sa.String(64)),
        sa.Column("punishment_expires_at", _TIME),
        sa.Column("steps", sa.JSON(), nullable=False),
        _count("next_step"),
        sa.Column("status", sa.String(16), nullable=False),
        _count("attempts"),
        sa.Column("not_before", _TIME, nullable=False),
        sa.Column("lease_owner", sa.String(128)),
        sa.Column("lease_until", _TIME),
        sa.Column("problem", sa.Text()),
        sa.Column("created_at", _TIME, nullable=False),
        sa.Column("updated_at", _TIME, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_automation_decisions"),
        sa.UniqueConstraint("request_id", name="uq_automation_decisions_request_id"),
    )
    op.create_index("ix_automation_decisions_user_id", "automation_decisions", ["user_id"])
    op.create_index(
        "ix_automation_decisions_status_not_before", "automation_decisions", ["status", "not_before"]
    )


def downgrade() -> None:
    """Forget the players."""
    for name in ("automation_decisions", "player_sync", "player_snapshots", "players"):
        op.drop_table(name)
