"""How a match ends: finished by its rules, or broken off."""

from __future__ import annotations

from dataclasses import replace

from actors.matches import callback
from actors.matches.callback import Callback
from actors.matches.lifecycle.effects import Push, StepResult
from actors.matches.lifecycle.match import Match
from actors.matches.lifecycle.status import ABORT_REASONS, AbortReason, Status, Trigger
from actors.matches.lifecycle.views import game_aborted, game_ended, result_data
from actors.matches.rules.contract import Outcome


def finish(step: StepResult, outcome: Outcome, now: float) -> StepResult:
    """The rules have an outcome: the match is finished."""
    match = replace(_over(step.match, Trigger.GAME_OVER, now), outcome=outcome)
    told = callback.finished(
        match.room_id,
        winner_id=outcome.winner,
        result_data=result_data(match, outcome),
        at_s=now + match.correction_s,
    )
    ended = Push("game:ended", game_ended(match, outcome), match.everybody)
    return replace(step, match=match).with_callback(told).with_effects(ended)


def break_off(match: Match, trigger: Trigger, now: float) -> StepResult:
    """End it otherwise. The API server is told, unless it said so itself or never knew the room."""
    if not match.allows(trigger):
        return StepResult(match)
    reason = ABORT_REASONS[trigger]
    over = replace(_over(match, trigger, now), reason=reason)
    step = StepResult(over).with_effects(Push("game:aborted", game_aborted(reason), over.everybody))
    if over.status is Status.FAILED or reason is AbortReason.ROOM_UNKNOWN:
        return step
    return step.with_callback(abort_callback(over, reason, now))


def abort_callback(match: Match, reason: AbortReason, now: float) -> Callback:
    """`aborted` for the API server."""
    return callback.aborted(match.room_id, reason=reason.value, at_s=now + match.correction_s)


def _over(match: Match, trigger: Trigger, now: float) -> Match:
    moved = match.moved(trigger)
    # Nobody was ever told of a match that failed: there is nothing to look at.
    linger_s = 0.0 if moved.status is Status.FAILED else match.timeouts.linger_s
    return replace(moved, ended_at=now, gone_due=now + linger_s)
