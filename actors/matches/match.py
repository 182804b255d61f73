"""A match room: one actor that brings a match from its job to its end.

What happens is decided by `lifecycle`, a state machine without a clock; the
actor feeds it and does what it says: the next value is kept, then whoever asked
is answered, then the API server, the onlookers and the players are told.

All that must survive a crash of the task stands in an `Entry`. A new life ends
the players' lines as broken, whereupon their clients join again and are told
how things stand: what the crash may have cost them was a few pushes.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final, assert_never

from actors.core import Actor, Timer, send_after
from actors.matches.callback import Callback
from actors.matches.delivery import DECIDED, Verdict
from actors.matches.entry import Asking, Entry, Item, Joining, Look
from actors.matches.lifecycle import (
    Acted,
    Answer,
    Confirmed,
    Disconnected,
    Disowned,
    Event,
    Gone,
    Joined,
    Left,
    Publish,
    Push,
    Recovered,
    Tick,
    WakeAt,
    step,
)
from actors.matches.lifecycle.effects import Effect
from actors.matches.line import Line
from actors.matches.settlement import Fate
from actors.matches.world import World

logger: Final = logging.getLogger("actors.matches")

# A step takes a fraction of a millisecond; after so many others have their turn.
ITEMS_PER_LOOK: Final = 16
ACTION: Final = "game:action"
LEAVE: Final = "room:leave"
UNKNOWN_EVENT: Final = {"reason": "unknown_event"}
NOT_CONNECTED: Final = {"accepted": False, "reason": "not_connected"}


class MatchRoom(Actor[Look]):
    """One match.

    Args:
        entry: The match; outlives every life.
        world: What it shares with the others.
        forget: Takes the entry out of the table.
    """

    __slots__ = ("_deadline", "_entry", "_forget", "_timer", "_world")

    def __init__(self, entry: Entry, world: World, forget: Callable[[Entry], None]) -> None:
        super().__init__(("match", entry.room_id))
        self._entry = entry
        self._world = world
        self._forget = forget
        self._timer: Timer | None = None
        self._deadline: float | None = None

    async def init(self) -> None:
        """Be a room before anybody is told so, and catch up on what a former life did not come to."""
        entry = self._entry
        entry.looking()
        self._world.publisher.take_over(entry.room_id)
        if entry.interrupted:
            entry.fail_under_way()
            entry.drop_lines(lambda line: line.crash())
        entry.interrupted = True
        self._step(Recovered(tuple(entry.lines.values())))
        self._look()

    async def receive(self, message: Look) -> None:
        """Handle one message."""
        match message:
            case Look():
                self._entry.looking()
                self._look()
            case _:
                assert_never(message)

    # -- what is to be done, given how things stand --------------------------------------

    def _look(self) -> None:
        self._hear_answer()
        self._read_inbox()
        due = self._entry.match.next_deadline
        if not self._stopping and due is not None and self._world.now() >= due:
            self._step(Tick())
        if not self._stopping:
            self._confirm_if_asked()
            self._arm()

    def _hear_answer(self) -> None:
        confirming = self._entry.confirming
        if confirming is not None and confirming.outcome is not None:
            self._entry.confirming = None
            self._answered(confirming.outcome.verdict)

    def _answered(self, verdict: Verdict) -> None:
        """The API server has answered to `ready`, or has not."""
        entry = self._entry
        if verdict is Verdict.ACKNOWLEDGED:
            entry.confirmed = True
            self._step(Confirmed())
            entry.settlement.settle(Fate.CONFIRMED)
        elif entry.confirmed and verdict is not Verdict.UNKNOWN_ROOM:
            # A repeat that went wrong takes nothing back: it was acknowledged once.
            entry.settlement.settle(Fate.CONFIRMED, f"repeat_{verdict}")
        else:
            entry.settlement.settle(Fate.DISCARDED if verdict in DECIDED else Fate.UNCONFIRMED, verdict)
            self._step(Disowned())
            if not entry.confirmed:
                self._go()

    def _confirm_if_asked(self) -> None:
        if self._entry.settlement.settled is None and self._entry.confirming is None:
            self._entry.confirm()

    def _arm(self) -> None:
        """See to it that there is one timer, for the next deadline."""
        due = self._entry.match.next_deadline
        if self._timer is not None:
            if due == self._deadline and self._timer.is_pending:
                return
            self._timer.cancel()
        self._deadline = due
        self._timer = None if due is None else send_after(max(0.0, due - self._world.now()), self, Look())

    def _read_inbox(self) -> None:
        entry = self._entry
        for _ in range(ITEMS_PER_LOOK):
            if self._stopping or not entry.inbox:
                return
            entry.under_way = item = entry.inbox.popleft()
            self._take_up(item)
            entry.under_way = None
        entry.look()

    # -- what players and others say -------------------------------------------------------

    def _take_up(self, item: Item) -> None:
        if isinstance(item, Joining):
            if item.line.alive:
                self._join(item.line)
        elif isinstance(item, Asking):
            self._answer(item)
        else:
            if isinstance(item, Disconnected) and self._entry.lines.get(item.user_id) is item.connection:
                del self._entry.lines[item.user_id]
            self._step(item)

    def _join(self, line: Line) -> None:
        def answer(given: Answer) -> None:
            if given.ok:
                self._entry.lines[line.user_id] = line
                line.accept(given.response)
            else:
                # Nothing that could change by asking again.
                line.refuse(str(given.response["reason"]), final=True)

        self._step(Joined(line.user_id, line.display_name, line), answer)

    def _answer(self, asked: Asking) -> None:
        def answer(given: Answer) -> None:
            asked.question.reply("ok" if given.ok else "error", given.response)

        if self._entry.lines.get(asked.line.user_id) is not asked.line:
            asked.question.reply("error", NOT_CONNECTED)
        elif asked.event == ACTION:
            self._step(Acted(asked.line.user_id, asked.payload), answer)
        elif asked.event == LEAVE:
            self._step(Left(asked.line.user_id), answer)
        else:
            asked.question.reply("error", UNKNOWN_EVENT)

    # -- changes -------------------------------------------------------------------------

    def _step(self, event: Event, answer: Callable[[Answer], None] | None = None) -> None:
        """The one place where a match changes: the value first, then those it concerns."""
        entry, before = self._entry, self._entry.match
        done = step(before, event, self._world.now())
        entry.match = done.match
        if done.match.status is not before.status:
            facts = {"room_id": entry.room_id, "status": done.match.status, "reason": done.match.reason}
            logger.info("match_status", extra=facts)
        if done.answer is not None and answer is not None:
            answer(done.answer)
        for effect in done.effects:
            self._do(effect)

    def _do(self, effect: Effect) -> None:
        match effect:
            case Callback():
                self._entry.submit(effect)
            case Publish(state):
                self._world.publisher.publish(self._entry.room_id, state)
            case Push():
                self._entry.push_to_players(effect)
            case WakeAt():
                pass  # every look ends with arming the timer anew
            case Gone():
                self._go()
            case _:
                assert_never(effect)

    def _go(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._forget(self._entry)
        self.stop()
