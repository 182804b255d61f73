"""A match room: one actor that brings a match from its job to its end.

Everything that must survive a crash of the task stands in an `Entry`, which
belongs to the table of matches: the state, what was asked of it from outside,
and which callbacks are on their way. A message only says "look again", so one
that is lost with a life costs nothing: the next life looks first thing.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, NamedTuple, assert_never

import trio

from actors.core import Actor, Timer, send_after
from actors.matches import callback
from actors.matches.callbacks import Callbacks, Delivery, Outcome
from actors.matches.delivery import DECIDED, Verdict
from actors.matches.lifecycle.status import AbortReason, Status
from actors.matches.match_state import MatchState, RoomPublisher
from actors.matches.settlement import Fate, Settlement

logger: Final = logging.getLogger("actors.matches")


class Look(NamedTuple):
    """Something about the match has changed, or a deadline has come: look at the entry."""


# Later messages (of players) join this union.
Message = Look


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """What all matches of a node share.

    Attributes:
        node_name: As told to the API server.
        callbacks: The way there.
        publisher: Where the public state goes.
        join_timeout_s: Seconds for the players to come, from the acknowledgement.
        linger_s: Seconds that a match stays when it is over.
        clock: Unix seconds.
        forget: Takes an entry out of the table.
    """

    node_name: str
    callbacks: Callbacks
    publisher: RoomPublisher
    join_timeout_s: float
    linger_s: float
    clock: Callable[[], float]
    forget: Callable[[Entry], None]


class Entry:
    """What is kept of a match outside its task.

    Attributes:
        state: How it stands.
        settlement: Of the job that asked for it; of the newest one if it was asked for again.
        confirming: `ready` on its way, or answered and not looked at.
        end_told: `aborted` has been handed over.
        abort: Somebody wants it to end, for this reason.
        discard: Somebody wants it to vanish without a word.
        actor: Its address.
    """

    __slots__ = ("abort", "actor", "confirming", "discard", "end_told", "settlement", "state")

    def __init__(self, state: MatchState) -> None:
        self.state = state
        self.settlement = Settlement()
        self.confirming: Delivery | None = None
        self.end_told = False
        self.abort: AbortReason | None = None
        self.discard = False
        self.actor: MatchRoom | None = None

    @property
    def room_id(self) -> str:
        """Whose it is."""
        return self.state.job.room_id

    def look(self) -> None:
        """Wake the actor."""
        if self.actor is not None:
            self.actor.tell(Look())

    def tell_end(self, world: World) -> None:
        """Tell the API server of an abort, once."""
        state = self.state
        if state.reason is not None and state.ended_at_s is not None and not self.end_told:
            self.end_told = True
            world.callbacks.submit(callback.aborted(self.room_id, reason=state.reason, at_s=state.ended_at_s))


class MatchRoom(Actor[Message]):
    """One match.

    Args:
        entry: The match; outlives every life.
        world: What it shares with the others.
    """

    __slots__ = ("_entry", "_timer", "_world")

    def __init__(self, entry: Entry, world: World) -> None:
        super().__init__(("match", entry.room_id))
        self._entry = entry
        self._world = world
        self._timer: Timer | None = None

    async def init(self) -> None:
        """Be a room before anybody is told so, and catch up on what a former life did not come to."""
        self._world.publisher.take_over(self._entry.room_id)
        self._publish()
        self._look()

    async def receive(self, message: Message) -> None:
        """Handle one message."""
        match message:
            case Look():
                self._look()
            case _:
                assert_never(message)

    # -- what is to be done, given how things stand --------------------------------------

    def _look(self) -> None:
        self._hear_answer()
        self._heed_wishes()
        self._heed_deadlines()
        if not self._stopping:
            self._say_what_is_due()
            self._arm()

    def _hear_answer(self) -> None:
        confirming = self._entry.confirming
        if confirming is not None and confirming.outcome is not None:
            self._entry.confirming = None
            self._confirmed(confirming.outcome.verdict)

    def _confirmed(self, verdict: Verdict) -> None:
        entry, now = self._entry, trio.current_time()
        if verdict is Verdict.ACKNOWLEDGED:
            if not entry.state.confirmed:
                self._become(entry.state.acknowledged(join_by=now + self._world.join_timeout_s))
            entry.settlement.settle(Fate.CONFIRMED)
        elif entry.state.confirmed and verdict is not Verdict.UNKNOWN_ROOM:
            # A repeat that went wrong takes nothing back: it was acknowledged once.
            entry.settlement.settle(Fate.CONFIRMED, f"repeat_{verdict}")
        else:
            entry.settlement.settle(Fate.DISCARDED if verdict in DECIDED else Fate.UNCONFIRMED, verdict)
            self._go()

    def _heed_wishes(self) -> None:
        entry = self._entry
        if entry.discard:
            self._go()
        elif entry.abort is not None and not entry.state.is_over:
            self._abort(entry.abort)

    def _heed_deadlines(self) -> None:
        state, now = self._entry.state, trio.current_time()
        if state.is_over and now >= state.gone_by:
            self._go()
        elif state.status is Status.READY and now >= state.join_by:
            self._abort(AbortReason.JOIN_TIMEOUT)

    def _say_what_is_due(self) -> None:
        entry, world = self._entry, self._world
        if entry.settlement.settled is None and entry.confirming is None:
            ready = callback.ready(entry.room_id, node_name=world.node_name)
            entry.confirming = world.callbacks.submit(ready, self._answered)
        entry.tell_end(world)

    def _answered(self, _outcome: Outcome) -> None:
        self._entry.look()

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        deadline = self._entry.state.next_deadline
        if math.isfinite(deadline):
            self._timer = send_after(deadline - trio.current_time(), self, Look())

    # -- changes -------------------------------------------------------------------------

    def _become(self, state: MatchState) -> None:
        """The one place where a match changes: the value first, then those who watch."""
        self._entry.state = state
        self._publish()
        facts = {"room_id": self._entry.room_id, "status": state.status, "reason": state.reason}
        logger.info("match_status", extra=facts)

    def _abort(self, reason: AbortReason) -> None:
        now = trio.current_time()
        at_s = self._world.clock()
        self._become(self._entry.state.aborted(reason, at_s=at_s, gone_by=now + self._world.linger_s))

    def _publish(self) -> None:
        self._world.publisher.publish(self._entry.room_id, self._entry.state.public())

    def _go(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._world.forget(self._entry)
        self.stop()
