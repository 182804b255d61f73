"""`begin` and `step`: the way into everything else in here."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, assert_never

from actors.matches.callback import Callback
from actors.matches.creation_job import CreationJob
from actors.matches.lifecycle.effects import Effect, Gone, Publish, Step, WakeAt
from actors.matches.lifecycle.ending import break_off
from actors.matches.lifecycle.events import (
    Acted,
    Confirmed,
    Disconnected,
    Disowned,
    Event,
    Joined,
    Left,
    ProcessFailed,
    Recovered,
    Terminated,
    Tick,
    Told,
)
from actors.matches.lifecycle.lobby import disconnect, drop_others, join, leave
from actors.matches.lifecycle.match import Match, Patience, Seat
from actors.matches.lifecycle.status import Status, Trigger
from actors.matches.lifecycle.table import act, start_if_all_there, time_out
from actors.matches.lifecycle.views import record
from actors.matches.rules.contract import GameRules
from actors.matches.rules.play import check_players


def begin(
    job: CreationJob,
    rules: GameRules[Any],
    *,
    seed: int,
    now: float,
    patience: Patience = Patience(),  # noqa: B008 - frozen
) -> Step:
    """A new match, preparing until the API server has acknowledged it.

    Args:
        job: What is asked for; as many players as the rules take.
        rules: Those the job names.
        seed: 128 bits nobody can guess, as from `secrets.randbits`: whoever knows it knows every hand.
        now: Unix seconds.
        patience: How long to wait for what.

    Raises:
        PlayersNotWanted: The rules do not take these players.
    """
    check_players(rules, job.player_ids)
    seats = tuple(Seat(user_id=player, display_name=player) for player in job.player_ids)
    match = Match(job=job, rules=rules, patience=patience, seed=seed, seats=seats, created_at=now)
    return _completed(None, Step(match), now)


def step(match: Match, event: Event, now: float) -> Step:
    """What comes of an event. Raises nothing of its own; what the rules raise passes through."""
    before = None if isinstance(event, Recovered) else match
    return _completed(before, _decided(match, event, now), now)


def _decided(match: Match, event: Event, now: float) -> Step:  # noqa: C901, PLR0911 - a row for each event
    match event:
        case Confirmed():
            return _confirm(match, now)
        case Disowned():
            return break_off(match, Trigger.DISOWNED, now)
        case Told(call):
            return Step(replace(match, owed=tuple(owed for owed in match.owed if owed.call is not call)))
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
            return drop_others(match, connections).saying(*match.owed)
        case _:
            assert_never(event)


def _confirm(match: Match, now: float) -> Step:
    if not match.allows(Trigger.CONFIRMED):
        return Step(match)
    ready = replace(match.moved(Trigger.CONFIRMED), join_due=now + match.patience.join_timeout_s)
    return start_if_all_there(Step(ready), now)


def _tick(match: Match, now: float) -> Step:
    """The one deadline that is due first, if it is; the next one has its own tick."""
    due = match.next_deadline
    if due is None or now < due:
        return Step(match)
    match match.status:
        case Status.READY:
            return break_off(match, Trigger.JOIN_TIMEOUT, now)
        case Status.PLAYING if due == match.alone_due:
            return break_off(match, Trigger.ALL_DISCONNECTED, now)
        case Status.PLAYING if match.play is not None:
            return time_out(match, match.play, now)
        case _:
            return Step(match)


def _completed(before: Match | None, done: Step, now: float) -> Step:
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
    return replace(match, alone_due=now + match.patience.reconnect_grace_s)


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
