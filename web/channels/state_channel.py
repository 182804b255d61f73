"""`state:{id}`: a room's record over a socket, for clients that cannot use SSE.

The join answers with the record as it is; after that every write is a push
`state`. A client whose frames wait gets the newest record once they are gone,
not all those in between: a record is a whole state. So it is with presences,
for clients that ask for them (`state_presence`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Protocol

from orjson import Fragment

from actors.core import ConflatingMember, Event, InlineCall, Member, TooMany
from actors.rooms import Record, Refusal, is_room_id
from web.channels.broadcast import Broadcast
from web.channels.channel import ChannelSocket, LeaveReason, Push
from web.channels.presence import STATE, State
from web.channels.state_presence import TOO_MANY, WATCH, StatePresences, read_presence
from web.handlers.access import READ
from web.handlers.expiries import Expiries
from web.handlers.resume import needs_reset, reset_data

__all__ = ["STATE_PATTERN", "Records", "StateChannel"]

STATE_PATTERN: Final = "state:*"
PREFIX: Final = "state:"


class Records(Protocol):
    """The rooms, as far as a listener needs them (`actors.rooms.MemoryRooms` has these)."""

    async def open(self, room_id: str) -> Refusal | None:
        """Get ready for `join`, which has to follow at once."""

    def join(self, room_id: str, member: Member) -> tuple[Record | None, Event]:
        """Let `member` hear the room from now on; the event that tells how it stands.

        Raises:
            TooMany: A limit of listeners is reached.
        """

    def leave(self, room_id: str, member: Member) -> None:
        """Let `member` hear no more."""


class StateChannel:
    """The routes `state:*`, which anybody who may connect can join.

    Args:
        records: The rooms.
        presences: Who is on each topic; None where nobody is told.
        expiries: Given where only those may join whose token lets them read the room: ends a topic, with a
            push `expired`, when its token expires.
    """

    __slots__ = ("_expiries", "_last", "_records", "presences")

    def __init__(
        self, records: Records, expiries: Expiries | None = None, presences: StatePresences | None = None
    ) -> None:
        self._records = records
        self.presences = presences
        self._expiries = expiries
        self._last: tuple[Event, tuple[Broadcast, ...]] | None = None

    def join(self, socket: ChannelSocket, payload: object) -> None:
        """Accept the join and reply with the record; version 0 if there is no room.

        A client that comes back may send the id it saw last, `{"last_event_id": …}`. If that
        does not lead to the record, `reset` is pushed, and the record once more.
        """
        room_id = socket.topic.removeprefix(PREFIX)
        if not is_room_id(room_id):
            socket.refuse({"reason": "invalid_room_id"}, final=True)
            return
        if not self._may_join(socket, room_id):
            socket.refuse({"reason": "forbidden"}, final=True)
            return
        presence = read_presence(payload)
        if isinstance(presence, str) and presence != WATCH:
            socket.refuse({"reason": presence}, final=True)
            return

        def opened(refusal: Refusal | None) -> None:
            socket.run(lambda: self._opened(socket, payload, presence, refusal))

        InlineCall(self._records.open(room_id), opened).resume()

    def _opened(
        self,
        socket: ChannelSocket,
        payload: object,
        presence: Mapping[str, object] | str | None,
        refusal: Refusal | None,
    ) -> None:
        """The room can be listened to now, or not; the client may have gone meanwhile."""
        if not socket.joining:
            return
        if refusal is not None:
            socket.refuse({"reason": refusal.code})
            return
        room_id = socket.topic.removeprefix(PREFIX)
        if isinstance(presence, Mapping) and self.presences is not None and self.presences.is_full(room_id):
            socket.refuse({"reason": TOO_MANY})
            return
        watcher = _Watcher(socket, self, presence)
        try:
            record, event = self._records.join(room_id, watcher)
        except TooMany:
            socket.refuse({"reason": "too_many_streams"})
            return
        watcher.seq = event.seq
        if self._expiries is not None and socket.user.grant is not None:
            self._expiries.add(watcher, socket.user.grant.expires_at, watcher.expire)
        previous = payload.get("last_event_id") if isinstance(payload, Mapping) else None
        if not socket.accept(watcher, payload_of(event)):
            self.leave(socket, watcher)
        elif isinstance(previous, str) and previous and needs_reset(record, previous):
            socket.push("reset", reset_data(room_id, previous))
            socket.push("state", payload_of(event))

    def _may_join(self, socket: ChannelSocket, room_id: str) -> bool:
        if self._expiries is None:
            return True
        grant = socket.user.grant
        return grant is not None and grant.may(room_id, READ) and not self._expiries.is_past(grant.expires_at)

    def leave(self, socket: ChannelSocket, watcher: Member) -> None:
        """The watcher has ended."""
        if self._expiries is not None:
            self._expiries.discard(watcher)
        self._records.leave(socket.topic.removeprefix(PREFIX), watcher)

    def pushes_of(self, topic: str, event: Event) -> tuple[Broadcast, ...]:
        """What the event tells of, oldest first, its notice right before itself.

        Made for its first watcher, the same objects for all.
        """
        last = self._last
        if last is not None and last[0] is event and last[1][0].topic == topic:
            return last[1]
        pushes = tuple(Broadcast(topic, "state", payload_of(each)) for each in (*event.earlier, event))
        if event.notice is not None:
            name, body = event.notice
            pushes = (Broadcast(topic, name, Fragment(body)), *pushes)
        self._last = (event, pushes)
        return pushes


class _Watcher(ConflatingMember):
    """One client on one room: a `Channel` of its session, a `Member` of the room's audience."""

    __slots__ = ("_is_behind", "_presence", "_socket", "_topic")

    def __init__(
        self, socket: ChannelSocket, topic: StateChannel, presence: Mapping[str, object] | str | None
    ) -> None:
        super().__init__()
        self._socket = socket
        self._topic = topic
        self._presence = presence
        self._is_behind = False

    @property
    def user_id(self) -> str:
        """Who it is; empty for nobody in particular."""
        return self._socket.user.user_id

    @property
    def _room_id(self) -> str:
        return self._socket.topic.removeprefix(PREFIX)

    def hear_diff(self, diff: Broadcast) -> None:
        """Send it; the whole state later if frames wait."""
        if self._socket.is_backpressured:
            self._is_behind = True
            self._socket.when_writable(self._send_newest)
        elif not self._is_behind:
            self._socket.send(diff)

    def hear_state(self, state: State) -> None:
        """Send it."""
        self._socket.push(STATE, state)

    def take(self, event: Event, seen: int) -> bool:
        """Send the event, unless frames wait."""
        if self._socket.is_backpressured:
            self._socket.when_writable(self._send_newest)
            return False
        pushes = self._topic.pushes_of(self._socket.topic, event)
        if len(pushes) == 1:
            self._socket.send(pushes[0])
            return True
        unseen = len(event.since(seen)) + (event.notice is not None)
        for push in pushes[-unseen:]:
            self._socket.send(push)
        return True

    def expire(self) -> None:
        """The token has expired: a socket with a fresh one may join again."""
        self._socket.push("expired", {"room_id": self._socket.topic.removeprefix(PREFIX)})
        self._socket.close()

    def close(self, reason: str) -> None:  # noqa: ARG002  # the frame that ends a channel has no room for it
        """End it in good order."""
        self._socket.close()

    def after_join(self) -> None:
        """Appear, where that was asked for; the reply to the join was the record."""
        presences = self._topic.presences
        if presences is not None and self._presence is not None:
            meta = None if isinstance(self._presence, str) else self._presence
            presences.enter(self._room_id, self, meta)

    def handle_in(self, push: Push) -> None:
        """Refuse: this topic is read-only."""
        push.reply("error", {"reason": "read_only"})

    def terminate(self, reason: LeaveReason) -> None:  # noqa: ARG002  # whatever it is
        """Leave the room's audience, and its presences."""
        self._topic.leave(self._socket, self)
        if self._topic.presences is not None:
            self._topic.presences.leave(self._room_id, self)

    def _send_newest(self) -> None:
        event = self.catch_up()
        if event is not None:
            pushes = self._topic.pushes_of(self._socket.topic, event)
            for push in pushes[-1:] if event.notice is None else pushes[-2:]:
                self._socket.send(push)
        if self._is_behind and self._topic.presences is not None:
            self._is_behind = False
            self.hear_state(self._topic.presences.state(self._room_id))


def payload_of(event: Event) -> Fragment:
    """The record with the id of its event, the one that streams and `ETag` carry."""
    return Fragment(b'%b,"id":"%b"}' % (event.body[:-1], event.id.encode()))
