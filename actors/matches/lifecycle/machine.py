"""`begin` and `step`: the way into everything else in here."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, assert_never

from actors.matches.callback import Callback
from actors.matches.creation_job import CreationJob
from actors.matches.lifecycle.effects import Effect, Gone, Publish, StepResult, WakeAt
from actors.matches.lifecycle.ending import break_off
from actors.matches.lifecycle.events import (
    Acted,
    CallbackSettled,
    Confirmed,
    Disconnected,
    Event,
    Joined,
    Left,
    ProcessFailed,
    Recovered,
    Rejected,
    Terminated,
    Tick,
)
from actors.matches.lifecycle.lobby import disconnect, drop_others, join, leave
from actors.matches.lifecycle.match import Match, MatchTimeouts, Seat
from actors.matches.lifecycle.moves import act, start_if_all_there, time_out
from actors.matches.lifecycle.status import Status, Trigger
from actors.matches.lifecycle.views import record
from actors.matches.rules.contract import GameRules
from actors.matches.rules.play import check_players


def begin(
    job: CreationJob,
    rules: GameRules[Any],
    *,
    seed: int,
    now: float,
    timeouts: MatchTimeouts = MatchTimeouts(),  # noqa: B008 - frozen
) -> StepResult:
    """A new match, preparing until the API server has acknowledged it.

    Args:
        job: What is asked for; as many players as the rules take.
        rules: Those the job names.
        seed: 128 bits nobody can guess, as from `secrets.randbits`: whoever knows it knows every hand.
        now: Unix seconds.
        timeouts: How long to wait for what.

    Raises:
        PlayersNotWanted: The rules do not take these players.
    """
    check_players(rules, job.player_ids)
    seats = tuple(Seat(user_id=player, display_name=player) for player in job.player_ids)
    match = Match(job=job, rules=rules, timeouts=timeouts, seed=seed, seats=seats, created_at=now)
    return _completed(None, StepResult(match), now)


def step(match: Match, event: Event, now: float) -> StepResult:
    """What comes of an event. Raises nothing of its own; what the rules raise passes through."""
    before = None if isinstance(event, Recovered) else match
    return _completed(before, _decided(match, event, now), now)


def _decided(match: Match, event: Event, now: float) -> StepResult:  # noqa: C901, PLR0911 - a row for each event
    match event:
        case Confirmed():
            return _confirm(match, now)
        case Rejected():
            return break_off(match, Trigger.REJECTED, now)
        case CallbackSettled(call):
            left = tuple(callback for callback in match.unacked if callback.call is not call)
            return StepResult(replace(match, unacked=left))
        case Joined():
            return join(match, event, now)
        case Disconnected(user_id, connection):
            return disconnect(match, user_id, connection)
        case Left(user_id):
            return leave(match, user_id, now)
        case Acted():
            return act(match, event, now)
        case Tick():
            return _tick(match, now)
        case Terminated():
            return break_off(match, Trigger.TERMINATED, now)
        case ProcessFailed():
            return break_off(match, Trigger.PROCESS_FAILED, now)
        case Recovered(connections):
            return drop_others(match, connections).with_effects(*match.unacked)
        case _:
            assert_never(event)


def _confirm(match: Match, now: float) -> StepResult:
    if not match.allows(Trigger.CONFIRMED):
        return StepResult(match)
    ready = replace(match.moved(Trigger.CONFIRMED), join_due=now + match.timeouts.join_timeout_s)
    return start_if_all_there(StepResult(ready), now)


def _tick(match: Match, now: float) -> StepResult:
    """The one deadline that is due first, if it is; the next one has its own tick."""
    due = match.next_deadline
    if due is None or now < due:
        return StepResult(match)
    match match.status:
        case Status.READY:
            return break_off(match, Trigger.JOIN_TIMEOUT, now)
        case Status.PLAYING if due == match.alone_due:
            return break_off(match, Trigger.ALL_DISCONNECTED, now)
        case Status.PLAYING if match.play is not None:
            return time_out(match, match.play, now)
        case _:
            return StepResult(match)


def _completed(before: Match | None, done: StepResult, now: float) -> StepResult:
    """The step with what follows from the match alone: the grace, the record, the next tick, the going."""
    done = replace(done, match=_watched(done.match, now))
    callbacks = [effect for effect in done.effects if isinstance(effect, Callback)]
    pushes = [effect for effect in done.effects if not isinstance(effect, Callback)]
    return replace(
        done, effects=(*callbacks, *_published(before, done.match), *pushes, *_due(before, done.match, now))
    )


def _watched(match: Match, now: float) -> Match:
    """The grace begins when the last one goes, and ends when the first one comes back."""
    if match.status is not Status.PLAYING or any(seat.is_there for seat in match.seats):
        return match if match.alone_due is None else replace(match, alone_due=None)
    if match.alone_due is not None:
        return match
    return replace(match, alone_due=now + match.timeouts.reconnect_grace_s)


def _published(before: Match | None, match: Match) -> Iterator[Effect]:
    if before is match:
        return
    shown = record(match)
    if before is None or record(before) != shown:
        yield Publish(shown)


def _due(before: Match | None, match: Match, now: float) -> Iterator[Effect]:
    due = match.next_deadline
    if match.is_over and due is not None and now >= due:
        yield Gone()
    elif before is None or before.next_deadline != due:
        yield WakeAt(due)
