"""A match room: one actor that brings a match from its job to its end.

What happens is decided by `lifecycle`, a state machine without a clock; the
actor feeds it and does what it says: the next value is kept, then whoever asked
is answered, then the API server, the onlookers and the players are told.

All that must survive a crash of the task stands in an `MatchHandle`. A new life ends
the players' connections as broken, whereupon their clients join again and are told
how things stand: what the crash may have cost them was a few pushes.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final, assert_never

from actors.core import Actor, Timer, send_after
from actors.matches.callback import Callback
from actors.matches.context import MatchContext
from actors.matches.delivery import DECIDED, Verdict
from actors.matches.handle import Asking, Item, Joining, MatchHandle, Wake
from actors.matches.job_outcome import JobOutcome
from actors.matches.lifecycle import (
    Acted,
    Confirmed,
    Disconnected,
    Event,
    Gone,
    Joined,
    Left,
    PlayerReply,
    Publish,
    Push,
    Recovered,
    Rejected,
    Tick,
    WakeAt,
    step,
)
from actors.matches.lifecycle.effects import Effect
from actors.matches.player_connection import PlayerConnection

logger: Final = logging.getLogger("actors.matches")

# A step takes a fraction of a millisecond; after so many others have their turn.
ITEMS_PER_LOOK: Final = 16
ACTION: Final = "game:action"
LEAVE: Final = "room:leave"
UNKNOWN_EVENT: Final = {"reason": "unknown_event"}
NOT_CONNECTED: Final = {"accepted": False, "reason": "not_connected"}


class MatchRoom(Actor[Wake]):
    """One match.

    Args:
        handle: The match; outlives every life.
        context: What it shares with the others.
        forget: Takes the handle out of the table.
    """

    __slots__ = ("_context", "_deadline", "_forget", "_match_handle", "_timer")

    def __init__(
        self, handle: MatchHandle, context: MatchContext, forget: Callable[[MatchHandle], None]
    ) -> None:
        super().__init__(("match", handle.room_id))
        self._match_handle = handle
        self._context = context
        self._forget = forget
        self._timer: Timer | None = None
        self._deadline: float | None = None

    async def init(self) -> None:
        """Be a room before anybody is told so, and catch up on what a former life did not come to."""
        handle = self._match_handle
        handle.woken()
        self._context.publisher.take_over(handle.room_id)
        if handle.interrupted:
            handle.fail_under_way()
            handle.drop_connections(lambda connection: connection.crash())
        handle.interrupted = True
        self._step(Recovered(tuple(handle.connections.values())))
        self._look()

    async def receive(self, message: Wake) -> None:
        """Handle one message."""
        match message:
            case Wake():
                self._match_handle.woken()
                self._look()
            case _:
                assert_never(message)

    # -- what is to be done, given how things stand --------------------------------------

    def _look(self) -> None:
        self._hear_answer()
        self._read_inbox()
        due = self._match_handle.match.next_deadline
        if not self._stopping and due is not None and self._context.now() >= due:
            self._step(Tick())
        if not self._stopping:
            self._confirm_if_asked()
            self._arm()

    def _hear_answer(self) -> None:
        confirming = self._match_handle.confirming
        if confirming is not None and confirming.outcome is not None:
            self._match_handle.confirming = None
            self._answered(confirming.outcome.verdict)

    def _answered(self, verdict: Verdict) -> None:
        """The API server has answered to `ready`, or has not."""
        handle = self._match_handle
        if verdict is Verdict.ACKNOWLEDGED:
            handle.confirmed = True
            self._step(Confirmed())
            handle.future.settle(JobOutcome.CONFIRMED)
        elif handle.confirmed and verdict is not Verdict.UNKNOWN_ROOM:
            # A repeat that went wrong takes nothing back: it was acknowledged once.
            handle.future.settle(JobOutcome.CONFIRMED, f"repeat_{verdict}")
        else:
            handle.future.settle(
                JobOutcome.DISCARDED if verdict in DECIDED else JobOutcome.UNCONFIRMED, verdict
            )
            self._step(Rejected())
            if not handle.confirmed:
                self._go()

    def _confirm_if_asked(self) -> None:
        if self._match_handle.future.settled is None and self._match_handle.confirming is None:
            self._match_handle.confirm()

    def _arm(self) -> None:
        """See to it that there is one timer, for the next deadline."""
        due = self._match_handle.match.next_deadline
        if self._timer is not None:
            if due == self._deadline and self._timer.is_pending:
                return
            self._timer.cancel()
        self._deadline = due
        self._timer = None if due is None else send_after(max(0.0, due - self._context.now()), self, Wake())

    def _read_inbox(self) -> None:
        handle = self._match_handle
        for _ in range(ITEMS_PER_LOOK):
            if self._stopping or not handle.inbox:
                return
            handle.under_way = item = handle.inbox.popleft()
            self._take_up(item)
            handle.under_way = None
        handle.wake()

    # -- what players and others say -------------------------------------------------------

    def _take_up(self, item: Item) -> None:
        if isinstance(item, Joining):
            if item.connection.alive:
                self._join(item.connection)
        elif isinstance(item, Asking):
            self._answer(item)
        else:
            if (
                isinstance(item, Disconnected)
                and self._match_handle.connections.get(item.user_id) is item.connection
            ):
                del self._match_handle.connections[item.user_id]
            self._step(item)

    def _join(self, connection: PlayerConnection) -> None:
        def answer(given: PlayerReply) -> None:
            if given.ok:
                self._match_handle.connections[connection.user_id] = connection
                connection.accept(given.response)
            else:
                # Nothing that could change by asking again.
                connection.refuse(str(given.response["reason"]), final=True)

        self._step(Joined(connection.user_id, connection.display_name, connection), answer)

    def _answer(self, asked: Asking) -> None:
        def answer(given: PlayerReply) -> None:
            asked.question.reply("ok" if given.ok else "error", given.response)

        if self._match_handle.connections.get(asked.connection.user_id) is not asked.connection:
            asked.question.reply("error", NOT_CONNECTED)
        elif asked.event == ACTION:
            self._step(Acted(asked.connection.user_id, asked.payload), answer)
        elif asked.event == LEAVE:
            self._step(Left(asked.connection.user_id), answer)
        else:
            asked.question.reply("error", UNKNOWN_EVENT)

    # -- changes -------------------------------------------------------------------------

    def _step(self, event: Event, answer: Callable[[PlayerReply], None] | None = None) -> None:
        """The one place where a match changes: the value first, then those it concerns."""
        handle, before = self._match_handle, self._match_handle.match
        done = step(before, event, self._context.now())
        handle.match = done.match
        if done.match.status is not before.status:
            facts = {"room_id": handle.room_id, "status": done.match.status, "reason": done.match.reason}
            logger.info("match_status", extra=facts)
        if done.answer is not None and answer is not None:
            answer(done.answer)
        for effect in done.effects:
            self._do(effect)

    def _do(self, effect: Effect) -> None:
        match effect:
            case Callback():
                self._match_handle.submit(effect)
            case Publish(state):
                self._context.publisher.publish(self._match_handle.room_id, state)
            case Push():
                self._match_handle.push_to_players(effect)
            case WakeAt():
                pass  # every look ends with arming the timer anew
            case Gone():
                self._go()
            case _:
                assert_never(effect)

    def _go(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._forget(self._match_handle)
        self.stop()
