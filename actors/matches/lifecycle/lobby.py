"""Coming, going and coming back."""

from __future__ import annotations

from collections.abc import Collection, Hashable
from dataclasses import replace

from actors.matches.lifecycle.effects import Push, Step
from actors.matches.lifecycle.events import Joined
from actors.matches.lifecycle.match import Match, Seat
from actors.matches.lifecycle.status import Status
from actors.matches.lifecycle.table import forfeit, start_if_all_there
from actors.matches.lifecycle.views import join_reply, player, player_joined

NOT_EXPECTED = "not_expected"


def join(match: Match, event: Joined, now: float) -> Step:
    """A user wants in."""
    seat = match.seat(event.user_id)
    if seat is None or (seat.left and match.status is Status.PLAYING):
        return Step(match).answering({"reason": NOT_EXPECTED}, ok=False)
    taken = replace(seat, display_name=event.display_name, connection=event.connection, came=True, left=False)
    step = Step(match.seated(taken))
    if not match.is_over:
        step = start_if_all_there(step.saying(*_arrival(step.match, seat, taken)), now)
    return step.answering(join_reply(step.match, event.user_id))


def disconnect(match: Match, user_id: str, connection: Hashable) -> Step:
    """A connection has ended."""
    seat = match.seat(user_id)
    if seat is None or seat.connection is None or seat.connection != connection:
        return Step(match)
    step = Step(match.seated(replace(seat, connection=None)))
    if seat.left or match.is_over:
        return step
    return step.saying(Push("player:disconnected", player(seat), match.others(user_id)))


def leave(match: Match, user_id: str, now: float) -> Step:
    """A player leaves on purpose: forfeits while playing."""
    seat = match.seat(user_id)
    if seat is None or not seat.came or match.is_over:
        return Step(match).answering({})
    playing = match.status is Status.PLAYING
    left = match.seated(replace(seat, left=True, came=False))
    payload = {**player(seat), "reason": "forfeit" if playing else "left"}
    told = Push("player:left", payload, match.others(user_id))
    if not playing or match.play is None:
        return Step(left).saying(told).answering({})
    step = forfeit(left, match.play, user_id, now)
    return replace(step, effects=(told, *step.effects)).answering({})


def drop_others(match: Match, connections: Collection[Hashable]) -> Step:
    """Only these connections are still up."""
    step = Step(match)
    for seat in match.seats:
        if seat.connection is not None and seat.connection not in connections:
            dropped = disconnect(step.match, seat.user_id, seat.connection)
            step = Step(dropped.match, (*step.effects, *dropped.effects))
    return step


def _arrival(match: Match, before: Seat, after: Seat) -> tuple[Push, ...]:
    if not before.came:
        return (Push("player:joined", player_joined(match, after), match.everybody),)
    if before.connection is None:
        return (Push("player:reconnected", player(after), match.others(after.user_id)),)
    return ()
