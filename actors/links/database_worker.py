"""One connection to the database with a worker thread; the connection is shut when the thread hangs."""

from __future__ import annotations

import os
import socket
import sqlite3
import time
from typing import TYPE_CHECKING, Any, Final, TypeVar

import trio
from sqlalchemy.exc import DBAPIError

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Connection, Engine

T = TypeVar("T")

# Two transactions that wait for each other, or that could not be put in an order: PostgreSQL ends one,
# with nothing of it written, and says that it may be tried again.
TRY_AGAIN: Final = frozenset({"40001", "40P01"})


# What SQLite says of tables and columns that are missing, or there already.
MISSING: Final = ("no such table", "no such column", "no such index", "has no column named", "already exists")


# Of a connection that is refused psycopg hands on no SQLSTATE.
NO_CONNECTION: Final = ("too many clients", "too many connections", "remaining connection slots")


class NotRun(Exception):
    """The transaction was not run: its turn did not come in time, or it was no longer wanted."""


class ConnectionWorker:
    """Runs transactions one after the other in a worker thread.

    Args:
        engine: Makes the connection, when it is first needed and after each failure.
        timeout_s: Longest a transaction takes before `check` shuts the connection, and longest it
            waits for its turn.
        verify: Called in the thread after each commit, before anybody hears of it. What it raises is the
            outcome, though the transaction was committed.
    """

    def __init__(
        self, engine: Engine, *, timeout_s: float, verify: Callable[[], None] = lambda: None
    ) -> None:
        self._engine = engine
        self._verify = verify
        self._timeout_s = timeout_s
        self._limiter = trio.CapacityLimiter(1)
        self._connection: Connection | None = None
        self._deadline_s: float | None = None

    @property
    def is_connected(self) -> bool:
        """Whether there is a connection."""
        return self._connection is not None

    @property
    def is_busy(self) -> bool:
        """Whether a thread is at work."""
        return self._limiter.available_tokens == 0

    @property
    def queue(self) -> int:
        """How many transactions are under way or wait for their turn."""
        return self._limiter.borrowed_tokens + self._limiter.statistics().tasks_waiting

    async def transact(
        self,
        function: Callable[[Connection], T],
        *,
        timeout_s: float | None = None,
        is_wanted: Callable[[], bool] = lambda: True,
    ) -> T:
        """Run `function` in a transaction and commit it.

        It is run once more if the connection turns out to be stale, or the database asks for it, before
        the commit was sent. Cancelled, the thread goes on, and the next transaction waits for it.

        Args:
            function: Runs in the thread.
            timeout_s: Instead of the worker's, for this transaction.
            is_wanted: Called when its turn has come; false skips it.

        Raises:
            NotRun: It was not run.
            sqlalchemy.exc.DBAPIError: The database failed. If that was in the commit, it may be written.
        """
        timeout_s = self._timeout_s if timeout_s is None else timeout_s
        turn: Any = _Turn(self._limiter, self._timeout_s, is_wanted)
        return await trio.to_thread.run_sync(
            self._run, function, timeout_s, limiter=turn, abandon_on_cancel=True
        )

    def check(self) -> None:
        """Shut the connection if a transaction takes too long, which makes its thread raise."""
        deadline_s, connection = self._deadline_s, self._connection
        if deadline_s is not None and connection is not None and time.monotonic() > deadline_s:
            _sever(connection)

    def close(self) -> None:
        """Close the connection, unless a thread is at work with it."""
        if not self.is_busy:
            self._drop()

    def _run(self, function: Callable[[Connection], T], timeout_s: float) -> T:
        self._deadline_s = time.monotonic() + timeout_s
        try:
            try:
                return self._attempt(function)
            except _MayTryAgain:
                return self._attempt(function, is_last=True)
        finally:
            self._deadline_s = None

    def _attempt(self, function: Callable[[Connection], T], *, is_last: bool = False) -> T:
        is_fresh = self._connection is None
        connection = self._connection = self._connection or self._engine.connect()
        try:
            with connection.begin() as transaction:
                result = function(connection)
                is_fresh = is_last = True  # past this point it may have been written
                transaction.commit()
        except DBAPIError as error:
            self._drop()
            stale = error.connection_invalidated and not is_fresh
            if not is_last and (stale or _sqlstate(error) in TRY_AGAIN):
                raise _MayTryAgain from error
            raise
        self._verify()
        return result

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.invalidate()
            connection.close()


class _Turn:
    """One transaction's turn: a limiter, since `trio.to_thread` gives that back when the thread has ended."""

    def __init__(
        self, limiter: trio.CapacityLimiter, longest_s: float, is_wanted: Callable[[], bool]
    ) -> None:
        self._limiter = limiter
        self._longest_s = longest_s
        self._is_wanted = is_wanted

    async def acquire_on_behalf_of(self, borrower: object) -> None:
        with trio.move_on_after(self._longest_s) as waiting:
            await self._limiter.acquire_on_behalf_of(borrower)
        if waiting.cancelled_caught:
            raise NotRun
        if not self._is_wanted():
            self._limiter.release_on_behalf_of(borrower)
            raise NotRun

    def release_on_behalf_of(self, borrower: object) -> None:
        self._limiter.release_on_behalf_of(borrower)


class _MayTryAgain(Exception):
    """Nothing of the transaction was written."""


def _sqlstate(error: DBAPIError) -> str | None:
    return getattr(error.orig, "sqlstate", None)


def is_schema_fault(error: DBAPIError) -> bool:
    """Whether a table, column or right is missing or in the way, while the database is there."""
    state = _sqlstate(error)
    if state is not None:
        # Syntax error or access rule violation: undefined and duplicate tables and columns, no privilege.
        return state.startswith("42")
    said = str(error.orig)
    return isinstance(error.orig, sqlite3.Error) and any(words in said for words in MISSING)


def is_short_of_connections(error: DBAPIError) -> bool:
    """Whether a PostgreSQL is there, but has no further connection for us (server, database or role)."""
    said = str(error.orig)
    return _sqlstate(error) == "53300" or any(words in said for words in NO_CONNECTION)


def _sever(connection: Connection) -> None:
    """Make calls that wait on the connection fail; from any thread."""
    try:
        driver: Any = connection.connection.driver_connection
        if isinstance(driver, sqlite3.Connection):
            driver.interrupt()
        else:
            with socket.socket(fileno=os.dup(driver.fileno())) as descriptor:
                descriptor.shutdown(socket.SHUT_RDWR)
    except (DBAPIError, OSError, sqlite3.Error):
        pass  # it has ended in this very moment
