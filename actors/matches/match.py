"""A match room: one actor that runs a match from its job to its end.

The actor reads the handle's inbox and its timer, and feeds both to
`MatchHandle.apply`, which steps the pure state machine of `lifecycle` and
carries out what it returns.

All that must survive a crash of the task stands in a `MatchHandle`. A new run
ends the players' connections as broken, whereupon their clients join again and
are sent the current state: a crash costs them a few pushes.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final, assert_never

from actors.core import Actor, Registry, Timer, send_after
from actors.matches.context import MatchContext
from actors.matches.handle import Asking, Item, Joining, MatchHandle, Wake
from actors.matches.lifecycle import (
    Acted,
    Disconnected,
    Event,
    Joined,
    Left,
    PlayerReply,
    ProcessFailed,
    Recovered,
    Tick,
)
from actors.matches.player_connection import PlayerConnection

logger: Final = logging.getLogger("actors.matches")

# A step takes a fraction of a millisecond; after so many, other tasks have their turn.
ITEMS_PER_WAKE: Final = 16
ACTION: Final = "game:action"
LEAVE: Final = "room:leave"
UNKNOWN_EVENT: Final = {"reason": "unknown_event"}
NOT_CONNECTED: Final = {"accepted": False, "reason": "not_connected"}


class MatchRoom(Actor[Wake]):
    """One match.

    Args:
        handle: The match; outlives every run of the task.
        context: Shared with all matches.
        registry: Where it registers itself.
        forget: Removes the handle from the table.
    """

    __slots__ = ("_context", "_deadline", "_forget", "_match_handle", "_registry", "_timer")

    def __init__(
        self,
        handle: MatchHandle,
        context: MatchContext,
        registry: Registry,
        forget: Callable[[MatchHandle], None],
    ) -> None:
        super().__init__(("match", handle.room_id))
        self._match_handle = handle
        self._context = context
        self._registry = registry
        self._forget = forget
        self._timer: Timer | None = None
        self._deadline: float | None = None

    async def init(self) -> None:
        """Register, publish the room, repeat what the API server has not acknowledged, handle what waits."""
        self._registry.register(self.name, self)
        handle = self._match_handle
        handle.woken()
        beyond_help = False
        if handle.interrupted:
            handle.fail_under_way()
            handle.drop_connections(lambda connection: connection.crash())
            beyond_help = handle.note_crash()
        handle.interrupted = True
        if beyond_help:
            self._apply(ProcessFailed())
        if not self._stopping:
            self._apply(Recovered(tuple(handle.connections.values())))
            self._wake()

    async def receive(self, message: Wake) -> None:
        """Handle one message."""
        match message:
            case Wake():
                self._match_handle.woken()
                self._wake()
            case _:
                assert_never(message)

    def _wake(self) -> None:
        self._read_inbox()
        due = self._match_handle.match.next_deadline
        if not self._stopping and due is not None and self._context.now() >= due:
            self._apply(Tick())
        if not self._stopping:
            self._arm()

    def _arm(self) -> None:
        """Keep exactly one timer, for the next deadline."""
        due = self._match_handle.match.next_deadline
        if self._timer is not None:
            if due == self._deadline and self._timer.is_pending:
                return
            self._timer.cancel()
        self._deadline = due
        self._timer = None if due is None else send_after(max(0.0, due - self._context.now()), self, Wake())

    def _read_inbox(self) -> None:
        handle = self._match_handle
        for _ in range(ITEMS_PER_WAKE):
            if self._stopping or not handle.inbox:
                return
            handle.under_way = item = handle.inbox.popleft()
            self._take_up(item)
            handle.under_way = None
        handle.wake()

    # -- items of the inbox ------------------------------------------------------------------

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
            self._apply(item)

    def _join(self, connection: PlayerConnection) -> None:
        def answer(given: PlayerReply) -> None:
            if given.ok:
                self._match_handle.connections[connection.user_id] = connection
                connection.accept(given.response)
            else:
                # Nothing that could change by asking again.
                connection.refuse(str(given.response["reason"]), final=True)

        self._apply(Joined(connection.user_id, connection.display_name, connection), answer)

    def _answer(self, asked: Asking) -> None:
        def answer(given: PlayerReply) -> None:
            asked.question.reply("ok" if given.ok else "error", given.response)

        if self._match_handle.connections.get(asked.connection.user_id) is not asked.connection:
            asked.question.reply("error", NOT_CONNECTED)
        elif asked.event == ACTION:
            self._apply(Acted(asked.connection.user_id, asked.payload), answer)
        elif asked.event == LEAVE:
            self._apply(Left(asked.connection.user_id), answer)
        else:
            asked.question.reply("error", UNKNOWN_EVENT)

    def _apply(self, event: Event, answer: Callable[[PlayerReply], None] | None = None) -> None:
        self._match_handle.apply(event, answer)
        if self._match_handle.is_gone:
            self._go()

    def _go(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._forget(self._match_handle)
        self.stop()
