"""Publish and subscribe: topics, their members, and one event for all of them.

Every event is a whole state, so a member needs no queue: one that cannot send an event now keeps only
the newest (conflation). Events carry a number that grows within their topic; a member skips what is not
newer than what it has. So nothing is sent twice or backwards, also if a member joins in the middle of a
broadcast, a broadcast is repeated after a crash, or a room is removed and created again.
"""

from __future__ import annotations

import itertools
from time import perf_counter
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

import trio

from actors.core.errors import TooMany
from actors.core.histogram import Histogram
from actors.core.write_batch import write_batch

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterator

# About half a millisecond of `socket.send`; then other tasks run.
OFFERS_PER_SLICE: Final = 128

_numbers = itertools.count(1)


class Event(NamedTuple):
    """One whole state of a topic, as JSON encoded once. How a client is sent it is the member's business.

    Attributes:
        seq: Position among all events of its topic; never shown to clients.
        name: What kind of state it is, as clients are told: `state` of a room, `stats` of a player.
        id: Names this state to clients, for resuming: a room's `<epoch>-<version>`, a player's version.
        body: The state as JSON, on one line.
        earlier: States right before it that the audience has not been sent, oldest first. They are
            offered together, so that a member that can take them all writes once.
        notice: Name and body of what every member is told right before this event, or before the newer
            one that it is sent instead: a room's `reset`. Such an event has no `earlier`.
    """

    seq: int
    name: str
    id: str
    body: bytes
    earlier: tuple[Event, ...] = ()
    notice: tuple[str, bytes] | None = None

    def since(self, seq: int) -> tuple[Event, ...]:
        """The events that a member misses whose newest is number `seq`, oldest first."""
        if self.earlier and self.earlier[0].seq <= seq:
            return (*(event for event in self.earlier if event.seq > seq), self)
        return (*self.earlier, self)


def next_seq() -> int:
    """A number above all those returned before."""
    return next(_numbers)


class Member(Protocol):
    """One listener of a topic. Neither method may wait or raise."""

    def offer(self, event: Event) -> None:
        """Send `event` now or later, or a newer one in its place; skip it unless newer than the last.

        Those in `earlier` are sent before it, or skipped by a member that has fallen behind.
        """

    def close(self, reason: str) -> None:
        """End this listener."""


class ConflatingMember:
    """The one rule of conflation: skip what is not newer, send while it can, else keep the newest.

    Events that a blocked member does not send are whole states, so only the last of them counts.

    >>> class Screen(ConflatingMember):
    ...     def __init__(self) -> None:
    ...         super().__init__()
    ...         self.is_busy = False
    ...
    ...     def take(self, event: Event, seen: int) -> bool:
    ...         if not self.is_busy:
    ...             print([each.id for each in event.since(seen)])
    ...         return not self.is_busy
    >>> screen = Screen()
    >>> screen.offer(Event(1, "state", "a-1", b"{}"))
    ['a-1']
    >>> screen.is_busy = True
    >>> for number in (2, 3, 2):
    ...     screen.offer(Event(number, "state", f"a-{number}", b"{}"))
    >>> screen.catch_up().id
    'a-3'

    Attributes:
        seq: Number of the newest event it has sent or keeps.
    """

    __slots__ = ("_waiting", "seq")

    def __init__(self) -> None:
        self.seq = 0
        self._waiting: Event | None = None

    def offer(self, event: Event) -> None:
        """Send `event` now, or keep it in place of an older one; skip it unless it is newer than the last."""
        seen = self.seq
        if event.seq <= seen:
            return
        self.seq = event.seq
        if self._waiting is not None:
            notice = event.notice or self._waiting.notice
            self._waiting = event if notice is event.notice else event._replace(earlier=(), notice=notice)
            self.note_overtaken()
        elif not self.take(event, seen):
            self._waiting = event

    def catch_up(self) -> Event | None:
        """The event that was kept, for a member that is able to send again; it has to send only that one."""
        event, self._waiting = self._waiting, None
        return event

    def take(self, event: Event, seen: int) -> bool:
        """Send what `event.since(seen)` says, or return false to have `event` kept."""
        raise NotImplementedError

    def note_overtaken(self) -> None:
        """An event that was kept is dropped for a newer one."""


class Audiences:
    """Topics and their members. A topic exists while it has a member.

    >>> class Printer(ConflatingMember):
    ...     def take(self, event: Event, seen: int) -> bool:
    ...         print(event.body)
    ...         return True
    >>> audiences = Audiences(max_members=1000)
    >>> printer = Printer()
    >>> audiences.join("news", printer)
    >>> audiences.offer("news", Event(next_seq(), "state", "1", b'{"n":1}'))
    b'{"n":1}'
    >>> audiences.leave("news", printer)
    >>> audiences.count("news")
    0

    Args:
        max_members: Members of all topics together.
        max_members_per_topic: Members of one topic; as `max_members` unless given.

    Attributes:
        deliveries: From a write until all members are sent it, of the writes that publishers sample.
    """

    def __init__(self, *, max_members: int, max_members_per_topic: int | None = None) -> None:
        self._topics: dict[Hashable, tuple[Member, ...] | dict[Member, None]] = {}
        self._max_members = max_members
        self._max_members_per_topic = max_members if max_members_per_topic is None else max_members_per_topic
        self._count = 0
        self.deliveries = Histogram()

    def __len__(self) -> int:
        return self._count

    def __bool__(self) -> bool:
        return True  # also without members

    def topics(self) -> tuple[Hashable, ...]:
        """All topics that have members now."""
        return tuple(self._topics)

    def members(self, topic: Hashable) -> tuple[Member, ...]:
        """The members of `topic` now."""
        return tuple(self._topics.get(topic, ()))

    def count(self, topic: Hashable) -> int:
        """How many members `topic` has."""
        return len(self._topics.get(topic, ()))

    def all_members(self) -> Iterator[Member]:
        """Every member of every topic, as of now."""
        return itertools.chain.from_iterable(tuple(members) for members in tuple(self._topics.values()))

    def join(self, topic: Hashable, member: Member) -> None:
        """Offer `member` the events of `topic` from now on.

        Raises:
            TooMany: A limit is reached (`members` or `members_of_topic`).
        """
        members = self._topics.get(topic, ())
        if member in members:
            return
        if self._count >= self._max_members:
            raise TooMany("members", self._max_members)
        if len(members) >= self._max_members_per_topic:
            raise TooMany("members_of_topic", self._max_members_per_topic)
        self._count += 1
        if isinstance(members, dict):
            members[member] = None
        elif members:
            self._topics[topic] = dict.fromkeys((*members, member))
        else:
            # Most topics of a large server have one listener, and a tuple of one takes a quarter of
            # the memory of the smallest dict.
            self._topics[topic] = (member,)

    def leave(self, topic: Hashable, member: Member) -> None:
        """Remove `member`; nothing happens if it is not there."""
        members = self._topics.get(topic, ())
        if member not in members:
            return
        self._count -= 1
        if len(members) == 1:
            del self._topics[topic]
        elif isinstance(members, dict):
            del members[member]

    def offer(self, topic: Hashable, event: Event) -> None:
        """Offer `event` to every member of `topic` without yielding. For small audiences; see `broadcast`."""
        for member in tuple(self._topics.get(topic, ())):
            member.offer(event)

    def note_delivered(self, since: float) -> None:
        """Count in `deliveries` a write that began at `since` (`perf_counter`) and is offered to all now."""
        self.deliveries.observe(perf_counter() - since)

    async def broadcast(self, topic: Hashable, event: Event) -> None:
        """Offer `event` to every member of `topic`, in slices between which other tasks run.

        One at a time per topic: the caller is the topic's actor. A member that joins meanwhile must have
        been sent the state of `event` already, when it joined.
        """
        members = self.members(topic)
        for start in range(0, len(members), OFFERS_PER_SLICE):
            if start:
                await trio.lowlevel.checkpoint()
            with write_batch():
                for member in members[start : start + OFFERS_PER_SLICE]:
                    member.offer(event)
