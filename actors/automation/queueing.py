"""From a verdict to a decision, and what it does to decisions still waiting. Values in, values out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from actors.automation.decision import Action, Decision, Verdict
from actors.automation.player import Player
from actors.automation.policy import Policy
from actors.automation.steps import Assign, Reach, Step, Unassign, punishment_after, steps_for, why_not

PUNISHING: Final = frozenset({Action.SUSPEND, Action.BAN})


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """A pending decision of the player at hand.

    Attributes:
        touched: Roblox may have heard of it: a step is done, or an attempt was made.
        leased: A node is carrying it out now.
    """

    request_id: str
    action: str
    target_rank: str | None
    steps: tuple[Step, ...]
    touched: bool
    leased: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Queued:
    """What to do: the decision to answer with, and the outbox's part of it.

    Attributes:
        steps: To be stored as a new pending decision; None when nothing new is stored.
        supersedes: Request ids of waiting decisions this one takes the place of.
        punishment: Status and end the player takes over when it is carried out.
    """

    decision: Decision
    steps: tuple[Step, ...] | None = None
    supersedes: tuple[str, ...] = ()
    punishment: tuple[str | None, datetime | None] = (None, None)


def reported(verdict: Verdict, request_id: str, reason: str | None = None) -> Queued:
    """A decision that is told and not carried out; `reason` says why not, when it was asked for."""
    decision = Decision(verdict=verdict, apply=False, reason=reason or verdict.reason, request_id=request_id)
    return Queued(decision=decision)


def queue(
    player: Player,
    verdict: Verdict,
    waiting: Sequence[Waiting],
    *,
    policy: Policy,
    reach: Reach,
    inbound_key: bool,
    banned_at: datetime | None,
    request_id: str,
    now: datetime,
) -> Queued:
    """What becomes of a verdict that is to be applied, given what waits already (oldest first)."""
    reason = why_not(verdict, policy, reach, inbound_key=inbound_key)
    if verdict.action is Action.NONE:
        return reported(verdict, request_id, None if inbound_key else reason)
    if reason is None:
        reason = _already(verdict, waiting, banned_at)
    if reason is not None:
        return reported(verdict, request_id, reason)
    if (same := _same(verdict, waiting)) is not None:
        return Queued(decision=_applied(verdict, same.request_id))
    steps = steps_for(player, verdict, policy, reach, request_id=request_id, now=now)
    return Queued(
        decision=_applied(verdict, request_id),
        steps=_undoing(steps, verdict, waiting),
        supersedes=tuple(other.request_id for other in waiting if not other.leased),
        punishment=punishment_after(verdict, policy, now),
    )


def _applied(verdict: Verdict, request_id: str) -> Decision:
    return Decision(verdict=verdict, apply=True, reason=verdict.reason, request_id=request_id)


def _same(verdict: Verdict, waiting: Sequence[Waiting]) -> Waiting | None:
    asked = (verdict.action.value, verdict.target_rank)
    newest = waiting[-1] if waiting else None
    return newest if newest is not None and (newest.action, newest.target_rank) == asked else None


def _already(verdict: Verdict, waiting: Sequence[Waiting], banned_at: datetime | None) -> str | None:
    if verdict.action is Action.BAN and banned_at is not None:
        return "banned already"
    # A step up or down counts from the stored rank, which a decision under way may be changing;
    # the next snapshot decides anew. Punishments do not wait for that.
    moves = any(other.touched or other.leased for other in waiting) and verdict.action not in PUNISHING
    return "an earlier decision is being carried out" if moves and not _same(verdict, waiting) else None


def _undoing(steps: tuple[Step, ...], verdict: Verdict, waiting: Sequence[Waiting]) -> tuple[Step, ...]:
    """The steps, and the taking away of roles that touched decisions may have given or will give."""
    if verdict.action is Action.BAN:
        return steps
    kept = {step.role_id for step in steps if isinstance(step, Assign | Unassign)}
    begun = [step for other in waiting if other.touched or other.leased for step in other.steps]
    given = {step.role_id for step in begun if isinstance(step, Assign)} - kept
    return (steps[0], *(Unassign(role_id) for role_id in sorted(given)), *steps[1:])
