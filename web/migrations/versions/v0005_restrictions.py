"""When Roblox took the newest restriction updates of a user: a limit that all processes share."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column."""
    op.add_column("player_sync", sa.Column("restricted_at", sa.JSON()))


def downgrade() -> None:
    """Drop it."""
    op.drop_column("player_sync", "restricted_at")
