"""The state of a match between two events: everything of it that must survive a crash."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, replace
from typing import Any

from actors.core import SlidingWindow
from actors.matches.callback import Callback
from actors.matches.creation_job import CreationJob
from actors.matches.job_outcome import JobEnd
from actors.matches.lifecycle.limits import ACTIONS
from actors.matches.lifecycle.status import OVER, TRANSITIONS, AbortReason, Status, Trigger
from actors.matches.rules.contract import GameRules, JsonObject, Outcome
from actors.matches.rules.play import AnyPlay


@dataclass(frozen=True, slots=True, kw_only=True)
class MatchTimeouts:
    """How long a match waits, in seconds.

    Attributes:
        join_timeout_s: For the players to come, from the API server's acknowledgement.
        reconnect_grace_s: For anybody to come back, when nobody is there while playing.
        linger_s: With the result on show, when it is over.
    """

    join_timeout_s: float = 120.0
    reconnect_grace_s: float = 60.0
    linger_s: float = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Seat:
    """One expected player.

    Attributes:
        user_id: Who.
        display_name: What others call them; the user id until they have come.
        connection: The newest one; None if they are not there. Only compared.
        came: They have been there, and have not left since.
        left: They have left on purpose: while playing for good, before that until they come again.
        nonces: Of their newest accepted actions, oldest first.
        actions: How many they have tried lately.
    """

    user_id: str
    display_name: str
    connection: Hashable | None = None
    came: bool = False
    left: bool = False
    nonces: tuple[str, ...] = ()
    actions: SlidingWindow = ACTIONS

    @property
    def is_connected(self) -> bool:
        """They can be reached."""
        return self.connection is not None

    @property
    def is_there(self) -> bool:
        """They can be reached and take part."""
        return self.connection is not None and not self.left


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """A match. All times are seconds by which it waits; None for what has not come or is not due.

    Attributes:
        job: What was asked for.
        rules: Of the game.
        timeouts: How long it waits for what.
        seed: All chance of the game follows from it. Nobody is ever shown it.
        seats: One for each expected player, in the order of the job.
        status: Its state; see `status`.
        confirmed: The API server has acknowledged the room once.
        job_end: How the job that asked for it ended; None while `ready` is not answered.
        play: The game; None before it has begun.
        created_at: The match was made.
        node_name: Where, as told to the API server.
        started_at: The game began.
        ended_at: It got over.
        outcome: Of the game, once finished.
        reason: Of the end, if aborted or failed.
        join_due: The players' deadline, while ready.
        turn_due: The turn's deadline, while playing.
        alone_due: While playing with nobody there: when that has lasted too long.
        gone_due: When it goes, once over.
        actions: Accepted so far.
        unacked: Callbacks not known to be settled, oldest first; `ready` is among them until it is.
        shown: The record that was published last.
        rules_failed: The rules are not to be asked anything any more.
        correction_s: Added to its times, they are Unix time: not 0 once the wall clock has been set.
    """

    job: CreationJob
    rules: GameRules[Any]
    timeouts: MatchTimeouts
    seed: int
    seats: tuple[Seat, ...]
    created_at: float
    node_name: str
    status: Status = Status.PREPARING
    play: AnyPlay | None = None
    started_at: float | None = None
    ended_at: float | None = None
    outcome: Outcome | None = None
    reason: AbortReason | None = None
    join_due: float | None = None
    turn_due: float | None = None
    alone_due: float | None = None
    gone_due: float | None = None
    actions: int = 0
    unacked: tuple[Callback, ...] = ()
    confirmed: bool = False
    job_end: JobEnd | None = None
    shown: JsonObject | None = None
    rules_failed: bool = False
    correction_s: float = 0.0

    @property
    def room_id(self) -> str:
        """Of the room it is."""
        return self.job.room_id

    @property
    def is_over(self) -> bool:
        """It has ended, and only waits to be removed."""
        return self.status in OVER

    @property
    def everybody(self) -> tuple[str, ...]:
        """The user ids of all expected players."""
        return self.job.player_ids

    @property
    def next_deadline(self) -> float | None:
        """When a `Tick` is due, if nothing else happens."""
        match self.status:
            case Status.READY:
                return self.join_due
            case Status.PLAYING:
                return min((due for due in (self.turn_due, self.alone_due) if due is not None), default=None)
            case Status.PREPARING:
                return None
            case _:
                return self.gone_due

    def seat(self, user_id: str) -> Seat | None:
        """The seat of this player; None for a stranger."""
        return next((seat for seat in self.seats if seat.user_id == user_id), None)

    def others(self, user_id: str) -> tuple[str, ...]:
        """Everybody else."""
        return tuple(player for player in self.everybody if player != user_id)

    def seated(self, changed: Seat) -> Match:
        """The match with one seat changed."""
        seats = tuple(changed if seat.user_id == changed.user_id else seat for seat in self.seats)
        return replace(self, seats=seats)

    def allows(self, trigger: Trigger) -> bool:
        """Whether the table has a row for this here."""
        return (self.status, trigger) in TRANSITIONS

    def moved(self, trigger: Trigger) -> Match:
        """The match in the status the table says."""
        return replace(self, status=TRANSITIONS[self.status, trigger])
