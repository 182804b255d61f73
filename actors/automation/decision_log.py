"""Queries for stored decisions, newest first. Each function runs inside a transaction.

A decision is stored where it is applied, where it was asked for by name of an actor, and where
`POST /automation/decisions` asked to apply it. One that was only reported is not.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from sqlalchemy import func, select

from actors.automation import times
from actors.automation.outbox import Status
from actors.automation.tables import automation_decisions

if TYPE_CHECKING:
    from collections.abc import Collection

    from sqlalchemy import Connection

_UNAPPLIED: Final = frozenset({Status.NOT_APPLIED.value, Status.FORBIDDEN.value})


class StoredDecision(NamedTuple):
    """A row of `automation_decisions`, as far as it is shown.

    Attributes:
        id: Rises with time; the cursor of a page.
        problem: What Roblox answered last, or why it is not applied.
    """

    id: int
    request_id: str
    user_id: int
    action: str
    from_rank: str
    target_rank: str | None
    reason: str
    actor_user_id: int | None
    status: str
    attempts: int
    problem: str | None
    punishment_status: str | None
    punishment_expires_at: datetime | None
    created_at: datetime
    updated_at: datetime

    def to_json(self) -> dict[str, Any]:
        """The decision as the API shows it; the keys of an answer's `decision` are among its keys."""
        return {
            "requestId": self.request_id,
            "userId": self.user_id,
            "action": self.action,
            "fromRank": self.from_rank,
            "targetRank": self.target_rank,
            "reason": self.reason,
            "actorUserId": self.actor_user_id,
            "apply": self.status not in _UNAPPLIED,
            "status": self.status,
            "problem": self.problem,
            "attempts": self.attempts,
            "punishmentStatus": self.punishment_status,
            "punishmentExpiresAt": times.text_or_none(self.punishment_expires_at),
            "createdAt": times.text(self.created_at),
            "updatedAt": times.text(self.updated_at),
        }


_DECISIONS: Final = select(*(automation_decisions.c[name] for name in StoredDecision._fields))


def find(connection: Connection, request_id: str) -> StoredDecision | None:
    """The decision of a request id; None where it was not stored, or is deleted."""
    row = connection.execute(_DECISIONS.where(automation_decisions.c.request_id == request_id)).first()
    return None if row is None else StoredDecision._make(row)


def newest(
    connection: Connection, *, user_id: int | None, before: int | None, limit: int
) -> list[StoredDecision]:
    """Decisions about one player, or about all, newest first.

    Args:
        before: The id of the last decision of the page before.
    """
    columns = automation_decisions.c
    statement = _DECISIONS.order_by(columns.id.desc()).limit(limit)
    if user_id is not None:
        statement = statement.where(columns.user_id == user_id)
    if before is not None:
        statement = statement.where(columns.id < before)
    return list(map(StoredDecision._make, connection.execute(statement)))


def newest_of_each(connection: Connection, user_ids: Collection[int]) -> dict[int, StoredDecision]:
    """The newest decision about each of these players."""
    columns = automation_decisions.c
    ids = select(func.max(columns.id)).where(columns.user_id.in_(user_ids)).group_by(columns.user_id)
    found = map(StoredDecision._make, connection.execute(_DECISIONS.where(columns.id.in_(ids))))
    return {decision.user_id: decision for decision in found}
