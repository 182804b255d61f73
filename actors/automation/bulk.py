"""Many rows in one statement: they travel as one JSON text and are taken apart by the database.

Recording 64 snapshots takes half as long this way as with a list of rows for each statement. Statements are
made from the tables' columns, for both dialects.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from functools import cache, lru_cache
from typing import Any, Final

import orjson
from sqlalchemy import JSON, Column, Connection, LargeBinary, Table, TextClause, text
from sqlalchemy.dialects import postgresql

from actors.automation.tables import UtcTime
from actors.links import Query

SQLITE: Final = "sqlite"
_POSTGRESQL: Final = postgresql.dialect()  # type: ignore[no-untyped-call]

Row = Mapping[str, Any]


def insert_many(connection: Connection, table: Table, rows: Sequence[Row]) -> Query:
    """Insert rows, at least one, all with the same columns. JSON columns are given as text, times aware."""
    return _step(connection, _insert(table, tuple(rows[0]), connection.dialect.name), rows)


def add_missing(connection: Connection, table: Table, rows: Sequence[Row]) -> Query:
    """Insert those rows whose `user_id` is not there yet, in order."""
    return _step(connection, _add_missing(table, tuple(rows[0]), connection.dialect.name), rows)


def upsert_many(connection: Connection, table: Table, rows: Sequence[Row]) -> Query:
    """Insert rows, or overwrite those of the same `user_id`; `created_at` is never overwritten."""
    return _step(connection, _upsert(table, tuple(rows[0]), connection.dialect.name), rows)


def _step(connection: Connection, statement: TextClause, rows: Iterable[Row]) -> Query:
    is_sqlite = connection.dialect.name == SQLITE
    default = _sqlite_time if is_sqlite else str
    option = orjson.OPT_PASSTHROUGH_DATETIME
    return Query(statement, {"rows": orjson.dumps(list(rows), default=default, option=option).decode()})


@lru_cache(maxsize=256)
def _sqlite_time(value: object) -> str:
    """As SQLAlchemy writes times: in UTC, without saying so. Most rows of a batch share theirs."""
    if not isinstance(value, datetime):
        raise TypeError(type(value).__name__)
    return value.astimezone(UTC).replace(tzinfo=None).isoformat(" ", "microseconds")


@cache
def _insert(table: Table, names: tuple[str, ...], dialect: str) -> TextClause:
    return text(_insert_sql(table, names, dialect))


@cache
def _add_missing(table: Table, names: tuple[str, ...], dialect: str) -> TextClause:
    return text(f"{_insert_sql(table, names, dialect)} ON CONFLICT DO NOTHING")


@cache
def _upsert(table: Table, names: tuple[str, ...], dialect: str) -> TextClause:
    taken = [name for name in names if name not in {"user_id", "created_at"}]
    changes = ", ".join(f"{_quoted(name)} = excluded.{_quoted(name)}" for name in taken)
    return text(f"{_insert_sql(table, names, dialect)} ON CONFLICT (user_id) DO UPDATE SET {changes}")


def _insert_sql(table: Table, names: tuple[str, ...], dialect: str) -> str:
    # Names of our own tables and columns: nothing a stranger says gets in here.
    into = f"INSERT INTO {table.name} ({', '.join(map(_quoted, names))})"
    columns = [table.c[name] for name in names]
    if dialect == SQLITE:
        values = ", ".join(map(_extracted, columns))
        # WHERE: without it the parser takes ON CONFLICT for a join's condition.
        return f"{into} SELECT {values} FROM json_each(:rows) AS new WHERE true"  # noqa: S608
    values = ", ".join(map(_cast, columns))
    types = ", ".join(f"{_quoted(column.name)} {_sent_as(column)}" for column in columns)
    return f"{into} SELECT {values} FROM json_to_recordset(CAST(:rows AS json)) AS new ({types})"  # noqa: S608


def _quoted(name: str) -> str:
    return f'"{name}"'


def _extracted(column: Column[Any]) -> str:
    value = f"json_extract(new.value, '$.{column.name}')"
    return f"CAST({value} AS BLOB)" if isinstance(column.type, LargeBinary) else value


def _sent_as(column: Column[Any]) -> str:
    if isinstance(column.type, JSON | LargeBinary):
        return "text"
    kind = column.type.impl if isinstance(column.type, UtcTime) else column.type
    return str(kind.compile(dialect=_POSTGRESQL))


def _cast(column: Column[Any]) -> str:
    value = f"new.{_quoted(column.name)}"
    if isinstance(column.type, LargeBinary):
        return f"convert_to({value}, 'UTF8')"
    return f"CAST({value} AS json)" if isinstance(column.type, JSON) else value
