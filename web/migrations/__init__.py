"""The database's history: how each version of its tables becomes the next.

One history for everything Greenroom keeps in a database, with a branch for each part, `ledger` and
`automation`. It runs at every start, and with `greenroom migrate`. Of a part all of it happens, or nothing;
a part whose tables cannot be made or used costs the other nothing. Nodes that start together take turns.

A step in `versions/` is never changed once it has been released, and speaks of tables as they were then: it
imports nothing of the program but `adoption`.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy.exc import DBAPIError

from actors.links import Unprepared, described, is_schema_fault

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy import Connection

logger: Final = logging.getLogger(__name__)

PARTS: Final = ("ledger", "automation")
# Other programs use the same database, and Alembic's own name for this table.
VERSION_TABLE: Final = "greenroom_schema"
# Any number, as long as no other program takes it for a lock of its own.
LOCK: Final = 0x6772_6565_6E72_6F6F


class Migrated(NamedTuple):
    """What came of it.

    Attributes:
        version: Of the database, one for each part.
        problems: Why a part cannot be used, by its name; for the log.
    """

    version: str
    problems: Mapping[str, str]


def migrate(connection: Connection, target: str | None = None) -> Migrated:
    """Bring every part of the database to its newest version, or all to `target`.

    Raises:
        Unprepared: It was last used by a newer Greenroom.
        sqlalchemy.exc.DBAPIError: The database is away, or takes no writes at all; nothing was changed.
    """
    if connection.dialect.name == "postgresql":
        # Freed with the transaction. Building an index may take longer than any other statement.
        connection.exec_driver_sql("SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = 0")
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({LOCK})")
    logging.getLogger("alembic").setLevel(logging.WARNING)  # it speaks in sentences
    config = _config()
    config.attributes["connection"] = connection
    script = ScriptDirectory.from_config(config)
    before = version_of(connection)
    _check_known(script, before)
    parts = {part: f"{part}@head" for part in PARTS} if target is None else {"": target}
    problems = {part: problem for part, head in parts.items() if (problem := _upgrade(config, head))}
    version = version_of(connection)
    if version != before:
        logger.info("database_migrated", extra={"before": before, "version": version})
    return Migrated(version or "", problems)


def _check_known(script: ScriptDirectory, version: str | None) -> None:
    known = {step.revision for step in script.walk_revisions()}
    if unknown := set((version or "").split(", ")) - known - {""}:
        raise Unprepared(f"the database is of a version this program does not know: {', '.join(unknown)}")


def _upgrade(config: Config, head: str) -> str | None:
    """Take the steps to `head`, all or none; why that cannot be, if the tables are to blame."""
    connection: Connection = config.attributes["connection"]
    try:
        with connection.begin_nested():
            command.upgrade(config, head)
    except Unprepared as error:
        return str(error)
    except DBAPIError as error:
        if is_schema_fault(error):
            return described(error)
        raise
    return None


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
