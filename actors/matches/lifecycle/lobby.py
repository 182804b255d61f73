"""Coming, going and coming back."""

from __future__ import annotations

from collections.abc import Collection, Hashable
from dataclasses import replace

from actors.matches.lifecycle.effects import Push, StepResult
from actors.matches.lifecycle.events import Joined
from actors.matches.lifecycle.match import Match, Seat
from actors.matches.lifecycle.moves import forfeit, start_if_all_there
from actors.matches.lifecycle.status import Status
from actors.matches.lifecycle.views import join_reply, player, player_joined

NOT_EXPECTED = "not_expected"


def join(match: Match, event: Joined, now: float) -> StepResult:
    """A user wants in."""
    seat = match.seat(event.user_id)
    if seat is None or (seat.left and match.status is Status.PLAYING):
        return StepResult(match).with_answer({"reason": NOT_EXPECTED}, ok=False)
    taken = replace(seat, display_name=event.display_name, connection=event.connection, came=True, left=False)
    step = StepResult(match.seated(taken))
    if not match.is_over:
        step = start_if_all_there(step.with_effects(*_arrival(step.match, seat, taken)), now)
    return step.with_answer(join_reply(step.match, event.user_id))


def disconnect(match: Match, user_id: str, connection: Hashable) -> StepResult:
    """A connection has ended."""
    seat = match.seat(user_id)
    if seat is None or seat.connection is None or seat.connection != connection:
        return StepResult(match)
    step = StepResult(match.seated(replace(seat, connection=None)))
    if seat.left or match.is_over:
        return step
    return step.with_effects(Push("player:disconnected", player(seat), match.others(user_id)))


def leave(match: Match, user_id: str, now: float) -> StepResult:
    """A player leaves on purpose: forfeits while playing."""
    seat = match.seat(user_id)
    if seat is None or not seat.came or match.is_over:
        return StepResult(match).with_answer({})
    playing = match.status is Status.PLAYING
    left = match.seated(replace(seat, left=True, came=False))
    payload = {**player(seat), "reason": "forfeit" if playing else "left"}
    told = Push("player:left", payload, match.others(user_id))
    if not playing or match.play is None:
        return StepResult(left).with_effects(told).with_answer({})
    step = forfeit(left, match.play, user_id, now)
    return replace(step, effects=(told, *step.effects)).with_answer({})


def drop_others(match: Match, connections: Collection[Hashable]) -> StepResult:
    """Only these connections are still up."""
    step = StepResult(match)
    for seat in match.seats:
        if seat.connection is not None and seat.connection not in connections:
            dropped = disconnect(step.match, seat.user_id, seat.connection)
            step = StepResult(dropped.match, (*step.effects, *dropped.effects))
    return step


def _arrival(match: Match, before: Seat, after: Seat) -> tuple[Push, ...]:
    if not before.came:
        return (Push("player:joined", player_joined(match, after), match.everybody),)
    if before.connection is None:
        return (Push("player:reconnected", player(after), match.others(after.user_id)),)
    return ()
