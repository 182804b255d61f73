"""Deletes rows that are too old; a wall clock that jumps makes no row old.

Rows carry a wall clock's time, which may jump by days, both ways, for a minute or for good. So ages are
measured in seconds that passed on the monotonic clocks of running nodes, counted in the database. That count
does not go on while no node runs: rows are kept for their time at least, never less.

Each look adds the seconds since the last one to the count, and notes the lowest time that the wall clock has
shown in between. No row of the last `keep_s` counted seconds is dated before the lowest time noted in them;
what is dated before that, goes.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple

import trio
from sqlalchemy import BigInteger, Column, Connection, Integer, MetaData, Table, delete, func, select, text

from actors.links.errors import LinkDown

if TYPE_CHECKING:
    from actors.links.database import Database, DatabasePart
    from supervision import Life

logger: Final = logging.getLogger(__name__)

INTERVAL_S: Final = 60.0
# A few milliseconds of the writer; between two slices others have their turn.
ROWS_PER_SLICE: Final = 500
PAUSE_S: Final = 0.05
# Looks within this share of the shortest retention share a note; rows are deleted that much too late.
SHARE: Final = 0.01
LONGEST_SPAN_S: Final = 600.0
# Notes are kept for longer than any retention: at most some 50,000.
KEEP_NOTES_MS: Final = 366 * 86_400_000
# More than that between two looks is not counted, whatever the monotonic clock says.
LONGEST_STEP_S: Final = 600.0

metadata: Final = MetaData()
_KEY: Final = BigInteger().with_variant(Integer(), "sqlite")

# One row for each span of counted time.
retention_clock: Final = Table(
    "retention_clock",
    metadata,
    Column("started_ms", _KEY, primary_key=True, autoincrement=False),
    # The count at the last look of the span.
    Column("elapsed_ms", BigInteger, nullable=False),
    # The lowest time any node's wall clock has shown since the look before the span; Unix milliseconds.
    Column("lowest_ms", BigInteger, nullable=False),
)
_columns: Final = retention_clock.c

_NOTE: Final = text("""
    INSERT INTO retention_clock (started_ms, elapsed_ms, lowest_ms) VALUES (:started, :elapsed, :lowest)
    ON CONFLICT (started_ms) DO UPDATE SET
        elapsed_ms = CASE WHEN excluded.elapsed_ms > retention_clock.elapsed_ms
            THEN excluded.elapsed_ms ELSE retention_clock.elapsed_ms END,
        lowest_ms = CASE WHEN excluded.lowest_ms < retention_clock.lowest_ms
            THEN excluded.lowest_ms ELSE retention_clock.lowest_ms END
""")


class WallClock:
    """The wall clock by which rows are dated; remembers the lowest time it has shown.

    Whatever dates rows that a `RetentionSweeper` deletes calls this very object. Set back, it goes on from
    the lowest time noted until the new one has been noted, within a minute: until then other nodes could not
    tell a row dated so from an old one.

    Args:
        read: Unix seconds.
    """

    def __init__(self, read: Callable[[], float] = time.time) -> None:
        self._read = read
        self._lowest_s = read()
        self._noted_s = -math.inf

    def __call__(self) -> float:
        """Unix seconds."""
        now_s = self._read()
        self._lowest_s = min(self._lowest_s, now_s)
        return max(self._noted_s, now_s)

    def begin_note(self) -> float:
        """The lowest time shown since the last note; a new span begins."""
        now_s = self._read()
        lowest_s, self._lowest_s = min(self._lowest_s, now_s), now_s
        return lowest_s

    def end_note(self, lowest_s: float, *, is_written: bool) -> None:
        """What `begin_note` returned is in the database now; or it is not, and the span goes on."""
        if is_written:
            self._noted_s = lowest_s
        else:
            self._lowest_s = min(self._lowest_s, lowest_s)


class Forgotten(NamedTuple):
    """What came of a look at some of the oldest rows.

    Attributes:
        gone: How many were deleted.
        last_id: After which to look next; None where all that follow are too young.
    """

    gone: int
    last_id: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Slice:
    """Which rows a transaction may delete.

    Attributes:
        after_id: Those above it.
        before_ms: Those dated before it.
        now_ms: What the wall clock shows; rows dated later were dated by one that was ahead.
        limit: How many to look at.
    """

    after_id: int
    before_ms: int
    now_ms: int
    limit: int

    @property
    def before(self) -> datetime:
        """`before_ms` as columns of that type have it."""
        return datetime.fromtimestamp(self.before_ms / 1000, UTC)

    def first(self, gone: int) -> Forgotten:
        """The outcome where only the first rows are looked at: look again while some are deleted."""
        return Forgotten(gone, 0 if gone else None)


Forget = Callable[[Connection, Slice], Forgotten]


class Expiry(NamedTuple):
    """Rows of one kind, and how long they are kept.

    Attributes:
        keep_s: Counted seconds, at least.
        forget: A transaction that deletes some, the oldest first.
    """

    keep_s: float
    forget: Forget


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What a look needs to know; see `look`.

    Attributes:
        seen_ms: The count at this node's last look; None before the first.
        passed_ms: Milliseconds since then, on a monotonic clock.
        lowest_ms: The lowest time of the wall clock since then.
        span_ms: How much counted time shares a row.
    """

    seen_ms: int | None
    passed_ms: int
    lowest_ms: int
    span_ms: int


def look(connection: Connection, at: Look, keeps_ms: Sequence[int]) -> tuple[int, list[int | None]]:
    """Count the time that has passed, and note the lowest time of the wall clock.

    Of many nodes only one counts a second: whoever finds that another has counted since it looked last
    adds nothing.

    Returns:
        The count; and for each retention the time before which rows are too old, None if none is yet.
    """
    elapsed_ms = connection.scalar(select(func.max(_columns.elapsed_ms))) or 0
    if elapsed_ms == at.seen_ms:
        elapsed_ms += at.passed_ms
    started_ms = elapsed_ms // at.span_ms * at.span_ms
    connection.execute(_NOTE, {"started": started_ms, "elapsed": elapsed_ms, "lowest": at.lowest_ms})
    outdated_ms = elapsed_ms - max(KEEP_NOTES_MS, 2 * max(keeps_ms))
    connection.execute(delete(retention_clock).where(_columns.elapsed_ms < outdated_ms))
    return elapsed_ms, [_before_ms(connection, elapsed_ms - keep_ms) for keep_ms in keeps_ms]


def _before_ms(connection: Connection, since_ms: int) -> int | None:
    """The lowest time noted since the count was `since_ms`; None where the notes do not reach so far back."""
    first_ms = connection.scalar(select(func.min(_columns.elapsed_ms)))
    if first_ms is None or first_ms > since_ms:
        return None
    lowest = select(func.min(_columns.lowest_ms)).where(_columns.elapsed_ms > since_ms)
    lowest_ms: int | None = connection.scalar(lowest)
    return lowest_ms


class RetentionSweeper:
    """Looks once a minute; a child for a supervisor is `run`.

    Args:
        database: Where the rows are, and the table `retention_clock`.
        expiries: What is deleted.
        clock: The one by which the rows are dated.
        interval_s: Seconds between two sweeps.
        pause_s: Seconds between two transactions of a sweep.
        rows: Looked at by one transaction.
        steady: Seconds of a clock that does not jump; trio's if None.

    Attributes:
        forgotten: Rows deleted since the start.
    """

    def __init__(
        self,
        database: Database | DatabasePart,
        expiries: Sequence[Expiry],
        *,
        clock: WallClock,
        interval_s: float = INTERVAL_S,
        pause_s: float = PAUSE_S,
        rows: int = ROWS_PER_SLICE,
        steady: Callable[[], float] | None = None,
    ) -> None:
        self.forgotten = 0
        self._database = database
        self._expiries = tuple(expiries)
        self._keeps_ms = [round(expiry.keep_s * 1000) for expiry in expiries]
        shortest_s = min(expiry.keep_s for expiry in expiries)
        self._span_ms = round(1000 * min(LONGEST_SPAN_S, max(interval_s, SHARE * shortest_s)))
        self._clock = clock
        self._interval_s = interval_s
        self._pause_s = pause_s
        self._rows = rows
        self._steady = steady or trio.current_time
        self._seen_ms: int | None = None
        self._looked_at_s = 0.0

    async def run(self, life: Life) -> None:
        """Sweep until cancelled."""
        life.started()
        while True:
            await self._database.until_up()
            try:
                await self.sweep()
            except LinkDown:
                logger.info("retention_sweep_put_off")
            await trio.sleep(self._interval_s)

    async def sweep(self) -> int:
        """Delete everything too old, slice by slice; how many rows went.

        Raises:
            LinkDown: The database is away.
        """
        swept = 0
        for expiry, before_ms in zip(self._expiries, await self._look(), strict=True):
            if before_ms is not None:
                swept += await self._forget(expiry, before_ms)
        return swept

    async def _look(self) -> list[int | None]:
        now_s, lowest_s = self._steady(), self._clock.begin_note()
        at = Look(
            seen_ms=self._seen_ms,
            passed_ms=int(1000 * min(now_s - self._looked_at_s, LONGEST_STEP_S)),
            lowest_ms=int(lowest_s * 1000),
            span_ms=self._span_ms,
        )
        try:
            seen_ms, befores = await self._database.write(partial(look, at=at, keeps_ms=self._keeps_ms))
        except BaseException:
            self._clock.end_note(lowest_s, is_written=False)
            raise
        self._clock.end_note(lowest_s, is_written=True)
        self._seen_ms, self._looked_at_s = seen_ms, now_s
        return befores

    async def _forget(self, expiry: Expiry, before_ms: int) -> int:
        swept, after_id = 0, 0
        while True:
            which = Slice(
                after_id=after_id, before_ms=before_ms, now_ms=int(self._clock() * 1000), limit=self._rows
            )
            gone, last_id = await self._database.write(partial(_forget, expiry.forget, which))
            swept += gone
            self.forgotten += gone
            if last_id is None:
                return swept
            after_id = last_id
            await trio.sleep(self._pause_s)


def _forget(forget: Forget, which: Slice, connection: Connection) -> Forgotten:
    return forget(connection, which)
