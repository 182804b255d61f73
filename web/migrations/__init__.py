"""The database's history: how each version of its tables becomes the next.

One history for everything Greenroom keeps in a database, with a branch for each
part: `ledger` and `automation`. It runs at every start, and with `greenroom
migrate`, in one transaction: all of it happens, or nothing. Nodes that start
together take turns.

A step in `versions/` is never changed once it has been released, and speaks of
tables as they were then: it imports nothing of the program.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Final

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError

from actors.links import Unprepared

if TYPE_CHECKING:
    from sqlalchemy import Connection

logger: Final = logging.getLogger(__name__)

# Other programs use the same database, and Alembic's own name for this table.
VERSION_TABLE: Final = "greenroom_schema"
# Any number, as long as no other program takes it for a lock of its own.
LOCK: Final = 0x6772_6565_6E72_6F6F


def migrate(connection: Connection, target: str = "heads") -> str:
    """Bring the database to `target`; the name of its version then.

    Raises:
        Unprepared: It was last used by a newer Greenroom.
        sqlalchemy.exc.DBAPIError: The database refused; nothing was changed.
    """
    if connection.dialect.name == "postgresql":
        # Freed with the transaction. Building an index may take longer than any other statement.
        connection.exec_driver_sql("SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = 0")
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({LOCK})")
    logging.getLogger("alembic").setLevel(logging.WARNING)  # it speaks in sentences
    config = _config()
    before = version_of(connection)
    heads = ScriptDirectory.from_config(config).get_heads()
    wanted = ", ".join(sorted(heads)) if target == "heads" else target
    if before != wanted:
        config.attributes["connection"] = connection
        try:
            command.upgrade(config, target)
        except CommandError as error:
            raise Unprepared(f"the database is of a version this program does not know: {before}") from error
        logger.info("database_migrated", extra={"before": before, "version": wanted})
    return wanted


def version_of(connection: Connection) -> str | None:
    """The version the database is of, one a branch; None before the first step."""
    context = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE})
    return ", ".join(sorted(context.get_current_heads())) or None


def _config() -> Config:
    config = Config()
    # Alembic reads options as templates, in which % has a meaning.
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config
