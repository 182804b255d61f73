"""Decides about a player: one pure function.

Rules in a fixed order; the first that applies wins:

    1  so many warnings, or punished severely  → BAN
    2  some warnings, or a trial not yet over  → SUSPEND (NONE in a punishment rank)
    3  a rank that is ignored or locked        → NONE
    4  enough points, and time where it counts → PROMOTE one step, unless that rank is given by hand
    5  too few points for the own rank         → DEMOTE one step, unless that rank is given by hand
    otherwise                                  → NONE
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from enum import Enum
from typing import TYPE_CHECKING, Any, Final, Self

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from actors.automation.player import Player
    from actors.automation.policy import Policy, Rank

SEVERE: Final = "Punishment_Severe"
TRIAL: Final = "Trial_Punishment"
# Both spellings are in use among game scripts; we write the first.
TRIALS: Final = frozenset({TRIAL, "Punishment_Trial"})


class Action(Enum):
    """What to do; the value is the word on the wire."""

    NONE = "NONE"
    PROMOTE = "PROMOTE"
    DEMOTE = "DEMOTE"
    SUSPEND = "SUSPEND"
    BAN = "BAN"


PUNISHING: Final = frozenset({Action.SUSPEND, Action.BAN})


@dataclass(frozen=True, slots=True)
class Verdict:
    """The result of the rules, before it is known whether it will be applied.

    Attributes:
        action: What to do.
        target_rank: Where PROMOTE, DEMOTE and SUSPEND lead; None for BAN and NONE.
        reason: For people: the rule with its numbers.
    """

    action: Action
    target_rank: str | None
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """A verdict, and whether it is applied.

    Attributes:
        apply: Whether it is, or will be, carried out at Roblox.
        request_id: Identifies this decision in the outbox, the logs and the mirror.
    """

    verdict: Verdict
    apply: bool
    reason: str
    request_id: str

    def to_json(self) -> dict[str, Any]:
        """The `decision` object of an answer."""
        return {
            "action": self.verdict.action.value,
            "targetRank": self.verdict.target_rank,
            "reason": self.reason,
            "apply": self.apply,
            "requestId": self.request_id,
        }

    @classmethod
    def from_json(cls, said: dict[str, Any]) -> Self:
        """A decision that was carried out, as it was told."""
        verdict = Verdict(Action(said["action"]), said["targetRank"], said["reason"])
        return cls(verdict=verdict, apply=said["apply"], reason=said["reason"], request_id=said["requestId"])


def why_forbidden(verdict: Verdict, actor_rank: str, rank: str, policy: Policy) -> str | None:
    """Why an actor of one rank may not have a player of another suspended or banned; None where it may.

    Actors whose rank `permissions.json` does not name are not restricted.
    """
    role = policy.permissions.roles.get(actor_rank)
    if role is None or verdict.action not in PUNISHING:
        return None
    flag, has_flag = ("canBan", role.can_ban) if verdict.action is Action.BAN else ("canWarn", role.can_warn)
    if not has_flag:
        return f"{actor_rank} has no {flag}"
    if not policy.is_above(actor_rank, rank):
        return f"the level of {actor_rank} is not above that of {rank}"
    return None


def decide(player: Player, policy: Policy, now: datetime) -> Verdict:
    """The verdict on a player at `now`. Changes nothing."""
    for rule in RULES:
        if (verdict := rule(player, policy, now)) is not None:
            return verdict
    return _none(_why_stay(player, policy, now))


def _why_stay(player: Player, policy: Policy, now: datetime) -> str:
    if policy.rank(player.rank) is None:
        return f"the rank table has no rank {player.rank}"
    target = policy.next_rank(player.rank)
    if target is not None and player.rank_points >= target.min_points:
        return _hindrance(player, target, now) or ""
    return f"{player.rank_points} points fit {player.rank}"


def _none(reason: str) -> Verdict:
    return Verdict(Action.NONE, None, reason)


def calls_for_ban(player: Player, policy: Policy) -> bool:
    """Whether the verdict is BAN, at any time."""
    return player.warnings >= policy.punishments.severe_threshold or player.punishment_status == SEVERE


def on_trial(player: Player, now: datetime) -> bool:
    """Whether a trial with an end has yet to reach it."""
    ends = player.punishment_expires_at
    return player.punishment_status in TRIALS and ends is not None and now < ends


def _ban(player: Player, policy: Policy, _now: datetime) -> Verdict | None:
    threshold = policy.punishments.severe_threshold
    if player.warnings >= threshold:
        return Verdict(Action.BAN, None, f"{player.warnings} warnings reach the limit of {threshold}")
    if player.punishment_status == SEVERE:
        return Verdict(Action.BAN, None, f"punishment status is {SEVERE}")
    return None


def _suspend(player: Player, policy: Policy, now: datetime) -> Verdict | None:
    why = _why_suspend(player, policy, now)
    if why is None:
        return None
    rank, target = policy.rank(player.rank), policy.punishment_rank
    if rank is not None and rank.is_punishment:
        return _none(f"{why}; {player.rank} is a punishment rank already")
    if target is None:
        return _none(f"{why}; the rank table has no punishment rank")
    return Verdict(Action.SUSPEND, target.name, f"{why}; for {policy.punishments.trial_days:g} days")


def _why_suspend(player: Player, policy: Policy, now: datetime) -> str | None:
    threshold = policy.punishments.trial_threshold
    if player.warnings >= threshold:
        return f"{player.warnings} warnings reach the limit of {threshold}"
    ends = player.punishment_expires_at
    if player.punishment_status in TRIALS and (ends is None or now < ends):
        return f"punishment status is {player.punishment_status}"
    return None


def _blocked(player: Player, policy: Policy, _now: datetime) -> Verdict | None:
    if policy.blocks_decisions(player.rank):
        return _none(f"{player.rank} is exempt from automation")
    return None


def _promote(player: Player, policy: Policy, now: datetime) -> Verdict | None:
    target = policy.next_rank(player.rank)
    if target is None or player.rank_points < target.min_points or _hindrance(player, target, now):
        return None
    reason = f"{player.rank_points} points reach {target.name} ({target.min_points})"
    return Verdict(Action.PROMOTE, target.name, reason)


def _hindrance(player: Player, target: Rank, now: datetime) -> str | None:
    if target.privileged:
        return f"{target.name} is given by hand"
    if target.min_time_days and now - player.created_at < timedelta(days=target.min_time_days):
        return f"{target.name} takes {target.min_time_days:g} days since the first snapshot"
    return None


def _demote(player: Player, policy: Policy, _now: datetime) -> Verdict | None:
    rank, target = policy.rank(player.rank), policy.previous_rank(player.rank)
    if rank is None or target is None or player.rank_points >= rank.min_points:
        return None
    if target.privileged:
        return _none(f"{target.name} is given by hand")
    reason = f"{player.rank_points} points are too few for {rank.name} ({rank.min_points})"
    return Verdict(Action.DEMOTE, target.name, reason)


RULES: Final[tuple[Callable[[Player, Policy, datetime], Verdict | None], ...]] = (
    _ban,
    _suspend,
    _blocked,
    _promote,
    _demote,
)
