"""Tables that another program, such as Prisma, has made already: used if they fit."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa

from actors.links import Unprepared

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sqlalchemy import Connection
    from sqlalchemy.engine.interfaces import ReflectedColumn

# Kinds of columns, the first that matches: of one kind, values go in and come out alike.
KINDS: Final[tuple[tuple[type[Any], str], ...]] = (
    (sa.Boolean, "boolean"),
    (sa.Integer, "integer"),
    (sa.DateTime, "timestamp"),
    (sa.JSON, "json"),
    (sa.String, "text"),
)


def adopt(connection: Connection, name: str, columns: Sequence[sa.Column[Any]], *, key: str) -> bool:
    """Whether the table is there, and fits.

    Columns it has besides are left alone, as are types: `jsonb` for `json`, `text` for `varchar`, a timestamp
    without a zone, which is taken to be in UTC.

    Args:
        columns: What Greenroom writes and reads.
        key: The primary key.

    Raises:
        Unprepared: It does not fit; the text names every difference.
    """
    inspector = sa.inspect(connection)
    if not inspector.has_table(name):
        return False
    found = {column["name"]: column for column in inspector.get_columns(name)}
    differences = [f"it has no column {column.name}" for column in columns if column.name not in found]
    for column in columns:
        if column.name in found:
            differences += _differences(column, found[column.name], is_key=column.name == key)
    if inspector.get_pk_constraint(name)["constrained_columns"] != [key]:
        differences.append(f"its primary key is not {key}")
    ours = {column.name for column in columns}
    differences += [
        f"column {other['name']} is NOT NULL, has no default and is not ours"
        for other in found.values()
        if other["name"] not in ours and not _may_be_left_out(other)
    ]
    if differences:
        said = "; ".join(differences)
        raise Unprepared(f"the table {name} is another program's and does not fit: {said}")
    return True


def add_index(connection: Connection, name: str, table: str, columns: list[str]) -> None:
    """Make an index, unless the table has one that begins with these columns."""
    indexes = sa.inspect(connection).get_indexes(table)
    if not any(index["column_names"][: len(columns)] == columns for index in indexes):
        names = ", ".join(f'"{column}"' for column in columns)
        connection.exec_driver_sql(f"CREATE INDEX {name} ON {table} ({names})")


def _differences(wanted: sa.Column[Any], found: ReflectedColumn, *, is_key: bool) -> Iterator[str]:
    kind, there = _kind(wanted.type), _kind(found["type"])
    if kind != there:
        yield f"column {wanted.name} is {found['type']}, wanted {kind}"
    elif _room(found["type"]) < _room(wanted.type):
        yield f"column {wanted.name} is {found['type']}, wanted {wanted.type}"
    if wanted.nullable and not found["nullable"]:
        yield f"column {wanted.name} is NOT NULL"
    if not wanted.nullable and found["nullable"]:
        yield f"column {wanted.name} may be null"
    if is_key and wanted.autoincrement is True and not _may_be_left_out(found):
        yield f"column {wanted.name} does not count up by itself"


def _may_be_left_out(column: ReflectedColumn) -> bool:
    return bool(
        column["nullable"]
        or column.get("default") is not None
        or column.get("identity")
        or column.get("computed")
    )


def _kind(type_: Any) -> str:
    return next((name for kind, name in KINDS if isinstance(type_, kind)), str(type_))


def _room(type_: Any) -> float:
    """Bits of an integer, characters of a text."""
    if isinstance(type_, sa.Integer):
        return 64 if isinstance(type_, sa.BigInteger) else 16 if isinstance(type_, sa.SmallInteger) else 32
    return math.inf if getattr(type_, "length", None) is None else float(type_.length)
