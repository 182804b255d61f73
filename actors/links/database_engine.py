"""A SQLAlchemy engine for one connection: which driver, which time limits, what durable means."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import psycopg
from psycopg.conninfo import make_conninfo
from sqlalchemy import URL, create_engine, event, make_url
from sqlalchemy.pool import NullPool

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

SQLITE: Final = "sqlite"
# Key in a connection's `info`.
IS_POOLED: Final = "greenroom_is_pooled"
POSTGRESQL: Final = "postgresql"
# Spellings in use elsewhere, and what we mean by them.
DRIVERS: Final = {
    "postgres": "postgresql+psycopg",
    "postgresql": "postgresql+psycopg",
    "sqlite": "sqlite",
}
SSL_MODES: Final = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
# The pages of ten thousand active players, one on each, twice over.
SQLITE_CACHE_KIB: Final = 65_536
SQLITE_PAGE_BYTES: Final = 1024
SQLITE_CHECKPOINT_PAGES: Final = 65_536


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How long the database may take.

    Attributes:
        connect_s: For a connection.
        statement_s: For one statement, on PostgreSQL.
        lock_s: For a lock another process holds: the file's on SQLite.
    """

    connect_s: float = 2.0
    statement_s: float = 5.0
    lock_s: float = 3.0


def normal_url(url: str) -> URL:
    """`url` with the driver we use.

    `postgres://`, `postgresql://` and `postgresql+asyncpg://` mean psycopg; asyncpg's `ssl=` becomes
    libpq's `sslmode=`.

    Raises:
        ValueError: It is no URL of SQLite or PostgreSQL, or of a database that lives in memory only.
    """
    given = make_url(url)
    family, _, driver = given.drivername.partition("+")
    if family not in DRIVERS:
        raise ValueError("wanted a sqlite: or postgresql: URL")
    normal = given.set(drivername=DRIVERS[family])
    if normal.get_backend_name() == SQLITE:
        if normal.database in {None, "", ":memory:"}:
            raise ValueError("a database in memory forgets what it has acknowledged: wanted a file")
        return normal
    if driver == "asyncpg" and "ssl" in normal.query:
        mode = normal.query["ssl"]
        normal = normal.difference_update_query(["ssl"]).update_query_dict({"sslmode": mode})
    return normal


def check_database_url(url: str) -> None:
    """See that a URL can be used, without connecting.

    Raises:
        ValueError: It is none of SQLite or PostgreSQL, or has an option that libpq does not know, such
            as those of Prisma and JDBC: every connection would fail. Its text holds no password.
    """
    normal = normal_url(url)
    if normal.get_backend_name() == SQLITE:
        return
    for name, value in normal.query.items():
        try:
            make_conninfo(**{name: ""})
        except psycopg.Error:
            raise ValueError(f"unknown option {name!r}") from None
        if name == "sslmode" and value not in SSL_MODES:
            raise ValueError(f"sslmode: wanted one of {', '.join(SSL_MODES)}")


def make_engine(url: URL, limits: Limits, *, writes: bool) -> Engine:
    """An engine whose connections are durable when they write, and refuse to write when they read."""
    if url.get_backend_name() == SQLITE:
        return _sqlite(url, limits, writes=writes)
    return _postgresql(url, limits, writes=writes)


def _engine(url: URL, arguments: dict[str, Any]) -> Engine:
    # Errors name no parameters: they end up in logs, where no bodies are.
    return create_engine(url, poolclass=NullPool, connect_args=arguments, hide_parameters=True)


def _sqlite(url: URL, limits: Limits, *, writes: bool) -> Engine:
    # A connection is used by one thread at a time, but not always the same.
    arguments = {"timeout": limits.lock_s, "check_same_thread": False}
    engine = _engine(url, arguments)
    begin = "BEGIN IMMEDIATE" if writes else "BEGIN"

    @event.listens_for(engine, "connect")
    def _prepare(connection: Any, _record: object) -> None:
        # The driver would begin transactions where it sees fit; we say when.
        connection.isolation_level = None
        # For a file that is new: one small row changed here and there costs a page of disk each.
        connection.execute(f"PRAGMA page_size={SQLITE_PAGE_BYTES}")
        connection.execute("PRAGMA journal_mode=WAL")
        # With NORMAL, a WAL database may forget its last commits in a power cut.
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute(f"PRAGMA cache_size=-{SQLITE_CACHE_KIB}")
        # A page written over and over goes to its place once; the log grows to about 64 MiB.
        connection.execute(f"PRAGMA wal_autocheckpoint={SQLITE_CHECKPOINT_PAGES}")
        if not writes:
            connection.execute("PRAGMA query_only=ON")

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        connection.exec_driver_sql(begin)

    return engine


def _postgresql(url: URL, limits: Limits, *, writes: bool) -> Engine:
    arguments = {
        "connect_timeout": max(1, round(limits.connect_s)),
        "application_name": "greenroom",
        # The server's own may lack a character that somebody sends, or say nothing about bytes at all. As a
        # start-up option, since SQLAlchemy asks things before we may; connection poolers know this one.
        "client_encoding": "utf8",
        # A server whose machine has gone says nothing at all.
        "keepalives_idle": 5,
        "keepalives_interval": 2,
        "keepalives_count": 3,
        "tcp_user_timeout": round(limits.statement_s * 2000),
    }
    engine = _engine(url, arguments)
    # By statement and not as start-up options, which connection poolers refuse.
    session = _settings(limits, "SESSION")
    transaction = _settings(limits, "LOCAL")

    @event.listens_for(engine, "connect")
    def _prepare(connection: Any, record: Any) -> None:
        # Sent with each BEGIN: nothing stays behind on the server.
        connection.isolation_level = psycopg.IsolationLevel.READ_COMMITTED
        connection.read_only = not writes
        record.info[IS_POOLED] = _is_pooled(connection)
        if record.info[IS_POOLED]:
            connection.prepare_threshold = None
        else:
            connection.execute(session)
        connection.commit()

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        if is_pooled(connection):
            connection.exec_driver_sql(transaction)

    return engine


def is_pooled(connection: Connection) -> bool:
    """Whether a pooler such as PgBouncer stands between us and PostgreSQL.

    In its transaction mode each transaction may run on another connection of the server: no session setting,
    prepared statement or LISTEN of ours must outlive a transaction. It cannot be told from its session mode,
    so both are treated alike.
    """
    return bool(connection.info.get(IS_POOLED))


def _is_pooled(connection: Any) -> bool:
    # A pooler makes up the process number that clients are told when they connect.
    (server_pid,) = connection.execute("SELECT pg_backend_pid()").fetchone()
    return bool(server_pid != connection.info.backend_pid)


def _settings(limits: Limits, scope: str) -> str:
    """What holds for a session (`SESSION`) or one transaction (`LOCAL`)."""
    return f"""
        SET {scope} statement_timeout = {round(limits.statement_s * 1000)};
        SET {scope} lock_timeout = {round(limits.lock_s * 1000)};
        SET {scope} idle_in_transaction_session_timeout = {round(limits.statement_s * 2000)};
        SET {scope} timezone = 'UTC';
        SELECT set_config('synchronous_commit', 'on', {"true" if scope == "LOCAL" else "false"})
          WHERE current_setting('synchronous_commit') = 'off';
    """
