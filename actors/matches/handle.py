"""What is kept of a match outside its task, and the door through which everybody speaks to it.

Who has something to say puts it into the handle's inbox and wakes the actor; the
message in the actor's own mailbox only says "look". So a crash of the task
costs the one thing that was being handled, and whoever asked it is told.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Final, NamedTuple, TypeAlias

import orjson
from orjson import Fragment

from actors.core import Actor, ActorGone, MailboxFull
from actors.matches import callback
from actors.matches.callback import Call, Callback
from actors.matches.callbacks import CallbackOutcome, Delivery
from actors.matches.context import MatchContext
from actors.matches.delivery import Verdict
from actors.matches.job_outcome import JobFuture
from actors.matches.lifecycle import CallbackSettled, Disconnected, Event, Match, Push, Rejected, Status
from actors.matches.player_connection import PlayerConnection, Question

# Some fifty a player at five a second is ten seconds of everybody's attention;
# past that, telling the player beats queueing more.
INBOX_SLOTS: Final = 256


class Wake(NamedTuple):
    """Something about the match has changed, or a deadline has come: look at the handle."""


@dataclass(frozen=True, slots=True)
class Joining:
    """A player wants in."""

    connection: PlayerConnection

    def fail(self) -> None:
        """It was being handled when the task crashed."""
        self.connection.crash()

    def turn_away(self) -> None:
        """The match has gone."""
        self.connection.refuse("room_not_found")


@dataclass(frozen=True, slots=True)
class Asking:
    """A player did something.

    Attributes:
        connection: Over which it came.
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
        """The match has gone."""
        self.question.reply("error", {"accepted": False, "reason": "room_not_found"})


Item: TypeAlias = Joining | Asking | Event


class MatchHandle:
    """A match, for the table of matches, for its players and for its task.

    Attributes:
        match: How it stands, between two events.
        future: Of the job that asked for it; of the newest one if it was asked for again.
        confirming: `ready` on its way, or answered and not looked at.
        confirmed: The API server has acknowledged it once.
        inbox: What has been said and not handled.
        under_way: What is being handled; what a crash finds here was.
        connections: Players who are connected, by user id.
        interrupted: A life of the task has begun and not ended in order.
        actor: Its task's address; None once it has gone.
    """

    __slots__ = (
        "_context",
        "_on_their_way",
        "_woken",
        "actor",
        "confirmed",
        "confirming",
        "connections",
        "future",
        "inbox",
        "interrupted",
        "match",
        "under_way",
    )

    def __init__(self, match: Match, context: MatchContext) -> None:
        self.match = match
        self.future = JobFuture()
        self.confirming: Delivery | None = None
        self.confirmed = False
        self.inbox: deque[Item] = deque()
        self.under_way: Item | None = None
        self.connections: dict[str, PlayerConnection] = {}
        self.interrupted = False
        self.actor: Actor[Wake] | None = None
        self._context = context
        self._on_their_way: set[Callback] = set()
        self._woken = False

    @property
    def room_id(self) -> str:
        """Whose it is."""
        return self.match.room_id

    # -- for players: a match's port ---------------------------------------------------

    def join(self, connection: PlayerConnection) -> None:
        """A player wants in.

        Raises:
            ActorGone: The match has gone.
            MailboxFull: It has too much to do.
        """
        self._put(Joining(connection))

    def push(self, connection: PlayerConnection, event: str, payload: object, question: Question) -> None:
        """A player did something.

        Raises:
            ActorGone: The match has gone.
            MailboxFull: It has too much to do.
        """
        self._put(Asking(connection, event, payload, question))

    def leave(self, connection: PlayerConnection) -> None:
        """A player has left the topic, as a client does that shows another page; they may come back."""
        self.disconnect(connection)

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
        """Let something happen to the match, whatever else waits: for what is bounded by itself."""
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

    # -- for the task: the API server ------------------------------------------------------

    def confirm(self) -> None:
        """Tell the API server that the room is up."""
        ready = callback.ready(self.room_id, node_name=self._context.node_name)
        self.confirming = self._context.callbacks.submit(ready, self._answered)

    def _answered(self, _outcome: CallbackOutcome) -> None:
        self.wake()

    def submit(self, said: Callback) -> None:
        """Tell the API server something, unless it is on its way already."""
        if said not in self._on_their_way:
            self._on_their_way.add(said)
            then = partial(self._settled, said)
            if said.call is Call.FINISHED:
                self._context.keeper.tell(said, then)
            else:
                self._context.callbacks.submit(said, then)

    def _settled(self, said: Callback, outcome: CallbackOutcome) -> None:
        self._on_their_way.discard(said)
        if said.call is Call.STARTED and outcome.verdict is Verdict.UNKNOWN_ROOM:
            self.tell(Rejected())
        self.tell(CallbackSettled(said.call))

    # -- for the task: the players ---------------------------------------------------------

    def push_to_players(self, push: Push) -> None:
        """Tell those who are connected; what several hear is encoded once."""
        found = (self.connections.get(user_id) for user_id in push.to)
        connections = [connection for connection in found if connection is not None]
        payload = push.payload if len(connections) == 1 else Fragment(orjson.dumps(push.payload))
        for connection in connections:
            connection.push(push.event, payload)

    def fail_under_way(self) -> None:
        """Tell whoever said what was being handled when the task crashed."""
        failed, self.under_way = self.under_way, None
        if isinstance(failed, Joining | Asking):
            failed.fail()

    # -- the end -------------------------------------------------------------------------

    def close(self) -> None:
        """The match has gone: let everybody go who is still there."""
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
        """How the match went, in a word, for the counters."""
        match = self.match
        if match.status is Status.FAILED or not match.is_over:
            return "discarded"
        return match.status.value if match.reason is None else match.reason.value
