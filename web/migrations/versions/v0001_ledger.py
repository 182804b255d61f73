"""The stats ledger: changes that counted, and what they add up to."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "player_stats",
        sa.Column("steam_id", _KEY, primary_key=True, autoincrement=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("totals", sa.JSON(), nullable=False),
        sa.Column("last_id", sa.BigInteger()),
        sa.Column("updated_ms", sa.BigInteger(), nullable=False),
    )
    op.create_table(
        "ledger",
        sa.Column("id", _KEY, primary_key=True, autoincrement=True),
        sa.Column("steam_id", sa.BigInteger(), nullable=False),
        sa.Column("transaction_id", sa.String(128)),
        sa.Column("deltas", sa.JSON(), nullable=False),
        sa.Column("reason", sa.String(256)),
        sa.Column("server_id", sa.String(64)),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("previous_id", sa.BigInteger()),
        sa.Column("at_ms", sa.BigInteger(), nullable=False),
    )
    op.create_index(
        "ix_ledger_transaction_id_steam_id", "ledger", ["transaction_id", "steam_id"], unique=True
    )


def downgrade() -> None:
    """Forget everything that counted."""
    op.drop_table("ledger")
    op.drop_table("player_stats")
