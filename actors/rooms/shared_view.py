"""What one node knows of one shared room that it subscribes to: which news is newer, and what listeners hear.

No clock and no I/O. A room is known by its position (era, epoch, version). News comes in three ways:

    hear     a published value; applied if it is newer
    written  the answer to a write of this node, the same
    read     the answer to a read; applied if it is newer, and also if it is older although nothing was
             heard since it was asked: then the store has lost what this node knew

Where two epochs of one era cannot be told apart, the verdict is UNCLEAR: read again.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Final

import orjson

from actors.rooms.record import Record, RoomEpoch, encode, no_room
from actors.rooms.shared_record import HEADER_BYTES, POSITION, decode
from actors.rooms.table import NUMBERS_PER_EPOCH

if TYPE_CHECKING:
    from actors.core import Event, PendingCall
    from actors.rooms.record import Kind

# Parts of a position.
ERA: Final = slice(0, 14)
EPOCH: Final = slice(14, 22)
VERSION: Final = slice(22, 38)
GONE: Final = b"0" * 16
# Nothing is known of the room, or it never was.
NOWHERE: Final = b""


class Order(Enum):
    """How news stands to what is known."""

    NEWER = "newer"
    OLDER = "older"  # or the same
    UNCLEAR = "unclear"


def order(known: bytes, known_ms: int, heard: bytes, heard_ms: int) -> Order:
    """Compare two positions, with the times of their records in ms of the store's clock."""
    if known == NOWHERE:
        return Order.OLDER if heard[VERSION] == GONE else Order.NEWER
    if heard[ERA] != known[ERA]:
        return Order.NEWER if heard[ERA] > known[ERA] else Order.OLDER
    if heard[EPOCH] != known[EPOCH]:
        # Epochs have no order of their own. Another one that is gone says nothing of what came after.
        if heard[VERSION] != GONE and heard_ms > known_ms:
            return Order.NEWER
        return Order.UNCLEAR
    if known[VERSION] == GONE:
        return Order.OLDER
    is_newer = heard[VERSION] == GONE or heard[VERSION] > known[VERSION]
    return Order.NEWER if is_newer else Order.OLDER


class SharedView:
    """The newest record of a shared room, as far as it has been heard.

    Attributes:
        room_id: The room.
        position: Of the newest record; of the last one, with version 0, once the room is gone.
        updated_ms: When that was written, by the store's clock.
        record: None if there is no room.
        event: Tells listeners of `record`, or that there is no room.
        notice: What listeners have to be told before that: that acknowledged writes may have been lost.
        ahead: A position that the store has reached and this has not, left to the room's channel.
        changes: How often anything was applied.
        acked_in: Number of the connection on which Redis has begun to send the room's channel.
        read_in: Number of the connection since whose acknowledgement the room has been read.
        read_era: The era of the store then.
        is_timed: Whether its expiry is watched.
        waiters: Who waits until the room has been read; None for nobody.
        pending: Events to be broadcast, oldest first.
        timed_from: When the write began (`perf_counter`) whose broadcast is timed; 0 for none.
    """

    __slots__ = (
        "acked_in",
        "ahead",
        "changes",
        "event",
        "is_timed",
        "notice",
        "pending",
        "position",
        "read_era",
        "read_in",
        "record",
        "room_id",
        "timed_from",
        "updated_ms",
        "waiters",
    )

    def __init__(self, room_id: str) -> None:
        self.room_id = room_id
        self.position = self.ahead = NOWHERE
        self.read_era = b""
        self.updated_ms = self.changes = self.acked_in = self.read_in = 0
        self.record: Record | None = None
        self.event: Event = no_room(room_id, NUMBERS_PER_EPOCH)
        self.notice: tuple[str, bytes] | None = None
        self.is_timed = False
        self.timed_from = 0.0
        self.waiters: list[PendingCall] | None = None
        self.pending: tuple[Event, ...] = ()

    def hear(self, value: bytes) -> Order:
        """Apply a published value if it is newer.

        Raises:
            ForeignValue: It was not published by Greenroom.
        """
        position = value[POSITION]
        if position == self.position:
            return Order.OLDER
        heard = decode(value)
        verdict = order(self.position, self.updated_ms, position, heard.updated_ms)
        if verdict is Order.NEWER:
            if heard.version:
                self._become(position, heard.updated_ms, heard.kind, heard.state)
            else:
                self._end(position)
        return verdict

    def written(
        self, position: bytes, updated_ms: int, kind: Kind, state: bytes, *, leave_gaps: bool
    ) -> Order:
        """Apply the answer to a write of this node if it is newer.

        Args:
            position: Of the record.
            updated_ms: When it was written.
            kind: By whom.
            state: What was written.
            leave_gaps: Leave it to the room's channel if versions before it have not been heard, so that
                listeners that keep up miss none.
        """
        verdict = order(self.position, self.updated_ms, position, updated_ms)
        if verdict is Order.NEWER:
            is_gap = position[:22] == self.position[:22] and int(position[VERSION]) > self.version + 1
            if leave_gaps and is_gap:
                self.ahead = position
                return Order.OLDER
            self._become(position, updated_ms, kind, state)
        return verdict

    @property
    def version(self) -> int:
        """Of the record; 0 if there is none."""
        return 0 if self.record is None else self.record.version

    def removed(self, epoch: str) -> Order:
        """Apply the answer to a removal by this node."""
        if self.position[EPOCH] != epoch.encode():
            return Order.UNCLEAR
        if self.record is None:
            return Order.OLDER
        self._end(self.position)
        return Order.NEWER

    def read(self, value: bytes | None, changes: int) -> Order:
        """Apply the answer to a read that was asked when `self.changes` was `changes`.

        Raises:
            ForeignValue: Something else stands under the room's key.
        """
        is_current = changes == self.changes
        if value is None:
            if self.record is None:
                return Order.OLDER
            if not is_current:
                return Order.UNCLEAR
            self._end(self.position)
            return Order.NEWER
        position = value[POSITION]
        if position == self.position:
            return Order.OLDER
        read = decode(value)
        verdict = order(self.position, self.updated_ms, position, read.updated_ms)
        if verdict is Order.NEWER or is_current:
            is_loss = verdict is Order.OLDER
            self._become(position, read.updated_ms, read.kind, read.state, is_loss=is_loss)
            return Order.NEWER
        return verdict

    def is_behind(self, value: bytes | None) -> bool:
        """Whether a newer record was read than is known; then `ahead` says which.

        Raises:
            ForeignValue: Something else stands under the room's key.
        """
        if value is None or value[POSITION] == self.position:
            self.ahead = NOWHERE
            return False
        position, updated_ms = value[POSITION], decode(value[:HEADER_BYTES]).updated_ms
        is_behind = order(self.position, self.updated_ms, position, updated_ms) is Order.NEWER
        self.ahead = position if is_behind else NOWHERE
        return is_behind

    @property
    def has_caught_up(self) -> bool:
        """Whether everything is known here that a client of this node may have been told."""
        ahead = self.ahead
        if ahead and self.position[:22] == ahead[:22] and self.position[VERSION] >= ahead[VERSION]:
            self.ahead = NOWHERE
        return not self.ahead

    def take_pending(self) -> Event | None:
        """The pending events as one, the earlier ones in it; as the newest alone if one has a notice."""
        if not self.pending:
            return None
        (*earlier, newest), self.pending = self.pending, ()
        notice = next((event.notice for event in earlier if event.notice), newest.notice)
        if notice is None:
            return newest._replace(earlier=tuple(earlier)) if earlier else newest
        return newest._replace(notice=notice)

    def add_pending(self, event: Event, at_most: int) -> None:
        """Keep an event to be broadcast; the oldest goes where there are too many."""
        kept = self.pending
        if len(kept) >= at_most:
            notice = kept[0].notice
            kept = (kept[1] if notice is None else kept[1]._replace(notice=notice), *kept[2:])
        self.pending = (*kept, event)

    def _become(
        self, position: bytes, updated_ms: int, kind: Kind, state: bytes, *, is_loss: bool = False
    ) -> None:
        before, version = self.record, int(position[VERSION])
        # In another era, writes that were acknowledged may be missing between the two; so they may before
        # another epoch, unless a match has taken the room over or its removal was heard of.
        is_loss = is_loss or (self.position != NOWHERE and position[ERA] != self.position[ERA])
        if before is not None and position[EPOCH] != self.position[EPOCH]:
            is_loss = is_loss or kind is before.kind
        self.notice = self._reset() if is_loss else None
        if before is not None and not is_loss and position[EPOCH] == self.position[EPOCH]:
            life = before.life
        else:
            life = RoomEpoch(position[EPOCH].decode(), self._next_start(), kind)
        body = encode(self.room_id, version, state, updated_ms / 1000)
        self.record = Record(self.room_id, life, version, body)
        self.event = self.record.event
        self.position, self.updated_ms = position, updated_ms
        self.changes += 1

    def _end(self, position: bytes) -> None:
        self.record = self.notice = None
        self.event = no_room(self.room_id, self._next_start())
        self.position = position[:22] + GONE
        self.changes += 1

    def _next_start(self) -> int:
        """Above the numbers of all events so far."""
        return (self.event.seq // NUMBERS_PER_EPOCH + 1) * NUMBERS_PER_EPOCH

    def _reset(self) -> tuple[str, bytes]:
        return "reset", orjson.dumps({"room_id": self.room_id, "previous": self.event.id})
