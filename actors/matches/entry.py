"""What is kept of a match outside its task, and the door through which everybody speaks to it.

Who has something to say puts it into the entry's inbox and wakes the actor; the
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
from actors.matches.callbacks import Delivery, Outcome
from actors.matches.delivery import Verdict
from actors.matches.lifecycle import Disconnected, Disowned, Event, Match, Push, Status, Told
from actors.matches.line import Line, Question
from actors.matches.settlement import Settlement
from actors.matches.world import World

# Some fifty a player at five a second is ten seconds of everybody's attention;
# past that, telling the player beats queueing more.
INBOX_SLOTS: Final = 256


class Look(NamedTuple):
    """Something about the match has changed, or a deadline has come: look at the entry."""


@dataclass(frozen=True, slots=True)
class Joining:
    """A player wants in."""

    line: Line

    def fail(self) -> None:
        """It was being handled when the task crashed."""
        self.line.crash()

    def turn_away(self) -> None:
        """The match has gone."""
        self.line.refuse("room_not_found")


@dataclass(frozen=True, slots=True)
class Asking:
    """A player did something.

    Attributes:
        line: Over which it came.
        event: Such as `game:action`.
        payload: Whatever came with it.
        question: To be answered.
    """

    line: Line
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


class Entry:
    """A match, for the table of matches, for its players and for its task.

    Attributes:
        match: How it stands, between two events.
        settlement: Of the job that asked for it; of the newest one if it was asked for again.
        confirming: `ready` on its way, or answered and not looked at.
        confirmed: The API server has acknowledged it once.
        inbox: What has been said and not handled.
        under_way: What is being handled; what a crash finds here was.
        lines: Players who are connected, by user id.
        interrupted: A life of the task has begun and not ended in order.
        actor: Its task's address; None once it has gone.
    """

    __slots__ = (
        "_on_their_way",
        "_woken",
        "_world",
        "actor",
        "confirmed",
        "confirming",
        "inbox",
        "interrupted",
        "lines",
        "match",
        "settlement",
        "under_way",
    )

    def __init__(self, match: Match, world: World) -> None:
        self.match = match
        self.settlement = Settlement()
        self.confirming: Delivery | None = None
        self.confirmed = False
        self.inbox: deque[Item] = deque()
        self.under_way: Item | None = None
        self.lines: dict[str, Line] = {}
        self.interrupted = False
        self.actor: Actor[Look] | None = None
        self._world = world
        self._on_their_way: set[Callback] = set()
        self._woken = False

    @property
    def room_id(self) -> str:
        """Whose it is."""
        return self.match.room_id

    # -- for players: a match's port ---------------------------------------------------

    def join(self, line: Line) -> None:
        """A player wants in.

        Raises:
            ActorGone: The match has gone.
            MailboxFull: It has too much to do.
        """
        self._put(Joining(line))

    def push(self, line: Line, event: str, payload: object, question: Question) -> None:
        """A player did something.

        Raises:
            ActorGone: The match has gone.
            MailboxFull: It has too much to do.
        """
        self._put(Asking(line, event, payload, question))

    def leave(self, line: Line) -> None:
        """A player has left the topic, as a client does that shows another page; they may come back."""
        self.disconnect(line)

    def disconnect(self, line: Line) -> None:
        """A line has ended."""
        self.tell(Disconnected(line.user_id, line))

    def _put(self, item: Joining | Asking) -> None:
        if self.actor is None:
            raise ActorGone(("match", self.room_id), item)
        if len(self.inbox) >= INBOX_SLOTS:
            raise MailboxFull(("match", self.room_id), item)
        self.inbox.append(item)
        self.look()

    # -- for everybody else --------------------------------------------------------------

    def tell(self, event: Event) -> None:
        """Let something happen to the match, whatever else waits: for what is bounded by itself."""
        if self.actor is not None:
            self.inbox.append(event)
            self.look()

    def look(self) -> None:
        """Wake the actor, unless it has been already."""
        if self.actor is not None and not self._woken:
            self._woken = self.actor.force_cast(Look())

    def looking(self) -> None:
        """The actor is awake; what comes from now on must wake it again."""
        self._woken = False

    # -- for the task: the API server ------------------------------------------------------

    def confirm(self) -> None:
        """Tell the API server that the room is up."""
        ready = callback.ready(self.room_id, node_name=self._world.node_name)
        self.confirming = self._world.callbacks.submit(ready, self._answered)

    def _answered(self, _outcome: Outcome) -> None:
        self.look()

    def submit(self, said: Callback) -> None:
        """Tell the API server something, unless it is on its way already."""
        if said not in self._on_their_way:
            self._on_their_way.add(said)
            then = partial(self._settled, said)
            if said.call is Call.FINISHED:
                self._world.keeper.tell(said, then)
            else:
                self._world.callbacks.submit(said, then)

    def _settled(self, said: Callback, outcome: Outcome) -> None:
        self._on_their_way.discard(said)
        if said.call is Call.STARTED and outcome.verdict is Verdict.UNKNOWN_ROOM:
            self.tell(Disowned())
        self.tell(Told(said.call))

    # -- for the task: the players ---------------------------------------------------------

    def push_to_players(self, push: Push) -> None:
        """Tell those who are connected; what several hear is encoded once."""
        lines = [line for user_id in push.to if (line := self.lines.get(user_id)) is not None]
        payload = push.payload if len(lines) == 1 else Fragment(orjson.dumps(push.payload))
        for line in lines:
            line.push(push.event, payload)

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
        self.drop_lines(lambda line: line.close())

    def drop_lines(self, end: Callable[[Line], None]) -> None:
        """End all lines in the same way."""
        lines, self.lines = self.lines, {}
        for line in lines.values():
            end(line)

    @property
    def ending(self) -> str:
        """How the match went, in a word, for the counters."""
        match = self.match
        if match.status is Status.FAILED or not match.is_over:
            return "discarded"
        return match.status.value if match.reason is None else match.reason.value
