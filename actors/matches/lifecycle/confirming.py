"""Announcing a match: `ready`, and what its answer decides for the match and for its job."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Final

from actors.matches import callback
from actors.matches.callback import Call
from actors.matches.delivery import Verdict
from actors.matches.job_outcome import JobEnd, JobOutcome
from actors.matches.lifecycle.effects import Gone, JobSettled, StepResult
from actors.matches.lifecycle.ending import abort_callback, break_off
from actors.matches.lifecycle.events import CallbackSettled
from actors.matches.lifecycle.match import Match
from actors.matches.lifecycle.moves import start_if_all_there
from actors.matches.lifecycle.status import AbortReason, Status, Trigger

JOB_OUTCOMES: Final[Mapping[Verdict, JobOutcome]] = MappingProxyType(
    {
        Verdict.ACKNOWLEDGED: JobOutcome.CONFIRMED,
        Verdict.UNKNOWN_ROOM: JobOutcome.DISCARDED,
        Verdict.NOT_ACKNOWLEDGED: JobOutcome.REFUSED,
        Verdict.REFUSED: JobOutcome.REFUSED,
        Verdict.UNAUTHORIZED: JobOutcome.REFUSED,
        Verdict.UNDELIVERABLE: JobOutcome.UNCONFIRMED,
        Verdict.OVERLOADED: JobOutcome.UNCONFIRMED,
        Verdict.STOPPED: JobOutcome.UNCONFIRMED,
    }
)
# After these the API server may believe in the room: it has said so, or was asked and not heard.
MAY_BELIEVE: Final = frozenset({Verdict.ACKNOWLEDGED, Verdict.UNDELIVERABLE})
TRIGGERS: Final[Mapping[JobOutcome, Trigger]] = MappingProxyType(
    {
        JobOutcome.DISCARDED: Trigger.REJECTED,
        JobOutcome.REFUSED: Trigger.REJECTED,
        JobOutcome.UNCONFIRMED: Trigger.UNCONFIRMED,
    }
)


def announce(match: Match, *, node_name: str) -> StepResult:
    """Tell the API server that the room is up."""
    # Two matches of one room id differ in this, the announcements of one match do not.
    life = f"{match.created_at!r}"
    return StepResult(match).with_callback(callback.ready(match.room_id, node_name=node_name, life=life))


def announce_again(match: Match, *, node_name: str) -> StepResult:
    """The job was pushed again: the answer to this `ready`, or to one under way, settles it."""
    if any(unacked.call is Call.READY for unacked in match.unacked):
        return StepResult(match)
    if match.is_over:
        return settle_job(match, JobEnd(JobOutcome.OVER, match.status.value))
    return announce(replace(match, job_end=None), node_name=node_name)


def ready_settled(match: Match, event: CallbackSettled, now: float) -> StepResult:
    """The API server has answered `ready`, or has not."""
    verdict, outcome = event.verdict, JOB_OUTCOMES[event.verdict]
    if outcome is JobOutcome.CONFIRMED:
        step = _confirm(replace(match, confirmed=True), now)
        return _settling(step, JobEnd(outcome))
    if match.confirmed and outcome is not JobOutcome.DISCARDED:
        # It was acknowledged once; a repeat that went wrong takes nothing back.
        return settle_job(match, JobEnd(JobOutcome.CONFIRMED, f"repeat_{verdict}"))
    step = break_off(match, TRIGGERS[outcome], now)
    if verdict in MAY_BELIEVE and step.match.status is Status.FAILED:
        step = step.with_callback(abort_callback(step.match, AbortReason.PROCESS_ERROR, now))
    if match.is_over and not match.confirmed:
        # It was ended before its answer, and nobody has heard of it: there is nothing to show.
        step = step.with_effects(Gone())
    detail = event.answer if outcome is JobOutcome.REFUSED else verdict.value
    return _settling(step, JobEnd(outcome, detail or verdict.value))


def ready_settled_late(match: Match, event: CallbackSettled, now: float) -> StepResult:
    """The match failed while `ready` was under way; it may be gone already.

    A match that had to end here because its job or its claim went to another node says nothing: the
    room lives there.
    """
    step = StepResult(match)
    if event.verdict in MAY_BELIEVE and match.reason is AbortReason.PROCESS_ERROR:
        step = step.with_callback(abort_callback(match, AbortReason.PROCESS_ERROR, now))
    if match.job_end is None:
        step = _settling(step, JobEnd(JobOutcome.DISCARDED, event.verdict.value))
    return step.with_effects(Gone())


def settle_job(match: Match, end: JobEnd) -> StepResult:
    """The job has ended; the match stays as it is."""
    return _settling(StepResult(match), end)


def _settling(step: StepResult, end: JobEnd) -> StepResult:
    return replace(step, match=replace(step.match, job_end=end)).with_effects(JobSettled(end))


def _confirm(match: Match, now: float) -> StepResult:
    if not match.allows(Trigger.CONFIRMED):
        return StepResult(match)
    ready = replace(match.moved(Trigger.CONFIRMED), join_due=now + match.timeouts.join_timeout_s)
    return start_if_all_there(StepResult(ready), now)
