"""What all matches of a node share: callbacks, the publisher of their records, and the clock."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Protocol

import trio

from actors.matches.callback import Callback
from actors.matches.callbacks import CallbackOutcome, Callbacks
from actors.matches.lifecycle import Match, MatchTimeouts


class RoomPublisher(Protocol):
    """Publishes a match's record as a room of kind `match`, which anybody may watch and nobody may PUT."""

    def publish(self, room_id: str, state: dict[str, Any]) -> None:
        """Write the next version of the room. Must not wait.

        The first takes a plain room of that id over: a new epoch, its streams are kept.
        """

    def remove(self, room_id: str) -> None:
        """Remove the room, if it is a match's."""


class ResultKeeper(Protocol):
    """Delivers callbacks that must survive this process, and keeps each until it is delivered."""

    def deliver(self, callback: Callback, then: Callable[[CallbackOutcome], None]) -> object:
        """Make a callback in its turn among the room's; `then` is called with the outcome.

        Neither waits nor raises.
        """


# The two clocks drift apart by less than this between two corrections of a machine's clock.
DRIFT_S: Final = 1.0


class SteadyClock:
    """Seconds that never jump, by which matches wait: the wall clock, read once, plus what has passed.

    What people and other servers are told follows the wall clock: add `correction_s`.

    Args:
        wall_clock: Unix seconds.
    """

    def __init__(self, wall_clock: Callable[[], float] = time.time) -> None:
        self._wall_clock = wall_clock
        self._offset_s: float | None = None
        self._correction_s = 0.0

    @property
    def correction_s(self) -> float:
        """How far the wall clock is ahead of this one since it was set: negative if behind, 0 as a rule."""
        ahead_s = self._wall_clock() - self()
        if abs(ahead_s - self._correction_s) > DRIFT_S:
            self._correction_s = ahead_s
        return self._correction_s

    def __call__(self) -> float:
        """The time; the first call reads the wall clock."""
        now = trio.current_time()
        if self._offset_s is None:
            self._offset_s = self._wall_clock() - now
        return self._offset_s + now


@dataclass(frozen=True, slots=True, kw_only=True)
class MatchContext:
    """What all matches of a node share.

    Attributes:
        node_name: As told to the API server.
        callbacks: Makes `ready` and `failed`.
        keeper: Makes the others.
        publisher: Of the records.
        timeouts: How long matches wait for what.
        now: By which matches wait.
        on_over: Called when a match has ended in whatever way.
    """

    node_name: str
    callbacks: Callbacks
    keeper: ResultKeeper
    publisher: RoomPublisher
    timeouts: MatchTimeouts
    now: SteadyClock
    on_over: Callable[[Match], None]
