"""What Alembic runs: the steps, on the connection it was given."""

from __future__ import annotations

from alembic import context

from web.migrations import VERSION_TABLE

context.configure(connection=context.config.attributes["connection"], version_table=VERSION_TABLE)
context.run_migrations()
