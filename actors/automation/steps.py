"""A decision as a list of Open Cloud operations, carried out in order, resumable after each.

All facts are fixed when the decision is taken (role ids, the mirrored value), so that a policy changed
meanwhile cannot turn a half-done decision into another one. Each step states the wanted result and is
idempotent.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, assert_never

from actors.automation import times
from actors.automation.decision import SEVERE, TRIAL, Action
from actors.automation.player import enriched

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from actors.automation.decision import Verdict
    from actors.automation.player import Player
    from actors.automation.policy import Policy


@dataclass(frozen=True, slots=True)
class Assign:
    """The user has this group role."""

    role_id: int


@dataclass(frozen=True, slots=True)
class Unassign:
    """The user does not have this group role."""

    role_id: int


@dataclass(frozen=True, slots=True)
class Mirror:
    """The user's entry in the data store holds this value; the game reads it there."""

    value: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Ban:
    """The user may not join; for good, when there is no duration."""

    private_reason: str
    display_reason: str
    duration_s: int | None = None


Step = Assign | Unassign | Mirror | Ban
KINDS: Final[dict[str, type[Step]]] = {
    "assign": Assign,
    "unassign": Unassign,
    "mirror": Mirror,
    "ban": Ban,
}
_NAMES: Final = {kind: name for name, kind in KINDS.items()}

DISPLAY_REASON: Final = "You have been banned from this experience."


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What of Open Cloud is configured.

    Attributes:
        key: An API key is configured.
        group: A group is, so roles can be changed.
        universe: A universe is, so players can be banned.
        mirror: A data store is, so ranks are mirrored.
    """

    key: bool
    group: bool
    universe: bool
    mirror: bool


def why_not(verdict: Verdict, policy: Policy, capabilities: Capabilities, *, inbound_key: bool) -> str | None:
    """Why this verdict cannot be carried out here; None when it can."""
    if not inbound_key:
        return "no inbound key configured"
    if not capabilities.key:
        return "no Open Cloud key configured"
    if verdict.action is Action.BAN:
        return None if capabilities.universe else "no universe configured"
    if not capabilities.group:
        return "no group configured"
    target = policy.rank(verdict.target_rank or "")
    return None if target is not None and target.role_id else f"{verdict.target_rank} has no roleId"


def steps_for(
    player: Player,
    verdict: Verdict,
    policy: Policy,
    capabilities: Capabilities,
    *,
    request_id: str,
    now: datetime,
) -> tuple[Step, ...]:
    """The steps of a verdict that `why_not` has nothing against; none for NONE."""
    mirror = (Mirror(_mirrored(player, verdict, policy, request_id, now)),) if capabilities.mirror else ()
    match verdict.action:
        case Action.NONE:
            return ()
        case Action.BAN:
            return (Ban(f"{verdict.reason} ({request_id})", DISPLAY_REASON), *mirror)
        case Action.PROMOTE | Action.DEMOTE | Action.SUSPEND:
            return (*_role_change(player.rank, verdict.target_rank or "", policy), *mirror)
        case _:
            assert_never(verdict.action)


def _role_change(old: str, new: str, policy: Policy) -> tuple[Step, ...]:
    # The new role first: between the two requests a player has both, never none.
    leaving, entering = policy.rank(old), policy.rank(new)
    changes: list[Step] = []
    if entering is not None and entering.role_id is not None:
        changes.append(Assign(entering.role_id))
    if leaving is not None and leaving.role_id is not None:
        changes.append(Unassign(leaving.role_id))
    return tuple(changes)


def punishment_after(verdict: Verdict, policy: Policy, now: datetime) -> tuple[str | None, datetime | None]:
    """Punishment status and its end that a verdict sets; without a status the player keeps its own."""
    if verdict.action is Action.BAN:
        return SEVERE, None
    if verdict.action is Action.SUSPEND:
        return TRIAL, now + timedelta(days=policy.punishments.trial_days)
    return None, None


def _mirrored(
    player: Player, verdict: Verdict, policy: Policy, request_id: str, now: datetime
) -> dict[str, Any]:
    """The player as `GET /players/{userId}` shows it once the verdict is carried out, and the decision."""
    status, ends = punishment_after(verdict, policy, now)
    if status is None:
        status, ends = player.punishment_status, player.punishment_expires_at
    after = player._replace(
        rank=verdict.target_rank or player.rank, punishment_status=status, punishment_expires_at=ends
    )
    return {
        **enriched(after, policy),
        "action": verdict.action.value,
        "reason": verdict.reason,
        "requestId": request_id,
        "decidedAt": times.text(now),
    }


def to_json(steps: Sequence[Step]) -> list[dict[str, Any]]:
    """The list as the outbox stores it."""
    return [{"kind": _NAMES[type(step)], **asdict(step)} for step in steps]


def from_json(stored: Sequence[dict[str, Any]]) -> tuple[Step, ...]:
    """The list as it was when it was stored."""
    return tuple(KINDS[step["kind"]](**{key: step[key] for key in step if key != "kind"}) for step in stored)
