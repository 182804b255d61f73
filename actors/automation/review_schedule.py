"""Scheduled reviews: decides about all players once in a period, on one node at a time.

When the next review is due, and how far the one under way has come, is in the database: a restart neither
delays nor repeats one, and one that a node leaves unfinished is continued by another.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Final

import trio
from sqlalchemy import Connection, select, update

from actors.automation.review import Reviews, count_applied
from actors.automation.snapshot import BatchRequest
from actors.automation.tables import automation_reviews
from actors.links import LinkDown

if TYPE_CHECKING:
    from actors.links import Database, DatabasePart
    from supervision import Life

logger: Final = logging.getLogger(__name__)

LOOK_EVERY_S: Final = 5.0
# A review that nobody has continued for so long belongs to no node.
LEASE: Final = timedelta(seconds=60)
SAVE_EVERY_S: Final = 5.0
# Between two pages, so that snapshots have their turn.
PAUSE_S: Final = 0.01
# Of the time a stopping node has.
RELEASE_S: Final = 2.0

EVERYBODY: Final = BatchRequest(all=True, apply=True)
_columns: Final = automation_reviews.c


def claim(connection: Connection, *, period: timedelta, now: datetime) -> int | None:
    """Take the review that is due; the user id to continue after, or None where there is none to take."""
    row = connection.execute(select(automation_reviews).with_for_update()).one()
    if row.due_at is None or row.due_at - now > period:
        # The first one; or the period is shorter now than when this was written, or the clock was wrong.
        connection.execute(update(automation_reviews).values(due_at=now + period))
        return None
    is_leased = row.leased_until is not None and timedelta() < row.leased_until - now <= LEASE
    if row.due_at > now or is_leased:
        return None
    save(connection, after=row.after_user_id, now=now)
    after: int = row.after_user_id
    return after


def save(connection: Connection, *, after: int, now: datetime) -> None:
    """Note how far the review has come, and keep it for another while."""
    connection.execute(update(automation_reviews).values(after_user_id=after, leased_until=now + LEASE))


def release(connection: Connection, *, after: int) -> None:
    """Leave the rest of the review to any node."""
    connection.execute(update(automation_reviews).values(after_user_id=after, leased_until=None))


def finish(connection: Connection, *, period: timedelta, now: datetime) -> None:
    """Note that the review has come to its end; the next is due a period after this one was, or at once."""
    due_at = connection.scalar(select(_columns.due_at)) or now
    connection.execute(
        update(automation_reviews).values(
            due_at=max(due_at + period, now), after_user_id=0, leased_until=None
        )
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleStatistics:
    """Counts since the start, of this node."""

    finished: int
    reviewed: int
    applied: int


class ReviewSchedule:
    """Reviews all players once in a period; `run` is a child for a supervisor.

    Args:
        database: Where the schedule is kept.
        reviews: Decides.
        every_s: The period.
        now: Aware, UTC.
    """

    def __init__(
        self,
        database: Database | DatabasePart,
        reviews: Reviews,
        *,
        every_s: float,
        now: Callable[[], datetime],
    ) -> None:
        self._database = database
        self._reviews = reviews
        self._period = timedelta(seconds=every_s)
        self._look_every_s = min(every_s, LOOK_EVERY_S)
        self._now = now
        self._finished = self._reviewed = self._applied = 0

    def statistics(self) -> ScheduleStatistics:
        """Current counts."""
        return ScheduleStatistics(finished=self._finished, reviewed=self._reviewed, applied=self._applied)

    async def run(self, life: Life) -> None:
        """Look for a review that is due, until cancelled."""
        life.started()
        while True:
            await self._database.until_up()
            try:
                await self._look()
            except LinkDown as error:
                logger.info("review_interrupted", extra={"problem": str(error)})
                continue
            await trio.sleep(self._look_every_s)

    async def _look(self) -> None:
        after = await self._database.write(partial(claim, period=self._period, now=self._now()))
        if after is None:
            return
        await self._review(after)
        await self._database.write(partial(finish, period=self._period, now=self._now()))
        self._finished += 1

    async def _review(self, after: int) -> None:
        reviewed = applied = 0
        save_at = trio.current_time() + SAVE_EVERY_S
        try:
            while page := await self._reviews.page(EVERYBODY, after, is_scheduled=True):
                after = page[-1].user_id
                reviewed += len(page)
                applied += count_applied(page)
                if trio.current_time() >= save_at:
                    await self._database.write(partial(save, after=after, now=self._now()))
                    save_at = trio.current_time() + SAVE_EVERY_S
                await trio.sleep(PAUSE_S)
        except trio.Cancelled:
            await self._release(after)
            raise
        finally:
            self._reviewed += reviewed
            self._applied += applied
            logger.info("players_reviewed", extra={"reviewed": reviewed, "applied": applied})

    async def _release(self, after: int) -> None:
        """Let another node continue at once; without the database it does when the lease ends."""
        with trio.CancelScope(shield=True, deadline=trio.current_time() + RELEASE_S):
            try:
                await self._database.write(partial(release, after=after))
            except LinkDown:
                logger.info("review_kept", extra={"after": after})
