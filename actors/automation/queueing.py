"""Turns a verdict into a decision, given the pending decisions of the player. Values in, values out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from actors.automation.decision import PUNISHING, Action, Decision, Verdict
from actors.automation.player import Player
from actors.automation.policy import Policy
from actors.automation.steps import (
    Assign,
    Ban,
    Capabilities,
    Step,
    Unassign,
    punishment_after,
    steps_for,
    why_not,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class PendingDecision:
    """A pending decision of the player at hand.

    Attributes:
        next_step: How many of its steps are done.
        touched: Roblox may have received a request of it: a step is done, or an attempt was made.
        leased: A node is carrying it out now.
    """

    request_id: str
    action: str
    target_rank: str | None
    steps: tuple[Step, ...]
    next_step: int
    touched: bool
    leased: bool

    @property
    def assigns(self) -> set[int]:
        """The roles it gives."""
        return {step.role_id for step in self.steps if isinstance(step, Assign)}

    @property
    def outstanding(self) -> set[int]:
        """The roles it has yet to take away."""
        return {step.role_id for step in self.steps[self.next_step :] if isinstance(step, Unassign)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Queued:
    """The decision to answer with, and the changes to the outbox.

    Attributes:
        steps: To be stored as a new pending decision; None when nothing new is stored.
        supersedes: Request ids of waiting decisions this one takes the place of; it may ask for nothing.
        punishment: Status and end the player takes over when it is carried out.
        forbidden: Why the actor may not have it applied; None where it may.
    """

    decision: Decision
    steps: tuple[Step, ...] | None = None
    supersedes: tuple[str, ...] = ()
    punishment: tuple[str | None, datetime | None] = (None, None)
    forbidden: str | None = None


def reported(verdict: Verdict, request_id: str, reason: str | None = None) -> Queued:
    """A decision that is reported and not applied; `reason` says why, where applying was asked for."""
    decision = Decision(verdict=verdict, apply=False, reason=reason or verdict.reason, request_id=request_id)
    return Queued(decision=decision)


def queue(
    player: Player,
    verdict: Verdict,
    waiting: Sequence[PendingDecision],
    *,
    policy: Policy,
    capabilities: Capabilities,
    inbound_key: bool,
    banned_at: datetime | None,
    request_id: str,
    now: datetime,
) -> Queued:
    """Apply a verdict, given the pending decisions of the player (oldest first)."""
    reason = why_not(verdict, policy, capabilities, inbound_key=inbound_key)
    if verdict.action is Action.NONE:
        report = reported(verdict, request_id, None if inbound_key else reason)
        return replace(report, supersedes=_withdrawn(waiting) if inbound_key else ())
    if reason is None:
        reason = _already(verdict, waiting, banned_at)
    if reason is not None:
        return reported(verdict, request_id, reason)
    if (same := _same(verdict, waiting)) is not None:
        return Queued(decision=_applied(verdict, same.request_id))
    steps = steps_for(player, verdict, policy, capabilities, request_id=request_id, now=now)
    return Queued(
        decision=_applied(verdict, request_id),
        steps=_with_leftovers(steps, _kept(steps, player, policy, waiting), waiting),
        supersedes=tuple(other.request_id for other in waiting if not other.leased),
        punishment=punishment_after(verdict, policy, now),
    )


def _withdrawn(waiting: Sequence[PendingDecision]) -> tuple[str, ...]:
    """Steps up and down that nothing speaks for any more, and that can be dropped without a trace.

    Not one that Roblox may have heard of: it is finished, and the next snapshot decides from there. Nor
    one that was handed roles to take away. A punishment stays until a person lifts it.
    """
    return tuple(
        other.request_id
        for other in waiting
        if not (other.touched or other.leased or len(other.outstanding) > 1)
        and other.action not in {action.value for action in PUNISHING}
    )


def _applied(verdict: Verdict, request_id: str) -> Decision:
    return Decision(verdict=verdict, apply=True, reason=verdict.reason, request_id=request_id)


def _same(verdict: Verdict, waiting: Sequence[PendingDecision]) -> PendingDecision | None:
    asked = (verdict.action.value, verdict.target_rank)
    newest = waiting[-1] if waiting else None
    return newest if newest is not None and (newest.action, newest.target_rank) == asked else None


def _already(verdict: Verdict, waiting: Sequence[PendingDecision], banned_at: datetime | None) -> str | None:
    if verdict.action is Action.BAN and banned_at is not None:
        return "banned already"
    # A step up or down counts from the stored rank, which a decision under way may be changing;
    # the next snapshot decides anew. Punishments do not wait for that.
    moves = any(other.touched or other.leased for other in waiting) and verdict.action not in PUNISHING
    return "an earlier decision is being carried out" if moves and not _same(verdict, waiting) else None


def _kept(
    steps: tuple[Step, ...], player: Player, policy: Policy, waiting: Sequence[PendingDecision]
) -> set[int]:
    """Roles that must not be taken away as leftovers: those the steps themselves give or take."""
    if not isinstance(steps[0], Ban):
        return {step.role_id for step in steps if isinstance(step, Assign | Unassign)}
    # A ban changes no rank: the player stays with its role, or gets the one a node is giving now.
    rank = policy.rank(player.rank)
    own = {rank.role_id} if rank is not None and rank.role_id is not None else set()
    return own.union(*(other.assigns for other in waiting if other.leased))


def _with_leftovers(
    steps: tuple[Step, ...], kept: set[int], waiting: Sequence[PendingDecision]
) -> tuple[Step, ...]:
    """The steps, and the taking away of roles that decisions before this one may leave behind.

    One that is superseded half-done has given a role and not taken away the other; one of which no answer
    is known may have given its role. Even one that was never begun may have been handed such leftovers.
    """
    given = [other.assigns for other in waiting if other.touched or other.leased]
    left = set[int]().union(*given, *(other.outstanding for other in waiting))
    return (steps[0], *map(Unassign, sorted(left - kept)), *steps[1:])
