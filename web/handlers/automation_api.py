"""Models of the answers of the automation routes, for `/openapi.json`.

Answers themselves are built without pydantic, which is faster; a test compares the two.
"""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel


class _Answer(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="forbid")


class PlayerAnswer(_Answer):
    """A player with what the policy says about the rank."""

    user_id: int
    username: str
    display_name: str | None
    rank: str
    rank_points: int
    next_rank: str | None
    next_rank_required_points: int | None
    previous_rank: str | None
    previous_rank_required_points: int | None
    kos: int
    wos: int
    warnings: int
    recommendations: int
    privileged: bool
    decisions_blocked: bool
    punishment_status: str | None
    punishment_expires_at: datetime | None
    created_at: datetime
    last_synced_at: datetime


class DecisionAnswer(_Answer):
    """What the rules say of a player, and whether it is being carried out."""

    action: Literal["NONE", "PROMOTE", "DEMOTE", "SUSPEND", "BAN"]
    target_rank: str | None
    reason: str
    apply: bool
    request_id: str


class SnapshotAnswer(_Answer):
    """The player after a snapshot; the decision, if one was asked for."""

    player: PlayerAnswer
    decision: DecisionAnswer | None


class DecidedAnswer(_Answer):
    """The player, and the decision that was asked for."""

    player: PlayerAnswer
    decision: DecisionAnswer


class StoredDecisionAnswer(DecisionAnswer):
    """A decision as it was stored, and what became of it."""

    user_id: int
    from_rank: str
    actor_user_id: int | None
    status: Literal["pending", "done", "refused", "superseded", "not_applied", "forbidden"]
    problem: str | None
    attempts: int
    punishment_status: str | None
    punishment_expires_at: datetime | None
    created_at: datetime
    updated_at: datetime


class BatchItem(_Answer):
    """One player of a batch: the decision, or why there is none."""

    user_id: int
    decision: DecisionAnswer | None
    error: Literal["player_not_found", "actor_may_not"] | None
    message: str | None


class BatchAnswer(_Answer):
    """What many decisions have come to; `after` where a request has to continue."""

    reviewed: int
    applied: int
    actions: dict[Literal["NONE", "PROMOTE", "DEMOTE", "SUSPEND", "BAN"], int]
    results: list[BatchItem]
    omitted: int
    after: int | None


class AppliedDecision(_Answer):
    """What the decision hook is told; the player as stored then."""

    event: Literal["decision_applied"]
    player: PlayerAnswer | None
    decision: StoredDecisionAnswer


class DecisionsAnswer(_Answer):
    """Stored decisions, newest first."""

    decisions: list[StoredDecisionAnswer]


class ForbiddenAnswer(_Answer):
    """The actor may not have this decision applied. The snapshot that came with it is recorded."""

    error: Literal["actor_may_not"]
    message: str
    player: PlayerAnswer
    decision: DecisionAnswer


class LeaderAnswer(_Answer):
    """One line of a leaderboard."""

    user_id: int
    username: str
    rank: str
    points: int
    kos: int
    wos: int
    last_synced_at: datetime


class TopAnswer(_Answer):
    """Players by points."""

    players: list[LeaderAnswer]


class RecordsAnswer(_Answer):
    """The leaders by knock-outs, and by wipe-outs."""

    kos: list[LeaderAnswer]
    wos: list[LeaderAnswer]


class LiveAnswer(_Answer):
    """The process answers."""

    status: Literal["ok"]
    timestamp: datetime


class Fault(BaseModel):
    """One thing that is wrong with a request."""

    loc: list[str | int]
    msg: str
    type: str


class InvalidAnswer(BaseModel):
    """Everything that is wrong with a request."""

    error: Literal["validation_failed"]
    message: str
    detail: list[Fault] = Field(min_length=1)
