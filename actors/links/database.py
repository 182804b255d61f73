"""The link to the database: one writer and a few readers, each a connection with a worker thread of its own.

All writes of this process go through one connection: SQLite allows no more, and
what wants to be fast brings many changes in one transaction. Where a PostgreSQL
has no connection for the readers, reads take turns with the writes on that one.

While the link is down, every transaction fails at once, also those that wait for
their turn; only the link's own task tries to connect, with growing pauses. A write
that fails takes the link down too, even where reads succeed (a full disk): the
pauses keep growing until a write has succeeded, or nothing has failed for a while.

A file (SQLite) that is taken away or replaced while it is open goes on taking
writes, which nobody finds again. Each transaction compares before its outcome is
told, and each look; then the link is down until that very file is back, or the
program starts again. With a new one it would not go on by itself: what of the old
one is still in its log would be taken for the new one's. A log that is taken away
alone is lost if the process is killed: an orderly stop writes it into the file.
"""

from __future__ import annotations

import logging
import random
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol, TypeVar

import trio
from sqlalchemy import text
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError

from actors.links.availability import Availability, LinkState
from actors.links.database_engine import SQLITE, Limits, make_engine, normal_url
from actors.links.database_worker import ConnectionWorker, NotRun, is_schema_fault, is_short_of_connections
from actors.links.errors import LinkDown
from supervision import Backoff

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from sqlalchemy import Connection, Engine

    from supervision import Life

logger: Final = logging.getLogger("actors.links")

T = TypeVar("T")
# Device and inode: which file it is, whatever its name.
FileId = tuple[int, int]

RECONNECT: Final = Backoff(first_s=0.1, factor=2.0, ceiling_s=2.0, jitter=0.5)
READERS: Final = 2
CHECK_EVERY_S: Final = 0.25
# Migrations of a large table may take long; nothing else does.
PREPARE_S: Final = 3600.0
# Between two attempts to make the tables of a part that could not be made.
PREPARE_AGAIN_S: Final = 15.0
# Between two attempts to have a connection for each reader.
ASK_AGAIN_S: Final = 10.0
# A part that was refused a table or a right asks again after so long.
REFUSED_S: Final = 1.0
REPORTED_CHARACTERS: Final = 200
_PING: Final = text("SELECT 1")


class Reader(Protocol):
    """What runs transactions that only read: a `Database`, or what stands in front of one."""

    def read(self, function: Callable[[Connection], T], /) -> Awaitable[T]:
        """Run `function`; raise `LinkDown` while the database is away."""
        ...


class Writer(Protocol):
    """What runs transactions that write: a `Database`, or what stands in front of one."""

    def write(self, function: Callable[[Connection], T], /) -> Awaitable[T]:
        """Commit, then return; raise `LinkDown`, as a rule with nothing written."""
        ...


class Transactions(Reader, Writer, Protocol):
    """Both, and whether it is of use to ask."""

    @property
    def is_up(self) -> bool:
        """Whether a transaction may succeed now; false where it would raise `LinkDown` at once."""
        ...


class Unprepared(Exception):
    """The database is there but is not what this program needs; the text says why, for the log."""


@dataclass(frozen=True, slots=True)
class DatabaseStatistics:
    """Counts since the start.

    Attributes:
        up: It answered the last time it was asked.
        outages: Times it went away.
        writes: Transactions committed.
        failed_writes: Transactions that failed.
        writer_busy: Whether one is under way.
        short: Whether reads share the writer's connection, since the server has no more for us.
    """

    up: bool
    outages: int
    writes: int
    failed_writes: int
    writer_busy: bool
    short: bool


class _NoConnection(Exception):
    """The server has no connection for a reader."""

    def __init__(self, error: DBAPIError) -> None:
        super().__init__()
        self.error = error


class Database:
    """Runs transactions, and knows whether the database can be reached.

    `run` is a child for a supervisor. It does not fail while there is no database, and counts as started
    after the first attempt.

    Args:
        url: `sqlite:///file` or `postgresql://…`, in any usual spelling; never logged.
        prepare: Run in a transaction of its own whenever the database comes (back): migrations. May return
            the parts that cannot be used, and why; then it is run again after a while.
        name: In logs and health.
        limits: How long the database may take for one thing.
        timeout_s: How long a transaction may take, and how long it may wait for its turn.
        ping_every_s: How often an idle link checks that the database answers.
        backoff: Pauses between attempts to come back.
        clock: Unix seconds.

    Raises:
        ValueError: The URL cannot be used.
    """

    def __init__(
        self,
        url: str,
        *,
        prepare: Callable[[Connection], Mapping[str, str] | None] | None = None,
        name: str = "database",
        limits: Limits | None = None,
        timeout_s: float = 8.0,
        ping_every_s: float = 5.0,
        backoff: Backoff = RECONNECT,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.name = name
        self._url = normal_url(url)
        self._limits = limits or Limits()
        self._prepare = prepare
        self._prepared_at_s = 0.0
        # Whether readers go without a connection, and when they try again.
        self._is_short = False
        self._ask_again_at_s = 0.0
        self._problems: Mapping[str, str] = {}
        self._path = Path(self._url.database or "") if self.is_sqlite else None
        self._file: FileId | None = None
        self._log: FileId | None = None
        verify = self._check_file if self.is_sqlite else nothing
        self._writer = ConnectionWorker(self.new_engine(writes=True), timeout_s=timeout_s, verify=verify)
        self._readers = [
            ConnectionWorker(self.new_engine(writes=False), timeout_s=timeout_s, verify=verify)
            for _ in range(READERS)
        ]
        self._ping_every_s = ping_every_s
        self._backoff = backoff
        self._availability = Availability(
            "database", name, clock=clock, describe=described, down_level=logging.ERROR
        )
        self._failures = self._writes = self._failed_writes = 0

    # -- availability ------------------------------------------------------------------

    @property
    def is_sqlite(self) -> bool:
        """Whether it is a file of ours and not a server."""
        return self._url.get_backend_name() == SQLITE

    @property
    def state(self) -> LinkState:
        """For health: up or down, and since when."""
        return self._availability.state

    @property
    def is_up(self) -> bool:
        """Whether the database answered the last time it was asked."""
        return self._availability.is_up

    @property
    def outages(self) -> int:
        """Times the database went away: a connection opened when this was smaller is stale."""
        return self._availability.outages

    @property
    def problem(self) -> str | None:
        """Why it is down, without passwords; None while it is up, and before the first attempt."""
        return self._availability.last_error or None

    @property
    def problems(self) -> Mapping[str, str]:
        """Parts that cannot be used though the database is there, and why: their tables do not fit."""
        return self._problems

    def part(self, name: str) -> DatabasePart:
        """The database as one part of the program sees it."""
        return DatabasePart(self, name)

    def statistics(self) -> DatabaseStatistics:
        """Current counts."""
        return DatabaseStatistics(
            self.is_up,
            self.outages,
            self._writes,
            self._failed_writes,
            self._writer.is_busy,
            self._is_short,
        )

    async def until_up(self) -> None:
        """Wait until the database is there; a checkpoint if it is."""
        await self._availability.until_up()

    def note_outage(self, seen: int, error: BaseException) -> None:
        """Report that the database could not be reached.

        Args:
            seen: `outages` from before the attempt; ignored if one has been counted since.
            error: What the driver said.
        """
        self._availability.note_outage(seen, error)

    # -- transactions -------------------------------------------------------------------

    async def write(self, function: Callable[[Connection], T], /) -> T:
        """Run `function` in a transaction, commit it, and return what it returned.

        It may be run twice, the first time without any trace. Writers take turns.
        Cancelling does not wait; the transaction may still be committed.

        Raises:
            LinkDown: The database is away, refuses to write, or has no time. With `cause`, it may have
                committed.
        """
        return await self._transact(self._writer, function)

    async def read(self, function: Callable[[Connection], T], /) -> T:
        """Run `function` in a transaction that only reads, beside the writers.

        Raises:
            LinkDown: The database is away, or has no time.
        """
        readers: Sequence[ConnectionWorker] = self._readers
        if self._is_short and trio.current_time() < self._ask_again_at_s:
            readers = [reader for reader in readers if reader.is_connected] or (self._writer,)
        worker = min(readers, key=lambda reader: reader.queue)
        try:
            return await self._transact(worker, function, is_read=True)
        except _NoConnection as none:
            self._note_short(none.error)
            # By the connection that there is.
            return await self._transact(self._writer, function, is_read=True)

    def _note_short(self, error: DBAPIError | None) -> None:
        """Take note that there are too few connections for the readers, or enough."""
        if error is not None:
            self._ask_again_at_s = trio.current_time() + ASK_AGAIN_S
        if self._is_short is (error is None):
            self._is_short = error is not None
            if error is not None:
                facts = {"link": self.name, "error": described(error), "readers": self._connected_readers}
                logger.warning("database_connections_short", extra=facts)
            else:
                logger.info("database_connections_enough", extra={"link": self.name})

    @property
    def _connected_readers(self) -> int:
        return sum(reader.is_connected for reader in self._readers)

    async def _transact(
        self, worker: ConnectionWorker, function: Callable[[Connection], T], *, is_read: bool = False
    ) -> T:
        if not self.is_up:
            raise LinkDown(self.name)
        seen = self.outages
        try:
            result = await worker.transact(function, is_wanted=lambda: self.is_up)
        except NotRun:
            raise LinkDown(self.name) from None
        except (IntegrityError, DataError):
            raise  # a fault of ours, not of the database
        except (DBAPIError, Unprepared) as error:
            raise self._failed(worker, seen, error, is_read=is_read) from error
        if not is_read:
            self._writes += 1
            self._failures = 0
        elif self._is_short and self._connected_readers == READERS:
            self._note_short(None)
        return result

    def _failed(
        self, worker: ConnectionWorker, seen: int, error: DBAPIError | Unprepared, *, is_read: bool
    ) -> LinkDown | _NoConnection:
        """Take note of a transaction that failed; what to raise."""
        if isinstance(error, Unprepared):
            self.note_outage(seen, error)
            return LinkDown(self.name, error)
        if worker is not self._writer and is_short_of_connections(error):
            return _NoConnection(error)
        if not is_read:
            self._failed_writes += 1
        if not is_schema_fault(error):
            self.note_outage(seen, error)
        return LinkDown(self.name, error)

    def new_engine(self, *, writes: bool, url: str | None = None) -> Engine:
        """An engine for a connection of one's own, at another address if one is given."""
        return make_engine(self._url if url is None else normal_url(url), self._limits, writes=writes)

    # -- the task ----------------------------------------------------------------------

    async def run(self, life: Life) -> None:
        """Connect, check and reconnect until cancelled."""
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._break_off_what_hangs)
                await self._look_after(life)
        finally:
            self.close_connections()

    def close_connections(self) -> None:
        """Close all connections that no thread is at work with; the next transactions open new ones."""
        for worker in (self._writer, *self._readers):
            worker.close()
        self._forget_log()

    def _forget_log(self) -> None:
        """Without any connection: SQLite removes its log with the last one, and makes a new one."""
        if not any(worker.is_connected for worker in (self._writer, *self._readers)):
            self._log = None

    async def _break_off_what_hangs(self) -> None:
        while True:
            await trio.sleep(CHECK_EVERY_S)
            for worker in (self._writer, *self._readers):
                worker.check()

    async def _look_after(self, life: Life) -> None:
        is_first = True  # of this life: an earlier one has closed the connections
        while True:
            try:
                await self._visit(is_first=is_first)
            except (DBAPIError, NotRun, Unprepared, OSError) as error:
                self._availability.note_down(error)
            except LinkDown:
                pass  # of a link that was up: whoever has found out has said so
            else:
                self._availability.note_up()
                is_first = False
            life.started()
            await self._pause()

    async def _visit(self, *, is_first: bool) -> None:
        if self.is_up and not is_first:
            await self.read(self._look)
            self._failures = 0
            if self._problems and trio.current_time() - self._prepared_at_s > PREPARE_AGAIN_S:
                await self._prepare_parts()
            return
        if self._path is not None and self._file is None:
            await trio.to_thread.run_sync(partial(self._path.parent.mkdir, parents=True, exist_ok=True))
        self._forget_log()
        self._check_file()
        await self._prepare_parts()
        if self._path is not None and self._file is None:
            # Not before it has proved to be of use: until then it may be exchanged.
            self._file = _file_id(self._path)
        try:
            await self._readers[0].transact(self._look)
        except DBAPIError as error:
            if not is_short_of_connections(error):
                raise
            self._note_short(error)
        if self._path is not None and self._log is None:
            # Two connections keep it open from now on. None where the file system does not do such logs.
            self._log = _file_id(_log_of(self._path))

    async def _prepare_parts(self) -> None:
        before = self._problems
        self._problems = await self._writer.transact(self._prepared, timeout_s=PREPARE_S)
        self._prepared_at_s = trio.current_time()
        for part in before.keys() | self._problems.keys():
            if (problem := self._problems.get(part)) is None:
                logger.info("database_part_up", extra={"link": self.name, "part": part})
            elif problem != before.get(part):
                facts = {"link": self.name, "part": part, "problem": problem}
                logger.error("database_part_unusable", extra=facts)

    def _look(self, connection: Connection) -> None:
        connection.execute(_PING)

    def _check_file(self) -> None:
        """See that the names still lead to the files that are open; some microseconds."""
        if self._path is None or self._file is None:
            return
        if self._file != _file_id(self._path):
            raise Unprepared("the file was removed or replaced: put that very one back, or start again")
        if self._log is not None and self._log != _file_id(_log_of(self._path)):
            raise Unprepared(
                "the file's log (-wal) was removed or replaced: put it back, or stop with SIGTERM"
            )

    def _prepared(self, connection: Connection) -> Mapping[str, str]:
        if self.is_sqlite:
            # The smallest write there is: says whether the disk takes one.
            connection.exec_driver_sql("PRAGMA user_version=1")
        return (self._prepare(connection) if self._prepare is not None else None) or {}

    async def _pause(self) -> None:
        """Wait until the next check: soon while there is trouble, and at once when some is reported."""
        if self.is_up:
            with trio.move_on_after(self._ping_every_s):
                await self._availability.until_changed()
            if self.is_up:
                return
        await trio.sleep(self._backoff.delay(self._failures, random.random()))
        self._failures += 1


class DatabasePart:
    """The database as one part of the program sees it: away too where only this part's tables cannot be used.

    Args:
        name: As `prepare` calls it.

    Attributes:
        name: Of the link, in logs and errors.
    """

    def __init__(self, database: Database, name: str) -> None:
        self.name = database.name
        self._database = database
        self._part = name
        self._refused: str | None = None
        self._again_at_s = 0.0

    @property
    def state(self) -> LinkState:
        """Of the link."""
        return self._database.state

    @property
    def is_up(self) -> bool:
        """Whether a transaction may succeed now."""
        if self._refused is not None and trio.current_time() < self._again_at_s:
            return False
        return self._database.is_up and self._part not in self._database.problems

    @property
    def problem(self) -> str | None:
        """Why this part cannot be used, or could not the last time; None if it is the link that is down."""
        return self._database.problems.get(self._part) or self._refused

    async def until_up(self) -> None:
        """Wait until this part can be used."""
        await self._database.until_up()
        while not self.is_up:
            await trio.sleep(CHECK_EVERY_S)
            await self._database.until_up()

    async def write(self, function: Callable[[Connection], T], /) -> T:
        """As `Database.write`."""
        return await self._watched(partial(self._database.write, function))

    async def read(self, function: Callable[[Connection], T], /) -> T:
        """As `Database.read`."""
        return await self._watched(partial(self._database.read, function))

    async def _watched(self, transact: Callable[[], Awaitable[T]]) -> T:
        if not self.is_up:
            raise LinkDown(self.name)
        try:
            result = await transact()
        except LinkDown as down:
            if isinstance(down.cause, DBAPIError) and is_schema_fault(down.cause):
                self._again_at_s = trio.current_time() + REFUSED_S
                self._note(described(down.cause))
            raise
        if self._refused is not None:
            self._note(None)
        return result

    def _note(self, refused: str | None) -> None:
        if (refused is None) is not (self._refused is None):
            facts = {"link": self.name, "part": self._part, "problem": refused}
            level = logging.INFO if refused is None else logging.ERROR
            logger.log(level, "database_part_refused", extra=facts)
        self._refused = refused


def nothing() -> None:
    """A server looks after its files itself."""


def _log_of(path: Path) -> Path:
    return path.with_name(path.name + "-wal")


def _file_id(path: Path) -> FileId | None:
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino


def described(error: BaseException | None) -> str:
    """What the driver said, in one line: it names hosts and files, never the password."""
    said = str(getattr(error, "orig", None) or error).strip()
    first = said.splitlines()[0] if said else ""
    return f"{type(error).__name__}: {first}"[:REPORTED_CHARACTERS]
