"""What a step asks its caller to do, as values."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TypeAlias

from actors.matches.callback import Callback
from actors.matches.job_outcome import JobEnd
from actors.matches.lifecycle.match import Match
from actors.matches.rules.contract import JsonObject


@dataclass(frozen=True, slots=True)
class Publish:
    """Write the next version of the room's record.

    Attributes:
        state: What anybody may see.
    """

    state: JsonObject


@dataclass(frozen=True, slots=True)
class Push:
    """Tell players something; those who are not connected miss it.

    Attributes:
        event: Such as `player:joined`.
        payload: The same for all of them.
        to: User ids.
    """

    event: str
    payload: JsonObject
    to: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class JobSettled:
    """Tell whoever waits for the job of this match how it ended. Repeated after a crash; the first counts."""

    end: JobEnd


@dataclass(frozen=True, slots=True)
class WakeAt:
    """Send a `Tick` at this time, in place of any asked for before; None for no more."""

    at: float | None


@dataclass(frozen=True, slots=True)
class Gone:
    """The match is done: close the players' connections, remove the room, forget the match."""


# Carried out in this order: callbacks must not be lost, then the record, then the connected players.
# `ready` alone comes after the record: the room exists before the API server hears of it.
Effect: TypeAlias = Callback | Publish | JobSettled | Push | WakeAt | Gone


@dataclass(frozen=True, slots=True)
class PlayerReply:
    """For whoever caused the event.

    Attributes:
        ok: Whether it was taken.
        response: As the client gets it.
    """

    ok: bool
    response: JsonObject


@dataclass(frozen=True, slots=True)
class StepResult:
    """The result of one step.

    Attributes:
        match: To be kept, before anything else is done.
        effects: To be done, in this order.
        answer: To be given before the effects; None if nobody asked.
    """

    match: Match
    effects: tuple[Effect, ...] = ()
    answer: PlayerReply | None = None

    def with_effects(self, *effects: Effect) -> StepResult:
        """The step with more to be done."""
        return replace(self, effects=(*self.effects, *effects))

    def with_callback(self, callback: Callback) -> StepResult:
        """The step with a callback, which the match remembers until it is settled."""
        unacked = replace(self.match, unacked=(*self.match.unacked, callback))
        return replace(self, match=unacked).with_effects(callback)

    def with_answer(self, response: JsonObject, *, ok: bool = True) -> StepResult:
        """The step with its answer."""
        return replace(self, answer=PlayerReply(ok, response))
