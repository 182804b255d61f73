"""Transactional outbox: pending decisions claimed, advanced, finished; each function within a transaction.

A decision is `pending` until it is `done`, `refused` (Roblox said no), or `superseded` (a different
decision about the same player came while no request of this one was under way). Pending decisions of
one player are carried out in order, one at a time. Others are stored only to be read: `not_applied`, and
`forbidden` where the actor may not.

A claim is a lease: no other node gets the decision before it ends. The leases of a node that dies lapse.
Leases compare the clocks of nodes, which must agree to within a few seconds. A lease or a retry that lies
further ahead than any is made was dated by a clock that was wrong: it is over.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import Enum
from typing import Any, Final

from sqlalchemy import Connection, RowMapping, Select, Update, and_, delete, exists, func, or_, select, update

from actors.automation.outcome import LONGEST_RETRY_S, Done, Outcome, RateLimited, Refused, RetryIn
from actors.automation.steps import Ban, Step, from_json
from actors.automation.tables import automation_decisions, player_sync
from actors.core import SlidingWindow
from actors.links import Forgotten, Slice

# A dead node's decisions wait no longer than any retry does, and the outbox has to notice these too.
# The longest request to Roblox and the writing down of its answer take 20 s.
LEASE: Final = timedelta(seconds=LONGEST_RETRY_S)
# How far the clocks of two nodes may differ.
SKEW: Final = timedelta(seconds=5)

# Roblox's limit per user. Kept beside the player, since all processes share it.
RESTRICTION_UPDATES: Final = SlidingWindow(most=2, span_s=60.0)

decisions: Final = automation_decisions.c


class Status(Enum):
    """The state of a decision."""

    PENDING = "pending"
    DONE = "done"
    REFUSED = "refused"
    SUPERSEDED = "superseded"
    # Never pending: stored to be read.
    NOT_APPLIED = "not_applied"
    FORBIDDEN = "forbidden"


@dataclass(frozen=True, slots=True, kw_only=True)
class Claimed:
    """A decision this node may carry out while its lease lasts.

    Attributes:
        restricted_at: When Roblox has made restriction updates of this user; Unix times.
    """

    id: int
    request_id: str
    user_id: int
    action: str
    from_rank: str
    target_rank: str | None
    punishment_status: str | None
    punishment_expires_at: datetime | None
    steps: tuple[Step, ...]
    next_step: int
    attempts: int
    restricted_at: tuple[float, ...] = ()

    def wait_s(self, now: datetime) -> float:
        """Seconds until the limit of Roblox leaves room for the next step; 0 if it does now."""
        if not isinstance(self.step, Ban):
            return 0.0
        return replace(RESTRICTION_UPDATES, admitted_at=self.restricted_at).wait_s(now.timestamp())

    @property
    def step(self) -> Step:
        """The step to send next."""
        return self.steps[self.next_step]

    def after(self, progress: Progress) -> Claimed | None:
        """The same decision at its next step; None when it is settled."""
        if progress.status is not Status.PENDING:
            return None
        return replace(self, next_step=progress.next_step, attempts=progress.attempts)


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """The state of a decision after an outcome; the next attempt not before `not_before`."""

    status: Status
    next_step: int
    attempts: int
    not_before: datetime
    problem: str | None


@dataclass(frozen=True, slots=True)
class Depth:
    """How many decisions are pending, and when the oldest was decided."""

    pending: int
    oldest: datetime | None


def progress_after(job: Claimed, outcome: Outcome, now: datetime) -> Progress:
    """The next state of a decision. The first step decides; later ones cannot undo it."""
    match outcome:
        case RetryIn(delay_s, problem):
            return Progress(
                status=Status.PENDING,
                next_step=job.next_step,
                attempts=job.attempts + 1,
                not_before=now + timedelta(seconds=delay_s),
                problem=problem,
            )
        case RateLimited(delay_s):
            return Progress(
                status=Status.PENDING,
                next_step=job.next_step,
                attempts=job.attempts,
                not_before=now + timedelta(seconds=delay_s),
                problem=None,
            )
        case Refused(code, message) if job.next_step == 0:
            return _settled(Status.REFUSED, job.next_step, now, f"{code}: {message}")
        case Refused(code, message):
            return _moved_on(job, now, f"{code}: {message}")
        case Done():
            return _moved_on(job, now, None)


def _moved_on(job: Claimed, now: datetime, problem: str | None) -> Progress:
    ahead = job.next_step + 1
    status = Status.DONE if ahead == len(job.steps) else Status.PENDING
    return _settled(status, ahead, now, problem)


def _settled(status: Status, next_step: int, now: datetime, problem: str | None) -> Progress:
    return Progress(status=status, next_step=next_step, attempts=0, not_before=now, problem=problem)


def claim_decisions(connection: Connection, *, owner: str, limit: int, now: datetime) -> list[Claimed]:
    """Take up to `limit` decisions that are due, oldest first, for a lease's length.

    PostgreSQL: nodes claiming at once pass over each other's rows. SQLite: writers take turns.
    """
    # A common table expression with FOR UPDATE runs exactly once; as a plain subquery a
    # planner may run it again and lock more than `limit`.
    due = _due(now).limit(limit).with_for_update(skip_locked=True).cte("due")
    claim = (
        update(automation_decisions)
        .where(decisions.id.in_(select(due.c.id)))
        .values(lease_owner=owner, lease_until=now + LEASE)
        .returning(automation_decisions)
    )
    rows = connection.execute(claim).mappings().all()
    jobs = sorted((_claimed(row) for row in rows), key=lambda job: job.id)
    restricted = _restrictions(connection, [job.user_id for job in jobs if isinstance(job.step, Ban)])
    return [replace(job, restricted_at=restricted.get(job.user_id, ())) for job in jobs]


def _restrictions(connection: Connection, user_ids: Sequence[int]) -> dict[int, tuple[float, ...]]:
    if not user_ids:
        return {}
    columns = player_sync.c
    rows = connection.execute(
        select(columns.user_id, columns.restricted_at).where(columns.user_id.in_(user_ids))
    )
    return {user_id: tuple(times or ()) for user_id, times in rows}


def is_leased(lease_until: datetime | None, now: datetime) -> bool:
    """Whether a lease holds."""
    return lease_until is not None and now <= lease_until <= now + LEASE + SKEW


def _due(now: datetime) -> Select[tuple[int]]:
    older = automation_decisions.alias("older")
    first_of_player = ~exists().where(
        older.c.user_id == decisions.user_id,
        older.c.status == Status.PENDING.value,
        older.c.id < decisions.id,
    )
    return (
        select(decisions.id)
        .where(
            decisions.status == Status.PENDING.value,
            or_(decisions.not_before <= now, decisions.not_before > now + LEASE + SKEW),
            or_(decisions.lease_until.is_(None), ~decisions.lease_until.between(now, now + LEASE + SKEW)),
            first_of_player,
        )
        .order_by(decisions.id)
    )


def _claimed(row: RowMapping) -> Claimed:
    fields = {name: row[name] for name in Claimed.__slots__ if name not in {"steps", "restricted_at"}}
    return Claimed(**fields, steps=from_json(row["steps"]))


def record_progress(
    connection: Connection,
    job: Claimed,
    progress: Progress,
    *,
    owner: str,
    now: datetime,
    has_hook: bool = False,
) -> bool:
    """Write the new state of a decision; False where the lease was lost and nothing was written.

    With a hook, a decision that is done is owed to it.

    The lease goes on for a decision that goes on at once, and ends with every other.
    """
    goes_on = progress.status is Status.PENDING and progress.next_step > job.next_step
    statement = (
        update(automation_decisions)
        .where(_held(job, owner))
        .values(
            status=progress.status.value,
            next_step=progress.next_step,
            attempts=progress.attempts,
            not_before=progress.not_before,
            problem=func.coalesce(progress.problem, decisions.problem),
            hook_at=now if has_hook and progress.status is Status.DONE else None,
            lease_owner=owner if goes_on else None,
            lease_until=now + LEASE if goes_on else None,
            updated_at=now,
        )
    )
    return connection.execute(statement).rowcount == 1


def _held(job: Claimed, owner: str) -> Any:
    # The step too: a lease that was lost, taken by a namesake and passed on is not this one.
    return and_(
        decisions.id == job.id,
        decisions.status == Status.PENDING.value,
        decisions.lease_owner == owner,
        decisions.next_step == job.next_step,
    )


def supersede(request_ids: Sequence[str], now: datetime) -> Update:
    """The statement that takes waiting decisions out of the queue."""
    return (
        update(automation_decisions)
        .where(decisions.request_id.in_(request_ids), decisions.status == Status.PENDING.value)
        .values(status=Status.SUPERSEDED.value, lease_owner=None, lease_until=None, updated_at=now)
    )


def status_of(connection: Connection, request_id: str) -> Status | None:
    """The state of a decision; None for one that was deleted."""
    found = connection.scalar(select(decisions.status).where(decisions.request_id == request_id))
    return None if found is None else Status(found)


def release_decisions(connection: Connection, *, owner: str) -> int:
    """End all leases of an owner; how many there were."""
    statement = (
        update(automation_decisions)
        .where(decisions.lease_owner == owner, decisions.status == Status.PENDING.value)
        .values(lease_owner=None, lease_until=None)
    )
    return connection.execute(statement).rowcount


def outbox_depth(connection: Connection) -> Depth:
    """The depth of the outbox, for health and metrics."""
    waiting = decisions.status == Status.PENDING.value
    statement = select(func.count(), func.min(decisions.created_at)).where(waiting)
    count, oldest = connection.execute(statement).one()
    return Depth(count, oldest)


def forget_settled(connection: Connection, which: Slice) -> Forgotten:
    """Delete the oldest decisions that are settled."""
    settled = decisions.status != Status.PENDING.value
    oldest = select(decisions.id).where(settled).order_by(decisions.id).limit(which.limit)
    statement = delete(automation_decisions).where(
        decisions.id.in_(oldest), decisions.updated_at < which.before
    )
    return which.first(connection.execute(statement).rowcount)
