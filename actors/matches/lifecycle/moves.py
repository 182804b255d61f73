"""Moves, and what comes of them: the game begins, goes on and is over."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

from actors.matches import callback
from actors.matches.lifecycle.effects import Push, StepResult
from actors.matches.lifecycle.ending import finish
from actors.matches.lifecycle.events import Acted
from actors.matches.lifecycle.limits import read_nonce, remember
from actors.matches.lifecycle.match import Match, Seat
from actors.matches.lifecycle.status import Status, Trigger
from actors.matches.lifecycle.views import setup_of
from actors.matches.rules.contract import Action, Refused, Tell
from actors.matches.rules.play import AnyPlay, Play

RATE_LIMITED = "rate_limited"
MISSING_NONCE = "missing_nonce"
DUPLICATE_NONCE = "duplicate_nonce"
GAME_NOT_STARTED = "game_not_started"


def start_if_all_there(step: StepResult, now: float) -> StepResult:
    """Begin the game once it may begin and every expected player is connected."""
    match = step.match
    if not match.allows(Trigger.ALL_JOINED) or not all(seat.is_there for seat in match.seats):
        return step
    play, tells = Play.begin(match.rules, setup_of(match), match.seed)
    started = replace(match.moved(Trigger.ALL_JOINED), started_at=now)
    told = callback.started(started.room_id, player_ids=started.everybody, at_s=now + match.correction_s)
    return _played(replace(step, match=started).with_callback(told), play, tells, now)


def act(match: Match, event: Acted, now: float) -> StepResult:
    """A player's action. One that is refused leaves the game and the nonces as they are."""
    seat = match.seat(event.user_id)
    if seat is None or seat.left:
        return _refuse(match, Refused.INVALID_ACTION)
    window = seat.actions.admit(now)
    if window is None:
        return _refuse(match, RATE_LIMITED)
    seat = replace(seat, actions=window)
    return _act(match.seated(seat), seat, _fields(event.payload), now)


def time_out(match: Match, play: AnyPlay, now: float) -> StepResult:
    """The turn has taken too long."""
    return _played(StepResult(replace(match, turn_due=None)), *play.time_out(), now)


def forfeit(match: Match, play: AnyPlay, user_id: str, now: float) -> StepResult:
    """A player gives up."""
    return _played(StepResult(match), *play.remove(user_id), now)


def _act(match: Match, seat: Seat, fields: Mapping[str, object], now: float) -> StepResult:
    nonce, play = read_nonce(fields.get("nonce")), match.play
    if nonce is None:
        return _refuse(match, MISSING_NONCE)
    if nonce in seat.nonces:
        return _refuse(match, DUPLICATE_NONCE)
    if play is None or match.status is not Status.PLAYING:
        return _refuse(match, GAME_NOT_STARTED)
    name = fields.get("action")
    if not isinstance(name, str):
        return _refuse(match, Refused.INVALID_ACTION)
    action = Action(name, fields)
    refusal = play.refusal(seat.user_id, action)
    if refusal is not None:
        return _refuse(match, refusal)
    accepted = match.seated(replace(seat, nonces=remember(seat.nonces, nonce)))
    accepted = replace(accepted, actions=match.actions + 1)
    action_id = f"{match.room_id}-a{accepted.actions}"
    step = StepResult(accepted).with_answer({"accepted": True, "action_id": action_id})
    return _played(step, *play.act(seat.user_id, action), now)


def _played(step: StepResult, play: AnyPlay, tells: Iterable[Tell], now: float) -> StepResult:
    before = step.match
    match = replace(before, play=play)
    if before.turn_due is None or before.play is None or before.play.turn_number != play.turn_number:
        match = replace(match, turn_due=now + match.job.turn_time_limit_s)
    pushes = (push for tell in tells for push in _pushes(tell, match.everybody))
    played = replace(step, match=match).with_effects(*pushes)
    return played if play.outcome is None else finish(played, play.outcome, now)


def _pushes(tell: Tell, everybody: tuple[str, ...]) -> Iterator[Push]:
    """One message for all who hear the same, one each for those who hear more."""
    public = tuple(player for player in everybody if player not in tell.private)
    if tell.public is not None and public:
        yield Push(tell.event, tell.public, public)
    for player, private in tell.private.items():
        yield Push(tell.event, {**(tell.public or {}), **private}, (player,))


def _fields(payload: object) -> Mapping[str, object]:
    return payload if isinstance(payload, Mapping) else {}


def _refuse(match: Match, reason: str) -> StepResult:
    return StepResult(match).with_answer({"accepted": False, "reason": str(reason)}, ok=False)
