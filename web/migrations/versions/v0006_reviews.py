"""When all players are reviewed next, and how far the review under way has come."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the table and its only row."""
    op.create_table(
        "automation_reviews",
        sa.Column("id", sa.Integer(), nullable=False, autoincrement=False),
        sa.Column("due_at", sa.DateTime(timezone=True)),
        sa.Column("after_user_id", sa.BigInteger(), nullable=False, server_default="0"),
        sa.Column("leased_until", sa.DateTime(timezone=True)),
        sa.PrimaryKeyConstraint("id", name="pk_automation_reviews"),
    )
    op.execute("INSERT INTO automation_reviews (id) VALUES (1)")


def downgrade() -> None:
    """Drop it."""
    op.drop_table("automation_reviews")
