"""What game servers have said last and been told, so that saying it again is not taken for news."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add what is remembered, as far as it can be told from what is there."""
    op.add_column("player_sync", sa.Column("reported_rank", sa.String(64)))
    op.add_column("player_sync", sa.Column("late_digest", sa.LargeBinary(32)))
    op.add_column("player_sync", sa.Column("applied", sa.JSON()))
    # A rank that was left is what a server may still be reporting.
    op.execute(
        "UPDATE player_sync SET reported_rank = COALESCE(left_rank, "
        "(SELECT rank FROM players WHERE players.user_id = player_sync.user_id)) WHERE rank_known"
    )


def downgrade() -> None:
    """Forget it."""
    for name in ("applied", "late_digest", "reported_rank"):
        op.drop_column("player_sync", name)
