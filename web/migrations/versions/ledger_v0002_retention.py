"""How much time nodes have counted, and what their wall clocks have shown in it: by this, rows grow old."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "ledger_0002"
down_revision = "0001"
branch_labels = ("ledger",)
depends_on = None

_KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "retention_clock",
        sa.Column("started_ms", _KEY, primary_key=True, autoincrement=False),
        sa.Column("elapsed_ms", sa.BigInteger(), nullable=False),
        sa.Column("lowest_ms", sa.BigInteger(), nullable=False),
    )


def downgrade() -> None:
    """Forget it: all rows are young again."""
    op.drop_table("retention_clock")
