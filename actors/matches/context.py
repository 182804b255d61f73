"""What all matches of a node share: the way to the API server, where they show themselves, and the time."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Protocol

import trio

from actors.matches.callback import Callback
from actors.matches.callbacks import CallbackOutcome, Callbacks
from actors.matches.delivery import RESULT_TAKEN
from actors.matches.lifecycle import MatchTimeouts

logger: Final = logging.getLogger("actors.matches")


class RoomPublisher(Protocol):
    """Where a match shows itself: as a room of kind `match`, which everybody may watch and nobody may PUT."""

    def take_over(self, room_id: str) -> None:
        """Make the room a match's; again changes nothing.

        A plain room of that id gives way, its streams are kept.
        """

    def publish(self, room_id: str, state: dict[str, Any]) -> None:
        """Write the next version of the room. Must not wait."""

    def remove(self, room_id: str) -> None:
        """Remove the room, if it is a match's."""


class ResultKeeper(Protocol):
    """Who tells the API server a result, and keeps it as long as it has not been told."""

    def tell(self, finished: Callback, then: Callable[[CallbackOutcome], None]) -> None:
        """Tell it in its turn among the room's callbacks; `then` hears how that went.

        Neither waits nor raises.
        """


class NoKeeper:
    """Tells results once, keeps nothing, and says so.

    Args:
        callbacks: The way to the API server.
    """

    def __init__(self, callbacks: Callbacks) -> None:
        self._callbacks = callbacks

    def tell(self, finished: Callback, then: Callable[[CallbackOutcome], None]) -> None:
        """Tell it, or say what is lost."""

        def settled(outcome: CallbackOutcome) -> None:
            if outcome.verdict not in RESULT_TAKEN:
                logger.error("match_result_lost", extra={"room_id": finished.room_id})
            then(outcome)

        self._callbacks.submit(finished, settled)


class SteadyClock:
    """Unix seconds that never go back: the wall clock, read once, and a monotonic clock since.

    Args:
        wall_clock: Unix seconds.
    """

    def __init__(self, wall_clock: Callable[[], float] = time.time) -> None:
        self._wall_clock = wall_clock
        self._offset_s: float | None = None

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
        callbacks: The way there.
        keeper: Of results, which go there through it.
        publisher: Where the public state goes.
        timeouts: How long matches wait for what.
        now: Unix seconds that never go back.
    """

    node_name: str
    callbacks: Callbacks
    keeper: ResultKeeper
    publisher: RoomPublisher
    timeouts: MatchTimeouts
    now: Callable[[], float]
