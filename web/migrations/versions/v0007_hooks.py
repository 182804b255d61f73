"""Which applied decisions the hook has yet to be told of."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

_INDEX = "ix_automation_decisions_hook_at"


def upgrade() -> None:
    """Add the columns, and an index of the few rows that are owed."""
    op.add_column("automation_decisions", sa.Column("hook_at", sa.DateTime(timezone=True)))
    op.add_column(
        "automation_decisions", sa.Column("hook_attempts", sa.Integer(), nullable=False, server_default="0")
    )
    owed = sa.text("hook_at IS NOT NULL")
    op.create_index(_INDEX, "automation_decisions", ["hook_at"], sqlite_where=owed, postgresql_where=owed)


def downgrade() -> None:
    """Drop them."""
    op.drop_index(_INDEX, "automation_decisions")
    for name in ("hook_at", "hook_attempts"):
        op.drop_column("automation_decisions", name)
