"""The part of a match that survives its task: its state, its inbox, and how a step is carried out.

Callers put an item into the handle's inbox and wake the actor; the message in
the actor's own mailbox is only a wake-up. So a crash of the task costs the one
item that was being handled, and whoever sent it gets an error.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Final, NamedTuple, TypeAlias, assert_never

import orjson
from orjson import Fragment

from actors.core import Actor, ActorGone, MailboxFull
from actors.matches.callback import Call, Callback
from actors.matches.callbacks import CallbackOutcome
from actors.matches.context import MatchContext
from actors.matches.job_outcome import JobFuture
from actors.matches.lifecycle import (
    CallbackSettled,
    Disconnected,
    Effect,
    Event,
    Gone,
    JobSettled,
    Match,
    PlayerReply,
    Publish,
    Push,
    Status,
    WakeAt,
    step,
)
from actors.matches.player_connection import PlayerConnection, Question

logger: Final = logging.getLogger("actors.matches")

# Some fifty a player at five a second is ten seconds of everybody's attention;
# past that, telling the player beats queueing more.
INBOX_SLOTS: Final = 256
# So many crashes without an accepted move in between, and the rules are taken for broken. The
# supervisor's limit ends a crash loop; this one ends a match whose players bring each crash about.
MOST_CRASHES: Final = 5
# Callbacks that must not be lost when this node stops.
KEPT_CALLS: Final = frozenset({Call.STARTED, Call.FINISHED, Call.ABORTED})


class Wake(NamedTuple):
    """The inbox has items, or a deadline has come."""


@dataclass(frozen=True, slots=True)
class Joining:
    """A player asks to join."""

    connection: PlayerConnection

    def fail(self) -> None:
        """It was being handled when the task crashed."""
        self.connection.crash()

    def turn_away(self) -> None:
        """The match is gone."""
        self.connection.refuse("room_not_found")


@dataclass(frozen=True, slots=True)
class Asking:
    """A player has sent an event.

    Attributes:
        connection: The connection it came over.
        event: Such as `game:action`.
        payload: Whatever came with it.
        question: To be answered.
    """

    connection: PlayerConnection
    event: str
    payload: object
    question: Question

    def fail(self) -> None:
        """It was being handled when the task crashed."""
        self.question.reply("error", {"accepted": False, "reason": "internal_error"})

    def turn_away(self) -> None:
        """The match is gone."""
        self.question.reply("error", {"accepted": False, "reason": "room_not_found"})


Item: TypeAlias = Joining | Asking | Event


class MatchHandle:
    """A match, for the table of matches, for its players and for its task.

    Attributes:
        match: Its state, between two events.
        future: Of the job that asked for it; of the newest one if it was asked for again.
        inbox: Items not handled yet.
        under_way: The item being handled; what a crash finds here was the cause.
        connections: Players who are connected, by user id.
        interrupted: A run of the task has begun and not ended in order.
        actor: Its task's address; None once the match is gone.
        is_gone: The match has asked to be removed.
    """

    __slots__ = (
        "_context",
        "_crashes",
        "_is_stepping",
        "_on_their_way",
        "_progress",
        "_woken",
        "actor",
        "connections",
        "future",
        "inbox",
        "interrupted",
        "is_gone",
        "match",
        "under_way",
    )

    def __init__(self, match: Match, context: MatchContext) -> None:
        self.match = match
        self.future = JobFuture()
        self.inbox: deque[Item] = deque()
        self.under_way: Item | None = None
        self.connections: dict[str, PlayerConnection] = {}
        self.interrupted = False
        self.actor: Actor[Wake] | None = None
        self.is_gone = False
        self._context = context
        self._on_their_way: set[Callback] = set()
        self._woken = False
        self._is_stepping = False
        self._crashes = self._progress = 0

    @property
    def room_id(self) -> str:
        """The room it is."""
        return self.match.room_id

    # -- for players: `MatchPort` ---------------------------------------------------------

    def join(self, connection: PlayerConnection) -> None:
        """Queue a player's join.

        Raises:
            ActorGone: The match is gone.
            MailboxFull: It has too much to do.
        """
        self._put(Joining(connection))

    def push(self, connection: PlayerConnection, event: str, payload: object, question: Question) -> None:
        """A player has sent an event.

        Raises:
            ActorGone: The match is gone.
            MailboxFull: It has too much to do.
        """
        self._put(Asking(connection, event, payload, question))

    def disconnect(self, connection: PlayerConnection) -> None:
        """A connection has ended."""
        self.tell(Disconnected(connection.user_id, connection))

    def _put(self, item: Joining | Asking) -> None:
        if self.actor is None:
            raise ActorGone(("match", self.room_id), item)
        if len(self.inbox) >= INBOX_SLOTS:
            raise MailboxFull(("match", self.room_id), item)
        self.inbox.append(item)
        self.wake()

    # -- for everybody else --------------------------------------------------------------

    def tell(self, event: Event) -> None:
        """Queue an event even if the inbox is full; for events that are few by nature."""
        if self.actor is not None:
            self.inbox.append(event)
            self.wake()

    def wake(self) -> None:
        """Wake the actor, unless it has been already."""
        if self.actor is not None and not self._woken:
            self._woken = self.actor.force_cast(Wake())

    def woken(self) -> None:
        """The actor is awake; what comes from now on must wake it again."""
        self._woken = False

    # -- changes: the one place where a match changes --------------------------------------

    def apply(
        self, event: Event, answer: Callable[[PlayerReply], None] | None = None, *, publish: bool = True
    ) -> None:
        """Step the match, keep its new state, then give the answer and carry out the effects.

        Args:
            event: What happened.
            answer: Called with the reply, if there is one.
            publish: False where the record may be what fails; the next run of the task publishes it.
        """
        before = self.match
        if before.correction_s != (correction_s := self._context.now.correction_s):
            before = replace(before, correction_s=correction_s)
        self._is_stepping = True
        done = step(before, event, self._context.now())
        self._is_stepping = False
        self.match = done.match
        if done.match.status is not before.status:
            facts = {"room_id": self.room_id, "status": done.match.status, "reason": done.match.reason}
            logger.info("match_status", extra=facts)
            if done.match.is_over:
                self._context.on_over(done.match)
        if done.answer is not None and answer is not None:
            answer(done.answer)
        for effect in done.effects:
            if publish or not isinstance(effect, Publish):
                self._carry_out(effect)

    def _carry_out(self, effect: Effect) -> None:
        match effect:
            case Callback():
                self._submit(effect)
            case Publish(state):
                self._context.publisher.publish(self.room_id, state)
            case JobSettled(end):
                self.future.settle(end)
            case Push():
                self._push_to_players(effect)
            case WakeAt():
                pass  # the actor arms its timer after every wake
            case Gone():
                self.is_gone = True
            case _:
                assert_never(effect)

    def _submit(self, made: Callback) -> None:
        """Make a callback, unless it is under way already."""
        if made not in self._on_their_way:
            self._on_their_way.add(made)
            deliver = (
                self._context.keeper.deliver if made.call in KEPT_CALLS else self._context.callbacks.submit
            )
            deliver(made, partial(self._settled, made))

    def _settled(self, made: Callback, outcome: CallbackOutcome) -> None:
        self._on_their_way.discard(made)
        settled = CallbackSettled(made.call, outcome.verdict, outcome.answer)
        if self.actor is None and made.call is Call.READY:
            # The match is gone, and with it the actor; `aborted` may have to follow all the same.
            self.apply(settled, publish=False)
        else:
            self.tell(settled)

    def _push_to_players(self, push: Push) -> None:
        """Send to those who are connected; what several get is encoded once."""
        found = (self.connections.get(user_id) for user_id in push.to)
        connections = [connection for connection in found if connection is not None]
        payload = push.payload if len(connections) == 1 else Fragment(orjson.dumps(push.payload))
        for connection in connections:
            connection.push(push.event, payload)

    # -- crashes -------------------------------------------------------------------------

    def note_crash(self) -> bool:
        """Count a crash that the rules caused; True if no move was made since the last few of them."""
        if not self._is_stepping:
            return False
        self._is_stepping = False
        if self.match.actions != self._progress:
            self._progress, self._crashes = self.match.actions, 0
        self._crashes += 1
        return self._crashes >= MOST_CRASHES

    def fail_under_way(self) -> None:
        """Answer with an error whoever sent the item that was being handled when the task crashed."""
        failed, self.under_way = self.under_way, None
        if isinstance(failed, Joining | Asking):
            failed.fail()

    # -- the end -------------------------------------------------------------------------

    def close(self) -> None:
        """Refuse what waits in the inbox and close all connections, since the match is gone."""
        self.actor = None
        inbox, self.inbox = self.inbox, deque()
        for item in inbox:
            if isinstance(item, Joining | Asking):
                item.turn_away()
        self.drop_connections(lambda connection: connection.close())

    def drop_connections(self, end: Callable[[PlayerConnection], None]) -> None:
        """End all connections in the same way."""
        connections, self.connections = self.connections, {}
        for connection in connections.values():
            end(connection)

    @property
    def ending(self) -> str:
        """How the match ended, as the label of a counter."""
        match = self.match
        if match.status is Status.FAILED or not match.is_over:
            return "discarded"
        return match.status.value if match.reason is None else match.reason.value
