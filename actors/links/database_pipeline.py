"""Several statements in one round trip to the database."""

from __future__ import annotations

import contextlib
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

import psycopg
from sqlalchemy.exc import DBAPIError

from actors.links.database_engine import POSTGRESQL

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from sqlalchemy import Connection, Dialect, TextClause


class Query(NamedTuple):
    """A statement and its parameters."""

    statement: TextClause
    values: Mapping[str, object]


def run_pipeline(connection: Connection, *steps: Query) -> list[Any]:
    """Run statements one after the other, each seeing what those before it did.

    On PostgreSQL they share one round trip, by psycopg's pipeline mode, which SQLAlchemy does not offer. On
    SQLite, which runs in this process, they are run one by one.

    Returns:
        The single value of each statement's result; None for a statement without a result.

    Raises:
        sqlalchemy.exc.DBAPIError: One of them failed.
    """
    if connection.dialect.name != POSTGRESQL:
        results = [connection.execute(statement, values) for statement, values in steps]
        return [result.scalar_one() if result.returns_rows else None for result in results]
    driver: Any = connection.connection.driver_connection
    with _errors_of(connection, driver):
        with driver.pipeline():
            cursors = [driver.execute(_sql(text, connection.dialect), values) for text, values in steps]
        return [cursor.fetchone()[0] if cursor.description else None for cursor in cursors]


@lru_cache(maxsize=128)
def _sql(statement: TextClause, dialect: Dialect) -> bytes:
    """A statement as bytes with the driver's placeholders."""
    return str(statement.compile(dialect=dialect)).encode()


@contextlib.contextmanager
def _errors_of(connection: Connection, driver: Any) -> Iterator[None]:
    """Raise psycopg's errors as SQLAlchemy's."""
    try:
        yield
    except psycopg.Error as error:
        raise DBAPIError.instance(
            statement=None,
            params=None,
            orig=error,
            dbapi_base_err=psycopg.Error,
            hide_parameters=True,
            connection_invalidated=driver.closed or driver.broken,
            dialect=connection.dialect,
        ) from error
