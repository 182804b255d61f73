"""`begin` and `step`: the entry points of the state machine."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, assert_never

from actors.matches.callback import Call, Callback
from actors.matches.creation_job import CreationJob
from actors.matches.delivery import Verdict
from actors.matches.job_outcome import JobEnd, JobOutcome
from actors.matches.lifecycle.confirming import (
    announce,
    announce_again,
    ready_settled,
    ready_settled_late,
    settle_job,
)
from actors.matches.lifecycle.effects import Effect, Gone, JobSettled, Publish, StepResult, WakeAt
from actors.matches.lifecycle.ending import break_off
from actors.matches.lifecycle.events import (
    Acted,
    CallbackSettled,
    Disconnected,
    Event,
    Joined,
    Left,
    ProcessFailed,
    Recovered,
    Rejected,
    Requested,
    Terminated,
    Tick,
)
from actors.matches.lifecycle.lobby import disconnect, drop_others, join, leave
from actors.matches.lifecycle.match import Match, MatchTimeouts, Seat
from actors.matches.lifecycle.moves import act, time_out
from actors.matches.lifecycle.status import AbortReason, Status, Trigger
from actors.matches.lifecycle.views import record
from actors.matches.rules.contract import GameRules
from actors.matches.rules.play import check_players


def begin(
    job: CreationJob,
    rules: GameRules[Any],
    *,
    seed: int,
    now: float,
    node_name: str,
    timeouts: MatchTimeouts = MatchTimeouts(),  # noqa: B008 - frozen
    correction_s: float = 0.0,
) -> StepResult:
    """A new match, preparing until the API server has acknowledged `ready`.

    Args:
        job: What is asked for; as many players as the rules take.
        rules: Those the job names.
        seed: 128 bits nobody can guess, as from `secrets.randbits`: whoever knows it knows every hand.
        now: Seconds by which it waits.
        node_name: As told to the API server.
        timeouts: How long to wait for what.
        correction_s: Of `now`; see `Match`.

    Raises:
        PlayersNotWanted: The rules do not take these players.
    """
    check_players(rules, job.player_ids)
    seats = tuple(Seat(user_id=player, display_name=player) for player in job.player_ids)
    match = Match(
        job=job,
        rules=rules,
        timeouts=timeouts,
        seed=seed,
        seats=seats,
        created_at=now,
        node_name=node_name,
        correction_s=correction_s,
    )
    return _completed(None, announce(match, node_name=node_name), now)


def step(match: Match, event: Event, now: float) -> StepResult:
    """Handle one event. Raises nothing of its own; what the rules raise passes through.

    The rules are not asked anything by `Terminated`, `Rejected`, `ProcessFailed` and `CallbackSettled`
    of any call but `ready`, so a match whose rules fail can always be ended.
    """
    before = None if isinstance(event, Recovered) else match
    return _completed(before, _decided(match, event, now), now)


def _decided(match: Match, event: Event, now: float) -> StepResult:  # noqa: C901, PLR0911 - a row for each event
    match event:
        case CallbackSettled():
            return _settled(match, event, now)
        case Requested():
            return announce_again(match, node_name=match.node_name)
        case Rejected():
            return break_off(match, Trigger.REJECTED, now)
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
            return _fail(match, now)
        case Recovered(connections):
            return drop_others(match, connections).with_effects(*match.unacked, *_job_settled(match))
        case _:
            assert_never(event)


def _settled(match: Match, event: CallbackSettled, now: float) -> StepResult:
    left = tuple(callback for callback in match.unacked if callback.call is not event.call)
    is_owed = left != match.unacked
    match = replace(match, unacked=left)
    if event.call is Call.READY:
        if match.status is Status.FAILED:
            return ready_settled_late(match, event, now) if is_owed else StepResult(match)
        return ready_settled(match, event, now)
    if event.call is Call.STARTED and event.verdict is Verdict.UNKNOWN_ROOM:
        return break_off(match, Trigger.REJECTED, now)
    return StepResult(match)


def _fail(match: Match, now: float) -> StepResult:
    """End the match without its rules: they are not asked anything from here on."""
    if match.job_end is None:
        end = (
            JobEnd(JobOutcome.CONFIRMED)
            if match.confirmed
            else JobEnd(JobOutcome.FAILED, AbortReason.PROCESS_ERROR)
        )
        settled = settle_job(match, end)
    else:
        settled = StepResult(match)
    step = break_off(settled.match, Trigger.PROCESS_FAILED, now).with_effects(*settled.effects)
    return replace(step, match=replace(step.match, rules_failed=True))


def _job_settled(match: Match) -> Iterator[Effect]:
    if match.job_end is not None:
        yield JobSettled(match.job_end)


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
    match = _watched(done.match, now)
    shown = match.shown if before is match else record(match)
    is_news = before is None or shown != match.shown
    match = replace(match, shown=shown) if shown != match.shown else match
    callbacks = [effect for effect in done.effects if isinstance(effect, Callback)]
    others = [effect for effect in done.effects if not isinstance(effect, Callback)]
    effects: list[Effect] = [callback for callback in callbacks if callback.call is not Call.READY]
    if is_news and shown is not None:
        effects.append(Publish(shown))
    effects += (callback for callback in callbacks if callback.call is Call.READY)
    return replace(done, match=match, effects=(*effects, *others, *_due(before, match, now)))


def _watched(match: Match, now: float) -> Match:
    """The grace begins when the last one goes, and ends when the first one comes back."""
    if match.status is not Status.PLAYING or any(seat.is_there for seat in match.seats):
        return match if match.alone_due is None else replace(match, alone_due=None)
    if match.alone_due is not None:
        return match
    return replace(match, alone_due=now + match.timeouts.reconnect_grace_s)


def _due(before: Match | None, match: Match, now: float) -> Iterator[Effect]:
    due = match.next_deadline
    if match.is_over and due is not None and now >= due:
        yield Gone()
    elif before is None or before.next_deadline != due:
        yield WakeAt(due)
