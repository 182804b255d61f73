"""User ids are Roblox's: PostgreSQL must not count them up for whoever forgets to say one."""

from __future__ import annotations

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Drop what `bigserial` made of a lone integer key."""
    if op.get_bind().dialect.name != "postgresql":
        return
    for table in ("players", "player_sync"):
        op.alter_column(table, "user_id", server_default=None)
        op.execute(f"DROP SEQUENCE IF EXISTS {table}_user_id_seq")


def downgrade() -> None:
    """Nothing: nobody has relied on it."""
